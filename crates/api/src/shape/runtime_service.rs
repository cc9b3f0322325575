//! Services beside a workspace, on the wire.

use domain::moment::Moment;
use engine::Acted;
use serde::Serialize;
use serde_json::Value;
use store::execution_workspaces::ExecutionWorkspace as Place;
use store::runtime_services::RuntimeService as Row;
use utoipa::ToSchema;

use super::execution_workspace::{ExecutionWorkspace, WorkspaceOperation};
use super::project::ProjectWorkspace;

/// A service that is kept running beside a workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuntimeService {
    id: String,
    company_id: String,
    project_id: Option<String>,
    project_workspace_id: Option<String>,
    execution_workspace_id: Option<String>,
    issue_id: Option<String>,
    /// `project_workspace` or `execution_workspace`.
    scope_type: &'static str,
    scope_id: Option<String>,
    service_name: String,
    /// `starting`, `running`, `stopped` or `failed`.
    status: &'static str,
    /// `shared` or `ephemeral`.
    lifecycle: &'static str,
    reuse_key: Option<String>,
    command: Option<String>,
    cwd: Option<String>,
    port: Option<i64>,
    url: Option<String>,
    provider: String,
    provider_ref: Option<String>,
    owner_agent_id: Option<String>,
    started_by_run_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    #[schema(value_type = Option<String>)]
    stopped_at: Option<Moment>,
    #[schema(value_type = Option<Object>)]
    stop_policy: Option<Value>,
    /// `unknown`, `healthy` or `unhealthy`.
    health_status: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// Somebody asked to stop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    stop_asked_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for RuntimeService {
    fn from(row: Row) -> RuntimeService {
        RuntimeService {
            id: row.id,
            company_id: row.company_id.0,
            project_id: row.project_id,
            project_workspace_id: row.project_workspace_id,
            execution_workspace_id: row.execution_workspace_id,
            issue_id: row.issue_id,
            scope_type: row.scope_type.as_str(),
            scope_id: row.scope_id,
            service_name: row.service_name,
            status: row.status.as_str(),
            lifecycle: row.lifecycle.as_str(),
            reuse_key: row.reuse_key,
            command: row.command,
            cwd: row.cwd,
            port: row.port,
            url: row.url,
            provider: row.provider,
            provider_ref: row.provider_ref,
            owner_agent_id: row.owner_agent_id.map(|id| id.0),
            started_by_run_id: row.started_by_run_id.map(|id| id.0),
            last_used_at: row.last_used_at,
            started_at: row.started_at,
            stopped_at: row.stopped_at,
            stop_policy: row.stop_policy,
            health_status: row.health_status.as_str(),
            failure: row.failure,
            stop_asked_at: row.stop_asked_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A workspace of a project, with its services.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServedWorkspace {
    #[serde(flatten)]
    workspace: ProjectWorkspace,
    /// The newest first.
    runtime_services: Vec<RuntimeService>,
}

/// What was done beside a project's workspace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServicesOfWorkspace {
    workspace: ServedWorkspace,
    /// Services start and stop in the background: their rows say how that goes. A job that goes on is `running`.
    operation: WorkspaceOperation,
}

impl ServicesOfWorkspace {
    pub(crate) fn new(workspace: ProjectWorkspace, acted: Acted) -> ServicesOfWorkspace {
        let runtime_services = acted.services.into_iter().map(RuntimeService::from).collect();
        let workspace = ServedWorkspace { workspace, runtime_services };
        ServicesOfWorkspace { workspace, operation: acted.operation.into() }
    }
}

/// The same of an execution workspace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServicesOfExecutionWorkspace {
    workspace: ExecutionWorkspace,
    operation: WorkspaceOperation,
}

impl ServicesOfExecutionWorkspace {
    pub(crate) fn new(workspace: Place, acted: Acted) -> ServicesOfExecutionWorkspace {
        let workspace = ExecutionWorkspace::with_services(workspace, acted.services);
        ServicesOfExecutionWorkspace { workspace, operation: acted.operation.into() }
    }
}
