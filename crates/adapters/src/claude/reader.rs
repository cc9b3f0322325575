//! What the lines of `claude --output-format stream-json` mean.
//!
//! One JSON object per line: `system` (`init` opens every turn), `assistant`, `user` (answers of tools) and
//! `result`. What is said about money is `usage.rs`, what a failure means is `failure.rs`. Unknown types are
//! left alone: every version brings new ones. A session counts from the first line that is not a result, for
//! a result that refuses to resume repeats the id that it does not know. Another id than the one asked for is
//! a fork of the session and knows all of it; a session that is not there is refused by the program itself.

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::{Map, Value, json};

use super::failure::{self, Before};
use super::usage::{self, Spending};
use crate::adapter::{Reader, Source};
use crate::cli::refusal::{bounded, message_of};
use crate::cli::stderr::{self, LastWords};

/// The model's name on lines that the program wrote itself.
const SYNTHETIC: &str = "<synthetic>";

/// Who is paid, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Billing {
    /// Anthropic: by key or by subscription, as the program reports.
    Anthropic {
        has_key: bool,
    },
    Bedrock,
    /// Google's cloud.
    Vertex,
}

/// What a reader starts from.
#[derive(Debug)]
pub(super) struct Start {
    /// The process begins a session of its own.
    pub(super) is_fresh: bool,
    /// What was noted about the session that it goes on with.
    pub(super) note: Option<Value>,
    /// The folder of the run, as it was given to the process.
    pub(super) cwd: String,
    pub(super) started_at: Moment,
    pub(super) billing: Billing,
}

/// Reads the output of one process.
#[derive(Debug)]
pub(super) struct ClaudeReader {
    start: Start,
    /// The latest time that a line named.
    now: Moment,
    session: Option<String>,
    version: Option<String>,
    model: Option<String>,
    /// Where the program took its key from; `none` with a subscription.
    key_source: Option<String>,
    is_planning: bool,
    spending: Spending,
    /// The note as it was last given.
    noted: Option<Value>,
    /// When the limit that refuses requests ends.
    reset: Option<Moment>,
    /// The program's word for the failure of the last request.
    tag: Option<String>,
    last_tool: Option<String>,
    last_text: Option<String>,
    has_spoken: bool,
    has_result: bool,
    words: LastWords,
}

impl ClaudeReader {
    pub(super) fn new(start: Start) -> ClaudeReader {
        let mut spending = Spending::default();
        spending.begin(usage::baseline(start.is_fresh, None, None));
        ClaudeReader {
            now: start.started_at,
            start,
            session: None,
            version: None,
            model: None,
            key_source: None,
            is_planning: false,
            spending,
            noted: None,
            reset: None,
            tag: None,
            last_tool: None,
            last_text: None,
            has_spoken: false,
            has_result: false,
            words: LastWords::default(),
        }
    }

    fn object(&mut self, line: &Value) -> Vec<AgentEvent> {
        if let Some(time) = text(line, "timestamp").and_then(Moment::parse) {
            self.now = time;
        }
        let mut events = Vec::new();
        match (text(line, "type").unwrap_or_default(), text(line, "subtype").unwrap_or_default()) {
            ("system", "init") => self.init(line, &mut events),
            ("system", "api_retry") => events.push(trouble(other(&retry(line)))),
            ("assistant", _) => self.assistant(line, &mut events),
            ("user", _) => self.user(line, &mut events),
            ("result", _) => self.result(line, &mut events),
            ("rate_limit_event", _) => self.limit(line.get("rate_limit_info").unwrap_or(&Value::Null)),
            _ => {}
        }
        events
    }

    fn init(&mut self, line: &Value, events: &mut Vec<AgentEvent>) {
        let version = text(line, "claude_code_version").map(|it| bounded(it).to_owned());
        if version != self.version || !self.has_spoken {
            let note = self.start.note.as_ref();
            self.spending.begin(usage::baseline(self.start.is_fresh, version.as_deref(), note));
            self.version = version;
        }
        self.model = text(line, "model").map(|it| bounded(it).to_owned());
        self.key_source = text(line, "apiKeySource").map(|it| bounded(it).to_owned());
        self.is_planning = text(line, "permissionMode") == Some("plan");
        self.speak(line, events);
    }

