//! What the end of an attempt means for its node (spec/automations.md 1.2, 2.3).

use domain::automation::contract::{FoundFile, json_in, unmet};
use domain::automation::definition::{Backoff, Contract, Node, read};
use domain::automation::verdict::{Ended, Judged, Stopped, Tried, judge, wait};
use domain::automation::{FailureClass, Output};
use domain::run::Outcome;
use domain::{budget, cancel};
use serde_json::{Value as Json, json};

use super::{at, seconds};
use crate::table::{Table, joined, parts};

const NOW: i64 = 1_000_000;

const ENDS: &[[&str; 4]] = &[
    ["succeeded", "done", "completed", "-"],
    ["failed adapter_failed", "-", "pending", "agent_failed"],
    ["failed no_terminal_event", "-", "pending", "agent_failed"],
    ["failed no_output", "-", "pending", "agent_failed"],
    ["failed out_of_memory", "-", "pending", "agent_failed"],
    ["failed a_code_of_tomorrow", "-", "pending", "agent_failed"],
    ["failed adapter_failed", "{\"status\":\"completed\"}", "pending", "agent_failed"],
    ["failed adapter_failed transient_upstream", "-", "pending", "provider_transient"],
    ["failed no_output transient_upstream", "-", "pending", "provider_transient"],
    ["failed a_code_of_tomorrow transient_upstream", "-", "pending", "provider_transient"],
    ["failed quota_exhausted", "-", "pending", "provider_transient"],
    ["failed quota_exhausted transient_upstream", "-", "pending", "provider_transient"],
    ["failed auth_required", "-", "failed", "provider_terminal"],
    ["failed claude_auth_required", "-", "failed", "provider_terminal"],
    ["failed permission_blocked", "-", "failed", "provider_terminal"],
    ["failed process_lost", "-", "pending", "process_lost"],
    ["failed environment_not_found", "-", "failed", "tool_resolution"],
    ["failed environment_inactive", "-", "failed", "tool_resolution"],
    ["failed unsupported_environment", "-", "failed", "tool_resolution"],
    ["failed unsupported_adapter_environment", "-", "failed", "tool_resolution"],
    ["failed lease_acquire_failed", "-", "pending", "environment_failed"],
    ["failed transport_resolution_failed", "-", "pending", "environment_failed"],
    ["failed workspace_realization_failed", "-", "pending", "environment_failed"],
    ["timed_out timeout", "-", "pending", "timeout"],
    ["cancelled, took too long", "-", "pending", "timeout"],
    ["failed adapter_failed, took too long", "-", "pending", "timeout"],
    ["succeeded, took too long", "done", "completed", "-"],
    ["cancelled, interrupted", "-", "pending", "interrupted"],
    ["failed adapter_failed, interrupted", "-", "pending", "interrupted"],
    ["succeeded, interrupted", "done", "completed", "-"],
    ["cancelled by a budget", "-", "pending", "interrupted"],
    ["cancelled by a pause of the agent", "-", "pending", "interrupted"],
    ["cancelled by a person", "-", "failed", "stopped"],
    ["cancelled after waiting too long, before it began", "-", "pending", "interrupted"],
];

