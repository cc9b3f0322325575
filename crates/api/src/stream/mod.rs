//! Streams: the events of a company over SSE and WebSocket, what happens to an automation run and the log of a run over
//! SSE.
//!
//! Each can be resumed where it broke, by an event's cursor or a log's offset. A client that is too slow is let go with
//! the cursor it resumes from, and slows nobody. One whose key was revoked is let go as well.

pub(crate) mod automation_run;
pub(crate) mod log;
mod pass;
pub(crate) mod server_sent;
pub(crate) mod socket;

use axum::http::HeaderMap;
use domain::moment::Moment;
use engine::{Happening, raw_payload};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::errors::ApiError;
use crate::paging::Asked;

/// An event of a company.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LiveEvent<'a> {
    /// The cursor to resume after; 0 for output, which is not replayed.
    id: i64,
    company_id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = Object)]
    payload: Box<RawValue>,
}

impl LiveEvent<'_> {
    /// The event as JSON.
    fn text(happening: &Happening) -> String {
        let event = match happening {
            Happening::Event(event) => LiveEvent {
                id: event.id,
                company_id: &event.company_id,
                kind: &event.kind,
                created_at: Moment::from_micros(event.created_at),
                payload: raw_payload(event),
            },
            Happening::Line(piece) => LiveEvent {
                id: 0,
                company_id: piece.company_id.as_str(),
                kind: OUTPUT,
                created_at: piece.at,
                payload: RawValue::from_string(piece.payload.to_string()).expect("JSON is JSON"),
            },
        };
        serde_json::to_string(&event).expect("an event is JSON")
    }
}

/// The type of events that carry output.
const OUTPUT: &str = "heartbeat.run.log";

/// What the client has seen: of the header of a reconnect, else of the query; `None` = from now on.
fn resume_after(headers: &HeaderMap, asked: &Asked, name: &str) -> Result<Option<i64>, ApiError> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let Some(text) = header.filter(|text| !text.is_empty()).or_else(|| asked.get(name)) else {
        return Ok(None);
    };
    match text.parse::<i64>() {
        Ok(cursor) if cursor >= 0 => Ok(Some(cursor)),
        _ => Err(ApiError::bad_request(
            "bad_cursor",
            format!("'{}' is not the id of an event", text.escape_default()),
        )
        .hint("use the id of the last event that was seen, or 0 for all that are kept")),
    }
}
