//! An interval: a grid of moments that late firings do not move (spec/automations.md W13).

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::moment::Moment;

/// The shortest interval: schedules are no timers.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The longest one; whoever means more means a date, and writes it as a cron expression.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// How long it is from slot to slot, in whole seconds: `90s`, `15m`, `1h30m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(u64);

impl Every {
    /// Reads an interval; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Every, String> {
        let wrong = || format!("`{text}` is not an interval");
        let mut seconds: u64 = 0;
        let mut rest = text.trim();
        let mut units = UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let mut behind = rest[digits..].chars();
            let letter = behind.next().ok_or_else(wrong)?;
            // Each unit once, the larger before the smaller: `30m1h` is a slip of the pen.
            let (_, length) = units.find(|(unit, _)| *unit == letter).ok_or_else(wrong)?;
            seconds = count.checked_mul(*length).and_then(|it| it.checked_add(seconds)).ok_or_else(wrong)?;
            rest = behind.as_str();
        }
        if text.trim().is_empty() {
            return Err(wrong());
        }
        Every::from_seconds(seconds)
    }

    /// The same of a number of seconds.
    pub fn from_seconds(seconds: u64) -> Result<Every, String> {
        if seconds < SHORTEST.as_secs() {
            return Err("an interval is one second at least".to_owned());
        }
        if seconds > LONGEST.as_secs() {
            return Err("an interval is 366 days at most".to_owned());
        }
        Ok(Every(seconds))
    }

    pub const fn span(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The first moment of the grid after another one. The anchor itself is one.
    pub fn next_after(self, anchor: Moment, after: Moment) -> Option<Moment> {
        if after < anchor {
            return Some(anchor);
        }
        let every = i64::try_from(self.span().as_micros()).ok()?;
        let passed = after.micros().checked_sub(anchor.micros())?;
        let steps = (passed / every).checked_add(1)?;
        let next = steps.checked_mul(every).and_then(|it| it.checked_add(anchor.micros()))?;
        Some(Moment::from_micros(next))
    }
}

impl std::fmt::Display for Every {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        for (unit, length) in UNITS {
            let count = rest / length;
            rest %= length;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Every, D::Error> {
        let read = match serde_json::Value::deserialize(d)? {
            serde_json::Value::String(text) => Every::parse(&text),
            serde_json::Value::Number(number) => match number.as_u64() {
                Some(seconds) => Every::from_seconds(seconds),
                None => Err(format!("`{number}` is not a number of whole seconds")),
            },
            _ => Err("an interval is a text such as `15m`, or a number of seconds".to_owned()),
        };
        read.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn intervals_are_written_as_people_say_them() {
        let rows = [
            ("1s", 1, "1s"),
            ("90s", 90, "1m30s"),
            ("15m", 900, "15m"),
            ("1h30m", 5400, "1h30m"),
            (" 2h ", 7200, "2h"),
            ("7d", 604_800, "7d"),
            ("1d2h3m4s", 93_784, "1d2h3m4s"),
            ("366d", 31_622_400, "366d"),
        ];
        for (text, seconds, shown) in rows {
            let every = Every::parse(text).unwrap();
            assert_eq!((every.0, every.to_string().as_str()), (seconds, shown), "{text}");
            assert_eq!(Every::parse(shown), Ok(every));
        }
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        let rows = [
            ("", "`` is not an interval"),
            ("   ", "`   ` is not an interval"),
            ("15", "`15` is not an interval"),
            ("m", "`m` is not an interval"),
            ("15 m", "`15 m` is not an interval"),
            ("1.5h", "`1.5h` is not an interval"),
            ("-5m", "`-5m` is not an interval"),
            ("30m1h", "`30m1h` is not an interval"),
            ("1h1h", "`1h1h` is not an interval"),
            ("15M", "`15M` is not an interval"),
            ("15ß", "`15ß` is not an interval"),
            ("99999999999999999999s", "`99999999999999999999s` is not an interval"),
            ("999999999999999999d", "`999999999999999999d` is not an interval"),
            ("0s", "an interval is one second at least"),
            ("0d0s", "an interval is one second at least"),
            ("367d", "an interval is 366 days at most"),
        ];
        for (text, message) in rows {
            assert_eq!(Every::parse(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn an_interval_is_a_text_or_a_number_of_seconds() {
        for (data, shown) in [(json!("15m"), "15m"), (json!(3600), "1h")] {
            let every: Every = serde_json::from_value(data).unwrap();
            assert_eq!(serde_json::to_value(every).unwrap(), json!(shown));
        }
        let rows = [
            (json!(0), "an interval is one second at least"),
            (json!(0.5), "`0.5` is not a number of whole seconds"),
            (json!(-60), "`-60` is not a number of whole seconds"),
            (json!(true), "an interval is a text such as `15m`, or a number of seconds"),
        ];
        for (data, message) in rows {
            assert_eq!(serde_json::from_value::<Every>(data).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_grid_begins_at_its_anchor_and_ends_with_the_clock() {
        let every = Every::parse("10s").unwrap();
        for (after, next) in [(99, 100), (100, 110), (101, 110), (109, 110), (110, 120), (3599, 3600)] {
            assert_eq!(every.next_after(at(100), at(after)), Some(at(next)), "after {after}");
        }
        assert_eq!(every.next_after(at(100), Moment::from_micros(i64::MAX)), None);
    }

    proptest! {
        #[test]
        fn every_slot_is_on_the_grid_and_the_next_one_however_late_somebody_looks(
            anchor in -1_000_000_000_000_i64..4_000_000_000_000_000,
            every in 1_u64..=31_622_400,
            later in 0_i64..1_000_000_000_000_000,
        ) {
            let (anchor, every) = (Moment::from_micros(anchor), Every(every));
            let after = Moment::from_micros(anchor.micros() + later);
            let next = every.next_after(anchor, after).unwrap();
            let span = every.span().as_micros() as i64;
            prop_assert!(next > after && next.micros() - after.micros() <= span);
            prop_assert_eq!((next.micros() - anchor.micros()) % span, 0);
        }
    }
}
