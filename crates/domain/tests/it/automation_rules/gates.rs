//! Questions to people: their time, and what a decision must be to count (spec/automations.md 1.4, 2.4).

use std::collections::BTreeSet;

use domain::automation::NodeState;
use domain::automation::definition::{Decision, Expiry, Gate, read};
use domain::automation::gate::{
    Act, Ask, Decider, GateStatus, Open, Standing, decide, decisions, due, rework_targets, terms,
};
use domain::automation::graph::Graph;
use domain::automation::operation::from_nodes;
use domain::automation::rework::{Kept, cut_off, kept};
use serde_json::{Value as Json, json};

use super::{at, seconds};
use crate::table::{Table, joined, parts};

const DEFAULT: &str = "unassigned_escalation_principal";

const TERMS: &[[&str; 5]] = &[
    ["-", "604800", "cancel", "-", DEFAULT],
    ["{}", "-", "cancel", "-", DEFAULT],
    ["{\"expiresAfterSec\":0}", "-", "cancel", "-", DEFAULT],
    ["{\"expiresAfterSec\":60}", "60", "cancel", "-", DEFAULT],
    ["{\"expiresAfterSec\":60,\"onExpiry\":\"escalate\"}", "60", "escalate", "-", DEFAULT],
    [
        "{\"expiresAfterSec\":60,\"onExpiry\":\"escalate\",\"escalateTo\":\"ann\"}",
        "60",
        "escalate",
        "-",
        "ann",
    ],
    [
        "{\"expiresAfterSec\":60,\"onExpiry\":\"escalate\",\"escalateTo\":\" \"}",
        "60",
        "escalate",
        "-",
        DEFAULT,
    ],
    ["{\"remindEverySec\":10}", "-", "cancel", "10", DEFAULT],
    ["{\"remindEverySec\":0}", "-", "cancel", "-", DEFAULT],
    ["{\"expiresAfterSec\":60,\"onExpiry\":\"remind\",\"remindEverySec\":10}", "60", "remind", "10", DEFAULT],
];

const TIMES: &[[&str; 5]] = &[
    ["{}", "-", "0", "-", "86400"],
    ["{}", "-", "86399", "-", "86400"],
    ["{}", "-", "86400", "stale", "-"],
    ["{}", "stale", "9999999", "-", "-"],
    ["-", "-", "0", "-", "86400"],
    ["-", "stale", "604799", "-", "604800"],
    ["-", "stale", "604800", "expire", "-"],
    ["{\"expiresAfterSec\":100}", "-", "99", "-", "100"],
    ["{\"expiresAfterSec\":100}", "-", "100", "expire", "-"],
    ["{\"expiresAfterSec\":100}", "-", "999999", "expire", "-"],
    ["{\"expiresAfterSec\":100,\"remindEverySec\":60}", "-", "59", "-", "60"],
    ["{\"expiresAfterSec\":100,\"remindEverySec\":60}", "-", "60", "remind 1", "100"],
    ["{\"expiresAfterSec\":100,\"remindEverySec\":60}", "reminded 1 at 60", "99", "-", "100"],
    ["{\"expiresAfterSec\":100,\"remindEverySec\":60}", "reminded 1 at 60", "100", "expire", "-"],
    ["{\"expiresAfterSec\":100,\"onExpiry\":\"escalate\"}", "-", "99", "-", "100"],
    [
        "{\"expiresAfterSec\":100,\"onExpiry\":\"escalate\",\"escalateTo\":\"ann\"}",
        "-",
        "100",
        "escalate to ann",
        "86400",
    ],
    ["{\"expiresAfterSec\":100,\"onExpiry\":\"escalate\"}", "escalated", "101", "-", "86400"],
    ["{\"expiresAfterSec\":100,\"onExpiry\":\"escalate\"}", "escalated; stale", "999999", "-", "-"],
    [
        "{\"expiresAfterSec\":100,\"onExpiry\":\"escalate\",\"escalateTo\":\"ann\",\"remindEverySec\":60}",
        "-",
        "120",
        "escalate to ann; remind 1, late",
        "180",
    ],
    [
        "{\"expiresAfterSec\":100,\"onExpiry\":\"escalate\",\"remindEverySec\":60}",
        "escalated; reminded 1 at 120",
        "180",
        "remind 2, late",
        "240",
    ],
    ["{\"expiresAfterSec\":100,\"onExpiry\":\"remind\"}", "-", "99", "-", "100"],
    ["{\"expiresAfterSec\":100,\"onExpiry\":\"remind\"}", "-", "100", "remind 1, late", "86400"],
    ["{\"expiresAfterSec\":100,\"onExpiry\":\"remind\"}", "late", "101", "-", "86400"],
    ["{\"expiresAfterSec\":100,\"onExpiry\":\"remind\",\"remindEverySec\":60}", "-", "60", "remind 1", "120"],
    [
        "{\"expiresAfterSec\":100,\"onExpiry\":\"remind\",\"remindEverySec\":60}",
        "reminded 1 at 60",
        "120",
        "remind 2, late",
        "180",
    ],
    ["{\"remindEverySec\":10}", "-", "9", "-", "10"],
    ["{\"remindEverySec\":10}", "-", "10", "remind 1", "20"],
    ["{\"remindEverySec\":10}", "-", "55", "remind 1", "65"],
    ["{\"remindEverySec\":10}", "reminded 1 at 55", "64", "-", "65"],
    ["{\"remindEverySec\":10}", "reminded 1 at 55", "65", "remind 2", "75"],
    ["{\"remindEverySec\":10}", "-", "86400", "stale; remind 1", "86410"],
];

