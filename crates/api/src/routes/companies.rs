//! Companies: list, found, show, change, archive, and how much each has.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::access::{Actor, Board};
use domain::agent::Role;
use domain::ids::CompanyId;
use engine::{Author, CompanyPatch};
use serde::Deserialize;
use store::companies as rows;
use utoipa::ToSchema;

use super::{Done, naming};
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::company::{ChangedCompany, Company, CompanyStats};

/// Companies, oldest first; those of the caller, unless that is the person at a trusted instance.
#[utoipa::path(get, path = "/companies", tag = "companies",
    params(("limit" = Option<i64>, Query, description = "1 to 1000"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Company>), (status = 403, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    asked: Asked,
) -> Result<Response, ApiError> {
    caller.board()?;
    let limit = asked.limit(paging::MOST);
    let after = asked.place()?;
    let found = theirs(&state, &caller, after, limit + 1).await?;
    let mut spent = Vec::new();
    for row in &found {
        spent.push(state.engine.company_spent_this_month(&row.id).await?);
    }
    let place = |row: &rows::Company| cursor_of(row.created_at, row.id.as_str());
    Ok(paging::page(found, limit, place, |rows| {
        rows.into_iter().zip(spent).map(|(row, spent)| Company::new(row, spent)).collect()
    }))
}

/// The companies that the caller may see, oldest first, after a place.
async fn theirs(
    state: &ApiState,
    caller: &Caller,
    after: Option<paging::Place>,
    limit: i64,
) -> Result<Vec<rows::Company>, ApiError> {
    let of = caller.companies();
    let found = state.engine.store().read(move |tx| {
        let (after, of) = (after.clone(), of.clone());
        Box::pin(async move {
            let Some(of) = of else {
                return rows::page(tx, after.map(|(at, id)| (at, CompanyId(id))), limit).await;
            };
            let mut found = Vec::new();
            for id in of {
                found.extend(rows::get(tx, &id).await?);
            }
            found.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
            if let Some((at, id)) = after {
                found.retain(|row| (row.created_at, row.id.as_str()) > (at, id.as_str()));
            }
            found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(found)
        })
    });
    Ok(found.await?)
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

/// Founds a company. Who founds it owns it.
#[utoipa::path(post, path = "/companies", tag = "companies", request_body = CompanyDraft,
    responses((status = 201, body = Company), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let draft = CompanyDraft {
        name: fields.required_text("name"),
        description: fields.text("description"),
        budget_monthly_cents: fields.count("budgetMonthlyCents"),
    };
    let ignored = fields.drop_rest()?;
    caller.company_creator()?;
    let Board { user, .. } = caller.board()?;
    let by = Author::Board { user: Some(user.clone()), may_assign: true };
    let budget = draft.budget_monthly_cents.unwrap_or(0);
    let company = state.engine.found_company(&draft.name, draft.description, budget, &by).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Company::new(company, 0)))))
}

/// One company.
#[utoipa::path(get, path = "/companies/{company}", tag = "companies",
    params(("company" = String, Path, description = "its id")),
    responses((status = 200, body = Company), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
) -> Result<Json<Company>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &id).await?;
    let spent = state.engine.company_spent_this_month(&company.id).await?;
    Ok(Json(Company::new(company, spent)))
}

/// Deletes a company with everything in it: its work is ended first. For its owners and admins.
#[utoipa::path(delete, path = "/companies/{company}", tag = "companies",
    params(("company" = String, Path, description = "its id")),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
) -> Result<Json<Done>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &id).await?.id;
    // The right to make agents: nobody who may not make one can take them all away.
    caller.board_manager(&company)?;
    state.engine.delete_company(&company, &caller.author(&company)?).await?;
    Ok(Json(Done::new()))
}

/// A change of a company: what is absent stays. Agents with the role `ceo` may change what it is called and how it looks.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompanyPatchBody {
    name: Option<String>,
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// What is shown; `PATCH .../budgets` sets what stops anybody.
    #[schema(minimum = 0)]
    budget_monthly_cents: Option<i64>,
    /// `active`, `paused` or `archived`.
    status: Option<String>,
    require_board_approval_for_new_agents: Option<bool>,
    /// `#rrggbb`.
    #[schema(value_type = Option<String>)]
    brand_color: Option<Option<String>>,
    /// There are no assets here: only null is taken.
    #[schema(value_type = Option<String>)]
    logo_asset_id: Option<Option<String>>,
}

