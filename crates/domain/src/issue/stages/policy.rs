//! The stages of an issue, as clients send them and as they are kept.

use serde_json::{Value, json};

use super::{PolicyMode, StageType, principal};
use crate::issue::Principal;
use crate::issue::refusal::Refusal;

/// The stages an issue must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub mode: PolicyMode,
    /// Never empty.
    pub stages: Vec<Stage>,
}

/// One stage; one approval of one participant passes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub id: String,
    pub kind: StageType,
    /// Never empty.
    pub participants: Vec<Participant>,
}

/// One who may decide a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    pub id: String,
    pub who: Principal,
}

impl Policy {
    /// Reads a policy as a client sends it. Null or no stages is no policy; participants are told once, empty stages are
    /// dropped, missing ids are taken from `fresh`.
    pub fn normalise(value: &Value, mut fresh: impl FnMut() -> String) -> Result<Option<Policy>, Refusal> {
        if value.is_null() {
            return Ok(None);
        }
        if !value.is_object() {
            return Err(invalid("a policy is an object"));
        }
        let mode = match &value["mode"] {
            Value::Null => PolicyMode::Normal,
            mode => mode
                .as_str()
                .and_then(PolicyMode::parse)
                .ok_or_else(|| invalid("mode is `normal` or `auto`"))?,
        };
        let mut stages = Vec::new();
        for stage in list(&value["stages"], "stages is a list")? {
            let kind = stage["type"]
                .as_str()
                .and_then(StageType::parse)
                .ok_or_else(|| invalid("the type of a stage is `review` or `approval`"))?;
            if !(stage["approvalsNeeded"].is_null() || stage["approvalsNeeded"] == 1) {
                return Err(invalid("a stage needs exactly one approval"));
            }
            let id = id_of(stage, &mut fresh)?;
            let mut participants: Vec<Participant> = Vec::new();
            for participant in list(&stage["participants"], "participants is a list")? {
                let who = principal(participant)
                    .ok_or_else(|| invalid("a participant is an agent with agentId or a user with userId"))?;
                let id = id_of(participant, &mut fresh)?;
                if !participants.iter().any(|known| known.who == who) {
                    participants.push(Participant { id, who });
                }
            }
            if !participants.is_empty() {
                stages.push(Stage { id, kind, participants });
            }
        }
        Ok((!stages.is_empty()).then_some(Policy { mode, stages }))
    }

    /// The stored form, which is also the one clients see.
    pub fn to_value(&self) -> Value {
        let participant = |one: &Participant| {
            let mut value = one.who.to_value();
            value["id"] = one.id.as_str().into();
            value
        };
        let stage = |stage: &Stage| {
            json!({
                "id": stage.id, "type": stage.kind, "approvalsNeeded": 1,
                "participants": stage.participants.iter().map(participant).collect::<Vec<_>>(),
            })
        };
        json!({
            "mode": self.mode, "commentRequired": true,
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
        })
    }
}

fn invalid(problem: &str) -> Refusal {
    Refusal::InvalidPolicy { problem: problem.to_owned() }
}

fn list<'a>(value: &'a Value, problem: &str) -> Result<&'a [Value], Refusal> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Err(invalid(problem)),
    }
}

fn id_of(value: &Value, fresh: &mut impl FnMut() -> String) -> Result<String, Refusal> {
    match &value["id"] {
        Value::Null => Ok(fresh()),
        Value::String(id) if !id.trim().is_empty() => Ok(id.clone()),
        _ => Err(invalid("an id is a text that is not empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(value: Value) -> Result<Option<Policy>, Refusal> {
        let mut count = 0;
        Policy::normalise(&value, || {
            count += 1;
            format!("id{count}")
        })
    }

    #[test]
    fn a_policy_without_stages_is_none() {
        for value in [
            Value::Null,
            json!({}),
            json!({"stages": []}),
            json!({"stages": null}),
            json!({"stages": [{"type": "review", "participants": []}, {"type": "approval"}]}),
        ] {
            assert_eq!(normalised(value.clone()), Ok(None), "{value}");
        }
    }

    #[test]
    fn a_policy_is_completed_with_ids_and_defaults() {
        let given = json!({"commentRequired": false, "stages": [
            {"type": "review", "approvalsNeeded": 1, "participants": [
                {"type": "agent", "agentId": "a"}, {"type": "agent", "agentId": "a", "id": "twice"},
                {"type": "user", "userId": "u", "id": "kept"}]},
            {"id": "mine", "type": "approval", "participants": [{"type": "user", "userId": "a"}]}]});
        let policy = normalised(given).expect("valid").expect("one");
        assert_eq!(
            policy.to_value(),
            json!({"mode": "normal", "commentRequired": true, "stages": [
                {"id": "id1", "type": "review", "approvalsNeeded": 1, "participants": [
                    {"id": "id2", "type": "agent", "agentId": "a", "userId": null},
                    {"id": "kept", "type": "user", "agentId": null, "userId": "u"}]},
                {"id": "mine", "type": "approval", "approvalsNeeded": 1, "participants": [
                    {"id": "id3", "type": "user", "agentId": null, "userId": "a"}]}]})
        );
        assert_eq!(normalised(policy.to_value()), Ok(Some(policy.clone())));
        let auto = normalised(json!({"mode": "auto", "stages": policy.to_value()["stages"]}));
        assert_eq!(auto.expect("valid").expect("one").mode, PolicyMode::Auto);
    }

    #[test]
    fn a_policy_of_another_shape_is_refused() {
        let who = json!([{"type": "user", "userId": "u"}]);
        for value in [
            json!([]),
            json!("review"),
            json!({"mode": "strict"}),
            json!({"mode": 1}),
            json!({"stages": {}}),
            json!({"stages": [{"participants": who}]}),
            json!({"stages": [{"type": "vote", "participants": who}]}),
            json!({"stages": [{"type": "review", "approvalsNeeded": 2, "participants": who}]}),
            json!({"stages": [{"type": "review", "id": " ", "participants": who}]}),
            json!({"stages": [{"type": "review", "id": 7, "participants": who}]}),
            json!({"stages": [{"type": "review", "participants": "u"}]}),
            json!({"stages": [{"type": "review", "participants": [{"type": "agent"}]}]}),
            json!({"stages": [{"type": "review", "participants": [{"type": "agent", "agentId": ""}]}]}),
            json!({"stages": [{"type": "review", "participants": [{"type": "user", "agentId": "a"}]}]}),
            json!({"stages": [{"type": "review", "participants": [{"type": "team", "userId": "a"}]}]}),
        ] {
            let refusal = normalised(value.clone()).expect_err("refused");
            assert_eq!(refusal.text(), "Invalid execution policy", "{value}");
        }
    }
}
