//! What a failure that Codex reports means: its class, the words for people, and when to come back.
//!
//! Codex hands on what its provider said, as a sentence or as the JSON of the answer; neither says which
//! class it is, so the words decide, by the rules that all programs share.

use domain::moment::Moment;
use domain::telling::{AgentError, ErrorClass};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::cli::{clock, refusal, wording};

/// Error code of the wire for a provider that is busy or down.
const TRANSIENT: &str = "codex_transient_upstream";

/// What the provider calls a request that cannot be answered as it is.
const BAD_KINDS: &[&str] = &["invalid_prompt", "context_length_exceeded"];

/// What Codex says when the thread to resume is not among those it keeps.
const GONE: &[&str] =
    &["no rollout found for thread id", "missing rollout path for thread", "state db missing rollout path"];

/// The program says that the thread is not there.
pub(super) fn is_gone(text: &str) -> bool {
    wording::has_any(text, GONE) || wording::is_gone(text, &["session", "thread", "conversation"])
}

/// The thread has no room for another turn.
pub(super) fn is_full(words: &str) -> bool {
    wording::has_any(words, &["context window", "context_length_exceeded"])
}

/// What a time in a message is measured by.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// The run's start; times lie after it. Nothing in the output says when a line was written.
    pub(super) started_at: Moment,
    /// Where the program's clock shows what it prints.
    pub(super) zone: TimeZone,
}

/// Reads a failure.
pub(super) fn read(message: &str, clock: &Clock) -> AgentError {
    let (message, kind) = unwrap(message);
    let class = if is_gone(&message) {
        ErrorClass::SessionGone
    } else {
        match refusal::read(&format!("{message}\n{kind}"), None, clock.started_at).class {
            ErrorClass::Other if wording::has_any(&kind, BAD_KINDS) => ErrorClass::BadRequest,
            class => class,
        }
    };
    let error = AgentError { class, ..other(&message) };
    let not_before = || clock::next_in(&message, clock.started_at, &clock.zone);
    match class {
        ErrorClass::Quota => AgentError { not_before: not_before(), ..error },
        ErrorClass::Transient => {
            AgentError { code: Some(TRANSIENT.to_owned()), not_before: not_before(), ..error }
        }
        _ => error,
    }
}

/// A failure of no class, in the program's words.
pub(super) fn other(message: &str) -> AgentError {
    let (class, message) = (ErrorClass::Other, refusal::bounded(message).to_owned());
    AgentError { class, message, code: None, not_before: None }
}

/// The sentence inside an answer of the provider, and what the answer calls it; other text is the sentence
/// itself.
fn unwrap(message: &str) -> (String, String) {
    let message = message.trim();
    let plain = || (message.to_owned(), String::new());
    let Some(answer) = Some(message)
        .filter(|text| text.starts_with('{'))
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
    else {
        return plain();
    };
    let error = answer.get("error").filter(|error| error.is_object()).unwrap_or(&answer);
    let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let sentence = ["message", "detail"].into_iter().map(text).find(|text| !text.is_empty());
    match sentence {
        Some(sentence) => (sentence.to_owned(), format!("{} {}", text("type"), text("code"))),
        None => plain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Clock {
        let started_at = Moment::parse("2026-11-20T12:00:00Z").unwrap();
        Clock { started_at, zone: TimeZone::UTC }
    }

    #[test]
    fn words_decide_the_class() {
        use ErrorClass::{Auth, BadRequest, Other, Quota, SessionGone, Transient};
        let rows = [
            ("You\u{2019}ve hit your usage limit. Visit https://x or try again at 3:00 PM (UTC).", Quota),
            (
                "You've hit your usage limit for gpt-5. Switch to another model now, or try again later.",
                Quota,
            ),
            ("Quota exceeded. Check your plan and billing details.", Quota),
            ("{\"error\":{\"type\":\"insufficient_quota\",\"message\":\"You need more.\"}}", Quota),
            ("unexpected status 401 Unauthorized: invalid x-api-key, url: http://127.0.0.1:18900/v1", Auth),
            ("Your refresh token was revoked. Please log out and sign in again.", Auth),
            ("exceeded retry limit, last status: 429 Too Many Requests, request id: req_0e6", Transient),
            ("We\u{2019}re currently experiencing high demand, which may cause temporary errors.", Transient),
            (
                "Error running remote compact task: We\u{2019}re currently experiencing high demand, which may cause \
                 temporary errors.",
                Transient,
            ),
            (
                "Error running remote compact task: {\"error\":{\"type\":\"invalid_request_error\",\
                 \"message\":\"Unknown parameter: x\"}}",
                BadRequest,
            ),
            ("unexpected status 529 <unknown status code>: Overloaded", Transient),
            ("unexpected status 502 Bad Gateway", Transient),
            ("Selected model is at capacity. Please try a different model.", Transient),
            ("stream disconnected before completion: Transport error: network error", Transient),
            ("{\"error\":{\"message\":\"Slow down.\",\"code\":\"rate_limit_exceeded\"}}", Transient),
            ("{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Bad request.\"}}", BadRequest),
            ("unexpected status 403 Forbidden: Not allowed.", Auth),
            ("{\"error\":{\"code\":\"context_length_exceeded\",\"message\":\"Too much.\"}}", BadRequest),
            ("unexpected status 404 Not Found: no such model", BadRequest),
            ("Codex ran out of room in the model's context window. Start a new thread.", BadRequest),
            ("thread/resume failed: no rollout found for thread id 1 (code -32600)", SessionGone),
            ("Incomplete response returned, reason: max_output_tokens", Other),
            ("{\"error\":", Other),
            ("", Other),
        ];
        for (message, class) in rows {
            assert_eq!(read(message, &noon()).class, class, "{message}");
        }
    }

    #[test]
    fn the_words_are_the_providers_own_and_the_reset_is_kept() {
        let answer = "{\"error\": {\"type\": \"invalid_request_error\", \"message\": \"Bad request.\"}}";
        assert_eq!(read(answer, &noon()).message, "Bad request.");
        assert_eq!(read("{\"detail\":\"No such model\"}", &noon()).message, "No such model");
        let limit = read("You've hit your usage limit. Try again at 3:00 PM.", &noon());
        assert_eq!((limit.not_before, limit.code), (Moment::parse("2026-11-20T15:00:00Z"), None));
        let busy = read("429 Too Many Requests, try again in 20s", &noon());
        assert_eq!(busy.not_before, Moment::parse("2026-11-20T12:00:20Z"));
        assert_eq!(busy.code.as_deref(), Some("codex_transient_upstream"));
        let long = read(&"\u{e9}".repeat(100_000), &noon());
        assert!(long.message.len() < 20_000);
    }
}
