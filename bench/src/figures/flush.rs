//! The flush: how long the disk takes to make one row durable. Every latency contains at least one.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bare::Flusher;
use crate::bench::Bench;
use crate::figure::{MILLIS, PER_SECOND, Row};
use crate::samples::Samples;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let scene = bench.scene()?;
    let mut flusher = Flusher::new(&scene)?;
    let mut samples = Samples::default();
    let span = bench.amount(Duration::from_secs(1), Duration::from_secs(5));
    let began = Instant::now();
    while began.elapsed() < span {
        samples.push_millis(flusher.flush()?);
    }
    let rate = samples.len() as f64 / began.elapsed().as_secs_f64();
    let row = Row::new("flush of one row (fdatasync)", samples.p50(), MILLIS);
    Ok(vec![row.detail("p95", samples.p95(), MILLIS).detail("rate", rate, PER_SECOND)])
}
