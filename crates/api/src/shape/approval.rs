//! Approvals on the wire. What their payloads hold of secrets is not shown.

use domain::moment::Moment;
use serde::Serialize;
use serde_json::Value;
use store::approvals::{Approval as Row, ApprovalComment as CommentRow};
use store::issues::Issue as IssueRow;
use utoipa::ToSchema;

use super::agent::Agent;
use adapters::redacted;

/// What somebody asked a person to decide.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Approval {
    id: String,
    company_id: String,
    /// `hire_agent`, `approve_ceo_strategy`, `budget_override_required` or `request_board_approval`.
    #[serde(rename = "type")]
    kind: String,
    requested_by_agent_id: Option<String>,
    requested_by_user_id: Option<String>,
    /// `pending`, `revision_requested`, `approved`, `rejected` or `cancelled`.
    status: String,
    #[schema(value_type = Object)]
    payload: Value,
    decision_note: Option<String>,
    decided_by_user_id: Option<String>,
    #[schema(value_type = Option<String>)]
    decided_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for Approval {
    fn from(row: Row) -> Approval {
        Approval {
            id: row.id,
            company_id: row.company_id.0,
            kind: row.kind,
            requested_by_agent_id: row.requested_by_agent_id.map(|id| id.0),
            requested_by_user_id: row.requested_by_user_id,
            status: row.status,
            payload: redacted(row.payload),
            decision_note: row.decision_note,
            decided_by_user_id: row.decided_by_user_id,
            decided_at: row.decided_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Something said about an approval.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApprovalComment {
    id: String,
    company_id: String,
    approval_id: String,
    author_agent_id: Option<String>,
    author_user_id: Option<String>,
    body: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<CommentRow> for ApprovalComment {
    fn from(row: CommentRow) -> ApprovalComment {
        ApprovalComment {
            id: row.id,
            company_id: row.company_id.0,
            approval_id: row.approval_id,
            author_agent_id: row.author_agent_id.map(|id| id.0),
            author_user_id: row.author_user_id,
            body: row.body,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// An issue that an approval is about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApprovalIssue {
    id: String,
    company_id: String,
    project_id: Option<String>,
    goal_id: Option<String>,
    parent_id: Option<String>,
    title: String,
    description: Option<String>,
    status: &'static str,
    priority: &'static str,
    assignee_agent_id: Option<String>,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    issue_number: i64,
    identifier: String,
    request_depth: i64,
    billing_code: Option<String>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    completed_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    cancelled_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<IssueRow> for ApprovalIssue {
    fn from(row: IssueRow) -> ApprovalIssue {
        ApprovalIssue {
            id: row.id.0,
            company_id: row.company_id.0,
            project_id: row.project_id,
            goal_id: row.goal_id,
            parent_id: row.parent_id.map(|id| id.0),
            title: row.title,
            description: row.description,
            status: row.status.as_str(),
            priority: row.priority.as_str(),
            assignee_agent_id: row.assignee_agent_id.map(|id| id.0),
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            issue_number: row.issue_number,
            identifier: row.identifier,
            request_depth: row.request_depth,
            billing_code: row.billing_code,
            started_at: row.started_at,
            completed_at: row.completed_at,
            cancelled_at: row.cancelled_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// An agent that was hired, and the approval that it waits for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hired {
    pub(crate) agent: Agent,
    pub(crate) approval: Option<Approval>,
}
