//! The events of a company over a WebSocket. Nothing that a client sends is obeyed.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use engine::{Heard, Subscription};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::pass::Pass;
use super::{LiveEvent, resume_after};
use crate::ApiState;
use crate::actor::{self, Caller};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::metrics::Subscriber;
use crate::paging::Asked;

/// A client is waited for this long when it is told to go.
const FAREWELL: Duration = Duration::from_secs(5);
/// Clients have nothing to say but pongs.
const LARGEST_MESSAGE: usize = 64 << 10;

/// The events of a company over a WebSocket, from a cursor on or from now on; each frame is an event as JSON. A client
/// that is too slow is closed with 1013 and the cursor to resume after, one whose key was revoked with 1008.
#[utoipa::path(get, path = "/companies/{company}/events/ws", tag = "streams",
    params(("company" = String, Path), ("after" = Option<i64>, Query), ("token" = Option<String>, Query)),
    responses((status = 101, description = "frames are `LiveEvent`"), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn events(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    // Browsers cannot send headers with a handshake; what the query names counts as the header would.
    let (caller, token) = match asked.get("token") {
        Some(token) => {
            (actor::caller_with(&state, Some(token), None, caller.access()).await?, Some(token.to_owned()))
        }
        None => (caller, actor::token_of(&parts.headers)?.map(str::to_owned)),
    };
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &state).await {
        Ok(upgrade) => upgrade,
        Err(_) => {
            return Err(ApiError::bad_request("not_a_websocket", "Request is not a WebSocket handshake")
                .hint(format!(
                    "GET /api/companies/{company}/events gives the same events as server-sent events"
                )));
        }
    };
    let after = resume_after(&parts.headers, &asked, "after")?;
    let subscription = state.engine.subscribe(&company, after).await?;
    let client = Client {
        subscription,
        pass: Pass::new(&state, token.as_deref(), company),
        ping_every: state.options.ping_every,
        patience: state.options.slow_client_after,
        _counted: state.metrics.count_subscriber("websocket"),
    };
    let upgrade = upgrade.max_message_size(LARGEST_MESSAGE).max_frame_size(LARGEST_MESSAGE);
    Ok(upgrade.on_upgrade(|socket| client.serve(socket)).into_response())
}

#[derive(Debug)]
struct Client {
    subscription: Subscription,
    pass: Pass,
    ping_every: Duration,
    patience: Duration,
    _counted: Subscriber,
}

/// Why a client is let go.
#[derive(Debug, PartialEq, Eq)]
enum Leave {
    /// It went, or did not answer a ping.
    Gone,
    /// It is too slow.
    Slow,
    /// It may not listen any more.
    Refused,
    /// The server is going down, or the store cannot be read.
    Down,
}

impl Client {
    async fn serve(mut self, mut socket: WebSocket) {
        let why = self.talk(&mut socket).await;
        let (cursor, patience) = (self.subscription.cursor(), FAREWELL.max(self.patience));
        // It is no subscriber any more, however long the farewell takes.
        drop(self);
        let (code, words) = match why {
            Leave::Gone => return,
            Leave::Slow => (close_code::AGAIN, "too slow"),
            Leave::Down => (close_code::AWAY, "server is going"),
            Leave::Refused => (close_code::POLICY, "not allowed any more"),
        };
        let reason = format!("{words}; resume with ?after={cursor}");
        let farewell = async {
            socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.ok()?;
            // Until it answers: closing at once could take away what it has not read.
            while let Some(Ok(_)) = socket.recv().await {}
            Some(())
        };
        if timeout(patience, farewell).await.is_err() {
            tracing::debug!("a slow subscriber did not take its farewell");
        }
    }

    async fn talk(&mut self, socket: &mut WebSocket) -> Leave {
        let mut pings = interval_at(Instant::now() + self.ping_every, self.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_answered = true;
        loop {
            let message = tokio::select! {
                heard = self.subscription.next() => match heard {
                    Ok(Heard::Happening(happening)) => Message::text(LiveEvent::text(&happening)),
                    Ok(Heard::Lagged { .. }) => return Leave::Slow,
                    Ok(Heard::Closed) => return Leave::Down,
                    Err(error) => {
                        tracing::warn!(%error, "an event stream ends");
                        return Leave::Down;
                    }
                },
                () = self.pass.due() => match self.pass.lost().await {
                    Some(_) => return Leave::Refused,
                    None => continue,
                },
                _ = pings.tick() => {
                    if !has_answered {
                        return Leave::Gone;
                    }
                    has_answered = false;
                    Message::Ping(Vec::new().into())
                }
                said = socket.recv() => match said {
                    Some(Ok(Message::Pong(_))) => {
                        has_answered = true;
                        continue;
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Leave::Gone,
                    Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_))) => continue,
                },
            };
            match timeout(self.patience, socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Leave::Gone,
                Err(_) => return Leave::Slow,
            }
        }
    }
}
