//! Where an issue stands in its policy, as it is kept and as clients see it.

use serde_json::{Value, json};

use super::{Outcome, StageStatus, StageType, principal};
use crate::issue::Principal;

/// Where an issue stands in its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub status: StageStatus,
    pub current: Option<Current>,
    pub participant: Option<Principal>,
    /// Who gets the issue back when changes are requested: the executor.
    pub return_assignee: Option<Principal>,
    /// Instructions for the participant.
    pub review_request: Option<String>,
    /// Ids of the stages passed.
    pub completed: Vec<String>,
    pub last_decision: Option<String>,
    pub last_outcome: Option<Outcome>,
}

/// The stage that is asked, or will be again after a rework.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    pub id: String,
    pub index: usize,
    pub kind: StageType,
}

impl State {
    /// Reads the stored form; anything that is not one is no state.
    pub fn read(value: &Value) -> Option<State> {
        let word = |key: &str| value[key].as_str();
        let status = StageStatus::parse(word("status")?)?;
        let current = match word("currentStageId") {
            None => None,
            Some(id) => Some(Current {
                id: id.to_owned(),
                index: usize::try_from(value["currentStageIndex"].as_u64()?).ok()?,
                kind: StageType::parse(word("currentStageType")?)?,
            }),
        };
        let somebody = |key: &str| match &value[key] {
            Value::Null => Some(None),
            other => principal(other).map(Some),
        };
        let completed = match &value["completedStageIds"] {
            Value::Null => Vec::new(),
            Value::Array(ids) => {
                ids.iter().map(|id| id.as_str().map(str::to_owned)).collect::<Option<_>>()?
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return None,
        };
        Some(State {
            status,
            current,
            participant: somebody("currentParticipant")?,
            return_assignee: somebody("returnAssignee")?,
            review_request: value["reviewRequest"]["instructions"].as_str().map(str::to_owned),
            completed,
            last_decision: word("lastDecisionId").map(str::to_owned),
            last_outcome: match word("lastDecisionOutcome") {
                None => None,
                Some(outcome) => Some(Outcome::parse(outcome)?),
            },
        })
    }

    /// The stored form, which is also the one clients see.
    pub fn to_value(&self) -> Value {
        let current = self.current.as_ref();
        json!({
            "status": self.status,
            "currentStageId": current.map(|stage| &stage.id),
            "currentStageIndex": current.map(|stage| stage.index),
            "currentStageType": current.map(|stage| stage.kind),
            "currentParticipant": self.participant,
            "returnAssignee": self.return_assignee,
            "reviewRequest": self.review_request.as_ref().map(|text| json!({ "instructions": text })),
            "completedStageIds": self.completed,
            "lastDecisionId": self.last_decision,
            "lastDecisionOutcome": self.last_outcome,
        })
    }

    /// Whose turn it is, for the claim; only while somebody is asked.
    pub fn turn(&self) -> Option<(Option<StageType>, Principal)> {
        let participant = self.participant.clone().filter(|_| self.status == StageStatus::Pending)?;
        Some((self.current.as_ref().map(|stage| stage.kind), participant))
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, in_approval, in_review};
    use super::*;

    #[test]
    fn a_state_reads_back_and_other_shapes_are_none() {
        let full = State {
            review_request: Some("look at the tests".into()),
            last_decision: Some("d".into()),
            last_outcome: Some(Outcome::ChangesRequested),
            ..in_approval()
        };
        for state in [full.clone(), in_review(), State { current: None, participant: None, ..in_review() }] {
            assert_eq!(State::read(&state.to_value()), Some(state));
        }
        assert_eq!(full.to_value()["reviewRequest"], json!({"instructions": "look at the tests"}));
        let idle = State::read(&json!({"status": "idle"})).expect("a state");
        assert_eq!((idle.status, idle.current, idle.completed), (StageStatus::Idle, None, vec![]));
        let broken = |key: &str, value: Value| {
            let mut state = full.to_value();
            state[key] = value;
            state
        };
        for value in [
            Value::Null,
            json!([]),
            json!({}),
            json!({"status": "odd"}),
            broken("currentStageIndex", Value::Null),
            broken("currentStageType", json!("vote")),
            broken("currentParticipant", json!({"type": "agent"})),
            broken("returnAssignee", json!("dev")),
            broken("completedStageIds", json!("s1")),
            broken("completedStageIds", json!([1])),
            broken("lastDecisionOutcome", json!("maybe")),
        ] {
            assert_eq!(State::read(&value), None, "{value}");
        }
    }

    #[test]
    fn it_is_somebodys_turn_only_while_a_stage_is_pending() {
        assert_eq!(in_review().turn(), Some((Some(StageType::Review), agent("qa"))));
        let rework = State { status: StageStatus::ChangesRequested, ..in_review() };
        assert_eq!(rework.turn(), None);
        assert_eq!(State { participant: None, ..in_review() }.turn(), None);
    }
}
