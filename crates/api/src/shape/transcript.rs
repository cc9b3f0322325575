//! The transcript of a run on the wire: items with their kind beside what they all have.

use domain::moment::Moment;
use domain::telling::{AgentError, Usage};
use engine::{FrameStream, Item, TranscriptPage, What};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A part of the transcript of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transcript {
    run_id: String,
    /// In order; none of them ever changes.
    items: Vec<TranscriptItem>,
    /// Calls of tools that have no result yet; they become items when it comes. Only at the end of what there
    /// is now.
    pending: Vec<TranscriptItem>,
    /// Where to go on; opaque.
    next_cursor: String,
    /// The run is over and all of it was given.
    done: bool,
}

/// One item of a transcript.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TranscriptItem {
    /// Counts from 1 within the run; absent while the item is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// When it was said; of a tool, when it was called.
    #[schema(value_type = String, format = DateTime)]
    ts: Moment,
    /// Which process of the run said it, from 1.
    attempt: i64,
    #[serde(flatten)]
    what: TranscriptWhat,
}

/// What an item says. Texts are cut; `leftOutBytes` says by how much, and the log has all of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum TranscriptWhat {
    /// Text of the agent.
    Message { text: String, left_out_bytes: u64 },
    /// A tool that was used, with its result.
    Tool {
        call_id: String,
        /// Null when only the result is known.
        name: Option<String>,
        #[schema(value_type = Option<Object>)]
        input: Value,
        /// Parts of the input were left out.
        input_is_cut: bool,
        /// Null without a result, like the next two.
        output: Option<String>,
        left_out_bytes: u64,
        is_error: Option<bool>,
        duration_ms: Option<i64>,
        /// There is no result. In `items`: there will be none, its process is over.
        pending: bool,
    },
    /// What one more message used, or the run so far.
    Usage {
        /// It replaces what was said before; otherwise it is added.
        is_total: bool,
        input_tokens: u64,
        cached_input_tokens: u64,
        output_tokens: u64,
        /// Micro-dollars; null when no price is known.
        cost_micros: Option<i64>,
        /// All of the cost is known.
        cost_known: bool,
        provider: Option<String>,
        model: Option<String>,
    },
    /// Something went wrong; the program may have gone on.
    Error {
        #[serde(flatten)]
        error: TranscriptError,
    },
    /// The session that the program works in.
    Session { id: String },
    /// The program said that it is done.
    Result { is_error: bool, error: Option<TranscriptError>, summary: Option<String>, plan_only: bool },
    /// Output that means nothing to the adapter; `system` says where output is missing.
    Output { stream: &'static str, text: String, left_out_bytes: u64 },
}

/// A failure in the program's own words.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TranscriptError {
    /// `transient`, `quota`, `auth`, `session_gone`, `permission`, `bad_request` or `other`.
    class: &'static str,
    message: String,
    code: Option<String>,
    /// Trying again before this moment is of no use.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Moment>,
}

impl From<AgentError> for TranscriptError {
    fn from(error: AgentError) -> TranscriptError {
        let AgentError { class, message, code, not_before } = error;
        TranscriptError { class: class.as_str(), message, code, not_before }
    }
}

impl From<Item> for TranscriptItem {
    fn from(item: Item) -> TranscriptItem {
        TranscriptItem { seq: item.seq, ts: item.at, attempt: item.attempt, what: item.what.into() }
    }
}

impl From<What> for TranscriptWhat {
    fn from(what: What) -> TranscriptWhat {
        match what {
            What::Message { text } => {
                TranscriptWhat::Message { text: text.text, left_out_bytes: text.left_out }
            }
            What::Tool { call, name, input, input_is_cut, result } => {
                let (is_error, duration_ms) =
                    (result.as_ref().map(|it| it.is_error), result.as_ref().and_then(|it| it.millis));
                let output = result.map(|result| result.output);
                TranscriptWhat::Tool {
                    call_id: call,
                    name,
                    input,
                    input_is_cut,
                    left_out_bytes: output.as_ref().map_or(0, |output| output.left_out),
                    pending: output.is_none(),
                    output: output.map(|output| output.text),
                    is_error,
                    duration_ms,
                }
            }
            What::Usage { usage, is_total } => {
                let cost_known = usage.is_cost_known();
                let Usage { input_tokens, cached_input_tokens, output_tokens, cost_micros, .. } = usage;
                TranscriptWhat::Usage {
                    is_total,
                    input_tokens,
                    cached_input_tokens,
                    output_tokens,
                    cost_micros,
                    cost_known,
                    provider: usage.provider,
                    model: usage.model,
                }
            }
            What::Error { error } => TranscriptWhat::Error { error: error.into() },
            What::Session { id } => TranscriptWhat::Session { id },
            What::Result { error, summary, plan_only } => TranscriptWhat::Result {
                is_error: error.is_some(),
                error: error.map(Into::into),
                summary: summary.map(|summary| summary.text),
                plan_only,
            },
            What::Output { stream, text } => {
                let stream = match stream {
                    FrameStream::Stdout => "stdout",
                    FrameStream::Stderr => "stderr",
                    FrameStream::Stdin => "stdin",
                    FrameStream::Keeper => "system",
                };
                TranscriptWhat::Output { stream, text: text.text, left_out_bytes: text.left_out }
            }
        }
    }
}

impl Transcript {
    pub(crate) fn new(run: String, page: TranscriptPage) -> Transcript {
        let items = |items: Vec<Item>| items.into_iter().map(TranscriptItem::from).collect();
        Transcript {
            run_id: run,
            items: items(page.items),
            pending: items(page.under_way),
            next_cursor: page.next.to_string(),
            done: page.is_over,
        }
    }
}
