//! What was done to workspaces: git operations that change something, and commands of the host, with their output.

use domain::ids::{CompanyId, RunId};
use domain::moment::Moment;
use domain::workspace::OperationStatus;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// An operation as stored; its log is read by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspaceOperation {
    pub id: String,
    pub company_id: CompanyId,
    pub execution_workspace_id: Option<String>,
    pub run_id: Option<RunId>,
    pub phase: String,
    pub command: Option<String>,
    pub cwd: Option<String>,
    pub status: String,
    pub exit_code: Option<i64>,
    pub log_bytes: Option<i64>,
    pub stdout_excerpt: Option<String>,
    pub stderr_excerpt: Option<String>,
    pub metadata: Option<Json>,
    pub started_at: Moment,
    pub finished_at: Option<Moment>,
}
from_row!(WorkspaceOperation {
    id,
    company_id,
    execution_workspace_id,
    run_id,
    phase,
    command,
    cwd,
    status,
    exit_code,
    log_bytes,
    stdout_excerpt,
    stderr_excerpt,
    metadata,
    started_at,
    finished_at
});

macro_rules! columns {
    () => {
        "id, company_id, execution_workspace_id, run_id, phase, command, cwd, status, exit_code, \
         log_bytes, stdout_excerpt, stderr_excerpt, metadata, started_at, finished_at"
    };
}

/// Adds an operation that begins.
pub async fn begin(tx: &mut Tx<'_>, row: &WorkspaceOperation) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO workspace_operations (id, company_id, execution_workspace_id, run_id, phase, command, cwd, \
             status, metadata, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        ),
        p![&row.id, &row.company_id, &row.execution_workspace_id, &row.run_id, &row.phase, &row.command, &row.cwd, &row.status, &row.metadata, row.started_at],
    )
    .await
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub status: OperationStatus,
    pub exit_code: Option<i64>,
    pub log: String,
    pub stdout_excerpt: Option<String>,
    pub stderr_excerpt: Option<String>,
}

/// Writes how an operation ended.
pub async fn finish(tx: &mut Tx<'_>, id: &str, end: &End, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE workspace_operations SET status = $2, exit_code = $3, log = $4, stdout_excerpt = $5, \
             stderr_excerpt = $6, finished_at = $7, log_bytes = $8 WHERE id = $1 AND status = 'running'"
        ),
        p![
            id,
            end.status,
            end.exit_code,
            &end.log,
            &end.stdout_excerpt,
            &end.stderr_excerpt,
            now,
            i64::try_from(end.log.len()).unwrap_or(i64::MAX)
        ],
    )
    .await
}

/// Returns the operations on a workspace, oldest first.
pub async fn of_workspace(
    tx: &mut Tx<'_>,
    workspace: &str,
    limit: i64,
) -> Result<Vec<WorkspaceOperation>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM workspace_operations WHERE execution_workspace_id = $1 ORDER BY started_at, id LIMIT $2"
        )),
        p![workspace, limit],
    )
    .await
}

/// Returns the operations of a run, oldest first.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId, limit: i64) -> Result<Vec<WorkspaceOperation>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM workspace_operations WHERE run_id = $1 ORDER BY started_at, id LIMIT $2"
        )),
        p![run, limit],
    )
    .await
}

/// Returns one operation.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<WorkspaceOperation>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM workspace_operations WHERE id = $1")), p![id]).await
}

/// Returns what an operation printed; `None` while it has not ended.
pub async fn log(tx: &mut Tx<'_>, id: &str) -> Result<Option<String>, StoreError> {
    let row = tx
        .one(sql!("SELECT log FROM workspace_operations WHERE id = $1 AND log IS NOT NULL"), p![id])
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Ends operations that a server left behind when it died: nobody will ever say how they went. Jobs outlive their
/// server, and are left to whoever looks after them.
pub async fn give_up(tx: &mut Tx<'_>, workspace: &str, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE workspace_operations SET status = 'failed', finished_at = $2, \
             stderr_excerpt = 'the server stopped meanwhile' \
             WHERE execution_workspace_id = $1 AND status = 'running' AND NOT EXISTS \
             (SELECT 1 FROM workspace_runtime_services job WHERE job.execution_workspace_id = $1 \
             AND job.provider_ref = workspace_operations.id AND job.status IN ('starting', 'running'))"
        ),
        p![workspace, now],
    )
    .await
}
