//! What runs know of issues: which runs an issue has, and what settlement and sweeps note about them.
//!
//! Adding runs and reading whole ones is in `runs`, moving them in `leases`. What a running attempt notes here goes by
//! its lease; what is noted about a run that is over, by its id.

use domain::ids::{AgentId, CommentId, CompanyId, IssueId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;

use crate::leases::Lease;
use crate::runs::{Run, columns};
use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// Returns the runs of an issue, newest first.
pub async fn list(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Run>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM runs WHERE issue_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// Returns the newest run of an agent on an issue.
pub async fn latest(tx: &mut Tx<'_>, issue: &IssueId, agent: &AgentId) -> Result<Option<Run>, StoreError> {
    // By the issue's index: an agent may have had very many runs.
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM runs WHERE issue_id = $1 AND agent_id || '' = $2 ORDER BY created_at DESC, id DESC LIMIT 1"
        )),
        p![issue, agent],
    )
    .await
}

/// Returns the runs of an issue that are not over, oldest first.
pub async fn live(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Run>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM runs WHERE issue_id = $1 AND status IN ('queued', 'scheduled_retry', 'running') \
             ORDER BY +created_at, id LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// A run that is not over, as far as rules about its issue need it.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveRun {
    pub id: RunId,
    pub issue_id: IssueId,
    pub agent_id: AgentId,
    pub status: RunStatus,
    pub lease_epoch: i64,
    pub created_at: Moment,
    pub started_at: Option<Moment>,
    pub is_stopping: bool,
}
from_row!(LiveRun { id, issue_id, agent_id, status, lease_epoch, created_at, started_at, is_stopping });

/// Returns the runs of these issues that are not over, oldest first within an issue.
pub async fn live_of(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<LiveRun>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT id, issue_id, agent_id, status, lease_epoch, created_at, started_at, \
                 CASE WHEN stop_asked_at IS NULL THEN FALSE ELSE TRUE END FROM runs \
                 WHERE status IN ('queued', 'scheduled_retry', 'running') AND issue_id IN ({list}) \
                 ORDER BY issue_id, +created_at, id"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Whether the issue has a run that is not over.
pub async fn has_live(tx: &mut Tx<'_>, issue: &IssueId) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT 1 FROM runs WHERE issue_id = $1 AND status IN ('queued', 'scheduled_retry', 'running') LIMIT 1"
            ),
            p![issue],
        )
        .await?;
    Ok(row.is_some())
}

/// Returns the runs of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM runs WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Notes what became of a run's duty to comment.
pub async fn set_comment_duty(
    tx: &mut Tx<'_>,
    run: &RunId,
    status: &str,
    satisfied_by: Option<&CommentId>,
    retry_queued_at: Option<Moment>,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE runs SET issue_comment_status = $2, issue_comment_satisfied_by_comment_id = $3, \
             issue_comment_retry_queued_at = COALESCE($4, issue_comment_retry_queued_at) WHERE id = $1"
        ),
        p![run, status, satisfied_by, retry_queued_at],
    )
    .await
}

/// How alive the work of a run was found to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Liveness {
    pub state: Option<String>,
    pub reason: Option<String>,
    pub next_action: Option<String>,
    pub last_useful_action_at: Option<Moment>,
}

/// Notes how alive the work of a run was.
pub async fn set_liveness(tx: &mut Tx<'_>, run: &RunId, liveness: &Liveness) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE runs SET liveness_state = $2, liveness_reason = $3, next_action = $4, last_useful_action_at = $5 \
             WHERE id = $1"
        ),
        p![run, &liveness.state, &liveness.reason, &liveness.next_action, liveness.last_useful_action_at],
    )
    .await
}

/// Says the how-manieth continuation a run that has not started is.
pub async fn set_continuation_attempt(tx: &mut Tx<'_>, run: &RunId, attempt: i64) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE runs SET continuation_attempt = $2 WHERE id = $1 AND status IN ('queued', 'scheduled_retry')"
        ),
        p![run, attempt],
    )
    .await
}

/// Notes the name that the other side gave to a running attempt.
pub async fn set_external_id(tx: &mut Tx<'_>, lease: &Lease, external: &str) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET external_run_id = $4 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 \
                 AND status = 'running'"
            ),
            p![&lease.run, lease.epoch, lease.holder, external],
        )
        .await?;
    Ok(changed == 1)
}

/// Gives the process of this epoch its token, of which only the hash is kept; the one of an earlier epoch is forgotten.
pub async fn set_token(tx: &mut Tx<'_>, lease: &Lease, hash: &str) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET token_hash = $4, token_epoch = $2 WHERE id = $1 AND lease_epoch = $2 \
                 AND lease_holder = $3 AND status = 'running'"
            ),
            p![&lease.run, lease.epoch, lease.holder, hash],
        )
        .await?;
    Ok(changed == 1)
}

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenHolder {
    pub run_id: RunId,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub issue_id: Option<IssueId>,
    pub epoch: i64,
    /// The run is running, with the epoch that the token was made for. A token of a run that is over opens nothing.
    pub is_live: bool,
}
from_row!(TokenHolder { run_id, company_id, agent_id, issue_id, epoch, is_live });

