//! Letting runs that wait begin, in their order, as places and workspaces become free.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::automation::admission::{Fate, Taken, Waiting, admit};
use domain::automation::transition::{RunEvent, next};
use domain::automation::{AutomationStatus, Guardrail, StopKind};
use domain::hold::HeldReason;
use domain::ids::{AutomationId, AutomationRunId};
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::json;
use store::automations::definitions;
use store::automations::runs::{self, AutomationRun};
use store::{StoreError, Tx};

use super::loaded::{Loaded, held_by_budget};
use super::telling::{self, Note};
use crate::{Inner, sweeps};

/// Runs that wait are looked at in pages of this size.
const PAGE: i64 = 200;
/// And no more of them at once: whoever is further behind begins later in any case.
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
    let place = engine.settings.max_automation_runs;
    let node = engine.settings.node_id.clone();
    let admitted =
        engine.write(node, move |tx, node| Box::pin(async move { admit_all(tx, (place, &node), now).await }));
    let Admitted { begun, until } = admitted.await?;
    if begun {
        engine.feed.ring();
        engine.automations.tend.notify_one();
        engine.automations.status.notify_one();
    }
    let seldom = sweeps::seldom(engine);
    Ok(until.map_or(seldom, |at| at.since(engine.clock.now())).clamp(Duration::from_millis(20), seldom))
}

struct Admitted {
    begun: bool,
    /// When somebody may begin whose time has not come.
    until: Option<Moment>,
}

async fn admit_all(tx: &mut Tx<'_>, (most, node): (u32, &str), now: Moment) -> Result<Admitted, StoreError> {
    let mut admitted = Admitted { begun: false, until: None };
    // Asked before anything is locked: mostly nobody waits.
    let first = runs::queued(tx, (i64::MIN, Moment::from_micros(0), ""), 1).await?;
    if first.is_empty() {
        return Ok(admitted);
    }
    runs::lock_admission(tx).await?;
    let at_work = runs::at_work(tx).await?;
    let taken = Taken {
        running: at_work.len(),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        roots: at_work.into_iter().filter_map(|(id, root, _)| Some((id, root?))).collect(),
    };
    let queued = queue(tx).await?;
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
            priority: run.priority,
            queued_at: run.queued_at,
            root: run.root.clone(),
            not_before: run.not_before,
            is_paused,
            throttled: None,
        });
    }
    for (id, fate) in admit(&waiting, &taken, now) {
        let Some(run) = queued.iter().find(|run| run.id == id) else { continue };
        match fate {
            Fate::Admitted => admitted.begun |= begin(tx, &id, node, now).await?,
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

async fn queue(tx: &mut Tx<'_>) -> Result<Vec<AutomationRun>, StoreError> {
    let mut all: Vec<AutomationRun> = Vec::new();
    loop {
        let page = match all.last() {
            Some(last) => {
                let place = (last.priority, last.queued_at, last.id.as_str().to_owned());
                runs::queued(tx, (place.0, place.1, &place.2), PAGE).await?
            }
            None => runs::queued(tx, (i64::MIN, Moment::from_micros(0), ""), PAGE).await?,
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
    run: &AutomationRun,
    reason: HeldReason,
    resource: Option<&str>,
    until: Option<Moment>,
) -> Result<(), StoreError> {
    let is_known = run.held_reason == Some(reason)
        && run.held_resource.as_deref() == resource
        && run.held_until == until;
    if is_known { Ok(()) } else { runs::hold(tx, &run.id, Some(reason), resource, until).await }
}

/// The run begins, or is held because a budget keeps one of its agents from work.
async fn begin(tx: &mut Tx<'_>, id: &AutomationRunId, node: &str, now: Moment) -> Result<bool, StoreError> {
    let Ok(mut it) = Loaded::load(tx, id, true).await? else {
        // Unreadable: the look says so.
        runs::look_by(tx, id, now).await?;
        return Ok(true);
    };
    let Ok(status) = next(it.run.status, RunEvent::Claim) else { return Ok(false) };
    let agents = it.agents(tx).await?;
    let held = held_by_budget(tx, &agents, now).await?;
    if let Some((_, reason)) = held.first() {
        let ids: Vec<_> = held.iter().map(|(agent, _)| agent.clone()).collect();
        let reason = reason.clone();
        let run = &mut it.run;
        run.status = next(run.status, RunEvent::HoldLaunch).unwrap_or(run.status);
        run.stop_kind = Some(StopKind::GuardrailStopped);
        run.guardrail = Some(Guardrail::SpendPause);
        run.stop_reason = Some(reason.clone());
        run.stopped_at = Some(now);
        run.detail = Some(reason.clone());
        run.look_at = Some(now.plus(super::LOOK_AGAIN));
        run.held_reason = None;
        run.held_resource = None;
        run.updated_at = now;
        let note = Note::run("run_launch_held").because(Some(reason)).with(json!({ "agentIds": ids }));
        telling::tell(tx, run, note, now).await?;
        let by = Actor::system("automation");
        let action = "automation.internal_sweep.launch_held";
        telling::audit(tx, run, &by, action, json!({ "agentIds": ids }), now).await?;
        runs::update(tx, run).await?;
        return Ok(true);
    }
    let run = &mut it.run;
    run.status = status;
    run.epoch += 1;
    run.started_at = run.started_at.or(Some(now));
    run.working_since = Some(now);
    run.server_node = Some(node.to_owned());
    run.held_reason = None;
    run.held_resource = None;
    run.held_until = None;
    run.not_before = None;
    run.look_at = Some(now);
    run.updated_at = now;
    let metadata = json!({ "epoch": run.epoch, "waitedMs": now.since(run.queued_at).as_millis() as u64 });
    telling::tell(tx, run, Note::run("run_execution_claimed").with(metadata), now).await?;
    runs::update(tx, run).await?;
    Ok(true)
}
