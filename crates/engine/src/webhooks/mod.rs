//! Webhooks: the endpoints of a company, the events that are sent to them, and requests from outside.
//!
//! Here endpoints are made, changed and removed by people. Sending is `sending`, what is signed with is `keys`. What comes
//! in passes `receiving`, through triggers that people make in `triggers`.

pub(crate) mod keys;
pub(crate) mod receiving;
pub(crate) mod sending;
mod triggers;

use std::time::Duration;

use domain::ids::CompanyId;
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use domain::recovery::InboxKind;
use domain::webhook::delivery::{DeliveryStatus, DisabledReason};
use domain::webhook::proof::Scheme;
use domain::webhook::{event, place};
use serde_json::{Value as Json, json};
use store::inbox::{self, InboxItem};
use store::webhooks::deliveries::{self, Delivery};
use store::webhooks::endpoints::{self, Endpoint};
use store::webhooks::secrets;
use store::{Tx, audit, companies, events};

use crate::activity::{Author, Scribe};
use crate::issues::{Locks, Sheet};
use crate::secrets::SecretValue;
use crate::{Engine, EngineError, Inner, stops};

pub use receiving::{Doorway, Incoming, Knock, MOST_RECEIPTS, Received, Reception};
pub(crate) use triggers::refused_by;
pub use triggers::{MOST_TRIGGERS, MadeTrigger, TriggerDraft, TriggerPatch, TriggerView};

/// Endpoints of one company.
pub const MOST_ENDPOINTS: i64 = 100;
/// The longest list of deliveries.
pub const MOST_DELIVERIES: i64 = 500;
const DESCRIPTION: usize = 2_000;
/// How long a secret that was rotated out signs beside the new one, unless it is said otherwise.
pub const OVERLAP: Duration = Duration::from_secs(86_400);
/// No longer than a month.
pub(crate) const LONGEST_OVERLAP: Duration = Duration::from_secs(31 * 86_400);
/// Why a delivery is over that waited while its endpoint was turned off.
const ENDPOINT_DISABLED: &str = "the endpoint was disabled";

/// A new endpoint.
#[derive(Debug, Clone)]
pub struct EndpointDraft {
    pub url: String,
    /// Patterns of the events that it hears.
    pub events: Vec<String>,
    pub description: Option<String>,
    /// `None`: one is drawn.
    pub secret: Option<SecretValue>,
}

/// A change of an endpoint: what is `None` stays. The inner `None` of a double option clears the field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointPatch {
    pub url: Option<String>,
    pub events: Option<Vec<String>>,
    pub description: Option<Option<String>>,
    pub is_enabled: Option<bool>,
}

/// Something with a secret that is told this once.
#[derive(Debug, Clone)]
pub struct WithSecret<T> {
    pub made: T,
    secret: SecretValue,
}

impl<T> WithSecret<T> {
    /// The secret, for the one answer that tells it.
    pub fn reveal(&self) -> &str {
        self.secret.expose()
    }
}

impl Engine {
    /// Lists the endpoints of a company, oldest first.
    pub async fn webhooks(&self, company: &CompanyId) -> Result<Vec<Endpoint>, EngineError> {
        let listed = self.inner.read(company.clone(), |tx, company| {
            Box::pin(async move { endpoints::list(tx, &company, MOST_ENDPOINTS).await })
        });
        Ok(listed.await?)
    }

    /// Finds an endpoint, whatever company it belongs to.
    pub async fn webhook(&self, id: &str) -> Result<Endpoint, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { endpoints::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Webhook"))
    }

    /// Makes an endpoint; it hears what happens from now on.
    pub async fn create_webhook(
        &self,
        company: &CompanyId,
        draft: EndpointDraft,
        by: &Author,
    ) -> Result<WithSecret<Endpoint>, EngineError> {
        self.make_webhook(company, draft, (true, false), by).await
    }

