//! What a change costs when much is stored: the same life on a store with a thousand runs and on one with very many. The
//! agent that is woken has its share of that past.
//!
//! Once as the bare transactions of the store, once through the engine, which also looks for what may start next.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use domain::ids::AgentId;
use engine::Engine;
use store::Store;

use crate::bench::Bench;
use crate::figure::{Aim, COUNT, MILLIS, Row};
use crate::samples::Pairs;
use crate::scene::Scene;
use crate::{lives, null, stored};

/// The first rounds meet cold caches.
const WARM_UP: usize = 20;

/// A store with a past, and one of its agents.
struct Past {
    store: Arc<Store>,
    engine: Engine,
    agent: AgentId,
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (few, many) = (1_000, bench.amount(100_000, 1_000_000));
    let rounds = bench.amount(150, 600);
    let (small, large) = (bench.scene()?, bench.scene()?);
    let (bare, whole) = bench.runtime.block_on(async {
        let pasts = [past(bench, &small, few).await?, past(bench, &large, many).await?];
        let (mut bare, mut whole) = (Pairs::default(), Pairs::default());
        for round in 0..rounds + WARM_UP {
            let mut spans = [[0.0; 2]; 2];
            for (span, Past { store, engine, agent }) in spans.iter_mut().zip(&pasts) {
                let began = Instant::now();
                lives::live(store, agent).await?;
                span[0] = began.elapsed().as_secs_f64() * 1000.0;
                let began = Instant::now();
                null::live(engine, agent).await?;
                span[1] = began.elapsed().as_secs_f64() * 1000.0;
            }
            if round >= WARM_UP {
                bare.push(spans[1][0], spans[0][0]);
                whole.push(spans[1][1], spans[0][1]);
            }
        }
        for Past { store, engine, .. } in &pasts {
            engine.leave().await;
            store.close().await;
        }
        anyhow::Ok((bare, whole))
    })?;
    let row = |what: &str, pairs: &Pairs| {
        Row::new(format!("{what}, {many} runs stored"), pairs.measured.p50(), MILLIS)
            .limit(format!("{few} runs stored"), pairs.limit.p50(), MILLIS, pairs.ratio())
            .aim(Aim::RatioAtMost(1.5))
            .detail("p95", pairs.measured.p95(), MILLIS)
            .detail("of them, of this agent", many as f64 / 100.0, COUNT)
    };
    Ok(vec![row("a run's two transactions", &bare), row("a run's life in the engine", &whole)])
}

async fn past(bench: &Bench, scene: &Scene, runs: i64) -> Result<Past> {
    let store = Arc::new(bench.open(&bench.target(scene)?).await?);
    let (company, _) = lives::found(&store, 1).await?;
    let agent = stored::add_runs(&store, &company, runs).await?;
    let engine = null::engine(&store, scene.folder(), 4).await?;
    Ok(Past { store, engine, agent })
}
