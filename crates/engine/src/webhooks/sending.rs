//! Sends events to endpoints: from the event log into deliveries, and from there to whoever listens.
//!
//! Each endpoint has a cursor. What lies behind it and is heard becomes deliveries in the transaction that moves the
//! cursor, so that an event is taken up once, whatever dies. A delivery is sent under a lease, and what became of it is
//! written afterwards: dying in between sends it again, under the same id. Nothing that is sent here makes an event by
//! itself, or endpoints would tell each other about each other for ever. Whose turn it is, is a rule of the domain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::{Answered, Parcel, Unanswered};
use domain::moment::Moment;
use domain::webhook::delivery::{DeliveryStatus, Tried, Verdict, judge};
use domain::webhook::turn::{self, InLine, Taken};
use domain::webhook::{event, proof};
use serde_json::json;
use store::webhooks::deliveries::{self, Delivery, Outcome};
use store::webhooks::endpoints::{self, Endpoint};
use store::webhooks::secrets::{self, SealedSecret};
use store::{StoreError, events};
use tokio::task::{self, JoinSet};

use super::{keys, waiting};
use crate::activity::Author;
use crate::processes::beside;
use crate::secrets::{Hidden, SecretValue};
use crate::{EngineError, Inner};

/// Endpoints per page.
const PAGE: i64 = 100;
/// Events that are taken up in one transaction.
const EVENTS: i64 = 200;
/// As many deliveries wait for one endpoint; further events wait in the log.
const MOST_WAITING: i64 = 10_000;
/// Whoever sends and says nothing for so long after the time limit is dead.
const LEASE: Duration = Duration::from_secs(45);
/// After a ring: what is committed at the same time is looked at together.
const GATHER: Duration = Duration::from_millis(20);
/// Where somebody listens, the log is looked at this often without a ring: another node may have written, and on
/// PostgreSQL what was written is not shown before every older transaction is over.
const PERIOD: Duration = Duration::from_secs(1);
/// The longest sleep: a clock may jump, another node may have been told of an endpoint.
const LONGEST: Duration = Duration::from_secs(30);
/// Of an answer, so much is kept.
const ANSWER: u64 = 4_096;

pub(crate) async fn run(engine: Arc<Inner>) {
    let mut under_way = UnderWay::default();
    loop {
        let look = look(&engine, &mut under_way).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look at webhooks");
            Look { is_listening: false, wait: engine.settings.period }
        });
        tokio::select! {
            biased;
            // What is under way is dropped: its leases run out, and it is sent again.
            () = engine.closing.cancelled() => return,
            Some(ended) = under_way.tasks.join_next_with_id(), if !under_way.tasks.is_empty() => {
                under_way.ended(ended);
            }
            () = engine.webhooks.notified() => {}
            () = engine.feed.told(), if look.is_listening => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(look.wait) => {}
        }
    }
}

/// The endpoints that are being sent to here, and how their last turns went.
#[derive(Debug, Default)]
struct UnderWay {
    tasks: JoinSet<Pace>,
    places: BTreeMap<task::Id, Place>,
    past: BTreeMap<String, Turn>,
    /// Turns that are over.
    turns: u64,
}

/// A place that is taken.
#[derive(Debug)]
struct Place {
    endpoint: String,
    /// It was slow when its turn began.
    is_slow: bool,
}

/// A turn that is over.
#[derive(Debug)]
struct Turn {
    number: u64,
    pace: Pace,
}

/// How fast an endpoint was in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Fast,
    Slow,
}

