//! What an automation is: read strictly, so that a field nobody knows is an error with its place.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::calendar::ScheduleSpec;
use super::{FailureClass, Problem};
use crate::words;

/// A definition, as people write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// Unique within the company; it stays when the definition changes.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// An absolute folder: one run at a time works in it. Without one each agent works where it always does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Of two runs that wait, the one with the higher priority starts first.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Input>,
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Policy::is_usual")]
    pub policy: Policy,
    pub nodes: Vec<Node>,
    /// Runs of other automations whose end starts this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// When it starts by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleSpec>,
}

words!(
    /// Which of several waiting runs comes first.
    #[derive(Default)]
    Priority {
        Critical = "critical",
        High = "high",
        #[default]
        Medium = "medium",
        Low = "low",
    }
);

impl Priority {
    /// 0 comes first.
    pub const fn rank(self) -> i64 {
        match self {
            Priority::Critical => 0,
            Priority::High => 1,
            Priority::Medium => 2,
            Priority::Low => 3,
        }
    }

    fn is_usual(&self) -> bool {
        *self == Priority::Medium
    }
}

/// Something a run is started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<InputKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// Without a default a run must be given it, unless this is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}

words!(
    /// What an input holds.
    InputKind { String = "string", Number = "number", Boolean = "boolean", Object = "object", Array = "array" }
);

impl InputKind {
    /// As in `an object`.
    pub fn with_article(self) -> String {
        let article = if matches!(self, InputKind::Object | InputKind::Array) { "an" } else { "a" };
        format!("{article} {self}")
    }

    pub fn fits(self, value: &Json) -> bool {
        match self {
            InputKind::String => value.is_string(),
            InputKind::Number => value.is_number(),
            InputKind::Boolean => value.is_boolean(),
            InputKind::Object => value.is_object(),
            InputKind::Array => value.is_array(),
        }
    }
}

/// What a run may use; a limit that is left out is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Agents that work for one run at once: 1 to 16, 4 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel_agents: Option<u32>,
    /// Time at work; waiting for people, for places and while paused does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_sec: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_cents: Option<u64>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Limits::default()
    }

    /// These, and what they leave out from others.
    pub fn or(self, others: Limits) -> Limits {
        Limits {
            max_parallel_agents: self.max_parallel_agents.or(others.max_parallel_agents),
            max_runtime_sec: self.max_runtime_sec.or(others.max_runtime_sec),
            max_tokens: self.max_tokens.or(others.max_tokens),
            max_cost_cents: self.max_cost_cents.or(others.max_cost_cents),
        }
    }

    pub fn parallel(&self) -> usize {
        self.max_parallel_agents.unwrap_or(4).clamp(1, 16) as usize
    }
}

/// What happens by itself when something goes wrong around a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_restart: Option<OnRestart>,
    /// A run that nothing happened in is started again by itself, twice at most. On when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_stale: Option<bool>,
}

impl Policy {
    fn is_usual(&self) -> bool {
        *self == Policy::default()
    }
}

words!(
    /// What a restart of the server does to runs that are under way.
    OnRestart { Resume = "resume", Fail = "fail" }
);

/// A step: an agent's work, or a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    pub id: String,
    /// The name or the id of an agent; a gate has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What it is to do: a template over `inputs`, `nodes` and `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<NodeKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Contract>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial_failure: Option<PartialFailure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Nodes that a rejecting reviewer sends back; what it depends on when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rework_targets: Vec<String>,
    /// False: an attempt that was lost half-way is not made again before a person says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeatable: Option<bool>,
}

words!(
    /// What a node is for (spec/automations.md 1.1).
    NodeKind {
        Orchestrator = "orchestrator",
        Workstream = "workstream",
        /// Its `approved: false` sends the work back.
        Review = "review",
        Test = "test",
        Approval = "approval",
    }
);

/// What a node must leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contract {
    /// A JSON Schema that the agent's last words must hold a fitting object for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
    /// Files below the workspace that must be there and not be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Headings that the first of the files, or the last words, must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<String>,
    /// As often as the agent is told what is missing; 2 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<u32>,
}

