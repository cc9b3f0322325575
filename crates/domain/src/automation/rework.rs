//! A reviewer that does not approve: which work is made again, and when a person has to look (spec/automations.md 2.3).

use super::NodeState;
use super::definition::Node;
use super::graph::Graph;
use super::operation::{Reset, from_nodes};

/// As often a reviewer may send work back, before a person has had that work made again.
pub const MOST_REWORKS: u32 = 5;
/// As much of a reviewer's words is kept where they are only a reason.
const LONGEST_WORDS: usize = 2_000;

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
/// Work begins again at its `reworkTargets`, or at what it depends on where it names none. `words`: what it says of it.
pub fn reject(graph: &Graph<'_>, node: &Node, reworks: u32, words: &str) -> Rejected {
    if reworks >= MOST_REWORKS {
        return Rejected::Enough(with_words(&format!("sent back {MOST_REWORKS} times already"), words));
    }
    let targets = match node.rework_targets.is_empty() {
        true => graph.dependencies(&node.id).iter().map(|id| (*id).to_owned()).collect(),
        false => node.rework_targets.iter().cloned().collect(),
    };
    Rejected::Again(from_nodes(graph, targets))
}

/// What becomes of a node when a reviewer sends work back that it belongs to. People who send work back have looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is made again.
    No,
    /// It waits for a person already, and goes on to.
    AsItIs,
    /// It has done its work, and is not to do it twice by itself: a person looks.
    Blocked,
}

/// Decides about a node by what became of it before; `judged`: an attempt of it has ended with a verdict. One that is under
/// way is decided about when it has ended: [`cut_off`].
pub fn kept(node: &Node, state: NodeState, judged: bool) -> Kept {
    if node.repeatable != Some(false) {
        return Kept::No;
    }
    match state {
        NodeState::Completed => Kept::Blocked,
        NodeState::Blocked if judged => Kept::AsItIs,
        NodeState::Blocked
        | NodeState::Pending
        | NodeState::Running
        | NodeState::AwaitingApproval
        | NodeState::Skipped
        | NodeState::Failed => Kept::No,
    }
}

/// Why a node that has done its work waits for a person, and not for another attempt.
pub fn done_already(words: &str) -> String {
    let why = "a reviewer sends back what it belongs to; it did its work already and is not repeatable: look what it \
               did, then retry it";
    with_words(why, words)
}

/// Why a node waits for a person of which an attempt has ended that a reviewer's rejection took out; `None`: it is made
/// again. `began`: the attempt may have done something; `succeeded`: it came to its end all the same.
pub fn cut_off(node: &Node, began: bool, succeeded: bool) -> Option<&'static str> {
    match (node.repeatable, began, succeeded) {
        (Some(false), true, true) => Some(
            "a reviewer sent back what it belongs to while it did its work, and it is not repeatable: look what it did, \
             then retry it",
        ),
        (Some(false), true, false) => Some(
            "it was cut off, as a reviewer sent back what it belongs to, and it is not repeatable: look what it did, \
             then retry it",
        ),
        _ => None,
    }
}

fn with_words(why: &str, words: &str) -> String {
    let words = words.trim();
    match &words[..words.floor_char_boundary(LONGEST_WORDS)] {
        "" => why.to_owned(),
        words => format!("{why}; the reviewer says: {words}"),
    }
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
                assert_eq!(reject(&graph, node, reworks, "shorter"), expected, "{named:?}");
            }
            for reworks in [MOST_REWORKS, MOST_REWORKS + 1] {
                let words = "sent back 5 times already; the reviewer says: shorter".to_owned();
                assert_eq!(reject(&graph, node, reworks, "shorter"), Rejected::Enough(words), "{named:?}");
            }
            let words = "sent back 5 times already".to_owned();
            assert_eq!(reject(&graph, node, MOST_REWORKS, " "), Rejected::Enough(words), "{named:?}");
        }
    }
}
