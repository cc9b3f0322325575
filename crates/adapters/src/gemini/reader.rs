//! What the lines of Gemini CLI mean.
//!
//! On stdout: `init`, `message` (text of the agent in small pieces), `tool_use`, `tool_result`, `error`
//! (which it may survive) and `result`, the terminal event, whose numbers are those of the process alone. On
//! stderr, for people: why it could not begin, and that it waits before it asks the provider again.

use std::time::Duration;

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::Value;

use crate::adapter::{Reader, Source};
use crate::cli::figures::tokens;
use crate::cli::refusal;
use crate::cli::session;
use crate::cli::stderr::{LastWords, plain};
use crate::cli::wording;

/// The code for a lost login that existing clients know.
const AUTH_REQUIRED: &str = "gemini_auth_required";

/// The limit of turns is reached.
const MAX_TURNS: &str = "gemini_max_turns";

/// A message is handed on in parts of this size, in bytes, so that an endless one does not pile up here.
const LONGEST_MESSAGE: usize = 256 * 1024;

/// Reads one process.
#[derive(Debug)]
pub(super) struct GeminiReader {
    asked: Option<String>,
    note: Value,
    has_key: bool,
    /// The latest time that a line named; before the first, when the run started.
    at: Moment,
    is_done: bool,
    model: Option<String>,
    /// Pieces of a message that is not whole yet.
    message: String,
    last_message: Option<String>,
    /// The words of the last `error` line, for a result that has none.
    last_error: Option<String>,
    /// Another session than the one that was asked for took the work.
    wrong_session: Option<AgentError>,
    /// What it waits for before it asks again; gone as soon as it goes on.
    waits_for: Option<AgentError>,
    last_words: LastWords,
}

impl GeminiReader {
    pub(super) fn new(asked: Option<&str>, note: Value, has_key: bool, started_at: Moment) -> GeminiReader {
        GeminiReader {
            asked: asked.map(str::to_owned),
            note,
            has_key,
            at: started_at,
            is_done: false,
            model: None,
            message: String::new(),
            last_message: None,
            last_error: None,
            wrong_session: None,
            waits_for: None,
            last_words: LastWords::default(),
        }
    }

    fn spoken(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let Ok(said) = serde_json::from_slice::<Value>(line) else { return events };
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Some(at) = said.get("timestamp").and_then(Value::as_str).and_then(Moment::parse) {
            self.at = at;
        }
        let is_piece = text("type") == "message" && text("role") == "assistant";
        if !is_piece {
            events.extend(self.whole_message());
        }
        match text("type") {
            "init" => self.begin(text("session_id"), text("model"), &mut events),
            "message" if is_piece => {
                self.waits_for = None;
                self.message.push_str(text("content"));
                let is_whole = !said.get("delta").and_then(Value::as_bool).unwrap_or(false);
                if is_whole || self.message.len() >= LONGEST_MESSAGE {
                    events.extend(self.whole_message());
                }
            }
            "tool_use" => {
                self.waits_for = None;
                events.push(AgentEvent::ToolCall {
                    id: text("tool_id").to_owned(),
                    name: text("tool_name").to_owned(),
                    input: said.get("parameters").cloned().unwrap_or_default(),
                });
            }
            "tool_result" => {
                let error = said.get("error").and_then(refusal::message_of);
                events.push(AgentEvent::ToolResult {
                    id: text("tool_id").to_owned(),
                    is_error: text("status") == "error",
                    output: error.filter(|_| text("output").is_empty()).unwrap_or(text("output")).to_owned(),
                });
            }
            "error" => {
                let message = refusal::bounded(text("message")).to_owned();
                events.push(trouble(AgentError {
                    class: ErrorClass::Other,
                    ..refusal::read(&message, None, self.at)
                }));
                self.last_error = Some(message);
            }
            "result" => self.end(&said, &mut events),
            _ => {}
        }
        events
    }

