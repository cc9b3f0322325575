//! What the lines of pi mean.
//!
//! The first line names the session. `message_end` brings each message whole, with what it used; the many
//! `message_update` lines before it repeat its beginning, and `turn_end` and `agent_end` repeat all of it, so
//! they are not read. `agent_end` is the terminal event, except after a failure that pi tries again by
//! itself: it says so only on the next line. So a failed `agent_end` is held until what follows shows that it
//! was the last.

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::Value;

use crate::adapter::{Reader, Source};
use crate::cli::figures::{priced, tokens};
use crate::cli::openrouter;
use crate::cli::refusal;
use crate::cli::session;
use crate::cli::stderr::{LastWords, plain};
use crate::cli::wording;

/// Lines of no interest that are as long as everything before them together.
const REPEATING: &[&[u8]] =
    &[br#"{"type":"message_update""#, br#"{"type":"turn_end""#, br#"{"type":"tool_execution_update""#];

/// Repeats every message of the run, so it may be too long to arrive whole.
const AGENT_END: &[u8] = br#"{"type":"agent_end""#;

/// How the last message of the model ended.
#[derive(Debug, Default)]
struct Last {
    text: Option<String>,
    error: Option<AgentError>,
}

/// Reads one process.
#[derive(Debug)]
pub(super) struct PiReader {
    asked: Option<String>,
    note: Value,
    /// OpenRouter is paid, whoever made the model.
    is_routed: bool,
    /// The latest time that a line named; before the first, when the run started.
    at: Moment,
    is_done: bool,
    last: Last,
    wrong_session: Option<AgentError>,
    /// A failure that ended the agent, unless the next lines say that it goes on.
    held: Option<AgentError>,
    last_words: LastWords,
}

impl PiReader {
    pub(super) fn new(asked: Option<&str>, note: Value, started_at: Moment) -> PiReader {
        PiReader {
            asked: asked.map(str::to_owned),
            note,
            is_routed: false,
            at: started_at,
            is_done: false,
            last: Last::default(),
            wrong_session: None,
            held: None,
            last_words: LastWords::default(),
        }
    }

    pub(super) fn routed(self, is_routed: bool) -> PiReader {
        PiReader { is_routed, ..self }
    }

    fn spoken(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        if line.starts_with(AGENT_END) {
            return self.agent_ended();
        }
        if REPEATING.iter().any(|beginning| line.starts_with(beginning)) {
            return Vec::new();
        }
        let mut events = Vec::new();
        let Ok(said) = serde_json::from_slice::<Value>(line) else {
            return self.muttered(line);
        };
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "session" => self.begin(text("id"), text("timestamp"), &mut events),
            "message_end" => self.message(said.get("message").unwrap_or(&Value::Null), &mut events),
            "tool_execution_start" => {
                // From here on what stands on stderr may be a tool's.
                self.last_words.end();
                events.push(AgentEvent::ToolCall {
                    id: text("toolCallId").to_owned(),
                    name: text("toolName").to_owned(),
                    input: said.get("args").cloned().unwrap_or_default(),
                });
            }
            "tool_execution_end" => {
                self.last_words.end();
                events.push(AgentEvent::ToolResult {
                    id: text("toolCallId").to_owned(),
                    is_error: said.get("isError").and_then(Value::as_bool).unwrap_or(false),
                    output: said
                        .get("result")
                        .and_then(|result| result.get("content"))
                        .map(words)
                        .unwrap_or_default(),
                });
            }
            "auto_retry_start" => {
                let held = self.held.take();
                let error = held.unwrap_or_else(|| refusal::read(text("errorMessage"), None, self.at));
                events.push(trouble(AgentError { class: ErrorClass::Other, ..error }));
            }
            "auto_retry_end" if said.get("success").and_then(Value::as_bool) == Some(false) => {
                let message = Some(text("finalError")).filter(|message| !message.is_empty());
                let error = message
                    .map(|message| refusal::read(message, None, self.at))
                    .or_else(|| self.held.clone());
                if let Some(error) = error {
                    events.extend(self.end(Some(error)));
                }
            }
            // It goes on after all: with a shorter history, or with the next try.
            "agent_start" | "turn_start" | "compaction_start" | "auto_compaction_start" => {
                self.held = None;
                self.last_words.end();
            }
            "agent_settled" => {
                if let Some(error) = self.held.take() {
                    events.extend(self.end(Some(error)));
                }
            }
            "error" | "extension_error" => {
                let message = said.get("error").and_then(refusal::message_of).unwrap_or(text("message"));
                if !message.trim().is_empty() {
                    let error = refusal::read(message, None, self.at);
                    events.push(trouble(AgentError { class: ErrorClass::Other, ..error }));
                }
            }
            _ => {}
        }
        events
    }

    fn begin(&mut self, id: &str, timestamp: &str, events: &mut Vec<AgentEvent>) {
        // Of a session that is resumed, the line names the time it was first begun.
        self.at = Moment::parse(timestamp).map_or(self.at, |at| at.max(self.at));
        if id.is_empty() {
            return;
        }
        events.push(AgentEvent::Session { id: id.to_owned() });
        events.push(AgentEvent::SessionNote { note: self.note.clone() });
        let asked = self.asked.as_deref().filter(|asked| *asked != id && !is_path(asked));
        if let Some(asked) = asked {
            let error = session::other(asked, id);
            self.wrong_session = Some(error.clone());
            events.push(trouble(error));
        }
    }

    /// A message of the model; those of the user and of tools arrive here as well.
    fn message(&mut self, message: &Value, events: &mut Vec<AgentEvent>) {
        let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("role") != "assistant" {
            return;
        }
        if let Some(millis) = message.get("timestamp").and_then(Value::as_i64) {
            self.at = Moment::from_micros(millis.saturating_mul(1_000)).max(self.at);
        }
        let said = message.get("content").map(words).unwrap_or_default();
        let said = Some(said.trim()).filter(|said| !said.is_empty()).map(str::to_owned);
        events.extend(said.clone().map(|text| AgentEvent::Message { text }));
        let mut usage = message.get("usage").map(|usage| used(usage, text("provider"), text("model")));
        if let Some(usage) = usage.as_mut().filter(|_| self.is_routed) {
            usage.biller = Some(openrouter::BILLER.to_owned());
        }
        events
            .extend(usage.filter(|usage| !usage.is_nothing()).map(|usage| AgentEvent::UsageAdded { usage }));
        let reason = text("stopReason");
        let words = Some(text("errorMessage")).filter(|words| !words.is_empty());
        let error = match reason {
            "error" | "aborted" => Some(refusal::read(
                words.unwrap_or("the request ended with an error and no reason"),
                None,
                self.at,
            )),
            "length" => Some(AgentError {
                class: ErrorClass::Other,
                message: "the model stopped at the greatest length of an answer (stopReason `length`)"
                    .to_owned(),
                code: None,
                not_before: None,
            }),
            _ => None,
        };
        self.last = Last { text: said, error };
    }

    fn agent_ended(&mut self) -> Vec<AgentEvent> {
        match self.last.error.clone() {
            Some(error) => {
                self.held = Some(error);
                Vec::new()
            }
            None => self.end(None).into_iter().collect(),
        }
    }

    fn end(&mut self, error: Option<AgentError>) -> Option<AgentEvent> {
        self.is_done = true;
        self.held = None;
        let summary = if error.is_none() { self.last.text.clone() } else { None };
        let error = self.wrong_session.clone().or(error);
        Some(AgentEvent::Result { error, summary, plan_only: false, json: None })
    }

    fn muttered(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let line = plain(line);
        if self.asked.is_some() && is_about_lost_session(&line) {
            self.last_words.end();
            return vec![trouble(session::gone(line))];
        }
        // The session is named before pi looks for a key.
        if !self.last_words.is_over() {
            let failure = refusal::read(&line, None, self.at);
            let needs_login =
                failure.class == ErrorClass::Auth || wording::has_any(&line, &["no models available"]);
            if needs_login {
                self.last_words.end();
                return vec![trouble(AgentError { class: ErrorClass::Auth, ..failure })];
            }
            self.last_words.hear(&line);
        }
        Vec::new()
    }
}