/// When an attempt that failed is made again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// 1 to 10, 3 when left out. What the infrastructure did is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Classes of failure that are tried again; all that could help when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<FailureClass>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// No attempt begins later than this after the first one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_elapsed_sec: Option<u64>,
}

/// How long to wait before an attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backoff {
    pub kind: BackoffKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_sec: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sec: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<f64>,
    /// Up to so much is added, by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_sec: Option<f64>,
}

words!(
    /// How the wait grows.
    BackoffKind { None = "none", Fixed = "fixed", Exponential = "exponential" }
);

/// How long an attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeout {
    /// Without any sign of life; 600 when left out, 0 = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_sec: Option<u64>,
    /// In all; three times the idle time and a minute more at least when left out, 0 = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_sec: Option<u64>,
}

/// The longest time that a definition may name: a year.
pub const LONGEST_SEC: u64 = 366 * 86_400;
/// How long a node may be silent when it does not say.
pub const IDLE_SEC: u64 = 600;

impl Node {
    /// A person decides here.
    pub fn is_gate(&self) -> bool {
        self.gate.is_some() || self.kind == Some(NodeKind::Approval)
    }

    /// How long it may be silent, and how long it may take.
    pub fn time_limits(&self) -> (Option<Duration>, Option<Duration>) {
        let timeout = self.timeout.unwrap_or_default();
        // A definition of old may say more than is accepted by now.
        let idle = timeout.idle_sec.unwrap_or(IDLE_SEC).min(LONGEST_SEC);
        let total =
            timeout.total_sec.unwrap_or_else(|| if idle == 0 { 0 } else { (idle * 3).max(idle + 60) });
        let some = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds.min(LONGEST_SEC)));
        (some(idle), some(total))
    }

    pub fn max_attempts(&self) -> u32 {
        self.retry.as_ref().and_then(|retry| retry.max_attempts).unwrap_or(3).clamp(1, 10)
    }

    pub fn max_repairs(&self) -> u32 {
        self.output.as_ref().and_then(|output| output.repairs).unwrap_or(2)
    }

    pub fn on_failure(&self) -> PartialFailure {
        self.partial_failure.unwrap_or(PartialFailure::PauseDownstreamOnly)
    }
}

words!(
    /// What becomes of the other nodes when one fails or is blocked (spec/automations.md 1.1).
    PartialFailure {
        /// Whatever does not depend on it goes on to its end; the run still ends `failed` or `blocked`.
        ContinueIndependent = "continue_independent",
        PauseDownstreamOnly = "pause_downstream_only",
        /// What is under way ends; nothing else begins.
        PauseAll = "pause_all",
    }
);

/// Where in the workspace a node may read and write; empty = everywhere. Relative paths, by whole components.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readable: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gate {
    /// A template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What may be decided; all three when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// Nodes that rework begins at again; what the gate depends on when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rework_targets: Vec<String>,
    /// Ids of users who may decide; everybody who may decide approvals when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// False: who started the run may not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_approval: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
}

words!(
    /// What a person says at a gate (spec/automations.md 1.3).
    Decision { Approve = "approve", Rework = "rework", Cancel = "cancel" }
);

/// What happens when nobody decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expiry {
    /// 0 or left out = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after_sec: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_expiry: Option<OnExpiry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<String>,
    /// 0 or left out = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every_sec: Option<u64>,
}

words!(
    /// What the end of a gate's time does.
    OnExpiry { Cancel = "cancel", Escalate = "escalate", Remind = "remind" }
);

/// Starts a run when one of another automation has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct After {
    /// The name of the other automation.
    pub automation: String,
    /// Ends that start it; `completed` when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<super::AutomationRunStatus>,
    /// Inputs: templates over `nodes` (outputs of that run), `run` and `inputs` of that run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
}

