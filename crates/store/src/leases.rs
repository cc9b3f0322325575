//! Moves of a run, each guarded: a claim by the state it expects, a write for a running attempt by its lease.
//!
//! A lease is (epoch, holder). The epoch rises when a process may start; the holder is the incarnation of the server
//! that looks after it (D9). A guarded write that changes nothing returns `None` or `false`: somebody else owns the run
//! now, and the caller drops what it holds and writes nothing.

use domain::ids::RunId;
use domain::moment::Moment;
use domain::run::Outcome;
use serde_json::Value as Json;

use crate::{FromCell, Params, Sql, StoreError, Tx, from_row, p, sql};

/// The right to write for a running attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub run: RunId,
    pub epoch: i64,
    pub holder: i64,
}

/// Where and by whom a run is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimer {
    /// The incarnation of the server.
    pub holder: i64,
    pub node_id: String,
    pub boot_id: String,
}

/// What a claim gives: the new epoch, and the number for its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub lease: Lease,
    pub seq: i64,
}

/// Registers a start of a server; returns its number, which is higher than all before it.
pub async fn incarnate(
    tx: &mut Tx<'_>,
    node: &str,
    boot: &str,
    version: &str,
    now: Moment,
) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!("INSERT INTO incarnations (node_id, boot_id, version, started_at) VALUES ($1, $2, $3, $4) RETURNING id"),
            p![node, boot, version, now],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Makes the running runs of another installation runs of this node: for a store that only one server can use, moved or
/// restored into another data folder. Their boot is forgotten, so that none is taken for one that never started.
pub async fn inherit(tx: &mut Tx<'_>, node: &str) -> Result<(), StoreError> {
    let text = sql!("UPDATE runs SET node_id = $1, boot_id = '' WHERE status = 'running' AND node_id <> $1");
    tx.run(text, p![node]).await
}

/// Counts the running runs of a node, whoever holds them.
pub async fn count_held(tx: &mut Tx<'_>, node: &str) -> Result<u32, StoreError> {
    let held = one(tx, sql!("SELECT COUNT(*) FROM runs WHERE node_id = $1 AND status = 'running'"), p![node])
        .await?;
    Ok(held.unwrap_or(0))
}

/// Gives a slot to a queued run: `queued` to `running`, the epoch rises. `None`: it is not queued any more.
pub async fn claim(
    tx: &mut Tx<'_>,
    run: &RunId,
    by: &Claimer,
    now: Moment,
) -> Result<Option<Claimed>, StoreError> {
    claim_with_token(tx, run, by, None, now).await
}

/// [`claim`], with the hash of the token that the process of the new epoch gets.
pub async fn claim_with_token(
    tx: &mut Tx<'_>,
    run: &RunId,
    by: &Claimer,
    token_hash: Option<&str>,
    now: Moment,
) -> Result<Option<Claimed>, StoreError> {
    let row = tx
        .one(
            sql!(
                "UPDATE runs SET status = 'running', lease_epoch = lease_epoch + 1, lease_holder = $2, node_id = $3, \
                 boot_id = $4, started_at = COALESCE(started_at, $5), updated_at = $5, log_state = 'folder', \
                 event_seq = event_seq + 1, token_hash = $6, \
                 token_epoch = CASE WHEN CAST($6 AS text) IS NULL THEN NULL ELSE lease_epoch + 1 END \
                 WHERE id = $1 AND status = 'queued' RETURNING lease_epoch, event_seq"
            ),
            p![run, by.holder, &by.node_id, &by.boot_id, now, token_hash],
        )
        .await?;
    row.map(|row| {
        Ok(Claimed {
            lease: Lease { run: run.clone(), epoch: row.get(0)?, holder: by.holder },
            seq: row.get(1)?,
        })
    })
    .transpose()
}

/// A run that another incarnation of this node looked after.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub run: RunId,
    pub epoch: i64,
    pub holder: i64,
}
from_row!(Held { run, epoch, holder });

/// Returns running runs of this node that an earlier incarnation held, by id, after `after`.
pub async fn held_by_others(
    tx: &mut Tx<'_>,
    node: &str,
    holder: i64,
    after: &str,
    limit: i64,
) -> Result<Vec<Held>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, lease_epoch, lease_holder FROM runs WHERE status = 'running' AND node_id = $1 \
             AND lease_holder < $2 AND id > $3 ORDER BY id LIMIT $4"
        ),
        p![node, holder, after, limit],
    )
    .await
}

/// Takes a run over from an earlier incarnation, by compare-and-set; the process goes on.
pub async fn reattach(
    tx: &mut Tx<'_>,
    held: &Held,
    by: &Claimer,
    now: Moment,
) -> Result<Option<Claimed>, StoreError> {
    let row = tx
        .one(
            sql!(
                "UPDATE runs SET lease_holder = $4, updated_at = $5, event_seq = event_seq + 1 \
                 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 AND status = 'running' RETURNING event_seq"
            ),
            p![&held.run, held.epoch, held.holder, by.holder, now],
        )
        .await?;
    row.map(|row| {
        let lease = Lease { run: held.run.clone(), epoch: held.epoch, holder: by.holder };
        Ok(Claimed { lease, seq: row.get(0)? })
    })
    .transpose()
}

