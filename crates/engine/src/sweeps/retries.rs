//! Queues scheduled retries whose time has come.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::{IssueId, RunId};
use domain::moment::Moment;
use domain::wake::issue::stale_retry;
use serde_json::json;
use store::runs::{self, Run};
use store::{StoreError, Tx, issues, leases};

use crate::claims::{self, Dismissal};
use crate::{Inner, intake, issue_views, signals};

/// At most so many in one pass (spec/heartbeat.md 5.3).
const BATCH: i64 = 50;
/// The longest sleep: a clock may jump, another node may schedule one.
const LONGEST: Duration = Duration::from_secs(30);

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "scheduled retries", &engine.retries, pass).await {
            return;
        }
    }
}

/// Queues what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let now = engine.clock.now();
    let due = engine
        .read((), move |tx, ()| Box::pin(async move { leases::due_retries(tx, now, BATCH).await }))
        .await?;
    let mut failed = false;
    for (run, agent) in due {
        let promoted = engine
            .write((run.clone(), agent.clone()), move |tx, (run, agent)| {
                Box::pin(async move {
                    intake::lock_agent(tx, &agent).await?;
                    if drop_stale(tx, &run, now).await? {
                        return Ok(true);
                    }
                    let Some(seq) = leases::promote(tx, &run, now).await? else { return Ok(false) };
                    let Some(run): Option<Run> = runs::get(tx, &run).await? else { return Ok(false) };
                    let payload = json!({
                        "scheduledRetryAttempt": run.retry_attempt, "scheduledRetryAt": run.retry_at,
                        "scheduledRetryReason": run.retry_reason,
                    });
                    let event = signals::lifecycle("info", "the time of the retry has come", Some(payload));
                    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now)
                        .await?;
                    signals::run_queued(tx, &run, now).await?;
                    Ok(true)
                })
            })
            .await;
        match promoted {
            Ok(true) => {
                engine.feed.ring();
                engine.doorbell.ring(&agent);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%run, %error, "cannot queue the retry");
                failed = true;
            }
        }
    }
    if failed {
        // It is due still, and would be at once again.
        return Ok(engine.settings.period);
    }
    let next = engine.read((), |tx, ()| Box::pin(leases::next_retry(tx))).await?;
    Ok(next.map_or(LONGEST, |at| at.since(engine.clock.now())).clamp(Duration::from_millis(20), LONGEST))
}

/// Ends a retry whose issue was cancelled or given to another agent meanwhile (spec/heartbeat.md 5.3); true if it did.
/// Whose issue is gone is found out by the claim. A run's issue never changes, so it is read before it is locked.
async fn drop_stale(tx: &mut Tx<'_>, run: &RunId, now: Moment) -> Result<bool, StoreError> {
    let Some(run) = runs::get(tx, run).await? else { return Ok(false) };
    let Some(issue) = run.issue_id.clone().map(IssueId) else { return Ok(false) };
    let Some(issue) = issues::lock(tx, &issue).await? else { return Ok(false) };
    let retry = issue_views::waiting_retry(&run);
    match stale_retry(issue.status, issue.assignee_agent_id.as_ref(), &retry) {
        Some(why) => claims::dismiss(tx, &run, &Dismissal::of_retry(why, &run, &issue), now).await,
        None => Ok(false),
    }
}
