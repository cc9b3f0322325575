//! Work products on the wire.

use domain::moment::Moment;
use serde::Serialize;
use serde_json::Value;
use store::work_products::WorkProduct as Row;
use utoipa::ToSchema;

/// What came out of an issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkProduct {
    id: String,
    company_id: String,
    project_id: Option<String>,
    issue_id: String,
    execution_workspace_id: Option<String>,
    runtime_service_id: Option<String>,
    /// `preview_url`, `runtime_service`, `pull_request`, `branch`, `commit`, `artifact` or `document`.
    r#type: String,
    provider: String,
    external_id: Option<String>,
    title: String,
    url: Option<String>,
    status: String,
    review_state: String,
    /// At most one of a kind and issue is.
    is_primary: bool,
    health_status: String,
    summary: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    created_by_run_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for WorkProduct {
    fn from(row: Row) -> WorkProduct {
        WorkProduct {
            id: row.id,
            company_id: row.company_id.0,
            project_id: row.project_id,
            issue_id: row.issue_id.0,
            execution_workspace_id: row.execution_workspace_id,
            runtime_service_id: row.runtime_service_id,
            r#type: row.kind,
            provider: row.provider,
            external_id: row.external_id,
            title: row.title,
            url: row.url,
            status: row.status,
            review_state: row.review_state,
            is_primary: row.is_primary,
            health_status: row.health_status,
            summary: row.summary,
            metadata: row.metadata,
            created_by_run_id: row.created_by_run_id.map(|id| id.0),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
