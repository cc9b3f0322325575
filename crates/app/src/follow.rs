//! Watching a run until it is over: what becomes of it, and what its program prints, each piece once and in order.
//!
//! A server that is restarted meanwhile is waited for, and the log goes on at the offset where it stopped. The person may
//! leave at any moment; the run goes on. What the end means for the exit code is decided by the command.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::events::{Event, EventReader};
use crate::failure::{Failure, Kind};
use crate::run_view::RunView;
use crate::screen::{Screen, Tone};
use crate::when;

/// How often the state is looked at; the log comes by itself.
const TICK: Duration = Duration::from_millis(400);
/// Between two tries to reach a server that went away.
const PAUSE: Duration = Duration::from_millis(250);
/// A server that is gone for longer is not coming back by itself.
const PATIENCE: Duration = Duration::from_secs(600);

/// What to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Show {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Notes of the keeper.
    pub(crate) system: bool,
    /// The steps in the life of the run.
    pub(crate) steps: bool,
}

/// One watched run.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    client: &'a Client,
    run: String,
    show: Show,
    /// Where the log goes on after a break.
    offset: u64,
    /// Pieces behind that offset that were shown already: an offset is a border that not every piece ends at.
    shown_behind: usize,
    /// Pieces that a new connection brings again.
    to_skip: usize,
    /// The last step that was shown.
    seq: i64,
    last_output: Option<Instant>,
    view: RunView,
    /// Since when the server has been away.
    away: Option<Instant>,
}

/// A piece of the log on the wire.
#[derive(Debug, Deserialize)]
struct Piece {
    ts: String,
    stream: String,
    chunk: String,
}

