//! Listing runs, starting, and doing nothing, when very many runs are stored.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use store::Target;

use crate::bench::Bench;
use crate::figure::{Aim, MIB, MILLIS, PERCENT, Row};
use crate::samples::Samples;
use crate::server::Server;
use crate::{lives, machine, stored};

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let program = bench.program()?;
    let runs = bench.amount(100_000, 1_000_000);
    let scene = bench.scene()?;
    let target = bench.target(&scene)?;
    let company = bench.runtime.block_on(async {
        let store = bench.open(&target).await?;
        let (company, _) = lives::found(&store, 1).await?;
        stored::add_runs(&store, &company, runs).await?;
        store.close().await;
        anyhow::Ok(company)
    })?;
    let mut starts = Samples::default();
    for _ in 0..bench.amount(5, 11) {
        starts.push_millis(Server::start(program, &scene, &target, 16)?.healthy_after);
    }
    let server = Server::start(program, &scene, &target, 16)?;
    let mut connection = server.connect()?;
    let path = format!("/api/companies/{company}/heartbeat-runs?limit=50");
    let (mut lists, mut size) = (Samples::default(), 0);
    for round in 0..bench.amount(300, 1_000) {
        let began = Instant::now();
        let answer = connection.get(&path)?;
        let span = began.elapsed();
        if round == 0 {
            let listed = answer.json()?.as_array().map_or(0, Vec::len);
            ensure!(listed == 50, "{listed} runs are listed");
        } else {
            lists.push_millis(span);
        }
        size = answer.body.len();
    }
    machine::until_at_rest(server.pid())?;
    let span = bench.amount(Duration::from_secs(11), Duration::from_secs(31));
    let before = machine::activity(server.pid())?;
    std::thread::sleep(span);
    let used = machine::activity(server.pid())?.cpu_nanos.saturating_sub(before.cpu_nanos);
    let memory = machine::anonymous_kib(server.pid())? as f64 / 1024.0;
    let database = match &target {
        Target::Sqlite(file) => std::fs::metadata(file).map_or(0, |file| file.len()),
        Target::Memory | Target::Postgres(_) => 0,
    };
    let mut list = Row::new(format!("list 50 runs of {runs}, p95"), lists.p95(), MILLIS)
        .aim(Aim::AtMost(2.0))
        .detail("p50", lists.p50(), MILLIS)
        .detail("answer", size as f64 / 1024.0, "KiB");
    if database > 0 {
        list = list.detail("database", database as f64 / (1 << 20) as f64, MIB);
    }
    Ok(vec![
        list,
        Row::new(format!("start to healthy, {runs} runs stored"), starts.p50(), MILLIS)
            .aim(Aim::AtMost(200.0))
            .detail("slowest", starts.most(), MILLIS),
        Row::new(
            format!("nothing to do, {runs} runs stored: use of a core"),
            used as f64 / span.as_nanos() as f64 * 100.0,
            PERCENT,
        )
        .aim(Aim::AtMost(0.2))
        .detail("anonymous memory", memory, MIB),
    ])
}
