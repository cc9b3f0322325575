//! What is true of automations at every instant at which all is quiet, and what is true in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::automation::calendar::SlotState;
use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::automation::{AttemptState, AutomationRunStatus, NodeState, TriggerType};

use super::super::records::{Records, RunRow};
use super::records::{Planned, Work, WorkAttempt, WorkRun};
use super::{Known, PLACES, Trail};

macro_rules! holds {
    ($what:expr, $($words:tt)*) => {
        if !$what {
            return Err(format!($($words)*));
        }
    };
}

/// Everything that the rules look at.
pub(crate) struct Sight<'a> {
    pub(crate) work: &'a Work,
    pub(crate) records: &'a Records,
    pub(crate) trail: &'a Trail,
    pub(crate) known: &'a Known,
    /// What each run of an agent has said that it cost.
    pub(crate) said: &'a HashMap<String, i64>,
}

/// The rules of every instant.
pub(crate) fn at_any_time(sight: &Sight<'_>) -> Result<(), String> {
    runs(sight)?;
    places(sight.work)?;
    attempts(sight)?;
    agents(sight)?;
    nodes(sight.work)?;
    gates(sight)?;
    slots(sight.work)
}

fn runs(sight: &Sight<'_>) -> Result<(), String> {
    let work = sight.work;
    for run in &work.runs {
        let history = work.histories.get(&run.id).copied().unwrap_or_default();
        holds!(
            history == (run.history_seq, run.history_seq),
            "the history of a run is not its own: {history:?}, {run:?}"
        );
        let told = sight.trail.newest.get(&run.id).copied();
        holds!(
            told == Some((run.history_seq, run.status)),
            "a run is what it was never told to be: {told:?}, {run:?}"
        );
        let is_at_work = run.status.is_at_work();
        holds!(
            run.status.is_final() == run.finished_at.is_some(),
            "an end without a time, or a time without an end: {run:?}"
        );
        holds!(
            is_at_work || run.working_since.is_none(),
            "time at work is counted of who is not, or not of who is: {run:?}"
        );
        holds!(is_at_work || run.stop_to.is_none(), "a run that is not at work is to stop: {run:?}");
        holds!(!is_at_work || run.look_at.is_some(), "nobody will look at a run that is at work: {run:?}");
        let words = match run.status {
            AutomationRunStatus::Paused => run.stop_kind.is_some(),
            AutomationRunStatus::Blocked | AutomationRunStatus::Failed => run.detail.is_some(),
            AutomationRunStatus::AwaitingApproval => {
                work.gates.iter().any(|gate| gate.run == run.id && gate.status == GateStatus::Pending)
            }
            _ => true,
        };
        holds!(words, "a run stands still and says not why: {run:?}");
    }
    for promised in &sight.known.promised {
        holds!(work.run(promised.as_str()).is_some(), "the run {promised} was answered, and is not there");
    }
    for (gate, times) in &sight.known.decided {
        holds!(*times <= 1, "{times} decisions at the gate {gate} were taken");
    }
    Ok(())
}

/// Few runs are at work, and no two of them in one folder.
fn places(work: &Work) -> Result<(), String> {
    let at_work: Vec<&WorkRun> = work.runs.iter().filter(|run| run.status.is_at_work()).collect();
    holds!(at_work.len() <= PLACES as usize, "{} runs are at work at once", at_work.len());
    for (place, one) in at_work.iter().enumerate() {
        for other in &at_work[place + 1..] {
            let (Some(mine), Some(others)) = (&one.root, &other.root) else { continue };
            let lies_in = |inner: &str, outer: &str| format!("{inner}/").starts_with(&format!("{outer}/"));
            holds!(
                !lies_in(mine, others) && !lies_in(others, mine),
                "two runs in one folder: {one:?}, {other:?}"
            );
        }
    }
    Ok(())
}