    /// The same, of one that may be off. `is_once`: an address that another one has, but for the values in it, is refused.
    pub(crate) async fn make_webhook(
        &self,
        company: &CompanyId,
        draft: EndpointDraft,
        (is_enabled, is_once): (bool, bool),
        by: &Author,
    ) -> Result<WithSecret<Endpoint>, EngineError> {
        let mut sheet = Sheet::default();
        check_url(&mut sheet, &draft.url);
        check_events(&mut sheet, &draft.events);
        sheet.maybe("description", draft.description.as_deref(), DESCRIPTION);
        if let Some(secret) = &draft.secret {
            keys::check(&mut sheet, Scheme::Standard, secret);
        }
        sheet.finish()?;
        let secret = draft.secret.clone().unwrap_or_else(|| self.inner.drawn_secret());
        let key = self.sealing_key().await?;
        let context = (company.clone(), draft, secret.clone(), key, self.inner.dice.bytes());
        let made = self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (company, draft, secret, key, random) = context;
                companies::lock(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                let there = endpoints::list(tx, &company, MOST_ENDPOINTS).await?;
                let shown = place::shown(&draft.url);
                if is_once && there.iter().any(|endpoint| place::shown(&endpoint.url) == shown) {
                    return Err(EngineError::taken("webhook", &shown));
                }
                if there.len() as i64 == MOST_ENDPOINTS {
                    let text = format!("A company has {MOST_ENDPOINTS} webhooks at most");
                    return Err(EngineError::refused(Kind::Conflict, text));
                }
                let endpoint = Endpoint {
                    id: scribe.id(),
                    company_id: company,
                    url: draft.url,
                    events: json!(draft.events),
                    description: draft.description,
                    is_enabled,
                    disabled_reason: (!is_enabled).then_some(DisabledReason::ByPerson),
                    disabled_at: (!is_enabled).then_some(scribe.now),
                    failing_since: None,
                    event_cursor: events::head(tx).await?,
                    secret_version: 1,
                    created_by_user_id: scribe.by.user_id(),
                    created_at: scribe.now,
                    updated_at: scribe.now,
                };
                endpoints::insert(tx, &endpoint).await?;
                let version = (&endpoint.company_id, endpoint.id.as_str(), 1);
                keys::keep(tx, &key, version, &secret, random, scribe.now).await?;
                tell(tx, &mut scribe, &endpoint, "webhook.created").await?;
                Ok(endpoint)
            })
        });
        let made = made.await?;
        self.inner.webhooks.notify_one();
        Ok(WithSecret { made, secret })
    }

    /// Changes an endpoint. One that is enabled again hears what happens from then on; what waits for one that is
    /// disabled is over.
    pub async fn patch_webhook(
        &self,
        id: &str,
        patch: EndpointPatch,
        by: &Author,
    ) -> Result<Endpoint, EngineError> {
        let mut sheet = Sheet::default();
        if let Some(url) = &patch.url {
            check_url(&mut sheet, url);
        }
        if let Some(events) = &patch.events {
            check_events(&mut sheet, events);
        }
        sheet.maybe("description", patch.description.as_ref().and_then(Option::as_deref), DESCRIPTION);
        sheet.finish()?;
        let context = (id.to_owned(), patch);
        let patched = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, patch)| {
            Box::pin(async move {
                let before = endpoints::lock(tx, &id).await?.ok_or(EngineError::NotFound("Webhook"))?;
                let now = scribe.now;
                let mut endpoint = Endpoint {
                    url: patch.url.unwrap_or_else(|| before.url.clone()),
                    events: patch.events.map_or_else(|| before.events.clone(), |events| json!(events)),
                    description: patch.description.unwrap_or_else(|| before.description.clone()),
                    updated_at: now,
                    ..before.clone()
                };
                match patch.is_enabled {
                    Some(true) if !before.is_enabled => {
                        endpoint.is_enabled = true;
                        (endpoint.disabled_reason, endpoint.disabled_at) = (None, None);
                        endpoint.failing_since = None;
                        let head = events::head(tx).await?;
                        endpoints::move_cursor(tx, &id, head).await?;
                        endpoint.event_cursor = head;
                        inbox::resolve_of(tx, &id, None, "enabled", now).await?;
                    }
                    Some(false) if before.is_enabled => {
                        turn_off(tx, &mut endpoint, DisabledReason::ByPerson, now).await?;
                    }
                    Some(_) | None => {}
                }
                endpoints::update(tx, &endpoint).await?;
                tell(tx, &mut scribe, &endpoint, "webhook.updated").await?;
                Ok(endpoint)
            })
        });
        let patched = patched.await?;
        self.inner.webhooks.notify_one();
        Ok(patched)
    }

    /// Gives an endpoint a new secret. The one before signs beside it for a while, so that the receiver can change over.
    pub async fn rotate_webhook_secret(
        &self,
        id: &str,
        secret: Option<SecretValue>,
        overlap: Option<Duration>,
        by: &Author,
    ) -> Result<WithSecret<Endpoint>, EngineError> {
        let mut sheet = Sheet::default();
        if let Some(secret) = &secret {
            keys::check(&mut sheet, Scheme::Standard, secret);
        }
        let overlap = checked_overlap(&mut sheet, overlap);
        sheet.finish()?;
        let secret = secret.unwrap_or_else(|| self.inner.drawn_secret());
        let key = self.sealing_key().await?;
        let context = (id.to_owned(), secret.clone(), overlap, key, self.inner.dice.bytes());
        let rotated = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, context| {
            Box::pin(async move {
                let (id, secret, overlap, key, random) = context;
                let before = endpoints::lock(tx, &id).await?.ok_or(EngineError::NotFound("Webhook"))?;
                let now = scribe.now;
                let endpoint =
                    Endpoint { secret_version: before.secret_version + 1, updated_at: now, ..before };
                secrets::expire(tx, &id, now.plus(overlap), now).await?;
                let version = (&endpoint.company_id, id.as_str(), endpoint.secret_version);
                keys::keep(tx, &key, version, &secret, random, now).await?;
                endpoints::update(tx, &endpoint).await?;
                tell(tx, &mut scribe, &endpoint, "webhook.secret_rotated").await?;
                Ok(endpoint)
            })
        });
        Ok(WithSecret { made: rotated.await?, secret })
    }

    /// Removes an endpoint with its deliveries.
    pub async fn delete_webhook(&self, id: &str, by: &Author) -> Result<Endpoint, EngineError> {
        let removed = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let endpoint = endpoints::lock(tx, &id).await?.ok_or(EngineError::NotFound("Webhook"))?;
                endpoints::remove(tx, &id).await?;
                inbox::resolve_of(tx, &id, None, "removed", scribe.now).await?;
                tell(tx, &mut scribe, &endpoint, "webhook.deleted").await?;
                Ok(endpoint)
            })
        });
        removed.await
    }

    /// Sends an event that means nothing, to try an endpoint; returns its delivery.
    pub async fn test_webhook(&self, id: &str, by: &Author) -> Result<Delivery, EngineError> {
        let ordered = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let endpoint = endpoints::lock(tx, &id).await?.ok_or(EngineError::NotFound("Webhook"))?;
                refuse_disabled(&endpoint)?;
                let payload = json!({ "webhookId": id, "message": "This is a test." });
                let (test, now) = (scribe.id(), scribe.now);
                let delivery = waiting(test, &endpoint, None, (event::TEST, payload, now), now);
                deliveries::insert(tx, &delivery).await?;
                Ok(delivery)
            })
        });
        let ordered = ordered.await?;
        self.inner.webhooks.notify_one();
        Ok(ordered)
    }

    /// Lists the deliveries of an endpoint, newest first, behind a place.
    pub async fn webhook_deliveries(
        &self,
        endpoint: &str,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<Delivery>, EngineError> {
        let limit = limit.clamp(1, MOST_DELIVERIES);
        let listed = self.inner.read((endpoint.to_owned(), before), move |tx, (endpoint, before)| {
            Box::pin(async move { deliveries::list(tx, &endpoint, before, limit).await })
        });
        Ok(listed.await?)
    }

    /// Finds a delivery, whatever company it belongs to.
    pub async fn webhook_delivery(&self, id: &str) -> Result<Delivery, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { deliveries::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Webhook delivery"))
    }

    /// Sends a delivery that is over once more, under its own id and with all its tries.
    pub async fn redeliver(&self, id: &str, by: &Author) -> Result<Delivery, EngineError> {
        let known = self.webhook_delivery(id).await?;
        let context = (known.endpoint_id, known.id);
        let ordered =
            self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (endpoint, id)| {
                Box::pin(async move {
                    let gone = || EngineError::NotFound("Webhook delivery");
                    let endpoint = endpoints::lock(tx, &endpoint).await?.ok_or_else(gone)?;
                    refuse_disabled(&endpoint)?;
                    if !deliveries::restart(tx, &id, scribe.now).await? {
                        return Err(EngineError::refused(Kind::Conflict, "Delivery is being sent already"));
                    }
                    let delivery = deliveries::get(tx, &id).await?.ok_or_else(gone)?;
                    let details = json!({ "deliveryId": id, "type": delivery.kind });
                    let about = ("webhook", endpoint.id.as_str());
                    scribe.tell(tx, &endpoint.company_id, "webhook.redelivered", about, details).await?;
                    Ok(delivery)
                })
            });
        let ordered = ordered.await?;
        self.inner.webhooks.notify_one();
        Ok(ordered)
    }
}

