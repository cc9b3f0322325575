//! Issues as stored: adding, reading and changing one. The execution lock is in `locks`, edges between blockers in
//! `relations`.
//!
//! Whoever changes an issue has locked its row before ([`lock`]), behind the agents and before the runs (D15). An issue
//! changes as a whole: what a rule has made of the loaded row is written back by [`update`], all but the lock and what
//! never changes.

mod lists;
mod sweeps;
mod trees;

use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;
use domain::recovery::looks;
use serde_json::Value as Json;

pub use lists::{Filter, MOST_LISTED, Place, inbox_lite, list};
pub use sweeps::{
    bring_forward, check_all_of_agent, check_by, check_of_agent, maybe_left, next_check, orphans,
    set_check_at, stuck, to_check,
};
pub use trees::{Below, MOST_ANCESTORS, ancestors, children, count_children, descendants, has_open_child};

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// An issue as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    pub id: IssueId,
    pub company_id: CompanyId,
    pub project_id: Option<String>,
    pub project_workspace_id: Option<String>,
    pub goal_id: Option<String>,
    pub parent_id: Option<IssueId>,
    pub title: String,
    pub description: Option<String>,
    pub status: IssueStatus,
    pub priority: Priority,
    pub assignee_agent_id: Option<AgentId>,
    pub assignee_user_id: Option<String>,
    pub checkout_run_id: Option<RunId>,
    /// What clients are shown; it may name a run that is only queued. The lock is in the next four fields.
    pub execution_run_id: Option<RunId>,
    pub lock_run_id: Option<RunId>,
    pub lock_epoch: Option<i64>,
    pub lock_agent_id: Option<AgentId>,
    pub locked_at: Option<Moment>,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub issue_number: i64,
    pub identifier: String,
    pub origin_kind: String,
    pub origin_id: Option<String>,
    pub origin_run_id: Option<String>,
    pub origin_fingerprint: String,
    pub request_depth: i64,
    pub billing_code: Option<String>,
    pub assignee_adapter_overrides: Option<Json>,
    pub execution_policy: Option<Json>,
    pub execution_state: Option<Json>,
    pub execution_workspace_id: Option<String>,
    pub execution_workspace_preference: Option<String>,
    pub execution_workspace_settings: Option<Json>,
    pub started_at: Option<Moment>,
    pub completed_at: Option<Moment>,
    pub cancelled_at: Option<Moment>,
    pub hidden_at: Option<Moment>,
    /// It has blockers that are not done, and nobody was told yet that they are.
    pub waits_on_blockers: bool,
    /// When a sweep is to look at it again.
    pub check_at: Option<Moment>,
    pub last_activity_at: Moment,
    pub created_at: Moment,
    pub updated_at: Moment,
}

impl Issue {
    /// An agent, and no person, should be at work on it.
    pub fn is_agents_work(&self) -> bool {
        looks::is_agents_work(self.status, self.assignee_agent_id.as_ref(), self.assignee_user_id.as_deref())
    }
}
from_row!(Issue {
    id,
    company_id,
    project_id,
    project_workspace_id,
    goal_id,
    parent_id,
    title,
    description,
    status,
    priority,
    assignee_agent_id,
    assignee_user_id,
    checkout_run_id,
    execution_run_id,
    lock_run_id,
    lock_epoch,
    lock_agent_id,
    locked_at,
    created_by_agent_id,
    created_by_user_id,
    issue_number,
    identifier,
    origin_kind,
    origin_id,
    origin_run_id,
    origin_fingerprint,
    request_depth,
    billing_code,
    assignee_adapter_overrides,
    execution_policy,
    execution_state,
    execution_workspace_id,
    execution_workspace_preference,
    execution_workspace_settings,
    started_at,
    completed_at,
    cancelled_at,
    hidden_at,
    waits_on_blockers,
    check_at,
    last_activity_at,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, project_id, project_workspace_id, goal_id, parent_id, title, description, status, \
         priority, assignee_agent_id, assignee_user_id, checkout_run_id, execution_run_id, lock_run_id, \
         lock_epoch, lock_agent_id, locked_at, created_by_agent_id, created_by_user_id, issue_number, identifier, \
         origin_kind, origin_id, origin_run_id, origin_fingerprint, request_depth, billing_code, \
         assignee_adapter_overrides, execution_policy, execution_state, execution_workspace_id, \
         execution_workspace_preference, execution_workspace_settings, started_at, completed_at, cancelled_at, \
         hidden_at, waits_on_blockers, check_at, last_activity_at, created_at, updated_at"
    };
}