const WORDS: &[[&str; 5]] = &[
    ["{}", "done", "completed", "-", "-"],
    ["{}", "-", "completed", "-", "-"],
    ["{}", "{\"status\":\"completed\"}", "completed", "-", "-"],
    ["{}", "{\"status\":\"done\"}", "completed", "-", "-"],
    ["{}", "{\"commits\":3}", "completed", "-", "-"],
    ["{}", "{\"status\":\"skipped\"}", "skipped", "-", "-"],
    ["{}", "{\"status\":\"skipped\",\"reason\":\"no commits\"}", "skipped", "-", "no commits"],
    ["{}", "{\"status\":\"ask\",\"question\":\"which one?\"}", "awaiting_approval", "-", "which one?"],
    ["{}", "{\"status\":\"ask\",\"reason\":\"two keys\"}", "awaiting_approval", "-", "two keys"],
    [
        "{}",
        "{\"status\":\"ask\"}",
        "awaiting_approval",
        "-",
        "the agent asks a person, and does not say what",
    ],
    ["{}", "{\"status\":\"blocked\"}", "blocked", "-", "the agent says that it is blocked"],
    ["{}", "{\"status\":\"blocked\",\"reason\":\"no key\"}", "blocked", "-", "no key"],
    ["{}", "{\"status\":\"blocked\",\"blockedReason\":\"no key\"}", "blocked", "-", "no key"],
    ["{}", "{\"status\":\"failed\"}", "pending", "verify_failed", "the agent says: failed"],
    ["{}", "{\"status\":\"failed\",\"reason\":\"3 tests\"}", "pending", "verify_failed", "3 tests"],
    ["{}", "{\"status\":\"verify_failed\"}", "pending", "verify_failed", "the agent says: verify_failed"],
    ["{}", "{\"status\":\"needs_repair\"}", "pending", "verify_failed", "the agent says: needs_repair"],
    [
        "{}",
        "Not yet. / ```json / {\"status\":\"blocked\",\"reason\":\"no key\"} / ```",
        "blocked",
        "-",
        "no key",
    ],
    ["{}", "{\"approved\":false,\"feedback\":\"shorter\"}", "completed", "-", "-"],
    [
        "{\"kind\":\"review\"}",
        "{\"approved\":false,\"feedback\":\"shorter\"}",
        "completed, sends back",
        "-",
        "shorter",
    ],
    ["{\"kind\":\"review\"}", "{\"approved\":false}", "completed, sends back", "-", "-"],
    ["{\"kind\":\"review\"}", "{\"approved\":true}", "completed", "-", "-"],
    [
        "{\"kind\":\"review\"}",
        "{\"approved\":\"no\"}",
        "pending",
        "contract_miss",
        "the output is not what was asked: `approved` is \"no\", and must be true or false",
    ],
    [
        "{\"kind\":\"review\"}",
        "{\"approved\":null}",
        "pending",
        "contract_miss",
        "the output is not what was asked: `approved` is null, and must be true or false",
    ],
    ["{\"kind\":\"review\"}", "{\"version\":1}", "completed", "-", "-"],
    ["{\"kind\":\"review\"}", "fine", "completed", "-", "-"],
    [
        "{\"kind\":\"review\"}",
        "{\"approved\":false,\"status\":\"blocked\"}",
        "blocked",
        "-",
        "the agent says that it is blocked",
    ],
    ["{\"kind\":\"test\"}", "{\"approved\":false}", "completed", "-", "-"],
    ["{\"output\":{\"sections\":[\"A\"]}}", "# A", "completed", "-", "-"],
    [
        "{\"output\":{\"sections\":[\"A\"]}}",
        "A",
        "pending",
        "contract_miss",
        "the output is not what was asked: the last message has no section \"A\"",
    ],
    ["{\"output\":{\"sections\":[\"A\"]}}", "{\"status\":\"skipped\"}", "skipped", "-", "-"],
    [
        "{\"output\":{\"sections\":[\"A\"]}}",
        "{\"status\":\"blocked\",\"reason\":\"no key\"}",
        "blocked",
        "-",
        "no key",
    ],
];

const CONTRACTS: &[[&str; 4]] = &[
    ["{}", "anything", "-", "-"],
    ["{\"files\":[\"notes.md\"]}", "done", "notes.md 9", "-"],
    ["{\"files\":[\"notes.md\"]}", "done", "notes.md 0", "the file notes.md is empty"],
    [
        "{\"files\":[\"notes.md\"]}",
        "done",
        "notes.md 9 old",
        "the file notes.md was there before the run or before this step was made again, and was not written since; \
         write it anew",
    ],
    ["{\"files\":[\"notes.md\"]}", "done", "-", "the file notes.md is not there"],
    ["{\"files\":[\"notes.md\"]}", "done", "other.md 9", "the file notes.md is not there"],
    ["{\"files\":[\"a\",\"b\"]}", "done", "b 0", "the file a is not there; the file b is empty"],
    ["{\"sections\":[\"Fixes\"]}", "## Fixes", "-", "-"],
    ["{\"sections\":[\"Fixes\"]}", "# fixes:", "-", "-"],
    ["{\"sections\":[\"Fixes\"]}", "**Fixes**", "-", "-"],
    ["{\"sections\":[\"Fixes\"]}", "Fixes", "-", "the last message has no section \"Fixes\""],
    ["{\"sections\":[\"Fixes\"]}", "# Fixes of today", "-", "the last message has no section \"Fixes\""],
    ["{\"sections\":[\"A\",\"B\"]}", "# B", "-", "the last message has no section \"A\""],
    ["{\"files\":[\"n.md\"],\"sections\":[\"A\"]}", "none", "n.md 3 = # A", "-"],
    ["{\"files\":[\"n.md\"],\"sections\":[\"A\"]}", "# A", "n.md 3 = # B", "n.md has no section \"A\""],
    [
        "{\"files\":[\"n.md\"],\"sections\":[\"A\"]}",
        "# A",
        "-",
        "the file n.md is not there; n.md has no section \"A\"",
    ],
    ["{\"schema\":{\"required\":[\"version\"]}}", "{\"version\":1}", "-", "-"],
    ["{\"schema\":{\"required\":[\"version\"]}}", "Done. / ```json / {\"version\":1} / ```", "-", "-"],
    [
        "{\"schema\":{\"required\":[\"version\"]}}",
        "{\"other\":1}",
        "-",
        "the JSON object: \"version\" is a required property",
    ],
    [
        "{\"schema\":{\"required\":[\"version\"]}}",
        "version 1",
        "-",
        "the last message holds no JSON object; end with one, alone or in a ```json block",
    ],
    [
        "{\"schema\":{\"properties\":{\"n\":{\"type\":\"number\"}}}}",
        "{\"n\":\"1\"}",
        "-",
        "at /n: \"1\" is not of type \"number\"",
    ],
    [
        "{\"schema\":{\"required\":[\"v\"]},\"files\":[\"n.md\"]}",
        "{}",
        "-",
        "the JSON object: \"v\" is a required property; the file n.md is not there",
    ],
];

