//! What agents carry from run to run: looking at it, and forgetting sessions.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use store::sessions;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked};
use crate::shape::runtime::{ResetState, RuntimeState, TaskSession};

/// The runtime state of an agent: totals, last run, session.
#[utoipa::path(get, path = "/agents/{agent}/runtime-state", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = RuntimeState), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<RuntimeState>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.board_manager(&agent.company_id)?;
    let id = agent.id.clone();
    let (row, newest) = state
        .engine
        .store()
        .read(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                let row = sessions::runtime_state(tx, &id).await?;
                Ok((row, sessions::of_agent(tx, &id, 1).await?.pop()))
            })
        })
        .await?;
    Ok(Json(RuntimeState::new(&agent, row, newest)))
}

/// The sessions of an agent's tasks, newest first, at most 1000.
#[utoipa::path(get, path = "/agents/{agent}/task-sessions", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Vec<TaskSession>), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<TaskSession>>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.board_manager(&agent.company_id)?;
    let agent = agent.id;
    let found = state
        .engine
        .store()
        .read(move |tx| {
            let agent = agent.clone();
            Box::pin(async move { sessions::of_agent(tx, &agent, paging::MOST).await })
        })
        .await?;
    Ok(Json(found.into_iter().map(TaskSession::from).collect()))
}

/// What to forget.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResetBody {
    /// Only the session of this task; absent: all sessions.
    task_key: Option<String>,
}

/// Forgets the session of one task, or all sessions of an agent; totals stay.
#[utoipa::path(post, path = "/agents/{agent}/runtime-state/reset-session", tag = "agents", request_body = ResetBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = ResetState), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn reset(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read_or_empty(&body)?;
    let task_key = fields.text("taskKey").map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
    let read = ResetBody { task_key };
    let ignored = fields.drop_rest()?;
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.board_manager(&agent.company_id)?;
    let (cleared, row) = state.engine.forget_sessions(&agent.id, read.task_key, &caller.actor()).await?;
    let shaped = ResetState { state: RuntimeState::new(&agent, row, None), cleared_task_sessions: cleared };
    Ok(naming(&ignored, Json(shaped)))
}
