//! Wakes of `true` through the whole life: over HTTP, durable, with a keeper and a process for each. The limit is the rate
//! of keepers with `true` alone, with as many side by side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value as Json, json};

use crate::bare::Keepers;
use crate::bench::Bench;
use crate::figure::{Aim, PER_SECOND, Row};
use crate::figures::keepers::SIDE_BY_SIDE;
use crate::machine;
use crate::samples::{Pairs, Samples};
use crate::server::{Server, wake};
use crate::wire::Lines;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.program()?;
    let (scene, bare) = (bench.scene()?, bench.scene()?);
    let server = Server::start(program, &scene, &bench.target(&scene)?, u32::try_from(SIDE_BY_SIDE * 2)?)?;
    let company = server.company()?;
    let argv = vec!["/bin/true".to_owned()];
    let mut agents = Vec::new();
    for number in 0..SIDE_BY_SIDE {
        agents.push(server.add_agent(&company, &format!("true {number}"), &argv, &json!({}))?);
    }
    let ends = Arc::new(Ends::default());
    let stream = server.connect()?.stream(&format!("/api/companies/{company}/events"))?;
    let listener = {
        let ends = Arc::clone(&ends);
        std::thread::spawn(move || ends.listen(stream))
    };
    let keepers = Keepers::new(program, &bare);
    let (rounds, span) = bench.amount((3, Duration::from_secs(2)), (7, Duration::from_secs(4)));
    let (mut pairs, mut busy) = (Pairs::default(), Samples::default());
    for round in 0..=rounds {
        let limit = keepers.rate(SIDE_BY_SIDE, span)?;
        let before = machine::activity(server.pid())?;
        let measured = rate(&server, &agents, &ends, span)?;
        let after = machine::activity(server.pid())?;
        if round > 0 {
            pairs.push(measured, limit);
            busy.push((after.cpu_nanos.saturating_sub(before.cpu_nanos)) as f64 / span.as_nanos() as f64);
        }
    }
    drop(server);
    listener.join().expect("the listener ends with its stream");
    Ok(vec![
        Row::new("wakes of `true`, whole lives", pairs.measured.p50(), PER_SECOND)
            .limit(
                format!("bare keepers, {SIDE_BY_SIDE} side by side"),
                pairs.limit.p50(),
                PER_SECOND,
                pairs.ratio(),
            )
            .aim(Aim::RatioAtLeast(0.6))
            .detail("cores used by the server", busy.p50(), ""),
    ])
}

fn rate(server: &Server, agents: &[String], ends: &Ends, span: Duration) -> Result<f64> {
    let began = Instant::now();
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let callers: Vec<_> = agents
            .iter()
            .map(|agent| {
                scope.spawn(|| {
                    let mut connection = server.connect()?;
                    while began.elapsed() < span {
                        let number = count.fetch_add(1, Ordering::Relaxed);
                        let run = wake(&mut connection, agent, &format!("task {number}"))?;
                        ends.wait_for(&run)?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| caller.join().expect("a caller does not panic"))
    })?;
    Ok(count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// The runs that ended, as the event stream of the company tells.
#[derive(Default)]
struct Ends {
    ended: Mutex<HashMap<String, String>>,
    news: Condvar,
    over: AtomicBool,
}

impl Ends {
    fn listen(&self, mut stream: Lines) {
        while let Ok(Some(line)) = stream.next() {
            let Some(data) = line.strip_prefix("data:") else { continue };
            let Ok(event) = serde_json::from_str::<Json>(data.trim_start()) else { continue };
            let payload = &event["payload"];
            if event["type"] != "heartbeat.run.status" || payload["finishedAt"].is_null() {
                continue;
            }
            let text = |field: &str| payload[field].as_str().unwrap_or_default().to_owned();
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(text("runId"), text("status"));
            self.news.notify_all();
        }
        self.over.store(true, Ordering::Relaxed);
        self.news.notify_all();
    }

    fn wait_for(&self, run: &str) -> Result<()> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = ended.remove(run) {
                anyhow::ensure!(status == "succeeded", "run {run} {status}");
                return Ok(());
            }
            anyhow::ensure!(!self.over.load(Ordering::Relaxed), "the event stream ended");
            let left = until.checked_duration_since(Instant::now());
            let left = left.with_context(|| format!("run {run} does not end"))?;
            ended = self.news.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
