//! Numbers out of what programs print: tokens as whole numbers, money as integer micro-dollars.
//!
//! A number that cannot be meant (negative, not finite, beyond any bill) is read as not said.

use serde_json::Value;

/// More than any bill (ten million dollars), in dollars.
const DEAREST: f64 = 1e7;

/// Returns the field as a number of tokens; 0 when it is not there or makes no sense.
pub(crate) fn tokens(fields: &Value, name: &str) -> u64 {
    let Some(value) = fields.get(name) else { return 0 };
    match (value.as_u64(), value.as_f64()) {
        (Some(count), _) => count,
        // Some programs sum in floating point.
        (None, Some(count)) if (0.0..9e15).contains(&count) => count as u64,
        _ => 0,
    }
}

/// Returns an amount of dollars in micro-dollars.
pub(crate) fn micros(dollars: &Value) -> Option<i64> {
    dollars.as_f64().filter(|dollars| (0.0..DEAREST).contains(dollars)).map(|it| (it * 1e6).round() as i64)
}

/// The same for programs that multiply with prices from a table, and with 0 where the table has none: tokens
/// that cost exactly nothing have no known price.
pub(crate) fn priced(dollars: &Value) -> Option<i64> {
    micros(dollars).filter(|micros| *micros > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_cannot_be_meant_are_not_said() {
        let counts = [
            (json!(7), 7),
            (json!(7.0), 7),
            (json!(-7), 0),
            (json!("7"), 0),
            (json!(null), 0),
            (json!(1e300), 0),
            (json!(u64::MAX), u64::MAX),
        ];
        for (value, expected) in counts {
            assert_eq!(tokens(&json!({ "n": value }), "n"), expected, "{value}");
        }
        assert_eq!(tokens(&json!({}), "n"), 0);
        assert_eq!(tokens(&json!(7), "n"), 0);
    }

    #[test]
    fn dollars_are_rounded_to_micro_dollars() {
        assert_eq!(micros(&json!(0.001_063_999_999_999_999_8)), Some(1_064));
        assert_eq!(micros(&json!(0)), Some(0));
        assert_eq!(micros(&json!(-0.5)), None);
        assert_eq!(micros(&json!(1e300)), None);
        assert_eq!(micros(&json!("1")), None);
        assert_eq!(priced(&json!(0)), None);
        assert_eq!(priced(&json!(0.5)), Some(500_000));
    }
}
