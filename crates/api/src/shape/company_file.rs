//! What a company file would change, or has changed, on the wire.

use domain::company_file::{Change as PlannedChange, FieldChange as PlannedField};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What came of a company file. Values that nobody is to read are marks.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Applied {
    /// Null where a new one would have been founded.
    company_id: Option<String>,
    /// The changes were made; false for a dry run.
    applied: bool,
    /// In the order in which they are made. Empty: the company is what the file says.
    changes: Vec<Change>,
    /// What the company has and the file does not; it stays.
    left: Vec<Left>,
    /// Tells this list of changes from any other: send it as `expect`, and nothing else is done.
    fingerprint: String,
}

/// One thing that is made, changed or removed.
#[derive(Debug, Serialize, ToSchema)]
struct Change {
    /// `make`, `change` or `remove`.
    action: &'static str,
    /// `company`, `label`, `skill`, `environment`, `agent`, `goal`, `project`, `budget` or `automation`.
    kind: &'static str,
    name: String,
    fields: Vec<FieldChange>,
}

/// One field, with what is there and what is to be; null is nothing.
#[derive(Debug, Serialize, ToSchema)]
struct FieldChange {
    path: String,
    #[schema(value_type = Object)]
    before: Option<Value>,
    #[schema(value_type = Object)]
    after: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Left {
    kind: &'static str,
    name: String,
}

impl From<engine::AppliedFile> for Applied {
    fn from(applied: engine::AppliedFile) -> Applied {
        let left = applied.plan.left.into_iter();
        Applied {
            company_id: applied.company.map(|id| id.0),
            applied: applied.is_done,
            changes: applied.plan.changes.into_iter().map(Change::from).collect(),
            left: left.map(|(section, name)| Left { kind: section.thing(), name }).collect(),
            fingerprint: applied.fingerprint,
        }
    }
}

impl From<PlannedChange> for Change {
    fn from(change: PlannedChange) -> Change {
        Change {
            action: change.action.as_str(),
            kind: change.section.thing(),
            name: change.name,
            fields: change.fields.into_iter().map(FieldChange::from).collect(),
        }
    }
}

impl From<PlannedField> for FieldChange {
    fn from(field: PlannedField) -> FieldChange {
        FieldChange { path: field.path, before: field.before, after: field.after }
    }
}
