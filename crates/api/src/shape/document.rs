//! Documents of issues on the wire, with and without their texts, and their revisions.

use domain::moment::Moment;
use serde::Serialize;
use store::documents::{Document as Row, Revision as RevisionRow};
use utoipa::ToSchema;

/// A document without its text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DocumentSummary {
    id: String,
    company_id: String,
    issue_id: String,
    key: String,
    title: Option<String>,
    /// `markdown`.
    format: String,
    latest_revision_id: String,
    latest_revision_number: i64,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    updated_by_agent_id: Option<String>,
    updated_by_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

/// A document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    #[serde(flatten)]
    summary: DocumentSummary,
    body: String,
    /// After a change: the text before it, as existing clients get it. The new text is `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_body: Option<String>,
}

impl From<Row> for DocumentSummary {
    fn from(row: Row) -> DocumentSummary {
        DocumentSummary {
            id: row.id,
            company_id: row.company_id.0,
            issue_id: row.issue_id.0,
            key: row.key,
            title: row.title,
            format: row.format,
            latest_revision_id: row.latest_revision_id,
            latest_revision_number: row.latest_revision_number,
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            updated_by_agent_id: row.updated_by_agent_id.map(|id| id.0),
            updated_by_user_id: row.updated_by_user_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<Row> for Document {
    fn from(mut row: Row) -> Document {
        let body = std::mem::take(&mut row.body);
        Document { summary: row.into(), body, latest_body: None }
    }
}

impl From<engine::issues::DocumentSaved> for Document {
    fn from(saved: engine::issues::DocumentSaved) -> Document {
        Document { latest_body: saved.previous_body, ..saved.document.into() }
    }
}

/// A text that a document has or had.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revision {
    id: String,
    company_id: String,
    document_id: String,
    issue_id: String,
    key: String,
    revision_number: i64,
    title: Option<String>,
    format: String,
    body: String,
    change_summary: Option<String>,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<RevisionRow> for Revision {
    fn from(row: RevisionRow) -> Revision {
        Revision {
            id: row.id,
            company_id: row.company_id.0,
            document_id: row.document_id,
            issue_id: row.issue_id.0,
            key: row.key,
            revision_number: row.revision_number,
            title: row.title,
            format: row.format,
            body: row.body,
            change_summary: row.change_summary,
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            created_at: row.created_at,
        }
    }
}
