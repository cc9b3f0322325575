//! Setting a policy, and what follows from its new amount at once (spec/heartbeat.md 8.1).

use super::crossing::{Crossing, cross};
use super::resume::may_resume;
use super::{
    Account, Counter, DEFAULT_WARN_PERCENT, Incident, Level, Metric, Policy, Scope, ScopeKind, ScopeState,
    WindowKind,
};
use crate::ids::{CompanyId, PolicyId};

/// The activity of a policy that was set.
pub const ACTIVITY: &str = "budget.policy_upserted";
/// The note on approvals that a changed policy settles.
pub const APPROVAL_NOTE: &str = "Resolved via budget update";

/// A policy as asked for; what is absent keeps its value or gets its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub scope: Scope,
    pub metric: Option<Metric>,
    pub window: Option<WindowKind>,
    pub amount: i64,
    pub warn_percent: Option<i64>,
    pub hard_stop: Option<bool>,
    pub notify: Option<bool>,
    pub is_active: Option<bool>,
}

impl Draft {
    /// What makes a policy of a scope unique.
    pub fn key(&self) -> (Metric, WindowKind) {
        let window = match self.scope.kind {
            ScopeKind::Project => WindowKind::Lifetime,
            ScopeKind::Company | ScopeKind::Agent => WindowKind::CalendarMonthUtc,
        };
        (self.metric.unwrap_or(Metric::BilledCents), self.window.unwrap_or(window))
    }
}

/// What setting a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertView<'a> {
    pub company: &'a CompanyId,
    /// The company of the scope; `None`: there is no such scope.
    pub scope_company: Option<&'a CompanyId>,
    pub scope: ScopeState,
    /// The policy with the draft's key.
    pub existing: Option<&'a Policy>,
    /// The id it gets if there is none.
    pub new_id: PolicyId,
    /// The counter of its window of now, summed up from the ledger and the running runs if it is new.
    pub counter: Counter,
    /// All incidents of the policy.
    pub incidents: &'a [Incident],
    /// The other accounts of the scope.
    pub others: &'a [Account],
}

/// Why a policy is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The scope is another company's, or there is none.
    ForeignScope,
    /// 1 to 99.
    WarnPercent,
}

impl Refusal {
    /// The text of the wire.
    pub const fn text(self) -> &'static str {
        match self {
            Refusal::ForeignScope => "Budget scope does not belong to company",
            Refusal::WarnPercent => "warnPercent must be between 1 and 99",
        }
    }
}

/// What a changed amount sets free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lift {
    /// The scope works again (agent `idle`, company `active`) and its stopped runs are woken.
    pub resume: bool,
    /// Incidents that are resolved; approvals that wait for them are approved when a person acted.
    pub resolve: Vec<String>,
    /// The counter keeps its mark: nobody who has just set an amount is warned about it.
    pub keep_warned: bool,
}

/// A policy that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upserted {
    pub policy: Policy,
    /// The monthly amount that agents and companies show (`budgetMonthlyCents`).
    pub mirror: Option<i64>,
    /// Less is stopped than before: only a person may do this (D19).
    pub loosens: bool,
    /// `None`: the scope stays stopped. Otherwise `stopped_at` is cleared.
    pub lift: Option<Lift>,
    pub crossing: Crossing,
}

/// Sets a policy.
pub fn upsert(draft: &Draft, view: &UpsertView<'_>) -> Result<Upserted, Refusal> {
    if view.scope_company != Some(view.company) {
        return Err(Refusal::ForeignScope);
    }
    if draft.warn_percent.is_some_and(|percent| !(1..=99).contains(&percent)) {
        return Err(Refusal::WarnPercent);
    }
    let (metric, window) = draft.key();
    let amount = draft.amount.max(0);
    let kept = view.existing;
    let policy = Policy {
        id: kept.map_or_else(|| view.new_id.clone(), |it| it.id.clone()),
        scope: draft.scope.clone(),
        metric,
        window,
        amount,
        warn_percent: draft.warn_percent.or(kept.map(|it| it.warn_percent)).unwrap_or(DEFAULT_WARN_PERCENT),
        hard_stop: draft.hard_stop.or(kept.map(|it| it.hard_stop)).unwrap_or(true),
        notify: draft.notify.or(kept.map(|it| it.notify)).unwrap_or(true),
        is_active: amount > 0 && draft.is_active.unwrap_or(true),
    };
    let (lift, crossing) = set(&policy, view.counter.clone(), view.scope, view.incidents, view.others);
    let lets_go = lift.as_ref().is_some_and(|lift| lets_go(lift, view.incidents));
    let loosens = loosens(kept, &policy) || lets_go;
    Ok(Upserted { mirror: mirror(&policy), loosens, policy, lift, crossing })
}