fn attempts(sight: &Sight<'_>) -> Result<(), String> {
    let work = sight.work;
    let mut live: BTreeMap<(&str, &str), &WorkAttempt> = BTreeMap::new();
    let mut costs: BTreeMap<&str, i64> = BTreeMap::new();
    for attempt in &work.attempts {
        *costs.entry(&attempt.run).or_default() += attempt.cost;
        holds!(attempt.is_live() != attempt.has_record, "an attempt is over without a record: {attempt:?}");
        if !attempt.is_live() {
            continue;
        }
        let other = live.insert((&attempt.run, &attempt.node), attempt);
        holds!(other.is_none(), "two attempts at one node: {attempt:?}, {other:?}");
        let Some(run) = work.run(&attempt.run) else {
            return Err(format!("an attempt of no run: {attempt:?}"));
        };
        holds!(run.status.is_at_work(), "an attempt is under way, and its run is not: {attempt:?}, {run:?}");
        let has_run = attempt.agent_run.is_some();
        holds!(
            (attempt.state == AttemptState::Running) == has_run,
            "an attempt has a run too early or none: {attempt:?}"
        );
    }
    for run in &work.runs {
        let parallel = work.definition(run)["limits"]["maxParallelAgents"].as_u64().unwrap_or(4);
        let count = live.values().filter(|it| it.run == run.id && it.counts).count() as u64;
        holds!(count <= parallel, "{count} agents work at once for {run:?}");
        let mut said = 0;
        let mut is_simple = !run.status.is_at_work();
        for agent in sight.records.runs.iter().filter(|it| of_step(it).is_some_and(|step| step.0 == run.id)) {
            said += sight.said.get(&agent.id).copied().unwrap_or(0);
            is_simple &= agent.epoch <= 1;
        }
        let cost = costs.get(run.id.as_str()).copied().unwrap_or(0);
        holds!(run.cost == cost, "the costs of a run are not the sum of its attempts: {cost}, {run:?}");
        holds!(!is_simple || run.cost == said, "the agents of a run have used {said}: {run:?}");
    }
    for node in &work.nodes {
        let attempt = live.get(&(node.run.as_str(), node.id.as_str())).filter(|it| it.counts);
        let runs = node.state == NodeState::Running;
        holds!(runs == attempt.is_some(), "a node and its attempt do not agree: {node:?}, {attempt:?}");
        holds!(
            attempt.is_none_or(|it| it.attempt == node.attempt),
            "an older attempt counts: {attempt:?}, {node:?}"
        );
    }
    Ok(())
}

/// Run, node and attempt that a run of an agent works for.
pub(crate) fn of_step(run: &RunRow) -> Option<(&str, &str, i64)> {
    let mut parts = run.task_key.strip_prefix("automation:")?.splitn(3, ':');
    Some((parts.next()?, parts.next()?, parts.next()?.parse().ok()?))
}

/// Of an attempt one run of its agent is live at most, and the attempt knows it.
fn agents(sight: &Sight<'_>) -> Result<(), String> {
    let attempts: BTreeMap<(&str, &str, i64), &WorkAttempt> =
        sight.work.attempts.iter().map(|it| ((it.run.as_str(), it.node.as_str(), it.attempt), it)).collect();
    for run in &sight.records.runs {
        let Some(step) = of_step(run) else { continue };
        let Some(attempt) = attempts.get(&step) else { return Err(format!("a run of no attempt: {run:?}")) };
        holds!(
            !run.is_live() || (attempt.is_live() && attempt.agent_run.as_ref() == Some(&run.id)),
            "an agent works on at what is over, or beside another: {run:?}, {attempt:?}"
        );
    }
    Ok(())
}

