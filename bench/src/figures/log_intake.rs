//! One run that prints without end, against `cat` writing the same bytes from the same printer to a file, in turns: by a
//! keeper alone, and through the server, which reads along. Nothing is hidden, or twenty secrets are.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value as Json, json};

use crate::bare::Keepers;
use crate::bench::Bench;
use crate::figure::{Aim, MIB, MIB_PER_SECOND, Row};
use crate::machine;
use crate::samples::{Pairs, Samples};
use crate::scene::Scene;
use crate::server::{Server, wait_for_end, wake};

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for secrets in [0, 20] {
        rows.push(by_a_keeper(bench, secrets)?);
        rows.extend(through_the_server(bench, secrets)?);
    }
    Ok(rows)
}

fn aim(secrets: usize) -> Aim {
    Aim::RatioAtLeast(if secrets == 0 { 0.8 } else { 0.5 })
}

fn hiding(secrets: usize) -> String {
    if secrets == 0 { String::new() } else { format!(", {secrets} secrets to hide") }
}

fn by_a_keeper(bench: &Bench, secrets: usize) -> Result<Row> {
    let size = bench.amount(256, 1024);
    let scene = bench.scene()?;
    let printer = printer(bench.keeper_program(), &scene, size)?;
    let keepers = Keepers::new(bench.keeper_program(), &scene);
    let mut pairs = Pairs::default();
    for round in 0..=bench.amount(3, 5) {
        let limit = cat(&printer, &scene)?;
        let began = Instant::now();
        let folder = keepers.run(printer.clone(), values(secrets))?;
        let measured = began.elapsed();
        everything_was_logged(&folder, size)?;
        keeper::remove(&folder)?;
        if round > 0 {
            pairs.push(speed(size, measured), speed(size, limit));
        }
    }
    Ok(Row::new(
        format!("a keeper's log, {size} MiB{}", hiding(secrets)),
        pairs.measured.p50(),
        MIB_PER_SECOND,
    )
    .limit("cat > file", pairs.limit.p50(), MIB_PER_SECOND, pairs.ratio())
    .aim(aim(secrets)))
}

fn through_the_server(bench: &Bench, secrets: usize) -> Result<Vec<Row>> {
    let size = bench.amount(256, 1024);
    let program = bench.program()?;
    let scene = bench.scene()?;
    let printer = printer(program, &scene, size)?;
    let server = Server::start(program, &scene, &bench.target(&scene)?, 4)?;
    let hidden = values(secrets).into_iter().enumerate();
    let env: Map<String, Json> =
        hidden.map(|(number, value)| (format!("TOKEN_{number}"), json!(value))).collect();
    let agent = server.add_agent(&server.company()?, "printer", &printer, &Json::Object(env))?;
    let mut connection = server.connect()?;
    let (mut pairs, mut growth) = (Pairs::default(), Samples::default());
    for round in 0..=bench.amount(3, 5) {
        // The log of the round before is packed meanwhile, and both sides would share the cores with that.
        machine::until_at_rest(server.pid())?;
        let limit = cat(&printer, &scene)?;
        let before = machine::anonymous_kib(server.pid())?;
        let (measured, most) = watched(server.pid(), || {
            let began = Instant::now();
            let run = wake(&mut connection, &agent, &format!("round {round}"))?;
            let row = wait_for_end(&mut connection, &run)?;
            Ok((began.elapsed(), row))
        })?;
        let (measured, row) = measured;
        everything_was_read(&row, size)?;
        if round > 0 {
            pairs.push(speed(size, measured), speed(size, limit));
        }
        growth.push(most.saturating_sub(before) as f64 / 1024.0);
    }
    let hiding = hiding(secrets);
    Ok(vec![
        Row::new(format!("one run printing {size} MiB{hiding}"), pairs.measured.p50(), MIB_PER_SECOND)
            .limit("cat > file", pairs.limit.p50(), MIB_PER_SECOND, pairs.ratio())
            .aim(aim(secrets)),
        Row::new(format!("server memory gained meanwhile{hiding}"), growth.most(), MIB)
            .aim(Aim::AtMost(20.0)),
    ])
}

/// The log that a keeper left holds what was printed: all of it, or where it went over its hard cap (a run of 1 GiB does,
/// by its headers) head and tail with a gap between them. Offsets count what was cut out as well, and a byte that was
/// never written has none.
fn everything_was_logged(folder: &Path, mebibytes: u64) -> Result<()> {
    let exit = keeper::probe(folder)?.exit.context("the keeper wrote no exit record")?;
    let mut log = keeper::LogReader::open(folder)?;
    let (mut printed, mut cut) = (0, 0);
    while let Some(frame) = log.next()? {
        if frame.stream == keeper::Stream::Stdout {
            printed += frame.bytes.len() as u64;
        }
        let note: Option<Json> = serde_json::from_slice(&frame.bytes).ok();
        cut += note.filter(|_| frame.stream == keeper::Stream::Keeper).map_or(0, |note| {
            if note["note"] == "gap" { note["droppedBytes"].as_u64().unwrap_or(0) } else { 0 }
        });
    }
    let size = mebibytes << 20;
    let is_whole = if cut == 0 { printed == size } else { printed + cut >= size && log.offset() > size };
    ensure!(
        is_whole && exit.dropped_bytes == cut,
        "the log lacks something: {printed} bytes of {size} are there, {cut} were cut out, {} are missing by the record",
        exit.dropped_bytes
    );
    Ok(())
}

/// The server has read every byte that was printed, whatever was cut out of the log since.
fn everything_was_read(row: &Json, mebibytes: u64) -> Result<()> {
    let read = row["lastOutputBytes"].as_u64().unwrap_or(0);
    ensure!(read == mebibytes << 20, "the server read {read} bytes of {}", mebibytes << 20);
    Ok(())
}

/// A command that prints lines, as fast as anybody reads them.
fn printer(program: &Path, scene: &Scene, mebibytes: u64) -> Result<Vec<String>> {
    let script = scene.file("printer");
    std::fs::write(&script, format!("bytes {mebibytes}MiB text\n"))?;
    Ok(vec![
        program.to_string_lossy().into_owned(),
        adapters::SCRIPTED.to_owned(),
        script.to_string_lossy().into_owned(),
    ])
}

/// Secrets that the printed lines do not hold: looking for them is the work.
fn values(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("sk-live-{number:02}-5f0c9a7be1d2438c")).collect()
}

fn speed(mebibytes: u64, span: Duration) -> f64 {
    mebibytes as f64 / span.as_secs_f64()
}

/// How long `cat` takes to write what the printer prints to a file.
fn cat(printer: &[String], scene: &Scene) -> Result<Duration> {
    let path = scene.file("cat");
    let file = std::fs::File::create(&path)?;
    let began = Instant::now();
    let mut printing = Command::new(&printer[0]).args(&printer[1..]).stdout(Stdio::piped()).spawn()?;
    let output = printing.stdout.take().context("it was asked for")?;
    let well = Command::new("cat").stdin(output).stdout(file).status()?.success();
    ensure!(printing.wait()?.success() && well, "printing through cat failed");
    let span = began.elapsed();
    std::fs::remove_file(path)?;
    Ok(span)
}

/// The largest anonymous memory of a process while something is done.
fn watched<T>(pid: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(machine::anonymous_kib(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    });
    Ok((done?, most.load(Ordering::Relaxed)))
}
