//! Numbers out of many measurements: medians, high percentiles, and ratios of what was measured side by side.

use std::time::Duration;

/// Measurements of one thing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn push_millis(&mut self, span: Duration) {
        self.push(span.as_secs_f64() * 1000.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that the given part of the measurements does not exceed; NaN without any.
    pub(crate) fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn p50(&self) -> f64 {
        self.percentile(0.5)
    }

    pub(crate) fn p95(&self) -> f64 {
        self.percentile(0.95)
    }

    /// The largest; NaN without any.
    pub(crate) fn most(&self) -> f64 {
        self.percentile(1.0)
    }
}

/// A thing and its limit, measured in turns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pairs {
    pub(crate) measured: Samples,
    pub(crate) limit: Samples,
}

impl Pairs {
    pub(crate) fn push(&mut self, measured: f64, limit: f64) {
        self.measured.push(measured);
        self.limit.push(limit);
    }

    /// The median of the ratios of the pairs.
    pub(crate) fn ratio(&self) -> f64 {
        let ratios = self.measured.0.iter().zip(&self.limit.0).map(|(measured, limit)| measured / limit);
        Samples(ratios.collect()).p50()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let samples = Samples((1..=100).rev().map(f64::from).collect());
        assert_eq!([samples.p50(), samples.p95(), samples.most()], [50.0, 95.0, 100.0]);
        assert_eq!(Samples(vec![7.0]).p95(), 7.0);
        assert!(Samples::default().p50().is_nan());
    }

    #[test]
    fn one_disturbed_pair_does_not_change_the_ratio() {
        let mut pairs = Pairs::default();
        for (measured, limit) in [(2.0, 1.0), (4.0, 2.0), (200.0, 1.0)] {
            pairs.push(measured, limit);
        }
        assert_eq!(pairs.ratio(), 2.0);
    }
}
