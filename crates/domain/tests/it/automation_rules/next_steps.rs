//! What is done next with a run that is at work (spec/automations.md 2.3).

use std::time::Duration;

use domain::automation::advance::{
    Clock, Live, NodeView, Plan, Spent, Step, Stop, View, advance, clock, limit_reached, without_place,
};
use domain::automation::definition::{Definition, Limits, read};
use domain::automation::sweep::is_stale;
use domain::automation::verdict::Stopped;
use domain::automation::{AutomationRunStatus, NodeState};
use serde_json::{Value as Json, json};

use super::{at, seconds};
use crate::table::{Table, joined, parts};

const NOW: i64 = 10_000;

const BEGINNING: &[[&str; 3]] = &[
    ["a", "-", "start a"],
    ["a; b", "-", "start a; start b"],
    ["a; b after a", "-", "start a"],
    ["a; b after a", "a runs", "-"],
    ["a; b after a", "a done", "start b"],
    ["a; b after a", "a skipped", "start b"],
    ["a; b after a", "a done; b runs", "-"],
    ["a; b after a", "a done; b done", "settle completed"],
    ["a; b after a", "a done; b skipped", "settle completed"],
    ["a; b; c after a", "a done; b runs", "start c"],
    ["a; b; c after a", "a runs; b done", "-"],
    ["a; b after a; c after a; d after b, c", "a done", "start b; start c"],
    ["a; b after a; c after a; d after b, c", "a done; b done; c runs", "-"],
    ["a; b after a; c after a; d after b, c", "a done; b done; c done", "start d"],
    ["a; b after a; c after a; d after b, c", "a done; b skipped; c done", "start d"],
    ["a; b after a", "a leaves", "-"],
    ["a; b after a", "a done; b leaves", "-"],
    ["a; b", "a leaves", "start b"],
    ["a; b after a", "a stopping", "-"],
];

const PLACES: &[[&str; 4]] = &[
    ["a; b; c; d; e; f", "-", "{}", "start a; start b; start c; start d"],
    ["a; b; c", "-", "{\"maxParallelAgents\":1}", "start a"],
    ["a; b; c", "-", "{\"maxParallelAgents\":2}", "start a; start b"],
    ["a; b; c", "a runs", "{\"maxParallelAgents\":1}", "-"],
    ["a; b; c", "a runs", "{\"maxParallelAgents\":2}", "start b"],
    ["a; b; c", "a done", "{\"maxParallelAgents\":1}", "start b"],
    ["a; b; c", "a stopping", "{\"maxParallelAgents\":1}", "-"],
    ["a; b; c", "a leaves", "{\"maxParallelAgents\":1}", "start b"],
    ["a; b; c", "-", "{\"maxParallelAgents\":0}", "start a"],
    ["a; gate g; gate h", "a runs", "{\"maxParallelAgents\":1}", "ask g; ask h"],
];

const GATES: &[[&str; 3]] = &[
    ["gate g", "-", "ask g; await"],
    ["gate g", "g asks", "await"],
    ["gate g", "g done", "settle completed"],
    ["a; gate g after a", "-", "start a"],
    ["a; gate g after a", "a runs", "-"],
    ["a; gate g after a", "a done", "ask g; await"],
    ["a; gate g after a; b after g", "a done; g asks", "await"],
    ["a; gate g after a; b after g", "a done; g done", "start b"],
    ["a; b; gate g after a", "a done; b runs", "ask g"],
    ["a; b; gate g after a", "a done; b runs; g asks", "-"],
    ["a; b; gate g after a", "a done; b done; g asks", "await"],
    ["a; b; gate g after a; gate h after a", "a done; b runs", "ask g; ask h"],
    ["a; gate g after a; gate h after a; b after g", "a done; g done; h asks", "start b"],
    ["a; gate g after a; gate h after a; b after g", "a done; g done; h asks; b done", "await"],
    ["a; gate g; b after g", "a failed; g asks", "await"],
    ["a; gate g after a", "a failed", "block g by a; settle failed"],
];

