//! Time and chance, as arguments: the engine asks these two and nobody else, so that a simulation can play them.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use domain::moment::Moment;
use rand::RngCore;

/// Tells the time.
pub trait Clock: Send + Sync + Debug {
    /// Now, UTC.
    fn now(&self) -> Moment;
}

/// Gives random bytes for ids and jitter.
pub trait Dice: Send + Sync + Debug {
    /// 16 random bytes.
    fn bytes(&self) -> [u8; 16];

    /// A number in 0..1.
    fn fraction(&self) -> f64 {
        let bytes = self.bytes();
        let word = u64::from_be_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ]);
        (word >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The random numbers of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDice;

impl Dice for SystemDice {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}
