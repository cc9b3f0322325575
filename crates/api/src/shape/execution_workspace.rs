//! Execution workspaces, what was done to them, and what came out of runs, on the wire.

use domain::moment::Moment;
use domain::workspace::closing::{Action, GitFacts, LinkedIssue, State};
use engine::ClosingReport;
use serde::Serialize;
use serde_json::Value;
use store::execution_workspaces::ExecutionWorkspace as Row;
use store::run_outputs::RunOutputs as Outputs;
use store::runtime_services::RuntimeService as Service;
use store::workspace_operations::WorkspaceOperation as Operation;
use utoipa::ToSchema;

use super::runtime_service::RuntimeService;

/// The folder that runs of a task work in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExecutionWorkspace {
    id: String,
    company_id: String,
    project_id: String,
    project_workspace_id: Option<String>,
    source_issue_id: Option<String>,
    /// `shared_workspace`, `isolated_workspace`, `operator_branch`, `adapter_managed` or `cloud_sandbox`.
    mode: String,
    /// `project_primary`, `git_worktree`, `adapter_managed` or `cloud_sandbox`.
    strategy_type: String,
    name: String,
    /// `active`, `idle`, `in_review`, `archived` or `cleanup_failed`.
    status: String,
    cwd: Option<String>,
    repo_url: Option<String>,
    base_ref: Option<String>,
    branch_name: Option<String>,
    provider_type: String,
    /// The folder of the worktree.
    provider_ref: Option<String>,
    derived_from_execution_workspace_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Moment,
    #[schema(value_type = Option<String>)]
    closed_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    cleanup_eligible_at: Option<Moment>,
    cleanup_reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// The newest first; only of one that is asked for by itself.
    runtime_services: Vec<RuntimeService>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl ExecutionWorkspace {
    pub(crate) fn with_services(row: Row, services: Vec<Service>) -> ExecutionWorkspace {
        let runtime_services = services.into_iter().map(RuntimeService::from).collect();
        ExecutionWorkspace { runtime_services, ..ExecutionWorkspace::from(row) }
    }
}

