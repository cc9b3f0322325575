//! Deferred wakes whose turn has come: nobody live holds their issue any more.
//!
//! Whose turn it is decides `domain::promotion`; here are its facts and what it writes. The promoted wake passes the one
//! intake again. What a pause, a budget or a hold keeps is left as it is: [`look`] is asked again by a sweep.

use domain::ids::IssueId;
use domain::issue::{IssueStatus, create};
use domain::moment::Moment;
use domain::promotion::{self, DeferredFate, DeferredWake, Lock, Release, ReleasedIssue};
use domain::recovery::breaker::HELD_REASON;
use domain::wake::interaction::{self, is_verified, last_comment};
use domain::wake::{Actor, WakeRequest, WakeStatus, project_of, unpark};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::issues::{self, Issue};
use store::wakes::{self, Wake};
use store::{StoreError, Tx, agents, locks, relations};

use crate::intake::{self, Admission};
use crate::issue_views::{comment_facts, held_since};
use crate::wakes::Admitted;
use crate::{breaker, budgets, claims, orders};

/// As many deferred wakes of one issue as are looked at: each agent has one at most.
const MOST_DEFERRED: i64 = 100;

/// The deferred wakes of an issue, and what the rule makes of them.
#[derive(Debug)]
pub(crate) struct Look {
    pub wakes: Vec<Wake>,
    pub release: Release,
}

impl Look {
    /// The wake that goes on.
    pub(crate) fn promoted(&self) -> Option<&Wake> {
        let id = self.release.promoted()?;
        self.wakes.iter().find(|wake| wake.id == *id)
    }

    /// There is something to be done about them now.
    pub(crate) fn is_due(&self) -> bool {
        let waits = |fate: &DeferredFate| matches!(fate, DeferredFate::Kept(_));
        self.release.fates.iter().any(|(_, fate)| !waits(fate))
    }
}

/// Looks at the deferred wakes of an issue. What is decided on it counts only while the issue is locked.
pub(crate) async fn look(tx: &mut Tx<'_>, issue: Option<&Issue>, now: Moment) -> Result<Look, StoreError> {
    let Some(issue) = issue else { return Ok(Look { wakes: Vec::new(), release: Release::default() }) };
    let mut wakes = Vec::new();
    for wake in wakes::deferred_on(tx, &issue.id, MOST_DEFERRED).await? {
        // What goes in a circle stays until a person looks at it.
        let is_held = wake.reason.as_deref() == Some(HELD_REASON) && breaker::still_holds(tx, &wake).await?;
        if !is_held {
            wakes.push(wake);
        }
    }
    if wakes.is_empty() {
        return Ok(Look { wakes, release: Release::default() });
    }
    let lock = match locks::holder(tx, &issue.id).await? {
        None => Lock::Free,
        Some(holder) if holder.is_live => Lock::OthersLive,
        Some(_) => Lock::OthersDead,
    };
    let held_since = held_since(tx, &issue.id).await?;
    let mut faced = Vec::with_capacity(wakes.len());
    for wake in &wakes {
        faced.push(face(tx, issue, wake, held_since, now).await?);
    }
    let released = ReleasedIssue {
        id: issue.id.clone(),
        identifier: issue.identifier.clone(),
        status: issue.status,
        lock,
        held: held_since.is_some(),
    };
    Ok(Look { release: promotion::release(Some(&released), &faced), wakes })
}

async fn face(
    tx: &mut Tx<'_>,
    issue: &Issue,
    wake: &Wake,
    held_since: Option<Moment>,
    now: Moment,
) -> Result<DeferredWake, StoreError> {
    let (_, context) = unparked(wake);
    let agent = agents::get(tx, &wake.agent_id).await?.filter(|agent| agent.company_id == issue.company_id);
    let budget_blocked = match &agent {
        Some(agent) if agent.status.is_invokable() => {
            let project = project_of(&context, issue.project_id.as_deref());
            budgets::block(tx, &issue.company_id, &agent.id, project.as_deref(), now).await?.is_some()
        }
        Some(_) | None => false,
    };
    let is_interaction = match last_comment(&context) {
        Some(comment) if held_since.is_some() => {
            let comment = comment_facts(tx, comment).await?;
            is_verified(&context, &issue.id, comment.as_ref(), held_since, Some(&actor_of(wake)), &[])
        }
        Some(_) | None => false,
    };
    Ok(DeferredWake {
        id: wake.id.clone(),
        agent: wake.agent_id.clone(),
        agent_status: agent.map(|agent| agent.status),
        budget_blocked,
        asked_by: wake.actor_kind,
        wake_reason: interaction::reason(&context).map(str::to_owned),
        has_comments: last_comment(&context).is_some(),
        reopened_from: context.get("reopenedFrom").and_then(Json::as_str).map(str::to_owned),
        is_interaction,
    })
}

