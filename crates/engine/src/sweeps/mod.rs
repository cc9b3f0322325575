//! Upkeep: small sweeps that re-derive every rule from what is stored.
//!
//! A sweep takes no input, may run twice, does one bounded batch, says what it did, and comes again. Starting after a
//! crash is an ordinary first pass.

pub(crate) mod accounts;
pub(crate) mod breaker;
pub(crate) mod dependents;
pub(crate) mod environments;
pub(crate) mod expiry;
pub(crate) mod graph;
pub(crate) mod housekeeping;
pub(crate) mod leftovers;
pub(crate) mod orders;
pub(crate) mod orphans;
pub(crate) mod recovery;
pub(crate) mod retries;
pub(crate) mod runtime_services;
pub(crate) mod schedules;
pub(crate) mod silence;
pub(crate) mod stop_orders;
pub(crate) mod stranded;
pub(crate) mod timers;
pub(crate) mod workspaces;

use std::sync::Arc;
use std::time::Duration;

use domain::ids::IssueId;
use store::{BoxFuture, StoreError, Tx};
use tokio::sync::Notify;

use crate::{Inner, budgets, dispatcher, webhooks};

/// Sets everything going that goes by itself.
pub(crate) fn start(engine: &Arc<Inner>) {
    let tasks = &engine.tasks;
    // What was queued before this start has nobody else to ring for it.
    engine.doorbell.ring_all();
    tasks.spawn(recovery::run(Arc::clone(engine)));
    tasks.spawn(dispatcher::run(Arc::clone(engine)));
    tasks.spawn(timers::run(Arc::clone(engine)));
    tasks.spawn(schedules::run(Arc::clone(engine)));
    tasks.spawn(retries::run(Arc::clone(engine)));
    tasks.spawn(expiry::run(Arc::clone(engine)));
    tasks.spawn(housekeeping::run(Arc::clone(engine)));
    tasks.spawn(stop_orders::run(Arc::clone(engine)));
    tasks.spawn(crate::orders::run(Arc::clone(engine)));
    tasks.spawn(orders::run(Arc::clone(engine)));
    tasks.spawn(dependents::run(Arc::clone(engine)));
    tasks.spawn(orphans::run(Arc::clone(engine)));
    tasks.spawn(stranded::run(Arc::clone(engine)));
    tasks.spawn(graph::run(Arc::clone(engine)));
    tasks.spawn(silence::run(Arc::clone(engine)));
    tasks.spawn(breaker::run(Arc::clone(engine)));
    tasks.spawn(accounts::run(Arc::clone(engine)));
    tasks.spawn(environments::run(Arc::clone(engine)));
    tasks.spawn(runtime_services::run(Arc::clone(engine)));
    tasks.spawn(budgets::upkeep::run(Arc::clone(engine)));
    tasks.spawn(workspaces::run(Arc::clone(engine)));
    tasks.spawn(leftovers::run(Arc::clone(engine)));
    crate::automations::start(engine);
    tasks.spawn(webhooks::sending::run(Arc::clone(engine)));
    let inner = Arc::clone(engine);
    tasks.spawn(async move { inner.feed.tail(&inner.store, &inner.leaving).await });
}

/// How often a sweep comes that only finds what was told already, should that ever have been lost: an idle server sleeps.
pub(crate) fn seldom(engine: &Inner) -> Duration {
    engine.settings.period * 3
}

/// Issues per page of a walk.
const PAGE: i64 = 200;

/// A page of issues by id, after the given one, of the given length at most.
type Page = for<'t, 'c> fn(&'t mut Tx<'c>, String, i64) -> BoxFuture<'t, Result<Vec<IssueId>, StoreError>>;
/// What is done with one; true when a wake was ordered.
type Tend = fn(Arc<Inner>, IssueId) -> BoxFuture<'static, Result<bool, StoreError>>;

/// Goes through all issues that `page` finds, each by itself: one issue's trouble is not another's. Rings for the orders
/// that were placed.
async fn walk(engine: &Arc<Inner>, what: &str, page: Page, tend: Tend) -> Result<(), StoreError> {
    let mut after = String::new();
    let mut ordered = false;
    loop {
        let found = engine.read(after, move |tx, after| page(tx, after, PAGE)).await?;
        for issue in &found {
            match tend(Arc::clone(engine), issue.clone()).await {
                Ok(is_ordered) => ordered |= is_ordered,
                Err(error) => tracing::warn!(%issue, %error, "cannot look after {what} of the issue"),
            }
        }
        after = match found.last() {
            Some(last) if found.len() as i64 == PAGE && !engine.closing.is_cancelled() => last.0.clone(),
            Some(_) | None => break,
        };
    }
    if ordered {
        engine.orders_bell();
    }
    Ok(())
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
