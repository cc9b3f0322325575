//! Budgets: what scopes may spend, and the decisions on lines that were crossed. Only a person may loosen anything (D19).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::budget::policy::Draft;
use domain::budget::resolution::Action;
use domain::budget::{Metric, Scope, ScopeKind, WindowKind};
use domain::ids::looks_like_id;
use serde::Deserialize;
use utoipa::ToSchema;

use super::agent_rights::MonthlyBody;
use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::shape::budget::{BudgetIncident, BudgetOverview, BudgetPolicy};
use crate::shape::company::ChangedCompany;

/// All budgets of a company, and what is open.
#[utoipa::path(get, path = "/companies/{company}/budgets/overview", tag = "budgets", params(("company" = String, Path)),
    responses((status = 200, body = BudgetOverview), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn overview(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<BudgetOverview>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    Ok(Json(state.engine.budgets(&company).await?.into()))
}

/// What a scope may spend; what is absent stays or has its default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyBody {
    #[schema(value_type = String)]
    scope_type: Option<ScopeKind>,
    scope_id: String,
    /// In cents, or tokens; 0 limits nothing.
    #[schema(minimum = 0)]
    amount: i64,
    #[schema(value_type = Option<String>)]
    metric: Option<Metric>,
    /// `calendar_month_utc` when absent.
    #[schema(value_type = Option<String>)]
    window_kind: Option<WindowKind>,
    #[schema(minimum = 1, maximum = 99)]
    warn_percent: Option<i64>,
    hard_stop_enabled: Option<bool>,
    notify_enabled: Option<bool>,
    is_active: Option<bool>,
}

impl PolicyBody {
    fn read(fields: &mut Fields) -> PolicyBody {
        let warn_percent = fields.count("warnPercent");
        match warn_percent {
            Some(0) => {
                fields.mistake("too_small", "warnPercent", "Number must be greater than or equal to 1")
            }
            Some(100..) => {
                fields.mistake("too_big", "warnPercent", "Number must be less than or equal to 99")
            }
            Some(_) | None => {}
        }
        PolicyBody {
            scope_type: fields.required_word("scopeType", ScopeKind::ALL, ScopeKind::as_str),
            scope_id: fields.required_id("scopeId"),
            amount: fields.required_count("amount"),
            metric: fields.word("metric", Metric::ALL, Metric::as_str),
            window_kind: fields.word("windowKind", WindowKind::ALL, WindowKind::as_str),
            warn_percent,
            hard_stop_enabled: fields.boolean("hardStopEnabled"),
            notify_enabled: fields.boolean("notifyEnabled"),
            is_active: fields.boolean("isActive"),
        }
    }
}

/// Sets what a scope may spend. Without the proof that a person asks nothing is loosened.
#[utoipa::path(post, path = "/companies/{company}/budgets/policies", tag = "budgets", request_body = PolicyBody,
    params(("company" = String, Path)),
    responses((status = 200, body = BudgetPolicy), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn set(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = PolicyBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.board_of(&company)?;
    let draft = Draft {
        scope: Scope { kind: read.scope_type.unwrap_or(ScopeKind::Company), id: read.scope_id },
        metric: read.metric,
        window: Some(read.window_kind.unwrap_or(WindowKind::CalendarMonthUtc)),
        amount: read.amount,
        warn_percent: read.warn_percent,
        hard_stop: read.hard_stop_enabled,
        notify: read.notify_enabled,
        is_active: read.is_active,
    };
    let (by, is_person) = (caller.author(&company)?, caller.is_person(&company));
    let policy = state.engine.set_budget(&company, draft, &by, is_person).await?;
    Ok(naming(&ignored, Json(BudgetPolicy::from(policy))))
}

/// Sets what a company may spend in a month; 0 is no limit. Only a person may loosen it.
#[utoipa::path(patch, path = "/companies/{company}/budgets", tag = "budgets", request_body = MonthlyBody,
    params(("company" = String, Path)),
    responses((status = 200, body = ChangedCompany), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn set_monthly(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = MonthlyBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let id = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.board_of(&id)?;
    let scope = Scope { kind: ScopeKind::Company, id: id.0.clone() };
    let (by, is_person) = (caller.author(&id)?, caller.is_person(&id));
    state.engine.set_monthly_budget(&id, scope, read.cents(), &by, is_person).await?;
    let row = lookup::company(&state.engine, &caller, &company).await?;
    let pause = state.engine.company_pause(&id).await?;
    let spent = state.engine.company_spent_this_month(&id).await?;
    Ok(naming(&ignored, Json(ChangedCompany::new(row, &pause, spent))))
}

/// A decision on a line that was crossed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResolveBody {
    /// `raise_budget_and_resume` or `keep_paused`.
    #[schema(value_type = String)]
    action: Option<Action>,
    /// The new amount, in cents or tokens; required for a raise.
    #[schema(minimum = 0)]
    amount: Option<i64>,
    decision_note: Option<String>,
}

/// Raises a budget and lets its scope go on, or keeps it paused. Only a person may.
#[utoipa::path(post, path = "/companies/{company}/budget-incidents/{incident}/resolve", tag = "budgets", request_body = ResolveBody,
    params(("company" = String, Path), ("incident" = String, Path)),
    responses((status = 200, body = BudgetIncident), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn resolve(
    State(state): State<ApiState>,
    Named((company, incident)): Named<(String, String)>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = ResolveBody {
        action: fields.required_word("action", Action::ALL, Action::as_str),
        amount: fields.count("amount"),
        decision_note: fields.lines("decisionNote"),
    };
    if read.action == Some(Action::RaiseBudgetAndResume) && read.amount.is_none() {
        fields.mistake("custom", "amount", "amount is required when raising a budget");
    }
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.person(&company)?;
    if !looks_like_id(&incident) {
        return Err(ApiError::not_found("Budget incident"));
    }
    let by = caller.author(&company)?;
    let (action, incident) = (read.action.unwrap_or(Action::KeepPaused), incident.to_ascii_lowercase());
    let decided = state
        .engine
        .resolve_budget_incident(&company, &incident, action, read.amount, read.decision_note, &by)
        .await?;
    Ok(naming(&ignored, Json(BudgetIncident::from(decided))))
}
