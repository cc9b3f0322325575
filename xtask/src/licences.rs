//! Licences of the dependencies: each must grant one of the list in `deny.toml`.
//!
//! It reads what cargo knows of every package that is built for this machine, and needs neither another program nor the
//! network. Advisories are not looked at: they change every day, and only a fresh database can answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::step::{self, Finding};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Deserialize)]
struct Deny {
    licenses: Allowed,
}

#[derive(Deserialize)]
struct Allowed {
    allow: BTreeSet<String>,
}

/// Looks at every dependency; true when all have a licence of the list.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let deny = std::fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?;
    let allowed = toml::from_str::<Deny>(&deny).context("cannot understand deny.toml")?.licenses.allow;
    let packages = packages(root)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut findings = Vec::new();
    for Package { name, version, license } in &packages {
        let place = format!("{name} {version}");
        let words = match license.as_deref() {
            None => Some("says nothing of its licence".to_owned()),
            Some(license) => {
                *counts.entry(license).or_default() += 1;
                match grants(license, &allowed) {
                    Ok(true) => None,
                    Ok(false) => Some(format!("`{license}` grants none of the licences in deny.toml")),
                    Err(error) => Some(format!("cannot understand its licence `{license}`: {error}")),
                }
            }
        };
        findings.extend(words.map(|words| Finding::new(place, words)));
    }
    println!("{} packages, {} different licence texts", packages.len(), counts.len());
    step::report("licences", findings)
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).arg("-vV").output().context("cannot run rustc")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Without the filter, cargo would fetch packages of platforms that are never built here.
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", host];
    let output =
        Command::new(program).args(arguments).current_dir(root).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice::<Metadata>(&output.stdout)
        .context("cannot understand cargo metadata")?
        .packages)
}

/// Whether a licence expression can be satisfied with the allowed licences alone.
fn grants(expression: &str, allowed: &BTreeSet<String>) -> Result<bool> {
    // Older packages write `A/B` for a choice.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let granted = choice(&mut rest, allowed)?;
    ensure!(rest.is_empty(), "`{}` is left over", rest.join(" "));
    Ok(granted)
}

fn choice(words: &mut &[&str], allowed: &BTreeSet<String>) -> Result<bool> {
    let mut granted = all_of(words, allowed)?;
    while words.first() == Some(&"OR") {
        *words = &words[1..];
        granted |= all_of(words, allowed)?;
    }
    Ok(granted)
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> Result<bool> {
    let mut granted = one(words, allowed)?;
    while words.first() == Some(&"AND") {
        *words = &words[1..];
        granted &= one(words, allowed)?;
    }
    Ok(granted)
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> Result<bool> {
    let (first, rest) = words.split_first().context("it ends too early")?;
    *words = rest;
    if *first == "(" {
        let granted = choice(words, allowed)?;
        ensure!(words.first() == Some(&")"), "a bracket is not closed");
        *words = &words[1..];
        return Ok(granted);
    }
    ensure!(!["OR", "AND", "WITH", ")"].contains(first), "`{first}` stands where a licence should");
    let mut licence = (*first).to_owned();
    if let [with @ "WITH", exception, rest @ ..] = *words {
        licence = format!("{licence} {with} {exception}");
        *words = rest;
    }
    Ok(allowed.contains(&licence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(expression: &str) -> bool {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"];
        grants(expression, &allowed.map(str::to_owned).into()).unwrap()
    }

    #[test]
    fn one_of_a_choice_is_enough_and_all_of_a_sum_are_needed() {
        for good in [
            "MIT",
            "GPL-3.0-only OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-2.0-only WITH Classpath-exception-2.0 OR MIT",
        ] {
            assert!(granted(good), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT WITH Strange-exception",
            "GPL-3.0-only OR (MPL-2.0)",
        ] {
            assert!(!granted(bad), "{bad}");
        }
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_licence() {
        for nonsense in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "AND MIT"] {
            assert!(grants(nonsense, &BTreeSet::from(["MIT".to_owned()])).is_err(), "{nonsense}");
        }
    }
}