impl Definition {
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The inputs that a run starts with: what it was given, and the defaults of the rest.
    pub fn inputs(
        &self,
        given: &serde_json::Map<String, Json>,
    ) -> Result<serde_json::Map<String, Json>, Vec<Problem>> {
        let mut problems = Vec::new();
        for (name, value) in given {
            match self.inputs.get(name) {
                None => {
                    let known: Vec<&str> = self.inputs.keys().map(String::as_str).collect();
                    let hint = match known.is_empty() {
                        true => "this automation takes no inputs".to_owned(),
                        false => format!("it takes: {}", known.join(", ")),
                    };
                    problems.push(Problem::new(
                        format!("inputs.{name}"),
                        "is not an input of this automation",
                        hint,
                    ));
                }
                Some(Input { kind: Some(kind), .. }) if !kind.fits(value) => {
                    let message = format!("must be {}", kind.with_article());
                    problems.push(Problem::new(
                        format!("inputs.{name}"),
                        message,
                        "give a value of that type",
                    ));
                }
                Some(_) => {}
            }
        }
        let mut whole = given.clone();
        for (name, input) in &self.inputs {
            if whole.contains_key(name) {
                continue;
            }
            match &input.default {
                Some(value) => {
                    whole.insert(name.clone(), value.clone());
                }
                None if input.required.unwrap_or(true) => {
                    let hint = format!("start it with --input {name}=VALUE");
                    problems.push(Problem::new(format!("inputs.{name}"), "is missing", hint));
                }
                None => {
                    whole.insert(name.clone(), Json::Null);
                }
            }
        }
        if problems.is_empty() { Ok(whole) } else { Err(problems) }
    }
}

/// The data of a definition without fields that are null: those say nothing. What is anybody's own stays to the last null:
/// schemas, defaults, and the inputs of a schedule.
pub fn without_nulls(definition: Json) -> Json {
    fn walk(value: Json, path: &[&str]) -> Json {
        match value {
            Json::Object(fields) => {
                let kept = fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
                    let value = {
                        let path = [path, &[key.as_str()]].concat();
                        if is_anybodys(&path) { value } else { walk(value, &path) }
                    };
                    (key, value)
                });
                Json::Object(kept.collect())
            }
            Json::Array(items) => Json::Array(items.into_iter().map(|item| walk(item, path)).collect()),
            other => other,
        }
    }
    fn is_anybodys(path: &[&str]) -> bool {
        matches!(path, ["nodes", "output", "schema"] | ["inputs", _, "default"] | ["schedules", "inputs"])
    }
    walk(definition, &[])
}

/// Reads a definition from data; what stands there but is not known, or has another type, is named with its place.
pub fn read(data: &Json) -> Result<Definition, Problem> {
    serde_path_to_error::deserialize(data).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        let hint = "see docs/automations.md for the fields and their types";
        Problem::new(path, error.into_inner().to_string(), hint)
    })
}