const FAILURES: &[[&str; 4]] = &[
    ["a; b after a; c", "a failed", "{}", "block b by a; start c"],
    [
        "a; b after a; c",
        "a failed",
        "{\"partialFailure\":\"pause_downstream_only\"}",
        "block b by a; start c",
    ],
    ["a; b after a; c", "a failed", "{\"partialFailure\":\"continue_independent\"}", "block b by a; start c"],
    [
        "a; b after a; c",
        "a failed",
        "{\"partialFailure\":\"pause_all\"}",
        "block b by a; block c by a; settle failed",
    ],
    ["a; b after a; c", "a failed; c runs", "{\"partialFailure\":\"pause_all\"}", "block b by a"],
    ["a; b after a; c", "a failed; c runs", "{}", "block b by a"],
    ["a; b after a; c", "a failed; b blocked; c runs", "{}", "-"],
    ["a; b after a; c", "a failed; b blocked; c done", "{}", "settle failed"],
    ["a; b after a; c", "a blocked", "{}", "block b by a; start c"],
    ["a; b after a; c", "a blocked; b blocked; c done", "{}", "settle blocked"],
    [
        "a; b after a; c",
        "a blocked",
        "{\"partialFailure\":\"pause_all\"}",
        "block b by a; block c by a; settle blocked",
    ],
    ["a; b after a; c", "a blocked by others", "{\"partialFailure\":\"pause_all\"}", "block b by a; start c"],
    ["a; b after a; c after b", "a failed", "{}", "block b by a; block c by a; settle failed"],
    ["a; b; c after a, b", "a failed; b runs", "{}", "block c by a"],
    ["a; b; c after a, b", "a failed; b blocked", "{}", "block c by a; settle failed"],
    ["a; b; c", "a blocked; b failed; c done", "{}", "settle failed"],
    ["a; b", "a failed; b done", "{}", "settle failed"],
    ["a; b", "a failed; b waits 30", "{}", "-"],
    ["a; b", "a failed; b waits 30", "{\"partialFailure\":\"pause_all\"}", "block b by a; settle failed"],
    ["a; gate g", "a failed; g asks", "{\"partialFailure\":\"pause_all\"}", "await"],
    ["a after b; b after a", "-", "{}", "settle failed, flow deadlock: node a can never begin"],
    ["a; b after c; c after b", "a done", "{}", "settle failed, flow deadlock: node b can never begin"],
];

const WAITS: &[[&str; 3]] = &[
    ["a", "a waits 0", "start a"],
    ["a", "a waits -5", "start a"],
    ["a", "a waits 1", "look in 1"],
    ["a", "a waits 60", "look in 60"],
    ["a", "a waits 61", "back off until 61; look in 61"],
    ["a; b", "a waits 30; b waits 90", "look in 30"],
    ["a; b", "a waits 70; b waits 90", "back off until 70; look in 70"],
    ["a; b", "a waits 90; b runs", "look in 90"],
    ["a; b", "a waits 90", "start b; look in 90"],
    ["a; gate g", "a waits 90; g asks", "back off until 90; look in 90"],
    ["a; gate g", "a waits 30; g asks", "look in 30"],
    ["a; b after a", "a waits 90; b blocked", "back off until 90; look in 90"],
];

