//! Issues on the wire: the core row that all forms share, the list form, and what an agent's inbox shows.
//!
//! The detail with everything around an issue is `issue_detail`.

use std::collections::HashMap;

use adapters::redacted;
use domain::ids::AgentId;
use domain::issue::attention::Attention;
use domain::moment::Moment;
use engine::issues::{Listed, LiteItem, RunRef};
use serde::Serialize;
use serde_json::Value;
use store::issues::Issue as Row;
use store::labels::Label as LabelRow;
use store::relations::Related;
use utoipa::ToSchema;

use super::comment::Comment;
use super::reference::RelatedWork;

/// Names of agents, for the fields that show one.
pub(crate) type Names = HashMap<AgentId, String>;

/// An issue.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Issue {
    id: String,
    company_id: String,
    project_id: Option<String>,
    project_workspace_id: Option<String>,
    pub(super) goal_id: Option<String>,
    parent_id: Option<String>,
    title: String,
    description: Option<String>,
    /// `backlog`, `todo`, `in_progress`, `in_review`, `done`, `blocked` or `cancelled`.
    status: &'static str,
    /// `critical`, `high`, `medium` or `low`.
    priority: &'static str,
    assignee_agent_id: Option<String>,
    assignee_user_id: Option<String>,
    checkout_run_id: Option<String>,
    /// The run that works on it, or waits to.
    execution_run_id: Option<String>,
    execution_agent_name_key: Option<String>,
    #[schema(value_type = Option<String>)]
    execution_locked_at: Option<Moment>,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    issue_number: i64,
    /// `<prefix>-<number>`, usable in paths instead of the id.
    identifier: String,
    origin_kind: String,
    origin_id: Option<String>,
    origin_run_id: Option<String>,
    origin_fingerprint: String,
    request_depth: i64,
    billing_code: Option<String>,
    #[schema(value_type = Option<Object>)]
    assignee_adapter_overrides: Option<Value>,
    #[schema(value_type = Option<Object>)]
    execution_policy: Option<Value>,
    #[schema(value_type = Option<Object>)]
    execution_state: Option<Value>,
    execution_workspace_id: Option<String>,
    execution_workspace_preference: Option<String>,
    #[schema(value_type = Option<Object>)]
    execution_workspace_settings: Option<Value>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    completed_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    cancelled_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    hidden_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    labels: Vec<Label>,
    label_ids: Vec<String>,
}

impl Issue {
    pub(crate) fn new(row: Row, labels: Vec<LabelRow>, names: &Names) -> Issue {
        let holder = row.lock_agent_id.as_ref().and_then(|agent| names.get(agent));
        Issue {
            execution_agent_name_key: holder.map(|name| name.trim().to_lowercase()),
            execution_run_id: row.execution_run_id.or(row.lock_run_id).map(|id| id.0),
            execution_locked_at: row.locked_at,
            id: row.id.0,
            company_id: row.company_id.0,
            project_id: row.project_id,
            project_workspace_id: row.project_workspace_id,
            goal_id: row.goal_id,
            parent_id: row.parent_id.map(|id| id.0),
            title: row.title,
            description: row.description,
            status: row.status.as_str(),
            priority: row.priority.as_str(),
            assignee_agent_id: row.assignee_agent_id.map(|id| id.0),
            assignee_user_id: row.assignee_user_id,
            checkout_run_id: row.checkout_run_id.map(|id| id.0),
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            issue_number: row.issue_number,
            identifier: row.identifier,
            origin_kind: row.origin_kind,
            origin_id: row.origin_id,
            origin_run_id: row.origin_run_id,
            origin_fingerprint: row.origin_fingerprint,
            request_depth: row.request_depth,
            billing_code: row.billing_code,
            assignee_adapter_overrides: row.assignee_adapter_overrides.map(redacted),
            execution_policy: row.execution_policy,
            execution_state: row.execution_state,
            execution_workspace_id: row.execution_workspace_id,
            execution_workspace_preference: row.execution_workspace_preference,
            execution_workspace_settings: row.execution_workspace_settings,
            started_at: row.started_at,
            completed_at: row.completed_at,
            cancelled_at: row.cancelled_at,
            hidden_at: row.hidden_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            label_ids: labels.iter().map(|label| label.id.clone()).collect(),
            labels: labels.into_iter().map(Label::from).collect(),
        }
    }
}

