//! The log of a run as server-sent events: each piece once and in order, over any number of reconnects.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::ids::RunId;
use domain::run::RunStatus;
use futures_util::{FutureExt, Stream, stream};
use serde_json::json;
use store::runs;

use super::pass::{Pass, farewell};
use super::server_sent::KEEP_ALIVE;
use crate::ApiState;
use crate::actor::{Caller, token_of};
use crate::errors::{ApiError, ErrorBody};
use crate::log::{Known, Piece, Place, Pull, Tape, Unit};
use crate::lookup::{self, Named};
use crate::metrics::Subscriber;
use crate::paging::Asked;
use crate::routes::transcript::place_of;
use crate::shape::output::LogEvent;

/// Without a bell (another node tends the run, or nobody yet) the log is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Read in one go, before others get a turn.
const TURN_BYTES: usize = 256 << 10;

/// The output of a run while it is written: `log` for each piece, its id is where to resume, and `end` with the status
/// when the run is over and all was sent. A reader whose key was revoked gets `revoked`, and the stream ends.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/log/stream", tag = "streams",
    params(("run" = String, Path), ("offset" = Option<u64>, Query), ("Last-Event-ID" = Option<u64>, Header),
        ("system" = Option<bool>, Query, description = "with stdin and notes about the process")),
    responses((status = 200, body = LogEvent, content_type = "text/event-stream"), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn follow(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, ApiError> {
    let run = lookup::run(&state.engine, &caller, &reference).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let place = place_of(last.filter(|text| !text.is_empty()).or_else(|| asked.get("offset")), &run)?;
    if run.log_state == "removed" {
        return Err(ApiError::not_found("Run log"));
    }
    let tape = Tape::new(state.engine.clone(), run.id.clone(), place, Unit::Char, asked.is_set("system"));
    // A bad offset is an answer, not a stream that breaks: the first look happens here.
    let mut follower = Follower {
        pass: Pass::new(&state, token_of(&headers)?, run.company_id.clone()),
        known: Known::of(&run),
        status: run.status,
        run: run.id,
        tape: Some(tape),
        ready: VecDeque::new(),
        told_up_to: place.number().unwrap_or(0),
        is_over: false,
        _counted: state.metrics.count_subscriber("log"),
        state,
    };
    follower.read().await?;
    Ok(Sse::new(follower.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// What one frame gave, and where a client is that has seen it.
type Told = (Vec<Piece>, Place);

#[derive(Debug)]
struct Follower {
    state: ApiState,
    pass: Pass,
    run: RunId,
    known: Known,
    status: RunStatus,
    /// Away while it is read.
    tape: Option<Tape>,
    ready: VecDeque<Event>,
    /// Where a client is that has seen everything so far.
    told_up_to: u64,
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
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(run = %self.run, ?error, "a log stream ends");
                    return None;
                }
            }
        }
    }

    /// Ends the stream of a reader who may not read on.
    async fn look_at_pass(&mut self) {
        if let Some(why) = self.pass.lost().await {
            self.ready.push_back(Event::default().event("revoked").data(farewell(&why).to_string()));
            self.is_over = true;
        }
    }

    /// Reads what is there, or waits; false when the stream is to end.
    async fn step(&mut self) -> Result<bool, ApiError> {
        // Here too: a log that never pauses gets no further than to the first return.
        if self.pass.due().now_or_never().is_some() {
            self.look_at_pass().await;
            if self.is_over {
                return Ok(true);
            }
        }
        let bell = self.state.engine.log_bell(&self.run);
        let leaving = self.state.engine.leaving();
        // The ear is at the bell before the look: what is written between the look and the wait rings it.
        let rung = async {
            match &bell {
                Some(bell) => bell.notified().await,
                None => std::future::pending().await,
            }
        };
        let mut rung = std::pin::pin!(rung);
        let heard_already = futures_util::poll!(rung.as_mut()).is_ready();
        let pull = self.read().await?;
        if !self.ready.is_empty() || pull != Pull::Caught {
            return Ok(true);
        }
        if self.learn().await? {
            return Ok(true);
        }
        if heard_already {
            return Ok(true);
        }
        tokio::select! {
            () = rung => Ok(true),
            () = tokio::time::sleep(LOOK_AGAIN) => Ok(true),
            () = leaving.cancelled() => Ok(false),
            () = self.pass.due() => {
                self.look_at_pass().await;
                Ok(true)
            }
        }
    }

    /// Reads on until there is enough for a turn.
    async fn read(&mut self) -> Result<Pull, ApiError> {
        let Some(mut tape) = self.tape.take() else { return Err(ApiError::internal()) };
        let known = self.known;
        let reading = tokio::task::spawn_blocking(move || {
            let mut told: Vec<Told> = Vec::new();
            let mut size = 0;
            let outcome = loop {
                let mut pieces = Vec::new();
                match tape.pull(known, &mut pieces) {
                    Ok(pull) => {
                        size += pieces.iter().map(|piece| piece.text.len()).sum::<usize>();
                        if !pieces.is_empty() {
                            told.push((pieces, tape.place()));
                        }
                        if pull != Pull::Moved || size >= TURN_BYTES {
                            break Ok(pull);
                        }
                    }
                    // What was read before the damage is told first.
                    Err(_) if !told.is_empty() => break Ok(Pull::Moved),
                    Err(error) => break Err(error),
                }
            };
            (tape, told, outcome)
        });
        let (tape, told, outcome) = reading.await.map_err(|_| ApiError::internal())?;
        self.tape = Some(tape);
        for (pieces, after) in told {
            self.tell(&pieces, after);
        }
        let pull = outcome?;
        if pull == Pull::Over {
            let end = Event::default().event("end").data(json!({ "status": self.status }).to_string());
            self.ready.push_back(end);
            self.is_over = true;
        }
        Ok(pull)
    }

    fn tell(&mut self, pieces: &[Piece], after: Place) {
        let (from, to) = (self.told_up_to, after.number());
        for (at, piece) in pieces.iter().enumerate() {
            let data = LogEvent::new(piece, from, to.unwrap_or(from));
            let mut event =
                Event::default().event("log").data(serde_json::to_string(&data).expect("texts are JSON"));
            // Pieces of one frame are seen when the last of them is.
            if let (true, Some(to)) = (at + 1 == pieces.len(), to) {
                event = event.id(to.to_string());
            }
            self.ready.push_back(event);
        }
        self.told_up_to = to.unwrap_or(from);
    }

    /// Looks whether more is known of the run than before.
    async fn learn(&mut self) -> Result<bool, ApiError> {
        let id = self.run.clone();
        let row = self
            .state
            .engine
            .store()
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move { runs::get(tx, &id).await })
            })
            .await?;
        // Removed by retention: there will be no more.
        let Some(row) = row else { return Err(ApiError::not_found("Heartbeat run")) };
        let (known, before) = (Known::of(&row), self.known);
        (self.known, self.status) = (known, row.status);
        Ok(known != before)
    }
}
