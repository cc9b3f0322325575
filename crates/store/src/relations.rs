//! Which issue blocks which: the edges, and who is ready.
//!
//! An edge says that one issue waits until another is done. Only `done` resolves it: a blocker that is cancelled still
//! stands in the way (`domain` says who hears of that). An edge to an issue that is gone counts for nothing. Whether new
//! edges would close a circle is decided by the caller, on what [`above`] gives, with the graph locked.

use std::collections::HashSet;

use domain::ids::{AgentId, CompanyId, IssueId};
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// An issue at the other end of an edge, as the wire shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Related {
    pub id: IssueId,
    pub identifier: String,
    pub title: String,
    pub status: IssueStatus,
    pub priority: Priority,
    pub assignee_agent_id: Option<AgentId>,
    pub assignee_user_id: Option<String>,
}
from_row!(Related { id, identifier, title, status, priority, assignee_agent_id, assignee_user_id });

/// Who made an edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    pub agent_id: Option<AgentId>,
    pub user_id: Option<String>,
}

/// What became of the blockers of an issue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub added: Vec<IssueId>,
    pub removed: Vec<IssueId>,
}

/// Lets nobody else change edges of this company until the end of the transaction: two edges that are each right can
/// close a circle together. Taken after the locks of issues.
pub async fn lock_graph(tx: &mut Tx<'_>, company: &CompanyId) -> Result<(), StoreError> {
    // A write and not a locking read, which would also keep out everybody who adds a row of this company.
    tx.exec(sql!("UPDATE companies SET issue_counter = issue_counter WHERE id = $1"), p![company]).await?;
    Ok(())
}

/// Makes these issues, each once, the blockers of an issue, and no others. Does not say whether it is ready.
pub async fn replace_blockers(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    blocked: &IssueId,
    blockers: &[IssueId],
    by: &By,
    now: Moment,
) -> Result<Changed, StoreError> {
    let before: Vec<IssueId> = edges_to(tx, blocked).await?;
    let wanted: HashSet<&IssueId> = blockers.iter().collect();
    let had: HashSet<&IssueId> = before.iter().collect();
    let mut changed = Changed::default();
    for blocker in &before {
        if !wanted.contains(blocker) {
            remove(tx, blocker, blocked).await?;
            changed.removed.push(blocker.clone());
        }
    }
    for blocker in blockers {
        if !had.contains(blocker) && !changed.added.contains(blocker) {
            add(tx, company, blocker, blocked, by, now).await?;
            changed.added.push(blocker.clone());
        }
    }
    Ok(changed)
}

/// Adds one edge, if it is not there.
pub async fn add(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    blocker: &IssueId,
    blocked: &IssueId,
    by: &By,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO issue_relations (blocker_id, blocked_id, company_id, created_by_agent_id, \
             created_by_user_id, created_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (blocker_id, blocked_id) DO NOTHING"
        ),
        p![blocker, blocked, company, &by.agent_id, &by.user_id, now],
    )
    .await
}

/// Removes one edge.
pub async fn remove(tx: &mut Tx<'_>, blocker: &IssueId, blocked: &IssueId) -> Result<(), StoreError> {
    tx.run(
        sql!("DELETE FROM issue_relations WHERE blocker_id = $1 AND blocked_id = $2"),
        p![blocker, blocked],
    )
    .await
}

async fn edges_to(tx: &mut Tx<'_>, blocked: &IssueId) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows(
            sql!("SELECT blocker_id FROM issue_relations WHERE blocked_id = $1 ORDER BY blocker_id"),
            p![blocked],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns what blocks an issue, done or not, by title.
pub async fn blockers(tx: &mut Tx<'_>, blocked: &IssueId, limit: i64) -> Result<Vec<Related>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT i.id, i.identifier, i.title, i.status, i.priority, i.assignee_agent_id, i.assignee_user_id \
             FROM issue_relations e JOIN issues i ON i.id = e.blocker_id WHERE e.blocked_id = $1 \
             ORDER BY i.title, i.id LIMIT $2"
        ),
        p![blocked, limit],
    )
    .await
}

