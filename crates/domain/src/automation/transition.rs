//! The life of an automation run: its statuses, what may happen to it, and nothing else (spec/automations.md 1.4).
//!
//! [`next`] is the whole table; `docs/automation-states.md` is printed from it. Where Bugle differs from the reference:
//! a stop waits for what is under way (`pausing`) before the workspace is free, a restart changes nothing, and a
//! rejecting reviewer does not send the run back into the queue.

use super::AutomationRunStatus::{
    self, AwaitingApproval, Blocked, Cancelled, Completed, Failed, Paused, Pausing, Queued, Running,
};
use super::StopKind;

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// It gets a place and its workspace.
    Claim,
    /// It would start, and an agent of it is paused by its budget.
    HoldLaunch,
    /// Somebody or something wants it to wait; steps may be under way.
    Pause,
    /// Nothing is under way any more.
    Stopped,
    /// Nothing is left to do before a person decides.
    Await,
    /// Nothing is left to do for a while: its place and its workspace are free meanwhile.
    BackOff,
    /// All nodes are over; this is what they came to.
    Settle(Settled),
    /// A gate was approved or sent back, and the run has no place.
    Decided,
    /// It is to end now: a person, a gate, or the end of a gate's time.
    Cancel,
    /// It ends by a policy that people chose.
    Fail(StopKind),
    /// It goes on where it was.
    Resume,
    /// Nodes are made again.
    Reset,
}

/// What all nodes of a run together came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settled {
    Completed,
    Blocked,
    Failed,
}

impl Settled {
    pub const fn status(self) -> AutomationRunStatus {
        match self {
            Settled::Completed => Completed,
            Settled::Blocked => Blocked,
            Settled::Failed => Failed,
        }
    }
}

impl RunEvent {
    /// Every event, for the printed table.
    pub const ALL: &'static [(RunEvent, &'static str)] = &[
        (RunEvent::Claim, "claim"),
        (RunEvent::HoldLaunch, "launch held"),
        (RunEvent::Pause, "pause"),
        (RunEvent::Stopped, "stopped"),
        (RunEvent::Await, "await approval"),
        (RunEvent::BackOff, "back off"),
        (RunEvent::Settle(Settled::Completed), "all completed"),
        (RunEvent::Settle(Settled::Blocked), "some blocked"),
        (RunEvent::Settle(Settled::Failed), "some failed"),
        (RunEvent::Decided, "gate decided"),
        (RunEvent::Cancel, "cancel"),
        (RunEvent::Fail(StopKind::ServerRestart), "fail at restart"),
        (RunEvent::Resume, "resume"),
        (RunEvent::Reset, "recover, repair, retry"),
    ];
}

/// Something that cannot happen to a run in this status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {status} cannot take this")]
pub struct IllegalMove {
    pub status: AutomationRunStatus,
    pub event: RunEvent,
}

/// The status after an event.
pub const fn next(status: AutomationRunStatus, event: RunEvent) -> Result<AutomationRunStatus, IllegalMove> {
    let next = match (status, event) {
        (Queued, RunEvent::Claim) => Running,
        (Queued, RunEvent::HoldLaunch | RunEvent::Pause) => Paused,
        (Queued | Paused | AwaitingApproval, RunEvent::Cancel) => Cancelled,
        (Queued, RunEvent::Fail(_)) => Failed,
        (Running, RunEvent::Pause) => Pausing,
        // What is under way is stopped first; `cancelRequestedAt` tells of it meanwhile (D4).
        (Running | Pausing, RunEvent::Cancel) => Cancelled,
        (Running | Pausing, RunEvent::Fail(_)) => Failed,
        (Running, RunEvent::Await) => AwaitingApproval,
        (Running, RunEvent::BackOff) => Queued,
        (Running, RunEvent::Settle(settled)) => settled.status(),
        (Pausing, RunEvent::Stopped) => Paused,
        // Who decides while the last steps end leaves the run where it is.
        (Running, RunEvent::Decided) => Running,
        (Pausing, RunEvent::Decided) => Pausing,
        (Paused, RunEvent::Decided) => Paused,
        (AwaitingApproval, RunEvent::Decided) => Queued,
        (Paused, RunEvent::Resume) => Queued,
        (Paused | Completed | Blocked | Failed | Cancelled, RunEvent::Reset) => Queued,
        _ => return Err(IllegalMove { status, event }),
    };
    Ok(next)
}