fn refuse_disabled(endpoint: &Endpoint) -> Result<(), EngineError> {
    if endpoint.is_enabled {
        return Ok(());
    }
    Err(EngineError::refused(Kind::Conflict, "Webhook is disabled: enable it first"))
}

/// A delivery that is due at once.
fn waiting(
    id: String,
    endpoint: &Endpoint,
    event_id: Option<i64>,
    (kind, payload, happened_at): (&str, Json, Moment),
    now: Moment,
) -> Delivery {
    Delivery {
        id,
        endpoint_id: endpoint.id.clone(),
        company_id: endpoint.company_id.clone(),
        event_id,
        kind: kind.to_owned(),
        payload,
        happened_at,
        status: DeliveryStatus::Pending,
        attempts: 0,
        due_at: Some(now),
        lease: None,
        answer_status: None,
        answer: None,
        error: None,
        took_ms: None,
        tried_at: None,
        created_at: now,
        finished_at: None,
    }
}

/// Turns an endpoint off and ends what waits for it. It is locked; the caller writes it.
async fn turn_off(
    tx: &mut Tx<'_>,
    endpoint: &mut Endpoint,
    reason: DisabledReason,
    now: Moment,
) -> Result<(), EngineError> {
    endpoint.is_enabled = false;
    endpoint.disabled_reason = Some(reason);
    endpoint.disabled_at = Some(now);
    deliveries::give_up(tx, &endpoint.id, ENDPOINT_DISABLED, now).await?;
    Ok(())
}

