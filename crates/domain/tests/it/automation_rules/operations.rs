//! What people may do to runs, and what it makes again (spec/automations.md 1.4, 4).

use std::collections::BTreeSet;

use domain::automation::advance::NodeView;
use domain::automation::definition::read;
use domain::automation::operation::{Nothing, Operation, allowed, reset};
use domain::automation::{AutomationRunStatus, NodeState};
use serde_json::json;

use crate::table::{Table, joined, parts};

const ALLOWED: &[[&str; 3]] = &[
    ["queued", "-", "pause; cancel; repair; retry"],
    ["queued", "broken", "pause; cancel; recover; repair; retry; continue"],
    ["running", "-", "pause; cancel"],
    ["running", "broken", "pause; cancel"],
    ["running", "is being cancelled", "-"],
    ["pausing", "-", "cancel"],
    ["pausing", "broken", "cancel"],
    ["pausing", "is being cancelled", "-"],
    ["paused", "-", "resume; cancel; repair; retry"],
    ["paused", "broken", "resume; cancel; recover; repair; retry; continue"],
    ["awaiting_approval", "-", "cancel; repair; retry"],
    ["awaiting_approval", "broken", "cancel; recover; repair; retry; continue"],
    ["completed", "-", "repair; retry"],
    ["completed", "broken", "recover; repair; retry; continue"],
    ["blocked", "-", "recover; repair; retry"],
    ["blocked", "broken", "recover; repair; retry; continue"],
    ["failed", "-", "recover; repair; retry"],
    ["failed", "broken", "recover; repair; retry; continue"],
    ["cancelled", "-", "repair; retry"],
    ["cancelled", "broken", "recover; repair; retry; continue"],
];

const RESETS: &[[&str; 3]] = &[
    ["recover", "b failed; c blocked; d blocked", "from b, c, d: b, c, d"],
    ["recover", "b failed", "from b: b, d"],
    ["recover", "a blocked; e failed", "from a, e: a, b, c, d, e"],
    ["recover", "-", "nothing; it goes on where it was"],
    ["retry a", "-", "from a: a, b, c, d"],
    ["retry b", "-", "from b: b, d"],
    ["retry d", "b failed; d blocked by others", "it waits for b"],
    ["retry d", "d blocked", "from d: d"],
    ["retry b", "b failed; d blocked by others", "from b: b, d"],
    ["retry b", "e failed", "it waits for e"],
    ["retry e", "-", "from e: e"],
    ["retry e", "e failed; b blocked by others; d blocked by others", "from e: b, d, e"],
    ["retry e", "e failed; b blocked; d blocked by others", "from e: d, e"],
    ["retry z", "-", "no such node"],
    ["repair c", "c failed", "from c: c, d"],
    ["repair d", "c failed; d blocked by others", "from d: d"],
    ["repair z", "c failed", "no such node"],
    ["continue b", "b blocked; d blocked", "from b: b, d"],
    ["continue b", "b blocked", "from b: b"],
    ["continue b", "b blocked; d blocked by others", "from b: b, d"],
    ["continue b", "b blocked; e blocked", "it waits for e"],
    ["continue b", "b blocked; e blocked by others", "from b: b"],
    ["continue d", "b blocked; d blocked by others", "it waits for b"],
    ["continue d", "d blocked", "from d: d"],
    ["continue e", "e blocked; a blocked by others; b blocked by others", "from e: a, b, e"],
    ["continue b", "b failed; d blocked", "not blocked"],
    ["continue a", "b blocked", "not blocked"],
    ["continue z", "b blocked", "no such node"],
];

fn allow(row: &[&str]) -> Vec<String> {
    let status = AutomationRunStatus::parse(row[0]).unwrap();
    let found = allowed(status, row[1] == "broken", row[1] == "is being cancelled");
    vec![joined(found.into_iter().map(|operation| operation.to_string()))]
}

/// The graph is a, then b and c, then d; e is for itself. Nodes that are not named are completed.
fn make_again(row: &[&str]) -> Vec<String> {
    let step = |id: &str, before: &[&str]| json!({ "id": id, "dependsOn": before });
    let data = json!({ "name": "n", "nodes": [
        step("a", &[]), step("b", &["a"]), step("c", &["a"]), step("d", &["b", "c"]),
        { "id": "e", "partialFailure": "pause_all" },
    ] });
    let definition = read(&data).unwrap();
    let view = |id: &str| {
        let named = parts(row[1]).find_map(|part| part.strip_prefix(id)?.strip_prefix(' '));
        let own = named.map(|named| named.strip_suffix(" by others").unwrap_or(named));
        NodeView {
            id: id.to_owned(),
            state: own.and_then(NodeState::parse).unwrap_or(NodeState::Completed),
            retry_at: None,
            live: None,
            leaves: false,
            began: own == named,
        }
    };
    let nodes: Vec<NodeView> = definition.nodes.iter().map(|node| view(&node.id)).collect();
    let (operation, node) =
        row[0].split_once(' ').map_or((row[0], None), |(operation, node)| (operation, Some(node)));
    let list = |ids: &BTreeSet<String>| Vec::from_iter(ids.iter().map(String::as_str)).join(", ");
    vec![match reset(&definition, &nodes, Operation::parse(operation).unwrap(), node) {
        Ok(reset) if reset.nodes.is_empty() => "nothing; it goes on where it was".to_owned(),
        Ok(reset) => format!("from {}: {}", list(&reset.targets), list(&reset.nodes)),
        Err(Nothing::NoSuchNode) => "no such node".to_owned(),
        Err(Nothing::NotBroken) => "nothing is broken".to_owned(),
        Err(Nothing::NotBlocked) => "not blocked".to_owned(),
        Err(Nothing::Behind(other)) => format!("it waits for {other}"),
    }]
}

pub(super) fn tables() -> Vec<Table> {
    let may = "`allowedActions` of a run. `broken`: a node failed or is blocked.";
    let resets = "The nodes are a, then b and c, then d, and e for itself, which stops all others when it fails \
                  (`pause_all`). Those that are not named are `completed`, and those that are blocked are so by \
                  what they did themselves where nothing else is said. What is made again forgets its output and \
                  what was tried.";
    vec![
        Table::judged(
            ("What may be asked of a run", may),
            ["status", "besides", "may be asked"],
            2,
            ALLOWED,
            allow,
        ),
        Table::judged(
            ("What is made again", resets),
            ["asked", "how it stands", "answer"],
            2,
            RESETS,
            make_again,
        ),
    ]
}

#[test]
fn every_status_says_what_may_be_asked_and_every_reset_what_is_lost() {
    let statuses: BTreeSet<&str> = ALLOWED.iter().map(|row| row[0]).collect();
    assert_eq!(statuses.len(), AutomationRunStatus::ALL.len());
    tables();
}
