//! Comments on issues on the wire.

use domain::moment::Moment;
use serde::Serialize;
use store::comments::Comment as Row;
use utoipa::ToSchema;

/// A comment. One without an author was written by the program.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comment {
    id: String,
    company_id: String,
    issue_id: String,
    author_agent_id: Option<String>,
    author_user_id: Option<String>,
    created_by_run_id: Option<String>,
    body: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for Comment {
    fn from(row: Row) -> Comment {
        Comment {
            id: row.id.0,
            company_id: row.company_id.0,
            issue_id: row.issue_id.0,
            author_agent_id: row.author_agent_id.map(|id| id.0),
            author_user_id: row.author_user_id,
            created_by_run_id: row.created_by_run_id.map(|id| id.0),
            body: row.body,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
