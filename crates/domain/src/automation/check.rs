//! Whether a definition can be run: everything that is wrong with it, each with its place.

use std::collections::{BTreeMap, BTreeSet};

use super::calendar::spec;
use super::contract::{self, not_below};
use super::definition::{BackoffKind, Definition, Input, LONGEST_SEC, Node, NodeKind};
use super::graph::Graph;
use super::{Problem, template};

/// Nodes of one automation.
pub const MOST_NODES: usize = 500;
/// The longest name and id.
const LONGEST_NAME: usize = 100;
/// Seconds between two reminders of one gate; each of them is a record that stays.
const LEAST_BETWEEN_REMINDERS: u64 = 60;
/// The longest text of a template.
const LONGEST_TEXT: usize = 100_000;

/// What the company knows.
#[derive(Debug, Clone, Default)]
pub struct Known<'a> {
    /// Names and ids of agents that may be given work.
    pub agents: BTreeSet<&'a str>,
    /// Names that several agents have.
    pub ambiguous: BTreeSet<&'a str>,
    /// Names of the other automations.
    pub automations: BTreeSet<&'a str>,
}

/// Looks at a whole definition. No problem: it may be saved.
pub fn check(definition: &Definition, known: &Known<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong =
        |path: String, message: String, hint: &str| problems.push(Problem::new(path, message, hint));
    if !is_name(&definition.name) {
        let hint = "letters, digits, - and _, beginning with a letter, at most 100";
        wrong("name".into(), format!("`{}` is not a name", definition.name), hint);
    }
    if let Some(workspace) = &definition.workspace
        && (!workspace.starts_with('/') || workspace.contains('\0'))
    {
        wrong(
            "workspace".into(),
            "must be an absolute path".into(),
            "write it from the root, as in /srv/site",
        );
    }
    for name in definition.inputs.keys().filter(|name| !is_identifier(name)) {
        wrong(
            format!("inputs.{name}"),
            "is not a name".into(),
            "letters, digits and _, beginning with a letter",
        );
    }
    for (name, input) in &definition.inputs {
        if let (Some(kind), Some(default)) = (input.kind, &input.default)
            && !kind.fits(default)
        {
            wrong(
                format!("inputs.{name}.default"),
                format!("must be {}", kind.with_article()),
                "give a value of that type",
            );
        }
    }
    if definition.limits.max_parallel_agents.is_some_and(|most| !(1..=16).contains(&most)) {
        wrong("limits.maxParallelAgents".into(), "must be between 1 and 16".into(), "leave it out for 4");
    }
    let limits = definition.limits;
    for (name, limit) in [
        ("maxRuntimeSec", limits.max_runtime_sec),
        ("maxTokens", limits.max_tokens),
        ("maxCostCents", limits.max_cost_cents),
    ] {
        if limit == Some(0) {
            wrong(format!("limits.{name}"), "must be more than 0".into(), "leave it out for no limit");
        }
    }
    if limits.max_runtime_sec.is_some_and(|most| most > LONGEST_SEC) {
        wrong("limits.maxRuntimeSec".into(), at_most_a_year(), "leave it out for no limit");
    }
    if definition.nodes.is_empty() {
        wrong("nodes".into(), "must not be empty".into(), "an automation has at least one node");
    }
    if definition.nodes.len() > MOST_NODES {
        wrong(
            "nodes".into(),
            format!("has more than {MOST_NODES} entries"),
            "make several automations of it",
        );
    }
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in definition.nodes.iter().enumerate() {
        if !is_name(&node.id) {
            let hint = "letters, digits, - and _, beginning with a letter, at most 100";
            wrong(format!("nodes[{index}].id"), format!("`{}` is not a name", node.id), hint);
        }
        if let Some(other) = first.get(node.id.as_str()) {
            let message = format!("`{}` is the id of nodes[{other}] too", node.id);
            wrong(format!("nodes[{index}].id"), message, "give each node an id of its own");
        }
        first.entry(&node.id).or_insert(index);
    }
    for (index, after) in definition.after.iter().enumerate() {
        if after.automation != definition.name && !known.automations.contains(after.automation.as_str()) {
            let message = format!("`{}` is not an automation of this company", after.automation);
            wrong(format!("after[{index}].automation"), message, "apply the other one first");
        }
        if after.automation == definition.name {
            let message = "an automation cannot start itself".to_owned();
            wrong(format!("after[{index}].automation"), message, "give it a schedule");
        }
        for (at, status) in after.on.iter().enumerate().filter(|(_, status)| !status.is_final()) {
            let message = format!("`{status}` is not an end");
            wrong(format!("after[{index}].on[{at}]"), message, "completed, blocked, failed or cancelled");
        }
        for name in after.inputs.keys().filter(|name| !definition.inputs.contains_key(*name)) {
            let message = "is not an input of this automation".to_owned();
            wrong(format!("after[{index}].inputs.{name}"), message, "declare it under inputs");
        }
        let must = |input: &Input| input.default.is_none() && input.required.unwrap_or(true);
        for (name, _) in definition.inputs.iter().filter(|(_, input)| must(input)) {
            if !after.inputs.contains_key(name) {
                let hint =
                    format!("fill it, as in {name} = \"{{{{ nodes.NODE.text }}}}\", or give it a default");
                wrong(format!("after[{index}].inputs.{name}"), "is missing".into(), &hint);
            }
        }
    }
    let graph = Graph::of(definition);
    if let Some(circle) = graph.circle() {
        let at = definition.nodes.iter().position(|node| node.id == circle[0]).unwrap_or(0);
        let message = format!("goes in a circle: {}", circle.join(" -> "));
        wrong(format!("nodes[{at}].dependsOn"), message, "take one of these dependencies out");
    }
    for (index, after) in definition.after.iter().enumerate() {
        for (name, text) in &after.inputs {
            let path = format!("after[{index}].inputs.{name}");
            problems.extend(template::check(&path, text, unknown_of_another));
        }
    }
    for (index, node) in definition.nodes.iter().enumerate() {
        problems.extend(of_node(&format!("nodes[{index}]"), node, definition, &graph, known));
    }
    problems.extend(spec::check(definition));
    problems
}

