//! The last sign of life of a running run: output, or work of its process tree.
//!
//! A fold over what the log and the keeper show. It knows what a program that turns over in its sleep looks like, and
//! nothing of levels or of what is done about silence; that is `silence`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// What the process tree of a run had used at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    pub at: Moment,
    /// Processor time of the whole tree.
    pub cpu: Duration,
    /// Bytes read and written by the whole tree.
    pub io_bytes: u64,
    /// How many processes it has.
    pub processes: u32,
}

/// Less processor time than this share of the time between two readings is a program turning over in its sleep.
pub const IDLE_SHARE: u32 = 100;
/// Less processor time than two ticks of the kernel's clock cannot be told from a rounding.
pub const IDLE_CPU: Duration = Duration::from_millis(20);
/// Fewer bytes than this between two readings are event loops ringing their own bells.
pub const IDLE_BYTES: u64 = 4096;

/// The last sign of life of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pulse {
    quiet_since: Moment,
    reading: Option<Reading>,
    /// The reading that showed work last: where processors are scarce a busy tree gets too little of them between two
    /// readings to show it, and enough over several.
    #[serde(default)]
    at_work: Option<Reading>,
    /// Readings were compared: silence of the tree is known and not assumed.
    measured: bool,
}

impl Pulse {
    /// A run that started; it is quiet from here on.
    pub const fn new(started_at: Moment) -> Pulse {
        Pulse { quiet_since: started_at, reading: None, at_work: None, measured: false }
    }

    /// The run printed something.
    pub fn printed(&mut self, at: Moment) {
        self.quiet_since = self.quiet_since.max(at);
    }

    /// A reading of its tree. The first one says nothing yet; readings that come out of order are dropped.
    pub fn measured(&mut self, reading: Reading) {
        let Some(before) = self.reading else {
            (self.reading, self.at_work) = (Some(reading), Some(reading));
            return;
        };
        if reading.at <= before.at {
            return;
        }
        // A sum that fell, or another number of processes: something ended or began.
        let moved = reading.processes != before.processes
            || reading.cpu < before.cpu
            || reading.io_bytes < before.io_bytes
            || reading.io_bytes.saturating_sub(before.io_bytes) >= IDLE_BYTES;
        if moved || has_computed(&before, &reading) || has_computed(&self.at_work.unwrap_or(before), &reading)
        {
            self.quiet_since = self.quiet_since.max(reading.at);
            self.at_work = Some(reading);
        }
        self.reading = Some(reading);
        self.measured = true;
    }

    /// Since when there was no sign of life.
    pub const fn quiet_since(&self) -> Moment {
        self.quiet_since
    }

    /// The silence of the tree was measured; otherwise only the output is known.
    pub const fn is_measured(&self) -> bool {
        self.measured
    }
}

/// The tree used more of the processors than a program that turns over in its sleep.
fn has_computed(before: &Reading, after: &Reading) -> bool {
    let floor = (after.at.since(before.at) / IDLE_SHARE).max(IDLE_CPU);
    after.cpu.saturating_sub(before.cpu) >= floor
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_micros(1_000_000_000_000);

    fn at(seconds: u64) -> Moment {
        START.plus(Duration::from_secs(seconds))
    }

    fn still(seconds: u64) -> Reading {
        Reading { at: at(seconds), cpu: Duration::from_secs(1), io_bytes: 10_000, processes: 2 }
    }

    /// Name, what changed since the last reading, the last sign of life in seconds.
    type Row = (&'static str, fn(&mut Reading), u64);

    #[test]
    fn a_sign_of_life_is_output_or_work_of_the_tree() {
        let quiet = Reading { at: at(0), cpu: Duration::from_secs(1), io_bytes: 10_000, processes: 2 };
        let later = |change: fn(&mut Reading)| {
            let mut pulse = Pulse::new(START);
            pulse.measured(quiet);
            let mut reading = Reading { at: at(5), ..quiet };
            change(&mut reading);
            pulse.measured(reading);
            pulse.quiet_since()
        };
        let rows: Vec<Row> = vec![
            ("nothing", |_| {}, 0),
            ("turning over", |r| r.cpu += Duration::from_millis(49), 0),
            ("a hundredth of the time", |r| r.cpu += Duration::from_millis(50), 5),
            ("bells", |r| r.io_bytes += 4095, 0),
            ("bytes", |r| r.io_bytes += 4096, 5),
            ("a process began", |r| r.processes = 3, 5),
            ("a process ended", |r| r.processes = 1, 5),
            ("a process ended and another began", |r| r.cpu -= Duration::from_millis(1), 5),
            ("the same, seen by its bytes", |r| r.io_bytes -= 1, 5),
        ];
        for (name, change, expected) in rows {
            assert_eq!(later(change), at(expected), "{name}");
        }
        let mut pulse = Pulse::new(START);
        pulse.printed(at(7));
        pulse.printed(at(3));
        assert_eq!(pulse.quiet_since(), at(7));
    }

    #[test]
    fn short_intervals_ask_for_two_ticks() {
        let quickly = |cpu| {
            let mut pulse = Pulse::new(START);
            let first = still(0);
            pulse.measured(first);
            let half = START.plus(Duration::from_millis(500));
            pulse.measured(Reading { at: half, cpu: first.cpu + Duration::from_millis(cpu), ..first });
            pulse.quiet_since() != START
        };
        assert_eq!([19, 20].map(quickly), [false, true]);
    }

    /// The last sign of life, in milliseconds, of a tree that uses so much between readings that are half a second apart.
    fn quiet_since_with(micros_each: u64, readings: u64) -> u64 {
        let mut pulse = Pulse::new(START);
        for number in 0..=readings {
            let at = START.plus(Duration::from_millis(500 * number));
            let cpu = Duration::from_micros(micros_each * number);
            // Its bells ring, too.
            pulse.measured(Reading { at, cpu, io_bytes: 100 * number, processes: 2 });
        }
        u64::try_from(pulse.quiet_since().since(START).as_millis()).unwrap()
    }

    #[test]
    fn a_busy_tree_that_gets_little_of_the_processors_is_not_silent() {
        assert_eq!(quiet_since_with(10_000, 100), 50_000, "ten of five hundred");
        assert_eq!(quiet_since_with(7_000, 100), 49_500, "every third reading shows it");
        assert_eq!(quiet_since_with(4_900, 100), 0, "less than a hundredth");
    }

    #[test]
    fn a_burst_after_a_long_sleep_is_a_sign_of_life() {
        let mut pulse = Pulse::new(START);
        pulse.measured(still(0));
        pulse.measured(still(3_000));
        let burst = Reading { cpu: Duration::from_secs(2), ..still(3_005) };
        pulse.measured(burst);
        assert_eq!(pulse.quiet_since(), at(3_005));
    }

    #[test]
    fn a_single_or_a_late_reading_proves_nothing() {
        let mut pulse = Pulse::new(START);
        pulse.measured(still(5));
        assert!(!pulse.is_measured());
        pulse.measured(Reading { cpu: Duration::from_secs(9), ..still(5) });
        pulse.measured(Reading { cpu: Duration::from_secs(9), ..still(4) });
        assert_eq!((pulse.is_measured(), pulse.quiet_since()), (false, START));
        pulse.measured(still(6));
        assert!(pulse.is_measured());
    }
}
