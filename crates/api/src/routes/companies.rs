//! Companies: list, create, show.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::CompanyId;
use serde::Deserialize;
use store::companies as rows;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::company::Company;

/// Companies, oldest first.
#[utoipa::path(get, path = "/companies", tag = "companies",
    params(("limit" = Option<i64>, Query, description = "1 to 1000"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Company>)))]
pub(crate) async fn list(State(state): State<ApiState>, asked: Asked) -> Result<Response, ApiError> {
    let limit = asked.limit(paging::MOST);
    let after = asked.place()?.map(|(at, id)| (at, CompanyId(id)));
    let found = state
        .engine
        .store()
        .read(move |tx| {
            let after = after.clone();
            Box::pin(async move { rows::page(tx, after, limit + 1).await })
        })
        .await?;
    let place = |row: &rows::Company| cursor_of(row.created_at, row.id.as_str());
    Ok(paging::page(found, limit, place, |rows| rows.into_iter().map(Company::from).collect()))
}

/// A new company.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompanyDraft {
    #[schema(min_length = 1)]
    name: String,
    description: Option<String>,
    #[schema(minimum = 0)]
    budget_monthly_cents: Option<i64>,
}

/// Creates a company.
#[utoipa::path(post, path = "/companies", tag = "companies", request_body = CompanyDraft,
    responses((status = 201, body = Company), (status = 400, body = ErrorBody)))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let draft = CompanyDraft {
        name: fields.required_text("name"),
        description: fields.text("description"),
        budget_monthly_cents: fields.count("budgetMonthlyCents"),
    };
    let ignored = fields.drop_rest()?;
    let budget = draft.budget_monthly_cents.unwrap_or(0);
    let company =
        state.engine.create_company(&draft.name, draft.description, budget, &caller.actor()).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Company::from(company)))))
}

/// One company.
#[utoipa::path(get, path = "/companies/{company}", tag = "companies",
    params(("company" = String, Path, description = "its id")),
    responses((status = 200, body = Company), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(id): Named<String>,
) -> Result<Json<Company>, ApiError> {
    Ok(Json(lookup::company(&state.engine, &id).await?.into()))
}
