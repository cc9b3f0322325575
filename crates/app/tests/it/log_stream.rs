//! One log, streamed while its run prints it: every byte once and in order, over a hundred broken connections.

use std::path::PathBuf;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

use crate::stage::{Stage, Wire, databases};

const RECONNECTS: usize = 100;
/// What a round prints, beside a line with its number.
const ROUND: usize = 50 << 10;
/// The run prints so many rounds ahead of its reader and waits: it lives until the last connection has broken.
const AHEAD: usize = 8;

/// Rounds that the run prints; `BUGLE_SOAK` is the size of the log in MiB, 50 for the full form.
fn rounds() -> usize {
    let mebibytes = std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse::<usize>().ok());
    mebibytes.map_or(80, |size| (size << 20) / ROUND)
}

/// What the script prints: all lines differ from one round to the next only by the round, so every byte has one place.
fn printed(rounds: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(rounds * (ROUND + 16));
    for round in 1..=rounds {
        all.extend_from_slice(format!("round {round}\n").as_bytes());
        for line in 0..ROUND / 128 {
            let head = format!("{line:08} ");
            all.extend_from_slice(head.as_bytes());
            all.extend((head.len()..127).map(|at| b'a' + (at % 26) as u8));
            all.push(b'\n');
        }
    }
    all
}

/// What a client keeps over its connections.
struct Reading {
    printed: Vec<u8>,
    /// Up to here everything came, once and in order.
    at: usize,
    /// Where to resume: the id of the last event.
    last: Option<u64>,
    ended: Option<Json>,
    /// Rounds that may be printed: for each there is a file in the folder.
    allowed: usize,
    folder: PathBuf,
}

impl Reading {
    /// Follows the log over one connection, which breaks so many bytes after a place was reached, wherever that is.
    async fn follow(&mut self, wire: &Wire, run: &str, by_header: bool, (place, beyond): (usize, usize)) {
        let path = format!("/heartbeat-runs/{run}/log/stream");
        let answer = match self.last {
            Some(last) if by_header => wire.stream(&path, Some(last)).await,
            Some(last) => wire.stream(&format!("{path}?offset={last}"), None).await,
            None => wire.stream(&path, None).await,
        };
        let Some(mut answer) = answer else { return };
        assert_eq!(answer.status(), 200);
        let (mut buffer, mut left): (Vec<u8>, usize) = (Vec::new(), beyond);
        // Pieces count when the id says so: without it they come again.
        let mut pieces: Vec<u8> = Vec::new();
        while self.at < place || left > 0 {
            let Ok(Some(bytes)) = answer.chunk().await else { return };
            let mut bytes = &bytes[..];
            if self.at >= place {
                bytes = &bytes[..bytes.len().min(left)];
                left -= bytes.len();
            }
            let mut from = buffer.len().saturating_sub(1);
            buffer.extend_from_slice(bytes);
            while let Some(found) = buffer[from..].windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = buffer.drain(..from + found + 2).collect();
                from = 0;
                self.hear(std::str::from_utf8(&event).expect("text"), &mut pieces);
            }
        }
    }

    /// Lets the run print on.
    fn allow(&mut self) {
        while self.allowed < self.at / ROUND + AHEAD {
            self.allowed += 1;
            std::fs::write(self.folder.join(self.allowed.to_string()), "").expect("a file");
        }
    }

    fn hear(&mut self, event: &str, pieces: &mut Vec<u8>) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let Some(kind) = field("event") else { return };
        let data: Json = serde_json::from_str(field("data").expect("data")).expect("JSON");
        if kind == "end" {
            self.ended = Some(data);
            return;
        }
        assert_eq!((kind, &data["stream"]), ("log", &json!("stdout")));
        if let Some(last) = self.last {
            assert_eq!(data["offset"], last, "pieces follow each other");
        }
        pieces.extend_from_slice(data["chunk"].as_str().expect("a chunk").as_bytes());
        if let Some(id) = field("id") {
            let whole = std::mem::take(pieces);
            assert!(
                self.printed[self.at..].starts_with(&whole),
                "other bytes than were printed at {}",
                self.at
            );
            self.at += whole.len();
            self.allow();
            self.last = Some(id.parse().expect("an offset"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_live_run_comes_once_and_in_order_over_a_hundred_reconnects() {
    let rounds = rounds();
    for database in databases() {
        let mut stage = Stage::set(database.clone());
        stage.start();
        let folder = stage.place("rounds");
        std::fs::create_dir(&folder).expect("a folder");
        let script = format!(
            "repeat {rounds} {{\n  wait-for {}/${{I}}\n  print round ${{I}}\n  bytes {ROUND} text\n}}\n",
            folder.display()
        );
        // A plain command: nothing but what it prints is in its log.
        let file = stage.place("printer");
        std::fs::write(&file, script).expect("a script");
        let agent = json!({
            "name": "printer", "adapterType": "process", "adapterConfig": {
                "command": env!("CARGO_BIN_EXE_bugle"), "args": ["scripted", file],
            },
        });
        let agent = stage.agent(&agent).await;
        let run = stage.wake(&agent, &json!({})).await;
        let began = Instant::now();
        let printed = printed(rounds);
        let mut reading = Reading { printed, at: 0, last: None, ended: None, allowed: 0, folder };
        reading.allow();
        let mut dice = StdRng::seed_from_u64(7);
        let last_place = reading.printed.len() - 2 * AHEAD * ROUND;
        let mut places: Vec<usize> = (0..RECONNECTS).map(|_| dice.random_range(0..last_place)).collect();
        places.sort_unstable();
        for place in places {
            let beyond = dice.random_range(0..ROUND);
            reading.follow(&stage, &run, dice.random_bool(0.5), (place, beyond)).await;
            assert_eq!(stage.run(&run).await["status"], "running", "it broke while the run was live");
        }
        let broken_at = reading.at;
        while reading.ended.is_none() {
            reading.follow(&stage, &run, true, (usize::MAX, 0)).await;
        }
        let took = began.elapsed();
        assert_eq!(reading.ended.take(), Some(json!({"status": "succeeded"})));
        assert_eq!(reading.at, reading.printed.len(), "everything came");
        // Who comes back after the end hears of it, and nothing again.
        reading.follow(&stage, &run, true, (usize::MAX, 0)).await;
        assert_eq!((reading.at, reading.ended.is_some()), (reading.printed.len(), true));
        println!(
            "{} bytes, each once and in order, in {took:?}; {RECONNECTS} connections broke while the run was live, the \
             last at byte {broken_at} ({})",
            reading.printed.len(),
            database.map_or("embedded store", |_| "PostgreSQL"),
        );
    }
}
