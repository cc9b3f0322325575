//! Runs that are over and old, removed in bounded batches.
//!
//! With a run go its nodes, attempts, gates and history. The audit chain knows of it still.

use domain::ids::AutomationRunId;
use domain::moment::Moment;

use crate::value::Value;
use crate::{StoreError, Tx, p, sql, sql_list};

/// Returns runs that were over before `before`, the longest first. Left out are those whose idempotency key is younger than
/// `keys`, and those that a run which is there was started after: a chain goes from its end.
pub async fn over_before(
    tx: &mut Tx<'_>,
    before: Moment,
    keys: Moment,
    limit: i64,
) -> Result<Vec<AutomationRunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM automation_runs r WHERE finished_at IS NOT NULL AND finished_at < $1 \
                 AND (idempotency_key IS NULL OR created_at < $2) \
                 AND NOT EXISTS (SELECT 1 FROM automation_runs next WHERE next.after_run_id = r.id) \
                 ORDER BY finished_at, id LIMIT $3"
            ),
            p![before, keys, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Removes these runs with everything in them, except those that somebody had go on meanwhile.
pub async fn remove(tx: &mut Tx<'_>, runs: &[AutomationRunId], before: Moment) -> Result<u64, StoreError> {
    tx.exec_in(
        sql_list!(
            "DELETE FROM automation_runs WHERE finished_at < $1 \
             AND status IN ('completed', 'blocked', 'failed', 'cancelled') AND id IN ({list})"
        ),
        p![before],
        runs.iter().map(Value::from).collect(),
    )
    .await
}

/// Returns those of these ids that are runs.
pub async fn known(tx: &mut Tx<'_>, ids: &[AutomationRunId]) -> Result<Vec<AutomationRunId>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!("SELECT id FROM automation_runs WHERE id IN ({list})"),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}
