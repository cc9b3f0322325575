//! Wakes on the wire: each recorded ask with its fate, and the answer to an ask that started nothing.

use domain::ids::{AgentId, RunId};
use domain::moment::Moment;
use domain::wake::{DEFERRED, WakeStatus};
use engine::Skipped;
use serde::Serialize;
use serde_json::Value;
use store::wakes::Wake as Row;
use utoipa::ToSchema;

use super::run::Run;

/// A recorded ask.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wake {
    id: String,
    company_id: String,
    agent_id: String,
    source: &'static str,
    trigger_detail: Option<&'static str>,
    /// Why it was asked; for an ask that was skipped or refused, why that was.
    reason: Option<String>,
    #[schema(value_type = Object)]
    payload: Value,
    /// `queued`, `deferred_issue_execution`, `claimed`, `coalesced`, `skipped`, `completed`, `failed`, `cancelled` or
    /// `timed_out`.
    status: &'static str,
    coalesced_count: i64,
    requested_by_actor_type: &'static str,
    requested_by_actor_id: Option<String>,
    idempotency_key: Option<String>,
    /// The run it started or joined.
    run_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Moment,
    #[schema(value_type = Option<String>)]
    claimed_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
    error: Option<String>,
}

impl From<Row> for Wake {
    fn from(row: Row) -> Wake {
        Wake {
            id: row.id.0,
            company_id: row.company_id.0,
            agent_id: row.agent_id.0,
            source: row.source.as_str(),
            trigger_detail: row.trigger_detail.map(|detail| detail.as_str()),
            reason: row.reason,
            payload: row.payload,
            status: row.status.as_str(),
            coalesced_count: row.coalesced_count,
            requested_by_actor_type: row.actor_kind.as_str(),
            requested_by_actor_id: row.actor_id,
            idempotency_key: row.idempotency_key,
            run_id: row.run_id.map(|id| id.0),
            requested_at: row.requested_at,
            claimed_at: row.claimed_at,
            finished_at: row.finished_at,
            error: row.error,
        }
    }
}

/// The answer to a wake that started nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WakeupSkipped {
    /// Always `skipped`.
    status: &'static str,
    /// `wakeup_skipped`, or `issue_execution_deferred`: it waits behind another agent's run.
    reason: &'static str,
    message: Option<String>,
    issue_id: Option<String>,
    execution_run_id: Option<String>,
    execution_agent_id: Option<String>,
    execution_agent_name: Option<String>,
    /// The rule that says so, for example `heartbeat.wakeOnDemand.disabled`.
    skip_reason: Option<String>,
    wakeup_request_id: String,
}

/// The run that an issue points to, with who works in it.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) run: RunId,
    pub(crate) agent: AgentId,
    pub(crate) agent_name: Option<String>,
}

impl WakeupSkipped {
    /// A wake that waits behind a run is said to; every other one was skipped, whatever goes on on its issue.
    pub(crate) fn new(skipped: Skipped, execution: Option<Execution>) -> WakeupSkipped {
        let Skipped { wake, reason } = skipped;
        let is_deferred = wake.status == WakeStatus::Deferred;
        let name = execution.as_ref().and_then(|execution| execution.agent_name.clone());
        let message = match (is_deferred, &name) {
            (false, _) => "Wakeup was skipped.".to_owned(),
            (true, Some(name)) => {
                format!("Wakeup was deferred because this issue is already being executed by {name}.")
            }
            (true, None) => {
                "Wakeup was deferred because this issue already has an active execution run.".to_owned()
            }
        };
        let (run, agent) = execution.map(|it| (it.run.0, it.agent.0)).unzip();
        WakeupSkipped {
            status: "skipped",
            reason: if is_deferred { DEFERRED } else { "wakeup_skipped" },
            message: Some(message),
            issue_id: issue_of(&wake).map(str::to_owned),
            execution_run_id: run,
            execution_agent_id: agent,
            execution_agent_name: name,
            skip_reason: reason.map(|reason| reason.as_str().to_owned()).or(wake.reason),
            wakeup_request_id: wake.id.0,
        }
    }
}

/// The issue that a wake is about.
pub(crate) fn issue_of(wake: &Row) -> Option<&str> {
    wake.payload.get("issueId").and_then(Value::as_str)
}

/// The answer to a wake: the run that does the work, new or joined, or why nothing starts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum WakeAnswer {
    Run(Box<Run>),
    Skipped(WakeupSkipped),
}

/// The answer to a plain invocation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum InvokeAnswer {
    Run(Box<Run>),
    Skipped(InvokeSkipped),
}

/// The shorter answer to a plain invocation that started nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvokeSkipped {
    /// Always `skipped`.
    pub(crate) status: &'static str,
}

/// What a stop of an agent's work did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StopReport {
    /// Runs that were asked to stop.
    stopping: Vec<String>,
    /// Runs that ended without having run.
    withdrawn: Vec<String>,
    /// Runs that stay queued.
    held: Vec<String>,
}

impl From<engine::StopReport> for StopReport {
    fn from(report: engine::StopReport) -> StopReport {
        let ids = |runs: Vec<domain::ids::RunId>| runs.into_iter().map(|id| id.0).collect();
        StopReport {
            stopping: ids(report.stopping),
            withdrawn: ids(report.withdrawn),
            held: ids(report.held),
        }
    }
}
