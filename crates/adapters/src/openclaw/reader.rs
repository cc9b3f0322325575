//! What the lines of a driver mean: the words of the gateway's agent, and how its run ended.
//!
//! Words come in small pieces and are put together as they are: a space at the border of two pieces belongs to the
//! words. What another part of the run begins with ends a message.

use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::{Map, Value, json};

use super::words::{Failed, Line, code};
use crate::adapter::{Reader, Source};
use crate::cli::figures::{micros, tokens};
use crate::cli::refusal;

/// A message is handed on in parts of this size, in bytes, and as much is kept as the summary.
const LONGEST_MESSAGE: usize = 256 * 1024;
/// The provider of a gateway that names none.
const PROVIDER: &str = "openclaw";

/// Reads one process.
#[derive(Debug)]
pub(super) struct GatewayReader {
    /// The run's start; times in messages lie after it.
    started_at: Moment,
    message: String,
    /// Everything that was said, message by message.
    said: String,
}

impl GatewayReader {
    pub(super) fn new(started_at: Moment) -> GatewayReader {
        GatewayReader { started_at, message: String::new(), said: String::new() }
    }

    fn spoken(&mut self, line: Line) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        match line {
            Line::Note(_) | Line::Sent { .. } | Line::Answered { .. } => {}
            Line::Event { stream, data } => self.happened(&stream, &data, &mut events),
            Line::Done(all) => self.done(&all, &mut events),
            Line::Failed(failed) => {
                self.flush(&mut events);
                let error = Some(self.error_of(&failed));
                events.push(AgentEvent::Result { error, summary: None, plan_only: false, json: None });
            }
        }
        events
    }

    fn happened(&mut self, stream: &str, data: &Value, events: &mut Vec<AgentEvent>) {
        match stream {
            "assistant" => {
                let words = data["delta"].as_str().or_else(|| data["text"].as_str()).unwrap_or_default();
                self.message.push_str(words);
                if self.message.len() >= LONGEST_MESSAGE {
                    self.flush(events);
                }
            }
            "tool" | "lifecycle" | "error" => self.flush(events),
            _ => {}
        }
    }

    fn flush(&mut self, events: &mut Vec<AgentEvent>) {
        let text = std::mem::take(&mut self.message);
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if !self.said.is_empty() {
            self.said.push_str("\n\n");
        }
        let room = LONGEST_MESSAGE.saturating_sub(self.said.len());
        self.said.push_str(&text[..text.floor_char_boundary(room)]);
        events.push(AgentEvent::Message { text: text.to_owned() });
    }

    /// The gateway says that it went well. Of its answers, the last that has a result counts.
    fn done(&mut self, all: &Value, events: &mut Vec<AgentEvent>) {
        self.flush(events);
        let answers = [&all["second"], &all["accepted"], &all["waited"]];
        let is_there = |value: &&Value| value.is_object();
        let result = answers.iter().map(|it| &it["result"]).find(is_there).unwrap_or(&Value::Null);
        let metas = std::iter::once(&result["meta"]).chain(answers.iter().map(|it| &it["meta"]));
        let meta = metas.into_iter().find(is_there).unwrap_or(&Value::Null);
        if let Some(usage) = usage_of(meta) {
            events.push(AgentEvent::UsageTotal { usage });
        }
        let summary = Some(self.said.trim().to_owned()).filter(|said| !said.is_empty());
        let texts = std::iter::once(result).chain(answers).find_map(texts_of);
        let mut kept = Map::new();
        let status = all["status"].as_str().unwrap_or("ok");
        kept.insert("status".to_owned(), json!(status));
        let run = answers.iter().find_map(|it| it["runId"].as_str());
        kept.extend(run.map(|run| ("runId".to_owned(), json!(run))));
        if result.is_object() {
            kept.insert("result".to_owned(), result.clone());
        }
        if meta.is_object() && result["meta"].is_null() {
            kept.insert("meta".to_owned(), meta.clone());
        }
        let services = services_of(meta);
        if !services.is_empty() {
            kept.insert("runtimeServices".to_owned(), Value::Array(services));
        }
        events.push(AgentEvent::Result {
            error: None,
            summary: summary.or(texts),
            plan_only: false,
            json: Some(Value::Object(kept)),
        });
    }

    fn error_of(&self, failed: &Failed) -> AgentError {
        let read = refusal::read(&failed.words, None, self.started_at);
        let class = match failed.code.as_str() {
            code::WAIT_TIMEOUT | code::TIMEOUT => ErrorClass::TimedOut,
            code::PAIRING_REQUIRED => ErrorClass::Auth,
            code::URL_MISSING | code::URL_INVALID | code::URL_PROTOCOL => ErrorClass::BadRequest,
            // Another try would be a second agent at the same work.
            _ if failed.may_go_on && read.class == ErrorClass::Transient => ErrorClass::Other,
            _ => read.class,
        };
        let not_before =
            read.not_before.filter(|_| matches!(class, ErrorClass::Transient | ErrorClass::Quota));
        let mut message = read.message;
        if failed.code == code::PAIRING_REQUIRED {
            message.push_str(
                "; approve this device at the gateway (openclaw devices list, openclaw devices approve)",
            );
        }
        if failed.may_go_on {
            message.push_str("; the agent may be at work still");
        }
        AgentError { class, message, code: Some(failed.code.clone()), not_before }
    }
}

