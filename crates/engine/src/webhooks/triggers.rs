//! Triggers: who starts which automation from outside. Made, changed and removed by people.
//!
//! A trigger is known by the token in its address, of which only the hash is kept, and proves itself with a secret, which
//! is sealed. Both are told once. They are beside the definition of the automation and never in it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::automation::AutomationStatus;
use domain::automation::definition::{self, Definition};
use domain::ids::CompanyId;
use domain::issue::refusal::Kind;
use domain::webhook::proof::{self, Rejection, Scheme};
use serde_json::{Map, json};
use store::automations::definitions::{self as automations, Automation};
use store::webhooks::secrets;
use store::webhooks::triggers::{self, WebhookTrigger};
use store::{StoreError, Tx, audit, companies};
use zeroize::Zeroizing;

use super::{WithSecret, checked_overlap, keys};
use crate::activity::{Author, Scribe};
use crate::issues::{Locks, Sheet};
use crate::secrets::SecretValue;
use crate::{Engine, EngineError, Inner, key_hash, stops};

/// Triggers of one company.
pub const MOST_TRIGGERS: i64 = 200;
const NAME: usize = 200;
/// What a body may hold, unless it is said otherwise, and at most.
const SIZE: i64 = 1 << 20;
const LARGEST: i64 = 8 << 20;
/// Requests in a minute, unless it is said otherwise, and at most.
const RATE: i64 = 120;
const FASTEST: i64 = 6_000;
const INPUT: &str = "webhook";

/// A new trigger.
#[derive(Debug, Clone)]
pub struct TriggerDraft {
    /// The automation that it starts, by id or name.
    pub automation: String,
    pub name: Option<String>,
    pub scheme: Scheme,
    /// `None`: one is drawn.
    pub secret: Option<SecretValue>,
    /// Where the secret stands, for the scheme that needs it.
    pub secret_header: Option<String>,
    /// The input of the run that gets what was sent.
    pub input: Option<String>,
    /// The headers that are handed on with it.
    pub headers: Option<Vec<String>>,
    pub size_limit: Option<i64>,
    pub rate_per_minute: Option<i64>,
}

/// A change of a trigger: what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TriggerPatch {
    pub name: Option<String>,
    pub input: Option<String>,
    pub headers: Option<Vec<String>>,
    pub size_limit: Option<i64>,
    pub rate_per_minute: Option<i64>,
    pub is_enabled: Option<bool>,
}

/// A trigger with the name of what it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerView {
    /// With the id of the automation that it starts now.
    pub trigger: WebhookTrigger,
    pub automation: String,
    /// Why no request starts anything at present, other than that it is turned off.
    pub obstacle: Option<Rejection>,
}

/// A trigger that was just made, with what is told this once.
#[derive(Debug, Clone)]
pub struct MadeTrigger {
    pub view: TriggerView,
    token: SecretValue,
    secret: SecretValue,
}

impl MadeTrigger {
    /// The token of its address, for the one answer that tells it.
    pub fn reveal_token(&self) -> &str {
        self.token.expose()
    }

    /// The secret, for the one answer that tells it.
    pub fn reveal_secret(&self) -> &str {
        self.secret.expose()
    }
}

