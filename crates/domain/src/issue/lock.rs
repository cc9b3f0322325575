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
    fn only_a_live_holder_is_in_the_way_of_another_run() {
        let live = lock(Some(RunStatus::Running), 3);
        let dead = lock(Some(RunStatus::Failed), 3);
        let rows = [
            ("free", "n", None, false),
            ("dead holder", "n", Some(&dead), false),
            ("live holder", "n", Some(&live), true),
            ("its own", "r", Some(&live), false),
        ];
        for (name, run, lock, expected) in rows {
            assert_eq!(is_held_by_other(&run.into(), lock), expected, "{name}");
        }
    }
}