impl Reader for PiReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        match stream {
            Source::Stdout => self.spoken(line),
            Source::Stderr => self.muttered(line),
        }
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        if let Some(error) = self.held.take() {
            return self.end(Some(error)).into_iter().collect();
        }
        let words = if self.is_done { None } else { self.last_words.error() };
        words.map(trouble).into_iter().collect()
    }
}

/// pi's input tokens leave the cached ones out. What is written to the cache is paid as input, and counted as
/// such.
fn used(usage: &Value, provider: &str, model: &str) -> Usage {
    let name = |name: &str| Some(name).filter(|name| !name.is_empty()).map(str::to_owned);
    Usage {
        input_tokens: tokens(usage, "input").saturating_add(tokens(usage, "cacheWrite")),
        cached_input_tokens: tokens(usage, "cacheRead"),
        output_tokens: tokens(usage, "output"),
        cost_micros: usage.get("cost").and_then(|cost| priced(cost.get("total")?)),
        provider: name(provider),
        biller: name(provider),
        model: name(model),
        billing_type: Some("unknown".to_owned()),
        ..Usage::default()
    }
}

/// The text in a list of parts.
fn words(content: &Value) -> String {
    let parts = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = parts
        .iter()
        .filter(|part| part.get("type").and_then(Value::as_str) == Some("text"))
        .filter_map(|part| part.get("text").and_then(Value::as_str))
        .collect();
    texts.join("\n")
}

