//! What the lines of a driver mean: the words of its agent, and what the driver itself decided.
//!
//! Which answer belongs to which request is known from what was said to the agent. Updates count while the prompt is
//! being answered; what a loaded session repeats of its past does not. Text comes in small pieces and is put together.
//! A call of a tool is handed on when its arguments are known, which some agents send after the call.

use std::collections::{BTreeMap, VecDeque};

use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::{Value, json};

use super::failure::{self, Clock};
use super::words::Line;
use crate::adapter::{Reader, Source};
use crate::cli::figures::{micros, tokens};
use crate::cli::stderr::{LastWords, plain};

/// A message is handed on in parts of this size, in bytes, so that an endless one does not pile up here.
const LONGEST_MESSAGE: usize = 256 * 1024;
/// As much output of a tool is kept, in bytes.
const LONGEST_OUTPUT: usize = 256 * 1024;
/// As many calls of tools are open at a time.
const MOST_CALLS: usize = 256;
/// This agent tells of failures in the text of the agent.
const CODEX: &str = "codex-acp";

/// What the agent was asked and has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Initialize,
    New,
    Resume,
    Choose,
    Prompt,
}

/// A tool at work.
#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    title: String,
    input: Value,
    /// It was handed on.
    is_told: bool,
    output: String,
    exit_code: Option<i64>,
}

/// Reads one process.
#[derive(Debug)]
pub(super) struct AcpReader {
    asked: Option<String>,
    cwd: String,
    /// What the session had cost before, where that is known.
    cost_before: Option<i64>,
    clock: Clock,
    agent: String,
    requests: BTreeMap<u64, Request>,
    message: String,
    message_id: Option<String>,
    last_message: Option<String>,
    /// The last words that are the agent program's own and not the model's.
    notice: Option<String>,
    /// It reported that its turn broke.
    is_broken: bool,
    calls: VecDeque<Call>,
    model: Option<String>,
    /// What the session has cost, all its runs together.
    cost: Option<i64>,
    session: Option<String>,
    is_done: bool,
    last_words: LastWords,
}

impl AcpReader {
    pub(super) fn new(asked: Option<&str>, cwd: String, note: Option<&Value>, clock: Clock) -> AcpReader {
        let noted = note.and_then(|note| note.get("cumulativeCostMicros")).and_then(Value::as_i64);
        AcpReader {
            asked: asked.map(str::to_owned),
            cwd,
            // A fresh session has cost nothing.
            cost_before: if asked.is_some() { noted } else { Some(0) },
            clock,
            agent: String::new(),
            requests: BTreeMap::new(),
            message: String::new(),
            message_id: None,
            last_message: None,
            notice: None,
            is_broken: false,
            calls: VecDeque::new(),
            model: None,
            cost: None,
            session: None,
            is_done: false,
            last_words: LastWords::default(),
        }
    }

