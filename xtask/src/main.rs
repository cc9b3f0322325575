//! The chores of the project: `cargo xtask check`, `cargo xtask soak NAME`, and their parts.
//!
//! A chore runs cargo or reads files and says what it found; it changes nothing. What the tests show is theirs to show:
//! a chore adds only what no test of a crate can see.

mod agents;
mod check;
mod licences;
mod links;
mod names;
mod shown;
mod soak;
mod step;
mod tree;
mod words;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// What there is to do: the word, its arguments, and what it is for.
const CHORES: &[(&str, &str)] = &[
    ("check", "everything that a change must pass beside the tests: format, lints, words, links, licences"),
    ("soak NAME", "the full form of a long test; `soak` alone names them"),
    (
        "agents [WORD]",
        "real agent programs through a real server; `install` only installs, `soak` adds the slow ones",
    ),
    ("licences", "every dependency has a licence of the list in deny.toml"),
    ("words", "no file names a machine, a person's folder or a package registry"),
    ("names", "no module or type has a name that says nothing"),
    ("shown", "tests that documents name as proof are there"),
    ("links", "links and file names in the documents lead somewhere"),
    ("list", "this list"),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[&str]) -> Result<bool> {
    let root = tree::root()?;
    match args {
        ["check"] => check::run(&root),
        ["soak"] | ["soak", "list" | "help" | "--help" | "-h"] => {
            soak::list();
            Ok(true)
        }
        ["soak", name] => soak::run(&root, name),
        ["agents", words @ ..] => agents::run(&root, words),
        ["licences"] => licences::run(&root),
        ["words"] => step::report("words", words::run(&root)?),
        ["names"] => step::report("names", names::run(&root)?),
        ["shown"] => step::report("shown", shown::run(&root)?),
        ["links"] => step::report("links", links::run(&root)?),
        [] | ["list" | "help" | "--help" | "-h"] => {
            for (chore, purpose) in CHORES {
                println!("cargo xtask {chore:<14} {purpose}");
            }
            Ok(true)
        }
        [unknown, ..] => bail!("unknown chore `{unknown}`; `cargo xtask list` names them"),
    }
}
