//! What may go wrong in the engine, named for what the caller can do about it. HTTP statuses are not assigned here.

use adapters::Problem;
use domain::access;
use domain::agent::AgentStatus;
use domain::issue::refusal::{Kind, Refusal};
use domain::wake::BudgetBlock;
use serde_json::Value as Json;
use store::StoreError;
use store::execution_workspaces::ExecutionWorkspace;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such thing, or none that the caller may know of.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The agent cannot be woken in its state. The refused wake is on record.
    #[error("Agent is not invokable in its current state")]
    NotInvokable(AgentStatus),
    /// A budget stops all starts.
    #[error("{}", .0.reason)]
    Budget(BudgetBlock),
    /// The idempotency key was used for another request.
    #[error("idempotency key was used for another request")]
    KeyReused { wake: String },
    /// The cursor lies behind the end of the event log: it is of another store, or of this one before a restore.
    #[error("cursor {after} is ahead of the event log, which ends at {head}")]
    CursorAhead { after: i64, head: i64 },
    /// The thing is in a state that does not allow this.
    #[error("{message}")]
    Conflict { message: String, details: Option<Json> },
    /// A rule is against it; clients match on the message.
    #[error("{message}")]
    Refused { kind: Kind, message: String, details: Option<Json> },
    /// The issue is tied to a workspace that was closed.
    #[error(
        "This issue is linked to the closed workspace \"{}\". Move it to an open workspace before adding comments or \
         resuming work.", .0.name
    )]
    ClosedWorkspace(Box<ExecutionWorkspace>),
    /// Whoever asks may not do this.
    #[error("{}", .0.text())]
    Denied(access::Refusal),
    /// The request makes no sense; each field is named.
    #[error("invalid request")]
    Invalid(Vec<Problem>),
    /// The server is going down and takes no work in.
    #[error("server is shutting down")]
    Closing,
    /// A run's folder or process could not be looked at.
    #[error("run files")]
    Process(#[from] crate::processes::ProcessError),
    #[error("store")]
    Store(#[from] StoreError),
}

impl EngineError {
    /// A refusal in the words that clients match on.
    pub(crate) fn refused(kind: Kind, message: impl Into<String>) -> EngineError {
        EngineError::Refused { kind, message: message.into(), details: None }
    }

    /// The same with details.
    pub(crate) fn refused_with(kind: Kind, message: impl Into<String>, details: Json) -> EngineError {
        EngineError::Refused { kind, message: message.into(), details: Some(details) }
    }

    /// A name that is given once is given.
    pub(crate) fn taken(thing: &str, name: &str) -> EngineError {
        EngineError::Conflict {
            message: format!("the company has the {thing} `{name}` by now"),
            details: None,
        }
    }
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> EngineError {
        EngineError::Refused {
            kind: refusal.kind(),
            message: refusal.text().to_owned(),
            details: refusal.details(),
        }
    }
}

impl From<access::Refusal> for EngineError {
    fn from(refusal: access::Refusal) -> EngineError {
        EngineError::Denied(refusal)
    }
}