impl Engine {
    /// Lists the triggers of a company, oldest first.
    pub async fn webhook_triggers(&self, company: &CompanyId) -> Result<Vec<TriggerView>, EngineError> {
        let listed = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move {
                let mut views = Vec::new();
                for trigger in triggers::list(tx, &company, MOST_TRIGGERS).await? {
                    views.push(view(tx, trigger).await?);
                }
                Ok(views)
            })
        });
        Ok(listed.await?)
    }

    /// Finds a trigger, whatever company it belongs to.
    pub async fn webhook_trigger(&self, id: &str) -> Result<TriggerView, EngineError> {
        let found = self.inner.read(id.to_owned(), |tx, id| {
            Box::pin(async move {
                match triggers::get(tx, &id).await? {
                    Some(trigger) => view(tx, trigger).await.map(Some),
                    None => Ok(None),
                }
            })
        });
        found.await?.ok_or(EngineError::NotFound("Webhook trigger"))
    }

    /// Makes a trigger of an automation.
    pub async fn create_webhook_trigger(
        &self,
        company: &CompanyId,
        draft: TriggerDraft,
        by: &Author,
    ) -> Result<MadeTrigger, EngineError> {
        let mut sheet = Sheet::default();
        let shape = Shape {
            name: draft.name.clone().unwrap_or_else(|| draft.scheme.as_str().to_owned()),
            input: draft.input.clone().unwrap_or_else(|| INPUT.to_owned()),
            headers: draft.headers.clone().unwrap_or_else(|| proof::HEADERS.map(str::to_owned).to_vec()),
            size_limit: draft.size_limit.unwrap_or(SIZE),
            rate_per_minute: draft.rate_per_minute.unwrap_or(RATE),
        };
        let header = secret_header(&mut sheet, &draft);
        shape.check(&mut sheet, &header);
        if let Some(secret) = &draft.secret {
            keys::check(&mut sheet, draft.scheme, secret);
        }
        sheet.finish()?;
        let found = self.automation(company, &draft.automation).await?;
        shape.check_input(&found.version.definition)?;
        let secret = draft.secret.unwrap_or_else(|| self.inner.drawn_secret());
        let token = self.inner.drawn_token();
        let hash = key_hash(token.expose());
        let key = self.sealing_key().await?;
        let context = (company.clone(), found.automation.id, shape, (draft.scheme, header), hash);
        let sealing = (key, secret.clone(), self.inner.dice.bytes());
        let made =
            self.inner.change(by, Locks::default(), (context, sealing), |tx, mut scribe, _, context| {
                Box::pin(async move {
                    let ((company, automation, shape, (scheme, header), hash), (key, secret, random)) =
                        context;
                    companies::lock(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                    if triggers::list(tx, &company, MOST_TRIGGERS).await?.len() as i64 == MOST_TRIGGERS {
                        let text = format!("A company has {MOST_TRIGGERS} webhook triggers at most");
                        return Err(EngineError::refused(Kind::Conflict, text));
                    }
                    let found = automations::get(tx, &automation).await?;
                    found.filter(|it| it.removed_at.is_none()).ok_or(EngineError::NotFound("Automation"))?;
                    let trigger = WebhookTrigger {
                        id: scribe.id(),
                        company_id: company,
                        automation_id: automation,
                        name: shape.name,
                        token_hash: hash,
                        scheme,
                        secret_header: header,
                        input: shape.input,
                        headers: json!(shape.headers),
                        size_limit: shape.size_limit,
                        rate_per_minute: shape.rate_per_minute,
                        is_enabled: true,
                        secret_version: 1,
                        created_by_user_id: scribe.by.user_id(),
                        created_at: scribe.now,
                        updated_at: scribe.now,
                    };
                    triggers::insert(tx, &trigger).await?;
                    let version = (&trigger.company_id, trigger.id.as_str(), 1);
                    keys::keep(tx, &key, version, &secret, random, scribe.now).await?;
                    tell(tx, &mut scribe, &trigger, "webhook_trigger.created").await?;
                    Ok(view(tx, trigger).await?)
                })
            });
        Ok(MadeTrigger { view: made.await?, token, secret })
    }

    /// Changes a trigger, turns it on or off.
    pub async fn patch_webhook_trigger(
        &self,
        id: &str,
        patch: TriggerPatch,
        by: &Author,
    ) -> Result<TriggerView, EngineError> {
        let known = self.webhook_trigger(id).await?;
        let before = &known.trigger;
        let shape = Shape {
            name: patch.name.clone().unwrap_or_else(|| before.name.clone()),
            input: patch.input.clone().unwrap_or_else(|| before.input.clone()),
            headers: patch.headers.clone().unwrap_or_else(|| headers_of(before)),
            size_limit: patch.size_limit.unwrap_or(before.size_limit),
            rate_per_minute: patch.rate_per_minute.unwrap_or(before.rate_per_minute),
        };
        let mut sheet = Sheet::default();
        shape.check(&mut sheet, &before.secret_header);
        sheet.finish()?;
        if patch.input.is_some() {
            let found = self.automation(&before.company_id, before.automation_id.as_str()).await?;
            shape.check_input(&found.version.definition)?;
        }
        let context = (id.to_owned(), patch);
        let changed = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, patch)| {
            Box::pin(async move {
                let before = locked(tx, &id).await?;
                let trigger = WebhookTrigger {
                    name: patch.name.unwrap_or_else(|| before.name.clone()),
                    input: patch.input.unwrap_or_else(|| before.input.clone()),
                    headers: patch.headers.map_or_else(|| before.headers.clone(), |headers| json!(headers)),
                    size_limit: patch.size_limit.unwrap_or(before.size_limit),
                    rate_per_minute: patch.rate_per_minute.unwrap_or(before.rate_per_minute),
                    is_enabled: patch.is_enabled.unwrap_or(before.is_enabled),
                    updated_at: scribe.now,
                    ..before
                };
                triggers::update(tx, &trigger).await?;
                tell(tx, &mut scribe, &trigger, "webhook_trigger.updated").await?;
                Ok(view(tx, trigger).await?)
            })
        });
        changed.await
    }

    /// Gives a trigger a new secret. The one before proves senders beside it for a while.
    pub async fn rotate_trigger_secret(
        &self,
        id: &str,
        secret: Option<SecretValue>,
        overlap: Option<Duration>,
        by: &Author,
    ) -> Result<WithSecret<TriggerView>, EngineError> {
        let known = self.webhook_trigger(id).await?;
        let mut sheet = Sheet::default();
        if let Some(secret) = &secret {
            keys::check(&mut sheet, known.trigger.scheme, secret);
        }
        let overlap = checked_overlap(&mut sheet, overlap);
        sheet.finish()?;
        let secret = secret.unwrap_or_else(|| self.inner.drawn_secret());
        let key = self.sealing_key().await?;
        let context = (id.to_owned(), secret.clone(), overlap, key, self.inner.dice.bytes());
        let rotated = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (id, secret, overlap, key, random) = context;
                let before = locked(tx, &id).await?;
                let now = scribe.now;
                let trigger =
                    WebhookTrigger { secret_version: before.secret_version + 1, updated_at: now, ..before };
                secrets::expire(tx, &id, now.plus(overlap), now).await?;
                let version = (&trigger.company_id, id.as_str(), trigger.secret_version);
                keys::keep(tx, &key, version, &secret, random, now).await?;
                triggers::update(tx, &trigger).await?;
                tell(tx, &mut scribe, &trigger, "webhook_trigger.secret_rotated").await?;
                Ok(view(tx, trigger).await?)
            })
        });
        Ok(WithSecret { made: rotated.await?, secret })
    }

    /// Removes a trigger with its receipts. Runs that it started stay.
    pub async fn delete_webhook_trigger(&self, id: &str, by: &Author) -> Result<WebhookTrigger, EngineError> {
        let removed = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let trigger = locked(tx, &id).await?;
                triggers::remove(tx, &id).await?;
                tell(tx, &mut scribe, &trigger, "webhook_trigger.deleted").await?;
                Ok(trigger)
            })
        });
        removed.await
    }
}