impl UnderWay {
    fn ended(&mut self, ended: Result<(task::Id, Pace), task::JoinError>) {
        let (id, pace) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "sending to an endpoint failed");
            (error.id(), Pace::Slow)
        });
        let Some(place) = self.places.remove(&id) else { return };
        self.turns += 1;
        self.past.insert(place.endpoint, Turn { number: self.turns, pace });
    }

    fn has(&self, endpoint: &str) -> bool {
        self.places.values().any(|place| place.endpoint == endpoint)
    }

    fn taken(&self) -> Taken {
        let slow = self.places.values().filter(|place| place.is_slow).count();
        Taken { all: self.places.len(), slow }
    }

    /// An endpoint as it stands in line. What it failed since is on record, for servers that have just started, too.
    fn in_line<'a>(&self, endpoint: &'a Endpoint) -> InLine<'a> {
        let past = self.past.get(&endpoint.id);
        InLine {
            id: &endpoint.id,
            last: past.map_or(0, |turn| turn.number),
            is_slow: endpoint.failing_since.is_some() || past.is_some_and(|turn| turn.pace == Pace::Slow),
        }
    }

    /// Begins to send to those whose turn it is. The others are looked at again when one of these ends.
    fn begin(&mut self, engine: &Arc<Inner>, due: &[Endpoint]) {
        let line: Vec<InLine<'_>> = due.iter().map(|endpoint| self.in_line(endpoint)).collect();
        for one in turn::next(&line, self.taken()) {
            let endpoint = one.id.to_owned();
            let begun = self.tasks.spawn(serve(Arc::clone(engine), endpoint.clone()));
            self.places.insert(begun.id(), Place { endpoint, is_slow: one.is_slow });
        }
    }
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// Somebody wants to hear of events.
    is_listening: bool,
    wait: Duration,
}

/// Takes up new events for every endpoint, and begins to send what is due.
async fn look(engine: &Arc<Inner>, under_way: &mut UnderWay) -> Result<Look, StoreError> {
    let mut after = String::new();
    let (mut due, mut seen) = (Vec::new(), BTreeSet::new());
    let mut look = Look { is_listening: false, wait: LONGEST };
    loop {
        let page = engine
            .read(after, |tx, after| Box::pin(async move { endpoints::enabled(tx, &after, PAGE).await }));
        let page = page.await?;
        let last = page.last().filter(|_| page.len() as i64 == PAGE).map(|endpoint| endpoint.id.clone());
        for endpoint in page {
            look = Look { is_listening: true, wait: look.wait.min(PERIOD) };
            seen.insert(endpoint.id.clone());
            // One endpoint's trouble is not another's.
            match attend(engine, &endpoint).await {
                Ok(Next::Due) if under_way.has(&endpoint.id) => {}
                Ok(Next::Due) => due.push(endpoint),
                Ok(Next::In(wait)) => look.wait = look.wait.min(wait),
                Err(error) => {
                    tracing::warn!(endpoint = %endpoint.id, %error, "cannot look after the endpoint");
                    look.wait = look.wait.min(engine.settings.period);
                }
            }
        }
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    under_way.past.retain(|endpoint, _| seen.contains(endpoint));
    under_way.begin(engine, &due);
    Ok(look)
}

/// What is next for an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Something is to be sent.
    Due,
    /// Nothing is to be done for so long.
    In(Duration),
}

/// Takes up what is new for one endpoint, and says what is next.
async fn attend(engine: &Arc<Inner>, endpoint: &Endpoint) -> Result<Next, StoreError> {
    let has_more = take_up(engine, endpoint).await?;
    let id = endpoint.id.clone();
    let due = engine.read(id, |tx, id| Box::pin(async move { deliveries::next_due(tx, &id).await })).await?;
    let wait = due.map_or(LONGEST, |at| at.since(engine.clock.now()));
    Ok(match (wait.is_zero(), has_more) {
        (true, _) => Next::Due,
        (false, true) => Next::In(Duration::ZERO),
        (false, false) => Next::In(wait.clamp(Duration::from_millis(10), LONGEST)),
    })
}

