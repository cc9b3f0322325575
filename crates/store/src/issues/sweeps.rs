//! What sweeps look at: issues that may have been left behind, each found by an index that holds no others.
//!
//! A sweep walks by id in bounded batches, or takes what is due. Idle issues are due never, so their number costs nothing.

use domain::ids::IssueId;
use domain::moment::Moment;

use super::{Issue, columns_of_i};
use crate::{StoreError, Tx, p, sql};

/// Returns visible issues that are blocked or in review, by id, after `after`.
pub async fn stuck(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<Issue>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns_of_i!(),
            " FROM issues i WHERE i.hidden_at IS NULL AND i.status IN ('blocked', 'in_review') AND i.id > $1 \
             ORDER BY i.id LIMIT $2"
        )),
        p![after, limit],
    )
    .await
}

/// Returns the ids of issues that an agent made, that belong to nobody and block an open issue, by id, after `after`.
pub async fn orphans(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT i.id FROM issues i WHERE i.assignee_agent_id IS NULL AND i.assignee_user_id IS NULL \
                 AND i.created_by_agent_id IS NOT NULL AND i.status IN ('todo', 'blocked') AND i.id > $1 \
                 AND EXISTS (SELECT 1 FROM issue_relations e JOIN issues b ON b.id = e.blocked_id \
                             WHERE e.blocker_id = i.id AND b.status NOT IN ('done', 'cancelled')) \
                 ORDER BY i.id LIMIT $2"
            ),
            p![after, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns issues that are due to be looked at, the longest due first.
pub async fn to_check(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<Issue>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns_of_i!(),
            " FROM issues i WHERE i.check_at IS NOT NULL AND i.check_at <= $1 ORDER BY i.check_at, i.id LIMIT $2"
        )),
        p![now, limit],
    )
    .await
}

/// Returns when the next issue is due.
pub async fn next_check(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!("SELECT check_at FROM issues WHERE check_at IS NOT NULL ORDER BY check_at, id LIMIT 1"),
            p![],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Says when an issue is to be looked at again; `None`: not before something happens to it.
pub async fn set_check_at(tx: &mut Tx<'_>, id: &IssueId, at: Option<Moment>) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE issues SET check_at = $2 WHERE id = $1"), p![id, at]).await
}

/// Has an issue looked at by then, unless an earlier look is planned or no agent should be working on it.
pub async fn check_by(tx: &mut Tx<'_>, id: &IssueId, at: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE issues SET check_at = $2 WHERE id = $1 AND (check_at IS NULL OR check_at > $2) \
             AND status IN ('todo', 'in_progress') AND assignee_agent_id IS NOT NULL AND assignee_user_id IS NULL"
        ),
        p![id, at],
    )
    .await
}

/// Returns the ids of the next `limit` issues that an agent should be working on, after `after`, each with whether it
/// may have been left: a run of it has ended or its agent is gone, no run is under way, and no look at it is planned.
pub async fn maybe_left(
    tx: &mut Tx<'_>,
    after: &str,
    limit: i64,
) -> Result<Vec<(IssueId, bool)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT i.id, CASE WHEN i.check_at IS NULL \
               AND (i.checkout_run_id IS NOT NULL OR EXISTS (SELECT 1 FROM runs r WHERE r.issue_id = i.id) \
                    OR NOT EXISTS (SELECT 1 FROM agents a WHERE a.id = i.assignee_agent_id \
                                   AND a.status <> 'terminated')) \
               AND NOT EXISTS (SELECT 1 FROM runs l WHERE l.issue_id = i.id \
                               AND l.status IN ('queued', 'scheduled_retry', 'running')) THEN TRUE ELSE FALSE END \
             FROM issues i WHERE i.status IN ('todo', 'in_progress') AND i.assignee_agent_id IS NOT NULL \
             AND i.assignee_user_id IS NULL AND i.id > $1 ORDER BY i.id LIMIT $2"
        ),
        p![after, limit],
    )
    .await
}

/// Has all issues looked at that an agent should be working on: it never will.
pub async fn check_all_of_agent(
    tx: &mut Tx<'_>,
    agent: &domain::ids::AgentId,
    now: Moment,
) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "UPDATE issues SET check_at = $2 WHERE assignee_agent_id = $1 AND status IN ('todo', 'in_progress') \
             AND assignee_user_id IS NULL"
        ),
        p![agent, now],
    )
    .await
}

/// Has the issues of a company looked at that wait to be: something that kept them back was lifted.
pub async fn bring_forward(
    tx: &mut Tx<'_>,
    company: &domain::ids::CompanyId,
    now: Moment,
) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "UPDATE issues SET check_at = $2 WHERE company_id = $1 AND check_at IS NOT NULL AND check_at > $2 \
             AND status IN ('todo', 'in_progress')"
        ),
        p![company, now],
    )
    .await
}

/// Has the issues of an agent that wait for it looked at: it can be woken again.
pub async fn check_of_agent(
    tx: &mut Tx<'_>,
    agent: &domain::ids::AgentId,
    now: Moment,
) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "UPDATE issues SET check_at = $2 WHERE assignee_agent_id = $1 AND status IN ('todo', 'in_progress') \
             AND check_at IS NOT NULL AND check_at > $2"
        ),
        p![agent, now],
    )
    .await
}
