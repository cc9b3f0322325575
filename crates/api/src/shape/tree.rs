//! Tree control on the wire: what would be done to a tree, what was, and the pause that covers an issue.

use std::collections::{BTreeMap, HashSet};

use domain::moment::Moment;
use domain::run::RunStatus;
use domain::tree::preview::TreeRun as RunRow;
use domain::tree::{PauseGate as Gate, ReleasePolicy as PolicyRow};
use engine::{HeldTree, PreviewedIssue, TreePreview as Preview};
use serde::Serialize;
use serde_json::Value;
use store::holds::Member as MemberRow;
use utoipa::ToSchema;

/// A hold on a tree of issues.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TreeHold {
    id: String,
    company_id: String,
    root_issue_id: String,
    /// `pause`, `resume`, `cancel` or `restore`.
    mode: String,
    /// `active` or `released`.
    status: String,
    reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    release_policy: Option<Value>,
    created_by_actor_type: String,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    created_by_run_id: Option<String>,
    #[schema(value_type = Option<String>)]
    released_at: Option<Moment>,
    released_by_actor_type: Option<String>,
    released_by_agent_id: Option<String>,
    released_by_user_id: Option<String>,
    released_by_run_id: Option<String>,
    release_reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    release_metadata: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// The issues of the tree as they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<TreeMember>>,
}

impl TreeHold {
    pub(crate) fn new(held: HeldTree, with_members: bool) -> TreeHold {
        let HeldTree { hold, members } = held;
        TreeHold {
            id: hold.id.0,
            company_id: hold.company_id.0,
            root_issue_id: hold.root_issue_id.0,
            mode: hold.mode,
            status: hold.status,
            reason: hold.reason,
            release_policy: hold.release_policy,
            created_by_actor_type: hold.created_by_actor_type,
            created_by_agent_id: hold.created_by_agent_id.map(|id| id.0),
            created_by_user_id: hold.created_by_user_id,
            created_by_run_id: hold.created_by_run_id.map(|id| id.0),
            released_at: hold.released_at,
            released_by_actor_type: hold.released_by_actor_type,
            released_by_agent_id: hold.released_by_agent_id.map(|id| id.0),
            released_by_user_id: hold.released_by_user_id,
            released_by_run_id: hold.released_by_run_id.map(|id| id.0),
            release_reason: hold.release_reason,
            release_metadata: hold.release_metadata,
            created_at: hold.created_at,
            updated_at: hold.updated_at,
            members: with_members.then(|| members.into_iter().map(TreeMember::from).collect()),
        }
    }
}

/// An issue under a hold, as it was when the hold was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TreeMember {
    id: String,
    company_id: String,
    hold_id: String,
    issue_id: String,
    parent_issue_id: Option<String>,
    depth: i64,
    issue_identifier: Option<String>,
    issue_title: String,
    issue_status: &'static str,
    assignee_agent_id: Option<String>,
    assignee_user_id: Option<String>,
    active_run_id: Option<String>,
    active_run_status: Option<&'static str>,
    skipped: bool,
    skip_reason: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<MemberRow> for TreeMember {
    fn from(row: MemberRow) -> TreeMember {
        TreeMember {
            id: row.id,
            company_id: row.company_id.0,
            hold_id: row.hold_id.0,
            issue_id: row.issue_id.0,
            parent_issue_id: row.parent_issue_id.map(|id| id.0),
            depth: row.depth,
            issue_identifier: row.issue_identifier,
            issue_title: row.issue_title,
            issue_status: row.issue_status.as_str(),
            assignee_agent_id: row.assignee_agent_id.map(|id| id.0),
            assignee_user_id: row.assignee_user_id,
            active_run_id: row.active_run_id.map(|id| id.0),
            active_run_status: row.active_run_status.map(RunStatus::as_str),
            skipped: row.skipped,
            skip_reason: row.skip_reason,
            created_at: row.created_at,
        }
    }
}

/// What an operation on a tree does, or would do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TreePreview {
    company_id: String,
    root_issue_id: String,
    mode: &'static str,
    #[schema(value_type = String, format = DateTime)]
    generated_at: Moment,
    release_policy: Option<ReleasePolicy>,
    totals: TreeTotals,
    counts_by_status: BTreeMap<&'static str, usize>,
    /// All issues of the tree, taken and skipped.
    issues: Vec<TreeIssue>,
    skipped_issues: Vec<TreeIssue>,
    /// Runs that are not over.
    active_runs: Vec<TreeRun>,
    affected_agents: Vec<TreeAgent>,
    warnings: Vec<TreeWarning>,
}