const COUNTS: &[[&str; 5]] = &[
    ["succeeded", "0 0 0", "{}", "completed", "1 0 0"],
    ["succeeded", "2 1 7", "{}", "completed", "3 1 7"],
    ["failed adapter_failed", "0 0 0", "{}", "pending", "1 0 0"],
    ["failed adapter_failed", "1 0 0", "{}", "pending", "2 0 0"],
    ["failed adapter_failed", "2 0 0", "{}", "failed", "3 0 0"],
    ["failed adapter_failed", "0 2 10", "{}", "pending", "1 2 10"],
    ["failed adapter_failed", "0 0 0", "{\"retry\":{\"maxAttempts\":1}}", "failed", "1 0 0"],
    ["failed adapter_failed", "8 0 0", "{\"retry\":{\"maxAttempts\":10}}", "pending", "9 0 0"],
    ["failed adapter_failed", "9 0 0", "{\"retry\":{\"maxAttempts\":10}}", "failed", "10 0 0"],
    ["failed adapter_failed", "9 0 0", "{\"retry\":{\"maxAttempts\":99}}", "failed", "10 0 0"],
    ["timed_out timeout", "2 0 0", "{}", "failed", "3 0 0"],
    ["says failed", "2 0 0", "{}", "failed", "3 0 0"],
    ["failed quota_exhausted", "2 0 0", "{}", "pending", "2 0 1"],
    ["failed quota_exhausted", "2 0 9", "{}", "pending", "2 0 10"],
    ["failed quota_exhausted", "0 0 10", "{}", "failed", "0 0 11"],
    ["failed process_lost", "2 2 0", "{}", "pending", "2 2 1"],
    ["failed process_lost", "0 0 10", "{}", "failed", "0 0 11"],
    ["failed process_lost", "0 0 0", "{\"repeatable\":false}", "blocked", "0 0 1"],
    ["failed process_lost", "0 0 0", "{\"repeatable\":true}", "pending", "0 0 1"],
    ["failed adapter_failed", "0 0 0", "{\"repeatable\":false}", "pending", "1 0 0"],
    ["timed_out timeout", "0 0 0", "{\"repeatable\":false}", "blocked", "1 0 0"],
    ["cancelled, took too long", "0 0 0", "{\"repeatable\":false}", "blocked", "1 0 0"],
    ["cancelled, interrupted", "0 0 0", "{\"repeatable\":false}", "blocked", "0 0 0"],
    ["cancelled, interrupted before it began", "0 0 0", "{\"repeatable\":false}", "pending", "0 0 0"],
    ["cancelled, interrupted", "2 2 10", "{}", "pending", "2 2 10"],
    ["cancelled, interrupted", "0 0 99", "{}", "pending", "0 0 99"],
    ["cancelled by a person", "0 0 0", "{}", "failed", "0 0 0"],
    ["failed auth_required", "0 0 0", "{}", "failed", "0 0 0"],
    ["failed environment_not_found", "1 1 1", "{}", "failed", "1 1 1"],
    ["misses its contract", "2 0 0", "{}", "pending", "2 1 0"],
    ["misses its contract", "2 1 0", "{}", "pending", "2 2 0"],
    ["misses its contract", "0 2 0", "{}", "blocked", "0 3 0"],
    ["misses its contract", "0 0 0", "{\"output\":{\"repairs\":0}}", "blocked", "0 1 0"],
    ["misses its contract", "0 4 0", "{\"output\":{\"repairs\":5}}", "pending", "0 5 0"],
    ["misses its contract", "0 5 0", "{\"output\":{\"repairs\":5}}", "blocked", "0 6 0"],
    ["misses its contract", "9 0 10", "{}", "pending", "9 1 10"],
];

