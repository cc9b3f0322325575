//! Execution workspaces, and which run works in which.
//!
//! A lease is live while its run is running and has no end of its own. Whoever takes or closes a workspace locks its row
//! first; one that is being closed is taken by nobody.

use domain::ids::{CompanyId, IssueId, RunId};
use domain::moment::Moment;
use domain::workspace::Status;
use serde_json::Value as Json;

use crate::leases::Lease;
use crate::{Row, StoreError, Tx, from_row, p, sql};

/// An execution workspace as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionWorkspace {
    pub id: String,
    pub company_id: CompanyId,
    pub project_id: String,
    pub project_workspace_id: Option<String>,
    pub source_issue_id: Option<IssueId>,
    pub mode: String,
    pub strategy_type: String,
    pub name: String,
    pub status: String,
    pub cwd: Option<String>,
    pub repo_url: Option<String>,
    pub base_ref: Option<String>,
    pub branch_name: Option<String>,
    pub provider_type: String,
    pub provider_ref: Option<String>,
    pub derived_from: Option<String>,
    pub last_used_at: Moment,
    pub opened_at: Moment,
    pub closed_at: Option<Moment>,
    pub cleanup_eligible_at: Option<Moment>,
    pub cleanup_reason: Option<String>,
    pub metadata: Option<Json>,
    pub node_id: String,
    pub scope_key: String,
    pub repo_dir: Option<String>,
    pub base_commit: Option<String>,
    pub closing_at: Option<Moment>,
    pub look_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(ExecutionWorkspace {
    id,
    company_id,
    project_id,
    project_workspace_id,
    source_issue_id,
    mode,
    strategy_type,
    name,
    status,
    cwd,
    repo_url,
    base_ref,
    branch_name,
    provider_type,
    provider_ref,
    derived_from,
    last_used_at,
    opened_at,
    closed_at,
    cleanup_eligible_at,
    cleanup_reason,
    metadata,
    node_id,
    scope_key,
    repo_dir,
    base_commit,
    closing_at,
    look_at,
    created_at,
    updated_at
});

impl ExecutionWorkspace {
    /// A worktree that the server made, and may remove.
    pub fn is_worktree(&self) -> bool {
        self.provider_type == "git_worktree"
    }

    /// It is used no more.
    pub fn is_closed(&self) -> bool {
        self.closed_at.is_some() || self.status == Status::Archived.as_str()
    }
}

macro_rules! columns {
    () => {
        "id, company_id, project_id, project_workspace_id, source_issue_id, mode, strategy_type, name, status, cwd, \
         repo_url, base_ref, branch_name, provider_type, provider_ref, derived_from_execution_workspace_id, \
         last_used_at, opened_at, closed_at, cleanup_eligible_at, cleanup_reason, metadata, node_id, scope_key, \
         repo_dir, base_commit, closing_at, look_at, created_at, updated_at"
    };
}

/// Adds a workspace; false when an open one has its branch in the same repository.
pub async fn insert(tx: &mut Tx<'_>, row: &ExecutionWorkspace) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO execution_workspaces (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
                 $21, $22, $23, $24, $25, $26, $27, $28, $29, $30) ON CONFLICT DO NOTHING"
            )),
            p![&row.id, &row.company_id, &row.project_id, &row.project_workspace_id, &row.source_issue_id, &row.mode, &row.strategy_type, &row.name, &row.status, &row.cwd, &row.repo_url, &row.base_ref, &row.branch_name, &row.provider_type, &row.provider_ref, &row.derived_from, row.last_used_at, row.opened_at, row.closed_at, row.cleanup_eligible_at, &row.cleanup_reason, &row.metadata, &row.node_id, &row.scope_key, &row.repo_dir, &row.base_commit, row.closing_at, row.look_at, row.created_at, row.updated_at],
        )
        .await?;
    Ok(added == 1)
}

/// Whether an open workspace has this branch of the repository.
pub async fn has_branch(
    tx: &mut Tx<'_>,
    node: &str,
    repo_dir: &str,
    branch: &str,
) -> Result<bool, StoreError> {
    let found = tx
        .one(
            sql!(
                "SELECT 1 FROM execution_workspaces WHERE node_id = $1 AND repo_dir = $2 AND branch_name = $3 \
                 AND closed_at IS NULL LIMIT 1"
            ),
            p![node, repo_dir, branch],
        )
        .await?;
    Ok(found.is_some())
}

/// Writes where the work of a workspace is now: after it was made, taken again, or moved to another branch.
pub async fn update_place(tx: &mut Tx<'_>, row: &ExecutionWorkspace) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE execution_workspaces SET name = $2, status = $3, cwd = $4, repo_url = $5, base_ref = $6, \
             branch_name = $7, provider_ref = $8, last_used_at = $9, metadata = $10, base_commit = $11, \
             updated_at = $12, source_issue_id = $13 WHERE id = $1 AND closed_at IS NULL"
        ),
        p![
            &row.id,
            &row.name,
            &row.status,
            &row.cwd,
            &row.repo_url,
            &row.base_ref,
            &row.branch_name,
            &row.provider_ref,
            row.last_used_at,
            &row.metadata,
            &row.base_commit,
            row.updated_at,
            &row.source_issue_id
        ],
    )
    .await
}

