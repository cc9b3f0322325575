//! What the lines of `codex exec --json` mean.
//!
//! Only `turn.completed` and `turn.failed` end a turn. An `error` line is trouble on the way, an item of the
//! type `error` a remark that nothing depends on. When another thread answers than the one asked for (Codex
//! begins a new one when an id is no UUID), the run must not go on without its memory as if nothing were: the
//! session is reported as gone at once, as the terminal event, and nothing that the other thread says or
//! spends counts for anything.

use std::collections::VecDeque;
use std::path::Path;

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, Usage};
use serde_json::Value;

use super::failure::{self, Clock};
use super::item::{self, Stage};
use super::session::{self, Choice, Totals};
use crate::adapter::{Reader, Source};
use crate::cli;

/// So many tools under way are remembered; a program runs a handful at once.
const MOST_OPEN: usize = 256;

/// How much of a line of stderr is kept, in bytes.
const STDERR_LINE: usize = 2_000;

/// How Codex begins the line in which it gives up.
const LAST_WORD: &str = "Error:";

/// Reads one process.
#[derive(Debug)]
pub(super) struct CodexReader {
    asked: Option<String>,
    /// What the thread used before this process.
    before: Option<Totals>,
    cwd: String,
    /// Who is paid; its amounts are zero.
    payer: Usage,
    clock: Clock,
    thread: Option<String>,
    /// Another thread answered: nothing counts any more.
    is_elsewhere: bool,
    /// Tools that were called and gave nothing yet.
    open: VecDeque<String>,
    last_message: Option<String>,
    /// Something on stdout explains the end.
    is_explained: bool,
    /// The line of stderr that may explain the end: the program's last word, else the first that is no noise.
    words: Option<String>,
}

impl CodexReader {
    /// Returns the reader of a process that was started by `choice` in `cwd`.
    pub(super) fn new(choice: &Choice<'_>, cwd: &Path, payer: Usage, clock: Clock) -> CodexReader {
        CodexReader {
            asked: choice.session.map(str::to_owned),
            before: choice.before,
            cwd: cwd.to_string_lossy().into_owned(),
            payer,
            clock,
            thread: None,
            is_elsewhere: false,
            open: VecDeque::new(),
            last_message: None,
            is_explained: false,
            words: None,
        }
    }

    fn stdout(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        // Other lines are no speech, and a line that was cut for its length is no JSON any more.
        let Ok(line) = serde_json::from_slice::<Value>(line) else { return Vec::new() };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        match line.get("type").and_then(Value::as_str) {
            Some("thread.started") => text(&line, "thread_id").map_or_else(Vec::new, |id| self.started(id)),
            Some("turn.completed") => self.completed(line),
            Some("turn.failed") => {
                let words = line.get("error").and_then(|error| text(error, "message")).unwrap_or_default();
                let words = if words.trim().is_empty() { "the turn failed".to_owned() } else { words };
                let full = self.thread.as_ref().filter(|_| failure::is_full(&words)).map(|thread| {
                    let note = session::over(thread, &self.cwd, "its context is full");
                    AgentEvent::SessionNote { note }
                });
                let end = self.done(Some(failure::read(&words, &self.clock)), line);
                full.into_iter().chain([end]).collect()
            }
            Some("error") => {
                let words = text(&line, "message").unwrap_or_default();
                // Codex tries again by itself; if that fails too, it says so once more and without this word.
                let is_retrying = words.starts_with("Reconnecting");
                self.is_explained |= !is_retrying;
                let error =
                    if is_retrying { failure::other(&words) } else { failure::read(&words, &self.clock) };
                vec![AgentEvent::Trouble { error }]
            }
            Some("item.started") => self.item(Stage::Started, &line),
            Some("item.completed") => self.item(Stage::Completed, &line),
            // What is new between the two is repeated at the end.
            _ => Vec::new(),
        }
    }

    fn started(&mut self, thread: String) -> Vec<AgentEvent> {
        if let Some(asked) = self.asked.as_ref().filter(|asked| !asked.eq_ignore_ascii_case(&thread)) {
            let error = cli::session::other(asked, &thread);
            self.is_elsewhere = true;
            return vec![AgentEvent::Result {
                error: Some(error),
                summary: None,
                plan_only: false,
                json: None,
            }];
        }
        if self.thread.as_ref() == Some(&thread) {
            return Vec::new();
        }
        // From here on the noted sums are out of date, whatever becomes of the turn.
        let note = session::note(&thread, &self.cwd, None);
        self.thread = Some(thread.clone());
        vec![AgentEvent::Session { id: thread }, AgentEvent::SessionNote { note }]
    }