const TIMES: &[[&str; 3]] = &[
    ["{}", "runs", "-"],
    ["{}", "runs 0", "look in 600"],
    ["{}", "runs 599", "look in 1"],
    ["{}", "runs 600", "stop a: took too long"],
    ["{}", "runs 700 heard 100", "look in 500"],
    ["{}", "runs 1790 heard 0", "look in 10"],
    ["{}", "runs 1800 heard 0", "stop a: took too long"],
    ["{}", "stopping 700", "-"],
    ["{}", "runs 9000 heard 9000 asking", "-"],
    ["{}", "runs 1800 heard 0 waited 300", "look in 300"],
    ["{}", "runs 2100 heard 0 waited 300", "stop a: took too long"],
    ["{}", "runs 1800 heard 600 waited 300", "stop a: took too long"],
    ["{\"idleSec\":10}", "runs 9", "look in 1"],
    ["{\"idleSec\":10}", "runs 10", "stop a: took too long"],
    ["{\"idleSec\":10}", "runs 69 heard 0", "look in 1"],
    ["{\"idleSec\":10}", "runs 70 heard 0", "stop a: took too long"],
    ["{\"idleSec\":10,\"totalSec\":20}", "runs 19 heard 0", "look in 1"],
    ["{\"idleSec\":10,\"totalSec\":20}", "runs 20 heard 0", "stop a: took too long"],
    ["{\"idleSec\":10,\"totalSec\":0}", "runs 9000 heard 5", "look in 5"],
    ["{\"idleSec\":0}", "runs 9000", "-"],
    ["{\"idleSec\":0,\"totalSec\":20}", "runs 15", "look in 5"],
    ["{\"idleSec\":0,\"totalSec\":20}", "runs 20", "stop a: took too long"],
    ["{\"totalSec\":5}", "runs 5", "stop a: took too long"],
];

const LIMITS: &[[&str; 4]] = &[
    ["{}", "worked 999999; tokens 999999999; cents 99999", "a runs", "-"],
    ["{\"maxRuntimeSec\":60}", "worked 59", "a runs", "look in 1"],
    ["{\"maxRuntimeSec\":60}", "worked 60", "a runs", "limit maxRuntimeSec"],
    ["{\"maxRuntimeSec\":60}", "worked 61", "-", "limit maxRuntimeSec"],
    ["{\"maxRuntimeSec\":60}", "worked 60", "a done", "settle completed"],
    ["{\"maxTokens\":100}", "tokens 99", "a runs", "-"],
    ["{\"maxTokens\":100}", "tokens 100", "a runs", "limit maxTokens"],
    ["{\"maxTokens\":100}", "tokens 101", "-", "limit maxTokens"],
    ["{\"maxCostCents\":50}", "cents 49", "a runs", "-"],
    ["{\"maxCostCents\":50}", "cents 50", "a runs", "limit maxCostCents"],
    [
        "{\"maxRuntimeSec\":60,\"maxTokens\":100,\"maxCostCents\":50}",
        "worked 60; tokens 100; cents 50",
        "-",
        "limit maxRuntimeSec",
    ],
    [
        "{\"maxRuntimeSec\":60,\"maxTokens\":100,\"maxCostCents\":50}",
        "worked 1; tokens 100; cents 50",
        "-",
        "limit maxTokens",
    ],
    [
        "{\"maxRuntimeSec\":60,\"maxTokens\":100,\"maxCostCents\":50}",
        "worked 1; tokens 1; cents 50",
        "-",
        "limit maxCostCents",
    ],
];

const STOPS: &[[&str; 4]] = &[
    ["running", "at once", "a runs", "stop a: interrupted"],
    ["pausing", "at once", "a runs", "stop a: interrupted"],
    ["pausing", "at once", "a runs; b runs", "stop a: interrupted; stop b: interrupted"],
    ["pausing", "at once", "a stopping", "-"],
    ["pausing", "at once", "a stopping; b runs", "stop b: interrupted"],
    ["pausing", "at once", "a leaves", "-"],
    ["pausing", "at once", "-", "stopped"],
    ["pausing", "at once", "a done; b done", "stopped"],
    ["pausing", "at once", "a asks", "stopped"],
    ["pausing", "at once", "a waits 30", "stopped"],
    ["running", "drained", "a runs", "stop a: interrupted"],
    ["running", "drained", "a runs 10", "look in 590"],
    ["pausing", "drained", "a runs 10", "look in 590"],
    ["pausing", "drained", "a runs 600", "stop a: took too long"],
    ["pausing", "drained", "a runs 10; worked 50", "look in 10"],
    ["pausing", "drained", "a runs 10; worked 60", "stop a: interrupted"],
    ["pausing", "drained", "a stopping; worked 60", "-"],
    ["pausing", "drained", "a stopping", "-"],
    ["pausing", "drained", "a leaves", "-"],
    ["pausing", "drained", "a done", "stopped"],
    ["queued", "-", "-", "-"],
    ["queued", "at once", "a runs", "-"],
    ["paused", "-", "-", "-"],
    ["awaiting_approval", "-", "a asks", "-"],
    ["completed", "-", "-", "-"],
    ["blocked", "-", "-", "-"],
    ["failed", "-", "-", "-"],
    ["cancelled", "-", "-", "-"],
];

