//! What people do to runs: pause, resume, cancel, and make nodes again.

use domain::automation::definition::Limits;
use domain::automation::operation::{Lost, Nothing, Operation, allowed, reset};
use domain::automation::repair::patched;
use domain::automation::transition::{StopAt, Stopping};
use domain::automation::{AutomationRunStatus, Guardrail, Problem, StopKind};
use domain::ids::AutomationRunId;
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::Tx;
use store::automations::runs::AutomationRun;
use store::automations::{nodes, runs};

use super::definitions::{meant, problems};
use super::draws::Draws;
use super::going_on::{requeue, stops_at_once};
use super::launch::invalid;
use super::loaded::{Loaded, Unloadable};
use super::stopping::{self, Order};
use super::telling::{self, Note};
use super::{gates, questions, unreadable};
use crate::activity::Author;
use crate::{Engine, EngineError};

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub operation: Operation,
    /// Which node, for those that are about one.
    pub node: Option<String>,
    pub reason: Option<String>,
    /// For a pause: what is under way may end by itself.
    pub drain: bool,
    /// For a resume: the run's limits from here on.
    pub limits: Option<Limits>,
    /// For a repair: fields of the node that are to be other ones in this run.
    pub patch: Option<Json>,
}

impl Asked {
    pub fn new(operation: Operation) -> Asked {
        Asked { operation, node: None, reason: None, drain: false, limits: None, patch: None }
    }
}

/// What an operation would make again.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub run: AutomationRun,
    pub operation: Operation,
    pub nodes: Vec<Lost>,
}

impl Engine {
    /// Does something to a run.
    pub async fn operate(
        &self,
        id: &AutomationRunId,
        asked: Asked,
        by: &Author,
    ) -> Result<AutomationRun, EngineError> {
        self.inner.refuse_when_closing()?;
        let now = self.now();
        let context = (id.clone(), asked, by.clone(), Draws::new(self.inner.dice.bytes()));
        let operated = self.inner.write_unless(context, move |tx, (id, asked, by, mut draws)| {
            Box::pin(async move { operate(tx, &id, &asked, &by, &mut draws, now).await })
        });
        let run = operated.await?;
        self.inner.automations.ring();
        self.inner.feed.ring();
        Ok(run)
    }

    /// Says what an operation would make again, and does nothing. One that makes nothing again is refused.
    pub async fn preview_operation(
        &self,
        id: &AutomationRunId,
        operation: Operation,
        node: Option<String>,
    ) -> Result<Preview, EngineError> {
        if matches!(operation, Operation::Pause | Operation::Resume | Operation::Cancel) {
            let problem =
                Problem::new("operation", "makes nothing again", "recover, repair, retry or continue");
            return Err(invalid(vec![problem]));
        }
        let context = (id.clone(), node);
        let loaded = self.inner.read(context, move |tx, (id, node)| {
            Box::pin(async move {
                let loaded = Loaded::load(tx, &id, false).await?;
                Ok(loaded.map(|it| {
                    let reset = reset(&it.definition, &it.node_views(), operation, node.as_deref());
                    (it, reset)
                }))
            })
        });
        let (it, reset) = loaded.await?.map_err(unloadable)?;
        let reset = reset.map_err(|nothing| refused(&nothing, &it))?;
        let nodes = it.nodes.iter().filter(|node| reset.nodes.contains(&node.node_id));
        let lost = nodes.map(|node| Lost {
            node_id: node.node_id.clone(),
            state: node.state,
            has_output: node.output.is_some(),
            is_target: reset.targets.contains(&node.node_id),
        });
        Ok(Preview { nodes: lost.collect(), operation, run: it.run })
    }
}

pub(super) fn unloadable(why: Unloadable) -> EngineError {
    match why {
        Unloadable::Gone => EngineError::NotFound("Automation run"),
        Unloadable::Unreadable(_, why) => EngineError::refused(Kind::Unprocessable, why),
    }
}

fn refused(nothing: &Nothing, it: &Loaded) -> EngineError {
    let of_broken = |words: &str| format!("No node failed and none is blocked; {words}");
    let (kind, words) = match nothing {
        Nothing::NoSuchNode => (Kind::NotFound, "There is no such node".to_owned()),
        Nothing::NotBroken if it.run.status == AutomationRunStatus::Paused => {
            (Kind::Conflict, of_broken("resume it, or retry a node"))
        }
        Nothing::NotBroken => (Kind::Conflict, of_broken("retry a node")),
        Nothing::NotBlocked => {
            (Kind::Conflict, "Only a blocked node is continued; retry it instead".to_owned())
        }
        Nothing::Behind(other) => {
            let words =
                format!("It cannot begin before {other}, which did not succeed; retry that, or recover");
            (Kind::Conflict, words)
        }
    };
    EngineError::refused_with(kind, words, state(it))
}

