//! Letting runs that wait begin, in their order, as places and workspaces become free.
//!
//! What lies outside of the store is looked at before the transaction: where workspaces lead to. So are the accounts of the
//! agents that are next, without a lock: one that is parked a moment later is met by its agent's run, as everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::account::Waits;
use domain::automation::admission::{Fate, Taken, Throttle, Waiting, admit};
use domain::automation::advance::next_agents;
use domain::automation::transition::{RunEvent, StopAt, next};
use domain::automation::{AutomationStatus, StopKind};
use domain::hold::HeldReason;
use domain::ids::{AutomationId, AutomationRunId};
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::json;
use store::agents::Agent;
use store::automations::definitions;
use store::automations::runs::{self, QueuedRun};
use store::{StoreError, Tx};

use super::draws::Draws;
use super::going_on::held_by_budget;
use super::launch::{canonical, no_folder};
use super::loaded::{Loaded, Unloadable};
use super::stopping::{self, Order};
use super::telling::{self, Note};
use super::{definitions as names, hand_over, unreadable};
use crate::accounts::{self, Keyring};
use crate::processes::beside;
use crate::{Inner, sweeps};

/// Runs that wait are looked at in pages of this size.
const PAGE: i64 = 200;
/// And no more of them at once: whoever is behind so many that could begin, but for a place or a folder, waits for them.
const MOST: usize = 10_000;

pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !sweeps::rest(&engine, "automation runs that wait", &engine.automations.admission, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let now = engine.clock.now();
    let seldom = sweeps::seldom(engine);
    let looked = engine
        .read(engine.keyring.clone(), move |tx, keyring| {
            Box::pin(async move { look(tx, &keyring, now).await })
        })
        .await?;
    // Mostly nobody waits.
    let Some((roots, throttled)) = looked else { return Ok(seldom) };
    let resolve = move || -> BTreeMap<_, _> {
        roots.into_iter().map(|root: String| (root.clone(), canonical(&root))).collect()
    };
    let roots = beside(&engine.processes, resolve).await.unwrap_or_default();
    let seen = Arc::new(Seen { roots, throttled });
    let place = engine.settings.max_automation_runs;
    let context = (engine.settings.node_id.clone(), seen, Draws::new(engine.dice.bytes()));
    let admitted = engine.write(context, move |tx, (node, seen, mut draws)| {
        Box::pin(async move { admit_all(tx, (place, &node), &seen, &mut draws, now).await })
    });
    let Admitted { begun, again, until, waits } = admitted.await?;
    engine.automations.admissions.add(&waits);
    if begun {
        engine.feed.ring();
        engine.automations.tend.notify_one();
        engine.automations.status.notify_one();
    }
    if again {
        engine.automations.admission.notify_one();
        engine.automations.schedules.notify_one();
    }
    Ok(until.map_or(seldom, |at| at.since(engine.clock.now())).clamp(Duration::from_millis(20), seldom))
}

/// What was looked at before the transaction.
#[derive(Debug, Default)]
struct Seen {
    /// Where each workspace leads to, or in words why it leads nowhere.
    roots: BTreeMap<String, Result<String, String>>,
    throttled: BTreeMap<AutomationRunId, Throttle>,
}

/// The workspaces of the runs that wait, and the accounts that some of them wait for; `None`: nobody waits.
async fn look(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    now: Moment,
) -> Result<Option<(BTreeSet<String>, BTreeMap<AutomationRunId, Throttle>)>, StoreError> {
    let queued = queue(tx, now).await?;
    if queued.is_empty() && runs::next_not_before(tx, now).await?.is_none() {
        return Ok(None);
    }
    let roots = queued.iter().filter_map(|run| run.root.clone()).collect();
    let mut throttled = BTreeMap::new();
    // Mostly no account is parked, and then nothing is loaded for it.
    let states = store::accounts::count_by_state(tx).await?;
    if states.iter().any(|(state, count)| matches!(state.as_str(), "parked" | "probing") && *count > 0) {
        for run in queued.iter().filter(|run| run.not_before.is_none_or(|at| at <= now)) {
            if let Some(throttle) = throttle(tx, keyring, &run.id, now).await? {
                throttled.insert(run.id.clone(), throttle);
            }
        }
    }
    Ok(Some((roots, throttled)))
}

