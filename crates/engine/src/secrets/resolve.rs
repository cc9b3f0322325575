//! From what an environment refers to, to its values: done anew for each process, kept nowhere.
//!
//! Reading ([`load`]) is done in a transaction, opening ([`Sealed::open`]) outside of one. A secret that is missing,
//! foreign or cannot be opened is a start that fails, in words that name the variable and the secret and never a value:
//! an agent without its key would do something else than it was asked to.

use std::collections::{BTreeMap, BTreeSet};

use adapters::SecretRef;
use domain::ids::CompanyId;
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::secrets::{self, Secret, Version};
use store::{StoreError, Tx, projects};

use super::bindings::{env_of, overlaid, references};
use super::vault::{Place, SecretValue, Vault, VaultError};

/// A configuration whose secrets were read but not opened.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    config: Json,
    bound: Vec<Bound>,
}

/// A variable and what its secret is.
#[derive(Debug, Clone)]
struct Bound {
    variable: String,
    reference: SecretRef,
    /// None where the company has none of this id.
    secret: Option<Secret>,
    version: Option<Version>,
    /// The agent or the project refers to it, as it was saved: whoever wrote the rest of the configuration gives out
    /// nothing.
    is_given: bool,
}

/// A configuration that a process can be started with.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) config: Json,
    /// Must not reach a log.
    pub(crate) secrets: Vec<SecretValue>,
}

/// Reads what a configuration of an agent refers to, with the environment of the project over it.
pub(crate) async fn load(
    tx: &mut Tx<'_>,
    agent: &Agent,
    config: &Json,
    project: Option<&str>,
) -> Result<Sealed, StoreError> {
    let company = &agent.company_id;
    let project = match project {
        None => None,
        Some(id) => projects::get(tx, id).await?.filter(|project| project.company_id == *company),
    };
    let of_project = project.as_ref().and_then(|project| project.env.as_ref());
    let mut config = config.clone();
    if of_project.is_some() && config.is_object() {
        let env = overlaid(env_of(&config), of_project);
        config["env"] = Json::Object(env);
    }
    let saved = references(env_of(&agent.adapter_config)).into_iter().chain(references(of_project));
    let given: BTreeSet<String> = saved.map(|(_, reference)| reference.secret).collect();
    let mut bound = Vec::new();
    for (variable, reference) in references(env_of(&config)) {
        let secret = secrets::get(tx, &reference.secret).await?.filter(|it| it.company_id == *company);
        let version = match &secret {
            None => None,
            Some(secret) => {
                let wanted = reference.version.unwrap_or(secret.latest_version);
                secrets::version(tx, &secret.id, wanted).await?
            }
        };
        let is_given = given.contains(&reference.secret);
        bound.push(Bound { variable, reference, secret, version, is_given });
    }
    Ok(Sealed { config, bound })
}

impl Sealed {
    /// Puts the values in the place of the references; the error is in words.
    pub(crate) fn open(mut self, vault: &Vault) -> Result<Resolved, String> {
        let mut values: BTreeMap<String, SecretValue> = BTreeMap::new();
        for bound in &self.bound {
            values.insert(bound.variable.clone(), bound.open(vault)?);
        }
        if let Some(env) = self.config.get_mut("env").and_then(Json::as_object_mut) {
            for (variable, value) in &values {
                env.insert(variable.clone(), json!({ "type": "plain", "value": value.expose() }));
            }
        }
        Ok(Resolved { config: self.config, secrets: values.into_values().collect() })
    }

    /// The ids of the secrets that are referred to.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.bound.iter().map(|bound| bound.reference.secret.as_str())
    }

    /// The bindings of the environment.
    pub(crate) fn env(&self) -> Option<&Map<String, Json>> {
        self.config.get("env").and_then(Json::as_object)
    }
}

impl Bound {
    fn open(&self, vault: &Vault) -> Result<SecretValue, String> {
        let variable = &self.variable;
        let Some(secret) = &self.secret else {
            return Err(format!(
                "cannot resolve the secret of {variable}: the company has no secret {}",
                self.reference.secret
            ));
        };
        let name = &secret.name;
        if !self.is_given {
            return Err(format!(
                "cannot resolve the secret of {variable}: `{name}` was given neither to the agent nor to the project"
            ));
        }
        let Some(version) = &self.version else {
            let wanted = self.reference.version.unwrap_or(secret.latest_version);
            return Err(format!("cannot resolve the secret of {variable}: `{name}` has no version {wanted}"));
        };
        open_version(vault, secret, version)
            .map_err(|error| format!("cannot resolve the secret of {variable}: `{name}`: {error}"))
    }
}

/// Opens one version of a secret.
pub(crate) fn open_version(
    vault: &Vault,
    secret: &Secret,
    version: &Version,
) -> Result<SecretValue, VaultError> {
    open_of_company(vault, &secret.company_id, version)
}

/// The same for a version of any secret of a company.
pub(crate) fn open_of_company(
    vault: &Vault,
    company: &CompanyId,
    version: &Version,
) -> Result<SecretValue, VaultError> {
    let place = Place { company, secret: &version.secret_id, version: version.version };
    vault.key(&version.key_id)?.open(place, &version.material)
}
