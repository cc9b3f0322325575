//! The full forms of long tests. The short forms run with all the others; here the same tests run for as long as it
//! takes to believe them.
//!
//! A test has its full form when `BUGLE_SOAK` is set: the number is its measure (rounds, kills, minutes), as the test
//! says. Their figures are printed, so the output is not captured.

use std::path::Path;

use anyhow::{Context, Result};

use crate::step;

/// A long test: its name here, its crate and the module of its tests, its measure, and what it shows.
struct Soak {
    name: &'static str,
    package: &'static str,
    module: &'static str,
    measure: &'static str,
    shows: &'static str,
}

const SOAKS: &[Soak] = &[
    Soak {
        name: "store-kill",
        package: "store",
        module: "crash",
        measure: "100",
        shows: "the store is killed N times under load with unflushed writes dropped: every answered write is there",
    },
    Soak {
        name: "store-history",
        package: "store",
        module: "history",
        measure: "200",
        shows: "N random concurrent histories give the same on both stores",
    },
    Soak {
        name: "keeper-starts",
        package: "keeper",
        module: "starting",
        measure: "200",
        shows: "N keepers killed or revoked at any moment of their start: at most one start, and nobody is left",
    },
    Soak {
        name: "engine-chaos",
        package: "engine",
        module: "chaos",
        measure: "100",
        shows: "3 x N worlds of ten agents whose server is killed at any instant: every invariant holds",
    },
    Soak {
        name: "queue-truth",
        package: "engine",
        module: "scenario_queue_truth",
        measure: "1000",
        shows: "S2: a queue through N passes of the reaper, restarts and a pause: kept, in order, each run with its reason",
    },
    Soak {
        name: "fenced-lease",
        package: "engine",
        module: "scenario_fenced_lease",
        measure: "1000",
        shows: "S3: twenty runs claim one issue N times, the holder dies in half: one owner, late writes refused",
    },
    Soak {
        name: "budget",
        package: "engine",
        module: "scenario_budget",
        measure: "20",
        shows: "S10: twenty runs spend each budget N times: warned, stopped and resumed in time, no message beyond the rule",
    },
    Soak {
        name: "wakes",
        package: "engine",
        module: "scenario_wakes",
        measure: "10000",
        shows: "S11: N wakes of six kinds, a kill of the server for each 500: every wake in the input of one run",
    },
    Soak {
        name: "schedules",
        package: "engine",
        module: "scenario_schedules",
        measure: "365",
        shows: "S13: a year of schedules, N days of it every quarter of an hour: each slot once, in its exact number",
    },
    Soak {
        name: "gates",
        package: "engine",
        module: "scenario_gates",
        measure: "1000",
        shows: "S14: N gates in 72 hours, a kill of the server for each 200: the first decision wins, and is done once",
    },
    Soak {
        name: "simulation",
        package: "engine",
        module: "simulation",
        measure: "20000",
        shows: "N histories of agents, issues, holds and budgets on SQLite, N/40 on PostgreSQL, and as many with automations: \
                every rule holds, all comes to rest",
    },
    Soak {
        name: "log-stream",
        package: "bugle",
        module: "log_stream",
        measure: "50",
        shows: "a live log of N MiB over a hundred broken connections: every byte once, in order",
    },
    Soak {
        name: "stalls",
        package: "bugle",
        module: "stalls",
        measure: "100",
        shows: "S5: N repetitions of silent, quiet, circling and endless runs with a minute and a cap of twenty: none wrong",
    },
    Soak {
        name: "workspaces",
        package: "bugle",
        module: "workspaces",
        measure: "20",
        shows: "S15: N runs at once on one repository while a person edits it, and their worktrees closed: nothing foreign, no byte lost",
    },
    Soak {
        name: "crash",
        package: "bugle",
        module: "crash",
        measure: "200",
        shows: "the server is killed N times at random instants, and keepers with it: no duplicate start, no lost end",
    },
    Soak {
        name: "automations",
        package: "bugle",
        module: "automations_crash",
        measure: "200",
        shows: "the server is killed N times under N/2 automation runs: no step done twice, no decision lost, ends as undisturbed",
    },
];

/// Names the soaks.
pub(crate) fn list() {
    for soak in SOAKS {
        println!("cargo xtask soak {:<14} {}", soak.name, soak.shows);
    }
    println!("BUGLE_SOAK=N sets the measure; `all` runs one after another.");
}

/// Runs one of them, or all.
pub(crate) fn run(root: &Path, name: &str) -> Result<bool> {
    if name == "all" {
        let mut well = true;
        for soak in SOAKS {
            well &= start(root, soak)?;
        }
        return Ok(well);
    }
    let soak = SOAKS.iter().find(|soak| soak.name == name);
    start(root, soak.with_context(|| format!("unknown soak `{name}`; `cargo xtask soak` names them"))?)
}

fn start(root: &Path, soak: &Soak) -> Result<bool> {
    println!("{}: {}", soak.name, soak.shows);
    let measure = std::env::var("BUGLE_SOAK").unwrap_or_else(|_| soak.measure.to_owned());
    let tests = format!("{}::", soak.module);
    let mut args = vec!["test", "--package", soak.package, "--release", "--test", "it", "--", &tests];
    args.extend(["--nocapture", "--test-threads=2"]);
    step::cargo(root, soak.name, &args, &[("BUGLE_SOAK", &measure)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_soaks_share_a_name() {
        let mut names: Vec<&str> = SOAKS.iter().map(|soak| soak.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SOAKS.len());
    }

    /// A filter that matches nothing runs nothing, and all of nothing is well.
    #[test]
    fn every_soak_names_a_crate_and_a_module_whose_tests_ask_for_the_measure() {
        let root = crate::tree::root().unwrap();
        for soak in SOAKS {
            let folder = if soak.package == "bugle" { "app" } else { soak.package };
            let folder = root.join("crates").join(folder);
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{}\"", soak.package)), "{}", soak.name);
            let tests = folder.join("tests/it");
            let declared = std::fs::read_to_string(tests.join("main.rs")).unwrap();
            assert!(declared.contains(&format!("mod {};", soak.module)), "{}", soak.name);
            let text = std::fs::read_to_string(tests.join(format!("{}.rs", soak.module))).unwrap();
            assert!(
                text.contains("BUGLE_SOAK") && (text.contains("#[test]") || text.contains("#[tokio::test")),
                "{}",
                soak.name
            );
        }
    }
}