const WITHOUT_PLACE: &[[&str; 3]] = &[
    ["gate g; gate h after g", "g asks", "await"],
    ["gate g; gate h after g", "g done", "ask h; await"],
    ["gate g; gate h after g", "g done; h asks", "await"],
    ["gate g; gate h after g", "g done; h done", "settle completed"],
    ["gate g; gate h after g", "g failed", "block h by g; settle failed"],
    ["gate g; a after g", "g asks", "await"],
    ["gate g; a after g", "g done", "-"],
    ["gate g; a after g; gate h after g", "g done", "-"],
    ["gate g; a after g; gate h after a", "g done; a done", "ask h; await"],
    ["gate g; a after g", "g failed", "block a by g; settle failed"],
    ["gate g; a", "g done; a waits 30", "-"],
    ["gate g; a", "g done; a waits 90", "-"],
    ["gate g; a", "g done; a blocked", "settle blocked"],
];

const SILENT_RUNS: &[[&str; 3]] = &[
    ["{}", "-", "no"],
    ["{}", "a runs", "no"],
    ["{}", "a runs 659", "no"],
    ["{}", "a runs 660", "yes"],
    ["{}", "a runs 9000 heard 659", "no"],
    ["{}", "a runs 9000 heard 660", "yes"],
    ["{}", "a runs 9000; b runs 9000 heard 659", "no"],
    ["{}", "a runs 9000; b runs 660", "yes"],
    ["{}", "a runs 9000; b runs", "yes"],
    ["{}", "a runs 9000 heard 9000 asking", "no"],
    ["{}", "a runs 9000; b runs 9000 heard 9000 asking", "no"],
    ["{}", "a runs 9000 heard 100 waited 300", "no"],
    ["{}", "a done; b runs 660", "yes"],
    ["{\"idleSec\":0}", "a runs 9000", "no"],
    ["{\"idleSec\":0}", "a done; b runs 9000", "yes"],
    ["{\"idleSec\":0}", "a runs 9000; b runs 9000", "no"],
    ["{\"idleSec\":3600}", "a runs 3659; b runs 3659", "no"],
    ["{\"idleSec\":3600}", "a runs 3660; b runs 3660", "yes"],
];

const CLOCK: &[[&str; 3]] = &[
    ["rests", "-", "as before"],
    ["rests", "waits", "as before"],
    ["rests", "0", "counts from 0 ago"],
    ["rests", "5", "counts from 5 ago"],
    ["rests", "waits; 5", "counts from 5 ago"],
    ["rests", "5; 9; 2", "counts from 9 ago"],
    ["rests", "-3", "counts from 0 ago"],
    ["counts", "-", "rests"],
    ["counts", "5", "as before"],
    ["counts", "waits; 5", "as before"],
    ["counts", "waits", "rests"],
    ["counts", "waits; waits", "rests"],
];

/// `a; b after a; gate g after a, b`.
fn graph(text: &str) -> Vec<Json> {
    let node = |part: &str| {
        let (name, before) = part.split_once(" after ").unwrap_or((part, ""));
        let before: Vec<&str> = before.split(", ").filter(|id| !id.is_empty()).collect();
        match name.strip_prefix("gate ") {
            Some(id) => json!({ "id": id, "dependsOn": before, "gate": {} }),
            None => json!({ "id": name, "agent": "Ada", "objective": "o", "dependsOn": before }),
        }
    };
    parts(text).map(node).collect()
}