/// Opens the next epoch of a running run, for a second process; `fresh` says that its session was gone. `None`: the
/// lease is not ours any more, or the run was asked to stop ([`stop_words`] tells).
pub async fn next_epoch(
    tx: &mut Tx<'_>,
    lease: &Lease,
    fresh: bool,
    boot: &str,
    now: Moment,
) -> Result<Option<Claimed>, StoreError> {
    let row = tx
        .one(
            sql!(
                "UPDATE runs SET lease_epoch = lease_epoch + 1, boot_id = $4, updated_at = $5, log_offset = 0, \
                 process_pid = NULL, process_group_id = NULL, process_started_at = NULL, \
                 session_before = CASE WHEN $6 THEN NULL ELSE session_before END, \
                 session_after = CASE WHEN $6 THEN NULL ELSE session_after END, \
                 fresh_start_used = CASE WHEN $6 THEN TRUE ELSE fresh_start_used END, event_seq = event_seq + 1 \
                 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 AND status = 'running' \
                 AND stop_asked_at IS NULL RETURNING lease_epoch, event_seq"
            ),
            p![&lease.run, lease.epoch, lease.holder, boot, now, fresh],
        )
        .await?;
    row.map(|row| {
        let next = Lease { run: lease.run.clone(), epoch: row.get(0)?, holder: lease.holder };
        Ok(Claimed { lease: next, seq: row.get(1)? })
    })
    .transpose()
}

/// What a running attempt has come to, derived from its log up to `log_offset`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    pub log_offset: i64,
    pub process_pid: Option<i64>,
    pub process_group_id: Option<i64>,
    pub process_started_at: Option<Moment>,
    pub session: Option<String>,
    pub usage: Option<Json>,
    pub last_output_at: Option<Moment>,
    pub last_output_seq: i64,
    pub last_output_stream: Option<String>,
    pub last_output_bytes: Option<i64>,
}

/// Saves progress, all of it the absolute state at `log_offset`: written twice it is the same.
pub async fn progress(
    tx: &mut Tx<'_>,
    lease: &Lease,
    progress: &Progress,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET log_offset = $4, process_pid = COALESCE($5, process_pid), \
                 process_group_id = COALESCE($6, process_group_id), \
                 process_started_at = COALESCE($7, process_started_at), session_after = COALESCE($8, session_after), \
                 usage = COALESCE($9, usage), last_output_at = COALESCE($10, last_output_at), last_output_seq = $11, \
                 last_output_stream = COALESCE($12, last_output_stream), \
                 last_output_bytes = COALESCE($13, last_output_bytes), updated_at = $14 \
                 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 AND status = 'running'"
            ),
            p![
                &lease.run, lease.epoch, lease.holder, progress.log_offset, progress.process_pid,
                progress.process_group_id, progress.process_started_at, &progress.session, &progress.usage,
                progress.last_output_at, progress.last_output_seq, &progress.last_output_stream,
                progress.last_output_bytes, now
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Everything the end of a run writes on its row.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub outcome: Outcome,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub exit_code: Option<i64>,
    pub signal: Option<String>,
    pub usage: Option<Json>,
    pub result: Option<Json>,
    pub session_after: Option<String>,
    /// What its adapter noted about that session.
    pub session_note: Option<Json>,
    pub log_offset: i64,
    pub log_bytes: Option<i64>,
    pub log_sha256: Option<String>,
    pub last_output_at: Option<Moment>,
    pub last_output_seq: i64,
    pub last_output_stream: Option<String>,
    pub last_output_bytes: Option<i64>,
    pub stdout_excerpt: Option<String>,
    pub stderr_excerpt: Option<String>,
    pub process_pid: Option<i64>,
    pub process_group_id: Option<i64>,
    pub process_started_at: Option<Moment>,
    /// When its process ended, if that is known; otherwise the run ends now.
    pub finished_at: Option<Moment>,
    /// That somebody asked to stop it was taken into account.
    pub knows_of_stop: bool,
    /// How many events the settlement adds.
    pub events: i64,
}

