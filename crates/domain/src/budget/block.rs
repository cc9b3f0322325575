//! Whether new work of an agent is refused because of a budget (spec/heartbeat.md 8.4).
//!
//! This is the door for wakes, continuations and the choice of owners. It asks what is spent and what is paused; whether
//! the next message of one more run can be paid is asked at the claim (`meter::reserve`).

use super::{Account, CompanyStatus, Scope, ScopeKind, ScopeState};
use crate::agent::{AgentStatus, PauseReason};
use crate::ids::{AgentId, CompanyId};

/// A company, as far as its money goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompanyView {
    pub id: CompanyId,
    pub name: String,
    pub status: CompanyStatus,
    pub reason: Option<PauseReason>,
}

/// An agent, as far as its money goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    pub id: AgentId,
    pub company: CompanyId,
    pub name: String,
    pub status: AgentStatus,
    pub reason: Option<PauseReason>,
}

/// A project, as far as its money goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectView {
    pub id: String,
    pub company: CompanyId,
    pub name: String,
    pub reason: Option<PauseReason>,
}

/// What the door looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockView<'a> {
    pub company: Option<CompanyView>,
    pub agent: Option<AgentView>,
    pub project: Option<ProjectView>,
    /// All accounts of the three, in their windows of now.
    pub accounts: &'a [Account],
}

/// Why nothing new may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub scope: Scope,
    pub scope_name: String,
    pub reason: &'static str,
}

/// What is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Agent,
    Company,
}

impl Missing {
    /// The text of the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Missing::Agent => "Agent not found",
            Missing::Company => "Company not found",
        }
    }
}

/// Asks, in order; the first that blocks is the answer. A project of another company does not count.
pub fn block(view: &BlockView<'_>) -> Result<Option<Block>, Missing> {
    let agent = view.agent.as_ref().ok_or(Missing::Agent)?;
    let company = view.company.as_ref().ok_or(Missing::Company)?;
    if agent.company != company.id {
        return Err(Missing::Agent);
    }
    let project = view.project.as_ref().filter(|project| project.company == company.id);
    Ok(of_company(view, company)
        .or_else(|| of_agent(view, agent))
        .or_else(|| project.and_then(|it| of_project(view, it))))
}

fn of_company(view: &BlockView<'_>, company: &CompanyView) -> Option<Block> {
    let state = ScopeState::Company { status: company.status, reason: company.reason };
    let scope = Scope { kind: ScopeKind::Company, id: company.id.0.clone() };
    let reason = if state.is_paused_for_budget() {
        "Company is paused because its budget hard-stop was reached"
    } else if state.is_paused() {
        "Company is paused"
    } else if is_exceeded(view, &scope) {
        "Company has reached its budget hard-stop"
    } else {
        return None;
    };
    Some(Block { scope, scope_name: company.name.clone(), reason })
}

fn of_agent(view: &BlockView<'_>, agent: &AgentView) -> Option<Block> {
    let state = ScopeState::Agent { status: agent.status, reason: agent.reason };
    let scope = Scope { kind: ScopeKind::Agent, id: agent.id.0.clone() };
    let reason = if state.is_paused_for_budget() {
        "Agent is paused because its budget hard-stop was reached"
    } else if is_exceeded(view, &scope) {
        "Agent has reached its budget hard-stop"
    } else {
        return None;
    };
    Some(Block { scope, scope_name: agent.name.clone(), reason })
}

fn of_project(view: &BlockView<'_>, project: &ProjectView) -> Option<Block> {
    let state = ScopeState::Project { reason: project.reason };
    let scope = Scope { kind: ScopeKind::Project, id: project.id.clone() };
    let reason = if is_exceeded(view, &scope) {
        "Project has reached its budget hard-stop"
    } else if state.is_paused_for_budget() {
        "Project is paused because its budget hard-stop was reached"
    } else {
        return None;
    };
    Some(Block { scope, scope_name: project.name.clone(), reason })
}

/// Every policy of the scope counts, whatever its metric and window.
fn is_exceeded(view: &BlockView<'_>, scope: &Scope) -> bool {
    view.accounts.iter().any(|account| account.policy.scope == *scope && account.is_exceeded())
}

#[cfg(test)]
mod tests {
    use PauseReason::{Budget, Manual, System};

    use super::super::samples::{account, policy};
    use super::super::{Metric, Policy};
    use super::*;

    fn company(status: CompanyStatus, reason: Option<PauseReason>) -> CompanyView {
        CompanyView { id: "c1".into(), name: "Acme".into(), status, reason }
    }

    fn agent(status: AgentStatus, reason: Option<PauseReason>) -> AgentView {
        AgentView { id: "a1".into(), company: "c1".into(), name: "Ada".into(), status, reason }
    }

    fn project(reason: Option<PauseReason>) -> ProjectView {
        ProjectView { id: "p1".into(), company: "c1".into(), name: "Site".into(), reason }
    }

