//! What an agent carries from run to run: its runtime state, and the session of each task.

use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// The runtime state of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeState {
    pub agent_id: AgentId,
    pub company_id: CompanyId,
    pub adapter_type: String,
    pub session_id: Option<String>,
    pub state: Json,
    pub last_run_id: Option<RunId>,
    pub last_run_status: Option<RunStatus>,
    pub last_error: Option<String>,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
    pub cost_micros: i64,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(RuntimeState {
    agent_id,
    company_id,
    adapter_type,
    session_id,
    state,
    last_run_id,
    last_run_status,
    last_error,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    cost_micros,
    created_at,
    updated_at
});

/// What the end of a run adds to the runtime state.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    pub run_id: RunId,
    pub status: RunStatus,
    pub error: Option<String>,
    pub session_id: Option<String>,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
    pub cost_micros: i64,
}

/// Adds the end of a run to the runtime state of its agent.
pub async fn add_run(
    tx: &mut Tx<'_>,
    (company, agent, adapter_type): (&CompanyId, &AgentId, &str),
    run: &RunSummary,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO runtime_states (agent_id, company_id, adapter_type, session_id, state, last_run_id, \
             last_run_status, last_error, input_tokens, cached_input_tokens, output_tokens, cost_micros, created_at, \
             updated_at) VALUES ($1, $2, $3, $4, '{}', $5, $6, $7, $8, $9, $10, $11, $12, $12) \
             ON CONFLICT (agent_id) DO UPDATE SET adapter_type = excluded.adapter_type, \
             session_id = COALESCE(excluded.session_id, runtime_states.session_id), \
             last_run_id = excluded.last_run_id, last_run_status = excluded.last_run_status, \
             last_error = excluded.last_error, input_tokens = runtime_states.input_tokens + excluded.input_tokens, \
             cached_input_tokens = runtime_states.cached_input_tokens + excluded.cached_input_tokens, \
             output_tokens = runtime_states.output_tokens + excluded.output_tokens, \
             cost_micros = runtime_states.cost_micros + excluded.cost_micros, updated_at = excluded.updated_at"
        ),
        p![
            agent, company, adapter_type, &run.session_id, &run.run_id, run.status, &run.error, run.input_tokens,
            run.cached_input_tokens, run.output_tokens, run.cost_micros, now
        ],
    )
    .await
}

/// Returns the runtime state of an agent; none before its first run has ended.
pub async fn runtime_state(tx: &mut Tx<'_>, agent: &AgentId) -> Result<Option<RuntimeState>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT agent_id, company_id, adapter_type, session_id, state, last_run_id, last_run_status, last_error, \
             input_tokens, cached_input_tokens, output_tokens, cost_micros, created_at, updated_at \
             FROM runtime_states WHERE agent_id = $1"
        ),
        p![agent],
    )
    .await
}

/// The session of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSession {
    pub id: String,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub adapter_type: String,
    pub task_key: String,
    pub session_id: String,
    pub last_run_id: Option<RunId>,
    pub last_error: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(TaskSession {
    id,
    company_id,
    agent_id,
    adapter_type,
    task_key,
    session_id,
    last_run_id,
    last_error,
    created_at,
    updated_at
});

/// Saves the session of a task.
pub async fn save(tx: &mut Tx<'_>, session: &TaskSession) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO task_sessions (id, company_id, agent_id, adapter_type, task_key, session_id, last_run_id, \
             last_error, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (agent_id, adapter_type, task_key) DO UPDATE SET session_id = excluded.session_id, \
             last_run_id = excluded.last_run_id, last_error = excluded.last_error, updated_at = excluded.updated_at"
        ),
        p![
            &session.id, &session.company_id, &session.agent_id, &session.adapter_type, &session.task_key,
            &session.session_id, &session.last_run_id, &session.last_error, session.created_at, session.updated_at
        ],
    )
    .await
}

/// Returns the session to resume for a task.
pub async fn of_task(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    adapter_type: &str,
    task_key: &str,
) -> Result<Option<TaskSession>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT id, company_id, agent_id, adapter_type, task_key, session_id, last_run_id, last_error, created_at, \
             updated_at FROM task_sessions WHERE agent_id = $1 AND adapter_type = $2 AND task_key = $3"
        ),
        p![agent, adapter_type, task_key],
    )
    .await
}

/// Returns the task sessions of an agent, newest first.
pub async fn of_agent(tx: &mut Tx<'_>, agent: &AgentId, limit: i64) -> Result<Vec<TaskSession>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, company_id, agent_id, adapter_type, task_key, session_id, last_run_id, last_error, created_at, \
             updated_at FROM task_sessions WHERE agent_id = $1 ORDER BY updated_at DESC, id LIMIT $2"
        ),
        p![agent, limit],
    )
    .await
}

/// Forgets the session of one task, for one adapter or (with `None`) for all; returns how many were forgotten.
pub async fn forget(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    task_key: &str,
    adapter_type: Option<&str>,
) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM task_sessions WHERE agent_id = $1 AND task_key = $2 \
             AND (CAST($3 AS text) IS NULL OR adapter_type = $3)"
        ),
        p![agent, task_key, adapter_type],
    )
    .await
}

/// Forgets all sessions of an agent and its runtime session; returns how many task sessions were forgotten.
pub async fn forget_all(tx: &mut Tx<'_>, agent: &AgentId, now: Moment) -> Result<u64, StoreError> {
    tx.run(
        sql!(
            "UPDATE runtime_states SET session_id = NULL, state = '{}', updated_at = $2 WHERE agent_id = $1"
        ),
        p![agent, now],
    )
    .await?;
    tx.exec(sql!("DELETE FROM task_sessions WHERE agent_id = $1"), p![agent]).await
}

/// Forgets the runtime session only; totals stay.
pub async fn forget_runtime_session(tx: &mut Tx<'_>, agent: &AgentId, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE runtime_states SET session_id = NULL, updated_at = $2 WHERE agent_id = $1"),
        p![agent, now],
    )
    .await
}
