//! `bugle logs`: the output of a run, so far or until it ends.

use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;

use super::logs_transcript;
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::follow::{Follower, Show, show_output};
use crate::run_view::{RunView, reference};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bugle logs 0192f7a0 -f\n\nWithout a selection stdout and stderr are shown, each where it belongs.\n\
                  With --transcript the agent's messages, its tools with the first lines of their results, usage and errors."
)]
pub(crate) struct Logs {
    /// Id of the run, or its first digits
    run: String,
    /// Go on until the run is over
    #[arg(long, short)]
    follow: bool,
    /// Only what it printed on stdout
    #[arg(long)]
    stdout: bool,
    /// Only what it printed on stderr
    #[arg(long)]
    stderr: bool,
    /// Show the keeper's notes too
    #[arg(long)]
    system: bool,
    /// What the agent said and did, instead of its output
    #[arg(long, conflicts_with_all = ["stdout", "stderr", "system"])]
    transcript: bool,
}

/// A part of a log on the wire.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    content: String,
    next_offset: u64,
    #[serde(default)]
    end_of_log: bool,
}

impl Logs {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let run = client.get(&format!("/heartbeat-runs/{}", reference(&self.run)?)).await.map_err(unknown)?;
        let view = RunView::read(&run)?;
        if self.transcript {
            return logs_transcript::show(&mut context.screen, &client, &view, self.follow).await;
        }
        let both = !self.stdout && !self.stderr;
        let show = Show {
            stdout: both || self.stdout,
            stderr: both || self.stderr,
            system: self.system,
            steps: false,
        };
        if self.follow {
            Follower::new(&client, &view.id, show).watch(&mut context.screen).await?;
            return Ok(());
        }
        print_all(context, &client, &view, show).await
    }
}

/// A run that was named and is not there.
pub(super) fn unknown(failure: Failure) -> Failure {
    match failure.message.as_str() {
        "Heartbeat run not found" => {
            Failure::usage("run.unknown", "there is no such run").hint("see which there are: bugle run list")
        }
        _ => failure,
    }
}

/// Why there is no log to print.
pub(super) fn why_nothing(run: &RunView) -> &'static str {
    // What was measured at its end was there once.
    match run.log_bytes {
        Some(_) => "its log was removed to make room, or by its age; the record of the run is still there",
        None => "it has printed nothing yet",
    }
}

async fn print_all(context: &mut Context, client: &Client, run: &RunView, show: Show) -> Result<(), Failure> {
    let mut offset = 0;
    loop {
        let path =
            format!("/heartbeat-runs/{}/log?offset={offset}&limitBytes=1048576&system=1", encoded(&run.id));
        let part = match client.get(&path).await {
            Ok(part) => part,
            Err(failure) if failure.message == "Run log not found" => {
                context.screen.note(why_nothing(run));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let part = Part::deserialize(&part).map_err(|error| {
            Failure::failed("answer.unreadable", format!("cannot read the log that the server sent: {error}"))
                .hint("is the server of another version? see: bugle status")
        })?;
        for line in part.content.lines() {
            let Ok(piece) = serde_json::from_str::<Json>(line) else { continue };
            let text = |key: &str| piece.get(key).and_then(Json::as_str).unwrap_or_default();
            show_output(&mut context.screen, show, text("ts"), text("stream"), text("chunk"));
        }
        // Only sameness says that there is no more: offsets are opaque, and a later one may be the smaller number.
        if part.end_of_log || part.next_offset == offset {
            return Ok(());
        }
        offset = part.next_offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_removed_is_not_said_to_be_empty() {
        assert!(why_nothing(&RunView::default()).contains("printed nothing"));
        let ended = RunView { log_bytes: Some(64), ..RunView::default() };
        assert!(why_nothing(&ended).contains("removed"));
    }
}
