//! What agents were configured as before, and the way back.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::access::Actor;
use domain::ids::looks_like_id;
use domain::moment::Moment;
use engine::AgentPatch;
use serde::Serialize;
use serde_json::Value;
use store::agents::Agent as Row;
use store::config_revisions::ConfigRevision as Revision;
use utoipa::ToSchema;

use super::agents::{INSTRUCTION_PATHS, shaped};
use crate::ApiState;
use crate::actor::Caller;
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::agent::Agent;
use adapters::redacted;

/// One change of an agent's configuration, without its secrets.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigRevision {
    id: String,
    company_id: String,
    agent_id: String,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    /// `patch` or `rollback`.
    source: String,
    rolled_back_from_revision_id: Option<String>,
    #[schema(value_type = Vec<String>)]
    changed_keys: Value,
    #[schema(value_type = Object)]
    before_config: Value,
    #[schema(value_type = Object)]
    after_config: Value,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<Revision> for ConfigRevision {
    fn from(row: Revision) -> ConfigRevision {
        ConfigRevision {
            id: row.id,
            company_id: row.company_id.0,
            agent_id: row.agent_id.0,
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            source: row.source,
            rolled_back_from_revision_id: row.rolled_back_from_revision_id,
            changed_keys: row.changed_keys,
            // As they were kept already; once more costs nothing and forgives a rule that grew since.
            before_config: redacted(row.before_config),
            after_config: redacted(row.after_config),
            created_at: row.created_at,
        }
    }
}

/// The revisions of an agent's configuration, newest first.
#[utoipa::path(get, path = "/agents/{agent}/config-revisions", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<ConfigRevision>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.configuration_reader(&agent.company_id)?;
    let limit = asked.limit(paging::MOST);
    let found = state.engine.config_revisions(&agent.id, asked.place()?, limit + 1).await?;
    let place = |row: &Revision| cursor_of(row.created_at, &row.id);
    Ok(paging::page(found, limit, place, |rows| rows.into_iter().map(ConfigRevision::from).collect()))
}

/// One revision.
#[utoipa::path(get, path = "/agents/{agent}/config-revisions/{revision}", tag = "agents",
    params(("agent" = String, Path), ("revision" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = ConfigRevision), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named((reference, revision)): Named<(String, String)>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<ConfigRevision>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.configuration_reader(&agent.company_id)?;
    let id = revision_id(&revision)?;
    Ok(Json(state.engine.config_revision(&agent.id, &id).await?.into()))
}

/// Brings an agent back to what it was after a revision, by the rules of any other change.
#[utoipa::path(post, path = "/agents/{agent}/config-revisions/{revision}/rollback", tag = "agents",
    params(("agent" = String, Path), ("revision" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Agent), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn roll_back(
    State(state): State<ApiState>,
    Named((reference, revision)): Named<(String, String)>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Agent>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.agent_editor(&agent.company_id, &agent.id)?;
    let patch = state.engine.way_back(&agent.id, &revision_id(&revision)?).await?;
    if matches!(caller.who(), Actor::Agent(_)) {
        refuse_other_instructions(&agent, &patch)?;
    }
    let patch = AgentPatch { is_proven: caller.is_person(&agent.company_id), ..patch };
    let agent = state.engine.patch_agent(&agent.id, patch, &caller.actor()).await?;
    Ok(Json(shaped(&state.engine, agent).await?))
}

fn revision_id(text: &str) -> Result<String, ApiError> {
    if looks_like_id(text) { Ok(text.to_ascii_lowercase()) } else { Err(ApiError::not_found("Revision")) }
}

/// Agents do not say where instructions are read from on this machine, by way of a revision neither.
fn refuse_other_instructions(agent: &Row, patch: &AgentPatch) -> Result<(), ApiError> {
    let wanted = patch.adapter_config.as_ref().unwrap_or(&Value::Null);
    let other = INSTRUCTION_PATHS.iter().find(|key| wanted.get(**key) != agent.adapter_config.get(**key));
    match other {
        None => Ok(()),
        Some(key) => {
            let words = format!("Agent keys cannot modify instruction paths ({key})");
            Err(ApiError::forbidden("forbidden", words))
        }
    }
}