/// Makes deliveries of what happened since the endpoint's cursor; true when there is more.
async fn take_up(engine: &Arc<Inner>, endpoint: &Endpoint) -> Result<bool, StoreError> {
    let seen = (endpoint.company_id.clone(), endpoint.event_cursor);
    let news = engine.read(seen, |tx, (company, cursor)| {
        Box::pin(async move { events::after(tx, Some(company.as_str()), cursor, 1).await })
    });
    if news.await?.is_empty() {
        return Ok(false);
    }
    let scribe = engine.scribe(&system());
    let taken = engine.write((endpoint.id.clone(), scribe), |tx, (id, mut scribe)| {
        Box::pin(async move {
            let Some(endpoint) = endpoints::lock(tx, &id).await?.filter(|it| it.is_enabled) else {
                return Ok(false);
            };
            if deliveries::has_waiting(tx, &id, MOST_WAITING).await? {
                return Ok(false);
            }
            // Read anew: another server may have been faster.
            let company = endpoint.company_id.as_str();
            let page = events::after(tx, Some(company), endpoint.event_cursor, EVENTS).await?;
            let Some(last) = page.last().map(|event| event.id) else { return Ok(false) };
            let now = scribe.now;
            for event in &page {
                if !event::is_heard(endpoint.patterns(), &event.kind) {
                    continue;
                }
                let payload = serde_json::from_str(&event.payload).unwrap_or_default();
                let what = (event.kind.as_str(), payload, Moment::from_micros(event.created_at));
                let delivery = waiting(scribe.id(), &endpoint, Some(event.id), what, now);
                deliveries::insert(tx, &delivery).await?;
            }
            endpoints::move_cursor(tx, &id, last).await?;
            Ok(page.len() as i64 == EVENTS)
        })
    });
    taken.await
}

fn system() -> Author {
    Author::System { part: "webhooks" }
}

/// Sends what is due to an endpoint, one after the other, until one fails or its turn is over; says how fast it was.
async fn serve(engine: Arc<Inner>, endpoint: String) -> Pace {
    let mut hidden = None;
    let began = Instant::now();
    for deliveries in 1.. {
        match send_next(&engine, &endpoint, &mut hidden).await {
            Ok(Some(sent)) if sent.took >= turn::SLOW => return Pace::Slow,
            Ok(Some(sent)) if sent.is_taken && !turn::is_over(deliveries, began.elapsed(), sent.took) => {}
            Ok(Some(_) | None) => break,
            Err(error) => {
                // Its lease runs out.
                tracing::warn!(%endpoint, %error, "cannot send to the endpoint");
                break;
            }
        }
    }
    Pace::Fast
}

/// A delivery that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    is_taken: bool,
    took: Duration,
}

/// A delivery under a lease, with all that is needed to send it.
#[derive(Debug, Clone)]
struct Claimed {
    endpoint: Endpoint,
    delivery: Delivery,
    sealed: Vec<SealedSecret>,
}

/// Sends the next delivery that is due; `None`: there is none.
async fn send_next(
    engine: &Arc<Inner>,
    endpoint: &str,
    hidden: &mut Option<Arc<Hidden>>,
) -> Result<Option<Sent>, EngineError> {
    let now = engine.clock.now();
    let lease = domain::ids::mint(now, engine.dice.bytes());
    let until = now.plus(engine.settings.webhook_limit + LEASE);
    let context = (endpoint.to_owned(), lease.clone());
    let claimed = engine.write(context, move |tx, (id, lease)| {
        Box::pin(async move {
            let Some(endpoint) = endpoints::get(tx, &id).await?.filter(|it| it.is_enabled) else {
                return Ok(None);
            };
            let Some(delivery) = deliveries::claim(tx, &id, &lease, now, until).await? else {
                return Ok(None);
            };
            let sealed = secrets::good(tx, &id, now, keys::MOST_GOOD).await?;
            Ok(Some(Claimed { endpoint, delivery, sealed }))
        })
    });
    let Some(claimed) = claimed.await? else { return Ok(None) };
    let secrets = keys::opened(&engine.vault, &claimed.sealed)?;
    let hidden = match hidden {
        Some(known) => Arc::clone(known),
        None => {
            let found = Arc::new(engine.hidden_of_company(&claimed.endpoint.company_id).await?);
            Arc::clone(hidden.insert(found))
        }
    };
    let sent_at = engine.clock.now();
    let parcel = packed(engine, &claimed, &secrets, &hidden, sent_at);
    let started = Instant::now();
    let answered = beside(&engine.processes, move || adapters::deliver(&parcel, sent_at)).await;
    let answered = answered.unwrap_or_else(|error| Err(Unanswered(error.to_string())));
    let took = started.elapsed();
    let is_taken = settle(engine, claimed, lease, answered, (sent_at, took), &hidden).await?;
    Ok(Some(Sent { is_taken, took }))
}