/// What the agent used: the part of the agent counts before the rest.
fn usage_of(meta: &Value) -> Option<Usage> {
    let parts = [&meta["agentMeta"], meta];
    let counts = parts.iter().map(|part| &part["usage"]).find(|usage| usage.is_object());
    let text = |key: &str| {
        let found = parts.iter().find_map(|part| part[key].as_str());
        found.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let count = |names: &[&str]| {
        let counts = counts.unwrap_or(&Value::Null);
        names.iter().map(|name| tokens(counts, name)).find(|count| *count > 0).unwrap_or(0)
    };
    let cost = parts.iter().find_map(|part| micros(&part["costUsd"]).filter(|cost| *cost > 0));
    let usage = Usage {
        input_tokens: count(&["inputTokens", "input"]),
        output_tokens: count(&["outputTokens", "output"]),
        cached_input_tokens: count(&["cachedInputTokens", "cached_input_tokens", "cacheRead", "cache_read"]),
        cost_micros: cost,
        provider: Some(text("provider").unwrap_or_else(|| PROVIDER.to_owned())),
        model: text("model"),
        ..Usage::default()
    };
    (!usage.is_nothing()).then_some(usage)
}

/// The texts of a result.
fn texts_of(answer: &Value) -> Option<String> {
    let texts: Vec<&str> = answer["payloads"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|payload| payload["text"].as_str().map(str::trim))
        .filter(|text| !text.is_empty())
        .collect();
    let alone = || answer["text"].as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if texts.is_empty() { alone() } else { Some(texts.join("\n\n")) }
}

/// The services that the agent says it has left running: those with names, then addresses to look at.
fn services_of(meta: &Value) -> Vec<Value> {
    let parts = || [&meta["agentMeta"], meta].into_iter();
    let listed = parts().find_map(|part| part["runtimeServices"].as_array()).into_iter().flatten();
    let mut services: Vec<Value> = listed.filter(|it| it.is_object()).cloned().collect();
    let single = parts().find_map(|part| part["previewUrl"].as_str());
    let several = parts().find_map(|part| part["previewUrls"].as_array()).into_iter().flatten();
    let urls: Vec<&str> = single.into_iter().chain(several.filter_map(Value::as_str)).collect();
    for url in urls {
        let url = url.trim();
        let is_known = services.iter().any(|service| service["url"] == url);
        if !url.is_empty() && !is_known {
            let place = services.len();
            let name = if place == 0 { "preview".to_owned() } else { format!("preview-{}", place + 1) };
            services.push(json!({ "serviceName": name, "url": url, "lifecycle": "ephemeral" }));
        }
    }
    services
}

impl Reader for GatewayReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        if stream == Source::Stderr {
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
mod tests {
    use super::*;

    fn read(lines: &[Line]) -> Vec<AgentEvent> {
        let mut reader = GatewayReader::new(Moment::from_micros(0));
        let mut events: Vec<AgentEvent> = lines
            .iter()
            .flat_map(|line| reader.line(Source::Stdout, line.to_bytes().trim_ascii_end()))
            .collect();
        events.extend(reader.finish());
        events
    }

    fn delta(text: &str) -> Line {
        Line::event("assistant", &json!({ "delta": text }))
    }

    fn summary(events: &[AgentEvent]) -> Option<&str> {
        events.iter().find_map(|event| match event {
            AgentEvent::Result { summary, .. } => summary.as_deref(),
            _ => None,
        })
    }

    #[test]
    fn spaces_at_the_borders_of_pieces_belong_to_the_words() {
        let pieces = ["The ", "tests", " are", "\n", "green ", "."].map(delta);
        let events = read(&[&pieces[..], &[Line::Done(json!({ "status": "ok" }))]].concat());
        assert_eq!(events[0], AgentEvent::Message { text: "The tests are\ngreen .".to_owned() });
        assert_eq!(summary(&events), Some("The tests are\ngreen ."));
    }

    #[test]
    fn what_lies_between_two_messages_keeps_them_apart() {
        let tool = Line::event("tool", &json!({ "phase": "start" }));
        let events = read(&[delta("one"), tool, delta("two"), Line::Done(json!({ "status": "ok" }))]);
        assert_eq!(summary(&events), Some("one\n\ntwo"));
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn a_run_without_words_is_summed_up_by_its_result() {
        for answer in ["accepted", "waited", "second"] {
            let mut all = json!({ "status": "ok" });
            all[answer] = json!({ "result": { "payloads": [{ "text": " a " }, { "mediaUrl": "x" }, { "text": "b" }] } });
            assert_eq!(summary(&read(&[Line::Done(all)])), Some("a\n\nb"), "{answer}");
        }
    }

    #[test]
    fn usage_and_services_come_from_the_part_of_the_agent_first() {
        let meta = json!({
            "agentMeta": {
                "usage": { "input": 10, "output": 2, "cacheRead": 3 }, "model": "m", "provider": "p", "costUsd": 0.5,
                "runtimeServices": [{ "serviceName": "web", "url": "http://a" }, 7],
            },
            "model": "other", "previewUrl": "http://b", "previewUrls": ["http://a", "http://c"],
        });
        let events = read(&[Line::Done(json!({ "status": "ok", "waited": { "result": { "meta": meta } } }))]);
        let expected = Usage {
            input_tokens: 10,
            output_tokens: 2,
            cached_input_tokens: 3,
            cost_micros: Some(500_000),
            provider: Some("p".to_owned()),
            model: Some("m".to_owned()),
            ..Usage::default()
        };
        assert_eq!(events[0], AgentEvent::UsageTotal { usage: expected });
        let AgentEvent::Result { json: Some(json), .. } = &events[1] else { panic!("{events:?}") };
        let urls: Vec<&str> =
            json["runtimeServices"].as_array().unwrap().iter().filter_map(|it| it["url"].as_str()).collect();
        assert_eq!(urls, ["http://a", "http://b", "http://c"]);
        assert_eq!(
            usage_of(&json!({ "usage": { "inputTokens": 1 } })).unwrap().provider.as_deref(),
            Some("openclaw")
        );
        assert_eq!(usage_of(&json!({ "model": "m", "costUsd": 0 })), None);
    }

    #[test]
    fn failures_have_their_code_and_the_class_of_their_words() {
        use ErrorClass::{Auth, BadRequest, Other, Quota, TimedOut, Transient};
        for (code, words, may_go_on, class) in [
            (code::WAIT_TIMEOUT, "not done", true, TimedOut),
            (code::TIMEOUT, "timeout: no answer", false, TimedOut),
            (code::PAIRING_REQUIRED, "pairing required", false, Auth),
            (code::URL_MISSING, "url", false, BadRequest),
            (code::REQUEST_FAILED, "unauthorized: gateway token mismatch", false, Auth),
            (
                code::REQUEST_FAILED,
                "ws://h:1/ cannot be reached: Connection refused (os error 111)",
                false,
                Transient,
            ),
            (code::REQUEST_FAILED, "connection closed before the run was over", true, Other),
            (code::REQUEST_FAILED, "protocol mismatch", false, Other),
            (code::AGENT_ERROR, "HTTP 429: too many requests", false, Transient),
            (code::WAIT_ERROR, "You've hit your usage limit.", false, Quota),
            (code::WAIT_ERROR, "something", false, Other),
        ] {
            let failed = Failed { code: code.to_owned(), words: words.to_owned(), may_go_on };
            let events = read(&[Line::Failed(failed)]);
            let [AgentEvent::Result { error: Some(error), .. }] = &events[..] else { panic!("{events:?}") };
            assert_eq!((error.class, error.code.as_deref()), (class, Some(code)), "{words}");
            assert_eq!(error.message.contains("may be at work"), may_go_on, "{words}");
        }
    }
}
