//! What people may do to a run, and what each of it would reset (spec/automations.md 4, bar 10).

use std::collections::BTreeSet;

use serde::Serialize;

use super::advance::NodeView;
use super::definition::{Definition, PartialFailure};
use super::graph::Graph;
use super::transition::{RunEvent, next};
use super::{AutomationRunStatus, NodeState};
use crate::words;

words!(
    /// What a person may ask of a run.
    Operation {
        Pause = "pause",
        Resume = "resume",
        Cancel = "cancel",
        /// Makes what failed or is blocked again, with all that comes after it.
        Recover = "recover",
        /// Changes a node of this run alone, and makes it again.
        Repair = "repair",
        /// Makes a node again, with all that comes after it.
        Retry = "retry",
        /// Lets one blocked node begin again, and nothing else.
        Continue = "continue",
    }
);

/// What may be asked of a run in this status; `broken` = a node failed or is blocked. `cancels`: it is being cancelled.
pub fn allowed(status: AutomationRunStatus, broken: bool, cancels: bool) -> Vec<Operation> {
    let may = |operation: &Operation| {
        let event = match operation {
            Operation::Pause => RunEvent::Pause,
            Operation::Resume => RunEvent::Resume,
            Operation::Cancel => RunEvent::Cancel,
            Operation::Recover | Operation::Repair | Operation::Retry | Operation::Continue => {
                RunEvent::Reset
            }
        };
        let needs_broken = matches!(operation, Operation::Recover | Operation::Continue);
        let is_over = matches!(operation, Operation::Pause | Operation::Cancel) && cancels;
        // A run may have failed without any node of it: at a restart, for want of its folder. It begins where it was.
        let is_lost = *operation == Operation::Recover
            && matches!(status, AutomationRunStatus::Failed | AutomationRunStatus::Blocked);
        next(status, event).is_ok() && (!needs_broken || broken || is_lost) && !is_over
    };
    Operation::ALL.iter().filter(|operation| may(operation)).copied().collect()
}

/// Why nodes cannot be reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nothing {
    /// The node is not one of this automation.
    NoSuchNode,
    /// Nothing failed and nothing is blocked, and the run itself did not end so.
    NotBroken,
    /// Only a blocked node is continued.
    NotBlocked,
    /// It could not begin before this other one, which failed or is blocked, is made again.
    Behind(String),
}

/// What an operation would reset: the nodes it begins at, and all that is lost with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reset {
    /// Made again: their outputs, attempts and repairs are forgotten.
    pub nodes: BTreeSet<String>,
    /// Where it begins.
    pub targets: BTreeSet<String>,
}

/// Nodes that are made again from these on: they, and all that comes after them.
pub fn from_nodes(graph: &Graph<'_>, targets: BTreeSet<String>) -> Reset {
    let mut nodes = targets.clone();
    nodes.extend(graph.descendants(targets.iter().map(String::as_str)).into_iter().map(str::to_owned));
    Reset { nodes, targets }
}

/// What an operation would reset.
///
/// A node that had stopped all others (`pause_all`) lets them begin again with it. What waits for a broken node is not made
/// again without it, for it would be blocked at once; only a repair may come before.
pub fn reset(
    definition: &Definition,
    nodes: &[NodeView],
    operation: Operation,
    node: Option<&str>,
) -> Result<Reset, Nothing> {
    let mut reset = of_operation(definition, nodes, operation, node)?;
    let stops_all = |broken: &&NodeView| {
        broken.is_broken_itself()
            && definition.node(&broken.id).is_some_and(|node| node.on_failure() == PartialFailure::PauseAll)
    };
    if let (Operation::Retry | Operation::Continue, Some(id)) = (operation, node) {
        let before = Graph::of(definition).ancestors(id);
        let in_the_way = |broken: &&NodeView| {
            let is_first = before.contains(broken.id.as_str()) && broken.is_broken_itself();
            !reset.nodes.contains(&broken.id) && (is_first || stops_all(broken))
        };
        if let Some(broken) = nodes.iter().find(in_the_way) {
            return Err(Nothing::Behind(broken.id.clone()));
        }
    }
    if nodes.iter().filter(stops_all).any(|broken| reset.targets.contains(&broken.id)) {
        let stopped = nodes.iter().filter(|node| node.state == NodeState::Blocked && !node.began);
        reset.nodes.extend(stopped.map(|node| node.id.clone()));
    }
    Ok(reset)
}

