//! Who spends: a company, an agent or a project, whether a budget may pause it, and which runs spend for it.

use crate::agent::{AgentStatus, PauseReason};
use crate::ids::{AgentId, CompanyId};
use crate::words;

words!(
    /// What a policy is for.
    ScopeKind { Company = "company", Agent = "agent", Project = "project" }
);

words!(
    /// The status of a company (spec/heartbeat.md 1.2).
    CompanyStatus { Active = "active", Paused = "paused", Archived = "archived" }
);

/// What a policy is for, by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    pub kind: ScopeKind,
    pub id: String,
}

/// For whom a run spends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunScopes {
    pub company: CompanyId,
    pub agent: AgentId,
    /// The project of the run's context, else of its issue.
    pub project: Option<String>,
}

impl RunScopes {
    /// The run spends for this scope, and a stop of the scope stops the run.
    pub fn are_within(&self, scope: &Scope) -> bool {
        match scope.kind {
            ScopeKind::Company => self.company.as_str() == scope.id,
            ScopeKind::Agent => self.agent.as_str() == scope.id,
            ScopeKind::Project => self.project.as_deref() == Some(scope.id.as_str()),
        }
    }
}

/// Whether a scope works, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeState {
    Company { status: CompanyStatus, reason: Option<PauseReason> },
    Agent { status: AgentStatus, reason: Option<PauseReason> },
    Project { reason: Option<PauseReason> },
}

impl ScopeState {
    /// It is paused, for whatever reason.
    pub fn is_paused(self) -> bool {
        match self {
            ScopeState::Company { status, .. } => status == CompanyStatus::Paused,
            ScopeState::Agent { status, .. } => status == AgentStatus::Paused,
            ScopeState::Project { reason } => reason.is_some(),
        }
    }

    /// A budget paused it; only then may a budget resume it.
    pub fn is_paused_for_budget(self) -> bool {
        let (ScopeState::Company { reason, .. }
        | ScopeState::Agent { reason, .. }
        | ScopeState::Project { reason }) = self;
        self.is_paused() && reason == Some(PauseReason::Budget)
    }

    /// A budget may pause it: what a person paused stays the person's, and what does not work needs no pause.
    pub fn takes_budget_pause(self) -> bool {
        match self {
            ScopeState::Company { status, .. } => status == CompanyStatus::Active,
            ScopeState::Agent { status, .. } => match status {
                AgentStatus::Active | AgentStatus::Idle | AgentStatus::Running | AgentStatus::Error => true,
                AgentStatus::Paused | AgentStatus::PendingApproval | AgentStatus::Terminated => false,
            },
            ScopeState::Project { reason } => reason.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_pauses_only_what_works_and_resumes_only_what_it_paused() {
        use PauseReason::{Budget, Manual, System};
        for (status, takes) in [
            (AgentStatus::Active, true),
            (AgentStatus::Idle, true),
            (AgentStatus::Running, true),
            (AgentStatus::Error, true),
            (AgentStatus::Paused, false),
            (AgentStatus::PendingApproval, false),
            (AgentStatus::Terminated, false),
        ] {
            assert_eq!(ScopeState::Agent { status, reason: None }.takes_budget_pause(), takes, "{status}");
            // A reason left over from a pause that is over does not count.
            let left_over = ScopeState::Agent { status, reason: Some(Budget) };
            assert_eq!(left_over.is_paused_for_budget(), status == AgentStatus::Paused, "{status}");
        }
        for (status, takes) in
            [(CompanyStatus::Active, true), (CompanyStatus::Paused, false), (CompanyStatus::Archived, false)]
        {
            let state = ScopeState::Company { status, reason: Some(Budget) };
            let is_paused = status == CompanyStatus::Paused;
            assert_eq!(
                (state.takes_budget_pause(), state.is_paused(), state.is_paused_for_budget()),
                (takes, is_paused, is_paused)
            );
        }
        for (reason, of_budget) in
            [(None, false), (Some(Manual), false), (Some(System), false), (Some(Budget), true)]
        {
            let project = ScopeState::Project { reason };
            assert_eq!(
                (project.takes_budget_pause(), project.is_paused(), project.is_paused_for_budget()),
                (reason.is_none(), reason.is_some(), of_budget)
            );
            let agent = ScopeState::Agent { status: AgentStatus::Paused, reason };
            assert_eq!(agent.is_paused_for_budget(), of_budget);
            let company = ScopeState::Company { status: CompanyStatus::Paused, reason };
            assert_eq!(company.is_paused_for_budget(), of_budget);
        }
    }

    #[test]
    fn a_run_spends_for_its_company_its_agent_and_its_project() {
        let run = RunScopes {
            company: CompanyId::from("c1"),
            agent: AgentId::from("a1"),
            project: Some("p1".into()),
        };
        let free = RunScopes { project: None, ..run.clone() };
        for (kind, id, within, free_within) in [
            (ScopeKind::Company, "c1", true, true),
            (ScopeKind::Company, "c2", false, false),
            (ScopeKind::Agent, "a1", true, true),
            (ScopeKind::Agent, "c1", false, false),
            (ScopeKind::Project, "p1", true, false),
            (ScopeKind::Project, "p2", false, false),
        ] {
            let scope = Scope { kind, id: id.into() };
            assert_eq!((run.are_within(&scope), free.are_within(&scope)), (within, free_within), "{scope:?}");
        }
    }
}