fn of_node(
    path: &str,
    node: &Node,
    definition: &Definition,
    graph: &Graph<'_>,
    known: &Known<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ids: BTreeSet<&str> = definition.nodes.iter().map(|node| node.id.as_str()).collect();
    let ancestors = graph.ancestors(&node.id);
    let mut wrong = |field: &str, message: String, hint: &str| {
        problems.push(Problem::new(format!("{path}{field}"), message, hint));
    };
    for (at, id) in node.depends_on.iter().enumerate().filter(|(_, id)| !ids.contains(id.as_str())) {
        let message = format!("`{id}` is not a node of this automation");
        wrong(&format!(".dependsOn[{at}]"), message, "name the id of another node");
    }
    for (at, id) in node.depends_on.iter().enumerate() {
        if node.depends_on[..at].contains(id) {
            wrong(&format!(".dependsOn[{at}]"), format!("`{id}` stands there twice"), "leave one out");
        }
    }
    let remind = node.gate.as_ref().and_then(|gate| gate.expiry.as_ref()?.remind_every_sec);
    if remind.is_some_and(|every| every > 0 && every < LEAST_BETWEEN_REMINDERS) {
        let message = format!("must be at least {LEAST_BETWEEN_REMINDERS}, or 0 for none");
        wrong(
            ".gate.expiry.remindEverySec",
            message,
            "people who are asked each second hear nothing any more",
        );
    }
    let expiry = node.gate.as_ref().and_then(|gate| gate.expiry.as_ref());
    let timeout = node.timeout.unwrap_or_default();
    for (field, seconds, hint) in [
        (".timeout.idleSec", timeout.idle_sec, "0 is none"),
        (".timeout.totalSec", timeout.total_sec, "0 is none"),
        (
            ".retry.maxElapsedSec",
            node.retry.as_ref().and_then(|retry| retry.max_elapsed_sec),
            "leave it out for no end",
        ),
        (".gate.expiry.expiresAfterSec", expiry.and_then(|it| it.expires_after_sec), "0 is never"),
        (".gate.expiry.remindEverySec", expiry.and_then(|it| it.remind_every_sec), "0 is never"),
    ] {
        if seconds.is_some_and(|seconds| seconds > LONGEST_SEC) {
            wrong(field, at_most_a_year(), hint);
        }
    }
    let targets = node.gate.iter().flat_map(|gate| gate.rework_targets.iter().enumerate());
    let targets = targets.map(|it| (".gate.reworkTargets", it));
    let own = node.rework_targets.iter().enumerate().map(|it| (".reworkTargets", it));
    for (field, (at, id)) in targets.chain(own).filter(|(_, (_, id))| !ancestors.contains(id.as_str())) {
        let message = format!("`{id}` does not come before this node");
        wrong(&format!("{field}[{at}]"), message, "name a node that this one depends on, directly or not");
    }
    match (node.is_gate(), &node.agent, &node.objective) {
        (true, Some(_), _) => {
            wrong(".agent", "a gate has no agent".into(), "make the work a node of its own, before the gate");
        }
        (true, None, Some(_)) => {
            wrong(".objective", "a gate has no objective".into(), "write gate.instructions");
        }
        (true, None, None) => {}
        (false, None, _) => wrong(".agent", "is missing".into(), "name an agent, or make the node a gate"),
        (false, Some(agent), objective) => {
            if known.ambiguous.contains(agent.as_str()) {
                wrong(".agent", format!("several agents are called `{agent}`"), "name it by its id");
            } else if !known.agents.contains(agent.as_str()) {
                let message = format!("`{agent}` is not an agent of this company");
                wrong(".agent", message, "bugle agent list shows them");
            }
            if objective.as_deref().is_none_or(|text| text.trim().is_empty()) {
                wrong(".objective", "must not be empty".into(), "say what the agent is to do");
            }
        }
    }
    if node.is_gate() {
        let unused = [
            (".output", node.output.is_some()),
            (".retry", node.retry.is_some()),
            (".timeout", node.timeout.is_some()),
            (".scope", node.scope.is_some()),
            (".repeatable", node.repeatable.is_some()),
        ];
        for (field, _) in unused.into_iter().filter(|(_, is_there)| *is_there) {
            wrong(field, "has no meaning for a gate".into(), "leave it out");
        }
    }
    if !node.rework_targets.is_empty() {
        if node.is_gate() {
            wrong(".reworkTargets", "has no meaning for a gate".into(), "write gate.reworkTargets");
        } else if node.kind != Some(NodeKind::Review) {
            let message = "only a review sends work back".to_owned();
            wrong(".reworkTargets", message, "write kind = \"review\", or leave it out");
        }
    }
    if let Some(retry) = &node.retry {
        if retry.max_attempts.is_some_and(|most| !(1..=10).contains(&most)) {
            wrong(".retry.maxAttempts", "must be between 1 and 10".into(), "leave it out for 3");
        }
        if let Some(backoff) = &retry.backoff {
            let seconds = [
                ("initialSec", backoff.initial_sec, 86_400.0),
                ("maxSec", backoff.max_sec, 86_400.0),
                ("jitterSec", backoff.jitter_sec, 86_400.0),
                ("multiplier", backoff.multiplier, 100.0),
            ];
            for (field, value, most) in seconds {
                let Some(value) = value else { continue };
                if !(0.0..=most).contains(&value) {
                    let message = format!("must be between 0 and {most}");
                    wrong(&format!(".retry.backoff.{field}"), message, "give a number in these bounds");
                } else if backoff.kind == BackoffKind::None {
                    let message = "has no meaning with kind = none".to_owned();
                    wrong(&format!(".retry.backoff.{field}"), message, "leave it out, or choose fixed");
                }
            }
        }
    }
    for (field, paths) in node.scope.iter().flat_map(|scope| {
        [("readable", &scope.readable), ("writable", &scope.writable), ("denied", &scope.denied)]
    }) {
        for (at, path) in paths.iter().enumerate() {
            if let Some(message) = not_below(path) {
                let hint = "name it relative to the workspace";
                wrong(&format!(".scope.{field}[{at}]"), message.into(), hint);
            }
        }
    }
    if definition.workspace.is_none() {
        let files = node.output.as_ref().is_some_and(|output| !output.files.is_empty());
        if files {
            let message = "files are looked for in the workspace, and the automation has none";
            wrong(".output.files", message.into(), "give the automation a workspace");
        }
        if node.scope.is_some() {
            let message = "paths are those of the workspace, and the automation has none";
            wrong(".scope", message.into(), "give the automation a workspace");
        }
    }
    if let Some(output) = &node.output {
        problems.extend(contract::check(&format!("{path}.output"), output));
    }
    let texts = [
        ("objective", node.objective.as_deref()),
        ("gate.title", node.gate.as_ref().and_then(|gate| gate.title.as_deref())),
        ("gate.instructions", node.gate.as_ref().and_then(|gate| gate.instructions.as_deref())),
    ];
    for (field, text) in texts {
        let Some(text) = text else { continue };
        let path = format!("{path}.{field}");
        if text.len() > LONGEST_TEXT {
            let message = format!("is longer than {LONGEST_TEXT} bytes");
            problems.push(Problem::new(path, message, "put what is long into a file of the workspace"));
            continue;
        }
        problems.extend(template::check(&path, text, |parts| unknown(parts, definition, &ids, &ancestors)));
    }
    problems
}

