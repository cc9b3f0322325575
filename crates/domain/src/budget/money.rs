//! From micro-dollars to cents and back. Cents are rounded once, from the sum; never sum rounded cents (D21).

use super::Metric;

const MICROS_PER_CENT: i64 = 10_000;

/// Cents of a sum of micro-dollars, halves rounded up.
pub const fn cents(micros: i64) -> i64 {
    let whole = micros.div_euclid(MICROS_PER_CENT);
    if micros.rem_euclid(MICROS_PER_CENT) >= MICROS_PER_CENT / 2 { whole + 1 } else { whole }
}

/// Micro-dollars of cents; saturates.
pub const fn micros(cents: i64) -> i64 {
    cents.saturating_mul(MICROS_PER_CENT)
}

/// What part of `whole` it is, in percent with two decimals; 0 when there is no whole.
pub fn percent(part: i64, whole: i64) -> f64 {
    if whole <= 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 100.0 }
}

impl Metric {
    /// An amount of the wire in the unit of the counters.
    pub const fn inner(self, amount: i64) -> i64 {
        match self {
            Metric::BilledCents => micros(amount),
            Metric::Tokens => amount,
        }
    }

    /// An amount of the counters in the unit of the wire.
    pub const fn wire(self, amount: i64) -> i64 {
        match self {
            Metric::BilledCents => cents(amount),
            Metric::Tokens => amount,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_cent_are_rounded_up() {
        for (amount, expected) in [
            (0, 0),
            (4_999, 0),
            (5_000, 1),
            (14_999, 1),
            (15_000, 2),
            (-4_999, 0),
            (-5_000, 0),
            (-5_001, -1),
            (i64::MAX, i64::MAX / 10_000 + 1),
        ] {
            assert_eq!(cents(amount), expected, "{amount}");
        }
        // Three messages of 0.4 cents are 1 cent, not three times nothing.
        assert_eq!(cents(3 * 4_000), 1);
    }

    #[test]
    fn amounts_keep_their_unit() {
        assert_eq!((Metric::BilledCents.inner(50), Metric::Tokens.inner(50)), (500_000, 50));
        assert_eq!((Metric::BilledCents.wire(505_000), Metric::Tokens.wire(505_000)), (51, 505_000));
        assert_eq!(Metric::BilledCents.inner(i64::MAX), i64::MAX);
        // Beyond 32 bits.
        assert_eq!(Metric::BilledCents.wire(Metric::BilledCents.inner(3_000_000_000)), 3_000_000_000);
    }

    #[test]
    fn percentages_have_two_decimals() {
        for (part, whole, expected) in [
            (1, 3, 33.33),
            (2, 3, 66.67),
            (5, 0, 0.0),
            (5, -1, 0.0),
            (0, 9, 0.0),
            (3, 2, 150.0),
            (1, 1, 100.0),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
    }
}
