//! Reading dates, times of day and spans out of a sentence, piece by piece.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use super::{Day, zone};

/// Reads from the beginning of what is left; each reading moves on only when it succeeds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', ',', '\u{a0}', '\u{202f}']);
    }

    /// A run of letters.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        let mut ahead = *self;
        ahead.skip();
        let end = ahead.rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(ahead.rest.len());
        let (word, rest) = ahead.rest.split_at(end);
        if word.is_empty() {
            return None;
        }
        *self = Cursor { rest };
        Some(word)
    }

    /// A whole number of at most six digits, where it begins right here.
    fn digits(&mut self) -> Option<(u32, usize)> {
        let end = self.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        if digits.len() > 6 {
            return None;
        }
        let number = digits.parse().ok()?;
        self.rest = rest;
        Some((number, end))
    }

    fn number(&mut self) -> Option<u32> {
        let mut ahead = *self;
        ahead.skip();
        let (number, _) = ahead.digits()?;
        *self = ahead;
        Some(number)
    }

    fn take(&mut self, letter: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(letter)?;
        Some(())
    }

    /// `2 hours`, `27m`, `33.5s`, `an hour`, in seconds.
    pub(super) fn amount(&mut self) -> Option<f64> {
        let mut ahead = *self;
        let number = match ahead.number() {
            Some(whole) => {
                let mut fraction = ahead;
                match fraction.take('.').and_then(|()| fraction.digits()) {
                    Some((part, digits)) => {
                        ahead = fraction;
                        f64::from(whole) + f64::from(part) / 10_f64.powi(digits as i32)
                    }
                    None => f64::from(whole),
                }
            }
            None => matches!(ahead.word()?.to_ascii_lowercase().as_str(), "a" | "an").then_some(1.0)?,
        };
        let unit = match ahead.word()?.to_ascii_lowercase().as_str() {
            "w" | "week" | "weeks" => 604_800.0,
            "d" | "day" | "days" => 86_400.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "ms" | "millisecond" | "milliseconds" => 0.001,
            _ => return None,
        };
        *self = ahead;
        Some(number * unit)
    }

    /// `Nov 25th, 2026`, `25 November`, `2026-11-25`, `Monday`.
    pub(super) fn day(&mut self) -> Option<Day> {
        let mut ahead = *self;
        if let Some(date) = ahead.iso_date() {
            *self = ahead;
            return Some(Day::Full(date));
        }
        let mut ahead = *self;
        let (month, day) = match ahead.number() {
            Some(day) => {
                ahead.ordinal();
                (month(ahead.word()?)?, day)
            }
            None => {
                let word = ahead.word()?;
                let Some(month) = month(word) else {
                    let weekday = weekday(word)?;
                    *self = ahead;
                    // "Mon, Nov 25": the date says it all.
                    return Some(self.day().unwrap_or(Day::On(weekday)));
                };
                let day = ahead.number()?;
                ahead.ordinal();
                (month, day)
            }
        };
        let day = i8::try_from(day).ok().filter(|day| (1..=31).contains(day))?;
        *self = ahead;
        // A number of four digits is the year; `3:04` and `3pm` are not.
        if let Some(year) = ahead.number().filter(|year| (2000..10_000).contains(year))
            && !ahead.rest.starts_with(':')
        {
            *self = ahead;
            return Date::new(i16::try_from(year).ok()?, month, day).ok().map(Day::Full);
        }
        Some(Day::Yearly(month, day))
    }

    fn iso_date(&mut self) -> Option<Date> {
        let (year, digits) = self.digits()?;
        self.take('-')?;
        let (month, _) = self.digits()?;
        self.take('-')?;
        let (day, _) = self.digits()?;
        let small = |number: u32| i8::try_from(number).ok();
        (digits == 4).then(|| Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok())?
    }

    fn ordinal(&mut self) {
        for ending in ["st", "nd", "rd", "th"] {
            if let Some(rest) = self.rest.strip_prefix(ending) {
                self.rest = rest;
                return;
            }
        }
    }

    /// `3pm`, `10:51 PM`, `3:04:05 p.m.`, `15:00`. A bare number is none.
    pub(super) fn time(&mut self) -> Option<Time> {
        let mut ahead = *self;
        ahead.skip();
        let (hour, digits) = ahead.digits()?;
        let mut parts = [0_i8; 2];
        let mut has_minutes = false;
        for part in &mut parts {
            let mut next = ahead;
            if next.take(':').is_none() {
                break;
            }
            let (number, digits) = next.digits()?;
            *part = i8::try_from(number).ok().filter(|_| digits == 2)?;
            (ahead, has_minutes) = (next, true);
        }
        let hour = i8::try_from(hour).ok().filter(|_| digits <= 2)?;
        let mut half = ahead;
        let hour = match half.half_of_day() {
            Some(is_afternoon) if (1..=12).contains(&hour) => {
                ahead = half;
                hour % 12 + if is_afternoon { 12 } else { 0 }
            }
            _ if has_minutes => hour,
            _ => return None,
        };
        let time = Time::new(hour, parts[0], parts[1], 0).ok()?;
        *self = ahead;
        Some(time)
    }

    fn half_of_day(&mut self) -> Option<bool> {
        let first = self.word()?.to_ascii_lowercase();
        let is_afternoon = match first.as_str() {
            "am" => return Some(false),
            "pm" => return Some(true),
            "a" => false,
            "p" => true,
            _ => return None,
        };
        self.take('.')?;
        let rest = self.rest.strip_prefix(['m', 'M'])?;
        self.rest = rest.strip_prefix('.').unwrap_or(rest);
        Some(is_afternoon)
    }

    /// `(Europe/Berlin)`, `(UTC+2)`, `GMT`. Without parentheses only what cannot be a word of the sentence.
    pub(super) fn zone(&mut self) -> Option<TimeZone> {
        self.skip();
        if let Some(inner) = self.rest.strip_prefix('(') {
            let name = inner.split(')').next()?.trim();
            return zone::read(name);
        }
        let end = self.rest.find([' ', ',', ';', ')', '"']).unwrap_or(self.rest.len());
        let name = self.rest[..end].trim_end_matches('.');
        let is_shouted = !name.is_empty() && !name.contains(|letter: char| letter.is_ascii_lowercase());
        if is_shouted || name.contains('/') { zone::read(name) } else { None }
    }
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    position(&MONTHS, word).and_then(|at| i8::try_from(at + 1).ok())
}

fn weekday(word: &str) -> Option<Weekday> {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    position(&DAYS, word).and_then(|at| Weekday::from_monday_one_offset(i8::try_from(at + 1).ok()?).ok())
}

/// A name in full, or shortened to three or four letters.
fn position(names: &[&str], word: &str) -> Option<usize> {
    let word = word.to_ascii_lowercase();
    let is_short = matches!(word.len(), 3 | 4);
    names.iter().position(|name| *name == word || is_short && name.starts_with(&word))
}
