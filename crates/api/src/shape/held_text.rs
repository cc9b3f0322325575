//! Texts from outside on the wire, and where a run comes from.

use domain::moment::Moment;
use engine::{Provenance as Found, author_of_text};
use serde::Serialize;
use store::held_texts::HeldText as Row;
use utoipa::ToSchema;

/// A text of somebody whom the company does not trust.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeldText {
    #[serde(flatten)]
    mark: HeldMark,
    issue_id: String,
    /// Of an issue; null for a comment.
    title: Option<String>,
    body: Option<String>,
}

/// The same without what it says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeldMark {
    id: String,
    /// Null: it is the title and the description of the issue.
    comment_id: Option<String>,
    /// `user` or `agent`: who wrote it, or handed it on.
    author_type: &'static str,
    author_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// `released` or `refused`; null while it waits.
    decision: Option<&'static str>,
    decided_by: Option<String>,
    #[schema(value_type = Option<String>)]
    decided_at: Option<Moment>,
}

impl From<Row> for HeldText {
    fn from(mut row: Row) -> HeldText {
        let (title, body) = (row.title.take(), row.body.take());
        HeldText { issue_id: row.issue_id.0.clone(), title, body, mark: row.into() }
    }
}

impl From<Row> for HeldMark {
    fn from(row: Row) -> HeldMark {
        let (author_type, author_id) = author_of_text(&row);
        HeldMark {
            author_type,
            author_id,
            id: row.id,
            comment_id: row.comment_id.map(|id| id.0),
            created_at: row.created_at,
            decision: row.decision.map(|decision| decision.as_str()),
            decided_by: row.decided_by,
            decided_at: row.decided_at,
        }
    }
}

/// Who asked for a run, and what of it came from outside.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Provenance {
    /// Once each, the first first.
    asked_by: Vec<Asker>,
    /// The texts from outside on its issue, without what they say.
    from_outside: Vec<HeldMark>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Asker {
    /// `user`, `agent` or `system`.
    #[serde(rename = "type")]
    kind: &'static str,
    id: Option<String>,
}

impl From<Found> for Provenance {
    fn from(found: Found) -> Provenance {
        let asked_by = found.asked_by.into_iter().map(|(kind, id)| Asker { kind: kind.as_str(), id });
        Provenance {
            asked_by: asked_by.collect(),
            from_outside: found.texts.into_iter().map(HeldMark::from).collect(),
        }
    }
}