const POLICIES: &[[&str; 4]] = &[
    ["{\"on\":[\"timeout\"]}", "failed adapter_failed", "0 0 0", "failed"],
    ["{\"on\":[\"timeout\"]}", "timed_out timeout", "0 0 0", "pending"],
    ["{\"on\":[\"timeout\"]}", "cancelled, took too long", "0 0 0", "pending"],
    ["{\"on\":[\"timeout\"]}", "failed quota_exhausted", "0 0 0", "failed"],
    ["{\"on\":[\"timeout\"]}", "misses its contract", "0 0 0", "pending"],
    ["{\"on\":[\"timeout\"]}", "misses its contract", "0 2 0", "blocked"],
    ["{\"on\":[\"timeout\"]}", "cancelled, interrupted", "0 0 0", "pending"],
    ["{\"on\":[]}", "failed adapter_failed", "0 0 0", "failed"],
    ["{\"on\":[]}", "cancelled, interrupted", "0 0 0", "pending"],
    ["{\"on\":[\"provider_terminal\"]}", "failed auth_required", "0 0 0", "pending"],
    ["{\"on\":[\"provider_terminal\"]}", "failed auth_required", "0 0 9", "pending"],
    ["{\"on\":[\"provider_terminal\"]}", "failed auth_required", "0 0 10", "failed"],
    ["{\"on\":[\"tool_resolution\"]}", "failed environment_not_found", "0 0 9", "pending"],
    ["{\"on\":[\"tool_resolution\"]}", "failed environment_not_found", "0 0 10", "failed"],
    ["{\"on\":[\"tool_resolution\"]}", "failed auth_required", "0 0 0", "failed"],
    ["{\"on\":[\"stopped\"]}", "cancelled by a person", "0 0 0", "failed"],
    ["{\"on\":[\"contract_miss\"]}", "misses its contract", "0 2 0", "blocked"],
    ["{\"maxElapsedSec\":60}", "failed adapter_failed", "0 0 0 since 59", "pending"],
    ["{\"maxElapsedSec\":60}", "failed adapter_failed", "0 0 0 since 60", "failed"],
    ["{\"maxElapsedSec\":60}", "failed quota_exhausted", "0 0 0 since 61", "failed"],
    ["{\"maxElapsedSec\":60}", "misses its contract", "0 0 0 since 61", "failed"],
    ["{\"maxElapsedSec\":60}", "cancelled, interrupted", "0 0 0 since 61", "pending"],
    ["{\"maxElapsedSec\":60}", "failed adapter_failed", "0 0 0", "pending"],
    ["{\"maxElapsedSec\":60}", "succeeded", "0 0 0 since 99", "completed"],
];