const DECISIONS: &[[&str; 5]] = &[
    ["-", "approve", "ann", "0", "counts"],
    ["-", "rework", "ann", "0", "counts"],
    ["-", "rework; from a", "ann", "0", "counts"],
    ["-", "rework; from a; from b", "ann", "0", "counts"],
    ["-", "cancel", "ann", "0", "counts"],
    ["-", "approve", "bob", "99", "counts"],
    ["-", "approve", "the local board", "0", "counts"],
    ["-", "approve", "an agent", "0", "gate_requires_human"],
    ["-", "cancel", "an agent", "0", "gate_requires_human"],
    ["decided", "approve", "an agent", "0", "gate_requires_human"],
    ["approvers bob", "approve", "bob", "0", "counts"],
    ["approvers bob", "approve", "ann", "0", "gate_not_allowed"],
    ["approvers bob", "cancel", "ann", "0", "gate_not_allowed"],
    ["approvers bob; escalated to ann", "approve", "ann", "0", "counts"],
    ["approvers bob; escalated to ann", "approve", "bob", "0", "counts"],
    ["approvers bob", "approve", "the local board", "0", "gate_not_allowed"],
    ["selfApproval false", "approve", "ann", "0", "gate_self_approval"],
    ["selfApproval false", "cancel", "ann", "0", "counts"],
    ["selfApproval false", "rework", "ann", "0", "counts"],
    ["selfApproval false", "approve", "bob", "0", "counts"],
    ["selfApproval false", "approve", "the local board", "0", "counts"],
    ["selfApproval false; approvers ann", "approve", "ann", "0", "gate_self_approval"],
    ["decided", "approve", "ann", "0", "gate_already_decided"],
    ["decided", "cancel", "bob", "0", "gate_already_decided"],
    ["decided", "approve", "ann", "999", "gate_already_decided"],
    ["expired", "approve", "ann", "0", "gate_expired"],
    ["withdrawn", "approve", "ann", "0", "gate_withdrawn"],
    ["-", "approve", "ann", "100", "gate_expired"],
    ["-", "cancel", "ann", "100", "gate_expired"],
    ["onExpiry escalate", "approve", "ann", "100", "counts"],
    ["onExpiry remind", "approve", "ann", "999", "counts"],
    ["-", "approve; another hash", "ann", "0", "stale"],
    ["-", "cancel; another hash", "ann", "0", "stale"],
    ["decided", "approve; another hash", "ann", "0", "gate_already_decided"],
    ["-", "approve; another hash", "ann", "100", "gate_expired"],
    ["only approve", "approve", "ann", "0", "counts"],
    ["only approve", "cancel", "ann", "0", "gate_invalid_decision"],
    ["only approve", "rework", "ann", "0", "gate_invalid_decision"],
    ["-", "approve; from a", "ann", "0", "gate_invalid_target"],
    ["-", "cancel; from a", "ann", "0", "gate_invalid_target"],
    ["-", "rework; from z", "ann", "0", "gate_invalid_target"],
    ["-", "rework; from a; from z", "ann", "0", "gate_invalid_target"],
    ["asked by an agent", "approve", "ann", "0", "gate_answer_missing"],
    ["asked by an agent", "approve; with words", "ann", "0", "counts"],
    ["asked by an agent", "cancel", "ann", "0", "counts"],
    ["asked by an agent", "approve; another hash", "ann", "0", "stale"],
    ["asked by an agent; decided", "approve", "ann", "0", "gate_already_decided"],
];

