//! The keys of agents: made, listed, revoked. The text of a key is in the answer that makes it and nowhere else.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Done, naming};
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::Asked;
use crate::shape::person::{AgentKey, KeyCreated};

/// The keys of an agent, newest first, revoked ones too.
#[utoipa::path(get, path = "/agents/{agent}/keys", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Vec<AgentKey>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<AgentKey>>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.board_manager(&agent.company_id)?;
    let keys = state.engine.agent_keys(&agent.id).await?;
    Ok(Json(keys.into_iter().map(AgentKey::from).collect()))
}

/// What a key is called.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct KeyBody {
    /// `default` when absent.
    name: Option<String>,
}

impl KeyBody {
    pub(crate) fn read(fields: &mut Fields) -> KeyBody {
        let name = fields.text("name");
        KeyBody { name: fields.not_blank("name", name) }
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("default")
    }
}

/// Makes a key for an agent.
#[utoipa::path(post, path = "/agents/{agent}/keys", tag = "agents", request_body = KeyBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 201, body = KeyCreated), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = KeyBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.board_manager(&agent.company_id)?;
    let by = caller.author(&agent.company_id)?;
    let made = state.engine.create_agent_key(&agent.id, read.name(), &by).await?;
    let shown = KeyCreated {
        id: made.key.id,
        name: made.key.name,
        token: made.token,
        created_at: made.key.created_at,
        expires_at: None,
    };
    Ok(naming(&ignored, (StatusCode::CREATED, Json(shown))))
}

/// Revokes a key of an agent; revoking it again changes nothing.
#[utoipa::path(delete, path = "/agents/{agent}/keys/{key}", tag = "agents",
    params(("agent" = String, Path), ("key" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    Named((reference, key)): Named<(String, String)>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Done>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.board_manager(&agent.company_id)?;
    if key.contains('\0') {
        return Err(ApiError::not_found("Key"));
    }
    let by = caller.author(&agent.company_id)?;
    state.engine.revoke_agent_key(&agent.id, &key.to_ascii_lowercase(), &by).await?;
    Ok(Json(Done { ok: true }))
}
