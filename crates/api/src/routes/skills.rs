//! Skills of a company, and which of them an agent gets.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use engine::SkillDraft;
use serde::Deserialize;
use serde_json::Value;
use store::skills::Skill as Row;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::Asked;
use crate::reach::{Reach, id_of_path};
use crate::shape::skill::{AgentSkills, Skill};

/// The skills of a company, by key, at most 200.
#[utoipa::path(get, path = "/companies/{company}/skills", tag = "skills", params(("company" = String, Path)),
    responses((status = 200, body = Vec<Skill>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(reach: Reach, Named(company): Named<String>) -> Result<Json<Vec<Skill>>, ApiError> {
    let company = reach.company(&company).await?;
    let found = reach.engine().skills(&company).await?;
    Ok(Json(found.into_iter().map(Skill::from).collect()))
}

/// A skill: a new one needs `markdown`, and a `name` there or here.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SkillBody {
    #[schema(min_length = 1, max_length = 120)]
    name: Option<String>,
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// The whole `SKILL.md`.
    #[schema(min_length = 1, max_length = 100_000)]
    markdown: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

impl SkillBody {
    fn read(fields: &mut Fields) -> SkillBody {
        SkillBody {
            name: fields.text("name"),
            description: fields.text("description"),
            markdown: fields.lines("markdown"),
            metadata: fields.object("metadata").map(Value::Object),
        }
    }

    fn draft(self) -> SkillDraft {
        let SkillBody { name, description, markdown, metadata } = self;
        SkillDraft { name, description, markdown, metadata }
    }
}

/// Adds a skill. Its text reaches other agents, so only those may who make agents.
#[utoipa::path(post, path = "/companies/{company}/skills", tag = "skills", request_body = SkillBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Skill), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = SkillBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let company = reach.company(&company).await?;
    reach.caller.configuration_reader(&company)?;
    let skill = reach.engine().create_skill(&company, body.draft(), &reach.author(&company)?).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Skill::from(skill)))))
}

async fn found(reach: &Reach, id: &str) -> Result<Row, ApiError> {
    let id = id_of_path(id, "Skill")?;
    let skill = reach.engine().skill(&id).await?.ok_or_else(|| ApiError::not_found("Skill"))?;
    reach.of(&skill.company_id)?;
    Ok(skill)
}

/// One skill.
#[utoipa::path(get, path = "/skills/{skill}", tag = "skills", params(("skill" = String, Path)),
    responses((status = 200, body = Skill), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(reach: Reach, Named(id): Named<String>) -> Result<Json<Skill>, ApiError> {
    Ok(Json(found(&reach, &id).await?.into()))
}

/// Changes what a skill says; its key and its folder stay.
#[utoipa::path(patch, path = "/skills/{skill}", tag = "skills", request_body = SkillBody,
    params(("skill" = String, Path)),
    responses((status = 200, body = Skill), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(id): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = SkillBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let skill = found(&reach, &id).await?;
    reach.caller.configuration_reader(&skill.company_id)?;
    let author = reach.author(&skill.company_id)?;
    let changed = reach.engine().change_skill(&skill.id, body.draft(), &author).await?;
    Ok(naming(&ignored, Json(Skill::from(changed))))
}

/// Removes a skill.
#[utoipa::path(delete, path = "/skills/{skill}", tag = "skills", params(("skill" = String, Path)),
    responses((status = 200, body = Skill), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(id): Named<String>) -> Result<Json<Skill>, ApiError> {
    let skill = found(&reach, &id).await?;
    reach.caller.configuration_reader(&skill.company_id)?;
    let author = reach.author(&skill.company_id)?;
    Ok(Json(reach.engine().delete_skill(&skill.id, &author).await?.into()))
}

/// The skills of an agent: what there is, and what its runs get.
#[utoipa::path(get, path = "/agents/{agent}/skills", tag = "skills",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = AgentSkills), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_agent(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<AgentSkills>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.configuration_reader(&agent.company_id)?;
    Ok(Json(state.engine.agent_skills(&agent.id).await?.into()))
}

/// Which skills an agent's runs get, beside those that all get.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SyncBody {
    /// Keys, folders, or the last parts of keys.
    desired_skills: Vec<String>,
}

/// Says which skills the runs of an agent get. They are laid out for each run; nothing is installed.
#[utoipa::path(post, path = "/agents/{agent}/skills/sync", tag = "skills", request_body = SyncBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = AgentSkills), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn sync(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = SyncBody { desired_skills: fields.texts("desiredSkills").unwrap_or_default() };
    let ignored = fields.drop_rest()?;
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.agent_editor(&agent.company_id, &agent.id)?;
    let author = caller.author(&agent.company_id)?;
    let synced = state.engine.sync_skills(&agent.id, body.desired_skills, &caller.actor(), &author).await?;
    Ok(naming(&ignored, Json(AgentSkills::from(synced))))
}
