//! The full forms of long tests. The short forms run with all the others; here the same tests run for as long as it
//! takes to believe them.
//!
//! A test has its full form when `BUGLE_SOAK` is set: the number is its measure (rounds, kills, minutes), as the test
//! says. Their figures are printed, so the output is not captured.

use std::path::Path;

use anyhow::{Context, Result};

use crate::step;

/// A long test: its name here, its crate and the tests it runs, its measure, and what it shows.
struct Soak {
    name: &'static str,
    package: &'static str,
    tests: &'static str,
    measure: &'static str,
    shows: &'static str,
}

const SOAKS: &[Soak] = &[
    Soak {
        name: "store-kill",
        package: "store",
        tests: "crash::",
        measure: "100",
        shows: "the store is killed under load with unflushed writes dropped: every answered write is there",
    },
    Soak {
        name: "store-history",
        package: "store",
        tests: "history::",
        measure: "200",
        shows: "random concurrent histories give the same on both stores",
    },
    Soak {
        name: "keeper",
        package: "keeper",
        tests: "",
        measure: "200",
        shows: "keepers under kills, forkers and floods: nobody is left, nothing of the log is lost",
    },
    Soak {
        name: "engine-crash",
        package: "engine",
        tests: "crash",
        measure: "2000",
        shows: "the engine stops after any commit and goes on: every life of a run ends the same",
    },
    Soak {
        name: "streams",
        package: "api",
        tests: "stream",
        measure: "100",
        shows: "subscribers that reconnect at random see each event and each byte once, in order",
    },
    Soak {
        name: "crash",
        package: "bugle",
        tests: "crash",
        measure: "200",
        shows: "the server and its keepers are killed at random instants: no duplicate start, no lost end",
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
    let mut args = vec!["test", "--package", soak.package, "--release", "--test", "it", "--"];
    args.extend(Some(soak.tests).filter(|tests| !tests.is_empty()));
    args.extend(["--nocapture", "--test-threads=2"]);
    step::cargo(root, soak.name, &args, &[("BUGLE_SOAK", &measure)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_soak_names_a_crate_of_the_workspace_and_no_two_share_a_name() {
        let root = crate::tree::root().unwrap();
        let mut names: Vec<&str> = SOAKS.iter().map(|soak| soak.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SOAKS.len());
        for soak in SOAKS {
            let folder = if soak.package == "bugle" { "app" } else { soak.package };
            let manifest =
                std::fs::read_to_string(root.join("crates").join(folder).join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{}\"", soak.package)), "{}", soak.name);
        }
    }
}
