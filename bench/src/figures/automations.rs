//! What a change of an automation run costs when many are stored, and how soon a server with many of them is healthy.
//!
//! A run of one step and a gate goes its whole way through the engine, in turns on a store with a hundred runs and on two
//! with very many. The decision at its gate is one change of its state by itself: one call, durable when it returns.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use domain::automation::definition::Decision;
use domain::ids::{AutomationId, AutomationRunId, CompanyId, GateId};
use engine::{Author, Engine, GateDecision, Happening, Heard, LaunchDraft, Subscription};
use serde_json::Value as Json;
use store::Store;

use crate::bench::Bench;
use crate::figure::{Aim, COUNT, MILLIS, Row};
use crate::samples::{Pairs, Samples};
use crate::scene::Scene;
use crate::server::Server;
use crate::{lives, null, stored_automations};

const FEW: i64 = 100;
/// The first rounds meet cold caches.
const WARM_UP: usize = 10;
/// Of the runs that a server starts with, so many are not over.
const LIVE: i64 = 1_000;

/// A store with a past, and its engine.
struct Past {
    store: Arc<Store>,
    engine: Engine,
    company: CompanyId,
    automation: AutomationId,
    events: Subscription,
}

/// How long each part of a run's way took, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Spans {
    /// From the request to the gate, over an agent's run.
    step: f64,
    /// The decision.
    decision: f64,
    /// The whole way.
    whole: f64,
}

pub(crate) fn changes(bench: &Bench) -> Result<Vec<Row>> {
    let many = [10_000, bench.amount(100_000, 1_000_000)];
    let rounds = bench.amount(60, 300);
    let scenes = [bench.scene()?, bench.scene()?, bench.scene()?];
    let pairs = bench.runtime.block_on(async {
        let mut pasts = Vec::new();
        for (scene, runs) in scenes.iter().zip([FEW, many[0], many[1]]) {
            pasts.push(past(bench, scene, runs).await?);
        }
        let mut pairs: [[Pairs; 3]; 2] = Default::default();
        for round in 0..rounds + WARM_UP {
            let mut spans = [Spans::default(); 3];
            for (spans, past) in spans.iter_mut().zip(&mut pasts) {
                *spans = past.live().await?;
            }
            if round < WARM_UP {
                continue;
            }
            let [few, more @ ..] = spans;
            for (pairs, much) in pairs.iter_mut().zip(more) {
                pairs[0].push(much.step, few.step);
                pairs[1].push(much.decision, few.decision);
                pairs[2].push(much.whole, few.whole);
            }
        }
        for Past { store, engine, .. } in &pasts {
            engine.leave().await;
            store.close().await;
        }
        anyhow::Ok(pairs)
    })?;
    let mut rows = Vec::new();
    for (pairs, runs) in pairs.iter().zip(many) {
        for (pairs, what) in pairs.iter().zip(["a step", "a decision at a gate", "a whole automation run"]) {
            let row =
                Row::new(format!("{what}, {runs} automation runs stored"), pairs.measured.p50(), MILLIS)
                    .limit(format!("{FEW} stored"), pairs.limit.p50(), MILLIS, pairs.ratio())
                    .aim(Aim::RatioAtMost(1.5))
                    .detail("p95", pairs.measured.p95(), MILLIS)
                    .detail("rounds", pairs.measured.len() as f64, COUNT);
            rows.push(row);
        }
    }
    Ok(rows)
}

async fn past(bench: &Bench, scene: &Scene, runs: i64) -> Result<Past> {
    let store = Arc::new(bench.open(&bench.target(scene)?).await?);
    Past::new(store, scene.folder(), runs, 0).await
}

impl Past {
    async fn new(store: Arc<Store>, folder: &std::path::Path, over: i64, live: i64) -> Result<Past> {
        let (company, agents) = lives::found(&store, 1).await?;
        let automation = stored_automations::found(&store, &company, &agents[0]).await?;
        stored_automations::add(&store, (&company, &automation, &agents[0]), over, live).await?;
        let engine = null::engine(&store, folder, 4).await?;
        let events = engine.subscribe(&company, None).await?;
        Ok(Past { store, engine, company, automation, events })
    }

