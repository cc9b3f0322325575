//! Looking after runs that are at work: what ended is judged, and what is next is done, in one transaction each time.
//!
//! Every look loads the run anew, so that it may come twice, late, or on two servers; whoever comes second finds nothing
//! to do. What a transaction ordered to be done outside of the store (stop an agent's run) is done after it, and is found
//! again by the next look when the server died in between.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::automation::AutomationRunStatus;
use domain::automation::scope::Bounds;
use domain::ids::{AutomationRunId, RunId};
use domain::moment::Moment;
use domain::wake::Actor;
use futures_util::{StreamExt, stream};
use store::automations::{nodes, runs};
use store::{StoreError, Tx};

use super::draws::Draws;
use super::found::{self, FoundBy};
use super::loaded::{Loaded, Unloadable};
use super::telling::{self, Note};
use super::turn::Turn;
use super::{LOOK_AGAIN, endings, going_on};
use crate::processes::beside;
use crate::{Inner, sweeps};

/// Runs looked at in one go.
const BATCH: i64 = 128;
/// And side by side.
const WIDTH: usize = 8;
/// What came while a look was prepared is taken up at once, so often.
const MOST_LOOKS: u32 = 5;

pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !sweeps::rest(&engine, "automation runs", &engine.automations.tend, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    bring_forward(engine).await?;
    let mut failed = false;
    loop {
        let now = engine.clock.now();
        let due =
            engine.read((), move |tx, ()| Box::pin(async move { runs::due(tx, now, BATCH).await })).await?;
        if due.is_empty() || engine.closing.is_cancelled() {
            break;
        }
        let looks: Vec<(AutomationRunId, Result<(), StoreError>)> = stream::iter(due)
            .map(|id| async move {
                let looked = look_after(engine, &id).await;
                (id, looked)
            })
            .buffer_unordered(WIDTH)
            .collect()
            .await;
        for (run, looked) in looks {
            // One run's trouble is not another's: it is said, and comes again.
            if let Err(error) = looked {
                tracing::warn!(%run, %error, "cannot look after the automation run");
                failed = true;
            }
        }
        if failed {
            return Ok(engine.settings.period);
        }
    }
    let next = engine.read((), |tx, ()| Box::pin(runs::next_due(tx))).await?;
    let wait = next.map_or(sweeps::seldom(engine), |at| at.since(engine.clock.now()));
    Ok(wait.clamp(Duration::from_millis(5), sweeps::seldom(engine)))
}

/// Something was lifted: whoever waited for it is looked at now. The minute that such runs name finds what a lost ring, or
/// one on another server, did not.
async fn bring_forward(engine: &Arc<Inner>) -> Result<(), StoreError> {
    if !engine.automations.lifted.swap(false, Ordering::AcqRel) {
        return Ok(());
    }
    let now = engine.clock.now();
    let brought = engine.write((), move |tx, ()| {
        Box::pin(async move {
            runs::bring_forward(tx, now).await?;
            nodes::bring_forward(tx, now).await
        })
    });
    match brought.await {
        Ok(()) => {
            engine.automations.dispatch.notify_one();
            Ok(())
        }
        Err(error) => {
            engine.automations.lifted.store(true, Ordering::Release);
            Err(error)
        }
    }
}

/// What a look left to be done.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    /// Something ended that was not looked at before the transaction.
    pub(super) again: bool,
    pub(super) stops: Vec<(RunId, &'static str)>,
    /// A run began to wait, or left its place.
    pub(super) moved: bool,
    pub(super) ordered: bool,
    pub(super) asked: bool,
}

/// What was seen of the workspace before the transaction.
#[derive(Debug, Clone, Default)]
struct Seen {
    found: FoundBy,
    /// It is no folder any more.
    is_homeless: bool,
}

/// Why an agent's run is stopped, on its record.
const INTERRUPTED: &str = "Stopped by its automation";
const TOOK_TOO_LONG: &str = "Stopped by its automation: it took too long";

/// Looks at one run.
pub(super) async fn look_after(engine: &Arc<Inner>, id: &AutomationRunId) -> Result<(), StoreError> {
    for _ in 0..MOST_LOOKS {
        let seen = prepare(engine, id).await?;
        let now = engine.clock.now();
        let context = (id.clone(), seen, Draws::new(engine.dice.bytes()), engine.dice.fraction());
        let done = engine.write(context, move |tx, (id, seen, mut draws, chance)| {
            Box::pin(async move { look(tx, &id, &seen, (chance, &mut draws), now).await })
        });
        let done = done.await?;
        engine.feed.ring();
        engine.automations.status.notify_one();
        if done.moved {
            engine.automations.admission.notify_one();
            engine.automations.schedules.notify_one();
        }
        if done.ordered {
            engine.automations.dispatch.notify_one();
        }
        if done.asked {
            engine.automations.gates.notify_one();
        }
        for (run, words) in done.stops {
            engine.stop_for_automation(&run, words).await;
        }
        if !done.again {
            return Ok(());
        }
    }
    Ok(())
}