/// What the run is, for whoever was refused.
fn state(it: &Loaded) -> Json {
    let cancels = it.run.stop_to == Some(AutomationRunStatus::Cancelled);
    json!({ "status": it.run.status, "allowedActions": allowed(it.run.status, it.is_broken(), cancels) })
}

async fn operate(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    asked: &Asked,
    by: &Author,
    draws: &mut Draws,
    now: Moment,
) -> Result<AutomationRun, EngineError> {
    if !by.is_board() {
        return Err(domain::issue::refusal::Refusal::BoardRequired.into());
    }
    let mut it = match Loaded::load(tx, id, true).await? {
        Ok(it) => it,
        Err(Unloadable::Unreadable(run, why)) if asked.operation == Operation::Cancel => {
            // It ends, as what it is; what is left of its work the next look has stopped, or finds over.
            return end_unreadable(tx, *run, &why, by, now).await;
        }
        Err(why) => return Err(unloadable(why)),
    };
    let cancels = it.run.stop_to == Some(AutomationRunStatus::Cancelled);
    if asked.operation == Operation::Cancel && (it.run.status.is_final() || cancels) {
        // Whoever asks again gets what there is.
        return Ok(it.run);
    }
    let is_draining = it.run.status == AutomationRunStatus::Pausing && it.run.stop_drains;
    let hastens = asked.operation == Operation::Pause && is_draining && !asked.drain;
    if hastens {
        // What was to end by itself is stopped after all.
        it.run.stop_drains = false;
        it.run.look_at = Some(now);
        let note = Note::run("run_pause_requested").because(asked.reason.clone());
        telling::tell(tx, &mut it.run, note, now).await?;
    } else if !allowed(it.run.status, it.is_broken(), cancels).contains(&asked.operation) {
        let words = match asked.operation {
            Operation::Recover if !it.is_broken() => return Err(refused(&Nothing::NotBroken, &it)),
            Operation::Continue if !it.is_broken() => return Err(refused(&Nothing::NotBlocked, &it)),
            operation => format!("A run that is {} cannot take: {operation}", it.run.status),
        };
        return Err(EngineError::refused_with(Kind::Conflict, words, state(&it)));
    }
    match asked.operation {
        Operation::Pause if hastens => {}
        Operation::Pause => pause(tx, &mut it, asked, now).await?,
        Operation::Resume => resume(tx, &mut it, asked, now).await?,
        Operation::Cancel => {
            let reason = asked.reason.clone().unwrap_or_else(|| "cancelled by a person".to_owned());
            gates::cancel(tx, &mut it, StopKind::OperatorStopped, &reason, draws, now).await?;
        }
        Operation::Recover | Operation::Repair | Operation::Retry | Operation::Continue => {
            again(tx, &mut it, asked, now).await?;
        }
    }
    let details = json!({
        "operation": asked.operation, "nodeId": asked.node, "reason": asked.reason, "patch": asked.patch,
        "limits": asked.limits,
    });
    let action = format!("automation.run_{}", asked.operation);
    telling::audit(tx, &it.run, &by.actor(), &action, details, now).await?;
    it.run.updated_at = now;
    runs::update(tx, &it.run).await?;
    Ok(it.run)
}

async fn end_unreadable(
    tx: &mut Tx<'_>,
    run: AutomationRun,
    why: &str,
    by: &Author,
    now: Moment,
) -> Result<AutomationRun, EngineError> {
    if run.status.is_final() || run.stop_to == Some(AutomationRunStatus::Cancelled) {
        // Whoever asks again gets what there is.
        return Ok(run);
    }
    let details = json!({ "operation": "cancel", "unreadable": why });
    telling::audit(tx, &run, &by.actor(), "automation.run_cancel", details, now).await?;
    if run.status.is_at_work() {
        // Its next look blocks it and has its work stopped.
        let mut run = run;
        run.stop_to = Some(AutomationRunStatus::Cancelled);
        run.stop_asked_at = run.stop_asked_at.or(Some(now));
        run.look_at = Some(now);
        run.updated_at = now;
        let note = Note::run("run_cancel_requested").because(Some("cancelled by a person".to_owned()));
        telling::tell(tx, &mut run, note, now).await?;
        runs::update(tx, &run).await?;
        return Ok(run);
    }
    let id = run.id.clone();
    unreadable::block(tx, run, why, now).await?;
    runs::get(tx, &id).await?.ok_or(EngineError::NotFound("Automation run"))
}

