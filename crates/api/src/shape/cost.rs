//! Costs on the wire: sums in micro-dollars become cents here, once (D21).

use domain::budget::money::percent;
use domain::moment::Moment;
use engine::WindowSpend as Span;
use serde::Serialize;
use store::costs::CostEvent as Row;
use store::costs::reports::{OfAgent, OfAgentModel, OfBiller, OfProject, OfProvider, Usage};
use utoipa::ToSchema;

use super::cents;

/// A cost as it was reported.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostEvent {
    id: String,
    company_id: String,
    agent_id: String,
    issue_id: Option<String>,
    project_id: Option<String>,
    goal_id: Option<String>,
    heartbeat_run_id: Option<String>,
    billing_code: Option<String>,
    provider: String,
    biller: String,
    billing_type: String,
    model: String,
    input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
    cost_cents: i64,
    /// False where nobody knows the price; then `costCents` is 0.
    cost_known: bool,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<Row> for CostEvent {
    fn from(row: Row) -> CostEvent {
        CostEvent {
            id: row.id,
            company_id: row.company_id.0,
            agent_id: row.agent_id.0,
            issue_id: row.issue_id.map(|id| id.0),
            project_id: row.project_id,
            goal_id: row.goal_id,
            heartbeat_run_id: row.run_id.map(|id| id.0),
            billing_code: row.billing_code,
            provider: row.provider,
            biller: row.biller,
            billing_type: row.billing_type,
            model: row.model,
            input_tokens: row.input_tokens,
            cached_input_tokens: row.cached_input_tokens,
            output_tokens: row.output_tokens,
            cost_cents: cents(row.cost_micros),
            cost_known: row.cost_known,
            occurred_at: row.occurred_at,
            created_at: row.created_at,
        }
    }
}

/// What a company spent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostSummary {
    company_id: String,
    spend_cents: i64,
    budget_cents: i64,
    /// With two decimals; 0 without a budget.
    utilization_percent: f64,
    /// Events whose price nobody knows.
    unknown_price_events: i64,
}

impl CostSummary {
    pub(crate) fn new(
        company: String,
        total: store::costs::reports::Total,
        budget_cents: i64,
    ) -> CostSummary {
        let spend_cents = cents(total.cost_micros);
        CostSummary {
            company_id: company,
            spend_cents,
            budget_cents,
            utilization_percent: percent(spend_cents, budget_cents),
            unknown_price_events: total.unknown,
        }
    }
}

/// The counters that the reports share.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Counters {
    cost_cents: i64,
    input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
    api_run_count: i64,
    subscription_run_count: i64,
    subscription_cached_input_tokens: i64,
    subscription_input_tokens: i64,
    subscription_output_tokens: i64,
    /// Events whose price nobody knows.
    unknown_price_events: i64,
}

impl From<Usage> for Counters {
    fn from(usage: Usage) -> Counters {
        Counters {
            cost_cents: cents(usage.cost_micros),
            input_tokens: usage.input_tokens,
            cached_input_tokens: usage.cached_input_tokens,
            output_tokens: usage.output_tokens,
            api_run_count: usage.api_runs,
            subscription_run_count: usage.subscription_runs,
            subscription_cached_input_tokens: usage.subscription_cached_input_tokens,
            subscription_input_tokens: usage.subscription_input_tokens,
            subscription_output_tokens: usage.subscription_output_tokens,
            unknown_price_events: usage.unknown,
        }
    }
}

/// What an agent spent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostByAgent {
    agent_id: String,
    agent_name: Option<String>,
    agent_status: Option<String>,
    #[serde(flatten)]
    counters: Counters,
}

impl From<OfAgent> for CostByAgent {
    fn from(row: OfAgent) -> CostByAgent {
        CostByAgent {
            agent_id: row.agent_id.0,
            agent_name: row.agent_name,
            agent_status: row.agent_status,
            counters: row.usage.into(),
        }
    }
}

/// What was spent with one model of a provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostByProvider {
    provider: String,
    biller: String,
    billing_type: String,
    model: String,
    #[serde(flatten)]
    counters: Counters,
}

impl From<OfProvider> for CostByProvider {
    fn from(row: OfProvider) -> CostByProvider {
        CostByProvider {
            provider: row.provider,
            biller: row.biller,
            billing_type: row.billing_type,
            model: row.model,
            counters: row.usage.into(),
        }
    }
}

/// What was spent through one biller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostByBiller {
    biller: String,
    provider_count: i64,
    model_count: i64,
    #[serde(flatten)]
    counters: Counters,
}

impl From<OfBiller> for CostByBiller {
    fn from(row: OfBiller) -> CostByBiller {
        CostByBiller {
            biller: row.biller,
            provider_count: row.providers,
            model_count: row.models,
            counters: row.usage.into(),
        }
    }
}

/// What an agent spent with one model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostByAgentModel {
    agent_id: String,
    agent_name: Option<String>,
    provider: String,
    biller: String,
    billing_type: String,
    model: String,
    cost_cents: i64,
    input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
}

impl From<OfAgentModel> for CostByAgentModel {
    fn from(row: OfAgentModel) -> CostByAgentModel {
        CostByAgentModel {
            agent_id: row.agent_id.0,
            agent_name: row.agent_name,
            provider: row.provider,
            biller: row.biller,
            billing_type: row.billing_type,
            model: row.model,
            cost_cents: cents(row.cost_micros),
            input_tokens: row.input_tokens,
            cached_input_tokens: row.cached_input_tokens,
            output_tokens: row.output_tokens,
        }
    }
}

/// What was spent for a project.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CostByProject {
    project_id: String,
    /// Null when the project is gone.
    project_name: Option<String>,
    cost_cents: i64,
    input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
}

impl From<(OfProject, Option<String>)> for CostByProject {
    fn from((row, name): (OfProject, Option<String>)) -> CostByProject {
        CostByProject {
            project_id: row.project_id,
            project_name: name,
            cost_cents: cents(row.cost_micros),
            input_tokens: row.input_tokens,
            cached_input_tokens: row.cached_input_tokens,
            output_tokens: row.output_tokens,
        }
    }
}

/// What was spent with a provider in a span that ends now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WindowSpend {
    provider: String,
    /// `mixed` if there were several.
    biller: String,
    /// `5h`, `24h` or `7d`.
    window: &'static str,
    window_hours: u32,
    cost_cents: i64,
    input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
}

impl WindowSpend {
    pub(crate) fn all(spans: Vec<Span>) -> Vec<WindowSpend> {
        let of = |span: Span| {
            let (window, window_hours) = (span.window, span.hours);
            span.providers.into_iter().map(move |row| WindowSpend {
                provider: row.provider,
                biller: row.biller.unwrap_or_else(|| "mixed".to_owned()),
                window,
                window_hours,
                cost_cents: cents(row.cost_micros),
                input_tokens: row.input_tokens,
                cached_input_tokens: row.cached_input_tokens,
                output_tokens: row.output_tokens,
            })
        };
        spans.into_iter().flat_map(of).collect()
    }
}
