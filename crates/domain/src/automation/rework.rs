//! A reviewer that does not approve: which work is made again, and when a person has to look (spec/automations.md 2.3).

use super::definition::Node;
use super::graph::Graph;
use super::operation::{Reset, from_nodes};

/// As often a reviewer may send work back.
pub const MOST_REWORKS: u32 = 5;

/// What a rejection comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The work is made again, and reviewed again.
    Again(Reset),
    /// It was made again often enough; the words are for people.
    Enough(String),
}

/// Decides about a rejection by a node that sent work back so often already.
///
/// Work begins again at its `reworkTargets`, or at what it depends on where it names none.
pub fn reject(graph: &Graph<'_>, node: &Node, reworks: u32) -> Rejected {
    if reworks >= MOST_REWORKS {
        return Rejected::Enough(format!("sent back {MOST_REWORKS} times already"));
    }
    let targets = match node.rework_targets.is_empty() {
        true => graph.dependencies(&node.id).iter().map(|id| (*id).to_owned()).collect(),
        false => node.rework_targets.iter().cloned().collect(),
    };
    Rejected::Again(from_nodes(graph, targets))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::automation::definition::read;

    #[test]
    fn a_rejection_goes_back_to_the_targets_and_takes_all_behind_them_along() {
        let rows: [(&[&str], &[&str], &[&str]); 3] = [
            (&[], &["draft"], &["draft", "ok", "side"]),
            (&["collect"], &["collect"], &["collect", "draft", "ok", "side"]),
            (&["collect", "draft"], &["collect", "draft"], &["collect", "draft", "ok", "side"]),
        ];
        for (named, targets, nodes) in rows {
            let definition = read(&json!({ "name": "n", "nodes": [
                { "id": "collect", "agent": "A", "objective": "o" },
                { "id": "draft", "agent": "A", "objective": "o", "dependsOn": ["collect"] },
                { "id": "side", "agent": "A", "objective": "o", "dependsOn": ["draft"] },
                { "id": "ok", "agent": "A", "objective": "o", "dependsOn": ["draft"], "kind": "review", "reworkTargets": named },
                { "id": "other", "agent": "A", "objective": "o" },
            ] }));
            let definition = definition.unwrap();
            let graph = Graph::of(&definition);
            let node = definition.node("ok").unwrap();
            let all = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
            let expected = Rejected::Again(Reset { nodes: all(nodes), targets: all(targets) });
            for reworks in [0, MOST_REWORKS - 1] {
                assert_eq!(reject(&graph, node, reworks), expected, "{named:?}");
            }
            for reworks in [MOST_REWORKS, MOST_REWORKS + 1] {
                let words = "sent back 5 times already".to_owned();
                assert_eq!(reject(&graph, node, reworks), Rejected::Enough(words), "{named:?}");
            }
        }
    }
}
