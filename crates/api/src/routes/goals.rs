//! Goals: what work is for.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::AgentId;
use engine::{GoalDraft, GoalPatch};
use serde::Deserialize;
use utoipa::ToSchema;

use super::naming;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked, cursor_of};
use crate::reach::Reach;
use crate::shape::project::Goal;

const LEVELS: [&str; 4] = ["company", "team", "agent", "task"];
const STATUSES: [&str; 4] = ["planned", "active", "achieved", "cancelled"];

/// The goals of a company, oldest first.
#[utoipa::path(get, path = "/companies/{company}/goals", tag = "projects",
    params(("company" = String, Path), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Goal>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    let found = reach.engine().goals(&company, asked.place()?, paging::MOST).await?;
    let place = |row: &store::goals::Goal| cursor_of(row.created_at, &row.id);
    // One more than is given tells whether there are more.
    Ok(paging::page(found, paging::MOST - 1, place, |rows| rows.into_iter().map(Goal::from).collect()))
}

/// A goal, new or changed: what is absent stays or has its default, null clears.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GoalBody {
    /// Required for a new one.
    #[schema(min_length = 1)]
    title: Option<String>,
    description: Option<Option<String>>,
    /// `company`, `team`, `agent` or `task` (default).
    level: Option<String>,
    /// `planned` (default), `active`, `achieved` or `cancelled`.
    status: Option<String>,
    parent_id: Option<Option<String>>,
    owner_agent_id: Option<Option<String>>,
}

impl GoalBody {
    fn read(fields: &mut Fields, is_new: bool) -> GoalBody {
        let word = |word: &'static str| word;
        let title = if is_new {
            Some(fields.required_text("title"))
        } else {
            let title = fields.text("title");
            fields.not_blank("title", title)
        };
        GoalBody {
            title,
            description: fields.nullable_text("description"),
            level: fields.word("level", &LEVELS, word).map(str::to_owned),
            status: fields.word("status", &STATUSES, word).map(str::to_owned),
            parent_id: fields.nullable_id("parentId"),
            owner_agent_id: fields.nullable_id("ownerAgentId"),
        }
    }
}

/// Creates a goal.
#[utoipa::path(post, path = "/companies/{company}/goals", tag = "projects", request_body = GoalBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Goal), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = GoalBody::read(&mut fields, true);
    let ignored = fields.drop_rest()?;
    let company = reach.company(&company).await?;
    let otherwise = GoalDraft::default();
    let draft = GoalDraft {
        title: body.title.unwrap_or_default(),
        description: body.description.flatten(),
        level: body.level.unwrap_or(otherwise.level),
        status: body.status.unwrap_or(otherwise.status),
        parent_id: body.parent_id.flatten(),
        owner_agent_id: body.owner_agent_id.flatten().map(AgentId),
    };
    let goal = reach.engine().create_goal(&company, draft, &reach.planner(&company)?).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Goal::from(goal)))))
}

/// One goal.
#[utoipa::path(get, path = "/goals/{goal}", tag = "projects", params(("goal" = String, Path)),
    responses((status = 200, body = Goal), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(reach: Reach, Named(id): Named<String>) -> Result<Json<Goal>, ApiError> {
    Ok(Json(reach.goal(&id).await?.into()))
}

/// Changes a goal.
#[utoipa::path(patch, path = "/goals/{goal}", tag = "projects", request_body = GoalBody, params(("goal" = String, Path)),
    responses((status = 200, body = Goal), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(id): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = GoalBody::read(&mut fields, false);
    let ignored = fields.drop_rest()?;
    let goal = reach.goal(&id).await?;
    let patch = GoalPatch {
        title: body.title,
        description: body.description,
        level: body.level,
        status: body.status,
        parent_id: body.parent_id,
        owner_agent_id: body.owner_agent_id.map(|id| id.map(AgentId)),
    };
    let changed = reach.engine().patch_goal(&goal.id, patch, &reach.planner(&goal.company_id)?).await?;
    Ok(naming(&ignored, Json(Goal::from(changed))))
}

/// Removes a goal; what served it stays.
#[utoipa::path(delete, path = "/goals/{goal}", tag = "projects", params(("goal" = String, Path)),
    responses((status = 200, body = Goal), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(id): Named<String>) -> Result<Json<Goal>, ApiError> {
    let goal = reach.goal(&id).await?;
    let author = reach.planner(&goal.company_id)?;
    Ok(Json(reach.engine().delete_goal(&goal.id, &author).await?.into()))
}