impl Inner {
    fn drawn_token(&self) -> SecretValue {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes[..16].copy_from_slice(&self.dice.bytes());
        bytes[16..].copy_from_slice(&self.dice.bytes());
        SecretValue::new(URL_SAFE_NO_PAD.encode(&bytes[..]))
    }
}

/// The automation that a trigger starts: the one that it was made for, and when that was removed, the one that has its
/// name now.
pub(super) async fn started_by(
    tx: &mut Tx<'_>,
    trigger: &WebhookTrigger,
) -> Result<Option<Automation>, StoreError> {
    match automations::get(tx, &trigger.automation_id).await? {
        Some(gone) if gone.removed_at.is_some() => {
            automations::named(tx, &trigger.company_id, &gone.name).await
        }
        found => Ok(found),
    }
}

/// A trigger, locked, with the id of the automation that it starts now.
async fn locked(tx: &mut Tx<'_>, id: &str) -> Result<WebhookTrigger, EngineError> {
    let mut trigger = triggers::lock(tx, id).await?.ok_or(EngineError::NotFound("Webhook trigger"))?;
    if let Some(automation) = started_by(tx, &trigger).await? {
        trigger.automation_id = automation.id;
    }
    Ok(trigger)
}

async fn view(tx: &mut Tx<'_>, mut trigger: WebhookTrigger) -> Result<TriggerView, StoreError> {
    let Some(found) = started_by(tx, &trigger).await? else {
        let gone = automations::get(tx, &trigger.automation_id).await?;
        let automation = gone.map(|it| it.name).unwrap_or_default();
        return Ok(TriggerView { trigger, automation, obstacle: Some(Rejection::AutomationRemoved) });
    };
    let version = automations::version(tx, &found.id, found.version).await?;
    let read = version.and_then(|version| definition::read(&version.definition).ok());
    let obstacle = match read {
        _ if found.status != AutomationStatus::Active => Some(Rejection::AutomationPaused),
        Some(definition) if takes(&definition, &trigger.input) => None,
        Some(_) | None => Some(Rejection::InputRefused),
    };
    trigger.automation_id = found.id;
    Ok(TriggerView { trigger, automation: found.name, obstacle })
}

/// Whether runs of a definition can be started with nothing but what is sent, in this input.
fn takes(definition: &Definition, input: &str) -> bool {
    let given = Map::from_iter([(input.to_owned(), json!({}))]);
    definition.inputs(&given).is_ok()
}

