//! What the server, the driver of a gateway's agent and the reader of its log say to each other.
//!
//! The driver gets one [`Job`] on its stdin and prints one [`Line`] after the other. What goes over the connection is
//! printed without its secrets and shortened, but for the words of the agent, which are kept as they are. A line that
//! only a later version understands is skipped.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::device::hex;

/// Longer texts are cut where only people look at them, in characters.
const LONGEST_SHOWN: usize = 320;
/// As much of an event is kept, in characters.
const LONGEST_EVENT: usize = 8_000;
/// As much of one text of a result is kept, in bytes.
const LONGEST_TEXT: usize = 256 * 1024;
/// A result is kept up to this size, in bytes, so that its line is never cut.
const LONGEST_RESULT: usize = 2 * 1024 * 1024;

/// Everything a driver needs to know.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    /// As configured; whether it is one is the driver's to say, in the codes of the wire.
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) auth: Auth,
    pub(super) device: DeviceKey,
    pub(super) device_family: Option<String>,
    pub(super) pairs_itself: bool,
    pub(super) run_id: String,
    /// Of the request `agent`.
    pub(super) params: Map<String, Value>,
    /// For a connection, and for the answer to `agent`.
    pub(super) answer_ms: u64,
    pub(super) wait_ms: u64,
}

/// What a connection proves itself with.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Auth {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
}

impl Auth {
    /// Somebody vouches for this connection beside the device itself.
    pub(super) fn is_shared(&self) -> bool {
        self.token.is_some() || self.password.is_some()
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self == Auth::default()
    }
}

/// The key of the device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeviceKey {
    /// It comes without a device.
    Off,
    Pem(String),
    /// A new one for this run.
    New,
}

/// A line that a driver prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// For people.
    Note(String),
    Sent {
        method: String,
        params: Value,
    },
    /// The answer to a request; an error is what the gateway calls one.
    Answered {
        method: String,
        #[serde(skip_serializing_if = "Value::is_null", default)]
        payload: Value,
        #[serde(skip_serializing_if = "Value::is_null", default)]
        error: Value,
    },
    /// Something that happened in the run.
    Event {
        stream: String,
        data: Value,
    },
    /// The gateway says that the run went well; everything that it said of the result.
    Done(Value),
    Failed(Failed),
}

/// Why a run did not go well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failed {
    /// One of [`code`].
    pub(super) code: String,
    pub(super) words: String,
    /// The agent was told to work, and nobody knows that it stopped.
    pub(super) may_go_on: bool,
}

/// The error codes of the wire (spec/heartbeat.md 1.2).
pub(super) mod code {
    pub(in super::super) const URL_MISSING: &str = "openclaw_gateway_url_missing";
    pub(in super::super) const URL_INVALID: &str = "openclaw_gateway_url_invalid";
    pub(in super::super) const URL_PROTOCOL: &str = "openclaw_gateway_url_protocol";
    pub(in super::super) const AGENT_ERROR: &str = "openclaw_gateway_agent_error";
    pub(in super::super) const WAIT_TIMEOUT: &str = "openclaw_gateway_wait_timeout";
    pub(in super::super) const WAIT_ERROR: &str = "openclaw_gateway_wait_error";
    pub(in super::super) const WAIT_STATUS_UNEXPECTED: &str = "openclaw_gateway_wait_status_unexpected";
    pub(in super::super) const TIMEOUT: &str = "openclaw_gateway_timeout";
    pub(in super::super) const PAIRING_REQUIRED: &str = "openclaw_gateway_pairing_required";
    pub(in super::super) const REQUEST_FAILED: &str = "openclaw_gateway_request_failed";
}

impl Line {
    /// One line, with its end.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        line_of(self)
    }

    /// What is kept of an event of the run. The words of an agent are kept whole; a text that only repeats what its
    /// deltas said is left out, for else a log would grow with the square of what is said.
    pub(super) fn event(stream: &str, data: &Value) -> Line {
        let data = match (stream, data["delta"].as_str(), data["text"].as_str()) {
            ("assistant", Some(delta), _) => serde_json::json!({ "delta": clipped(delta, LONGEST_TEXT) }),
            ("assistant", None, Some(text)) => serde_json::json!({ "text": clipped(text, LONGEST_TEXT) }),
            _ => {
                let whole = shown(data, LONGEST_EVENT);
                let text = whole.to_string();
                if text.chars().count() <= LONGEST_EVENT {
                    whole
                } else {
                    // The fields that mean something to the reader survive.
                    let mut cut =
                        serde_json::json!({ "cut": text.chars().take(LONGEST_EVENT).collect::<String>() });
                    for key in ["phase", "error", "message"] {
                        if let Some(text) = data[key].as_str() {
                            cut[key] = Value::from(clipped(text, LONGEST_EVENT));
                        }
                    }
                    cut
                }
            }
        };
        Line::Event { stream: stream.to_owned(), data }
    }

    /// What is kept of a result.
    pub(super) fn done(result: &Value) -> Line {
        let kept = bounded(result, LONGEST_TEXT);
        if kept.to_string().len() <= LONGEST_RESULT {
            return Line::Done(kept);
        }
        let short = bounded(result, LONGEST_SHOWN);
        let is_short = short.to_string().len() <= LONGEST_RESULT;
        Line::Done(if is_short { short } else { serde_json::json!({ "status": result["status"] }) })
    }
}

