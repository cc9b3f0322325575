//! What intake and claim look at of an issue.
//!
//! For a wake the issue is locked here, behind its agent (D15), and looked at closely; for claims many issues are looked
//! at together, each fact in one statement. Nothing is decided or written.

use std::collections::{BTreeMap, BTreeSet};

use domain::claim::{ClaimIssue, IssueAtClaim};
use domain::ids::{CommentId, IssueId, RunId};
use domain::issue::lock::LockFacts;
use domain::issue::stages::State;
use domain::issue::{Blocker, IssueStatus, PauseHold};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::interaction::{self, CommentFacts, Passes, StoredAsk, is_verified, last_comment};
use domain::wake::{Actor, IssueFacts, IssueView, LockHolder, WaitingRetry, WakeRequest};
use serde_json::{Map, Value as Json};
use store::agents::Agent;
use store::issues::Issue;
use store::runs::Run;
use store::{StoreError, Tx, comments, held_texts, holds, issues, locks, relations, runs_of_issues, wakes};

/// More runs than this on one issue are not waiting for a retry: each agent has one at most.
const MOST_RUNS: i64 = 500;
/// As many wakes of a run as are asked who is behind it.
const MOST_ASKS: i64 = 100;

/// An issue that a wake names, locked.
#[derive(Debug)]
pub(crate) struct AtDoor {
    pub view: IssueView,
    /// `None`: there is none in the company.
    pub issue: Option<Issue>,
    pub lock: Option<LockFacts>,
    /// Its runs that are not over.
    pub live: Vec<Run>,
    /// It has a text that nobody has released.
    has_held_text: bool,
}

/// Locks the issue that a wake names, and looks at it.
pub(crate) async fn at_door(
    tx: &mut Tx<'_>,
    agent: &Agent,
    id: &IssueId,
    request: &WakeRequest,
) -> Result<AtDoor, StoreError> {
    let found = issues::lock(tx, id).await?.filter(|issue| issue.company_id == agent.company_id);
    let Some(issue) = found else {
        return Ok(AtDoor {
            view: IssueView::Missing(id.clone()),
            issue: None,
            lock: None,
            live: Vec::new(),
            has_held_text: false,
        });
    };
    let one = std::slice::from_ref(id);
    let hold = pause_hold(tx, id).await?;
    let blockers = relations::blockers_of(tx, one).await?;
    let blockers = blockers.into_iter().filter(|(_, it)| it.status != IssueStatus::Done);
    let lock = match issue.lock_run_id {
        Some(_) => locks::of_issues(tx, one).await?.into_iter().next().map(lock_facts),
        None => None,
    };
    let holder = lock.as_ref().filter(|lock| lock.is_live());
    let holder = holder.map(|lock| LockHolder { run: lock.run.clone(), agent: lock.agent.clone() });
    let deferred = match &holder {
        Some(holder) if holder.agent != agent.id => {
            wakes::deferred(tx, &agent.id, id).await?.map(|wake| wake.id)
        }
        Some(_) | None => None,
    };
    let live = runs_of_issues::live(tx, id, MOST_RUNS).await?;
    let retries = live.iter().filter(|run| run.status == RunStatus::ScheduledRetry).map(waiting_retry);
    // Only a hold asks who wrote.
    let comment = match (&hold, last_comment(&request.context)) {
        (Some(_), Some(comment)) => comment_facts(tx, comment).await?,
        (_, _) => None,
    };
    let facts = IssueFacts {
        id: id.clone(),
        status: issue.status,
        assignee: issue.assignee_agent_id.clone(),
        woken: agent.id.clone(),
        hold,
        blockers: blockers.map(|(_, related)| blocker(related)).collect(),
        holder,
        retries: retries.collect(),
        deferred,
        comment,
    };
    let has_held_text = !held_texts::waiting(tx, one).await?.is_empty();
    Ok(AtDoor { view: IssueView::Found(Box::new(facts)), issue: Some(issue), lock, live, has_held_text })
}

impl AtDoor {
    /// The same issue for the claim of a run that was made this moment for a wake of `actor`.
    pub(crate) fn at_claim(&self, run: &Run, actor: &Actor) -> ClaimIssue {
        let (facts, issue) = match (&self.view, &self.issue) {
            (IssueView::Found(facts), Some(issue)) => (facts, issue),
            (IssueView::Missing(id), _) => return ClaimIssue::Missing(id.clone()),
            (IssueView::Found(facts), None) => return ClaimIssue::Missing(facts.id.clone()),
        };
        let none = Map::new();
        let context = run.context.as_object().unwrap_or(&none);
        let verified = is_verified(context, &facts.id, facts.comment.as_ref(), None, Some(actor), &[]);
        ClaimIssue::Found(Box::new(IssueAtClaim {
            id: issue.id.clone(),
            run: run.id.clone(),
            agent: run.agent_id.clone(),
            status: issue.status,
            assignee: issue.assignee_agent_id.clone(),
            participant: turn(issue),
            is_held: facts.hold.is_some(),
            has_held_text: self.has_held_text,
            is_ready: facts.blockers.is_empty(),
            lock: self.lock.clone(),
            passes: Passes::read(context, verified),
        }))
    }

    /// The run that clients are shown is over or gone: another one may take its place there.
    pub(crate) fn points_nowhere(&self) -> bool {
        let shown = self.issue.as_ref().and_then(|issue| issue.execution_run_id.as_ref());
        shown.is_none_or(|shown| !self.live.iter().any(|run| run.id == *shown))
    }
}

