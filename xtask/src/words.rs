//! Words that no file of the project may hold: paths of the machine it is written on, and the hosts of package registries.
//!
//! The project is read elsewhere than it was written; what names the writer's machine is wrong there. Made-up paths in
//! examples are fine. Registries are named by the tools alone, which may be told to use a mirror.

use std::path::Path;

use anyhow::Result;

use crate::step::Finding;
use crate::tree;

/// Beginnings of paths that stand in no example. In pieces, because this file is read as well.
const FOLDERS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("shared/", "design"), concat!("shared/", "spec")];

const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("registry.", "npmjs"),
    concat!("pypi", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("pythonhosted", ".org"),
];

/// Looks at every file.
pub(crate) fn run(root: &Path) -> Result<Vec<Finding>> {
    let folders = folders_here(root);
    let mut findings = Vec::new();
    for (path, text) in tree::texts(root)? {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(words) = complaint(line, &folders) {
                findings.push(Finding::new(format!("{path}:{number}"), words));
            }
        }
    }
    Ok(findings)
}

/// The fixed ones, this checkout and the home of who works in it.
fn folders_here(root: &Path) -> Vec<String> {
    let mut folders: Vec<String> = FOLDERS.iter().map(|folder| (*folder).to_owned()).collect();
    folders.push(root.to_string_lossy().into_owned());
    let home = std::env::var("HOME").unwrap_or_default();
    // `/` and `/root` as homes say nothing about a person.
    if home.matches('/').count() > 1 {
        folders.push(format!("{}/", home.trim_end_matches('/')));
    }
    folders
}

fn complaint(line: &str, folders: &[String]) -> Option<String> {
    if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
        return Some(format!("names the package registry {host}"));
    }
    let folder = folders.iter().find(|folder| begins_a_path(line, folder))?;
    Some(format!("names a path of one machine ({folder})"))
}

/// True when the text stands at the beginning of a path: `/a/home/b` is a path in some folder, not of a machine.
fn begins_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '>' | '*'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_found_where_it_begins() {
        let folders = ["/srv/mine/".to_owned()];
        assert!(complaint("see /srv/mine/notes", &folders).is_some());
        assert!(complaint("let x = \"/srv/mine/x\";", &folders).is_some());
        assert_eq!(complaint("join(data/srv/mine/x)", &folders), None);
        assert_eq!(complaint("a made-up path: /srv/others/x", &folders), None);
    }

    #[test]
    fn this_checkout_is_a_path_of_a_machine() {
        let root = tree::root().unwrap();
        let line = format!("see {}/README.md", root.display());
        assert!(complaint(&line, &folders_here(&root)).is_some());
    }

    #[test]
    fn a_registry_is_found_wherever_it_stands() {
        for host in HOSTS {
            assert!(complaint(&format!("https://index.{host}/x"), &[]).is_some(), "{host}");
        }
    }
}
