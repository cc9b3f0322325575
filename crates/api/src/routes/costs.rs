//! Costs: reporting one by hand, and the sums that people read.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::budget::money;
use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::moment::Moment;
use engine::CostReport;
use serde::Deserialize;
use store::costs::reports::Span;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::Asked;
use crate::shape::account::QuotaWindows;
use crate::shape::cost::{
    CostByAgent, CostByAgentModel, CostByBiller, CostByProject, CostByProvider, CostEvent, CostSummary,
    WindowSpend,
};

/// A cost that somebody knows of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostBody {
    agent_id: String,
    provider: String,
    model: String,
    #[schema(minimum = 0)]
    cost_cents: i64,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Moment,
    issue_id: Option<String>,
    project_id: Option<String>,
    goal_id: Option<String>,
    heartbeat_run_id: Option<String>,
    billing_code: Option<String>,
    /// The provider when absent.
    biller: Option<String>,
    billing_type: Option<String>,
    #[schema(minimum = 0)]
    input_tokens: Option<i64>,
    #[schema(minimum = 0)]
    cached_input_tokens: Option<i64>,
    #[schema(minimum = 0)]
    output_tokens: Option<i64>,
}

impl CostBody {
    fn read(fields: &mut Fields) -> CostBody {
        let mut id = |key: &str| fields.nullable_id(key).flatten();
        let (issue_id, project_id) = (id("issueId"), id("projectId"));
        let (goal_id, heartbeat_run_id) = (id("goalId"), id("heartbeatRunId"));
        CostBody {
            agent_id: fields.required_id("agentId"),
            provider: fields.required_text("provider"),
            model: fields.required_text("model"),
            cost_cents: fields.required_count("costCents"),
            occurred_at: fields.required_moment("occurredAt"),
            issue_id,
            project_id,
            goal_id,
            heartbeat_run_id,
            billing_code: fields.text("billingCode"),
            biller: fields.text("biller"),
            billing_type: fields.text("billingType"),
            input_tokens: fields.count("inputTokens"),
            cached_input_tokens: fields.count("cachedInputTokens"),
            output_tokens: fields.count("outputTokens"),
        }
    }

    fn report(self) -> CostReport {
        CostReport {
            agent_id: AgentId(self.agent_id),
            issue_id: self.issue_id.map(IssueId),
            project_id: self.project_id,
            goal_id: self.goal_id,
            run_id: self.heartbeat_run_id.map(RunId),
            billing_code: self.billing_code,
            provider: self.provider,
            biller: self.biller,
            billing_type: self.billing_type,
            model: self.model,
            input_tokens: self.input_tokens.unwrap_or(0),
            cached_input_tokens: self.cached_input_tokens.unwrap_or(0),
            output_tokens: self.output_tokens.unwrap_or(0),
            cost_micros: money::micros(self.cost_cents),
            occurred_at: self.occurred_at,
        }
    }
}

/// Takes a cost into the ledger; it counts against budgets at once. Agents report their own only.
#[utoipa::path(post, path = "/companies/{company}/cost-events", tag = "costs", request_body = CostBody,
    params(("company" = String, Path)),
    responses((status = 201, body = CostEvent), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn report(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = CostBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let report = read.report();
    caller.cost_reporter(&company, &report.agent_id)?;
    let event = state.engine.report_cost(&company, report, &caller.author(&company)?).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(CostEvent::from(event)))))
}

/// The company of a report, and the span it is asked for.
async fn asked_for(
    state: &ApiState,
    caller: &Caller,
    company: &str,
    asked: &Asked,
) -> Result<(CompanyId, Span), ApiError> {
    let bound = |name: &str, is_end: bool| match asked.get(name) {
        None => Ok(None),
        Some(text) => match date(text, is_end) {
            Some(moment) => Ok(Some(moment)),
            None => Err(ApiError::bad_request("bad_query", format!("invalid '{name}' date"))
                .hint("write it like 2026-04-27, 2026-04, 2026 or 2026-04-27T15:02:47Z")),
        },
    };
    let (from, to) = (bound("from", false)?, bound("to", true)?);
    let company = lookup::company(&state.engine, caller, company).await?.id;
    Ok((company, Span { from: from.unwrap_or(Span::ALL.from), to: to.unwrap_or(Span::ALL.to) }))
}

/// A moment, or a day, a month or a year: of these the first moment, and as the end of a span the last.
fn date(text: &str, is_end: bool) -> Option<Moment> {
    // A plus sign of an offset is a blank once a query was decoded.
    if let Some(moment) = Moment::parse(text).or_else(|| Moment::parse(&text.replace(' ', "+"))) {
        return Some(moment);
    }
    match days_of(text) {
        Some((first, _)) if !is_end => Some(first),
        Some((_, behind)) => Some(Moment::from_micros(behind.micros() - 1)),
        None => Moment::parse(&format!("{text}Z")),
    }
}

