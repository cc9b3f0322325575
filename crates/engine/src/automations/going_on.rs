//! Runs that go on after they stopped: by themselves, when what stopped them is over, and how a run takes its place in the
//! queue again.

use std::collections::BTreeMap;

use domain::automation::advance::{LimitKind, limit_reached};
use domain::automation::sweep::{self, PausedRun};
use domain::automation::{AutomationRunStatus, Guardrail, StopKind};
use domain::ids::AgentId;
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::json;
use store::agents::Agent;
use store::automations::runs::AutomationRun;
use store::{StoreError, Tx};

use super::LOOK_AGAIN;
use super::loaded::Loaded;
use super::telling::{self, Note};
use crate::budgets;

/// A paused run may go on without anybody asking for it.
fn goes_on_by_itself(run: &AutomationRun, now: Moment) -> bool {
    match run.stop_kind {
        Some(StopKind::StaleReaped) => {
            let resumes = u32::try_from(run.resumes).unwrap_or(u32::MAX);
            let stopped_at = run.stopped_at.unwrap_or(now);
            resumes < sweep::MOST_RESUMES && now <= stopped_at.plus(sweep::RESUME_WINDOW)
        }
        Some(StopKind::GuardrailStopped) => run.guardrail == Some(Guardrail::SpendPause),
        _ => false,
    }
}

/// When a run that has stopped is looked at if nothing happens to it: rings come first.
pub(super) fn look_at(run: &AutomationRun, now: Moment) -> Option<Moment> {
    let waits = run.status == AutomationRunStatus::Paused && goes_on_by_itself(run, now);
    waits.then(|| now.plus(LOOK_AGAIN))
}

/// A paused run goes on by itself, when what stopped it is over (spec/automations.md 2.4). True: it waits for a place.
pub(super) async fn resume(tx: &mut Tx<'_>, it: &mut Loaded, now: Moment) -> Result<bool, StoreError> {
    let is_left =
        it.run.stop_kind == Some(StopKind::StaleReaped) && it.definition.policy.resume_stale == Some(false);
    it.run.look_at = look_at(&it.run, now).filter(|_| !is_left);
    if it.run.look_at.is_none() {
        return Ok(false);
    }
    let agents = it.agents(tx).await?;
    let paused = PausedRun {
        status: it.run.status,
        stop_kind: it.run.stop_kind,
        guardrail: it.run.guardrail,
        stopped_at: it.run.stopped_at.unwrap_or(now),
        resumes: u32::try_from(it.run.resumes).unwrap_or(u32::MAX),
        resume_stale: it.definition.policy.resume_stale.unwrap_or(true),
        has_work: it.nodes.iter().any(|node| !node.state.is_final()),
        held_agents: held_by_budget(tx, &agents, now).await?.len(),
    };
    if !sweep::resumes(&paused, now) {
        return Ok(false);
    }
    let was = it.run.stop_kind;
    it.run.resumes += i64::from(was == Some(StopKind::StaleReaped));
    requeue(&mut it.run, now);
    it.renew_patience(tx).await?;
    let action = match was {
        Some(StopKind::StaleReaped) => "automation.internal_sweep.auto_resumed_stale_reaped_run",
        _ => "automation.internal_sweep.auto_resumed_guardrail_stopped_run",
    };
    telling::tell(tx, &mut it.run, Note::run("run_auto_resumed").with(json!({ "stopKind": was })), now)
        .await?;
    let by = Actor::system("automation");
    telling::audit(tx, &it.run, &by, action, json!({ "resumes": it.run.resumes }), now).await?;
    Ok(true)
}

/// The run waits for a place again.
pub(super) fn requeue(run: &mut AutomationRun, now: Moment) {
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

/// The agents that may not take new work now, whatever budget or pause it is that closes the door to them, each with the
/// reason: a run begins, and goes on, only when nothing holds it again at once.
pub(super) async fn held_by_budget(
    tx: &mut Tx<'_>,
    agents: &BTreeMap<String, Option<Agent>>,
    now: Moment,
) -> Result<Vec<(AgentId, String)>, StoreError> {
    let mut held = Vec::new();
    for agent in agents.values().flatten() {
        if let Some(reason) = spend_pause(tx, agent, now).await? {
            held.push((agent.id.clone(), reason));
        }
    }
    Ok(held)
}

/// Why an agent may not spend now: its own budget, or that of its company.
pub(super) async fn spend_pause(
    tx: &mut Tx<'_>,
    agent: &Agent,
    now: Moment,
) -> Result<Option<String>, StoreError> {
    let block = budgets::block(tx, &agent.company_id, &agent.id, None, now).await?;
    Ok(block.map(|block| format!("a budget keeps {} from work: {}", agent.name, block.reason)))
}

/// Whether a run that is to go on would stop again at once; what would have to be raised.
pub(super) fn stops_at_once(it: &Loaded, now: Moment) -> Option<LimitKind> {
    limit_reached(&it.limits(), &it.spent(now))
}
