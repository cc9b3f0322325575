//! What the lines of Qwen Code mean.
//!
//! The lines have the shapes of Claude Code's: `system/init`, `assistant`, `user` (results of tools) and
//! `result`, the terminal event. What `result` reports as used is the sum over the whole session, over all
//! runs that resumed it, side calls of the program included. A run's own share is the difference to the sum
//! that the run before noted, if the same version noted it; without such a note the share is not known, and
//! nothing is said. While the run goes on, the sum over its messages is told: side calls are missing in it,
//! so it is replaced at the end.

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::{Value, json};

use crate::adapter::{Reader, Source};
use crate::cli::figures::tokens;
use crate::cli::refusal;
use crate::cli::session;
use crate::cli::stderr::{LastWords, plain};
use crate::cli::wording;

/// Raw sums of a session, as the program counts: the cached tokens are part of the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    input: u64,
    cached: u64,
    output: u64,
}

impl Sums {
    fn of(usage: &Value) -> Sums {
        Sums {
            input: tokens(usage, "input_tokens"),
            cached: tokens(usage, "cache_read_input_tokens"),
            output: tokens(usage, "output_tokens"),
        }
    }

    /// What came to `self` after `before`; `None` when `self` is not a continuation of it.
    fn since(self, before: Sums) -> Option<Sums> {
        Some(Sums {
            input: self.input.checked_sub(before.input)?,
            cached: self.cached.checked_sub(before.cached)?,
            output: self.output.checked_sub(before.output)?,
        })
    }

    fn plus(self, more: Sums) -> Sums {
        Sums {
            input: self.input.saturating_add(more.input),
            cached: self.cached.saturating_add(more.cached),
            output: self.output.saturating_add(more.output),
        }
    }
}

/// What is known of the session's sums before this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// The session is fresh.
    Nothing,
    /// The run before noted them, with its version of the program.
    Noted {
        version: String,
        sums: Noted,
    },
    Unknown,
}

/// Sums as a run noted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted(Sums);

impl Before {
    /// Reads the note of the run before.
    pub(super) fn read(note: Option<&Value>) -> Before {
        let count = |name| note.and_then(|note| note.get(name)).and_then(Value::as_u64);
        let version = note.and_then(|note| note.get("version")).and_then(Value::as_str);
        match (version, count("inputTokens"), count("cachedInputTokens"), count("outputTokens")) {
            (Some(version), Some(input), Some(cached), Some(output)) => {
                Before::Noted { version: version.to_owned(), sums: Noted(Sums { input, cached, output }) }
            }
            _ => Before::Unknown,
        }
    }

    /// The sums before this run, when `version` counts on from them.
    fn sums(&self, version: &str) -> Option<Sums> {
        match self {
            Before::Nothing => Some(Sums::default()),
            Before::Noted { version: noted, sums } => Some(sums.0).filter(|_| noted == version),
            Before::Unknown => None,
        }
    }
}

/// Reads one process.
#[derive(Debug)]
pub(super) struct QwenReader {
    asked: Option<String>,
    before: Before,
    /// What is noted in any case: the folder.
    note: Value,
    has_key: bool,
    at: Moment,
    has_begun: bool,
    is_done: bool,
    version: String,
    model: Option<String>,
    /// What the messages of this run used.
    used: Sums,
    last_id: String,
    last_message: Option<String>,
    wrong_session: Option<AgentError>,
    last_words: LastWords,
}

impl QwenReader {
    pub(super) fn new(
        asked: Option<&str>,
        before: Before,
        note: Value,
        has_key: bool,
        started_at: Moment,
    ) -> QwenReader {
        QwenReader {
            asked: asked.map(str::to_owned),
            before,
            note,
            has_key,
            at: started_at,
            has_begun: false,
            is_done: false,
            version: String::new(),
            model: None,
            used: Sums::default(),
            last_id: String::new(),
            last_message: None,
            wrong_session: None,
            last_words: LastWords::default(),
        }
    }

    fn spoken(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let Ok(said) = serde_json::from_slice::<Value>(line) else { return events };
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        match (text("type"), text("subtype")) {
            ("system", "init") => {
                self.version = text("qwen_code_version").to_owned();
                self.model = Some(text("model")).filter(|model| !model.is_empty()).map(str::to_owned);
                self.begin(text("session_id"), &mut events);
            }
            ("assistant", _) => self.message(&said, &mut events),
            ("user", _) => events.extend(blocks(&said).iter().filter_map(tool_result)),
            ("result", _) => self.end(&said, &mut events),
            _ => {}
        }
        events
    }

    fn begin(&mut self, id: &str, events: &mut Vec<AgentEvent>) {
        self.has_begun = true;
        self.last_words.end();
        if id.is_empty() {
            return;
        }
        events.push(AgentEvent::Session { id: id.to_owned() });
        // Should this process end without a result, the next run must not count its tokens as its own.
        events.push(AgentEvent::SessionNote { note: self.noted(None) });
        if let Some(asked) = self.asked.as_deref().filter(|asked| *asked != id) {
            let error = session::other(asked, id);
            self.wrong_session = Some(error.clone());
            self.before = Before::Unknown;
            events.push(trouble(error));
        }
    }