async fn pause(tx: &mut Tx<'_>, it: &mut Loaded, asked: &Asked, now: Moment) -> Result<(), EngineError> {
    let run = &mut it.run;
    let order = Order::new(StopAt::Paused, StopKind::OperatorStopped, asked.reason.clone());
    let Ok(stopping) = stopping::tell(run, Order { drains: asked.drain, ..order }, now) else {
        return Ok(());
    };
    run.resumes = 0;
    let event = match stopping {
        Stopping::First(_) => "run_pause_requested",
        Stopping::Done(_) => "run_paused",
    };
    Ok(telling::tell(tx, run, Note::run(event).because(asked.reason.clone()), now).await?)
}

async fn resume(tx: &mut Tx<'_>, it: &mut Loaded, asked: &Asked, now: Moment) -> Result<(), EngineError> {
    if let Some(limits) = asked.limits {
        // What was raised before stays raised.
        it.run.limits = Some(json!(limits.or(it.raised_limits())));
    }
    let is_of_limit = it.run.guardrail == Some(Guardrail::RunLimit);
    if let Some(kind) = stops_at_once(it, now).filter(|_| is_of_limit || asked.limits.is_some()) {
        let field = kind.field();
        let words =
            format!("The run would stop at once: it has reached {field}; resume it with a higher one");
        let mut details = state(it);
        details["limit"] = json!(field);
        return Err(EngineError::refused_with(Kind::Conflict, words, details));
    }
    it.run.resumes = 0;
    requeue(&mut it.run, now);
    it.renew_patience(tx).await?;
    Ok(telling::tell(tx, &mut it.run, Note::run("run_resumed").because(asked.reason.clone()), now).await?)
}

/// Makes nodes again.
async fn again(tx: &mut Tx<'_>, it: &mut Loaded, asked: &Asked, now: Moment) -> Result<(), EngineError> {
    if asked.operation == Operation::Repair {
        repair(tx, it, asked).await?;
    }
    let needs_node = asked.operation != Operation::Recover;
    if needs_node && asked.node.is_none() {
        let problem = Problem::new("nodeId", "is missing", "name the node");
        return Err(invalid(vec![problem]));
    }
    let reset = reset(&it.definition, &it.node_views(), asked.operation, asked.node.as_deref());
    let reset = reset.map_err(|nothing| refused(&nothing, it))?;
    it.reset(tx, &reset, asked.reason.as_deref(), now).await?;
    if asked.operation == Operation::Repair {
        questions::put_anew(tx, it, now).await?;
    }
    // A person has looked: reviewers may send this work back as often as at first.
    for node in it.nodes.iter_mut().filter(|node| node.reworks > 0 && reset.nodes.contains(&node.node_id)) {
        node.reworks = 0;
        nodes::update(tx, node).await?;
    }
    let (was, queued_at) = (it.run.status, it.run.queued_at);
    requeue(&mut it.run, now);
    if was == AutomationRunStatus::Queued {
        // It keeps its place in the queue.
        it.run.queued_at = queued_at;
    }
    it.run.resumes = 0;
    it.run.last_failure = None;
    let event = match (asked.operation, was) {
        (Operation::Repair, _) => "run_step_repaired",
        (Operation::Continue, _) => "run_task_continued",
        (Operation::Recover, AutomationRunStatus::Paused) => "run_recovered_from_pause",
        (Operation::Recover, _) => "run_recovered",
        (_, _) => "run_task_retried",
    };
    let note = Note::run(event)
        .because(asked.reason.clone())
        .with(json!({ "nodes": reset.nodes, "targets": reset.targets, "from": was }));
    Ok(telling::tell(tx, &mut it.run, note, now).await?)
}

/// Changes a node of this run alone: the automation stays what it is.
async fn repair(tx: &mut Tx<'_>, it: &mut Loaded, asked: &Asked) -> Result<(), EngineError> {
    let id = asked.node.as_deref().unwrap_or_default();
    let at = it.definition.nodes.iter().position(|node| node.id == id);
    let at = at.ok_or_else(|| refused(&Nothing::NoSuchNode, it))?;
    let Some(Json::Object(patch)) = &asked.patch else {
        let hint = "name the fields of the node that are to be other ones, or retry it as it is";
        return Err(invalid(vec![Problem::new("patch", "is missing", hint)]));
    };
    let (changed, data) = patched(&it.definition, at, patch).map_err(|problem| invalid(vec![problem]))?;
    let kept = (&it.run.company_id, it.run.agent_ids.as_ref());
    // What was wrong with it before is another repair's.
    let before = problems(tx, kept.0, &it.definition, kept.1).await?;
    let mut found = problems(tx, kept.0, &changed, kept.1).await?;
    let of_node = format!("nodes[{at}]");
    found.retain(|problem| problem.path.starts_with(&of_node) || !before.contains(problem));
    if !found.is_empty() {
        return Err(invalid(found));
    }
    it.run.agent_ids = Some(meant(tx, kept, &changed).await?);
    it.run.own_definition = Some(data);
    it.definition = changed;
    Ok(())
}
