//! What the lines of OpenCode mean.
//!
//! Every line names the session. `step_start` and `step_finish` frame one answer of the model, with what it
//! used and what it cost; between them stand `text` and `tool_use`. There is no line that says that all is
//! done: a step that finished for another reason than to use a tool was the last one, unless another step
//! begins (after the history was shortened, one does). So the end is told when the process ends, or when
//! newer versions say `done`.

use std::time::Duration;

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

/// Longer waits are not meant, in seconds (a year).
const LONGEST_WAIT: f64 = 366.0 * 86_400.0;

/// Where the session stands.
#[derive(Debug)]
enum Stand {
    /// Nothing was finished yet, or a step is under way.
    Open,
    /// A step finished that no other has to follow.
    Finished,
    Failed(AgentError),
    /// The end was told.
    Over,
}

/// Reads one process.
#[derive(Debug)]
pub(super) struct OpencodeReader {
    asked: Option<String>,
    note: Value,
    /// `provider/model` as configured.
    model: Option<String>,
    /// OpenRouter is paid, whoever made the model.
    is_routed: bool,
    /// The latest time that a line named; before the first, when the run started.
    at: Moment,
    session: Option<String>,
    stand: Stand,
    last_message: Option<String>,
    wrong_session: Option<AgentError>,
    /// A permission that was refused because nobody was there to give it; forgotten when the agent goes on.
    refused: Option<AgentError>,
    last_words: LastWords,
}

impl OpencodeReader {
    pub(super) fn new(
        asked: Option<&str>,
        note: Value,
        model: Option<&str>,
        started_at: Moment,
    ) -> OpencodeReader {
        OpencodeReader {
            asked: asked.map(str::to_owned),
            note,
            model: model.map(str::to_owned),
            is_routed: false,
            at: started_at,
            session: None,
            stand: Stand::Open,
            last_message: None,
            wrong_session: None,
            refused: None,
            last_words: LastWords::default(),
        }
    }

    pub(super) fn routed(self, is_routed: bool) -> OpencodeReader {
        OpencodeReader { is_routed, ..self }
    }

    fn spoken(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let Ok(said) = serde_json::from_slice::<Value>(line) else { return events };
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        if let Some(millis) = said.get("timestamp").and_then(Value::as_i64) {
            self.at = Moment::from_micros(millis.saturating_mul(1_000));
        }
        self.in_session(text("sessionID"), &mut events);
        let part = said.get("part").unwrap_or(&Value::Null);
        match text("type") {
            "step_start" => {
                self.refused = None;
                self.reopen();
            }
            "text" => {
                let words = part.get("text").and_then(Value::as_str).unwrap_or_default().trim();
                if !words.is_empty() {
                    self.last_message = Some(words.to_owned());
                    events.push(AgentEvent::Message { text: words.to_owned() });
                }
            }
            "tool_use" => used_tool(part, &mut events),
            "step_finish" => {
                let usage = self.used(part);
                if !usage.is_nothing() {
                    events.push(AgentEvent::UsageAdded { usage });
                }
                self.finish_step(part.get("reason").and_then(Value::as_str).unwrap_or_default());
            }
            "error" => {
                let error = self.failure(said.get("error").unwrap_or(&Value::Null));
                // It may be about to shorten the history and go on.
                events.push(trouble(AgentError { class: ErrorClass::Other, ..error.clone() }));
                if !matches!(self.stand, Stand::Over) {
                    self.stand = Stand::Failed(error);
                }
            }
            "done" => events.extend(self.end()),
            _ => {}
        }
        events
    }

    fn in_session(&mut self, id: &str, events: &mut Vec<AgentEvent>) {
        if id.is_empty() || self.session.is_some() {
            return;
        }
        self.session = Some(id.to_owned());
        self.last_words.end();
        events.push(AgentEvent::Session { id: id.to_owned() });
        events.push(AgentEvent::SessionNote { note: self.note.clone() });
        if let Some(asked) = self.asked.as_deref().filter(|asked| *asked != id) {
            let error = session::other(asked, id);
            self.wrong_session = Some(error.clone());
            events.push(trouble(error));
        }
    }

    fn reopen(&mut self) {
        if !matches!(self.stand, Stand::Over) {
            self.stand = Stand::Open;
        }
    }

    fn finish_step(&mut self, reason: &str) {
        // A failure is not undone by the step that it broke off.
        if !matches!(self.stand, Stand::Open | Stand::Finished) {
            return;
        }
        self.stand = match reason {
            // The same reasons for which OpenCode begins another step.
            "tool-calls" | "unknown" | "" => Stand::Open,
            "length" | "content-filter" | "error" => Stand::Failed(AgentError {
                class: ErrorClass::Other,
                message: format!("the model's answer was not whole (step_finish, reason `{reason}`)"),
                code: None,
                not_before: None,
            }),
            _ => Stand::Finished,
        };
    }

