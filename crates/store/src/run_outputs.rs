//! What came out of runs, as git saw it: commits, files, and the difference between how they found their folder and how
//! they left it. Written once per end of a run, and again with the same when that end is settled again.

use domain::ids::{CompanyId, IssueId, RunId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// The outputs of a run; the patch is read by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutputs {
    pub run_id: RunId,
    pub company_id: CompanyId,
    pub workspace_id: String,
    pub issue_id: Option<IssueId>,
    pub branch: Option<String>,
    pub base_commit: Option<String>,
    pub head_commit: Option<String>,
    /// `{sha, author, at, subject}`, newest first, and how many there are in all.
    pub commits: Json,
    pub commit_count: i64,
    /// `{path, status, insertions, deletions}`, and how many there are in all.
    pub files: Json,
    pub file_count: i64,
    pub insertions: i64,
    pub deletions: i64,
    /// Paths with changes that no commit holds.
    pub uncommitted: Json,
    pub uncommitted_count: i64,
    pub is_exclusive: bool,
    pub patch_truncated: bool,
    /// Why there is less than there should be.
    pub error: Option<String>,
    pub captured_at: Moment,
}
from_row!(RunOutputs {
    run_id,
    company_id,
    workspace_id,
    issue_id,
    branch,
    base_commit,
    head_commit,
    commits,
    commit_count,
    files,
    file_count,
    insertions,
    deletions,
    uncommitted,
    uncommitted_count,
    is_exclusive,
    patch_truncated,
    error,
    captured_at
});

macro_rules! columns {
    () => {
        "run_id, company_id, workspace_id, issue_id, branch, base_commit, head_commit, commits, commit_count, files, \
         file_count, insertions, deletions, uncommitted, uncommitted_count, is_exclusive, patch_truncated, error, \
         captured_at"
    };
}

/// Writes the outputs of a run in place of what was written for it before.
pub async fn save(tx: &mut Tx<'_>, row: &RunOutputs, patch: Option<&str>) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO run_outputs (",
            columns!(),
            ", patch) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
             $20) ON CONFLICT (run_id) DO UPDATE SET workspace_id = excluded.workspace_id, branch = excluded.branch, \
             base_commit = excluded.base_commit, head_commit = excluded.head_commit, commits = excluded.commits, \
             commit_count = excluded.commit_count, files = excluded.files, file_count = excluded.file_count, \
             insertions = excluded.insertions, deletions = excluded.deletions, uncommitted = excluded.uncommitted, \
             uncommitted_count = excluded.uncommitted_count, is_exclusive = excluded.is_exclusive, \
             patch_truncated = excluded.patch_truncated, error = excluded.error, \
             captured_at = excluded.captured_at, patch = excluded.patch"
        )),
        p![&row.run_id, &row.company_id, &row.workspace_id, &row.issue_id, &row.branch, &row.base_commit, &row.head_commit, &row.commits, row.commit_count, &row.files, row.file_count, row.insertions, row.deletions, &row.uncommitted, row.uncommitted_count, row.is_exclusive, row.patch_truncated, &row.error, row.captured_at, patch],
    )
    .await?;
    tx.run(
        sql!(
            "UPDATE execution_workspaces SET last_used_at = $2, updated_at = $2 WHERE id = $1 AND closed_at IS NULL"
        ),
        p![&row.workspace_id, row.captured_at],
    )
    .await
}

/// Returns the outputs of a run.
pub async fn get(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<RunOutputs>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM run_outputs WHERE run_id = $1")), p![run]).await
}

/// Returns the patch of a run, and whether something of it was left out.
pub async fn patch(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<(String, bool)>, StoreError> {
    tx.one_as(sql!("SELECT COALESCE(patch, ''), patch_truncated FROM run_outputs WHERE run_id = $1"), p![run])
        .await
}
