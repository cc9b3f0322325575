//! The tree of issues: what is above one and what is below it. Every walk ends: it is bounded in depth and in rows.
//! `CROSS JOIN` keeps SQLite from starting at the wrong end, which is the whole table.

use domain::ids::{AgentId, IssueId, RunId};
use domain::issue::IssueStatus;

use super::{Issue, columns_of_i};
use crate::{StoreError, Tx, from_row, p, sql};

/// How far up a walk goes.
pub const MOST_ANCESTORS: i64 = 50;

/// How deep a walk goes down: deeper than any tree that people make, and an end for one that was bent into a circle.
const MOST_LEVELS: i64 = 64;

/// Returns what an issue is part of, its parent first, at most `most` of them.
pub async fn ancestors(tx: &mut Tx<'_>, id: &IssueId, most: i64) -> Result<Vec<Issue>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "WITH RECURSIVE above(id, parent_id, depth) AS ( \
               SELECT s.id, s.parent_id, 0 FROM issues s WHERE s.id = $1 \
               UNION ALL SELECT u.id, u.parent_id, a.depth + 1 FROM above a JOIN issues u ON u.id = a.parent_id \
               WHERE a.depth < $2) \
             SELECT ",
            columns_of_i!(),
            " FROM above a CROSS JOIN issues i WHERE i.id = a.id AND a.depth > 0 ORDER BY a.depth"
        )),
        p![id, most.clamp(0, MOST_ANCESTORS)],
    )
    .await
}

/// Returns the direct children of an issue, oldest first.
pub async fn children(tx: &mut Tx<'_>, parent: &IssueId, limit: i64) -> Result<Vec<Issue>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns_of_i!(),
            " FROM issues i WHERE i.parent_id = $1 ORDER BY i.created_at, i.id LIMIT $2"
        )),
        p![parent, limit],
    )
    .await
}

/// Counts the direct children of an issue.
pub async fn count_children(tx: &mut Tx<'_>, parent: &IssueId) -> Result<i64, StoreError> {
    let row = tx.one(sql!("SELECT COUNT(*) FROM issues WHERE parent_id = $1"), p![parent]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Whether a direct child of the issue is neither done nor cancelled.
pub async fn has_open_child(tx: &mut Tx<'_>, parent: &IssueId) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!("SELECT 1 FROM issues WHERE parent_id = $1 AND status NOT IN ('done', 'cancelled') LIMIT 1"),
            p![parent],
        )
        .await?;
    Ok(row.is_some())
}

/// An issue of a subtree, as far as operations on the subtree need it.
#[derive(Debug, Clone, PartialEq)]
pub struct Below {
    pub id: IssueId,
    pub parent_id: Option<IssueId>,
    /// 0 for the root.
    pub depth: i64,
    pub identifier: String,
    pub title: String,
    pub status: IssueStatus,
    pub assignee_agent_id: Option<AgentId>,
    pub assignee_user_id: Option<String>,
    pub execution_run_id: Option<RunId>,
    pub lock_run_id: Option<RunId>,
}
from_row!(Below {
    id,
    parent_id,
    depth,
    identifier,
    title,
    status,
    assignee_agent_id,
    assignee_user_id,
    execution_run_id,
    lock_run_id
});

/// Returns an issue and everything below it, level by level.
pub async fn descendants(tx: &mut Tx<'_>, root: &IssueId, limit: i64) -> Result<Vec<Below>, StoreError> {
    tx.rows_as(
        sql!(
            "WITH RECURSIVE below(id, depth) AS ( \
               SELECT s.id, CAST(0 AS bigint) FROM issues s WHERE s.id = $1 \
               UNION ALL SELECT d.id, b.depth + 1 FROM below b JOIN issues d ON d.parent_id = b.id \
               WHERE b.depth < $2 AND d.id <> $1) \
             SELECT i.id, i.parent_id, b.depth, i.identifier, i.title, i.status, i.assignee_agent_id, \
             i.assignee_user_id, i.execution_run_id, i.lock_run_id \
             FROM below b CROSS JOIN issues i WHERE i.id = b.id ORDER BY b.depth, i.created_at, i.id LIMIT $3"
        ),
        p![root, MOST_LEVELS, limit],
    )
    .await
}
