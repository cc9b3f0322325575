//! Environments, leases on them, and what a look at one found, on the wire.

use domain::moment::Moment;
use engine::environments::{Drivers, ProbeReport, RunPlace, shown_config};
use serde::Serialize;
use serde_json::{Value, json};
use store::environment_leases::EnvironmentLease as LeaseRow;
use store::environments::Environment as Row;
use utoipa::ToSchema;

use adapters::redacted;

/// A machine that runs work on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Environment {
    id: String,
    company_id: String,
    name: String,
    description: Option<String>,
    /// `local` or `ssh`.
    driver: String,
    /// `active` or `archived`.
    status: String,
    /// Keys in it are never shown; empty for those who may not manage environments.
    #[schema(value_type = Object)]
    config: Value,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Present, and true, when `config` is left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    config_redacted: bool,
    /// Present, and true, when `metadata` is left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    metadata_redacted: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl Environment {
    /// `is_whole`: for those who may manage environments.
    pub(crate) fn new(row: Row, drivers: &Drivers, is_whole: bool) -> Environment {
        let config = if is_whole { shown_config(drivers, &row) } else { json!({}) };
        Environment {
            id: row.id,
            company_id: row.company_id.0,
            name: row.name,
            description: row.description,
            driver: row.driver,
            status: row.status,
            config,
            metadata: row.metadata.filter(|_| is_whole),
            config_redacted: !is_whole,
            metadata_redacted: !is_whole,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The right of a run to work in an environment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvironmentLease {
    id: String,
    company_id: String,
    environment_id: String,
    execution_workspace_id: Option<String>,
    issue_id: Option<String>,
    heartbeat_run_id: Option<String>,
    /// `active`, `released`, `expired`, `failed` or `retained`.
    status: &'static str,
    lease_policy: String,
    provider: String,
    provider_lease_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    acquired_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Moment,
    #[schema(value_type = Option<String>)]
    expires_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    released_at: Option<Moment>,
    failure_reason: Option<String>,
    /// `pending`, `success` or `failed`.
    cleanup_status: Option<&'static str>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<LeaseRow> for EnvironmentLease {
    fn from(row: LeaseRow) -> EnvironmentLease {
        EnvironmentLease {
            id: row.id,
            company_id: row.company_id.0,
            environment_id: row.environment_id,
            execution_workspace_id: row.execution_workspace_id,
            issue_id: row.issue_id,
            heartbeat_run_id: row.heartbeat_run_id.map(|run| run.0),
            status: row.status.as_str(),
            lease_policy: row.lease_policy,
            provider: row.provider,
            provider_lease_id: row.provider_lease_id,
            acquired_at: row.acquired_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
            released_at: row.released_at,
            failure_reason: row.failure_reason,
            cleanup_status: row.cleanup_status.map(|cleanup| cleanup.as_str()),
            metadata: row.metadata.map(redacted),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What a look at an environment found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProbeResult {
    /// Runs could work there.
    ok: bool,
    driver: String,
    summary: String,
    #[schema(value_type = Option<Object>)]
    details: Option<Value>,
}

impl ProbeResult {
    pub(crate) fn new(driver: String, report: ProbeReport) -> ProbeResult {
        ProbeResult { ok: report.ok, driver, summary: report.summary, details: report.details }
    }
}

/// Where a run of an issue worked: the environment, and the lease, in short.
pub(crate) fn place_of_run(place: &RunPlace) -> (Value, Value) {
    let RunPlace { environment, lease } = place;
    let shown = json!({ "id": environment.id, "name": environment.name, "driver": environment.driver });
    let held =
        |key: &str| lease.metadata.as_ref().and_then(|held| held.get(key)).cloned().unwrap_or(Value::Null);
    let lease = json!({
        "id": lease.id, "status": lease.status, "leasePolicy": lease.lease_policy, "provider": lease.provider,
        "providerLeaseId": lease.provider_lease_id, "executionWorkspaceId": lease.execution_workspace_id,
        "workspacePath": held("remoteCwd"), "failureReason": lease.failure_reason,
        "cleanupStatus": lease.cleanup_status, "acquiredAt": lease.acquired_at, "releasedAt": lease.released_at,
    });
    (shown, lease)
}