/// The account that a run waits for: every agent that would be woken first works on one that takes nothing
/// (spec/automations.md 2.1). A run that has anything else to do is not held.
async fn throttle(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    id: &AutomationRunId,
    now: Moment,
) -> Result<Option<Throttle>, StoreError> {
    let Ok(it) = Loaded::load(tx, id, false).await? else { return Ok(None) };
    let views = it.node_views();
    let Some(called) = next_agents(&it.view(&views, now)) else { return Ok(None) };
    let mut agents: Vec<Agent> = Vec::new();
    for name in &called {
        // One that is gone, or not the only one of its name: the step says so when the run begins.
        match names::agents_called(tx, &it.run.company_id, name).await?.as_slice() {
            [agent] => agents.push(agent.clone()),
            _ => return Ok(None),
        }
    }
    let mut first: Option<Throttle> = None;
    for stored in accounts::standing(tx, keyring, &agents).await? {
        let Some(stored) = stored else { return Ok(None) };
        let until = match stored.account.admits(now) {
            Ok(_) => return Ok(None),
            // Its starts are spread over some seconds, no more.
            Err(wait) if wait.why == Waits::Turn => return Ok(None),
            Err(wait) => wait.until,
        };
        let throttle = Throttle { account: format!("{} {}", stored.provider, stored.label), until };
        first = match first {
            Some(before) if sooner(before.until, until) => Some(before),
            _ => Some(throttle),
        };
    }
    Ok(first)
}

/// The first of two times that is known comes first.
fn sooner(one: Option<Moment>, other: Option<Moment>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one <= other,
        (one, None) => one.is_some() || other.is_none(),
        (None, Some(_)) => false,
    }
}

#[derive(Debug, Default)]
struct Admitted {
    begun: bool,
    /// Somebody came while files were looked at, or left a place that was counted as taken.
    again: bool,
    /// When somebody may begin whose time has not come.
    until: Option<Moment>,
    /// How long each one waited that began.
    waits: Vec<Duration>,
}

async fn admit_all(
    tx: &mut Tx<'_>,
    (most, node): (u32, &str),
    seen: &Seen,
    draws: &mut Draws,
    now: Moment,
) -> Result<Admitted, StoreError> {
    let mut admitted = Admitted::default();
    runs::lock_admission(tx).await?;
    let at_work = runs::at_work(tx).await?;
    let mut by_automation = BTreeMap::new();
    for run in &at_work {
        *by_automation.entry(run.automation_id.clone()).or_default() += 1;
    }
    let taken = Taken {
        running: at_work.len(),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        by_automation,
        roots: at_work.into_iter().filter_map(|run| Some((run.id, run.root?))).collect(),
    };
    admitted.until = runs::next_not_before(tx, now).await?;
    let mut queued = queue(tx, now).await?;
    let is_seen = |run: &QueuedRun| run.root.as_ref().is_none_or(|root| seen.roots.contains_key(root));
    let count = queued.len();
    queued.retain(is_seen);
    admitted.again = queued.len() < count;
    let mut paused: BTreeMap<AutomationId, bool> = BTreeMap::new();
    let mut waiting = Vec::with_capacity(queued.len());
    for run in &queued {
        let is_paused = match paused.get(&run.automation_id) {
            Some(known) => *known,
            None => {
                let found = definitions::get(tx, &run.automation_id).await?;
                let is_paused = found.is_none_or(|it| it.status == AutomationStatus::Paused);
                paused.insert(run.automation_id.clone(), is_paused);
                is_paused
            }
        };
        waiting.push(Waiting {
            id: run.id.clone(),
            automation: run.automation_id.clone(),
            priority: run.priority,
            queued_at: run.queued_at,
            root: run.root.as_ref().map(|root| match seen.roots.get(root) {
                Some(Ok(canonical)) => canonical.clone(),
                Some(Err(_)) | None => root.clone(),
            }),
            not_before: run.not_before,
            is_paused,
            throttled: seen.throttled.get(&run.id).cloned(),
        });
    }
    let by_id: BTreeMap<&AutomationRunId, &QueuedRun> = queued.iter().map(|run| (&run.id, run)).collect();
    for (id, fate) in admit(&waiting, &taken, now) {
        let Some(run) = by_id.get(&id) else { continue };
        match fate {
            Fate::Admitted => {
                let root = run.root.as_ref().and_then(|root| seen.roots.get(root)).cloned().transpose();
                match root {
                    Ok(root) => {
                        let waited = begin(tx, &id, (node, root), now).await?;
                        admitted.begun |= waited.is_some();
                        // Its place and its folder, which were counted as taken, are free for the others.
                        admitted.again |= !matches!(waited, Some(Some(_)));
                        admitted.waits.extend(waited.flatten());
                    }
                    Err(why) => {
                        fail(tx, &id, &why, draws, now).await?;
                        (admitted.begun, admitted.again) = (true, true);
                    }
                }
            }
            Fate::Held { reason, resource, until } => {
                hold(tx, run, reason, resource.as_deref(), until).await?;
                if let Some(until) = until {
                    admitted.until = Some(admitted.until.map_or(until, |other| other.min(until)));
                }
            }
        }
    }
    Ok(admitted)
}

