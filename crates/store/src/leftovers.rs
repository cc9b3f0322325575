//! What companies that were deleted left on the disks of nodes.

use domain::ids::CompanyId;
use domain::moment::Moment;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A worktree of a company that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub workspace_id: String,
    pub company_id: CompanyId,
    pub folder: String,
    pub repo_dir: Option<String>,
    pub branch_name: Option<String>,
}
from_row!(Leftover { workspace_id, company_id, folder, repo_dir, branch_name });

/// Notes that a company goes, and what lies on disks of it, in the commit that removes it.
pub(crate) async fn note(tx: &mut Tx<'_>, company: &CompanyId, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO leftover_worktrees (workspace_id, company_id, node_id, folder, repo_dir, branch_name, look_at) \
             SELECT id, company_id, node_id, provider_ref, repo_dir, branch_name, CAST($2 AS bigint) FROM execution_workspaces \
             WHERE company_id = $1 AND closed_at IS NULL AND provider_type = 'git_worktree' \
             AND provider_ref IS NOT NULL ON CONFLICT DO NOTHING"
        ),
        p![company, now],
    )
    .await?;
    tx.run(
        sql!("INSERT INTO removed_companies (company_id, removed_at) VALUES ($1, $2) ON CONFLICT DO NOTHING"),
        p![company, now],
    )
    .await
}

/// Returns worktrees on a node that are to be looked at.
pub async fn due(tx: &mut Tx<'_>, node: &str, now: Moment, limit: i64) -> Result<Vec<Leftover>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT workspace_id, company_id, folder, repo_dir, branch_name FROM leftover_worktrees \
             WHERE node_id = $1 AND look_at <= $2 ORDER BY look_at, workspace_id LIMIT $3"
        ),
        p![node, now, limit],
    )
    .await
}

/// Has a worktree looked at again later: it could not be removed.
pub async fn put_off(tx: &mut Tx<'_>, workspace: &str, look_at: Moment) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE leftover_worktrees SET look_at = $2 WHERE workspace_id = $1"), p![workspace, look_at])
        .await
}

/// Forgets a worktree that is gone.
pub async fn remove(tx: &mut Tx<'_>, workspace: &str) -> Result<(), StoreError> {
    tx.run(sql!("DELETE FROM leftover_worktrees WHERE workspace_id = $1"), p![workspace]).await
}

/// Returns which of these companies were deleted.
pub async fn removed_of(tx: &mut Tx<'_>, companies: &[String]) -> Result<Vec<String>, StoreError> {
    let ids = companies.iter().map(Value::from).collect();
    let rows = tx
        .rows_in(
            sql_list!("SELECT company_id FROM removed_companies WHERE company_id IN ({list})"),
            p![],
            ids,
        )
        .await?;
    rows.iter().map(|row: &Row| row.get(0)).collect()
}

/// Returns when the run on a node began that has been running longest; `None`: none runs.
pub async fn oldest_running(tx: &mut Tx<'_>, node: &str) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT started_at FROM runs WHERE status = 'running' AND node_id = $1 AND started_at IS NOT NULL \
                 ORDER BY started_at LIMIT 1"
            ),
            p![node],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}