    fn works() -> BlockView<'static> {
        BlockView {
            company: Some(company(CompanyStatus::Active, None)),
            agent: Some(agent(AgentStatus::Idle, None)),
            project: Some(project(None)),
            accounts: &[],
        }
    }

    fn spent(kind: ScopeKind, id: &str) -> Account {
        let policy = Policy { scope: Scope { kind, id: id.into() }, ..policy() };
        Account { policy, ..account(500_000, 0) }
    }

    #[test]
    fn the_first_scope_that_is_spent_or_paused_blocks() {
        let of_company = spent(ScopeKind::Company, "c1");
        let of_agent = spent(ScopeKind::Agent, "a1");
        let of_project = spent(ScopeKind::Project, "p1");
        let all = [of_project.clone(), of_agent.clone(), of_company.clone()];
        let paused = |reason| company(CompanyStatus::Paused, Some(reason));
        let held = |reason| agent(AgentStatus::Paused, Some(reason));
        let rows = [
            ("works", works(), None),
            (
                "company paused for budget",
                BlockView { company: Some(paused(Budget)), accounts: &all, ..works() },
                Some("Company is paused because its budget hard-stop was reached"),
            ),
            (
                "company paused by a person",
                BlockView { company: Some(paused(Manual)), ..works() },
                Some("Company is paused"),
            ),
            (
                "company spent",
                BlockView { agent: Some(held(Budget)), accounts: &all, ..works() },
                Some("Company has reached its budget hard-stop"),
            ),
            (
                "company archived",
                BlockView { company: Some(company(CompanyStatus::Archived, None)), ..works() },
                None,
            ),
            (
                "agent paused for budget",
                BlockView { agent: Some(held(Budget)), accounts: &all[..2], ..works() },
                Some("Agent is paused because its budget hard-stop was reached"),
            ),
            ("agent paused by a person", BlockView { agent: Some(held(Manual)), ..works() }, None),
            (
                "agent spent",
                BlockView { agent: Some(held(System)), accounts: &all[..2], ..works() },
                Some("Agent has reached its budget hard-stop"),
            ),
            (
                "project spent",
                BlockView { project: Some(project(Some(Budget))), accounts: &all[..1], ..works() },
                Some("Project has reached its budget hard-stop"),
            ),
            (
                "project paused for budget",
                BlockView { project: Some(project(Some(Budget))), ..works() },
                Some("Project is paused because its budget hard-stop was reached"),
            ),
            (
                "project paused by a person",
                BlockView { project: Some(project(Some(Manual))), ..works() },
                None,
            ),
            ("no project", BlockView { project: None, accounts: &all[..1], ..works() }, None),
            (
                "a project of another company",
                BlockView {
                    project: Some(ProjectView { company: "c2".into(), ..project(Some(Budget)) }),
                    accounts: &all[..1],
                    ..works()
                },
                None,
            ),
        ];
        for (name, view, reason) in rows {
            let found = block(&view).expect("all there");
            assert_eq!(found.as_ref().map(|it| it.reason), reason, "{name}");
            if let Some(found) = found {
                let word = found.scope.kind.as_str();
                assert!(found.reason.to_lowercase().starts_with(word), "{name}: {word}");
                let name_of = [("company", "c1", "Acme"), ("agent", "a1", "Ada"), ("project", "p1", "Site")];
                let (_, id, shown) = name_of.iter().find(|it| it.0 == word).expect("a scope");
                assert_eq!((found.scope.id.as_str(), found.scope_name.as_str()), (*id, *shown), "{name}");
            }
        }
    }

    #[test]
    fn every_policy_of_a_scope_is_looked_at() {
        let mut tokens = spent(ScopeKind::Agent, "a1");
        tokens.policy.metric = Metric::Tokens;
        let free = Account { counter: account(0, 0).counter, ..spent(ScopeKind::Agent, "a1") };
        let accounts = [free, tokens];
        let view = BlockView { accounts: &accounts, ..works() };
        assert!(block(&view).expect("all there").is_some());
        // Promised is not spent: that is the claim's question.
        let promised = [Account { counter: account(0, 500_001).counter, ..spent(ScopeKind::Agent, "a1") }];
        assert_eq!(block(&BlockView { accounts: &promised, ..works() }), Ok(None));
        let soft = [Account { policy: Policy { hard_stop: false, ..policy() }, ..account(900_000, 0) }];
        assert_eq!(block(&BlockView { accounts: &soft, ..works() }), Ok(None));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let foreign = AgentView { company: "c2".into(), ..agent(AgentStatus::Idle, None) };
        for (view, missing) in [
            (BlockView { agent: None, company: None, ..works() }, Missing::Agent),
            (BlockView { agent: Some(foreign), ..works() }, Missing::Agent),
            (BlockView { company: None, ..works() }, Missing::Company),
        ] {
            assert_eq!(block(&view), Err(missing));
        }
        assert_eq!(
            (Missing::Agent.text(), Missing::Company.text()),
            ("Agent not found", "Company not found")
        );
    }
}
