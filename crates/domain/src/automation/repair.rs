//! Changing one node in a run alone: what may be another one there, and what stays as the automation has it.

use serde_json::{Map, Value as Json};

use super::Problem;
use super::definition::{Definition, Gate, Node, read};

/// A definition in which the fields of one node are other ones; `null` takes a field out. With it, the same as data.
pub fn patched(
    definition: &Definition,
    at: usize,
    patch: &Map<String, Json>,
) -> Result<(Definition, Json), Problem> {
    if patch.is_empty() {
        return Err(Problem::new("patch", "changes nothing", "name the fields, or retry the node as it is"));
    }
    let mut data = serde_json::to_value(definition).unwrap_or_default();
    for (key, value) in patch {
        if matches!(key.as_str(), "id" | "dependsOn") {
            let message = "cannot be changed in a run: the graph stays as it is";
            let hint = "change the automation and start a new run";
            return Err(Problem::new(format!("patch.{key}"), message, hint));
        }
        match value {
            Json::Null => {
                if let Some(node) = data["nodes"][at].as_object_mut() {
                    node.remove(key);
                }
            }
            value => data["nodes"][at][key.as_str()] = value.clone(),
        }
    }
    let changed = read(&data)?;
    if let (Some(before), Some(after)) = (definition.nodes.get(at), changed.nodes.get(at)) {
        keeps(before, after)?;
    }
    Ok((changed, data))
}

/// A step stays a step, and a gate asks whom it asked: who may repair a run need not be who may decide in it.
fn keeps(before: &Node, after: &Node) -> Result<(), Problem> {
    if before.is_gate() != after.is_gate() {
        let message = "cannot make a gate of a step, or a step of a gate";
        return Err(Problem::new("patch", message, "change the automation"));
    }
    let (Some(before), Some(after)) = (&before.gate, &after.gate) else { return Ok(()) };
    let changed = [
        ("approvers", before.approvers != after.approvers),
        ("selfApproval", asks_others(before) != asks_others(after)),
        ("decisions", before.decisions != after.decisions),
        ("expiry", before.expiry != after.expiry),
    ];
    match changed.into_iter().find(|(_, is_changed)| *is_changed) {
        None => Ok(()),
        Some((field, _)) => Err(Problem::new(
            format!("patch.gate.{field}"),
            "cannot be changed in a run: who decides, what and until when is the automation's",
            "give the whole gate as it is, with other words only; or change the automation and start a new run",
        )),
    }
}

fn asks_others(gate: &Gate) -> bool {
    gate.self_approval == Some(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition() -> Definition {
        read(&json!({ "name": "n", "nodes": [
            { "id": "a", "agent": "Ada", "objective": "write", "repeatable": false },
            { "id": "g", "dependsOn": ["a"], "gate": {
                "title": "Go?", "approvers": ["bea"], "selfApproval": false, "decisions": ["approve", "cancel"],
                "expiry": { "expiresAfterSec": 60 },
            } },
            { "id": "h", "gate": {} },
        ] }))
        .unwrap()
    }

    fn said(at: usize, patch: &Json) -> String {
        match patched(&definition(), at, patch.as_object().unwrap()) {
            Ok((changed, data)) => {
                assert_eq!(
                    serde_json::to_value(&changed).unwrap(),
                    serde_json::to_value(read(&data).unwrap()).unwrap()
                );
                "taken".to_owned()
            }
            Err(problem) => problem.path,
        }
    }

    #[test]
    fn a_repair_changes_what_a_step_does_and_no_gate_asks_others_then() {
        let gate = serde_json::to_value(&definition().nodes[1].gate).unwrap();
        let with = |key: &str, value: Json| {
            let mut gate = gate.clone();
            match value {
                Json::Null => drop(gate.as_object_mut().unwrap().remove(key)),
                value => gate[key] = value,
            }
            json!({ "gate": gate })
        };
        for (at, patch, expected) in [
            (0, json!({ "objective": "publish" }), "taken"),
            (0, json!({ "agent": "Bob", "repeatable": null }), "taken"),
            (0, json!({}), "patch"),
            (0, json!({ "id": "b" }), "patch.id"),
            (0, json!({ "dependsOn": [] }), "patch.dependsOn"),
            (0, json!({ "gate": {} }), "patch"),
            (0, json!({ "unheard": 1 }), "nodes[0].unheard"),
            (1, json!({ "gate": null, "agent": "Ada", "objective": "o" }), "patch"),
            (1, with("title", json!("Publish?")), "taken"),
            (1, with("instructions", json!("Look well")), "taken"),
            (1, with("reworkTargets", json!(["a"])), "taken"),
            (1, with("approvers", json!(["ann"])), "patch.gate.approvers"),
            (1, with("approvers", Json::Null), "patch.gate.approvers"),
            (1, with("selfApproval", Json::Null), "patch.gate.selfApproval"),
            (1, with("selfApproval", json!(true)), "patch.gate.selfApproval"),
            (1, with("decisions", json!(["approve"])), "patch.gate.decisions"),
            (1, with("expiry", Json::Null), "patch.gate.expiry"),
            (1, json!({ "gate": { "title": "Publish?" } }), "patch.gate.approvers"),
            (2, json!({ "gate": { "title": "Publish?" } }), "taken"),
            (2, json!({ "gate": { "selfApproval": true } }), "taken"),
            (2, json!({ "gate": { "selfApproval": false } }), "patch.gate.selfApproval"),
        ] {
            assert_eq!(said(at, &patch), expected, "{at} {patch}");
        }
    }
}
