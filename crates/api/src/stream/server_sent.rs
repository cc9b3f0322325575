//! The events of a company as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use engine::{Happening, Heard, Subscription};
use futures_util::{Stream, stream};
use serde_json::json;

use super::pass::{Pass, farewell};
use super::{LiveEvent, OUTPUT, resume_after};
use crate::ApiState;
use crate::actor::{Caller, token_of};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::metrics::Subscriber;
use crate::paging::Asked;

/// Comments are sent this often: proxies close what is silent for 30 to 60 seconds.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events of a company, from a cursor on or from now on. The id of an event is the cursor to resume after; events of
/// output have none. A client that is too slow gets `lagged` with its cursor, one whose key was revoked `revoked`, and the
/// stream ends.
#[utoipa::path(get, path = "/companies/{company}/events", tag = "streams",
    params(("company" = String, Path), ("after" = Option<i64>, Query), ("Last-Event-ID" = Option<i64>, Header)),
    responses((status = 200, body = LiveEvent, content_type = "text/event-stream"), (status = 404, body = ErrorBody)))]
pub(crate) async fn events(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let after = resume_after(&headers, &asked, "after")?;
    let subscription = state.engine.subscribe(&company, after).await?;
    let listening = Listening {
        subscription,
        pass: Pass::new(&state, token_of(&headers)?, company),
        is_over: false,
        _counted: state.metrics.count_subscriber("sse"),
    };
    Ok(Sse::new(listening.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

#[derive(Debug)]
struct Listening {
    subscription: Subscription,
    pass: Pass,
    is_over: bool,
    _counted: Subscriber,
}

impl Listening {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut listening| async move {
            let event = listening.next().await?;
            Some((Ok(event), listening))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        let heard = loop {
            tokio::select! {
                heard = self.subscription.next() => break heard,
                () = self.pass.due() => {}
            }
            if let Some(why) = self.pass.lost().await {
                self.is_over = true;
                return Some(Event::default().event("revoked").data(farewell(&why).to_string()));
            }
        };
        match heard {
            Ok(Heard::Happening(happening)) => {
                let event = Event::default().data(LiveEvent::text(&happening));
                Some(match &happening {
                    Happening::Event(stored) => event.id(stored.id.to_string()).event(&stored.kind),
                    // Without an id, so that a reconnect resumes after the last event that is kept.
                    Happening::Line(_) => event.event(OUTPUT),
                })
            }
            Ok(Heard::Lagged { cursor }) => {
                self.is_over = true;
                Some(Event::default().event("lagged").data(json!({ "cursor": cursor }).to_string()))
            }
            Ok(Heard::Closed) => None,
            Err(error) => {
                tracing::warn!(%error, "an event stream ends");
                None
            }
        }
    }
}
