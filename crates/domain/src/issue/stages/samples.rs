//! States of an issue under a policy, for the tests of this folder.

use super::super::Principal;
use super::{Current, StageStatus, StageType, State};

pub(super) fn agent(id: &str) -> Principal {
    Principal::Agent(id.into())
}

pub(super) fn pending(id: &str, index: usize, kind: StageType, who: &Principal, completed: &[&str]) -> State {
    State {
        status: StageStatus::Pending,
        current: Some(Current { id: id.into(), index, kind }),
        participant: Some(who.clone()),
        return_assignee: Some(agent("dev")),
        review_request: None,
        completed: completed.iter().map(|id| (*id).to_owned()).collect(),
        last_decision: None,
        last_outcome: None,
    }
}

pub(super) fn in_review() -> State {
    pending("s1", 0, StageType::Review, &agent("qa"), &[])
}

pub(super) fn in_approval() -> State {
    pending("s2", 1, StageType::Approval, &agent("cto"), &["s1"])
}
