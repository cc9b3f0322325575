//! Ends runs that have been queued for longer than the instance lets runs wait.
//!
//! Only where such a limit is set (D22: none is); nothing is looked at elsewhere. The dispatcher ends them too when it
//! comes across one, but nobody dispatches for an agent that is paused or has no free slot. That a run has expired is one
//! of the gates of `domain::claim`; what is done about the work that it leaves is the business of `stranded`.

use std::sync::Arc;
use std::time::Duration;

use domain::claim::{self, ClaimView, Gate};
use domain::run::RunStatus;
use store::{StoreError, issues, runs};

use crate::claims::{self, Dismissal, Room};
use crate::{Inner, budgets, intake, issue_views};

/// At most so many in one pass.
const BATCH: i64 = 50;
/// The longest sleep: a clock may jump.
const LONGEST: Duration = Duration::from_secs(30);

pub(crate) async fn run(engine: Arc<Inner>) {
    let Some(may_wait) = engine.settings.max_queue_age else { return };
    loop {
        let pass = pass(&engine, may_wait).await;
        if !super::rest(&engine, "runs that wait too long", &engine.expiry, pass).await {
            return;
        }
    }
}

/// Ends what has waited too long; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>, may_wait: Duration) -> Result<Duration, StoreError> {
    let now = engine.clock.now();
    let before = now.minus(may_wait);
    let old = engine
        .read((), move |tx, ()| Box::pin(async move { runs::queued_before(tx, before, BATCH).await }))
        .await?;
    let is_full = old.len() as i64 == BATCH;
    let (mut failed, mut any) = (false, false);
    for waiting in old {
        let run = waiting.0.clone();
        let ended = engine.write(waiting, move |tx, (run, agent, issue)| {
            Box::pin(async move {
                let agent = intake::lock_agent(tx, &agent).await?;
                if let Some(issue) = &issue {
                    issues::lock(tx, issue).await?;
                }
                let Some(run) = claims::lock_waiting(tx, &run).await? else { return Ok(false) };
                let queued_at = run.retry_at.unwrap_or(run.created_at);
                let views = issue_views::at_claim(tx, std::slice::from_ref(&run)).await?;
                let issue = views.into_values().next().map(|(issue, _)| issue);
                // Whether there is room is not asked: it ends for having waited, or for what it waited for.
                let room = Room { slots: 1, agent_running: 0, instance_slots: 1, instance_running: 0 };
                let status = agent.as_ref().map(budgets::status_at_claim);
                let view = claims::view(RunStatus::Queued, status, issue, false, room);
                let expired = claim::has_expired(queued_at, Some(may_wait), now);
                match claim::gate(&ClaimView { expired, ..view }) {
                    Gate::Ends(end) => claims::dismiss(tx, &run, &Dismissal::from(&end), now).await,
                    Gate::Open | Gate::Held(_) | Gate::NotWaiting => Ok(false),
                }
            })
        });
        match ended.await {
            Ok(true) => any = true,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%run, %error, "cannot end a run that waited too long");
                failed = true;
            }
        }
    }
    if any {
        engine.feed.ring();
        engine.stranded.notify_one();
    }
    if failed {
        // It is due still, and would be at once again.
        return Ok(engine.settings.period);
    }
    if is_full {
        return Ok(Duration::ZERO);
    }
    let oldest = engine.read((), |tx, ()| Box::pin(runs::queued_longest(tx))).await?;
    let due = oldest.map_or(LONGEST, |since| since.plus(may_wait).since(engine.clock.now()));
    Ok(due.clamp(Duration::from_millis(20), LONGEST))
}
