//! Waking the agents of attempts that were ordered, each in a transaction of its own: the wake begins and the attempt is
//! under way in the same commit, so that none is lost and none is woken twice.

use std::sync::Arc;
use std::time::Duration;

use domain::agent::AgentStatus;
use domain::automation::definition::Node;
use domain::automation::feedback::has_answer;
use domain::automation::{AttemptState, FailureClass};
use domain::hold::HeldReason;
use domain::moment::Moment;
use domain::wake::{Actor, Refusal, Source, TriggerDetail, WakeRequest};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::automations::nodes::{self, Attempt};
use store::automations::runs;
use store::{StoreError, Tx};

use super::AttemptKey;
use super::endings::{NO_SUCH_NODE, fail_node};
use super::going_on::spend_pause;
use super::loaded::{Loaded, Unloadable, end_attempt};
use super::stopping::{self, Order};
use super::telling::{self, Note};
use crate::intake::{self, Admission, Fate};
use crate::wakes::Admitted;
use crate::{Inner, sweeps};

const BATCH: i64 = 128;
/// How long an agent that takes no work is left alone, unless somebody lifts what keeps it.
const PUT_OFF: Duration = Duration::from_secs(30);

pub(super) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !sweeps::rest(&engine, "the steps of automations", &engine.automations.dispatch, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let mut failed = false;
    loop {
        let now = engine.clock.now();
        let due = engine
            .read((), move |tx, ()| Box::pin(async move { nodes::ordered(tx, now, BATCH).await }))
            .await?;
        if due.is_empty() || engine.closing.is_cancelled() {
            break;
        }
        for attempt in &due {
            let run = attempt.run_id.clone();
            let woken = engine.at_door(attempt.clone(), |tx, attempt, admission| {
                Box::pin(async move { deliver(tx, attempt, admission).await })
            });
            if let Err(error) = woken.await {
                // One step's trouble is not another's: it is said, and comes again.
                tracing::warn!(%run, node = %attempt.node_id, %error, "cannot wake the agent of a step");
                failed = true;
            }
            engine.automations.tend.notify_one();
            engine.automations.status.notify_one();
        }
        if failed {
            return Ok(engine.settings.period);
        }
    }
    let next = engine.read((), |tx, ()| Box::pin(nodes::next_ordered(tx))).await?;
    let wait = next.map_or(sweeps::seldom(engine), |at| at.since(engine.clock.now()));
    Ok(wait.clamp(Duration::from_millis(5), sweeps::seldom(engine)))
}

/// Wakes the agent of an attempt. Agent first, then the automation run, as everywhere (D15).
async fn deliver(
    tx: &mut Tx<'_>,
    ordered: Attempt,
    admission: Admission,
) -> Result<Option<Admitted>, StoreError> {
    let now = admission.now;
    let agent = intake::lock_agent(tx, &ordered.agent_id).await?;
    let loaded = Loaded::load(tx, &ordered.run_id, true).await?;
    let attempt = nodes::lock_attempt(tx, &ordered.run_id, &ordered.node_id, ordered.attempt).await?;
    let is_due = |it: &Attempt| it.state == AttemptState::Ordered && it.deliver_at <= now;
    let Some(mut attempt) = attempt.filter(is_due) else { return Ok(None) };
    // From here on the attempt is delivered, ended or put off: one that stays as it is would be due for ever.
    let mut it = match loaded {
        Ok(it) => it,
        Err(Unloadable::Gone) => {
            drop_it(tx, attempt, "its run is gone".to_owned(), now).await?;
            return Ok(None);
        }
        Err(Unloadable::Unreadable(run, why)) => {
            drop_it(tx, attempt, format!("the definition of its run cannot be read: {why}"), now).await?;
            // The look says so of the run.
            runs::look_by(tx, &run.id, now).await?;
            return Ok(None);
        }
    };
    if it.run.status.is_final() || !attempt.counts {
        let why = match attempt.counts {
            true => format!("its run is {}", it.run.status),
            false => "its node is made again".to_owned(),
        };
        drop_it(tx, attempt, why, now).await?;
        return Ok(None);
    }
    if !it.run.status.is_at_work() || it.run.stop_to.is_some() {
        // The look that stops the run takes it back.
        put_off(tx, &mut attempt, None, now).await?;
        runs::look_by(tx, &it.run.id, now).await?;
        return Ok(None);
    }
    let Some(node) = it.definition.node(&attempt.node_id).cloned() else {
        let failure = (FailureClass::ToolResolution, NO_SUCH_NODE.to_owned());
        refuse(tx, &mut it, attempt, failure, now).await?;
        return Ok(None);
    };
    let Some(agent) = agent.filter(|agent| agent.status != AgentStatus::Terminated) else {
        let words = "its agent is there no more".to_owned();
        refuse(tx, &mut it, attempt, (FailureClass::AgentGone, words), now).await?;
        return Ok(None);
    };
    if let Some(reason) = spend_pause(tx, &agent, now).await? {
        hold_spend(tx, &mut it, attempt, (&agent, reason), now).await?;
        return Ok(None);
    }
    if !agent.status.is_invokable() {
        put_off(tx, &mut attempt, Some(HeldReason::Paused), now).await?;
        return Ok(None);
    }
    let key = AttemptKey { run: it.run.id.clone(), node: node.id.clone(), attempt: attempt.attempt };
    let request = request(&it, &node, &attempt, &key);
    let fate = intake::admit(tx, &agent, &request, &admission).await?;
    match &fate {
        Fate::Queued { run, .. } | Fate::Merged { run } | Fate::Replayed { run: Some(run), .. } => {
            attempt.agent_run_id = Some(run.id.clone());
            attempt.state = AttemptState::Running;
            attempt.started_at = Some(now);
            attempt.held_reason = None;
            nodes::update_attempt(tx, &attempt).await?;
            // Its time limits begin with it.
            runs::look_by(tx, &it.run.id, now).await?;
        }
        Fate::Refused { refusal: Refusal::Budget(block) } => {
            let reason = block.reason.clone();
            hold_spend(tx, &mut it, attempt, (&agent, reason), now).await?;
        }
        Fate::Refused { refusal: Refusal::NotInvokable(_) } => {
            put_off(tx, &mut attempt, Some(HeldReason::Paused), now).await?;
        }
        Fate::Skipped { reason, .. } => {
            let words = format!("its agent takes no such work: {reason}");
            refuse(tx, &mut it, attempt, (FailureClass::ToolResolution, words), now).await?;
        }
        Fate::Deferred { .. } | Fate::Replayed { run: None, .. } | Fate::KeyReused { .. } => {
            put_off(tx, &mut attempt, None, now).await?;
        }
    }
    Ok(Some(Admitted { agent, fate }))
}

