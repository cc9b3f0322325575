//! A server with nothing to do: its memory, how often it wakes up and how long it uses a core, with no agents and with very
//! many idle ones.

use std::time::Duration;

use anyhow::Result;

use crate::bench::Bench;
use crate::figure::{Aim, MIB, PER_SECOND, PERCENT, Row};
use crate::server::Server;
use crate::{lives, machine, stored};

const AGENTS: i64 = 100_000;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for agents in [0, AGENTS] {
        rows.extend(with_agents(bench, agents)?);
    }
    Ok(rows)
}

fn with_agents(bench: &Bench, agents: i64) -> Result<Vec<Row>> {
    let program = bench.program()?;
    let scene = bench.scene()?;
    let target = bench.target(&scene)?;
    if agents > 0 {
        bench.runtime.block_on(async {
            let store = bench.open(&target).await?;
            let (company, _) = lives::found(&store, 1).await?;
            stored::add_idle_agents(&store, &company, agents).await?;
            store.close().await;
            anyhow::Ok(())
        })?;
    }
    let server = Server::start(program, &scene, &target, 16)?;
    // What a start leaves to do is done by then: the first passes of every sweep.
    std::thread::sleep(bench.amount(Duration::from_secs(3), Duration::from_secs(20)));
    let span = bench.amount(Duration::from_secs(10), Duration::from_secs(60));
    let before = machine::activity(server.pid())?;
    std::thread::sleep(span);
    let after = machine::activity(server.pid())?;
    let memory = machine::anonymous_kib(server.pid())? as f64 / 1024.0;
    let seconds = span.as_secs_f64();
    let switches = after.switches.saturating_sub(before.switches) as f64 / seconds;
    let cpu = after.cpu_nanos.saturating_sub(before.cpu_nanos) as f64 / 1e9 / seconds * 100.0;
    let with = format!("idle server, {agents} agents");
    Ok(vec![
        Row::new(format!("{with}: anonymous memory"), memory, MIB).aim(Aim::AtMost(25.0)),
        Row::new(format!("{with}: context switches"), switches, PER_SECOND).aim(Aim::AtMost(2.0)),
        Row::new(format!("{with}: use of a core"), cpu, PERCENT).aim(Aim::AtMost(0.2)),
    ])
}
