//! Services that are kept running beside workspaces. Of a name in a scope, one is live at most.

use domain::environment::runtime_service::{Health, Lifecycle, ServiceScope, ServiceStatus};
use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A service as stored.
#[derive(Clone, PartialEq)]
pub struct RuntimeService {
    pub id: String,
    pub company_id: CompanyId,
    pub project_id: Option<String>,
    pub project_workspace_id: Option<String>,
    pub execution_workspace_id: Option<String>,
    pub issue_id: Option<String>,
    pub scope_type: ServiceScope,
    pub scope_id: Option<String>,
    pub service_name: String,
    pub status: ServiceStatus,
    pub lifecycle: Lifecycle,
    pub reuse_key: Option<String>,
    pub command: Option<String>,
    pub cwd: Option<String>,
    pub port: Option<i64>,
    pub url: Option<String>,
    pub provider: String,
    pub provider_ref: Option<String>,
    pub owner_agent_id: Option<AgentId>,
    pub started_by_run_id: Option<RunId>,
    pub last_used_at: Moment,
    pub started_at: Moment,
    pub stopped_at: Option<Moment>,
    pub stop_policy: Option<Json>,
    pub health_status: Health,
    /// What is executed; may hold secrets of its environment.
    pub plan: Json,
    pub node_id: String,
    pub epoch: i64,
    pub stop_asked_at: Option<Moment>,
    pub failure: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(RuntimeService {
    id,
    company_id,
    project_id,
    project_workspace_id,
    execution_workspace_id,
    issue_id,
    scope_type,
    scope_id,
    service_name,
    status,
    lifecycle,
    reuse_key,
    command,
    cwd,
    port,
    url,
    provider,
    provider_ref,
    owner_agent_id,
    started_by_run_id,
    last_used_at,
    started_at,
    stopped_at,
    stop_policy,
    health_status,
    plan,
    node_id,
    epoch,
    stop_asked_at,
    failure,
    created_at,
    updated_at
});

impl std::fmt::Debug for RuntimeService {
    /// Leaves out what is executed, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeService")
            .field("id", &self.id)
            .field("service_name", &self.service_name)
            .field("status", &self.status)
            .field("health_status", &self.health_status)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

macro_rules! columns {
    () => {
        "id, company_id, project_id, project_workspace_id, execution_workspace_id, issue_id, scope_type, scope_id, \
         service_name, status, lifecycle, reuse_key, command, cwd, port, url, provider, provider_ref, \
         owner_agent_id, started_by_run_id, last_used_at, started_at, stopped_at, stop_policy, health_status, plan, \
         node_id, epoch, stop_asked_at, failure, created_at, updated_at"
    };
}

/// Adds a service; returns false, and adds nothing, when its scope has a live one of its name.
pub async fn insert(tx: &mut Tx<'_>, service: &RuntimeService) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO workspace_runtime_services (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
                 $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32) ON CONFLICT DO NOTHING"
            )),
            p![
                &service.id,
                &service.company_id,
                &service.project_id,
                &service.project_workspace_id,
                &service.execution_workspace_id,
                &service.issue_id,
                service.scope_type,
                &service.scope_id,
                &service.service_name,
                service.status,
                service.lifecycle,
                &service.reuse_key,
                &service.command,
                &service.cwd,
                service.port,
                &service.url,
                &service.provider,
                &service.provider_ref,
                &service.owner_agent_id,
                &service.started_by_run_id,
                service.last_used_at,
                service.started_at,
                service.stopped_at,
                &service.stop_policy,
                service.health_status,
                &service.plan,
                &service.node_id,
                service.epoch,
                service.stop_asked_at,
                &service.failure,
                service.created_at,
                service.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one service.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<RuntimeService>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM workspace_runtime_services WHERE id = $1")), p![id])
        .await
}

/// Returns the services of a scope, newest first, at most `limit`.
pub async fn of_scope(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    scope: ServiceScope,
    scope_id: &str,
    limit: i64,
) -> Result<Vec<RuntimeService>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM workspace_runtime_services WHERE company_id = $1 AND scope_type = $2 AND scope_id = $3 \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![company, scope, scope_id, limit],
    )
    .await
}

