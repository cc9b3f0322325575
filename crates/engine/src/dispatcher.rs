//! Gives free slots to queued runs.
//!
//! Woken by the doorbell for certain agents, and by a period for all that have a queue: a lost ring costs a period. What
//! may start is `domain::claim`; this loads a queue in bulk, asks, claims (`claims`) and starts the tasks. It chooses on
//! what it reads without locks; then it locks what it chose, agent, issues, runs, and asks again (D15).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::agent::{AgentStatus, HeartbeatPolicy};
use domain::claim::{self, Candidate, ClaimIssue, ClaimView, Gate};
use domain::hold::HeldReason;
use domain::ids::{AgentId, IssueId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;
use futures_util::{StreamExt, stream};
use store::agents::Agent;
use store::issues::{Issue, Standing};
use store::leases::Lease;
use store::runs::{self, InLine, Run};
use store::{StoreError, Tx, runs_of_issues};

use crate::claims::{Claim, Claimant, Dismissal, Room};
use crate::doorbell::Rung;
use crate::run_task::{self, Entry};
use crate::slots::Slot;
use crate::{Inner, accounts, budgets, claims, intake, issue_views, resuming};

/// Agents looked at side by side: enough for a group commit, few enough for PostgreSQL (D15).
const WIDTH: usize = 16;
/// More than an agent may ever run at once is never needed.
const MOST_AT_ONCE: u32 = 10;
/// Agents per page of the walk through all that have a queue.
const PAGE: i64 = 500;
/// Runs of a queue that are looked at first, and then at a time, and how often at most.
const FIRST: i64 = 64;
const MORE: i64 = 500;
const MOST_PAGES: usize = 200;
/// Runs whose issues are looked at together.
const PORTION: usize = 64;

/// Dispatches until the engine closes.
pub(crate) async fn run(engine: Arc<Inner>) {
    let mut place = String::new();
    loop {
        let rung = tokio::select! {
            biased;
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
    let context = (agent.clone(), engine.claimant());
    let now = engine.clock.now();
    let instance_slots = engine.settings.max_runs;
    let patience = (engine.settings.max_queue_age, now);
    let pass = engine
        .write(context, move |tx, (agent, claimant)| {
            Box::pin(async move {
                let Some(agent) = intake::lock_agent(tx, &agent).await? else { return Ok(None) };
                let pass = Pass::over(tx, agent, (available, instance_slots), &claimant, patience).await?;
                Ok(Some(pass))
            })
        })
        .await?;
    let Some(pass) = pass else { return Ok(false) };
    if !pass.claimed.is_empty() || pass.ended {
        engine.feed.ring();
    }
    if !pass.unfunded.is_empty() {
        engine.budgets.somebody_waits();
    }
    for (run, lease) in pass.claimed {
        // One place was taken for each that could be claimed.
        let Some(slot) = places.pop() else { break };
        run_task::spawn(engine, run, pass.agent.clone(), lease, Entry::Launch, slot);
    }
    Ok(pass.starved)
}

/// A pass over the queue of one agent, and what it came to.
struct Pass {
    agent: Agent,
    /// As the gates see it.
    status: AgentStatus,
    room: Room,
    claimed: Vec<(Run, Lease)>,
    starved: bool,
    /// Somebody's run ended without having run.
    ended: bool,
    /// The account of the agent is parked.
    quota: bool,
    /// Projects (and the work without one) for which no budget is left.
    unfunded: BTreeSet<Option<String>>,
    /// How long a run may wait, and the time of this pass.
    patience: (Option<Duration>, Moment),
}

/// A run that the gates let through, or that will never start.
struct Chosen {
    run: InLine,
    ends: bool,
}

impl Pass {
    /// Walks the queue in the order of claims until it is at its end or no place is left. What is held by something of its
    /// own stands in nobody's way.
    async fn over(
        tx: &mut Tx<'_>,
        agent: Agent,
        (places, instance_slots): (u32, u32),
        claimant: &Claimant,
        (may_wait, now): (Option<Duration>, Moment),
    ) -> Result<Pass, StoreError> {
        let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
        let room = Room {
            slots: policy.max_concurrent_runs,
            agent_running: runs::count_running(tx, &agent.id).await?,
            instance_slots,
            instance_running: instance_slots.saturating_sub(places),
        };
        let (claimed, unfunded) = (Vec::new(), BTreeSet::new());
        let status = budgets::status_at_claim(&agent);
        let patience = (may_wait, now);
        let quota = accounts::wait_of(tx, &claimant.accounts, &agent, now).await?.is_some();
        let mut pass =
            Pass { agent, status, room, claimed, starved: false, ended: false, quota, unfunded, patience };
        let mut after: Option<InLine> = None;
        for _ in 0..MOST_PAGES {
            let page = next_page(tx, &pass.agent.id, after.as_ref()).await?;
            let Page { candidates, last, has_more } = page;
            let mut queue: VecDeque<InLine> = candidates.into();
            while !queue.is_empty() {
                let (chosen, full) = pass.choose(tx, &mut queue).await?;
                pass.take(tx, chosen, claimant, now).await?;
                if full {
                    return Ok(pass);
                }
            }
            if !has_more {
                break;
            }
            after = last;
        }
        Ok(pass)
    }

    /// Takes from the queue what may start, as much as there is room for, and what ends; true when there is no room for more.
    async fn choose(
        &mut self,
        tx: &mut Tx<'_>,
        queue: &mut VecDeque<InLine>,
    ) -> Result<(Vec<Chosen>, bool), StoreError> {
        let mut chosen: Vec<Chosen> = Vec::new();
        let mut room = self.room;
        // Issues that a chosen run is about to lock.
        let mut locked: BTreeSet<IssueId> = BTreeSet::new();
        while !queue.is_empty() {
            let portion: Vec<InLine> = queue.drain(..queue.len().min(PORTION)).collect();
            let views = look(tx, &portion).await?;
            for (at, run) in portion.iter().enumerate() {
                if self.unfunded.contains(&run.project_id) {
                    continue;
                }
                let issue = views.get(&run.id).map(|(issue, _)| issue.clone());
                let locks = match &issue {
                    Some(ClaimIssue::Found(at)) if at.assignee.as_ref() == Some(&at.agent) => {
                        Some(at.id.clone())
                    }
                    Some(ClaimIssue::Found(_) | ClaimIssue::Missing(_)) | None => None,
                };
                match claim::gate(&self.view(run, issue, room)) {
                    Gate::Open => {
                        // The second on one issue waits for the first.
                        if locks.is_none_or(|issue| locked.insert(issue)) {
                            room.agent_running += 1;
                            room.instance_running += 1;
                            chosen.push(Chosen { run: run.clone(), ends: false });
                        }
                    }
                    Gate::Ends(_) => chosen.push(Chosen { run: run.clone(), ends: true }),
                    Gate::Held(reason @ (HeldReason::Slot | HeldReason::Capacity)) => {
                        if chosen.iter().all(|chosen| chosen.ends) {
                            self.starved |= reason == HeldReason::Capacity;
                            return Ok((chosen, true));
                        }
                        // Some of the chosen may be refused by a budget: then these come again.
                        for run in portion[at..].iter().rev() {
                            queue.push_front(run.clone());
                        }
                        return Ok((chosen, false));
                    }
                    Gate::Held(_) | Gate::NotWaiting => {}
                }
            }
        }
        Ok((chosen, false))
    }

    fn view(&self, run: &InLine, issue: Option<ClaimIssue>, room: Room) -> ClaimView {
        let view = claims::view(RunStatus::Queued, Some(self.status), issue, false, room);
        let (may_wait, now) = self.patience;
        ClaimView { quota: self.quota, expired: claim::has_expired(run.queued_at, may_wait, now), ..view }
    }

    /// Locks what was chosen and looks at it once more, now that nobody else can change it (D15); claims what is open
    /// still.
    async fn take(
        &mut self,
        tx: &mut Tx<'_>,
        chosen: Vec<Chosen>,
        claimant: &Claimant,
        now: Moment,
    ) -> Result<(), StoreError> {
        let ids: BTreeSet<&IssueId> =
            chosen.iter().filter_map(|chosen| chosen.run.issue_id.as_ref()).collect();
        for issue in ids {
            store::issues::lock(tx, issue).await?;
        }
        let in_line: Vec<InLine> = chosen.into_iter().map(|chosen| chosen.run).collect();
        let views = look(tx, &in_line).await?;
        for waiting in in_line {
            if self.unfunded.contains(&waiting.project_id) {
                continue;
            }
            let (issue, row) = match views.get(&waiting.id) {
                Some((issue, row)) => (Some(issue), row.as_ref()),
                None => (None, None),
            };
            let gate = claim::gate(&self.view(&waiting, issue.cloned(), self.room));
            if !matches!(gate, Gate::Open | Gate::Ends(_)) {
                continue;
            }
            let Some(mut run) = claims::lock_waiting(tx, &waiting.id).await? else { continue };
            if let Gate::Ends(end) = gate {
                self.ended |= claims::dismiss(tx, &run, &Dismissal::from(&end), now).await?;
                continue;
            }
            resuming::renew(tx, &self.agent, &mut run).await?;
            match claims::claim_locked(tx, &self.agent, &mut run, row.zip(issue), claimant, now).await? {
                Claim::Taken(claimed) => {
                    self.room.agent_running += 1;
                    self.room.instance_running += 1;
                    self.claimed.push((run, claimed.lease));
                }
                Claim::Unfunded => {
                    self.unfunded.insert(waiting.project_id);
                }
                Claim::Parked => self.quota = true,
                Claim::Gone => {}
            }
        }
        Ok(())
    }
}

/// What the gates look at of the issues of these runs; nothing is asked for runs without one.
async fn look(
    tx: &mut Tx<'_>,
    waiting: &[InLine],
) -> Result<BTreeMap<RunId, (ClaimIssue, Option<Issue>)>, StoreError> {
    let ids: Vec<RunId> =
        waiting.iter().filter(|run| run.issue_id.is_some()).map(|run| run.id.clone()).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = runs_of_issues::some(tx, &ids).await?;
    issue_views::at_claim(tx, &rows).await
}

/// A stretch of a queue, in the order of claims.
struct Page {
    candidates: Vec<InLine>,
    last: Option<InLine>,
    has_more: bool,
}

/// The next stretch: the first has all runs that work on issues, which are ranked by these, and some of the others.
async fn next_page(tx: &mut Tx<'_>, agent: &AgentId, after: Option<&InLine>) -> Result<Page, StoreError> {
    let mut candidates = runs::in_line(tx, agent, after, FIRST).await?;
    let mut has_more = candidates.len() as i64 == FIRST;
    while has_more && candidates.last().is_some_and(|last| last.issue_id.is_some()) {
        let more = runs::in_line(tx, agent, candidates.last(), MORE).await?;
        has_more = more.len() as i64 == MORE;
        candidates.extend(more);
    }
    let last = candidates.last().cloned();
    let ids: Vec<IssueId> = candidates.iter().filter_map(|run| run.issue_id.clone()).collect();
    if !ids.is_empty() {
        let standing = store::issues::standing(tx, &ids).await?;
        let standing: BTreeMap<IssueId, Standing> =
            standing.into_iter().map(|issue| (issue.id.clone(), issue)).collect();
        let mut order: Vec<Candidate> = candidates.iter().map(|run| ranked(run, &standing)).collect();
        claim::order(&mut order);
        let mut by_id: BTreeMap<RunId, InLine> =
            candidates.into_iter().map(|run| (run.id.clone(), run)).collect();
        candidates = order.iter().filter_map(|candidate| by_id.remove(&candidate.id)).collect();
    }
    Ok(Page { candidates, last, has_more })
}

/// A run whose issue is gone comes with those that have none: it ends, and holds nobody up.
fn ranked(run: &InLine, standing: &BTreeMap<IssueId, Standing>) -> Candidate {
    let issue = run.issue_id.as_ref().and_then(|issue| standing.get(issue));
    let (rank, priority) = claim::rank(issue.map(|issue| (issue.status, issue.priority, issue.is_ready)));
    Candidate { id: run.id.clone(), rank, priority, queued_at: run.created_at }
}
