//! What agents were configured as before: a revision for each change, and the way back to one.
//!
//! A revision holds no secrets: they are replaced by the marker before anything is written, so that what was taken out of a
//! configuration is nowhere any more. A revision with the marker in it is therefore no way back.

use adapters::{REDACTED, redacted};
use domain::agent::Role;
use domain::ids::AgentId;
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::config_revisions::{self as rows, ConfigRevision};
use store::{StoreError, Tx};

use crate::activity::Scribe;
use crate::agents::AgentPatch;
use crate::{Engine, EngineError};

/// What a change of an agent came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    pub revision: String,
}

/// The configuration of an agent as revisions keep it.
fn snapshot(agent: &Agent) -> Json {
    redacted(json!({
        "name": agent.name, "role": agent.role.as_str(), "title": agent.title, "reportsTo": agent.reports_to,
        "capabilities": agent.capabilities, "adapterType": agent.adapter_type, "adapterConfig": agent.adapter_config,
        "runtimeConfig": agent.runtime_config, "defaultEnvironmentId": null,
        "budgetMonthlyCents": agent.budget_monthly_cents, "metadata": agent.metadata,
    }))
}

/// The names of what differs between two agents. Compared before anything is redacted: a new secret is a change.
pub(crate) fn changed_keys(before: &Agent, after: &Agent) -> Vec<&'static str> {
    let pairs = [
        ("name", before.name != after.name),
        ("role", before.role != after.role),
        ("title", before.title != after.title),
        ("reportsTo", before.reports_to != after.reports_to),
        ("capabilities", before.capabilities != after.capabilities),
        ("adapterType", before.adapter_type != after.adapter_type),
        ("adapterConfig", before.adapter_config != after.adapter_config),
        ("runtimeConfig", before.runtime_config != after.runtime_config),
        ("budgetMonthlyCents", before.budget_monthly_cents != after.budget_monthly_cents),
        ("metadata", before.metadata != after.metadata),
    ];
    pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Keeps a revision of a change, if anything changed; in the transaction of the change.
pub(crate) async fn keep(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    before: &Agent,
    after: &Agent,
    rolled_back: Option<&RolledBack>,
) -> Result<(), StoreError> {
    let changed = changed_keys(before, after);
    if changed.is_empty() {
        return Ok(());
    }
    let revision = ConfigRevision {
        id: scribe.id(),
        company_id: after.company_id.clone(),
        agent_id: after.id.clone(),
        created_by_agent_id: scribe.by.agent_id(),
        created_by_user_id: scribe.by.user_id(),
        source: if rolled_back.is_some() { "rollback" } else { "patch" }.to_owned(),
        rolled_back_from_revision_id: rolled_back.map(|from| from.revision.clone()),
        changed_keys: json!(changed),
        before_config: snapshot(before),
        after_config: snapshot(after),
        created_at: scribe.now,
    };
    rows::insert(tx, &revision).await?;
    if let Some(from) = rolled_back {
        let details = json!({ "revisionId": from.revision, "changedKeys": changed });
        let (company, agent) = (after.company_id.clone(), ("agent", after.id.as_str()));
        scribe.tell(tx, &company, "agent.config_rolled_back", agent, details).await?;
    }
    Ok(())
}

