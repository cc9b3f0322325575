//! `bugle logs --transcript`: what the agent said and did, for people: messages as text, a tool and its
//! result in a few lines, usage and errors in words. With `--json` one item a line, as the server gives it.

use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::logs::why_nothing;
use crate::client::{Client, encoded};
use crate::failure::{Failure, Kind};
use crate::run_view::RunView;
use crate::screen::{Screen, Tone};
use crate::when;

/// Between two looks at a run that goes on.
const TICK: Duration = Duration::from_millis(500);
/// A server that is gone for longer is not coming back by itself.
const PATIENCE: Duration = Duration::from_secs(600);
/// Lines of a result that are shown, and columns of a line.
const LINES: usize = 3;
const COLUMNS: usize = 160;
/// Before what belongs to a tool.
const INDENT: &str = "    ";

/// Prints the transcript of a run, to its end if it is to be followed.
pub(super) async fn show(
    screen: &mut Screen,
    client: &Client,
    run: &RunView,
    follow: bool,
) -> Result<(), Failure> {
    if !follow {
        return print(screen, client, run, false).await;
    }
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    tokio::select! {
        biased;
        _ = &mut interrupt => {
            let id = &run.id;
            screen.note(&format!(
                "the run goes on. Watch it again: bugle logs {id} --transcript -f   \
                 End it: bugle run cancel {id}"
            ));
            Err(Failure::shown(Kind::Interrupted, "interrupted"))
        }
        printed = print(screen, client, run, true) => printed,
    }
}

