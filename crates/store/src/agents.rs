//! Agents as stored, and the timers that wake them.

use domain::agent::{AgentStatus, PauseReason, Role};
use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// An agent as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub id: AgentId,
    pub company_id: CompanyId,
    pub name: String,
    pub url_key: String,
    pub role: Role,
    pub title: Option<String>,
    pub icon: Option<String>,
    pub status: AgentStatus,
    pub reports_to: Option<AgentId>,
    pub capabilities: Option<String>,
    pub adapter_type: String,
    pub adapter_config: Json,
    pub runtime_config: Json,
    /// What its runs work in when nothing nearer says.
    pub default_environment_id: Option<String>,
    pub budget_monthly_cents: i64,
    pub pause_reason: Option<PauseReason>,
    pub paused_at: Option<Moment>,
    pub permissions: Json,
    pub metadata: Option<Json>,
    pub last_heartbeat_at: Option<Moment>,
    pub next_timer_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Agent {
    id,
    company_id,
    name,
    url_key,
    role,
    title,
    icon,
    status,
    reports_to,
    capabilities,
    adapter_type,
    adapter_config,
    runtime_config,
    default_environment_id,
    budget_monthly_cents,
    pause_reason,
    paused_at,
    permissions,
    metadata,
    last_heartbeat_at,
    next_timer_at,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, name, url_key, role, title, icon, status, reports_to, capabilities, adapter_type, \
         adapter_config, runtime_config, default_environment_id, budget_monthly_cents, pause_reason, paused_at, \
         permissions, metadata, last_heartbeat_at, next_timer_at, created_at, updated_at"
    };
}

/// Adds an agent; returns false, and adds nothing, when another agent of the company has its short name.
pub async fn insert(tx: &mut Tx<'_>, agent: &Agent) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO agents (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14, $15, $16, $17, $18, $19, $20, $21, $22, $23) \
                 ON CONFLICT (company_id, url_key) WHERE status <> 'terminated' DO NOTHING"
            )),
            p![
                &agent.id,
                &agent.company_id,
                &agent.name,
                &agent.url_key,
                agent.role,
                &agent.title,
                &agent.icon,
                agent.status,
                &agent.reports_to,
                &agent.capabilities,
                &agent.adapter_type,
                &agent.adapter_config,
                &agent.runtime_config,
                &agent.default_environment_id,
                agent.budget_monthly_cents,
                agent.pause_reason,
                agent.paused_at,
                &agent.permissions,
                &agent.metadata,
                agent.last_heartbeat_at,
                agent.next_timer_at,
                agent.created_at,
                agent.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one agent.
pub async fn get(tx: &mut Tx<'_>, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM agents WHERE id = $1")), p![id]).await
}

/// Returns the agents of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[AgentId]) -> Result<Vec<Agent>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM agents WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns one agent and locks its row until the transaction ends: first in the order of locks (D15).
pub async fn lock(tx: &mut Tx<'_>, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM agents WHERE id = $1 /*+for_update*/")), p![id])
        .await
}

/// Returns the agents of a company that are not terminated, oldest first, after the given place.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: Option<(Moment, AgentId)>,
    limit: i64,
) -> Result<Vec<Agent>, StoreError> {
    let (at, id) = after.map_or((Moment::from_micros(i64::MIN), String::new()), |(at, id)| (at, id.0));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM agents WHERE company_id = $1 AND status <> 'terminated' \
             AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
        )),
        p![company, at, id, limit],
    )
    .await
}

/// Returns the first agents of a company that can be woken, the oldest first; of those without a manager, if asked.
pub async fn first_invokable(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    only_roots: bool,
    limit: i64,
) -> Result<Vec<Agent>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM agents WHERE company_id = $1 AND status IN ('active', 'idle', 'running', 'error') \
             AND (reports_to IS NULL OR NOT CAST($2 AS boolean)) ORDER BY created_at, id LIMIT $3"
        )),
        p![company, only_roots, limit],
    )
    .await
}

/// Returns the agents that a short name or a whole name stands for: none, one, or several with one name.
pub async fn named(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    name: &str,
    url_key: &str,
) -> Result<Vec<Agent>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM agents WHERE company_id = $1 AND status <> 'terminated' \
             AND (url_key = $2 OR name = $3) ORDER BY created_at, id LIMIT 3"
        )),
        p![company, url_key, name],
    )
    .await
}

