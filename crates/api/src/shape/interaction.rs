//! Interactions on the wire: cards in the thread of an issue that wait for an answer.

use domain::moment::Moment;
use serde::Serialize;
use serde_json::Value;
use store::interactions::Interaction as Row;
use utoipa::ToSchema;

/// A card that waits for an answer, or has one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Interaction {
    id: String,
    company_id: String,
    issue_id: String,
    /// `suggest_tasks`, `ask_user_questions` or `request_confirmation`.
    kind: String,
    /// `pending`, `accepted`, `rejected`, `answered`, `expired` or `failed`.
    status: String,
    /// `none`, `wake_assignee` or `wake_assignee_on_accept`.
    continuation_policy: String,
    idempotency_key: Option<String>,
    source_comment_id: Option<String>,
    source_run_id: Option<String>,
    title: Option<String>,
    summary: Option<String>,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    resolved_by_agent_id: Option<String>,
    resolved_by_user_id: Option<String>,
    #[schema(value_type = Object)]
    payload: Value,
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    #[schema(value_type = Option<String>)]
    resolved_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for Interaction {
    fn from(row: Row) -> Interaction {
        Interaction {
            id: row.id,
            company_id: row.company_id.0,
            issue_id: row.issue_id.0,
            kind: row.kind,
            status: row.status,
            continuation_policy: row.continuation_policy,
            idempotency_key: row.idempotency_key,
            source_comment_id: row.source_comment_id.map(|id| id.0),
            source_run_id: row.source_run_id.map(|id| id.0),
            title: row.title,
            summary: row.summary,
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            resolved_by_agent_id: row.resolved_by_agent_id.map(|id| id.0),
            resolved_by_user_id: row.resolved_by_user_id,
            payload: row.payload,
            result: row.result,
            resolved_at: row.resolved_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
