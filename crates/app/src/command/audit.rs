//! `bugle audit`: whether the record of decisions is whole, and its head, to be kept elsewhere.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value as Json;

use super::agent_lookup::text;
use crate::cli::Context;
use crate::client::encoded;
use crate::failure::{Failure, Kind};
use crate::screen::Tone;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check every link of the chain; with a head that was kept, also that nothing before it was replaced
    Verify(Verify),
    /// Print the head of the chain, to be kept where the server cannot write
    Head,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bugle audit head > /media/usb/head.json\n  bugle audit verify --head /media/usb/head.json"
)]
pub(crate) struct Verify {
    /// A head that was printed earlier
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Head {
    seq: i64,
    hash: String,
}

impl Audit {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Audit::Verify(verify) => verify.run(context).await,
            Audit::Head => {
                let head = context.client()?.get("/audit/head").await?;
                context.screen.answer(&head);
                Ok(())
            }
        }
    }
}

impl Verify {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut path = "/audit/verify".to_owned();
        if let Some(file) = &self.head {
            let unusable = |why: String| {
                Failure::usage("head.unreadable", format!("cannot use the head in {}: {why}", file.display()))
                    .hint("make one with: bugle audit head > FILE")
            };
            let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
            let head: Head = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
            path.push_str(&format!("?seq={}&hash={}", head.seq, encoded(&head.hash)));
        }
        let client = context.client()?;
        let report = client.get(&path).await?;
        let is_whole = report.get("ok").and_then(Json::as_bool).unwrap_or(false);
        if context.global.json {
            context.screen.answer(&report);
        } else if is_whole {
            let checked = report.get("checked").and_then(Json::as_i64).unwrap_or_default();
            let word = context.screen.tint(Tone::Good, "whole");
            context.screen.line(&format!("the record is {word}: {checked} decisions checked"));
            if self.head.is_none() {
                context
                    .screen
                    .note("a head kept elsewhere would also show a replaced record: bugle audit head");
            }
        } else {
            let broken = report.get("firstBroken").unwrap_or(&Json::Null);
            let seq = broken.get("seq").and_then(Json::as_i64).unwrap_or_default();
            let word = context.screen.tint(Tone::Bad, "broken");
            context
                .screen
                .line(&format!("the record is {word} at number {seq}: {}", meaning(text(broken, "why"))));
        }
        if is_whole { Ok(()) } else { Err(Failure::shown(Kind::Failed, "audit.broken")) }
    }
}

fn meaning(why: &str) -> &str {
    match why {
        "missing" => "a decision of this number should be there and is not",
        "changed" => "the decision is not the one that was recorded",
        "truncated" => "decisions after this one were removed",
        "beyond_head" => "decisions were added past the head",
        "not_as_exported" => "the decision is not the one of the head that was kept",
        other => other,
    }
}
