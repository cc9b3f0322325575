//! What came out of an issue: pull requests, branches, previews, documents. One of each kind may be the primary one.

use domain::ids::{CompanyId, IssueId, RunId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A work product as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkProduct {
    pub id: String,
    pub company_id: CompanyId,
    pub project_id: Option<String>,
    pub issue_id: IssueId,
    pub execution_workspace_id: Option<String>,
    pub runtime_service_id: Option<String>,
    /// `preview_url`, `runtime_service`, `pull_request`, `branch`, `commit`, `artifact` or `document`.
    pub kind: String,
    pub provider: String,
    pub external_id: Option<String>,
    pub title: String,
    pub url: Option<String>,
    pub status: String,
    pub review_state: String,
    pub is_primary: bool,
    pub health_status: String,
    pub summary: Option<String>,
    pub metadata: Option<Json>,
    pub created_by_run_id: Option<RunId>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(WorkProduct {
    id,
    company_id,
    project_id,
    issue_id,
    execution_workspace_id,
    runtime_service_id,
    kind,
    provider,
    external_id,
    title,
    url,
    status,
    review_state,
    is_primary,
    health_status,
    summary,
    metadata,
    created_by_run_id,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, project_id, issue_id, execution_workspace_id, runtime_service_id, type, provider, \
         external_id, title, url, status, review_state, is_primary, health_status, summary, metadata, \
         created_by_run_id, created_at, updated_at"
    };
}

/// Adds a work product. A primary one takes that place from the one before it.
pub async fn insert(tx: &mut Tx<'_>, product: &WorkProduct) -> Result<(), StoreError> {
    make_room(tx, product).await?;
    tx.run(
        sql!(concat!(
            "INSERT INTO work_products (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
        )),
        p![&product.id, &product.company_id, &product.project_id, &product.issue_id, &product.execution_workspace_id, &product.runtime_service_id, &product.kind, &product.provider, &product.external_id, &product.title, &product.url, &product.status, &product.review_state, product.is_primary, &product.health_status, &product.summary, &product.metadata, &product.created_by_run_id, product.created_at, product.updated_at],
    )
    .await
}

/// Writes everything that a patch may change. A primary one takes that place from the one before it.
pub async fn update(tx: &mut Tx<'_>, product: &WorkProduct) -> Result<(), StoreError> {
    make_room(tx, product).await?;
    tx.run(
        sql!(
            "UPDATE work_products SET project_id = $2, execution_workspace_id = $3, runtime_service_id = $4, type = $5, provider = \
             $6, external_id = $7, title = $8, url = $9, status = $10, review_state = $11, is_primary = $12, \
             health_status = $13, summary = $14, metadata = $15, updated_at = $16 WHERE id = $1"
        ),
        p![&product.id, &product.project_id, &product.execution_workspace_id, &product.runtime_service_id, &product.kind, &product.provider, &product.external_id, &product.title, &product.url, &product.status, &product.review_state, product.is_primary, &product.health_status, &product.summary, &product.metadata, product.updated_at],
    )
    .await
}

async fn make_room(tx: &mut Tx<'_>, product: &WorkProduct) -> Result<(), StoreError> {
    if !product.is_primary {
        return Ok(());
    }
    tx.run(
        sql!(
            "UPDATE work_products SET is_primary = FALSE, updated_at = $4 \
             WHERE issue_id = $1 AND type = $2 AND is_primary AND id <> $3"
        ),
        p![&product.issue_id, &product.kind, &product.id, product.updated_at],
    )
    .await
}

/// Returns one work product.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<WorkProduct>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM work_products WHERE id = $1")), p![id]).await
}

/// Returns the work products of an issue, primary ones first, then the newest.
pub async fn list(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<WorkProduct>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM work_products WHERE issue_id = $1 \
             ORDER BY CASE WHEN is_primary THEN 0 ELSE 1 END, created_at DESC, id DESC LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// Counts the work products that a run made on an issue; tells when it made the last.
pub async fn made_by_run(
    tx: &mut Tx<'_>,
    run: &RunId,
    issue: &IssueId,
) -> Result<(i64, Option<Moment>), StoreError> {
    let row = tx
        .one_as(
            sql!(
                "SELECT COUNT(*), MAX(created_at) FROM work_products WHERE created_by_run_id = $1 \
                 AND issue_id || '' = $2"
            ),
            p![run, issue],
        )
        .await?;
    Ok(row.unwrap_or((0, None)))
}

/// Removes a work product; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    Ok(tx.exec(sql!("DELETE FROM work_products WHERE id = $1"), p![id]).await? == 1)
}
