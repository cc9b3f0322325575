//! A line printed by an agent until a subscriber has it: on the stream of the run's log and on the company's WebSocket,
//! with nobody else listening and with a thousand others on the company's events.
//!
//! The lines carry the time at which they were printed; both sides read the clock that all processes share.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::figure::{Aim, COUNT, MILLIS, Row};
use crate::roles::{self, monotonic_nanos};
use crate::samples::Samples;
use crate::server::{Server, wake};

/// How a subscriber listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    LogStream,
    WebSocket,
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let scene = bench.scene()?;
    let server = Server::start(bench.program()?, &scene, &bench.target(&scene)?, 4)?;
    let company = server.company()?;
    let others = bench.amount(100, 1_000);
    let mut rows = Vec::new();
    for way in [Way::LogStream, Way::WebSocket] {
        let samples = listen(bench, &server, &company, way, Duration::from_millis(10))?;
        rows.push(row(way, 0, &samples));
    }
    let held = bench.runtime.block_on(hold(server.address, &company, others))?;
    for way in [Way::LogStream, Way::WebSocket] {
        // Each line goes to all of them: more seldom, or the machine is busy with nothing else.
        let samples = listen(bench, &server, &company, way, Duration::from_millis(50))?;
        rows.push(row(way, others, &samples));
    }
    let left = bench.runtime.block_on(async {
        let mut held = held;
        let gone = std::iter::from_fn(|| held.try_join_next()).count();
        held.shutdown().await;
        others - gone
    });
    ensure!(left == others, "only {left} of {others} subscribers were held");
    Ok(rows)
}

fn row(way: Way, others: usize, samples: &Samples) -> Row {
    let how = match way {
        Way::LogStream => "the run's log stream",
        Way::WebSocket => "the company's WebSocket",
    };
    let beside = if others == 0 { String::new() } else { format!(", {others} others") };
    let row = Row::new(format!("line printed -> received on {how}{beside}"), samples.p50(), MILLIS)
        .detail("p95 (aim 3 ms)", samples.p95(), MILLIS)
        .detail("lines", samples.len() as f64, COUNT);
    // With others the aim is that they are held; what it costs is shown.
    if others == 0 { row.aim(Aim::AtMost(1.0)) } else { row }
}

/// Starts a run that prints stamped lines and measures how old they are when they arrive.
fn listen(bench: &Bench, server: &Server, company: &str, way: Way, apart: Duration) -> Result<Samples> {
    let lines = bench.amount(150, 600);
    let own = bench.own.to_string_lossy().into_owned();
    let argv = vec![own, roles::STAMP_LINES.to_owned(), lines.to_string(), apart.as_micros().to_string()];
    let name = format!("stamps {}", monotonic_nanos());
    let agent = server.add_agent(company, &name, &argv, &json!({}))?;
    let mut samples = Samples::default();
    match way {
        Way::LogStream => {
            let run = wake(&mut server.connect()?, &agent, "stamps")?;
            let mut stream = server.connect()?.stream(&format!("/api/heartbeat-runs/{run}/log/stream"))?;
            while samples.len() < lines {
                let line = stream.next()?.context("the log stream ended too early")?;
                take(&line, &mut samples);
            }
        }
        Way::WebSocket => bench.runtime.block_on(async {
            let url = format!("ws://{}/api/companies/{company}/events/ws", server.address);
            let (mut socket, _) =
                tokio_tungstenite::connect_async(url).await.context("cannot open the WebSocket")?;
            let (server, agent) = (server.connect()?, agent.clone());
            let woken = tokio::task::spawn_blocking(move || wake(&mut { server }, &agent, "stamps"));
            woken.await??;
            while samples.len() < lines {
                let Some(message) = socket.next().await else { bail!("the WebSocket was closed too early") };
                if let tokio_tungstenite::tungstenite::Message::Text(text) = message? {
                    take(text.as_str(), &mut samples);
                }
            }
            anyhow::Ok(())
        })?,
    }
    Ok(samples)
}

/// Finds the stamps in what has just arrived.
fn take(text: &str, samples: &mut Samples) {
    let now = monotonic_nanos();
    for (at, _) in text.match_indices(roles::STAMP) {
        let digits = text[at + roles::STAMP.len()..].split(|c: char| !c.is_ascii_digit()).next();
        if let Some(printed) = digits.and_then(|digits| digits.parse::<u64>().ok()) {
            samples.push(now.saturating_sub(printed) as f64 / 1e6);
        }
    }
}

/// Opens so many streams of the company's events; their tasks end only when the server closes one.
async fn hold(server: SocketAddr, company: &str, count: usize) -> Result<JoinSet<()>> {
    let mut held = JoinSet::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(server).await?;
        let request = format!("GET /api/companies/{company}/events HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 16];
        stream.read_exact(&mut head).await?;
        ensure!(
            head.starts_with(b"HTTP/1.1 200"),
            "a subscriber was refused: {}",
            String::from_utf8_lossy(&head)
        );
        held.spawn(async move {
            let mut into = vec![0; 1 << 14];
            while stream.read(&mut into).await.is_ok_and(|read| read > 0) {}
        });
    }
    Ok(held)
}
