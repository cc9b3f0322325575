//! Tests that documents name as proof: each of them must be there, in the crate that is named with it.
//!
//! Only tables are read. In a row `crate:` says whose tests the names behind it are, until the next crate is named; a name
//! in backticks with two underscores or more is a test. Whether a test shows what the row says is for people to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::step::Finding;
use crate::tree;

/// The documents, and the crate whose tests are meant where a row names none.
const DOCUMENTS: &[(&str, Option<&str>)] = &[
    ("docs/cases.md", None),
    ("docs/compatibility.md", Some("api")),
    ("docs/decisions/0018-how-known-weaknesses-are-designed-out.md", None),
    ("docs/decisions/0024-automations.md", None),
];

/// The functions of each crate.
type Functions<'t> = BTreeMap<&'t str, BTreeSet<&'t str>>;

/// Looks at every table of the documents.
pub(crate) fn run(root: &Path) -> Result<Vec<Finding>> {
    let texts = tree::texts(root)?;
    let mut functions = Functions::new();
    for (path, text) in texts.iter().filter(|(path, _)| path.ends_with(".rs")) {
        if let Some(name) = crate_of(path) {
            functions.entry(name).or_default().extend(declared(text));
        }
    }
    let mut findings = Vec::new();
    for (document, default) in DOCUMENTS {
        let Some((_, text)) = texts.iter().find(|(path, _)| path == document) else {
            findings.push(Finding::new(*document, "the document is not there"));
            continue;
        };
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.starts_with('|')) {
            let place = format!("{document}:{number}");
            let missing = unknown(line, *default, &functions);
            findings.extend(missing.into_iter().map(|words| Finding::new(place.clone(), words)));
        }
    }
    Ok(findings)
}

fn crate_of(path: &str) -> Option<&str> {
    match path.strip_prefix("crates/") {
        Some(rest) => rest.split('/').next(),
        None => path.starts_with("xtask/").then_some("xtask"),
    }
}

/// The names behind `fn`.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split("fn ").skip(1).filter_map(move |rest| {
        let (name, behind) = rest.split_at(rest.find(|c| !is_part(c))?);
        behind.starts_with(['(', '<']).then_some(name)
    })
}

/// What is wrong with the tests that a row names.
fn unknown(row: &str, default: Option<&str>, functions: &Functions<'_>) -> Vec<String> {
    let mut words = Vec::new();
    let mut named = default;
    for (at, piece) in row.split('`').enumerate() {
        // Every second piece between backticks is code.
        if at % 2 == 0 {
            named = functions
                .keys()
                .filter_map(|name| Some((place_of(piece, name)?, *name)))
                .max()
                .map_or(named, |it| Some(it.1));
            continue;
        }
        let is_name = piece.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name || piece.matches('_').count() < 2 {
            continue;
        }
        match named {
            None => words.push(format!("it does not say whose test `{piece}` is")),
            Some(name) if functions.get(name).is_some_and(|known| known.contains(piece)) => {}
            Some(name) => words.push(format!("the crate {name} has no test `{piece}`")),
        }
    }
    words
}

/// Where a text names a crate last, as in `keeper: `.
fn place_of(text: &str, name: &str) -> Option<usize> {
    let at = text.rfind(&format!("{name}:"))?;
    let is_whole = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    is_whole.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_looked_for_in_the_crate_that_is_named_before_it() {
        let names = |text| declared(text).collect::<BTreeSet<_>>();
        let functions = Functions::from([
            ("api", names("fn one_is_here() {} async fn two_are_here(world) {}")),
            ("app", names("fn three_are_there<T>() {}")),
        ]);
        let wrong = |row: &str, default| unknown(row, default, &functions).len();
        assert_eq!(wrong("| a | `one_is_here`, `two_are_here`; app: `three_are_there` |", Some("api")), 0);
        assert_eq!(wrong("| a | app: `three_are_there`; api: `one_is_here` |", None), 0);
        assert_eq!(wrong("| a | `one_is_here` |", None), 1);
        assert_eq!(wrong("| a | app: `one_is_here` |", None), 1);
        assert_eq!(wrong("| a | map: `one_is_here` |", Some("api")), 0);
        // Words that are no names of tests.
        assert_eq!(wrong("| a | `lease_epoch`, `engine/src/one_two_three.rs`, `A_B_C` |", None), 0);
    }
}