    /// A run from its request to its end.
    async fn live(&mut self) -> Result<Spans> {
        let millis = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
        let by = Author::local_board();
        let began = Instant::now();
        let run = self
            .engine
            .run_automation(&self.company, &self.automation, LaunchDraft::default(), &by)
            .await?
            .id;
        let opened = self.until("automation.gate.opened", &run).await?;
        let step = millis(began);
        let gate = GateId(opened["gateId"].as_str().context("the event names its gate")?.to_owned());
        let hash = self.engine.gate(&gate).await?.gate.hash;
        let ask = GateDecision { decision: Decision::Approve, hash, reason: None, targets: Vec::new() };
        let asked = Instant::now();
        self.engine.decide_gate(&gate, ask, &by).await?;
        let decision = millis(asked);
        self.until("automation.run.completed", &run).await?;
        Ok(Spans { step, decision, whole: millis(began) })
    }

    /// Waits until something of a run is told.
    async fn until(&mut self, kind: &str, run: &AutomationRunId) -> Result<Json> {
        loop {
            let Heard::Happening(heard) = self.events.next().await? else { bail!("the events ended") };
            let Happening::Event(event) = heard else { continue };
            if !event.kind.starts_with("automation.") {
                continue;
            }
            let told: Json = serde_json::from_str(&event.payload)?;
            if told["automationRunId"] != run.as_str() {
                continue;
            }
            if event.kind == kind {
                return Ok(told);
            }
            if ["automation.run.failed", "automation.run.blocked"].contains(&event.kind.as_str()) {
                bail!("the run came to another end: {told}");
            }
        }
    }
}

/// A server that finds many runs, of which some are not over.
pub(crate) fn start(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.program()?;
    let runs = bench.amount(20_000, 100_000);
    let scene = bench.scene()?;
    let target = bench.target(&scene)?;
    bench.runtime.block_on(async {
        let store = bench.open(&target).await?;
        let (company, agents) = lives::found(&store, 1).await?;
        let automation = stored_automations::found(&store, &company, &agents[0]).await?;
        stored_automations::add(&store, (&company, &automation, &agents[0]), runs - LIVE, LIVE).await?;
        store.close().await;
        anyhow::Ok(())
    })?;
    let mut starts = Samples::default();
    for _ in 0..bench.amount(5, 11) {
        let server = Server::start(program, &scene, &target, 16)?;
        starts.push_millis(server.healthy_after);
        server.kill()?;
    }
    let what = format!("start to healthy, {runs} automation runs stored, {LIVE} of them not over");
    let row = Row::new(what, starts.p50(), MILLIS).aim(Aim::AtMost(200.0));
    Ok(vec![row.detail("slowest", starts.most(), MILLIS)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Settings, Target};

    use crate::bench::now;

    const MANY: i64 = 10_000;
    const ROUNDS: usize = 9;

    async fn past(over: i64, live: i64) -> (Past, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Target::Memory, Settings::default(), now().micros()).await.unwrap();
        (Past::new(Arc::new(store), folder.path(), over, live).await.unwrap(), folder)
    }

    async fn close(past: Past) {
        past.engine.leave().await;
        past.store.close().await;
    }

    /// What SQLite does for a run, step by step of its machine: the same however busy ours is.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_costs_the_same_with_a_hundred_times_as_many_stored() {
        let ((mut few, _one), (mut many, _two)) = (past(FEW, 0).await, past(MANY, 0).await);
        let mut pairs = Pairs::default();
        for round in 0..=ROUNDS {
            let mut steps = [0.0; 2];
            for (steps, past) in steps.iter_mut().zip([&mut few, &mut many]) {
                let before = past.store.steps();
                past.live().await.unwrap();
                *steps = (past.store.steps() - before) as f64;
            }
            if round > 0 {
                pairs.push(steps[1], steps[0]);
            }
        }
        let ratio = pairs.ratio();
        assert!(pairs.limit.p50() > 1_000.0, "a run costs something: {pairs:?}");
        assert!(ratio <= 1.5, "{ratio:.2} times as much: {pairs:?}");
        for past in [few, many] {
            close(past).await;
        }
    }

    /// A start looks at what is not over: the same with many more that are.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_start_costs_the_same_with_a_hundred_times_as_many_over() {
        let mut costs = Vec::new();
        for over in [FEW, MANY] {
            let (first, folder) = past(over, 0).await;
            first.engine.leave().await;
            let Past { store, company, automation, .. } = first;
            let before = store.steps();
            let engine = null::engine(&store, folder.path(), 4).await.unwrap();
            let events = engine.subscribe(&company, None).await.unwrap();
            let mut again = Past { store, engine, company, automation, events };
            // Whatever begins with the start has begun when a run has gone its way.
            again.live().await.unwrap();
            costs.push((again.store.steps() - before) as f64);
            close(again).await;
        }
        let ratio = costs[1] / costs[0];
        assert!(ratio <= 1.5, "{ratio:.2} times as much: {costs:?}");
    }
}
