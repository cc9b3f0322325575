//! A person's decision on an incident (spec/heartbeat.md 8.5).

use super::policy::{Lift, lift, mirror};
use super::{Account, Incident, IncidentStatus, Policy, ScopeState};
use crate::words;

words!(
    /// What a person decides.
    Action { KeepPaused = "keep_paused", RaiseBudgetAndResume = "raise_budget_and_resume" }
);

/// The activity of a decision.
pub const ACTIVITY: &str = "budget.incident_resolved";

/// What a decision looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionView<'a> {
    pub incident: &'a Incident,
    /// The policy with its window of now: a raise is measured against what is spent today.
    pub account: &'a Account,
    pub scope: ScopeState,
    /// All incidents of the policy.
    pub incidents: &'a [Incident],
    /// The other accounts of the scope.
    pub others: &'a [Account],
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The incident is dismissed and its approval rejected; the scope stays as it is.
    KeptPaused,
    /// The policy is replaced; the incidents in `lift` are resolved and their approvals approved.
    Raised { policy: Policy, mirror: Option<i64>, lift: Lift },
}

/// Why a decision is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A raise needs an amount.
    NoAmount,
    /// It does not exceed what is spent.
    TooLow,
    /// Somebody decided before; the first decision counts.
    Decided(IncidentStatus),
}

impl Refusal {
    /// The text of the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Refusal::NoAmount => "amount is required to raise a budget",
            Refusal::TooLow => "New budget must exceed current observed spend",
            Refusal::Decided(IncidentStatus::Open) => "Budget incident is open",
            Refusal::Decided(IncidentStatus::Resolved) => "Budget incident is already resolved",
            Refusal::Decided(IncidentStatus::Dismissed) => "Budget incident is already dismissed",
        }
    }
}

/// Decides. `amount` is in the unit of the wire.
pub fn resolve(
    view: &ResolutionView<'_>,
    action: Action,
    amount: Option<i64>,
) -> Result<Resolution, Refusal> {
    if !view.incident.is_open() {
        return Err(Refusal::Decided(view.incident.status));
    }
    match action {
        Action::KeepPaused => Ok(Resolution::KeptPaused),
        Action::RaiseBudgetAndResume => {
            let amount = amount.ok_or(Refusal::NoAmount)?;
            if view.account.policy.metric.inner(amount) <= view.account.counter.spent {
                return Err(Refusal::TooLow);
            }
            let policy = Policy { amount, is_active: true, ..view.account.policy.clone() };
            let raised = Account { policy: policy.clone(), counter: view.account.counter.clone() };
            let lift = lift(&raised, view.scope, view.incidents, view.others);
            Ok(Resolution::Raised { mirror: mirror(&policy), policy, lift })
        }
    }
}

#[cfg(test)]
mod tests {
    use IncidentStatus::{Dismissed, Open, Resolved};
    use Threshold::{Hard, Soft};

    use super::super::samples::{account, incident, policy};
    use super::super::{Scope, ScopeKind, Threshold};
    use super::*;
    use crate::agent::{AgentStatus, PauseReason};

    const STOPPED: ScopeState =
        ScopeState::Agent { status: AgentStatus::Paused, reason: Some(PauseReason::Budget) };

    #[test]
    fn a_raise_must_exceed_what_is_spent() {
        let (spent, this) = (account(505_000, 40_000), incident(Hard, Open));
        let view =
            ResolutionView { incident: &this, account: &spent, scope: STOPPED, incidents: &[], others: &[] };
        for (amount, refused) in [
            (None, Some(Refusal::NoAmount)),
            (Some(0), Some(Refusal::TooLow)),
            (Some(-1), Some(Refusal::TooLow)),
            // 51 cents are shown; 50.5 are spent.
            (Some(50), Some(Refusal::TooLow)),
            (Some(51), None),
        ] {
            assert_eq!(resolve(&view, Action::RaiseBudgetAndResume, amount).err(), refused, "{amount:?}");
        }
        let exactly = account(500_000, 0);
        let view = ResolutionView { account: &exactly, ..view };
        assert_eq!(resolve(&view, Action::RaiseBudgetAndResume, Some(50)), Err(Refusal::TooLow));
    }

    #[test]
    fn a_raise_resumes_the_scope_and_resolves_all_open_incidents_of_the_policy() {
        let mut asleep = account(500_000, 0);
        asleep.policy.is_active = false;
        let all =
            [incident(Soft, Open), incident(Hard, Open), incident(Hard, Dismissed), incident(Hard, Resolved)];
        let view = ResolutionView {
            incident: &all[1],
            account: &asleep,
            scope: STOPPED,
            incidents: &all,
            others: &[],
        };
        let lift =
            Lift { resume: true, resolve: vec!["soft-open".into(), "hard-open".into()], keep_warned: false };
        let raised = |amount, lift| Resolution::Raised {
            policy: Policy { amount, is_active: true, ..policy() },
            mirror: Some(amount),
            lift,
        };
        assert_eq!(resolve(&view, Action::RaiseBudgetAndResume, Some(100)), Ok(raised(100, lift.clone())));
        // Near again at once: the person who raised knows.
        let near = Lift { keep_warned: true, ..lift.clone() };
        assert_eq!(resolve(&view, Action::RaiseBudgetAndResume, Some(60)), Ok(raised(60, near)));
        let others = [account(500_000, 0)];
        let held = Lift { resume: false, ..lift };
        let view = ResolutionView { others: &others, ..view };
        assert_eq!(resolve(&view, Action::RaiseBudgetAndResume, Some(100)), Ok(raised(100, held)));
    }

    #[test]
    fn a_raise_of_a_project_shows_no_monthly_amount() {
        let mut project = account(500_000, 0);
        project.policy.scope = Scope { kind: ScopeKind::Project, id: "x".into() };
        let this = incident(Hard, Open);
        let scope = ScopeState::Project { reason: Some(PauseReason::Budget) };
        let view = ResolutionView { incident: &this, account: &project, scope, incidents: &[], others: &[] };
        let Ok(Resolution::Raised { mirror, lift, .. }) =
            resolve(&view, Action::RaiseBudgetAndResume, Some(100))
        else {
            panic!("raised")
        };
        assert_eq!((mirror, lift.resume), (None, true));
    }

    #[test]
    fn keeping_it_paused_changes_nothing_else_and_only_the_first_decision_counts() {
        let spent = account(500_000, 0);
        for (status, expected) in [
            (Open, Ok(Resolution::KeptPaused)),
            (Resolved, Err(Refusal::Decided(Resolved))),
            (Dismissed, Err(Refusal::Decided(Dismissed))),
        ] {
            let this = incident(Hard, status);
            let view = ResolutionView {
                incident: &this,
                account: &spent,
                scope: STOPPED,
                incidents: &[],
                others: &[],
            };
            assert_eq!(resolve(&view, Action::KeepPaused, None), expected);
            if let Err(refusal) = expected {
                assert_eq!(resolve(&view, Action::RaiseBudgetAndResume, Some(900)), Err(refusal));
                assert_eq!(refusal.text(), format!("Budget incident is already {status}"));
            }
        }
        assert_eq!(Refusal::TooLow.text(), "New budget must exceed current observed spend");
        assert_eq!(Refusal::NoAmount.text(), "amount is required to raise a budget");
    }
}
