//! Leases of runs on environments. A run has one active lease at most, and it ends with the run.

use domain::environment::lease::{Cleanup, LeaseStatus};
use domain::ids::{CompanyId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;
use serde_json::Value as Json;

use crate::leases::Lease;
use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A lease as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentLease {
    pub id: String,
    pub company_id: CompanyId,
    pub environment_id: String,
    pub execution_workspace_id: Option<String>,
    pub issue_id: Option<String>,
    pub heartbeat_run_id: Option<RunId>,
    pub status: LeaseStatus,
    pub lease_policy: String,
    /// The driver that made it, which also ends it.
    pub provider: String,
    /// The name that the other side knows it by.
    pub provider_lease_id: Option<String>,
    pub acquired_at: Moment,
    pub last_used_at: Moment,
    pub expires_at: Option<Moment>,
    pub released_at: Option<Moment>,
    pub failure_reason: Option<String>,
    pub cleanup_status: Option<Cleanup>,
    pub metadata: Option<Json>,
    /// How often giving it back was tried.
    pub release_tries: i64,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(EnvironmentLease {
    id,
    company_id,
    environment_id,
    execution_workspace_id,
    issue_id,
    heartbeat_run_id,
    status,
    lease_policy,
    provider,
    provider_lease_id,
    acquired_at,
    last_used_at,
    expires_at,
    released_at,
    failure_reason,
    cleanup_status,
    metadata,
    release_tries,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, environment_id, execution_workspace_id, issue_id, heartbeat_run_id, status, lease_policy, \
         provider, provider_lease_id, acquired_at, last_used_at, expires_at, released_at, failure_reason, \
         cleanup_status, metadata, release_tries, created_at, updated_at"
    };
}

/// Adds a lease; returns false, and adds nothing, when its run has an active one.
pub async fn insert(tx: &mut Tx<'_>, lease: &EnvironmentLease) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO environment_leases (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
                 ON CONFLICT DO NOTHING"
            )),
            p![
                &lease.id,
                &lease.company_id,
                &lease.environment_id,
                &lease.execution_workspace_id,
                &lease.issue_id,
                &lease.heartbeat_run_id,
                lease.status,
                &lease.lease_policy,
                &lease.provider,
                &lease.provider_lease_id,
                lease.acquired_at,
                lease.last_used_at,
                lease.expires_at,
                lease.released_at,
                &lease.failure_reason,
                lease.cleanup_status,
                &lease.metadata,
                lease.release_tries,
                lease.created_at,
                lease.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one lease.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<EnvironmentLease>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM environment_leases WHERE id = $1")), p![id]).await
}

/// Returns the active lease of a run.
pub async fn active_of(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<EnvironmentLease>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM environment_leases WHERE heartbeat_run_id = $1 AND status = 'active'"
        )),
        p![run],
    )
    .await
}

/// Returns the leases of these runs, oldest first.
pub async fn of_runs(tx: &mut Tx<'_>, runs: &[RunId]) -> Result<Vec<EnvironmentLease>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!(
                "SELECT ",
                columns!(),
                " FROM environment_leases WHERE heartbeat_run_id IN ({list}) ORDER BY acquired_at, id"
            )),
            p![],
            runs.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the leases on an environment, newest first, of this status where it is given.
pub async fn of_environment(
    tx: &mut Tx<'_>,
    environment: &str,
    status: Option<LeaseStatus>,
    limit: i64,
) -> Result<Vec<EnvironmentLease>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM environment_leases WHERE environment_id = $1 AND (CAST($2 AS text) IS NULL OR status = $2) \
             ORDER BY acquired_at DESC, id DESC LIMIT $3"
        )),
        p![environment, status.map(|status| status.as_str().to_owned()), limit],
    )
    .await
}

/// Whether somebody works in an environment.
pub async fn is_used(tx: &mut Tx<'_>, environment: &str) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!("SELECT 1 FROM environment_leases WHERE environment_id = $1 AND status = 'active' LIMIT 1"),
            p![environment],
        )
        .await?;
    Ok(row.is_some())
}