/// Returns what an issue blocks, by title: its dependents.
pub async fn dependents(tx: &mut Tx<'_>, blocker: &IssueId, limit: i64) -> Result<Vec<Related>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT i.id, i.identifier, i.title, i.status, i.priority, i.assignee_agent_id, i.assignee_user_id \
             FROM issue_relations e JOIN issues i ON i.id = e.blocked_id WHERE e.blocker_id = $1 \
             ORDER BY i.title, i.id LIMIT $2"
        ),
        p![blocker, limit],
    )
    .await
}

/// Returns what each of these issues blocks, as (blocker, blocked).
pub async fn blocked_by(
    tx: &mut Tx<'_>,
    blockers: &[IssueId],
) -> Result<Vec<(IssueId, IssueId)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT e.blocker_id, e.blocked_id FROM issue_relations e WHERE e.blocker_id IN ({list}) \
                 ORDER BY e.blocker_id, e.blocked_id"
            ),
            p![],
            blockers.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns what blocks each of these issues, as (blocked, blocker), by title within a blocked issue's portion.
pub async fn blockers_of(
    tx: &mut Tx<'_>,
    blocked: &[IssueId],
) -> Result<Vec<(IssueId, Related)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT e.blocked_id, i.id, i.identifier, i.title, i.status, i.priority, i.assignee_agent_id, \
                 i.assignee_user_id FROM issue_relations e JOIN issues i ON i.id = e.blocker_id \
                 WHERE e.blocked_id IN ({list}) ORDER BY e.blocked_id, i.title, i.id"
            ),
            p![],
            blocked.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter()
        .map(|row| {
            let related = Related {
                id: row.get(1)?,
                identifier: row.get(2)?,
                title: row.get(3)?,
                status: row.get(4)?,
                priority: row.get(5)?,
                assignee_agent_id: row.get(6)?,
                assignee_user_id: row.get(7)?,
            };
            Ok((row.get(0)?, related))
        })
        .collect()
}

/// Returns the blockers that are not done, for each of these issues, as (blocked, blocker, status of the blocker). An
/// issue that does not appear is ready.
pub async fn unresolved(
    tx: &mut Tx<'_>,
    blocked: &[IssueId],
) -> Result<Vec<(IssueId, IssueId, IssueStatus)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT e.blocked_id, e.blocker_id, i.status FROM issue_relations e \
                 JOIN issues i ON i.id = e.blocker_id WHERE i.status <> 'done' AND e.blocked_id IN ({list}) \
                 ORDER BY e.blocked_id, e.blocker_id"
            ),
            p![],
            blocked.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Whether all blockers of an issue are done.
pub async fn is_ready(tx: &mut Tx<'_>, issue: &IssueId) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT 1 FROM issue_relations e JOIN issues i ON i.id = e.blocker_id \
                 WHERE e.blocked_id = $1 AND i.status <> 'done' LIMIT 1"
            ),
            p![issue],
        )
        .await?;
    Ok(row.is_none())
}

/// Returns issues that wait on blockers though all of these are done, by id, after `after`: an edge that nobody was told
/// of. Only issues that wait are looked at.
pub async fn ready_but_waiting(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT w.id FROM issues w WHERE w.waits_on_blockers AND w.id > $1 \
                 AND NOT EXISTS (SELECT 1 FROM issue_relations e JOIN issues i ON i.id = e.blocker_id \
                                 WHERE e.blocked_id = w.id AND i.status <> 'done') ORDER BY w.id LIMIT $2"
            ),
            p![after, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns the edges, as (blocked, blocker), that lie above these issues on any level: what a new edge below them could
/// close a circle with. At most `limit` for each portion of the list.
pub async fn above(
    tx: &mut Tx<'_>,
    from: &[IssueId],
    limit: i64,
) -> Result<Vec<(IssueId, IssueId)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "WITH RECURSIVE above(id) AS ( \
                   SELECT s.id FROM issues s WHERE s.id IN ({list}) \
                   UNION SELECT e.blocker_id FROM above a CROSS JOIN issue_relations e WHERE e.blocked_id = a.id) \
                 SELECT e.blocked_id, e.blocker_id FROM above a CROSS JOIN issue_relations e \
                 WHERE e.blocked_id = a.id LIMIT $1"
            ),
            p![limit],
            from.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}
