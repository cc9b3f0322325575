//! What it means when a provider refused a request, for programs that hand its answer on as a sentence: the
//! class of the failure, and when it may be tried again.
//!
//! A status counts where there is one, but words of a limit or a lost login count more: providers send them
//! with many a status.

use domain::moment::Moment;
use domain::telling::{AgentError, ErrorClass};
use serde_json::Value;

use crate::cli::{clock, wording};

/// As much of a message as is kept, in bytes. Some providers answer with a whole page of HTML.
const LONGEST: usize = 8 * 1024;

/// More words of a limit.
const LIMIT: &[&str] = &[
    "exhausted your",
    "quota has been exhausted",
    "quota has been exceeded",
    "quota will reset",
    "insufficient balance",
    "payment required",
];

/// More words of a login that is missing.
const LOGIN: &[&str] =
    &["no api key found", "please set an auth method", "invalid auth method", "no auth type is selected"];

/// More words of a connection that broke.
const CUT: &[&str] = &["terminated", "other side closed", "timed out", "timeout", "und_err_socket"];

/// More words of a provider that is busy.
const BUSY: &[&str] = &["resource_exhausted", "unavailable", "overload"];

/// The request cannot be answered as it is.
const BAD: &[&str] =
    &["prompt is too long", "context length", "context window", "maximum context", "invalid_request_error"];

/// Reads a failure that was reported at `at`. `status` is that of HTTP where the program names it on its own;
/// else it is looked for in the words.
pub(crate) fn read(message: &str, status: Option<u16>, at: Moment) -> AgentError {
    let message = bounded(message.trim());
    let status = status.or_else(|| leading(message)).or_else(|| wording::status(message));
    let not_before = clock::next(message, at).or_else(|| retry_delay(message, at));
    AgentError { class: class(message, status), message: message.to_owned(), code: None, not_before }
}

fn class(message: &str, status: Option<u16>) -> ErrorClass {
    let has = |phrases| wording::has_any(message, phrases);
    if wording::is_limit(message) || has(LIMIT) || status == Some(402) {
        return ErrorClass::Quota;
    }
    if matches!(status, Some(401 | 403)) || wording::is_login(message) || has(LOGIN) {
        return ErrorClass::Auth;
    }
    match status {
        Some(408 | 409 | 425 | 429 | 500..) => ErrorClass::Transient,
        Some(400..) => ErrorClass::BadRequest,
        _ if has(BAD) => ErrorClass::BadRequest,
        _ if wording::is_busy(message) || has(BUSY) || wording::is_cut(message) || has(CUT) => {
            ErrorClass::Transient
        }
        _ => ErrorClass::Other,
    }
}

/// The status that a message begins with: `429 Too Many Requests`.
fn leading(message: &str) -> Option<u16> {
    let word = message.split([' ', ':', ',']).next()?;
    word.parse().ok().filter(|status| (400..600).contains(status) && word.len() == 3)
}

/// The moment that Google's details name: `"retryDelay": "34.07s"`.
fn retry_delay(message: &str, at: Moment) -> Option<Moment> {
    let (_, behind) = message.split_once("\"retryDelay\"")?;
    let behind = behind.trim_start_matches([' ', ':', '"']);
    let (seconds, _) = behind.split_once('s')?;
    let seconds: f64 = seconds.parse().ok().filter(|seconds| (0.0..1e6).contains(seconds))?;
    Some(at.plus(std::time::Duration::from_secs_f64(seconds)))
}

/// Cuts a text for people to a length.
pub(crate) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// The words of an `error` field, whatever shape it has: a text, or an object with a message.
pub(crate) fn message_of(error: &Value) -> Option<&str> {
    let text = error.as_str().or_else(|| error.get("message")?.as_str());
    text.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOON: Moment = Moment::from_micros(1_795_262_400_000_000);

    #[test]
    fn words_and_status_give_the_class() {
        use ErrorClass::{Auth, BadRequest, Other, Quota, Transient};
        let rows = [
            ("429 Rate limited by the fake model.", Transient),
            ("400 Bad request to the fake model.", BadRequest),
            ("[API Error: 400 Bad request to the fake model.]", BadRequest),
            (r#"[API Error: {"error":{"code":401,"message":"invalid x-api-key"}}]"#, Auth),
            (
                r#"[API Error: {"error":{"code":400,"message":"prompt is too long: 9 tokens > 8 maximum"}}]"#,
                BadRequest,
            ),
            (r#"{"error":{"code":500,"message":"Internal error","status":"INTERNAL"}}"#, Transient),
            ("[API Error: terminated]", Transient),
            ("[API Error: You have exhausted your daily quota on this model.]", Quota),
            ("429 Your token-plan 1-week quota has been exhausted.", Quota),
            ("429 You exceeded your current quota, please check your plan and billing details.", Quota),
            ("400 Your credit balance is too low to access the API", Quota),
            ("402 Payment Required", Quota),
            ("403 Forbidden", Auth),
            ("400 API key not valid. Please pass a valid API key.", Auth),
            ("No API key found for anthropic.", Auth),
            ("404 model `nothing` not found", BadRequest),
            ("529 Overloaded", Transient),
            ("fetch failed", Transient),
            ("4290 things", Other),
            ("something else", Other),
            ("", Other),
        ];
        for (message, class) in rows {
            assert_eq!(read(message, None, NOON).class, class, "{message}");
        }
        assert_eq!(read("no words of their own", Some(503), NOON).class, Transient);
        assert_eq!(read("no words of their own", Some(422), NOON).class, BadRequest);
    }

    #[test]
    fn a_wait_that_is_named_is_read() {
        let after = |seconds| Some(NOON.plus(Duration::from_secs(seconds)));
        let rows = [
            (
                "You have exhausted your capacity on this model. Your quota will reset after 3h20m10s.",
                after(12_010),
            ),
            (r#"{"error":{"code":429,"details":[{"retryDelay":"34s"}]}}"#, after(34)),
            (r#"{"error":{"code":429,"details":[{"retryDelay": "soon"}]}}"#, None),
            ("429 Rate limited by the fake model.", None),
        ];
        for (message, expected) in rows {
            assert_eq!(read(message, None, NOON).not_before, expected, "{message}");
        }
    }

    #[test]
    fn the_words_of_an_error_are_found_in_both_shapes() {
        assert_eq!(message_of(&json!(" a ")), Some("a"));
        assert_eq!(message_of(&json!({ "message": "b" })), Some("b"));
        for nothing in [json!(null), json!(" "), json!({ "message": 7 }), json!([])] {
            assert_eq!(message_of(&nothing), None);
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read_and_kept_short(
            message in "(\\PC{0,20}|retryDelay|\"|[0-9]{3}|\u{20ac}{3000}){0,6}",
        ) {
            prop_assert!(read(&message, None, NOON).message.len() <= LONGEST);
        }
    }
}