/// The program turns an endpoint off, and people are told. It is locked.
async fn give_up(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    mut endpoint: Endpoint,
    reason: DisabledReason,
) -> Result<(), EngineError> {
    let now = scribe.now;
    turn_off(tx, &mut endpoint, reason, now).await?;
    endpoint.updated_at = now;
    endpoints::update(tx, &endpoint).await?;
    let why = match reason {
        DisabledReason::Gone => "it says that it is gone",
        DisabledReason::Failing => "it has failed for five days",
        DisabledReason::ByPerson => "a person said so",
    };
    let url = place::shown(&endpoint.url);
    let item = InboxItem {
        id: scribe.id(),
        company_id: endpoint.company_id.clone(),
        kind: InboxKind::WebhookDisabled.as_str().to_owned(),
        entity_type: "webhook".to_owned(),
        entity_id: endpoint.id.clone(),
        cause: reason.as_str().to_owned(),
        title: format!("no events are sent to {url} any more: {why}"),
        details: json!({ "url": url, "reason": reason }),
        owner_agent_id: None,
        opened_at: now,
        resolved_at: None,
        resolution: None,
    };
    inbox::open(tx, &item).await?;
    tell(tx, scribe, &endpoint, "webhook.disabled").await
}

/// Writes what was done into the audit chain and the activity; never anything of a secret.
async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    endpoint: &Endpoint,
    action: &str,
) -> Result<(), EngineError> {
    let url = place::shown(&endpoint.url);
    let patterns = endpoint.patterns().collect::<Vec<_>>().join(", ");
    let state = endpoint.disabled_reason.map_or("enabled", DisabledReason::as_str);
    let words = format!("{url}, {patterns}, {state}, secret {}", endpoint.secret_version);
    let actor = scribe.by.actor();
    let record = stops::record(&endpoint.company_id, &actor, action, &endpoint.id, &words, scribe.now);
    audit::append(tx, record).await?;
    let details =
        json!({ "url": url, "events": endpoint.events, "disabledReason": endpoint.disabled_reason });
    scribe.tell(tx, &endpoint.company_id, action, ("webhook", &endpoint.id), details).await?;
    Ok(())
}

