//! Judging a change: what it looks at, what it must lock, what becomes of the issue. Writes nothing.

use domain::agent::url_key;
use domain::ids::{AgentId, IssueId, RunId, looks_like_id};
use domain::issue::IssueStatus;
use domain::issue::change::{self, Changed, Current, Facts, RunUnderWay, active_run};
use domain::issue::create::{Stamps, check_parent};
use domain::issue::refusal::{Kind, Refusal};
use domain::issue::stages::{Policy, State};
use domain::moment::Moment;
use domain::recovery::looks;
use domain::run::RunStatus;
use store::agents;
use store::issues::{self, Issue};
use store::{Tx, runs, runs_of_issues};

use super::IssuePatch;
use crate::EngineError;
use crate::activity::{Author, Scribe};
use crate::environments::check_choice;
use crate::issues::care::{Custodian, agent_in, check_open, guard, may_assign};
use crate::issues::create::{
    checked_blockers, goal_of, inherited_from, open_place_of, own_workspace, project_of,
};
use crate::issues::facts::{self, Locks, user_exists};
use crate::issues::{labels, of_company, tidings};

/// A change that may be written.
pub(super) struct Plan {
    pub(super) before: Issue,
    pub(super) after: Issue,
    pub(super) changed: Changed,
    pub(super) custodian: Custodian,
    /// All blockers after the change, if they change.
    pub(super) blockers: Option<Vec<IssueId>>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) mentioned: Vec<AgentId>,
}

/// What a change of this form looks at beside the issue; read without locks, so it may be too little.
pub(super) async fn foresee(tx: &mut Tx<'_>, id: &IssueId, patch: &IssuePatch) -> Result<Locks, EngineError> {
    let mut locks = Locks::default();
    locks.issues.extend(patch.blocked_by.iter().flatten().cloned());
    let stops = patch.interrupt || patch.status == Some(IssueStatus::Cancelled);
    if stops {
        let live = runs_of_issues::live_of(tx, std::slice::from_ref(id)).await?;
        let running = live.into_iter().filter(|run| run.status == RunStatus::Running);
        locks.agents.extend(running.map(|run| run.agent_id));
    }
    if patch.status.is_some_and(IssueStatus::is_terminal) {
        locks.issues.extend(facts::dependents(tx, id).await?);
        locks.issues.extend(issues::get(tx, id).await?.and_then(|issue| issue.parent_id));
    }
    Ok(locks)
}

/// What must be locked for this change.
pub(super) async fn needs(tx: &mut Tx<'_>, plan: &Plan) -> Result<Locks, EngineError> {
    let mut locks = Locks::of(&plan.before.id);
    locks.issues.extend(plan.blockers.iter().flatten().cloned());
    if let Some((run, _)) = &plan.changed.stop {
        locks.agents.extend(runs::get(tx, run).await?.map(|run| run.agent_id));
    }
    if changes_readiness(plan) {
        locks.issues.extend(facts::dependents(tx, &plan.before.id).await?);
    }
    if ends(plan) {
        locks.issues.extend(plan.after.parent_id.clone());
    }
    Ok(locks)
}

/// What it blocks hears of it: it became done or is not any more, or it was cancelled.
pub(super) fn changes_readiness(plan: &Plan) -> bool {
    let (before, after) = (plan.before.status, plan.after.status);
    before != after
        && (before == IssueStatus::Done || after == IssueStatus::Done || after == IssueStatus::Cancelled)
}

pub(super) fn ends(plan: &Plan) -> bool {
    plan.after.status.is_terminal() && !plan.before.status.is_terminal()
}

