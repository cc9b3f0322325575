//! What the agent of a run said and did, in one shape for every kind of agent.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::Mark;

use crate::ApiState;
use crate::actor::Caller;
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked};
use crate::shape::transcript::Transcript;

const DEFAULT_ITEMS: i64 = 200;

/// The transcript of a run behind a cursor: messages, tools with their results, usage, errors. The same
/// cursor gives the same items while the run goes on and after.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/transcript", tag = "runs",
    params(("run" = String, Path),
        ("after" = Option<String>, Query, description = "a `nextCursor`; absent: from the start"),
        ("limit" = Option<i64>, Query, description = "1 to 1000; 200. Fewer when they are large")),
    responses((status = 200, body = Transcript), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    // The row first: a transcript that is read after its run was over is read to its end.
    let run = lookup::run(&state.engine, &caller, &reference).await?;
    let after = match asked.get("after") {
        None => Mark::START,
        Some(text) => Mark::parse(text).ok_or_else(|| {
            ApiError::bad_request("bad_cursor", "Cursor was not given by this server")
                .hint("use the nextCursor of an earlier answer, or none for the start")
        })?,
    };
    let limit = asked.number("limit", 1, paging::MOST).unwrap_or(DEFAULT_ITEMS);
    let limit = usize::try_from(limit).unwrap_or(1);
    let page = state.engine.transcript(&run, after, limit).await?;
    if page.is_over && !page.has_log && after == Mark::START {
        return Err(ApiError::not_found("Run log"));
    }
    let transcript = Transcript::new(run.id.0, page);
    Ok(([(header::CACHE_CONTROL, "no-cache, no-store")], Json(transcript)).into_response())
}