const RETRIES: &[[&str; 4]] = &[
    ["{}", "failed adapter_failed", "0 0 0", "at once"],
    ["{}", "timed_out timeout", "1 0 0", "at once"],
    ["{}", "says failed", "0 0 0", "at once"],
    ["{}", "misses its contract", "0 0 0", "at once"],
    ["{}", "cancelled, interrupted", "0 0 5", "at once"],
    ["{}", "failed quota_exhausted", "0 0 0", "in 2"],
    ["{}", "failed quota_exhausted", "0 0 1", "in 5"],
    ["{}", "failed process_lost", "0 0 0", "in 2"],
    ["{}", "failed process_lost", "2 0 9", "in 60"],
    ["{\"backoff\":{\"kind\":\"fixed\",\"initialSec\":9}}", "failed adapter_failed", "0 0 0", "in 9"],
    ["{\"backoff\":{\"kind\":\"fixed\",\"initialSec\":9}}", "failed adapter_failed", "1 0 0", "in 9"],
    ["{\"backoff\":{\"kind\":\"fixed\",\"initialSec\":9}}", "misses its contract", "0 0 0", "at once"],
    ["{\"backoff\":{\"kind\":\"fixed\",\"initialSec\":9}}", "cancelled, interrupted", "0 0 0", "at once"],
    ["{\"backoff\":{\"kind\":\"exponential\",\"initialSec\":3}}", "failed adapter_failed", "1 0 0", "in 6"],
    ["{\"backoff\":{\"kind\":\"none\"}}", "failed quota_exhausted", "0 0 5", "at once"],
    ["{\"backoff\":{\"kind\":\"fixed\",\"initialSec\":9}}", "failed adapter_failed", "2 0 0", "never"],
    ["{}", "failed auth_required", "0 0 0", "never"],
    ["{\"on\":[\"provider_terminal\"]}", "failed auth_required", "0 0 0", "in 2"],
    ["{\"on\":[\"provider_terminal\"]}", "failed auth_required", "0 0 9", "in 60"],
];

const BACKOFFS: &[[&str; 4]] = &[
    ["-", "agent_failed", "1", "0"],
    ["-", "timeout", "9", "0"],
    ["-", "verify_failed", "2", "0"],
    ["-", "provider_transient", "1", "2"],
    ["-", "provider_transient", "2", "5"],
    ["-", "provider_transient", "3", "12.5"],
    ["-", "provider_transient", "4", "31.25"],
    ["-", "provider_transient", "5", "60"],
    ["-", "provider_transient", "4000", "60"],
    ["-", "process_lost", "1", "2"],
    ["-", "process_lost", "3", "12.5"],
    ["-", "tool_resolution", "2", "5"],
    ["-", "contract_miss", "2", "0"],
    ["{\"kind\":\"none\"}", "provider_transient", "3", "0"],
    ["{\"kind\":\"none\",\"initialSec\":9}", "timeout", "1", "0"],
    ["{\"kind\":\"fixed\"}", "timeout", "7", "2"],
    ["{\"kind\":\"fixed\",\"initialSec\":9}", "timeout", "1", "9"],
    ["{\"kind\":\"fixed\",\"initialSec\":9}", "timeout", "7", "9"],
    ["{\"kind\":\"fixed\",\"initialSec\":9,\"maxSec\":5}", "timeout", "7", "5"],
    ["{\"kind\":\"fixed\",\"initialSec\":9,\"jitterSec\":4}", "timeout", "7", "11"],
    ["{\"kind\":\"exponential\"}", "timeout", "1", "2"],
    ["{\"kind\":\"exponential\"}", "timeout", "4", "16"],
    ["{\"kind\":\"exponential\",\"initialSec\":3}", "timeout", "2", "6"],
    ["{\"kind\":\"exponential\",\"initialSec\":3,\"multiplier\":3}", "timeout", "3", "27"],
    ["{\"kind\":\"exponential\",\"initialSec\":3,\"maxSec\":20}", "timeout", "4", "20"],
    ["{\"kind\":\"exponential\",\"initialSec\":3,\"maxSec\":20,\"jitterSec\":4}", "timeout", "9", "22"],
    ["{\"kind\":\"exponential\",\"initialSec\":3,\"multiplier\":100}", "timeout", "4000", "86400"],
    ["{\"kind\":\"exponential\",\"initialSec\":0}", "timeout", "5", "0"],
];

const CLASSES: &[[&str; 2]] = &[
    ["provider_transient", "a loss"],
    ["provider_terminal", "ends the node"],
    ["tool_resolution", "ends the node"],
    ["contract_miss", "a repair"],
    ["verify_failed", "an attempt"],
    ["agent_failed", "an attempt"],
    ["timeout", "an attempt"],
    ["process_lost", "a loss"],
    ["interrupted", "nothing"],
    ["stopped", "ends the node"],
    ["environment_failed", "a loss"],
    ["agent_gone", "ends the node"],
    ["template", "ends the node"],
    ["scope_violation", "ends the node"],
];

/// The fields of a node, as a definition has them.
fn node(fields: &Json) -> Node {
    let mut data = fields.clone();
    data["id"] = json!("a");
    read(&json!({ "name": "n", "nodes": [data] })).unwrap().nodes.remove(0)
}

