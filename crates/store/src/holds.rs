//! Holds on subtrees of issues: who put which tree aside, with a picture of it as it was.
//!
//! A hold is asked for by the roots above an issue ([`gate`]), not by its members: issues that came under the root later
//! are held too. Members say what a later restore brings back.

use domain::ids::{AgentId, CompanyId, HoldId, IssueId, RunId};
use domain::issue::IssueStatus;
use domain::moment::Moment;
use domain::run::RunStatus;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A hold as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    pub id: HoldId,
    pub company_id: CompanyId,
    pub root_issue_id: IssueId,
    /// `pause`, `resume`, `cancel` or `restore`.
    pub mode: String,
    /// `active` or `released`.
    pub status: String,
    pub reason: Option<String>,
    pub release_policy: Option<Json>,
    pub metadata: Option<Json>,
    pub created_by_actor_type: String,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub created_by_run_id: Option<RunId>,
    pub released_at: Option<Moment>,
    pub released_by_actor_type: Option<String>,
    pub released_by_agent_id: Option<AgentId>,
    pub released_by_user_id: Option<String>,
    pub released_by_run_id: Option<RunId>,
    pub release_reason: Option<String>,
    pub release_metadata: Option<Json>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Hold {
    id,
    company_id,
    root_issue_id,
    mode,
    status,
    reason,
    release_policy,
    metadata,
    created_by_actor_type,
    created_by_agent_id,
    created_by_user_id,
    created_by_run_id,
    released_at,
    released_by_actor_type,
    released_by_agent_id,
    released_by_user_id,
    released_by_run_id,
    release_reason,
    release_metadata,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, root_issue_id, mode, status, reason, release_policy, metadata, created_by_actor_type, \
         created_by_agent_id, created_by_user_id, created_by_run_id, released_at, released_by_actor_type, \
         released_by_agent_id, released_by_user_id, released_by_run_id, release_reason, release_metadata, \
         created_at, updated_at"
    };
}

/// The same columns, of `issue_tree_holds h`.
macro_rules! columns_of_h {
    () => {
        "h.id, h.company_id, h.root_issue_id, h.mode, h.status, h.reason, h.release_policy, h.metadata, \
         h.created_by_actor_type, h.created_by_agent_id, h.created_by_user_id, h.created_by_run_id, \
         h.released_at, h.released_by_actor_type, h.released_by_agent_id, h.released_by_user_id, \
         h.released_by_run_id, h.release_reason, h.release_metadata, h.created_at, h.updated_at"
    };
}

/// An issue under a hold, as it was when the hold was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub id: String,
    pub company_id: CompanyId,
    pub hold_id: HoldId,
    pub issue_id: IssueId,
    pub parent_issue_id: Option<IssueId>,
    pub depth: i64,
    pub issue_identifier: Option<String>,
    pub issue_title: String,
    pub issue_status: IssueStatus,
    pub assignee_agent_id: Option<AgentId>,
    pub assignee_user_id: Option<String>,
    pub active_run_id: Option<RunId>,
    pub active_run_status: Option<RunStatus>,
    pub skipped: bool,
    pub skip_reason: Option<String>,
    pub created_at: Moment,
}
from_row!(Member {
    id,
    company_id,
    hold_id,
    issue_id,
    parent_issue_id,
    depth,
    issue_identifier,
    issue_title,
    issue_status,
    assignee_agent_id,
    assignee_user_id,
    active_run_id,
    active_run_status,
    skipped,
    skip_reason,
    created_at
});

macro_rules! member_columns {
    () => {
        "id, company_id, hold_id, issue_id, parent_issue_id, depth, issue_identifier, issue_title, issue_status, \
         assignee_agent_id, assignee_user_id, active_run_id, active_run_status, skipped, skip_reason, created_at"
    };
}

/// Who released a hold, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    pub actor_type: String,
    pub agent_id: Option<AgentId>,
    pub user_id: Option<String>,
    pub run_id: Option<RunId>,
    pub reason: Option<String>,
    pub metadata: Option<Json>,
}

/// How far up [`gate`] looks, the issue itself among them.
pub const MOST_GATE_LEVELS: i64 = 15;

/// Adds a hold with its members.
pub async fn insert(tx: &mut Tx<'_>, hold: &Hold, members: &[Member]) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO issue_tree_holds (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
             $21)"
        )),
        p![&hold.id, &hold.company_id, &hold.root_issue_id, &hold.mode, &hold.status, &hold.reason, &hold.release_policy, &hold.metadata, &hold.created_by_actor_type, &hold.created_by_agent_id, &hold.created_by_user_id, &hold.created_by_run_id, hold.released_at, &hold.released_by_actor_type, &hold.released_by_agent_id, &hold.released_by_user_id, &hold.released_by_run_id, &hold.release_reason, &hold.release_metadata, hold.created_at, hold.updated_at],
    )
    .await?;
    for member in members {
        tx.run(
            sql!(concat!(
                "INSERT INTO issue_tree_hold_members (",
                member_columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
            )),
            p![
                &member.id,
                &member.company_id,
                &member.hold_id,
                &member.issue_id,
                &member.parent_issue_id,
                member.depth,
                &member.issue_identifier,
                &member.issue_title,
                member.issue_status,
                &member.assignee_agent_id,
                &member.assignee_user_id,
                &member.active_run_id,
                member.active_run_status,
                member.skipped,
                &member.skip_reason,
                member.created_at
            ],
        )
        .await?;
    }
    Ok(())
}

