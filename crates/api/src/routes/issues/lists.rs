//! Lists of issues: those of a company, and what an agent or a person is to look at.

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::access::Actor;
use domain::ids::{AgentId, CompanyId, IssueId, looks_like_id};
use domain::moment::Moment;
use engine::issues::{Include, Listed};
use store::issues::{Filter, Place};

use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked};
use crate::reach::Reach;
use crate::shape::issue::{InboxLiteItem, ListedIssue};

/// A list without a limit is this long.
const LIMIT: i64 = 500;
/// What a person's inbox shows unless it is asked for other statuses.
const OF_PERSON: &str = "backlog,todo,in_progress,in_review,blocked,done";

/// The issues of a company: by match when searched, then by priority, then by what happened last. The cursor of the
/// next page travels in the `Bugle-Cursor` header; a search has one page. What moves to the front while pages are read is
/// on none of those that follow.
#[utoipa::path(get, path = "/companies/{company}/issues", tag = "issues",
    params(("company" = String, Path),
        ("status" = Option<String>, Query, description = "several with commas"),
        ("assigneeAgentId" = Option<String>, Query), ("participantAgentId" = Option<String>, Query),
        ("assigneeUserId" = Option<String>, Query, description = "or `me`"),
        ("touchedByUserId" = Option<String>, Query, description = "or `me`"),
        ("inboxArchivedByUserId" = Option<String>, Query, description = "or `me`"),
        ("unreadForUserId" = Option<String>, Query, description = "or `me`"),
        ("projectId" = Option<String>, Query), ("parentId" = Option<String>, Query),
        ("descendantOf" = Option<String>, Query, description = "on any level below"),
        ("labelId" = Option<String>, Query), ("executionWorkspaceId" = Option<String>, Query),
        ("workspaceId" = Option<String>, Query), ("originKind" = Option<String>, Query),
        ("originId" = Option<String>, Query), ("excludeRoutineExecutions" = Option<bool>, Query),
        ("includeBlockedBy" = Option<bool>, Query),
        ("q" = Option<String>, Query, description = "in titles, identifiers, comments, descriptions"),
        ("limit" = Option<i64>, Query, description = "500, at most 1000"),
        ("cursor" = Option<String>, Query, description = "not with `q`")),
    responses((status = 200, body = Vec<ListedIssue>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    let limit = limit_of(&asked)?;
    let filter = filter_of(&reach, &asked)?;
    let touches = [&filter.unread_for_user_id, &filter.touched_by_user_id, &filter.inbox_of_user_id];
    let include = Include {
        blocked_by: is_set(&asked, "includeBlockedBy"),
        touches_of_user: touches.into_iter().flatten().next().cloned(),
    };
    answer(&reach, &company, filter, include, limit).await
}

async fn answer(
    reach: &Reach,
    company: &CompanyId,
    filter: Filter,
    include: Include,
    limit: i64,
) -> Result<Response, ApiError> {
    if filter.search.is_some() {
        let listed = reach.engine().issues(company, filter, include, limit).await?;
        let names = reach.holders(listed.iter().map(|listed| &listed.issue)).await?;
        let shaped: Vec<ListedIssue> =
            listed.into_iter().map(|listed| ListedIssue::new(listed, &names)).collect();
        return Ok(Json(shaped).into_response());
    }
    let listed = reach.engine().issues(company, filter, include, limit + 1).await?;
    let names = reach.holders(listed.iter().map(|listed| &listed.issue)).await?;
    let place = |listed: &Listed| cursor_of(&Place::of(&listed.issue));
    let shaped = |listed: Vec<Listed>| -> Vec<ListedIssue> {
        listed.into_iter().map(|listed| ListedIssue::new(listed, &names)).collect()
    };
    Ok(paging::page(listed, limit, place, shaped))
}

/// The cursor of a place in the order of lists.
fn cursor_of(place: &Place) -> String {
    let Place { rank, last_activity_at, updated_at, id } = place;
    format!("{rank}.{}.{}.{id}", last_activity_at.micros(), updated_at.micros())
}

/// The place that the cursor of a request names.
fn place_of(asked: &Asked) -> Result<Option<Place>, ApiError> {
    let Some(text) = asked.cursor() else { return Ok(None) };
    let parts: Vec<&str> = text.split('.').collect();
    let place = match parts[..] {
        [rank, activity, updated, id] if looks_like_id(id) => {
            let number = |text: &str| text.parse::<i64>().ok();
            number(rank).zip(number(activity)).zip(number(updated)).map(|((rank, activity), updated)| Place {
                rank,
                last_activity_at: Moment::from_micros(activity),
                updated_at: Moment::from_micros(updated),
                id: IssueId(id.to_owned()),
            })
        }
        _ => None,
    };
    match place {
        Some(place) => Ok(Some(place)),
        None => Err(paging::bad_cursor()),
    }
}

/// What the agent that asks is to work on.
#[utoipa::path(get, path = "/agents/me/inbox-lite", tag = "issues",
    responses((status = 200, body = Vec<InboxLiteItem>), (status = 401, body = ErrorBody)))]
