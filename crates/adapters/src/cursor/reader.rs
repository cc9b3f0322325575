//! What the lines of Cursor's agent mean, as far as a description tells.
//!
//! JSON lines, some with `stdout:` or `stderr:` in front: `assistant`, `result`, `error`, `system`, and from older versions
//! `text` and `step_finish`. Each may name the session. The `result` is the terminal event; an error before it may be
//! survived.

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::Value;

use crate::adapter::{Reader, Source};
use crate::cli::figures::{priced, tokens};
use crate::cli::stderr::{LastWords, plain};
use crate::cli::{refusal, session, wording};

/// Reads one process.
#[derive(Debug)]
pub(super) struct CursorReader {
    asked: Option<String>,
    note: Value,
    payer: Usage,
    started_at: Moment,
    session: Option<String>,
    last_message: Option<String>,
    last_error: Option<AgentError>,
    is_done: bool,
    last_words: LastWords,
}

impl CursorReader {
    pub(super) fn new(asked: Option<&str>, note: Value, payer: Usage, started_at: Moment) -> CursorReader {
        CursorReader {
            asked: asked.map(str::to_owned),
            note,
            payer,
            started_at,
            session: None,
            last_message: None,
            last_error: None,
            is_done: false,
            last_words: LastWords::default(),
        }
    }

    fn spoken(&mut self, said: &Value) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        self.name_session(said, &mut events);
        let (kind, part) = (said["type"].as_str().unwrap_or_default(), &said["part"]);
        match (kind, said["subtype"].as_str().unwrap_or_default()) {
            ("assistant", _) => self.message(&assistant(said), &mut events),
            ("text", _) => self.message(part["text"].as_str().unwrap_or_default(), &mut events),
            ("step_finish", _) => {
                let counts = &part["tokens"];
                let usage = Usage {
                    input_tokens: tokens(counts, "input"),
                    cached_input_tokens: tokens(&counts["cache"], "read"),
                    output_tokens: tokens(counts, "output"),
                    cost_micros: priced(&part["cost"]),
                    ..self.payer.clone()
                };
                events.extend((!usage.is_nothing()).then_some(AgentEvent::UsageAdded { usage }));
            }
            ("error", _) | ("system", "error") => {
                let error = self.failure(said);
                self.last_error = Some(error.clone());
                // It may well go on: its class counts when nothing follows.
                events.push(AgentEvent::Trouble { error });
            }
            ("result", subtype) => self.end(said, subtype, &mut events),
            _ => {}
        }
        events
    }

    fn name_session(&mut self, said: &Value, events: &mut Vec<AgentEvent>) {
        let id = ["session_id", "sessionId", "sessionID"].iter().find_map(|key| said[*key].as_str());
        let Some(id) = id.map(str::trim).filter(|id| !id.is_empty()) else { return };
        self.last_words.end();
        if self.session.as_deref() == Some(id) {
            return;
        }
        self.session = Some(id.to_owned());
        events.push(AgentEvent::Session { id: id.to_owned() });
        events.push(AgentEvent::SessionNote { note: self.note.clone() });
        if let Some(asked) = self.asked.as_deref().filter(|asked| *asked != id) {
            events.push(AgentEvent::Trouble { error: session::other(asked, id) });
        }
    }

    fn message(&mut self, text: &str, events: &mut Vec<AgentEvent>) {
        let text = text.trim();
        if !text.is_empty() {
            self.last_message = Some(text.to_owned());
            events.push(AgentEvent::Message { text: text.to_owned() });
        }
    }

    fn end(&mut self, said: &Value, subtype: &str, events: &mut Vec<AgentEvent>) {
        self.is_done = true;
        let counts = &said["usage"];
        let either = |one: &str, other: &str| tokens(counts, one).max(tokens(counts, other));
        let cached =
            either("cached_input_tokens", "cachedInputTokens").max(tokens(counts, "cache_read_input_tokens"));
        let cost = ["total_cost_usd", "cost_usd", "cost"].iter().find_map(|key| priced(&said[*key]));
        let usage = Usage {
            input_tokens: either("input_tokens", "inputTokens"),
            cached_input_tokens: cached,
            output_tokens: either("output_tokens", "outputTokens"),
            cost_micros: cost,
            ..self.payer.clone()
        };
        events.extend((!usage.is_nothing()).then_some(AgentEvent::UsageAdded { usage }));
        let failed = said["is_error"] == true || subtype == "error";
        let error = failed.then(|| {
            let own = self.failure(said);
            match (&self.last_error, own.class) {
                (Some(known), ErrorClass::Other) => known.clone(),
                _ => own,
            }
        });
        let words = said["result"].as_str().map(str::trim).filter(|words| !words.is_empty());
        let summary = self.last_message.clone().or_else(|| words.map(str::to_owned));
        events.push(AgentEvent::Result {
            summary: summary.filter(|_| error.is_none()),
            error,
            plan_only: false,
            json: Some(said.clone()),
        });
    }

    fn failure(&self, said: &Value) -> AgentError {
        let words =
            ["error", "message", "result", "detail"].iter().find_map(|key| refusal::message_of(&said[*key]));
        let words = words.unwrap_or("the program reported a failure and no reason");
        if self.asked.is_some() && is_gone(words) {
            return session::gone(words);
        }
        refusal::read(words, None, self.started_at)
    }

    fn muttered(&mut self, line: &str) -> Vec<AgentEvent> {
        if self.asked.is_some() && is_gone(line) {
            self.last_words.end();
            return vec![AgentEvent::Trouble { error: session::gone(line) }];
        }
        // Once it has begun, what stands there may be a tool's.
        if !self.last_words.is_over() {
            let failure = refusal::read(line, None, self.started_at);
            if failure.class == ErrorClass::Auth {
                self.last_words.end();
                return vec![AgentEvent::Trouble { error: failure }];
            }
        }
        self.last_words.hear(line);
        Vec::new()
    }
}

