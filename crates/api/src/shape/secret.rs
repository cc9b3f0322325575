//! Secrets on the wire: what they are called and how many versions there are. No shape has a place for a value.

use domain::moment::Moment;
use serde::Serialize;
use store::secrets::Secret as Row;
use utoipa::ToSchema;

/// A secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Secret {
    id: String,
    company_id: String,
    name: String,
    /// `local_encrypted`.
    provider: String,
    external_ref: Option<String>,
    latest_version: i64,
    description: Option<String>,
    created_by_agent_id: Option<String>,
    created_by_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for Secret {
    fn from(row: Row) -> Secret {
        Secret {
            id: row.id,
            company_id: row.company_id.0,
            name: row.name,
            provider: row.provider,
            external_ref: row.external_ref,
            latest_version: row.latest_version,
            description: row.description,
            created_by_agent_id: row.created_by_agent_id.map(|id| id.0),
            created_by_user_id: row.created_by_user_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Where values are kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretProvider {
    id: &'static str,
    label: &'static str,
    requires_external_ref: bool,
}

impl SecretProvider {
    /// The only one of this deployment: values are sealed in the store.
    pub(crate) fn local() -> SecretProvider {
        SecretProvider { id: engine::LOCAL_PROVIDER, label: "Local encrypted", requires_external_ref: false }
    }
}