    /// A line that only a session has.
    fn speak(&mut self, line: &Value, events: &mut Vec<AgentEvent>) {
        self.has_spoken = true;
        if let Some(id) = text(line, "session_id").map(bounded).filter(|id| !id.is_empty())
            && self.session.as_deref() != Some(id)
        {
            self.session = Some(id.to_owned());
            events.push(AgentEvent::Session { id: id.to_owned() });
        }
        self.note(None, events);
    }

    /// Notes what the next run has to know, when that changed.
    fn note(&mut self, over: Option<&str>, events: &mut Vec<AgentEvent>) {
        let mut fields = Map::new();
        fields.insert("cwd".to_owned(), json!(self.start.cwd));
        if let Some(version) = &self.version {
            fields.insert("version".to_owned(), json!(version));
        }
        if let Some(totals) = self.spending.totals() {
            usage::note(totals, &mut fields);
        }
        if let Some(over) = over {
            fields.insert("over".to_owned(), json!(over));
        }
        let note = Value::Object(fields);
        if self.noted.as_ref() != Some(&note) {
            self.noted = Some(note.clone());
            events.push(AgentEvent::SessionNote { note });
        }
    }

    fn assistant(&mut self, line: &Value, events: &mut Vec<AgentEvent>) {
        let message = line.get("message").unwrap_or(&Value::Null);
        let model = text(message, "model").map(bounded);
        // Of a sub-agent, whose last words come back as the answer of a tool.
        let is_main = line.get("parent_tool_use_id").is_none_or(Value::is_null);
        let is_synthetic = model == Some(SYNTHETIC);
        let tag = line.get("error").and_then(Value::as_str).map(bounded);
        if is_main && !is_synthetic {
            self.model = model.map(str::to_owned).or_else(|| self.model.take());
        }
        // A provider that answers again has got over what it refused.
        self.tag = tag.map(str::to_owned);
        let is_finished = message.get("stop_reason").is_some_and(Value::is_string);
        let usage = message.get("usage").unwrap_or(&Value::Null);
        let has_spent = self.spending.message(text(message, "id").unwrap_or_default(), usage, is_finished);
        self.speak(line, events);
        if has_spent {
            self.total(events);
        }
        for block in message.get("content").and_then(Value::as_array).into_iter().flatten() {
            match text(block, "type").unwrap_or_default() {
                "text" => {
                    let said = text(block, "text").unwrap_or_default().trim();
                    if said.is_empty() {
                    } else if is_synthetic && tag.is_some() {
                        events.push(trouble(failure::of_words(said, None, self.before(), self.now)));
                    } else if is_main {
                        self.last_text = Some(bounded(said).to_owned());
                        events.push(AgentEvent::Message { text: said.to_owned() });
                    }
                }
                "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                    let id = text(block, "id").unwrap_or_default().to_owned();
                    self.last_tool = Some(bounded(&id).to_owned());
                    events.push(AgentEvent::ToolCall {
                        id,
                        name: text(block, "name").unwrap_or_default().to_owned(),
                        input: block.get("input").cloned().unwrap_or(Value::Null),
                    });
                }
                kind if kind.ends_with("_tool_result") => events.push(answer(block)),
                _ => {}
            }
        }
    }

    fn user(&mut self, line: &Value, events: &mut Vec<AgentEvent>) {
        self.speak(line, events);
        let content =
            line.get("message").and_then(|message| message.get("content")).and_then(Value::as_array);
        let answers =
            content.into_iter().flatten().filter(|block| text(block, "type") == Some("tool_result"));
        events.extend(answers.map(answer));
    }

    fn result(&mut self, line: &Value, events: &mut Vec<AgentEvent>) {
        self.has_result = true;
        self.spending.result(line);
        self.total(events);
        let failure = failure::of_result(line, self.before(), self.now);
        if self.has_spoken {
            self.note(failure.as_ref().and_then(|failure| failure.over), events);
        }
        let said = text(line, "result").map(str::trim).filter(|said| !said.is_empty()).map(str::to_owned);
        events.push(AgentEvent::Result {
            summary: if failure.is_none() { said.or_else(|| self.last_text.take()) } else { None },
            plan_only: failure.is_none() && self.is_planning,
            error: failure.map(|failure| failure.error),
            json: Some(line.clone()),
        });
        self.last_text = None;
        self.tag = None;
    }

    fn limit(&mut self, info: &Value) {
        let is_refused = text(info, "status") == Some("rejected");
        let ends = info.get("resetsAt").and_then(Value::as_i64).and_then(failure::seconds);
        self.reset = ends.filter(|_| is_refused);
    }

    fn before(&self) -> Before<'_> {
        Before { tag: self.tag.as_deref(), reset: self.reset, last_tool: self.last_tool.as_deref() }
    }

    fn total(&self, events: &mut Vec<AgentEvent>) {
        let Some(run) = self.spending.run() else { return };
        let has_key = match self.key_source.as_deref() {
            Some("none" | "oauth") | None => false,
            Some(_) => true,
        };
        let (biller, billing_type) = match self.start.billing {
            Billing::Bedrock => (Some("aws_bedrock"), "metered_api"),
            Billing::Vertex => (None, "metered_api"),
            Billing::Anthropic { has_key: declared } if declared || has_key => (Some("anthropic"), "api"),
            Billing::Anthropic { .. } => (Some("anthropic"), "subscription"),
        };
        let usage = Usage {
            provider: Some("anthropic".to_owned()),
            biller: biller.map(str::to_owned),
            billing_type: Some(billing_type.to_owned()),
            model: self.model.clone(),
            ..run
        };
        events.push(AgentEvent::UsageTotal { usage });
    }
}

