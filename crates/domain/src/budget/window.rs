//! The span of time an amount is for.

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use crate::moment::Moment;
use crate::words;

words!(
    /// How the windows of a policy follow each other.
    WindowKind {
        /// From the first of a month to the first of the next, in UTC.
        CalendarMonthUtc = "calendar_month_utc",
        /// One window, for ever.
        Lifetime = "lifetime",
    }
);

/// One window: `start` belongs to it, `end` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: Moment,
    pub end: Moment,
}

impl Window {
    /// The moment lies in the window.
    pub fn contains(self, at: Moment) -> bool {
        self.start <= at && at < self.end
    }
}

impl WindowKind {
    /// The window that `now` lies in.
    pub fn at(self, now: Moment) -> Window {
        match self {
            WindowKind::CalendarMonthUtc => month(now),
            WindowKind::Lifetime => {
                Window { start: midnight(date(1970, 1, 1)), end: midnight(date(9999, 1, 1)) }
            }
        }
    }
}

fn month(now: Moment) -> Window {
    let stamp = jiff::Timestamp::from_microsecond(now.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let first = stamp.to_zoned(TimeZone::UTC).date().first_of_month();
    let (year, month) = if first.month() == 12 {
        (first.year().saturating_add(1), 1)
    } else {
        (first.year(), first.month() + 1)
    };
    // The very last month of the calendar ends with its last day.
    let next = Date::new(year, month, 1).unwrap_or(Date::MAX);
    Window { start: midnight(first), end: midnight(next) }
}

fn midnight(day: Date) -> Moment {
    let at = day.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).unwrap_or(jiff::Timestamp::MAX);
    Moment::from_micros(at.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(kind: WindowKind, at: &str) -> (String, String) {
        let window = kind.at(Moment::parse(at).expect("valid"));
        (window.start.iso(), window.end.iso())
    }

    #[test]
    fn a_month_ends_where_the_next_begins() {
        for (at, start, end) in [
            ("2026-04-27T15:02:47Z", "2026-04-01T00:00:00.000Z", "2026-05-01T00:00:00.000Z"),
            ("2026-04-01T00:00:00Z", "2026-04-01T00:00:00.000Z", "2026-05-01T00:00:00.000Z"),
            ("2026-03-31T23:59:59.999999Z", "2026-03-01T00:00:00.000Z", "2026-04-01T00:00:00.000Z"),
            ("2026-12-31T23:59:59Z", "2026-12-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"),
            ("2028-02-29T12:00:00Z", "2028-02-01T00:00:00.000Z", "2028-03-01T00:00:00.000Z"),
            // Local midnight is not the border: only UTC counts.
            ("2026-05-01T01:00:00+02:00", "2026-04-01T00:00:00.000Z", "2026-05-01T00:00:00.000Z"),
        ] {
            assert_eq!(bounds(WindowKind::CalendarMonthUtc, at), (start.into(), end.into()), "{at}");
        }
    }

    #[test]
    fn a_lifetime_is_one_window() {
        let ever = ("1970-01-01T00:00:00.000Z".to_owned(), "9999-01-01T00:00:00.000Z".to_owned());
        assert_eq!(bounds(WindowKind::Lifetime, "1970-01-01T00:00:00Z"), ever);
        assert_eq!(bounds(WindowKind::Lifetime, "2999-01-01T00:00:00Z"), ever);
    }

    #[test]
    fn every_moment_lies_in_its_window_and_in_no_other() {
        let mut at = Moment::parse("2024-01-01T00:00:00Z").expect("valid");
        for _ in 0..2_000 {
            let window = WindowKind::CalendarMonthUtc.at(at);
            assert!(window.contains(at) && !window.contains(window.end), "{}", at.iso());
            assert_eq!(WindowKind::CalendarMonthUtc.at(window.end).start, window.end);
            at = at.plus(std::time::Duration::from_secs(67_891));
        }
        // Times that no calendar knows do not panic.
        for micros in [i64::MIN, i64::MAX] {
            WindowKind::CalendarMonthUtc.at(Moment::from_micros(micros));
        }
        WindowKind::CalendarMonthUtc.at(Moment::parse("9999-12-30T00:00:00Z").expect("valid"));
    }
}