impl Engine {
    /// The revisions of an agent, newest first, behind the given place.
    pub async fn config_revisions(
        &self,
        agent: &AgentId,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<ConfigRevision>, EngineError> {
        let asked = (agent.clone(), before, limit);
        let found = self.inner.read(asked, |tx, (agent, before, limit)| {
            Box::pin(async move { rows::list(tx, &agent, before, limit).await })
        });
        Ok(found.await?)
    }

    /// One revision of an agent.
    pub async fn config_revision(&self, agent: &AgentId, id: &str) -> Result<ConfigRevision, EngineError> {
        let asked = (agent.clone(), id.to_owned());
        let found = self
            .inner
            .read(asked, |tx, (agent, id)| Box::pin(async move { rows::get(tx, &agent, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Revision"))
    }

    /// The change that brings an agent back to what it was after a revision.
    pub async fn way_back(&self, agent: &AgentId, revision: &str) -> Result<AgentPatch, EngineError> {
        let revision = self.config_revision(agent, revision).await?;
        way_back(&revision).ok_or_else(|| {
            let words = "Cannot roll back a revision that contains redacted secret values".to_owned();
            EngineError::Refused { kind: Kind::Unprocessable, message: words, details: None }
        })
    }
}

/// `None` where the revision holds the marker: what it stands for is not known any more.
fn way_back(revision: &ConfigRevision) -> Option<AgentPatch> {
    let config = revision.after_config.as_object()?;
    if holds_marker(&revision.after_config) {
        return None;
    }
    let text = |key: &str| config.get(key).and_then(Json::as_str).map(str::to_owned);
    let object = |key: &str| config.get(key).filter(|value| value.is_object()).cloned();
    Some(AgentPatch {
        name: text("name"),
        role: text("role").and_then(|role| Role::parse(&role)),
        title: Some(text("title")),
        reports_to: Some(text("reportsTo").map(AgentId)),
        capabilities: Some(text("capabilities")),
        adapter_type: text("adapterType"),
        adapter_config: Some(object("adapterConfig").unwrap_or_else(|| Json::Object(Map::new()))),
        replace_adapter_config: true,
        runtime_config: object("runtimeConfig"),
        budget_monthly_cents: config.get("budgetMonthlyCents").and_then(Json::as_i64),
        metadata: Some(object("metadata")),
        rolled_back: Some(RolledBack { revision: revision.id.clone() }),
        ..AgentPatch::default()
    })
}

fn holds_marker(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains(REDACTED),
        Json::Array(items) => items.iter().any(holds_marker),
        Json::Object(map) => map.values().any(holds_marker),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::CompanyId;

    use super::*;

    fn revision(after: Json) -> ConfigRevision {
        ConfigRevision {
            id: "r".to_owned(),
            company_id: CompanyId("c".to_owned()),
            agent_id: AgentId("a".to_owned()),
            created_by_agent_id: None,
            created_by_user_id: None,
            source: "patch".to_owned(),
            rolled_back_from_revision_id: None,
            changed_keys: json!([]),
            before_config: json!({}),
            after_config: after,
            created_at: Moment::from_micros(0),
        }
    }

    #[test]
    fn a_revision_with_a_marker_anywhere_is_no_way_back() {
        for config in [
            json!({"adapterConfig": {"env": {"K": {"type": "plain", "value": REDACTED}}}}),
            json!({"metadata": {"list": ["x", REDACTED]}}),
        ] {
            assert_eq!(way_back(&revision(config)), None);
        }
    }

    #[test]
    fn the_way_back_sets_everything_that_a_revision_holds() {
        let config = json!({
            "name": "Ada", "role": "ceo", "title": null, "reportsTo": null, "capabilities": "all", "adapterType": "process",
            "adapterConfig": {"command": "true"}, "runtimeConfig": {}, "budgetMonthlyCents": 5, "metadata": null,
        });
        let patch = way_back(&revision(config)).unwrap();
        let expected = AgentPatch {
            name: Some("Ada".to_owned()),
            role: Some(Role::Ceo),
            title: Some(None),
            reports_to: Some(None),
            capabilities: Some(Some("all".to_owned())),
            adapter_type: Some("process".to_owned()),
            adapter_config: Some(json!({"command": "true"})),
            replace_adapter_config: true,
            runtime_config: Some(json!({})),
            budget_monthly_cents: Some(5),
            metadata: Some(None),
            rolled_back: Some(RolledBack { revision: "r".to_owned() }),
            ..AgentPatch::default()
        };
        assert_eq!(patch, expected);
    }
}
