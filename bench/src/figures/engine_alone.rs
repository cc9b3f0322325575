//! The engine alone: whole durable lives of runs whose processes end before they begin, against the bare transactions of
//! the same lives on the same store. Both with the same callers side by side, each with an agent of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapters::Host;
use anyhow::{Result, bail};
use domain::ids::{AgentId, RunId};
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest};
use engine::{Engine, Settings, SystemClock, SystemDice, Woken};
use serde_json::Map;

use crate::bench::Bench;
use crate::figure::{Aim, PER_SECOND, Row};
use crate::lives;
use crate::null::Nobody;
use crate::samples::Pairs;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    // PostgreSQL does not gain from more callers than it has connections for.
    let side_by_side = if bench.is_postgres() { 32 } else { 128 };
    let scene = bench.scene()?;
    let target = bench.target(&scene)?;
    let (rounds, span) = bench.amount((3, Duration::from_secs(1)), (7, Duration::from_secs(2)));
    let pairs = bench.runtime.block_on(async {
        let store = Arc::new(bench.open(&target).await?);
        let (_, agents) = lives::found(&store, side_by_side).await?;
        let settings = Settings {
            data_dir: scene.folder().to_owned(),
            node_id: "bench".to_owned(),
            program: PathBuf::from("/bin/false"),
            host: Host::from_env(std::env::vars_os()),
            max_runs: u32::try_from(side_by_side * 4)?,
            ..Settings::default()
        };
        let (clock, dice) = (Arc::new(SystemClock), Arc::new(SystemDice));
        let engine = Engine::start(Arc::clone(&store), Arc::new(Nobody), clock, dice, settings).await?;
        let mut pairs = Pairs::default();
        // The first round warms caches up and is not counted.
        for round in 0..=rounds {
            let bare = lives::rate(&store, &agents, side_by_side, span).await?;
            let whole = rate(&engine, &agents, span).await?;
            if round > 0 {
                pairs.push(whole, bare);
            }
        }
        engine.leave().await;
        store.close().await;
        anyhow::Ok(pairs)
    })?;
    let expected = if bench.is_postgres() { 1_700.0 } else { 6_000.0 };
    let row = Row::new("engine alone, whole lives", pairs.measured.p50(), PER_SECOND)
        .limit(
            format!("bare transactions, {side_by_side} callers"),
            pairs.limit.p50(),
            PER_SECOND,
            pairs.ratio(),
        )
        .aim(Aim::RatioAtLeast(0.8))
        .detail("expected about", expected, PER_SECOND);
    Ok(vec![row])
}

async fn rate(engine: &Engine, agents: &[AgentId], span: Duration) -> Result<f64> {
    let began = Instant::now();
    let count = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for agent in agents {
        let (engine, agent, count) = (engine.clone(), agent.clone(), Arc::clone(&count));
        callers.spawn(async move {
            while began.elapsed() < span {
                let run = match engine.wake(&agent, request()).await? {
                    Woken::Run(run) => run,
                    Woken::Skipped(skipped) => bail!("a wake was skipped: {:?}", skipped.reason),
                };
                settled(&engine, &run.id).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// Returns when the engine has let go of a run, which it does after its end is durable.
async fn settled(engine: &Engine, run: &RunId) {
    while let Some(bell) = engine.log_bell(run) {
        let ring = bell.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        // It may have let go between the two looks; then nobody rings any more.
        if engine.log_bell(run).is_some() {
            ring.await;
        }
    }
}

fn request() -> WakeRequest {
    WakeRequest {
        source: Source::OnDemand,
        trigger_detail: Some(TriggerDetail::Manual),
        reason: None,
        payload: Map::new(),
        context: Map::new(),
        idempotency_key: None,
        body_hash: String::new(),
        actor: Actor::local_board(),
        carries_on: false,
    }
}
