//! What follows when a charge, a reservation or a lower amount crosses a line (spec/heartbeat.md 8.3).
//!
//! The level is asked each time; whether it was crossed just now is kept at the counter (`warned_at`, `stopped_at`). So an
//! incident is opened once, while the stop itself is said again as long as the level lasts: a pause or a cancel that was
//! lost is made up for by the next look.

use super::{Account, Incident, IncidentStatus, Level, ScopeState, Threshold};
use crate::cancel::Fate;
use crate::run::RunStatus;

/// The words on runs that a budget stops; clients match on them (spec/heartbeat.md 7.3).
pub const STOP_WORDS: &str = "Cancelled due to budget pause";
/// The type of the approval that comes with a hard incident.
pub const APPROVAL_TYPE: &str = "budget_override_required";
/// The part of the program that acts, in activity rows.
pub const ACTOR: &str = "budget_service";

impl Threshold {
    /// The activity that is written when the line is crossed.
    pub const fn activity(self) -> &'static str {
        match self {
            Threshold::Soft => "budget.soft_threshold_crossed",
            Threshold::Hard => "budget.hard_threshold_crossed",
        }
    }
}

/// What to do with the incident row. There is at most one that is not dismissed per policy, window and threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A new one.
    Open,
    /// The one that was resolved, now crossed again: open once more, with a new approval where it is a hard one.
    Reopen(String),
    /// It is open already.
    Keep(String),
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crossing {
    /// No line was crossed.
    Nothing,
    /// The soft line: an incident and an activity; `warned_at` is set.
    Warned(Record),
    /// The hard line: an incident with an approval and an activity; `stopped_at` is set.
    Stopped {
        record: Record,
        /// Open soft incidents of the window, which this one makes pointless.
        resolve: Vec<String>,
        /// The scope is to be paused for budget.
        pause: bool,
    },
    /// The line was crossed before: nobody is told again, but the stop is made sure of.
    StillStopped { pause: bool },
}

impl Crossing {
    /// Running runs of the scope are to be stopped.
    pub const fn stops(&self) -> bool {
        matches!(self, Crossing::Stopped { .. } | Crossing::StillStopped { .. })
    }
}

/// Decides for one account, after the postings. `incidents` are those of its policy.
pub fn cross(account: &Account, scope: ScopeState, incidents: &[Incident]) -> Crossing {
    match account.level() {
        Level::Ok => Crossing::Nothing,
        Level::Warning => {
            if !account.policy.notify || account.counter.warned_at.is_some() {
                return Crossing::Nothing;
            }
            Crossing::Warned(record(account, incidents, Threshold::Soft))
        }
        Level::HardStop => stop(account, scope, incidents),
    }
}

fn stop(account: &Account, scope: ScopeState, incidents: &[Incident]) -> Crossing {
    let pause = scope.takes_budget_pause();
    // A scope that somebody resumed without a raise starts over: the next crossing is news.
    if account.counter.stopped_at.is_some() && scope.is_paused() {
        return Crossing::StillStopped { pause };
    }
    let resolve = of_window(account, incidents, Threshold::Soft)
        .filter(|incident| incident.is_open())
        .map(|incident| incident.id.clone())
        .collect();
    Crossing::Stopped { record: record(account, incidents, Threshold::Hard), resolve, pause }
}

/// What a budget stop does to one run of the scope (D1): what runs is stopped, what waits is held.
pub const fn fate(status: RunStatus) -> Fate {
    match status {
        RunStatus::Running => Fate::AskToStop,
        RunStatus::Queued | RunStatus::ScheduledRetry => Fate::Keep,
        RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut => Fate::Leave,
    }
}

fn of_window<'a>(
    account: &Account,
    incidents: &'a [Incident],
    threshold: Threshold,
) -> impl Iterator<Item = &'a Incident> {
    let start = account.counter.window.start;
    incidents.iter().filter(move |incident| incident.threshold == threshold && incident.window_start == start)
}

