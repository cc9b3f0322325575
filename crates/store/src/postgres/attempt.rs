//! Running a closure as a transaction on PostgreSQL, again if the server says that it gave way to another.
//!
//! A closure is run again only when it is certain that nothing of it was kept. When the connection is lost while a
//! commit is under way that is not certain, and the caller is told so.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::pool::{Client, Postgres};
use super::transaction::{CommitFailure, PgTx};
use crate::tx::{Engine, Tx};
use crate::{StoreError, panic_message};

type Result<T> = std::result::Result<T, StoreError>;

/// How often a transaction gives way to others before its caller is told.
const MOST_ATTEMPTS: u32 = 10;
/// How long it may go on giving way; an attempt that waits for a lock can take seconds by itself.
const LONGEST_CONTENTION: Duration = Duration::from_secs(10);
/// How often a lost connection is replaced. With the pauses between, a server that restarts has about two seconds.
const MOST_CONNECTIONS: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Bulk,
    Read,
}

impl Kind {
    fn begin(self) -> &'static str {
        match self {
            Kind::Write | Kind::Bulk => "BEGIN",
            // One snapshot for all statements, as a reader of SQLite has it.
            Kind::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

/// Runs the closure to its end, whether or not the caller still waits.
pub(crate) async fn perform<F, T>(
    postgres: Arc<Postgres>,
    kind: Kind,
    bound: usize,
    pipelined: bool,
    closure: F,
) -> Result<T>
where
    F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    T: Send + 'static,
{
    // Taken before the task is made: a refusal is to cost nothing.
    let call = postgres.begin_call().ok_or(StoreError::Closed)?;
    let place = Place::take(postgres, kind, bound)?;
    // On a task of its own, so that a caller who gives up does not leave a transaction half done on a connection.
    let task = tokio::spawn(async move {
        let outcome = attempts(place, kind, pipelined, &closure).await;
        drop(call);
        outcome
    });
    match task.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => {
            Err(StoreError::Panicked { message: panic_message(error.into_panic().as_ref()) })
        }
        // The runtime is going down.
        Err(_) => Err(StoreError::Closed),
    }
}

async fn attempts<F, T>(place: Place, kind: Kind, pipelined: bool, closure: &F) -> Result<T>
where
    F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync,
    T: Send,
{
    let postgres = place.postgres.clone();
    let _turn = match kind {
        Kind::Bulk => Some(postgres.bulk_turn().await),
        Kind::Write | Kind::Read => None,
    };
    let mut place = Some(place);
    let started = Instant::now();
    let (mut gave_way, mut lost) = (0, 0);
    loop {
        let error = match postgres.client().await {
            Ok(client) => {
                drop(place.take());
                match attempt(&client, kind, pipelined, closure).await {
                    Ok(value) => return Ok(value),
                    Err(failed) => {
                        let (Failed::Final(error) | Failed::Undone(error)) = &failed;
                        if matches!(error, StoreError::Unavailable { .. } | StoreError::Unknown { .. }) {
                            // Not to be given to the next: it may take a moment until the loss is noticed.
                            drop(Client::take(client));
                        } else if is_stale_plan(error) {
                            client.statement_cache.clear();
                        }
                        match failed {
                            Failed::Final(error) => return Err(error),
                            Failed::Undone(error) => error,
                        }
                    }
                }
            }
            Err(error) => error,
        };
        match error {
            StoreError::Contention { source, .. } => {
                gave_way += 1;
                if gave_way >= MOST_ATTEMPTS || started.elapsed() > LONGEST_CONTENTION {
                    return Err(StoreError::Contention { attempts: gave_way, source });
                }
                pause(gave_way, 2, 64).await;
            }
            StoreError::Unavailable { .. } if !postgres.is_closed() => {
                lost += 1;
                if lost >= MOST_CONNECTIONS {
                    return Err(error);
                }
                pause(lost, 10, 500).await;
            }
            ref stale if is_stale_plan(stale) && lost < MOST_CONNECTIONS => lost += 1,
            other => return Err(other),
        }
    }
}

enum Failed {
    /// Nothing was kept; whether another attempt makes sense depends on the error.
    Undone(StoreError),
    /// Not to be tried again.
    Final(StoreError),
}

async fn attempt<F, T>(
    client: &Client,
    kind: Kind,
    pipelined: bool,
    closure: &F,
) -> std::result::Result<T, Failed>
where
    F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync,
    T: Send,
{
    let mut tx = Tx::new(Engine::Postgres(PgTx::new(client, kind.begin(), pipelined)));
    let outcome = AssertUnwindSafe(async {
        let value = closure(&mut tx).await?;
        tx.finish().await?;
        Ok(value)
    })
    .catch_unwind()
    .await;
    let value = match outcome {
        Ok(Ok(value)) => value,
        // An error of the closure's own, with no statement failed, is its last word.
        Ok(Err(error)) => {
            return Err(match tx.first_error() {
                Some(first) => Failed::Undone(first.clone()),
                None => Failed::Final(error),
            });
        }
        Err(panic) => {
            return Err(Failed::Final(StoreError::Panicked { message: panic_message(panic.as_ref()) }));
        }
    };
    let Engine::Postgres(tx) = tx.into_engine() else {
        unreachable!("the transaction was made for PostgreSQL above");
    };
    if kind == Kind::Read {
        return tx.end_read().await.map(|()| value).map_err(Failed::Undone);
    }
    match tx.commit().await {
        Ok(()) => Ok(value),
        Err(CommitFailure::Undone(error)) => Err(Failed::Undone(error)),
        Err(CommitFailure::Unknown(error)) => {
            Err(Failed::Final(StoreError::Unknown { source: Arc::new(error) }))
        }
    }
}

/// A plan that was made before a migration of another node changed its table.
fn is_stale_plan(error: &StoreError) -> bool {
    let StoreError::Statement { source, .. } = error else { return false };
    let told = source.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    told == Some(&tokio_postgres::error::SqlState::FEATURE_NOT_SUPPORTED)
}

/// Waits for a random part of a span that doubles with each attempt.
async fn pause(attempt: u32, first_ms: u64, most_ms: u64) {
    let span = (first_ms << attempt.min(16)).min(most_ms);
    // Seeded by the operating system; good enough to keep two transactions from meeting again.
    let random = RandomState::new().build_hasher().finish();
    tokio::time::sleep(Duration::from_millis(span / 2 + random % (span / 2 + 1))).await;
}

/// A place in the line for a connection.
struct Place {
    postgres: Arc<Postgres>,
    bulk: bool,
}

impl Place {
    fn take(postgres: Arc<Postgres>, kind: Kind, bound: usize) -> Result<Self> {
        let bulk = kind == Kind::Bulk;
        let before = postgres.line(bulk).fetch_add(1, Ordering::Relaxed);
        let place = Self { postgres, bulk };
        if place.postgres.is_closed() {
            return Err(StoreError::Closed);
        }
        if before >= bound {
            return Err(StoreError::Busy { retry_after: crate::retry_after(before) });
        }
        Ok(place)
    }

    fn line(&self) -> &AtomicUsize {
        self.postgres.line(self.bulk)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line().fetch_sub(1, Ordering::Relaxed);
    }
}
