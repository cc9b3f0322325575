//! Runs as an issue lists them: what became of each, what it cost, and what its watcher decided.

use domain::moment::Moment;
use engine::environments::RunPlace;
use serde::Serialize;
use serde_json::{Map, Value};
use store::agents::Agent;
use store::runs::Run as Row;
use utoipa::ToSchema;

use super::runtime_environment::place_of_run;

use super::run::summary_of;

/// What of the usage of a run is shown: tokens and costs, in both spellings.
const USAGE: [&str; 14] = [
    "inputTokens",
    "input_tokens",
    "outputTokens",
    "output_tokens",
    "cachedInputTokens",
    "cached_input_tokens",
    "cacheReadInputTokens",
    "cache_read_input_tokens",
    "costUsd",
    "cost_usd",
    "total_cost_usd",
    "totalCostUsd",
    "costMicros",
    "billingType",
];

/// A run of an issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunOfIssue {
    run_id: String,
    status: &'static str,
    agent_id: String,
    adapter_type: Option<String>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    invocation_source: &'static str,
    #[schema(value_type = Option<Object>)]
    usage_json: Option<Value>,
    #[schema(value_type = Option<Object>)]
    result_json: Option<Value>,
    log_bytes: Option<i64>,
    retry_of_run_id: Option<String>,
    #[schema(value_type = Option<String>)]
    scheduled_retry_at: Option<Moment>,
    scheduled_retry_attempt: u32,
    scheduled_retry_reason: Option<String>,
    liveness_state: Option<String>,
    liveness_reason: Option<String>,
    continuation_attempt: i64,
    #[schema(value_type = Option<String>)]
    last_useful_action_at: Option<Moment>,
    next_action: Option<String>,
    #[schema(value_type = Object)]
    context_snapshot: Value,
    /// Why it is not tried again.
    retry_exhausted_reason: Option<String>,
    /// Where it worked: id, name and driver; null for a run that never began.
    #[schema(value_type = Option<Object>)]
    environment: Option<Value>,
    /// Its lease on that, in short.
    #[schema(value_type = Option<Object>)]
    environment_lease: Option<Value>,
}

impl RunOfIssue {
    pub(crate) fn new(
        row: Row,
        agent: Option<&Agent>,
        exhausted: Option<String>,
        place: Option<&RunPlace>,
    ) -> RunOfIssue {
        let (environment, environment_lease) = place.map(place_of_run).unzip();
        RunOfIssue {
            run_id: row.id.0,
            status: row.status.as_str(),
            agent_id: row.agent_id.0,
            adapter_type: agent.map(|agent| agent.adapter_type.clone()),
            started_at: row.started_at,
            finished_at: row.finished_at,
            created_at: row.created_at,
            invocation_source: row.invocation_source.as_str(),
            usage_json: row.usage.as_ref().and_then(usage_of),
            result_json: row.result.as_ref().and_then(summary_of),
            log_bytes: row.log_bytes,
            retry_of_run_id: row.retry_of_run_id.map(|id| id.0),
            scheduled_retry_at: row.retry_at,
            scheduled_retry_attempt: row.retry_attempt,
            scheduled_retry_reason: row.retry_reason,
            liveness_state: row.liveness_state,
            liveness_reason: row.liveness_reason,
            continuation_attempt: row.continuation_attempt,
            last_useful_action_at: row.last_useful_action_at,
            next_action: row.next_action,
            context_snapshot: row.context,
            retry_exhausted_reason: exhausted,
            environment,
            environment_lease,
        }
    }
}

fn usage_of(usage: &Value) -> Option<Value> {
    let kept: Map<String, Value> =
        USAGE.iter().filter_map(|key| Some(((*key).to_owned(), usage.get(*key)?.clone()))).collect();
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// What somebody decided about a run that is silent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WatchdogDecision {
    pub(crate) id: String,
    pub(crate) company_id: String,
    pub(crate) run_id: String,
    /// Null: silent runs have no issues of their own.
    pub(crate) evaluation_issue_id: Option<String>,
    /// `snooze`, `continue` or `dismissed_false_positive`.
    pub(crate) decision: &'static str,
    #[schema(value_type = Option<String>)]
    pub(crate) snoozed_until: Option<Moment>,
    pub(crate) reason: Option<String>,
    pub(crate) created_by_agent_id: Option<String>,
    pub(crate) created_by_user_id: Option<String>,
    pub(crate) created_by_run_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Moment,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_usage_tokens_and_costs_are_shown() {
        let usage = json!({"inputTokens": 5, "cost_usd": 0.1, "raw": {"x": 1}});
        assert_eq!(usage_of(&usage), Some(json!({"inputTokens": 5, "cost_usd": 0.1})));
        assert_eq!(usage_of(&json!({"raw": 1})), None);
    }
}