fn nodes(work: &Work) -> Result<(), String> {
    let states: BTreeMap<(&str, &str), NodeState> =
        work.nodes.iter().map(|node| ((node.run.as_str(), node.id.as_str()), node.state)).collect();
    for node in &work.nodes {
        let Some(run) = work.run(&node.run) else { return Err(format!("a node of no run: {node:?}")) };
        let began = match node.state {
            NodeState::Running
            | NodeState::AwaitingApproval
            | NodeState::Completed
            | NodeState::Skipped
            | NodeState::Failed => true,
            NodeState::Pending | NodeState::Blocked => false,
        };
        if began {
            for before in work.dependencies(run, &node.id) {
                let state = states.get(&(node.run.as_str(), before.as_str()));
                let is_done = state.is_some_and(|state| state.is_done());
                holds!(is_done, "{before} is {state:?}, and {node:?} began");
            }
        }
        let says = !matches!(node.state, NodeState::Blocked | NodeState::Failed) || node.reason.is_some();
        holds!(says, "a node is broken and says not why: {node:?}");
        let defined = work.defined(run, &node.id);
        let number = |path: &str, usual: i64| {
            defined.and_then(|node| node.pointer(path)).and_then(serde_json::Value::as_i64).unwrap_or(usual)
        };
        let most = number("/retry/maxAttempts", 3);
        // What succeeds counts as well.
        holds!(node.attempts <= most, "{} attempts of {most}: {node:?}", node.attempts);
        let most = number("/output/repairs", 2) + 1;
        holds!(node.repairs <= most, "{} repairs of {most}: {node:?}", node.repairs);
        let is_gate = defined.is_some_and(|node| node.get("gate").is_some());
        holds!(is_gate || node.reworks <= 5, "sent back {} times: {node:?}", node.reworks);
        let keeps = node.state.is_done() == node.output.is_some();
        holds!(keeps || !node.state.is_done(), "a node is done and left nothing: {node:?}");
    }
    Ok(())
}

fn gates(sight: &Sight<'_>) -> Result<(), String> {
    let work = sight.work;
    let mut open: BTreeSet<(&str, &str)> = BTreeSet::new();
    // Clocks are set back in these histories: which of a node's gates came last cannot be told by their times.
    let mut decisions: BTreeMap<(&str, &str), Vec<Option<Decision>>> = BTreeMap::new();
    for gate in &work.gates {
        let Some(run) = work.run(&gate.run) else { return Err(format!("a gate of no run: {gate:?}")) };
        decisions.entry((&gate.run, &gate.node)).or_default().push(gate.decision);
        let is_decided = gate.status == GateStatus::Decided;
        holds!(is_decided == gate.decision.is_some(), "a decision at a gate that has none: {gate:?}");
        holds!(!is_decided || gate.decided_by.is_some(), "nobody has decided: {gate:?}");
        if gate.status == GateStatus::Pending {
            holds!(!run.status.is_final(), "a gate of a run that is over is open: {gate:?}, {run:?}");
            holds!(open.insert((&gate.run, &gate.node)), "two open gates at one node: {gate:?}");
        }
    }
    for node in &work.nodes {
        let key = (node.run.as_str(), node.id.as_str());
        // What ends its run takes its questions back with it.
        let is_over = work.run(&node.run).is_none_or(|run| run.status.is_final() || run.stop_to.is_some());
        let asks = node.state == NodeState::AwaitingApproval;
        holds!(is_over || asks == open.contains(&key), "a node asks without a gate, or does not: {node:?}");
        if node.state == NodeState::Completed
            && let Some(decisions) = decisions.get(&key)
        {
            let is_approved = decisions.contains(&Some(Decision::Approve));
            holds!(is_approved, "completed by {decisions:?}: {node:?}");
        }
    }
    Ok(())
}

/// Each slot of a schedule has one row, none is left out, and a run is of one slot.
fn slots(work: &Work) -> Result<(), String> {
    let mut runs = BTreeSet::new();
    let mut last: Option<&super::records::SlotRow> = None;
    for row in &work.slots {
        holds!((row.state == SlotState::Fired) == row.run.is_some(), "a slot without its run: {row:?}");
        holds!(
            (row.state == SlotState::Skipped) == row.reason.is_some(),
            "a slot without its reason: {row:?}"
        );
        if let Some(run) = &row.run {
            let found = work.run(run);
            let is_scheduled = found.is_some_and(|run| run.trigger == TriggerType::Scheduled);
            holds!(is_scheduled, "the run of a slot is none: {row:?}, {found:?}");
            holds!(runs.insert(run.as_str()), "two slots made one run: {row:?}");
        }
        let schedule = work.schedules.iter().find(|it| it.id == row.schedule);
        if let (Some(before), Some(schedule)) = (last.filter(|it| it.schedule == row.schedule), schedule) {
            let gap = row.slot - before.slot;
            holds!(gap == step(schedule), "slots are left out or invented: {before:?}, {row:?}");
        }
        last = Some(row);
    }
    for run in work.runs.iter().filter(|run| run.trigger == TriggerType::Scheduled) {
        let of = run.key.as_deref().and_then(|key| key.strip_prefix("schedule:"));
        let is_there = |it: &Planned| of.is_some_and(|of| of.starts_with(&it.id));
        holds!(
            runs.contains(run.id.as_str()) || !work.schedules.iter().any(is_there),
            "a run of a schedule, and no slot: {run:?}"
        );
    }
    for schedule in &work.schedules {
        let (Some(next), Some(before)) = (schedule.next_at, schedule.last_slot) else { continue };
        holds!(next - before == step(schedule), "the next slot is not the next one: {schedule:?}");
    }
    Ok(())
}