/// Reads the limits that a run is to have from now on, as strictly as those of a definition.
pub fn read_limits(data: &Json) -> Result<Limits, Problem> {
    serde_path_to_error::deserialize(data).map_err(|error| {
        let path = format!("limits.{}", error.path());
        let hint = "maxParallelAgents, maxRuntimeSec, maxTokens and maxCostCents are whole numbers";
        Problem::new(path, error.into_inner().to_string(), hint)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(nodes: Json) -> Json {
        json!({ "name": "notes", "nodes": nodes })
    }

    #[test]
    fn a_definition_is_read_and_written_the_same() {
        let data = json!({
            "name": "notes", "workspace": "/srv/site", "priority": "high",
            "inputs": { "since": { "type": "string", "default": "v1" } },
            "limits": { "maxParallelAgents": 2, "maxTokens": 1000 },
            "nodes": [
                { "id": "collect", "agent": "Ada", "objective": "Collect {{ inputs.since }}",
                  "output": { "files": ["notes.md"] },
                  "retry": { "maxAttempts": 2, "backoff": { "kind": "fixed", "initialSec": 1.5 } } },
                { "id": "ok", "dependsOn": ["collect"], "gate": { "decisions": ["approve", "cancel"] } },
            ],
            "after": [{ "automation": "build", "on": ["completed"] }],
        });
        let read = read(&data).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), data);
        assert!(read.node("ok").unwrap().is_gate() && !read.node("collect").unwrap().is_gate());
    }

    #[test]
    fn what_is_not_known_is_named_with_its_place() {
        let rows = [
            (json!([{ "id": "a", "agnet": "Ada" }]), "nodes[0].agnet", "unknown field"),
            (
                json!([{ "id": "a", "retry": { "maxAttempts": "two" } }]),
                "nodes[0].retry.maxAttempts",
                "invalid type",
            ),
            (
                json!([{ "id": "a", "gate": { "decisions": ["maybe"] } }]),
                "nodes[0].gate.decisions[0]",
                "unknown value",
            ),
            (json!([{ "agent": "Ada" }]), "nodes[0]", "missing field `id`"),
            (json!({}), "nodes", "invalid type"),
        ];
        for (nodes, path, message) in rows {
            let problem = read(&draft(nodes)).unwrap_err();
            assert_eq!(problem.path, path);
            assert!(problem.message.contains(message), "{problem:?}");
        }
        assert_eq!(read(&json!([])).unwrap_err().path, "");
    }

    #[test]
    fn a_null_says_nothing_unless_it_is_in_what_is_somebodys_own() {
        let data = json!({
            "name": "n", "description": null,
            "inputs": { "a": { "type": null, "default": { "x": null, "list": [null] } }, "b": { "default": null } },
            "nodes": [{ "id": "a", "agent": null, "retry": { "backoff": null }, "dependsOn": null,
                        "output": { "schema": { "enum": ["a", null], "const": null }, "files": null } },
                      { "id": "b", "output": { "schema": null } }],
            "schedules": [{ "name": "s", "cron": null, "inputs": { "to": null } }],
        });
        assert_eq!(
            without_nulls(data),
            json!({
                "name": "n",
                "inputs": { "a": { "default": { "x": null, "list": [null] } }, "b": {} },
                "nodes": [{ "id": "a", "retry": {}, "output": { "schema": { "enum": ["a", null], "const": null } } },
                          { "id": "b", "output": {} }],
                "schedules": [{ "name": "s", "inputs": { "to": null } }],
            })
        );
    }

    #[test]
    fn limits_of_a_run_are_read_as_strictly() {
        let raised = read_limits(&json!({ "maxTokens": 9 })).unwrap();
        assert_eq!(raised, Limits { max_tokens: Some(9), ..Limits::default() });
        for (limits, path) in [
            (json!({ "maxTokns": 9 }), "limits.maxTokns"),
            (json!({ "maxTokens": "9" }), "limits.maxTokens"),
            (json!({ "maxCostCents": -1 }), "limits.maxCostCents"),
        ] {
            assert_eq!(read_limits(&limits).unwrap_err().path, path);
        }
    }

    #[test]
    fn inputs_have_their_types_and_defaults() {
        let definition = read(&json!({
            "name": "n", "nodes": [],
            "inputs": {
                "since": { "type": "string" }, "deep": { "type": "boolean", "default": false },
                "note": { "required": false },
            },
        }));
        let definition = definition.unwrap();
        let given = |value: Json| value.as_object().unwrap().clone();
        let whole = definition.inputs(&given(json!({ "since": "v1" }))).unwrap();
        assert_eq!(Json::Object(whole), json!({ "since": "v1", "deep": false, "note": null }));
        let problems = definition.inputs(&given(json!({ "deep": "yes", "colour": 1 }))).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["inputs.deep", "inputs.colour", "inputs.since"]);
    }

    #[test]
    fn time_limits_follow_one_from_the_other() {
        let node = |idle, total| Node {
            timeout: Some(Timeout { idle_sec: idle, total_sec: total }),
            ..Node::default()
        };
        let seconds = |node: Node| {
            let (idle, total) = node.time_limits();
            (idle.map(|it| it.as_secs()), total.map(|it| it.as_secs()))
        };
        assert_eq!(seconds(Node::default()), (Some(600), Some(1800)));
        assert_eq!(seconds(node(Some(10), None)), (Some(10), Some(70)));
        assert_eq!(seconds(node(Some(0), None)), (None, None));
        assert_eq!(seconds(node(Some(10), Some(0))), (Some(10), None));
        assert_eq!(seconds(node(None, Some(5))), (Some(600), Some(5)));
        assert_eq!(seconds(node(Some(u64::MAX), None)), (Some(LONGEST_SEC), Some(LONGEST_SEC)));
        assert_eq!(seconds(node(Some(1), Some(u64::MAX))), (Some(1), Some(LONGEST_SEC)));
    }
}