/// What is wrong with an endpoint before anybody makes it. `url`, `events`: `None` where they stay what they are.
pub(crate) fn check_endpoint(
    url: Option<&str>,
    events: Option<&[String]>,
    description: Option<&str>,
) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    if let Some(url) = url {
        check_url(&mut sheet, url);
    }
    if let Some(events) = events {
        check_events(&mut sheet, events);
    }
    sheet.maybe("description", description, DESCRIPTION);
    sheet.finish()
}

fn check_url(sheet: &mut Sheet, url: &str) {
    if let Some(flaw) = place::flaw(url) {
        sheet.wrong("url", flaw, "write it like https://example.com/hooks");
    } else if !adapters::is_deliverable(url) {
        sheet.wrong("url", "cannot be read", "write it like https://example.com/hooks");
    }
}

fn check_events(sheet: &mut Sheet, events: &[String]) {
    const HINT: &str = "write them like automation.run.created, automation.* or *";
    if events.is_empty() || events.len() > event::MOST_PATTERNS {
        let message = format!("must be 1 to {} patterns", event::MOST_PATTERNS);
        sheet.wrong("events", &message, HINT);
    }
    for (at, pattern) in events.iter().enumerate() {
        let path = format!("events.{at}");
        if let Some(flaw) = event::flaw(pattern) {
            sheet.wrong(&path, flaw, HINT);
        } else if !event::is_told(pattern) {
            sheet.wrong(&path, "means no event that there is", &format!("there are {}", event::all()));
        }
    }
}

pub(crate) fn checked_overlap(sheet: &mut Sheet, overlap: Option<Duration>) -> Duration {
    let overlap = overlap.unwrap_or(OVERLAP);
    if overlap > LONGEST_OVERLAP {
        sheet.wrong("overlapSeconds", "is longer than 31 days", "0 ends the old secret at once");
    }
    overlap
}

impl Inner {
    /// Removes what is older than it is kept, a batch of each.
    pub(crate) async fn forget_webhooks(&self, now: Moment) -> Result<u64, EngineError> {
        self.forget_receipts(now).await?;
        let before = now.minus(self.settings.keep_deliveries_for);
        let removed = self.store.write_bulk(move |tx| Box::pin(deliveries::remove_over(tx, before, 5_000)));
        Ok(removed.await?)
    }
}