    fn begin(&mut self, id: &str, model: &str, events: &mut Vec<AgentEvent>) {
        self.last_words.end();
        self.model = Some(model).filter(|model| !model.is_empty()).map(str::to_owned);
        if id.is_empty() {
            return;
        }
        events.push(AgentEvent::Session { id: id.to_owned() });
        events.push(AgentEvent::SessionNote { note: self.note.clone() });
        if let Some(asked) = self.asked.as_deref().filter(|asked| *asked != id) {
            let error = session::other(asked, id);
            self.wrong_session = Some(error.clone());
            events.push(trouble(error));
        }
    }

    fn end(&mut self, said: &Value, events: &mut Vec<AgentEvent>) {
        self.is_done = true;
        if let Some(usage) =
            said.get("stats").map(|stats| self.usage(stats)).filter(|usage| !usage.is_nothing())
        {
            events.push(AgentEvent::UsageTotal { usage });
        }
        let status = said.get("status").and_then(Value::as_str).unwrap_or_default();
        let failed = status != "success";
        let mut error = if failed { Some(self.failure(said.get("error"))) } else { None };
        if let Some(error) = error.as_mut().filter(|error| is_about_turns(status, said, error)) {
            error.code = Some(MAX_TURNS.to_owned());
            error.class = ErrorClass::Other;
            // Resumed, it would meet the same limit at once.
            let mut note = self.note.clone();
            note["over"] = "it reached its limit of turns".into();
            events.push(AgentEvent::SessionNote { note });
        }
        events.push(AgentEvent::Result {
            error: self.wrong_session.take().or(error),
            summary: self.last_message.clone().filter(|_| !failed),
            plan_only: false,
            json: Some(said.clone()),
        });
    }

    fn failure(&self, error: Option<&Value>) -> AgentError {
        let message = error.and_then(refusal::message_of).or(self.last_error.as_deref());
        let kind = error.and_then(|error| error.get("type")).and_then(Value::as_str).unwrap_or_default();
        let failure =
            refusal::read(message.unwrap_or("the program reported a failure and no reason"), None, self.at);
        if kind == "FatalAuthenticationError" || failure.class == ErrorClass::Auth {
            return AgentError { class: ErrorClass::Auth, code: Some(AUTH_REQUIRED.to_owned()), ..failure };
        }
        failure
    }

    /// Its input tokens contain the cached ones. What its total has beyond input and output was thought, and
    /// is billed as output.
    fn usage(&self, stats: &Value) -> Usage {
        let (input, cached) = (tokens(stats, "input_tokens"), tokens(stats, "cached"));
        let output = tokens(stats, "output_tokens").max(tokens(stats, "total_tokens").saturating_sub(input));
        // With `auto` several models may have worked; then the one that was announced says the least that is
        // wrong.
        let used = stats.get("models").and_then(Value::as_object).filter(|models| models.len() == 1);
        let model = used.and_then(|models| models.keys().next().cloned()).or_else(|| self.model.clone());
        Usage {
            input_tokens: input.saturating_sub(cached),
            cached_input_tokens: cached.min(input),
            output_tokens: output,
            provider: Some("google".to_owned()),
            biller: Some("google".to_owned()),
            model,
            billing_type: Some(if self.has_key { "api" } else { "subscription" }.to_owned()),
            ..Usage::default()
        }
    }

    fn whole_message(&mut self) -> Option<AgentEvent> {
        let text = std::mem::take(&mut self.message);
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        self.last_message = Some(text.to_owned());
        Some(AgentEvent::Message { text: text.to_owned() })
    }

    fn muttered(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let line = plain(line);
        if self.asked.is_some() && is_about_lost_session(&line) {
            self.last_words.end();
            return vec![trouble(session::gone(line))];
        }
        if let Some(failure) = line.strip_prefix("Attempt ") {
            let words = failure.split_once(": ").map_or(failure, |(_, words)| words);
            let status = wording::status(failure);
            let error = AgentError { message: line.clone(), ..refusal::read(words, status, self.at) };
            self.waits_for = Some(error.clone());
            // It may well go on; what it waits for is said at the end, if it still does.
            return vec![trouble(AgentError { class: ErrorClass::Other, ..error })];
        }
        if let (Some(wait), Some(waits_for)) = (wait(&line), &mut self.waits_for) {
            waits_for.not_before = Some(self.at.plus(wait));
            return Vec::new();
        }
        if !self.last_words.is_over() {
            let failure = refusal::read(&line, None, self.at);
            if failure.class == ErrorClass::Auth {
                self.last_words.end();
                return vec![trouble(AgentError { code: Some(AUTH_REQUIRED.to_owned()), ..failure })];
            }
            self.last_words.hear(&line);
        }
        Vec::new()
    }
}

