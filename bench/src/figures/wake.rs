//! From the request to wake an agent to the first instruction of its program: through the server, over HTTP, durable.
//!
//! The limit is what cannot be left out: one flush, and a keeper with its child. All three are measured in turns.

use anyhow::Result;
use serde_json::json;

use crate::bare::{FirstInstructions, Flusher, Keepers};
use crate::bench::Bench;
use crate::figure::{Aim, MILLIS, Row, TIMES};
use crate::figures::keepers::REST;
use crate::roles::monotonic_nanos;
use crate::samples::{Pairs, Samples};
use crate::server::{Server, wait_for_end, wake};

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.program()?;
    let (scene, bare) = (bench.scene()?, bench.scene()?);
    let server = Server::start(program, &scene, &bench.target(&scene)?, 16)?;
    let mut told = FirstInstructions::new(&bare)?;
    let mut argv = vec![bench.own.to_string_lossy().into_owned()];
    argv.extend(told.args());
    let agent = server.add_agent(&server.company()?, "first", &argv, &json!({}))?;
    let keepers = Keepers::new(program, &bare);
    let mut flusher = Flusher::new(&bare)?;
    let mut connection = server.connect()?;
    let (mut pairs, mut flushes, mut kept) = (Pairs::default(), Samples::default(), Samples::default());
    let mut answered = Samples::default();
    for round in 0..bench.amount(100, 300) {
        // A person's wake does not come in the middle of another.
        std::thread::sleep(REST);
        let flush = flusher.flush()?;
        let keeper = keepers.first_instruction(&bench.own, &mut told)?;
        std::thread::sleep(REST);
        let began = monotonic_nanos();
        let run = wake(&mut connection, &agent, &format!("task {round}"))?;
        answered.push((monotonic_nanos() - began) as f64 / 1e6);
        let first = told.next()?.saturating_sub(began) as f64 / 1e6;
        wait_for_end(&mut connection, &run)?;
        let (flush, keeper) = (flush.as_secs_f64() * 1000.0, keeper.as_secs_f64() * 1000.0);
        // The first rounds meet cold caches.
        if round >= 5 {
            pairs.push(first, flush + keeper);
            flushes.push(flush);
            kept.push(keeper);
        }
    }
    let row = Row::new("wake request sent -> child's first instruction", pairs.measured.p50(), MILLIS);
    let fixed = flushes.p50() + 2.0;
    let ratio = pairs.measured.p50() / fixed;
    Ok(vec![
        row.limit("one flush + 2 ms", fixed, MILLIS, ratio)
            .aim(Aim::RatioAtMost(1.5))
            .detail("p95", pairs.measured.p95(), MILLIS)
            .detail("answered after (p50)", answered.p50(), MILLIS)
            .detail("one flush (p50)", flushes.p50(), MILLIS)
            .detail("a keeper with its child (p50)", kept.p50(), MILLIS)
            .detail("flush + keeper with child (p50)", pairs.limit.p50(), MILLIS)
            .detail("ratio to that", pairs.ratio(), TIMES),
    ])
}
