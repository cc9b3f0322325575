//! What a company, an agent or a project may spend, and what follows when it is spent.
//!
//! A [`Policy`] allows an amount per window; a [`Counter`] says what one window has seen: what was spent, and what is
//! reserved for the next message of each running run. Both together, an [`Account`], have a [`Level`], and every rule
//! beside this file asks for the level or for the two limits: whether work may start (`block`, `meter::reserve`), what a
//! charge crosses (`crossing`), what a changed amount lifts (`policy`, `resolution`, `resume`).
//!
//! Inside, money is counted in micro-dollars and tokens in tokens; a policy's amount is in the unit of the wire (cents,
//! tokens). Nothing here loads or writes.

pub mod block;
pub mod crossing;
pub mod meter;
pub mod money;
pub mod policy;
pub mod resolution;
pub mod resume;
pub mod scope;
pub mod window;

pub use scope::{CompanyStatus, RunScopes, Scope, ScopeKind, ScopeState};
pub use window::{Window, WindowKind};

use crate::ids::PolicyId;
use crate::moment::Moment;
use crate::words;

words!(
    /// What is counted.
    Metric {
        /// Money; the amount of a policy is in cents, everything inside in micro-dollars.
        BilledCents = "billed_cents",
        /// Tokens: input, cached input and output.
        Tokens = "tokens",
    }
);

words!(
    /// Which line was crossed.
    Threshold { Soft = "soft", Hard = "hard" }
);

words!(
    /// What became of an incident.
    IncidentStatus { Open = "open", Resolved = "resolved", Dismissed = "dismissed" }
);

words!(
    /// How near a window is to its amount; `status` of a policy on the wire.
    Level { Ok = "ok", Warning = "warning", HardStop = "hard_stop" }
);

/// `warnPercent` of a new policy.
pub const DEFAULT_WARN_PERCENT: i64 = 80;

/// An amount that a scope may spend in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub id: PolicyId,
    pub scope: Scope,
    pub metric: Metric,
    pub window: WindowKind,
    /// In the unit of the wire: cents or tokens. 0 means no limit.
    pub amount: i64,
    pub warn_percent: i64,
    pub hard_stop: bool,
    pub notify: bool,
    pub is_active: bool,
}

impl Policy {
    /// The amount in the unit of the counters; `None` when the policy limits nothing.
    pub fn limit(&self) -> Option<i64> {
        (self.is_active && self.amount > 0).then(|| self.metric.inner(self.amount))
    }

    /// The limit, if reaching it stops the work.
    pub fn stop_limit(&self) -> Option<i64> {
        self.limit().filter(|_| self.hard_stop)
    }

    /// Where the warning begins: the percentage of the limit, rounded up.
    pub fn warn_limit(&self) -> Option<i64> {
        self.limit().map(|limit| {
            let exact = i128::from(limit) * i128::from(self.warn_percent);
            i64::try_from((exact + 99).div_euclid(100)).unwrap_or(i64::MAX)
        })
    }
}

/// What one window of one policy has seen, in the unit of the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    pub window: Window,
    pub spent: i64,
    /// The head-room of all running runs together.
    pub reserved: i64,
    /// When the warning was given; `None` also after an amount was raised beyond it.
    pub warned_at: Option<Moment>,
    /// When the work was stopped; `None` also after an amount was raised beyond it.
    pub stopped_at: Option<Moment>,
}

impl Counter {
    /// A window that has seen nothing.
    pub const fn empty(window: Window) -> Counter {
        Counter { window, spent: 0, reserved: 0, warned_at: None, stopped_at: None }
    }

    /// Spent and promised.
    pub const fn committed(&self) -> i64 {
        self.spent.saturating_add(self.reserved)
    }
}

/// A policy with the counter of its window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub policy: Policy,
    pub counter: Counter,
}

impl Account {
    /// How near the window is to its amount.
    ///
    /// Work is stopped when the amount is spent, and before that when the next message of every running run could not be
    /// paid any more: this is what keeps the overshoot within what is reserved.
    pub fn level(&self) -> Level {
        let committed = self.counter.committed();
        let stops = self.policy.stop_limit().is_some_and(|limit| committed > limit) || self.is_exceeded();
        if stops {
            Level::HardStop
        } else if self.policy.warn_limit().is_some_and(|warn| committed >= warn) {
            Level::Warning
        } else {
            Level::Ok
        }
    }

    /// The amount is spent and that stops the work (spec/heartbeat.md 8.4).
    pub fn is_exceeded(&self) -> bool {
        self.policy.stop_limit().is_some_and(|limit| self.counter.spent >= limit)
    }