/// A label of a company.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Label {
    id: String,
    company_id: String,
    name: String,
    /// `#rrggbb`.
    color: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<LabelRow> for Label {
    fn from(row: LabelRow) -> Label {
        Label {
            id: row.id,
            company_id: row.company_id.0,
            name: row.name,
            color: row.color,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// An issue that another one points to.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RelationSummary {
    id: String,
    identifier: String,
    title: String,
    status: &'static str,
    priority: &'static str,
    assignee_agent_id: Option<String>,
    assignee_user_id: Option<String>,
}

impl From<Related> for RelationSummary {
    fn from(row: Related) -> RelationSummary {
        RelationSummary {
            id: row.id.0,
            identifier: row.identifier,
            title: row.title,
            status: row.status.as_str(),
            priority: row.priority.as_str(),
            assignee_agent_id: row.assignee_agent_id.map(|id| id.0),
            assignee_user_id: row.assignee_user_id,
        }
    }
}

impl From<&Row> for RelationSummary {
    fn from(row: &Row) -> RelationSummary {
        RelationSummary {
            id: row.id.0.clone(),
            identifier: row.identifier.clone(),
            title: row.title.clone(),
            status: row.status.as_str(),
            priority: row.priority.as_str(),
            assignee_agent_id: row.assignee_agent_id.clone().map(|id| id.0),
            assignee_user_id: row.assignee_user_id.clone(),
        }
    }
}

/// Whether what blocks an issue is being dealt with.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockerAttention {
    /// `none`, `covered`, `stalled` or `needs_attention`.
    state: &'static str,
    /// `active_child`, `active_dependency`, `stalled_review` or `attention_required`.
    reason: Option<&'static str>,
    unresolved_blocker_count: usize,
    covered_blocker_count: usize,
    stalled_blocker_count: usize,
    attention_blocker_count: usize,
    sample_blocker_identifier: Option<String>,
    sample_stalled_blocker_identifier: Option<String>,
}

impl From<Attention> for BlockerAttention {
    fn from(attention: Attention) -> BlockerAttention {
        BlockerAttention {
            state: attention.state.as_str(),
            reason: attention.reason,
            unresolved_blocker_count: attention.unresolved,
            covered_blocker_count: attention.covered,
            stalled_blocker_count: attention.stalled,
            attention_blocker_count: attention.attention,
            sample_blocker_identifier: attention.sample,
            sample_stalled_blocker_identifier: attention.sample_stalled,
        }
    }
}

/// The run that works on an issue, or waits to.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActiveRunRef {
    id: String,
    /// `queued` or `running`.
    status: &'static str,
    agent_id: String,
    invocation_source: &'static str,
    trigger_detail: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<RunRef> for ActiveRunRef {
    fn from(RunRef { run }: RunRef) -> ActiveRunRef {
        ActiveRunRef {
            id: run.id.0,
            status: run.status.as_str(),
            agent_id: run.agent_id.0,
            invocation_source: run.invocation_source.as_str(),
            trigger_detail: run.trigger_detail.map(|detail| detail.as_str()),
            started_at: run.started_at,
            finished_at: run.finished_at,
            created_at: run.created_at,
        }
    }
}

/// An issue in a list: long descriptions are cut, policies left out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedIssue {
    #[serde(flatten)]
    issue: Issue,
    active_run: Option<ActiveRunRef>,
    #[schema(value_type = String, format = DateTime)]
    last_activity_at: Moment,
    blocker_attention: BlockerAttention,
    /// With `includeBlockedBy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_by: Option<Vec<RelationSummary>>,
    #[serde(flatten)]
    touch: Option<Touch>,
}

/// With a filter for a person: when they and others did something there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Touch {
    #[schema(value_type = Option<String>)]
    my_last_touch_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    last_external_comment_at: Option<Moment>,
    is_unread_for_me: bool,
}

