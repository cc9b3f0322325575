//! What a run did and said: its events by number, its log by offset.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::ProcessError;
use store::runs as rows;

use crate::ApiState;
use crate::actor::Caller;
use crate::errors::{ApiError, ErrorBody, bad_offset};
use crate::log::{Known, Place, Pull, Tape, Unit};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked};
use crate::shape::output::{LogLine, RunEvent, RunLogChunk};
use crate::shape::run::{LOG_STORE, log_ref};

const DEFAULT_BYTES: i64 = 256_000;
const MOST_BYTES: i64 = 1 << 20;

/// The events of a run after a number, in order.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/events", tag = "runs",
    params(("run" = String, Path), ("afterSeq" = Option<i64>, Query), ("limit" = Option<i64>, Query, description = "1 to 1000; 200")),
    responses((status = 200, body = Vec<RunEvent>), (status = 404, body = ErrorBody)))]
pub(crate) async fn events(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let run = lookup::run(&state.engine, &caller, &reference).await?.id;
    let limit = asked.number("limit", 1, paging::MOST).unwrap_or(200);
    let after = match asked.cursor() {
        None => asked.number("afterSeq", 0, i64::MAX).unwrap_or(0),
        Some(cursor) => cursor
            .parse()
            .map_err(|_| ApiError::bad_request("bad_cursor", "Cursor was not given by this server"))?,
    };
    let found = state
        .engine
        .store()
        .read(move |tx| {
            let run = run.clone();
            Box::pin(async move { rows::events_after(tx, &run, after, limit + 1).await })
        })
        .await?;
    let place = |row: &rows::RunEvent| row.seq.to_string();
    Ok(paging::page(found, limit, place, |rows| rows.into_iter().map(RunEvent::from).collect()))
}

/// A part of the log of a run: whole lines, as lines of JSON.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/log", tag = "runs",
    params(("run" = String, Path), ("offset" = Option<u64>, Query, description = "0, or a `nextOffset`"),
        ("limitBytes" = Option<i64>, Query, description = "1 to 1048576; 256000. More only for a single frame or line"),
        ("system" = Option<bool>, Query, description = "with stdin and notes about the process")),
    responses((status = 200, body = RunLogChunk), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn log(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    // The row first: a log that is read after its run was over is read to its end.
    let run = lookup::run(&state.engine, &caller, &reference).await?;
    let place = place_of(asked.get("offset"), &run)?;
    let limit = asked.number("limitBytes", 1, MOST_BYTES).unwrap_or(DEFAULT_BYTES);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Some(log_ref) = log_ref(&run) else { return Err(ApiError::not_found("Run log")) };
    let known = Known::of(&run);
    let tape = Tape::new(state.engine.clone(), run.id.clone(), place, Unit::Line, asked.is_set("system"));
    let part = tokio::task::spawn_blocking(move || part(tape, known, limit)).await.map_err(|error| {
        tracing::error!(%error, "reading a log");
        ApiError::internal()
    })??;
    let Some(part) = part else { return Err(ApiError::not_found("Run log")) };
    let chunk = RunLogChunk {
        run_id: run.id.0,
        store: LOG_STORE,
        log_ref,
        content: part.content,
        next_offset: part.place.number().or(place.number()).unwrap_or(0),
        end_of_log: part.is_end,
    };
    Ok(([(header::CACHE_CONTROL, "no-cache, no-store")], Json(chunk)).into_response())
}

/// Reads the offset of a request.
pub(crate) fn place_of(offset: Option<&str>, run: &rows::Run) -> Result<Place, ApiError> {
    let Some(text) = offset else { return Ok(Place::border(1, 0)) };
    let number = text.parse::<u64>().map_err(|_| {
        ApiError::bad_request("bad_offset", "Offset is not a number")
            .hint("use 0, or the nextOffset of an earlier answer")
    })?;
    Place::read(number, run.lease_epoch).ok_or_else(|| bad_offset(number))
}

#[derive(Debug)]
struct Part {
    content: String,
    place: Place,
    is_end: bool,
}

/// Reads up to `limit` bytes of content; none if there is no log.
fn part(mut tape: Tape, known: Known, limit: usize) -> Result<Option<Part>, ProcessError> {
    let mut content = String::new();
    let mut pieces = Vec::new();
    let mut place = tape.place();
    let mut is_end = false;
    while content.len() < limit {
        let pull = match tape.pull(known, &mut pieces) {
            Ok(pull) => pull,
            // What was read before the damage is given; the next request meets it alone.
            Err(error) if !content.is_empty() => {
                tracing::warn!(%error, "a log cannot be read on");
                break;
            }
            Err(error) => return Err(error),
        };
        let mut lines = String::new();
        for piece in pieces.drain(..) {
            lines.push_str(&serde_json::to_string(&LogLine::new(&piece)).expect("texts are JSON"));
            lines.push('\n');
        }
        if !content.is_empty() && content.len() + lines.len() > limit {
            break;
        }
        content.push_str(&lines);
        place = tape.place();
        match pull {
            Pull::Moved => {}
            Pull::Caught => break,
            Pull::Over => {
                is_end = true;
                break;
            }
        }
    }
    Ok(tape.has_log().then_some(Part { content, place, is_end }))
}
