//! When the timer of an agent is due next.
//!
//! The due time is a stored column with an index, so that idle agents cost nothing; this says what goes into it.

use std::time::Duration;

use crate::agent::{AgentStatus, HeartbeatPolicy};
use crate::moment::Moment;

/// The moment of the next timer wake, `None` when there is none.
///
/// Counted from the last heartbeat, or from the creation of an agent that had none yet (spec/heartbeat.md 6.2). Paused
/// agents keep no timer: resuming sets it anew. A moment in the past means "now": what was missed is made up for once.
pub fn next_due(status: AgentStatus, policy: &HeartbeatPolicy, baseline: Moment) -> Option<Moment> {
    (policy.has_timer() && status.is_invokable()).then(|| baseline.plus(policy.every))
}

/// The due time after a timer that fired at `now`, having been due at `due`.
///
/// Stays on the grid of the interval, without drift, and always in the future, whatever was missed meanwhile.
pub fn after_firing(due: Moment, every: Duration, now: Moment) -> Moment {
    let every_us = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
    let late = now.micros().saturating_sub(due.micros()).max(0);
    let steps = late / every_us + 1;
    Moment::from_micros(due.micros().saturating_add(steps.saturating_mul(every_us)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(enabled: bool, seconds: u64) -> HeartbeatPolicy {
        HeartbeatPolicy {
            enabled,
            every: Duration::from_secs(seconds),
            wake_on_demand: true,
            max_concurrent_runs: 1,
            skip_when_idle: false,
        }
    }

    #[test]
    fn only_invokable_agents_with_a_timer_have_a_due_time() {
        let noon = Moment::from_micros(1_000_000);
        assert_eq!(
            next_due(AgentStatus::Idle, &policy(true, 60), noon),
            Some(noon.plus(Duration::from_secs(60)))
        );
        assert_eq!(
            next_due(AgentStatus::Error, &policy(true, 60), noon),
            Some(noon.plus(Duration::from_secs(60)))
        );
        for status in [AgentStatus::Paused, AgentStatus::Terminated, AgentStatus::PendingApproval] {
            assert_eq!(next_due(status, &policy(true, 60), noon), None);
        }
        assert_eq!(next_due(AgentStatus::Idle, &policy(false, 60), noon), None);
        assert_eq!(next_due(AgentStatus::Idle, &policy(true, 0), noon), None);
    }

    #[test]
    fn the_next_due_time_keeps_the_grid_and_lies_in_the_future() {
        let every = Duration::from_secs(10);
        let at = |seconds: i64| Moment::from_micros(seconds * 1_000_000);
        for (due, now, next) in [
            (100, 100, 110),
            (100, 101, 110),
            (100, 109, 110),
            (100, 110, 120),
            (100, 3599, 3600),
            (100, 50, 110),
        ] {
            assert_eq!(after_firing(at(due), every, at(now)), at(next), "due {due}, now {now}");
        }
        assert!(after_firing(at(0), Duration::ZERO, at(5)) > at(5));
    }
}
