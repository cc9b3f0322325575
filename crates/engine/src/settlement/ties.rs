//! Letting go of issues that a run had taken beside its own: it checked them out, or took their lock.
//!
//! The end of the run has made these locks void already; here they are cleared and who waits behind them goes on, each
//! issue in a transaction of its own, because an issue is locked before a run (D15). What a crash leaves undone is found
//! by the sweeps.

use domain::ids::{AgentId, IssueId};
use domain::moment::Moment;
use domain::recovery::looks;
use domain::run::RunStatus;
use store::issues;
use store::{StoreError, Tx, locks, runs_of_issues};

use crate::run_task::Tending;
use crate::{orders, promotions};

/// More issues than this are not taken by one run; a sweep finds the others.
const MOST: i64 = 100;

/// Lets go of what names the run of this task.
pub(super) async fn loosen(task: &Tending<'_>) {
    let (engine, lease) = (task.engine, &task.lease);
    let tied = engine
        .read(lease.run.clone(), |tx, run| Box::pin(async move { locks::of_run(tx, &run, MOST).await }))
        .await;
    let tied = match tied {
        Ok(tied) => tied,
        Err(error) => {
            tracing::warn!(run = %lease.run, %error, "cannot look for issues that the run had taken");
            return;
        }
    };
    for issue in tied {
        let now = engine.clock.now();
        let freed = engine
            .write(issue.clone(), move |tx, issue| Box::pin(async move { free(tx, &issue, now).await }));
        match freed.await {
            Ok(waiting) => waiting.iter().for_each(|agent| engine.doorbell.ring(agent)),
            Err(error) => tracing::warn!(%issue, run = %lease.run, %error, "cannot let go of an issue"),
        }
    }
    engine.feed.ring();
    engine.orders_bell();
}

/// The agents whose queued runs may have waited for an issue.
pub(crate) async fn waiting(tx: &mut Tx<'_>, issue: &IssueId) -> Result<Vec<AgentId>, StoreError> {
    let live = runs_of_issues::live_of(tx, std::slice::from_ref(issue)).await?;
    let queued = live.into_iter().filter(|run| run.status == RunStatus::Queued);
    Ok(queued.map(|run| run.agent_id).collect())
}

/// Clears the lock of an issue whose run is over, and has whoever waits longest behind it go on. Answers with the agents
/// whose queued runs may have waited for it.
pub(crate) async fn free(tx: &mut Tx<'_>, id: &IssueId, now: Moment) -> Result<Vec<AgentId>, StoreError> {
    let Some(issue) = issues::lock(tx, id).await? else { return Ok(Vec::new()) };
    locks::clear_dead(tx, id).await?;
    let look = promotions::look(tx, Some(&issue), now).await?;
    promotions::end_hopeless(tx, &look, now).await?;
    if let Some(wake) = look.promoted() {
        orders::promote(tx, &issue.company_id, wake, now).await?;
    }
    issues::check_by(tx, id, now.plus(looks::AFTER)).await?;
    waiting(tx, id).await
}
