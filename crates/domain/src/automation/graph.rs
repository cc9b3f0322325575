//! The graph of a definition: who comes before whom.

use std::collections::{BTreeMap, BTreeSet};

use super::definition::Definition;

/// The edges of a definition, looked up by node id. Ids that name no node are left out.
#[derive(Debug, Clone)]
pub struct Graph<'a> {
    before: BTreeMap<&'a str, Vec<&'a str>>,
    after: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    pub fn of(definition: &'a Definition) -> Graph<'a> {
        let known: BTreeSet<&str> = definition.nodes.iter().map(|node| node.id.as_str()).collect();
        let mut before: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut after: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for node in &definition.nodes {
            let own = before.entry(&node.id).or_default();
            for dependency in node.depends_on.iter().map(String::as_str).filter(|id| known.contains(id)) {
                if !own.contains(&dependency) {
                    own.push(dependency);
                    after.entry(dependency).or_default().push(&node.id);
                }
            }
        }
        Graph { before, after }
    }

    /// What a node waits for.
    pub fn dependencies(&self, node: &str) -> &[&'a str] {
        self.before.get(node).map_or(&[], Vec::as_slice)
    }

    /// Everything that comes after these nodes, without them.
    pub fn descendants<'b>(&self, of: impl IntoIterator<Item = &'b str>) -> BTreeSet<&'a str> {
        closure(&self.after, of)
    }

    /// Everything that comes before this node, without it.
    pub fn ancestors(&self, of: &str) -> BTreeSet<&'a str> {
        closure(&self.before, [of])
    }

    /// A circle, as the ids along it, the first one repeated at the end; `None` = there is none.
    pub fn circle(&self) -> Option<Vec<&'a str>> {
        let mut clear: BTreeSet<&str> = BTreeSet::new();
        for start in self.before.keys() {
            let mut path: Vec<(&'a str, usize)> = vec![(start, 0)];
            while let Some((node, next)) = path.pop() {
                if clear.contains(node) {
                    continue;
                }
                let dependencies = self.dependencies(node);
                let Some(&step) = dependencies.get(next) else {
                    clear.insert(node);
                    continue;
                };
                path.push((node, next + 1));
                if let Some(at) = path.iter().position(|(id, _)| *id == step) {
                    // Walked against the arrows: turned around it reads in the order of the work.
                    let mut circle: Vec<&str> = path[at..].iter().map(|(id, _)| *id).collect();
                    circle.push(step);
                    circle.reverse();
                    return Some(circle);
                }
                path.push((step, 0));
            }
        }
        None
    }

    /// The nodes in layers: each comes after all that it depends on. Nodes of a circle are left out.
    pub fn layers(&self) -> Vec<Vec<&'a str>> {
        let mut placed: BTreeSet<&str> = BTreeSet::new();
        let mut layers = Vec::new();
        loop {
            let is_next = |(node, before): &(&&'a str, &Vec<&'a str>)| {
                !placed.contains(**node) && before.iter().all(|id| placed.contains(id))
            };
            let layer: Vec<&str> = self.before.iter().filter(is_next).map(|(node, _)| *node).collect();
            if layer.is_empty() {
                return layers;
            }
            placed.extend(layer.iter());
            layers.push(layer);
        }
    }
}

fn closure<'a, 'b>(
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    of: impl IntoIterator<Item = &'b str>,
) -> BTreeSet<&'a str> {
    let starts: BTreeSet<&str> = of.into_iter().collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<&'a str> = starts.iter().filter_map(|id| edges.get(*id)).flatten().copied().collect();
    while let Some(node) = open.pop() {
        if !starts.contains(node) && found.insert(node) {
            open.extend(edges.get(node).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::definition::read;
    use serde_json::json;

    type Edges<'a> = &'a [(&'a str, &'a [&'a str])];

    fn graph(edges: Edges<'_>) -> Definition {
        let nodes: Vec<_> =
            edges.iter().map(|(id, before)| json!({ "id": id, "dependsOn": before })).collect();
        read(&json!({ "name": "n", "nodes": nodes })).unwrap()
    }

    #[test]
    fn what_comes_before_and_after_is_found_through_the_whole_graph() {
        let definition = graph(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &[])]);
        let graph = Graph::of(&definition);
        assert_eq!(Vec::from_iter(graph.descendants(["a"])), ["b", "c", "d"]);
        assert_eq!(Vec::from_iter(graph.descendants(["b", "e"])), ["d"]);
        assert_eq!(Vec::from_iter(graph.descendants(["a", "b"])), ["c", "d"]);
        assert_eq!(Vec::from_iter(graph.ancestors("d")), ["a", "b", "c"]);
        assert_eq!(graph.layers(), [vec!["a", "e"], vec!["b", "c"], vec!["d"]]);
        assert_eq!(graph.circle(), None);
    }

    #[test]
    fn circles_are_found_and_told_in_the_order_of_the_work() {
        let rows: [(Edges<'_>, &[&str]); 3] = [
            (&[("a", &["a"])], &["a", "a"]),
            (&[("a", &["b"]), ("b", &["a"])], &["a", "b", "a"]),
            (&[("x", &[]), ("a", &["x", "c"]), ("b", &["a"]), ("c", &["b"])], &["a", "b", "c", "a"]),
        ];
        for (edges, circle) in rows {
            let definition = graph(edges);
            assert_eq!(Graph::of(&definition).circle().unwrap(), circle);
        }
    }

    #[test]
    fn a_long_chain_is_walked_without_depth() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("n{n:05}")).collect();
        let nodes: Vec<_> = (0..ids.len())
            .map(|n| json!({ "id": ids[n], "dependsOn": if n > 0 { vec![&ids[n - 1]] } else { vec![] } }))
            .collect();
        let definition = read(&json!({ "name": "n", "nodes": nodes })).unwrap();
        let graph = Graph::of(&definition);
        assert_eq!(graph.circle(), None);
        assert_eq!(graph.descendants(["n00000"]).len(), 19_999);
    }
}