fn parsed(cell: &str) -> Json {
    serde_json::from_str(cell).unwrap()
}

/// `failed CODE FAMILY, interrupted`, `cancelled by a budget`, or words of the agent.
fn ended(cell: &str, words: &str) -> Ended {
    let (end, stopped) = cell.split_once(", ").unwrap_or((cell, ""));
    let mut parts = end.split(' ');
    let outcome = match parts.next().unwrap() {
        "failed" => Outcome::Failed,
        "timed_out" => Outcome::TimedOut,
        "cancelled" => Outcome::Cancelled,
        _ => Outcome::Succeeded,
    };
    let has_code = matches!(outcome, Outcome::Failed | Outcome::TimedOut);
    let error = match end {
        "cancelled by a budget" => budget::crossing::STOP_WORDS,
        "cancelled by a pause of the agent" => cancel::Stop::PauseAgent.message(),
        _ => "words of the error",
    };
    let words = match cell {
        "says failed" => "{\"status\":\"failed\"}".to_owned(),
        _ => words.replace(" / ", "\n"),
    };
    Ended {
        outcome,
        error: (outcome != Outcome::Succeeded).then(|| error.to_owned()),
        error_code: match end {
            "cancelled after waiting too long" => Some("expired".to_owned()),
            _ => parts.next().filter(|_| has_code).map(str::to_owned),
        },
        error_family: parts.next().filter(|_| has_code).map(str::to_owned),
        text: if words == "-" { String::new() } else { words },
        text_is_cut: false,
        files: Vec::new(),
        left: Vec::new(),
        outside: Vec::new(),
        stopped: match stopped {
            "interrupted" | "interrupted before it began" => Some(Stopped::Interrupted),
            "took too long" => Some(Stopped::Timeout),
            _ => None,
        },
        began: !cell.ends_with("before it began"),
    }
}

/// `attempts repairs lost`, and how long ago the first attempt began.
fn tried(cell: &str) -> Tried {
    let (counts, since) = cell.split_once(" since ").unwrap_or((cell, ""));
    let counts: Vec<u32> = counts.split(' ').map(|number| number.parse().unwrap()).collect();
    let since = since.parse::<i64>().ok().map(|ago| at(NOW - ago));
    Tried { attempts: counts[0], repairs: counts[1], lost: counts[2], since }
}

fn judged(fields: &str, end: &str, words: &str, before: &str) -> Judged {
    let mut fields = parsed(fields);
    if end == "misses its contract" {
        fields["output"]["files"] = json!(["notes.md"]);
    }
    judge(&node(&fields), &ended(end, words), tried(before), at(NOW), 0.5)
}

fn class_of(judged: &Judged) -> String {
    judged.class.map_or("-".to_owned(), |class| class.to_string())
}

fn say(row: &[&str]) -> Vec<String> {
    let judged = judged(row[0], "succeeded", row[1], "0 0 0");
    let back = if judged.rejects { ", sends back" } else { "" };
    let reason = judged.reason.clone().unwrap_or("-".to_owned());
    // What is told to the next attempt is what was wrong with this one.
    assert_eq!(judged.feedback, judged.reason.clone().filter(|_| judged.class.is_some()), "{row:?}");
    vec![format!("{}{back}", judged.state), class_of(&judged), reason]
}

fn look_for(row: &[&str]) -> Vec<String> {
    let contract: Contract = serde_json::from_str(row[0]).unwrap();
    let text = row[1].replace(" / ", "\n");
    let output = Output { json: json_in(&text), text, ..Output::default() };
    let file = |part: &str| {
        let (file, text) = part.split_once(" = ").unwrap_or((part, ""));
        let (path, bytes) = file.split_once(' ').unwrap();
        let text = Some(text.to_owned()).filter(|text| !text.is_empty());
        let is_old = bytes.ends_with(" old");
        let bytes = bytes.trim_end_matches(" old").parse().ok();
        FoundFile { path: path.to_owned(), bytes, text, is_old }
    };
    let files: Vec<FoundFile> = parts(row[2]).map(file).collect();
    vec![joined(unmet(&contract, &output, &files))]
}

fn count(row: &[&str]) -> Vec<String> {
    let judged = judged(row[2], row[0], "-", row[1]);
    let Tried { attempts, repairs, lost, .. } = judged.tried;
    vec![judged.state.to_string(), format!("{attempts} {repairs} {lost}")]
}

