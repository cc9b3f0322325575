//! Automatic attempts to set work going again: counted, ordered, and given up.
//!
//! What is tried, and when it has been tried enough, is decided by the rules under `domain::recovery`; the counts and
//! what a block consists of are written here, in the transaction of whoever asked. The issue is locked. Nothing here makes
//! a work item: a block is the issue's own status, one comment without author, one entry of the log and one open item of
//! the inbox.

use std::collections::{BTreeMap, BTreeSet};

use domain::ids::{AgentId, CommentId, CompanyId, IssueId};
use domain::issue::notices::{Dependent, blocker_gave_up};
use domain::issue::{IssueStatus, create};
use domain::liveness::LivenessState;
use domain::moment::Moment;
use domain::recovery::graph::{self, GraphAgent, GraphIssue, OwnerReason, Reviewer};
use domain::recovery::{self, ACTOR, ATTEMPTS, Block, Cause, Touch, WakeOrder};
use domain::wake::{Actor, ActorKind, Source, TriggerDetail, WakeRequest};
use serde_json::Value as Json;
use store::agents::Agent;
use store::comments::{self, Comment};
use store::inbox;
use store::issues::{self, Issue};
use store::orders::{self, NewOrder};
use store::recoveries::{self, Recovery};
use store::{StoreError, Tx, agents, locks, relations};

use crate::activity::{Author, Scribe};
use crate::intake::{self, Admission, Chain, Fate, body_hash};

/// As many dependents as hear that a blocker was given up.
const MOST_DEPENDENTS: i64 = 1_000;
/// As many agents as are looked at where an issue names nobody who could help.
const MOST_STRANGERS: i64 = 3;
/// There are fewer causes than this.
const MOST_CAUSES: i64 = 32;

/// Who writes what this part of the program does.
pub(crate) const AUTHOR: Author = Author::System { part: ACTOR };

/// The attempts at one issue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(Vec<Recovery>);

