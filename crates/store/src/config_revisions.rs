//! Revisions of agents' configurations: what it was before a change and after it.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// One change of an agent's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigRevision {
    pub id: String,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub source: String,
    pub rolled_back_from_revision_id: Option<String>,
    /// An array of names.
    pub changed_keys: Json,
    pub before_config: Json,
    pub after_config: Json,
    pub created_at: Moment,
}
from_row!(ConfigRevision {
    id,
    company_id,
    agent_id,
    created_by_agent_id,
    created_by_user_id,
    source,
    rolled_back_from_revision_id,
    changed_keys,
    before_config,
    after_config,
    created_at
});

macro_rules! columns {
    () => {
        "id, company_id, agent_id, created_by_agent_id, created_by_user_id, source, rolled_back_from_revision_id, \
         changed_keys, before_config, after_config, created_at"
    };
}

/// Adds a revision.
pub async fn insert(tx: &mut Tx<'_>, revision: &ConfigRevision) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO agent_config_revisions (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        )),
        p![
            &revision.id,
            &revision.company_id,
            &revision.agent_id,
            &revision.created_by_agent_id,
            &revision.created_by_user_id,
            &revision.source,
            &revision.rolled_back_from_revision_id,
            &revision.changed_keys,
            &revision.before_config,
            &revision.after_config,
            revision.created_at
        ],
    )
    .await
}

/// Returns one revision of an agent.
pub async fn get(tx: &mut Tx<'_>, agent: &AgentId, id: &str) -> Result<Option<ConfigRevision>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM agent_config_revisions WHERE id = $1 AND agent_id = $2")),
        p![id, agent],
    )
    .await
}

/// Returns the revisions of an agent, newest first, before the given place.
pub async fn list(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<ConfigRevision>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM agent_config_revisions WHERE agent_id = $1 AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![agent, at, id, limit],
    )
    .await
}
