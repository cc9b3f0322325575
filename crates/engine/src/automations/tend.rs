//! Looking after runs that are at work: what ended is judged, and what is next is done, in one transaction each time.
//!
//! Every look loads the run anew, so that it may come twice, late, or on two servers; whoever comes second finds nothing
//! to do. What a transaction ordered to be done outside of the store (stop an agent's run) is done after it, and is found
//! again by the next look when the server died in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::automation::AutomationRunStatus;
use domain::automation::definition::Contract;
use domain::automation::scope::Bounds;
use domain::ids::{AutomationRunId, RunId};
use domain::moment::Moment;
use domain::wake::Actor;
use futures_util::{StreamExt, stream};
use serde_json::Value as Json;
use store::automations::{nodes, runs};
use store::{StoreError, Tx};

use super::draws::Draws;
use super::found::{self, FoundBy};
use super::loaded::{Loaded, Unloadable};
use super::turn::Turn;
use super::{LOOK_AGAIN, endings, going_on, unreadable};
use crate::processes::beside;
use crate::{Inner, sweeps};

/// Runs looked at in one go.
const BATCH: i64 = 128;
/// And side by side.
const WIDTH: usize = 8;
/// What came while a look was prepared is taken up at once, so often.
const MOST_LOOKS: u32 = 5;
/// What is done of one run in one transaction.
const MOST_STEPS: u32 = 16;

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
        let due: Vec<_> = due.into_iter().filter(|id| !engine.automations.aside().contains(id)).collect();
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
    // One that is looked at aside is due until that is done, and rings then.
    let least = if engine.automations.aside().is_empty() { 5 } else { 250 };
    Ok(wait.clamp(Duration::from_millis(least), sweeps::seldom(engine)))
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
    /// What lay of these files there before the run began, or before steps were made again, where nobody had looked at that.
    before: Option<(BTreeSet<String>, Json)>,
    /// What lies there that steps may not remove, by the step that may begin.
    names: BTreeMap<String, Json>,
}

/// Why an agent's run is stopped, on its record.
const INTERRUPTED: &str = "Stopped by its automation";
const TOOK_TOO_LONG: &str = "Stopped by its automation: it took too long";