const STATUSES: [&str; 3] = ["active", "paused", "archived"];

/// Changes a company.
#[utoipa::path(patch, path = "/companies/{company}", tag = "companies", request_body = CompanyPatchBody,
    params(("company" = String, Path)),
    responses((status = 200, body = ChangedCompany), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn change(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let is_agent = matches!(caller.who(), Actor::Agent(_));
    let name = fields.text("name");
    let mut read = CompanyPatchBody {
        name: fields.not_blank("name", name),
        description: fields.nullable_text("description"),
        brand_color: fields.nullable_text("brandColor"),
        logo_asset_id: fields.nullable_id("logoAssetId"),
        ..CompanyPatchBody::default()
    };
    let ignored = if is_agent {
        let looks = read.brand_color.is_some() || read.logo_asset_id.is_some();
        if read.name.is_none() && read.description.is_none() && !looks {
            fields.mistake("custom", "name", "At least one branding field must be provided");
        }
        fields.refuse_rest()?;
        Default::default()
    } else {
        read.budget_monthly_cents = fields.count("budgetMonthlyCents");
        read.status = fields.word("status", &STATUSES, |word| word).map(str::to_owned);
        read.require_board_approval_for_new_agents = fields.boolean("requireBoardApprovalForNewAgents");
        fields.drop_rest()?
    };
    let row = lookup::company(&state.engine, &caller, &id).await?;
    let company = row.id;
    if row.require_approval && read.require_board_approval_for_new_agents == Some(false) {
        // It decides all approvals that would come.
        caller.person(&company)?;
    }
    if let Actor::Agent(agent) = caller.who()
        && agent.role != Role::Ceo
    {
        let words = "Only CEO agents or board users may update company settings";
        return Err(ApiError::forbidden("forbidden", words));
    }
    if read.logo_asset_id.flatten().is_some() {
        return Err(ApiError::not_found("Logo asset"));
    }
    let patch = CompanyPatch {
        name: read.name,
        description: read.description,
        budget_monthly_cents: read.budget_monthly_cents,
        is_proven: caller.is_person(&company),
        status: read.status,
        require_approval: read.require_board_approval_for_new_agents,
        brand_color: read.brand_color,
    };
    let (row, pause) = state.engine.patch_company(&company, patch, &caller.author(&company)?).await?;
    let spent = state.engine.company_spent_this_month(&company).await?;
    Ok(naming(&ignored, Json(ChangedCompany::new(row, &pause, spent))))
}

/// Archives a company.
#[utoipa::path(post, path = "/companies/{company}/archive", tag = "companies", params(("company" = String, Path)),
    responses((status = 200, body = Company), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn archive(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
) -> Result<Json<Company>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &id).await?.id;
    caller.board_of(&company)?;
    let patch = CompanyPatch { status: Some("archived".to_owned()), ..CompanyPatch::default() };
    let (row, _) = state.engine.patch_company(&company, patch, &caller.author(&company)?).await?;
    let spent = state.engine.company_spent_this_month(&company).await?;
    Ok(Json(Company::new(row, spent)))
}

/// How many agents and issues each company of the caller has, by its id.
#[utoipa::path(get, path = "/companies/stats", tag = "companies",
    responses((status = 200, body = Object), (status = 403, body = ErrorBody)))]
pub(crate) async fn stats(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<BTreeMap<String, CompanyStats>>, ApiError> {
    caller.board()?;
    let found = theirs(&state, &caller, None, paging::MOST).await?;
    let ids: Vec<CompanyId> = found.into_iter().map(|row| row.id).collect();
    let stats = state.engine.company_stats(&ids).await?;
    Ok(Json(stats.into_iter().map(|(id, stats)| (id.0, stats.into())).collect()))
}

/// A path without a company, which existing clients have asked for by mistake.
#[utoipa::path(get, path = "/companies/issues", tag = "companies", responses((status = 400, body = ErrorBody)))]
pub(crate) async fn issues() -> ApiError {
    ApiError::bad_request(
        "company_required",
        "Missing companyId in path. Use /api/companies/{companyId}/issues.",
    )
}

/// The same without any company.
#[utoipa::path(get, path = "/issues", tag = "companies", responses((status = 400, body = ErrorBody)))]
pub(crate) async fn no_issues() -> ApiError {
    issues().await
}