async fn print(screen: &mut Screen, client: &Client, run: &RunView, follow: bool) -> Result<(), Failure> {
    let (mut cursor, mut away, mut is_empty) = (None::<String>, None::<Instant>, true);
    loop {
        let after = cursor.as_ref().map(|cursor| format!("&after={}", encoded(cursor))).unwrap_or_default();
        let path = format!("/heartbeat-runs/{}/transcript?limit=1000{after}", encoded(&run.id));
        let page = match client.get(&path).await {
            Ok(page) => page,
            Err(failure) if failure.message == "Run log not found" => {
                screen.note(why_nothing(run));
                return Ok(());
            }
            Err(failure) if follow && failure.kind == Kind::Unreachable => {
                let since = *away.get_or_insert_with(|| {
                    let text =
                        "the server went away; the run does not need it. Waiting for it to come back...";
                    screen.note(&screen.tint_note(Tone::Waiting, text));
                    Instant::now()
                });
                if since.elapsed() > PATIENCE {
                    return Err(failure);
                }
                tokio::time::sleep(TICK).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if away.take().is_some() {
            screen.note(&screen.tint_note(Tone::Waiting, "the server is back; going on where we were"));
        }
        let items = list(&page, "items");
        for item in items {
            is_empty = false;
            show_item(screen, item);
        }
        let next = page.get("nextCursor").and_then(Json::as_str).ok_or_else(|| {
            Failure::failed("answer.unreadable", "cannot read the transcript that the server sent")
                .hint("is the server of another version? see: bugle status")
        })?;
        let is_done = page.get("done").and_then(Json::as_bool).unwrap_or(false);
        let is_new = cursor.as_deref() != Some(next);
        cursor = Some(next.to_owned());
        if is_done || (!follow && (!is_new || items.is_empty())) {
            let pending = list(&page, "pending");
            pending.iter().for_each(|item| show_item(screen, item));
            if is_empty && pending.is_empty() {
                screen.note(why_nothing(run));
            }
            return Ok(());
        }
        if items.is_empty() {
            tokio::time::sleep(TICK).await;
        }
    }
}

fn list<'a>(page: &'a Json, key: &str) -> &'a [Json] {
    page.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn show_item(screen: &mut Screen, item: &Json) {
    if screen.json {
        screen.json_line(item);
        return;
    }
    for (tone, line) in lines_of(item) {
        let line = screen.tint(tone, &line);
        screen.line(&line);
    }
}

/// How an item reads.
fn lines_of(item: &Json) -> Vec<(Tone, String)> {
    let text = |key: &str| item.get(key).and_then(Json::as_str).unwrap_or_default();
    match text("type") {
        "message" => {
            let mut lines = every_line(text("text"), Tone::Plain);
            let left_out = number(item, "leftOutBytes");
            if left_out > 0 {
                lines.push((Tone::Faint, format!("... {} more", when::bytes(left_out))));
            }
            lines
        }
        "tool" => tool(item),
        "usage" => vec![(Tone::Faint, usage(item))],
        "error" => vec![(Tone::Bad, format!("error: {}", error(item)))],
        "session" => vec![(Tone::Faint, format!("session {}", plain(text("id"))))],
        "result" => result(item),
        "output" if text("stream") == "system" => {
            vec![(Tone::Waiting, format!("[{}]", plain(text("text").trim_end())))]
        }
        "output" => every_line(text("text"), Tone::Faint),
        // What an older program does not know it cannot show; with --json it is there.
        _ => Vec::new(),
    }
}

fn tool(item: &Json) -> Vec<(Tone, String)> {
    let is_error = item.get("isError").and_then(Json::as_bool).unwrap_or(false);
    let mut head = format!("> {}", plain(item.get("name").and_then(Json::as_str).unwrap_or("unknown tool")));
    let input = input_of(item.get("input").unwrap_or(&Json::Null));
    if !input.is_empty() {
        head.push(' ');
        head.push_str(&input);
    }
    if let Some(millis) = item.get("durationMs").and_then(Json::as_u64) {
        head.push_str(&format!("  ({})", when::span(Duration::from_millis(millis))));
    }
    let mut lines = vec![(if is_error { Tone::Bad } else { Tone::Busy }, head)];
    let Some(output) = item.get("output").and_then(Json::as_str) else {
        let why = if item.get("seq").is_some() { "it got no result" } else { "under way" };
        lines.push((Tone::Waiting, format!("{INDENT}{why}")));
        return lines;
    };
    let (all, tone) = (output.trim_end().lines(), if is_error { Tone::Bad } else { Tone::Faint });
    let count = all.clone().count();
    lines.extend(all.take(LINES).map(|line| (tone, format!("{INDENT}{}", cut(&plain(line))))));
    let left_out = number(item, "leftOutBytes");
    if left_out > 0 {
        // How many lines these were is not known.
        let hidden = match count.saturating_sub(LINES) {
            0 => String::new(),
            count => format!("{count} more lines, and "),
        };
        lines.push((Tone::Faint, format!("{INDENT}... {hidden}{} more", when::bytes(left_out))));
    } else if count > LINES {
        lines.push((Tone::Faint, format!("{INDENT}... {} more lines", count - LINES)));
    }
    lines
}

/// What a tool was given, in a line: the one text that there is, or all of it.
fn input_of(input: &Json) -> String {
    let text = match input {
        Json::Null => String::new(),
        Json::Object(fields) => match fields.iter().next() {
            None => String::new(),
            Some((_, Json::String(only))) if fields.len() == 1 => only.clone(),
            Some(_) => match fields.get("command") {
                Some(Json::String(command)) => command.clone(),
                _ => input.to_string(),
            },
        },
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    cut(&plain(text.trim()))
}

fn usage(item: &Json) -> String {
    let is_total = item.get("isTotal").and_then(Json::as_bool).unwrap_or(false);
    let mut text = format!(
        "{}: {} tokens in",
        if is_total { "used so far" } else { "used" },
        number(item, "inputTokens")
    );
    let cached = number(item, "cachedInputTokens");
    if cached > 0 {
        text.push_str(&format!(", {cached} more from the cache"));
    }
    text.push_str(&format!(", {} out", number(item, "outputTokens")));
    if let Some(micros) = item.get("costMicros").and_then(Json::as_u64) {
        let partly =
            if item.get("costKnown").and_then(Json::as_bool).unwrap_or(true) { "" } else { "at least " };
        text.push_str(&format!(", {partly}${}.{:06}", micros / 1_000_000, micros % 1_000_000));
    }
    if let Some(model) = item.get("model").and_then(Json::as_str) {
        text.push_str(&format!(" ({})", plain(model)));
    }
    text
}

fn error(error: &Json) -> String {
    let text = |key: &str| error.get(key).and_then(Json::as_str);
    let what = match text("class").unwrap_or_default() {
        "transient" => "a passing trouble of the provider",
        "quota" => "a limit of the account",
        "auth" => "not logged in",
        "session_gone" => "the session is gone",
        "permission" => "not permitted",
        "bad_request" => "a wrong request",
        _ => "",
    };
    let message = plain(text("message").unwrap_or_default());
    let mut all = if what.is_empty() { message } else { format!("{what}: {message}") };
    if let Some(moment) = text("notBefore") {
        all.push_str(&format!("; not before {}", when::local(moment)));
    }
    all
}

fn result(item: &Json) -> Vec<(Tone, String)> {
    if let Some(told) = item.get("error").filter(|error| error.is_object()) {
        return vec![(Tone::Bad, format!("failed: {}", error(told)))];
    }
    let is_plan = item.get("planOnly").and_then(Json::as_bool).unwrap_or(false);
    let head = if is_plan { "done, with a plan only" } else { "done" };
    let summary = item.get("summary").and_then(Json::as_str).unwrap_or_default().trim();
    match summary.lines().next() {
        None => vec![(Tone::Good, head.to_owned())],
        Some(first) => {
            let mut lines = vec![(Tone::Good, format!("{head}: {}", plain(first)))];
            lines.extend(every_line(summary, Tone::Plain).into_iter().skip(1));
            lines
        }
    }
}

fn every_line(text: &str, tone: Tone) -> Vec<(Tone, String)> {
    text.trim_end().lines().map(|line| (tone, plain(line))).collect()
}

/// The text on one line, without what could move the cursor of a terminal or colour it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c == '\t' || c == '\n' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(COLUMNS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn number(item: &Json, key: &str) -> u64 {
    item.get(key).and_then(Json::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(item: Json) -> Vec<String> {
        lines_of(&item).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_tool_is_a_line_with_the_first_lines_of_its_result() {
        let item = json!({"seq": 1, "type": "tool", "name": "bash", "input": {"command": "make test"},
            "durationMs": 4200, "isError": false, "output": "a\nb\nc\nd\ne\n", "leftOutBytes": 0});
        assert_eq!(
            read(item),
            ["> bash make test  (4.2s)", "    a", "    b", "    c", "    ... 2 more lines"]
        );
        let cut = json!({"seq": 1, "type": "tool", "name": "read", "input": {"path": "a", "from": 1},
            "isError": true, "output": "a", "leftOutBytes": 2048});
        let lines = ["> read {\"path\":\"a\",\"from\":1}", "    a", "    ... 2.0 KiB more"];
        assert_eq!(read(cut), lines);
        let pending = json!({"type": "tool", "name": "bash", "input": {}, "output": null});
        assert_eq!(read(pending), ["> bash", "    under way"]);
        let lost = json!({"seq": 9, "type": "tool", "name": null, "input": null, "output": null});
        assert_eq!(read(lost), ["> unknown tool", "    it got no result"]);
    }

    #[test]
    fn usage_and_errors_are_said_in_words() {
        let usage = json!({"type": "usage", "isTotal": false, "inputTokens": 1000, "cachedInputTokens": 200,
            "outputTokens": 7, "costMicros": 5462, "costKnown": false, "model": "m"});
        assert_eq!(
            read(usage),
            ["used: 1000 tokens in, 200 more from the cache, 7 out, at least $0.005462 (m)"]
        );
        let total = json!({"type": "usage", "isTotal": true, "inputTokens": 1, "outputTokens": 2});
        assert_eq!(read(total), ["used so far: 1 tokens in, 2 out"]);
        let error =
            json!({"type": "error", "class": "quota", "message": "come back later", "notBefore": "soon"});
        assert_eq!(read(error), ["error: a limit of the account: come back later; not before soon"]);
        let failed = json!({"type": "result", "error": {"class": "other", "message": "it broke"}});
        assert_eq!(read(failed), ["failed: it broke"]);
        assert_eq!(read(json!({"type": "result", "error": null, "summary": "did\nit"})), ["done: did", "it"]);
        assert_eq!(read(json!({"type": "result", "planOnly": true})), ["done, with a plan only"]);
    }

    #[test]
    fn what_an_agent_says_does_not_command_the_terminal() {
        let item = json!({"type": "message", "text": "a\u{1b}[31mb\r\n\tc\u{7}"});
        assert_eq!(read(item), ["a[31mb", " c"]);
        assert_eq!(read(json!({"type": "something new"})), Vec::<String>::new());
    }
}
