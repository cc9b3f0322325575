//! Keepers by themselves, without a server: how fast they start, how many a second, and what they hold in memory.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::bare::{FirstInstructions, Keepers, first_instruction_alone, wait};
use crate::bench::Bench;
use crate::figure::{Aim, MIB, MILLIS, PER_SECOND, Row};
use crate::machine;
use crate::samples::{Pairs, Samples};

/// Starts side by side, as many as runs in the figure of whole lives.
pub(crate) const SIDE_BY_SIDE: usize = 16;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    Ok(vec![first_instruction(bench)?, rate(bench)?, memory(bench, 1)?, memory(bench, 100)?])
}

/// After a rest, as when a person wakes an agent: some work of the kernel is cheap only when it was done a moment ago.
pub(crate) const REST: Duration = Duration::from_millis(20);

fn first_instruction(bench: &Bench) -> Result<Row> {
    let (scene, other) = (bench.scene()?, bench.scene()?);
    let keepers = Keepers::new(bench.keeper_program(), &scene);
    let subreapers = Keepers::new(bench.keeper_program(), &other).with_subreaper_only();
    let mut told = FirstInstructions::new(&scene)?;
    let (mut pairs, mut least, mut at_once) = (Pairs::default(), Samples::default(), Samples::default());
    let millis = |span: Duration| span.as_secs_f64() * 1000.0;
    for _ in 0..bench.amount(60, 200) {
        std::thread::sleep(REST);
        let alone = first_instruction_alone(&bench.own, &mut told)?;
        std::thread::sleep(REST);
        let kept = keepers.first_instruction(&bench.own, &mut told)?;
        pairs.push(millis(kept), millis(alone));
        at_once.push_millis(keepers.first_instruction(&bench.own, &mut told)?);
        std::thread::sleep(REST);
        least.push_millis(subreapers.first_instruction(&bench.own, &mut told)?);
    }
    Ok(Row::new("keeper started -> child's first instruction", pairs.measured.p50(), MILLIS)
        .limit("child started alone", pairs.limit.p50(), MILLIS, pairs.ratio())
        .aim(Aim::AtMost(2.0))
        .detail("p95", pairs.measured.p95(), MILLIS)
        .detail("with the subreaper only", least.p50(), MILLIS)
        .detail("right after another", at_once.p50(), MILLIS))
}

fn rate(bench: &Bench) -> Result<Row> {
    let scene = bench.scene()?;
    let keepers = Keepers::new(bench.keeper_program(), &scene);
    let span = bench.amount(Duration::from_secs(2), Duration::from_secs(5));
    let rate = keepers.rate(SIDE_BY_SIDE, span)?;
    Ok(Row::new(format!("`true` in keepers, {SIDE_BY_SIDE} side by side"), rate, PER_SECOND))
}

fn memory(bench: &Bench, count: usize) -> Result<Row> {
    let scene = bench.scene()?;
    let keepers = Keepers::new(bench.keeper_program(), &scene);
    let mut pids = Vec::new();
    for _ in 0..count {
        let (pid, folder) = keepers.launch(vec!["/bin/sleep".to_owned(), "1000".to_owned()], Vec::new())?;
        pids.push((pid, folder));
    }
    for (_, folder) in &pids {
        until_running(folder)?;
    }
    let mut sum = 0;
    for (pid, _) in &pids {
        sum += machine::proportional_kib(*pid)?;
    }
    for (pid, folder) in pids {
        keeper::Handle::new(&folder, 1).stop("measured").context("cannot stop a keeper")?;
        wait(pid)?;
    }
    let (what, aim) = if count == 1 { ("a keeper alone", 2.5) } else { ("100 keepers together", 40.0) };
    Ok(Row::new(format!("{what}, proportional memory"), sum as f64 / 1024.0, MIB).aim(Aim::AtMost(aim)))
}

/// Returns when a keeper has started its child and waits for orders.
fn until_running(folder: &std::path::Path) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        match keeper::Handle::new(folder, 1).hello() {
            Ok(hello) if hello.child_pid.is_some() => return Ok(()),
            Err(error) if began.elapsed() > Duration::from_secs(10) => return Err(error.into()),
            Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
