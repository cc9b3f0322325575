//! The moment that a limit message speaks of: `resets 3pm (Europe/Berlin)`, `try again at 10:51 PM`.
//!
//! Programs print such times for people, in the zone of the machine they run on, so a time without a zone is
//! read in the server's own. Only what stands shortly after a word of waiting is looked at: a message may
//! speak of other times too. Whether a message is about a limit at all is `wording.rs`.

mod cursor;
mod zone;

use std::time::Duration;

use domain::moment::Moment;
use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use cursor::Cursor;

/// Beginnings of the words that announce a moment.
const ANCHORS: &[&str] = &["reset", "try again", "retry", "available", "renew", "until"];

/// How far behind such a word a time is looked for, in characters.
const REACH: usize = 80;

/// A message is short; of a longer text only so much is looked at, in characters.
const LOOKED_AT: usize = 4_096;

/// A date without a year that lies further ahead is one of the past: nobody is locked out for the better part
/// of a year.
const FAR: Duration = Duration::from_secs(200 * 86_400);

/// Longer waits are not meant, in seconds (a year).
const LONGEST: f64 = 366.0 * 86_400.0;

/// Finds the moment at which a limit ends. It lies after `after`: a bare time of day that does not is
/// tomorrow's. `None` when the text names no time, or one that is over.
pub(crate) fn next(text: &str, after: Moment) -> Option<Moment> {
    next_in(text, after, &TimeZone::system())
}

/// The zone in which a program prints times: that of its own variable `TZ`, else the server's.
pub(crate) fn zone_of(tz: Option<&str>) -> TimeZone {
    let name = tz.map(|tz| tz.trim().trim_start_matches(':')).filter(|name| !name.is_empty());
    let named = |name| TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok();
    name.and_then(named).unwrap_or_else(TimeZone::system)
}

/// As [`next`], with `local` as the zone of times that name none, or one that nobody knows.
pub(crate) fn next_in(text: &str, after: Moment, local: &TimeZone) -> Option<Moment> {
    let text = text.char_indices().nth(LOOKED_AT).map_or(text, |(end, _)| &text[..end]);
    let lower = text.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = ANCHORS.iter().filter_map(|word| find_from(&lower, word, from)).min() {
        from = at + 1;
        if lower[..at].chars().next_back().is_some_and(char::is_alphanumeric) {
            continue;
        }
        let behind = &text[at..];
        let end = behind.char_indices().nth(REACH).map_or(behind.len(), |(end, _)| end);
        let window = behind[..end].split('\n').next().unwrap_or_default();
        let found = first_time(window).and_then(|said| said.moment(after, local));
        if found.is_some() {
            return found;
        }
    }
    None
}

fn find_from(text: &str, word: &str, from: usize) -> Option<usize> {
    text.get(from..)?.find(word).map(|at| from + at)
}

/// A time as it is written.
#[derive(Debug)]
enum Said {
    Exactly(Moment),
    In(Duration),
    Clock { day: Day, time: Time, zone: Option<TimeZone> },
}

/// Which day a time of day belongs to.
#[derive(Debug, Clone, Copy)]
enum Day {
    /// Today, or tomorrow when it is over.
    Next,
    On(Weekday),
    /// Month and day, of this year or the next.
    Yearly(i8, i8),
    Full(Date),
}

impl Said {
    /// The first such moment after `after`.
    fn moment(self, after: Moment, local: &TimeZone) -> Option<Moment> {
        let moment = match self {
            Said::Exactly(moment) => moment,
            Said::In(span) => after.plus(span),
            Said::Clock { day, time, zone } => {
                resolve(day, time, after, zone.unwrap_or_else(|| local.clone()))?
            }
        };
        Some(moment).filter(|moment| *moment > after)
    }
}

/// The first moment after `after` at which a clock in `zone` shows this; of a whole date the only one.
fn resolve(day: Day, time: Time, after: Moment, zone: TimeZone) -> Option<Moment> {
    let today = Timestamp::from_microsecond(after.micros()).ok()?.to_zoned(zone.clone()).date();
    let on = |date: Date| {
        let zoned = zone.to_ambiguous_zoned(date.to_datetime(time)).compatible().ok()?;
        Some(Moment::from_micros(zoned.timestamp().as_microsecond()))
    };
    let upcoming = |found: &Moment| *found > after;
    match day {
        Day::Next => on(today).filter(upcoming).or_else(|| on(today.tomorrow().ok()?)),
        Day::On(weekday) => {
            let this = Some(today).filter(|today| today.weekday() == weekday);
            this.and_then(on).filter(upcoming).or_else(|| on(today.nth_weekday(1, weekday).ok()?))
        }
        Day::Yearly(month, day) => [today.year(), today.year().saturating_add(1)]
            .into_iter()
            .filter_map(|year| on(Date::new(year, month, day).ok()?))
            .find(upcoming)
            .filter(|found| found.since(after) <= FAR),
        Day::Full(date) => on(date),
    }
}

