//! Attachments on the wire.

use domain::moment::Moment;
use serde::Serialize;
use store::attachments::Attachment as Row;
use utoipa::ToSchema;

/// A file of an issue.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment {
    id: String,
    company_id: String,
    issue_id: String,
    issue_comment_id: Option<String>,
    asset_id: String,
    provider: String,
    object_key: String,
    content_type: String,
    byte_size: i64,
    sha256: String,
    original_filename: Option<String>,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// Where its bytes are, on this server.
    content_path: String,
}

impl From<Row> for Attachment {
    fn from(row: Row) -> Attachment {
        Attachment {
            content_path: content_path(&row.id),
            id: row.id,
            company_id: row.company_id.0,
            issue_id: row.issue_id.0,
            issue_comment_id: row.issue_comment_id.map(|id| id.0),
            asset_id: row.asset_id,
            provider: row.provider,
            object_key: row.object_key,
            content_type: row.content_type,
            byte_size: row.byte_size,
            sha256: row.sha256,
            original_filename: row.original_filename,
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Where the bytes of an attachment are.
pub(crate) fn content_path(id: &str) -> String {
    format!("/api/attachments/{id}/content")
}
