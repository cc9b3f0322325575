//! One step of a chore: a command that is run, or findings that are shown, with the time it took.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Something that is not as it should be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) words: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, words: impl Into<String>) -> Finding {
        Finding { place: place.into(), words: words.into() }
    }
}

/// Runs cargo with these words; true when it succeeds.
pub(crate) fn cargo(root: &Path, name: &str, args: &[&str], env: &[(&str, &str)]) -> Result<bool> {
    // Inside `cargo xtask`, CARGO is the very program that runs us.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let shown: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    println!("\n== {name}: {}cargo {}", shown.concat(), args.join(" "));
    let began = Instant::now();
    let mut command = Command::new(program);
    command.args(args).current_dir(root).envs(env.iter().copied());
    let status = command.status().with_context(|| format!("cannot run cargo {}", args.join(" ")))?;
    told(name, status.success(), began.elapsed());
    Ok(status.success())
}

/// Shows the findings of a step; true when there are none.
pub(crate) fn report(name: &str, findings: Vec<Finding>) -> Result<bool> {
    for finding in &findings {
        println!("{}: {}", finding.place, finding.words);
    }
    let well = findings.is_empty();
    println!("-- {name}: {}", if well { "well".to_owned() } else { format!("{} findings", findings.len()) });
    Ok(well)
}

fn told(name: &str, well: bool, took: Duration) {
    println!("-- {name}: {} in {:.1} s", if well { "well" } else { "FAILED" }, took.as_secs_f64());
}