fn of_operation(
    definition: &Definition,
    nodes: &[NodeView],
    operation: Operation,
    node: Option<&str>,
) -> Result<Reset, Nothing> {
    let graph = Graph::of(definition);
    let is_broken = |node: &&NodeView| matches!(node.state, NodeState::Failed | NodeState::Blocked);
    if let Some(node) = node
        && definition.node(node).is_none()
    {
        return Err(Nothing::NoSuchNode);
    }
    match (operation, node) {
        (Operation::Continue, Some(id)) => {
            let found = nodes.iter().find(|node| node.id == id);
            if found.is_none_or(|node| node.state != NodeState::Blocked) {
                return Err(Nothing::NotBlocked);
            }
            // What was blocked behind it waits again; what is done stays done.
            let after = graph.descendants([id]);
            let waits = nodes
                .iter()
                .filter(|node| node.state == NodeState::Blocked && after.contains(node.id.as_str()));
            let mut all: BTreeSet<String> = waits.map(|node| node.id.clone()).collect();
            all.insert(id.to_owned());
            Ok(Reset { nodes: all, targets: BTreeSet::from([id.to_owned()]) })
        }
        (_, Some(id)) => Ok(from_nodes(&graph, BTreeSet::from([id.to_owned()]))),
        (_, None) => {
            let broken: BTreeSet<String> =
                nodes.iter().filter(is_broken).map(|node| node.id.clone()).collect();
            Ok(from_nodes(&graph, broken))
        }
    }
}

/// A line of a preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    pub node_id: String,
    pub state: NodeState,
    pub has_output: bool,
    /// The reset begins here.
    pub is_target: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::automation::definition::read;

    #[test]
    fn what_may_be_asked_follows_from_the_status() {
        use AutomationRunStatus::*;
        use Operation::{Cancel, Continue, Pause, Recover, Repair, Resume, Retry};
        let rows: [(AutomationRunStatus, bool, &[Operation]); 15] = [
            (Queued, false, &[Pause, Cancel, Repair, Retry]),
            (Queued, true, &[Pause, Cancel, Recover, Repair, Retry, Continue]),
            (Running, false, &[Pause, Cancel]),
            (Running, true, &[Pause, Cancel]),
            (Pausing, false, &[Cancel]),
            (Paused, false, &[Resume, Cancel, Repair, Retry]),
            (Paused, true, &[Resume, Cancel, Recover, Repair, Retry, Continue]),
            (AwaitingApproval, false, &[Cancel, Repair, Retry]),
            (AwaitingApproval, true, &[Cancel, Recover, Repair, Retry, Continue]),
            (Completed, false, &[Repair, Retry]),
            (Blocked, false, &[Recover, Repair, Retry]),
            (Blocked, true, &[Recover, Repair, Retry, Continue]),
            (Failed, false, &[Recover, Repair, Retry]),
            (Failed, true, &[Recover, Repair, Retry, Continue]),
            (AutomationRunStatus::Cancelled, false, &[Repair, Retry]),
        ];
        for (status, broken, expected) in rows {
            assert_eq!(allowed(status, broken, false), expected, "{status} {broken}");
        }
        assert_eq!(allowed(Running, false, true), [], "it is being cancelled");
    }

    #[test]
    fn resets_take_what_comes_after_with_them() {
        let edges = [("a", vec![]), ("b", vec!["a"]), ("c", vec!["b"]), ("d", vec!["a"])];
        let nodes: Vec<_> =
            edges.iter().map(|(id, before)| json!({ "id": id, "dependsOn": before })).collect();
        let definition = read(&json!({ "name": "n", "nodes": nodes })).unwrap();
        let view = |states: [NodeState; 4]| -> Vec<NodeView> {
            let of = |((id, _), state): (&(&str, Vec<&str>), NodeState)| NodeView {
                id: (*id).to_owned(),
                state,
                retry_at: None,
                live: None,
                leaves: false,
                began: true,
            };
            edges.iter().zip(states).map(of).collect()
        };
        use NodeState::{Blocked, Completed, Failed};
        use Operation::{Continue, Recover, Repair, Retry};
        let broken = [Completed, Failed, Blocked, Completed];
        let fine = [Completed; 4];
        let held = [Completed, Blocked, Blocked, Completed];
        type Row<'a> = (Operation, Option<&'a str>, [NodeState; 4], Result<&'a [&'a str], Nothing>);
        let rows: [Row<'_>; 10] = [
            (Recover, None, broken, Ok(&["b", "c"])),
            (Recover, None, fine, Ok(&[])),
            (Retry, Some("a"), fine, Ok(&["a", "b", "c", "d"])),
            (Retry, Some("c"), broken, Err(Nothing::Behind("b".to_owned()))),
            (Repair, Some("c"), broken, Ok(&["c"])),
            (Repair, Some("b"), broken, Ok(&["b", "c"])),
            (Repair, Some("x"), broken, Err(Nothing::NoSuchNode)),
            (Continue, Some("b"), held, Ok(&["b", "c"])),
            (Continue, Some("b"), broken, Err(Nothing::NotBlocked)),
            (Continue, Some("a"), held, Err(Nothing::NotBlocked)),
        ];
        for (operation, node, states, expected) in rows {
            let found = reset(&definition, &view(states), operation, node);
            let found = found.map(|reset| Vec::from_iter(reset.nodes));
            assert_eq!(
                found,
                expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()),
                "{operation} {node:?}"
            );
        }
    }
}
