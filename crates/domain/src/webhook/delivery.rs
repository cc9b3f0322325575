//! What becomes of a delivery after a try, and when an endpoint is given up.
//!
//! A delivery is tried ten times over some three days. An endpoint that has answered nothing well for five days gets
//! nothing more until a person says so; one that says it is gone is believed at once.

use std::time::Duration;

use crate::moment::Moment;
use crate::words;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The waits between tries; the first try comes at once.
pub const DELAYS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];
/// An endpoint that fails for longer is disabled.
pub const PATIENCE: Duration = Duration::from_secs(5 * 24 * HOUR);
/// No receiver puts a delivery off for longer.
const LONGEST: Duration = Duration::from_secs(24 * HOUR);
/// The receiver is gone for good.
const GONE: u16 = 410;

words!(
    /// How a delivery stands.
    DeliveryStatus { Pending = "pending", Delivered = "delivered", Failed = "failed" }
);

words!(
    /// Why an endpoint gets nothing.
    DisabledReason {
        /// A person said so.
        ByPerson = "by_person",
        /// It answered that it is gone.
        Gone = "gone",
        /// It has failed for too long.
        Failing = "failing",
    }
);

/// What is known after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// This one among them.
    pub attempts: u32,
    /// The HTTP status of the answer; `None`: there was none.
    pub status: Option<u16>,
    /// When the receiver wants to be asked again.
    pub not_before: Option<Moment>,
    /// Since when every delivery to the endpoint failed.
    pub failing_since: Option<Moment>,
}

/// What becomes of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    Again { at: Moment },
    GivenUp,
}

/// What becomes of the delivery and of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub disable: Option<DisabledReason>,
}

/// Judges a try. `jitter` lies in 0..=1 and makes a wait longer by up to a fifth, so that what failed together does not
/// come back together.
pub fn judge(tried: &Tried, jitter: f64, now: Moment) -> Judgement {
    let stays = |verdict| Judgement { verdict, disable: None };
    let leaves = |reason| Judgement { verdict: Verdict::GivenUp, disable: Some(reason) };
    match tried.status {
        // Where it leads is not looked at: an answer that points elsewhere has taken nothing.
        Some(200..=299) => return stays(Verdict::Delivered),
        Some(GONE) => return leaves(DisabledReason::Gone),
        Some(_) | None => {}
    }
    if tried.failing_since.is_some_and(|since| now.since(since) >= PATIENCE) {
        return leaves(DisabledReason::Failing);
    }
    let Some(delay) = tried.attempts.checked_sub(1).and_then(|done| DELAYS.get(done as usize)) else {
        return stays(Verdict::GivenUp);
    };
    let own = now.plus(delay.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0)));
    let asked = tried.not_before.map_or(own, |at| at.min(now.plus(LONGEST)));
    stays(Verdict::Again { at: own.max(asked) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_micros(1_767_268_800_000_000);

    fn failed(attempts: u32) -> Tried {
        Tried { attempts, status: Some(500), not_before: None, failing_since: Some(NOW) }
    }

    fn again(seconds: u64) -> Judgement {
        Judgement { verdict: Verdict::Again { at: NOW.plus(Duration::from_secs(seconds)) }, disable: None }
    }

    #[test]
    fn a_delivery_is_tried_ten_times_with_these_waits() {
        let waits: Vec<Judgement> = (1..=9).map(|attempts| judge(&failed(attempts), 0.0, NOW)).collect();
        let table = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        assert_eq!(waits, table.map(again));
        let last = Judgement { verdict: Verdict::GivenUp, disable: None };
        assert_eq!(judge(&failed(10), 0.0, NOW), last);
        assert_eq!(judge(&failed(2), 1.0, NOW), again(360));
        assert_eq!(judge(&failed(2), 7.0, NOW), again(360), "jitter is bounded");
    }

    #[test]
    fn answers_mean_what_they_say() {
        let answered = |status| judge(&Tried { status, ..failed(1) }, 0.0, NOW);
        for status in [200, 201, 204, 299] {
            assert_eq!(answered(Some(status)).verdict, Verdict::Delivered, "{status}");
        }
        for status in [Some(301), Some(302), Some(307), Some(400), Some(404), Some(429), Some(503), None] {
            assert_eq!(answered(status), again(5), "{status:?}");
        }
        let gone = Judgement { verdict: Verdict::GivenUp, disable: Some(DisabledReason::Gone) };
        assert_eq!(answered(Some(410)), gone);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait_but_not_for_a_shorter_one_nor_for_ever() {
        let wanted = |seconds: u64| {
            let not_before = Some(NOW.plus(Duration::from_secs(seconds)));
            judge(&Tried { not_before, ..failed(2) }, 0.0, NOW)
        };
        assert_eq!(wanted(1_000), again(1_000));
        assert_eq!(wanted(1), again(300));
        assert_eq!(wanted(u64::from(u32::MAX)), again(86_400));
    }

    #[test]
    fn an_endpoint_that_fails_for_five_days_is_given_up() {
        let since = |days: u64, status| {
            let failing_since = Some(NOW.minus(Duration::from_secs(days * 24 * HOUR)));
            judge(&Tried { failing_since, status, ..failed(1) }, 0.0, NOW)
        };
        assert_eq!(since(4, Some(500)), again(5));
        assert_eq!(since(5, None).disable, Some(DisabledReason::Failing));
        assert_eq!(since(9, Some(200)), Judgement { verdict: Verdict::Delivered, disable: None });
    }
}
