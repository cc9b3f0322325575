//! Upkeep: small sweeps that re-derive every rule from what is stored.
//!
//! A sweep takes no input, may run twice, does one bounded batch, says what it did, and comes again. Starting after a
//! crash is an ordinary first pass.

pub(crate) mod breaker;
pub(crate) mod dependents;
pub(crate) mod expiry;
pub(crate) mod graph;
pub(crate) mod housekeeping;
pub(crate) mod orders;
pub(crate) mod recovery;
pub(crate) mod retries;
pub(crate) mod silence;
pub(crate) mod stop_orders;
pub(crate) mod stranded;
pub(crate) mod timers;

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tokio::sync::Notify;

use crate::{Inner, budgets, dispatcher};

/// Sets everything going that goes by itself.
pub(crate) fn start(engine: &Arc<Inner>) {
    let tasks = &engine.tasks;
    // What was queued before this start has nobody else to ring for it.
    engine.doorbell.ring_all();
    tasks.spawn(recovery::run(Arc::clone(engine)));
    tasks.spawn(dispatcher::run(Arc::clone(engine)));
    tasks.spawn(timers::run(Arc::clone(engine)));
    tasks.spawn(retries::run(Arc::clone(engine)));
    tasks.spawn(expiry::run(Arc::clone(engine)));
    tasks.spawn(housekeeping::run(Arc::clone(engine)));
    tasks.spawn(stop_orders::run(Arc::clone(engine)));
    tasks.spawn(crate::orders::run(Arc::clone(engine)));
    tasks.spawn(orders::run(Arc::clone(engine)));
    tasks.spawn(dependents::run(Arc::clone(engine)));
    tasks.spawn(stranded::run(Arc::clone(engine)));
    tasks.spawn(graph::run(Arc::clone(engine)));
    tasks.spawn(silence::run(Arc::clone(engine)));
    tasks.spawn(breaker::run(Arc::clone(engine)));
    tasks.spawn(budgets::upkeep::run(Arc::clone(engine)));
    let inner = Arc::clone(engine);
    tasks.spawn(async move { inner.feed.tail(&inner.store, &inner.leaving).await });
}

/// How often a sweep comes that only finds what was told already, should that ever have been lost: an idle server sleeps.
pub(crate) fn seldom(engine: &Inner) -> Duration {
    engine.settings.period * 3
}

/// Rests after a pass: until its bell rings, or as long as the pass said there is nothing to do. False: the engine closes.
pub(crate) async fn rest(
    engine: &Inner,
    what: &'static str,
    bell: &Notify,
    pass: Result<Duration, StoreError>,
) -> bool {
    let wait = pass.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look at {what}");
        engine.settings.period
    });
    tokio::select! {
        biased;
        () = engine.closing.cancelled() => false,
        () = bell.notified() => true,
        () = tokio::time::sleep(wait) => true,
    }
}