fn is_path(session: &str) -> bool {
    session.contains('/') || session.ends_with(".jsonl")
}

fn is_about_lost_session(line: &str) -> bool {
    let phrases = [
        "no session",
        "session found in different project",
        "stored session working directory does not exist",
    ];
    wording::has_any(line, &phrases) || wording::is_gone(line, &["session"])
}

fn trouble(error: AgentError) -> AgentEvent {
    AgentEvent::Trouble { error }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reader(asked: Option<&str>) -> PiReader {
        PiReader::new(asked, json!({ "cwd": "/w" }), Moment::from_micros(0))
    }

    fn read(reader: &mut PiReader, lines: &[Value]) -> Vec<AgentEvent> {
        lines.iter().flat_map(|line| reader.line(Source::Stdout, line.to_string().as_bytes())).collect()
    }

    fn message(reason: &str, error: &str) -> Value {
        json!({ "type": "message_end", "message": {
            "role": "assistant", "content": [{ "type": "text", "text": "words" }], "stopReason": reason,
            "errorMessage": error, "usage": { "input": 0 } } })
    }

    fn results(events: &[AgentEvent]) -> Vec<Option<ErrorClass>> {
        let result = |event: &AgentEvent| match event {
            AgentEvent::Result { error, .. } => Some(error.as_ref().map(|error| error.class)),
            _ => None,
        };
        events.iter().filter_map(result).collect()
    }

    fn end() -> Value {
        json!({ "type": "agent_end", "messages": [] })
    }

    #[test]
    fn a_failure_that_is_tried_again_is_no_end() {
        let retry = json!({ "type": "auto_retry_start", "attempt": 1, "errorMessage": "529 Overloaded" });
        let again = [message("error", "529 Overloaded"), end(), retry, json!({ "type": "agent_start" })];
        let mut overcome = reader(None);
        assert_eq!(results(&read(&mut overcome, &again)), []);
        assert_eq!(results(&read(&mut overcome, &[message("stop", ""), end()])), [None]);
        assert_eq!(overcome.finish(), []);

        let mut given_up = reader(None);
        read(&mut given_up, &again);
        let given = json!({ "type": "auto_retry_end", "success": false, "finalError": "529 Overloaded" });
        let events = read(&mut given_up, &[message("error", "529 Overloaded"), end(), given]);
        assert_eq!(results(&events), [Some(ErrorClass::Transient)]);
        assert_eq!(given_up.finish(), []);
    }

    #[test]
    fn a_failure_that_is_not_tried_again_is_the_end_when_the_process_is() {
        let mut failed = reader(None);
        assert_eq!(results(&read(&mut failed, &[message("error", "400 No."), end()])), []);
        assert_eq!(results(&failed.finish()), [Some(ErrorClass::BadRequest)]);
        let mut cut_short = reader(None);
        read(&mut cut_short, &[message("length", ""), end()]);
        assert_eq!(results(&cut_short.finish()), [Some(ErrorClass::Other)]);
        let mut compacted = reader(None);
        read(
            &mut compacted,
            &[message("error", "prompt is too long"), end(), json!({ "type": "compaction_start" })],
        );
        assert_eq!(compacted.finish(), []);
    }

    #[test]
    fn an_end_that_arrives_without_its_tail_is_an_end() {
        let mut cut = reader(None);
        read(&mut cut, &[message("stop", "")]);
        let events = cut.line(Source::Stdout, br#"{"type":"agent_end","messages":[{"role":"us"#);
        let [AgentEvent::Result { error: None, summary, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(summary.as_deref(), Some("words"));
    }

    #[test]
    fn the_session_that_was_asked_for_must_be_the_one_that_answers() {
        let lines = [json!({ "type": "session", "id": "b" }), message("stop", ""), end()];
        assert_eq!(results(&read(&mut reader(Some("a")), &lines)), [Some(ErrorClass::SessionGone)]);
        assert_eq!(results(&read(&mut reader(Some("b")), &lines)), [None]);
        assert_eq!(results(&read(&mut reader(Some("/s/2026_b.jsonl")), &lines)), [None]);
    }

    #[test]
    fn an_error_without_words_says_nothing() {
        let blank = [
            json!({ "type": "error" }),
            json!({ "type": "error", "message": " " }),
            json!({ "type": "error", "error": { "message": "" } }),
        ];
        assert_eq!(read(&mut reader(None), &blank), []);
        assert_eq!(read(&mut reader(None), &[json!({ "type": "error", "message": "It broke." })]).len(), 1);
    }

    #[test]
    fn a_price_of_nothing_is_no_price() {
        let usage =
            json!({ "input": 10, "cacheRead": 3, "cacheWrite": 5, "output": 2, "cost": { "total": 0 } });
        let usage = used(&usage, "p", "");
        assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (15, 3, 2));
        assert_eq!((usage.cost_micros, usage.model), (None, None));
    }

    #[test]
    fn what_it_says_before_it_begins_is_the_reason_why_it_did_not() {
        let say = |line: &str, asked| {
            let mut reader = reader(asked);
            let mut events = reader.line(Source::Stderr, line.as_bytes());
            events.extend(reader.finish());
            let [AgentEvent::Trouble { error }] = &events[..] else { panic!("{line}: {events:?}") };
            error.class
        };
        assert_eq!(say("No session found matching 'a'", Some("a")), ErrorClass::SessionGone);
        assert_eq!(say("No session found matching 'a'", None), ErrorClass::Other);
        assert_eq!(say("No API key found for anthropic.", None), ErrorClass::Auth);
        assert_eq!(say("No models available.", None), ErrorClass::Auth);
        assert_eq!(say("\u{1b}[31mError: no such extension\u{1b}[39m", None), ErrorClass::Other);
        let mut elsewhere = reader(Some("a"));
        let events = elsewhere.line(Source::Stdout, b"Session found in different project: /other");
        assert!(
            matches!(&events[..], [AgentEvent::Trouble { error }] if error.class == ErrorClass::SessionGone)
        );
    }
}