/// What triggers of a company will not be able to do with this definition, each in words.
pub(crate) async fn refused_by(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    definition: &Definition,
) -> Result<Vec<String>, StoreError> {
    let mut told = Vec::new();
    for trigger in triggers::list(tx, company, MOST_TRIGGERS).await? {
        let named = automations::get(tx, &trigger.automation_id).await?;
        // It may start the one that had the name before: then it goes on with this one.
        if named.is_some_and(|it| it.name == definition.name) && !takes(definition, &trigger.input) {
            told.push(format!(
                "requests to the webhook trigger `{}` ({}) will be refused: what they send comes as the input `{}`, \
                 an object, and nothing else is given",
                trigger.name, trigger.id, trigger.input
            ));
        }
    }
    Ok(told)
}

/// What may be said of a trigger.
#[derive(Debug, Clone)]
struct Shape {
    name: String,
    input: String,
    headers: Vec<String>,
    size_limit: i64,
    rate_per_minute: i64,
}

impl Shape {
    fn check(&self, sheet: &mut Sheet, secret_header: &str) {
        sheet.required("name", &self.name, NAME);
        sheet.required("input", &self.input, NAME);
        if self.headers.len() > proof::MOST_HEADERS {
            sheet.wrong("headers", &format!("has more than {} entries", proof::MOST_HEADERS), "name fewer");
        }
        for (at, name) in self.headers.iter().enumerate() {
            let is_proof = (name == secret_header).then_some("holds the secret");
            if let Some(flaw) = proof::header_flaw(name).or(is_proof) {
                sheet.wrong(&format!("headers.{at}"), flaw, "write them like x-github-event");
            }
        }
        if !(1..=LARGEST).contains(&self.size_limit) {
            sheet.wrong("sizeLimit", &format!("must be 1 to {LARGEST} bytes"), "leave it out: 1 MiB");
        }
        if !(1..=FASTEST).contains(&self.rate_per_minute) {
            sheet.wrong("ratePerMinute", &format!("must be 1 to {FASTEST}"), "leave it out: 120");
        }
    }

    /// What is sent needs a place in the run.
    fn check_input(&self, definition: &serde_json::Value) -> Result<(), EngineError> {
        let mut sheet = Sheet::default();
        let read = definition::read(definition).ok();
        let takes = |kind: definition::InputKind| kind == definition::InputKind::Object;
        match read.as_ref().and_then(|definition| definition.inputs.get(&self.input)) {
            Some(input) if input.kind.is_none_or(takes) => {}
            Some(_) => sheet.wrong("input", "is not an object in the definition", "give it the type object"),
            None => {
                let message = format!("the automation has no input `{}`", self.input);
                sheet.wrong(
                    "input",
                    &message,
                    "add it to the inputs of its definition, with the type object",
                );
            }
        }
        sheet.finish()
    }
}

/// The headers that a trigger hands on.
pub(super) fn headers_of(trigger: &WebhookTrigger) -> Vec<String> {
    let names = trigger.headers.as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Where the secret of a trigger stands.
fn secret_header(sheet: &mut Sheet, draft: &TriggerDraft) -> String {
    let Some(name) = &draft.secret_header else { return proof::SHARED_HEADER.to_owned() };
    if draft.scheme != Scheme::SharedSecret {
        sheet.wrong("secretHeader", "is only for the scheme shared_secret", "leave it out");
    }
    let is_token =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 100 || !name.bytes().all(is_token) {
        sheet.wrong("secretHeader", "is no name of a header, in small letters", "for example x-gitlab-token");
    }
    name.clone()
}

/// Writes what was done into the audit chain and the activity; never anything of a token or a secret.
async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    trigger: &WebhookTrigger,
    action: &str,
) -> Result<(), EngineError> {
    let state = if trigger.is_enabled { "enabled" } else { "disabled" };
    let words = format!(
        "{} starts {} ({}, {state}, secret {})",
        trigger.name, trigger.automation_id, trigger.scheme, trigger.secret_version
    );
    let actor = scribe.by.actor();
    let record = stops::record(&trigger.company_id, &actor, action, &trigger.id, &words, scribe.now);
    audit::append(tx, record).await?;
    let details = json!({
        "name": trigger.name, "automationId": trigger.automation_id, "scheme": trigger.scheme,
        "enabled": trigger.is_enabled,
    });
    scribe.tell(tx, &trigger.company_id, action, ("webhook_trigger", &trigger.id), details).await?;
    Ok(())
}