    fn completed(&mut self, line: Value) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        if let Some(totals) = line.get("usage").and_then(totals) {
            if let Some(used) = self.before.and_then(|before| totals.since(before)) {
                events.push(AgentEvent::UsageTotal { usage: self.usage(used) });
            }
            if let Some(thread) = &self.thread {
                let note = session::note(thread, &self.cwd, Some(totals));
                events.push(AgentEvent::SessionNote { note });
            }
        }
        events.push(self.done(None, line));
        events
    }

    fn usage(&self, used: Totals) -> Usage {
        Usage {
            input_tokens: used.input.saturating_sub(used.cached),
            cached_input_tokens: used.cached,
            output_tokens: used.output,
            ..self.payer.clone()
        }
    }

    /// The terminal event.
    fn done(&mut self, error: Option<AgentError>, line: Value) -> AgentEvent {
        self.is_explained = true;
        AgentEvent::Result { error, summary: self.last_message.clone(), plan_only: false, json: Some(line) }
    }

    fn item(&mut self, stage: Stage, line: &Value) -> Vec<AgentEvent> {
        let Some(item) = line.get("item") else { return Vec::new() };
        if let Some(text) = item::message(stage, item) {
            self.last_message = Some(text.clone());
            return vec![AgentEvent::Message { text }];
        }
        let Some(tool) = item::tool(stage, item) else { return Vec::new() };
        let known = self.open.iter().position(|id| *id == tool.id);
        let mut events = Vec::new();
        if known.is_none() {
            let (id, name, input) = (tool.id.clone(), tool.name, tool.input);
            events.push(AgentEvent::ToolCall { id, name, input });
        }
        match (tool.result, known) {
            (Some((is_error, output)), known) => {
                known.and_then(|at| self.open.remove(at));
                events.push(AgentEvent::ToolResult { id: tool.id, is_error, output });
            }
            (None, None) => {
                if self.open.len() == MOST_OPEN {
                    self.open.pop_front();
                }
                self.open.push_back(tool.id);
            }
            (None, Some(_)) => {}
        }
        events
    }

    /// Keeps the line that explains an end which stdout does not explain.
    fn stderr(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(&line[..line.len().min(STDERR_LINE)]);
        let line = line.trim();
        // Codex logs the loss of a file about any thread, not only about the one it was asked for.
        let is_ours = |asked: &String| line.contains(asked.as_str()) && failure::is_gone(line);
        let is_last_word =
            line.starts_with(LAST_WORD) || (is_log(line) && self.asked.as_ref().is_some_and(is_ours));
        let may_explain = !line.is_empty() && !is_noise(line) && !is_log(line);
        if is_last_word || (may_explain && self.words.is_none()) {
            self.words = Some(line.to_owned());
        }
    }
}

impl Reader for CodexReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        match stream {
            _ if self.is_elsewhere => Vec::new(),
            Source::Stdout => self.stdout(line),
            Source::Stderr => {
                self.stderr(line);
                Vec::new()
            }
        }
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        if self.is_explained || self.is_elsewhere {
            return Vec::new();
        }
        let Some(words) = self.words.take() else { return Vec::new() };
        // Tools and servers that Codex starts write to the same stderr: only its own last word has a class.
        let error = match words.strip_prefix(LAST_WORD) {
            Some(words) => failure::read(words, &self.clock),
            None if self.thread.is_none() && failure::is_gone(&words) => failure::read(&words, &self.clock),
            None => failure::other(&words),
        };
        vec![AgentEvent::Trouble { error }]
    }
}

/// The sums of `turn.completed`.
fn totals(usage: &Value) -> Option<Totals> {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    Some(Totals {
        input: count("input_tokens")?,
        cached: count("cached_input_tokens").unwrap_or(0),
        output: count("output_tokens")?,
    })
}

/// What Codex says on stderr when all is well.
fn is_noise(line: &str) -> bool {
    line.starts_with("WARNING:") || (line.starts_with("Reading ") && line.ends_with("from stdin..."))
}

/// `2026-11-20T10:00:00.000000Z ERROR codex_core::...`: Codex's own log.
fn is_log(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let has_time = words.next().is_some_and(|word| Moment::parse(word).is_some());
    has_time && matches!(words.next(), Some("ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE"))
}

#[cfg(test)]
mod tests {
    use domain::telling::ErrorClass;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const THREAD: &str = "01a1faf0-10ff-7372-8508-ed199ead7e6b";

    fn reader(session: Option<&str>, before: Option<Totals>) -> CodexReader {
        let choice = Choice { session, before, remark: None, is_safer: false };
        let clock = Clock { started_at: Moment::from_micros(0), zone: jiff::tz::TimeZone::UTC };
        CodexReader::new(&choice, Path::new("/w"), Usage::default(), clock)
    }

