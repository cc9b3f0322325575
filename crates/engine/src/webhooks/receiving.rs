//! Takes requests from outside that start automations.
//!
//! Nothing is believed before its signature was checked over the bytes as they came. The receipt and the run that it
//! starts are one commit (W8): a request that is acknowledged has its run, and one that was not is sent again by its
//! sender and recognised by its id. What was sent reaches a run as data, in one input; nobody executes any of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::automation::{AutomationStatus, TriggerType};
use domain::ids::AutomationRunId;
use domain::moment::Moment;
use domain::wake::Actor;
use domain::webhook::form;
use domain::webhook::proof::{self, Rejection};
use domain::webhook::rate::Allowance;
use domain::webhook::receipt::{Decision, Earlier, KnownBy, ReceiptStatus, ReceiptView, Target, decide};
use serde_json::{Map, Value as Json, json};
use store::webhooks::receipts::{self, Receipt};
use store::webhooks::secrets;
use store::webhooks::triggers::{self, WebhookTrigger};
use store::{StoreError, Tx};

use super::keys;
use super::triggers::{headers_of, started_by};
use crate::automations::{Launch, launch};
use crate::digest;
use crate::{Engine, EngineError, Inner, key_hash};

/// The longest list of receipts.
pub const MOST_RECEIPTS: i64 = 500;
/// The longest type of content that is kept.
const CONTENT_TYPE: usize = 200;
const CONTENT_TYPE_HEADER: &str = "content-type";
/// Requests to one trigger that are on their way in at the same time: their bodies are held before it is known who sent
/// them.
const AT_ONCE: usize = 128;
/// When those may come again that found as many others.
const CROWDED: Duration = Duration::from_secs(1);

/// A trigger that a token named, and how large a body it takes.
#[derive(Debug)]
pub struct Doorway {
    trigger: WebhookTrigger,
    _guest: Arc<()>,
}

impl Doorway {
    pub fn size_limit(&self) -> usize {
        usize::try_from(self.trigger.size_limit).unwrap_or(usize::MAX)
    }
}

/// Whether somebody may come in.
#[derive(Debug)]
pub enum Knock {
    Open(Box<Doorway>),
    /// Too many others come at the same time.
    Wait(Duration),
}

/// A request as it came: headers that were there once, by their names in small letters, and the bytes of the body.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reception {
    pub receipt: Receipt,
    /// What the automation did not take, where that is why.
    pub refusal: Option<String>,
}

/// What a request hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    Noted(Box<Reception>),
    /// Too many of its kind came before. Nothing of it is kept.
    Wait(Duration),
}

/// What is left for each trigger, on this node.
#[derive(Debug, Default)]
pub(crate) struct Allowances(Mutex<BTreeMap<String, Allowed>>);

/// What is left for one trigger. Whoever proves nothing uses up nothing of what is there for those who do.
#[derive(Debug)]
struct Allowed {
    proven: Allowance,
    unproven: Allowance,
    guests: Arc<()>,
}

impl Allowances {
    fn with<T>(&self, trigger: &WebhookTrigger, now: Moment, then: impl FnOnce(&mut Allowed, u32) -> T) -> T {
        let rate = u32::try_from(trigger.rate_per_minute).unwrap_or(u32::MAX);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = all.entry(trigger.id.clone()).or_insert_with(|| Allowed {
            proven: Allowance::full(rate, now),
            unproven: Allowance::full(rate, now),
            guests: Arc::default(),
        });
        then(allowed, rate)
    }

    /// Lets one more in, unless there are many.
    fn enter(&self, trigger: &WebhookTrigger, now: Moment) -> Option<Arc<()>> {
        self.with(trigger, now, |allowed, _| {
            // One of them is its own.
            (Arc::strong_count(&allowed.guests) <= AT_ONCE).then(|| Arc::clone(&allowed.guests))
        })
    }

    fn take(&self, trigger: &WebhookTrigger, is_proven: bool, now: Moment) -> Result<(), Duration> {
        self.with(trigger, now, |allowed, rate| {
            let left = if is_proven { &mut allowed.proven } else { &mut allowed.unproven };
            left.take(rate, now)
        })
    }
}

