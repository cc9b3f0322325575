//! Accounts at providers: what keeps runs from starting, and what people do about it. For people only.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::moment::Moment;
use engine::AccountPatch;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::shape::account::Account;

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, patch))
        .routes(routes!(resume))
        .routes(routes!(park))
}

/// The accounts of a company, oldest first.
#[utoipa::path(get, path = "/companies/{company}/accounts", tag = "accounts", params(("company" = String, Path)),
    responses((status = 200, body = Vec<Account>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<Vec<Account>>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.board_of(&company)?;
    Ok(Json(state.engine.accounts(&company).await?.into_iter().map(Account::from).collect()))
}

/// One account.
#[utoipa::path(get, path = "/accounts/{account}", tag = "accounts", params(("account" = String, Path)),
    responses((status = 200, body = Account), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(account): Named<String>,
    caller: Caller,
) -> Result<Json<Account>, ApiError> {
    Ok(Json(found(&state, &caller, &account).await?.into()))
}

/// How an account behaves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccountBody {
    /// It goes on by itself when a limit is over; else somebody is asked.
    auto_resume: bool,
}

impl AccountBody {
    fn read(fields: &mut Fields) -> AccountBody {
        if !fields.has("autoResume") {
            fields.mistake("invalid_type", "autoResume", "Required");
        }
        AccountBody { auto_resume: fields.boolean("autoResume").unwrap_or(true) }
    }
}

/// Says whether an account goes on by itself.
#[utoipa::path(patch, path = "/accounts/{account}", tag = "accounts", request_body = AccountBody,
    params(("account" = String, Path)),
    responses((status = 200, body = Account), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn patch(
    State(state): State<ApiState>,
    Named(account): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = AccountBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let patch = AccountPatch::AutoResume(read.auto_resume);
    let changed = change(&state, &caller, &account, patch).await?;
    Ok(naming(&ignored, Json(changed)))
}

/// Lets one run try a parked account now: somebody has logged in, or knows better. What a person parked is open again.
#[utoipa::path(post, path = "/accounts/{account}/resume", tag = "accounts", params(("account" = String, Path)),
    responses((status = 200, body = Account), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn resume(
    State(state): State<ApiState>,
    Named(account): Named<String>,
    caller: Caller,
) -> Result<Json<Account>, ApiError> {
    Ok(Json(change(&state, &caller, &account, AccountPatch::Resume).await?))
}

/// Until when an account is parked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParkBody {
    /// Absent: until it is resumed.
    #[schema(value_type = Option<String>)]
    until: Option<Moment>,
}

impl ParkBody {
    fn read(fields: &mut Fields, now: Moment) -> ParkBody {
        let until = fields.nullable_moment("until").flatten();
        if until.is_some_and(|until| until <= now) {
            fields.mistake("custom", "until", "must lie in the future");
        }
        ParkBody { until }
    }
}

/// Parks an account: runs that are under way go on, and nothing starts.
#[utoipa::path(post, path = "/accounts/{account}/park", tag = "accounts", request_body = ParkBody,
    params(("account" = String, Path)),
    responses((status = 200, body = Account), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn park(
    State(state): State<ApiState>,
    Named(account): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read_or_empty(&body)?;
    let read = ParkBody::read(&mut fields, state.engine.now());
    let ignored = fields.drop_rest()?;
    let changed = change(&state, &caller, &account, AccountPatch::Park { until: read.until }).await?;
    Ok(naming(&ignored, Json(changed)))
}

/// The account that is meant, of a company of which the caller is a person.
async fn found(state: &ApiState, caller: &Caller, id: &str) -> Result<engine::AccountView, ApiError> {
    let view = state.engine.account(id).await?;
    // What is another company's is not there.
    lookup::company(&state.engine, caller, view.stored.company_id.as_str()).await?;
    caller.board_of(&view.stored.company_id)?;
    Ok(view)
}

async fn change(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    patch: AccountPatch,
) -> Result<Account, ApiError> {
    let company = found(state, caller, id).await?.stored.company_id;
    let by = caller.author(&company)?;
    Ok(state.engine.change_account(id, patch, &by).await?.into())
}
