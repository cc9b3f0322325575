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
    /// What is kept of it beside its id (`domain::session::codec`).
    pub params: Option<Json>,
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
    params,
    last_run_id,
    last_error,
    created_at,
    updated_at
});

/// Saves the session of a task.
pub async fn save(tx: &mut Tx<'_>, session: &TaskSession) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO task_sessions (id, company_id, agent_id, adapter_type, task_key, session_id, params, last_run_id, \
             last_error, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (agent_id, adapter_type, task_key) DO UPDATE SET session_id = excluded.session_id, \
             params = excluded.params, last_run_id = excluded.last_run_id, last_error = excluded.last_error, updated_at = excluded.updated_at"
        ),
        p![
            &session.id, &session.company_id, &session.agent_id, &session.adapter_type, &session.task_key,
            &session.session_id, &session.params, &session.last_run_id, &session.last_error, session.created_at, session.updated_at
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
            "SELECT id, company_id, agent_id, adapter_type, task_key, session_id, params, last_run_id, last_error, created_at, \
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
            "SELECT id, company_id, agent_id, adapter_type, task_key, session_id, params, last_run_id, last_error, created_at, \
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

/// A session that a program did not find any more.
#[derive(Debug, Clone, PartialEq)]
pub struct GoneSession {
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub adapter_type: String,
    pub session_id: String,
    /// The run that found it out.
    pub run_id: RunId,
    pub found_at: Moment,
}

/// Notes that a session is gone, and takes it away from every task and from the agent. Noted twice it is the same.
pub async fn mark_gone(tx: &mut Tx<'_>, gone: &GoneSession) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO gone_sessions (agent_id, adapter_type, session_id, company_id, run_id, found_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (agent_id, adapter_type, session_id) DO NOTHING"
        ),
        p![
            &gone.agent_id,
            &gone.adapter_type,
            &gone.session_id,
            &gone.company_id,
            &gone.run_id,
            gone.found_at
        ],
    )
    .await?;
    tx.run(
        sql!("DELETE FROM task_sessions WHERE agent_id = $1 AND adapter_type = $2 AND session_id = $3"),
        p![&gone.agent_id, &gone.adapter_type, &gone.session_id],
    )
    .await?;
    tx.run(
        sql!(
            "UPDATE runtime_states SET session_id = NULL, updated_at = $3 WHERE agent_id = $1 AND session_id = $2"
        ),
        p![&gone.agent_id, &gone.session_id, gone.found_at],
    )
    .await
}

/// Whether a session was found to be gone.
pub async fn is_gone(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    adapter_type: &str,
    session: &str,
) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT run_id FROM gone_sessions WHERE agent_id = $1 AND adapter_type = $2 AND session_id = $3"
            ),
            p![agent, adapter_type, session],
        )
        .await?;
    Ok(row.is_some())
}

/// The runs of a session together.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRuns {
    pub runs: u64,
    pub oldest: Option<Moment>,
    pub newest: Option<Moment>,
}
from_row!(SessionRuns { runs, oldest, newest });

/// Counts the runs of an agent that ended in a session.
pub async fn runs_in(tx: &mut Tx<'_>, agent: &AgentId, session: &str) -> Result<SessionRuns, StoreError> {
    let found = tx
        .one_as(
            sql!(
                "SELECT COUNT(*), MIN(created_at), MAX(created_at) FROM runs \
                 WHERE agent_id = $1 AND session_after = $2"
            ),
            p![agent, session],
        )
        .await?;
    Ok(found.unwrap_or(SessionRuns { runs: 0, oldest: None, newest: None }))
}

/// What the newest run of a session left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct LastOfSession {
    pub result: Option<Json>,
    pub usage: Option<Json>,
    pub session_note: Option<Json>,
    pub error: Option<String>,
}
from_row!(LastOfSession { result, usage, session_note, error });

/// Returns the newest run of an agent that ended in a session, other than `except`.
pub async fn last_in(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    session: &str,
    except: &RunId,
) -> Result<Option<LastOfSession>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT result, usage, session_note, error FROM runs WHERE agent_id = $1 AND session_after = $2 \
             AND id <> $3 ORDER BY created_at DESC, id DESC LIMIT 1"
        ),
        p![agent, session, except],
    )
    .await
}
