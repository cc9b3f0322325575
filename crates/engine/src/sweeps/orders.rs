//! Looks for deferred wakes that wait for nobody: no live run holds their issue.
//!
//! Whoever gives a lock back orders the next wake at once. This finds the others: what a pause, a budget or a hold kept
//! until it was lifted, the second and third behind one lock, and whatever a lock left behind that died with its run.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::IssueId;
use store::{StoreError, issues, wakes};

use crate::{Inner, orders, promotions};

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "deferred wakes", &engine.deferrals, pass).await {
            return;
        }
    }
}

/// Orders the promotions that are due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    super::walk(
        engine,
        "the deferred wakes",
        |tx, after, limit| Box::pin(async move { wakes::deferred_for_nothing(tx, &after, limit).await }),
        |engine, issue| Box::pin(async move { look_after(&engine, &issue).await }),
    )
    .await?;
    Ok(super::seldom(engine))
}

/// Looks first without a lock: what is kept is kept for long, and costs no write.
async fn look_after(engine: &Arc<Inner>, issue: &IssueId) -> Result<bool, StoreError> {
    let now = engine.clock.now();
    let is_due = engine
        .read(issue.clone(), move |tx, id| {
            Box::pin(async move {
                let issue = issues::get(tx, &id).await?;
                // Without an issue nothing can ever come of them.
                Ok(issue.is_none() || promotions::look(tx, issue.as_ref(), now).await?.is_due())
            })
        })
        .await?;
    if !is_due {
        return Ok(false);
    }
    engine
        .write(issue.clone(), move |tx, id| {
            Box::pin(async move {
                let Some(issue) = issues::lock(tx, &id).await? else {
                    promotions::end_all_on(tx, &id, now).await?;
                    return Ok(false);
                };
                let look = promotions::look(tx, Some(&issue), now).await?;
                promotions::end_hopeless(tx, &look, now).await?;
                match look.promoted() {
                    Some(wake) => Ok(orders::promote(tx, &issue.company_id, wake, now).await?.is_some()),
                    None => Ok(false),
                }
            })
        })
        .await
}