impl Engine {
    /// Finds the trigger of a token; whoever knows none is told nothing.
    pub async fn knock(&self, token: &str) -> Result<Knock, EngineError> {
        self.inner.refuse_when_closing()?;
        let hash = key_hash(token);
        let found = self
            .inner
            .read(hash, |tx, hash| Box::pin(async move { triggers::by_token(tx, &hash).await }))
            .await?;
        let trigger = found.ok_or(EngineError::NotFound("Webhook"))?;
        Ok(match self.inner.allowances.enter(&trigger, self.now()) {
            Some(guest) => Knock::Open(Box::new(Doorway { trigger, _guest: guest })),
            None => Knock::Wait(CROWDED),
        })
    }

    /// Notes a request whose body could not be taken; no more of them than of others that prove nothing.
    pub async fn reject(&self, at: &Doorway, why: Rejection) -> Result<(), EngineError> {
        if self.inner.allowances.take(&at.trigger, false, self.now()).is_err() {
            return Ok(());
        }
        let receipt = self.inner.blank(&at.trigger, String::new(), 0, None);
        self.inner.keep_rejected(receipt, ReceiptStatus::Rejected, why).await?;
        Ok(())
    }

    /// Takes a request: checks who sent it, and starts a run unless it came before.
    pub async fn receive(&self, at: Doorway, incoming: Incoming) -> Result<Received, EngineError> {
        let trigger = &at.trigger;
        let header = |name: &str| incoming.headers.get(name).cloned();
        let digest = digest::sha256(&incoming.body);
        let size = i64::try_from(incoming.body.len()).unwrap_or(i64::MAX);
        let kind = header(CONTENT_TYPE_HEADER).map(|text| text.chars().take(CONTENT_TYPE).collect());
        let receipt = self.inner.blank(trigger, digest, size, kind);
        let now = receipt.received_at;
        let proven = self.inner.prove(trigger, &header, &incoming.body, now).await?;
        if let Err(wait) = self.inner.allowances.take(trigger, proven.is_ok(), now) {
            return Ok(Received::Wait(wait));
        }
        let reception = match proven.and_then(|()| proof::event_id(trigger.scheme, &header)) {
            Ok(event) => {
                let is_ping = proof::is_ping(trigger.scheme, &header);
                let receipt = Receipt { event_id: event, ..receipt };
                self.take_in(trigger, receipt, incoming, is_ping).await?
            }
            Err(why) => self.inner.keep_rejected(receipt, ReceiptStatus::Rejected, why).await?,
        };
        Ok(Received::Noted(Box::new(reception)))
    }

    /// Takes a request whose proof was right.
    async fn take_in(
        &self,
        trigger: &WebhookTrigger,
        receipt: Receipt,
        incoming: Incoming,
        is_ping: bool,
    ) -> Result<Reception, EngineError> {
        let ask = self.inner.ask(trigger, &receipt, &incoming);
        let context = (receipt.clone(), ask, incoming.body);
        let taken = self.inner.write_unless(context, move |tx, (receipt, ask, body)| {
            Box::pin(async move { take(tx, receipt, ask, &body, is_ping).await })
        });
        match taken.await {
            Ok(receipt) => {
                if receipt.status == ReceiptStatus::Accepted {
                    self.inner.launched();
                }
                Ok(Reception { receipt, refusal: None })
            }
            // The automation does not take it: nothing of the transaction is left, and that is noted.
            Err(
                refusal @ (EngineError::Invalid(_)
                | EngineError::Refused { .. }
                | EngineError::Conflict { .. }),
            ) => {
                let why = Rejection::InputRefused;
                let kept = self.inner.keep_rejected(receipt, ReceiptStatus::Failed, why).await?;
                Ok(Reception { refusal: Some(in_words(&refusal)), ..kept })
            }
            Err(error) => Err(error),
        }
    }

