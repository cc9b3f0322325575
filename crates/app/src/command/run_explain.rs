//! `bugle run explain`: the chain of steps, what the run waits for, its last words, and what happens next by itself.

use serde_json::Value as Json;

use super::answer::{printable, section, text};
use super::logs::unknown;
use super::run_held::{self, Held};
use crate::cli::Context;
use crate::failure::Failure;
use crate::run_view::reference;
use crate::screen::{Screen, Tone};
use crate::when;

/// Lines of stderr that are shown; all of them are in the log.
const LAST_WORDS: usize = 15;

pub(super) async fn explain(context: &mut Context, run: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let mut answer =
        client.get(&format!("/heartbeat-runs/{}/explain", reference(run)?)).await.map_err(unknown)?;
    let held = run_held::look(&client, &answer).await;
    if context.global.json {
        if let Some(held) = &held {
            answer["heldBy"] = held.to_json();
        }
        context.screen.answer(&answer);
        return Ok(());
    }
    print(&mut context.screen, &answer, &held.unwrap_or_default());
    Ok(())
}

fn print(screen: &mut Screen, run: &Json, held: &Held) {
    let status = text(run, "status");
    let is_cancelling = run.get("cancelling").and_then(Json::as_bool).unwrap_or(false);
    let state = match (is_cancelling, text(run, "heldReason")) {
        (true, _) => "cancelling".to_owned(),
        (false, "") => status.to_owned(),
        (false, reason) => format!("{status} ({reason})"),
    };
    let (id, state) =
        (screen.tint(Tone::Strong, text(run, "runId")), screen.tint(Tone::of_status(status), &state));
    screen.line(&format!("{id}  {state}"));
    if !text(run, "waitsFor").is_empty() {
        screen.line(&format!("  waits     {}", text(run, "waitsFor")));
    }
    for by in &held.by {
        screen.line(&format!("            {}", printable(by)));
    }
    if let Some(holder) = run.get("holder").filter(|holder| holder.is_object()) {
        screen.line(&format!("  held by   {}", held_by(holder)));
    }
    if !text(run, "error").is_empty() {
        let code = text(run, "errorCode");
        let error = screen.tint(Tone::Bad, text(run, "error"));
        screen.line(&format!(
            "  error     {error}{}",
            if code.is_empty() { String::new() } else { format!(" ({code})") }
        ));
    }
    if let Some(wakes) = run.get("wakes").and_then(Json::as_u64).filter(|wakes| *wakes > 1) {
        screen.line(&format!("  carries   {wakes} wakes"));
    }
    section(screen, "what happened");
    for step in run.get("transitions").and_then(Json::as_array).into_iter().flatten() {
        let level = match text(step, "level") {
            "error" => Tone::Bad,
            "warn" => Tone::Waiting,
            _ => Tone::Plain,
        };
        let message = screen.tint(level, text(step, "message"));
        screen.line(&format!("  {}  {message}", when::precise(text(step, "at"))));
    }
    let stderr: Vec<&str> =
        run.get("stderr").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    if !stderr.is_empty() {
        section(screen, "last lines of stderr");
        for line in &stderr[stderr.len().saturating_sub(LAST_WORDS)..] {
            screen.line(&format!("  {line}"));
        }
    }
    section(screen, "what happens next");
    screen.line(&format!("  {}", text(run, "next")));
    if !held.settle.is_empty() {
        section(screen, "what you can do");
        for command in &held.settle {
            screen.line(&format!("  {}", printable(command)));
        }
    }
    if !text(run, "hint").is_empty() {
        let hint = screen.tint(Tone::Waiting, "hint:");
        screen.line(&format!("{hint} {}", text(run, "hint")));
    }
}

fn held_by(holder: &Json) -> String {
    let number = |key: &str| holder.get(key).and_then(Json::as_i64);
    let mut parts = Vec::new();
    if let Some(pid) = number("processPid") {
        parts.push(format!("process {pid}"));
    }
    if let Some(epoch) = number("epoch") {
        parts.push(format!("start {epoch}"));
    }
    parts.push(match holder.get("tendedHere").and_then(Json::as_bool) {
        Some(true) => "looked after by this server".to_owned(),
        _ => "waiting for a server to take it over".to_owned(),
    });
    parts.join(", ")
}