/// Looks at the issues of waiting runs; a run without one is not in the answer, and costs no statement.
pub(crate) async fn at_claim(
    tx: &mut Tx<'_>,
    waiting: &[Run],
) -> Result<BTreeMap<RunId, (ClaimIssue, Option<Issue>)>, StoreError> {
    let mut ids: Vec<IssueId> = waiting.iter().filter_map(issue_of).collect();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = issues::some(tx, &ids).await?;
    let found: BTreeMap<IssueId, Issue> = found.into_iter().map(|issue| (issue.id.clone(), issue)).collect();
    let blocked = relations::unresolved(tx, &ids).await?;
    let blocked: BTreeSet<IssueId> = blocked.into_iter().map(|(blocked, _, _)| blocked).collect();
    let held: BTreeMap<IssueId, Moment> = holds::held(tx, &ids).await?.into_iter().collect();
    let unseen: BTreeSet<IssueId> = held_texts::waiting(tx, &ids).await?.into_iter().collect();
    let mut locks: BTreeMap<IssueId, LockFacts> = BTreeMap::new();
    if found.values().any(|issue| issue.lock_run_id.is_some()) {
        for lock in locks::of_issues(tx, &ids).await? {
            locks.insert(lock.issue_id.clone(), lock_facts(lock));
        }
    }
    let none = Map::new();
    let mut views = BTreeMap::new();
    for run in waiting {
        let Some(id) = issue_of(run) else { continue };
        let of_company = found.get(&id).filter(|issue| issue.company_id == run.company_id);
        let Some(issue) = of_company else {
            views.insert(run.id.clone(), (ClaimIssue::Missing(id), None));
            continue;
        };
        let context = run.context.as_object().unwrap_or(&none);
        let verified = match held.get(&id) {
            Some(since) if interaction::is_interaction(context) => {
                verified(tx, run, &id, context, *since).await?
            }
            Some(_) | None => false,
        };
        let view = IssueAtClaim {
            id: id.clone(),
            run: run.id.clone(),
            agent: run.agent_id.clone(),
            status: issue.status,
            assignee: issue.assignee_agent_id.clone(),
            participant: turn(issue),
            is_held: held.contains_key(&id),
            has_held_text: unseen.contains(&id),
            is_ready: !blocked.contains(&id),
            lock: locks.get(&id).cloned(),
            passes: Passes::read(context, verified),
        };
        views.insert(run.id.clone(), (ClaimIssue::Found(Box::new(view)), Some(issue.clone())));
    }
    Ok(views)
}

/// The issue that a run works on.
pub(crate) fn issue_of(run: &Run) -> Option<IssueId> {
    run.issue_id.clone().map(IssueId)
}

/// A run that waits for its time, as the rule of stale retries sees it.
pub(crate) fn waiting_retry(run: &Run) -> WaitingRetry {
    WaitingRetry {
        run: run.id.clone(),
        agent: run.agent_id.clone(),
        is_interaction: run.context.as_object().is_some_and(interaction::is_interaction),
    }
}

/// The pause hold that covers an issue.
pub(crate) async fn pause_hold(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Option<PauseHold>, StoreError> {
    Ok(holds::gate(tx, issue).await?.map(|hold| PauseHold {
        id: hold.id,
        root: hold.root_issue_id,
        reason: hold.reason,
        release_policy: hold.release_policy,
    }))
}

/// A comment as the rules see it; `None` when there is none of that id.
pub(crate) async fn comment_facts(
    tx: &mut Tx<'_>,
    comment: &str,
) -> Result<Option<CommentFacts>, StoreError> {
    Ok(comments::get(tx, &CommentId::from(comment)).await?.map(|comment| CommentFacts {
        id: comment.id,
        issue: comment.issue_id,
        author_agent: comment.author_agent_id,
        author_user: comment.author_user_id,
        written_at: comment.created_at,
    }))
}

/// Since when a pause hold covers an issue: the newest, where several do.
pub(crate) async fn held_since(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Option<Moment>, StoreError> {
    Ok(holds::held(tx, std::slice::from_ref(issue)).await?.pop().map(|(_, since)| since))
}

/// Whether the comment that a run names proves that the run may pass the hold of its issue.
pub(crate) async fn verified(
    tx: &mut Tx<'_>,
    run: &Run,
    issue: &IssueId,
    context: &Map<String, Json>,
    held_since: Moment,
) -> Result<bool, StoreError> {
    let Some(named) = last_comment(context) else { return Ok(false) };
    let comment = comment_facts(tx, named).await?;
    let named = |payload: &Json, key: &str| payload[key].as_str().map(str::to_owned);
    let asks: Vec<StoredAsk> = wakes::of_run(tx, &run.id, MOST_ASKS)
        .await?
        .into_iter()
        .map(|wake| StoredAsk {
            actor: Actor { kind: wake.actor_kind, id: wake.actor_id.clone() },
            issue: named(&wake.payload, "issueId"),
            comment: named(&wake.payload, "commentId"),
        })
        .collect();
    Ok(is_verified(context, issue, comment.as_ref(), Some(held_since), None, &asks))
}

fn turn(issue: &Issue) -> Option<(Option<domain::issue::stages::StageType>, domain::issue::Principal)> {
    issue.execution_state.as_ref().and_then(State::read).and_then(|state| state.turn())
}

fn lock_facts(lock: locks::Locked) -> LockFacts {
    LockFacts {
        run: lock.run_id,
        epoch: lock.epoch,
        agent: lock.agent_id,
        run_status: lock.run_status,
        run_epoch: lock.run_epoch.unwrap_or(0),
    }
}

pub(crate) fn blocker(related: relations::Related) -> Blocker {
    Blocker {
        id: related.id,
        identifier: Some(related.identifier),
        title: related.title,
        status: related.status,
        priority: related.priority,
        assignee_agent: related.assignee_agent_id,
        assignee_user: related.assignee_user_id,
    }
}
