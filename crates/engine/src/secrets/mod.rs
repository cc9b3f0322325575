//! Secrets of companies: made, rotated, renamed, removed. Their values go in and never come out again, except into the
//! environment of a process (`resolve`).
//!
//! What may be bound to a secret is `bindings`; what is hidden from what agents write is `hidden`; the sealing is `vault`.

pub(crate) mod bindings;
mod hidden;
pub(crate) mod resolve;
pub(crate) mod vault;

use std::sync::Arc;

use adapters::{REDACTED, SECRET_MIN};
use domain::ids::CompanyId;
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::secrets::{self, Reference, Secret, Version};
use store::{Tx, agents, audit, companies};

pub use hidden::Hidden;
pub use vault::{KEY_FILE, SecretValue, VaultError, look_at_key};

use crate::activity::{Author, Scribe};
use crate::issues::{Locks, Sheet};
use crate::{Engine, EngineError, accounts, stops};
use vault::{Key, Place};

/// The provider of this deployment: values are sealed here.
pub const LOCAL_PROVIDER: &str = "local_encrypted";
/// All that clients may name.
pub const PROVIDERS: [&str; 4] = [LOCAL_PROVIDER, "aws_secrets_manager", "gcp_secret_manager", "vault"];

/// The longest list.
pub const MOST_SECRETS: i64 = 1_000;
/// The longest value; a variable of an environment takes no more than twice that.
const LONGEST_VALUE: usize = 64 * 1024;
const NAME: usize = 255;
const DESCRIPTION: usize = 10_000;
/// References that are told when a secret cannot be removed.
const MOST_REFERENCES: i64 = 100;
/// Agents whose accounts are tried with a new value.
const MOST_USERS: i64 = 1_000;

/// A new secret.
#[derive(Debug, Clone)]
pub struct SecretDraft {
    pub name: String,
    pub value: SecretValue,
    pub provider: String,
    pub description: Option<String>,
    pub external_ref: Option<String>,
}

/// A change of a secret: what is `None` stays. The inner `None` of a double option clears the field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretPatch {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub external_ref: Option<Option<String>>,
}

