//! Where in its workspace a step may write, and whether what changed there may be held against it (D23).
//!
//! A step is judged by what changed while it worked. Of several that work at the same time nobody can say who changed a
//! file: it is held against a step only if none of them was allowed to.

use std::collections::BTreeSet;

use super::definition::{Definition, Scope};
use super::graph::Graph;

/// As many places are named; of the others it is told how many there are.
const MOST_NAMED: usize = 10;

impl Scope {
    /// Whether it may write a path of the workspace. What is denied wins; without `writable` the rest is open.
    pub fn may_write(&self, path: &str) -> bool {
        let within = |paths: &[String]| paths.iter().any(|folder| is_within(path, folder));
        (self.writable.is_empty() || within(&self.writable)) && !within(&self.denied)
    }

    /// It may write whatever there is or will be below a folder.
    fn is_open_below(&self, folder: &str) -> bool {
        self.may_write(folder) && !self.denied.iter().any(|denied| is_within(denied, folder))
    }

    /// Something directly below a folder may be made and removed by it, so that the folder itself changes.
    fn may_change_folder(&self, folder: &str) -> bool {
        let leads_there = |path: &String| {
            let (path, folder) = (parts(path), parts(folder));
            path.len() > folder.len() && path.starts_with(&folder)
        };
        self.may_write(folder) || self.writable.iter().any(leads_there)
    }
}

