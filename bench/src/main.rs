//! The benchmark: every figure the program is measured by, each beside its limit on the same machine in the same run.
//!
//! ```text
//! cargo run --release -p bench                       all figures, embedded store
//! cargo run --release -p bench -- --quick wake       those with `wake` in the name, small
//! cargo run --release -p bench -- --postgres         with a PostgreSQL server of its own, gone afterwards
//! ```
//!
//! A figure is the median of pairs measured in turns with its limit, because machines are noisy and neighbours come and
//! go; read the ratios. It is no test: a missed aim is shown and changes no exit code. The same executable is also the
//! child that some figures start (`roles.rs`).

mod bare;
mod bench;
mod figure;
mod figures;
mod lives;
mod machine;
mod null;
mod report;
mod roles;
mod samples;
mod scene;
mod server;
#[macro_use]
mod stored;
mod stored_automations;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Measures Bugle, each figure beside its limit.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", max_term_width = 110)]
struct Options {
    /// Smaller amounts: everything in less than three minutes
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Use this PostgreSQL server; each figure makes a schema of its own in it and removes it
    #[arg(long, value_name = "URL", conflicts_with = "postgres")]
    database_url: Option<String>,
    /// Use a PostgreSQL server that is made for this and removed afterwards
    #[arg(long)]
    postgres: bool,
    /// Where data folders are made; it should be on the disk that the data will be on
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The program to measure [default: built in this workspace]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Name the figures and measure nothing
    #[arg(long)]
    list: bool,
    /// Only figures whose name contains one of these
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

fn main() -> ExitCode {
    // Children first: they are measured from their first instruction on.
    if let Some(code) = roles::play() {
        return code;
    }
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let wanted: Vec<_> = figures::ALL
        .iter()
        .filter(|one| {
            options.filters.is_empty() || options.filters.iter().any(|filter| one.name.contains(filter))
        })
        .collect();
    if options.list {
        for one in wanted {
            println!("{:<12} {}", one.name, one.purpose);
        }
        return Ok(true);
    }
    let bench = bench::Bench::prepare(options)?;
    let mut rows = Vec::new();
    let mut well = true;
    for one in wanted {
        eprintln!("-- {}: {}", one.name, one.purpose);
        let began = std::time::Instant::now();
        match (one.measure)(&bench) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                eprintln!("   could not be measured: {error:#}");
                well = false;
            }
        }
        eprintln!("   took {:.1} s", began.elapsed().as_secs_f64());
    }
    println!("{}", report::table(&bench, &rows));
    if let Some(file) = &options.json {
        let json =
            serde_json::to_string_pretty(&report::json(&bench, &rows)).context("figures are plain JSON")?;
        std::fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(well)
}