pub(super) fn record(account: &Account, incidents: &[Incident], threshold: Threshold) -> Record {
    match of_window(account, incidents, threshold).find(|it| it.status != IncidentStatus::Dismissed) {
        None => Record::Open,
        Some(incident) if incident.is_open() => Record::Keep(incident.id.clone()),
        Some(incident) => Record::Reopen(incident.id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use IncidentStatus::{Dismissed, Open, Resolved};
    use Threshold::{Hard, Soft};

    use super::super::samples::{account, incident, now, policy};
    use super::super::{Counter, Policy};
    use super::*;
    use crate::agent::{AgentStatus, PauseReason};
    use crate::moment::Moment;

    fn works() -> ScopeState {
        ScopeState::Agent { status: AgentStatus::Running, reason: None }
    }

    fn paused(reason: PauseReason) -> ScopeState {
        ScopeState::Agent { status: AgentStatus::Paused, reason: Some(reason) }
    }

    fn at(spent: i64, warned: bool, stopped: bool) -> Account {
        let account = account(spent, 0);
        let counter =
            Counter { warned_at: warned.then(now), stopped_at: stopped.then(now), ..account.counter.clone() };
        Account { counter, ..account }
    }

    fn stopped(record: Record, resolve: &[&str], pause: bool) -> Crossing {
        Crossing::Stopped { record, resolve: resolve.iter().map(|id| (*id).to_owned()).collect(), pause }
    }

    #[test]
    fn each_line_is_told_once_and_again_when_it_is_crossed_again() {
        let reopened = |threshold| Record::Reopen(incident(threshold, Resolved).id);
        let kept = |threshold| Record::Keep(incident(threshold, Open).id);
        let rows = [
            ("below", at(399_999, false, false), works(), vec![], Crossing::Nothing),
            ("soft", at(400_000, false, false), works(), vec![], Crossing::Warned(Record::Open)),
            ("soft, told", at(400_000, true, false), works(), vec![], Crossing::Nothing),
            (
                "soft, again after a raise",
                at(400_000, false, false),
                works(),
                vec![incident(Soft, Resolved)],
                Crossing::Warned(reopened(Soft)),
            ),
            (
                "soft, the mark was lost",
                at(400_000, false, false),
                works(),
                vec![incident(Soft, Open)],
                Crossing::Warned(kept(Soft)),
            ),
            (
                "soft, after a dismissal",
                at(400_000, false, false),
                works(),
                vec![incident(Soft, Dismissed), incident(Hard, Open)],
                Crossing::Warned(Record::Open),
            ),
            ("hard", at(500_000, false, false), works(), vec![], stopped(Record::Open, &[], true)),
            (
                "hard after soft",
                at(500_000, true, false),
                works(),
                vec![incident(Soft, Open), incident(Soft, Dismissed)],
                stopped(Record::Open, &["soft-open"], true),
            ),
            (
                "hard again in one window (W-63)",
                at(500_000, true, false),
                works(),
                vec![incident(Soft, Resolved), incident(Hard, Resolved)],
                stopped(reopened(Hard), &[], true),
            ),
            (
                "hard, dismissed before",
                at(500_000, true, false),
                works(),
                vec![incident(Hard, Dismissed)],
                stopped(Record::Open, &[], true),
            ),
            (
                "hard, while a person paused it",
                at(500_000, true, false),
                paused(PauseReason::Manual),
                vec![],
                stopped(Record::Open, &[], false),
            ),
            (
                "a late charge of a run that is being stopped",
                at(520_000, true, true),
                paused(PauseReason::Budget),
                vec![incident(Hard, Open)],
                Crossing::StillStopped { pause: false },
            ),
            (
                "a late charge after somebody chose to keep it paused",
                at(520_000, true, true),
                paused(PauseReason::Budget),
                vec![incident(Hard, Dismissed)],
                Crossing::StillStopped { pause: false },
            ),
            (
                "somebody resumed it without a raise",
                at(520_000, true, true),
                works(),
                vec![incident(Hard, Open)],
                stopped(kept(Hard), &[], true),
            ),
            (
                "the same after a dismissal",
                at(520_000, true, true),
                works(),
                vec![incident(Hard, Dismissed)],
                stopped(Record::Open, &[], true),
            ),
        ];
        for (name, account, scope, incidents, expected) in rows {
            let found = cross(&account, scope, &incidents);
            assert_eq!(found, expected, "{name}");
            assert_eq!(found.stops(), account.level() == Level::HardStop, "{name}");
        }
    }

    #[test]
    fn incidents_of_other_windows_do_not_count() {
        let mut old = incident(Hard, Open);
        old.window_start = Moment::parse("2026-03-01T00:00:00Z").expect("valid");
        let mut soft = old.clone();
        soft.threshold = Soft;
        let found = cross(&at(500_000, false, false), works(), &[old, soft]);
        assert_eq!(found, stopped(Record::Open, &[], true));
    }

    #[test]
    fn a_policy_that_does_not_notify_stops_without_warning() {
        let quiet =
            |spent| Account { policy: Policy { notify: false, ..policy() }, ..at(spent, false, false) };
        assert_eq!(cross(&quiet(450_000), works(), &[]), Crossing::Nothing);
        assert_eq!(cross(&quiet(500_000), works(), &[]), stopped(Record::Open, &[], true));
    }

    #[test]
    fn without_hard_stop_the_line_only_warns() {
        let soft = |warned| Account {
            policy: Policy { hard_stop: false, ..policy() },
            ..at(900_000, warned, false)
        };
        assert_eq!(cross(&soft(false), works(), &[]), Crossing::Warned(Record::Open));
        assert_eq!(cross(&soft(true), works(), &[]), Crossing::Nothing);
    }

    #[test]
    fn a_crossed_line_has_its_word_in_the_activity() {
        let words = [Soft, Hard].map(Threshold::activity);
        assert_eq!(words, ["budget.soft_threshold_crossed", "budget.hard_threshold_crossed"]);
    }

    #[test]
    fn a_stop_holds_what_waits() {
        let fates = RunStatus::ALL.iter().map(|status| fate(*status)).collect::<Vec<_>>();
        use Fate::{AskToStop, Keep, Leave};
        assert_eq!(fates, [Keep, Keep, AskToStop, Leave, Leave, Leave, Leave]);
    }
}