/// Writes what people may change.
pub async fn update_record(tx: &mut Tx<'_>, row: &ExecutionWorkspace) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE execution_workspaces SET name = $2, status = $3, base_ref = $4, cleanup_eligible_at = $5, \
             cleanup_reason = $6, metadata = $7, look_at = $8, updated_at = $9 WHERE id = $1"
        ),
        p![&row.id, &row.name, &row.status, &row.base_ref, row.cleanup_eligible_at, &row.cleanup_reason, &row.metadata, row.look_at, row.updated_at],
    )
    .await
}

/// Returns one workspace.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<ExecutionWorkspace>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM execution_workspaces WHERE id = $1")), p![id]).await
}

/// Returns one workspace, locked until the transaction ends.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<ExecutionWorkspace>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM execution_workspaces WHERE id = $1 /*+for_update*/")),
        p![id],
    )
    .await
}

/// Returns the open workspaces of a scope, oldest first.
pub async fn of_scope(
    tx: &mut Tx<'_>,
    node: &str,
    scope: &str,
    limit: i64,
) -> Result<Vec<ExecutionWorkspace>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM execution_workspaces WHERE scope_key = $1 AND node_id = $2 AND closed_at IS NULL \
             AND closing_at IS NULL ORDER BY opened_at, id LIMIT $3"
        )),
        p![scope, node, limit],
    )
    .await
}

/// Returns the open workspaces of a company by id, after `after`, each locked.
pub async fn open_of(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: &str,
    limit: i64,
) -> Result<Vec<ExecutionWorkspace>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM execution_workspaces WHERE company_id = $1 AND id > $2 AND closed_at IS NULL \
             ORDER BY id LIMIT $3 /*+for_update*/"
        )),
        p![company, after, limit],
    )
    .await
}

/// What a list of workspaces is to hold; `None` is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub project_id: Option<String>,
    pub project_workspace_id: Option<String>,
    pub issue_id: Option<String>,
    pub status: Option<String>,
    /// Only those that a run could take again.
    pub reusable: bool,
}

/// Lists the workspaces of a company, last used first.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<ExecutionWorkspace>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM execution_workspaces WHERE company_id = $1 \
             AND (CAST($2 AS text) IS NULL OR project_id = $2) \
             AND (CAST($3 AS text) IS NULL OR project_workspace_id = $3) \
             AND (CAST($4 AS text) IS NULL OR source_issue_id = $4 OR id IN \
             (SELECT execution_workspace_id FROM issues WHERE id = $4)) \
             AND (CAST($5 AS text) IS NULL OR status = $5) \
             AND (NOT $6 OR (closed_at IS NULL AND closing_at IS NULL AND status IN ('active', 'idle', 'in_review'))) \
             ORDER BY last_used_at DESC, id DESC LIMIT $7"
        )),
        p![company, &filter.project_id, &filter.project_workspace_id, &filter.issue_id, &filter.status, filter.reusable, limit],
    )
    .await
}

/// The right of a run to work in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceLease {
    pub run_id: RunId,
    pub workspace_id: String,
    pub start_commit: Option<String>,
    pub start_tree: Option<String>,
    pub leased_at: Moment,
}
from_row!(WorkspaceLease { run_id, workspace_id, start_commit, start_tree, leased_at });

/// Gives a workspace to a run; where it began is kept when it takes the same one again.
pub async fn take(tx: &mut Tx<'_>, run: &RunId, workspace: &str, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO workspace_leases (run_id, workspace_id, leased_at) VALUES ($1, $2, $3) \
             ON CONFLICT (run_id) DO UPDATE SET \
             start_commit = CASE WHEN workspace_leases.workspace_id = excluded.workspace_id \
             THEN workspace_leases.start_commit ELSE NULL END, \
             start_tree = CASE WHEN workspace_leases.workspace_id = excluded.workspace_id \
             THEN workspace_leases.start_tree ELSE NULL END, \
             workspace_id = excluded.workspace_id"
        ),
        p![run, workspace, now],
    )
    .await
}

/// Notes where a run began; what was noted before stays.
pub async fn begin_at(
    tx: &mut Tx<'_>,
    run: &RunId,
    commit: Option<&str>,
    tree: Option<&str>,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE workspace_leases SET start_commit = $2, start_tree = $3 \
             WHERE run_id = $1 AND start_commit IS NULL"
        ),
        p![run, commit, tree],
    )
    .await
}

/// Returns where a run works or worked.
pub async fn lease_of(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<WorkspaceLease>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT run_id, workspace_id, start_commit, start_tree, leased_at FROM workspace_leases WHERE run_id = $1"
        ),
        p![run],
    )
    .await
}