    /// `observedAmount` on the wire.
    pub fn observed(&self) -> i64 {
        self.policy.metric.wire(self.counter.spent)
    }

    /// `remainingAmount` on the wire; never below 0.
    pub fn remaining(&self) -> i64 {
        (self.policy.amount - self.observed()).max(0)
    }

    /// `utilizationPercent` on the wire.
    pub fn utilization_percent(&self) -> f64 {
        money::percent(self.counter.spent, self.policy.metric.inner(self.policy.amount))
    }
}

/// An incident of a policy, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    pub id: String,
    pub threshold: Threshold,
    pub window_start: Moment,
    pub status: IncidentStatus,
}

impl Incident {
    /// Somebody still has to decide.
    pub fn is_open(&self) -> bool {
        self.status == IncidentStatus::Open
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn now() -> Moment {
        Moment::parse("2026-04-27T15:00:00Z").expect("valid")
    }

    pub(crate) fn agent_scope() -> Scope {
        Scope { kind: ScopeKind::Agent, id: "a1".into() }
    }

    /// 50 cents a month for agent a1.
    pub(crate) fn policy() -> Policy {
        Policy {
            id: PolicyId::from("p1"),
            scope: agent_scope(),
            metric: Metric::BilledCents,
            window: WindowKind::CalendarMonthUtc,
            amount: 50,
            warn_percent: 80,
            hard_stop: true,
            notify: true,
            is_active: true,
        }
    }

    pub(crate) fn account(spent: i64, reserved: i64) -> Account {
        let policy = policy();
        let window = policy.window.at(now());
        Account { policy, counter: Counter { spent, reserved, ..Counter::empty(window) } }
    }

    pub(crate) fn incident(threshold: Threshold, status: IncidentStatus) -> Incident {
        let window_start = WindowKind::CalendarMonthUtc.at(now()).start;
        Incident { id: format!("{threshold}-{status}"), threshold, window_start, status }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{account, policy};
    use super::*;

    #[test]
    fn the_level_follows_from_spent_and_reserved() {
        for (spent, reserved, level, exceeded) in [
            (0, 0, Level::Ok, false),
            (399_999, 0, Level::Ok, false),
            (400_000, 0, Level::Warning, false),
            (100_000, 300_000, Level::Warning, false),
            (499_999, 0, Level::Warning, false),
            (500_000, 0, Level::HardStop, true),
            (120_000, 380_000, Level::Warning, false),
            (120_000, 380_001, Level::HardStop, false),
            (499_999, 1, Level::Warning, false),
            (600_000, 0, Level::HardStop, true),
            (i64::MAX, i64::MAX, Level::HardStop, true),
        ] {
            let account = account(spent, reserved);
            assert_eq!((account.level(), account.is_exceeded()), (level, exceeded), "{spent}+{reserved}");
        }
    }

    #[test]
    fn without_hard_stop_the_level_stays_a_warning_and_without_a_limit_it_is_ok() {
        let spent = account(900_000, 0);
        for (change, level) in [
            (Policy { hard_stop: false, ..policy() }, Level::Warning),
            (Policy { amount: 0, ..policy() }, Level::Ok),
            (Policy { is_active: false, ..policy() }, Level::Ok),
            (Policy { amount: 91, ..policy() }, Level::Warning),
        ] {
            let account = Account { policy: change, ..spent.clone() };
            assert_eq!((account.level(), account.is_exceeded()), (level, false), "{:?}", account.policy);
        }
    }

    #[test]
    fn the_warning_begins_at_the_percentage_rounded_up() {
        for (amount, percent, warn) in [(50, 80, 400_000), (1, 33, 3_300), (7, 1, 700), (3, 99, 29_700)] {
            let policy = Policy { amount, warn_percent: percent, ..policy() };
            assert_eq!(policy.warn_limit(), Some(warn));
        }
        let tokens = Policy { metric: Metric::Tokens, amount: 7, warn_percent: 80, ..policy() };
        assert_eq!((tokens.warn_limit(), tokens.limit()), (Some(6), Some(7)));
        assert_eq!(Policy { amount: i64::MAX, ..policy() }.limit(), Some(i64::MAX));
    }

    #[test]
    fn what_people_see_is_rounded_from_the_sum() {
        let account = account(125_000, 80_000);
        assert_eq!((account.observed(), account.remaining()), (13, 37));
        assert_eq!(account.utilization_percent(), 25.0);
        assert_eq!(samples::account(900_000, 0).remaining(), 0);
    }
}
