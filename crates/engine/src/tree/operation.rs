//! Writing an operation on a tree: the hold with its members, the issues, the runs and wakes that it stops, and what
//! others hear of it.

use std::collections::BTreeMap;

use domain::ids::{AgentId, HoldId, IssueId};
use domain::issue::create::{Stamps, waits};
use domain::issue::notices::{self, Notice};
use domain::issue::refusal::Refusal;
use domain::issue::{Editor, IssueStatus};
use domain::tree::operation::{Operation, operate as decide};
use domain::tree::preview::Preview;
use domain::tree::{HoldStatus, Mode};
use domain::wake::WakeStatus;
use serde_json::json;
use store::holds::{self, Hold, Member};
use store::issues::{self, Issue};
use store::{Tx, audit, locks, runs, wakes};

use super::view::{self, Tree};
use super::{HeldTree, Stopped, TreeOperation, TreePreview, actor_type, release_of, stop_of, words};
use crate::activity::Scribe;
use crate::issues::{self as facade, Again, Locked, Locks};
use crate::stops::StopReport;
use crate::{EngineError, stops};

/// As many deferred wakes as an issue can have.
const MOST_DEFERRED: i64 = 200;

/// An operation that was written.
pub(super) struct Done {
    pub(super) held: HeldTree,
    pub(super) preview: TreePreview,
    pub(super) stopped: Stopped,
}

pub(super) async fn operate(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locks: Locks,
    root: &IssueId,
    ask: TreeOperation,
) -> Result<Done, Again> {
    let seen = view::load(tx, root).await?;
    let locks = locks.with(&needs(tx, &seen, ask.mode).await?);
    let locked = locks.take(tx).await?;
    // Behind the locks it may be another tree.
    let tree = view::load(tx, root).await?;
    let needed = needs(tx, &tree, ask.mode).await?;
    if !locks.holds(&needed) {
        return Err(Again::Wider(locks.with(&needed)));
    }
    let preview = tree.preview(ask.mode);
    let wake_agents = ask.metadata.as_ref().is_some_and(|metadata| metadata["wakeAgents"] == true);
    let operation = decide(&preview, &tree.holds, wake_agents);
    let held = insert(tx, scribe, &tree, &preview, &operation, &ask).await?;
    for hold in &operation.release {
        let release = release_of(scribe, ask.reason.clone(), None);
        holds::release(tx, hold, &release, scribe.now).await?;
    }
    change(tx, scribe, &locked, &tree, &operation, (ask.mode, &held.hold.id)).await?;
    let stopped = if operation.stops { stop(tx, scribe, &tree, ask.mode).await? } else { Vec::new() };
    wake(tx, scribe, &tree, &operation, &held.hold.id).await?;
    let preview = tree.owned(&preview, scribe.now, ask.release_policy);
    Ok(Done { held, preview, stopped })
}

/// Everything an operation touches: the tree, the agents of its runs, and, for a cancel or a restore, what it blocks and
/// what it is part of.
async fn needs(tx: &mut Tx<'_>, tree: &Tree, mode: Mode) -> Result<Locks, EngineError> {
    let mut locks = Locks::of(&tree.root);
    locks.issues.extend(tree.issues.iter().map(|issue| issue.id.clone()));
    locks.agents.extend(tree.runs.iter().map(|run| run.agent.clone()));
    if matches!(mode, Mode::Cancel | Mode::Restore) {
        for issue in &tree.issues {
            locks.issues.extend(facade::dependents(tx, &issue.id).await?);
        }
        locks.issues.extend(tree.issues.first().and_then(|root| root.parent.clone()));
    }
    Ok(locks)
}