impl ListedIssue {
    pub(crate) fn new(listed: Listed, names: &Names) -> ListedIssue {
        ListedIssue {
            last_activity_at: listed.issue.last_activity_at,
            issue: Issue::new(listed.issue, listed.labels, names),
            active_run: listed.active_run.map(ActiveRunRef::from),
            blocker_attention: listed.attention.into(),
            blocked_by: listed.blocked_by.map(summaries),
            touch: listed.touch.map(|touch| Touch {
                my_last_touch_at: touch.my_last_touch_at,
                last_external_comment_at: touch.last_external_comment_at,
                is_unread_for_me: touch.is_unread,
            }),
        }
    }
}

pub(crate) fn summaries(related: Vec<Related>) -> Vec<RelationSummary> {
    related.into_iter().map(RelationSummary::from).collect()
}

/// The answer to a new issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedIssue {
    #[serde(flatten)]
    pub(crate) issue: Issue,
    pub(crate) related_work: RelatedWork,
    pub(crate) referenced_issue_identifiers: Vec<String>,
}

/// The answer to a change of an issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PatchedIssue {
    #[serde(flatten)]
    pub(crate) issue: Issue,
    /// The comment that came with the change.
    pub(crate) comment: Option<Comment>,
    /// If blockers were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocked_by: Option<Vec<RelationSummary>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocks: Option<Vec<RelationSummary>>,
    /// If title, description or a comment was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) related_work: Option<RelatedWork>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) referenced_issue_identifiers: Option<Vec<String>>,
}

/// The answer to a forced release.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForceReleased {
    pub(crate) issue: Issue,
    pub(crate) previous: PreviousLocks,
}

/// Who had the issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PreviousLocks {
    pub(crate) checkout_run_id: Option<String>,
    pub(crate) execution_run_id: Option<String>,
}

/// An issue that an agent has to work on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboxLiteItem {
    id: String,
    identifier: String,
    title: String,
    status: &'static str,
    priority: &'static str,
    project_id: Option<String>,
    goal_id: Option<String>,
    parent_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    active_run: Option<ActiveRunRef>,
    /// All its blockers are done.
    dependency_ready: bool,
    unresolved_blocker_count: usize,
    unresolved_blocker_issue_ids: Vec<String>,
}

impl From<LiteItem> for InboxLiteItem {
    fn from(item: LiteItem) -> InboxLiteItem {
        let LiteItem { issue, active_run, unresolved_blockers } = item;
        InboxLiteItem {
            id: issue.id.0,
            identifier: issue.identifier,
            title: issue.title,
            status: issue.status.as_str(),
            priority: issue.priority.as_str(),
            project_id: issue.project_id,
            goal_id: issue.goal_id,
            parent_id: issue.parent_id.map(|id| id.0),
            updated_at: issue.updated_at,
            active_run: active_run.map(ActiveRunRef::from),
            dependency_ready: unresolved_blockers.is_empty(),
            unresolved_blocker_count: unresolved_blockers.len(),
            unresolved_blocker_issue_ids: unresolved_blockers.into_iter().map(|id| id.0).collect(),
        }
    }
}

/// The issue of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssueOfRun {
    issue_id: String,
    identifier: String,
    title: String,
    status: &'static str,
    priority: &'static str,
}

impl From<Row> for IssueOfRun {
    fn from(row: Row) -> IssueOfRun {
        IssueOfRun {
            issue_id: row.id.0,
            identifier: row.identifier,
            title: row.title,
            status: row.status.as_str(),
            priority: row.priority.as_str(),
        }
    }
}

/// How far a person has read an issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadState {
    id: String,
    company_id: String,
    issue_id: String,
    user_id: String,
    #[schema(value_type = Option<String>)]
    last_read_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    archived_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<store::reads::ReadState> for ReadState {
    fn from(row: store::reads::ReadState) -> ReadState {
        ReadState {
            // One of an issue and a person: both together are its name.
            id: format!("{}:{}", row.issue_id, row.user_id),
            company_id: row.company_id.0,
            issue_id: row.issue_id.0,
            user_id: row.user_id,
            last_read_at: row.last_read_at,
            archived_at: row.archived_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