    fn fresh() -> CodexReader {
        reader(None, Some(Totals::default()))
    }

    fn read(reader: &mut CodexReader, lines: &[Value]) -> Vec<AgentEvent> {
        lines.iter().flat_map(|line| reader.line(Source::Stdout, line.to_string().as_bytes())).collect()
    }

    fn started() -> Value {
        json!({ "type": "thread.started", "thread_id": THREAD })
    }

    fn completed(input: u64, cached: u64, output: u64) -> Value {
        let usage = json!({ "input_tokens": input, "cached_input_tokens": cached, "output_tokens": output });
        json!({ "type": "turn.completed", "usage": usage })
    }

    /// The usage a run ends with, and the last note.
    fn accounts(reader: &mut CodexReader, lines: &[Value]) -> (Option<[u64; 3]>, Option<Value>) {
        let mut told = domain::telling::Told::default();
        read(reader, lines).iter().for_each(|event| told.hear(event));
        let usage = told.usage.map(|it| [it.input_tokens, it.cached_input_tokens, it.output_tokens]);
        (usage, told.session_note)
    }

    #[test]
    fn the_usage_of_a_run_is_what_it_added_to_its_thread() {
        let noted = Totals { input: 1230, cached: 200, output: 7 };
        let full = |input: u64, cached: u64, output: u64| {
            Some(json!({
                "cwd": "/w", "threadId": THREAD,
                "inputTokens": input, "cachedInputTokens": cached, "outputTokens": output,
            }))
        };
        let run = [started(), completed(2460, 400, 14)];
        assert_eq!(accounts(&mut fresh(), &run), (Some([2060, 400, 14]), full(2460, 400, 14)));
        let resumed = accounts(&mut reader(Some(THREAD), Some(noted)), &run);
        assert_eq!(resumed, (Some([1030, 200, 7]), full(2460, 400, 14)));
        // Nothing is known of the sums before, or they do not go on: unknown, and the next run can tell
        // again.
        assert_eq!(accounts(&mut reader(Some(THREAD), None), &run), (None, full(2460, 400, 14)));
        let other = Totals { input: 9999, ..noted };
        assert_eq!(accounts(&mut reader(Some(THREAD), Some(other)), &run), (None, full(2460, 400, 14)));
        // A second turn of the same process counts on.
        let twice = [started(), completed(1230, 200, 7), completed(2460, 400, 14)];
        assert_eq!(accounts(&mut fresh(), &twice), (Some([2060, 400, 14]), full(2460, 400, 14)));
    }

    #[test]
    fn a_turn_that_failed_leaves_no_sums_behind() {
        let noted = Totals { input: 1230, cached: 200, output: 7 };
        let failed = json!({ "type": "turn.failed", "error": { "message": "no" } });
        let (usage, note) = accounts(&mut reader(Some(THREAD), Some(noted)), &[started(), failed]);
        assert_eq!((usage, note), (None, Some(json!({ "cwd": "/w", "threadId": THREAD }))));
        let words = "Codex ran out of room in the model's context window.";
        let failed = json!({ "type": "turn.failed", "error": { "message": words } });
        let (_, note) = accounts(&mut fresh(), &[started(), failed]);
        assert_eq!(note.and_then(|note| note.get("over").cloned()), Some(json!("its context is full")));
        let broken = json!({ "type": "turn.completed", "usage": { "input_tokens": -5 } });
        let (usage, note) = accounts(&mut fresh(), &[started(), broken]);
        assert_eq!((usage, note), (None, Some(json!({ "cwd": "/w", "threadId": THREAD }))));
    }