/// Looks at one run.
pub(super) async fn look_after(engine: &Arc<Inner>, id: &AutomationRunId) -> Result<(), StoreError> {
    for _ in 0..MOST_LOOKS {
        let unseen = engine.read(id.clone(), |tx, id| Box::pin(async move { unseen(tx, &id).await })).await?;
        if unseen.is_long() && !engine.processes.never_blocks() {
            look_aside(engine, id.clone(), unseen);
            return Ok(());
        }
        let seen = beside(&engine.processes, move || unseen.look(&|| false)).await.unwrap_or_default();
        if !look_with(engine, id, seen).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Looks at one run whose workspace takes its time, while the others go on. It is left out until that is done.
fn look_aside(engine: &Arc<Inner>, id: AutomationRunId, unseen: Unseen) {
    if !engine.automations.aside().insert(id.clone()) {
        return;
    }
    let inner = Arc::clone(engine);
    engine.tasks.spawn(async move {
        let closing = inner.closing.clone();
        let looked = beside(&inner.processes, move || unseen.look(&|| closing.is_cancelled())).await;
        if inner.closing.is_cancelled() {
            return;
        }
        let seen = looked.unwrap_or_default();
        if let Err(error) = look_with(&inner, &id, seen).await {
            tracing::warn!(run = %id, %error, "cannot look after the automation run");
        }
        inner.automations.aside().remove(&id);
        inner.automations.tend.notify_one();
    });
}

/// Looks at a run of which this was seen. True: something ended meanwhile, and is to be looked at.
async fn look_with(engine: &Arc<Inner>, id: &AutomationRunId, seen: Seen) -> Result<bool, StoreError> {
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
    Ok(done.again)
}

/// What is to be looked at of an attempt that is over.
struct Over {
    key: (String, i64),
    contract: Option<Contract>,
    /// What it may change, and since when; `None` = whatever it changed is not held against it.
    bounds: Option<(Bounds, Moment)>,
    /// What it may not remove.
    names: Option<Json>,
}

/// What is to be looked at of a run before its transaction.
#[derive(Default)]
struct Unseen {
    root: Option<String>,
    over: Vec<Over>,
    /// What lay there before it began.
    before: Option<Json>,
    /// Nobody has looked at that: these are the files that are meant.
    unstamped: Option<BTreeSet<String>>,
    /// The steps that may begin, with what they may change.
    to_begin: Vec<(String, Bounds)>,
}

impl Unseen {
    /// It takes as long as its workspace is large.
    fn is_long(&self) -> bool {
        self.root.is_some() && self.over.iter().any(|it| it.bounds.is_some())
    }

    /// Whether the workspace is there, and what lies there of what ended.
    fn look(self, gives_up: &dyn Fn() -> bool) -> Seen {
        let mut found = FoundBy::new();
        for Over { key, contract, bounds, names } in self.over {
            let root = self.root.as_deref();
            let outside = root.zip(bounds).map(|(root, (bounds, since))| {
                let mut outside = found::outside(root, &bounds, since, gives_up);
                outside.extend(names.iter().flat_map(|names| found::removed(root, names)));
                outside
            });
            let looked = found::look(root, contract.as_ref(), self.before.as_ref().unwrap_or(&Json::Null));
            found.insert(key, found::Found { outside: outside.unwrap_or_default(), ..looked });
        }
        let root = self.root.as_deref();
        let before = self.unstamped.map(|paths| {
            let stamps = found::before(root, &paths);
            (paths, stamps)
        });
        let names = root.map(|root| {
            self.to_begin.iter().map(|(id, bounds)| (id.clone(), found::names(root, bounds))).collect()
        });
        let is_homeless = root.is_some_and(|root| !Path::new(root).is_dir());
        Seen { found, is_homeless, before, names: names.unwrap_or_default() }
    }
}

/// What is to be looked at of a run; nothing of one that cannot be loaded.
async fn unseen(tx: &mut Tx<'_>, id: &AutomationRunId) -> Result<Unseen, StoreError> {
    let Ok(it) = Loaded::load(tx, id, false).await? else { return Ok(Unseen::default()) };
    let mut over = Vec::new();
    for under in it.live.iter().filter(|under| under.is_over() && under.attempt.counts) {
        let id = &under.attempt.node_id;
        let node = it.definition.node(id);
        let bounds = node.filter(|node| node.scope.is_some()).and_then(|_| Bounds::of(&it.definition, id));
        let since = if bounds.is_some() { under.began_at(tx).await? } else { None };
        over.push(Over {
            key: (id.clone(), under.attempt.attempt),
            contract: node.and_then(|node| node.output.clone()),
            bounds: bounds.zip(since),
            names: under.attempt.names_before.clone(),
        });
    }
    let to_begin = if it.run.status.is_at_work() { it.scoped_to_begin() } else { Vec::new() };
    let unstamped = it.unstamped();
    Ok(Unseen { root: it.run.root, over, before: it.run.files_before, unstamped, to_begin })
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
        Err(Unloadable::Unreadable(run, why)) => {
            let left = unreadable::block(tx, *run, &why, now).await?;
            done.stops.extend(left.into_iter().map(|run| (run, INTERRUPTED)));
            done.moved = true;
            return Ok(done);
        }
    };
    if it.run.status == AutomationRunStatus::Paused {
        done.moved = going_on::resume(tx, &mut it, now).await?;
        if done.moved {
            it.run.updated_at = now;
            runs::update(tx, &it.run).await?;
        } else {
            // Nothing has changed but when it is looked at again.
            runs::look_again(tx, &it.run.id, it.run.look_at).await?;
        }
        return Ok(done);
    }
    if let Some(paths) = it.unstamped() {
        let looked = seen.before.as_ref().filter(|(looked_at, _)| looked_at.is_superset(&paths));
        let Some((_, stamps)) = looked else {
            // It came to work, or was to be made again, after it was looked at. Nothing begins there before somebody has.
            done.again = true;
            runs::look_again(tx, &it.run.id, Some(now)).await?;
            return Ok(done);
        };
        it.stamp(&paths, stamps);
    }
    it.wind_clock(now);
    endings::collect(tx, &mut it, &seen.found, (chance, &mut *draws, &mut done), now).await?;
    // A reviewer sent work back: what lies there is looked at before it begins again.
    let is_unseen = it.unstamped().is_some();
    done.again |= is_unseen;
    let mut turn = Turn {
        it: &mut it,
        done: &mut done,
        draws,
        is_homeless: seen.is_homeless,
        names: &seen.names,
        now,
        look_at: None,
    };
    // Some steps lead to the next one at once; each of them changes the run, so this ends. What is left comes next.
    let mut steps = 0;
    while !is_unseen && turn.step(tx).await? {
        steps += 1;
        if steps == MOST_STEPS {
            turn.look_at = Some(now);
            break;
        }
    }
    let look_at = turn.look_at;
    if it.run.status.is_at_work() {
        it.wind_clock(now);
    }
    for under in it.live.iter().filter(|under| under.is_to_be_stopped()) {
        if let Some(run) = &under.attempt.agent_run_id {
            let timed_out = under.attempt.stopped.as_deref() == Some("timeout");
            done.stops.push((run.clone(), if timed_out { TOOK_TOO_LONG } else { INTERRUPTED }));
        }
    }
    it.run.look_at = if it.run.status.is_at_work() {
        // What was not looked at before is looked at by the next pass, if nobody comes back to it at once.
        let level = if done.again { now } else { now.plus(LOOK_AGAIN) };
        Some(look_at.map_or(level, |at| at.min(level)))
    } else {
        going_on::look_at(&it.run, now)
    };
    it.run.updated_at = now;
    runs::update(tx, &it.run).await?;
    Ok(done)
}