/// Returns the services of a company, newest first, at most `limit`; only live ones where that is asked for.
pub async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    only_live: bool,
    limit: i64,
) -> Result<Vec<RuntimeService>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM workspace_runtime_services WHERE company_id = $1 \
             AND (CAST($2 AS bigint) = 0 OR status IN ('starting', 'running')) ORDER BY created_at DESC, id DESC LIMIT $3"
        )),
        p![company, i64::from(only_live), limit],
    )
    .await
}

/// Returns the live services of a node.
pub async fn live(tx: &mut Tx<'_>, node: &str, limit: i64) -> Result<Vec<RuntimeService>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM workspace_runtime_services WHERE node_id = $1 AND status IN ('starting', 'running') \
             ORDER BY id LIMIT $2"
        )),
        p![node, limit],
    )
    .await
}

/// Returns the live services and jobs that were started in an execution workspace.
pub async fn live_in(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    execution_workspace: &str,
    limit: i64,
) -> Result<Vec<RuntimeService>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM workspace_runtime_services WHERE company_id = $1 AND execution_workspace_id = $2 \
             AND status IN ('starting', 'running') ORDER BY created_at, id LIMIT $3"
        )),
        p![company, execution_workspace, limit],
    )
    .await
}

/// Moves a live service on, where it still is what it was when it was looked at; returns false when it is not.
pub async fn become_(
    tx: &mut Tx<'_>,
    service: &RuntimeService,
    status: ServiceStatus,
    health: Health,
    failure: Option<&str>,
    now: Moment,
) -> Result<bool, StoreError> {
    let stopped_at = (!status.is_live()).then_some(now);
    let changed = tx
        .exec(
            sql!(
                "UPDATE workspace_runtime_services SET status = $2, health_status = $3, failure = $4, stopped_at = $5, \
                 updated_at = $6 WHERE id = $1 AND status = $7 AND health_status = $8"
            ),
            p![
                &service.id,
                status,
                health,
                failure.map(str::to_owned),
                stopped_at,
                now,
                service.status,
                service.health_status
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Asks to stop a live service; returns false when it is not live. Asking again changes nothing.
pub async fn ask_to_stop(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE workspace_runtime_services SET stop_asked_at = COALESCE(stop_asked_at, $2), updated_at = $2 \
                 WHERE id = $1 AND status IN ('starting', 'running')"
            ),
            p![id, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns who works on open issues of a project's workspace, or of an execution workspace.
pub async fn assignees(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    project_workspace: Option<String>,
    execution_workspace: Option<String>,
) -> Result<Vec<AgentId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT DISTINCT assignee_agent_id FROM issues WHERE company_id = $1 AND assignee_agent_id IS NOT NULL \
                 AND status NOT IN ('done', 'cancelled') AND hidden_at IS NULL \
                 AND (CAST($2 AS text) IS NULL OR project_workspace_id = $2) \
                 AND (CAST($3 AS text) IS NULL OR execution_workspace_id = $3) LIMIT 500"
            ),
            p![company, project_workspace, execution_workspace],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Notes that a live service is used.
pub async fn use_(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE workspace_runtime_services SET last_used_at = $2, updated_at = $2 \
             WHERE id = $1 AND status IN ('starting', 'running')"
        ),
        p![id, now],
    )
    .await
}

/// Returns services that ended before a moment, with the node whose folders they have.
pub async fn ended_before(
    tx: &mut Tx<'_>,
    node: &str,
    before: Moment,
    limit: i64,
) -> Result<Vec<String>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM workspace_runtime_services WHERE node_id = $1 AND stopped_at < $2 ORDER BY id LIMIT $3"
            ),
            p![node, before, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Removes a service that is over.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    tx.run(
        sql!("DELETE FROM workspace_runtime_services WHERE id = $1 AND status IN ('stopped', 'failed')"),
        p![id],
    )
    .await
}
