//! Time and chance in a test's hand.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use domain::moment::Moment;
use engine::{Clock, Dice};

/// A clock that moves when it is told to, and by a microsecond whenever it is asked: no two answers are equal, so that
/// what is ordered by time has one order.
#[derive(Debug)]
pub struct SimClock(AtomicI64);

impl SimClock {
    /// Returns a clock that shows `now`.
    pub fn at(now: Moment) -> SimClock {
        SimClock(AtomicI64::new(now.micros()))
    }

    /// Sets it, also backwards.
    pub fn set(&self, now: Moment) {
        self.0.store(now.micros(), Ordering::SeqCst);
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        Moment::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// Dice that fall the same way for the same seed.
#[derive(Debug)]
pub struct SimDice(AtomicU64);

impl SimDice {
    pub fn seeded(seed: u64) -> SimDice {
        SimDice(AtomicU64::new(seed))
    }

    /// The next number.
    pub fn number(&self) -> u64 {
        // splitmix64
        let mut z =
            self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub fn roll(&self, sides: u64) -> u64 {
        self.number() % sides
    }
}

impl Dice for SimDice {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number().to_le_bytes());
        bytes[8..].copy_from_slice(&self.number().to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_but_for_a_microsecond_a_look() {
        let clock = SimClock::at(Moment::from_micros(10));
        assert_eq!((clock.now().micros(), clock.now().micros()), (10, 11));
        clock.advance(Duration::from_millis(1));
        assert_eq!(clock.now().micros(), 1012);
        clock.set(Moment::from_micros(5));
        assert_eq!(clock.now().micros(), 5);
    }

    #[test]
    fn equal_seeds_fall_equally_and_others_do_not() {
        let (one, two, other) = (SimDice::seeded(1), SimDice::seeded(1), SimDice::seeded(2));
        let thrown = [one.bytes(), one.bytes()];
        assert_eq!(thrown, [two.bytes(), two.bytes()]);
        assert_ne!(thrown[0], other.bytes());
        assert!((0..1000).all(|_| one.roll(6) < 6));
    }
}