async fn insert(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    tree: &Tree,
    preview: &Preview<'_>,
    operation: &Operation,
    ask: &TreeOperation,
) -> Result<HeldTree, EngineError> {
    let now = scribe.now;
    let is_over = operation.hold == HoldStatus::Released;
    let by = actor_type(&scribe.by).to_owned();
    let hold = Hold {
        id: HoldId(scribe.id()),
        company_id: tree.company.clone(),
        root_issue_id: tree.root.clone(),
        mode: ask.mode.as_str().to_owned(),
        status: operation.hold.as_str().to_owned(),
        reason: ask.reason.clone(),
        release_policy: ask.release_policy.as_ref().map(|policy| json!(policy)),
        metadata: ask.metadata.clone(),
        created_by_actor_type: by.clone(),
        created_by_agent_id: scribe.by.agent_id(),
        created_by_user_id: scribe.by.user_id(),
        created_by_run_id: scribe.by.run_id(),
        released_at: is_over.then_some(now),
        released_by_actor_type: is_over.then_some(by),
        released_by_agent_id: scribe.by.agent_id().filter(|_| is_over),
        released_by_user_id: scribe.by.user_id().filter(|_| is_over),
        released_by_run_id: scribe.by.run_id().filter(|_| is_over),
        release_reason: ask.reason.clone().filter(|_| is_over),
        release_metadata: None,
        created_at: now,
        updated_at: now,
    };
    let mut members = Vec::new();
    for member in preview.members(&hold.id) {
        let (active_run_id, active_run_status) = member.active_run.unzip();
        members.push(Member {
            id: scribe.id(),
            company_id: tree.company.clone(),
            hold_id: hold.id.clone(),
            issue_id: member.issue,
            parent_issue_id: member.parent,
            depth: i64::from(member.depth),
            issue_identifier: member.identifier,
            issue_title: member.title,
            issue_status: member.status,
            assignee_agent_id: member.assignee_agent,
            assignee_user_id: member.assignee_user,
            active_run_id,
            active_run_status,
            skipped: member.skip.is_some(),
            skip_reason: member.skip.map(|skip| skip.as_str().to_owned()),
            created_at: now,
        });
    }
    holds::insert(tx, &hold, &members).await?;
    let details = json!({
        "holdId": hold.id, "mode": hold.mode, "reason": hold.reason, "status": hold.status,
        "affectedIssues": preview.affected().count(), "skippedIssues": preview.skipped().count(),
    });
    let action = "issue.tree_hold_created";
    scribe.tell_issue(tx, &tree.company, action, &tree.root, details).await?;
    let record =
        stops::record(&tree.company, &scribe.by.actor(), action, tree.root.as_str(), ask.mode.as_str(), now);
    audit::append(tx, record).await?;
    Ok(HeldTree { hold, members })
}

/// Gives the issues their new status; they lose their locks, so that nothing of before writes to them any more.
async fn change(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locked: &Locked,
    tree: &Tree,
    operation: &Operation,
    (mode, hold): (Mode, &HoldId),
) -> Result<(), EngineError> {
    if operation.statuses.is_empty() {
        return Ok(());
    }
    let mut changed: Vec<Issue> = Vec::new();
    for (id, status) in &operation.statuses {
        let issue = locked.issues.get(id).ok_or(Refusal::IssueNotFound)?;
        let open = facade::open_blockers(tx, id).await?;
        let stamps = Stamps {
            started_at: issue.started_at,
            completed_at: issue.completed_at,
            cancelled_at: issue.cancelled_at,
        };
        let stamps = stamps.after(Some(issue.status), *status, scribe.now);
        let after = Issue {
            status: *status,
            started_at: stamps.started_at,
            completed_at: stamps.completed_at,
            cancelled_at: stamps.cancelled_at,
            waits_on_blockers: waits(*status, &open),
            last_activity_at: scribe.now,
            updated_at: scribe.now,
            ..issue.clone()
        };
        issues::update(tx, &after).await?;
        locks::clear(tx, id).await?;
        store::inbox::resolve_of(tx, id.as_str(), None, "issue_changed", scribe.now).await?;
        changed.push(after);
    }
    let action = match mode {
        Mode::Cancel => "issue.tree_cancel_status_updated",
        Mode::Restore | Mode::Pause | Mode::Resume => "issue.tree_restore_status_updated",
    };
    let told: Vec<_> =
        operation.statuses.iter().map(|(id, to)| json!({ "issueId": id, "status": to })).collect();
    let details = json!({ "holdId": hold, "updated": told.len(), "issues": told });
    scribe.tell_issue(tx, &tree.company, action, &tree.root, details).await?;
    for issue in &changed {
        let before = locked.issues.get(&issue.id).map(|issue| issue.status);
        let details = json!({
            "identifier": issue.identifier, "status": issue.status, "source": "tree_control", "holdId": hold,
            "_previous": { "status": before },
        });
        scribe.tell_issue(tx, &tree.company, "issue.updated", &issue.id, details).await?;
    }
    tell_others(tx, scribe, locked, tree, &changed, mode).await
}