impl Reader for ClaudeReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        if stream == Source::Stdout && line.trim_ascii_start().starts_with(b"{") {
            return match serde_json::from_slice::<Value>(line) {
                Ok(object) => self.object(&object),
                // It may have been the one that said how the run ended.
                Err(error) => vec![trouble(other(&format!("a line of output could not be read: {error}")))],
            };
        }
        // The program complains in plain words before it speaks JSON, on either stream.
        let words = stderr::plain(line);
        if !words.starts_with("Warning:") {
            self.words.hear(&words);
        }
        Vec::new()
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        let Some(error) = self.words.error().filter(|_| !self.has_result) else { return Vec::new() };
        // Behind the speech of a session it is as likely the noise of a tool.
        vec![trouble(if self.has_spoken {
            error
        } else {
            failure::of_words(&error.message, None, Before::default(), self.now)
        })]
    }
}

/// A retry of the program's own. Its class says nothing about the run, which may well get over it.
fn retry(line: &Value) -> String {
    let number = |name: &str| line.get(name).and_then(Value::as_f64).map(|it| format!("{it:.0}"));
    let attempt = number("attempt").unwrap_or_else(|| "?".to_owned());
    let most = number("max_retries").unwrap_or_else(|| "?".to_owned());
    let status = number("error_status").map(|status| format!(" ({status})")).unwrap_or_default();
    let reason = line.get("error").and_then(message_of).unwrap_or("unknown");
    let wait = number("retry_delay_ms").map(|wait| format!(" in {wait} ms")).unwrap_or_default();
    format!("the request failed: {reason}{status}; retry {attempt} of {most}{wait}")
}

/// The answer of a tool: a text, or a list of texts and other things.
fn answer(block: &Value) -> AgentEvent {
    let output = match block.get("content") {
        Some(Value::String(output)) => output.clone(),
        Some(Value::Array(parts)) => {
            let shown = parts.iter().map(|part| match text(part, "text") {
                Some(text) => text.to_owned(),
                None => format!("[{}]", text(part, "type").unwrap_or("unknown")),
            });
            shown.collect::<Vec<_>>().join("\n")
        }
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    AgentEvent::ToolResult {
        id: text(block, "tool_use_id").unwrap_or_default().to_owned(),
        is_error: block.get("is_error").and_then(Value::as_bool).unwrap_or(false),
        output,
    }
}

fn text<'a>(fields: &'a Value, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn other(message: &str) -> AgentError {
    AgentError {
        class: ErrorClass::Other,
        message: bounded(message).to_owned(),
        code: None,
        not_before: None,
    }
}

fn trouble(error: AgentError) -> AgentEvent {
    AgentEvent::Trouble { error }
}

#[cfg(test)]
mod tests;