/// How a hold is meant to end.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct ReleasePolicy {
    /// `manual` or `after_active_runs_finish`.
    strategy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl From<PolicyRow> for ReleasePolicy {
    fn from(policy: PolicyRow) -> ReleasePolicy {
        ReleasePolicy { strategy: policy.strategy.as_str(), note: policy.note }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TreeTotals {
    total_issues: usize,
    affected_issues: usize,
    skipped_issues: usize,
    active_runs: usize,
    queued_runs: usize,
    affected_agents: usize,
}

/// An issue of a tree, and what would happen to it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TreeIssue {
    id: String,
    identifier: Option<String>,
    title: String,
    status: &'static str,
    parent_id: Option<String>,
    depth: u32,
    assignee_agent_id: Option<String>,
    assignee_user_id: Option<String>,
    active_run: Option<TreeRun>,
    active_hold_ids: Vec<String>,
    /// The operation, or `skip`.
    action: &'static str,
    skipped: bool,
    skip_reason: Option<&'static str>,
}

/// A run of a tree.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TreeRun {
    id: String,
    issue_id: String,
    agent_id: String,
    status: &'static str,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<RunRow> for TreeRun {
    fn from(run: RunRow) -> TreeRun {
        TreeRun {
            id: run.id.0,
            issue_id: run.issue.0,
            agent_id: run.agent.0,
            status: run.status.as_str(),
            started_at: run.started_at,
            created_at: run.created_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TreeAgent {
    agent_id: String,
    issue_count: usize,
    active_run_count: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TreeWarning {
    code: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    issue_ids: Vec<String>,
}

impl From<Preview> for TreePreview {
    fn from(preview: Preview) -> TreePreview {
        let mode = preview.mode.as_str();
        let issues: Vec<TreeIssue> =
            preview.issues.into_iter().map(|issue| TreeIssue::new(issue, mode)).collect();
        let mut counts_by_status = BTreeMap::new();
        for issue in &issues {
            *counts_by_status.entry(issue.status).or_default() += 1;
        }
        let skipped: Vec<TreeIssue> = issues.iter().filter(|issue| issue.skipped).cloned().collect();
        let is = |status: RunStatus| preview.runs.iter().filter(|run| run.status == status).count();
        let agents: HashSet<&str> = preview.agents.iter().map(|agent| agent.agent.as_str()).collect();
        TreePreview {
            company_id: preview.company_id.0,
            root_issue_id: preview.root.0,
            mode,
            generated_at: preview.generated_at,
            release_policy: preview.release_policy.map(ReleasePolicy::from),
            totals: TreeTotals {
                total_issues: issues.len(),
                affected_issues: issues.len() - skipped.len(),
                skipped_issues: skipped.len(),
                active_runs: is(RunStatus::Running),
                queued_runs: is(RunStatus::Queued) + is(RunStatus::ScheduledRetry),
                affected_agents: agents.len(),
            },
            counts_by_status,
            issues,
            skipped_issues: skipped,
            affected_agents: preview
                .agents
                .iter()
                .map(|agent| TreeAgent {
                    agent_id: agent.agent.0.clone(),
                    issue_count: agent.issues,
                    active_run_count: agent.running,
                })
                .collect(),
            active_runs: preview.runs.into_iter().map(TreeRun::from).collect(),
            warnings: preview
                .warnings
                .into_iter()
                .map(|warning| TreeWarning {
                    code: warning.code.as_str(),
                    message: warning.message,
                    issue_ids: warning.issues.into_iter().map(|id| id.0).collect(),
                })
                .collect(),
        }
    }
}

impl TreeIssue {
    fn new(previewed: PreviewedIssue, mode: &'static str) -> TreeIssue {
        let PreviewedIssue { issue, active_run, holds, skip, .. } = previewed;
        TreeIssue {
            id: issue.id.0,
            identifier: issue.identifier,
            title: issue.title,
            status: issue.status.as_str(),
            parent_id: issue.parent.map(|id| id.0),
            depth: issue.depth,
            assignee_agent_id: issue.assignee_agent.map(|id| id.0),
            assignee_user_id: issue.assignee_user,
            active_run: active_run.map(TreeRun::from),
            active_hold_ids: holds.into_iter().map(|id| id.0).collect(),
            action: if skip.is_some() { "skip" } else { mode },
            skipped: skip.is_some(),
            skip_reason: skip.map(|reason| reason.as_str()),
        }
    }
}

/// What was done to a tree.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TreeOperated {
    pub(crate) hold: TreeHold,
    pub(crate) preview: TreePreview,
}

/// The pause that covers an issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TreeState {
    active_pause_hold: Option<PauseGate>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PauseGate {
    hold_id: String,
    root_issue_id: String,
    issue_id: String,
    is_root: bool,
    /// Always `pause`.
    mode: &'static str,
    reason: Option<String>,
    release_policy: Option<ReleasePolicy>,
}

impl From<Option<Gate>> for TreeState {
    fn from(gate: Option<Gate>) -> TreeState {
        let active_pause_hold = gate.map(|gate| PauseGate {
            hold_id: gate.hold.0,
            root_issue_id: gate.root.0,
            issue_id: gate.issue.0,
            is_root: gate.is_root,
            mode: "pause",
            reason: gate.reason,
            release_policy: gate.release_policy.map(ReleasePolicy::from),
        });
        TreeState { active_pause_hold }
    }
}