impl Engine {
    /// Lists the secrets of a company, newest first, behind a place.
    pub async fn secrets(
        &self,
        company: &CompanyId,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<Secret>, EngineError> {
        let listed = self.inner.read((company.clone(), before), move |tx, (company, before)| {
            Box::pin(async move { secrets::list(tx, &company, before, limit.clamp(1, MOST_SECRETS)).await })
        });
        Ok(listed.await?)
    }

    /// Finds a secret, whatever company it belongs to.
    pub async fn secret(&self, id: &str) -> Result<Secret, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { secrets::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Secret"))
    }

    /// Stores a value under a name, as version 1.
    pub async fn create_secret(
        &self,
        company: &CompanyId,
        draft: SecretDraft,
        by: &Author,
    ) -> Result<Secret, EngineError> {
        let mut sheet = Sheet::default();
        check_name(&mut sheet, &draft.name);
        check_value(&mut sheet, &draft.value);
        check_words(&mut sheet, draft.description.as_deref(), draft.external_ref.as_deref());
        sheet.word("provider", &draft.provider, &PROVIDERS);
        sheet.finish()?;
        if draft.provider != LOCAL_PROVIDER {
            let text = format!("{} provider is not configured in this deployment", draft.provider);
            return Err(EngineError::refused(Kind::Unprocessable, text));
        }
        let key = self.sealing_key().await?;
        let context = (company.clone(), draft, key, self.inner.dice.bytes());
        let made = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (company, draft, key, random) = context;
                companies::get(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                let secret = Secret {
                    id: scribe.id(),
                    company_id: company,
                    name: draft.name.trim().to_owned(),
                    provider: draft.provider,
                    external_ref: draft.external_ref,
                    latest_version: 1,
                    description: draft.description,
                    created_by_agent_id: scribe.by.agent_id(),
                    created_by_user_id: scribe.by.user_id(),
                    created_at: scribe.now,
                    updated_at: scribe.now,
                };
                if !secrets::insert(tx, &secret).await? {
                    return Err(taken(&secret.name));
                }
                add_version(tx, &secret, &key, &draft.value, random, scribe.now).await?;
                let details = json!({ "name": secret.name, "provider": secret.provider });
                keep(tx, &mut scribe, &secret, "secret.created", details).await?;
                Ok(secret)
            })
        });
        made.await
    }

    /// Gives a secret a new value, as its next version; processes that start from now on get it.
    pub async fn rotate_secret(
        &self,
        id: &str,
        value: SecretValue,
        external_ref: Option<Option<String>>,
        by: &Author,
    ) -> Result<Secret, EngineError> {
        let mut sheet = Sheet::default();
        check_value(&mut sheet, &value);
        check_words(&mut sheet, None, external_ref.as_ref().and_then(Option::as_deref));
        sheet.finish()?;
        let key = self.sealing_key().await?;
        let keyring = self.inner.keyring.clone();
        let context = (id.to_owned(), value, external_ref, (key, keyring), self.inner.dice.bytes());
        let rotated = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (id, value, external_ref, (key, keyring), random) = context;
                let before = secrets::lock(tx, &id).await?.ok_or(EngineError::NotFound("Secret"))?;
                let secret = Secret {
                    latest_version: before.latest_version + 1,
                    external_ref: external_ref.unwrap_or_else(|| before.external_ref.clone()),
                    updated_at: scribe.now,
                    ..before
                };
                add_version(tx, &secret, &key, &value, random, scribe.now).await?;
                secrets::update(tx, &secret).await?;
                // Whoever was refused with the old value is tried with the new one.
                let users = secrets::users(tx, &secret, MOST_USERS).await?;
                let users = agents::some(tx, &users).await?;
                accounts::all_configured(tx, &keyring, &users, scribe.now).await?;
                let details = json!({ "name": secret.name, "version": secret.latest_version });
                keep(tx, &mut scribe, &secret, "secret.rotated", details).await?;
                Ok(secret)
            })
        });
        let rotated = rotated.await?;
        self.inner.accounts.notify_one();
        self.inner.doorbell.ring_all();
        Ok(rotated)
    }

    /// Changes what a secret is called and what is said about it. Whoever refers to it does so by its id and notices
    /// nothing.
    pub async fn patch_secret(
        &self,
        id: &str,
        patch: SecretPatch,
        by: &Author,
    ) -> Result<Secret, EngineError> {
        let mut sheet = Sheet::default();
        if let Some(name) = &patch.name {
            check_name(&mut sheet, name);
        }
        let words = |field: &'_ Option<Option<String>>| field.clone().flatten();
        check_words(&mut sheet, words(&patch.description).as_deref(), words(&patch.external_ref).as_deref());
        sheet.finish()?;
        let context = (id.to_owned(), patch);
        let patched = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, patch)| {
            Box::pin(async move {
                let before = secrets::lock(tx, &id).await?.ok_or(EngineError::NotFound("Secret"))?;
                let secret = Secret {
                    name: patch.name.map_or_else(|| before.name.clone(), |name| name.trim().to_owned()),
                    description: patch.description.unwrap_or_else(|| before.description.clone()),
                    external_ref: patch.external_ref.unwrap_or_else(|| before.external_ref.clone()),
                    updated_at: scribe.now,
                    ..before
                };
                if !secrets::update(tx, &secret).await? {
                    return Err(taken(&secret.name));
                }
                keep(tx, &mut scribe, &secret, "secret.updated", json!({ "name": secret.name })).await?;
                Ok(secret)
            })
        });
        patched.await
    }

    /// Removes a secret with all its versions; refused as long as a configuration refers to it.
    pub async fn delete_secret(&self, id: &str, by: &Author) -> Result<Secret, EngineError> {
        let removed = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                // Behind the lock nobody begins to refer to it.
                let secret = secrets::lock(tx, &id).await?.ok_or(EngineError::NotFound("Secret"))?;
                let references = secrets::references(tx, &id, MOST_REFERENCES).await?;
                if !references.is_empty() {
                    return Err(in_use(&references));
                }
                secrets::remove(tx, &id).await?;
                keep(tx, &mut scribe, &secret, "secret.deleted", json!({ "name": secret.name })).await?;
                Ok(secret)
            })
        });
        removed.await
    }

    /// Looks whether the secrets of the store can be opened here: the key is there, and the right one.
    pub async fn check_secrets(&self) -> Result<(), EngineError> {
        let wanted = self.inner.read((), |tx, ()| Box::pin(async move { secrets::key(tx).await })).await?;
        match wanted {
            Some(wanted) => Ok(self.inner.vault.key(&wanted).map(drop)?),
            None => Ok(()),
        }
    }

    /// The key to seal with; made when the store never had a secret and there is none.
    pub(crate) async fn sealing_key(&self) -> Result<Arc<Key>, EngineError> {
        let wanted = self.inner.read((), |tx, ()| Box::pin(async move { secrets::key(tx).await })).await?;
        let draw = || {
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(&self.inner.dice.bytes());
            bytes[16..].copy_from_slice(&self.inner.dice.bytes());
            bytes
        };
        self.inner.vault.key_to_seal(wanted.as_deref(), draw).map_err(EngineError::from)
    }
}

