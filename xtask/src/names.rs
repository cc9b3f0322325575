//! Names that say nothing: a module or a type is named for its subject, not for being useful.

use std::path::Path;

use anyhow::Result;

use crate::step::Finding;
use crate::tree;

/// Not as names of modules or types.
const EMPTY: &[&str] = &[
    "service", "services", "manager", "managers", "helper", "helpers", "util", "utils", "common", "types",
    "misc", "core",
];

/// Whole names that are words of the domain: the agent that another one reports to, and what is kept running beside a
/// workspace.
const MEANT: &[&str] = &["Manager", "RuntimeService", "runtime_service", "runtime_services"];

/// Looks at every Rust file: its own name, and the types it declares.
pub(crate) fn run(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (path, text) in tree::texts(root)? {
        if !path.ends_with(".rs") {
            continue;
        }
        for part in path.trim_end_matches(".rs").split('/') {
            if EMPTY.contains(&part) {
                findings.push(Finding::new(path.clone(), format!("the name `{part}` says nothing")));
            }
        }
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(name) = declared(line).filter(|name| is_empty_name(name) && !MEANT.contains(name)) {
                let words = format!("the name `{name}` says nothing: name the subject");
                findings.push(Finding::new(format!("{path}:{number}"), words));
            }
        }
    }
    Ok(findings)
}

/// The name that a line declares a type, a trait or a module under.
fn declared(line: &str) -> Option<&str> {
    let mut words =
        line.trim_start().split(|c: char| c.is_whitespace() || matches!(c, '<' | '{' | '(' | ';' | ':'));
    while let Some(word) = words.next() {
        match word {
            "pub" | "pub(crate)" | "crate)" | "super)" | "unsafe" | "" => {}
            "struct" | "enum" | "trait" | "mod" | "type" | "union" => return words.next(),
            _ => return None,
        }
    }
    None
}

/// True when the last word of a name (in either case) is one of the list.
fn is_empty_name(name: &str) -> bool {
    let last = match name.rfind(|c: char| c.is_ascii_uppercase() || c == '_') {
        Some(at) => name[at..].trim_start_matches('_'),
        None => name,
    };
    EMPTY.contains(&last.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_modules_are_found_whatever_stands_around_them() {
        assert_eq!(declared("pub(crate) struct RunManager<'a> {"), Some("RunManager"));
        assert_eq!(declared("mod helpers;"), Some("helpers"));
        assert_eq!(declared("    pub enum Fate {"), Some("Fate"));
        assert_eq!(declared("let manager = 1;"), None);
        assert_eq!(declared("// struct Manager"), None);
    }

    #[test]
    fn only_the_last_word_of_a_name_counts() {
        for empty in ["RunManager", "helpers", "string_utils", "Core"] {
            assert!(is_empty_name(empty), "{empty}");
        }
        for good in ["ManagerOf", "Score", "HelperSpan", "runs", "Common0"] {
            assert!(!is_empty_name(good), "{good}");
        }
    }
}