impl Reader for GeminiReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        match stream {
            Source::Stdout => self.spoken(line),
            Source::Stderr => self.muttered(line),
        }
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        let mut events: Vec<AgentEvent> = self.whole_message().into_iter().collect();
        if !self.is_done {
            let error = self.waits_for.take().or_else(|| self.last_words.error());
            events.extend(error.map(trouble));
        }
        events
    }
}

/// The limit of turns that `settings.json` sets is reached.
fn is_about_turns(status: &str, said: &Value, error: &AgentError) -> bool {
    let kind = said.get("error").and_then(|error| error.get("type")).and_then(Value::as_str);
    let words = ["max session turns", "maximum session turns", "max turns", "turn limit"];
    matches!(status, "turn_limit" | "max_turns")
        || kind == Some("FatalTurnLimitedError")
        || (error.class == ErrorClass::Other && wording::has_any(&error.message, &words))
}

fn is_about_lost_session(line: &str) -> bool {
    wording::has_any(
        line,
        &["error resuming session", "cannot resume", "failed to resume", "invalid session identifier"],
    ) || wording::is_gone(line, &["session", "resume", "checkpoint"])
}

/// `Suggested retry after 60s.. Retrying after 66846ms...`
fn wait(line: &str) -> Option<Duration> {
    let (_, behind) = line.rsplit_once("Retrying after ")?;
    let (millis, _) = behind.split_once("ms")?;
    millis.parse::<u32>().ok().map(|millis| Duration::from_millis(millis.into()))
}

