//! What the store keeps of budgets, as the rules see it: policies with their counters, incidents, and scopes.

use domain::agent::AgentStatus;
use domain::budget::{Account, CompanyStatus, Incident, Scope, ScopeKind, ScopeState, WindowKind};
use domain::ids::{AgentId, CompanyId, PolicyId};
use domain::moment::Moment;
use store::budgets::policies::{self, Standing};
use store::budgets::{counters, incidents};
use store::{StoreError, Tx, agents, pauses, projects};

/// More policies than this on one scope, or incidents of one window, are not made: two metrics, two windows each.
const MOST: i64 = 64;

/// A policy with its window of now; a window in which nothing was counted is empty.
pub(super) fn account(standing: &Standing, now: Moment) -> Account {
    standing.account(standing.policy.window_kind.at(now))
}

/// All accounts of an agent's scopes, in their windows of now.
pub(super) async fn concerning(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
    project: Option<&str>,
    now: Moment,
) -> Result<Vec<Account>, StoreError> {
    let month = WindowKind::CalendarMonthUtc.at(now).start;
    let standings = policies::concerning(tx, company, agent, project, month).await?;
    Ok(standings.iter().map(|standing| account(standing, now)).collect())
}

/// All accounts of one scope.
pub(super) async fn of_scope(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    scope: &Scope,
    now: Moment,
) -> Result<Vec<Account>, StoreError> {
    // The scope stands in for the agent: ids are unique among all kinds.
    let named = AgentId(scope.id.clone());
    let mut accounts = concerning(tx, company, &named, Some(&scope.id), now).await?;
    accounts.retain(|account| account.policy.scope == *scope);
    Ok(accounts)
}

/// One policy in its window of now, its counter locked.
pub(super) async fn lock(tx: &mut Tx<'_>, id: &PolicyId, now: Moment) -> Result<Option<Account>, StoreError> {
    let Some(stored) = policies::lock(tx, id).await? else { return Ok(None) };
    let counter = counters::lock(tx, id, stored.window_kind.at(now).start).await?;
    let standing = Standing { policy: stored, counter };
    Ok(Some(account(&standing, now)))
}

/// The incidents of a policy in the window of an account.
pub(super) async fn incidents_of(tx: &mut Tx<'_>, account: &Account) -> Result<Vec<Incident>, StoreError> {
    let start = account.counter.window.start;
    let stored = incidents::of_window(tx, &account.policy.id, start, MOST).await?;
    Ok(stored.iter().map(incidents::Incident::rule).collect())
}

/// The incidents of a policy that are open, of all its windows.
pub(super) async fn open_incidents(tx: &mut Tx<'_>, id: &PolicyId) -> Result<Vec<Incident>, StoreError> {
    let stored = incidents::open_of_policy(tx, id, MOST).await?;
    Ok(stored.iter().map(incidents::Incident::rule).collect())
}

/// A scope as it is found: its name, its company, and whether it works.
pub(super) struct Found {
    pub name: String,
    pub company: CompanyId,
    pub state: ScopeState,
}

/// Looks a scope up, and locks it where others stop and resume it too; none when there is none.
pub(super) async fn find_scope(
    tx: &mut Tx<'_>,
    scope: &Scope,
    lock: bool,
) -> Result<Option<Found>, StoreError> {
    Ok(match scope.kind {
        ScopeKind::Company => {
            let id = CompanyId(scope.id.clone());
            let (Some(company), Some(pause)) =
                (store::companies::get(tx, &id).await?, pauses::of_company(tx, &id).await?)
            else {
                return Ok(None);
            };
            let state =
                ScopeState::Company { status: company_status(&pause.status)?, reason: pause.pause_reason };
            Some(Found { name: company.name, company: id, state })
        }
        ScopeKind::Agent => {
            let id = AgentId(scope.id.clone());
            let agent = if lock { agents::lock(tx, &id).await? } else { agents::get(tx, &id).await? };
            agent.map(|agent| Found {
                state: ScopeState::Agent { status: agent.status, reason: agent.pause_reason },
                name: agent.name,
                company: agent.company_id,
            })
        }
        ScopeKind::Project => {
            let project = if lock {
                projects::lock(tx, &scope.id).await?
            } else {
                projects::get(tx, &scope.id).await?
            };
            project.map(|project| Found {
                state: ScopeState::Project { reason: project.pause_reason },
                name: project.name,
                company: project.company_id,
            })
        }
    })
}

pub(super) fn company_status(text: &str) -> Result<CompanyStatus, StoreError> {
    // A newer program wrote it.
    let reason = || format!("`{text}` is not a known word");
    CompanyStatus::parse(text).ok_or_else(|| StoreError::Row {
        statement: "company status",
        column: 0,
        reason: reason(),
    })
}

/// The status of an agent as the claim sees it: one that a budget paused is held for the budget, not for the pause.
pub(crate) fn status_at_claim(agent: &store::agents::Agent) -> AgentStatus {
    let state = ScopeState::Agent { status: agent.status, reason: agent.pause_reason };
    if state.is_paused_for_budget() { AgentStatus::Idle } else { agent.status }
}

/// A budget of its own stops a project.
pub(crate) async fn limits_project(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    project: &str,
    now: Moment,
) -> Result<bool, StoreError> {
    let scope = Scope { kind: ScopeKind::Project, id: project.to_owned() };
    let accounts = of_scope(tx, company, &scope, now).await?;
    Ok(accounts.iter().any(|account| account.policy.stop_limit().is_some()))
}
