//! What an agent carries from run to run, on the wire.

use domain::moment::Moment;
use serde::Serialize;
use serde_json::{Value, json};
use store::agents::Agent;
use store::sessions::{RuntimeState as Row, TaskSession as SessionRow};
use utoipa::ToSchema;

use super::cents;

/// The runtime state of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuntimeState {
    agent_id: String,
    company_id: String,
    adapter_type: String,
    session_id: Option<String>,
    #[schema(value_type = Object)]
    state_json: Value,
    last_run_id: Option<String>,
    last_run_status: Option<&'static str>,
    total_input_tokens: i64,
    total_output_tokens: i64,
    total_cached_input_tokens: i64,
    total_cost_cents: i64,
    last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    session_display_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    session_params_json: Option<Value>,
}

impl RuntimeState {
    /// The stored state; before the first run has ended, the state of an agent that has done nothing.
    pub(crate) fn new(agent: &Agent, row: Option<Row>, newest: Option<SessionRow>) -> RuntimeState {
        let row = row.unwrap_or_else(|| Row {
            agent_id: agent.id.clone(),
            company_id: agent.company_id.clone(),
            adapter_type: agent.adapter_type.clone(),
            session_id: None,
            state: json!({}),
            last_run_id: None,
            last_run_status: None,
            last_error: None,
            input_tokens: 0,
            cached_input_tokens: 0,
            output_tokens: 0,
            cost_micros: 0,
            created_at: agent.created_at,
            updated_at: agent.created_at,
        });
        let session = row.session_id.clone().or(newest.map(|session| session.session_id));
        RuntimeState {
            agent_id: row.agent_id.0,
            company_id: row.company_id.0,
            adapter_type: row.adapter_type,
            session_id: row.session_id,
            state_json: row.state,
            last_run_id: row.last_run_id.map(|id| id.0),
            last_run_status: row.last_run_status.map(|status| status.as_str()),
            total_input_tokens: row.input_tokens,
            total_output_tokens: row.output_tokens,
            total_cached_input_tokens: row.cached_input_tokens,
            total_cost_cents: cents(row.cost_micros),
            last_error: row.last_error,
            created_at: row.created_at,
            updated_at: row.updated_at,
            session_params_json: session.as_ref().map(|id| json!({ "sessionId": id })),
            session_display_id: session,
        }
    }
}

/// The answer to forgetting sessions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResetState {
    #[serde(flatten)]
    pub(crate) state: RuntimeState,
    /// Sessions of tasks that were forgotten.
    pub(crate) cleared_task_sessions: u64,
}

/// The session of a task.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskSession {
    id: String,
    company_id: String,
    agent_id: String,
    adapter_type: String,
    task_key: String,
    #[schema(value_type = Option<Object>)]
    session_params_json: Option<Value>,
    session_display_id: Option<String>,
    last_run_id: Option<String>,
    last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<SessionRow> for TaskSession {
    fn from(row: SessionRow) -> TaskSession {
        TaskSession {
            id: row.id,
            company_id: row.company_id.0,
            agent_id: row.agent_id.0,
            adapter_type: row.adapter_type,
            task_key: row.task_key,
            session_params_json: Some(
                row.params.unwrap_or_else(|| json!({ "sessionId": row.session_id.clone() })),
            ),
            session_display_id: Some(row.session_id),
            last_run_id: row.last_run_id.map(|id| id.0),
            last_error: row.last_error,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
