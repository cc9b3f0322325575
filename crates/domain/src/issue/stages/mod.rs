//! Review and approval before an issue may be done.
//!
//! An issue may carry a [`Policy`]: stages that others than the executor must pass. Its [`State`] says where it stands,
//! and [`advance`] looks at every change of such an issue and says what becomes of it. Stored forms are JSON and are read
//! and written by the types themselves.

mod advance;
mod policy;
#[cfg(test)]
mod samples;
mod state;

pub use advance::{StageAsk, StageDecision, StageView, StageWake, Step, advance};
pub use policy::{Participant, Policy, Stage};
pub use state::{Current, State};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::Principal;
use crate::words;

words!(
    /// What a stage asks of its participant.
    StageType { Review = "review", Approval = "approval" }
);

words!(
    /// How a policy was made.
    PolicyMode { Normal = "normal", Auto = "auto" }
);

words!(
    /// Where an issue stands in its policy.
    StageStatus {
        Idle = "idle",
        /// The participant is asked.
        Pending = "pending",
        /// The executor is to rework; then the same stage is asked again.
        ChangesRequested = "changes_requested",
        Completed = "completed",
    }
);

words!(
    /// What a participant decided.
    Outcome { Approved = "approved", ChangesRequested = "changes_requested" }
);

fn principal(value: &Value) -> Option<Principal> {
    let id = |key: &str| value[key].as_str().filter(|id| !id.trim().is_empty());
    match value["type"].as_str() {
        Some("agent") => id("agentId").map(|id| Principal::Agent(id.into())),
        Some("user") => id("userId").map(|id| Principal::User(id.to_owned())),
        Some(_) | None => None,
    }
}

impl Principal {
    /// `{type, agentId, userId}`, as in policies and states.
    pub fn to_value(&self) -> Value {
        match self {
            Principal::Agent(id) => json!({ "type": "agent", "agentId": id, "userId": null }),
            Principal::User(id) => json!({ "type": "user", "agentId": null, "userId": id }),
        }
    }
}

impl Serialize for Principal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(s)
    }
}
