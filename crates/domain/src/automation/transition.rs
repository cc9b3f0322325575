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
        // Without any step to begin after a decision, a run needs no place to come to its end.
        (Running | AwaitingApproval, RunEvent::Settle(settled)) => settled.status(),
        (Pausing, RunEvent::Stopped) => Paused,
        // Who decides while the last steps end leaves the run where it is.
        (Running, RunEvent::Decided) => Running,
        (Pausing, RunEvent::Decided) => Pausing,
        (Paused, RunEvent::Decided) => Paused,
        (AwaitingApproval, RunEvent::Decided) => Queued,
        (Paused, RunEvent::Resume) => Queued,
        // One that backs off need not be paused first.
        (Queued | AwaitingApproval | Paused | Completed | Blocked | Failed | Cancelled, RunEvent::Reset) => {
            Queued
        }
        _ => return Err(IllegalMove { status, event }),
    };
    Ok(next)
}

/// Where a run may be told to stop at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopAt {
    Paused,
    Cancelled,
    Failed,
}

impl StopAt {
    pub const fn status(self) -> AutomationRunStatus {
        match self {
            StopAt::Paused => Paused,
            StopAt::Cancelled => Cancelled,
            StopAt::Failed => Failed,
        }
    }
}

/// How a run takes it that it is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// Its steps are stopped first; this is its status meanwhile.
    First(AutomationRunStatus),
    /// Nothing is under way: it has stopped.
    Done(AutomationRunStatus),
}

/// Says how a run stops; a run that is at work waits for what is under way (bar 4).
pub const fn stop(status: AutomationRunStatus, at: StopAt, kind: StopKind) -> Result<Stopping, IllegalMove> {
    let event = match (at, status, kind) {
        (StopAt::Paused, Queued, StopKind::GuardrailStopped) => RunEvent::HoldLaunch,
        (StopAt::Paused, _, _) => RunEvent::Pause,
        (StopAt::Cancelled, _, _) => RunEvent::Cancel,
        (StopAt::Failed, _, _) => RunEvent::Fail(kind),
    };
    match (next(status, event), status.is_at_work(), at) {
        (Err(illegal), _, _) => Err(illegal),
        (Ok(next), false, _) => Ok(Stopping::Done(next)),
        // It is `pausing` until then; of an end nothing is seen but `cancelRequestedAt` (D4).
        (Ok(next), true, StopAt::Paused) => Ok(Stopping::First(next)),
        (Ok(_), true, StopAt::Cancelled | StopAt::Failed) => Ok(Stopping::First(status)),
    }
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
        (Queued, RunEvent::Reset, Queued),
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
        (AwaitingApproval, RunEvent::Settle(Settled::Completed), Completed),
        (AwaitingApproval, RunEvent::Settle(Settled::Blocked), Blocked),
        (AwaitingApproval, RunEvent::Settle(Settled::Failed), Failed),
        (AwaitingApproval, RunEvent::Decided, Queued),
        (AwaitingApproval, RunEvent::Reset, Queued),
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
    fn a_stop_is_done_at_once_where_nothing_is_under_way_and_else_after_it() {
        use StopAt as At;
        use Stopping::{Done, First};
        let kind = StopKind::OperatorStopped;
        let rows = [
            (Queued, At::Paused, Some(Done(Paused))),
            (Queued, At::Cancelled, Some(Done(Cancelled))),
            (Queued, At::Failed, Some(Done(Failed))),
            (Running, At::Paused, Some(First(Pausing))),
            (Running, At::Cancelled, Some(First(Running))),
            (Running, At::Failed, Some(First(Running))),
            (Pausing, At::Paused, None),
            (Pausing, At::Cancelled, Some(First(Pausing))),
            (Pausing, At::Failed, Some(First(Pausing))),
            (Paused, At::Paused, None),
            (Paused, At::Cancelled, Some(Done(Cancelled))),
            (Paused, At::Failed, None),
            (AwaitingApproval, At::Paused, None),
            (AwaitingApproval, At::Cancelled, Some(Done(Cancelled))),
            (AwaitingApproval, At::Failed, None),
        ];
        for (status, at, expected) in rows {
            assert_eq!(stop(status, at, kind).ok(), expected, "{status} {at:?}");
            let of_guardrail = stop(status, at, StopKind::GuardrailStopped);
            assert_eq!(of_guardrail.ok(), expected, "{status} {at:?}");
        }
        for status in AutomationRunStatus::ALL.iter().filter(|status| status.is_final()) {
            for at in [At::Paused, At::Cancelled, At::Failed] {
                assert_eq!(stop(*status, at, kind).ok(), None, "{status} {at:?}");
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
