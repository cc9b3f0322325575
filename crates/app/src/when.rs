//! Times and spans as people read them.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};

/// A moment of the wire in the local zone: the time of today, else the date too.
pub(crate) fn local(iso: &str) -> String {
    let Ok(stamp) = iso.parse::<Timestamp>() else { return iso.to_owned() };
    let (zoned, today) = (stamp.to_zoned(TimeZone::system()), Timestamp::now().to_zoned(TimeZone::system()));
    let form = if zoned.date() == today.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    zoned.strftime(form).to_string()
}

/// The time of day with milliseconds, for chains of steps.
pub(crate) fn precise(iso: &str) -> String {
    let Ok(stamp) = iso.parse::<Timestamp>() else { return iso.to_owned() };
    stamp.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// The span between two moments of the wire; without the second, until now.
pub(crate) fn between(from: &str, to: Option<&str>) -> Option<Duration> {
    let from: Timestamp = from.parse().ok()?;
    let to: Timestamp = match to {
        Some(to) => to.parse().ok()?,
        None => Timestamp::now(),
    };
    Some(Duration::from_micros(u64::try_from(to.as_microsecond() - from.as_microsecond()).unwrap_or(0)))
}

/// A span in at most two units: `0.4s`, `12s`, `3m 05s`, `2h 10m`, `4d 3h`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{}.{}s", seconds, span.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A size in binary units.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        for (millis, text) in [
            (0, "0.0s"),
            (440, "0.4s"),
            (9_990, "9.9s"),
            (59_999, "59s"),
            (185_000, "3m 05s"),
            (7_800_000, "2h 10m"),
            (356_400_000, "4d 3h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_span_that_ends_before_it_begins_is_nothing() {
        let (early, late) = ("2026-04-27T15:02:47.000Z", "2026-04-27T15:02:48.500Z");
        assert_eq!(between(early, Some(late)), Some(Duration::from_millis(1500)));
        assert_eq!(between(late, Some(early)), Some(Duration::ZERO));
        assert_eq!(between("yesterday", None), None);
    }

    #[test]
    fn sizes_are_short() {
        for (count, text) in [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (80 << 20, "80.0 MiB")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}