/// `a runs 700 heard 100`: its agent's run began 700 seconds ago and was heard of 100 seconds ago.
fn view(text: &str) -> NodeView {
    let words: Vec<&str> = text.split(' ').collect();
    let behind = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<i64>().ok());
    let of = |state| NodeView {
        id: words[0].to_owned(),
        state,
        retry_at: None,
        live: None,
        leaves: false,
        began: !words.contains(&"others"),
    };
    let live = |stops| Live {
        began_at: number(2).map(|ago| at(NOW - ago)),
        last_sign_at: number(4).map(|ago| at(NOW - ago)),
        stops,
        waits_for_person: words.contains(&"asking"),
        waited: behind("waited").map_or(Duration::ZERO, Duration::from_secs),
    };
    match words[1] {
        "done" => of(NodeState::Completed),
        "skipped" => of(NodeState::Skipped),
        "failed" => of(NodeState::Failed),
        "blocked" => of(NodeState::Blocked),
        "asks" => of(NodeState::AwaitingApproval),
        "waits" => NodeView { retry_at: number(2).map(|rest| at(NOW + rest)), ..of(NodeState::Pending) },
        "runs" => NodeView { live: Some(live(false)), ..of(NodeState::Running) },
        "stopping" => NodeView { live: Some(live(true)), ..of(NodeState::Running) },
        "leaves" => NodeView { leaves: true, ..of(NodeState::Pending) },
        other => panic!("unknown word {other}"),
    }
}

/// The nodes of a definition; those that are not named wait.
fn nodes(definition: &Definition, text: &str) -> Vec<NodeView> {
    let named: Vec<NodeView> = parts(text).map(view).collect();
    for name in &named {
        assert!(definition.node(&name.id).is_some(), "{text} names {}", name.id);
    }
    let of = |id: &str| {
        let found = named.iter().find(|view| view.id == id).cloned();
        found.unwrap_or(NodeView {
            id: id.to_owned(),
            state: NodeState::Pending,
            retry_at: None,
            live: None,
            leaves: false,
            began: false,
        })
    };
    definition.nodes.iter().map(|node| of(&node.id)).collect()
}

fn defined(nodes: Vec<Json>, limits: &str) -> Definition {
    let limits: Json = serde_json::from_str(limits).unwrap();
    read(&json!({ "name": "n", "nodes": nodes, "limits": limits })).unwrap()
}

struct Scene<'a> {
    definition: &'a Definition,
    nodes: &'a str,
    status: AutomationRunStatus,
    stop: Option<Stop>,
    spent: Spent,
}

impl<'a> Scene<'a> {
    fn of(definition: &'a Definition, nodes: &'a str) -> Scene<'a> {
        let status = AutomationRunStatus::Running;
        Scene { definition, nodes, status, stop: None, spent: Spent::default() }
    }

    fn nodes(&self) -> Vec<NodeView> {
        nodes(self.definition, self.nodes)
    }

    fn view<'b>(&'b self, nodes: &'b [NodeView]) -> View<'b> {
        View {
            definition: self.definition,
            limits: self.definition.limits,
            status: self.status,
            stop: self.stop,
            nodes,
            spent: self.spent,
            now: at(NOW),
        }
    }

    fn plan(&self) -> Plan {
        advance(&self.view(&self.nodes()))
    }

    fn said_without_place(&self) -> Vec<String> {
        vec![joined(without_place(&self.view(&self.nodes())).iter().map(short))]
    }

    fn said(&self) -> Vec<String> {
        vec![joined(self.plan().steps.iter().map(short))]
    }

    /// With the time at which it is looked at again.
    fn said_with_look(&self) -> Vec<String> {
        let plan = self.plan();
        let look = plan.look_at.map(|at| format!("look in {}", seconds(at) - NOW));
        vec![joined(plan.steps.iter().map(short).chain(look))]
    }
}