    fn end(&mut self) -> Option<AgentEvent> {
        let error = match std::mem::replace(&mut self.stand, Stand::Over) {
            Stand::Finished => None,
            Stand::Failed(error) => Some(error),
            stand @ (Stand::Open | Stand::Over) => {
                self.stand = stand;
                return None;
            }
        };
        let summary = if error.is_none() { self.last_message.clone() } else { None };
        let error = self.wrong_session.clone().or(error);
        Some(AgentEvent::Result { error, summary, plan_only: false, json: None })
    }

    fn failure(&self, error: &Value) -> AgentError {
        let data = error.get("data").unwrap_or(&Value::Null);
        let name = error.get("name").and_then(Value::as_str).unwrap_or_default();
        let words = refusal::message_of(data).or_else(|| refusal::message_of(error));
        let status =
            data.get("statusCode").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
        let fallback = if name.is_empty() { "the program reported a failure and no reason" } else { name };
        let read = refusal::read(words.unwrap_or(fallback), status, self.at);
        // The sentence may be general where the answer of the provider is not.
        let body = data.get("responseBody").and_then(Value::as_str);
        let body = body.map(|body| refusal::read(body, status, self.at));
        let class = match (name, body.as_ref().map(|body| body.class)) {
            ("ProviderAuthError", _) => ErrorClass::Auth,
            ("ContextOverflowError", _) => ErrorClass::BadRequest,
            (_, Some(ErrorClass::Quota)) => ErrorClass::Quota,
            _ => read.class,
        };
        let waits = matches!(class, ErrorClass::Transient | ErrorClass::Quota);
        let not_before =
            read.not_before.or_else(|| body?.not_before).or_else(|| self.retry_after(data)).filter(|_| waits);
        AgentError { class, not_before, ..read }
    }

    /// The wait that the provider's answer asked for, in its headers.
    fn retry_after(&self, data: &Value) -> Option<Moment> {
        let headers = data.get("responseHeaders")?;
        let number = |name: &str| headers.get(name).and_then(Value::as_str)?.trim().parse::<f64>().ok();
        let seconds =
            number("retry-after-ms").map(|millis| millis / 1e3).or_else(|| number("retry-after"))?;
        Some(seconds)
            .filter(|seconds| (0.0..LONGEST_WAIT).contains(seconds))
            .map(|seconds| self.at.plus(Duration::from_secs_f64(seconds)))
    }

    /// OpenCode's input tokens leave the cached ones out. What is written to the cache is paid as input, and
    /// thoughts are paid as output; they are counted as such.
    fn used(&self, part: &Value) -> Usage {
        let counts = part.get("tokens").unwrap_or(&Value::Null);
        let cache = counts.get("cache").unwrap_or(&Value::Null);
        let (provider, model) = match self.model.as_deref().and_then(|model| model.split_once('/')) {
            Some((provider, model)) => (Some(provider.to_owned()), Some(model.to_owned())),
            None => (None, None),
        };
        Usage {
            input_tokens: tokens(counts, "input").saturating_add(tokens(cache, "write")),
            cached_input_tokens: tokens(cache, "read"),
            output_tokens: tokens(counts, "output").saturating_add(tokens(counts, "reasoning")),
            cost_micros: part.get("cost").and_then(priced),
            biller: if self.is_routed { Some(openrouter::BILLER.to_owned()) } else { provider.clone() },
            provider,
            model,
            billing_type: Some("unknown".to_owned()),
            ..Usage::default()
        }
    }

    fn muttered(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let line = plain(line);
        if self.asked.is_some() && is_about_lost_session(&line) {
            self.last_words.end();
            return vec![trouble(session::gone(line))];
        }
        if line.contains("permission requested:") && line.contains("auto-rejecting") {
            let error =
                AgentError { class: ErrorClass::Permission, message: line, code: None, not_before: None };
            self.refused = Some(error.clone());
            return vec![trouble(AgentError { class: ErrorClass::Other, ..error })];
        }
        self.last_words.hear(&line);
        Vec::new()
    }
}

impl Reader for OpencodeReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        match stream {
            Source::Stdout => self.spoken(line),
            Source::Stderr => self.muttered(line),
        }
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        if let Some(end) = self.end() {
            return vec![end];
        }
        if matches!(self.stand, Stand::Over) {
            return Vec::new();
        }
        self.refused.take().or_else(|| self.last_words.error()).map(trouble).into_iter().collect()
    }
}

/// A tool is told of once, when it is through.
fn used_tool(part: &Value, events: &mut Vec<AgentEvent>) {
    let text =
        |fields: &Value, name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let state = part.get("state").unwrap_or(&Value::Null);
    let id = text(part, "callID");
    events.push(AgentEvent::ToolCall {
        id: id.clone(),
        name: text(part, "tool"),
        input: state.get("input").cloned().unwrap_or_default(),
    });
    let is_error = text(state, "status") == "error";
    let output = text(state, if is_error { "error" } else { "output" });
    events.push(AgentEvent::ToolResult { id, is_error, output });
}

fn is_about_lost_session(line: &str) -> bool {
    wording::has_any(line, &["no session", "notfounderror"])
        || wording::is_gone(line, &["session"])
        || (line.to_lowercase().contains("resource not found") && line.contains("/session/"))
}

