//! Letting runs that wait begin, in their order, as places and workspaces become free.
//!
//! What lies outside of the store is looked at before the transaction: where workspaces lead to. So are the agents that are
//! next, and their accounts, without a lock: one that is paused or parked a moment later is met by its step, as everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::account::Waits;
use domain::automation::admission::{Fate, Taken, Throttle, Waiting, admit};
use domain::automation::advance::next_agents;
use domain::automation::transition::{RunEvent, StopAt, next};
use domain::automation::{AutomationStatus, StopKind};
use domain::hold::HeldReason;
use domain::ids::{AgentId, AutomationId, AutomationRunId};
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::{Value as Json, json};
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
    let Some(Looked { runs, roots, shut }) = looked else { return Ok(seldom) };
    let resolve = move || -> BTreeMap<_, _> {
        roots.into_iter().map(|root: String| (root.clone(), canonical(&root))).collect()
    };
    let roots = beside(&engine.processes, resolve).await.unwrap_or_default();
    let seen = Arc::new(Seen { runs, roots, shut });
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
    runs: BTreeSet<AutomationRunId>,
    /// Where each workspace leads to, or in words why it leads nowhere.
    roots: BTreeMap<String, Result<String, String>>,
    shut: BTreeMap<AutomationRunId, Shut>,
}

/// What the store says of the runs that wait.
#[derive(Debug)]
struct Looked {
    runs: BTreeSet<AutomationRunId>,
    /// The workspaces, as they are written.
    roots: BTreeSet<String>,
    shut: BTreeMap<AutomationRunId, Shut>,
}

/// The workspaces of the runs that wait, and the agents and accounts that some of them wait for; `None`: nobody waits.
async fn look(tx: &mut Tx<'_>, keyring: &Keyring, now: Moment) -> Result<Option<Looked>, StoreError> {
    let queued = queue(tx, now).await?;
    if queued.is_empty() && runs::next_not_before(tx, now).await?.is_none() {
        return Ok(None);
    }
    let roots = queued.iter().filter_map(|run| run.root.clone()).collect();
    let mut held = BTreeMap::new();
    // Mostly no account is parked and nobody paused, and then no run is loaded for it.
    let states = store::accounts::count_by_state(tx).await?;
    let any_parked =
        states.iter().any(|(state, count)| matches!(state.as_str(), "parked" | "probing") && *count > 0);
    let paused = paused_agents(tx, &queued).await?;
    let may_be_shut = |run: &QueuedRun| {
        let Some(paused) = paused.as_ref().filter(|_| !any_parked) else { return any_parked };
        meant_by(run).into_iter().any(|agent| agent.is_none_or(|id| paused.contains(&AgentId::from(id))))
    };
    // A long queue is mostly one of runs that are alike.
    let mut alike: BTreeMap<_, Option<Shut>> = BTreeMap::new();
    for run in queued.iter().filter(|run| run.not_before.is_none_or(|at| at <= now)) {
        if !may_be_shut(run) {
            continue;
        }
        let ids = run.agent_ids.as_ref().map(Json::to_string);
        let kind = run.is_fresh.then(|| (run.automation_id.clone(), run.version, ids));
        let found = match kind.as_ref().and_then(|kind| alike.get(kind)) {
            Some(known) => known.clone(),
            None => shut(tx, keyring, &run.id, now).await?,
        };
        if let Some(kind) = kind {
            alike.insert(kind, found.clone());
        }
        held.extend(found.map(|found| (run.id.clone(), found)));
    }
    let runs = queued.into_iter().map(|run| run.id).collect();
    Ok(Some(Looked { runs, roots, shut: held }))
}

/// Agents that take no work until a person lets them, of those that are meant by runs that wait; a budget's pause has rules
/// of its own ([`begin`]). Found by what the runs keep; `None`: nobody in the house is, as mostly.
async fn paused_agents(
    tx: &mut Tx<'_>,
    queued: &[QueuedRun],
) -> Result<Option<BTreeSet<AgentId>>, StoreError> {
    let states = store::agents::count_by_status(tx).await?;
    if !states.iter().any(|(status, count)| status.is_kept_back() && *count > 0) {
        return Ok(None);
    }
    let ids: BTreeSet<&str> = queued.iter().flat_map(meant_by).flatten().collect();
    let ids: Vec<AgentId> = ids.into_iter().map(AgentId::from).collect();
    let found = store::agents::some(tx, &ids).await?;
    Ok(Some(found.into_iter().filter(is_paused).map(|agent| agent.id).collect()))
}

/// Whom a run that waits means by the names in its definition; `None`: a name that is looked up when it is needed.
fn meant_by(run: &QueuedRun) -> Vec<Option<&str>> {
    match run.agent_ids.as_ref().and_then(Json::as_object) {
        Some(agents) => agents.values().map(Json::as_str).collect(),
        None => vec![None],
    }
}

fn is_paused(agent: &Agent) -> bool {
    agent.status.is_kept_back_by_people(agent.pause_reason)
}

/// What keeps every agent from work that a run would wake first.
#[derive(Debug, Clone)]
enum Shut {
    /// All of them take no work until a person lets them; one of them, in words.
    Paused(String),
    /// One of them works on an account that takes nothing; the others as well, or are paused.
    Throttled(Throttle),
}

/// What a run waits for: every agent that would be woken first is paused, or works on an account that takes nothing
/// (spec/automations.md 2.1). A run that has anything else to do is not held.
async fn shut(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    id: &AutomationRunId,
    now: Moment,
) -> Result<Option<Shut>, StoreError> {
    let Ok(it) = Loaded::load(tx, id, false).await? else { return Ok(None) };
    let views = it.node_views();
    let Some(called) = next_agents(&it.view(&views, now)) else { return Ok(None) };
    let of = (&it.run.company_id, it.run.agent_ids.as_ref());
    let mut paused: Option<String> = None;
    let mut agents: Vec<Agent> = Vec::new();
    for name in &called {
        // One that is gone, or not the only one of its name: the step says so when the run begins.
        match names::agents_meant(tx, of, name).await?.as_slice() {
            [agent] if is_paused(agent) => paused = paused.or(Some(format!("agent {}", agent.name))),
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
    Ok(first.map(Shut::Throttled).or(paused.map(Shut::Paused)))
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
    let is_seen = |run: &QueuedRun| {
        seen.runs.contains(&run.id) && run.root.as_ref().is_none_or(|root| seen.roots.contains_key(root))
    };
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
        let (paused_agent, throttled) = match seen.shut.get(&run.id) {
            Some(Shut::Paused(agent)) => (Some(agent.clone()), None),
            Some(Shut::Throttled(throttle)) => (None, Some(throttle.clone())),
            None => (None, None),
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
            paused_agent,
            throttled,
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
