//! What is removed after a while: finished runs with their events and wakes, and old entries of the event log.
//!
//! Each function does one bounded batch and says what it did; the sweep that calls them comes again.

use domain::ids::RunId;
use domain::moment::Moment;

use crate::value::Value;
use crate::{StoreError, Tx, p, sql, sql_list};

/// Returns finished runs of a node whose folder is still to be archived, with the moment they finished, the longest
/// finished first, behind the given place.
pub async fn to_archive(
    tx: &mut Tx<'_>,
    node: &str,
    after: (Moment, &RunId),
    limit: i64,
) -> Result<Vec<(Moment, RunId)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT finished_at, id FROM runs WHERE log_state = 'folder' AND finished_at IS NOT NULL \
             AND (finished_at, id) > ($2, $3) AND node_id = $1 ORDER BY finished_at, id LIMIT $4"
        ),
        p![node, after.0, after.1, limit],
    )
    .await
}

/// Returns runs that finished before `before`, oldest first; none whose files lie on another node, and none that worked on
/// a step of an automation run that is there.
pub async fn finished_before(
    tx: &mut Tx<'_>,
    node: &str,
    before: Moment,
    limit: i64,
) -> Result<Vec<RunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM runs WHERE finished_at IS NOT NULL AND finished_at < $1 \
                 AND (node_id = $2 OR log_state IN ('none', 'removed')) \
                 AND NOT EXISTS (SELECT 1 FROM automation_attempts a WHERE a.agent_run_id = runs.id) \
                 ORDER BY finished_at LIMIT $3"
            ),
            p![before, node, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Removes finished runs with their events and wakes. Their files are removed before, so that nothing is left on disk
/// that no row names.
pub async fn remove_runs(tx: &mut Tx<'_>, runs: &[RunId]) -> Result<u64, StoreError> {
    let ids = || runs.iter().map(Value::from).collect::<Vec<_>>();
    tx.exec_in(sql_list!("DELETE FROM run_events WHERE run_id IN ({list})"), p![], ids()).await?;
    tx.exec_in(sql_list!("DELETE FROM wakes WHERE run_id IN ({list})"), p![], ids()).await?;
    tx.exec_in(sql_list!("DELETE FROM workspace_leases WHERE run_id IN ({list})"), p![], ids()).await?;
    tx.exec_in(sql_list!("DELETE FROM run_outputs WHERE run_id IN ({list})"), p![], ids()).await?;
    tx.exec_in(sql_list!("DELETE FROM workspace_operations WHERE run_id IN ({list})"), p![], ids()).await?;
    tx.exec_in(sql_list!("DELETE FROM run_starts WHERE run_id IN ({list})"), p![], ids()).await?;
    crate::environment_leases::forget_runs(tx, runs).await?;
    tx.exec_in(sql_list!("DELETE FROM runs WHERE finished_at IS NOT NULL AND id IN ({list})"), p![], ids())
        .await
}

/// Returns archived logs of a node, oldest first, for the byte limit.
pub async fn oldest_logs(tx: &mut Tx<'_>, node: &str, limit: i64) -> Result<Vec<RunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM runs WHERE finished_at IS NOT NULL AND log_state = 'archived' AND node_id = $1 \
                 ORDER BY finished_at LIMIT $2"
            ),
            p![node, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Removes entries of the event log older than `before`, but never the newest one: cursors stay comparable.
pub async fn remove_events(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE created_at < $1 \
             AND id < (SELECT MAX(id) FROM events) ORDER BY id LIMIT $2)"
        ),
        p![before, limit],
    )
    .await
}
