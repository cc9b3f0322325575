//! The processes of a run, one row for each epoch: what each was started for, as it has to be known to read its output.
//!
//! The row is there before the process is. What it says of sessions is what the process was really started with; the run
//! itself shows the last of them.

use domain::ids::RunId;
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::leases::Lease;
use crate::{StoreError, Tx, from_row, p, sql};

/// The start of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStart {
    pub run_id: RunId,
    pub epoch: i64,
    /// The kind of its agent then.
    pub adapter_type: String,
    /// What readers need of its configuration then.
    pub config: Json,
    /// The session that it is to resume.
    pub session_asked: Option<String>,
    /// The session that it is not to resume, and why (`domain::session::choice::Why`).
    pub previous_session: Option<String>,
    pub fresh_reason: Option<String>,
    pub fresh_words: Option<String>,
    pub created_at: Moment,
}
from_row!(RunStart {
    run_id,
    epoch,
    adapter_type,
    config,
    session_asked,
    previous_session,
    fresh_reason,
    fresh_words,
    created_at
});

/// Adds a start.
pub async fn insert(tx: &mut Tx<'_>, start: &RunStart) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO run_starts (run_id, epoch, adapter_type, config, session_asked, previous_session, \
             fresh_reason, fresh_words, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        ),
        p![
            &start.run_id,
            start.epoch,
            &start.adapter_type,
            &start.config,
            &start.session_asked,
            &start.previous_session,
            &start.fresh_reason,
            &start.fresh_words,
            start.created_at
        ],
    )
    .await
}

/// Returns the starts of a run, the first one first.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId) -> Result<Vec<RunStart>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT run_id, epoch, adapter_type, config, session_asked, previous_session, fresh_reason, fresh_words, \
             created_at FROM run_starts WHERE run_id = $1 ORDER BY epoch"
        ),
        p![run],
    )
    .await
}

/// Returns the start of one process.
pub async fn get(tx: &mut Tx<'_>, run: &RunId, epoch: i64) -> Result<Option<RunStart>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT run_id, epoch, adapter_type, config, session_asked, previous_session, fresh_reason, fresh_words, \
             created_at FROM run_starts WHERE run_id = $1 AND epoch = $2"
        ),
        p![run, epoch],
    )
    .await
}

/// Records that a process that is about to be started leaves its session; false when the lease is not ours any more.
/// Said twice it is the same.
pub async fn leave_session(
    tx: &mut Tx<'_>,
    lease: &Lease,
    (previous, reason, words): (&str, &str, &str),
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET session_before = NULL \
                 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 AND status = 'running'"
            ),
            p![&lease.run, lease.epoch, lease.holder],
        )
        .await?;
    if changed == 0 {
        return Ok(false);
    }
    tx.run(
        sql!(
            "UPDATE run_starts SET session_asked = NULL, previous_session = $3, fresh_reason = $4, fresh_words = $5 \
             WHERE run_id = $1 AND epoch = $2"
        ),
        p![&lease.run, lease.epoch, previous, reason, words],
    )
    .await?;
    Ok(true)
}