pub(crate) async fn inbox_lite(reach: Reach) -> Result<Json<Vec<InboxLiteItem>>, ApiError> {
    let agent = reach.caller.agent()?.agent.clone();
    let items = reach.engine().inbox_lite(&agent).await?;
    Ok(Json(items.into_iter().map(InboxLiteItem::from).collect()))
}

/// What a person had to do with and has not put away, for an agent that works for them.
#[utoipa::path(get, path = "/agents/me/inbox/mine", tag = "issues",
    params(("userId" = String, Query), ("status" = Option<String>, Query, description = "several with commas")),
    responses((status = 200, body = Vec<ListedIssue>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
pub(crate) async fn inbox_mine(reach: Reach, asked: Asked) -> Result<Response, ApiError> {
    let Some(user) = text_of(&asked, "userId")? else {
        let mistake = crate::errors::Issue::new("invalid_type", "userId", "Required");
        return Err(ApiError::validation(mistake));
    };
    let company = reach.caller.agent()?.company.clone();
    let statuses = text_of(&asked, "status")?.unwrap_or_else(|| OF_PERSON.to_owned());
    let filter = Filter {
        statuses: words_of(&statuses),
        touched_by_user_id: Some(user.clone()),
        inbox_of_user_id: Some(user.clone()),
        after: place_of(&asked)?,
        ..Filter::default()
    };
    let include = Include { blocked_by: false, touches_of_user: Some(user) };
    answer(&reach, &company, filter, include, LIMIT).await
}

fn filter_of(reach: &Reach, asked: &Asked) -> Result<Filter, ApiError> {
    let id = |name: &str| id_of(asked, name);
    let text = |name: &str| text_of(asked, name);
    let user = |name: &str| user_of(reach, asked, name);
    let (origin_kind, origin_id) = (text("originKind")?, text("originId")?);
    let search = text("q")?;
    let has_origin = origin_kind.is_some() || origin_id.is_some();
    Ok(Filter {
        statuses: text("status")?.map(|list| words_of(&list)).unwrap_or_default(),
        assignee_agent_id: id("assigneeAgentId")?.map(AgentId),
        assignee_user_id: user("assigneeUserId")?,
        participant_agent_id: id("participantAgentId")?.map(AgentId),
        touched_by_user_id: user("touchedByUserId")?,
        inbox_of_user_id: user("inboxArchivedByUserId")?,
        unread_for_user_id: user("unreadForUserId")?,
        project_id: id("projectId")?,
        parent_id: id("parentId")?.map(IssueId),
        descendant_of: id("descendantOf")?.map(IssueId),
        label_id: id("labelId")?,
        execution_workspace_id: id("executionWorkspaceId")?,
        workspace_id: id("workspaceId")?,
        without_routine_executions: is_set(asked, "excludeRoutineExecutions") && !has_origin,
        origin_kind,
        origin_id,
        after: if search.is_some() { None } else { place_of(asked)? },
        search,
    })
}

fn words_of(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Only these two words set a parameter of a list of issues.
fn is_set(asked: &Asked, name: &str) -> bool {
    matches!(asked.get(name), Some("true" | "1"))
}

fn text_of(asked: &Asked, name: &str) -> Result<Option<String>, ApiError> {
    match asked.get(name) {
        // It is compared with a column, and PostgreSQL takes none.
        Some(text) if text.contains('\0') => {
            Err(ApiError::bad_request("bad_query", format!("{name} must not contain a NUL character")))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn id_of(asked: &Asked, name: &str) -> Result<Option<String>, ApiError> {
    match asked.get(name) {
        Some(text) if looks_like_id(text) => Ok(Some(text.to_ascii_lowercase())),
        Some(_) => Err(ApiError::bad_request("bad_query", format!("{name} must be a uuid"))),
        None => Ok(None),
    }
}

/// A person, or `me`, which only a person can say.
fn user_of(reach: &Reach, asked: &Asked, name: &str) -> Result<Option<String>, ApiError> {
    match (text_of(asked, name)?.as_deref(), reach.caller.who()) {
        (Some("me"), Actor::Board(board)) => Ok(Some(board.user.clone())),
        (Some("me"), Actor::Agent(_) | Actor::Nobody) => {
            Err(ApiError::forbidden("forbidden", format!("{name}=me requires board authentication")))
        }
        (user, _) => Ok(user.map(str::to_owned)),
    }
}

fn limit_of(asked: &Asked) -> Result<i64, ApiError> {
    let Some(text) = asked.get("limit") else { return Ok(LIMIT) };
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| {
        // More digits than fit are more than the most.
        text.parse::<i64>().unwrap_or(i64::MAX)
    });
    match number {
        Some(number) if number > 0 => Ok(number.min(store::issues::MOST_LISTED)),
        Some(_) | None => {
            Err(ApiError::bad_request("bad_query", "limit must be a positive integer up to 1000"))
        }
    }
}