/// What is wrong with a name in a template.
fn unknown(
    parts: &[&str],
    definition: &Definition,
    ids: &BTreeSet<&str>,
    ancestors: &BTreeSet<&str>,
) -> Option<(String, String)> {
    match parts {
        ["inputs"] | ["nodes"] | ["run"] => None,
        ["inputs", name, ..] if definition.inputs.contains_key(*name) => None,
        ["inputs", name, ..] => {
            Some((format!("`inputs.{name}` is not declared"), "declare it under inputs".to_owned()))
        }
        ["nodes", id, ..] if ancestors.contains(id) => unknown_of_another(parts),
        ["nodes", id, ..] if ids.contains(id) => {
            let message = format!("`nodes.{id}` does not come before this node");
            Some((message, format!("add \"{id}\" to dependsOn")))
        }
        ["nodes", id, ..] => {
            Some((format!("`nodes.{id}` is not a node"), "name a node that comes before this one".to_owned()))
        }
        others => unknown_of_another(others),
    }
}

/// The same for a text that is filled from a run of another automation: its inputs and nodes may be other ones by then.
fn unknown_of_another(parts: &[&str]) -> Option<(String, String)> {
    const RUN: [&str; 5] = ["id", "automation", "trigger", "workspace", "number"];
    const NODE: [&str; 5] = ["text", "json", "files", "status", "textIsCut"];
    match parts {
        [] | ["run" | "nodes"] | ["nodes", _] | ["inputs", ..] => None,
        ["run", field, ..] if RUN.contains(field) => None,
        ["run", field, ..] => {
            Some((format!("`run.{field}` is not known"), format!("run has: {}", RUN.join(", "))))
        }
        ["nodes", _, field, ..] if NODE.contains(field) => None,
        ["nodes", id, field, ..] => Some((
            format!("`nodes.{id}.{field}` is not known"),
            format!("a node has: {}; what its agent said is in text and json", NODE.join(", ")),
        )),
        [name, ..] => Some((
            format!("`{name}` is not known"),
            "there are inputs, nodes and run, as in {{ inputs.since }}".to_owned(),
        )),
    }
}