/// The first time that is written in `window`, whatever can be made of it.
fn first_time(window: &str) -> Option<Said> {
    let mut before = ' ';
    for (at, letter) in window.char_indices() {
        // Within a word or a number nothing begins.
        let begins = letter.is_alphanumeric() && !before.is_alphanumeric() && !matches!(before, ':' | '.');
        before = letter;
        let cursor = Cursor { rest: &window[at..] };
        let said = if begins { span(cursor).map(Said::In).or_else(|| clock(cursor)) } else { None };
        if said.is_some() {
            return said;
        }
    }
    None
}

/// `in 2 hours 5 minutes`, `after 18h27m33s`, `in about an hour`.
fn span(mut cursor: Cursor<'_>) -> Option<Duration> {
    if !matches!(cursor.word()?.to_ascii_lowercase().as_str(), "in" | "after" | "within") {
        return None;
    }
    let mut ahead = cursor;
    if ahead.word().is_some_and(|word| word.eq_ignore_ascii_case("about")) {
        cursor = ahead;
    }
    let mut seconds = None;
    loop {
        let mut ahead = cursor;
        if seconds.is_some() && ahead.word().is_some_and(|word| word.eq_ignore_ascii_case("and")) {
            cursor = ahead;
        }
        let Some(part) = cursor.amount() else { break };
        seconds = Some(seconds.unwrap_or(0.0) + part);
    }
    seconds.filter(|seconds| *seconds <= LONGEST).map(Duration::from_secs_f64)
}

/// A time of day with or without a date and a zone.
fn clock(mut cursor: Cursor<'_>) -> Option<Said> {
    if let Some(stamp) = cursor.rest.split([' ', ',', ')', ';', '"']).next().and_then(exact) {
        return Some(Said::Exactly(stamp));
    }
    let day = cursor.day();
    let mut ahead = cursor;
    if ahead.word().is_some_and(|word| word.eq_ignore_ascii_case("at") || word.eq_ignore_ascii_case("t")) {
        cursor = ahead;
    }
    let time = match (cursor.time(), day) {
        (Some(time), _) => time,
        // A date alone begins with its day; a day of the week alone says too little.
        (None, Some(Day::Full(_) | Day::Yearly(..))) => Time::midnight(),
        (None, _) => return None,
    };
    Some(Said::Clock { day: day.unwrap_or(Day::Next), time, zone: cursor.zone() })
}

