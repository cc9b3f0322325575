//! Lets wakes go that were held because agents woke each other in a circle.
//!
//! A circle is over when a person touches its issue or resolves its item. Then the item is resolved, and the wakes that
//! it kept go on like all deferred wakes. Stopping a circle is `breaker`'s.

use std::sync::Arc;
use std::time::Duration;

use domain::recovery::InboxKind;
use store::inbox::InboxItem;
use store::wakes::{self, Wake};
use store::{StoreError, activity, inbox, issues};

use crate::{Inner, breaker, orders};

/// Items per page, and wakes that one circle held.
const PAGE: i64 = 100;

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "stopped circles of wakes", &engine.circles, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let (mut after, mut is_idle) = (String::new(), true);
    loop {
        let items = engine
            .read(after.clone(), |tx, after| {
                Box::pin(
                    async move { inbox::open_of_kind(tx, InboxKind::WakeLoop.as_str(), &after, PAGE).await },
                )
            })
            .await?;
        is_idle &= items.is_empty();
        for item in &items {
            // One circle's trouble is not another's.
            if let Err(error) = look_after(engine, item).await {
                tracing::warn!(item = %item.id, %error, "cannot look after a stopped circle");
            }
        }
        match items.last() {
            Some(last) if items.len() as i64 == PAGE => after = last.id.clone(),
            Some(_) | None => break,
        }
    }
    let held =
        engine.read((), |tx, ()| Box::pin(async move { wakes::held_in_circles(tx, PAGE).await })).await?;
    for wake in held {
        match let_go(engine, &wake).await {
            Ok(true) => engine.orders_bell(),
            Ok(false) => {}
            Err(error) => tracing::warn!(wake = %wake.id, %error, "cannot let go of a held wake"),
        }
    }
    // With nothing held there is nothing that a person could let go.
    Ok(if is_idle { super::seldom(engine) } else { engine.settings.period })
}

/// Resolves the item when a person touched its issue since.
async fn look_after(engine: &Arc<Inner>, item: &InboxItem) -> Result<(), StoreError> {
    let Some(issue) = breaker::trip(item).and_then(|trip| trip.issue) else { return Ok(()) };
    let now = engine.clock.now();
    engine
        .write((item.clone(), issue), move |tx, (item, issue)| {
            Box::pin(async move {
                let touched = activity::last_touch_of_issue(tx, &issue).await?;
                if touched.is_some_and(|at| at > item.opened_at) {
                    inbox::resolve(tx, &item.id, "touched", now).await?;
                }
                Ok(())
            })
        })
        .await
}

/// Orders that a held wake goes on, when its circle is over.
async fn let_go(engine: &Arc<Inner>, wake: &Wake) -> Result<bool, StoreError> {
    // What is kept is kept for long: looking first costs no write.
    let is_held =
        engine.read(wake.clone(), |tx, wake| Box::pin(async move { breaker::still_holds(tx, &wake).await }));
    if is_held.await? {
        return Ok(false);
    }
    let now = engine.clock.now();
    engine
        .write(wake.clone(), move |tx, wake| {
            Box::pin(async move {
                if let Some(issue) = &wake.issue_id {
                    issues::lock(tx, issue).await?;
                }
                Ok(orders::promote(tx, &wake.company_id, &wake, now).await?.is_some())
            })
        })
        .await
}
