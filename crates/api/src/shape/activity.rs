//! The activity log on the wire: what was done to what, by whom.

use domain::moment::Moment;
use serde::Serialize;
use serde_json::Value;
use store::activity::Activity as Row;
use utoipa::ToSchema;

use adapters::redacted;

/// An entry of the activity log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activity {
    id: String,
    company_id: String,
    /// `agent`, `user`, `system` or `plugin`.
    actor_type: String,
    actor_id: String,
    action: String,
    entity_type: String,
    entity_id: String,
    agent_id: Option<String>,
    run_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    details: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<Row> for Activity {
    fn from(row: Row) -> Activity {
        Activity {
            id: row.id,
            company_id: row.company_id.0,
            actor_type: row.actor_type,
            actor_id: row.actor_id,
            action: row.action,
            entity_type: row.entity_type,
            entity_id: row.entity_id,
            agent_id: row.agent_id.map(|id| id.0),
            run_id: row.run_id.map(|id| id.0),
            details: row.details.map(redacted),
            created_at: row.created_at,
        }
    }
}