/// What is sent: the event as a message of the standard convention, without what nobody is to read.
fn packed(
    engine: &Inner,
    claimed: &Claimed,
    secrets: &[SecretValue],
    hidden: &Hidden,
    now: Moment,
) -> Parcel {
    let delivery = &claimed.delivery;
    let body = json!({
        "type": delivery.kind,
        "timestamp": delivery.happened_at,
        "companyId": delivery.company_id,
        // The cursor of the event stream.
        "eventId": delivery.event_id,
        "data": delivery.payload,
    });
    let body = body.to_string().into_bytes();
    let body = hidden.over(&body).unwrap_or(body);
    let seconds = now.micros().div_euclid(1_000_000);
    Parcel {
        url: claimed.endpoint.url.clone(),
        headers: vec![
            ("content-type", "application/json".to_owned()),
            (proof::ID, delivery.id.clone()),
            (proof::TIMESTAMP, seconds.to_string()),
            (proof::SIGNATURE, keys::signature(secrets, &delivery.id, seconds, &body)),
        ],
        body,
        limit: engine.settings.webhook_limit,
        answer_limit: ANSWER,
        reach: engine.settings.webhook_reach,
    }
}

/// Writes what a try came to; true when the delivery was taken.
async fn settle(
    engine: &Arc<Inner>,
    claimed: Claimed,
    lease: String,
    answered: Result<Answered, Unanswered>,
    (sent_at, took): (Moment, Duration),
    hidden: &Hidden,
) -> Result<bool, EngineError> {
    let Claimed { endpoint, delivery, .. } = claimed;
    let attempts = delivery.attempts + 1;
    let (status, not_before, answer, error) = match answered {
        Ok(answered) => {
            let body = hidden.over(&answered.body).unwrap_or(answered.body);
            // PostgreSQL takes no NUL in a text.
            let text = String::from_utf8_lossy(&body).replace('\0', "\u{fffd}");
            (Some(answered.status), answered.not_before, Some(text), None)
        }
        Err(Unanswered(words)) => (None, None, None, Some(words)),
    };
    let jitter = engine.dice.fraction();
    let scribe = engine.scribe(&system());
    let context = (endpoint.id, delivery.id, lease, scribe, answer, error);
    let settled = engine.write_unless(context, move |tx, context| {
        Box::pin(async move {
            let (id, delivery, lease, mut scribe, answer, error) = context;
            // Gone with its deliveries.
            let Some(mut endpoint) = endpoints::lock(tx, &id).await? else { return Ok(false) };
            let is_taken = matches!(status, Some(200..=299));
            let failing_since = if is_taken { None } else { endpoint.failing_since.or(Some(sent_at)) };
            let tried = Tried {
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                status,
                not_before,
                failing_since,
            };
            let judged = judge(&tried, jitter, scribe.now);
            let (state, due_at) = match judged.verdict {
                Verdict::Delivered => (DeliveryStatus::Delivered, None),
                Verdict::Again { at } => (DeliveryStatus::Pending, Some(at)),
                Verdict::GivenUp => (DeliveryStatus::Failed, None),
            };
            let outcome = Outcome {
                status: state,
                attempts,
                due_at,
                answer_status: status.map(i64::from),
                answer,
                error,
                took_ms: i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
                tried_at: sent_at,
            };
            // Somebody else has it by now, or it was ended: whoever has it says what becomes of it.
            if !deliveries::settle(tx, &delivery, &lease, &outcome).await? {
                return Ok(false);
            }
            if failing_since != endpoint.failing_since {
                endpoints::set_failing(tx, &id, failing_since).await?;
                endpoint.failing_since = failing_since;
            }
            if let Some(reason) = judged.disable.filter(|_| endpoint.is_enabled) {
                super::give_up(tx, &mut scribe, endpoint, reason).await?;
            }
            Ok(is_taken)
        })
    });
    let is_taken = settled.await?;
    if !is_taken {
        engine.feed.ring();
    }
    Ok(is_taken)
}
