//! What a stop does to the work of an agent: pause holds, cancel ends (D1).

use crate::run::RunStatus;
use crate::words;

words!(
    /// What stops the work.
    Stop {
        /// The agent is paused.
        PauseAgent = "pause_agent",
        /// The work of an agent is cancelled; the agent stays.
        CancelWork = "cancel_work",
        /// The agent is terminated.
        TerminateAgent = "terminate_agent",
        /// One run is cancelled.
        CancelRun = "cancel_run",
    }
);

/// What happens to one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is asked to stop; when its processes are gone it is `cancelled`.
    AskToStop,
    /// It ends now, without having run.
    Withdraw,
    /// It stays queued and shows why.
    Keep,
    /// It is over already.
    Leave,
}

/// The table of D1 for one run.
pub const fn fate(stop: Stop, status: RunStatus) -> Fate {
    match (stop, status) {
        (_, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut) => {
            Fate::Leave
        }
        (_, RunStatus::Running) => Fate::AskToStop,
        (Stop::PauseAgent, RunStatus::Queued | RunStatus::ScheduledRetry) => Fate::Keep,
        (
            Stop::CancelWork | Stop::TerminateAgent | Stop::CancelRun,
            RunStatus::Queued | RunStatus::ScheduledRetry,
        ) => Fate::Withdraw,
    }
}

impl Stop {
    /// Wakes of the agent that have come to no run yet end with the work: nothing from before a cancel starts afterwards.
    pub const fn ends_wakes(self) -> bool {
        match self {
            Stop::CancelWork | Stop::TerminateAgent => true,
            Stop::PauseAgent | Stop::CancelRun => false,
        }
    }

    /// The default words on the runs it ends. "pause" in them is what clients and stop reasons match on
    /// (spec/heartbeat.md 4.13, 7.1, 7.2).
    pub const fn message(self) -> &'static str {
        match self {
            Stop::PauseAgent => "Cancelled due to agent pause",
            Stop::CancelWork => "Cancelled with all work of the agent",
            Stop::TerminateAgent => "Cancelled because the agent was terminated",
            Stop::CancelRun => "Cancelled by control plane",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cancel_of_all_work_ends_what_is_deferred() {
        let ends: Vec<Stop> = Stop::ALL.iter().copied().filter(|stop| stop.ends_wakes()).collect();
        assert_eq!(ends, [Stop::CancelWork, Stop::TerminateAgent]);
    }

    #[test]
    fn pause_holds_and_cancel_ends() {
        use Fate::{AskToStop, Keep, Withdraw};
        let rows = [
            (Stop::PauseAgent, [Keep, Keep, AskToStop]),
            (Stop::CancelWork, [Withdraw, Withdraw, AskToStop]),
            (Stop::TerminateAgent, [Withdraw, Withdraw, AskToStop]),
            (Stop::CancelRun, [Withdraw, Withdraw, AskToStop]),
        ];
        for (stop, fates) in rows {
            let found =
                [RunStatus::Queued, RunStatus::ScheduledRetry, RunStatus::Running].map(|s| fate(stop, s));
            assert_eq!(found, fates, "{stop}");
            for &status in RunStatus::ALL.iter().filter(|s| s.is_final()) {
                assert_eq!(fate(stop, status), Fate::Leave);
            }
        }
    }

    #[test]
    fn only_the_pause_speaks_of_a_pause() {
        for &stop in Stop::ALL {
            assert_eq!(stop.message().contains("pause"), stop == Stop::PauseAgent);
        }
    }
}