/// Ends a running run; returns the number of its last event. `None`: the lease is not ours any more, or the run was
/// asked to stop and `end` does not know it ([`stop_words`] tells).
pub async fn settle(
    tx: &mut Tx<'_>,
    lease: &Lease,
    end: &End,
    now: Moment,
) -> Result<Option<i64>, StoreError> {
    one(
        tx,
        sql!(
            "UPDATE runs SET status = $4, error = $5, error_code = $6, exit_code = $7, signal = $8, \
             usage = COALESCE($9, usage), result = $10, session_after = COALESCE($11, session_after), \
             log_offset = $12, log_bytes = $13, log_sha256 = $14, last_output_at = COALESCE($15, last_output_at), \
             last_output_seq = $16, last_output_stream = COALESCE($17, last_output_stream), \
             last_output_bytes = COALESCE($18, last_output_bytes), stdout_excerpt = $19, stderr_excerpt = $20, \
             process_pid = COALESCE($21, process_pid), process_group_id = COALESCE($22, process_group_id), \
             process_started_at = COALESCE($23, process_started_at), event_seq = event_seq + $24, \
             finished_at = $27, updated_at = $25, session_note = $28 \
             WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 AND status = 'running' \
             AND (stop_asked_at IS NULL OR $26) RETURNING event_seq"
        ),
        p![
            &lease.run, lease.epoch, lease.holder, end.outcome.status(), &end.error, &end.error_code,
            end.exit_code, &end.signal, &end.usage, &end.result, &end.session_after, end.log_offset,
            end.log_bytes, &end.log_sha256, end.last_output_at, end.last_output_seq, &end.last_output_stream,
            end.last_output_bytes, &end.stdout_excerpt, &end.stderr_excerpt, end.process_pid,
            end.process_group_id, end.process_started_at, end.events, now, end.knows_of_stop,
            end.finished_at.unwrap_or(now), &end.session_note
        ],
    )
    .await
}

/// Asks a running run to stop; returns the number for the event. `None`: it is not running, or was asked before.
pub async fn ask_to_stop(
    tx: &mut Tx<'_>,
    run: &RunId,
    words: &str,
    now: Moment,
) -> Result<Option<i64>, StoreError> {
    one(
        tx,
        sql!(
            "UPDATE runs SET stop_asked_at = $2, stop_words = $3, updated_at = $2, event_seq = event_seq + 1 \
             WHERE id = $1 AND status = 'running' AND stop_asked_at IS NULL RETURNING event_seq"
        ),
        p![run, now, words],
    )
    .await
}

/// Returns the runs of a holder that were asked to stop, with the words.
pub async fn asked_to_stop(
    tx: &mut Tx<'_>,
    node: &str,
    holder: i64,
) -> Result<Vec<(RunId, String)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, COALESCE(stop_words, '') FROM runs WHERE node_id = $1 AND lease_holder = $2 \
             AND status = 'running' AND stop_asked_at IS NOT NULL"
        ),
        p![node, holder],
    )
    .await
}

/// Returns the words with which a run that is still ours was asked to stop.
pub async fn stop_words(tx: &mut Tx<'_>, lease: &Lease) -> Result<Option<String>, StoreError> {
    one(
        tx,
        sql!(
            "SELECT COALESCE(stop_words, '') FROM runs WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 \
             AND status = 'running' AND stop_asked_at IS NOT NULL"
        ),
        p![&lease.run, lease.epoch, lease.holder],
    )
    .await
}

/// Ends a run that has not started; returns the number for the event. `None`: it has started or is over.
pub async fn withdraw(
    tx: &mut Tx<'_>,
    run: &RunId,
    error: &str,
    error_code: &str,
    result: &Json,
    now: Moment,
) -> Result<Option<i64>, StoreError> {
    one(
        tx,
        sql!(
            "UPDATE runs SET status = 'cancelled', error = $2, error_code = $3, result = $4, finished_at = $5, \
             updated_at = $5, event_seq = event_seq + 1 \
             WHERE id = $1 AND status IN ('queued', 'scheduled_retry') RETURNING event_seq"
        ),
        p![run, error, error_code, result, now],
    )
    .await
}

/// Returns retries whose time has come, with their agents.
pub async fn due_retries(
    tx: &mut Tx<'_>,
    now: Moment,
    limit: i64,
) -> Result<Vec<(RunId, domain::ids::AgentId)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, agent_id FROM runs WHERE status = 'scheduled_retry' AND retry_at <= $1 \
             ORDER BY retry_at, created_at, id LIMIT $2"
        ),
        p![now, limit],
    )
    .await
}

/// Returns when the next retry is due.
pub async fn next_retry(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    one(
        tx,
        sql!("SELECT retry_at FROM runs WHERE status = 'scheduled_retry' ORDER BY retry_at LIMIT 1"),
        p![],
    )
    .await
}

/// Queues a retry whose time has come; returns the number for the event.
pub async fn promote(tx: &mut Tx<'_>, run: &RunId, now: Moment) -> Result<Option<i64>, StoreError> {
    one(
        tx,
        sql!(
            "UPDATE runs SET status = 'queued', updated_at = $2, event_seq = event_seq + 1 \
             WHERE id = $1 AND status = 'scheduled_retry' AND retry_at <= $2 RETURNING event_seq"
        ),
        p![run, now],
    )
    .await
}

/// Notes what became of the folder of a finished run.
pub async fn set_log_state(tx: &mut Tx<'_>, run: &RunId, state: &'static str) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE runs SET log_state = $2 WHERE id = $1 AND finished_at IS NOT NULL"), p![run, state])
        .await
}

/// The only value of the first row: a move that its guard refuses gives none.
async fn one<T: FromCell>(tx: &mut Tx<'_>, sql: Sql, params: Params) -> Result<Option<T>, StoreError> {
    let row: Option<(T,)> = tx.one_as(sql, params).await?;
    Ok(row.map(|(value,)| value))
}
