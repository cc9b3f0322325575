//! Cron expressions on the wall clock of a place, through the changes of that clock.
//!
//! Which days and times are meant is the crate `croner`'s business. When they are is ours, with one rule for the two days
//! a year on which the clock is moved: an expression whose hours are *all* hours goes by the time that passes, as one
//! expects of `*/15`: a time that does not exist is not missed, one that comes twice fires twice. Any other expression
//! names times of the day, and each fires exactly once: in the first moment after the gap when the clock leaps over it (two
//! of them in one gap are one firing), and the first time when the clock shows it twice.
//!
//! The rules of time zones come with the program: two servers must agree on slots, whatever their machines know.

use std::sync::LazyLock;

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::moment::Moment;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A place whose clock is meant when none is said.
pub const UTC: &str = "UTC";

/// An expression of five fields, or of six beginning with seconds, in a time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
    /// It goes by the time that passes.
    is_every_hour: bool,
}

/// Which part of it is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    Expression(String),
    Zone(String),
}

impl Cron {
    /// Reads an expression; what can never fire is refused.
    pub fn new(expression: &str, zone: &str) -> Result<Cron, Mistake> {
        let zone = find_zone(zone).map_err(Mistake::Zone)?;
        let wrong = |why: &str| Mistake::Expression(format!("`{expression}` {why}"));
        let fields: Vec<&str> = expression.split_whitespace().collect();
        if !matches!(fields.len(), 5 | 6) {
            let instead =
                instead_of_nickname(expression).map_or(String::new(), |it| format!(": write `{it}`"));
            return Err(wrong(&format!("must have five fields, or six beginning with seconds{instead}")));
        }
        if let Some(why) = slip(&fields) {
            return Err(wrong(&format!("is no cron expression: {why}")));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .dom_and_dow(must_be_both(&fields))
            .build();
        let pattern =
            parser.parse(expression).map_err(|error| wrong(&format!("is no cron expression: {error}")))?;
        let has_hour = |hour| pattern.pattern.hour_match(hour).unwrap_or(false);
        let is_every_hour = (0..24).all(has_hour);
        // Days repeat after 400 years at the latest: what has none from here on has none at all.
        let from = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        if pattern.find_next_occurrence(&from, true).is_err() {
            return Err(wrong("never fires: there is no such day"));
        }
        Ok(Cron { pattern, zone, is_every_hour })
    }

    /// The first slot after a moment.
    pub fn next_after(&self, after: Moment) -> Option<Moment> {
        let after = Timestamp::from_microsecond(after.micros()).ok()?;
        let next = if self.is_every_hour { self.next_passing(after) } else { self.next_named(after) };
        next.map(|next| Moment::from_micros(next.as_microsecond()))
    }

    /// By the time that passes: between two changes of the clock a wall clock is as good as any.
    fn next_passing(&self, after: Timestamp) -> Option<Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        loop {
            let offset = self.zone.to_offset(from);
            let shown = self.pattern.find_next_occurrence(&offset.to_datetime(from), inclusive).ok()?;
            let next = offset.to_timestamp(shown).ok()?;
            match self.zone.following(from).next().map(|change| change.timestamp()) {
                // The clock shows something else by then: looked for again from there.
                Some(change) if change <= next => (from, inclusive) = (change, true),
                Some(_) | None => return Some(next),
            }
        }
    }

    /// By what the clock shows: the moment of a time never lies before that of an earlier time, so the first time with a
    /// later moment is the one.
    fn next_named(&self, after: Timestamp) -> Option<Timestamp> {
        let mut shown = self.zone.to_offset(after).to_datetime(after);
        loop {
            shown = self.pattern.find_next_occurrence(&shown, false).ok()?;
            let next = self.moment_of(shown)?;
            if next > after {
                return Some(next);
            }
        }
    }

    /// When the clock shows a time: the first time of two; after the gap when it leaps over it.
    fn moment_of(&self, shown: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(shown).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                // Read by the clock as it is later, a time of the gap lies before the leap.
                let before_leap = after.to_timestamp(shown).ok()?;
                Some(self.zone.following(before_leap).next()?.timestamp())
            }
        }
    }
}