fn trouble(error: AgentError) -> AgentEvent {
    AgentEvent::Trouble { error }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: Moment = Moment::from_micros(1_795_262_400_000_000);

    fn reader(asked: Option<&str>) -> GeminiReader {
        GeminiReader::new(asked, json!({ "cwd": "/w" }), true, NOON)
    }

    fn read(reader: &mut GeminiReader, lines: &[Value]) -> Vec<AgentEvent> {
        lines.iter().flat_map(|line| reader.line(Source::Stdout, line.to_string().as_bytes())).collect()
    }

    fn piece(text: &str) -> Value {
        json!({ "type": "message", "role": "assistant", "content": text, "delta": true })
    }

    #[test]
    fn pieces_of_a_message_are_put_together_and_an_endless_one_is_handed_on_in_parts() {
        let message = |text: &str| AgentEvent::Message { text: text.to_owned() };
        let mut few = reader(None);
        let call = json!({ "type": "tool_use", "tool_id": "1", "tool_name": "ls", "parameters": {} });
        let events = read(&mut few, &[piece("Hello "), piece("you"), call, piece("bye")]);
        assert_eq!(events[0], message("Hello you"));
        assert_eq!(few.finish(), [message("bye")]);

        let mut many = reader(None);
        let long = "x".repeat(LONGEST_MESSAGE / 2);
        let events = read(&mut many, &[piece(&long), piece(&long), piece("y")]);
        assert_eq!(events.len(), 1);
        assert_eq!(many.finish(), [message("y")]);
    }

    #[test]
    fn thoughts_are_output_and_cached_tokens_are_no_input() {
        let stats = json!({ "total_tokens": 1_300, "input_tokens": 1_230, "output_tokens": 7, "cached": 200,
            "models": { "a": {}, "b": {} } });
        let usage = reader(None).usage(&stats);
        assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (1_030, 200, 70));
        assert_eq!((usage.model, usage.cost_micros), (None, None));
    }

    #[test]
    fn a_result_without_numbers_says_nothing_of_usage() {
        let result = json!({ "type": "result", "status": "success", "stats": { "input_tokens": 0 } });
        let events = read(&mut reader(None), &[result]);
        assert!(matches!(&events[..], [AgentEvent::Result { error: None, .. }]), "{events:?}");
    }

    #[test]
    fn the_session_that_was_asked_for_must_be_the_one_that_answers() {
        let lines = [
            json!({ "type": "init", "session_id": "new", "model": "m" }),
            json!({ "type": "result", "status": "success", "stats": {} }),
        ];
        let events = read(&mut reader(Some("old")), &lines);
        let Some(AgentEvent::Result { error: Some(error), .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(error.class, ErrorClass::SessionGone);
        assert!(events.contains(&trouble(error.clone())));
        assert!(matches!(
            read(&mut reader(Some("new")), &lines).last(),
            Some(AgentEvent::Result { error: None, .. })
        ));
    }

    #[test]
    fn what_it_waited_for_counts_only_while_it_waits() {
        let attempt = b"Attempt 2 failed: Rate limited by the model.";
        let wait = b"Suggested retry after 60s.. Retrying after 66846ms...";
        let mut waiting = reader(None);
        let said = waiting.line(Source::Stderr, attempt);
        assert!(matches!(&said[..], [AgentEvent::Trouble { error }] if error.class == ErrorClass::Other));
        assert_eq!(waiting.line(Source::Stderr, wait), []);
        let [AgentEvent::Trouble { error }] = &waiting.finish()[..] else { panic!("it waits") };
        assert_eq!(error.class, ErrorClass::Transient);
        assert_eq!(error.not_before, Some(NOON.plus(Duration::from_millis(66_846))));

        let mut going_on = reader(None);
        going_on.line(Source::Stderr, attempt);
        read(&mut going_on, &[piece("I am back")]);
        assert_eq!(going_on.finish().len(), 1);
    }

    #[test]
    fn without_a_login_it_does_not_begin() {
        let line = b"Please set an Auth method in your /home/a/.gemini/settings.json or specify one";
        let events = reader(None).line(Source::Stderr, line);
        let [AgentEvent::Trouble { error }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((error.class, error.code.as_deref()), (ErrorClass::Auth, Some(AUTH_REQUIRED)));
    }

    #[test]
    fn a_session_at_its_limit_of_turns_is_over() {
        let words = "Reached max session turns for this session. Increase maxSessionTurns in settings.json.";
        let over = |events: &[AgentEvent]| {
            let mut told = domain::telling::Told::default();
            events.iter().for_each(|event| told.hear(event));
            told.session_note.and_then(|note| note.get("over").cloned()).is_some()
        };
        let begin = json!({ "type": "init", "session_id": "s", "model": "m" });
        for end in [
            json!({ "type": "result", "status": "error",
                "error": { "type": "FatalTurnLimitedError", "message": words } }),
            json!({ "type": "result", "status": "error", "error": { "message": words } }),
            json!({ "type": "result", "status": "turn_limit" }),
            json!({ "type": "result", "status": "max_turns" }),
        ] {
            let events = read(&mut reader(None), &[begin.clone(), end.clone()]);
            assert!(over(&events), "{end}");
            let Some(AgentEvent::Result { error: Some(error), .. }) = events.last() else {
                panic!("{events:?}")
            };
            assert_eq!(
                (error.class, error.code.as_deref()),
                (ErrorClass::Other, Some("gemini_max_turns")),
                "{end}"
            );
        }
        let said_before = [
            begin.clone(),
            json!({ "type": "error", "severity": "error", "message": "Maximum session turns exceeded" }),
            json!({ "type": "result", "status": "error" }),
        ];
        assert!(over(&read(&mut reader(None), &said_before)));
        let busy =
            json!({ "type": "result", "status": "error", "error": { "message": "503 Service Unavailable" } });
        assert!(!over(&read(&mut reader(None), &[begin, busy])));
    }

    #[test]
    fn a_stream_that_was_no_good_has_its_reason_in_the_line_before() {
        let lines = [
            json!({ "type": "error", "severity": "error", "message": "Nothing came back." }),
            json!({ "type": "result", "status": "error", "stats": {} }),
        ];
        let events = read(&mut reader(None), &lines);
        let Some(AgentEvent::Result { error: Some(error), .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(error.message, "Nothing came back.");
    }
}