/// The text blocks of an assistant's line, in the shapes that it comes in.
fn assistant(said: &Value) -> String {
    let message = &said["message"];
    if let Some(text) =
        message.as_str().or_else(|| message["content"].as_str()).or_else(|| said["text"].as_str())
    {
        return text.to_owned();
    }
    let blocks = message["content"].as_array().into_iter().flatten();
    blocks.filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("")
}

fn is_gone(words: &str) -> bool {
    wording::is_gone(words, &["session", "chat", "resume"]) || wording::has_any(words, &["could not resume"])
}

/// The line without the name of a stream in front; true: it names stderr.
fn unmarked(line: &str) -> (&str, bool) {
    for (mark, is_stderr) in [("stdout", false), ("stderr", true)] {
        if let Some(rest) = line.strip_prefix(mark) {
            let rest = rest.trim_start_matches([':', ' ', '\t']);
            if is_stderr || rest.starts_with('{') {
                return (rest, is_stderr);
            }
        }
    }
    (line, false)
}

impl Reader for CursorReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        let text = String::from_utf8_lossy(line);
        let (words, is_stderr) = unmarked(text.trim());
        if stream == Source::Stderr || is_stderr {
            return self.muttered(&plain(words.as_bytes()));
        }
        match serde_json::from_str::<Value>(words) {
            Ok(said) if said.is_object() => self.spoken(&said),
            _ => self.muttered(&plain(words.as_bytes())),
        }
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        let error = if self.is_done || self.last_error.is_some() { None } else { self.last_words.error() };
        error.map(|error| AgentEvent::Trouble { error }).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::telling::Told;
    use serde_json::json;

    use super::*;

    fn told(asked: Option<&str>, lines: &[&str]) -> Told {
        let started_at = Moment::parse("2026-11-20T12:00:00Z").unwrap();
        let mut reader = CursorReader::new(asked, json!({ "cwd": "/w" }), Usage::default(), started_at);
        let mut told = Told::default();
        for line in lines {
            reader.line(Source::Stdout, line.as_bytes()).iter().for_each(|event| told.hear(event));
        }
        reader.finish().iter().for_each(|event| told.hear(event));
        told
    }

    #[test]
    fn a_run_that_succeeded_is_read_with_its_session_words_and_usage() {
        let told = told(
            None,
            &[
                r#"stdout: {"type":"system","subtype":"init","session_id":"c-1"}"#,
                r#"{"type":"assistant","message":{"content":[{"type":"text","text":"All "},{"type":"text","text":"done"}]}}"#,
                r#"{"type":"step_finish","part":{"tokens":{"input":5,"output":2,"cache":{"read":3}},"cost":0}}"#,
                r#"{"type":"result","subtype":"success","sessionId":"c-1","usage":{"inputTokens":10,"output_tokens":1,"cache_read_input_tokens":4},"total_cost_usd":0.5}"#,
            ],
        );
        assert_eq!(told.session.as_deref(), Some("c-1"));
        assert_eq!(told.terminals[0].summary.as_deref(), Some("All done"));
        let usage = told.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (15, 7, 3));
        assert_eq!(usage.cost_micros, Some(500_000));
        assert!(usage.cost_partial, "a price of 0 is none");
    }

    #[test]
    fn failures_have_the_class_that_their_words_give() {
        let rows = [
            (r#"{"type":"result","is_error":true,"result":"429 Too many requests"}"#, ErrorClass::Transient),
            (
                r#"{"type":"result","subtype":"error","error":{"message":"You are not logged in"}}"#,
                ErrorClass::Auth,
            ),
        ];
        for (line, class) in rows {
            let told = told(None, &[line]);
            assert_eq!(told.terminals[0].error.as_ref().map(|error| error.class), Some(class), "{line}");
        }
        let closed = told(None, &["stderr: Error: not logged in"]);
        assert_eq!(closed.trouble.map(|error| error.class), Some(ErrorClass::Auth), "it did not begin");
        let survived =
            told(None, &[r#"{"type":"error","message":"hm"}"#, r#"{"type":"result","result":"fine"}"#]);
        assert_eq!(survived.terminals[0].error, None);
        assert_eq!(survived.terminals[0].summary.as_deref(), Some("fine"));
    }

    #[test]
    fn a_session_that_is_gone_is_told_and_never_named_as_the_runs_own() {
        for line in [
            "stderr: Error: unknown chat c-1",
            "could not resume c-1",
            r#"{"type":"error","message":"Chat c-1 not found"}"#,
        ] {
            let told = told(Some("c-1"), &[line]);
            assert_eq!(told.trouble.map(|error| error.class), Some(ErrorClass::SessionGone), "{line}");
            assert_eq!(told.session, None, "{line}");
        }
        // Without a session to resume the same words are about something else.
        assert_ne!(
            told(None, &["unknown chat c-1"]).trouble.map(|error| error.class),
            Some(ErrorClass::SessionGone)
        );
    }
}