/// A moment as the clock of a place shows it, with the distance from UTC: `2026-03-29 03:00 +02:00`.
pub fn shown_in(zone: &str, moment: Moment) -> Option<String> {
    let zone = find_zone(zone).ok()?;
    let stamp = Timestamp::from_microsecond(moment.micros()).ok()?;
    // To the second where there are any: most schedules have none.
    let form = match stamp.as_second() % 60 {
        0 => "%Y-%m-%d %H:%M %:z",
        _ => "%Y-%m-%d %H:%M:%S %:z",
    };
    Some(stamp.to_zoned(zone).strftime(form).to_string())
}

/// As cron has it: a day must be one of the month *and* one of the week where one of the two fields begins with a star,
/// as `*/2` does; else either is enough.
fn must_be_both(fields: &[&str]) -> bool {
    let days = fields.len() - 3;
    fields[days].starts_with('*') || fields[days + 2].starts_with('*')
}

/// What people write for a nickname of other crons.
fn instead_of_nickname(expression: &str) -> Option<&'static str> {
    Some(match expression.trim().to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * SUN",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return None,
    })
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A field of an expression: what it counts, its first and last value, their names, and the letter of an interval of it.
struct Field {
    unit: &'static str,
    bounds: (u32, u32),
    names: &'static [&'static str],
    letter: Option<char>,
}

static FIELDS: [Field; 6] = [
    Field { unit: "seconds", bounds: (0, 59), names: &[], letter: Some('s') },
    Field { unit: "minutes", bounds: (0, 59), names: &[], letter: Some('m') },
    Field { unit: "hours", bounds: (0, 23), names: &[], letter: Some('h') },
    Field { unit: "days", bounds: (1, 31), names: &[], letter: Some('d') },
    Field { unit: "months", bounds: (1, 12), names: &MONTHS, letter: None },
    Field { unit: "weekdays", bounds: (0, 6), names: &WEEKDAYS, letter: None },
];

/// A mistake that people make, with what to write instead: a step that leaves its field at once, and a range that runs
/// over the end of one. The parser takes the first and has no help for the second.
fn slip(fields: &[&str]) -> Option<String> {
    let kinds = &FIELDS[FIELDS.len() - fields.len()..];
    let all = fields.iter().zip(kinds);
    all.flat_map(|(text, field)| text.split(',').map(move |part| (part, field)))
        .find_map(|(part, field)| field.slip(part))
}

impl Field {
    fn slip(&self, part: &str) -> Option<String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u32>().ok()?),
            None => (part, 1),
        };
        let (first, last) = self.bounds;
        let count = last - first + 1;
        if step > count {
            let unit = self.unit;
            let why = format!("`{part}` steps over all {count} {unit}, and is the same as `{range}/{count}`");
            return Some(match self.letter {
                Some(letter) => {
                    format!("{why}; for an interval write `every = \"{step}{letter}\"` in place of `cron`")
                }
                None => format!("{why}; name the {unit} that are meant"),
            });
        }
        let (from, to) = range.split_once('-')?;
        let (from_value, to_value) = (self.value(from)?, self.value(to)?);
        // Sunday ends a week as well as it begins one.
        if from_value <= to_value || (self.unit == "weekdays" && to.eq_ignore_ascii_case("SUN")) {
            return None;
        }
        let is_named = from.parse::<u32>().is_err();
        let show = |value: u32| match self.names.get((value - first) as usize) {
            Some(name) if is_named => (*name).to_owned(),
            Some(_) | None => value.to_string(),
        };
        let values: Vec<u32> =
            (from_value..=last).chain(first..=to_value).step_by(step.max(1) as usize).collect();
        let instead = match values.len() > 7 && step == 1 {
            // Shorter as two ranges.
            true => format!("{}-{},{}-{}", show(from_value), show(last), show(first), show(to_value)),
            false => values.into_iter().map(show).collect::<Vec<_>>().join(","),
        };
        Some(format!("`{part}` runs backwards; write `{instead}`"))
    }

    /// The value that a word of a range means.
    fn value(&self, word: &str) -> Option<u32> {
        let (first, last) = self.bounds;
        let by_name = self.names.iter().position(|name| name.eq_ignore_ascii_case(word));
        match by_name {
            Some(place) => u32::try_from(place).ok().map(|place| first + place),
            None => word.parse().ok().filter(|value| (first..=last).contains(value)),
        }
    }
}