    #[test]
    fn another_thread_than_the_one_asked_for_is_a_session_that_is_gone() {
        let mut reader = reader(Some("notauuid"), None);
        let message =
            json!({ "type": "item.completed", "item": { "id": "1", "type": "agent_message", "text": "hi" } });
        let events = read(&mut reader, &[started(), message, completed(1230, 200, 7)]);
        let [AgentEvent::Result { error: Some(error), .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(error.class, ErrorClass::SessionGone);
        assert_eq!(reader.line(Source::Stderr, b"Error: no rollout found for thread id x"), []);
        assert_eq!(reader.finish(), []);
    }

    #[test]
    fn trouble_on_the_way_is_no_end_and_a_retry_has_no_class() {
        let class = |words: &str| {
            let events = read(&mut fresh(), &[json!({ "type": "error", "message": words })]);
            match &events[..] {
                [AgentEvent::Trouble { error }] => error.class,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(class("Reconnecting... 1/1 (unexpected status 401 Unauthorized)"), ErrorClass::Other);
        assert_eq!(class("unexpected status 401 Unauthorized"), ErrorClass::Auth);
        let remark =
            json!({ "type": "item.completed", "item": { "id": "0", "type": "error", "message": "429" } });
        assert_eq!(read(&mut fresh(), &[remark]), []);
    }

    #[test]
    fn a_tool_is_called_once_and_gives_once() {
        let item = |stage: &str, status: &str| {
            json!({ "type": format!("item.{stage}"), "item": {
                "id": "item_1", "type": "command_execution", "command": "ls",
                "aggregated_output": "a\n", "exit_code": 0, "status": status,
            } })
        };
        let call = AgentEvent::ToolCall {
            id: "item_1".into(),
            name: "command_execution".into(),
            input: json!({ "command": "ls" }),
        };
        let result = AgentEvent::ToolResult { id: "item_1".into(), is_error: false, output: "a\n".into() };
        let (begin, end) = (item("started", "in_progress"), item("completed", "completed"));
        let both = [call.clone(), result.clone()];
        let repeated = [begin.clone(), begin.clone(), item("updated", "in_progress"), end.clone()];
        assert_eq!(read(&mut fresh(), &repeated), both);
        assert_eq!(read(&mut fresh(), &[end]), both);
        assert_eq!(read(&mut fresh(), &[begin]), [call]);
    }

    #[test]
    fn the_first_words_on_stderr_explain_an_end_that_nothing_else_explains() {
        let after = |asked: Option<&str>, lines: &[&str]| {
            let mut reader = reader(asked, None);
            let mut events: Vec<AgentEvent> =
                lines.iter().flat_map(|line| reader.line(Source::Stderr, line.as_bytes())).collect();
            events.extend(reader.finish());
            let said = events.into_iter().map(|event| match event {
                AgentEvent::Trouble { error } => (error.class, error.message),
                other => panic!("{other:?}"),
            });
            said.collect::<Vec<_>>()
        };
        let log = |id: &str| {
            let words = "state db missing rollout path for thread";
            format!("2026-11-20T10:00:00.5Z ERROR codex_core::rollout::list: {words} {id}")
        };
        let noise = ["WARNING: proceeding", "Reading prompt from stdin...", " ", &log("other")];
        assert_eq!(after(Some(THREAD), &noise), []);
        assert_eq!(
            after(None, &["Reading prompt from stdin...", "No prompt provided via stdin.", "more"]),
            [(ErrorClass::Other, "No prompt provided via stdin.".to_owned())]
        );
        let gone = "Error: thread/resume failed: no rollout found for thread id x (code -32600)";
        assert_eq!(
            after(Some(THREAD), &["first", gone]),
            [(ErrorClass::SessionGone, gone["Error: ".len()..].to_owned())]
        );
        assert_eq!(after(Some(THREAD), &[&log(THREAD)]), [(ErrorClass::SessionGone, log(THREAD))]);
        assert_eq!(after(None, &["some tool: 429 rate limit"])[0].0, ErrorClass::Other);
        assert_eq!(after(None, &["Error: not logged in"]), [(ErrorClass::Auth, "not logged in".to_owned())]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut reader = fresh();
        for number in 0..MOST_OPEN * 3 {
            let item = json!({ "id": number.to_string(), "type": "command_execution", "command": "x" });
            read(&mut reader, &[json!({ "type": "item.started", "item": item })]);
        }
        assert_eq!(reader.open.len(), MOST_OPEN);
        reader.line(Source::Stderr, &vec![b'x'; 1_000_000]);
        assert_eq!(reader.words.map(|words| words.len()), Some(STDERR_LINE));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_read_the_same_again(
            lines in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..12),
            kinds in prop::collection::vec(0usize..8, 12),
        ) {
            let beginnings = [
                "",
                r#"{"type":"thread.started","thread_id":""#,
                r#"{"type":"turn.completed","usage":"#,
                r#"{"type":"item.completed","item":{"id":"1","type":""#,
                r#"{"type":"error""#,
                r#"{"type":"turn.failed"}"#,
                "Error: thread ",
                "2026-11-20T10:00:00Z ERROR ",
            ];
            let read = || {
                let mut reader = reader(Some(THREAD), None);
                let mut events = Vec::new();
                for ((is_stdout, bytes), kind) in lines.iter().zip(&kinds) {
                    let line = [beginnings[*kind].as_bytes(), bytes].concat();
                    let source = if *is_stdout { Source::Stdout } else { Source::Stderr };
                    events.extend(reader.line(source, &line));
                }
                events.extend(reader.finish());
                events
            };
            prop_assert_eq!(read(), read());
        }
    }
}