/// Whether another agent of the company has the short name.
pub async fn is_taken(tx: &mut Tx<'_>, agent: &Agent) -> Result<bool, StoreError> {
    let other = tx
        .one(
            sql!(
                "SELECT 1 FROM agents WHERE company_id = $1 AND url_key = $2 AND id <> $3 AND status <> 'terminated' \
                 LIMIT 1"
            ),
            p![&agent.company_id, &agent.url_key, &agent.id],
        )
        .await?;
    Ok(other.is_some())
}

/// Writes everything that a patch may change; returns false when the short name is taken by another agent.
pub async fn update(tx: &mut Tx<'_>, agent: &Agent) -> Result<bool, StoreError> {
    if is_taken(tx, agent).await? {
        return Ok(false);
    }
    tx.run(
        sql!(
            "UPDATE agents SET name = $2, url_key = $3, role = $4, title = $5, icon = $6, status = $7, reports_to = $8, \
             capabilities = $9, adapter_type = $10, adapter_config = $11, runtime_config = $12, \
             budget_monthly_cents = $13, pause_reason = $14, paused_at = $15, permissions = $16, metadata = $17, \
             next_timer_at = $18, updated_at = $19, default_environment_id = $20 WHERE id = $1"
        ),
        p![
            &agent.id, &agent.name, &agent.url_key, agent.role, &agent.title, &agent.icon, agent.status,
            &agent.reports_to, &agent.capabilities, &agent.adapter_type, &agent.adapter_config, &agent.runtime_config,
            agent.budget_monthly_cents, agent.pause_reason, agent.paused_at, &agent.permissions, &agent.metadata,
            agent.next_timer_at, agent.updated_at, &agent.default_environment_id
        ],
    )
    .await?;
    Ok(true)
}

/// Marks the agent as working, unless somebody has paused or terminated it meanwhile.
pub async fn mark_running(tx: &mut Tx<'_>, id: &AgentId, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE agents SET status = 'running', updated_at = $2 \
                 WHERE id = $1 AND status IN ('active', 'idle', 'error')"
            ),
            p![id, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Notes the end of a run on its agent: the last heartbeat, and the status unless it is paused or terminated.
pub async fn mark_rested(
    tx: &mut Tx<'_>,
    id: &AgentId,
    status: AgentStatus,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE agents SET last_heartbeat_at = $3, updated_at = $3, \
             status = CASE WHEN status IN ('paused', 'terminated', 'pending_approval') THEN status ELSE $2 END \
             WHERE id = $1"
        ),
        p![id, status, now],
    )
    .await
}

/// A timer that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct DueTimer {
    pub agent_id: AgentId,
    pub company_id: CompanyId,
    pub due_at: Moment,
    pub adapter_type: String,
    pub runtime_config: Json,
}
from_row!(DueTimer { agent_id, company_id, due_at, adapter_type, runtime_config });

/// Returns timers due at `now`, the longest due first. Idle agents are not looked at: the index holds only due times.
pub async fn due_timers(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<DueTimer>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, company_id, next_timer_at, adapter_type, runtime_config FROM agents \
             WHERE next_timer_at IS NOT NULL AND next_timer_at <= $1 ORDER BY next_timer_at, id LIMIT $2"
        ),
        p![now, limit],
    )
    .await
}

/// Returns when the next timer is due.
pub async fn next_timer(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!("SELECT next_timer_at FROM agents WHERE next_timer_at IS NOT NULL ORDER BY next_timer_at, id LIMIT 1"),
            p![],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Moves a timer on, only if it still is where we saw it: of two servers that see one due timer, one fires it.
pub async fn advance_timer(
    tx: &mut Tx<'_>,
    id: &AgentId,
    seen: Moment,
    next: Option<Moment>,
) -> Result<bool, StoreError> {
    let moved = tx
        .exec(
            sql!("UPDATE agents SET next_timer_at = $3 WHERE id = $1 AND next_timer_at = $2"),
            p![id, seen, next],
        )
        .await?;
    Ok(moved == 1)
}

/// Counts agents by status, for metrics.
pub async fn count_by_status(tx: &mut Tx<'_>) -> Result<Vec<(AgentStatus, i64)>, StoreError> {
    let rows =
        tx.rows(sql!("SELECT status, COUNT(*) FROM agents GROUP BY status ORDER BY status"), p![]).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}