/// What follows from a policy that was set: what it lifts, and which line is behind the window already.
///
/// A policy that limits nothing, or stops nothing, lifts as a raise does: nothing may stay paused for a budget that does
/// not exist any more.
fn set(
    policy: &Policy,
    counter: Counter,
    scope: ScopeState,
    incidents: &[Incident],
    others: &[Account],
) -> (Option<Lift>, Crossing) {
    let account = Account { policy: policy.clone(), counter };
    if account.level() == Level::HardStop {
        return (None, cross(&account, scope, incidents));
    }
    let lift = lift(&account, scope, incidents, others);
    // Without a hard stop, a new amount that is spent already is told; one that is merely near is not.
    if policy.limit().is_some_and(|limit| account.counter.spent >= limit) && policy.notify {
        let record = super::crossing::record(&account, incidents, super::Threshold::Soft);
        let lift = Lift {
            resolve: lift.resolve.into_iter().filter(|id| !is_kept(&record, id)).collect(),
            keep_warned: false,
            ..lift
        };
        return (Some(lift), Crossing::Warned(record));
    }
    (Some(lift), Crossing::Nothing)
}

fn is_kept(record: &super::crossing::Record, id: &str) -> bool {
    matches!(record, super::crossing::Record::Keep(kept) if kept == id)
}

/// What a policy sets free that stops its scope no longer.
pub(super) fn lift(account: &Account, scope: ScopeState, incidents: &[Incident], others: &[Account]) -> Lift {
    Lift {
        resume: may_resume(scope, others),
        resolve: incidents.iter().filter(|it| it.is_open()).map(|it| it.id.clone()).collect(),
        keep_warned: account.level() != Level::Ok,
    }
}

/// The monthly money of an agent or a company is shown on its row.
pub(super) fn mirror(policy: &Policy) -> Option<i64> {
    let is_shown = policy.metric == Metric::BilledCents
        && policy.window == WindowKind::CalendarMonthUtc
        && policy.scope.kind != ScopeKind::Project;
    is_shown.then_some(policy.amount)
}

/// A stopped scope works again, or what stopped it is settled: also where the amount itself was not raised.
fn lets_go(lift: &Lift, incidents: &[Incident]) -> bool {
    let is_stop = |id: &String| {
        incidents.iter().any(|it| it.id == *id && it.is_open() && it.threshold == super::Threshold::Hard)
    };
    lift.resume || lift.resolve.iter().any(is_stop)
}

/// A monthly amount that is patched changes nothing: it is shown, and stops the scope where it is spent: one that is switched off does not hold.
pub fn monthly_holds(shown: i64, known: Option<&Policy>, cents: i64) -> bool {
    let limit = (cents > 0).then(|| Metric::BilledCents.inner(cents));
    shown == cents && known.and_then(Policy::stop_limit) == limit
}

fn loosens(before: Option<&Policy>, after: &Policy) -> bool {
    match (before.and_then(Policy::stop_limit), after.stop_limit()) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
    }
}

#[cfg(test)]
mod tests {
    use super::super::crossing::Record;
    use super::super::samples::{account, agent_scope, incident, now, policy};
    use super::super::{Incident, IncidentStatus, Threshold};
    use super::*;
    use crate::agent::{AgentStatus, PauseReason};

    fn draft(amount: i64) -> Draft {
        Draft {
            scope: agent_scope(),
            metric: None,
            window: None,
            amount,
            warn_percent: None,
            hard_stop: None,
            notify: None,
            is_active: None,
        }
    }

