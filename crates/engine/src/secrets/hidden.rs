//! What an agent must not write where others read it: the values in its own environment.
//!
//! A process prints into its log, which its keeper filters. It may as well post what it knows as a comment, a document or
//! a result: whatever an agent sends is filtered by the same values here, before anything of it is looked at. Values of
//! earlier versions count too, because a process keeps what it was started with.

use adapters::{Binding, SECRET_MIN, binding, is_secret_name};
use domain::ids::{AgentId, CompanyId, RunId};
use serde_json::Value as Json;
use store::secrets::{self, Secret, Version};
use store::{StoreError, Tx, agents, projects, runs, webhooks};

use super::bindings::{env_of, references};
use super::resolve::{Sealed, load, open_of_company, open_version};
use crate::webhooks::keys;
use crate::{Engine, EngineError, Inner};

/// Values of a company that are hidden together, and rows in which plain ones are looked for.
const MOST_OF_COMPANY: i64 = 10_000;
/// Versions of a secret that a process may still have been started with.
const MOST_VERSIONS: i64 = 16;

/// Values that are hidden.
pub struct Hidden(Vec<String>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({})", self.0.len())
    }
}

impl Hidden {
    /// Hides one value more; one that is too short is none.
    pub fn and(mut self, value: &str) -> Hidden {
        if value.len() >= SECRET_MIN {
            self.0.push(value.to_owned());
        }
        self
    }

    /// Replaces the values in some bytes; `None` when none of them is in there.
    pub fn over(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        keeper::hide(&self.0, bytes)
    }
}

struct Known {
    sealed: Sealed,
    versions: Vec<(Secret, Vec<Version>)>,
}

impl Engine {
    /// Collects what an agent, in a run or in none, knows and must not tell.
    pub async fn hidden_from_writing(
        &self,
        agent: &AgentId,
        run: Option<&RunId>,
    ) -> Result<Hidden, EngineError> {
        let context = (agent.clone(), run.cloned());
        let known = self.inner.read(context, |tx, (agent, run)| {
            Box::pin(async move { known_to(tx, &agent, run.as_ref()).await })
        });
        let Some(known) = known.await? else { return Ok(Hidden(Vec::new())) };
        let mut hidden = Hidden(Vec::new());
        for (secret, versions) in &known.versions {
            for version in versions {
                // One that does not open was given to nobody either.
                if let Ok(value) = open_version(&self.inner.vault, secret, version) {
                    hidden = hidden.and(value.expose());
                }
            }
        }
        for (name, value) in known.sealed.env().into_iter().flatten() {
            if let Some(Binding::Plain(text)) = binding(value).filter(|_| is_secret_name(name)) {
                hidden = hidden.and(text);
            }
        }
        Ok(hidden)
    }
}

impl Inner {
    /// Collects what nobody outside of a company is to be told: every value that is stored for it, and what environments
    /// hold in plain under names of secrets.
    pub(crate) async fn hidden_of_company(&self, company: &CompanyId) -> Result<Hidden, StoreError> {
        let found = self.read(company.clone(), |tx, company| {
            Box::pin(async move {
                let stored = secrets::versions_of_company(tx, &company, MOST_OF_COMPANY).await?;
                let signing = webhooks::secrets::of_company(tx, &company, MOST_OF_COMPANY).await?;
                let agents = agents::list(tx, &company, None, MOST_OF_COMPANY).await?;
                let projects = projects::list(tx, &company, None, MOST_OF_COMPANY).await?;
                let of_agents = agents.into_iter().filter_map(|agent| env_of(&agent.adapter_config).cloned());
                let of_projects = projects.into_iter().filter_map(|project| project.env);
                Ok((stored, signing, of_agents.chain(of_projects).collect::<Vec<_>>()))
            })
        });
        let (stored, signing, environments) = found.await?;
        let mut hidden = Hidden(Vec::new());
        for version in &stored {
            // One that does not open was given to nobody either.
            if let Ok(value) = open_of_company(&self.vault, company, version) {
                hidden = hidden.and(value.expose());
            }
        }
        for one in &signing {
            for value in keys::opened(&self.vault, std::slice::from_ref(one)).unwrap_or_default() {
                hidden = hidden.and(value.expose());
            }
        }
        for (name, value) in environments.iter().filter_map(Json::as_object).flatten() {
            if let Some(Binding::Plain(text)) = binding(value).filter(|_| is_secret_name(name)) {
                hidden = hidden.and(text);
            }
        }
        Ok(hidden)
    }
}

async fn known_to(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    run: Option<&RunId>,
) -> Result<Option<Known>, StoreError> {
    let Some(agent) = agents::get(tx, agent).await? else { return Ok(None) };
    let project = match run {
        None => None,
        Some(run) => runs::get(tx, run).await?.and_then(|run| run.project_id),
    };
    let company = &agent.company_id;
    let sealed = load(tx, &agent, &agent.adapter_config, project.as_deref()).await?;
    let mut versions = Vec::new();
    // Also where the project binds the same name to something else: another run of the agent knows it.
    let own = references(env_of(&agent.adapter_config));
    let all = own.into_iter().map(|(_, it)| it.secret).chain(sealed.secrets().map(str::to_owned));
    let mut ids: Vec<String> = all.collect();
    ids.sort();
    ids.dedup();
    for id in ids {
        let Some(secret) = secrets::get(tx, &id).await?.filter(|it| it.company_id == *company) else {
            continue;
        };
        let found = secrets::versions(tx, &id, MOST_VERSIONS).await?;
        versions.push((secret, found));
    }
    Ok(Some(Known { sealed, versions }))
}