/// Looks at the workspace: whether it is there, and what lies there of what ended.
async fn prepare(engine: &Arc<Inner>, id: &AutomationRunId) -> Result<Seen, StoreError> {
    let loaded =
        engine.read(id.clone(), |tx, id| Box::pin(async move { Loaded::load(tx, &id, false).await }));
    let Ok(loaded) = loaded.await? else { return Ok(Seen::default()) };
    let over: Vec<_> = loaded
        .live
        .iter()
        .filter(|under| under.is_over() && under.attempt.counts)
        .map(|under| {
            let id = &under.attempt.node_id;
            let node = loaded.definition.node(id);
            let key = (id.clone(), under.attempt.attempt);
            let contract = node.and_then(|node| node.output.clone());
            let bounds =
                node.filter(|node| node.scope.is_some()).and_then(|_| Bounds::of(&loaded.definition, id));
            (key, contract, bounds.map(|bounds| (bounds, under.began_at())))
        })
        .collect();
    let Some(root) = loaded.run.root else {
        let nothing = over.into_iter().map(|(key, ..)| (key, found::Found::default()));
        return Ok(Seen { found: nothing.collect(), is_homeless: false });
    };
    let look = move || {
        let mut found = FoundBy::new();
        for (key, contract, bounds) in over {
            let outside = bounds.map(|(bounds, since)| found::outside(&root, &bounds, since));
            let looked = found::look(Some(&root), contract.as_ref());
            found.insert(key, found::Found { outside: outside.unwrap_or_default(), ..looked });
        }
        Seen { found, is_homeless: !Path::new(&root).is_dir() }
    };
    Ok(beside(&engine.processes, look).await.unwrap_or_default())
}

impl Inner {
    /// Asks an agent's run to stop, for its automation. A run that is over, or a store that is away: the next look knows.
    async fn stop_for_automation(self: &Arc<Self>, run: &RunId, words: &str) {
        let engine = crate::Engine { inner: Arc::clone(self) };
        let actor = Actor::system("automation");
        if let Err(error) = engine.cancel_run(run, Some(words.to_owned()), &actor).await {
            tracing::warn!(%run, %error, "cannot stop the run of an automation");
        }
    }
}

async fn look(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    seen: &Seen,
    (chance, draws): (f64, &mut Draws),
    now: Moment,
) -> Result<Done, StoreError> {
    let mut done = Done::default();
    let mut it = match Loaded::load(tx, id, true).await? {
        Ok(loaded) => loaded,
        Err(Unloadable::Gone) => return Ok(done),
        Err(Unloadable::Unreadable(mut run, why)) => {
            // One broken run is one blocked run, and says so.
            if !run.status.is_final() {
                run.status = AutomationRunStatus::Blocked;
                run.detail = Some(format!("its definition cannot be read: {why}"));
                run.finished_at = Some(now);
                let note = Note::run("run_blocked_corrupt_checkpoint").because(run.detail.clone());
                telling::tell(tx, &mut run, note, now).await?;
                done.moved = true;
            }
            run.look_at = None;
            run.updated_at = now;
            runs::update(tx, &run).await?;
            return Ok(done);
        }
    };
    if it.run.status == AutomationRunStatus::Paused {
        done.moved = going_on::resume(tx, &mut it, now).await?;
        it.run.updated_at = now;
        runs::update(tx, &it.run).await?;
        return Ok(done);
    }
    done.again = endings::collect(tx, &mut it, &seen.found, chance, now).await?;
    let is_homeless = seen.is_homeless;
    let mut turn = Turn { it: &mut it, done: &mut done, draws, is_homeless, now, look_at: None };
    // Some steps lead to the next one at once; each of them changes the run, so this ends.
    for _ in 0..16 {
        if !turn.step(tx).await? {
            break;
        }
    }
    let look_at = turn.look_at;
    for under in it.live.iter().filter(|under| under.is_to_be_stopped()) {
        if let Some(run) = &under.attempt.agent_run_id {
            let timed_out = under.attempt.stopped.as_deref() == Some("timeout");
            done.stops.push((run.clone(), if timed_out { TOOK_TOO_LONG } else { INTERRUPTED }));
        }
    }
    it.run.look_at = if it.run.status.is_at_work() {
        let level = now.plus(LOOK_AGAIN);
        Some(look_at.map_or(level, |at| at.min(level)))
    } else {
        going_on::look_at(&it.run, now)
    };
    it.run.updated_at = now;
    runs::update(tx, &it.run).await?;
    Ok(done)
}
