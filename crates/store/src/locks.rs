//! The execution lock of an issue: a fenced lease that a running run holds (D8).
//!
//! A lock names a run and the epoch of its lease. It is live while that run is running with that epoch, and nothing but
//! the run itself keeps it alive: when the run is over, or has opened another epoch, the lock is dead and the next one
//! may take it. Every function here expects that the issue's row was locked before ([`crate::issues::lock`]): only then
//! is what PostgreSQL shows of runs as new as the lock. Agents are compared by id.

use domain::ids::{AgentId, IssueId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// Who holds, or held, an issue.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    pub run_id: RunId,
    pub epoch: i64,
    pub agent_id: AgentId,
    pub locked_at: Moment,
    /// `None`: the run was removed.
    pub run_status: Option<RunStatus>,
    pub is_live: bool,
}
from_row!(Holder { run_id, epoch, agent_id, locked_at, run_status, is_live });

/// Returns who holds an issue, live or dead; `None` when it is free.
pub async fn holder(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Option<Holder>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT i.lock_run_id, i.lock_epoch, i.lock_agent_id, i.locked_at, r.status, \
             CASE WHEN r.status = 'running' AND r.lease_epoch = i.lock_epoch THEN TRUE ELSE FALSE END \
             FROM issues i LEFT JOIN runs r ON r.id = i.lock_run_id \
             WHERE i.id = $1 AND i.lock_run_id IS NOT NULL"
        ),
        p![issue],
    )
    .await
}

/// The lock of an issue as it is written there, and its run as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Locked {
    pub issue_id: IssueId,
    pub run_id: RunId,
    pub epoch: i64,
    pub agent_id: AgentId,
    /// `None`: the run was removed.
    pub run_status: Option<RunStatus>,
    pub run_epoch: Option<i64>,
}
from_row!(Locked { issue_id, run_id, epoch, agent_id, run_status, run_epoch });

/// Returns the locks of these issues, live or dead; an issue that is free is not among them.
pub async fn of_issues(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<Locked>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT i.id, i.lock_run_id, i.lock_epoch, i.lock_agent_id, r.status, r.lease_epoch \
                 FROM issues i LEFT JOIN runs r ON r.id = i.lock_run_id \
                 WHERE i.lock_run_id IS NOT NULL AND i.id IN ({list})"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Takes the lock for a run that is running with this epoch, if its agent is the assignee and the lock is free, its own
/// or dead. Points the execution pointer to it. Returns false when the lock is another one's, or the run's epoch is over.
pub async fn take(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    (run, epoch): (&RunId, i64),
    agent: &AgentId,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE issues SET lock_run_id = $2, lock_epoch = $3, lock_agent_id = $4, \
                 locked_at = CASE WHEN lock_run_id = $2 THEN locked_at ELSE $5 END, execution_run_id = $2 \
                 WHERE id = $1 AND assignee_agent_id = $4 \
                 AND EXISTS (SELECT 1 FROM runs m WHERE m.id = $2 AND m.status = 'running' AND m.lease_epoch = $3) \
                 AND (lock_run_id IS NULL OR lock_run_id = $2 \
                      OR NOT EXISTS (SELECT 1 FROM runs o WHERE o.id = issues.lock_run_id AND o.status = 'running' \
                                     AND o.lease_epoch = issues.lock_epoch))"
            ),
            p![issue, run, epoch, agent, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Whether this run holds the issue with this epoch, and is running with it.
pub async fn holds(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    (run, epoch): (&RunId, i64),
) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT 1 FROM issues i JOIN runs r ON r.id = i.lock_run_id WHERE i.id = $1 AND i.lock_run_id = $2 \
                 AND i.lock_epoch = $3 AND r.status = 'running' AND r.lease_epoch = $3"
            ),
            p![issue, run, epoch],
        )
        .await?;
    Ok(row.is_some())
}

