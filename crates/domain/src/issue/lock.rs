//! The two locks of an issue.
//!
//! The *execution lock* says which run works on the issue: a lease fenced by the epoch of a running run, stamped when a
//! run of the assignee is claimed. The *checkout lock* says which run may change the issue while it is in progress. A
//! lock whose run is over is as good as none; nobody has to clear it first.

use crate::ids::{AgentId, RunId};
use crate::run::RunStatus;

/// The execution lock as stored, and its run as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFacts {
    pub run: RunId,
    /// The epoch that the run had when it took the lock.
    pub epoch: i64,
    pub agent: AgentId,
    /// `None`: there is no such run any more.
    pub run_status: Option<RunStatus>,
    pub run_epoch: i64,
}

impl LockFacts {
    /// The run is under way in the very attempt that took the lock.
    pub fn is_live(&self) -> bool {
        self.run_status == Some(RunStatus::Running) && self.run_epoch == self.epoch
    }
}

/// The checkout lock as stored, and its run as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutFacts {
    pub run: RunId,
    /// `None`: there is no such run any more.
    pub run_status: Option<RunStatus>,
}

impl CheckoutFacts {
    /// The run is under way.
    pub fn is_live(&self) -> bool {
        self.run_status == Some(RunStatus::Running)
    }
}

/// Whether a run that is claimed becomes the holder: its agent is the assignee, and nobody live holds the issue.
///
/// A run of a mentioned agent or a former assignee runs without the lock and never becomes the visible owner.
pub fn stamps(run: &RunId, agent: &AgentId, assignee: Option<&AgentId>, lock: Option<&LockFacts>) -> bool {
    assignee == Some(agent) && !is_held_by_other(run, lock)
}

/// Another run holds the issue, live.
pub fn is_held_by_other(run: &RunId, lock: Option<&LockFacts>) -> bool {
    lock.is_some_and(|lock| lock.is_live() && lock.run != *run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(status: Option<RunStatus>, run_epoch: i64) -> LockFacts {
        LockFacts { run: "r".into(), epoch: 3, agent: "a".into(), run_status: status, run_epoch }
    }

    #[test]
    fn a_lock_lives_while_its_run_runs_in_that_epoch() {
        for &status in RunStatus::ALL {
            let runs = status == RunStatus::Running;
            assert_eq!(lock(Some(status), 3).is_live(), runs, "{status}");
            assert!(!lock(Some(status), 4).is_live(), "{status} in a later epoch");
            let checkout = CheckoutFacts { run: "r".into(), run_status: Some(status) };
            assert_eq!(checkout.is_live(), runs, "{status}");
        }
        assert!(!lock(None, 3).is_live());
        assert!(!CheckoutFacts { run: "r".into(), run_status: None }.is_live());
    }

    #[test]
    fn the_lock_goes_to_the_assignees_run_when_nobody_live_holds_it() {
        let live = lock(Some(RunStatus::Running), 3);
        let dead = lock(Some(RunStatus::Failed), 3);
        let rows = [
            ("free", "n", Some("a"), None, true),
            ("dead holder", "n", Some("a"), Some(&dead), true),
            ("live holder", "n", Some("a"), Some(&live), false),
            ("its own", "r", Some("a"), Some(&live), true),
            ("not the assignee", "n", Some("b"), None, false),
            ("nobody's issue", "n", None, None, false),
        ];
        for (name, run, assignee, lock, expected) in rows {
            let assignee = assignee.map(AgentId::from);
            assert_eq!(stamps(&run.into(), &"a".into(), assignee.as_ref(), lock), expected, "{name}");
        }
    }
}