async fn put_off(
    tx: &mut Tx<'_>,
    attempt: &mut Attempt,
    why: Option<HeldReason>,
    now: Moment,
) -> Result<(), StoreError> {
    attempt.held_reason = why;
    attempt.deliver_at = now.plus(PUT_OFF);
    nodes::update_attempt(tx, attempt).await
}

/// The attempt will never be, and there is nobody to judge it.
async fn drop_it(
    tx: &mut Tx<'_>,
    mut attempt: Attempt,
    reason: String,
    now: Moment,
) -> Result<(), StoreError> {
    end_attempt(&mut attempt, json!({ "outcome": "withdrawn", "reason": reason }), now);
    nodes::update_attempt(tx, &attempt).await
}

/// The attempt will never be, and its node fails.
async fn refuse(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    mut attempt: Attempt,
    (class, words): (FailureClass, String),
    now: Moment,
) -> Result<(), StoreError> {
    end_attempt(&mut attempt, json!({ "outcome": "failed", "failureClass": class, "reason": words }), now);
    nodes::update_attempt(tx, &attempt).await?;
    let node = attempt.node_id.clone();
    fail_node(tx, it, &node, (class, words), attempt.attempt, now).await?;
    it.run.look_at = Some(now);
    it.run.updated_at = now;
    runs::update(tx, &it.run).await
}

/// A budget keeps the agent from work: the run is paused, and goes on when every agent of it may spend again.
async fn hold_spend(
    tx: &mut Tx<'_>,
    it: &mut Loaded,
    mut attempt: Attempt,
    (agent, reason): (&Agent, String),
    now: Moment,
) -> Result<(), StoreError> {
    put_off(tx, &mut attempt, Some(HeldReason::Budget), now).await?;
    let run = &mut it.run;
    if stopping::tell(run, Order::of_budget(reason.clone()), now).is_err() {
        return Ok(());
    }
    run.updated_at = now;
    let note = Note::run("run_paused_spend_cap_exceeded").because(Some(reason.clone()));
    telling::tell(tx, run, note.with(json!({ "agentId": agent.id })), now).await?;
    let by = Actor::system("automation");
    let details = json!({ "agentId": agent.id, "reason": reason });
    telling::audit(tx, run, &by, "automation.internal_sweep.spend_paused_run", details, now).await?;
    runs::update(tx, run).await
}

/// The wake of an attempt. Its key is the attempt's own: it joins no other wake and is never made twice.
fn request(it: &Loaded, node: &Node, attempt: &Attempt, key: &AttemptKey) -> WakeRequest {
    let task_key = key.task_key();
    let about = json!({
        "automationRunId": it.run.id, "automation": it.automation.name, "nodeId": node.id,
        "attempt": attempt.attempt,
    });
    let payload: Map<String, Json> = about.as_object().cloned().unwrap_or_default();
    let mut told = about;
    let row = it.nodes.iter().find(|row| row.node_id == node.id);
    let feedback = row.and_then(|row| row.feedback.clone());
    let asked = feedback.as_deref().is_some_and(|told| has_answer(told, &node.id));
    told["objective"] = json!(attempt.objective);
    told["feedback"] = json!(feedback);
    if asked {
        told["answered"] = json!(true);
    }
    told["inputs"] = it.run.inputs.clone();
    told["workspace"] = json!(it.run.root);
    told["output"] = json!(node.output);
    told["scope"] = json!(node.scope);
    told["kind"] = json!(node.kind);
    if node.repeatable == Some(false) {
        told["repeatable"] = json!(false);
    }
    let limits = it.limits();
    if limits.max_tokens.is_some() || limits.max_cost_cents.is_some() {
        told["limited"] = json!(true);
    }
    let context = Map::from_iter([
        ("taskKey".to_owned(), json!(task_key)),
        ("source".to_owned(), json!("automation")),
        ("wakeReason".to_owned(), json!("automation_node")),
        ("bugleAutomation".to_owned(), told),
    ]);
    WakeRequest {
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: Some("automation_node".to_owned()),
        payload,
        context,
        idempotency_key: Some(task_key),
        body_hash: String::new(),
        actor: Actor::system("automation"),
        carries_on: true,
    }
}