/// The table as Markdown; `docs/automation-states.md` is this.
pub fn table() -> String {
    let mut text = String::from("| from \\ event |");
    for (_, name) in RunEvent::ALL {
        text.push_str(&format!(" {name} |"));
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(RunEvent::ALL.len()));
    text.push('\n');
    for status in AutomationRunStatus::ALL {
        text.push_str(&format!("| {status} |"));
        for (event, _) in RunEvent::ALL {
            match next(*status, *event) {
                Ok(next) => text.push_str(&format!(" {next} |")),
                Err(_) => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// spec/automations.md 1.4, row by row, with what Bugle makes of it.
    const ROWS: &[(AutomationRunStatus, RunEvent, AutomationRunStatus)] = &[
        (Queued, RunEvent::Claim, Running),
        (Queued, RunEvent::HoldLaunch, Paused),
        (Queued, RunEvent::Pause, Paused),
        (Queued, RunEvent::Cancel, Cancelled),
        (Queued, RunEvent::Fail(StopKind::ServerRestart), Failed),
        (Running, RunEvent::Settle(Settled::Completed), Completed),
        (Running, RunEvent::Settle(Settled::Blocked), Blocked),
        (Running, RunEvent::Settle(Settled::Failed), Failed),
        (Running, RunEvent::Await, AwaitingApproval),
        (Running, RunEvent::BackOff, Queued),
        (Running, RunEvent::Pause, Pausing),
        (Running, RunEvent::Cancel, Cancelled),
        (Running, RunEvent::Fail(StopKind::ServerRestart), Failed),
        (Running, RunEvent::Decided, Running),
        (Pausing, RunEvent::Stopped, Paused),
        (Pausing, RunEvent::Cancel, Cancelled),
        (Pausing, RunEvent::Fail(StopKind::ServerRestart), Failed),
        (Pausing, RunEvent::Decided, Pausing),
        (AwaitingApproval, RunEvent::Decided, Queued),
        (AwaitingApproval, RunEvent::Cancel, Cancelled),
        (Paused, RunEvent::Resume, Queued),
        (Paused, RunEvent::Reset, Queued),
        (Paused, RunEvent::Cancel, Cancelled),
        (Paused, RunEvent::Decided, Paused),
        (Completed, RunEvent::Reset, Queued),
        (Blocked, RunEvent::Reset, Queued),
        (Failed, RunEvent::Reset, Queued),
        (Cancelled, RunEvent::Reset, Queued),
    ];

    #[test]
    fn the_table_is_these_rows_and_no_other() {
        for status in AutomationRunStatus::ALL {
            for (event, name) in RunEvent::ALL {
                let expected = ROWS.iter().find(|row| (row.0, row.1) == (*status, *event)).map(|row| row.2);
                assert_eq!(next(*status, *event).ok(), expected, "{status}: {name}");
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_an_end_but_a_reset() {
        for status in AutomationRunStatus::ALL.iter().filter(|status| status.is_final()) {
            for (event, _) in RunEvent::ALL {
                assert_eq!(next(*status, *event).is_ok(), *event == RunEvent::Reset, "{status} {event:?}");
            }
        }
    }

    #[test]
    fn the_page_shows_this_table() {
        let page = include_str!("../../../../docs/automation-states.md");
        assert!(page.contains(&table()), "write this into docs/automation-states.md:\n\n{}", table());
    }
}
