//! When a failed run is tried again: bounded, with jitter, never before the provider allows it (spec/heartbeat.md 5.3).

use std::time::Duration;

use crate::moment::Moment;
use crate::words;

/// Base delays of the bounded retry, by attempt.
pub const DELAYS: [Duration; 4] = [
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(1800),
    Duration::from_secs(7200),
];

/// How often a run whose process was lost is started again.
pub const PROCESS_LOSS_RETRIES: u32 = 1;

/// A retry that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// 1 for the first.
    pub attempt: u32,
    pub due_at: Moment,
    pub base_delay: Duration,
    pub delay: Duration,
}

/// Plans the retry after `attempts` earlier ones; `None` when they are used up.
///
/// `jitter` lies in 0..=1 and moves the delay by up to a quarter either way; a later `not_before` wins.
pub fn plan(attempts: u32, jitter: f64, not_before: Option<Moment>, now: Moment) -> Option<Retry> {
    let base_delay = *DELAYS.get(attempts as usize)?;
    let factor = 1.0 + (2.0 * jitter.clamp(0.0, 1.0) - 1.0) * 0.25;
    let delay = Duration::from_millis((base_delay.as_millis() as f64 * factor).round() as u64)
        .max(Duration::from_secs(1));
    let due_at = now.plus(delay).max(not_before.unwrap_or(now));
    Some(Retry { attempt: attempts + 1, due_at, base_delay, delay })
}

/// What the run's event says when the retries are used up; clients look for the start of it.
pub fn exhausted() -> String {
    format!("Bounded retry exhausted after {} attempts; no further automatic retry is queued", DELAYS.len())
}

words!(
    /// How a retried Codex run is started, by attempt.
    CodexFallback {
        SameSession = "same_session",
        SaferInvocation = "safer_invocation",
        FreshSession = "fresh_session",
        FreshSessionSaferInvocation = "fresh_session_safer_invocation",
    }
);

/// The fallback of an attempt, 1 for the first.
pub const fn codex_fallback(attempt: u32) -> CodexFallback {
    match attempt {
        0 | 1 => CodexFallback::SameSession,
        2 => CodexFallback::SaferInvocation,
        3 => CodexFallback::FreshSession,
        _ => CodexFallback::FreshSessionSaferInvocation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_advances_with_the_attempt() {
        let modes = [1, 2, 3, 4, 5].map(|n| codex_fallback(n).as_str());
        let last = "fresh_session_safer_invocation";
        assert_eq!(modes, ["same_session", "safer_invocation", "fresh_session", last, last]);
    }

    const NOON: Moment = Moment::from_micros(1_000_000_000_000);

    #[test]
    fn four_attempts_with_growing_delays_then_none() {
        let delays: Vec<u64> =
            (0..5).filter_map(|n| plan(n, 0.5, None, NOON)).map(|r| r.delay.as_secs()).collect();
        assert_eq!(delays, [120, 600, 1800, 7200]);
        assert_eq!(plan(4, 0.5, None, NOON), None);
        assert!(exhausted().starts_with("Bounded retry exhausted after 4 attempts"));
    }

    #[test]
    fn jitter_moves_the_delay_by_a_quarter_at_most() {
        for (jitter, seconds) in [(0.0, 90), (0.25, 105), (1.0, 150), (-9.0, 90), (9.0, 150)] {
            let retry = plan(0, jitter, None, NOON).expect("a first retry");
            assert_eq!((retry.attempt, retry.delay.as_secs()), (1, seconds));
            assert_eq!(retry.due_at, NOON.plus(retry.delay));
        }
    }

    #[test]
    fn the_providers_not_before_wins_when_it_is_later() {
        let late = NOON.plus(Duration::from_secs(9000));
        let early = NOON.plus(Duration::from_secs(1));
        assert_eq!(plan(0, 0.5, Some(late), NOON).map(|r| r.due_at), Some(late));
        assert_eq!(
            plan(0, 0.5, Some(early), NOON).map(|r| r.due_at),
            Some(NOON.plus(Duration::from_secs(120)))
        );
    }
}
