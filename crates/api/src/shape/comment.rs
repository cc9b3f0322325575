//! Comments on issues on the wire.

use domain::moment::Moment;
use engine::Held;
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

/// A comment that was just written, with what keeps its reader.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WrittenComment {
    #[serde(flatten)]
    comment: Comment,
    /// Why whoever has the issue does not read it yet, as far as it is known now: `quota` or `hold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_reason: Option<&'static str>,
    /// When that is over by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    held_until: Option<Moment>,
}

impl WrittenComment {
    pub(crate) fn new(comment: Row, outlook: Option<Held>) -> WrittenComment {
        WrittenComment {
            comment: comment.into(),
            held_reason: outlook.map(|held| held.reason.as_str()),
            held_until: outlook.and_then(|held| held.until),
        }
    }
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
