//! Keys of environments: secrets of the company, which the configuration refers to and never holds.
//!
//! A driver names the fields that are secret (`privateKey`). Whoever saves one in plain has it sealed: the configuration
//! that is stored says `privateKeySecretRef` instead. One that was stored in plain before is sealed by the next save.
//! For each lease, and each look, the reference is opened anew; the value is kept nowhere.

use std::sync::Arc;

use adapters::{Binding, Problem, binding};
use domain::access;
use domain::ids::AgentId;
use serde_json::{Value as Json, json};
use store::environments::{self, Environment};
use store::secrets::{self, Secret};
use store::{StoreError, Tx, agents};

use super::driver::{DriverError, Drivers, Step};
use crate::activity::Scribe;
use crate::secrets::vault::Key;
use crate::secrets::{LOCAL_PROVIDER, SecretValue, add_version, bindings, keep, resolve};
use crate::{Engine, EngineError, Inner};

/// What seals the keys of one environment; one draw for each field.
#[derive(Debug, Clone)]
pub(super) struct Sealer {
    key: Arc<Key>,
    draws: Vec<[u8; 16]>,
}

/// The field that refers to the secret of a field.
pub(super) fn reference_of(field: &str) -> String {
    format!("{field}SecretRef")
}

fn fields(drivers: &Drivers, driver: &str) -> &'static [&'static str] {
    drivers.find(driver).map_or(&[], |driver| driver.secrets())
}

fn plain<'a>(config: &'a Json, field: &str) -> Option<&'a str> {
    config.get(field)?.as_str().filter(|text| !text.trim().is_empty())
}

impl Engine {
    /// What seals the plain keys of these configurations; `None`: they hold none.
    pub(super) async fn sealer(
        &self,
        driver: &str,
        configs: &[&Json],
    ) -> Result<Option<Sealer>, EngineError> {
        let fields = fields(&self.inner.settings.drivers, driver);
        if !fields.iter().any(|field| configs.iter().any(|config| plain(config, field).is_some())) {
            return Ok(None);
        }
        let key = self.sealing_key().await?;
        Ok(Some(Sealer { key, draws: fields.iter().map(|_| self.inner.dice.bytes()).collect() }))
    }
}

/// Seals what a configuration holds in plain, and checks what it refers to; returns that, for [`environments::refer`]. The
/// configuration was looked through by its driver.
pub(super) async fn settle(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    drivers: &Drivers,
    environment: &mut Environment,
    before: Option<&Json>,
    sealer: Option<&Sealer>,
) -> Result<Vec<(String, String)>, EngineError> {
    let mut references = Vec::new();
    for (at, field) in fields(drivers, &environment.driver).iter().enumerate() {
        let reference = reference_of(field);
        if let Some(value) = plain(&environment.config, field).map(|text| SecretValue::new(text.to_owned())) {
            // Somebody else saved one a moment ago.
            let again = || EngineError::Conflict {
                message: "The environment was changed meanwhile; try again".to_owned(),
                details: None,
            };
            let sealer = sealer.ok_or_else(again)?;
            let secret = seal(tx, scribe, environment, field, (sealer, at), &value).await?;
            if let Some(config) = environment.config.as_object_mut() {
                config.remove(*field);
                let bound = json!({ "type": "secret_ref", "secretId": secret, "version": "latest" });
                config.insert(reference.clone(), bound);
            }
            references.push((reference, secret));
        } else if let Some(value) = environment.config.get(&reference).filter(|value| !value.is_null()) {
            let secret = checked(tx, environment, &reference, value).await?;
            if let Some(agent) = scribe.by.agent_id() {
                let stood = before.and_then(|before| before.get(&reference)).and_then(id_of);
                if stood.as_ref() != Some(&secret) && !was_given(tx, &agent, &secret).await? {
                    return Err(access::Refusal::SecretBindings(vec![format!("config.{reference}")]).into());
                }
            }
            references.push((reference, secret));
        }
    }
    Ok(references)
}

fn id_of(value: &Json) -> Option<String> {
    match binding(value) {
        Some(Binding::Secret(reference)) => Some(reference.secret),
        Some(Binding::Plain(_)) | None => None,
    }
}

/// An agent hands on what it was given itself, and nothing else (spec/heartbeat.md 11.11).
async fn was_given(tx: &mut Tx<'_>, agent: &AgentId, secret: &str) -> Result<bool, EngineError> {
    let row = agents::get(tx, agent).await?;
    let env = row.as_ref().and_then(|row| bindings::env_of(&row.adapter_config));
    Ok(bindings::references(env).iter().any(|(_, reference)| reference.secret == secret))
}

