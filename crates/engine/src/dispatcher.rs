//! Gives free slots to queued runs.
//!
//! Woken by the doorbell for certain agents, and by a period for all that have a queue: a lost ring costs a period. What
//! may start is `domain::claim`; this loads, asks, claims and starts the tasks.

use std::sync::Arc;

use domain::agent::HeartbeatPolicy;
use domain::claim::{self, Candidate, ClaimView, Gate, PRIORITY_NONE, RANK_NO_TASK};
use domain::hold::HeldReason;
use domain::ids::AgentId;
use domain::run::RunStatus;
use futures_util::{StreamExt, stream};
use store::agents::Agent;
use store::leases::Lease;
use store::runs::{self, Run};
use store::{StoreError, Tx};

use crate::doorbell::Rung;
use crate::run_task::{self, Entry};
use crate::slots::Slot;
use crate::{Inner, intake, stops};

/// Agents looked at side by side: enough for a group commit, few enough for PostgreSQL (D15).
const WIDTH: usize = 16;
/// More than an agent may ever run at once is never needed.
const MOST_AT_ONCE: u32 = 10;
/// Agents per page of the walk through all that have a queue.
const PAGE: i64 = 500;

/// Dispatches until the engine closes.
pub(crate) async fn run(engine: Arc<Inner>) {
    let mut place = String::new();
    loop {
        let rung = tokio::select! {
            () = engine.closing.cancelled() => return,
            rung = engine.doorbell.wait(engine.settings.period) => rung,
        };
        match rung {
            Rung::Agents(agents) => {
                dispatch(&engine, agents).await;
            }
            Rung::Everybody => everybody(&engine, &mut place).await,
        }
    }
}

/// Walks once through all agents that have a queue, from `place` on and round to it again. Where places run out the walk
/// ends, and the next one begins there: on a full instance every agent gets its turn.
async fn everybody(engine: &Arc<Inner>, place: &mut String) {
    let start = place.clone();
    let mut is_round = false;
    loop {
        let page = engine
            .read(place.clone(), |tx, after| {
                Box::pin(async move { runs::agents_with_queue(tx, &after, PAGE).await })
            })
            .await;
        let mut agents = match page {
            Ok(agents) => agents,
            Err(error) => {
                tracing::warn!(%error, "cannot look for queued runs");
                return;
            }
        };
        let was_full = agents.len() as i64 == PAGE;
        if is_round {
            agents.retain(|agent| agent.0 <= start);
        }
        if let Some(starved) = dispatch(engine, agents.clone()).await {
            let before = agents.iter().rev().find(|agent| **agent < starved);
            *place = before.map_or_else(|| place.clone(), |agent| agent.0.clone());
            return;
        }
        if engine.closing.is_cancelled() {
            return;
        }
        match agents.last() {
            Some(last) if was_full => *place = last.0.clone(),
            _ if is_round || start.is_empty() => {
                place.clear();
                return;
            }
            _ => {
                place.clear();
                is_round = true;
            }
        }
    }
}

/// Starts what may start of these agents; gives back the first that has more and lacks a place.
async fn dispatch(engine: &Arc<Inner>, agents: Vec<AgentId>) -> Option<AgentId> {
    let side_by_side = u32::try_from(agents.len().clamp(1, WIDTH)).unwrap_or(1);
    // A fair share each, so that one that cannot start does not keep the places from those that could.
    let share = (engine.slots.free() / side_by_side).clamp(1, MOST_AT_ONCE);
    let mut starved: Vec<AgentId> = stream::iter(agents)
        .map(|agent| async move { start_next(engine, agent, share).await })
        .buffer_unordered(WIDTH)
        .filter_map(|starved| async move { starved })
        .collect()
        .await;
    starved.sort();
    // Who found no place may have met places that were held for nothing: once more, one by one.
    let mut first = None;
    for agent in starved {
        if let Some(agent) = start_next(engine, agent, MOST_AT_ONCE).await {
            first.get_or_insert(agent);
        }
    }
    if first.is_some() {
        engine.doorbell.starve();
        // A place that was given back before the bell knew of our hunger has rung nobody.
        if engine.slots.free() > 0 {
            engine.doorbell.freed();
        }
    }
    first
}

