//! Pausing a scope for its budget, and letting it work again: only what a budget paused does a budget resume.
//!
//! The caller has locked the scope.

use domain::agent::{AgentStatus, HeartbeatPolicy, PauseReason};
use domain::budget::{Scope, ScopeKind, ScopeState};
use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use domain::schedule;
use store::{StoreError, Tx, agents, pauses, projects, runs};

use crate::signals;

/// Pauses a scope; what a person paused, or what does not work anyway, stays as it is.
pub(super) async fn pause(tx: &mut Tx<'_>, scope: &Scope, now: Moment) -> Result<(), StoreError> {
    match scope.kind {
        ScopeKind::Company => {
            pauses::pause_company(tx, &CompanyId(scope.id.clone()), PauseReason::Budget, now).await?;
        }
        ScopeKind::Project => {
            let project = projects::lock(tx, &scope.id).await?;
            if project.is_some_and(|project| project.pause_reason.is_none()) {
                projects::set_pause(tx, &scope.id, Some(PauseReason::Budget), now).await?;
            }
        }
        ScopeKind::Agent => {
            let Some(mut agent) = agents::lock(tx, &AgentId(scope.id.clone())).await? else { return Ok(()) };
            let state = ScopeState::Agent { status: agent.status, reason: agent.pause_reason };
            if state.takes_budget_pause() {
                agent.status = AgentStatus::Paused;
                agent.pause_reason = Some(PauseReason::Budget);
                agent.paused_at = Some(now);
                agent.next_timer_at = None;
                change(tx, agent, now).await?;
            }
        }
    }
    Ok(())
}

/// Lets a scope work again that a budget paused.
pub(super) async fn resume(tx: &mut Tx<'_>, scope: &Scope, now: Moment) -> Result<(), StoreError> {
    match scope.kind {
        ScopeKind::Company => {
            pauses::resume_company(tx, &CompanyId(scope.id.clone()), PauseReason::Budget, now).await?;
        }
        ScopeKind::Project => {
            let project = projects::lock(tx, &scope.id).await?;
            if project.is_some_and(|project| project.pause_reason == Some(PauseReason::Budget)) {
                projects::set_pause(tx, &scope.id, None, now).await?;
            }
        }
        ScopeKind::Agent => {
            let Some(mut agent) = agents::lock(tx, &AgentId(scope.id.clone())).await? else { return Ok(()) };
            let state = ScopeState::Agent { status: agent.status, reason: agent.pause_reason };
            if state.is_paused_for_budget() {
                let running = runs::count_running(tx, &agent.id).await?;
                agent.status = if running > 0 { AgentStatus::Running } else { AgentStatus::Idle };
                agent.pause_reason = None;
                agent.paused_at = None;
                let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
                agent.next_timer_at = schedule::next_due(agent.status, &policy, now);
                change(tx, agent, now).await?;
            }
        }
    }
    Ok(())
}

async fn change(tx: &mut Tx<'_>, mut agent: store::agents::Agent, now: Moment) -> Result<(), StoreError> {
    agent.updated_at = now;
    agents::update(tx, &agent).await?;
    let owner = (&agent.company_id, &agent.id);
    signals::agent_status(tx, owner, agent.status.as_str(), None, agent.last_heartbeat_at, now).await
}