/// The id of the secret that a field refers to.
async fn checked(
    tx: &mut Tx<'_>,
    environment: &Environment,
    field: &str,
    value: &Json,
) -> Result<String, EngineError> {
    let wrong = |message: String| {
        let hint = Some("see which there are: bugle secret list".to_owned());
        EngineError::Invalid(vec![Problem { path: format!("config.{field}"), message, hint }])
    };
    let Some(Binding::Secret(reference)) = binding(value) else {
        return Err(wrong("must be {\"type\": \"secret_ref\", \"secretId\": ID}".to_owned()));
    };
    let found = secrets::get(tx, &reference.secret).await?;
    // A foreign one is as good as none: nobody learns what others have.
    match found.filter(|secret| secret.company_id == environment.company_id) {
        None => Err(wrong("Secret not found: the company has none of this id".to_owned())),
        Some(secret) if reference.version.is_some_and(|version| version > secret.latest_version) => {
            Err(wrong(format!(
                "Secret version not found: {} has {} versions",
                secret.name, secret.latest_version
            )))
        }
        Some(secret) => Ok(secret.id),
    }
}

/// The secret of an environment that was given its key in plain has a name of its own.
fn own_name(environment: &Environment, field: &str) -> String {
    format!("environment {}: {field}", environment.id)
}

async fn seal(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    environment: &Environment,
    field: &str,
    (sealer, at): (&Sealer, usize),
    value: &SecretValue,
) -> Result<String, EngineError> {
    let name = own_name(environment, field);
    let there = secrets::named(tx, &environment.company_id, &name).await?;
    let (secret, action) = match there {
        Some(there) => {
            let next = there.latest_version + 1;
            (Secret { latest_version: next, updated_at: scribe.now, ..there }, "secret.rotated")
        }
        None => {
            let secret = Secret {
                id: scribe.id(),
                company_id: environment.company_id.clone(),
                name,
                provider: LOCAL_PROVIDER.to_owned(),
                external_ref: None,
                latest_version: 1,
                description: Some(format!("{field} of the environment {}", environment.name)),
                created_by_agent_id: scribe.by.agent_id(),
                created_by_user_id: scribe.by.user_id(),
                created_at: scribe.now,
                updated_at: scribe.now,
            };
            secrets::insert(tx, &secret).await?;
            (secret, "secret.created")
        }
    };
    let draw = sealer.draws.get(at).copied().unwrap_or_default();
    add_version(tx, &secret, &sealer.key, value, draw, scribe.now).await?;
    secrets::update(tx, &secret).await?;
    let details = json!({ "name": secret.name, "version": secret.latest_version });
    keep(tx, scribe, &secret, action, details).await?;
    Ok(secret.id)
}

/// Removes the secrets that were made for an environment that is gone, unless somebody refers to them.
pub(super) async fn forget(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    drivers: &Drivers,
    environment: &Environment,
) -> Result<(), EngineError> {
    for field in fields(drivers, &environment.driver) {
        let found = secrets::named(tx, &environment.company_id, &own_name(environment, field)).await?;
        let Some(secret) = found else { continue };
        if secrets::references(tx, &secret.id, 1).await?.is_empty() {
            secrets::remove(tx, &secret.id).await?;
            keep(tx, scribe, &secret, "secret.deleted", json!({ "name": secret.name })).await?;
        }
    }
    Ok(())
}

/// The environment as its driver is shown it: with values in the place of references.
pub(crate) async fn opened(
    engine: &Inner,
    mut environment: Environment,
) -> Result<Result<Environment, DriverError>, StoreError> {
    for field in fields(&engine.settings.drivers, &environment.driver) {
        let reference = reference_of(field);
        let Some(value) = environment.config.get(&reference).filter(|value| !value.is_null()) else {
            continue;
        };
        let value = match open(engine, &environment, value).await? {
            Ok(value) => value,
            Err(words) => {
                let words = format!("config.{reference} of the environment `{}`: {words}", environment.name);
                return Ok(Err(DriverError::new(Step::Acquire, words)));
            }
        };
        if let Some(config) = environment.config.as_object_mut() {
            config.remove(&reference);
            config.insert((*field).to_owned(), json!(value.expose()));
        }
    }
    Ok(Ok(environment))
}

async fn open(
    engine: &Inner,
    environment: &Environment,
    value: &Json,
) -> Result<Result<SecretValue, String>, StoreError> {
    let Some(Binding::Secret(reference)) = binding(value) else {
        return Ok(Err("it does not refer to a secret".to_owned()));
    };
    let id = reference.secret.clone();
    let context = (environment.company_id.clone(), reference);
    let found = engine.read(context, |tx, (company, reference)| {
        Box::pin(async move {
            let secret = secrets::get(tx, &reference.secret).await?.filter(|it| it.company_id == company);
            let Some(secret) = secret else { return Ok(None) };
            let wanted = reference.version.unwrap_or(secret.latest_version);
            Ok(Some((wanted, secrets::version(tx, &secret.id, wanted).await?, secret)))
        })
    });
    Ok(match found.await? {
        None => Err(format!("the company has no secret {id}")),
        Some((wanted, None, secret)) => Err(format!("`{}` has no version {wanted}", secret.name)),
        Some((_, Some(version), secret)) => resolve::open_version(&engine.vault, &secret, &version)
            .map_err(|error| format!("`{}`: {error}", secret.name)),
    })
}

/// Notes what an environment refers to, after its row was written.
pub(super) async fn refer(
    tx: &mut Tx<'_>,
    environment: &Environment,
    references: &[(String, String)],
) -> Result<(), EngineError> {
    Ok(environments::refer(tx, &environment.id, references).await?)
}