fn short(step: &Step) -> String {
    match step {
        Step::Start(node) => format!("start {node}"),
        Step::Ask(node) => format!("ask {node}"),
        Step::Block { node, by } => format!("block {node} by {by}"),
        Step::Stop { node, why: Stopped::Timeout } => format!("stop {node}: took too long"),
        Step::Stop { node, why: Stopped::Interrupted } => format!("stop {node}: interrupted"),
        Step::Limit(kind) => format!("limit {}", kind.field()),
        Step::Stopped => "stopped".to_owned(),
        Step::Await => "await".to_owned(),
        Step::BackOff(until) => format!("back off until {}", seconds(*until) - NOW),
        Step::Settle { settled, reason } => {
            let deadlock = reason.as_ref().filter(|reason| reason.starts_with("flow deadlock"));
            let why = deadlock.map(|reason| format!(", {reason}")).unwrap_or_default();
            format!("settle {}{why}", settled.status())
        }
    }
}

fn spent(text: &str) -> Spent {
    let mut spent = Spent::default();
    for (word, number) in parts(text).filter_map(|part| part.split_once(' ')) {
        let number: u64 = number.parse().unwrap();
        match word {
            "worked" => spent.worked = Duration::from_secs(number),
            "tokens" => spent.tokens = number,
            _ => spent.cost_micros = number * 10_000,
        }
    }
    spent
}

fn with_first(graph_of: &str, fields: &str) -> Vec<Json> {
    let mut nodes = graph(graph_of);
    let more: Json = serde_json::from_str(fields).unwrap();
    for (key, value) in more.as_object().unwrap() {
        nodes[0][key] = value.clone();
    }
    nodes
}

