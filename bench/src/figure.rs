//! A figure: what was measured, its limit, and the aim it is held against.

/// One line of the report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) measured: Quantity,
    /// What the machine allows, measured in the same run.
    pub(crate) limit: Option<Limit>,
    pub(crate) aim: Option<Aim>,
    /// More numbers of the same measurement.
    pub(crate) details: Vec<(String, Quantity)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limit {
    pub(crate) what: String,
    pub(crate) quantity: Quantity,
    /// Measured value over limit: the median over the pairs, which says more than the ratio of two medians.
    pub(crate) ratio: f64,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtMost(f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantity {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

pub(crate) const MILLIS: &str = "ms";
pub(crate) const MICROS: &str = "us";
pub(crate) const PER_SECOND: &str = "/s";
pub(crate) const MIB_PER_SECOND: &str = "MiB/s";
pub(crate) const MIB: &str = "MiB";
pub(crate) const TIMES: &str = "x";
pub(crate) const PERCENT: &str = "%";
pub(crate) const COUNT: &str = "";

/// A value with its unit.
pub(crate) fn quantity(value: f64, unit: &'static str) -> Quantity {
    Quantity { value, unit }
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Row {
        Row {
            what: what.into(),
            measured: quantity(value, unit),
            limit: None,
            aim: None,
            details: Vec::new(),
        }
    }

    pub(crate) fn limit(
        mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        ratio: f64,
    ) -> Row {
        self.limit = Some(Limit { what: what.into(), quantity: quantity(value, unit), ratio });
        self
    }

    pub(crate) fn aim(mut self, aim: Aim) -> Row {
        self.aim = Some(aim);
        self
    }

    pub(crate) fn detail(mut self, what: impl Into<String>, value: f64, unit: &'static str) -> Row {
        self.details.push((what.into(), quantity(value, unit)));
        self
    }

    /// Whether the aim is reached; `None` without an aim, or without the limit that it is about.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        let ratio = self.limit.as_ref().map(|limit| limit.ratio);
        Some(match self.aim? {
            Aim::RatioAtLeast(least) => ratio? >= least,
            Aim::RatioAtMost(most) => ratio? <= most,
            Aim::AtMost(most) => self.measured.value <= most,
        })
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Quantity { value, unit } = self;
        let digits = match value.abs() {
            0.0 => 0,
            x if x < 0.1 => 4,
            x if x < 10.0 => 2,
            x if x < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{value:.digits$}")?;
        if unit.is_empty() { Ok(()) } else { write!(f, " {unit}") }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Aim::RatioAtLeast(ratio) => write!(f, ">= {ratio:.2} x limit"),
            Aim::RatioAtMost(ratio) => write!(f, "<= {ratio:.2} x limit"),
            Aim::AtMost(value) => write!(f, "<= {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_of_a_ratio_needs_a_limit_and_one_of_a_value_does_not() {
        let row = Row::new("x", 3.0, MILLIS);
        assert_eq!(row.clone().is_reached(), None);
        assert_eq!(row.clone().aim(Aim::RatioAtMost(1.5)).is_reached(), None);
        assert_eq!(row.clone().aim(Aim::AtMost(3.0)).is_reached(), Some(true));
        let limited = row.limit("y", 2.0, MILLIS, 1.6);
        assert_eq!(limited.clone().aim(Aim::RatioAtMost(1.5)).is_reached(), Some(false));
        assert_eq!(limited.aim(Aim::RatioAtLeast(1.5)).is_reached(), Some(true));
    }

    #[test]
    fn small_numbers_show_more_digits_than_large_ones() {
        let shown = |value| quantity(value, MILLIS).to_string();
        assert_eq!(
            [shown(0.0123), shown(1.234), shown(12.34), shown(1234.5)],
            ["0.0123 ms", "1.23 ms", "12.3 ms", "1234 ms"]
        );
        assert_eq!(quantity(5.0, COUNT).to_string(), "5.00");
    }
}