/// Returns whom the token with this hash speaks for, live or not.
pub async fn token_holder(tx: &mut Tx<'_>, hash: &str) -> Result<Option<TokenHolder>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT id, company_id, agent_id, issue_id, token_epoch, \
             CASE WHEN status = 'running' AND lease_epoch = token_epoch THEN TRUE ELSE FALSE END \
             FROM runs WHERE token_hash = $1"
        ),
        p![hash],
    )
    .await
}

/// Notes that the processes of a running attempt did something: said, computed, read or wrote. What was called silent is
/// not any more. Returns false when the lease is another one's.
pub async fn note_activity(tx: &mut Tx<'_>, lease: &Lease, at: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET last_activity_at = $4, silence_level = 'ok' WHERE id = $1 AND lease_epoch = $2 \
                 AND lease_holder = $3 AND status = 'running'"
            ),
            p![&lease.run, lease.epoch, lease.holder, at],
        )
        .await?;
    Ok(changed == 1)
}

/// Notes how silent a running attempt was found, if nothing was heard of it since `seen`.
pub async fn set_silence(
    tx: &mut Tx<'_>,
    run: &RunId,
    seen: Option<Moment>,
    level: &str,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET silence_level = $3 WHERE id = $1 AND status = 'running' \
                 AND (last_activity_at = $2 OR (CAST($2 AS bigint) IS NULL AND last_activity_at IS NULL))"
            ),
            p![run, seen, level],
        )
        .await?;
    Ok(changed == 1)
}

/// Lets nobody complain about the silence of a run before `until`.
pub async fn snooze(tx: &mut Tx<'_>, run: &RunId, until: Option<Moment>) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE runs SET snoozed_until = $2 WHERE id = $1"), p![run, until]).await
}

/// Notes how often in a row a running attempt did the same without a change.
pub async fn set_no_progress(tx: &mut Tx<'_>, lease: &Lease, count: i64) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET no_progress_count = $4 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 \
                 AND status = 'running'"
            ),
            p![&lease.run, lease.epoch, lease.holder, count],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns running runs of a node of which nothing was heard since `since`, the oldest first. Only running runs are
/// looked at.
pub async fn quiet_since(
    tx: &mut Tx<'_>,
    node: &str,
    since: Moment,
    limit: i64,
) -> Result<Vec<Run>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM runs WHERE node_id = $1 AND status = 'running' \
             AND COALESCE(last_activity_at, last_output_at, started_at, created_at) <= $2 \
             ORDER BY +created_at, id LIMIT $3"
        )),
        p![node, since, limit],
    )
    .await
}

/// How many runs were made on a day, by status. Days are counted from 1970 in UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct DayCount {
    pub day: i64,
    pub status: RunStatus,
    pub runs: i64,
}
from_row!(DayCount { day, status, runs });

/// Counts the runs of a company that were made since a moment, by day and status.
pub async fn count_by_day(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    since: Moment,
) -> Result<Vec<DayCount>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT created_at / 86400000000, status, COUNT(*) FROM runs WHERE company_id = $1 AND created_at >= $2 \
             GROUP BY 1, 2 ORDER BY 1, 2"
        ),
        p![company, since],
    )
    .await
}

/// What is left for others at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftovers {
    /// Another run of the agent is queued and nothing of its scope is under way.
    pub queue: bool,
    /// Issues still name the run: as their lock or their checkout.
    pub ties: bool,
}
from_row!(Leftovers { queue, ties });

/// Returns what is left for others when a run of the agent has ended.
pub async fn leftovers(tx: &mut Tx<'_>, agent: &AgentId, run: &RunId) -> Result<Leftovers, StoreError> {
    let left = tx
        .one_as(
            sql!(
                "SELECT CASE WHEN EXISTS (SELECT 1 FROM runs r WHERE r.agent_id = $1 AND r.status = 'queued' \
                   AND r.status IN ('queued', 'scheduled_retry', 'running') \
                   AND NOT EXISTS (SELECT 1 FROM runs u WHERE u.agent_id = r.agent_id AND u.task_key = r.task_key \
                                   AND u.status = 'running')) THEN TRUE ELSE FALSE END, \
                 CASE WHEN EXISTS (SELECT 1 FROM issues i WHERE i.lock_run_id = $2) \
                   OR EXISTS (SELECT 1 FROM issues i WHERE i.checkout_run_id = $2) THEN TRUE ELSE FALSE END"
            ),
            p![agent, run],
        )
        .await?;
    Ok(left.unwrap_or(Leftovers { queue: true, ties: true }))
}

/// Returns when an agent last succeeded.
pub async fn last_success(tx: &mut Tx<'_>, agent: &AgentId) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT finished_at FROM runs WHERE agent_id = $1 AND status = 'succeeded' \
                 ORDER BY finished_at DESC LIMIT 1"
            ),
            p![agent],
        )
        .await?;
    row.map_or(Ok(None), |row| row.get(0))
}