async fn queue(tx: &mut Tx<'_>, now: Moment) -> Result<Vec<QueuedRun>, StoreError> {
    let mut all: Vec<QueuedRun> = Vec::new();
    loop {
        let page = match all.last() {
            Some(last) => {
                let place = (last.priority, last.queued_at, last.id.as_str().to_owned());
                runs::queued(tx, (place.0, place.1, &place.2), now, PAGE).await?
            }
            None => runs::queued(tx, (i64::MIN, Moment::from_micros(0), ""), now, PAGE).await?,
        };
        let is_last = (page.len() as i64) < PAGE;
        all.extend(page);
        if is_last || all.len() >= MOST {
            return Ok(all);
        }
    }
}

async fn hold(
    tx: &mut Tx<'_>,
    run: &QueuedRun,
    reason: HeldReason,
    resource: Option<&str>,
    until: Option<Moment>,
) -> Result<(), StoreError> {
    let is_known = run.held_reason == Some(reason)
        && run.held_resource.as_deref() == resource
        && run.held_until == until;
    if is_known { Ok(()) } else { runs::hold(tx, &run.id, Some(reason), resource, until).await }
}

/// The run begins in its workspace, or is held because a budget keeps one of its agents from work. Answers how long it
/// waited if it began, and nothing at all where nothing was done.
async fn begin(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    (node, root): (&str, Option<String>),
    now: Moment,
) -> Result<Option<Option<Duration>>, StoreError> {
    let mut it = match Loaded::load(tx, id, true).await? {
        Ok(it) => it,
        Err(Unloadable::Gone) => return Ok(None),
        Err(Unloadable::Unreadable(run, why)) => {
            unreadable::block(tx, *run, &why, now).await?;
            return Ok(Some(None));
        }
    };
    let Ok(status) = next(it.run.status, RunEvent::Claim) else { return Ok(None) };
    let agents = it.agents(tx).await?;
    let held = held_by_budget(tx, &agents, now).await?;
    if let Some((_, reason)) = held.first() {
        let ids: Vec<_> = held.iter().map(|(agent, _)| agent.clone()).collect();
        let reason = reason.clone();
        let run = &mut it.run;
        if stopping::tell(run, Order::of_budget(reason.clone()), now).is_err() {
            return Ok(None);
        }
        run.updated_at = now;
        let note = Note::run("run_launch_held").because(Some(reason)).with(json!({ "agentIds": ids }));
        telling::tell(tx, run, note, now).await?;
        let by = Actor::system("automation");
        let action = "automation.internal_sweep.launch_held";
        telling::audit(tx, run, &by, action, json!({ "agentIds": ids }), now).await?;
        runs::update(tx, run).await?;
        return Ok(Some(None));
    }
    let run = &mut it.run;
    run.status = status;
    run.epoch += 1;
    run.started_at = run.started_at.or(Some(now));
    run.working_since = Some(now);
    run.admitted_at = Some(now);
    run.server_node = Some(node.to_owned());
    run.root = root;
    run.held_reason = None;
    run.held_resource = None;
    run.held_until = None;
    run.not_before = None;
    run.look_at = Some(now);
    run.updated_at = now;
    let waited = now.since(run.queued_at);
    let metadata = json!({ "epoch": run.epoch, "waitedMs": waited.as_millis() as u64 });
    telling::tell(tx, run, Note::run("run_execution_claimed").with(metadata), now).await?;
    runs::update(tx, run).await?;
    Ok(Some(Some(waited)))
}

/// The run could begin, and its workspace is not there.
async fn fail(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    why: &str,
    draws: &mut Draws,
    now: Moment,
) -> Result<(), StoreError> {
    let mut it = match Loaded::load(tx, id, true).await? {
        Ok(it) => it,
        Err(Unloadable::Gone) => return Ok(()),
        Err(Unloadable::Unreadable(run, words)) => {
            unreadable::block(tx, *run, &words, now).await?;
            return Ok(());
        }
    };
    let reason = no_folder(why);
    let order = Order::new(StopAt::Failed, StopKind::GuardrailStopped, Some(reason.clone()));
    if stopping::tell(&mut it.run, order, now).is_err() {
        return Ok(());
    }
    it.run.updated_at = now;
    for event in ["run_failed_workspace", "run_failed"] {
        telling::tell(tx, &mut it.run, Note::run(event).because(Some(reason.clone())), now).await?;
    }
    let (by, action) = (Actor::system("automation"), "automation.internal_sweep.failed_without_workspace");
    telling::audit(tx, &it.run, &by, action, json!({ "reason": reason }), now).await?;
    hand_over::over(tx, &mut it, draws, now).await?;
    runs::update(tx, &it.run).await
}
