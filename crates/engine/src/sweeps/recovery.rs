//! Takes over the running runs of this node that nobody tends: after a start those of earlier incarnations, later any
//! whose task was lost.
//!
//! Runs in the background after the server listens, a bounded number side by side, and says how far it is. Taking over
//! changes the holder by compare-and-set; the process goes on, and its task finds out what became of it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::ids::RunId;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use store::agents::{self, Agent};
use store::leases::{self, Claimed, Held};
use store::runs::{self, Run};
use store::{StoreError, Tx};

use crate::run_task::{self, Entry};
use crate::{Inner, signals};

const PAGE: i64 = 200;
/// After the start, lost tasks are looked for this often.
const PERIOD: Duration = Duration::from_secs(10);

/// How far the recovery after a start is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// The first pass is complete.
    pub done: bool,
    /// Runs that were taken over from an earlier incarnation.
    pub taken_over: u64,
    /// Runs that could not be taken over yet.
    pub failed: u64,
}

pub(crate) async fn run(engine: Arc<Inner>) {
    let mut after = String::new();
    loop {
        match page(&engine, &mut after).await {
            Ok(true) => continue,
            Ok(false) => {
                let mut recovery = engine.recovery.lock().unwrap_or_else(PoisonError::into_inner);
                if !recovery.done {
                    tracing::info!(
                        taken_over = recovery.taken_over,
                        failed = recovery.failed,
                        "recovery is complete"
                    );
                }
                recovery.done = recovery.failed == 0 || recovery.done;
                recovery.failed = 0;
                if recovery.done {
                    engine.slots.end_reservation();
                    engine.doorbell.freed();
                }
                after.clear();
            }
            Err(error) => tracing::warn!(%error, "cannot look for runs to take over"),
        }
        let quick = !engine.recovery.lock().unwrap_or_else(PoisonError::into_inner).done;
        let wait = if quick { engine.settings.period } else { PERIOD };
        tokio::select! {
            biased;
            () = engine.closing.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        if let Err(error) = adopt_lost_tasks(&engine).await {
            tracing::warn!(%error, "cannot look for runs whose task was lost");
        }
    }
}

/// Takes over one page; true when there may be more.
async fn page(engine: &Arc<Inner>, after: &mut String) -> Result<bool, StoreError> {
    let context = (engine.claimer.clone(), after.clone());
    let held = engine
        .read(context, |tx, (claimer, after)| {
            Box::pin(async move {
                leases::held_by_others(tx, &claimer.node_id, claimer.holder, &after, PAGE).await
            })
        })
        .await?;
    let Some(last) = held.last() else { return Ok(false) };
    *after = last.run.0.clone();
    let full = held.len() as i64 == PAGE;
    stream::iter(held)
        .for_each_concurrent(engine.settings.recovery_width, |held| async move {
            let taken = take_over(engine, &held).await;
            let mut recovery = engine.recovery.lock().unwrap_or_else(PoisonError::into_inner);
            match taken {
                Ok(true) => recovery.taken_over += 1,
                Ok(false) => {}
                Err(error) => {
                    recovery.failed += 1;
                    tracing::warn!(run = %held.run, %error, "cannot take the run over; trying again");
                }
            }
        })
        .await;
    Ok(full)
}

async fn take_over(engine: &Arc<Inner>, held: &Held) -> Result<bool, StoreError> {
    let now = engine.clock.now();
    let context = (held.clone(), engine.claimer.clone());
    let taken = engine
        .write(context, move |tx, (held, claimer)| {
            Box::pin(async move {
                let Some(claimed) = leases::reattach(tx, &held, &claimer, now).await? else {
                    return Ok(None);
                };
                let Some((run, agent)) = load(tx, &held.run).await? else { return Ok(None) };
                let payload = json!({ "from": held.holder, "to": claimer.holder });
                let event =
                    signals::lifecycle("info", "a restarted server looks after the run", Some(payload));
                signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), claimed.seq, event, now)
                    .await?;
                Ok(Some((run, agent, claimed)))
            })
        })
        .await?;
    let Some((run, agent, claimed)) = taken else { return Ok(false) };
    engine.feed.ring();
    attach(engine, run, agent, claimed);
    Ok(true)
}

/// A task may be lost while its run goes on: it panicked, or the store was away when it was to be claimed.
async fn adopt_lost_tasks(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let first = untended(engine).await?;
    if first.is_empty() {
        return Ok(());
    }
    // A claim that was committed a moment ago is about to get its task: only who is missing twice is lost.
    tokio::time::sleep(engine.settings.period).await;
    let second = untended(engine).await?;
    for held in second.into_iter().filter(|held| first.contains(held)) {
        let loaded =
            engine.read(held.run.clone(), |tx, run| Box::pin(async move { load(tx, &run).await })).await?;
        if let Some((run, agent)) = loaded {
            tracing::warn!(run = %held.run, "the run had lost its task");
            let lease = leases::Lease { run: held.run, epoch: held.epoch, holder: held.holder };
            attach(engine, run, agent, Claimed { lease, seq: 0 });
        }
    }
    Ok(())
}

async fn untended(engine: &Arc<Inner>) -> Result<Vec<Held>, StoreError> {
    let claimer = engine.claimer.clone();
    let ours = engine
        .read(claimer, |tx, claimer| {
            // Everything below the next incarnation, of which only ours is left after the pages.
            Box::pin(async move {
                leases::held_by_others(tx, &claimer.node_id, claimer.holder + 1, "", 1000).await
            })
        })
        .await?;
    Ok(ours
        .into_iter()
        .filter(|held| held.holder == engine.claimer.holder && engine.handle_of(&held.run).is_none())
        .collect())
}

async fn load(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<(Run, Agent)>, StoreError> {
    let Some(run) = runs::get(tx, run).await? else { return Ok(None) };
    let agent = agents::get(tx, &run.agent_id).await?;
    Ok(agent.map(|agent| (run, agent)))
}

/// A process that is there already has its place, whatever the limit is now.
fn attach(engine: &Arc<Inner>, run: Run, agent: Agent, claimed: Claimed) {
    run_task::spawn(engine, run, agent, claimed.lease, Entry::Attach, engine.slots.take_over());
}