/// Returns the running runs that work in a workspace.
pub async fn tenants(tx: &mut Tx<'_>, workspace: &str) -> Result<Vec<RunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT tenant.run_id FROM workspace_leases tenant JOIN runs ON runs.id = tenant.run_id \
                 WHERE tenant.workspace_id = $1 AND runs.status = 'running' ORDER BY tenant.run_id"
            ),
            p![workspace],
        )
        .await?;
    rows.iter().map(|row: &Row| row.get(0)).collect()
}

/// Says that a workspace is being closed; false when it was closed meanwhile. Its row is locked.
pub async fn begin_closing(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE execution_workspaces SET closing_at = $2, updated_at = $2 WHERE id = $1 AND closed_at IS NULL"
            ),
            p![id, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Gives up closing: runs may take the workspace again, and the sweep comes back at `look_at`.
pub async fn stop_closing(
    tx: &mut Tx<'_>,
    id: &str,
    status: Status,
    reason: &str,
    look_at: Moment,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE execution_workspaces SET closing_at = NULL, status = $2, cleanup_reason = $3, look_at = $4, \
             updated_at = $5 WHERE id = $1 AND closed_at IS NULL"
        ),
        p![id, status, reason, look_at, now],
    )
    .await
}

/// Removes a workspace that was never made, with the lease on it.
pub async fn discard(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    tx.run(sql!("DELETE FROM workspace_leases WHERE workspace_id = $1"), p![id]).await?;
    tx.run(sql!("DELETE FROM execution_workspaces WHERE id = $1 AND base_commit IS NULL"), p![id]).await
}

/// Unties the issues of a workspace that is to be archived: their work goes on in another one. Issues are locked before
/// workspaces.
pub async fn untie(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE issues SET execution_workspace_id = NULL, execution_workspace_preference = NULL \
             WHERE execution_workspace_id = $1"
        ),
        p![id],
    )
    .await
}

/// Archives a workspace.
pub async fn archive(
    tx: &mut Tx<'_>,
    id: &str,
    reason: Option<&str>,
    metadata: Option<&Json>,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE execution_workspaces SET status = 'archived', closed_at = $2, closing_at = NULL, \
                 cleanup_reason = COALESCE($3, cleanup_reason), metadata = $4, updated_at = $2 \
                 WHERE id = $1 AND closed_at IS NULL"
            ),
            p![id, now, reason, metadata],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns worktrees of a node that may be closed by themselves, by id, after `after`: nobody has used them since
/// `before` and their issue is over or gone, or somebody said that they may go, or it was begun.
pub async fn to_close(
    tx: &mut Tx<'_>,
    node: &str,
    before: Moment,
    now: Moment,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT place.id FROM execution_workspaces place \
                 LEFT JOIN issues ON issues.id = place.source_issue_id \
                 WHERE place.node_id = $1 AND place.closed_at IS NULL AND place.id > $2 \
                 AND place.provider_type = 'git_worktree' \
                 AND (place.look_at IS NULL OR place.look_at <= $4) \
                 AND (place.closing_at IS NOT NULL OR place.cleanup_eligible_at <= $4 \
                 OR (place.last_used_at < $3 AND (issues.id IS NULL OR issues.status IN ('done', 'cancelled')))) \
                 ORDER BY place.id LIMIT $5"
            ),
            p![node, after, before, now, limit],
        )
        .await?;
    rows.iter().map(|row: &Row| row.get(0)).collect()
}

/// An issue that names a workspace, or that it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedIssue {
    pub id: String,
    pub identifier: String,
    pub title: String,
    pub status: String,
}
from_row!(LinkedIssue { id, identifier, title, status });

/// Returns the issues of a workspace.
pub async fn linked_issues(
    tx: &mut Tx<'_>,
    workspace: &ExecutionWorkspace,
    limit: i64,
) -> Result<Vec<LinkedIssue>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, identifier, title, status FROM issues WHERE company_id = $3 \
             AND (execution_workspace_id = $1 OR id = $2) ORDER BY issue_number LIMIT $4"
        ),
        p![&workspace.id, &workspace.source_issue_id, &workspace.company_id, limit],
    )
    .await
}

/// Makes a workspace the one that an issue is worked on in. The issue is locked.
pub async fn link_issue(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    workspace: &str,
    project_workspace: Option<&str>,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE issues SET execution_workspace_id = $2, execution_workspace_preference = 'reuse_existing', \
             project_workspace_id = COALESCE(project_workspace_id, $3) WHERE id = $1"
        ),
        p![issue, workspace, project_workspace],
    )
    .await
}

/// Writes the context of a running run; false when the lease is not ours any more.
pub async fn set_context(tx: &mut Tx<'_>, lease: &Lease, context: &Json) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET context = $4 WHERE id = $1 AND lease_epoch = $2 AND lease_holder = $3 \
                 AND status = 'running'"
            ),
            p![&lease.run, lease.epoch, lease.holder, context],
        )
        .await?;
    Ok(changed == 1)
}
