//! Why a queued run does not start: one vocabulary for runs and automations (D4).
//!
//! A held reason is not stored. It follows from the run, its agent and the other runs, by the same gates that claim
//! (`claim::gate`), so that what people read is what the dispatcher would do this very moment.

use crate::words;

words!(
    /// The reason shown as `heldReason`.
    HeldReason {
        /// All slots of the agent are taken.
        Slot = "slot",
        /// A run of the same agent and task is under way; this one follows it.
        Running = "running",
        Paused = "paused",
        Budget = "budget",
        Dependency = "dependency",
        Hold = "hold",
        Quota = "quota",
        WorkspaceLock = "workspace_lock",
        /// The instance runs as many processes as it may.
        Capacity = "capacity",
        RateLimit = "rate_limit",
        /// It waits for the time of its retry.
        RetryBackoff = "retry_backoff",
        Node = "node",
    }
);

impl HeldReason {
    /// What ends the wait, for people.
    pub const fn what_ends_it(self) -> &'static str {
        match self {
            HeldReason::Slot => "starts when another run of this agent ends (maxConcurrentRuns)",
            HeldReason::Running => "starts when the run of the same task that is under way ends",
            HeldReason::Paused => "starts when the agent is resumed: bugle agent resume NAME",
            HeldReason::Budget => "starts when the budget is raised or its window ends",
            HeldReason::Dependency => "starts when the blocking tasks are done",
            HeldReason::Hold => "starts when the hold on its task is released",
            HeldReason::Quota => "starts when the provider's limit is reset or its account is logged in",
            HeldReason::WorkspaceLock => "starts when its workspace is free",
            HeldReason::Capacity => "starts when any run of this instance ends (--max-runs)",
            HeldReason::RateLimit => "starts when the provider accepts more work",
            HeldReason::RetryBackoff => "starts at the time of its retry",
            HeldReason::Node => "starts when a node that can run it is there",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_what_ends_it() {
        let rows = [
            (HeldReason::Slot, "maxConcurrentRuns"),
            (HeldReason::Running, "the run of the same task"),
            (HeldReason::Paused, "bugle agent resume"),
            (HeldReason::Budget, "the budget is raised"),
            (HeldReason::Dependency, "the blocking tasks"),
            (HeldReason::Hold, "the hold on its task"),
            (HeldReason::Quota, "the provider's limit"),
            (HeldReason::WorkspaceLock, "its workspace"),
            (HeldReason::Capacity, "--max-runs"),
            (HeldReason::RateLimit, "accepts more work"),
            (HeldReason::RetryBackoff, "the time of its retry"),
            (HeldReason::Node, "a node"),
        ];
        assert_eq!(rows.map(|(reason, _)| reason), HeldReason::ALL);
        for (reason, what) in rows {
            let said = reason.what_ends_it();
            assert!(said.starts_with("starts ") && said.contains(what), "{reason}: {said}");
        }
    }
}
