//! What becomes of a lease on an environment when the run that has it is over (spec/heartbeat.md 4.9).
//!
//! A lease lives exactly as long as its run. Ending it may need the machine (files are removed there), which may not
//! answer: then it is tried again a few times, each time later, and at last given up, loudly.

use std::time::Duration;

use crate::moment::Moment;
use crate::run::RunStatus;
use crate::words;

words!(
    /// What is true of a lease.
    LeaseStatus {
        Active = "active",
        Released = "released",
        Expired = "expired",
        Failed = "failed",
        Retained = "retained",
    }
);

words!(
    /// How giving back went on the machine.
    Cleanup {
        Pending = "pending",
        Success = "success",
        Failed = "failed",
    }
);

/// Ending a lease is tried this often.
pub const MOST_TRIES: i64 = 6;
/// From the first failed try to the second one; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// Whether a lease is over, as its run says; `None`: the run is gone.
pub fn is_over(run: Option<RunStatus>) -> bool {
    match run {
        None => true,
        Some(RunStatus::Running | RunStatus::Queued | RunStatus::ScheduledRetry) => false,
        Some(RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut) => true,
    }
}

/// How the attempt to give the environment back went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Nothing is left on the machine.
    Back,
    /// The machine did not do it; it was the try of this number, from 1.
    Not { tries: i64 },
}

/// What is written of a lease after an attempt to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is over.
    Ended { status: LeaseStatus, cleanup: Cleanup },
    /// It stays, and is tried again then.
    Again { at: Moment },
}

/// Decides what is written. `kept`: what the run made there did not come back, so that it was left on purpose.
pub fn end(run: Option<RunStatus>, kept: bool, given: Given, now: Moment) -> Step {
    let status = match run {
        _ if kept => LeaseStatus::Retained,
        None => LeaseStatus::Expired,
        Some(RunStatus::Failed | RunStatus::TimedOut) => LeaseStatus::Failed,
        Some(_) => LeaseStatus::Released,
    };
    match given {
        Given::Back => Step::Ended { status, cleanup: Cleanup::Success },
        Given::Not { tries } if tries >= MOST_TRIES => {
            Step::Ended { status: LeaseStatus::Failed, cleanup: Cleanup::Failed }
        }
        Given::Not { tries } => {
            let doublings = u32::try_from(tries.clamp(1, MOST_TRIES) - 1).unwrap_or(0);
            Step::Again { at: now.plus(FIRST_PAUSE * 2u32.pow(doublings)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(1_000_000);

    #[test]
    fn a_lease_is_over_with_its_run() {
        let rows = [
            (Some(RunStatus::Queued), false),
            (Some(RunStatus::ScheduledRetry), false),
            (Some(RunStatus::Running), false),
            (Some(RunStatus::Succeeded), true),
            (Some(RunStatus::Failed), true),
            (Some(RunStatus::Cancelled), true),
            (Some(RunStatus::TimedOut), true),
            (None, true),
        ];
        for (run, expected) in rows {
            assert_eq!(is_over(run), expected, "{run:?}");
        }
    }

    #[test]
    fn how_a_lease_ends_follows_from_its_run_and_from_what_came_back() {
        let ended = |status| Step::Ended { status, cleanup: Cleanup::Success };
        let rows = [
            (Some(RunStatus::Succeeded), false, ended(LeaseStatus::Released)),
            (Some(RunStatus::Cancelled), false, ended(LeaseStatus::Released)),
            (Some(RunStatus::Failed), false, ended(LeaseStatus::Failed)),
            (Some(RunStatus::TimedOut), false, ended(LeaseStatus::Failed)),
            (None, false, ended(LeaseStatus::Expired)),
            (Some(RunStatus::Succeeded), true, ended(LeaseStatus::Retained)),
        ];
        for (run, kept, expected) in rows {
            assert_eq!(end(run, kept, Given::Back, NOW), expected, "{run:?}");
        }
    }

    #[test]
    fn a_machine_that_does_not_answer_is_asked_again_later_each_time_and_given_up_at_last() {
        let tries: Vec<Step> = (1..=MOST_TRIES)
            .map(|tries| end(Some(RunStatus::Succeeded), false, Given::Not { tries }, NOW))
            .collect();
        let after = |seconds| Step::Again { at: NOW.plus(Duration::from_secs(seconds)) };
        let given_up = Step::Ended { status: LeaseStatus::Failed, cleanup: Cleanup::Failed };
        assert_eq!(tries, [after(10), after(20), after(40), after(80), after(160), given_up]);
    }
}