    fn message(&mut self, said: &Value, events: &mut Vec<AgentEvent>) {
        let message = said.get("message").unwrap_or(&Value::Null);
        let usage = message.get("usage").map(Sums::of).unwrap_or_default();
        // What another agent says that this one started is between the two.
        let is_own = said.get("parent_tool_use_id").is_none_or(Value::is_null);
        for block in blocks(said).iter().filter(|_| is_own) {
            let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
            match text("type") {
                "text" => {
                    let words = text("text").trim();
                    // The program's words for a failure; the result has them too.
                    let is_failure = usage == Sums::default() && words.starts_with("[API Error:");
                    if !words.is_empty() && !is_failure {
                        self.last_message = Some(words.to_owned());
                        events.push(AgentEvent::Message { text: words.to_owned() });
                    }
                }
                "tool_use" => events.push(AgentEvent::ToolCall {
                    id: text("id").to_owned(),
                    name: text("name").to_owned(),
                    input: block.get("input").cloned().unwrap_or_default(),
                }),
                _ => {}
            }
        }
        let id = message.get("id").and_then(Value::as_str).unwrap_or_default();
        let is_told_twice = !id.is_empty() && id == self.last_id;
        if usage == Sums::default() || is_told_twice {
            return;
        }
        self.last_id = id.to_owned();
        self.used = self.used.plus(usage);
        if self.before.sums(&self.version).is_some() {
            events.push(AgentEvent::UsageTotal { usage: self.usage(self.used) });
        }
    }

    fn end(&mut self, said: &Value, events: &mut Vec<AgentEvent>) {
        self.is_done = true;
        let sums = said.get("usage").map(Sums::of).filter(|sums| *sums != Sums::default());
        let own = sums.and_then(|sums| sums.since(self.before.sums(&self.version)?));
        // A sum that lacks what the messages said was not counted on from where it was thought to be; one to
        // which nothing came says of a request that failed only that it was not counted.
        if let Some(own) = own.filter(|own| own.since(self.used).is_some() && *own != Sums::default()) {
            events.push(AgentEvent::UsageTotal { usage: self.usage(own) });
        }
        if let Some(sums) = sums.filter(|_| self.has_begun && self.wrong_session.is_none()) {
            events.push(AgentEvent::SessionNote { note: self.noted(Some(sums)) });
        }
        let text =
            |name: &str| said.get(name).and_then(Value::as_str).map(str::trim).filter(|it| !it.is_empty());
        let failed =
            said.get("is_error").and_then(Value::as_bool).unwrap_or(text("subtype") != Some("success"));
        let failure = || {
            let words =
                said.get("error").and_then(refusal::message_of).or(text("result")).or(text("subtype"));
            refusal::read(words.unwrap_or("the program reported a failure and no reason"), None, self.at)
        };
        let error = if failed { Some(failure()) } else { None };
        let summary = text("result").map(str::to_owned).or_else(|| self.last_message.clone());
        events.push(AgentEvent::Result {
            error: self.wrong_session.clone().or(error),
            summary: summary.filter(|_| !failed),
            plan_only: false,
            json: Some(said.clone()),
        });
    }

    fn noted(&self, sums: Option<Sums>) -> Value {
        let mut note = self.note.clone();
        if let (Some(fields), Some(sums)) = (note.as_object_mut(), sums) {
            fields.insert("version".to_owned(), json!(self.version));
            fields.insert("inputTokens".to_owned(), json!(sums.input));
            fields.insert("cachedInputTokens".to_owned(), json!(sums.cached));
            fields.insert("outputTokens".to_owned(), json!(sums.output));
        }
        note
    }

    fn usage(&self, sums: Sums) -> Usage {
        Usage {
            input_tokens: sums.input.saturating_sub(sums.cached),
            cached_input_tokens: sums.cached.min(sums.input),
            output_tokens: sums.output,
            model: self.model.clone(),
            billing_type: Some(if self.has_key { "api" } else { "unknown" }.to_owned()),
            ..Usage::default()
        }
    }

    fn muttered(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let line = plain(line);
        if self.asked.is_some() && is_about_lost_session(&line) {
            self.last_words.end();
            return vec![trouble(session::gone(line))];
        }
        if !self.last_words.is_over() {
            let failure = refusal::read(&line, None, self.at);
            if failure.class == ErrorClass::Auth {
                self.last_words.end();
                return vec![trouble(failure)];
            }
            self.last_words.hear(&line);
        }
        Vec::new()
    }
}

impl Reader for QwenReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        match stream {
            Source::Stdout => self.spoken(line),
            Source::Stderr => self.muttered(line),
        }
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        let words = if self.is_done { None } else { self.last_words.error() };
        words.map(trouble).into_iter().collect()
    }
}

