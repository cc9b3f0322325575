//! A company at a glance: its dashboard, badges and activity, and what needs a person.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ids::{AgentId, looks_like_id};
use engine::{ActivityDraft, ActivityFilter, MOST_ACTIVITY, MOST_ITEMS};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, CURSOR, cursor_of};
use crate::shape::activity::Activity;
use crate::shape::glance::{Dashboard, Dismissal, Inbox, InboxItem, ParkedAccount, SidebarBadges};

/// A company at a glance.
#[utoipa::path(get, path = "/companies/{company}/dashboard", tag = "companies", params(("company" = String, Path)),
    responses((status = 200, body = Dashboard), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn dashboard(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<Dashboard>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let seen = state.engine.dashboard(&company).await?;
    let accounts = match caller.board() {
        Ok(_) => state.engine.accounts(&company).await?,
        Err(_) => Vec::new(),
    };
    let parked = accounts.into_iter().filter_map(ParkedAccount::of).collect();
    Ok(Json(Dashboard::new(company.0, seen, parked)))
}

/// What waits for a person, in numbers; what that person has put aside does not count.
#[utoipa::path(get, path = "/companies/{company}/sidebar-badges", tag = "companies", params(("company" = String, Path)),
    responses((status = 200, body = SidebarBadges), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn badges(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<SidebarBadges>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let user = caller.board().ok().map(|board| board.user.as_str());
    Ok(Json(state.engine.badges(&company, user).await?.into()))
}

/// What was done in a company, newest first. Entries of hidden issues are left out.
#[utoipa::path(get, path = "/companies/{company}/activity", tag = "companies",
    params(("company" = String, Path), ("agentId" = Option<String>, Query), ("entityType" = Option<String>, Query),
        ("entityId" = Option<String>, Query), ("limit" = Option<i64>, Query, description = "1 to 500; 100"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Activity>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn activity(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let limit = asked.number("limit", 1, MOST_ACTIVITY).unwrap_or(100).min(MOST_ACTIVITY);
    let text = |name: &str| asked.get(name).filter(|text| !text.contains('\0')).map(str::to_owned);
    let filter = ActivityFilter {
        agent: text("agentId").map(|id| AgentId(id.to_ascii_lowercase())),
        entity_type: text("entityType"),
        entity_id: text("entityId").map(|id| if looks_like_id(&id) { id.to_ascii_lowercase() } else { id }),
        before: asked.place()?,
    };
    let found = state.engine.activity(&company, filter, limit).await?;
    // The engine gives no more than was asked for: a full page may have a next one.
    let cursor = found.last().filter(|_| i64::try_from(found.len()).is_ok_and(|len| len == limit));
    let cursor = cursor.map(|row| cursor_of(row.created_at, &row.id));
    let mut answer = Json(found.into_iter().map(Activity::from).collect::<Vec<_>>()).into_response();
    if let Some(value) = cursor.and_then(|text| HeaderValue::from_str(&text).ok()) {
        answer.headers_mut().insert(CURSOR, value);
    }
    Ok(answer)
}

/// An entry of the activity log, made by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActivityBody {
    /// `system` when absent.
    actor_type: Option<String>,
    actor_id: String,
    action: String,
    entity_type: String,
    entity_id: String,
    agent_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    details: Option<Map<String, Value>>,
}

const ACTOR_TYPES: [&str; 4] = ["agent", "user", "system", "plugin"];

/// Adds an entry to the activity log by hand; nobody is told of it.
#[utoipa::path(post, path = "/companies/{company}/activity", tag = "companies", request_body = ActivityBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Activity), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn add_activity(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = ActivityBody {
        actor_type: fields.word("actorType", &ACTOR_TYPES, |word| word).map(str::to_owned),
        actor_id: fields.required_text("actorId"),
        action: fields.required_text("action"),
        entity_type: fields.required_text("entityType"),
        entity_id: fields.required_text("entityId"),
        agent_id: fields.nullable_id("agentId").flatten(),
        details: fields.object("details"),
    };
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.board_of(&company)?;
    let draft = ActivityDraft {
        actor_type: read.actor_type.unwrap_or_else(|| "system".to_owned()),
        actor_id: read.actor_id,
        action: read.action,
        entity_type: read.entity_type,
        entity_id: read.entity_id,
        agent_id: read.agent_id.map(AgentId),
        details: read.details.map(Value::Object),
    };
    let entry = state.engine.add_activity(&company, draft).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Activity::from(entry)))))
}

/// What a person has put aside.
#[utoipa::path(get, path = "/companies/{company}/inbox-dismissals", tag = "companies", params(("company" = String, Path)),
    responses((status = 200, body = Vec<Dismissal>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn dismissals(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<Vec<Dismissal>>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let user = &caller.board_of(&company)?.user;
    let rows = state.engine.dismissals(&company, user).await?;
    Ok(Json(rows.into_iter().map(Dismissal::from).collect()))
}

/// What to put aside.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DismissBody {
    /// `approval:<id>`, `join:<id>` or `run:<id>`.
    item_key: String,
}

/// Puts a thing aside.
#[utoipa::path(post, path = "/companies/{company}/inbox-dismissals", tag = "companies", request_body = DismissBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Dismissal), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn dismiss(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = DismissBody { item_key: fields.required_text("itemKey") };
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let user = caller.board_of(&company)?.user.clone();
    let by = caller.author(&company)?;
    let saved = state.engine.dismiss(&company, &user, &read.item_key, &by).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Dismissal::from(saved)))))
}

/// What needs a person: what rules gave up on, and what waits for a decision. Newest first.
#[utoipa::path(get, path = "/companies/{company}/inbox-items", tag = "companies",
    params(("company" = String, Path), ("limit" = Option<i64>, Query, description = "1 to 500"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Inbox), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn inbox(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let limit = asked.limit(paging::MOST).min(MOST_ITEMS - 1);
    let mut inbox = state.engine.inbox(&company, asked.place()?, limit + 1).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = inbox.items.len() > limit;
    inbox.items.truncate(limit);
    let cursor = inbox.items.last().filter(|_| has_more).map(|row| cursor_of(row.opened_at, &row.id));
    let mut answer = Json(Inbox::new(inbox)).into_response();
    if let Some(value) = cursor.and_then(|text| HeaderValue::from_str(&text).ok()) {
        answer.headers_mut().insert(CURSOR, value);
    }
    Ok(answer)
}

/// Says that an item needs nobody any more. What it was about is not touched.
#[utoipa::path(post, path = "/companies/{company}/inbox-items/{item}/resolve", tag = "companies",
    params(("company" = String, Path), ("item" = String, Path)),
    responses((status = 200, body = InboxItem), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn resolve_item(
    State(state): State<ApiState>,
    Named((company, item)): Named<(String, String)>,
    caller: Caller,
) -> Result<Json<InboxItem>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.board_of(&company)?;
    if !looks_like_id(&item) {
        return Err(ApiError::not_found("Inbox item"));
    }
    let found = state.engine.inbox_item(&item.to_ascii_lowercase()).await?;
    if found.company_id != company {
        return Err(ApiError::not_found("Inbox item"));
    }
    let by = caller.author(&company)?;
    Ok(Json(state.engine.resolve_inbox_item(&found.id, &by).await?.into()))
}
