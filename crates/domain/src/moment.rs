//! A moment in time: microseconds since 1970 in UTC, as stored; ISO 8601 with milliseconds and `Z` on the wire.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Moment(i64);

impl Moment {
    /// From the stored form.
    pub const fn from_micros(micros: i64) -> Moment {
        Moment(micros)
    }

    /// The stored form.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The moment that lies `span` later; saturates.
    pub fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment that lies `span` earlier; saturates.
    pub fn minus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-04-27T15:02:47.000Z`: what existing clients expect (spec/api.md 1).
    pub fn iso(self) -> String {
        let stamp = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{stamp:.3}")
    }

    /// Reads an RFC 3339 time with any offset.
    pub fn parse(text: &str) -> Option<Moment> {
        text.parse::<jiff::Timestamp>().ok().map(|stamp| Moment(stamp.as_microsecond()))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.iso())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Moment, D::Error> {
        let text = String::deserialize(d)?;
        Moment::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an ISO 8601 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_has_milliseconds_and_z() {
        let moment = Moment::parse("2026-04-27T17:02:47.0129+02:00").expect("valid");
        assert_eq!(moment.iso(), "2026-04-27T15:02:47.012Z");
        assert_eq!(Moment::from_micros(0).iso(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_written_is_read_back_and_other_text_is_refused() {
        let moment = Moment::from_micros(1_777_302_167_012_000);
        let written = serde_json::to_value(moment).expect("plain data");
        assert_eq!(serde_json::from_value::<Moment>(written).expect("just written"), moment);
        let refused = serde_json::from_value::<Moment>("tomorrow".into()).expect_err("no time");
        assert_eq!(refused.to_string(), "`tomorrow` is not an ISO 8601 time");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Moment(5).since(Moment(9)), Duration::ZERO);
        assert_eq!(Moment(9).since(Moment(5)), Duration::from_micros(4));
        assert_eq!(Moment(i64::MAX).plus(Duration::from_secs(1)), Moment(i64::MAX));
        assert_eq!(Moment(0).plus(Duration::from_secs(1)).minus(Duration::from_secs(1)), Moment(0));
    }
}
