//! The engine alone: whole durable lives of runs whose processes end before they begin, against the bare transactions of
//! the same lives on the same store. Both with the same callers side by side, each with an agent of its own.
//!
//! The time that a core works for one life is shown too: it tells more than the rate where others use the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::ids::AgentId;
use engine::Engine;

use crate::bench::Bench;
use crate::figure::{Aim, MICROS, PER_SECOND, Row};
use crate::samples::Pairs;
use crate::{lives, machine, null};

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    // PostgreSQL does not gain from more callers than it has connections for.
    let side_by_side = if bench.is_postgres() { 32 } else { 128 };
    let scene = bench.scene()?;
    let target = bench.target(&scene)?;
    let (rounds, span) = bench.amount((3, Duration::from_secs(1)), (7, Duration::from_secs(2)));
    let (rates, costs) = bench.runtime.block_on(async {
        let store = Arc::new(bench.open(&target).await?);
        let (_, agents) = lives::found(&store, side_by_side).await?;
        let engine = null::engine(&store, scene.folder(), side_by_side * 4).await?;
        let (mut rates, mut costs) = (Pairs::default(), Pairs::default());
        // The first round warms caches up and is not counted.
        for round in 0..=rounds {
            let before = machine::own_cpu_micros();
            let bare = lives::rate(&store, &agents, side_by_side, span).await?;
            let between = machine::own_cpu_micros();
            let whole = rate(&engine, &agents, span).await?;
            let after = machine::own_cpu_micros();
            if round > 0 {
                rates.push(whole.rate, bare.rate);
                costs.push((after - between) / whole.count as f64, (between - before) / bare.count as f64);
            }
        }
        engine.leave().await;
        store.close().await;
        anyhow::Ok((rates, costs))
    })?;
    let expected = if bench.is_postgres() { 1_700.0 } else { 6_000.0 };
    let row = Row::new("engine alone, whole lives", rates.measured.p50(), PER_SECOND)
        .limit(
            format!("bare transactions, {side_by_side} callers"),
            rates.limit.p50(),
            PER_SECOND,
            rates.ratio(),
        )
        .aim(Aim::RatioAtLeast(0.8))
        .detail("expected about", expected, PER_SECOND)
        .detail("core time of a life", costs.measured.p50(), MICROS)
        .detail("core time of its bare transactions", costs.limit.p50(), MICROS);
    Ok(vec![row])
}

async fn rate(engine: &Engine, agents: &[AgentId], span: Duration) -> Result<lives::Lived> {
    let began = Instant::now();
    let count = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for agent in agents {
        let (engine, agent, count) = (engine.clone(), agent.clone(), Arc::clone(&count));
        callers.spawn(async move {
            while began.elapsed() < span {
                null::live(&engine, &agent).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(lives::Lived::new(count.load(Ordering::Relaxed), began.elapsed()))
}
