//! `bugle status`: whether a server is there and well, and how much is going on.

use clap::Args;
use serde_json::{Value as Json, json};

use super::agent_lookup::text;
use crate::cli::Context;
use crate::failure::{Failure, Kind};
use crate::screen::Tone;

#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let health = client.get("/health").await?;
        let is_well = text(&health, "status") == "ok";
        let place = client.place().base;
        if context.global.json {
            context.screen.answer(&json!({ "url": place, "health": health }));
        } else {
            let (tone, word) =
                if is_well { (Tone::Good, "well") } else { (Tone::Bad, text(&health, "status")) };
            let word = context.screen.tint(tone, word);
            context.screen.line(&format!("bugle {} at {place} is {word}", text(&health, "version")));
            let number = |path: &str| health.pointer(path).and_then(Json::as_u64);
            if let (Some(running), Some(slots)) = (number("/capacity/running"), number("/capacity/slots")) {
                context.screen.line(&format!("  runs      {running} under way, up to {slots} at once"));
            }
            if let Some(done) = health.pointer("/recovery/done").and_then(Json::as_bool) {
                let taken_over = number("/recovery/takenOver").unwrap_or(0);
                let failed = number("/recovery/failed").unwrap_or(0);
                let state = if done { "complete" } else { "under way" };
                let trouble = if failed > 0 { format!(", {failed} not yet") } else { String::new() };
                context.screen.line(&format!("  recovery  {state}, {taken_over} runs taken over{trouble}"));
            }
            if let Some(kind) = health.pointer("/store/kind").and_then(Json::as_str) {
                let waiting = number("/store/waiting").unwrap_or(0);
                context.screen.line(&format!("  store     {kind}, {waiting} calls waiting"));
            }
        }
        if is_well { Ok(()) } else { Err(Failure::shown(Kind::Failed, "server.unhealthy")) }
    }
}