/// Judges the change. Writes nothing (but the graph is locked when blockers change).
pub(super) async fn plan(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    patch: &IssuePatch,
) -> Result<Plan, EngineError> {
    let company = &issue.company_id;
    let agent = agent_in(tx, scribe, company).await?;
    let custodian = guard(tx, scribe, issue).await?;
    let is_agents = agent.is_some() && *patch != IssuePatch::default();
    if is_agents || (patch.comment.is_some() && !matches!(scribe.by, Author::System { .. })) {
        check_open(tx, issue).await?;
    }
    let settings = patch.execution_workspace_settings.as_ref().and_then(Option::as_ref);
    check_choice(tx, company, settings).await?;
    let assignee = match &patch.assignee_agent {
        None => None,
        Some(None) => Some(None),
        Some(Some(reference)) => Some(Some(agent_named(tx, issue, reference).await?)),
    };
    let known_blockers = match &patch.blocked_by {
        None => None,
        Some(blockers) => Some(checked_blockers(tx, issue, blockers).await?),
    };
    let open_blockers = match &known_blockers {
        None => facts::open_blockers(tx, &issue.id).await?,
        Some(known) => known
            .iter()
            .filter(|blocker| blocker.status != IssueStatus::Done)
            .map(|blocker| blocker.id.clone())
            .collect(),
    };
    let policy = match &patch.execution_policy {
        None => None,
        Some(None) => Some(None),
        Some(Some(policy)) => Some(Policy::normalise(policy, || scribe.id())?),
    };
    let current = current(tx, scribe, issue).await?;
    let new_assignee = match &assignee {
        Some(Some(agent)) => Some(facts::assignee(tx, company, agent).await?),
        Some(None) | None => None,
    };
    let new_user_exists = match &patch.assignee_user_id {
        Some(Some(user)) => {
            issue.created_by_user_id.as_ref() == Some(user)
                || user_exists(tx, company, user, &scribe.by).await?
        }
        Some(None) | None => false,
    };
    let asks_follow_up = patch.resume || patch.reopen;
    let facts = Facts {
        editor: custodian.editor.clone(),
        manages: custodian.manages,
        may_assign: may_assign(tx, &scribe.by, agent.as_ref()).await?,
        new_assignee,
        new_user_exists,
        blockers: open_blockers,
        is_held: asks_follow_up && facts::pause_hold(tx, &issue.id).await?.is_some(),
        active_run: run_under_way(tx, &current).await?,
        decision_id: scribe.id(),
    };
    let ask = change::Patch {
        status: patch.status,
        assignee,
        assignee_user: patch.assignee_user_id.clone(),
        comment: patch.comment.clone(),
        reopen: patch.reopen,
        resume: patch.resume,
        interrupt: patch.interrupt,
        policy: policy.clone(),
        review_request: patch.review_request.clone(),
    };
    let changed = change::change(&current, &ask, &facts, scribe.now)?;
    let labels = match &patch.label_ids {
        None => None,
        Some(ids) => Some(labels::checked(tx, company, ids).await?),
    };
    let mut after = placed(tx, issue, patch).await?;
    apply(&mut after, patch, &changed, policy, scribe.now);
    let mentioned = match &patch.comment {
        None => Vec::new(),
        Some(text) => tidings::called(tx, company, text).await?,
    };
    Ok(Plan {
        before: issue.clone(),
        after,
        changed,
        custodian,
        blockers: known_blockers.map(|known| known.into_iter().map(|blocker| blocker.id).collect()),
        labels,
        mentioned,
    })
}

/// The issue as the rules see it.
async fn current(tx: &mut Tx<'_>, scribe: &mut Scribe, issue: &Issue) -> Result<Current, EngineError> {
    // What is stored was normalised: it has its ids.
    let policy = match &issue.execution_policy {
        None => None,
        Some(policy) => Policy::normalise(policy, || scribe.id())?,
    };
    Ok(Current {
        custody: facts::custody(tx, issue).await?,
        assignee_user: issue.assignee_user_id.clone(),
        created_by_user: issue.created_by_user_id.clone(),
        stamps: Stamps {
            started_at: issue.started_at,
            completed_at: issue.completed_at,
            cancelled_at: issue.cancelled_at,
        },
        policy,
        state: issue.execution_state.as_ref().and_then(State::read),
    })
}

/// The run under way on the issue.
async fn run_under_way(tx: &mut Tx<'_>, current: &Current) -> Result<Option<RunId>, EngineError> {
    let issue = &current.custody.issue;
    let live = runs_of_issues::live_of(tx, std::slice::from_ref(issue)).await?;
    let latest = live
        .into_iter()
        .filter(|run| run.status == RunStatus::Running)
        .filter(|run| Some(&run.agent_id) == current.custody.assignee.as_ref())
        .max_by_key(|run| run.started_at);
    let latest = latest.map(|run| RunUnderWay { run: run.id, issue: Some(run.issue_id) });
    Ok(active_run(&current.custody, latest.as_ref()))
}

/// The agent of an id or a short name in the company of the issue.
async fn agent_named(tx: &mut Tx<'_>, issue: &Issue, reference: &str) -> Result<AgentId, EngineError> {
    if looks_like_id(reference) {
        return Ok(AgentId(reference.to_ascii_lowercase()));
    }
    let name = reference.trim();
    let mut found = agents::named(tx, &issue.company_id, name, &url_key(name)).await?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(EngineError::NotFound("Agent")),
        (Some(agent), true) => Ok(agent.id),
        (Some(_), false) => {
            let words = "Agent shortname is ambiguous in this company. Use the agent ID.";
            Err(EngineError::refused(Kind::Conflict, words))
        }
    }
}

