//! A server that is killed with a hundred live runs: how long until its next start looks after all of them again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};

use crate::bench::Bench;
use crate::figure::{Aim, MILLIS, Row};
use crate::samples::Samples;
use crate::server::{Server, wake};
use crate::wire::Connection;

const RUNS: usize = 100;
/// Most runs that one agent may have at the same time.
const EACH: usize = 10;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.program()?;
    let scene = bench.scene()?;
    let target = bench.target(&scene)?;
    let mut server = Server::start(program, &scene, &target, 128)?;
    let company = server.company()?;
    let argv = vec!["/bin/sleep".to_owned(), "1000".to_owned()];
    let mut connection = server.connect()?;
    for number in 0..RUNS / EACH {
        let agent = server.add_agent(&company, &format!("sleeper {number}"), &argv, &json!({}))?;
        for task in 0..EACH {
            wake(&mut connection, &agent, &format!("task {task}"))?;
        }
    }
    let before = until_all_have_processes(&mut connection, &company)?;
    let (mut samples, mut healthy) = (Samples::default(), Samples::default());
    for _ in 0..bench.amount(3, 7) {
        server.kill()?;
        let began = Instant::now();
        server = Server::start(program, &scene, &target, 128)?;
        connection = server.connect()?;
        until_all_are_tended(&mut connection, began)?;
        samples.push_millis(began.elapsed());
        healthy.push_millis(server.healthy_after);
    }
    ensure!(
        until_all_have_processes(&mut connection, &company)? == before,
        "the processes are not the same as before"
    );
    Ok(vec![
        Row::new(format!("restart with {RUNS} live runs -> all re-attached"), samples.p50(), MILLIS)
            .aim(Aim::AtMost(2_000.0))
            .detail("slowest", samples.most(), MILLIS)
            .detail("healthy after", healthy.p50(), MILLIS),
    ])
}

/// Waits until the record names a process for every run; returns the processes, sorted.
fn until_all_have_processes(connection: &mut Connection, company: &str) -> Result<Vec<i64>> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let rows = connection.get(&format!("/api/companies/{company}/heartbeat-runs?limit=1000"))?.json()?;
        let running =
            rows.as_array().context("a list is an array")?.iter().filter(|run| run["status"] == "running");
        let mut pids: Vec<i64> = running.filter_map(|run| run["processPid"].as_i64()).collect();
        if pids.len() == RUNS {
            pids.sort_unstable();
            return Ok(pids);
        }
        ensure!(Instant::now() < until, "only {} of {RUNS} runs have a process", pids.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn until_all_are_tended(connection: &mut Connection, began: Instant) -> Result<()> {
    loop {
        let health: Json = connection.get("/api/health")?.json()?;
        let taken = health["recovery"]["takenOver"].as_u64().context("health tells the recovery")?;
        if taken as usize == RUNS && health["recovery"]["done"] == true {
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(30), "not all were taken over: {health}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