/// The first moment of a day, a month or a year, and the first one behind it.
fn days_of(text: &str) -> Option<(Moment, Moment)> {
    let start = |day: &str| Moment::parse(&format!("{day}T00:00:00Z"));
    let number = |digits: &str| {
        digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let month_at = |year: u32, month: u32| start(&format!("{year:04}-{month:02}-01"));
    match (text.len(), text.split_once('-')) {
        (4, None) => {
            let year = number(text)?;
            Some((month_at(year, 1)?, month_at(year + 1, 1)?))
        }
        (7, Some((year, month))) if year.len() == 4 => {
            let (year, month) = (number(year)?, number(month)?);
            let next = if month == 12 { month_at(year + 1, 1) } else { month_at(year, month + 1) };
            Some((month_at(year, month)?, next?))
        }
        (10, Some(_)) => {
            let first = start(text)?;
            Some((first, Moment::from_micros(first.micros() + store::overview::DAY)))
        }
        _ => None,
    }
}

/// What a company spent, of all time or in a span.
#[utoipa::path(get, path = "/companies/{company}/costs/summary", tag = "costs",
    params(("company" = String, Path), ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = CostSummary), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn summary(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<CostSummary>, ApiError> {
    let (company, span) = asked_for(&state, &caller, &company, &asked).await?;
    let (total, budget) = state.engine.cost_summary(&company, span).await?;
    Ok(Json(CostSummary::new(company.0, total, budget)))
}

/// What each agent spent, the highest cost first.
#[utoipa::path(get, path = "/companies/{company}/costs/by-agent", tag = "costs",
    params(("company" = String, Path), ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = Vec<CostByAgent>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn by_agent(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<CostByAgent>>, ApiError> {
    let (company, span) = asked_for(&state, &caller, &company, &asked).await?;
    let rows = state.engine.costs_by_agent(&company, span).await?;
    Ok(Json(rows.into_iter().map(CostByAgent::from).collect()))
}

/// What each agent spent with each model.
#[utoipa::path(get, path = "/companies/{company}/costs/by-agent-model", tag = "costs",
    params(("company" = String, Path), ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = Vec<CostByAgentModel>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn by_agent_model(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<CostByAgentModel>>, ApiError> {
    let (company, span) = asked_for(&state, &caller, &company, &asked).await?;
    let rows = state.engine.costs_by_agent_model(&company, span).await?;
    Ok(Json(rows.into_iter().map(CostByAgentModel::from).collect()))
}

/// What was spent with each model of each provider, the highest cost first.
#[utoipa::path(get, path = "/companies/{company}/costs/by-provider", tag = "costs",
    params(("company" = String, Path), ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = Vec<CostByProvider>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn by_provider(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<CostByProvider>>, ApiError> {
    let (company, span) = asked_for(&state, &caller, &company, &asked).await?;
    let rows = state.engine.costs_by_provider(&company, span).await?;
    Ok(Json(rows.into_iter().map(CostByProvider::from).collect()))
}

/// What was spent through each biller, the highest cost first.
#[utoipa::path(get, path = "/companies/{company}/costs/by-biller", tag = "costs",
    params(("company" = String, Path), ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = Vec<CostByBiller>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn by_biller(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<CostByBiller>>, ApiError> {
    let (company, span) = asked_for(&state, &caller, &company, &asked).await?;
    let rows = state.engine.costs_by_biller(&company, span).await?;
    Ok(Json(rows.into_iter().map(CostByBiller::from).collect()))
}

/// What was spent for each project, the highest cost first.
#[utoipa::path(get, path = "/companies/{company}/costs/by-project", tag = "costs",
    params(("company" = String, Path), ("from" = Option<String>, Query), ("to" = Option<String>, Query)),
    responses((status = 200, body = Vec<CostByProject>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn by_project(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<CostByProject>>, ApiError> {
    let (company, span) = asked_for(&state, &caller, &company, &asked).await?;
    let rows = state.engine.costs_by_project(&company, span).await?;
    Ok(Json(rows.into_iter().map(CostByProject::from).collect()))
}

/// What was spent with each provider in the last five hours, day and week.
#[utoipa::path(get, path = "/companies/{company}/costs/window-spend", tag = "costs", params(("company" = String, Path)),
    responses((status = 200, body = Vec<WindowSpend>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn window_spend(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<Vec<WindowSpend>>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    Ok(Json(WindowSpend::all(state.engine.window_spend(&company).await?)))
}

/// What is known of providers' limits: what the company's own accounts met. No program or page is asked.
#[utoipa::path(get, path = "/companies/{company}/costs/quota-windows", tag = "costs", params(("company" = String, Path)),
    responses((status = 200, body = Vec<QuotaWindows>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn quota_windows(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<Vec<QuotaWindows>>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.board_of(&company)?;
    let accounts = state.engine.accounts(&company).await?;
    Ok(Json(QuotaWindows::all(accounts, state.engine.now())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_asked_for_by_moments_or_by_days() {
        let iso = |text: &str, is_end| date(text, is_end).map(Moment::iso);
        let known = |text: &str| Some(text.to_owned());
        assert_eq!(iso("2026-04-27", false), known("2026-04-27T00:00:00.000Z"));
        assert_eq!(iso("2026-04-27", true), known("2026-04-27T23:59:59.999Z"));
        for end in [true, false] {
            assert_eq!(iso("2026-04-27T15:02:47Z", end), known("2026-04-27T15:02:47.000Z"));
            assert_eq!(iso("2026-04-27T15:02:47 02:00", end), known("2026-04-27T13:02:47.000Z"));
            assert_eq!(iso("2026-04-27T15:02:47", end), known("2026-04-27T15:02:47.000Z"));
            for wrong in ["", "yesterday", "2026-13-01", "27.4.2026"] {
                assert_eq!(iso(wrong, end), None, "{wrong}");
            }
        }
    }
}
