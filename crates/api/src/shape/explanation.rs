//! The answer to "why?", on the wire.

use domain::moment::Moment;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use adapters::redacted;

/// What happened to a run, what it waits for, and what happens next by itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    run_id: String,
    status: &'static str,
    /// It runs and was asked to stop.
    cancelling: bool,
    held_reason: Option<&'static str>,
    /// When that is over by itself, as far as it is known.
    #[schema(value_type = Option<String>)]
    held_until: Option<Moment>,
    /// In words: what it waits for.
    waits_for: Option<String>,
    holder: Option<Holder>,
    error: Option<String>,
    error_code: Option<String>,
    transitions: Vec<Transition>,
    /// How many wakes it carries.
    wakes: usize,
    /// The last lines of its stderr, at most 50.
    stderr: Vec<String>,
    /// What happens by itself.
    next: String,
    /// What a person could do.
    hint: Option<String>,
}

/// Who looks after a running run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Holder {
    node_id: Option<String>,
    /// Which start of the server.
    incarnation: Option<i64>,
    epoch: i64,
    tended_here: bool,
    process_pid: Option<i64>,
}

/// One step in the life of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Transition {
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    seq: i64,
    level: Option<String>,
    message: Option<String>,
    #[schema(value_type = Option<Object>)]
    payload: Option<Value>,
}

impl From<engine::Explanation> for Explanation {
    fn from(told: engine::Explanation) -> Explanation {
        Explanation {
            run_id: told.run_id.0,
            status: told.status.as_str(),
            cancelling: told.cancelling,
            held_reason: told.held_reason.map(|reason| reason.as_str()),
            held_until: told.held_until,
            waits_for: told.waits_for,
            holder: told.holder.map(|holder| Holder {
                node_id: holder.node_id,
                incarnation: holder.incarnation,
                epoch: holder.epoch,
                tended_here: holder.tended_here,
                process_pid: holder.process_pid,
            }),
            error: told.error,
            error_code: told.error_code,
            transitions: told
                .transitions
                .into_iter()
                .map(|step| Transition {
                    at: step.at,
                    seq: step.seq,
                    level: step.level,
                    message: step.message,
                    payload: step.payload.map(redacted),
                })
                .collect(),
            wakes: told.wakes,
            stderr: told.stderr,
            next: told.next,
            hint: told.hint,
        }
    }
}