fn retry_of(cell: &str) -> String {
    json!({ "retry": parsed(cell) }).to_string()
}

fn wait_for_it(row: &[&str]) -> Vec<String> {
    let judged = judged(&retry_of(row[0]), row[1], "-", row[2]);
    assert!(judged.retry_at.is_none_or(|at| seconds(at) > NOW), "{row:?}: a time to come");
    vec![match judged.retry_at {
        _ if judged.state.is_final() => "never".to_owned(),
        None => "at once".to_owned(),
        Some(at) => format!("in {}", seconds(at) - NOW),
    }]
}

fn back_off(row: &[&str]) -> Vec<String> {
    let policy: Option<Backoff> = (row[0] != "-").then(|| serde_json::from_str(row[0]).unwrap());
    let class = FailureClass::parse(row[1]).unwrap();
    vec![wait(policy, class, row[2].parse().unwrap(), 0.5).as_secs_f64().to_string()]
}

fn class(row: &[&str]) -> Vec<String> {
    let class = FailureClass::parse(row[0]).unwrap();
    let said = match (class.consumes_attempt(), class.consumes_repair(), class.is_terminal()) {
        (true, false, false) => "an attempt",
        (false, true, false) => "a repair",
        (false, false, true) => "ends the node",
        (false, false, false) if class == FailureClass::Interrupted => "nothing",
        (false, false, false) => "a loss",
        other => panic!("{class}: {other:?}"),
    };
    vec![said.to_owned()]
}

pub(super) fn tables() -> Vec<Table> {
    assert_eq!(CLASSES.len(), FailureClass::ALL.len());
    let classes = "Three counts: attempts of the agent (`retry.maxAttempts`, 3 when left out), repairs of a \
                   missed contract (`output.repairs`, 2), and what the infrastructure took, of which ten are \
                   borne.";
    let ends = "How the agent's run of a first attempt ended, with its error code and family, and why Bugle \
                stopped it if it did. `pending`: it is tried again.";
    let words =
        "Of a run that succeeded. ` / ` stands for a new line. Skipped and blocked come before the contract.";
    let contracts =
        "What is told to the agent as missing. A file is shown with its size, and behind `=` with its text.";
    let counts =
        "Attempts, repairs and losses before the end and after it. What ended well counts as an attempt.";
    let policies = "`retry.on` names classes that are tried again; when left out, all that could help. What \
                    Bugle interrupted is not the node's failure; what a person stopped is not tried again; how often \
                    a contract is repaired, `output.repairs` says alone.";
    let retries = "`retry` of the node, and the counts before the end.";
    let backoffs = "`retry.backoff`, and which attempt or loss it was. The half of `jitterSec` is added here; a \
                    draw decides. Nothing waits longer than a day.";
    let [end, node_column] = ["the agent's run", "the node"];
    vec![
        Table::judged(("What an end counts as", classes), ["class", "counts as"], 1, CLASSES, class),
        Table::judged(
            ("How an attempt ended", ends),
            [end, "last words", node_column, "class"],
            2,
            ENDS,
            |row| {
                let judged = judged("{}", row[0], row[1], "0 0 0");
                vec![judged.state.to_string(), class_of(&judged)]
            },
        ),
        Table::judged(
            ("What the agent says", words),
            ["fields", "last words", node_column, "class", "reason"],
            2,
            WORDS,
            say,
        ),
        Table::judged(
            ("What was asked and is missing", contracts),
            ["`output`", "last words", "files", "missing"],
            3,
            CONTRACTS,
            look_for,
        ),
        Table::judged(
            ("Three counts", counts),
            [end, "before", "fields", node_column, "after"],
            3,
            COUNTS,
            count,
        ),
        Table::judged(
            ("What is tried again", policies),
            ["`retry`", end, "before", node_column],
            3,
            POLICIES,
            |row| vec![judged(&retry_of(row[0]), row[1], "-", row[2]).state.to_string()],
        ),
        Table::judged(
            ("When it is tried again", retries),
            ["`retry`", end, "before", "next attempt"],
            3,
            RETRIES,
            wait_for_it,
        ),
        Table::judged(
            ("How long a wait is", backoffs),
            ["`backoff`", "class", "which", "seconds"],
            3,
            BACKOFFS,
            back_off,
        ),
    ]
}

#[test]
fn every_end_of_an_attempt_has_its_verdict() {
    tables();
}
