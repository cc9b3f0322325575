//! What happened to runs, numbered; entries are added and never changed.

use domain::automation::StopKind;
use domain::ids::AutomationRunId;
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub run_id: AutomationRunId,
    pub seq: i64,
    pub at: Moment,
    pub event: String,
    pub node_id: Option<String>,
    pub reason: Option<String>,
    pub stop_kind: Option<StopKind>,
    pub metadata: Option<Json>,
}
from_row!(Entry { run_id, seq, at, event, node_id, reason, stop_kind, metadata });

/// Adds an entry; its number was drawn from the run.
pub async fn add(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO automation_history (run_id, seq, at, event, node_id, reason, stop_kind, metadata) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        ),
        p![
            &entry.run_id,
            entry.seq,
            entry.at,
            &entry.event,
            &entry.node_id,
            &entry.reason,
            entry.stop_kind,
            &entry.metadata
        ],
    )
    .await
}

/// Returns entries of a run behind a number, oldest first.
pub async fn after(
    tx: &mut Tx<'_>,
    run: &AutomationRunId,
    after: i64,
    limit: i64,
) -> Result<Vec<Entry>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT run_id, seq, at, event, node_id, reason, stop_kind, metadata FROM automation_history \
             WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        ),
        p![run, after, limit],
    )
    .await
}

/// When the newest entry of a run was made.
pub async fn newest(tx: &mut Tx<'_>, run: &AutomationRunId) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(sql!("SELECT at FROM automation_history WHERE run_id = $1 ORDER BY seq DESC LIMIT 1"), p![run])
        .await?;
    row.map(|row| row.get(0)).transpose()
}
