//! Links in the documents: what they point to in this project must be there.
//!
//! Addresses of the web are not asked for: a check that needs the network fails for other reasons than the text's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::step::Finding;
use crate::tree;

/// Looks at every Markdown file.
pub(crate) fn run(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let texts = tree::texts(root)?;
    for (path, text) in texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        for (number, line) in (1..).zip(without_code(text)) {
            for target in targets(&line) {
                if let Some(words) = broken(root, folder, text, target) {
                    findings.push(Finding::new(format!("{path}:{number}"), words));
                }
            }
        }
    }
    Ok(findings)
}

fn broken(root: &Path, folder: &Path, own: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") || target.is_empty() {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let text = if file.is_empty() {
        own.to_owned()
    } else {
        let path: PathBuf = match file.strip_prefix('/') {
            Some(from_root) => root.join(from_root),
            None => root.join(folder).join(file),
        };
        if !path.exists() {
            return Some(format!("the link `{target}` leads nowhere"));
        }
        match anchor {
            Some(_) if file.ends_with(".md") => std::fs::read_to_string(path).unwrap_or_default(),
            _ => return None,
        }
    };
    let anchor = anchor.filter(|anchor| !anchor.is_empty())?;
    (!anchors(&text).contains(anchor)).then(|| format!("no heading has the anchor `{target}`"))
}

/// The lines of a document; those inside fences, and code inside lines, are emptied.
fn without_code(text: &str) -> Vec<String> {
    let mut fenced = false;
    // Every second piece between backticks is code.
    let plain = |line: &str| line.split('`').step_by(2).collect();
    text.lines()
        .map(|line| {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                return String::new();
            }
            if fenced { String::new() } else { plain(line) }
        })
        .collect()
}

/// What the links of a line point to: `[words](target)`.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("](") {
        rest = &rest[at + 2..];
        let Some(end) = rest.find(')') else { break };
        found.push(rest[..end].split_whitespace().next().unwrap_or(""));
        rest = &rest[end..];
    }
    found
}

/// The anchors of the headings, made the way code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').starts_with(' ');
    let mut found = BTreeSet::new();
    for line in text.lines().filter(heading) {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(again).find(|name| !found.contains(name));
        found.extend(free);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_and_code_is_not() {
        assert_eq!(targets("see [a](x.md) and [b](y.md#z \"title\")"), ["x.md", "y.md#z"]);
        assert_eq!(without_code("`[a](b)` c\n```\n[d](e)\n```\nf"), [" c", "", "", "", "f"]);
    }

    #[test]
    fn anchors_are_those_of_the_headings() {
        let found = anchors("# One two\n## `run` states, now!\n# One two\n#hash\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["one-two", "one-two-1", "run-states-now"]);
    }

    #[test]
    fn a_link_to_nothing_and_an_anchor_of_nothing_are_broken() {
        let root = tree::root().unwrap();
        let broken = |target| broken(&root, Path::new("docs"), "# Here\n", target);
        assert_eq!(broken("run-states.md"), None);
        assert_eq!(broken("../Cargo.toml"), None);
        assert_eq!(broken("#here"), None);
        assert!(broken("#there").is_some());
        assert!(broken("no-such-file.md").is_some());
    }
}