impl From<VaultError> for EngineError {
    fn from(error: VaultError) -> EngineError {
        tracing::error!(%error, "secrets");
        EngineError::refused(Kind::Unprocessable, format!("Secrets cannot be used: {error}"))
    }
}

/// The first secret of a store says which key that store needs: a node that made another one at the same moment is
/// refused here.
pub(crate) async fn hold_key(tx: &mut Tx<'_>, key: &Key, now: Moment) -> Result<(), EngineError> {
    let holding = secrets::note_key(tx, key.id(), now).await?;
    if holding == key.id() {
        return Ok(());
    }
    let text = format!(
        "Secrets cannot be used: this node has the key {}, and the secrets of this store need {holding}: give \
         every node the same key file",
        key.id()
    );
    Err(EngineError::refused(Kind::Unprocessable, text))
}

/// Seals a value as the latest version of its secret.
pub(crate) async fn add_version(
    tx: &mut Tx<'_>,
    secret: &Secret,
    key: &Key,
    value: &SecretValue,
    random: [u8; 16],
    now: Moment,
) -> Result<(), EngineError> {
    hold_key(tx, key, now).await?;
    let place = Place { company: &secret.company_id, secret: &secret.id, version: secret.latest_version };
    let version = Version {
        secret_id: secret.id.clone(),
        version: secret.latest_version,
        key_id: key.id().to_owned(),
        material: key.seal(place, value, random),
        created_at: now,
    };
    Ok(secrets::insert_version(tx, &version).await?)
}

/// Writes what was done into the audit chain and the activity; never anything of a value.
pub(crate) async fn keep(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    secret: &Secret,
    action: &str,
    details: Json,
) -> Result<(), EngineError> {
    let words = format!("{} (version {})", secret.name, secret.latest_version);
    let actor = scribe.by.actor();
    audit::append(tx, stops::record(&secret.company_id, &actor, action, &secret.id, &words, scribe.now))
        .await?;
    scribe.tell(tx, &secret.company_id, action, ("secret", &secret.id), details).await?;
    Ok(())
}

fn taken(name: &str) -> EngineError {
    EngineError::refused(Kind::Conflict, format!("Secret already exists: {name}"))
}

fn in_use(references: &[Reference]) -> EngineError {
    let named: Vec<String> = references
        .iter()
        .map(|it| format!("{} {} ({})", it.owner_kind, it.owner_name, it.variable))
        .collect();
    let listed: Vec<Json> = references
        .iter()
        .map(|it| {
            json!({ "type": it.owner_kind, "id": it.owner_id, "name": it.owner_name, "variable": it.variable })
        })
        .collect();
    let text = format!("Secret is in use: {}", named.join(", "));
    EngineError::refused_with(Kind::Conflict, text, json!({ "references": listed }))
}

fn check_name(sheet: &mut Sheet, name: &str) {
    sheet.required("name", name, NAME);
    if name.chars().any(char::is_control) {
        sheet.wrong("name", "must not contain control characters", "use letters, digits and punctuation");
    }
}

fn check_words(sheet: &mut Sheet, description: Option<&str>, external_ref: Option<&str>) {
    sheet.maybe("description", description, DESCRIPTION);
    sheet.maybe("externalRef", external_ref, NAME);
}

fn check_value(sheet: &mut Sheet, value: &SecretValue) {
    let text = value.expose();
    if text.trim().len() < SECRET_MIN {
        // It could not be told from ordinary text in a log (D13).
        let message = format!("is shorter than {SECRET_MIN} bytes: it could not be hidden in logs");
        sheet.wrong("value", &message, "use a longer value, or give it as a plain variable");
    }
    if text.len() > LONGEST_VALUE {
        let message = format!("is longer than {LONGEST_VALUE} bytes");
        sheet.wrong("value", &message, "put it into a file that the agent reads");
    }
    if text.contains('\0') {
        sheet.wrong("value", "must not contain NUL characters", "leave them out");
    }
    if text == REDACTED {
        sheet.wrong(
            "value",
            "Refusing to persist redacted placeholder for key: value",
            "send the value itself",
        );
    }
}