fn blocks(said: &Value) -> &[Value] {
    let content = said.get("message").and_then(|message| message.get("content"));
    content.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn tool_result(block: &Value) -> Option<AgentEvent> {
    let text = |name: &str| block.get(name).and_then(Value::as_str);
    if text("type") != Some("tool_result") {
        return None;
    }
    let output = match block.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    };
    Some(AgentEvent::ToolResult {
        id: text("tool_use_id").unwrap_or_default().to_owned(),
        is_error: block.get("is_error").and_then(Value::as_bool).unwrap_or(false),
        output,
    })
}

fn is_about_lost_session(line: &str) -> bool {
    wording::has_any(
        line,
        &["no saved session found", "error resuming session", "failed to resume", "cannot resume"],
    ) || wording::is_gone(line, &["session"])
}

fn trouble(error: AgentError) -> AgentEvent {
    AgentEvent::Trouble { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(asked: Option<&str>, note: Option<&Value>) -> QwenReader {
        let before = if asked.is_some() { Before::read(note) } else { Before::Nothing };
        QwenReader::new(asked, before, json!({ "cwd": "/w" }), true, Moment::from_micros(0))
    }

    fn note(sum: u64) -> Value {
        json!({ "cwd": "/w", "version": "1",
            "inputTokens": sum, "cachedInputTokens": 0, "outputTokens": sum })
    }

    /// Usage and note after a run whose one message used 100 tokens and whose session has now used `input`.
    fn run(asked: Option<&str>, note: Option<&Value>, version: &str, input: u64) -> (Option<u64>, Value) {
        let mut reader = reader(asked, note);
        let usage = |input: u64| json!({ "input_tokens": input, "output_tokens": input });
        let mut told = domain::telling::Told::default();
        for line in [
            json!({ "type": "system", "subtype": "init", "session_id": "s", "qwen_code_version": version }),
            json!({ "type": "assistant", "message": { "id": "m", "content": [], "usage": usage(100) } }),
            json!({ "type": "result", "subtype": "success", "is_error": false, "usage": usage(input) }),
        ] {
            for event in reader.line(Source::Stdout, line.to_string().as_bytes()) {
                told.hear(&event);
            }
        }
        (told.usage.map(|usage| usage.input_tokens), told.session_note.unwrap_or_default())
    }

    #[test]
    fn a_run_that_resumes_pays_for_what_came_to_the_sum() {
        let (used, first) = run(None, None, "1", 150);
        assert_eq!(used, Some(150));
        assert_eq!(first, note(150));
        let (used, second) = run(Some("s"), Some(&first), "1", 400);
        assert_eq!(used, Some(250));
        assert_eq!(second.get("inputTokens"), Some(&json!(400)));
    }

    #[test]
    fn a_sum_that_nothing_is_known_before_says_nothing_of_this_run_but_is_noted() {
        let noted = note(150);
        for (note, version) in [(None, "1"), (Some(&noted), "2"), (Some(&json!({ "cwd": "/w" })), "1")] {
            let (used, after) = run(Some("s"), note, version, 400);
            assert_eq!((used, after.get("inputTokens")), (None, Some(&json!(400))), "{note:?} {version}");
        }
    }

    #[test]
    fn a_sum_that_fell_or_is_not_there_leaves_what_the_messages_said() {
        assert_eq!(run(Some("s"), Some(&note(150)), "1", 120).0, Some(100));
        assert_eq!(run(Some("s"), Some(&note(150)), "1", 200).0, Some(100));
        assert_eq!(run(None, None, "1", 0).0, Some(100));
    }

    #[test]
    fn a_process_that_ends_without_a_result_leaves_no_sum_behind() {
        let mut reader = reader(None, None);
        let init = br#"{"type":"system","subtype":"init","session_id":"s","qwen_code_version":"1"}"#;
        let events = reader.line(Source::Stdout, init);
        assert!(events.contains(&AgentEvent::SessionNote { note: json!({ "cwd": "/w" }) }), "{events:?}");
        assert_eq!(Before::read(Some(&json!({ "cwd": "/w" }))), Before::Unknown);
    }

    #[test]
    fn a_session_that_is_gone_and_a_login_that_is_missing_are_told_apart() {
        let said = |line: &str, asked| match &reader(asked, None).line(Source::Stderr, line.as_bytes())[..] {
            [AgentEvent::Trouble { error }] => Some(error.class),
            _ => None,
        };
        let gone = "No saved session found with ID s. Run `qwen --resume` without an ID to choose one.";
        assert_eq!(said(gone, Some("s")), Some(ErrorClass::SessionGone));
        assert_eq!(said(gone, None), None);
        assert_eq!(
            said("No auth type is selected. Please configure an auth type", None),
            Some(ErrorClass::Auth)
        );
        assert_eq!(said("Warning: running headless with --yolo", None), None);
    }

    #[test]
    fn another_session_than_the_one_asked_for_is_no_success() {
        let mut reader = reader(Some("a"), None);
        reader.line(Source::Stdout, br#"{"type":"system","subtype":"init","session_id":"b"}"#);
        let events = reader.line(Source::Stdout, br#"{"type":"result","is_error":false,"result":"done"}"#);
        let Some(AgentEvent::Result { error: Some(error), .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(error.class, ErrorClass::SessionGone);
    }
}