    fn spoken(&mut self, line: Line) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        match line {
            Line::ToAgent(message) => self.said(&message),
            Line::FromAgent(message) => self.heard(&message, &mut events),
            Line::Noise(_) => {}
            Line::Asks(permission) => {
                self.flush(&mut events);
                self.tell_calls(&mut events);
                events.push(AgentEvent::PermissionAsked { permission });
            }
            Line::Answered { ask, outcome } => {
                events.push(AgentEvent::PermissionClosed { ask, outcome: outcome.as_str().to_owned() });
            }
            Line::Stuck { words, is_gone } => {
                let class = if is_gone { ErrorClass::SessionGone } else { ErrorClass::BadRequest };
                self.end(Err(AgentError { class, ..failure::other(&words) }), Value::Null, &mut events);
            }
            Line::Ended { code, signal } => {
                self.flush(&mut events);
                if !self.is_done {
                    let how = match (code, signal) {
                        (Some(code), _) => format!("with code {code}"),
                        (None, Some(signal)) => format!("by signal {signal}"),
                        (None, None) => "in an unknown way".to_owned(),
                    };
                    let words = self.last_words.error().map(|error| format!(": {}", error.message));
                    let message =
                        format!("the agent ended {how} before it answered{}", words.unwrap_or_default());
                    let error = failure::of_words(&message, &self.clock);
                    // Nobody said that it did: words that happen to stand at the end do not make it so.
                    let class = match error.class {
                        class @ ErrorClass::Auth => class,
                        _ => ErrorClass::Other,
                    };
                    events
                        .push(AgentEvent::Trouble { error: AgentError { class, not_before: None, ..error } });
                }
            }
        }
        events
    }

    fn said(&mut self, message: &Value) {
        let (Some(id), Some(method)) = (message["id"].as_u64(), message["method"].as_str()) else { return };
        let request = match method {
            "initialize" => Request::Initialize,
            "session/new" => Request::New,
            "session/load" | "session/resume" => Request::Resume,
            "session/prompt" => Request::Prompt,
            "session/set_model" | "session/set_mode" | "session/set_config_option" => Request::Choose,
            _ => return,
        };
        if request == Request::Prompt {
            // Of the same process only the last can be waited for.
            self.requests.clear();
            self.is_broken = false;
            self.notice = None;
        }
        self.requests.insert(id, request);
    }

    fn is_prompted(&self) -> bool {
        self.requests.values().any(|request| *request == Request::Prompt)
    }

    fn heard(&mut self, message: &Value, events: &mut Vec<AgentEvent>) {
        if message["method"] == "session/update" {
            if self.is_prompted() {
                self.update(&message["params"]["update"], events);
            }
            return;
        }
        if message.get("method").is_some() {
            return;
        }
        let Some(request) = message["id"].as_u64().and_then(|id| self.requests.remove(&id)) else { return };
        match message.get("error").filter(|error| !error.is_null()) {
            Some(error) => self.failed(request, error, events),
            None => self.answered(request, &message["result"], events),
        }
    }

    fn answered(&mut self, request: Request, result: &Value, events: &mut Vec<AgentEvent>) {
        match request {
            Request::Initialize => {
                self.last_words.end();
                self.agent = result["agentInfo"]["name"].as_str().unwrap_or_default().to_owned();
            }
            Request::New | Request::Resume => {
                let named = result["sessionId"].as_str().map(str::to_owned);
                let asked = self.asked.clone().filter(|_| request == Request::Resume);
                let Some(id) = named.or(asked) else { return };
                self.session = Some(id.clone());
                events.push(AgentEvent::Session { id });
                events.push(self.note());
            }
            Request::Choose => {}
            Request::Prompt => self.done(result, events),
        }
    }

    fn failed(&mut self, request: Request, error: &Value, events: &mut Vec<AgentEvent>) {
        let mut error = failure::read(error, &self.clock);
        match request {
            // Whatever an agent calls it: what cannot be gone on with is begun anew.
            Request::Resume if error.class != ErrorClass::Auth => error.class = ErrorClass::SessionGone,
            Request::Resume => {}
            _ if error.class == ErrorClass::SessionGone => error.class = ErrorClass::Other,
            Request::Choose if error.class == ErrorClass::Other => error.class = ErrorClass::BadRequest,
            Request::Initialize | Request::New | Request::Choose | Request::Prompt => {}
        }
        self.end(Err(error), Value::Null, events);
    }

    fn update(&mut self, update: &Value, events: &mut Vec<AgentEvent>) {
        let text = update["content"]["text"].as_str().unwrap_or_default();
        match update["sessionUpdate"].as_str().unwrap_or_default() {
            "agent_message_chunk" => {
                let id = update["messageId"].as_str();
                if id.is_none() && self.agent.ends_with(CODEX) {
                    self.notice = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
                    return;
                }
                if id != self.message_id.as_deref() {
                    self.flush(events);
                    self.message_id = id.map(str::to_owned);
                }
                self.message.push_str(text);
                if self.message.len() >= LONGEST_MESSAGE {
                    self.flush(events);
                }
            }
            "tool_call" => {
                self.flush(events);
                self.call(update, events);
            }
            "tool_call_update" => self.call(update, events),
            "usage_update" => self.spent(update, events),
            "session_info_update" => {
                self.is_broken |= update["_meta"]["codex"]["threadStatus"]["type"] == "systemError";
            }
            "agent_thought_chunk" | "plan" => self.flush(events),
            _ => {}
        }
    }

    fn flush(&mut self, events: &mut Vec<AgentEvent>) {
        let text = std::mem::take(&mut self.message);
        self.message_id = None;
        let text = text.trim();
        if !text.is_empty() {
            self.last_message = Some(text.to_owned());
            events.push(AgentEvent::Message { text: text.to_owned() });
        }
    }

    /// A call begins, or more of it is known.
    fn call(&mut self, update: &Value, events: &mut Vec<AgentEvent>) {
        let Some(id) = update["toolCallId"].as_str() else { return };
        let place = self.calls.iter().position(|call| call.id == id).unwrap_or_else(|| {
            if self.calls.len() == MOST_CALLS {
                self.calls.pop_front();
            }
            self.calls.push_back(Call {
                id: id.to_owned(),
                name: String::new(),
                title: String::new(),
                input: Value::Null,
                is_told: false,
                output: String::new(),
                exit_code: None,
            });
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(place) else { return };
        call.learn(update);
        let status = update["status"].as_str().unwrap_or_default();
        let is_over = matches!(status, "completed" | "failed");
        if is_over || call.has_input() {
            events.extend(call.tell());
        }
        if is_over {
            events.push(call.result(status == "failed"));
            self.calls.remove(place);
        }
    }

    /// Hands on the calls whose arguments never came.
    fn tell_calls(&mut self, events: &mut Vec<AgentEvent>) {
        events.extend(self.calls.iter_mut().filter_map(Call::tell));
    }

    fn spent(&mut self, update: &Value, events: &mut Vec<AgentEvent>) {
        if let Some(model) = update["_meta"]["_claude/model"].as_str() {
            self.model = Some(model.to_owned());
        }
        let cost = &update["cost"];
        if cost["currency"] == "USD"
            && let Some(cost) = micros(&cost["amount"])
            && self.cost != Some(cost)
        {
            self.cost = Some(cost);
            events.push(self.note());
        }
    }

    /// What the next run of this session has to know.
    fn note(&self) -> AgentEvent {
        let mut note = json!({ "cwd": self.cwd });
        // Until the first word about it, it is what it was.
        if let Some(cost) = self.cost.or(self.cost_before) {
            note["cumulativeCostMicros"] = Value::from(cost);
        }
        AgentEvent::SessionNote { note }
    }

    /// The prompt was answered.
    fn done(&mut self, result: &Value, events: &mut Vec<AgentEvent>) {
        self.flush(events);
        if let Some(usage) = self.usage(result) {
            events.push(AgentEvent::UsageTotal { usage });
        }
        let outcome = match result["stopReason"].as_str().unwrap_or_default() {
            // The turn broke, and only its text says so.
            "end_turn" if self.is_broken && result["usage"].is_null() => {
                let words =
                    self.notice.as_deref().unwrap_or("the agent's turn broke, and it did not say why");
                Err(failure::of_words(words, &self.clock))
            }
            "end_turn" => Ok(()),
            "cancelled" => Err(failure::other("the turn was cancelled")),
            "max_tokens" => Err(failure::other("the model had no room for a longer answer")),
            "max_turn_requests" => {
                Err(failure::other("the agent may not ask the model more often in a turn"))
            }
            "refusal" => {
                let words = "the agent refuses to go on with this prompt";
                Err(AgentError { class: ErrorClass::BadRequest, ..failure::other(words) })
            }
            other => {
                Err(failure::other(&format!("the agent stopped for a reason that is not known: {other}")))
            }
        };
        self.end(outcome, result.clone(), events);
    }

    fn end(&mut self, outcome: Result<(), AgentError>, json: Value, events: &mut Vec<AgentEvent>) {
        self.flush(events);
        self.tell_calls(events);
        self.is_done = true;
        let summary = self.last_message.clone().filter(|_| outcome.is_ok());
        let json = if json.is_object() { Some(json) } else { None };
        events.push(AgentEvent::Result { error: outcome.err(), summary, plan_only: false, json });
    }

    /// What the turn used. The sums by model have the calls of side models, which the other sum leaves out. What was
    /// written to a cache is input, for it is billed as such.
    fn usage(&self, result: &Value) -> Option<Usage> {
        let sum = |counts: &Value, written: &str, cached: &str| Usage {
            input_tokens: tokens(counts, "inputTokens").saturating_add(tokens(counts, written)),
            cached_input_tokens: tokens(counts, cached),
            output_tokens: tokens(counts, "outputTokens"),
            ..Usage::default()
        };
        let models =
            result["_meta"]["quota"]["model_usage"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut usage = Usage::default();
        for model in models {
            let counts = &model["token_count"];
            let written = if counts.get("cachedWriteTokens").is_some() {
                "cachedWriteTokens"
            } else {
                "cacheWriteInputTokens"
            };
            usage.add(&sum(counts, written, "cachedInputTokens"));
        }
        if models.is_empty() {
            usage.add(&sum(&result["usage"], "cachedWriteTokens", "cachedReadTokens"));
        }
        let only = match models {
            [one] => one["model"].as_str().map(str::to_owned),
            _ => None,
        };
        usage.cost_micros = self.cost.zip(self.cost_before).map(|(cost, before)| {
            // A sum that went back began anew.
            if cost >= before { cost - before } else { cost }
        });
        if usage.is_nothing() {
            return None;
        }
        let provider = match self.agent.rsplit('/').next().unwrap_or_default() {
            "claude-agent-acp" | "claude-code-acp" => Some("anthropic"),
            CODEX => Some("openai"),
            _ => None,
        };
        usage.provider = provider.map(str::to_owned);
        usage.biller.clone_from(&usage.provider);
        usage.model = only.or_else(|| self.model.clone());
        Some(usage)
    }

    fn muttered(&mut self, line: &[u8]) {
        if !self.last_words.is_over() {
            self.last_words.hear(&plain(line));
        }
    }
}

impl Call {
    fn learn(&mut self, update: &Value) {
        let text = |value: &Value| value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
        if let Some(title) = text(&update["title"]) {
            self.title = title;
        }
        let name = text(&update["name"])
            .or_else(|| text(&update["_meta"]["claudeCode"]["toolName"]))
            .or_else(|| text(&update["kind"]).filter(|_| self.name.is_empty()));
        if let Some(name) = name {
            self.name = name;
        }
        if !self.is_told && !update["rawInput"].is_null() {
            self.input = update["rawInput"].clone();
        }
        let meta = &update["_meta"];
        self.print(meta["terminal_output_delta"]["data"].as_str().unwrap_or_default());
        self.exit_code = meta["terminal_exit"]["exit_code"].as_i64().or(self.exit_code);
        if update["status"] == "completed" || update["status"] == "failed" {
            let contents = update["content"].as_array().into_iter().flatten();
            let shown: Vec<&str> = contents.filter_map(|it| it["content"]["text"].as_str()).collect();
            let output = match &update["rawOutput"] {
                Value::String(output) => Some(output.clone()),
                _ if !shown.is_empty() => Some(shown.join("\n")),
                // What was printed before is the better text.
                Value::Null => None,
                output if self.output.is_empty() => Some(output.to_string()),
                _ => None,
            };
            if let Some(output) = output.filter(|output| !output.is_empty()) {
                self.output.clear();
                self.print(&output);
            }
        }
    }

    fn print(&mut self, piece: &str) {
        let room = LONGEST_OUTPUT.saturating_sub(self.output.len());
        self.output.push_str(&piece[..piece.floor_char_boundary(room)]);
    }

    fn has_input(&self) -> bool {
        match &self.input {
            Value::Null => false,
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        }
    }

    fn tell(&mut self) -> Option<AgentEvent> {
        if std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        let input = match self.has_input() {
            true => self.input.clone(),
            // Some agents never send arguments: the title says what is done.
            false => json!({ "title": self.title }),
        };
        let name = if self.name.is_empty() { "tool".to_owned() } else { self.name.clone() };
        Some(AgentEvent::ToolCall { id: self.id.clone(), name, input })
    }

    fn result(&self, has_failed: bool) -> AgentEvent {
        let is_error = has_failed || self.exit_code.is_some_and(|code| code != 0);
        AgentEvent::ToolResult { id: self.id.clone(), is_error, output: self.output.trim_end().to_owned() }
    }
}

impl Reader for AcpReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        if stream == Source::Stderr {
            self.muttered(line);
            return Vec::new();
        }
        // A line of a later version is not understood, and nothing else prints here.
        serde_json::from_slice::<Line>(line).map_or_else(|_| Vec::new(), |line| self.spoken(line))
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        self.flush(&mut events);
        events
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
