//! Recoveries: how often an issue was set going again by itself, for each cause.
//!
//! The count is what keeps automatic repair from repeating without bound: an attempt is counted by the statement that
//! checks the bound. A success or the touch of a person starts it anew.

use domain::ids::{CompanyId, IssueId, RunId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// The attempts at one issue for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub issue_id: IssueId,
    pub cause: String,
    pub company_id: CompanyId,
    pub attempts: i64,
    pub last_run_id: Option<RunId>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Recovery { issue_id, cause, company_id, attempts, last_run_id, created_at, updated_at });

/// Counts one more attempt if that keeps within `most`; returns its number, from 1. `None`: there have been enough.
pub async fn attempt(
    tx: &mut Tx<'_>,
    (company, issue, cause): (&CompanyId, &IssueId, &str),
    run: Option<&RunId>,
    most: i64,
    now: Moment,
) -> Result<Option<i64>, StoreError> {
    let row = tx
        .one(
            sql!(
                "INSERT INTO issue_recoveries (issue_id, cause, company_id, attempts, last_run_id, created_at, \
                 updated_at) SELECT CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), 1, CAST($4 AS text), \
                 CAST($5 AS bigint), CAST($5 AS bigint) WHERE CAST($6 AS bigint) > 0 \
                 ON CONFLICT (issue_id, cause) DO UPDATE SET attempts = issue_recoveries.attempts + 1, \
                 last_run_id = excluded.last_run_id, updated_at = excluded.updated_at \
                 WHERE issue_recoveries.attempts < $6 RETURNING attempts"
            ),
            p![issue, cause, company, run, now, most],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Returns the attempts at an issue, by cause.
pub async fn of_issue(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Recovery>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT issue_id, cause, company_id, attempts, last_run_id, created_at, updated_at FROM issue_recoveries \
             WHERE issue_id = $1 ORDER BY cause LIMIT $2"
        ),
        p![issue, limit],
    )
    .await
}

/// Starts counting anew, for one cause or (with `None`) for all; returns how many counts there were.
pub async fn reset(tx: &mut Tx<'_>, issue: &IssueId, cause: Option<&str>) -> Result<u64, StoreError> {
    tx.exec(
        sql!("DELETE FROM issue_recoveries WHERE issue_id = $1 AND (CAST($2 AS text) IS NULL OR cause = $2)"),
        p![issue, cause],
    )
    .await
}
