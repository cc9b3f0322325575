//! How many runs of automations this server let begin, and how long they had waited (spec/automations.md 2.1).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many of the last waits are kept.
const KEPT: usize = 1_000;

/// The waits of runs that began, the last ones by themselves.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<(u64, VecDeque<Duration>)>);

/// What was let begin since the server started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admissions {
    pub admitted: u64,
    /// Of the last thousand, the mean wait; nothing before the first one.
    pub mean_wait: Option<Duration>,
    /// Of the last thousand, what nineteen of twenty did not exceed.
    pub p95_wait: Option<Duration>,
}

impl Waits {
    pub(super) fn add(&self, waits: &[Duration]) {
        if waits.is_empty() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += waits.len() as u64;
        kept.1.extend(waits);
        let more = kept.1.len().saturating_sub(KEPT);
        kept.1.drain(..more);
    }

    pub(crate) fn so_far(&self) -> Admissions {
        let (admitted, mut waits): (u64, Vec<Duration>) = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (kept.0, kept.1.iter().copied().collect())
        };
        waits.sort_unstable();
        let count = u32::try_from(waits.len()).unwrap_or(u32::MAX);
        let rank = (waits.len() * 95).div_ceil(100);
        Admissions {
            admitted,
            mean_wait: waits.iter().sum::<Duration>().checked_div(count),
            p95_wait: rank.checked_sub(1).and_then(|at| waits.get(at)).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_waits_are_summed_up_and_all_are_counted() {
        let waits = Waits::default();
        assert_eq!(waits.so_far(), Admissions::default());
        let seconds = Duration::from_secs;
        waits.add(&[seconds(7)]);
        let one = Admissions { admitted: 1, mean_wait: Some(seconds(7)), p95_wait: Some(seconds(7)) };
        assert_eq!(waits.so_far(), one);
        // A hundred waits from 1 to 100 s, in no order, ten times: the first one is forgotten.
        for _ in 0..10 {
            let some: Vec<Duration> = (0..100).map(|number| seconds(number * 37 % 100 + 1)).collect();
            waits.add(&some);
        }
        let found = waits.so_far();
        assert_eq!((found.admitted, found.mean_wait), (1_001, Some(Duration::from_millis(50_500))));
        assert_eq!(found.p95_wait, Some(seconds(95)));
    }
}