impl Job {
    /// One line, with its end.
    pub(super) fn to_line(&self) -> Vec<u8> {
        line_of(self)
    }
}

fn line_of(what: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(what).expect("all keys are texts, and a Vec takes every byte");
    line.push(b'\n');
    line
}

fn clipped(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn bounded(value: &Value, bytes: usize) -> Value {
    match value {
        Value::String(text) => Value::from(clipped(text, bytes)),
        Value::Array(items) => items.iter().map(|item| bounded(item, bytes)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, item)| (key.clone(), bounded(item, bytes))).collect())
        }
        other => other.clone(),
    }
}

/// What people may see of something that went over the connection: values with the names of secrets as their length and
/// the beginning of their hash, by which two can be told apart; long texts cut.
pub(super) fn logged(value: &Value) -> Value {
    let shown = shown(value, LONGEST_SHOWN);
    let text = shown.to_string();
    match text.char_indices().nth(LONGEST_EVENT) {
        Some((end, _)) => serde_json::json!({ "cut": text[..end] }),
        None => shown,
    }
}

fn shown(value: &Value, longest: usize) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(longest) {
            Some((end, _)) => Value::from(format!("{}... ({} more bytes)", &text[..end], text.len() - end)),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| shown(item, longest)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, item)| {
                let item = if is_secret(key) { hidden(item) } else { shown(item, longest) };
                (key.clone(), item)
            })
            .collect(),
        other => other.clone(),
    }
}

/// Hides a value, or each of those below it.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Array(items) => items.iter().map(hidden).collect(),
        Value::Object(fields) => fields.iter().map(|(key, item)| (key.clone(), hidden(item))).collect(),
        Value::String(text) => Value::from(mark(text)),
        Value::Number(number) => Value::from(mark(&number.to_string())),
    }
}

fn mark(text: &str) -> String {
    format!("[redacted len={} sha256={}]", text.chars().count(), &hex(&Sha256::digest(text.as_bytes()))[..12])
}

/// A key of which one word says that its value is nobody else's business. `sessionKey` and `tokens` are no secrets.
pub(super) fn is_secret(key: &str) -> bool {
    let words = words_of(key);
    let has = |looked: &[&str]| words.windows(looked.len()).any(|window| window == looked);
    ["auth", "authorization", "token", "secret", "password", "apikey", "privatekey"]
        .iter()
        .any(|it| has(&[it]))
        || has(&["api", "key"])
        || has(&["private", "key"])
}

/// `devicePrivateKeyPem` is device, private, key, pem.
fn words_of(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in key.chars() {
        if !letter.is_alphanumeric() {
            words.push(String::new());
        } else {
            if letter.is_uppercase() && was_lower {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(letter.to_lowercase());
            }
        }
        was_lower = letter.is_lowercase() || letter.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_secret_by_their_words() {
        for (key, expected) in [
            ("token", true),
            ("authToken", true),
            ("x-openclaw-auth", true),
            ("Authorization", true),
            ("devicePrivateKeyPem", true),
            ("API_KEY", true),
            ("apiKey", true),
            ("password", true),
            ("sessionKey", false),
            ("idempotencyKey", false),
            ("author", false),
            ("inputTokens", false),
            ("publicKey", false),
        ] {
            assert_eq!(is_secret(key), expected, "{key}");
        }
    }

    #[test]
    fn what_is_logged_holds_no_secret_and_no_long_text() {
        let long = "x".repeat(LONGEST_SHOWN + 5);
        let logged = logged(&json!({
            "auth": { "token": "abc", "password": null }, "message": long, "list": [{ "apiKey": 7 }], "n": 1,
        }));
        assert_eq!(logged["auth"]["token"], "[redacted len=3 sha256=ba7816bf8f01]");
        assert_eq!(logged["auth"]["password"], Value::Null);
        assert!(logged["list"][0]["apiKey"].as_str().unwrap().starts_with("[redacted len=1 "));
        assert_eq!(logged["message"], format!("{}... (5 more bytes)", "x".repeat(LONGEST_SHOWN)));
        assert_eq!(logged["n"], 1);
    }

    #[test]
    fn events_keep_every_word_and_grow_no_faster_than_what_is_said() {
        let Line::Event { data, .. } =
            Line::event("assistant", &json!({ "text": "all so far", "delta": " far" }))
        else {
            panic!("an event")
        };
        assert_eq!(data, json!({ "delta": " far" }));
        let many: Vec<String> = (0..100).map(|_| "y".repeat(200)).collect();
        let Line::Event { data, .. } =
            Line::event("lifecycle", &json!({ "phase": "error", "error": "why", "more": many }))
        else {
            panic!("an event")
        };
        assert_eq!((&data["phase"], &data["error"]), (&json!("error"), &json!("why")));
        assert!(data.to_string().len() < LONGEST_EVENT * 2);
    }

    #[test]
    fn a_result_always_fits_on_a_line() {
        let texts: Vec<Value> = (0..40).map(|_| json!({ "text": "z".repeat(LONGEST_TEXT) })).collect();
        let line = Line::done(&json!({ "status": "ok", "result": { "payloads": texts } }));
        assert!(line.to_bytes().len() <= LONGEST_RESULT + 100);
        let numbers: Vec<u64> = vec![u64::MAX; LONGEST_RESULT / 10];
        assert_eq!(
            Line::done(&json!({ "status": "ok", "x": numbers })),
            Line::Done(json!({ "status": "ok" }))
        );
    }
}
