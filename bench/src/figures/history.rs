//! What a change costs when much is stored: the same life on a store with a thousand runs and on one with a million.

use std::time::Instant;

use anyhow::Result;

use crate::bench::Bench;
use crate::figure::{Aim, COUNT, MILLIS, Row};
use crate::lives;
use crate::samples::Pairs;
use crate::stored;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (few, many) = (1_000, bench.amount(100_000, 1_000_000));
    let rounds = bench.amount(200, 1_000);
    let (small, large) = (bench.scene()?, bench.scene()?);
    let (on_small, on_large) = (bench.target(&small)?, bench.target(&large)?);
    let pairs = bench.runtime.block_on(async {
        let mut stores = Vec::new();
        for (target, count) in [(&on_small, few), (&on_large, many)] {
            let store = bench.open(target).await?;
            let (company, agents) = lives::found(&store, 1).await?;
            stored::add_runs(&store, &company, count).await?;
            stores.push((store, agents[0].clone()));
        }
        let mut pairs = Pairs::default();
        for round in 0..rounds + 20 {
            let mut spans = [0.0; 2];
            for (span, (store, agent)) in spans.iter_mut().zip(&stores) {
                let began = Instant::now();
                lives::live(store, agent).await?;
                *span = began.elapsed().as_secs_f64() * 1000.0;
            }
            // The first few meet cold caches.
            if round >= 20 {
                pairs.push(spans[1], spans[0]);
            }
        }
        for (store, _) in &stores {
            store.close().await;
        }
        anyhow::Ok(pairs)
    })?;
    let row = Row::new(format!("a run's two transactions, {many} runs stored"), pairs.measured.p50(), MILLIS)
        .limit(format!("{few} runs stored"), pairs.limit.p50(), MILLIS, pairs.ratio())
        .aim(Aim::RatioAtMost(1.5))
        .detail("p95", pairs.measured.p95(), MILLIS)
        .detail("stored runs", many as f64, COUNT);
    Ok(vec![row])
}
