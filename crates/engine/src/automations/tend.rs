//! Looking after runs that are at work: what ended is judged, and what is next is done, in one transaction each time.
//!
//! Every look loads the run anew, so that it may come twice, late, or on two servers; whoever comes second finds nothing
//! to do. What a transaction ordered to be done outside of the store (stop an agent's run) is done after it, and is found
//! again by the next look when the server died in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::automation::advance::{LimitKind, NodeView, Step, advance, limit_reached};
use domain::automation::definition::{Definition, Node};
use domain::automation::gate::{self, GateStatus};
use domain::automation::graph::Graph;
use domain::automation::sweep::{self, PausedRun};
use domain::automation::transition::{RunEvent, next};
use domain::automation::verdict::{self, Ended, Judged, MOST_REWORKS, Stopped, Tried, judge};
use domain::automation::{
    AttemptState, AutomationRunStatus, FailureClass, Guardrail, NodeState, Output, StopKind, TriggerType,
    operation, template,
};
use domain::ids::{AutomationRunId, GateId, RunId};
use domain::moment::Moment;
use domain::run::{Outcome, RunStatus};
use domain::wake::Actor;
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use store::automations::definitions;
use store::automations::gates::{self, GateRow};
use store::automations::nodes::{self, Attempt};
use store::automations::runs;
use store::runs::Run;
use store::{StoreError, Tx};

use super::definitions::{agents_called, hex};
use super::found::{self, FoundBy};
use super::loaded::{Loaded, Under, Unloadable, end_attempt, held_by_budget, used};
use super::telling::{self, Note};
use super::{LOOK_AGAIN, Launch, Launched, launch};
use crate::processes::beside;
use crate::{EngineError, Inner, sweeps};

/// Runs looked at in one go.
const BATCH: i64 = 128;
/// And side by side.
const WIDTH: usize = 8;
/// What came while a look was prepared is taken up at once, so often.
const MOST_LOOKS: u32 = 5;
/// Runs may start each other in a chain of this length.
const LONGEST_CHAIN: u64 = 20;

pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !sweeps::rest(&engine, "automation runs", &engine.automations.tend, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
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

/// What a look left to be done.
#[derive(Debug, Clone, Default)]
struct Done {
    /// Something ended that was not looked at before the transaction.
    again: bool,
    stops: Vec<(RunId, &'static str)>,
    /// A run began to wait, or left its place.
    moved: bool,
    ordered: bool,
    asked: bool,
}

/// Why an agent's run is stopped, on its record.
const INTERRUPTED: &str = "Stopped by its automation";
const TOOK_TOO_LONG: &str = "Stopped by its automation: it took too long";

/// Looks at one run.
pub(super) async fn look_after(engine: &Arc<Inner>, id: &AutomationRunId) -> Result<(), StoreError> {
    for _ in 0..MOST_LOOKS {
        let found = prepare(engine, id).await?;
        let now = engine.clock.now();
        let bytes: [[u8; 16]; 2] = [engine.dice.bytes(), engine.dice.bytes()];
        let context = (id.clone(), found, engine.dice.fraction());
        let done = engine.write(context, move |tx, (id, found, chance)| {
            Box::pin(async move { look(tx, &id, &found, (chance, bytes), now).await })
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

/// Reads what lies in the workspace of what ended.
async fn prepare(engine: &Arc<Inner>, id: &AutomationRunId) -> Result<FoundBy, StoreError> {
    let loaded =
        engine.read(id.clone(), |tx, id| Box::pin(async move { Loaded::load(tx, &id, false).await }));
    let Ok(loaded) = loaded.await? else { return Ok(FoundBy::new()) };
    let root = loaded.run.root.clone();
    let over: Vec<_> = loaded
        .live
        .iter()
        .filter(|under| under.is_over() && under.attempt.counts)
        .map(|under| {
            let contract =
                loaded.definition.node(&under.attempt.node_id).and_then(|node| node.output.clone());
            ((under.attempt.node_id.clone(), under.attempt.attempt), contract)
        })
        .collect();
    if over.is_empty() {
        return Ok(FoundBy::new());
    }
    let look = move || {
        let look = |(key, contract): (_, Option<_>)| (key, found::look(root.as_deref(), contract.as_ref()));
        over.into_iter().map(look).collect()
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
    found: &FoundBy,
    (chance, bytes): (f64, [[u8; 16]; 2]),
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
        go_on(tx, &mut it, &mut done, now).await?;
        it.run.updated_at = now;
        runs::update(tx, &it.run).await?;
        return Ok(done);
    }
    collect(tx, &mut it, found, chance, &mut done, now).await?;
    let mut turn = Turn { it: &mut it, done: &mut done, now, dice: bytes, drawn: 0, look_at: None };
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
    it.run.look_at = match it.run.status {
        status if status.is_at_work() => {
            let level = now.plus(LOOK_AGAIN);
            Some(look_at.map_or(level, |at| at.min(level)))
        }
        AutomationRunStatus::Paused if goes_on_by_itself(&it) => Some(now.plus(LOOK_AGAIN)),
        _ => None,
    };
    it.run.updated_at = now;
    runs::update(tx, &it.run).await?;
    Ok(done)
}

/// A paused run may go on without anybody asking for it.
fn goes_on_by_itself(it: &Loaded) -> bool {
    matches!(it.run.stop_kind, Some(StopKind::StaleReaped))
        || (it.run.stop_kind == Some(StopKind::GuardrailStopped)
            && it.run.guardrail == Some(Guardrail::SpendPause))
}

/// A paused run goes on by itself, when what stopped it is over (spec/automations.md 2.4).
async fn go_on(tx: &mut Tx<'_>, it: &mut Loaded, done: &mut Done, now: Moment) -> Result<(), StoreError> {
    let agents = it.agents(tx).await?;
    let paused = PausedRun {
        status: it.run.status,
        stop_kind: it.run.stop_kind,
        guardrail: it.run.guardrail,
        stopped_at: it.run.stopped_at.unwrap_or(now),
        resumes: u32::try_from(it.run.resumes).unwrap_or(u32::MAX),
        resume_stale: it.definition.policy.resume_stale.unwrap_or(true),
        has_work: it.nodes.iter().any(|node| !node.state.is_final()),
        held_agents: held_by_budget(&agents).len(),
    };
    if !sweep::resumes(&paused, now) {
        it.run.look_at = goes_on_by_itself(it).then(|| now.plus(LOOK_AGAIN));
        return Ok(());
    }
    let was = it.run.stop_kind;
    it.run.resumes += i64::from(was == Some(StopKind::StaleReaped));
    requeue(it, now);
    let action = match was {
        Some(StopKind::StaleReaped) => "automation.internal_sweep.auto_resumed_stale_reaped_run",
        _ => "automation.internal_sweep.auto_resumed_guardrail_stopped_run",
    };
    telling::tell(tx, &mut it.run, Note::run("run_auto_resumed").with(json!({ "stopKind": was })), now)
        .await?;
    let by = Actor::system("automation");
    telling::audit(tx, &it.run, &by, action, json!({ "resumes": it.run.resumes }), now).await?;
    done.moved = true;
    Ok(())
}

/// The run waits for a place again.
pub(super) fn requeue(it: &mut Loaded, now: Moment) {
    let run = &mut it.run;
    run.status = AutomationRunStatus::Queued;
    run.queued_at = now;
    run.not_before = None;
    run.stop_to = None;
    run.stop_asked_at = None;
    run.stop_drains = false;
    run.stop_kind = None;
    run.stop_reason = None;
    run.guardrail = None;
    run.stopped_at = None;
    run.finished_at = None;
    run.look_at = None;
    run.detail = None;
}

/// Judges the attempts whose agents' runs are over.
async fn collect(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    found: &FoundBy,
    chance: f64,
    done: &mut Done,
    now: Moment,
) -> Result<(), StoreError> {
    let over: Vec<usize> = (0..it.live.len()).filter(|at| it.live[*at].is_over()).collect();
    for at in over {
        let under = &it.live[at];
        let key = (under.attempt.node_id.clone(), under.attempt.attempt);
        if !under.attempt.counts {
            let (tokens, cost) = under.agent_run.as_ref().map(used).unwrap_or_default();
            it.run.tokens += tokens;
            it.run.cost_micros += cost;
            let attempt = &mut it.live[at].attempt;
            // Behind what runs before this one used for the same attempt.
            attempt.tokens += tokens;
            attempt.cost_micros += cost;
            end_attempt(attempt, json!({ "outcome": "reset" }), now);
            nodes::update_attempt(tx, &it.live[at].attempt).await?;
            continue;
        }
        let Some(lies) = found.get(&key) else {
            // It ended after the workspace was looked at.
            done.again = true;
            continue;
        };
        let ended = ended(under, lies);
        let Some(node) = it.definition.node(&key.0).cloned() else { continue };
        let Some(row) = it.nodes.iter().find(|row| row.node_id == key.0) else { continue };
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let tried = Tried {
            attempts: count(row.attempts),
            repairs: count(row.repairs),
            lost: count(row.lost),
            since: row.since,
        };
        let judged = judge(&node, &ended, tried, now, chance);
        conclude(tx, it, at, &node, judged, now).await?;
    }
    it.live.retain(|under| under.attempt.state != AttemptState::Ended);
    Ok(())
}

/// How the agent's run of an attempt ended, as the rules see it.
fn ended(under: &Under, lies: &found::Found) -> Ended {
    let stopped = match under.attempt.stopped.as_deref() {
        Some("timeout") => Some(Stopped::Timeout),
        Some(_) => Some(Stopped::Interrupted),
        None => None,
    };
    let Some(run) = &under.agent_run else {
        return Ended {
            outcome: Outcome::Failed,
            error: Some("the record of the agent's run is gone".to_owned()),
            error_code: Some("process_lost".to_owned()),
            error_family: None,
            text: String::new(),
            files: lies.files.clone(),
            left: lies.left.clone(),
            stopped,
        };
    };
    let outcome = match run.status {
        RunStatus::Succeeded => Outcome::Succeeded,
        RunStatus::Cancelled => Outcome::Cancelled,
        RunStatus::TimedOut => Outcome::TimedOut,
        RunStatus::Failed | RunStatus::Queued | RunStatus::ScheduledRetry | RunStatus::Running => {
            Outcome::Failed
        }
    };
    let family = run.result.as_ref().and_then(|result| result["errorFamily"].as_str());
    Ended {
        outcome,
        error: run.error.clone(),
        error_code: run.error_code.clone(),
        error_family: family.map(str::to_owned),
        text: last_words(run),
        files: lies.files.clone(),
        left: lies.left.clone(),
        stopped,
    }
}

/// What an agent said last; of a command that only prints, all that it printed (or the end of it).
fn last_words(run: &Run) -> String {
    let result = run.result.as_ref().unwrap_or(&Json::Null);
    let said = |key: &str| result[key].as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    if let Some(text) = said("result") {
        return text;
    }
    let summary = said("summary");
    let printed = run.stdout_excerpt.clone().filter(|text| !text.trim().is_empty());
    match (summary, printed) {
        // A command's last line is the end of what it printed; an agent's words are not in its output as they are.
        (Some(summary), Some(printed)) if printed.trim_end().ends_with(summary.trim()) => printed,
        (Some(summary), _) => summary,
        (None, printed) => printed.unwrap_or_default(),
    }
}

/// Writes what an attempt came to.
async fn conclude(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    at: usize,
    node: &Node,
    judged: Judged,
    now: Moment,
) -> Result<(), StoreError> {
    let (tokens, cost) = it.live[at].agent_run.as_ref().map(used).unwrap_or_default();
    it.run.tokens += tokens;
    it.run.cost_micros += cost;
    let attempt = &mut it.live[at].attempt;
    attempt.tokens += tokens;
    attempt.cost_micros += cost;
    let number = attempt.attempt;
    let agent_run = attempt.agent_run_id.clone();
    end_attempt(attempt, verdict::record(&judged), now);
    nodes::update_attempt(tx, &it.live[at].attempt).await?;
    settle_node(tx, it, node, &judged, (number, agent_run), now).await?;
    if judged.rejects {
        send_back(tx, it, node, &judged, now).await?;
    }
    Ok(())
}

/// Writes what a node came to, and tells it.
pub(super) async fn settle_node(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    node: &Node,
    judged: &Judged,
    (attempt, agent_run): (i64, Option<RunId>),
    now: Moment,
) -> Result<(), StoreError> {
    let Some(row) = it.node(&node.id) else { return Ok(()) };
    row.state = judged.state;
    row.attempts = i64::from(judged.tried.attempts);
    row.repairs = i64::from(judged.tried.repairs);
    row.lost = i64::from(judged.tried.lost);
    row.retry_at = judged.retry_at;
    row.reason = judged.reason.clone();
    row.feedback = judged.feedback.clone();
    let keeps = judged.state.is_final() || judged.class == Some(FailureClass::ContractMiss);
    row.output = keeps.then(|| serde_json::to_value(&judged.output).unwrap_or_default());
    row.finished_at = judged.state.is_final().then_some(now);
    nodes::update(tx, row).await?;
    let event = match (judged.state, judged.class) {
        (NodeState::Completed, _) => "node_completed",
        (NodeState::Skipped, _) => "node_skipped_no_work",
        (NodeState::Blocked, _) => "node_blocked",
        (NodeState::Failed, _) => "node_failed",
        (_, Some(FailureClass::ContractMiss)) => "node_repair_requested",
        (_, Some(FailureClass::VerifyFailed)) => "node_verify_failed",
        (_, Some(FailureClass::Interrupted)) => "node_interrupted",
        (_, _) => "node_retry_scheduled",
    };
    let metadata = json!({
        "attempt": attempt, "runId": agent_run, "failureClass": judged.class, "retryAt": judged.retry_at,
        "unmetRequirements": judged.unmet,
    });
    if matches!(judged.state, NodeState::Failed | NodeState::Blocked) {
        it.run.last_failure = Some(json!({
            "nodeId": node.id, "reason": judged.reason, "failedAt": now, "failureClass": judged.class,
            "attempt": attempt, "runId": agent_run,
        }));
    }
    let note = Note::node(event, &node.id).because(judged.reason.clone()).with(metadata);
    telling::tell(tx, &mut it.run, note, now).await
}

/// A reviewer sends the work back to what it depends on, or to the nodes that its definition names.
async fn send_back(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    node: &Node,
    judged: &Judged,
    now: Moment,
) -> Result<(), StoreError> {
    let reworks = it.node(&node.id).map_or(0, |row| row.reworks);
    if reworks >= i64::from(MOST_REWORKS) {
        let reason = format!("sent back {MOST_REWORKS} times already");
        if let Some(row) = it.node(&node.id) {
            row.state = NodeState::Blocked;
            row.reason = Some(reason.clone());
            nodes::update(tx, row).await?;
        }
        let note = Note::node("node_blocked", &node.id).because(Some(reason));
        return telling::tell(tx, &mut it.run, note, now).await;
    }
    let definition = it.definition.clone();
    let graph = Graph::of(&definition);
    let targets = match node.rework_targets.is_empty() {
        true => graph.dependencies(&node.id).iter().map(|id| (*id).to_owned()).collect(),
        false => node.rework_targets.iter().cloned().collect(),
    };
    let reset = operation::from_nodes(&graph, targets);
    let words = judged.reason.clone().unwrap_or_else(|| judged.output.text.clone());
    it.reset(tx, &reset, Some(&words), now).await?;
    if let Some(row) = it.node(&node.id) {
        row.reworks = reworks + 1;
        nodes::update(tx, row).await?;
    }
    let note = Note::node("node_approval_rollback", &node.id)
        .because(Some(words))
        .with(json!({ "targets": reset.targets, "nodes": reset.nodes }));
    telling::tell(tx, &mut it.run, note, now).await
}

/// One look, on its way.
struct Turn<'a> {
    it: &'a mut Loaded,
    done: &'a mut Done,
    now: Moment,
    dice: [[u8; 16]; 2],
    drawn: u32,
    look_at: Option<Moment>,
}

impl Turn<'_> {
    /// Does what is next; true when that changed what is next after it.
    async fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        if !self.it.run.status.is_at_work() {
            return Ok(false);
        }
        if self.it.run.stop_to.is_none() && self.is_lost() {
            self.fail("its workspace is no folder any more", StopKind::GuardrailStopped);
            let note = Note::run("run_failed_workspace").because(self.it.run.stop_reason.clone());
            telling::tell(tx, &mut self.it.run, note, self.now).await?;
            return Ok(true);
        }
        let views = self.it.node_views();
        if self.it.run.stop_to.is_none() && self.is_stale(&views) {
            self.reap(tx).await?;
            return Ok(true);
        }
        let plan = advance(&self.it.view(&views, self.now));
        self.look_at = plan.look_at;
        let mut again = false;
        for step in plan.steps {
            again |= self.take(tx, step).await?;
        }
        Ok(again)
    }

    /// The workspace was removed while the run waited.
    fn is_lost(&self) -> bool {
        let is_new = !self.it.nodes.iter().any(|node| node.state == NodeState::Running);
        is_new && self.it.run.root.as_deref().is_some_and(|root| !Path::new(root).is_dir())
    }

    /// Nothing was heard of anything that is under way for longer than any of it may be silent.
    fn is_stale(&self, views: &[NodeView]) -> bool {
        let begun = views.iter().filter_map(|view| {
            let live = view.live.as_ref()?;
            let sign = live.last_sign_at.max(live.began_at)?;
            let idle = self.it.definition.node(&view.id).and_then(|node| node.time_limits().0);
            Some((sign, idle))
        });
        let (signs, idle): (Vec<Moment>, Vec<Option<Duration>>) = begun.unzip();
        let last = signs.into_iter().max();
        last.and_then(|last| sweep::stale_at(last, &idle)).is_some_and(|at| self.now >= at)
    }

    /// The run is paused; it goes on by itself, if it may (spec/automations.md 2.4).
    async fn reap(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let reason = "nothing was heard of it for too long".to_owned();
        let run = &mut self.it.run;
        run.stop_to = Some(AutomationRunStatus::Paused);
        run.stop_asked_at = Some(self.now);
        run.stop_drains = false;
        run.stop_kind = Some(StopKind::StaleReaped);
        run.stop_reason = Some(reason.clone());
        run.guardrail = None;
        if let Ok(status) = next(run.status, RunEvent::Pause) {
            run.status = status;
        }
        let note = Note::run("run_paused_stale_no_provider_activity").because(Some(reason.clone()));
        telling::tell(tx, &mut self.it.run, note, self.now).await?;
        let by = Actor::system("automation");
        let action = "automation.internal_sweep.paused_stale_run";
        telling::audit(tx, &self.it.run, &by, action, json!({ "reason": reason }), self.now).await
    }

    async fn take(&mut self, tx: &mut Tx<'_>, step: Step) -> Result<bool, StoreError> {
        match step {
            Step::Start(node) => self.begin(tx, &node).await,
            Step::Ask(node) => self.ask(tx, &node).await,
            Step::Block { node, by } => {
                let reason = format!("it depends on {by}, which did not succeed");
                if let Some(row) = self.it.node(&node) {
                    row.state = NodeState::Blocked;
                    row.reason = Some(reason.clone());
                    row.finished_at = Some(self.now);
                    nodes::update(tx, row).await?;
                }
                let note = Note::node("node_blocked", &node).because(Some(reason)).with(json!({ "by": by }));
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                Ok(true)
            }
            Step::Stop { node, why } => self.stop(tx, &node, why).await,
            Step::Limit(kind) => self.limit(tx, kind).await,
            Step::Stopped => self.stopped(tx).await,
            Step::Await => {
                self.leave(RunEvent::Await);
                let note = Note::run("run_awaiting_approval");
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                Ok(false)
            }
            Step::BackOff(until) => {
                self.leave(RunEvent::BackOff);
                self.it.run.queued_at = self.now;
                self.it.run.not_before = Some(until);
                let note = Note::run("run_backed_off").with(json!({ "until": until }));
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                Ok(false)
            }
            Step::Settle { settled, reason } => {
                self.leave(RunEvent::Settle(settled));
                self.it.run.finished_at = Some(self.now);
                self.it.run.detail = reason.clone();
                let event = match self.it.run.status {
                    AutomationRunStatus::Completed => "run_completed",
                    AutomationRunStatus::Blocked => "run_blocked",
                    _ => "run_failed",
                };
                let note =
                    Note::run(event).because(reason).with(json!({ "lastFailure": self.it.run.last_failure }));
                telling::tell(tx, &mut self.it.run, note, self.now).await?;
                self.over(tx).await?;
                Ok(false)
            }
        }
    }

    /// The run leaves its place.
    fn leave(&mut self, event: RunEvent) {
        if let Ok(status) = next(self.it.run.status, event) {
            self.it.run.status = status;
        }
        self.it.leave_work(self.now);
        self.done.moved = true;
    }

    fn fail(&mut self, why: &str, kind: StopKind) {
        self.it.run.stop_to = Some(AutomationRunStatus::Failed);
        self.it.run.stop_asked_at = Some(self.now);
        self.it.run.stop_kind = Some(kind);
        self.it.run.stop_reason = Some(why.to_owned());
    }

    fn draw(&mut self, what: &str) -> [u8; 16] {
        // One pair of random numbers for a look: what else it needs is derived, so that a repeated transaction draws
        // the same.
        self.drawn += 1;
        let digest = Sha256::new()
            .chain_update(self.dice[0])
            .chain_update(self.dice[1])
            .chain_update(self.drawn.to_be_bytes())
            .chain_update(what.as_bytes())
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }

    /// Begins an attempt: its agent is ordered to be woken in this same commit.
    async fn begin(&mut self, tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
        let Some(node) = self.it.definition.node(id).cloned() else { return Ok(false) };
        let name = node.agent.clone().unwrap_or_default();
        let agents = agents_called(tx, &self.it.run.company_id, &name).await?;
        let filled = template::fill(node.objective.as_deref().unwrap_or_default(), &self.it.template_data());
        let (agent, objective) = match (agents.as_slice(), filled) {
            ([agent], Ok(objective)) => (agent, objective),
            ([], _) => {
                let words = format!("there is no agent `{name}` any more");
                return self.cannot_begin(tx, &node, FailureClass::AgentGone, words).await;
            }
            ([_, _, ..], _) => {
                let words = format!("several agents are called `{name}`");
                return self.cannot_begin(tx, &node, FailureClass::AgentGone, words).await;
            }
            (_, Err(error)) => {
                let words = format!("its objective cannot be filled: {error}");
                return self.cannot_begin(tx, &node, FailureClass::Template, words).await;
            }
        };
        let (now, epoch) = (self.now, self.it.run.epoch);
        let company = self.it.run.company_id.clone();
        let run_id = self.it.run.id.clone();
        let Some(row) = self.it.node(id) else { return Ok(false) };
        row.attempt += 1;
        row.state = NodeState::Running;
        row.since = row.since.or(Some(now));
        row.started_at = row.started_at.or(Some(now));
        row.retry_at = None;
        row.reason = None;
        row.finished_at = None;
        let number = row.attempt;
        nodes::update(tx, row).await?;
        let attempt = Attempt {
            run_id,
            node_id: id.to_owned(),
            attempt: number,
            company_id: company,
            epoch,
            agent_id: agent.id.clone(),
            agent_run_id: None,
            state: AttemptState::Ordered,
            counts: true,
            objective,
            ordered_at: now,
            deliver_at: now,
            held_reason: None,
            started_at: None,
            ended_at: None,
            stopped: None,
            stop_asked_at: None,
            record: None,
            tokens: 0,
            cost_micros: 0,
        };
        nodes::insert_attempt(tx, &attempt).await?;
        let metadata = json!({ "attempt": number, "agentId": agent.id, "epoch": epoch });
        telling::tell(tx, &mut self.it.run, Note::node("node_started", id).with(metadata), now).await?;
        self.it.live.push(Under { attempt, agent_run: None });
        self.done.ordered = true;
        Ok(false)
    }

    /// The node fails before anybody was woken for it.
    async fn cannot_begin(
        &mut self,
        tx: &mut Tx<'_>,
        node: &Node,
        class: FailureClass,
        words: String,
    ) -> Result<bool, StoreError> {
        let number = self.it.node(&node.id).map_or(0, |row| row.attempt);
        fail_node(tx, self.it, node, class, words, number, self.now).await?;
        Ok(true)
    }

    /// Asks people.
    async fn ask(&mut self, tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
        let Some(node) = self.it.definition.node(id).cloned() else { return Ok(false) };
        let of = node.gate.clone().unwrap_or_default();
        let data = self.it.template_data();
        let fill = |text: Option<&String>| text.map(|text| template::fill(text, &data)).transpose();
        let (title, instructions) = match (fill(of.title.as_ref()), fill(of.instructions.as_ref())) {
            (Ok(title), Ok(instructions)) => (title, instructions),
            (Err(error), _) | (_, Err(error)) => {
                let words = format!("its question cannot be filled: {error}");
                return self.cannot_begin(tx, &node, FailureClass::Template, words).await;
            }
        };
        let now = self.now;
        let gate_id = GateId::mint(now, self.draw(id));
        let title = title.unwrap_or_else(|| format!("{}: {id}", self.it.automation.name));
        let shown = shown(self.it, id, &title, instructions.as_deref());
        let terms = gate::terms(of.expiry.as_ref());
        let started_by = self.it.run.actor_id.clone();
        let mut row = GateRow {
            hash: bind(&gate_id, &shown),
            id: gate_id,
            company_id: self.it.run.company_id.clone(),
            run_id: self.it.run.id.clone(),
            node_id: id.to_owned(),
            status: GateStatus::Pending,
            title,
            instructions,
            shown,
            decisions: json!(gate::decisions(&of)),
            rework_targets: json!(of.rework_targets),
            approvers: json!(of.approvers),
            self_approval: of.self_approval.unwrap_or(true),
            started_by: started_by.filter(|_| self.it.run.actor_kind == domain::wake::ActorKind::User),
            expiry: of.expiry.as_ref().map(|expiry| json!(expiry)),
            asked_at: now,
            expires_at: terms.expires_after.map(|after| now.plus(after)),
            next_at: None,
            reminded_at: None,
            reminders: 0,
            reminded_late: false,
            escalated_at: None,
            escalated_to: None,
            stale_at: None,
            decision: None,
            reason: None,
            targets: None,
            decided_at: None,
            decided_by_kind: None,
            decided_by: None,
        };
        row.next_at = gate::due(&super::gates::open(&row), now).1;
        gates::insert(tx, &row).await?;
        if let Some(node) = self.it.node(id) {
            node.state = NodeState::AwaitingApproval;
            node.since = node.since.or(Some(now));
            node.started_at = node.started_at.or(Some(now));
            nodes::update(tx, node).await?;
        }
        let note = Note::node("gate_opened", id).with(json!({
            "gateId": row.id, "title": row.title, "expiresAt": row.expires_at,
        }));
        telling::tell(tx, &mut self.it.run, note, now).await?;
        self.done.asked = true;
        Ok(false)
    }

    /// Asks an attempt to stop; one whose agent was not woken yet is over at once.
    async fn stop(&mut self, tx: &mut Tx<'_>, id: &str, why: Stopped) -> Result<bool, StoreError> {
        let now = self.now;
        let at = self.it.live.iter().position(|it| it.attempt.node_id == id && it.attempt.counts);
        let Some(at) = at else { return Ok(false) };
        let attempt = &mut self.it.live[at].attempt;
        attempt.stop_asked_at = Some(now);
        attempt.stopped = Some(match why {
            Stopped::Timeout => "timeout".to_owned(),
            Stopped::Interrupted => "interrupted".to_owned(),
        });
        let number = attempt.attempt;
        let is_over = attempt.state == AttemptState::Ordered;
        if is_over {
            end_attempt(attempt, json!({ "outcome": "withdrawn" }), now);
        }
        nodes::update_attempt(tx, &self.it.live[at].attempt).await?;
        if is_over {
            self.it.live.remove(at);
            if let Some(row) = self.it.node(id) {
                row.state = NodeState::Pending;
                nodes::update(tx, row).await?;
            }
        }
        let event = if why == Stopped::Timeout { "node_timed_out" } else { "node_stopping" };
        let note = Note::node(event, id).with(json!({ "attempt": number }));
        telling::tell(tx, &mut self.it.run, note, now).await?;
        Ok(is_over)
    }

    /// A limit of the run itself: it is paused, and only a person who raises the limit has it go on.
    async fn limit(&mut self, tx: &mut Tx<'_>, kind: LimitKind) -> Result<bool, StoreError> {
        let reason = format!("the run reached its limit {}", kind.field());
        let run = &mut self.it.run;
        run.stop_to = Some(AutomationRunStatus::Paused);
        run.stop_asked_at = Some(self.now);
        run.stop_kind = Some(StopKind::GuardrailStopped);
        run.stop_reason = Some(reason.clone());
        run.guardrail = Some(Guardrail::RunLimit);
        if let Ok(status) = next(run.status, RunEvent::Pause) {
            run.status = status;
        }
        let note = Note::run("run_limit_reached")
            .because(Some(reason.clone()))
            .with(json!({ "limit": kind.field() }));
        telling::tell(tx, &mut self.it.run, note, self.now).await?;
        let details = json!({ "reason": reason });
        let by = Actor::system("automation");
        telling::audit(
            tx,
            &self.it.run,
            &by,
            "automation.internal_sweep.run_limit_reached",
            details,
            self.now,
        )
        .await?;
        Ok(true)
    }

    /// What was under way has stopped: the run is where it was to stop at.
    async fn stopped(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let to = self.it.run.stop_to.take().unwrap_or(AutomationRunStatus::Paused);
        let kind = self.it.run.stop_kind.unwrap_or(StopKind::OperatorStopped);
        let (event, word) = match to {
            AutomationRunStatus::Cancelled => (RunEvent::Cancel, "run_cancelled"),
            AutomationRunStatus::Failed => (RunEvent::Fail(kind), "run_failed"),
            _ => (RunEvent::Stopped, "run_paused"),
        };
        if event == RunEvent::Stopped && self.it.run.status == AutomationRunStatus::Running {
            self.it.run.status = AutomationRunStatus::Pausing;
        }
        self.leave(event);
        self.it.run.stopped_at = Some(self.now);
        self.it.run.detail = self.it.run.stop_reason.clone();
        let reason = self.it.run.stop_reason.clone();
        telling::tell(tx, &mut self.it.run, Note::run(word).because(reason), self.now).await?;
        if self.it.run.status.is_final() {
            self.it.run.finished_at = Some(self.now);
            self.over(tx).await?;
        }
        Ok(false)
    }

    /// The run is over: its questions are taken back, and what begins after it begins.
    async fn over(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        over(tx, self.it, self.now, &mut |what: &str| {
            let mut digest = Sha256::new();
            digest.update(self.dice[1]);
            digest.update(what.as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&digest.finalize()[..16]);
            bytes
        })
        .await
    }
}

/// What follows when a run is over, however it came to that.
pub(super) async fn over(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    now: Moment,
    draw: &mut (dyn FnMut(&str) -> [u8; 16] + Send),
) -> Result<(), StoreError> {
    it.withdraw_all(tx, "its run is over", now).await?;
    // Nobody is asked any more: if the run begins again, its questions are asked anew.
    for node in it.nodes.iter_mut().filter(|node| node.state == NodeState::AwaitingApproval) {
        node.state = NodeState::Pending;
        nodes::update(tx, node).await?;
    }
    let chain = it.run.trigger_detail.as_ref().and_then(|detail| detail["chain"].as_u64()).unwrap_or(0) + 1;
    for id in definitions::started_by(tx, &it.run.automation_id).await? {
        let Some(other) = definitions::get(tx, &id).await? else { continue };
        let Some(version) = definitions::version(tx, &id, other.version).await? else { continue };
        let Ok(definition) = launch::read(&version.definition) else { continue };
        let links = definition.after.iter().filter(|after| after.automation == it.automation.name);
        for after in links {
            let ends = if after.on.is_empty() { &[AutomationRunStatus::Completed][..] } else { &after.on };
            if !ends.contains(&it.run.status) {
                continue;
            }
            let started = match chain > LONGEST_CHAIN {
                true => Err(format!("{LONGEST_CHAIN} runs have started one another")),
                false => start_after(tx, it, &definition, after, &id, chain, draw, now).await?,
            };
            let (event, metadata) = match started {
                Ok(run) => ("run_handed_over", json!({ "automation": other.name, "startedRunId": run })),
                Err(why) => ("run_hand_over_refused", json!({ "automation": other.name, "why": why })),
            };
            telling::tell(tx, &mut it.run, Note::run(event).with(metadata), now).await?;
        }
    }
    Ok(())
}

/// Starts a run after this one; what refuses it is in words.
#[allow(clippy::too_many_arguments)]
async fn start_after(
    tx: &mut Tx<'_>,
    it: &Loaded,
    definition: &Definition,
    after: &domain::automation::definition::After,
    automation: &domain::ids::AutomationId,
    chain: u64,
    draw: &mut (dyn FnMut(&str) -> [u8; 16] + Send),
    now: Moment,
) -> Result<Result<AutomationRunId, String>, StoreError> {
    let data = it.template_data();
    let mut inputs = Map::new();
    for (name, text) in &after.inputs {
        let filled = match template::fill(text, &data) {
            Ok(filled) => filled,
            Err(error) => return Ok(Err(format!("its input {name} cannot be filled: {error}"))),
        };
        // A text that fills an input of another type is read as one.
        let kind = definition.inputs.get(name).and_then(|input| input.kind);
        let value = match kind {
            Some(kind) if !kind.fits(&Json::from(filled.as_str())) => {
                serde_json::from_str(&filled).unwrap_or(Json::String(filled))
            }
            _ => Json::String(filled),
        };
        inputs.insert(name.clone(), value);
    }
    let detail = json!({
        "automationRunId": it.run.id, "automation": it.automation.name, "status": it.run.status, "chain": chain,
    });
    let ask = Launch {
        automation: automation.clone(),
        run_id: AutomationRunId::mint(now, draw(automation.as_str())),
        trigger: TriggerType::After,
        detail: Some(detail),
        inputs,
        idempotency_key: Some(format!("after:{}:{}", it.run.id, it.run.epoch)),
        body_hash: String::new(),
        priority: None,
        actor: Actor::system("automation"),
    };
    match launch(tx, ask, now).await {
        Ok(Launched::New(run) | Launched::Again(run)) => Ok(Ok(run.id)),
        Err(EngineError::Store(error)) => Err(error),
        Err(EngineError::Invalid(problems)) => {
            let words: Vec<String> =
                problems.iter().map(|it| format!("{}: {}", it.path, it.message)).collect();
            Ok(Err(words.join("; ")))
        }
        Err(refused) => Ok(Err(refused.to_string())),
    }
}

/// A node fails without an attempt of an agent.
pub(super) async fn fail_node(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    node: &Node,
    class: FailureClass,
    words: String,
    attempt: i64,
    now: Moment,
) -> Result<(), StoreError> {
    let judged = Judged {
        state: NodeState::Failed,
        class: Some(class),
        output: Output { status: "failed".to_owned(), ..Output::default() },
        feedback: None,
        retry_at: None,
        reason: Some(words),
        unmet: Vec::new(),
        rejects: false,
        tried: Tried::default(),
    };
    settle_node(tx, it, node, &judged, (attempt, None), now).await
}

/// Everything that people are shown at a gate.
pub(super) fn shown(it: &Loaded, node: &str, title: &str, instructions: Option<&str>) -> Json {
    let graph = Graph::of(&it.definition);
    let upstream: Vec<Json> = graph
        .dependencies(node)
        .iter()
        .map(|id| {
            let output = it.output(id).unwrap_or_default();
            json!({ "nodeId": id, "status": output.status, "text": output.text, "json": output.json, "files": output.files })
        })
        .collect();
    json!({
        "automation": it.automation.name, "version": it.run.version, "automationRunId": it.run.id, "nodeId": node,
        "title": title, "instructions": instructions, "inputs": it.run.inputs, "upstream": upstream,
    })
}

/// The digest that a decision names.
pub(super) fn bind(gate: &GateId, shown: &Json) -> String {
    hex(&Sha256::digest(gate::bound(gate.as_str(), shown).as_bytes()))
}

/// Whether a run that is to go on would stop again at once; what would have to be raised.
pub(super) fn stops_at_once(it: &Loaded, now: Moment) -> Option<LimitKind> {
    limit_reached(&it.limits(), &it.spent(now))
}
