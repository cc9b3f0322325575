//! How many requests a trigger takes in a minute.

use std::time::Duration;

use crate::moment::Moment;

const MINUTE: Duration = Duration::from_secs(60);

/// What is left of the requests that may come: as many as a minute holds at once, and then one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    left: f64,
    at: Moment,
}

impl Allowance {
    /// Nothing has come yet.
    pub fn full(per_minute: u32, now: Moment) -> Allowance {
        Allowance { left: f64::from(per_minute), at: now }
    }

    /// Takes one request, or says when the next may come.
    pub fn take(&mut self, per_minute: u32, now: Moment) -> Result<(), Duration> {
        let rate = f64::from(per_minute.max(1));
        let grown = now.since(self.at).as_secs_f64() / MINUTE.as_secs_f64() * rate;
        self.left = (self.left + grown).min(rate);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(MINUTE.mul_f64((1.0 - self.left) / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_a_minute_holds_come_at_once_and_then_one_after_the_other() {
        let noon = Moment::from_micros(1_767_268_800_000_000);
        let mut allowance = Allowance::full(3, noon);
        for _ in 0..3 {
            assert_eq!(allowance.take(3, noon), Ok(()));
        }
        let wait = allowance.take(3, noon).expect_err("nothing is left");
        assert_eq!(wait, Duration::from_secs(20));
        let later = noon.plus(Duration::from_secs(21));
        assert_eq!(allowance.take(3, later), Ok(()));
        assert!(allowance.take(3, later).is_err());
        // Nothing is saved up beyond a minute, and a clock that was set back gives nothing.
        let tomorrow = later.plus(Duration::from_secs(86_400));
        assert_eq!((0..9).filter(|_| allowance.take(3, tomorrow).is_ok()).count(), 3);
        assert!(allowance.take(3, noon).is_err());
    }
}