/// The same columns, of `issues i`.
macro_rules! columns_of_i {
    () => {
        "i.id, i.company_id, i.project_id, i.project_workspace_id, i.goal_id, i.parent_id, i.title, \
         i.description, i.status, i.priority, i.assignee_agent_id, i.assignee_user_id, i.checkout_run_id, \
         i.execution_run_id, i.lock_run_id, i.lock_epoch, i.lock_agent_id, i.locked_at, \
         i.created_by_agent_id, i.created_by_user_id, i.issue_number, i.identifier, i.origin_kind, \
         i.origin_id, i.origin_run_id, i.origin_fingerprint, i.request_depth, i.billing_code, \
         i.assignee_adapter_overrides, i.execution_policy, i.execution_state, i.execution_workspace_id, \
         i.execution_workspace_preference, i.execution_workspace_settings, i.started_at, i.completed_at, \
         i.cancelled_at, i.hidden_at, i.waits_on_blockers, i.check_at, i.last_activity_at, i.created_at, \
         i.updated_at"
    };
}
use columns_of_i;

/// Draws the next number of a company and makes the identifier from it; `None` if there is no such company. Locks the
/// company's counter until the end of the transaction, so it comes after the locks of agents and issues.
pub async fn draw_identifier(
    tx: &mut Tx<'_>,
    company: &CompanyId,
) -> Result<Option<(i64, String)>, StoreError> {
    let row = tx
        .one(
            sql!(
                "UPDATE companies SET issue_counter = issue_counter + 1 WHERE id = $1 \
                 RETURNING issue_counter, issue_prefix || '-' || CAST(issue_counter AS text)"
            ),
            p![company],
        )
        .await?;
    row.map(|row| row.read()).transpose()
}

/// Adds an issue under the number that [`draw_identifier`] gave.
pub async fn insert(tx: &mut Tx<'_>, issue: &Issue) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO issues (",
            columns!(),
            ", priority_rank) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
             $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, \
             $39, $40, $41, $42, $43, $44)"
        )),
        p![&issue.id, &issue.company_id, &issue.project_id, &issue.project_workspace_id, &issue.goal_id, &issue.parent_id, &issue.title, &issue.description, issue.status, issue.priority, &issue.assignee_agent_id, &issue.assignee_user_id, &issue.checkout_run_id, &issue.execution_run_id, &issue.lock_run_id, issue.lock_epoch, &issue.lock_agent_id, issue.locked_at, &issue.created_by_agent_id, &issue.created_by_user_id, issue.issue_number, &issue.identifier, &issue.origin_kind, &issue.origin_id, &issue.origin_run_id, &issue.origin_fingerprint, issue.request_depth, &issue.billing_code, &issue.assignee_adapter_overrides, &issue.execution_policy, &issue.execution_state, &issue.execution_workspace_id, &issue.execution_workspace_preference, &issue.execution_workspace_settings, issue.started_at, issue.completed_at, issue.cancelled_at, issue.hidden_at, issue.waits_on_blockers, issue.check_at, issue.last_activity_at, issue.created_at, issue.updated_at, i64::from(issue.priority.rank())],
    )
    .await
}

/// Returns one issue.
pub async fn get(tx: &mut Tx<'_>, id: &IssueId) -> Result<Option<Issue>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM issues WHERE id = $1")), p![id]).await
}

/// Returns one issue and locks its row until the end of the transaction. Agents are locked before, runs after (D15).
pub async fn lock(tx: &mut Tx<'_>, id: &IssueId) -> Result<Option<Issue>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM issues WHERE id = $1 /*+for_update*/")), p![id])
        .await
}

/// Returns the issue of an identifier such as `BUG-17`, in capitals as they are stored.
pub async fn by_identifier(tx: &mut Tx<'_>, identifier: &str) -> Result<Option<Issue>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM issues WHERE identifier = $1")), p![identifier])
        .await
}

/// Returns the issues of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[IssueId]) -> Result<Vec<Issue>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM issues WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// An issue, as far as the order of claims needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub id: IssueId,
    pub status: IssueStatus,
    pub priority: Priority,
    /// All its blockers are done.
    pub is_ready: bool,
}
from_row!(Standing { id, status, priority, is_ready });