/// Returns one hold.
pub async fn get(tx: &mut Tx<'_>, id: &HoldId) -> Result<Option<Hold>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM issue_tree_holds WHERE id = $1")), p![id]).await
}

/// Returns the holds on a root, newest first; those of one status or mode, if given.
pub async fn of_root(
    tx: &mut Tx<'_>,
    root: &IssueId,
    status: Option<&str>,
    mode: Option<&str>,
    limit: i64,
) -> Result<Vec<Hold>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM issue_tree_holds WHERE root_issue_id = $1 AND (CAST($2 AS text) IS NULL OR status = $2) \
             AND (CAST($3 AS text) IS NULL OR mode = $3) ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![root, status, mode, limit],
    )
    .await
}

/// Returns the pause hold that an issue is under: of the nearest root at or above it the newest. `None`: it is free.
pub async fn gate(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Option<Hold>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "WITH RECURSIVE above(id, parent_id, depth) AS ( \
               SELECT s.id, s.parent_id, 1 FROM issues s WHERE s.id = $1 \
               UNION ALL SELECT u.id, u.parent_id, a.depth + 1 FROM above a JOIN issues u ON u.id = a.parent_id \
               WHERE a.depth < $2) \
             SELECT ",
            columns_of_h!(),
            " FROM above a CROSS JOIN issue_tree_holds h WHERE h.root_issue_id = a.id \
             AND h.status = 'active' AND h.mode = 'pause' ORDER BY a.depth, h.created_at DESC, h.id DESC LIMIT 1"
        )),
        p![issue, MOST_GATE_LEVELS],
    )
    .await
}

/// Returns which of these issues are under a pause hold, their own or one above them, each with the moment of the newest.
pub async fn held(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<(IssueId, Moment)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "WITH RECURSIVE above(held, id, parent_id, depth) AS ( \
                   SELECT s.id, s.id, s.parent_id, 1 FROM issues s WHERE s.id IN ({list}) \
                   UNION ALL SELECT a.held, u.id, u.parent_id, a.depth + 1 \
                   FROM above a JOIN issues u ON u.id = a.parent_id WHERE a.depth < $1) \
                 SELECT a.held, MAX(h.created_at) FROM above a CROSS JOIN issue_tree_holds h \
                 WHERE h.root_issue_id = a.id AND h.status = 'active' AND h.mode = 'pause' GROUP BY a.held"
            ),
            p![MOST_GATE_LEVELS],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the active holds of one mode on these roots, newest first within a portion.
pub async fn active_on(tx: &mut Tx<'_>, mode: &str, roots: &[IssueId]) -> Result<Vec<Hold>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!(
                "SELECT ",
                columns!(),
                " FROM issue_tree_holds WHERE status = 'active' AND mode = $1 AND root_issue_id IN ({list}) \
                 ORDER BY created_at DESC, id DESC"
            )),
            p![mode],
            roots.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns which of these issues are members, not skipped, of active holds of one mode.
pub async fn active_members(
    tx: &mut Tx<'_>,
    mode: &str,
    issues: &[IssueId],
) -> Result<Vec<(IssueId, HoldId)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT m.issue_id, h.id FROM issue_tree_hold_members m JOIN issue_tree_holds h ON h.id = m.hold_id \
                 WHERE h.status = 'active' AND h.mode = $1 AND NOT m.skipped AND m.issue_id IN ({list}) \
                 ORDER BY m.issue_id, h.created_at DESC, h.id DESC"
            ),
            p![mode],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the members of a hold, the root first.
pub async fn members(tx: &mut Tx<'_>, hold: &HoldId, limit: i64) -> Result<Vec<Member>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            member_columns!(),
            " FROM issue_tree_hold_members WHERE hold_id = $1 ORDER BY depth, issue_id LIMIT $2"
        )),
        p![hold, limit],
    )
    .await
}

/// Releases a hold; returns false when it was released before.
pub async fn release(
    tx: &mut Tx<'_>,
    id: &HoldId,
    release: &Release,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE issue_tree_holds SET status = 'released', released_at = $2, released_by_actor_type = $3, \
                 released_by_agent_id = $4, released_by_user_id = $5, released_by_run_id = $6, release_reason = $7, \
                 release_metadata = $8, updated_at = $2 WHERE id = $1 AND status = 'active'"
            ),
            p![
                id, now, &release.actor_type, &release.agent_id, &release.user_id, &release.run_id, &release.reason,
                &release.metadata
            ],
        )
        .await?;
    Ok(changed == 1)
}