fn at_most_a_year() -> String {
    format!("must be at most {LONGEST_SEC}, a year")
}

pub(super) fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'))
}

fn is_identifier(text: &str) -> bool {
    is_name(text) && !text.contains('-')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::automation::definition::read;

    fn known() -> Known<'static> {
        Known {
            agents: BTreeSet::from(["Ada", "Bob"]),
            ambiguous: BTreeSet::from(["Eve"]),
            automations: BTreeSet::from(["build"]),
        }
    }

    fn problems(data: Json) -> Vec<(String, String)> {
        let definition = read(&data).unwrap();
        check(&definition, &known()).into_iter().map(|it| (it.path, it.message)).collect()
    }

    fn step(id: &str, before: &[&str]) -> Json {
        json!({ "id": id, "agent": "Ada", "objective": "work", "dependsOn": before })
    }

    #[test]
    fn a_sound_definition_has_no_problem() {
        let data = json!({
            "name": "notes", "workspace": "/srv", "inputs": { "since": {} },
            "nodes": [
                step("collect", &[]),
                { "id": "draft", "agent": "Bob", "dependsOn": ["collect"],
                  "objective": "since {{ inputs['since'] }}: {{ nodes.collect.text }} in {{ run.id }} {{ nodes['collect'].json | tojson }}",
                  "output": { "files": ["notes.md"] }, "scope": { "writable": ["docs"] } },
                { "id": "judge", "agent": "Ada", "objective": "look", "dependsOn": ["draft"], "kind": "review",
                  "reworkTargets": ["collect"], "repeatable": false, "timeout": { "totalSec": 31_622_400 } },
                { "id": "ok", "dependsOn": ["draft"],
                  "gate": { "title": "{{ nodes.draft.text }}", "reworkTargets": ["collect"] } },
            ],
            "after": [{ "automation": "build", "inputs": { "since": "{{ run.id }}" } }],
        });
        assert_eq!(problems(data), []);
    }

    #[test]
    fn each_fault_is_named_with_its_place() {
        let with = |nodes: Json| json!({ "name": "n", "nodes": nodes });
        let mut rows: Vec<(Json, &str, &str)> = vec![
            (json!({ "name": "9 lives", "nodes": [step("a", &[])] }), "name", "is not a name"),
            (with(json!([])), "nodes", "must not be empty"),
            (with(json!([step("a", &[]), step("a", &[])])), "nodes[1].id", "nodes[0] too"),
            (with(json!([step("a b", &[])])), "nodes[0].id", "is not a name"),
            (with(json!([step("a", &["z"])])), "nodes[0].dependsOn[0]", "`z` is not a node"),
            (with(json!([step("a", &["b"]), step("b", &["a"])])), "nodes[0].dependsOn", "a -> b -> a"),
            (
                with(json!([{ "id": "a", "agent": "Zoe", "objective": "x" }])),
                "nodes[0].agent",
                "not an agent",
            ),
            (
                with(json!([{ "id": "a", "agent": "Eve", "objective": "x" }])),
                "nodes[0].agent",
                "several agents",
            ),
            (with(json!([{ "id": "a", "objective": "x" }])), "nodes[0].agent", "is missing"),
            (with(json!([{ "id": "a", "agent": "Ada" }])), "nodes[0].objective", "must not be empty"),
            (with(json!([{ "id": "a", "agent": "Ada", "gate": {} }])), "nodes[0].agent", "no agent"),
            (
                with(json!([{ "id": "a", "objective": "x", "gate": {} }])),
                "nodes[0].objective",
                "no objective",
            ),
            (with(json!([{ "id": "a", "gate": {}, "retry": {} }])), "nodes[0].retry", "no meaning"),
            (with(json!([step("a", &[]), step("b", &["a", "a"])])), "nodes[1].dependsOn[1]", "twice"),
            (
                with(json!([{ "id": "a", "gate": { "expiry": { "remindEverySec": 59 } } }])),
                "nodes[0].gate.expiry.remindEverySec",
                "at least 60",
            ),
            (
                with(json!([{ "id": "a", "agent": "Ada", "objective": "{{ run.id | nofilter }}" }])),
                "nodes[0].objective",
                "nofilter",
            ),
        ];
        let one = |extra: (&str, Json)| {
            let mut node = step("a", &[]);
            node[extra.0] = extra.1;
            json!({ "name": "n", "workspace": "/w", "nodes": [node] })
        };
        rows.extend([
            (one(("objective", json!("{{ inputs.x }}"))), "nodes[0].objective", "not declared"),
            (one(("objective", json!("{{ nodes.a.text }}"))), "nodes[0].objective", "does not come before"),
            (one(("objective", json!("{{ nodes.q.text }}"))), "nodes[0].objective", "is not a node"),
            (one(("objective", json!("{{ nodes['q'].text }}"))), "nodes[0].objective", "`nodes.q` is not a node"),
            (one(("objective", json!("{{ inputs['x'] }}"))), "nodes[0].objective", "`inputs.x` is not declared"),
            (one(("objective", json!("{% include 'x' %}"))), "nodes[0].objective", "no other templates"),
            (
                one(("objective", json!("{{ run.id.x + 1 }} {{ run.id | nofilter }}"))),
                "nodes[0].objective",
                "`nofilter` is not a filter",
            ),
            (
                with(json!([
                    step("a-b", &[]),
                    { "id": "c", "agent": "Ada", "objective": "{{ nodes['a-b'].txt }}", "dependsOn": ["a-b"] },
                ])),
                "nodes[1].objective",
                "`nodes.a-b.txt` is not known",
            ),
            (one(("objective", json!("{{ run.colour }}"))), "nodes[0].objective", "run.colour"),
            (one(("objective", json!("{{ colour }}"))), "nodes[0].objective", "`colour` is not known"),
            (one(("objective", json!("{% if %}"))), "nodes[0].objective", "is not a template"),
            (one(("retry", json!({ "maxAttempts": 0 }))), "nodes[0].retry.maxAttempts", "between 1 and 10"),
            (
                one(("retry", json!({ "backoff": { "kind": "fixed", "initialSec": -1.0 } }))),
                "nodes[0].retry.backoff.initialSec",
                "between 0",
            ),
            (
                one(("retry", json!({ "backoff": { "kind": "none", "initialSec": 1.0 } }))),
                "nodes[0].retry.backoff.initialSec",
                "no meaning",
            ),
            (one(("scope", json!({ "writable": ["../x"] }))), "nodes[0].scope.writable[0]", "lead out"),
            (one(("output", json!({ "schema": 3 }))), "nodes[0].output.schema", "JSON Schema"),
            (one(("reworkTargets", json!(["a"]))), "nodes[0].reworkTargets[0]", "does not come before"),
            (one(("reworkTargets", json!(["a"]))), "nodes[0].reworkTargets", "only a review"),
            (
                with(json!([{ "id": "a", "gate": {}, "reworkTargets": ["a"] }])),
                "nodes[0].reworkTargets",
                "no meaning for a gate",
            ),
            (
                with(json!([{ "id": "a", "gate": {}, "repeatable": false }])),
                "nodes[0].repeatable",
                "no meaning for a gate",
            ),
            (one(("timeout", json!({ "idleSec": i64::MAX }))), "nodes[0].timeout.idleSec", "at most 31622400"),
            (one(("timeout", json!({ "totalSec": u64::MAX }))), "nodes[0].timeout.totalSec", "at most"),
            (one(("retry", json!({ "maxElapsedSec": 31_622_401 }))), "nodes[0].retry.maxElapsedSec", "at most"),
            (
                with(json!([{ "id": "a", "gate": { "expiry": { "expiresAfterSec": 31_622_401 } } }])),
                "nodes[0].gate.expiry.expiresAfterSec",
                "at most",
            ),
            (
                with(json!([{ "id": "a", "gate": { "expiry": { "remindEverySec": 31_622_401 } } }])),
                "nodes[0].gate.expiry.remindEverySec",
                "at most",
            ),
            (
                json!({ "name": "n", "limits": { "maxRuntimeSec": 31_622_401 }, "nodes": [step("a", &[])] }),
                "limits.maxRuntimeSec",
                "at most",
            ),
        ]);
        let after = |inputs: Json| {
            json!({ "name": "n", "nodes": [step("a", &[])], "after": [{ "automation": "build", "inputs": inputs }],
                    "inputs": { "since": {}, "note": { "required": false }, "deep": { "default": "no" } } })
        };
        rows.extend([
            (after(json!({ "since": "{% if %}" })), "after[0].inputs.since", "is not a template"),
            (after(json!({ "since": "{{ colour }}" })), "after[0].inputs.since", "`colour` is not known"),
            (after(json!({ "since": "{{ run.colour }}" })), "after[0].inputs.since", "run.colour"),
            (after(json!({ "since": "{{ nodes.any.txt }}" })), "after[0].inputs.since", "`nodes.any.txt`"),
            (after(json!({ "note": "x" })), "after[0].inputs.since", "is missing"),
        ]);
        // What the other one has is known when it ends.
        assert_eq!(problems(after(json!({ "since": "{{ nodes.any.text }} {{ inputs.other }}" }))), []);
        for (data, path, message) in rows {
            let found = problems(data.clone());
            assert!(
                found.iter().any(|(at, said)| at == path && said.contains(message)),
                "{data}: {path}: {message}: {found:?}"
            );
        }
    }

    #[test]
    fn what_belongs_to_the_whole_is_looked_at_too() {
        let data = json!({
            "name": "n", "workspace": "srv", "inputs": { "a-b": { "default": 1 }, "n": { "type": "number", "default": "x" } },
            "limits": { "maxParallelAgents": 17, "maxTokens": 0 },
            "nodes": [step("a", &[])],
            "after": [{ "automation": "x", "on": ["running"], "inputs": { "q": "1" } }, { "automation": "n" }],
        });
        let paths: Vec<String> = problems(data).into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "workspace",
                "inputs.a-b",
                "inputs.n.default",
                "limits.maxParallelAgents",
                "limits.maxTokens",
                "after[0].automation",
                "after[0].on[0]",
                "after[0].inputs.q",
                "after[1].automation",
            ]
        );
        let data = json!({ "name": "n", "nodes": [
            { "id": "a", "agent": "Ada", "objective": "x", "output": { "files": ["f"] }, "scope": {} },
        ] });
        let paths: Vec<String> = problems(data).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["nodes[0].output.files", "nodes[0].scope"]);
    }
}