pub(super) fn tables() -> Vec<Table> {
    let beginning = "A node begins when all it depends on is `completed` or `skipped`, and waits for nobody \
                     else. `a leaves`: an attempt of a that no longer counts has processes still. Nodes that are \
                     not named wait. The run is `running` wherever nothing else is said.";
    let gates = "A gate opens as soon as what it depends on is done, beside work and beside other gates. The run \
                 leaves its place (`await`) when nothing else is left to do.";
    let failures = "The fields are those of the first node. What cannot begin any more is `blocked`; the run \
                    ends when nothing is left, as `failed` before `blocked`.";
    let waits = "`a waits 30` is to be tried again in 30 seconds. A run that would wait longer than a minute \
                 gives its place and its folder back.";
    let times = "The node a alone, with its `timeout`. `runs 700 heard 100`: its agent began 700 seconds ago, \
                 and was last heard of 100 seconds ago. Without a number it has not begun.";
    let limits = "What the run used so far; time that it waited is none of it.";
    let stops = "A stop waits for what is under way. Two nodes, a and b. A run that is not at work is left alone. `worked`: so \
         long, of a `maxRuntimeSec` of 60; what drains has the limits of its run.";
    let without = "A run that waits for people has no place. What needs none is done at once all the same, however \
                   full the house is; `-`: it waits for a place.";
    let silent = "Whether a run with the nodes a and b is paused as `stale_reaped`. Signs are those of all that is \
                  under way, the limit is the longest; who waits for a person is not silent.";
    let clocks =
        "By what is under way: how many seconds ago its agent began, or that it waits for its agent.";
    let names = ["graph", "how it stands"];
    vec![
        Table::judged(("What begins", beginning), [names[0], names[1], "then"], 2, BEGINNING, |row| {
            Scene::of(&defined(graph(row[0]), "{}"), row[1]).said()
        }),
        Table::judged(
            (
                "How many agents at once",
                "`maxParallelAgents`, 1 to 16 and 4 when left out. Gates need no place.",
            ),
            [names[0], names[1], "`limits`", "then"],
            3,
            PLACES,
            |row| Scene::of(&defined(graph(row[0]), row[2]), row[1]).said(),
        ),
        Table::judged(("When people are asked", gates), [names[0], names[1], "then"], 2, GATES, |row| {
            Scene::of(&defined(graph(row[0]), "{}"), row[1]).said()
        }),
        Table::judged(
            ("What a failure does to the others", failures),
            [names[0], names[1], "fields", "then"],
            3,
            FAILURES,
            |row| Scene::of(&defined(with_first(row[0], row[2]), "{}"), row[1]).said(),
        ),
        Table::judged(("Waiting for a retry", waits), [names[0], names[1], "then"], 2, WAITS, |row| {
            Scene::of(&defined(graph(row[0]), "{}"), row[1]).said_with_look()
        }),
        Table::judged(("How long an attempt may take", times), ["`timeout`", "a", "then"], 2, TIMES, |row| {
            let definition = defined(with_first("a", &format!("{{\"timeout\":{}}}", row[0])), "{}");
            Scene::of(&definition, &format!("a {}", row[1])).said_with_look()
        }),
        Table::judged(("Limits of a run", limits), ["`limits`", "used", "a", "then"], 3, LIMITS, |row| {
            let definition = defined(with_first("a", "{\"timeout\":{\"idleSec\":0}}"), row[0]);
            let scene = Scene { spent: spent(row[1]), ..Scene::of(&definition, row[2]) };
            let found = limit_reached(&definition.limits, &scene.spent).filter(|_| row[2] != "a done");
            let said = scene.said_with_look();
            assert_eq!(found.is_some(), said[0].starts_with("limit"), "{row:?}");
            assert_eq!(limit_reached(&Limits::default(), &scene.spent), None);
            said
        }),
        Table::judged(("Stopping", stops), ["status", "stop", names[1], "then"], 3, STOPS, |row| {
            let (stands, used) = row[2].split_once("; worked ").unwrap_or((row[2], ""));
            let limits = if used.is_empty() { "{}" } else { "{\"maxRuntimeSec\":60}" };
            let definition = defined(graph("a; b"), limits);
            let stop = (row[1] != "-").then(|| Stop { drains: row[1] == "drained" });
            let status = AutomationRunStatus::parse(row[0]).unwrap();
            let spent = spent(&format!("worked {}", used.parse::<u64>().unwrap_or(0)));
            Scene { status, stop, spent, ..Scene::of(&definition, stands) }.said_with_look()
        }),
        Table::judged(
            ("What needs no place", without),
            [names[0], names[1], "then"],
            2,
            WITHOUT_PLACE,
            |row| {
                let status = AutomationRunStatus::AwaitingApproval;
                Scene { status, ..Scene::of(&defined(graph(row[0]), "{}"), row[1]) }.said_without_place()
            },
        ),
        Table::judged(
            ("Runs of which nothing is heard", silent),
            ["`timeout` of a", names[1], "paused"],
            2,
            SILENT_RUNS,
            |row| {
                let definition = defined(with_first("a; b", &format!("{{\"timeout\":{}}}", row[0])), "{}");
                let nodes = nodes(&definition, row[1]);
                vec![if is_stale(&definition, &nodes, at(NOW)) { "yes" } else { "no" }.to_owned()]
            },
        ),
        Table::judged(("The clock of a run", clocks), ["its clock", "under way", "then"], 2, CLOCK, |row| {
            let began = |part: &str| part.parse::<i64>().ok().map(|ago| at(NOW - ago));
            let begun: Vec<_> = parts(row[1]).map(began).collect();
            vec![match clock(row[0] == "counts", &begun, at(NOW)) {
                Clock::Same => "as before".to_owned(),
                Clock::Rests => "rests".to_owned(),
                Clock::Runs(since) => format!("counts from {} ago", NOW - seconds(since)),
            }]
        }),
    ]
}

#[test]
fn every_run_at_work_has_its_next_steps() {
    tables();
}