/// Gives the lock back, if this run holds it with this epoch or an earlier one, with the pointers that name the run.
/// Returns false when it is another one's.
pub async fn release(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    (run, epoch): (&RunId, i64),
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE issues SET lock_run_id = NULL, lock_epoch = NULL, lock_agent_id = NULL, locked_at = NULL, \
                 execution_run_id = CASE WHEN execution_run_id = $2 THEN NULL ELSE execution_run_id END \
                 WHERE id = $1 AND lock_run_id = $2 AND lock_epoch <= $3"
            ),
            p![issue, run, epoch],
        )
        .await?;
    Ok(changed == 1)
}

/// Clears all that ties an issue to runs: the lock, the checkout and the execution pointer. For reassignment, for any
/// status but `in_progress`, and for people who force it.
pub async fn clear(tx: &mut Tx<'_>, issue: &IssueId) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE issues SET lock_run_id = NULL, lock_epoch = NULL, lock_agent_id = NULL, locked_at = NULL, \
             execution_run_id = NULL, checkout_run_id = NULL WHERE id = $1"
        ),
        p![issue],
    )
    .await
}

/// Clears the lock if its holder is not live any more; returns whether it was.
pub async fn clear_dead(tx: &mut Tx<'_>, issue: &IssueId) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE issues SET lock_run_id = NULL, lock_epoch = NULL, lock_agent_id = NULL, locked_at = NULL, \
                 execution_run_id = CASE WHEN execution_run_id = lock_run_id THEN NULL ELSE execution_run_id END \
                 WHERE id = $1 AND lock_run_id IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = issues.lock_run_id AND r.status = 'running' \
                                 AND r.lease_epoch = issues.lock_epoch)"
            ),
            p![issue],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns the issues that a run holds or has checked out: what its settlement has to lock and release. By id, the
/// order in which they are locked.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId, limit: i64) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM issues WHERE lock_run_id = $1 UNION SELECT id FROM issues WHERE checkout_run_id = $1 \
                 ORDER BY id LIMIT $2"
            ),
            p![run, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns issues whose lock is dead, with the run that it names, by that run, after `after`. Only locked issues are
/// looked at.
pub async fn dead(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<(IssueId, RunId)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT i.id, i.lock_run_id FROM issues i WHERE i.lock_run_id IS NOT NULL AND i.lock_run_id > $1 \
             AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = i.lock_run_id AND r.status = 'running' \
                             AND r.lease_epoch = i.lock_epoch) ORDER BY i.lock_run_id, i.id LIMIT $2"
        ),
        p![after, limit],
    )
    .await
}

/// Counts the issues that are held by a run that is running, and the runs that hold them; for the rule that they are
/// the same number when no run holds two.
pub async fn count_live(tx: &mut Tx<'_>) -> Result<(i64, i64), StoreError> {
    let row = tx
        .one_as(
            sql!(
                "SELECT COUNT(*), COUNT(DISTINCT i.lock_run_id) FROM issues i CROSS JOIN runs r \
                 WHERE i.lock_run_id IS NOT NULL AND r.id = i.lock_run_id AND r.status = 'running' AND r.lease_epoch = i.lock_epoch"
            ),
            p![],
        )
        .await?;
    Ok(row.unwrap_or((0, 0)))
}

/// Points clients to a run, which may only be queued; this locks nothing.
pub async fn point_to(tx: &mut Tx<'_>, issue: &IssueId, run: Option<&RunId>) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE issues SET execution_run_id = $2 WHERE id = $1"), p![issue, run]).await
}

/// Forgets a run that the execution pointer names: it will never run.
pub async fn unpoint(tx: &mut Tx<'_>, issue: &IssueId, run: &RunId) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE issues SET execution_run_id = NULL WHERE id = $1 AND execution_run_id = $2 AND lock_run_id IS NULL"),
        p![issue, run],
    )
    .await
}

/// Moves the checkout from the run that was seen there to another one, or to none; returns false when somebody was
/// faster.
pub async fn check_out(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    seen: Option<&RunId>,
    run: Option<&RunId>,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE issues SET checkout_run_id = $3 WHERE id = $1 \
                 AND (checkout_run_id = $2 OR (CAST($2 AS text) IS NULL AND checkout_run_id IS NULL))"
            ),
            p![issue, seen, run],
        )
        .await?;
    Ok(changed == 1)
}
