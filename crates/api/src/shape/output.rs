//! What a run said and did, on the wire: its events, and pieces of its log.

use domain::moment::Moment;
use engine::FrameStream;
use serde::Serialize;
use serde_json::Value;
use store::runs::RunEvent as Row;
use utoipa::ToSchema;

use crate::log::Piece;
use adapters::redacted;

/// One event of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunEvent {
    id: i64,
    company_id: String,
    run_id: String,
    agent_id: String,
    /// Counts from 1 within the run.
    seq: i64,
    event_type: String,
    /// `system`, `stdout` or `stderr`.
    stream: Option<String>,
    /// `info`, `warn` or `error`.
    level: Option<String>,
    color: Option<String>,
    message: Option<String>,
    #[schema(value_type = Option<Object>)]
    payload: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<Row> for RunEvent {
    fn from(row: Row) -> RunEvent {
        RunEvent {
            id: row.id,
            company_id: row.company_id.0,
            run_id: row.run_id.0,
            agent_id: row.agent_id.0,
            seq: row.seq,
            event_type: row.event_type,
            stream: row.stream,
            level: row.level,
            color: None,
            message: row.message,
            payload: row.payload.map(redacted),
            created_at: row.created_at,
        }
    }
}

/// A part of the log of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunLogChunk {
    pub(crate) run_id: String,
    pub(crate) store: &'static str,
    pub(crate) log_ref: String,
    /// Lines of JSON, each `{ts, stream, chunk}`.
    pub(crate) content: String,
    /// Where to go on; opaque.
    pub(crate) next_offset: u64,
    /// The run is over and all of its log was read.
    pub(crate) end_of_log: bool,
}

/// A piece of a log, as one line of `content`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogLine<'a> {
    #[schema(value_type = String, format = DateTime)]
    ts: Moment,
    /// `stdout` or `stderr`; with `?system=1` also `stdin`, and `system` for notes about the process.
    stream: &'static str,
    chunk: &'a str,
}

/// A piece of a log, as an event of a stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogEvent<'a> {
    #[serde(flatten)]
    line: LogLine<'a>,
    offset: u64,
    next_offset: u64,
}

impl<'a> LogLine<'a> {
    pub(crate) fn new(piece: &'a Piece) -> LogLine<'a> {
        let stream = match piece.stream {
            FrameStream::Stdout => "stdout",
            FrameStream::Stderr => "stderr",
            FrameStream::Stdin => "stdin",
            FrameStream::Keeper => "system",
        };
        LogLine { ts: piece.at, stream, chunk: &piece.text }
    }
}

impl<'a> LogEvent<'a> {
    pub(crate) fn new(piece: &'a Piece, offset: u64, next_offset: u64) -> LogEvent<'a> {
        LogEvent { line: LogLine::new(piece), offset, next_offset }
    }
}