/// RFC 3339, as machines write it; a full stop behind it belongs to the sentence.
fn exact(word: &str) -> Option<Moment> {
    let word = word.trim_end_matches(['.', '\'']);
    if word.len() > 40 || !word.contains(['T', 't']) { None } else { Moment::parse(word) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    /// It is Saturday, 21 November 2026, 14:00 in Berlin (one hour ahead of UTC).
    const NOW: &str = "2026-11-21T13:00:00Z";

    #[test]
    fn every_wording_gives_its_moment() {
        let rows: &[(&str, &str)] = &[
            // A time of day: today's, or tomorrow's when it is over.
            (
                "You\u{2019}ve hit your usage limit. Visit https://x/usage or try again at 10:51 PM.",
                "2026-11-21T21:51:00Z",
            ),
            ("limit reached, resets 3pm", "2026-11-21T14:00:00Z"),
            ("limit reached \u{2219} resets at 3 pm.", "2026-11-21T14:00:00Z"),
            ("Your limit will reset at 3:04:05 p.m. today", "2026-11-21T14:04:05Z"),
            ("resets 2pm", "2026-11-22T13:00:00Z"),
            ("resets 11am", "2026-11-22T10:00:00Z"),
            ("resets 12am", "2026-11-21T23:00:00Z"),
            ("resets 12pm", "2026-11-22T11:00:00Z"),
            ("resets at 15:00", "2026-11-21T14:00:00Z"),
            ("RESETS AT 09:30", "2026-11-22T08:30:00Z"),
            ("Switch to another model now, or try again at 9:00\u{202f}PM.", "2026-11-21T20:00:00Z"),
            // Zones: a name, an abbreviation, an offset; what nobody knows is the server's.
            ("resets 3pm (America/New_York)", "2026-11-21T20:00:00Z"),
            ("resets 3pm (europe/london)", "2026-11-21T15:00:00Z"),
            ("resets 3pm (UTC)", "2026-11-21T15:00:00Z"),
            ("resets 3pm UTC", "2026-11-21T15:00:00Z"),
            ("resets 3pm (PST)", "2026-11-21T23:00:00Z"),
            ("resets 3:30pm PT, see you", "2026-11-21T23:30:00Z"),
            ("resets 3pm (UTC+2)", "2026-11-22T13:00:00Z"),
            ("resets 3pm (GMT-05:30)", "2026-11-21T20:30:00Z"),
            ("resets 3pm (Middle/Earth)", "2026-11-21T14:00:00Z"),
            ("resets 3pm (your time)", "2026-11-21T14:00:00Z"),
            ("resets 3pm is what it says", "2026-11-21T14:00:00Z"),
            ("resets 3pm Europe/Moscow.", "2026-11-22T12:00:00Z"),
            // Dates.
            ("try again at Nov 25th, 2026 3:04 PM.", "2026-11-25T14:04:00Z"),
            ("resets November 25, 2026 at 3:04 PM (UTC)", "2026-11-25T15:04:00Z"),
            ("resets Nov 25 at 3pm", "2026-11-25T14:00:00Z"),
            ("resets 25 Nov, 15:00", "2026-11-25T14:00:00Z"),
            ("resets on Jan 2 at 8am", "2027-01-02T07:00:00Z"),
            ("resets Nov 25", "2026-11-24T23:00:00Z"),
            ("resets 2026-11-25 15:00", "2026-11-25T14:00:00Z"),
            ("resets at 2026-11-25T15:04:05Z.", "2026-11-25T15:04:05Z"),
            ("{\"resets_at\":\"2026-11-25T15:04:05+02:00\"}", "2026-11-25T13:04:05Z"),
            ("resets Mon 9am", "2026-11-23T08:00:00Z"),
            ("resets Saturday at 3pm", "2026-11-21T14:00:00Z"),
            ("resets Sat 1pm", "2026-11-28T12:00:00Z"),
            ("resets Wed, Nov 25 at 3pm", "2026-11-25T14:00:00Z"),
            // Spans.
            ("try again in 2 hours 5 minutes", "2026-11-21T15:05:00Z"),
            ("Try again in 1 day, 2 hours and 5 minutes.", "2026-11-22T15:05:00Z"),
            ("Your quota will reset after 18h27m33s.", "2026-11-22T07:27:33Z"),
            ("Please retry in 34.5s.", "2026-11-21T13:00:34.5Z"),
            ("try again in about an hour", "2026-11-21T14:00:00Z"),
            ("available again in 3 days", "2026-11-24T13:00:00Z"),
            // The first word of waiting that is followed by a time.
            ("Retrying did not help. It resets 3pm.", "2026-11-21T14:00:00Z"),
            ("try again later: resets 3pm", "2026-11-21T14:00:00Z"),
        ];
        for (text, expected) in rows {
            assert_eq!(next_in(text, at(NOW), &berlin()), Some(at(expected)), "{text}");
        }
    }

    #[test]
    fn no_time_gives_no_moment() {
        let far = format!("try again{} 3pm", " later".repeat(20));
        let rows: &[&str] = &[
            "",
            "3pm",
            "You have hit your limit at 3pm",
            "try again later",
            "try again",
            "resets 3",
            "resets 25:00",
            "resets 13pm",
            "resets 10:5 PM",
            "resets 10:61",
            "presets 3pm",
            "retry 3 of 5",
            "retry in a few minutes",
            "try again in 5 lightyears",
            "try again in 999999 weeks",
            "resets soon\nat 3pm",
            "resets Feb 30 at 3pm",
            "resets Monday",
            // Over: nothing to wait for.
            "resets Nov 20 at 3pm",
            "resets Nov 21, 2026 1:00 PM",
            "resets at 2026-11-21T13:00:00Z",
            &far,
        ];
        for text in rows {
            assert_eq!(next_in(text, at(NOW), &berlin()), None, "{text}");
        }
    }

    #[test]
    fn a_day_without_that_hour_gives_the_next_moment_that_exists() {
        // Clocks in Berlin jump from 02:00 to 03:00 on 29 March 2026.
        let night = at("2026-03-28T23:30:00Z");
        assert_eq!(next_in("resets 2:30am", night, &berlin()), Some(at("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn the_servers_own_zone_is_used_when_none_is_named() {
        let (text, now) = ("try again at 10:51 PM", at(NOW));
        assert_eq!(next(text, now), next_in(text, now, &TimeZone::system()));
        assert_eq!(next("resets 3pm (UTC)", now), Some(at("2026-11-21T15:00:00Z")));
    }

    #[test]
    fn a_program_prints_times_in_the_zone_of_its_own_environment() {
        let three = |tz| next_in("resets 3pm", at(NOW), &zone_of(tz));
        assert_eq!(three(Some("UTC")), Some(at("2026-11-21T15:00:00Z")));
        assert_eq!(three(Some(":America/New_York")), Some(at("2026-11-21T20:00:00Z")));
        assert_eq!(three(Some("EST5EDT")), Some(at("2026-11-21T20:00:00Z")));
        for unknown in [None, Some(" "), Some("No/Land")] {
            assert_eq!(three(unknown), next("resets 3pm", at(NOW)));
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_later_moment_or_none(
            text in "(resets?|try again|in|at|[0-9]{1,7}|[:.,()-]|am|PM|Nov|Mon|UTC\\+|hours?|\\PC| ){0,24}",
            micros in any::<i64>(),
        ) {
            for after in [at(NOW), Moment::from_micros(micros)] {
                if let Some(found) = next_in(&text, after, &berlin()) {
                    prop_assert!(found > after, "{}", text);
                }
            }
        }
    }
}
