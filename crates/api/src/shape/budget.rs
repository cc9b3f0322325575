//! Budgets on the wire. Amounts are in the unit of their metric: cents, or tokens.

use domain::moment::Moment;
use engine::{BudgetOverview as Overview, IncidentSummary, PolicySummary};
use serde::Serialize;
use utoipa::ToSchema;

/// A policy with what its window of now has seen.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BudgetPolicy {
    policy_id: String,
    company_id: String,
    /// `company`, `agent` or `project`.
    scope_type: &'static str,
    scope_id: String,
    scope_name: String,
    /// `billed_cents` or `tokens`.
    metric: &'static str,
    /// `calendar_month_utc` or `lifetime`.
    window_kind: &'static str,
    amount: i64,
    observed_amount: i64,
    remaining_amount: i64,
    /// What running runs hold of it; part of neither the observed nor the remaining amount.
    reserved_amount: i64,
    utilization_percent: f64,
    warn_percent: i64,
    hard_stop_enabled: bool,
    notify_enabled: bool,
    is_active: bool,
    /// `ok`, `warning` or `hard_stop`.
    status: &'static str,
    paused: bool,
    pause_reason: Option<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    window_start: Moment,
    #[schema(value_type = String, format = DateTime)]
    window_end: Moment,
}

impl From<PolicySummary> for BudgetPolicy {
    fn from(row: PolicySummary) -> BudgetPolicy {
        BudgetPolicy {
            policy_id: row.policy.id.0,
            company_id: row.company_id.0,
            scope_type: row.policy.scope.kind.as_str(),
            scope_id: row.policy.scope.id,
            scope_name: row.scope_name,
            metric: row.policy.metric.as_str(),
            window_kind: row.policy.window.as_str(),
            amount: row.policy.amount,
            observed_amount: row.observed,
            remaining_amount: row.remaining,
            reserved_amount: row.reserved,
            utilization_percent: row.utilization_percent,
            warn_percent: row.policy.warn_percent,
            hard_stop_enabled: row.policy.hard_stop,
            notify_enabled: row.policy.notify,
            is_active: row.policy.is_active,
            status: row.status.as_str(),
            paused: row.paused,
            pause_reason: row.pause_reason.map(|reason| reason.as_str()),
            window_start: row.window.start,
            window_end: row.window.end,
        }
    }
}

/// A line that was crossed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BudgetIncident {
    id: String,
    company_id: String,
    policy_id: String,
    scope_type: &'static str,
    scope_id: String,
    scope_name: String,
    metric: &'static str,
    window_kind: &'static str,
    #[schema(value_type = String, format = DateTime)]
    window_start: Moment,
    #[schema(value_type = String, format = DateTime)]
    window_end: Moment,
    /// `soft` or `hard`.
    threshold_type: &'static str,
    amount_limit: i64,
    amount_observed: i64,
    /// `open`, `resolved` or `dismissed`.
    status: &'static str,
    approval_id: Option<String>,
    approval_status: Option<String>,
    #[schema(value_type = Option<String>)]
    resolved_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<IncidentSummary> for BudgetIncident {
    fn from(row: IncidentSummary) -> BudgetIncident {
        BudgetIncident {
            id: row.id,
            company_id: row.company_id.0,
            policy_id: row.policy_id.0,
            scope_type: row.scope.kind.as_str(),
            scope_id: row.scope.id,
            scope_name: row.scope_name,
            metric: row.metric.as_str(),
            window_kind: row.window_kind.as_str(),
            window_start: row.window.start,
            window_end: row.window.end,
            threshold_type: row.threshold.as_str(),
            amount_limit: row.amount_limit,
            amount_observed: row.amount_observed,
            status: row.status.as_str(),
            approval_id: row.approval_id,
            approval_status: row.approval_status,
            resolved_at: row.resolved_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// All budgets of a company, and what is open.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BudgetOverview {
    company_id: String,
    policies: Vec<BudgetPolicy>,
    /// Open ones, newest first.
    active_incidents: Vec<BudgetIncident>,
    paused_agent_count: i64,
    paused_project_count: i64,
    pending_approval_count: i64,
}

impl From<Overview> for BudgetOverview {
    fn from(row: Overview) -> BudgetOverview {
        BudgetOverview {
            company_id: row.company_id.0,
            policies: row.policies.into_iter().map(BudgetPolicy::from).collect(),
            active_incidents: row.incidents.into_iter().map(BudgetIncident::from).collect(),
            paused_agent_count: row.paused_agents,
            paused_project_count: row.paused_projects,
            pending_approval_count: row.pending_approvals,
        }
    }
}