impl From<Row> for ExecutionWorkspace {
    fn from(row: Row) -> ExecutionWorkspace {
        let config = row.metadata.as_ref().and_then(|metadata| metadata.get("config")).cloned();
        ExecutionWorkspace {
            id: row.id,
            company_id: row.company_id.0,
            project_id: row.project_id,
            project_workspace_id: row.project_workspace_id,
            source_issue_id: row.source_issue_id.map(|id| id.0),
            mode: row.mode,
            strategy_type: row.strategy_type,
            name: row.name,
            status: row.status,
            cwd: row.cwd,
            repo_url: row.repo_url,
            base_ref: row.base_ref,
            branch_name: row.branch_name,
            provider_type: row.provider_type,
            provider_ref: row.provider_ref,
            derived_from_execution_workspace_id: row.derived_from,
            last_used_at: row.last_used_at,
            opened_at: row.opened_at,
            closed_at: row.closed_at,
            cleanup_eligible_at: row.cleanup_eligible_at,
            cleanup_reason: row.cleanup_reason,
            // One in which nothing is set reads as none.
            config: config
                .filter(|it| it.as_object().is_some_and(|it| it.values().any(|value| !value.is_null()))),
            metadata: row.metadata,
            runtime_services: Vec::new(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The same, for choosing one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkspaceSummary {
    id: String,
    name: String,
    mode: String,
    project_workspace_id: Option<String>,
}

impl From<Row> for WorkspaceSummary {
    fn from(row: Row) -> WorkspaceSummary {
        let Row { id, name, mode, project_workspace_id, .. } = row;
        WorkspaceSummary { id, name, mode, project_workspace_id }
    }
}

/// Whether a workspace may be closed, and what that does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CloseReadiness {
    workspace_id: String,
    /// `ready`, `ready_with_warnings` or `blocked`.
    #[schema(value_type = String)]
    state: State,
    blocking_reasons: Vec<String>,
    warnings: Vec<String>,
    #[schema(value_type = Vec<Object>)]
    linked_issues: Vec<LinkedIssue>,
    #[schema(value_type = Vec<Object>)]
    planned_actions: Vec<Action>,
    is_destructive_close_allowed: bool,
    is_shared_workspace: bool,
    is_project_primary_workspace: bool,
    #[schema(value_type = Option<Object>)]
    git: Option<GitFacts>,
    /// What runs beside it now, and ends when it is closed.
    runtime_services: Vec<RuntimeService>,
}

impl From<ClosingReport> for CloseReadiness {
    fn from(report: ClosingReport) -> CloseReadiness {
        let ClosingReport { workspace, services, view, readiness } = report;
        CloseReadiness {
            workspace_id: workspace.id,
            is_destructive_close_allowed: readiness.state != State::Blocked,
            state: readiness.state,
            blocking_reasons: readiness.blocking_reasons,
            warnings: readiness.warnings,
            linked_issues: view.issues,
            planned_actions: readiness.planned_actions,
            is_shared_workspace: view.is_shared,
            is_project_primary_workspace: view.is_project_primary,
            git: view.git,
            runtime_services: services.into_iter().map(RuntimeService::from).collect(),
        }
    }
}

/// Something that was done to a workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkspaceOperation {
    id: String,
    company_id: String,
    execution_workspace_id: Option<String>,
    heartbeat_run_id: Option<String>,
    /// `worktree_prepare`, `workspace_provision`, `workspace_teardown` or `worktree_cleanup`.
    phase: String,
    command: Option<String>,
    cwd: Option<String>,
    /// `running`, `succeeded`, `failed` or `skipped`.
    status: String,
    exit_code: Option<i64>,
    log_store: Option<&'static str>,
    log_ref: Option<String>,
    log_bytes: Option<i64>,
    log_sha256: Option<String>,
    log_compressed: bool,
    stdout_excerpt: Option<String>,
    stderr_excerpt: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Moment,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Operation> for WorkspaceOperation {
    fn from(row: Operation) -> WorkspaceOperation {
        WorkspaceOperation {
            log_store: row.log_bytes.map(|_| "store"),
            log_ref: row.log_bytes.map(|_| row.id.clone()),
            id: row.id,
            company_id: row.company_id.0,
            execution_workspace_id: row.execution_workspace_id,
            heartbeat_run_id: row.run_id.map(|id| id.0),
            phase: row.phase,
            command: row.command,
            cwd: row.cwd,
            status: row.status,
            exit_code: row.exit_code,
            log_bytes: row.log_bytes,
            log_sha256: None,
            log_compressed: false,
            stdout_excerpt: row.stdout_excerpt,
            stderr_excerpt: row.stderr_excerpt,
            metadata: row.metadata,
            started_at: row.started_at,
            finished_at: row.finished_at,
            created_at: row.started_at,
            updated_at: row.finished_at.unwrap_or(row.started_at),
        }
    }
}

/// A piece of what an operation printed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationLog {
    pub(crate) operation_id: String,
    pub(crate) content: String,
    /// Where the next piece begins.
    pub(crate) next_offset: usize,
}

/// What came out of a run, as git saw it when the run was over.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunOutputs {
    run_id: String,
    execution_workspace_id: String,
    issue_id: Option<String>,
    branch: Option<String>,
    /// Where the run began, and where it ended.
    base_commit: Option<String>,
    head_commit: Option<String>,
    /// `sha`, `author`, `at` and `subject`, the newest first, at most 500.
    #[schema(value_type = Vec<Object>)]
    commits: Value,
    commit_count: i64,
    /// `path`, `status`, `insertions` and `deletions`, at most 500; of a binary file no lines are counted.
    #[schema(value_type = Vec<Object>)]
    files: Value,
    file_count: i64,
    insertions: i64,
    deletions: i64,
    /// Paths with changes that no commit holds, at most 500.
    #[schema(value_type = Vec<String>)]
    uncommitted: Value,
    uncommitted_count: i64,
    /// Nobody else worked there: what is not committed is in `files` and in the diff as well.
    is_exclusive: bool,
    /// The diff is longer than what was kept of it.
    diff_truncated: bool,
    /// Why there is less here than there should be.
    error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    captured_at: Moment,
}

impl From<Outputs> for RunOutputs {
    fn from(row: Outputs) -> RunOutputs {
        RunOutputs {
            run_id: row.run_id.0,
            execution_workspace_id: row.workspace_id,
            issue_id: row.issue_id.map(|id| id.0),
            branch: row.branch,
            base_commit: row.base_commit,
            head_commit: row.head_commit,
            commits: row.commits,
            commit_count: row.commit_count,
            files: row.files,
            file_count: row.file_count,
            insertions: row.insertions,
            deletions: row.deletions,
            uncommitted: row.uncommitted,
            uncommitted_count: row.uncommitted_count,
            is_exclusive: row.is_exclusive,
            diff_truncated: row.patch_truncated,
            error: row.error,
            captured_at: row.captured_at,
        }
    }
}