/// What a pass over one agent came to.
struct Pass {
    agent: Agent,
    claimed: Vec<(Run, Lease)>,
    starved: bool,
}

/// Starts what may start of one agent; gives it back when it has more that only lacks a place.
async fn start_next(engine: &Arc<Inner>, agent: AgentId, most: u32) -> Option<AgentId> {
    if engine.closing.is_cancelled() {
        return None;
    }
    match try_start(engine, &agent, most).await {
        Ok(starved) => starved.then_some(agent),
        Err(error) => {
            tracing::warn!(%agent, %error, "cannot start queued runs");
            None
        }
    }
}

/// Claims as many queued runs of an agent as it and this node have slots for, at most `most`; true when one lacks a
/// place.
async fn try_start(engine: &Arc<Inner>, agent: &AgentId, most: u32) -> Result<bool, StoreError> {
    let mut places: Vec<Slot> = std::iter::from_fn(|| engine.slots.take()).take(most as usize).collect();
    let available = u32::try_from(places.len()).unwrap_or(0);
    if places.is_empty() {
        return Ok(true);
    }
    let context = (agent.clone(), engine.claimer.clone());
    let now = engine.clock.now();
    let instance_slots = engine.settings.max_runs;
    let pass = engine
        .write(context, move |tx, (agent, claimer)| {
            Box::pin(async move {
                let Some(agent) = intake::lock_agent(tx, &agent).await? else { return Ok(None) };
                let pass = claim(tx, agent, available, instance_slots, &claimer, now).await?;
                Ok(Some(pass))
            })
        })
        .await?;
    let Some(pass) = pass else { return Ok(false) };
    if !pass.claimed.is_empty() {
        engine.feed.ring();
    }
    for (run, lease) in pass.claimed {
        // One place was taken for each that could be claimed.
        let Some(slot) = places.pop() else { break };
        run_task::spawn(engine, run, pass.agent.clone(), lease, Entry::Launch, slot);
    }
    Ok(pass.starved)
}

async fn claim(
    tx: &mut Tx<'_>,
    agent: Agent,
    available: u32,
    instance_slots: u32,
    claimer: &store::leases::Claimer,
    now: domain::moment::Moment,
) -> Result<Pass, StoreError> {
    let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
    let mut running = runs::count_running(tx, &agent.id).await?;
    let waiting = runs::claimable(tx, &agent.id, 64).await?;
    let mut candidates: Vec<Candidate> = waiting
        .into_iter()
        .map(|run| Candidate {
            id: run.id,
            rank: RANK_NO_TASK,
            priority: PRIORITY_NONE,
            queued_at: run.created_at,
        })
        .collect();
    claim::order(&mut candidates);
    let mut pass = Pass { agent, claimed: Vec::new(), starved: false };
    for candidate in candidates {
        let taken = u32::try_from(pass.claimed.len()).unwrap_or(u32::MAX);
        let gate = claim::gate(&ClaimView {
            status: RunStatus::Queued,
            agent: Some(pass.agent.status),
            slots: policy.max_concurrent_runs,
            agent_running: running,
            // The query leaves out runs whose scope is busy, and at most one waits in each scope.
            scope_running: false,
            instance_slots,
            instance_running: instance_slots.saturating_sub(available.saturating_sub(taken)),
        });
        match gate {
            Gate::Open => {
                let Some(mut run) = runs::lock(tx, &candidate.id).await? else { continue };
                intake::renew_session(tx, &pass.agent, &mut run).await?;
                if let Some(claimed) = intake::claim_locked(tx, &pass.agent, &mut run, claimer, now).await? {
                    running += 1;
                    pass.claimed.push((run, claimed.lease));
                }
            }
            Gate::Ends(words) => {
                if let Some(run) = runs::lock(tx, &candidate.id).await? {
                    stops::withdraw(tx, &run, words, "cancelled", now).await?;
                }
            }
            Gate::Held(reason) => {
                pass.starved |= reason == HeldReason::Capacity;
                break;
            }
            Gate::NotWaiting => {}
        }
    }
    Ok(pass)
}