/// A path is another one or below it, by whole components.
fn is_within(path: &str, folder: &str) -> bool {
    parts(path).starts_with(&parts(folder))
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

/// What may be changed while a step works: by it, and by those that may work at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds(Vec<Scope>);

impl Bounds {
    /// `None`: one of them may write everywhere, so that nothing can be held against this one.
    pub fn of(definition: &Definition, node: &str) -> Option<Bounds> {
        let graph = Graph::of(definition);
        let (before, after) = (graph.ancestors(node), graph.descendants([node]));
        let is_beside = |id: &str| !before.contains(id) && !after.contains(id);
        let workers = definition.nodes.iter().filter(|it| !it.is_gate() && is_beside(&it.id));
        let scopes: Option<Vec<Scope>> = workers.map(|it| it.scope.clone()).collect();
        scopes.filter(|all| !all.iter().any(|scope| scope.is_open_below(""))).map(Bounds)
    }

    /// Whether something that is no folder may have changed; relative to the workspace.
    pub fn allow(&self, path: &str) -> bool {
        self.0.iter().any(|scope| scope.may_write(path))
    }

    /// Whether something may have been made, renamed or removed in a folder.
    pub fn allow_folder(&self, folder: &str) -> bool {
        self.0.iter().any(|scope| scope.may_change_folder(folder))
    }

    /// Folders in which some things may change and others may not: what is removed of the others shows in nothing but
    /// their names.
    pub fn mixed(&self) -> BTreeSet<String> {
        let paths = self.0.iter().flat_map(|scope| scope.writable.iter().chain(&scope.denied));
        let above = paths.flat_map(|path| {
            let parts = parts(path);
            (0..parts.len()).map(move |end| parts[..end].join("/")).collect::<Vec<_>>()
        });
        above.filter(|folder| self.allow_folder(folder) && !self.are_open_below(folder)).collect()
    }

    /// Nothing below this folder can be out of bounds.
    pub fn are_open_below(&self, folder: &str) -> bool {
        self.0.iter().any(|scope| scope.is_open_below(folder))
    }
}

/// What is said of a step that changed what it may not; `outside` are the places.
pub fn complaint(outside: &[String]) -> Option<String> {
    if outside.is_empty() {
        return None;
    }
    let named = outside.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match outside.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("what its scope leaves out changed while it worked: {named}{more}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::automation::definition::read;

    fn scope(writable: &[&str], denied: &[&str]) -> Scope {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Scope { readable: Vec::new(), writable: owned(writable), denied: owned(denied) }
    }

    #[test]
    fn a_path_is_matched_by_whole_components_and_what_is_denied_wins() {
        for (writable, denied, path, expected) in [
            (&["docs"][..], &[][..], "docs/a.md", true),
            (&["docs"], &[], "docs", true),
            (&["docs/"], &[], "docs/a.md", true),
            (&["./docs"], &[], "docs/a.md", true),
            (&["docs"], &[], "docs2/a.md", false),
            (&["docs"], &[], "src/docs/a.md", false),
            (&["docs", "src/a.rs"], &[], "src/a.rs", true),
            (&["docs", "src/a.rs"], &[], "src/b.rs", false),
            (&["docs"], &["docs/private"], "docs/private/key", false),
            (&["docs"], &["docs/private"], "docs/public", true),
            (&["docs/private"], &["docs"], "docs/private/key", false),
            (&[], &["src"], "src/a.rs", false),
            (&[], &["src"], "docs/a.md", true),
            (&[], &["src"], "", true),
            (&[], &[], "anything", true),
            (&["."], &[], "anything", true),
            (&[], &["."], "anything", false),
        ] {
            assert_eq!(scope(writable, denied).may_write(path), expected, "{writable:?} {denied:?} {path}");
        }
    }

    #[test]
    fn a_folder_may_change_where_something_in_it_may_be_made() {
        for (writable, denied, folder, changes, open) in [
            (&["docs"][..], &[][..], "", true, false),
            (&["docs"], &[], "docs", true, true),
            (&["docs"], &[], "docs/sub", true, true),
            (&["docs"], &[], "src", false, false),
            (&["docs/public"], &[], "docs", true, false),
            (&["docs/public/2026"], &[], "docs", true, false),
            (&["docs"], &["docs/private"], "docs", true, false),
            (&["docs"], &["docs/private"], "docs/private", false, false),
            (&["docs"], &["docs/private"], "docs/public", true, true),
            (&[], &["src"], "", true, false),
            (&[], &["src"], "docs", true, true),
            (&[], &["src"], "src", false, false),
        ] {
            let one = scope(writable, denied);
            let found = (one.may_change_folder(folder), one.is_open_below(folder));
            assert_eq!(found, (changes, open), "{writable:?} {denied:?} {folder:?}");
        }
    }

    /// A graph of `first`, then `a` and `b` side by side, a gate, and `last`.
    fn bounds(of: &str, scopes: &[(&str, Json)]) -> Option<Bounds> {
        let node = |id: &str, after: &[&str]| {
            let mut node = json!({ "id": id, "agent": "Ada", "objective": "x", "dependsOn": after });
            if let Some((_, scope)) = scopes.iter().find(|(name, _)| *name == id) {
                node["scope"] = scope.clone();
            }
            node
        };
        let gate = json!({ "id": "g", "dependsOn": ["first"], "gate": {} });
        let nodes = [
            node("first", &[]),
            node("a", &["first"]),
            node("b", &["first"]),
            gate,
            node("last", &["a", "b", "g"]),
        ];
        Bounds::of(&read(&json!({ "name": "n", "nodes": nodes })).unwrap(), of)
    }

    #[test]
    fn what_one_that_works_beside_it_may_write_is_held_against_nobody() {
        let docs = json!({ "writable": ["docs"] });
        let src = json!({ "writable": ["src"] });
        let both = bounds("a", &[("a", docs.clone()), ("b", src)]).unwrap();
        assert!(both.allow("docs/x") && both.allow("src/x") && !both.allow("Cargo.toml"));
        assert!(both.are_open_below("src") && !both.are_open_below(""));
        // Nobody knows what the other one did.
        assert_eq!(bounds("a", &[("a", docs.clone())]), None);
        assert_eq!(bounds("a", &[("a", docs.clone()), ("b", json!({ "readable": ["docs"] }))]), None);
        // What comes before and after it is not at work then; nor is a gate.
        let alone = bounds("first", &[("first", docs)]).unwrap();
        assert!(alone.allow("docs/x") && !alone.allow("src/x"));
        assert!(alone.allow_folder("") && !alone.allow_folder("src"));
        assert_eq!(bounds("first", &[]), None);
        assert_eq!(bounds("first", &[("first", json!({ "writable": ["."] }))]), None);
    }

    #[test]
    fn a_complaint_names_ten_places_and_counts_the_others() {
        let places: Vec<String> = (0..12).map(|number| format!("src/{number}")).collect();
        assert_eq!(complaint(&[]), None);
        let words = complaint(&places[..2]).unwrap();
        assert_eq!(words, "what its scope leaves out changed while it worked: src/0, src/1");
        let words = complaint(&places).unwrap();
        assert!(words.ends_with("src/9 and 2 more"), "{words}");
    }
}