/// Returns active leases whose run is over or gone and whose turn it is, with the status of the run, the longest due
/// first.
pub async fn due(
    tx: &mut Tx<'_>,
    now: Moment,
    limit: i64,
) -> Result<Vec<(String, Option<RunStatus>)>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT l.id, r.status FROM environment_leases l LEFT JOIN runs r ON r.id = l.heartbeat_run_id \
                 WHERE l.status = 'active' AND l.release_at <= $1 \
                 AND (r.id IS NULL OR r.status NOT IN ('queued', 'scheduled_retry', 'running')) \
                 ORDER BY l.release_at, l.id LIMIT $2"
            ),
            p![now, limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Returns when the next lease of a run that is over is due.
pub async fn next_due(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT MIN(l.release_at) FROM environment_leases l LEFT JOIN runs r ON r.id = l.heartbeat_run_id \
                 WHERE l.status = 'active' AND l.release_at > 0 \
                 AND (r.id IS NULL OR r.status NOT IN ('queued', 'scheduled_retry', 'running'))"
            ),
            p![],
        )
        .await?;
    row.map_or(Ok(None), |row| row.get(0))
}

/// Notes what there is on the other side of an active lease; returns false when it is not active any more.
pub async fn note(
    tx: &mut Tx<'_>,
    id: &str,
    provider_lease_id: Option<&str>,
    metadata: &Json,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE environment_leases SET provider_lease_id = COALESCE($2, provider_lease_id), metadata = $3, \
                 last_used_at = $4, updated_at = $4 WHERE id = $1 AND status = 'active'"
            ),
            p![id, provider_lease_id.map(str::to_owned), metadata, now],
        )
        .await?;
    Ok(changed == 1)
}

/// How a lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseEnd {
    pub status: LeaseStatus,
    pub cleanup: Cleanup,
    pub failure_reason: Option<String>,
}

/// Ends an active lease; returns false when it had ended.
pub async fn end(tx: &mut Tx<'_>, id: &str, end: &LeaseEnd, now: Moment) -> Result<bool, StoreError> {
    let released_at = (end.status != LeaseStatus::Retained).then_some(now);
    let changed = tx
        .exec(
            sql!(
                "UPDATE environment_leases SET status = $2, cleanup_status = $3, failure_reason = $4, \
                 released_at = $5, release_tries = release_tries + 1, updated_at = $6 \
                 WHERE id = $1 AND status = 'active'"
            ),
            p![id, end.status, end.cleanup, &end.failure_reason, released_at, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Notes that giving back failed, and when it is tried again.
pub async fn put_off(
    tx: &mut Tx<'_>,
    id: &str,
    reason: &str,
    again_at: Moment,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE environment_leases SET cleanup_status = 'pending', failure_reason = $2, release_at = $3, \
             release_tries = release_tries + 1, updated_at = $4 WHERE id = $1 AND status = 'active'"
        ),
        p![id, reason, again_at, now],
    )
    .await
}

/// Removes the leases of runs that are removed.
pub(crate) async fn forget_runs(tx: &mut Tx<'_>, runs: &[RunId]) -> Result<(), StoreError> {
    tx.exec_in(
        sql_list!("DELETE FROM environment_leases WHERE status <> 'active' AND heartbeat_run_id IN ({list})"),
        p![],
        runs.iter().map(Value::from).collect(),
    )
    .await?;
    Ok(())
}

/// Writes into the context of a running run where it works, under its lease; returns false when the lease is lost.
pub async fn tell_run(tx: &mut Tx<'_>, lease: &Lease, context: &Json) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET context = $4 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 \
                 AND status = 'running'"
            ),
            p![&lease.run, lease.epoch, lease.holder, context],
        )
        .await?;
    Ok(changed == 1)
}
