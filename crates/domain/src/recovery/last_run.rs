//! What the newest run of an issue came to, as far as going on is concerned.
//!
//! Read out of status, error code and stop reason; the same end always reads the same, right after it and in a sweep
//! days later.

use crate::ending::StopReason;
use crate::ids::{AgentId, RunId};
use crate::run::RunStatus;
use crate::words;

words!(
    /// What the last run of the issue came to, as far as going on is concerned.
    LastEnd {
        Succeeded = "succeeded",
        /// It failed, ran out of time, was withdrawn by a gate, or a watchdog stopped it.
        Failed = "failed",
        /// A login is missing or a limit is reached: the account waits, and the failure is no attempt (D6).
        AccountParked = "account_parked",
        /// It wanted a permission nobody could give: asking again gives the same (D6).
        PermissionRefused = "permission_refused",
        /// A pause, a hold or a budget stopped it; it may go on when that is over.
        Interrupted = "interrupted",
        /// Somebody cancelled it: nothing follows by itself (D1).
        Cancelled = "cancelled",
    }
);

impl LastEnd {
    /// Reads a final run; `None` while it is not final.
    pub fn read(
        status: RunStatus,
        error_code: Option<&str>,
        stop_reason: Option<StopReason>,
    ) -> Option<LastEnd> {
        Some(match status {
            RunStatus::Queued | RunStatus::ScheduledRetry | RunStatus::Running => return None,
            RunStatus::Succeeded => LastEnd::Succeeded,
            RunStatus::TimedOut => LastEnd::Failed,
            RunStatus::Failed => match error_code {
                Some(
                    "auth_required" | "claude_auth_required" | "gemini_auth_required" | "quota_exhausted",
                ) => LastEnd::AccountParked,
                Some("permission_blocked") => LastEnd::PermissionRefused,
                _ => LastEnd::Failed,
            },
            RunStatus::Cancelled => match (stop_reason, error_code) {
                (Some(StopReason::Paused | StopReason::BudgetPaused), _) => LastEnd::Interrupted,
                // A gate that ends a run, or its age, is not a person's word.
                (_, Some(code)) if code != "cancelled" => LastEnd::Failed,
                _ => LastEnd::Cancelled,
            },
        })
    }
}

/// The newest run of the issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    pub id: RunId,
    pub agent: AgentId,
    pub status: RunStatus,
    pub end: LastEnd,
    pub error_code: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_says_who_may_go_on() {
        use StopReason::{AdapterFailed, BudgetPaused, Paused, Timeout};
        let rows = [
            (RunStatus::Queued, None, None, None),
            (RunStatus::ScheduledRetry, None, None, None),
            (RunStatus::Running, None, None, None),
            (RunStatus::Succeeded, None, None, Some(LastEnd::Succeeded)),
            (RunStatus::TimedOut, Some("no_progress"), Some(Timeout), Some(LastEnd::Failed)),
            (RunStatus::Failed, Some("no_terminal_event"), Some(AdapterFailed), Some(LastEnd::Failed)),
            (RunStatus::Failed, None, None, Some(LastEnd::Failed)),
            (RunStatus::Failed, Some("auth_required"), None, Some(LastEnd::AccountParked)),
            (RunStatus::Failed, Some("claude_auth_required"), None, Some(LastEnd::AccountParked)),
            (RunStatus::Failed, Some("gemini_auth_required"), None, Some(LastEnd::AccountParked)),
            (RunStatus::Failed, Some("quota_exhausted"), None, Some(LastEnd::AccountParked)),
            (RunStatus::Failed, Some("permission_blocked"), None, Some(LastEnd::PermissionRefused)),
            (RunStatus::Cancelled, Some("cancelled"), Some(Paused), Some(LastEnd::Interrupted)),
            (RunStatus::Cancelled, Some("cancelled"), Some(BudgetPaused), Some(LastEnd::Interrupted)),
            (RunStatus::Cancelled, Some("cancelled"), Some(StopReason::Cancelled), Some(LastEnd::Cancelled)),
            (RunStatus::Cancelled, None, None, Some(LastEnd::Cancelled)),
            (RunStatus::Cancelled, Some("issue_assignee_changed"), None, Some(LastEnd::Failed)),
            (RunStatus::Cancelled, Some("expired"), None, Some(LastEnd::Failed)),
        ];
        for (status, code, stop, expected) in rows {
            assert_eq!(LastEnd::read(status, code, stop), expected, "{status} {code:?}");
        }
    }
}
