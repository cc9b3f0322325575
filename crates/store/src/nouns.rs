//! The nouns of the domain as columns: ids, moments and words go in and come out as themselves.
//!
//! A word that the program does not know (written by a newer one, or by hand) is an error that names the column.

use domain::access::outside::Decision;
use domain::agent::{AgentStatus, PauseReason, Role};
use domain::automation::calendar::{SkipReason, SlotState};
use domain::automation::definition as automation;
use domain::automation::gate::GateStatus;
use domain::automation::{
    AttemptState, AutomationRunStatus, AutomationStatus, Guardrail, NodeState, StopKind, TriggerType,
};
use domain::budget::scope::ScopeKind;
use domain::budget::window::WindowKind;
use domain::budget::{IncidentStatus, Metric, Threshold};
use domain::environment::lease::{Cleanup, LeaseStatus};
use domain::environment::runtime_service::{Health, Lifecycle, ServiceScope, ServiceStatus};
use domain::hold::HeldReason;
use domain::ids::{
    AgentId, AutomationId, AutomationRunId, CommentId, CompanyId, GateId, HoldId, IssueId, PolicyId, RunId,
    ScheduleId, WakeId,
};
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;
use domain::run::{Outcome, RunStatus};
use domain::wake::{ActorKind, Source, TriggerDetail, WakeStatus};
use domain::webhook::delivery::{DeliveryStatus, DisabledReason};
use domain::webhook::proof::Scheme;
use domain::webhook::receipt::ReceiptStatus;
use domain::workspace::{OperationStatus, Status};

use crate::row::{Cell, FromCell};
use crate::value::Value;

macro_rules! ids {
    ($($id:ty),*) => {$(
        impl From<&$id> for Value {
            fn from(id: &$id) -> Value { Value::Text(id.0.clone()) }
        }
        impl From<$id> for Value {
            fn from(id: $id) -> Value { Value::Text(id.0) }
        }
        impl FromCell for $id {
            fn from_cell(cell: Cell<'_>) -> Result<Self, String> { String::from_cell(cell).map(Self) }
        }
    )*};
}
ids!(
    AutomationId,
    AutomationRunId,
    GateId,
    CompanyId,
    AgentId,
    RunId,
    WakeId,
    IssueId,
    CommentId,
    HoldId,
    PolicyId,
    ScheduleId
);

macro_rules! words {
    ($($word:ty),*) => {$(
        impl From<$word> for Value {
            fn from(word: $word) -> Value { Value::Text(word.as_str().to_owned()) }
        }
        impl From<&$word> for Value {
            fn from(word: &$word) -> Value { Value::Text(word.as_str().to_owned()) }
        }
        impl FromCell for $word {
            fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
                match cell {
                    Cell::Text(text) => Self::parse(text).ok_or_else(|| format!("`{text}` is not a known word")),
                    other => Err(format!("expected a word, found {other:?}")),
                }
            }
        }
    )*};
}
words!(
    automation::Decision,
    AttemptState,
    AutomationRunStatus,
    AutomationStatus,
    GateStatus,
    Guardrail,
    HeldReason,
    NodeState,
    SkipReason,
    SlotState,
    StopKind,
    TriggerType,
    Decision,
    Cleanup,
    LeaseStatus,
    Health,
    Lifecycle,
    ServiceScope,
    ServiceStatus,
    AgentStatus,
    PauseReason,
    Role,
    RunStatus,
    Outcome,
    WakeStatus,
    Source,
    TriggerDetail,
    ActorKind,
    IssueStatus,
    Priority,
    ScopeKind,
    WindowKind,
    IncidentStatus,
    Metric,
    Threshold,
    OperationStatus,
    Status,
    DeliveryStatus,
    DisabledReason,
    Scheme,
    ReceiptStatus
);

impl From<Moment> for Value {
    fn from(moment: Moment) -> Value {
        Value::Int(moment.micros())
    }
}

impl From<&Moment> for Value {
    fn from(moment: &Moment) -> Value {
        Value::Int(moment.micros())
    }
}

impl FromCell for Moment {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        i64::from_cell(cell).map(Moment::from_micros)
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Value {
        Value::Text(json.to_string())
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Value {
        Value::Text(json.to_string())
    }
}

impl FromCell for serde_json::Value {
    fn from_cell(cell: Cell<'_>) -> Result<Self, String> {
        match cell {
            Cell::Text(text) => serde_json::from_str(text).map_err(|error| format!("not JSON: {error}")),
            other => Err(format!("expected JSON, found {other:?}")),
        }
    }
}