const REWORKS: &[[&str; 4]] = &[
    ["-", "-", "c", "c"],
    ["-", "b", "b", "b; c"],
    ["-", "a", "a", "a; b; c"],
    ["b", "-", "b", "b; c"],
    ["b", "a", "a", "a; b; c"],
    ["a", "c", "c", "c"],
    ["-", "b; c", "b; c", "b; c"],
];

const REJECTIONS: &[[&str; 3]] = &[
    ["{}", "completed", "made again"],
    ["{}", "blocked", "made again"],
    ["{}", "cut off", "made again"],
    ["{}", "done when it was to be cut off", "made again"],
    ["{\"repeatable\":false}", "completed", "blocked"],
    ["{\"repeatable\":false}", "blocked", "blocked as before"],
    ["{\"repeatable\":false}", "blocked by another step", "made again"],
    ["{\"repeatable\":false}", "failed", "made again"],
    ["{\"repeatable\":false}", "skipped", "made again"],
    ["{\"repeatable\":false}", "pending", "made again"],
    ["{\"repeatable\":false}", "awaiting_approval", "made again"],
    ["{\"repeatable\":false}", "cut off", "blocked"],
    ["{\"repeatable\":false}", "done when it was to be cut off", "blocked"],
    ["{\"repeatable\":false}", "cut off before it began", "made again"],
];

fn expiry(cell: &str) -> Option<Expiry> {
    (cell != "-").then(|| serde_json::from_str(cell).unwrap())
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or("-".to_owned())
}

fn term(row: &[&str]) -> Vec<String> {
    let terms = terms(expiry(row[0]).as_ref());
    let seconds = |it: Option<std::time::Duration>| or_none(it.map(|it| it.as_secs().to_string()));
    vec![
        seconds(terms.expires_after),
        terms.on_expiry.to_string(),
        seconds(terms.remind_every),
        terms.escalate_to,
    ]
}

/// A gate that was opened at 0; `reminded 1 at 60`, `late`, `escalated`, `stale`.
fn open(terms_of: &str, before: &str) -> Open {
    let mut gate = Open {
        asked_at: at(0),
        terms: terms(expiry(terms_of).as_ref()),
        reminded_at: None,
        reminders: 0,
        reminded_late: false,
        escalated: false,
        marked_stale: false,
    };
    for part in parts(before) {
        match part.split(' ').collect::<Vec<_>>()[..] {
            ["stale"] => gate.marked_stale = true,
            ["escalated"] => gate.escalated = true,
            ["late"] => (gate.reminded_late, gate.reminders) = (true, 1),
            ["reminded", number, "at", second] => {
                gate.reminders = number.parse().unwrap();
                gate.reminded_at = Some(at(second.parse().unwrap()));
            }
            _ => panic!("unknown words {part}"),
        }
    }
    gate
}

fn time(row: &[&str]) -> Vec<String> {
    let now = at(row[2].parse().unwrap());
    let (acts, next) = due(&open(row[0], row[1]), now);
    assert!(next.is_none_or(|next| next > now), "{row:?}: the next time lies in the future");
    let say = |act: Act| match act {
        Act::MarkStale => "stale".to_owned(),
        Act::Remind { number, late } => format!("remind {number}{}", if late { ", late" } else { "" }),
        Act::Escalate { to } => format!("escalate to {to}"),
        Act::Expire => "expire".to_owned(),
    };
    vec![joined(acts.into_iter().map(say)), or_none(next.map(|next| seconds(next).to_string()))]
}

fn decision(row: &[&str]) -> Vec<String> {
    let has = |words: &str| parts(row[0]).any(|part| part == words);
    let behind = |words: &str| parts(row[0]).find_map(|part| part.strip_prefix(words));
    let terms_of =
        format!("{{\"expiresAfterSec\":100,\"onExpiry\":\"{}\"}}", behind("onExpiry ").unwrap_or("cancel"));
    let only = behind("only ").and_then(Decision::parse);
    let allowed = decisions(&Gate { decisions: only.into_iter().collect(), ..Gate::default() });
    let approvers: Vec<String> = behind("approvers ").map(str::to_owned).into_iter().collect();
    let standing = Standing {
        status: parts(row[0]).find_map(GateStatus::parse).unwrap_or(GateStatus::Pending),
        hash: "h",
        decisions: &allowed,
        approvers: &approvers,
        escalated_to: has("escalated to ann").then_some("ann"),
        self_approval: !has("selfApproval false"),
        started_by: Some("ann"),
        before: BTreeSet::from(["a", "b"]),
        open: open(&terms_of, "-"),
        wants_answer: has("asked by an agent"),
    };
    let targets: Vec<String> =
        parts(row[1]).filter_map(|part| part.strip_prefix("from ")).map(str::to_owned).collect();
    let ask = Ask {
        decision: Decision::parse(parts(row[1]).next().unwrap()).unwrap(),
        hash: if row[1].contains("another hash") { "other" } else { "h" },
        targets: &targets,
        by: Decider {
            is_person: row[2] != "an agent",
            user: Some(row[2]).filter(|name| ["ann", "bob"].contains(name)),
        },
        has_words: row[1].contains("with words"),
    };
    vec![match decide(&standing, &ask, at(row[3].parse().unwrap())) {
        Ok(()) => "counts".to_owned(),
        Err(refused) => refused.code().to_owned(),
    }]
}

