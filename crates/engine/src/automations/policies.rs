//! What a start and a shutdown of the server do to runs that are at work: nothing, except to those whose definition asks to
//! fail then.

use std::sync::Arc;

use domain::automation::sweep::{AtRestart, at_restart};
use domain::automation::transition::StopAt;
use domain::automation::{AutomationRunStatus, StopKind};
use domain::ids::AutomationRunId;
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::json;
use store::automations::runs::{self, AtWork};
use store::{StoreError, Tx};

use super::loaded::Loaded;
use super::stopping::{self, Order};
use super::telling::{self, Note};
use crate::Inner;

/// Has stops sent again that the server died over, and ends the runs of this server that are to end when it starts; tried until it is done, whatever the store does meanwhile.
pub(super) async fn at_start(engine: &Arc<Inner>, started_at: Moment) {
    let looked =
        engine.write(started_at, |tx, now| Box::pin(async move { runs::look_at_stopping(tx, now).await }));
    if let Err(error) = looked.await {
        // The look that each of them names is a minute away at the most.
        tracing::warn!(%error, "cannot look at once at the automation runs that are to stop");
    }
    engine.automations.tend.notify_one();
    while !end_those_that_ask(engine, StopKind::ServerRestart, started_at).await {
        tokio::select! {
            biased;
            () = engine.closing.cancelled() => return,
            () = tokio::time::sleep(engine.settings.period) => {}
        }
    }
}

/// Ends the runs of this server that are to end when it starts or goes; those that began since `before` are of another
/// life of it. False: some of them could not be.
pub(super) async fn end_those_that_ask(engine: &Arc<Inner>, kind: StopKind, before: Moment) -> bool {
    match try_to(engine, kind, before).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, %kind, "cannot end the automation runs that are to end now");
            false
        }
    }
}

async fn try_to(engine: &Arc<Inner>, kind: StopKind, before: Moment) -> Result<(), StoreError> {
    let at_work = engine.read((), |tx, ()| Box::pin(runs::at_work(tx))).await?;
    let is_own = |run: &AtWork| run.server_node.as_deref() == Some(&engine.settings.node_id);
    let mut outcome = Ok(());
    for AtWork { id, .. } in at_work.into_iter().filter(is_own) {
        let now = engine.clock.now();
        let ended = engine
            .write(id, move |tx, id| Box::pin(async move { end(tx, &id, kind, before, now).await }))
            .await;
        // One run's trouble is not another's.
        outcome = outcome.and(ended);
    }
    engine.automations.ring();
    outcome
}

async fn end(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    kind: StopKind,
    before: Moment,
    now: Moment,
) -> Result<(), StoreError> {
    let Ok(mut it) = Loaded::load(tx, id, true).await? else { return Ok(()) };
    let is_older = it.run.admitted_at.is_none_or(|at| at < before);
    let is_asked = at_restart(&it.definition, it.run.status) == AtRestart::Fails;
    // One that is to be cancelled is: somebody was told so.
    let ends = matches!(it.run.stop_to, Some(AutomationRunStatus::Failed | AutomationRunStatus::Cancelled));
    if !is_older || !is_asked || ends {
        return Ok(());
    }
    let (event, action) = match kind {
        StopKind::Shutdown => ("run_failed_shutdown", "automation.internal_sweep.shutdown_failed_run"),
        _ => ("run_failed_server_restart", "automation.internal_sweep.server_restart_failed_run"),
    };
    let run = &mut it.run;
    let reason = Some("its policy is to fail when the server stops (policy.onRestart)".to_owned());
    if stopping::tell(run, Order::new(StopAt::Failed, kind, reason.clone()), now).is_err() {
        return Ok(());
    }
    run.updated_at = now;
    telling::tell(tx, run, Note::run(event).because(reason), now).await?;
    telling::audit(tx, run, &Actor::system("automation"), action, json!({ "status": run.status }), now)
        .await?;
    runs::update(tx, run).await
}