/// Who is not in the tree and hears of its cancel: the owners of what it blocks, and of what it is part of.
async fn tell_others(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locked: &Locked,
    tree: &Tree,
    changed: &[Issue],
    mode: Mode,
) -> Result<(), EngineError> {
    let is_inside = |id: &IssueId| tree.issues.iter().any(|issue| issue.id == *id);
    let mut dependents = facade::dependents_of(tx, &tree.root, locked).await?;
    dependents.retain(|dependent| dependent.blockers.iter().any(|id| changed.iter().any(|it| it.id == *id)));
    facade::note_readiness(tx, &dependents, locked).await?;
    if mode != Mode::Cancel {
        return Ok(());
    }
    let mut notices: Vec<Notice> = Vec::new();
    for dependent in dependents.iter().filter(|dependent| !is_inside(&dependent.issue)) {
        let gone = dependent.blockers.iter().find(|id| changed.iter().any(|it| it.id == **id));
        notices
            .extend(gone.and_then(|gone| notices::blocker_gave_up(dependent, gone, IssueStatus::Cancelled)));
    }
    let root = changed.iter().find(|issue| issue.id == tree.root);
    let before = locked.issues.get(&tree.root);
    let parent = root.and_then(|root| locked.issues.get(root.parent_id.as_ref()?));
    if let (Some(root), Some(before), Some(parent)) = (root, before, parent) {
        let patched = notices::Patched {
            issue: root.id.clone(),
            before: facade::standing(before),
            after: facade::standing(root),
            stage: None,
            said: None,
            dependents: Vec::new(),
            family: Some(facade::family(tx, parent).await?),
        };
        let editor = Editor::Board { user: scribe.by.user_id() };
        let of_parent = notices::patched(&patched, &editor);
        notices.extend(of_parent.into_iter().filter(|notice| notice.issue.as_ref() == Some(&parent.id)));
    }
    facade::send(tx, scribe, &tree.company, &notices).await
}

/// Stops the runs of the tree, and for a cancel its deferred wakes.
async fn stop(tx: &mut Tx<'_>, scribe: &mut Scribe, tree: &Tree, mode: Mode) -> Result<Stopped, EngineError> {
    let mut stopped: BTreeMap<AgentId, StopReport> = BTreeMap::new();
    for of_tree in &tree.runs {
        let Some(run) = runs::lock(tx, &of_tree.id).await? else { continue };
        let report = stopped.entry(run.agent_id.clone()).or_default();
        let before = (report.stopping.len(), report.withdrawn.len());
        stops::stop_one(tx, stop_of(mode), &run, words(mode), report, scribe.now).await?;
        if (report.stopping.len(), report.withdrawn.len()) != before {
            let details = json!({
                "runId": run.id, "agentId": run.agent_id, "status": run.status, "reason": mode.stop_reason(),
            });
            let action = "issue.tree_hold_run_interrupted";
            scribe.tell_issue(tx, &tree.company, action, &of_tree.issue, details).await?;
        }
    }
    if mode.ends_wakes() {
        for issue in &tree.issues {
            for wake in wakes::deferred_on(tx, &issue.id, MOST_DEFERRED).await? {
                let words = Some(words(mode));
                if wakes::end_without_run(tx, &wake.id, WakeStatus::Cancelled, words, scribe.now).await? {
                    let details = json!({ "wakeupRequestId": wake.id, "agentId": wake.agent_id });
                    let action = "issue.tree_hold_wakeup_deferred";
                    scribe.tell_issue(tx, &tree.company, action, &issue.id, details).await?;
                }
            }
        }
    }
    Ok(stopped.into_iter().collect())
}

/// Wakes the assignees of what was restored.
async fn wake(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    tree: &Tree,
    operation: &Operation,
    hold: &HoldId,
) -> Result<(), EngineError> {
    let restored: Vec<(IssueId, notices::Standing)> = operation
        .wake
        .iter()
        .map(|(issue, agent)| {
            let status = operation.statuses.iter().find(|(id, _)| id == issue).map(|(_, status)| *status);
            let status = status.unwrap_or(IssueStatus::Todo);
            (issue.clone(), notices::Standing { status, assignee: Some(agent.clone()) })
        })
        .collect();
    let notices = notices::tree_restored(&tree.root, hold, &restored);
    for notice in &notices {
        let details = json!({ "holdId": hold, "agentId": notice.agent });
        let issue = notice.issue.as_ref().unwrap_or(&tree.root);
        let action = "issue.tree_restore_wakeup_requested";
        scribe.tell_issue(tx, &tree.company, action, issue, details).await?;
    }
    facade::send(tx, scribe, &tree.company, &notices).await
}