/// Lets the wake go on whose turn it is; agent and issue are locked. When it is another agent's turn, that is ordered.
pub(crate) async fn go_on(
    tx: &mut Tx<'_>,
    agent: Option<Agent>,
    issue: Option<Issue>,
    admission: Admission,
) -> Result<Option<Admitted>, StoreError> {
    let now = admission.now;
    let Some(issue) = issue else { return Ok(None) };
    let look = look(tx, Some(&issue), now).await?;
    end_hopeless(tx, &look, now).await?;
    if look.release.clears_lock {
        locks::clear_dead(tx, &issue.id).await?;
    }
    let Some(wake) = look.promoted() else { return Ok(None) };
    let Some(agent) = agent.filter(|agent| agent.id == wake.agent_id) else {
        orders::promote(tx, &issue.company_id, wake, now).await?;
        return Ok(None);
    };
    let (payload, mut context) = unparked(wake);
    if let Some(reopen) = &look.release.reopen {
        context.insert("reopenedFrom".to_owned(), json!(reopen.reopened_from));
        open_again(tx, &issue, Json::Object(reopen.activity.clone()), now).await?;
    }
    let request = WakeRequest {
        source: wake.source,
        trigger_detail: wake.trigger_detail,
        reason: wake.reason.clone(),
        payload,
        context,
        idempotency_key: None,
        body_hash: String::new(),
        actor: actor_of(wake),
        // It was accepted when it was deferred.
        carries_on: true,
    };
    let admission = Admission { promotes: Some(Box::new(wake.clone())), ..admission };
    let fate = intake::admit(tx, &agent, &request, &admission).await?;
    Ok(Some(Admitted { agent, fate }))
}

/// Ends the wakes that can never go on; their issue is locked.
pub(crate) async fn end_hopeless(tx: &mut Tx<'_>, look: &Look, now: Moment) -> Result<(), StoreError> {
    for (wake, fate) in &look.release.fates {
        if let DeferredFate::Failed(words) = fate {
            wakes::end_without_run(tx, wake, WakeStatus::Failed, Some(words), now).await?;
        }
    }
    Ok(())
}

/// Ends all wakes that are deferred on an issue that is gone.
pub(crate) async fn end_all_on(tx: &mut Tx<'_>, issue: &IssueId, now: Moment) -> Result<(), StoreError> {
    for wake in wakes::deferred_on(tx, issue, MOST_DEFERRED).await? {
        let words = Some("its issue no longer exists");
        wakes::end_without_run(tx, &wake.id, WakeStatus::Failed, words, now).await?;
    }
    Ok(())
}

/// A comment that waited opens its closed issue again.
async fn open_again(tx: &mut Tx<'_>, issue: &Issue, details: Json, now: Moment) -> Result<(), StoreError> {
    let unresolved: Vec<IssueId> = relations::unresolved(tx, std::slice::from_ref(&issue.id))
        .await?
        .into_iter()
        .map(|(_, blocker, _)| blocker)
        .collect();
    let opened = Issue {
        status: IssueStatus::Todo,
        execution_state: None,
        completed_at: None,
        cancelled_at: None,
        waits_on_blockers: create::waits(IssueStatus::Todo, &unresolved),
        last_activity_at: now,
        updated_at: now,
        ..issue.clone()
    };
    issues::update(tx, &opened).await?;
    claims::tell_issue(tx, (issue, "issue.updated"), ("deferred_comment_wake", None), details, now).await
}

fn unparked(wake: &Wake) -> (Map<String, Json>, Map<String, Json>) {
    unpark(wake.payload.as_object().cloned().unwrap_or_default())
}

fn actor_of(wake: &Wake) -> Actor {
    Actor { kind: wake.actor_kind, id: wake.actor_id.clone() }
}
