//! Watching an automation run until it is over or waits for people: each thing that happens once and in order. Where only
//! some of its steps wait for people, that is said, and the others are watched on.
//!
//! The stream is resumed behind the last entry that was shown, whatever broke it: a server that is restarted meanwhile is
//! waited for. The person may leave at any moment; the run goes on.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value as Json;

use super::answer::{number, rows_at, text};
use super::automation_graph as graph;
use super::automation_show::{asked_line, entry_line, hint, waits_for_people};
use crate::cli::Context;
use crate::client::Client;
use crate::events::EventReader;
use crate::failure::{Failure, Kind};
use crate::screen::Screen;

/// When nothing comes for so long, the run is asked whether it rests.
const QUIET: Duration = Duration::from_millis(400);
/// Between two tries to reach a server that went away.
const PAUSE: Duration = Duration::from_millis(250);
/// A server that is gone for longer is not coming back by itself.
const PATIENCE: Duration = Duration::from_secs(600);

/// Prints what happens to a run until it is over or waits for people.
pub(super) async fn watch(context: &mut Context, client: &Client, id: &str) -> Result<(), Failure> {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut watcher = Watcher { client, id, after: 0, away: None, asked: BTreeSet::new() };
    let run = loop {
        let session = tokio::select! {
            biased;
            _ = &mut interrupt => {
                let words = format!("the run goes on. Watch it again: bugle automation show {id} --follow");
                context.screen.note(&format!("{words}   End it: bugle automation cancel {id}"));
                return Err(Failure::shown(Kind::Interrupted, "interrupted"));
            }
            session = watcher.session(&mut context.screen) => session,
        };
        match session {
            Ok(Some(run)) => break run,
            Ok(None) => {}
            Err(failure) if failure.kind == Kind::Unreachable => {
                watcher.wait_for_server(&mut context.screen, failure)?;
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let status = text(&run, "status").to_owned();
    let asks = waits_for_people(&run);
    if !context.global.json {
        let (tone, words) = match asks {
            true => (graph::tone("awaiting_approval"), "running; it waits for a person"),
            false => (graph::tone(&status), status.as_str()),
        };
        let line = context.screen.tint(tone, words);
        context.screen.line(&line);
        hint(&mut context.screen, &run);
    }
    match status.as_str() {
        "completed" | "awaiting_approval" | "paused" => Ok(()),
        _ if asks => Ok(()),
        _ => Err(Failure::failed("automation.not_completed", format!("the run is {status}"))
            .hint(format!("see why: bugle automation show {id}"))),
    }
}

struct Watcher<'a> {
    client: &'a Client,
    id: &'a str,
    /// The number of the last entry that was shown.
    after: i64,
    /// Since when the server has been away.
    away: Option<Instant>,
    /// What agents wait for, as far as it was said.
    asked: BTreeSet<String>,
}

impl Watcher<'_> {
    /// One connection; the run when it rests and everything was shown, `None` when the stream broke off.
    async fn session(&mut self, screen: &mut Screen) -> Result<Option<Json>, Failure> {
        let path = format!("/automation-runs/{}/events?after={}", self.id, self.after);
        let mut pieces = self.client.stream(&path).await?.bytes_stream();
        if self.away.take().is_some() {
            screen.note("the server is back; going on where we were");
        }
        let mut events = EventReader::default();
        loop {
            let piece = match tokio::time::timeout(QUIET, pieces.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(_)) | None) => return Ok(None),
                Err(_) => match self.resting(screen).await? {
                    Some(run) => return Ok(Some(run)),
                    None => continue,
                },
            };
            for event in events.push(&piece) {
                match event.name.as_str() {
                    "end" => return self.resting(screen).await,
                    "revoked" => {
                        let message = "the key that this was watched with was revoked";
                        return Err(
                            Failure::new(Kind::Refused, "key.revoked", message).hint("log in: bugle login")
                        );
                    }
                    // The stream goes on behind the last entry, over another connection.
                    "lagged" => return Ok(None),
                    _ => self.show(screen, &event.data)?,
                }
            }
        }
    }

    fn show(&mut self, screen: &mut Screen, data: &str) -> Result<(), Failure> {
        let entry: Json = serde_json::from_str(data).map_err(|error| {
            Failure::failed("answer.unreadable", format!("cannot read what happened: {error}"))
                .hint("is the server of another version? see: bugle status")
        })?;
        self.after = number(&entry, "seq");
        if screen.json {
            screen.json_line(&entry);
        } else {
            screen.line(&entry_line(&entry));
        }
        Ok(())
    }

    /// The run, when it rests and everything of it was shown. Says once of each step that its agent waits for people.
    async fn resting(&mut self, screen: &mut Screen) -> Result<Option<Json>, Failure> {
        let run = self.client.get(&format!("/automation-runs/{}", self.id)).await?;
        let rests = matches!(
            text(&run, "status"),
            "completed" | "blocked" | "failed" | "cancelled" | "paused" | "awaiting_approval"
        );
        if self.after < number(&run, "seq") {
            return Ok(None);
        }
        if rests || waits_for_people(&run) {
            return Ok(Some(run));
        }
        for asked in rows_at(&run, "waiting") {
            if self.asked.insert(text(asked, "gateId").to_owned()) {
                screen.note(asked_line(asked).trim_start());
            }
        }
        Ok(None)
    }

    /// Says once that the server is away; gives up when it stays away.
    fn wait_for_server(&mut self, screen: &mut Screen, failure: Failure) -> Result<(), Failure> {
        match self.away {
            // It never answered: that is no restart.
            None if self.after == 0 => Err(failure),
            None => {
                self.away = Some(Instant::now());
                screen.note("the server went away; waiting for it to come back...");
                Ok(())
            }
            Some(since) if since.elapsed() > PATIENCE => Err(failure),
            Some(_) => Ok(()),
        }
    }
}
