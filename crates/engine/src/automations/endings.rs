//! What becomes of a node when an attempt is over: reading how its agent's run ended, writing the verdict, telling it.
//!
//! The verdict itself is `domain::automation::verdict`, what a reviewer's rejection comes to `domain::automation::rework`.

use domain::automation::definition::Node;
use domain::automation::graph::Graph;
use domain::automation::rework::{Kept, Rejected, cut_off, done_already, kept, reject};
use domain::automation::verdict::{self, Ended, Judged, Stopped, Tried, judge};
use domain::automation::{AttemptState, FailureClass, NodeState, Output, feedback};
use domain::ids::{GateId, RunId};
use domain::moment::Moment;
use domain::run::{Outcome, RunStatus};
use serde_json::{Value as Json, json};
use store::automations::nodes::{self, Attempt};
use store::runs::Run;
use store::{StoreError, Tx};

use super::draws::Draws;
use super::found::{self, FoundBy};
use super::loaded::{Loaded, Under, end_attempt, used};
use super::questions;
use super::telling::{self, Note};
use super::tend::Done;

/// Judges the attempts whose agents' runs are over. Those that ended after the workspace was looked at are to be looked at
/// again. `chance` is between 0 and 1.
pub(super) async fn collect(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    found: &FoundBy,
    (chance, draws, done): (f64, &mut Draws, &mut Done),
    now: Moment,
) -> Result<(), StoreError> {
    let key_of = |under: &Under| (under.attempt.node_id.clone(), under.attempt.attempt);
    let over: Vec<_> = it.live.iter().filter(|under| under.is_over()).map(key_of).collect();
    for key in over {
        // A rejection that was written before it may have taken attempts out, and has others count no more.
        let Some(at) = it.live.iter().position(|under| key_of(under) == key) else { continue };
        let under = &it.live[at];
        if !under.attempt.counts {
            end_uncounted(tx, it, at, now).await?;
            continue;
        }
        let Some(lies) = found.get(&key) else {
            done.again = true;
            continue;
        };
        let ended = ended(under, lies);
        let Some(node) = it.definition.node(&key.0).cloned() else {
            end(tx, it, at, json!({ "outcome": "failed", "reason": NO_SUCH_NODE }), now).await?;
            let failure = (FailureClass::ToolResolution, NO_SUCH_NODE.to_owned());
            fail_node(tx, it, &key.0, failure, key.1, now).await?;
            continue;
        };
        let Some(row) = it.nodes.iter().find(|row| row.node_id == key.0) else {
            end(tx, it, at, json!({ "outcome": "failed", "reason": NO_SUCH_NODE }), now).await?;
            continue;
        };
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let tried = Tried {
            attempts: count(row.attempts),
            repairs: count(row.repairs),
            lost: count(row.lost),
            since: row.since,
        };
        let judged = judge(&node, &ended, tried, now, chance);
        let agent_run = it.live[at].attempt.agent_run_id.clone();
        end(tx, it, at, verdict::record(&judged), now).await?;
        settle_node(tx, it, &node.id, &judged, (key.1, agent_run), now).await?;
        if judged.rejects {
            send_back(tx, it, &node, &judged, now).await?;
        }
        if judged.state == NodeState::AwaitingApproval {
            let gate = GateId::mint(now, draws.draw());
            let question = judged.reason.as_deref().unwrap_or_default();
            questions::ask_for_agent(tx, it, (&node.id, gate), (question, &judged.output.text), now).await?;
            done.asked = true;
        }
    }
    it.live.retain(|under| under.attempt.state != AttemptState::Ended);
    Ok(())
}