/// How one connection ended.
enum Session {
    Over,
    /// The stream broke off; the state says whether the server is still there.
    Broken,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(client: &'a Client, run: &str, show: Show) -> Follower<'a> {
        Follower {
            client,
            run: run.to_owned(),
            show,
            offset: 0,
            shown_behind: 0,
            to_skip: 0,
            seq: 0,
            last_output: None,
            view: RunView::default(),
            away: None,
        }
    }

    /// Watches until the run is over and everything was shown. Fails with `Interrupted` when the person leaves.
    pub(crate) async fn watch(mut self, screen: &mut Screen) -> Result<RunView, Failure> {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        loop {
            // Whatever it waits for, a server that says nothing too, the person need not.
            let session = tokio::select! {
                biased;
                _ = &mut interrupt => return Err(self.left(screen)),
                session = self.session(screen) => session,
            };
            let session = match session {
                Ok(session) => session,
                Err(failure) if failure.kind == Kind::Unreachable => {
                    self.wait_for_server(screen, failure)?;
                    Session::Broken
                }
                Err(failure) => return Err(failure),
            };
            match session {
                Session::Over => {
                    screen.clear();
                    return Ok(self.view);
                }
                Session::Broken => {
                    tokio::select! {
                        _ = &mut interrupt => return Err(self.left(screen)),
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    async fn session(&mut self, screen: &mut Screen) -> Result<Session, Failure> {
        self.look(screen).await?;
        self.server_is_back(screen);
        // With the keeper's notes, shown or not: they say where output is missing.
        let path = format!("/heartbeat-runs/{}/log/stream?offset={}&system=1", self.run, self.offset);
        let mut pieces = match self.client.stream(&path).await {
            Ok(answer) => answer.bytes_stream(),
            // No log yet; if there will be none, the state says so.
            Err(failure) if failure.details.is_none() && failure.message == "Run log not found" => {
                return if self.view.is_final() { Ok(Session::Over) } else { Ok(Session::Broken) };
            }
            Err(failure) => return Err(failure),
        };
        self.to_skip = self.shown_behind;
        let mut events = EventReader::default();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            tokio::select! {
                biased;
                piece = pieces.next() => {
                    let Some(Ok(bytes)) = piece else { return Ok(Session::Broken) };
                    for event in events.push(&bytes) {
                        match event.name.as_str() {
                            "log" => self.take_piece(screen, &event)?,
                            "end" => {
                                self.look(screen).await?;
                                // A fresh start after the stream's end is a new log: look at it again.
                                return Ok(if self.view.is_final() { Session::Over } else { Session::Broken });
                            }
                            _ => {}
                        }
                    }
                }
                _ = ticks.tick() => {
                    self.look(screen).await?;
                    self.show_status(screen);
                }
            }
        }
    }

    /// Looks at the state of the run, and shows the steps that were not shown yet.
    async fn look(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        let view = RunView::read(&self.client.get(&format!("/heartbeat-runs/{}", self.run)).await?)?;
        let before = std::mem::replace(&mut self.view, view);
        if !self.show.steps {
            return Ok(());
        }
        loop {
            let path = format!("/heartbeat-runs/{}/events?afterSeq={}&limit=200", self.run, self.seq);
            let steps = self.client.get(&path).await?;
            let steps = steps.as_array().map(Vec::as_slice).unwrap_or_default();
            for step in steps {
                self.seq = step.get("seq").and_then(Json::as_i64).unwrap_or(self.seq);
                show_step(screen, step);
            }
            if steps.len() < 200 {
                break;
            }
        }
        self.show_wait(screen, &before);
        Ok(())
    }

    /// Waiting has no step of its own: it is derived from how things are.
    fn show_wait(&self, screen: &mut Screen, before: &RunView) {
        let now = &self.view;
        let is_new =
            now.held_reason != before.held_reason || now.cancel_requested_at != before.cancel_requested_at;
        if !is_new || (now.held_reason.is_none() && now.cancel_requested_at.is_none()) || now.is_final() {
            return;
        }
        if screen.json {
            screen.json_line(&json!({ "type": "state", "status": now.status, "heldReason": now.held_reason,
                "cancelRequestedAt": now.cancel_requested_at }));
        }
        let why = if now.held_reason.is_some() {
            format!("; why: bugle run explain {}", self.run)
        } else {
            String::new()
        };
        screen.note(&screen.tint_note(Tone::Waiting, &format!("{}{why}", now.state())));
    }

    fn take_piece(&mut self, screen: &mut Screen, event: &Event) -> Result<(), Failure> {
        let unreadable = |why: String| {
            Failure::failed("answer.unreadable", format!("cannot read a piece of the log: {why}"))
                .hint("is the server of another version? see: bugle status")
        };
        let piece: Piece =
            serde_json::from_str(&event.data).map_err(|error| unreadable(error.to_string()))?;
        if self.to_skip > 0 {
            self.to_skip -= 1;
        } else {
            self.shown_behind += 1;
            self.last_output = Some(Instant::now());
            show_output(screen, self.show, &piece.ts, &piece.stream, &piece.chunk);
        }
        if let Some(id) = &event.id {
            self.offset = id.parse().map_err(|_| unreadable(format!("`{id}` is not an offset")))?;
            (self.shown_behind, self.to_skip) = (0, 0);
        }
        Ok(())
    }

    fn show_status(&self, screen: &mut Screen) {
        if !screen.is_live() {
            return;
        }
        let mut line = self.view.state();
        if let Some(duration) = self.view.duration() {
            line.push_str(&format!(" {duration}"));
        } else if let Some(waiting) = when::between(&self.view.created_at, None) {
            line.push_str(&format!(" for {}", when::span(waiting)));
        }
        if let Some(last) = self.last_output {
            line.push_str(&format!(", last output {} ago", when::span(last.elapsed())));
        }
        line.push_str(" (ctrl-c leaves it running)");
        screen.status(&line);
    }

    /// Says once that the server is away; gives up when it stays away.
    fn wait_for_server(&mut self, screen: &mut Screen, failure: Failure) -> Result<(), Failure> {
        if self.view.id.is_empty() {
            // It never answered: that is no restart.
            return Err(failure);
        }
        match self.away {
            Some(since) if since.elapsed() > PATIENCE => Err(failure),
            Some(_) => Ok(()),
            None => {
                self.away = Some(Instant::now());
                if screen.json {
                    screen.json_line(&json!({ "type": "server", "state": "away" }));
                }
                screen.note(&screen.tint_note(
                    Tone::Waiting,
                    "the server went away; the run does not need it. Waiting for it to come back...",
                ));
                Ok(())
            }
        }
    }

    fn server_is_back(&mut self, screen: &mut Screen) {
        if let Some(since) = self.away.take() {
            if screen.json {
                screen.json_line(&json!({ "type": "server", "state": "back" }));
            }
            let text =
                format!("the server is back after {}; going on where we were", when::span(since.elapsed()));
            screen.note(&screen.tint_note(Tone::Waiting, &text));
        }
    }

    fn left(&self, screen: &mut Screen) -> Failure {
        let run = &self.run;
        screen.note(&format!(
            "the run goes on. Watch it again: bugle logs {run} -f   End it: bugle run cancel {run}"
        ));
        Failure::shown(Kind::Interrupted, "interrupted")
    }
}

/// Shows a piece of output: as it is, or as one JSON line.
pub(crate) fn show_output(screen: &mut Screen, show: Show, ts: &str, stream: &str, chunk: &str) {
    let is_wanted = match stream {
        "stdout" => show.stdout,
        "stderr" => show.stderr,
        _ => show.system,
    };
    if !is_wanted {
        if let Some(missing) = missing_bytes(stream, chunk) {
            if screen.json {
                screen.json_line(&json!({ "type": "missing", "ts": ts, "bytes": missing }));
            }
            let text = format!("[{missing} bytes of output are missing here: the log was full]");
            screen.note(&screen.tint_note(Tone::Waiting, &text));
        }
        return;
    }
    if screen.json {
        screen.json_line(&json!({ "type": "log", "ts": ts, "stream": stream, "chunk": chunk }));
        return;
    }
    match stream {
        "stdout" => screen.pass_on(false, chunk),
        "stderr" => screen.pass_on(true, chunk),
        _ => screen.note(&screen.tint_note(Tone::Faint, &format!("[{stream}] {}", chunk.trim_end()))),
    }
}

/// How much a note of the keeper says was left out of the log at its place.
fn missing_bytes(stream: &str, chunk: &str) -> Option<u64> {
    if stream != "system" {
        return None;
    }
    let note: Json = serde_json::from_str(chunk).ok()?;
    let key = match note.get("note")?.as_str()? {
        "gap" => "droppedBytes",
        "dropped" => "bytes",
        _ => return None,
    };
    note.get(key)?.as_u64().filter(|bytes| *bytes > 0)
}

fn show_step(screen: &mut Screen, step: &Json) {
    if screen.json {
        let mut line = json!({ "type": "step" });
        for key in ["seq", "createdAt", "eventType", "level", "message", "payload"] {
            line[key] = step.get(key).cloned().unwrap_or(Json::Null);
        }
        screen.json_line(&line);
        return;
    }
    let text = |key: &str| step.get(key).and_then(Json::as_str).unwrap_or_default();
    let tone = match text("level") {
        "error" => Tone::Bad,
        "warn" => Tone::Waiting,
        _ => Tone::Faint,
    };
    let line = format!("{}  {}", when::precise(text("createdAt")), text("message"));
    screen.note(&screen.tint_note(tone, &line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_the_keeper_say_what_is_missing() {
        for (stream, chunk, missing) in [
            ("system", r#"{"note":"gap","droppedBytes":116276960,"resume":183275423}"#, Some(116_276_960)),
            ("system", r#"{"note":"dropped","bytes":131072}"#, Some(131_072)),
            ("system", r#"{"note":"exec_ok","pid":7}"#, None),
            ("stdout", r#"{"note":"dropped","bytes":131072}"#, None),
            ("stdin", "{", None),
        ] {
            assert_eq!(missing_bytes(stream, chunk), missing, "{stream} {chunk}");
        }
    }
}