/// The graph is a, then b, then c, then the gate; d depends on nothing.
fn rework(row: &[&str]) -> Vec<String> {
    let step = |id: &str, before: &[&str]| json!({ "id": id, "dependsOn": before });
    let data = json!({ "name": "n", "nodes": [
        step("a", &[]), step("b", &["a"]), step("c", &["b"]), step("d", &[]),
        { "id": "gate", "dependsOn": ["c"], "gate": {} }, step("after", &["gate"]),
    ] });
    let definition = read(&data).unwrap();
    let graph = Graph::of(&definition);
    let names = |cell: &str| parts(cell).map(str::to_owned).collect::<Vec<String>>();
    let gate = Gate { rework_targets: names(row[0]), ..Gate::default() };
    let targets = rework_targets(&graph, "gate", &gate, &names(row[1]));
    let again = from_nodes(&graph, targets.clone()).nodes;
    assert!(again.contains("gate") && again.contains("after"), "whatever comes after is made again");
    let again = again.into_iter().filter(|id| id != "gate" && id != "after");
    vec![joined(targets), joined(again)]
}

/// A node of work that a reviewer sends back, by what it had come to.
fn rejection(row: &[&str]) -> Vec<String> {
    let mut fields: Json = serde_json::from_str(row[0]).unwrap();
    fields["id"] = json!("a");
    let node = read(&json!({ "name": "n", "nodes": [fields] })).unwrap().nodes.remove(0);
    let after_cut = |why: Option<&str>| match why {
        Some(_) => "blocked",
        None => "made again",
    };
    let becomes = match row[1] {
        "cut off" => after_cut(cut_off(&node, true, false)),
        "cut off before it began" => after_cut(cut_off(&node, false, false)),
        "done when it was to be cut off" => after_cut(cut_off(&node, true, true)),
        cell => {
            let (state, judged) =
                cell.strip_suffix(" by another step").map_or((cell, true), |it| (it, false));
            match kept(&node, NodeState::parse(state).unwrap(), judged) {
                Kept::No => "made again",
                Kept::AsItIs => "blocked as before",
                Kept::Blocked => "blocked",
            }
        }
    };
    vec![becomes.to_owned()]
}

pub(super) fn tables() -> Vec<Table> {
    let times = "A gate that was opened at the second 0. However many reminders were missed, one is sent. A \
                 decision that comes after the end of a gate with `cancel` is refused, whether a sweep was there \
                 or not. `expire` cancels the run and says that retrying the node asks again.";
    let who = "A gate that was opened at 0 and expires at 100, of a run that ann started. What is refused first \
               is what the sender can do least about.";
    let rework = "The nodes are a, b, c one after another, then the gate, then a node after it, and d for \
                  itself. The gate and what comes after it are made again in any case.";
    let rejections = "What may not be repeated is not done twice by itself, nor begun again once it was cut off. \
                      People who send work back, or have it made again, have looked.";
    vec![
        Table::judged(
            (
                "The terms of a gate",
                "Terms of its own replace all of the usual ones; what is left out in them is never.",
            ),
            ["`expiry`", "expires after", "then", "reminds every", "escalates to"],
            1,
            TERMS,
            term,
        ),
        Table::judged(
            ("What its time does to a gate", times),
            ["`expiry`", "before", "now", "then", "next"],
            3,
            TIMES,
            time,
        ),
        Table::judged(
            ("Which decision counts", who),
            ["gate", "decision", "by", "at", "answer"],
            4,
            DECISIONS,
            decision,
        ),
        Table::judged(
            ("Where rework begins", rework),
            ["`reworkTargets`", "named", "begins at", "made again"],
            2,
            REWORKS,
            self::rework,
        ),
        Table::judged(
            ("What a reviewer's rejection makes of a step that it takes along", rejections),
            ["fields", "the step", "becomes"],
            2,
            REJECTIONS,
            rejection,
        ),
    ]
}

#[test]
fn a_gate_is_decided_once_in_its_time_by_who_may() {
    tables();
}
