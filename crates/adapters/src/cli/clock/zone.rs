//! The names of time zones, as people write them behind a time.

use jiff::tz::{Offset, TimeZone};

/// Returns the zone that a text in a message names: `Europe/Berlin`, `UTC`, `PST`, `GMT+2`.
pub(super) fn read(name: &str) -> Option<TimeZone> {
    abbreviation(name).or_else(|| named(name))
}

fn named(name: &str) -> Option<TimeZone> {
    // The longest name of a zone has 32 letters; a path is none.
    if name.len() > 64 || name.contains("..") || name.starts_with('/') {
        return None;
    }
    TimeZone::get(name).ok()
}

/// Abbreviations that people use, with their offsets in minutes; `PT` and its kin stand for a place. Those
/// that mean several things (IST, CST) are read as most of their users mean them.
fn abbreviation(name: &str) -> Option<TimeZone> {
    let name = name.to_ascii_uppercase();
    let place = match name.as_str() {
        "PT" => Some("America/Los_Angeles"),
        "MT" => Some("America/Denver"),
        "CT" => Some("America/Chicago"),
        "ET" => Some("America/New_York"),
        _ => None,
    };
    if let Some(place) = place {
        return named(place);
    }
    let minutes = match name.as_str() {
        "UTC" | "GMT" | "Z" | "WET" => 0,
        "PST" => -480,
        "PDT" | "MST" => -420,
        "MDT" | "CST" => -360,
        "CDT" | "EST" => -300,
        "EDT" | "AST" => -240,
        "BRT" | "ART" | "ADT" => -180,
        "BST" | "WEST" | "CET" => 60,
        "CEST" | "EET" | "SAST" => 120,
        "EEST" | "MSK" | "TRT" => 180,
        "IST" => 330,
        "SGT" | "HKT" | "AWST" => 480,
        "JST" | "KST" => 540,
        "ACST" => 570,
        "AEST" => 600,
        "ACDT" => 630,
        "AEDT" => 660,
        "NZST" => 720,
        "NZDT" => 780,
        _ => offset_behind_utc(&name)?,
    };
    Offset::from_seconds(minutes * 60).ok().map(TimeZone::fixed)
}

/// `UTC+2`, `GMT-05:30`, in minutes.
fn offset_behind_utc(name: &str) -> Option<i32> {
    let rest = name.strip_prefix("UTC").or_else(|| name.strip_prefix("GMT"))?;
    let (sign, rest) = match rest.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, rest.strip_prefix(['-', '\u{2212}'])?),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if rest.len() == 4 && rest.is_ascii() => rest.split_at(2),
        None => (rest, "0"),
    };
    let number = |text: &str| text.parse::<u8>().ok().map(i32::from);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}