/// The distance of two slots, in microseconds.
fn step(schedule: &Planned) -> i64 {
    let minutes = match schedule.spec["every"].as_str() {
        Some("45m") => 45,
        Some(_) => 120,
        None => 30,
    };
    minutes * 60 * 1_000_000
}

/// What waits for a time that has come, with that time: nothing of it is left lying.
pub(crate) fn due(work: &Work) -> Vec<(String, i64)> {
    let runs = work.runs.iter().filter_map(|run| Some((format!("run {}", run.id), run.look_at?)));
    let begins = work.runs.iter().filter(|run| run.status == AutomationRunStatus::Queued);
    let begins = begins.filter_map(|run| Some((format!("begin of {}", run.id), run.held_until?)));
    let ordered = work.attempts.iter().filter(|it| it.state == AttemptState::Ordered && it.counts);
    let ordered =
        ordered.map(|it| (format!("attempt {} of {} in {}", it.attempt, it.node, it.run), it.deliver_at));
    let gates = work.gates.iter().filter(|gate| gate.status == GateStatus::Pending);
    let gates = gates.filter_map(|gate| Some((format!("gate {}", gate.id), gate.next_at?)));
    let schedules = work.schedules.iter().filter_map(|it| Some((format!("schedule {}", it.id), it.next_at?)));
    runs.chain(begins).chain(ordered).chain(gates).chain(schedules).collect()
}

/// No run and no attempt waits without a reason, once every sweep has looked.
pub(crate) fn reasons(work: &Work) -> Result<(), String> {
    for run in work.runs.iter().filter(|run| run.status == AutomationRunStatus::Queued) {
        holds!(run.held_reason.is_some(), "an automation run waits for nothing: {run:?}");
    }
    for attempt in work.attempts.iter().filter(|it| it.state == AttemptState::Ordered) {
        let stops = work.run(&attempt.run).is_some_and(|run| run.stop_to.is_some());
        holds!(stops || attempt.held_reason.is_some(), "an attempt waits for nothing: {attempt:?}");
    }
    Ok(())
}

/// A run that is not over; `None`: everything is at rest.
pub(crate) fn unrest(work: &Work) -> Option<String> {
    let run = work.runs.iter().find(|run| !run.status.is_final())?;
    let nodes: Vec<_> = work.nodes_of(&run.id).map(|node| (&node.id, node.state, node.retry_at)).collect();
    let live: Vec<_> = work.attempts.iter().filter(|it| it.run == run.id && it.is_live()).collect();
    Some(format!("{run:?}; {nodes:?}; {live:?}"))
}

/// The rules of the end.
pub(crate) fn at_rest(work: &Work) -> Result<(), String> {
    for run in &work.runs {
        let has = |state: NodeState| work.nodes_of(&run.id).any(|node| node.state == state);
        let agrees = match run.status {
            AutomationRunStatus::Completed => {
                run.trigger == TriggerType::ManualDryRun
                    || work.nodes_of(&run.id).all(|node| node.state.is_done())
            }
            AutomationRunStatus::Blocked => has(NodeState::Blocked) && !has(NodeState::Failed),
            AutomationRunStatus::Failed => has(NodeState::Failed) || run.stop_kind.is_some(),
            AutomationRunStatus::Cancelled => run.stop_kind.is_some(),
            _ => false,
        };
        let nodes: Vec<_> = work.nodes_of(&run.id).map(|node| (&node.id, node.state)).collect();
        holds!(agrees, "a run did not come to what its nodes came to: {run:?}, {nodes:?}");
    }
    Ok(())
}