/// Returns how these issues stand, those that exist, in no order.
pub async fn standing(tx: &mut Tx<'_>, ids: &[IssueId]) -> Result<Vec<Standing>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT i.id, i.status, i.priority, CASE WHEN EXISTS (SELECT 1 FROM issue_relations e \
                 JOIN issues b ON b.id = e.blocker_id WHERE e.blocked_id = i.id AND b.status <> 'done') \
                 THEN FALSE ELSE TRUE END FROM issues i WHERE i.id IN ({list})"
            ),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Writes everything that a change of an issue may touch. Not its lock, and not what was settled when it was made.
pub async fn update(tx: &mut Tx<'_>, issue: &Issue) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE issues SET project_id = $2, project_workspace_id = $3, goal_id = $4, parent_id = $5, title = $6, \
             description = $7, status = $8, priority = $9, assignee_agent_id = $10, assignee_user_id = $11, \
             billing_code = $12, assignee_adapter_overrides = $13, execution_policy = $14, execution_state = \
             $15, execution_workspace_id = $16, execution_workspace_preference = $17, \
             execution_workspace_settings = $18, started_at = $19, completed_at = $20, cancelled_at = $21, \
             hidden_at = $22, waits_on_blockers = $23, check_at = $24, last_activity_at = $25, updated_at = \
             $26, priority_rank = $27, request_depth = $28 WHERE id = $1"
        ),
        p![&issue.id, &issue.project_id, &issue.project_workspace_id, &issue.goal_id, &issue.parent_id, &issue.title, &issue.description, issue.status, issue.priority, &issue.assignee_agent_id, &issue.assignee_user_id, &issue.billing_code, &issue.assignee_adapter_overrides, &issue.execution_policy, &issue.execution_state, &issue.execution_workspace_id, &issue.execution_workspace_preference, &issue.execution_workspace_settings, issue.started_at, issue.completed_at, issue.cancelled_at, issue.hidden_at, issue.waits_on_blockers, issue.check_at, issue.last_activity_at, issue.updated_at, i64::from(issue.priority.rank()), issue.request_depth],
    )
    .await
}

/// Notes that something happened on an issue: lists are ordered by it, and who put it away sees it again.
pub async fn touch(tx: &mut Tx<'_>, id: &IssueId, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE issues SET last_activity_at = $2 WHERE id = $1 AND last_activity_at < $2"),
        p![id, now],
    )
    .await
}

/// Notes whether an issue has blockers that nobody has been told are done.
pub async fn set_waits_on_blockers(tx: &mut Tx<'_>, id: &IssueId, waits: bool) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE issues SET waits_on_blockers = $2 WHERE id = $1"), p![id, waits]).await
}

/// Removes an issue with all that hangs on it, and its edges; its children stay, without a parent. Returns false when
/// it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &IssueId) -> Result<bool, StoreError> {
    tx.run(sql!("DELETE FROM issue_relations WHERE blocker_id = $1"), p![id]).await?;
    tx.run(sql!("DELETE FROM issue_relations WHERE blocked_id = $1"), p![id]).await?;
    tx.run(sql!("DELETE FROM wake_orders WHERE issue_id = $1"), p![id]).await?;
    tx.run(sql!("UPDATE issues SET parent_id = NULL WHERE parent_id = $1"), p![id]).await?;
    Ok(tx.exec(sql!("DELETE FROM issues WHERE id = $1"), p![id]).await? == 1)
}

/// Counts the issues of a company by status, hidden ones too.
pub async fn count_by_status(
    tx: &mut Tx<'_>,
    company: &CompanyId,
) -> Result<Vec<(IssueStatus, i64)>, StoreError> {
    tx.rows_as(
        sql!("SELECT status, COUNT(*) FROM issues WHERE company_id = $1 GROUP BY status ORDER BY status"),
        p![company],
    )
    .await
}

/// Whether the agent has work: an issue of its own that is neither over nor parked in the backlog.
pub async fn has_work(tx: &mut Tx<'_>, agent: &AgentId) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT 1 FROM issues WHERE assignee_agent_id = $1 \
                 AND status IN ('todo', 'in_progress', 'in_review', 'blocked') AND hidden_at IS NULL LIMIT 1"
            ),
            p![agent],
        )
        .await?;
    Ok(row.is_some())
}