/// An attempt is over whose node is made again. Where a reviewer had it cut off and it may not be repeated, a person looks
/// first.
async fn end_uncounted(tx: &mut Tx<'_>, it: &mut Loaded, at: usize, now: Moment) -> Result<(), StoreError> {
    let under = &it.live[at];
    let (id, attempt) = (under.attempt.node_id.clone(), under.attempt.attempt);
    // Its record may be gone: then nobody knows.
    let run = under.agent_run.as_ref();
    let began = run.is_none_or(|run| run.started_at.is_some());
    let succeeded = run.is_some_and(|run| run.status == RunStatus::Succeeded);
    let is_open = |state: NodeState| matches!(state, NodeState::Pending | NodeState::Blocked);
    let waits = it.nodes.iter().any(|row| row.node_id == id && is_open(row.state));
    let why = match it.definition.node(&id) {
        Some(node) if under.attempt.stopped.as_deref() == Some(BY_REVIEWER) && waits => {
            cut_off(node, began, succeeded)
        }
        Some(_) | None => None,
    };
    let Some(why) = why else { return end(tx, it, at, json!({ "outcome": "reset" }), now).await };
    let class = (!succeeded).then_some(FailureClass::Interrupted);
    let record = json!({ "outcome": NodeState::Blocked, "failureClass": class, "reason": why });
    end(tx, it, at, record, now).await?;
    block(tx, it, &id, (why.to_owned(), class, attempt), now).await
}

/// A person looks at a node before anything goes on with it.
async fn block(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    id: &str,
    (reason, class, attempt): (String, Option<FailureClass>, i64),
    now: Moment,
) -> Result<(), StoreError> {
    let Some(row) = it.node(id) else { return Ok(()) };
    row.state = NodeState::Blocked;
    row.reason = Some(reason.clone());
    row.since = row.since.or(Some(now));
    row.finished_at = Some(now);
    if row.output.is_none() {
        let output = Output { status: "blocked".to_owned(), ..Output::default() };
        row.output = serde_json::to_value(output).ok();
    }
    nodes::update(tx, row).await?;
    it.run.last_failure = Some(json!({
        "nodeId": id, "reason": reason, "failedAt": now, "failureClass": class, "attempt": attempt,
    }));
    let note = Note::node("node_blocked", id).because(Some(reason));
    telling::tell(tx, &mut it.run, note.with(json!({ "attempt": attempt, "failureClass": class })), now).await
}

/// Why an attempt was stopped (`Attempt::stopped`) that a reviewer's rejection cut off.
const BY_REVIEWER: &str = "interrupted";

/// What an attempt is on record with whose node its definition does not have.
pub(super) const NO_SUCH_NODE: &str = "its definition has no such node";

/// Writes that an attempt is over, and what it used.
async fn end(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    at: usize,
    record: Json,
    now: Moment,
) -> Result<(), StoreError> {
    let (tokens, cost) = it.live[at].agent_run.as_ref().map(used).unwrap_or_default();
    it.run.tokens += tokens;
    it.run.cost_micros += cost;
    let attempt = &mut it.live[at].attempt;
    // Behind what runs before this one used for the same attempt.
    attempt.tokens += tokens;
    attempt.cost_micros += cost;
    end_attempt(attempt, record, now);
    nodes::update_attempt(tx, attempt).await
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
            text_is_cut: false,
            files: lies.files.clone(),
            left: lies.left.clone(),
            outside: lies.outside.clone(),
            stopped,
            // Nobody knows.
            began: true,
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
    let (text, text_is_cut) = last_words(run);
    let family = run.result.as_ref().and_then(|result| result["errorFamily"].as_str());
    Ended {
        outcome,
        error: run.error.clone(),
        error_code: run.error_code.clone(),
        error_family: family.map(str::to_owned),
        text,
        text_is_cut,
        files: lies.files.clone(),
        left: lies.left.clone(),
        outside: lies.outside.clone(),
        stopped,
        began: run.started_at.is_some(),
    }
}

/// What an agent said last; of a command that only prints, all that it printed, or the end of it. True: it printed more.
fn last_words(run: &Run) -> (String, bool) {
    let result = run.result.as_ref().unwrap_or(&Json::Null);
    let said = |key: &str| result[key].as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    if let Some(text) = said("result") {
        return (text, false);
    }
    let is_cut = result["stdoutIsCut"].as_bool() == Some(true);
    let summary = said("summary");
    let printed = run.stdout_excerpt.clone().filter(|text| !text.trim().is_empty());
    match (summary, printed) {
        // A command's last line is the end of what it printed; an agent's words are not in its output as they are.
        (Some(summary), Some(printed)) if printed.trim_end().ends_with(summary.trim()) => (printed, is_cut),
        (Some(summary), _) => (summary, false),
        (None, Some(printed)) => (printed, is_cut),
        (None, None) => (String::new(), false),
    }
}

