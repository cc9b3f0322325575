//! The life of a run: its states, what may happen to it, and nothing else.
//!
//! [`next`] is the whole table; `docs/run-states.md` is printed from it. A terminal state is never left: a late writer
//! gets [`IllegalMove`] here and zero rows in the store.

use crate::words;

words!(
    /// The seven run statuses of the wire (spec/heartbeat.md 1.2, D4).
    RunStatus {
        Queued = "queued",
        ScheduledRetry = "scheduled_retry",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
        TimedOut = "timed_out",
    }
);

impl RunStatus {
    /// Nothing happens to the run any more.
    pub const fn is_final(self) -> bool {
        matches!(self, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut)
    }

    /// The run still is, or will be, work of its task: the "execution path" set.
    pub const fn is_live(self) -> bool {
        !self.is_final()
    }
}

words!(
    /// How a run ended.
    Outcome {
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
        TimedOut = "timed_out",
    }
);

impl Outcome {
    /// The final status that says this.
    pub const fn status(self) -> RunStatus {
        match self {
            Outcome::Succeeded => RunStatus::Succeeded,
            Outcome::Failed => RunStatus::Failed,
            Outcome::Cancelled => RunStatus::Cancelled,
            Outcome::TimedOut => RunStatus::TimedOut,
        }
    }
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// A free slot was given to it; its lease epoch rises.
    Claim,
    /// The time of its retry has come.
    Due,
    /// It was taken back before it ran: a cancel, a terminated agent, a claim gate that ends it.
    Withdraw,
    /// Somebody asked to stop it; it stays `running` until its processes are gone (shown as cancelling).
    AskToStop,
    /// A restarted server took its lease over; the process went on.
    Reattach,
    /// Its session was gone: a second process in the same run, under the next epoch.
    StartFresh,
    /// Its processes are gone and the outcome is known.
    Settle(Outcome),
}

impl RunEvent {
    /// Every event, for the printed table.
    pub const ALL: &'static [RunEvent] = &[
        RunEvent::Claim,
        RunEvent::Due,
        RunEvent::Withdraw,
        RunEvent::AskToStop,
        RunEvent::Reattach,
        RunEvent::StartFresh,
        RunEvent::Settle(Outcome::Succeeded),
        RunEvent::Settle(Outcome::Failed),
        RunEvent::Settle(Outcome::Cancelled),
        RunEvent::Settle(Outcome::TimedOut),
    ];

    /// The name in `docs/run-states.md`.
    pub const fn name(self) -> &'static str {
        match self {
            RunEvent::Claim => "claim",
            RunEvent::Due => "due",
            RunEvent::Withdraw => "withdraw",
            RunEvent::AskToStop => "ask to stop",
            RunEvent::Reattach => "re-attach",
            RunEvent::StartFresh => "start fresh",
            RunEvent::Settle(Outcome::Succeeded) => "settle: succeeded",
            RunEvent::Settle(Outcome::Failed) => "settle: failed",
            RunEvent::Settle(Outcome::Cancelled) => "settle: cancelled",
            RunEvent::Settle(Outcome::TimedOut) => "settle: timed out",
        }
    }
}

/// The event means nothing in that state: whoever sent it is late or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {} run cannot take `{}`", .from.as_str(), .event.name())]
pub struct IllegalMove {
    /// The state the run is in.
    pub from: RunStatus,
    /// What was to happen.
    pub event: RunEvent,
}

/// The table: the state after `event`.
pub fn next(from: RunStatus, event: RunEvent) -> Result<RunStatus, IllegalMove> {
    use RunStatus::{Cancelled, Failed, Queued, Running, ScheduledRetry, Succeeded, TimedOut};
    match (from, event) {
        (Queued, RunEvent::Claim) => Ok(Running),
        (ScheduledRetry, RunEvent::Due) => Ok(Queued),
        (Queued | ScheduledRetry, RunEvent::Withdraw) => Ok(Cancelled),
        (Running, RunEvent::AskToStop | RunEvent::Reattach | RunEvent::StartFresh) => Ok(Running),
        (Running, RunEvent::Settle(outcome)) => Ok(outcome.status()),
        (Queued | ScheduledRetry | Running | Succeeded | Failed | Cancelled | TimedOut, event) => {
            Err(IllegalMove { from, event })
        }
    }
}

/// The table as Markdown, for `docs/run-states.md`.
pub fn table() -> String {
    let mut text = String::from("| from | event | to |\n| --- | --- | --- |\n");
    for &from in RunStatus::ALL {
        for &event in RunEvent::ALL {
            if let Ok(to) = next(from, event) {
                text.push_str(&format!("| `{from}` | {} | `{to}` |\n", event.name()));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_leaves_a_final_state() {
        for &from in RunStatus::ALL.iter().filter(|s| s.is_final()) {
            for &event in RunEvent::ALL {
                assert_eq!(next(from, event), Err(IllegalMove { from, event }));
            }
        }
    }

    #[test]
    fn only_running_runs_are_settled_and_only_waiting_ones_withdrawn() {
        for &from in RunStatus::ALL {
            assert_eq!(
                next(from, RunEvent::Settle(Outcome::Failed)).is_ok(),
                from == RunStatus::Running,
                "{from}"
            );
            let waits = matches!(from, RunStatus::Queued | RunStatus::ScheduledRetry);
            assert_eq!(next(from, RunEvent::Withdraw).is_ok(), waits, "{from}");
        }
    }

    #[test]
    fn the_printed_table_is_the_document() {
        let document = include_str!("../../../docs/run-states.md");
        assert_eq!(table().lines().count(), 13, "a head of two lines, and a line for each legal move");
        assert!(
            document.contains(&table()),
            "docs/run-states.md is not what run::next says; put this in:\n{}",
            table()
        );
    }

    #[test]
    fn a_run_is_work_of_its_task_until_it_is_over() {
        use RunStatus::{Queued, Running, ScheduledRetry};
        let live: Vec<RunStatus> = RunStatus::ALL.iter().copied().filter(|s| s.is_live()).collect();
        assert_eq!(live, [Queued, ScheduledRetry, Running]);
        assert!(RunStatus::ALL.iter().all(|status| status.is_live() != status.is_final()));
    }

    #[test]
    fn words_read_back() {
        for &status in RunStatus::ALL {
            assert_eq!(RunStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(RunStatus::parse("done"), None);
    }
}