    /// Lists what came to a trigger, newest first, behind a place.
    pub async fn webhook_receipts(
        &self,
        trigger: &str,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<Receipt>, EngineError> {
        let limit = limit.clamp(1, MOST_RECEIPTS);
        let listed = self.inner.read((trigger.to_owned(), before), move |tx, (trigger, before)| {
            Box::pin(async move { receipts::list(tx, &trigger, before, limit).await })
        });
        Ok(listed.await?)
    }

    /// Finds a receipt, whatever company it belongs to.
    pub async fn webhook_receipt(&self, id: &str) -> Result<Receipt, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { receipts::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Webhook receipt"))
    }

    /// The body of a receipt as it came, while it is kept.
    pub async fn webhook_body(&self, id: &str) -> Result<Vec<u8>, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { receipts::body(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Webhook body"))
    }
}

impl Inner {
    fn blank(
        &self,
        trigger: &WebhookTrigger,
        digest: String,
        size: i64,
        content_type: Option<String>,
    ) -> Receipt {
        let now = self.clock.now();
        Receipt {
            id: domain::ids::mint(now, self.dice.bytes()),
            trigger_id: trigger.id.clone(),
            company_id: trigger.company_id.clone(),
            status: ReceiptStatus::Received,
            reason: None,
            event_id: None,
            digest,
            size,
            content_type,
            duplicate_of: None,
            automation_run_id: None,
            received_at: now,
        }
    }

    /// Whether a request proves who sent it.
    async fn prove(
        &self,
        trigger: &WebhookTrigger,
        header: &(dyn Fn(&str) -> Option<String> + Sync),
        body: &[u8],
        now: Moment,
    ) -> Result<Result<(), Rejection>, EngineError> {
        let shown = match proof::read(trigger.scheme, &trigger.secret_header, &|name| header(name), now) {
            Ok(shown) => shown,
            Err(why) => return Ok(Err(why)),
        };
        let sealed = self.read(trigger.id.clone(), move |tx, id| {
            Box::pin(async move { secrets::good(tx, &id, now, keys::MOST_GOOD).await })
        });
        let known = keys::opened(&self.vault, &sealed.await?)?;
        let is_proven = keys::is_proven(trigger.scheme, &known, &shown, body);
        Ok(if is_proven { Ok(()) } else { Err(Rejection::WrongSignature) })
    }

    /// The run that a request asks for.
    fn ask(&self, trigger: &WebhookTrigger, receipt: &Receipt, incoming: &Incoming) -> Launch {
        let event = receipt.event_id.as_ref().unwrap_or(&receipt.id);
        let named = headers_of(trigger);
        let headers = incoming.headers.iter().filter(|(name, _)| named.contains(name));
        let headers: Map<String, Json> =
            headers.map(|(name, value)| (name.clone(), json!(without_nul(value.clone())))).collect();
        let kind = incoming.headers.get(CONTENT_TYPE_HEADER).map(String::as_str);
        let unwrapped = form::unwrapped(trigger.scheme, kind, &incoming.body);
        let mut sent = json!({
            "body": content(unwrapped.as_deref().unwrap_or(&incoming.body)),
            "headers": headers,
            "eventId": receipt.event_id,
            "receiptId": receipt.id,
            "receivedAt": receipt.received_at,
        });
        if std::str::from_utf8(&incoming.body).is_err() {
            sent["bodyBase64"] = json!(STANDARD.encode(&incoming.body));
        }
        Launch {
            automation: trigger.automation_id.clone(),
            run_id: AutomationRunId::mint(receipt.received_at, self.dice.bytes()),
            trigger: TriggerType::Webhook,
            detail: Some(json!({
                "triggerId": trigger.id, "name": trigger.name, "receiptId": receipt.id,
                "eventId": receipt.event_id,
            })),
            inputs: Map::from_iter([(trigger.input.clone(), sent)]),
            idempotency_key: Some(format!("webhook:{}:{event}", trigger.id)),
            body_hash: receipt.digest.clone(),
            priority: None,
            actor: Actor::system("webhooks"),
        }
    }

    /// Notes a request that started nothing. Its body is not kept.
    async fn keep_rejected(
        &self,
        receipt: Receipt,
        status: ReceiptStatus,
        why: Rejection,
    ) -> Result<Reception, EngineError> {
        let receipt = Receipt { status, reason: Some(why.as_str().to_owned()), ..receipt };
        let kept = receipt.clone();
        let written = self.store.write_bulk(move |tx| {
            let receipt = kept.clone();
            Box::pin(async move { receipts::insert(tx, &receipt, None).await })
        });
        written.await?;
        Ok(Reception { receipt, refusal: None })
    }

    /// Removes what is older than it is kept, a batch of each.
    pub(crate) async fn forget_receipts(&self, now: Moment) -> Result<(), StoreError> {
        let bodies = now.minus(self.settings.keep_webhook_bodies_for);
        self.store.write_bulk(move |tx| Box::pin(receipts::remove_bodies(tx, bodies, 1_000))).await?;
        let old = now.minus(self.settings.keep_receipts_for);
        self.store.write_bulk(move |tx| Box::pin(receipts::remove_old(tx, old, 5_000))).await?;
        Ok(())
    }
}

/// Decides about a request that proved who sent it, and does it: a receipt, and a run where one begins.
async fn take(
    tx: &mut Tx<'_>,
    mut receipt: Receipt,
    mut ask: Launch,
    body: &[u8],
    is_ping: bool,
) -> Result<Receipt, EngineError> {
    // Behind this lock the second of two that came together sees the first.
    let trigger = triggers::lock(tx, &receipt.trigger_id).await?;
    let trigger = trigger.ok_or(EngineError::NotFound("Webhook"))?;
    let by_id = match &receipt.event_id {
        Some(event) => receipts::of_event(tx, &trigger.id, event).await?,
        None => None,
    };
    let known_by = KnownBy::of(trigger.scheme, receipt.event_id.is_some());
    let by_body = match known_by {
        KnownBy::Id => None,
        KnownBy::BodyForAWhile | KnownBy::IdAndBody => {
            receipts::of_digest(tx, &trigger.id, &receipt.digest).await?
        }
    };
    let target = match started_by(tx, &trigger).await? {
        None => Target::Removed,
        Some(automation) => {
            // Another one may have the name by now.
            ask.automation = automation.id;
            if automation.status == AutomationStatus::Active { Target::Open } else { Target::Closed }
        }
    };
    let decision = decide(&ReceiptView {
        known_by,
        digest: &receipt.digest,
        by_id: by_id.as_ref().map(earlier),
        by_body: by_body.as_ref().map(earlier),
        is_ping,
        is_enabled: trigger.is_enabled,
        target,
        now: receipt.received_at,
    });
    let mut kept = None;
    let reason = match decision {
        Decision::Start => {
            let started = launch(tx, ask, receipt.received_at).await?.run();
            receipt.status = ReceiptStatus::Accepted;
            receipt.automation_run_id = Some(started.id.0);
            kept = Some(body);
            None
        }
        Decision::Note => {
            receipt.status = ReceiptStatus::Received;
            kept = Some(body);
            None
        }
        Decision::Duplicate { of } => {
            receipt.status = ReceiptStatus::Duplicate;
            let first = by_id.into_iter().chain(by_body).find(|it| it.id == of);
            receipt.automation_run_id = first.and_then(|it| it.automation_run_id);
            receipt.duplicate_of = Some(of);
            None
        }
        Decision::Conflict { of } => {
            receipt.status = ReceiptStatus::Rejected;
            receipt.duplicate_of = Some(of);
            Some(Rejection::IdReused)
        }
        Decision::Disabled => {
            receipt.status = ReceiptStatus::Disabled;
            None
        }
        Decision::Closed => {
            receipt.status = ReceiptStatus::Rejected;
            Some(Rejection::AutomationPaused)
        }
        Decision::Removed => {
            receipt.status = ReceiptStatus::Rejected;
            Some(Rejection::AutomationRemoved)
        }
    };
    receipt.reason = reason.map(|why| why.as_str().to_owned());
    receipts::insert(tx, &receipt, kept).await?;
    Ok(receipt)
}

fn earlier(receipt: &Receipt) -> Earlier<'_> {
    Earlier { id: &receipt.id, digest: &receipt.digest, at: receipt.received_at }
}

/// A body as a run reads it: JSON where it is JSON, else text; null where it is neither.
fn content(body: &[u8]) -> Json {
    match (serde_json::from_slice::<Json>(body), std::str::from_utf8(body)) {
        (Ok(json), _) => clean(json),
        (Err(_), Ok(text)) => Json::String(without_nul(text.to_owned())),
        (Err(_), Err(_)) => Json::Null,
    }
}

/// NUL stands in no text of the store.
fn clean(json: Json) -> Json {
    match json {
        Json::String(text) => Json::String(without_nul(text)),
        Json::Array(items) => Json::Array(items.into_iter().map(clean).collect()),
        Json::Object(fields) => {
            Json::Object(fields.into_iter().map(|(name, value)| (without_nul(name), clean(value))).collect())
        }
        other => other,
    }
}

fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn in_words(refusal: &EngineError) -> String {
    match refusal {
        EngineError::Invalid(problems) => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_reaches_a_run_as_json_or_text_and_never_with_nul() {
        assert_eq!(content(br#"{"a\u0000": ["\u0000", 1]}"#), json!({ "a\u{fffd}": ["\u{fffd}", 1] }));
        assert_eq!(content(b"a=1&b=2\0"), json!("a=1&b=2\u{fffd}"));
        assert_eq!(content(b"\xff\xfe"), Json::Null);
        assert_eq!(content(b""), json!(""));
        // Deeper than anybody reads: it stays text.
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        assert_eq!(content(deep.as_bytes()), json!(deep));
    }
}