/// The issue in its new place: parent, project, workspace, goal.
async fn placed(tx: &mut Tx<'_>, issue: &Issue, patch: &IssuePatch) -> Result<Issue, EngineError> {
    let mut after = issue.clone();
    let company = &issue.company_id;
    if let Some(parent) = &patch.parent_id {
        if let Some(parent) = parent {
            of_company(tx, company, parent).await?.ok_or(Refusal::ParentNotFound)?;
            let above = issues::ancestors(tx, parent, issues::MOST_ANCESTORS).await?;
            let above: Vec<IssueId> = above.into_iter().map(|issue| issue.id).collect();
            check_parent(&issue.id, parent, &above)?;
        }
        after.parent_id.clone_from(parent);
    }
    if let Some(project) = &patch.project_id {
        let project = project_of(tx, company, project.as_deref()).await?.map(|project| project.id);
        if project != after.project_id {
            // The workspace was the other project's.
            after.project_workspace_id = None;
        }
        after.project_id = project;
    }
    if let Some(workspace) = &patch.project_workspace_id {
        after.project_workspace_id = match workspace {
            None => None,
            Some(workspace) => Some(own_workspace(tx, workspace, after.project_id.as_deref()).await?),
        };
    }
    if let Some(goal) = &patch.goal_id {
        after.goal_id = match goal {
            None => None,
            Some(goal) => goal_of(tx, company, Some(goal), None).await?,
        };
    }
    if let Some(from) = &patch.inherit_execution_workspace_from {
        let from = inherited_from(tx, company, from).await?;
        if patch.project_workspace_id.is_none() && from.project_id == after.project_id {
            after.project_workspace_id = from.project_workspace_id.clone().or(after.project_workspace_id);
        }
        // As for a new issue: what is said beside it counts more.
        let says_place =
            patch.execution_workspace_id.is_some() || patch.execution_workspace_settings.is_some();
        if !says_place && let Some(place) = open_place_of(tx, &from).await? {
            after.execution_workspace_id = Some(place);
            after.execution_workspace_preference = Some("reuse_existing".to_owned());
        }
    }
    Ok(after)
}

/// Writes what was decided into the row.
fn apply(
    after: &mut Issue,
    patch: &IssuePatch,
    changed: &Changed,
    policy: Option<Option<Policy>>,
    now: Moment,
) {
    let before = (after.status, after.assignee_agent_id.clone());
    if let Some(title) = &patch.title {
        title.trim().clone_into(&mut after.title);
    }
    if let Some(priority) = patch.priority {
        after.priority = priority;
    }
    for (ours, theirs) in [
        (&mut after.description, &patch.description),
        (&mut after.billing_code, &patch.billing_code),
        (&mut after.execution_workspace_id, &patch.execution_workspace_id),
        (&mut after.execution_workspace_preference, &patch.execution_workspace_preference),
    ] {
        if let Some(value) = theirs {
            ours.clone_from(value);
        }
    }
    for (ours, theirs) in [
        (&mut after.assignee_adapter_overrides, &patch.assignee_adapter_overrides),
        (&mut after.execution_workspace_settings, &patch.execution_workspace_settings),
    ] {
        if let Some(value) = theirs {
            ours.clone_from(value);
        }
    }
    if let Some(depth) = patch.request_depth {
        after.request_depth = depth;
    }
    if let Some(hidden_at) = patch.hidden_at {
        after.hidden_at = hidden_at;
    }
    if let Some(policy) = policy {
        after.execution_policy = policy.as_ref().map(Policy::to_value);
    }
    after.status = changed.status;
    after.assignee_agent_id.clone_from(&changed.assignee);
    after.assignee_user_id.clone_from(&changed.assignee_user);
    after.started_at = changed.stamps.started_at;
    after.completed_at = changed.stamps.completed_at;
    after.cancelled_at = changed.stamps.cancelled_at;
    after.execution_state = changed.state.as_ref().map(State::to_value);
    after.waits_on_blockers = changed.waits_on_blockers;
    after.last_activity_at = now;
    after.updated_at = now;
    let is_moved = (before.0, &before.1) != (after.status, &after.assignee_agent_id);
    if is_moved && after.is_agents_work() {
        // Should nobody be woken for it, somebody looks why.
        let soon = now.plus(looks::AFTER);
        after.check_at = Some(after.check_at.map_or(soon, |at| at.min(soon)));
    }
}
