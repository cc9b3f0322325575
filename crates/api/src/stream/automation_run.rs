//! What happens to one automation run and its nodes as server-sent events: from its history first, then as it happens.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::ids::{AutomationRunId, looks_like_id};
use engine::{EngineError, Happening, Heard, Subscription, automation_event_type};
use futures_util::{Stream, stream};
use serde::Serialize;
use serde_json::json;
use store::automations::history::Entry;
use utoipa::ToSchema;

use super::pass::{Pass, farewell};
use super::resume_after;
use super::server_sent::KEEP_ALIVE;
use crate::ApiState;
use crate::actor::{Caller, token_of};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::metrics::Subscriber;
use crate::paging::Asked;
use crate::shape::automation::HistoryEntry;

/// Entries in one look.
const PAGE: i64 = 200;

/// Something that happened to a run, as its stream tells it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutomationRunEvent {
    automation_run_id: String,
    /// As in the stream of the company: `automation.node.started`.
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    entry: HistoryEntry,
}

/// What happens to a run and its nodes: from its beginning, or behind the number of an entry, then as it happens. The id of
/// an event is that number. `end` with the status comes when the run is over and everything was told. A client that is too
/// slow gets `lagged` with its cursor, one whose key was revoked `revoked`, and the stream ends.
#[utoipa::path(get, path = "/automation-runs/{run}/events", tag = "streams",
    params(("run" = String, Path), ("after" = Option<i64>, Query), ("Last-Event-ID" = Option<i64>, Header)),
    responses((status = 200, body = AutomationRunEvent, content_type = "text/event-stream"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn events(
    State(state): State<ApiState>,
    Named(run): Named<String>,
    asked: Asked,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, ApiError> {
    if !looks_like_id(&run) {
        return Err(ApiError::not_found("Automation run"));
    }
    let found = state.engine.find_automation_run(&AutomationRunId::from(run.as_str())).await?;
    caller.company(&found.company_id)?;
    let after = resume_after(&headers, &asked, "after")?.unwrap_or(0);
    if after > found.history_seq {
        // Of another store, or of this one before it was restored.
        return Err(EngineError::CursorAhead { after, head: found.history_seq }.into());
    }
    // First listen, then read: what happens in between is in the history.
    let subscription = state.engine.subscribe(&found.company_id, None).await?;
    let follower = Follower {
        subscription,
        pass: Pass::new(&state, token_of(&headers)?, found.company_id),
        run: found.id,
        cursor: after,
        ready: VecDeque::new(),
        is_over: false,
        _counted: state.metrics.count_subscriber("sse"),
        state,
    };
    Ok(Sse::new(follower.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

#[derive(Debug)]
struct Follower {
    state: ApiState,
    subscription: Subscription,
    pass: Pass,
    run: AutomationRunId,
    /// The number of the last entry that was read.
    cursor: i64,
    ready: VecDeque<Event>,
    is_over: bool,
    _counted: Subscriber,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            match self.look().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(run = %self.run, %error, "the stream of an automation run ends");
                    return None;
                }
            }
            if !self.wait().await {
                return None;
            }
        }
    }

    /// Reads on; false: there is nothing new.
    async fn look(&mut self) -> Result<bool, EngineError> {
        let engine = &self.state.engine;
        // Before the entries: a run that is over then has all of them.
        let run = engine.find_automation_run(&self.run).await?;
        let entries = engine.automation_history(&self.run, self.cursor, PAGE).await?;
        let is_all = (entries.len() as i64) < PAGE;
        for entry in entries {
            self.tell(entry);
        }
        if run.status.is_final() && is_all && self.cursor >= run.history_seq {
            let end = json!({ "status": run.status, "seq": self.cursor });
            self.ready.push_back(Event::default().event("end").data(end.to_string()));
            self.is_over = true;
        }
        Ok(!self.ready.is_empty())
    }

    fn tell(&mut self, entry: Entry) {
        self.cursor = entry.seq;
        let kind = automation_event_type(&entry.event);
        let event = AutomationRunEvent {
            automation_run_id: self.run.0.clone(),
            kind: kind.clone(),
            entry: HistoryEntry::from(entry),
        };
        let text = serde_json::to_string(&event).expect("an event is JSON");
        self.ready.push_back(Event::default().event(kind).id(self.cursor.to_string()).data(text));
    }

    /// Waits until something happened to the run, or the stream is to end; false: at once.
    async fn wait(&mut self) -> bool {
        loop {
            let heard = tokio::select! {
                heard = self.subscription.next() => heard,
                () = self.pass.due() => {
                    if let Some(why) = self.pass.lost().await {
                        self.ready.push_back(Event::default().event("revoked").data(farewell(&why).to_string()));
                        self.is_over = true;
                        return true;
                    }
                    continue;
                }
            };
            match heard {
                Ok(Heard::Happening(Happening::Event(event))) => {
                    if event.kind.starts_with("automation.") && event.payload.contains(self.run.as_str()) {
                        return true;
                    }
                }
                Ok(Heard::Happening(Happening::Line(_))) => {}
                Ok(Heard::Lagged { .. }) => {
                    let cursor = json!({ "cursor": self.cursor });
                    self.ready.push_back(Event::default().event("lagged").data(cursor.to_string()));
                    self.is_over = true;
                    return true;
                }
                Ok(Heard::Closed) => return false,
                Err(error) => {
                    tracing::warn!(run = %self.run, %error, "the stream of an automation run ends");
                    return false;
                }
            }
        }
    }
}