fn find_zone(name: &str) -> Result<TimeZone, String> {
    if name == UTC {
        return Ok(TimeZone::UTC);
    }
    ZONES.get(name).map_err(|_| format!("`{name}` is not a time zone"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Moment {
        Moment::parse(text).unwrap_or_else(|| panic!("no moment: {text}"))
    }

    fn cron(expression: &str, zone: &str) -> Cron {
        Cron::new(expression, zone).unwrap_or_else(|mistake| panic!("{mistake:?}"))
    }

    /// The next slots as the clock of the place shows them.
    fn shown(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = cron(expression, zone);
        let mut last = at(after);
        let mut next = || {
            last = cron.next_after(last)?;
            shown_in(zone, last)
        };
        (0..count).map_while(|_| next()).collect()
    }

    fn count(expression: &str, zone: &str, from: &str, to: &str) -> usize {
        let (cron, to) = (cron(expression, zone), at(to));
        let mut last = Moment::from_micros(at(from).micros() - 1);
        let mut count = 0;
        while let Some(next) = cron.next_after(last).filter(|next| *next < to) {
            assert!(next > last);
            (last, count) = (next, count + 1);
        }
        count
    }

    #[test]
    fn expressions_mean_what_people_expect() {
        let rows = [
            ("* * * * *", &["2026-01-01 12:01 +00:00", "2026-01-01 12:02 +00:00"][..]),
            (
                "*/15 * * * *",
                &["2026-01-01 12:15 +00:00", "2026-01-01 12:30 +00:00", "2026-01-01 12:45 +00:00"],
            ),
            (
                "*/20 * * * * *",
                &["2026-01-01 12:00:20 +00:00", "2026-01-01 12:00:40 +00:00", "2026-01-01 12:01 +00:00"],
            ),
            ("0 0 * * *", &["2026-01-02 00:00 +00:00", "2026-01-03 00:00 +00:00"]),
            ("30 9 * * MON-FRI", &["2026-01-02 09:30 +00:00", "2026-01-05 09:30 +00:00"]),
            ("0 12 * * SUN", &["2026-01-04 12:00 +00:00", "2026-01-11 12:00 +00:00"]),
            ("0 12 * * 7", &["2026-01-04 12:00 +00:00", "2026-01-11 12:00 +00:00"]),
            ("0 0 1 * *", &["2026-02-01 00:00 +00:00", "2026-03-01 00:00 +00:00"]),
            (
                "0 0 31 * *",
                &["2026-01-31 00:00 +00:00", "2026-03-31 00:00 +00:00", "2026-05-31 00:00 +00:00"],
            ),
            ("0 0 L * *", &["2026-01-31 00:00 +00:00", "2026-02-28 00:00 +00:00"]),
            ("0 0 15W * *", &["2026-01-15 00:00 +00:00", "2026-02-16 00:00 +00:00"]),
            ("0 0 * * FRI#2", &["2026-01-09 00:00 +00:00", "2026-02-13 00:00 +00:00"]),
            ("0 0 29 2 *", &["2028-02-29 00:00 +00:00", "2032-02-29 00:00 +00:00"]),
            ("0 0 1 JAN *", &["2027-01-01 00:00 +00:00"]),
            // As cron has it: a day of the month *or* of the week, when both are said.
            (
                "0 0 13 * FRI",
                &["2026-01-02 00:00 +00:00", "2026-01-09 00:00 +00:00", "2026-01-13 00:00 +00:00"],
            ),
            // And both, when one of the two begins with a star, or it is said.
            ("0 0 */2 * MON", &["2026-01-05 00:00 +00:00", "2026-01-19 00:00 +00:00"]),
            ("0 0 13 * */7", &["2026-09-13 00:00 +00:00", "2026-12-13 00:00 +00:00"]),
            ("0 0 13 * +FRI", &["2026-02-13 00:00 +00:00", "2026-03-13 00:00 +00:00"]),
            ("0 0 ? * MON", &["2026-01-05 00:00 +00:00", "2026-01-12 00:00 +00:00"]),
            ("0 0 * * FRIL", &["2026-01-30 00:00 +00:00", "2026-02-27 00:00 +00:00"]),
            ("0 0 LW * *", &["2026-01-30 00:00 +00:00", "2026-02-27 00:00 +00:00"]),
            (
                "0 0 * * SAT-SUN",
                &["2026-01-03 00:00 +00:00", "2026-01-04 00:00 +00:00", "2026-01-10 00:00 +00:00"],
            ),
            ("*/60 * * * *", &["2026-01-01 13:00 +00:00", "2026-01-01 14:00 +00:00"]),
            ("0 9,17 * * *", &["2026-01-01 17:00 +00:00", "2026-01-02 09:00 +00:00"]),
        ];
        for (expression, slots) in rows {
            assert_eq!(shown(expression, UTC, "2026-01-01T12:00:00Z", slots.len()), slots, "{expression}");
        }
    }

    #[test]
    fn the_next_slot_is_never_the_moment_itself_and_never_before_it() {
        let cron = cron("0 12 * * *", UTC);
        let noon = at("2026-01-01T12:00:00Z");
        let just = |micros: i64| Moment::from_micros(noon.micros() + micros);
        assert_eq!(cron.next_after(just(-1)), Some(noon));
        assert_eq!(cron.next_after(noon), Some(at("2026-01-02T12:00:00Z")));
        assert_eq!(cron.next_after(just(1)), Some(at("2026-01-02T12:00:00Z")));
        assert_eq!(cron.next_after(just(-1_500_000)), Some(noon));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let rows = [
            ("", "must have five fields"),
            ("* * * *", "must have five fields"),
            ("0 0 0 1 1 * 2027", "must have five fields"),
            ("@daily", "must have five fields, or six beginning with seconds: write `0 0 * * *`"),
            ("@Weekly", "must have five fields, or six beginning with seconds: write `0 0 * * SUN`"),
            ("@reboot", "must have five fields, or six beginning with seconds"),
            ("61 * * * *", "is no cron expression"),
            ("* 24 * * *", "is no cron expression"),
            ("* * 0 * *", "is no cron expression"),
            ("* * * 13 *", "is no cron expression"),
            ("* * * * MOO", "is no cron expression"),
            ("*/0 * * * *", "is no cron expression"),
            ("a b c d e", "is no cron expression"),
            ("10-5 * * * *", "is no cron expression: `10-5` runs backwards; write `10-59,0-5`"),
            ("0 22-2 * * *", "is no cron expression: `22-2` runs backwards; write `22,23,0,1,2`"),
            ("0 20-4/2 * * *", "is no cron expression: `20-4/2` runs backwards; write `20,22,0,2,4`"),
            ("0 0 * * 1,FRI-MON", "is no cron expression: `FRI-MON` runs backwards; write `FRI,SAT,SUN,MON`"),
            ("0 0 * * 5-1", "is no cron expression: `5-1` runs backwards; write `5,6,0,1`"),
            ("0 0 1 nov-feb *", "is no cron expression: `nov-feb` runs backwards; write `NOV,DEC,JAN,FEB`"),
            (
                "*/90 * * * *",
                "is no cron expression: `*/90` steps over all 60 minutes, and is the same as `*/60`; for an interval \
                 write `every = \"90m\"` in place of `cron`",
            ),
            ("*/61 * * * *", "is no cron expression: `*/61` steps over all 60 minutes"),
            ("*/90 * * * * *", "is no cron expression: `*/90` steps over all 60 seconds"),
            ("0 */36 * * *", "is no cron expression: `*/36` steps over all 24 hours"),
            ("0 0 */45 * *", "is no cron expression: `*/45` steps over all 31 days"),
            (
                "0 0 1 */18 *",
                "is no cron expression: `*/18` steps over all 12 months, and is the same as `*/12`; name the months \
                 that are meant",
            ),
            ("0 0 31 2 */2", "never fires"),
            ("0 0 31 2 *", "never fires"),
            ("0 0 30 FEB *", "never fires"),
            ("0 0 31 4,6,9,11 *", "never fires"),
        ];
        for (expression, why) in rows {
            match Cron::new(expression, UTC) {
                Err(Mistake::Expression(message)) => {
                    assert!(message.starts_with(&format!("`{expression}` {why}")), "{message}");
                }
                other => panic!("{expression}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_place_is_refused() {
        for zone in ["", "Berlin", "Europe/Berlim", "CEST", "+02:00", "local", "../../etc/passwd"] {
            assert_eq!(
                Cron::new("* * * * *", zone).err(),
                Some(Mistake::Zone(format!("`{zone}` is not a time zone")))
            );
        }
        for zone in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Etc/GMT+5"] {
            cron("* * * * *", zone);
        }
    }

    #[test]
    fn a_time_of_the_day_that_the_clock_leaps_over_comes_right_after_the_leap() {
        let rows = [
            (
                "Europe/Berlin",
                "30 2 * * *",
                "2026-03-28T00:00:00Z",
                ["2026-03-28 02:30 +01:00", "2026-03-29 03:00 +02:00", "2026-03-30 02:30 +02:00"],
            ),
            (
                "America/New_York",
                "30 2 * * *",
                "2026-03-07T05:00:00Z",
                ["2026-03-07 02:30 -05:00", "2026-03-08 03:00 -04:00", "2026-03-09 02:30 -04:00"],
            ),
            // Here the clock leaps by half an hour, from two to half past: the time is there.
            (
                "Australia/Lord_Howe",
                "30 2 * * *",
                "2026-10-02T15:00:00Z",
                ["2026-10-03 02:30 +10:30", "2026-10-04 02:30 +11:00", "2026-10-05 02:30 +11:00"],
            ),
            (
                "Australia/Lord_Howe",
                "15 2 * * *",
                "2026-10-02T15:00:00Z",
                ["2026-10-03 02:15 +10:30", "2026-10-04 02:30 +11:00", "2026-10-05 02:15 +11:00"],
            ),
            // A day of the week whose last hour is not there: the firing is the first of the next day, not lost.
            (
                "America/Nuuk",
                "30 23 * * SAT",
                "2026-03-22T12:00:00Z",
                ["2026-03-29 00:00 -01:00", "2026-04-04 23:30 -01:00", "2026-04-11 23:30 -01:00"],
            ),
            // Two times in one gap are one firing; one right behind it is the same one.
            (
                "Europe/Berlin",
                "0,30 2,3 * * *",
                "2026-03-29T00:00:00Z",
                ["2026-03-29 03:00 +02:00", "2026-03-29 03:30 +02:00", "2026-03-30 02:00 +02:00"],
            ),
        ];
        for (zone, expression, after, slots) in rows {
            assert_eq!(shown(expression, zone, after, 3), slots, "{expression} in {zone}");
        }
    }

    #[test]
    fn a_time_of_the_day_that_comes_twice_fires_the_first_time() {
        let rows = [
            (
                "Europe/Berlin",
                "30 2 * * *",
                "2026-10-24T00:00:00Z",
                ["2026-10-24 02:30 +02:00", "2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"],
            ),
            (
                "America/New_York",
                "30 1 * * *",
                "2026-10-31T05:00:00Z",
                ["2026-10-31 01:30 -04:00", "2026-11-01 01:30 -04:00", "2026-11-02 01:30 -05:00"],
            ),
            (
                "Australia/Lord_Howe",
                "45 1 * * *",
                "2026-04-03T13:00:00Z",
                ["2026-04-04 01:45 +11:00", "2026-04-05 01:45 +11:00", "2026-04-06 01:45 +10:30"],
            ),
            (
                "Europe/Berlin",
                "*/30 2 * * *",
                "2026-10-25T00:15:00Z",
                ["2026-10-25 02:30 +02:00", "2026-10-26 02:00 +01:00", "2026-10-26 02:30 +01:00"],
            ),
            // Some of the hours is not all of them: two o'clock comes once here, too.
            (
                "Europe/Berlin",
                "0 */2 * * *",
                "2026-10-24T23:30:00Z",
                ["2026-10-25 02:00 +02:00", "2026-10-25 04:00 +01:00", "2026-10-25 06:00 +01:00"],
            ),
        ];
        for (zone, expression, after, slots) in rows {
            assert_eq!(shown(expression, zone, after, 3), slots, "{expression} in {zone}");
        }
        // Asked in the middle of the hour that comes again, it is over for today.
        assert_eq!(
            shown("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
            ["2026-10-26 02:30 +01:00"]
        );
    }

    #[test]
    fn what_fires_every_hour_goes_by_the_time_that_passes() {
        assert_eq!(
            shown("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
            ["2026-03-29 01:30 +01:00", "2026-03-29 03:00 +02:00", "2026-03-29 03:30 +02:00"]
        );
        assert_eq!(
            shown("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
            ["2026-10-25 02:30 +02:00", "2026-10-25 02:30 +01:00", "2026-10-25 03:30 +01:00"]
        );
        // The same hours, spelled out.
        assert_eq!(
            shown("30 0-23 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 2),
            ["2026-10-25 02:30 +02:00", "2026-10-25 02:30 +01:00"]
        );
        assert_eq!(
            shown("*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:40:00Z", 3),
            ["2026-04-05 01:45 +11:00", "2026-04-05 01:30 +10:30", "2026-04-05 01:45 +10:30"]
        );
    }

    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Cairo",
        "America/Nuuk",
        "Pacific/Chatham",
    ];

    #[test]
    fn a_year_has_its_exact_number_of_slots() {
        let year = |zone: &str, year: i16| {
            let from =
                find_zone(zone).unwrap().to_timestamp(DateTime::constant(year, 1, 1, 0, 0, 0, 0)).unwrap();
            Moment::from_micros(from.as_microsecond()).iso()
        };
        for zone in ZONES {
            let of_2026 = |expression| count(expression, zone, &year(zone, 2026), &year(zone, 2027));
            assert_eq!(of_2026("30 2 * * *"), 365, "{zone}");
            assert_eq!(of_2026("30 23 * * *"), 365, "{zone}");
            assert_eq!(of_2026("0 0 * * *"), 365, "{zone}");
            assert_eq!(of_2026("30 2 * * SUN"), 52, "{zone}");
            assert_eq!(of_2026("0 4 * * MON"), 52, "{zone}");
            assert_eq!(of_2026("0 2,14 * * *"), 730, "{zone}");
            assert_eq!(count("30 2 * * *", zone, &year(zone, 2028), &year(zone, 2029)), 366, "{zone}");
        }
        for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
            let quarters = count("*/15 * * * *", zone, &year(zone, 2026), &year(zone, 2027));
            assert_eq!(quarters, 35_040, "{zone}");
        }
        assert_eq!(count("*/15 * * * *", UTC, &year(UTC, 2028), &year(UTC, 2029)), 35_136);
    }

    #[test]
    fn a_clock_that_was_moved_by_a_whole_day_loses_no_slot() {
        // Samoa went from the 29th to the 31st of December 2011.
        assert_eq!(
            shown("0 9 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
            ["2011-12-29 09:00 -10:00", "2011-12-31 00:00 +14:00", "2011-12-31 09:00 +14:00"]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn slots_rise_and_do_not_depend_on_where_the_look_began(
            zone in prop::sample::select(&ZONES[..]),
            expression in prop::sample::select(&[
                "*/15 * * * *", "30 2 * * *", "0 */3 * * *", "15,45 1-3 * * SUN", "0 0 1 * *", "59 23 * * SAT", "*/7 2 * * *",
            ][..]),
            from in 1_700_000_000_000_000_i64..1_900_000_000_000_000,
            later in 0_i64..90_000_000_000,
        ) {
            let cron = cron(expression, zone);
            let from = Moment::from_micros(from);
            let later = Moment::from_micros(from.micros() + later);
            let mut slots = Vec::new();
            let mut last = from;
            for _ in 0..40 {
                let next = cron.next_after(last).unwrap();
                prop_assert!(next > last);
                slots.push(next);
                last = next;
            }
            // Whoever begins to look later finds the same slots.
            if let Some(expected) = slots.iter().find(|slot| **slot > later) {
                prop_assert_eq!(cron.next_after(later), Some(*expected));
            }
        }
    }
}