impl Counts {
    /// Reads the counts of an issue.
    pub(crate) async fn read(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Counts, StoreError> {
        Ok(Counts(recoveries::of_issue(tx, issue, MOST_CAUSES).await?))
    }

    /// Attempts counted for a cause.
    pub(crate) fn of(&self, cause: Cause) -> u32 {
        let found = self.0.iter().find(|count| count.cause == cause.as_str());
        found.map_or(0, |count| u32::try_from(count.attempts).unwrap_or(u32::MAX))
    }

    /// A run of the issue succeeded: what that disproves is counted anew.
    pub(crate) async fn after_success(
        &self,
        tx: &mut Tx<'_>,
        issue: &IssueId,
        state: LivenessState,
    ) -> Result<(), StoreError> {
        for &cause in Cause::ALL {
            if self.of(cause) > 0 && recovery::resets(cause, Touch::RunSucceeded(state)) {
                recoveries::reset(tx, issue, Some(cause.as_str())).await?;
            }
        }
        Ok(())
    }
}

/// Counts one more attempt; false when there have been enough.
pub(crate) async fn count(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    issue: &IssueId,
    cause: Cause,
    now: Moment,
) -> Result<bool, StoreError> {
    let what = (company, issue, cause.as_str());
    Ok(recoveries::attempt(tx, what, None, i64::from(ATTEMPTS), now).await?.is_some())
}

/// Admits a wake at once, as an attempt where it counts as one; its agent is locked. `None`: there have been enough.
pub(crate) async fn admit(
    tx: &mut Tx<'_>,
    agent: &Agent,
    order: &WakeOrder,
    admission: &Admission,
) -> Result<Option<Fate>, StoreError> {
    if let (Some(cause), Some(issue)) = (order.counts_as, &order.issue)
        && !count(tx, &agent.company_id, issue, cause, admission.now).await?
    {
        return Ok(None);
    }
    let hash = body_hash(&Json::Object(order.payload.clone()));
    let request = WakeRequest {
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: Some(order.reason.to_owned()),
        payload: order.payload.clone(),
        context: order.context.clone(),
        body_hash: order.idempotency_key.as_ref().map(|_| hash).unwrap_or_default(),
        idempotency_key: order.idempotency_key.clone(),
        actor: Actor::system(ACTOR),
        carries_on: true,
    };
    let chain = Chain { retry_of: order.retry_of.clone(), ..admission.chain.clone() };
    let fate = intake::admit(tx, agent, &request, &Admission { chain, ..admission.clone() }).await?;
    if let Fate::Queued { run, .. } | Fate::Merged { run } = &fate
        && order.continuation_attempt > 0
    {
        let attempt = i64::from(order.continuation_attempt);
        store::runs_of_issues::set_continuation_attempt(tx, &run.id, attempt).await?;
    }
    Ok(Some(fate))
}

/// Places a wake in the outbox, as an attempt where it counts as one; the issue that it counts for is locked. False: it
/// stands there already, or there have been enough.
pub(crate) async fn order(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    order: &WakeOrder,
    counted_for: Option<&IssueId>,
    now: Moment,
) -> Result<bool, StoreError> {
    let new = NewOrder {
        company_id: company.clone(),
        agent_id: order.agent.clone(),
        issue_id: order.issue.clone(),
        wake_id: None,
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: order.reason.to_owned(),
        payload: Json::Object(order.payload.clone()),
        context: Json::Object(order.context.clone()),
        actor_kind: ActorKind::System,
        actor_id: ACTOR.to_owned(),
        idempotency_key: order.idempotency_key.clone(),
    };
    if orders::place(tx, &new, now).await?.is_none() {
        return Ok(false);
    }
    if let (Some(cause), Some(issue)) = (order.counts_as, counted_for.or(order.issue.as_ref())) {
        count(tx, company, issue, cause, now).await?;
    }
    Ok(true)
}

/// Blocks an issue in place, and tells those who wait for it.
pub(crate) async fn give_up(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    block: &Block,
) -> Result<(), StoreError> {
    let now = scribe.now;
    let one = std::slice::from_ref(&issue.id);
    let open: Vec<IssueId> =
        relations::unresolved(tx, one).await?.into_iter().map(|(_, blocker, _)| blocker).collect();
    let dependents = dependents(tx, &issue.id).await?;
    let blocked = Issue {
        status: IssueStatus::Blocked,
        waits_on_blockers: create::waits(IssueStatus::Blocked, &open),
        check_at: None,
        last_activity_at: now,
        updated_at: now,
        ..issue.clone()
    };
    issues::update(tx, &blocked).await?;
    locks::clear(tx, &issue.id).await?;
    // Orders come before events: whoever delivers one of them may be waited for.
    for dependent in &dependents {
        if let Some(notice) = blocker_gave_up(dependent, &issue.id, IssueStatus::Blocked) {
            let order = NewOrder {
                company_id: issue.company_id.clone(),
                agent_id: notice.agent,
                issue_id: notice.issue,
                wake_id: None,
                source: notice.source,
                trigger_detail: Some(notice.detail),
                reason: notice.reason.to_owned(),
                payload: Json::Object(notice.payload),
                context: Json::Object(notice.context),
                actor_kind: ActorKind::System,
                actor_id: ACTOR.to_owned(),
                idempotency_key: None,
            };
            // One that stands there for the same says enough; its issue is not locked, so it is not written into.
            orders::place(tx, &order, now).await?;
        }
    }
    remark(tx, scribe, issue, block.comment.clone()).await?;
    open_item(tx, scribe, &issue.company_id, &block.inbox).await?;
    let details = Json::Object(block.activity.clone());
    scribe.tell_issue(tx, &issue.company_id, "issue.updated", &issue.id, details).await
}

/// Writes a comment without an author.
pub(crate) async fn remark(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    body: String,
) -> Result<(), StoreError> {
    let comment = Comment {
        id: CommentId(scribe.id()),
        company_id: issue.company_id.clone(),
        issue_id: issue.id.clone(),
        author_agent_id: None,
        author_user_id: None,
        created_by_run_id: None,
        body,
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    comments::insert(tx, &comment).await
}

/// Opens an item of the inbox; false when one of its thing, kind and cause is open.
pub(crate) async fn open_item(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    item: &recovery::InboxItem,
) -> Result<bool, StoreError> {
    inbox::open(tx, &row(scribe.id(), company, item, scribe.now)).await
}

/// An item as it is stored.
pub(crate) fn row(
    id: String,
    company: &CompanyId,
    item: &recovery::InboxItem,
    now: Moment,
) -> inbox::InboxItem {
    inbox::InboxItem {
        id,
        company_id: company.clone(),
        kind: item.kind.as_str().to_owned(),
        entity_type: item.entity_type.to_owned(),
        entity_id: item.entity_id.clone(),
        cause: item.cause.clone(),
        title: item.title.clone(),
        details: Json::Object(item.details.clone()),
        owner_agent_id: item.owner.clone(),
        opened_at: now,
        resolved_at: None,
        resolution: None,
    }
}

async fn dependents(tx: &mut Tx<'_>, blocker: &IssueId) -> Result<Vec<Dependent>, StoreError> {
    let found = relations::dependents(tx, blocker, MOST_DEPENDENTS).await?;
    let ids: Vec<IssueId> = found.iter().map(|related| related.id.clone()).collect();
    let mut blockers = relations::blockers_of(tx, &ids).await?;
    let dependent = |related: relations::Related| {
        let own: Vec<relations::Related> = blockers
            .extract_if(.., |(blocked, _)| *blocked == related.id)
            .map(|(_, blocker)| blocker)
            .collect();
        Dependent {
            issue: related.id,
            status: related.status,
            assignee: related.assignee_agent_id,
            unresolved: own
                .iter()
                .filter(|it| it.status != IssueStatus::Done)
                .map(|it| it.id.clone())
                .collect(),
            blockers: own.into_iter().map(|it| it.id).collect(),
        }
    };
    Ok(found.into_iter().map(dependent).collect())
}

/// Who could help with an issue whose own agent could not: somebody above it who can be woken.
pub(crate) async fn owner(tx: &mut Tx<'_>, issue: &Issue) -> Result<Option<AgentId>, StoreError> {
    let company = &issue.company_id;
    let issue = graph_issue(issue);
    let all = agents_about(tx, company, std::slice::from_ref(&issue)).await?;
    let owners = graph::owners(&issue, &all);
    let owner = owners.into_iter().find(|owner| owner.reason != OwnerReason::StalledBlockerAssignee);
    Ok(owner.map(|owner| owner.agent))
}

/// All agents that the rules on chains may ask about for these issues, however many the company has: those that the
/// issues name, everybody above them, and the first ones whom somebody else's issue would go to.
pub(crate) async fn agents_about(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    issues: &[GraphIssue],
) -> Result<Vec<GraphAgent>, StoreError> {
    let mut found: BTreeMap<AgentId, Agent> = BTreeMap::new();
    for only_roots in [true, false] {
        let strangers = agents::first_invokable(tx, company, only_roots, MOST_STRANGERS).await?;
        found.extend(strangers.into_iter().map(|agent| (agent.id.clone(), agent)));
    }
    let reviewer = |issue: &GraphIssue| match &issue.review {
        Some(Reviewer::Agent(agent)) => Some(agent.clone()),
        Some(Reviewer::User(_) | Reviewer::Nobody) | None => None,
    };
    let mut wanted: BTreeSet<AgentId> = issues
        .iter()
        .flat_map(|issue| [issue.assignee.clone(), issue.creator.clone(), reviewer(issue)])
        .flatten()
        .collect();
    wanted.extend(found.values().filter_map(|agent| agent.reports_to.clone()));
    // Level by level upwards; what was found is not asked for again, so that a ring of managers ends.
    loop {
        wanted.retain(|id| !found.contains_key(id));
        if wanted.is_empty() {
            break;
        }
        let ids: Vec<AgentId> = std::mem::take(&mut wanted).into_iter().collect();
        for agent in agents::some(tx, &ids).await?.into_iter().filter(|agent| agent.company_id == *company) {
            wanted.extend(agent.reports_to.clone());
            found.insert(agent.id.clone(), agent);
        }
    }
    Ok(found.into_values().map(graph_agent).collect())
}

/// An agent as the rules on chains see it. Its budget is looked at when it is to be woken.
pub(crate) fn graph_agent(agent: Agent) -> GraphAgent {
    GraphAgent { id: agent.id, status: agent.status, reports_to: agent.reports_to, budget_blocked: false }
}

/// An issue as the rules on chains see it, without what hangs on it.
pub(crate) fn graph_issue(issue: &Issue) -> GraphIssue {
    GraphIssue {
        id: issue.id.clone(),
        identifier: Some(issue.identifier.clone()),
        status: issue.status,
        hidden: issue.hidden_at.is_some(),
        assignee: issue.assignee_agent_id.clone(),
        assigned_to_user: issue.assignee_user_id.is_some(),
        creator: issue.created_by_agent_id.clone(),
        review: None,
        has_live_run: false,
        has_wake: false,
        awaits_interaction: false,
        awaits_approval: false,
        held: false,
        shown: false,
        said: None,
        updated_at: issue.updated_at,
    }
}