fn trouble(error: AgentError) -> AgentEvent {
    AgentEvent::Trouble { error }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: Moment = Moment::from_micros(1_795_262_400_000_000);

    fn reader(asked: Option<&str>) -> OpencodeReader {
        OpencodeReader::new(asked, json!({ "cwd": "/w" }), Some("open/router/m"), NOON)
    }

    fn read(reader: &mut OpencodeReader, lines: &[Value]) -> Vec<AgentEvent> {
        lines.iter().flat_map(|line| reader.line(Source::Stdout, line.to_string().as_bytes())).collect()
    }

    fn ending(lines: &[Value]) -> Vec<Option<ErrorClass>> {
        let mut reader = reader(Some("s"));
        let mut events = read(&mut reader, lines);
        events.extend(reader.finish());
        let result = |event: &AgentEvent| match event {
            AgentEvent::Result { error, .. } => Some(error.as_ref().map(|error| error.class)),
            _ => None,
        };
        events.iter().filter_map(result).collect()
    }

    fn start() -> Value {
        json!({ "type": "step_start", "sessionID": "s", "part": {} })
    }

    fn finish(reason: &str) -> Value {
        json!({ "type": "step_finish", "sessionID": "s", "part": { "reason": reason } })
    }

    fn error(status: u16) -> Value {
        json!({ "type": "error", "sessionID": "s", "error": { "name": "APIError", "data": {
            "message": "It said no.", "statusCode": status, "responseHeaders": { "retry-after": "90" } } } })
    }

    #[test]
    fn the_last_step_decides_when_the_process_has_ended() {
        use ErrorClass::{BadRequest, Other, Transient};
        let done = json!({ "type": "done", "sessionID": "s", "reason": "idle" });
        assert_eq!(ending(&[]), []);
        assert_eq!(ending(&[start()]), []);
        assert_eq!(ending(&[start(), finish("tool-calls")]), []);
        assert_eq!(ending(&[start(), finish("stop")]), [None]);
        assert_eq!(ending(&[start(), finish("stop"), done.clone()]), [None]);
        assert_eq!(ending(&[start(), finish("stop"), start()]), []);
        assert_eq!(ending(&[start(), finish("length")]), [Some(Other)]);
        assert_eq!(ending(&[error(400)]), [Some(BadRequest)]);
        assert_eq!(ending(&[start(), error(503), finish("stop"), done]), [Some(Transient)]);
        assert_eq!(ending(&[start(), error(400), start(), finish("stop")]), [None]);
    }

    #[test]
    fn another_session_than_the_one_asked_for_is_no_success() {
        let mut reader = reader(Some("other"));
        read(&mut reader, &[start(), finish("stop")]);
        let [AgentEvent::Result { error: Some(error), .. }] = &reader.finish()[..] else {
            panic!("no result")
        };
        assert_eq!(error.class, ErrorClass::SessionGone);
    }

    #[test]
    fn the_wait_that_a_provider_asks_for_is_read_where_waiting_helps() {
        let not_before = |status| {
            let said = error(status);
            reader(None).failure(said.get("error").expect("it is there")).not_before
        };
        assert_eq!(not_before(429), Some(NOON.plus(Duration::from_secs(90))));
        assert_eq!(not_before(400), None);
    }

    #[test]
    fn the_provider_s_own_words_name_a_limit_that_the_sentence_hides() {
        let said = json!({ "name": "APIError", "data": { "message": "Too Many Requests", "statusCode": 429,
            "responseBody": "{\"error\":{\"code\":\"insufficient_quota\"}}" } });
        assert_eq!(reader(None).failure(&said).class, ErrorClass::Quota);
        let said = json!({ "name": "ProviderAuthError", "data": { "message": "no key" } });
        assert_eq!(reader(None).failure(&said).class, ErrorClass::Auth);
        assert_eq!(reader(None).failure(&Value::Null).class, ErrorClass::Other);
    }

    #[test]
    fn a_step_is_priced_by_the_table_of_its_provider_or_not_at_all() {
        let part = |cost: f64| {
            json!({ "cost": cost, "tokens": { "input": 1_030, "output": 7, "reasoning": 5,
                "cache": { "read": 200, "write": 30 } } })
        };
        let usage = reader(None).used(&part(0.001_064));
        assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (1_060, 200, 12));
        assert_eq!((usage.provider.as_deref(), usage.model.as_deref()), (Some("open"), Some("router/m")));
        assert_eq!(usage.cost_micros, Some(1_064));
        assert_eq!(reader(None).used(&part(0.0)).cost_micros, None);
    }

    #[test]
    fn a_refused_permission_explains_an_end_only_if_the_agent_did_not_go_on() {
        let line = b"\x1b[93m!  \x1b[0mpermission requested: external_directory (/etc/*); auto-rejecting";
        let mut stuck = reader(None);
        stuck.line(Source::Stderr, line);
        let [AgentEvent::Trouble { error }] = &stuck.finish()[..] else { panic!("it was refused") };
        assert_eq!(error.class, ErrorClass::Permission);
        let mut going_on = reader(None);
        going_on.line(Source::Stderr, line);
        read(&mut going_on, &[start()]);
        assert_eq!(going_on.finish(), []);
    }
}