/// Writes what a node came to, and tells it.
async fn settle_node(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    id: &str,
    judged: &Judged,
    (attempt, agent_run): (i64, Option<RunId>),
    now: Moment,
) -> Result<(), StoreError> {
    let Some(row) = it.node(id) else { return Ok(()) };
    row.state = judged.state;
    row.attempts = i64::from(judged.tried.attempts);
    row.repairs = i64::from(judged.tried.repairs);
    row.lost = i64::from(judged.tried.lost);
    row.retry_at = judged.retry_at;
    row.reason = judged.reason.clone();
    row.feedback = feedback::after(row.feedback.as_deref(), judged);
    if !judged.state.is_final() {
        row.since = judged.tried.since;
    }
    let asks = judged.state == NodeState::AwaitingApproval;
    let keeps = judged.state.is_final() || asks || judged.class == Some(FailureClass::ContractMiss);
    row.output = keeps.then(|| serde_json::to_value(&judged.output).unwrap_or_default());
    row.finished_at = judged.state.is_final().then_some(now);
    nodes::update(tx, row).await?;
    let event = match (judged.state, judged.class) {
        (NodeState::Completed, _) => "node_completed",
        (NodeState::Skipped, _) => "node_skipped_no_work",
        (NodeState::Blocked, _) => "node_blocked",
        (NodeState::Failed, _) => "node_failed",
        (NodeState::AwaitingApproval, _) => "node_asks",
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
            "nodeId": id, "reason": judged.reason, "failedAt": now, "failureClass": judged.class,
            "attempt": attempt, "runId": agent_run,
        }));
    }
    let note = Note::node(event, id).because(judged.reason.clone()).with(metadata);
    telling::tell(tx, &mut it.run, note, now).await
}

/// A reviewer sends the work back, or has done so often enough.
async fn send_back(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    node: &Node,
    judged: &Judged,
    now: Moment,
) -> Result<(), StoreError> {
    let reworks = it.node(&node.id).map_or(0, |row| row.reworks);
    let definition = it.definition.clone();
    let graph = Graph::of(&definition);
    let words = judged.reason.clone().unwrap_or_else(|| judged.output.text.clone());
    let mut reset = match reject(&graph, node, u32::try_from(reworks).unwrap_or(u32::MAX), &words) {
        Rejected::Again(reset) => reset,
        Rejected::Enough(reason) => {
            let attempt = it.node(&node.id).map_or(0, |row| row.attempt);
            return block(tx, it, &node.id, (reason, None, attempt), now).await;
        }
    };
    let mut done = Vec::new();
    for row in it.nodes.iter().filter(|row| reset.nodes.contains(&row.node_id)) {
        let Some(of) = definition.node(&row.node_id) else { continue };
        match kept(of, row.state, row.output.is_some()) {
            Kept::No => {}
            Kept::AsItIs => done.push((row.node_id.clone(), None)),
            Kept::Blocked => done.push((row.node_id.clone(), Some(row.attempt))),
        }
    }
    reset.nodes.retain(|id| done.iter().all(|(kept, _)| kept != id));
    // What is under way is judged when it has ended (`end_uncounted`).
    let is_cut_off =
        |it: &Attempt| it.counts && it.state != AttemptState::Ended && reset.nodes.contains(&it.node_id);
    for under in it.live.iter_mut().filter(|under| is_cut_off(&under.attempt)) {
        under.attempt.stopped = Some(BY_REVIEWER.to_owned());
    }
    it.reset(tx, &reset, Some(&words), now).await?;
    for (id, attempt) in done {
        if let Some(attempt) = attempt {
            block(tx, it, &id, (done_already(&words), None, attempt), now).await?;
        }
    }
    if let Some(row) = it.node(&node.id) {
        row.reworks = reworks + 1;
        nodes::update(tx, row).await?;
    }
    let note = Note::node("node_approval_rollback", &node.id)
        .because(Some(words))
        .with(json!({ "targets": reset.targets, "nodes": reset.nodes }));
    telling::tell(tx, &mut it.run, note, now).await
}

/// A node fails without an attempt of an agent.
pub(super) async fn fail_node(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    node: &str,
    (class, words): (FailureClass, String),
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
