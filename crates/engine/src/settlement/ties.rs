//! Letting go of issues that a run had taken beside its own: it checked them out, or took their lock.
//!
//! The end of the run has made these locks void already; here they are cleared and who waits behind them goes on, each
//! issue in a transaction of its own, because an issue is locked before a run (D15). What a crash leaves undone is found
//! by the sweeps.

use domain::ids::IssueId;
use store::issues;
use store::leases::Lease;
use store::{StoreError, Tx, locks};

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
        let let_go = engine
            .write((issue.clone(), lease.clone()), move |tx, (issue, lease)| {
                Box::pin(async move { let_go(tx, &issue, &lease, now).await })
            })
            .await;
        if let Err(error) = let_go {
            tracing::warn!(%issue, run = %lease.run, %error, "cannot let go of an issue");
        }
    }
    engine.feed.ring();
    engine.orders_bell();
}

async fn let_go(
    tx: &mut Tx<'_>,
    id: &IssueId,
    lease: &Lease,
    now: domain::moment::Moment,
) -> Result<(), StoreError> {
    let Some(issue) = issues::lock(tx, id).await? else { return Ok(()) };
    if !locks::release(tx, id, (&lease.run, lease.epoch)).await? {
        return Ok(());
    }
    let look = promotions::look(tx, Some(&issue), now).await?;
    promotions::end_hopeless(tx, &look, now).await?;
    if let Some(wake) = look.promoted() {
        orders::promote(tx, &issue.company_id, wake, now).await?;
    }
    issues::set_check_at(tx, id, Some(now.plus(crate::sweeps::stranded::AFTER_RUN))).await
}
