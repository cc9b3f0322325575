//! The live feed: one tail reads the event log once and hands every entry to all subscribers, in order.
//!
//! A subscriber first reads what it missed from the log, by cursor, then follows the tail: each entry exactly once. One
//! that is too slow is dropped with the cursor it can resume from, and slows nobody. Log lines are not entries: they
//! travel with id 0 and an offset, are not replayed, and a subscriber that wants each of them reads the log of the run
//! (D12).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ids::CompanyId;
use domain::moment::Moment;
use serde_json::{Value as Json, value::RawValue};
use store::events::StoredEvent;
use store::{Store, StoreError, events};

use crate::EngineError;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

/// How many entries a subscriber may lie behind before it is dropped.
const BACKLOG: usize = 4096;
/// The tail looks at the log at least this often: another node may have written, a ring may be lost.
const PERIOD: Duration = Duration::from_millis(500);
const PAGE: i64 = 500;

/// One thing that subscribers hear.
#[derive(Debug, Clone)]
pub enum Happening {
    /// An entry of the event log.
    Event(Arc<StoredEvent>),
    /// A piece of output; its id on the wire is 0.
    Line(Arc<LogPiece>),
}

/// A piece of the output of a run, as it is told to the subscribers of a company.
#[derive(Debug, Clone)]
pub struct LogPiece {
    pub company_id: CompanyId,
    pub payload: Json,
    pub at: Moment,
}

/// What a subscription gives next.
#[derive(Debug)]
pub enum Heard {
    Happening(Happening),
    /// The subscriber was too slow and is dropped; it may resume after this cursor.
    Lagged {
        cursor: i64,
    },
    /// The server is going down.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Feed {
    sender: broadcast::Sender<Happening>,
    bell: Notify,
    /// Whoever sends events elsewhere hears of the same.
    told: Notify,
    /// Up to here the tail has handed out. Set by whoever subscribes first, so that nothing lies between what a
    /// subscriber reads itself and what it is handed; `None` while nobody listens.
    place: Mutex<Option<i64>>,
}

impl Feed {
    pub(crate) fn new() -> Feed {
        Feed {
            sender: broadcast::Sender::new(BACKLOG),
            bell: Notify::new(),
            told: Notify::new(),
            place: Mutex::default(),
        }
    }

    fn place(&self) -> MutexGuard<'_, Option<i64>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was committed.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
        self.told.notify_one();
    }

    /// Waits until something was committed.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    /// Nobody listens: output need not be told.
    pub(crate) fn is_idle(&self) -> bool {
        self.sender.receiver_count() == 0
    }

    /// Tells a piece of output to whoever listens now.
    pub(crate) fn tell(&self, piece: LogPiece) {
        // No receiver is no failure: it is not replayed.
        let _ = self.sender.send(Happening::Line(Arc::new(piece)));
    }

    /// Reads the log from its end on and hands everything out, until `closing`.
    pub(crate) async fn tail(&self, store: &Store, closing: &CancellationToken) {
        loop {
            match self.hand_out(store).await {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "cannot read the event log"),
            }
            // With nobody to tell there is nothing to look for: whoever subscribes rings.
            let period = if self.is_idle() { Duration::MAX } else { PERIOD };
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = self.bell.notified() => {}
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    async fn hand_out(&self, store: &Store) -> Result<(), StoreError> {
        let mut from = {
            let mut place = self.place();
            if self.is_idle() {
                // Nobody to tell; whoever comes reads the log itself, and says where to go on.
                *place = None;
            }
            let Some(from) = *place else { return Ok(()) };
            from
        };
        loop {
            let page = page(store, None, from).await?;
            let full = page.len() as i64 == PAGE;
            for event in page {
                from = event.id;
                let _ = self.sender.send(Happening::Event(Arc::new(event)));
            }
            *self.place() = Some(from);
            if !full {
                return Ok(());
            }
        }
    }
}

async fn head(store: &Store) -> Result<i64, StoreError> {
    store.read(|tx| Box::pin(async move { events::head(tx).await })).await
}

async fn page(store: &Store, company: Option<CompanyId>, after: i64) -> Result<Vec<StoredEvent>, StoreError> {
    store
        .read(move |tx| {
            let company = company.clone();
            Box::pin(
                async move { events::after(tx, company.as_ref().map(CompanyId::as_str), after, PAGE).await },
            )
        })
        .await
}

/// The events of one company, from a cursor on.
#[derive(Debug)]
pub struct Subscription {
    store: Arc<Store>,
    company: CompanyId,
    cursor: i64,
    /// What was read from the log and not given yet.
    ready: std::collections::VecDeque<StoredEvent>,
    caught_up: bool,
    receiver: broadcast::Receiver<Happening>,
    closing: CancellationToken,
}

impl Subscription {
    pub(crate) async fn open(
        store: Arc<Store>,
        feed: &Feed,
        closing: CancellationToken,
        company: CompanyId,
        after: Option<i64>,
    ) -> Result<Subscription, EngineError> {
        // First listen, then read: what is committed in between is in both, and its id tells.
        let receiver = feed.sender.subscribe();
        let head = head(&store).await?;
        if let Some(after) = after.filter(|after| *after > head) {
            // Of another store, or of this one before it was restored: following it in silence would miss what comes.
            return Err(EngineError::CursorAhead { after, head });
        }
        let cursor = after.unwrap_or(head);
        feed.place().get_or_insert(head);
        feed.ring();
        Ok(Subscription {
            store,
            company,
            cursor,
            ready: Default::default(),
            caught_up: false,
            receiver,
            closing,
        })
    }

    /// The id of the last event that was given.
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Heard, StoreError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.cursor = event.id;
                return Ok(Heard::Happening(Happening::Event(Arc::new(event))));
            }
            if !self.caught_up {
                let page = page(&self.store, Some(self.company.clone()), self.cursor).await?;
                self.caught_up = (page.len() as i64) < PAGE;
                self.ready.extend(page);
                continue;
            }
            let closing = self.closing.clone();
            let heard = tokio::select! {
                biased;
                () = closing.cancelled() => return Ok(Heard::Closed),
                heard = self.receiver.recv() => heard,
            };
            match heard {
                Ok(Happening::Event(event)) => {
                    if event.id > self.cursor && event.company_id == self.company.as_str() {
                        self.cursor = event.id;
                        return Ok(Heard::Happening(Happening::Event(event)));
                    }
                }
                Ok(Happening::Line(piece)) => {
                    if piece.company_id == self.company {
                        return Ok(Heard::Happening(Happening::Line(piece)));
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Ok(Heard::Lagged { cursor: self.cursor });
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(Heard::Closed),
            }
        }
    }
}

/// The payload of a stored event as JSON that need not be parsed to be sent on.
pub fn raw_payload(event: &StoredEvent) -> Box<RawValue> {
    RawValue::from_string(event.payload.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
