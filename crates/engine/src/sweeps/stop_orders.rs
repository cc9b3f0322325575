//! Tells the tasks of running runs what the record says: that somebody asked to stop them.
//!
//! Whoever asks rings the task itself, when it is of this server and there already. This finds the others: asked at
//! another server, or in the moment between the claim of a run and its task. Stopping is the task's business.

use std::sync::Arc;

use store::{StoreError, leases};

use crate::Inner;

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        if let Err(error) = pass(&engine).await {
            tracing::warn!(%error, "cannot look for runs that are to stop");
        }
        tokio::select! {
            biased;
            () = engine.leaving.cancelled() => return,
            () = engine.stop_orders.notified() => {}
            () = tokio::time::sleep(engine.settings.period) => {}
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<(), StoreError> {
    if engine.tends_nothing() {
        return Ok(());
    }
    let holder = engine.claimer.clone();
    let asked = engine
        .read(holder, |tx, by| {
            Box::pin(async move { leases::asked_to_stop(tx, &by.node_id, by.holder).await })
        })
        .await?;
    for (run, words) in asked {
        // Without a handle its task is still to come, and reads the record itself.
        if let Some(handle) = engine.handle_of(&run) {
            handle.ask_to_stop(&words);
        }
    }
    Ok(())
}