    const STOPPED: ScopeState =
        ScopeState::Agent { status: AgentStatus::Paused, reason: Some(PauseReason::Budget) };
    const WORKS: ScopeState = ScopeState::Agent { status: AgentStatus::Idle, reason: None };

    fn home() -> CompanyId {
        CompanyId::from("c1")
    }

    fn view<'a>(company: &'a CompanyId, scope: ScopeState, spent: i64) -> UpsertView<'a> {
        UpsertView {
            company,
            scope_company: Some(company),
            scope,
            existing: None,
            new_id: PolicyId::from("p1"),
            counter: account(spent, 0).counter,
            incidents: &[],
            others: &[],
        }
    }

    #[test]
    fn what_lets_a_stopped_scope_go_loosens_whatever_the_amount() {
        let home = home();
        let before = policy();
        let hard = [incident(Threshold::Hard, IncidentStatus::Open)];
        let soft = [incident(Threshold::Soft, IncidentStatus::Open)];
        let over = [incident(Threshold::Hard, IncidentStatus::Resolved)];
        let rows: [(&str, ScopeState, i64, &[Incident], bool); 6] = [
            ("nothing is stopped", WORKS, 10, &[], false),
            ("its warning is over", WORKS, 10, &soft, false),
            ("its stop was settled before", WORKS, 10, &over, false),
            ("it would work again", STOPPED, 10, &[], true),
            ("its stop would be settled", WORKS, 10, &hard, true),
            ("it is spent still", STOPPED, 50 * 10_000, &hard, false),
        ];
        for (name, scope, spent, incidents, expected) in rows {
            let view = UpsertView { existing: Some(&before), incidents, ..view(&home, scope, spent) };
            assert_eq!(upsert(&draft(50), &view).expect("set").loosens, expected, "{name}");
        }
    }

    #[test]
    fn a_new_policy_gets_defaults_and_a_known_one_keeps_what_is_not_said() {
        let home = home();
        let new = upsert(&draft(50), &view(&home, WORKS, 0)).expect("set");
        assert_eq!(new.policy, policy());
        let before = Policy {
            id: PolicyId::from("old"),
            warn_percent: 60,
            hard_stop: false,
            notify: false,
            is_active: false,
            ..policy()
        };
        let kept = upsert(&draft(70), &UpsertView { existing: Some(&before), ..view(&home, WORKS, 0) });
        assert_eq!(kept.expect("set").policy, Policy { amount: 70, is_active: true, ..before.clone() });
        let all = Draft {
            warn_percent: Some(99),
            hard_stop: Some(true),
            notify: Some(true),
            is_active: Some(false),
            ..draft(-5)
        };
        let set =
            upsert(&all, &UpsertView { existing: Some(&before), ..view(&home, WORKS, 0) }).expect("set");
        let expected = Policy { id: before.id, amount: 0, warn_percent: 99, is_active: false, ..policy() };
        assert_eq!(set.policy, expected);
    }

    #[test]
    fn a_policy_is_active_when_it_has_an_amount_and_nobody_says_otherwise() {
        let home = home();
        for (amount, asked, active) in [
            (1, None, true),
            (1, Some(true), true),
            (1, Some(false), false),
            (0, None, false),
            (0, Some(true), false),
        ] {
            let draft = Draft { is_active: asked, ..draft(amount) };
            assert_eq!(upsert(&draft, &view(&home, WORKS, 0)).expect("set").policy.is_active, active);
        }
    }

    #[test]
    fn windows_default_by_scope_and_months_of_money_are_mirrored() {
        use Metric::{BilledCents, Tokens};
        use WindowKind::{CalendarMonthUtc as Month, Lifetime};
        let home = home();
        for (kind, metric, window, key, mirrored) in [
            (ScopeKind::Company, None, None, (BilledCents, Month), Some(7)),
            (ScopeKind::Agent, None, None, (BilledCents, Month), Some(7)),
            (ScopeKind::Project, None, None, (BilledCents, Lifetime), None),
            (ScopeKind::Project, None, Some(Month), (BilledCents, Month), None),
            (ScopeKind::Agent, Some(Tokens), None, (Tokens, Month), None),
            (ScopeKind::Agent, None, Some(Lifetime), (BilledCents, Lifetime), None),
        ] {
            let draft = Draft { scope: Scope { kind, id: "x".into() }, metric, window, ..draft(7) };
            let set = upsert(&draft, &view(&home, WORKS, 0)).expect("set");
            assert_eq!((set.policy.metric, set.policy.window), key, "{kind}");
            assert_eq!(set.mirror, mirrored, "{kind}");
        }
    }

    #[test]
    fn what_is_foreign_or_out_of_range_is_refused() {
        let (home, other) = (home(), CompanyId::from("c2"));
        for scope_company in [None, Some(&other)] {
            let view = UpsertView { scope_company, ..view(&home, WORKS, 0) };
            assert_eq!(upsert(&draft(1), &view), Err(Refusal::ForeignScope));
        }
        for (percent, fine) in [(0, false), (1, true), (99, true), (100, false)] {
            let draft = Draft { warn_percent: Some(percent), ..draft(1) };
            let refused = upsert(&draft, &view(&home, WORKS, 0)).err();
            assert_eq!(refused, (!fine).then_some(Refusal::WarnPercent), "{percent}");
        }
        assert_eq!(Refusal::ForeignScope.text(), "Budget scope does not belong to company");
        assert_eq!(Refusal::WarnPercent.text(), "warnPercent must be between 1 and 99");
    }

    fn lifted(resume: bool, resolve: &[&str], keep_warned: bool) -> Option<Lift> {
        Some(Lift { resume, resolve: resolve.iter().map(|id| (*id).to_owned()).collect(), keep_warned })
    }

    #[test]
    fn a_new_amount_lifts_or_stops_at_once() {
        use IncidentStatus::{Dismissed, Open, Resolved};
        use Threshold::{Hard, Soft};
        let home = home();
        let open = [incident(Soft, Open), incident(Hard, Open), incident(Hard, Dismissed)];
        let soft_off = Draft { hard_stop: Some(false), ..draft(50) };
        let quiet_off = Draft { notify: Some(false), ..soft_off.clone() };
        let stop = |record, resolve: &[&str], pause| Crossing::Stopped {
            record,
            resolve: resolve.iter().map(|id| (*id).to_owned()).collect(),
            pause,
        };
        let rows = [
            (
                "raised",
                draft(100),
                STOPPED,
                500_000,
                &open[..],
                lifted(true, &["soft-open", "hard-open"], false),
                Crossing::Nothing,
            ),
            (
                "raised a little: no second warning",
                draft(55),
                STOPPED,
                500_000,
                &open[1..],
                lifted(true, &["hard-open"], true),
                Crossing::Nothing,
            ),
            (
                "no limit",
                draft(0),
                STOPPED,
                500_000,
                &open[1..],
                lifted(true, &["hard-open"], false),
                Crossing::Nothing,
            ),
            (
                "switched off",
                Draft { is_active: Some(false), ..draft(50) },
                STOPPED,
                900_000,
                &open[1..],
                lifted(true, &["hard-open"], false),
                Crossing::Nothing,
            ),
            (
                "raised, paused by a person",
                draft(100),
                ScopeState::Agent { status: AgentStatus::Paused, reason: Some(PauseReason::Manual) },
                500_000,
                &[],
                lifted(false, &[], false),
                Crossing::Nothing,
            ),
            (
                "works and has room",
                draft(100),
                WORKS,
                500_000,
                &[],
                lifted(false, &[], false),
                Crossing::Nothing,
            ),
            (
                "works and is near",
                draft(60),
                WORKS,
                500_000,
                &[],
                lifted(false, &[], true),
                Crossing::Nothing,
            ),
            ("lowered to what is spent", draft(50), WORKS, 500_000, &[], None, stop(Record::Open, &[], true)),
            (
                "lowered below it",
                draft(10),
                WORKS,
                500_000,
                &open[..1],
                None,
                stop(Record::Open, &["soft-open"], true),
            ),
            (
                "lowered, crossed before in this window",
                draft(10),
                WORKS,
                500_000,
                &[incident(Hard, Resolved)][..],
                None,
                stop(Record::Reopen("hard-resolved".into()), &[], true),
            ),
            (
                "hard stop switched off",
                soft_off.clone(),
                STOPPED,
                500_000,
                &open[1..],
                lifted(true, &["hard-open"], false),
                Crossing::Warned(Record::Open),
            ),
            (
                "the same with an open warning",
                soft_off.clone(),
                STOPPED,
                500_000,
                &open[..2],
                lifted(true, &["hard-open"], false),
                Crossing::Warned(Record::Keep("soft-open".into())),
            ),
            (
                "the same, quiet",
                quiet_off,
                STOPPED,
                500_000,
                &open[..2],
                lifted(true, &["soft-open", "hard-open"], true),
                Crossing::Nothing,
            ),
            (
                "no hard stop, near",
                soft_off,
                WORKS,
                499_999,
                &[],
                lifted(false, &[], true),
                Crossing::Nothing,
            ),
        ];
        for (name, draft, scope, spent, incidents, lift, crossing) in rows {
            let set = upsert(&draft, &UpsertView { incidents, ..view(&home, scope, spent) }).expect("set");
            assert_eq!((set.lift, set.crossing), (lift, crossing), "{name}");
        }
    }

    #[test]
    fn an_amount_that_is_still_spent_tells_nobody_again() {
        let home = home();
        let mut view = view(&home, STOPPED, 500_000);
        view.counter.stopped_at = Some(now());
        let set = upsert(&draft(20), &view).expect("set");
        assert_eq!((set.lift, set.crossing), (None, Crossing::StillStopped { pause: false }));
    }

    #[test]
    fn an_amount_below_what_is_promised_stops() {
        let home = home();
        let view = UpsertView { counter: account(100_000, 300_000).counter, ..view(&home, WORKS, 0) };
        assert!(upsert(&draft(39), &view).expect("set").crossing.stops());
        assert!(!upsert(&draft(40), &view).expect("set").crossing.stops());
    }

    #[test]
    fn another_budget_of_the_scope_keeps_it_paused() {
        let home = home();
        let others = [account(500_000, 0)];
        let set = upsert(&draft(100), &UpsertView { others: &others, ..view(&home, STOPPED, 0) });
        assert_eq!(set.expect("set").lift, lifted(false, &[], false));
    }

    #[test]
    fn letting_more_through_is_known_as_such() {
        let home = home();
        let before = policy();
        let soft = Policy { hard_stop: false, ..policy() };
        for (existing, draft, expected) in [
            (None, draft(50), false),
            (Some(&before), draft(50), false),
            (Some(&before), draft(49), false),
            (Some(&before), draft(51), true),
            (Some(&before), draft(0), true),
            (Some(&before), Draft { hard_stop: Some(false), ..draft(50) }, true),
            (Some(&before), Draft { is_active: Some(false), ..draft(10) }, true),
            (Some(&before), Draft { notify: Some(false), ..draft(50) }, false),
            (Some(&soft), draft(900), false),
        ] {
            let set = upsert(&draft, &UpsertView { existing, ..view(&home, WORKS, 0) }).expect("set");
            assert_eq!(set.loosens, expected, "{draft:?}");
        }
    }

    #[test]
    fn an_amount_holds_when_it_is_shown_and_stops() {
        let policy = |amount, hard_stop, is_active| Policy {
            id: "p1".into(),
            scope: agent_scope(),
            metric: Metric::BilledCents,
            window: WindowKind::CalendarMonthUtc,
            amount,
            warn_percent: 80,
            hard_stop,
            notify: true,
            is_active,
        };
        for (shown, known, cents, expected) in [
            (0, None, 0, true),
            (0, None, 5, false),
            (5, None, 5, false),
            (5, Some(policy(5, true, true)), 5, true),
            (5, Some(policy(5, true, true)), 6, false),
            (5, Some(policy(5, true, false)), 5, false),
            (5, Some(policy(5, false, true)), 5, false),
            // Shown, though it is off: 0 takes it from view.
            (5, Some(policy(5, true, false)), 0, false),
            (0, Some(policy(0, true, false)), 0, true),
        ] {
            assert_eq!(monthly_holds(shown, known.as_ref(), cents), expected, "{shown} {known:?} {cents}");
        }
    }
}
