//! What a failure of Claude Code means: its class, its code, when to try again, and whether its session is at
//! an end.
//!
//! A failed result calls itself `"subtype": "success"` when the provider refused a request, so `is_error`,
//! `api_error_status`, `terminal_reason` and `errors` decide, and the subtype only where it says more than
//! "success". Retries that the program makes by itself are no failures.

use domain::moment::Moment;
use domain::telling::{AgentError, ErrorClass};
use serde_json::Value;

use crate::cli::{clock, refusal, wording};

/// Nobody is logged in (spec/heartbeat.md 9.5).
const LOGIN: &str = "claude_auth_required";

/// The provider is busy.
const BUSY: &str = "claude_transient_upstream";

/// The session of an earlier run is not there (any more, or in this folder).
const GONE: &[&str] = &["no conversation found with session id", "does not match any session title"];

const TURNS: &[&str] = &["maximum number of turns", "maximum turns", "max turns"];

/// More words of a connection that broke.
const CUT: &[&str] = &["unable to connect", "connectionrefused", "connectionclosed", "failedtoopensocket"];

/// What the lines before the result said about the same failure.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before<'a> {
    /// The word that the program has for the failure of a request, for example `rate_limit`.
    pub(super) tag: Option<&'a str>,
    /// When the limit that refuses requests ends.
    pub(super) reset: Option<Moment>,
    /// The last tool that was called.
    pub(super) last_tool: Option<&'a str>,
}

/// A failure, and what it means for the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: AgentError,
    /// Why it makes no sense to resume the session.
    pub(super) over: Option<&'static str>,
}

/// Reads a result; `None` when it is a success.
pub(super) fn of_result(result: &Value, before: Before<'_>, at: Moment) -> Option<Failure> {
    let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
    let errors: Vec<&str> = result
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(refusal::message_of)
        .collect();
    let status = result.get("api_error_status").and_then(Value::as_u64).and_then(|it| u16::try_from(it).ok());
    let is_error = result.get("is_error").and_then(Value::as_bool);
    let is_failed = is_error.unwrap_or_else(|| text("subtype").starts_with("error"))
        || !errors.is_empty()
        || status.is_some_and(|status| status >= 400);
    if !is_failed {
        return None;
    }
    let message = match text("result").trim() {
        "" if errors.is_empty() => {
            format!(
                "the program failed: subtype={} terminal_reason={}",
                text("subtype"),
                text("terminal_reason")
            )
        }
        "" => errors.join("\n"),
        said => said.to_owned(),
    };
    let is_about_turns = text("subtype") == "error_max_turns"
        || [text("terminal_reason"), text("stop_reason")].contains(&"max_turns")
        || (status.is_none() && before.tag.is_none() && wording::has_any(&message, TURNS));
    if is_about_turns {
        let error = error(ErrorClass::Other, &message, Some("claude_max_turns"), None);
        return Some(Failure { error, over: Some("it reached its limit of turns") });
    }
    if text("subtype") == "error_max_budget_usd" {
        return Some(Failure {
            error: error(ErrorClass::Other, &message, Some("claude_max_budget"), None),
            over: None,
        });
    }
    if text("terminal_reason") == "prompt_too_long" || message.starts_with("Prompt is too long") {
        let error = error(ErrorClass::BadRequest, &message, None, None);
        return Some(Failure { error, over: Some("it is too long for its model") });
    }
    let mut failure = of_words(&message, status, before, at);
    if failure.class == ErrorClass::Other && is_denied(result, before.last_tool) {
        failure.class = ErrorClass::Permission;
    }
    Some(Failure { error: failure, over: None })
}

/// Reads a failure that is only words.
pub(super) fn of_words(message: &str, status: Option<u16>, before: Before<'_>, at: Moment) -> AgentError {
    let message = message.trim();
    let tag = before.tag.unwrap_or_default();
    let said = status.or_else(|| wording::status(message));
    let is_request = said.is_some() || !tag.is_empty();
    if !is_request
        && (wording::has_any(message, GONE) || wording::is_gone(message, &["session", "conversation"]))
    {
        return error(ErrorClass::SessionGone, message, None, None);
    }
    let is_refused = before.reset.is_some() && (said == Some(429) || tag == "rate_limit");
    let reset = || before.reset.or_else(|| stamp(message)).or_else(|| clock::next(message, at));
    if wording::is_limit(message) || tag == "billing_error" || said == Some(402) || is_refused {
        return error(ErrorClass::Quota, message, None, reset());
    }
    let is_login_tag = matches!(tag, "authentication_failed" | "oauth_org_not_allowed");
    if is_login_tag || matches!(said, Some(401 | 403)) || wording::is_login(message) {
        return error(ErrorClass::Auth, message, Some(LOGIN), None);
    }
    let is_busy_tag = matches!(tag, "rate_limit" | "overloaded" | "server_error");
    let is_busy = match said {
        Some(status) => matches!(status, 408 | 409 | 425 | 429 | 500..),
        None => wording::is_busy(message) || wording::is_cut(message) || wording::has_any(message, CUT),
    };
    if is_busy_tag || is_busy {
        return error(ErrorClass::Transient, message, Some(BUSY), reset());
    }
    if matches!(said, Some(400..500)) || matches!(tag, "invalid_request" | "model_not_found") {
        return error(ErrorClass::BadRequest, message, None, None);
    }
    error(ErrorClass::Other, message, None, None)
}

/// The run ended over a permission: the last tool that was called is the last that was denied, and nobody
/// interrupted.
fn is_denied(result: &Value, last_tool: Option<&str>) -> bool {
    let denied = result.get("permission_denials").and_then(Value::as_array).and_then(|all| all.last());
    let denied = denied.and_then(|denied| denied.get("tool_use_id")).and_then(Value::as_str);
    let reason = result.get("terminal_reason").and_then(Value::as_str).unwrap_or_default();
    denied.is_some() && denied == last_tool && !reason.starts_with("aborted")
}

/// The moment behind the bar in `usage limit reached|1795208400`, in seconds since 1970.
fn stamp(message: &str) -> Option<Moment> {
    let (_, behind) = message.split_once('|')?;
    let digits = behind.split(|letter: char| !letter.is_ascii_digit()).next()?;
    seconds(digits.parse().ok().filter(|_| digits.len() == 10)?)
}

/// A moment that is given in seconds since 1970.
pub(super) fn seconds(seconds: i64) -> Option<Moment> {
    seconds
        .checked_mul(1_000_000)
        .map(Moment::from_micros)
        .filter(|_| (1..100_000_000_000).contains(&seconds))
}

fn error(class: ErrorClass, message: &str, code: Option<&str>, not_before: Option<Moment>) -> AgentError {
    let message = refusal::bounded(message).to_owned();
    AgentError { class, message, code: code.map(str::to_owned), not_before }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// It is noon, UTC, of 21 November 2026.
    const NOON: Moment = Moment::from_micros(1_795_262_400_000_000);

    fn read(result: &Value) -> Option<Failure> {
        of_result(result, Before::default(), NOON)
    }

    fn words(message: &str) -> AgentError {
        of_words(message, None, Before::default(), NOON)
    }

    #[test]
    fn words_give_the_class_and_the_code() {
        use ErrorClass::{Auth, BadRequest, Other, Quota, SessionGone, Transient};
        let rows = [
            ("You're out of extra usage \u{b7} resets 3pm (Europe/Berlin)", Quota, None),
            ("Claude usage limit reached. Your limit will reset at 3pm (Europe/Berlin).", Quota, None),
            ("5-hour limit reached \u{2219} resets 4am", Quota, None),
            ("Weekly limit reached \u{2219} resets Mon 4am", Quota, None),
            ("usage cap reached", Quota, None),
            ("Credit balance is too low", Quota, None),
            ("API Error: Request rejected (429) \u{b7} Rate limited.", Transient, Some(BUSY)),
            ("API Error: 529 Overloaded.", Transient, Some(BUSY)),
            ("overloaded_error", Transient, Some(BUSY)),
            ("503 Service Unavailable, try again later", Transient, Some(BUSY)),
            ("ThrottlingException: too many tokens", Transient, Some(BUSY)),
            ("API Error: Unable to connect to API (ConnectionRefused)", Transient, Some(BUSY)),
            ("Not logged in \u{b7} Please run /login", Auth, Some(LOGIN)),
            ("Invalid API key \u{b7} Fix external API key", Auth, Some(LOGIN)),
            ("please run `claude login`", Auth, Some(LOGIN)),
            ("Failed to authenticate. API Error: 403 Not allowed.", Auth, Some(LOGIN)),
            ("API Error: 400 Bad request.", BadRequest, None),
            ("API Error: 404 model session-x not found", BadRequest, None),
            ("No conversation found with session ID: 1", SessionGone, None),
            ("Provided value \"x\" is not a UUID and does not match any session title.", SessionGone, None),
            ("Unknown session 1", SessionGone, None),
            ("the program stumbled", Other, None),
        ];
        for (message, class, code) in rows {
            let error = words(message);
            assert_eq!((error.class, error.code.as_deref(), error.message.as_str()), (class, code, message));
        }
    }

    #[test]
    fn the_program_s_own_word_for_a_failure_counts() {
        let rows = [
            ("rate_limit", ErrorClass::Transient),
            ("overloaded", ErrorClass::Transient),
            ("server_error", ErrorClass::Transient),
            ("authentication_failed", ErrorClass::Auth),
            ("billing_error", ErrorClass::Quota),
            ("invalid_request", ErrorClass::BadRequest),
            ("model_not_found", ErrorClass::BadRequest),
            ("unknown", ErrorClass::Other),
        ];
        for (tag, class) in rows {
            let before = Before { tag: Some(tag), ..Before::default() };
            assert_eq!(of_words("it says no", None, before, NOON).class, class, "{tag}");
        }
    }

    #[test]
    fn a_reset_is_read_from_words_from_a_stamp_and_from_what_came_before() {
        let at = |text: &str| Moment::parse(text);
        let rows = [
            (
                "Claude usage limit reached. Your limit will reset at 3pm (Europe/Berlin).",
                at("2026-11-21T14:00:00Z"),
            ),
            ("5-hour limit reached \u{2219} resets 11am (UTC)", at("2026-11-22T11:00:00Z")),
            ("Claude AI usage limit reached|1795280400", at("2026-11-21T17:00:00Z")),
            ("Claude AI usage limit reached|soon", None),
            ("weekly limit reached", None),
        ];
        for (message, expected) in rows {
            assert_eq!(words(message).not_before, expected, "{message}");
        }
        let before = Before { reset: at("2026-11-25T00:00:00Z"), ..Before::default() };
        let error = of_words("API Error: Request rejected (429)", Some(429), before, NOON);
        assert_eq!((error.class, error.not_before), (ErrorClass::Quota, before.reset));
        let error = of_words("API Error: 400 Bad request", Some(400), before, NOON);
        assert_eq!((error.class, error.not_before), (ErrorClass::BadRequest, None));
    }

    #[test]
    fn the_subtype_alone_makes_neither_a_success_nor_a_failure() {
        assert_eq!(read(&json!({ "subtype": "success", "is_error": false, "result": "hi" })), None);
        assert_eq!(read(&json!({ "subtype": "error_odd", "is_error": false })), None);
        assert_eq!(read(&json!({})), None);
        let class = |result| read(&result).map(|failure| failure.error.class);
        assert_eq!(
            class(json!({ "subtype": "success", "is_error": true, "api_error_status": 401, "result": "no" })),
            Some(ErrorClass::Auth)
        );
        assert_eq!(
            class(json!({ "subtype": "success", "api_error_status": 529 })),
            Some(ErrorClass::Transient)
        );
        assert_eq!(class(json!({ "is_error": false, "errors": ["odd"] })), Some(ErrorClass::Other));
        assert_eq!(class(json!({ "subtype": "error_odd" })), Some(ErrorClass::Other));
    }

    #[test]
    fn limits_of_the_run_end_the_session_and_are_nothing_transient() {
        let rows = [
            json!({ "is_error": true, "subtype": "error_max_turns", "errors": ["Reached 429 turns"] }),
            json!({ "is_error": true, "stop_reason": "max_turns" }),
            json!({ "is_error": true, "result": "Reached the maximum number of turns (2)" }),
        ];
        for result in rows {
            let failure = read(&result).unwrap();
            assert_eq!(failure.error.code.as_deref(), Some("claude_max_turns"), "{result}");
            assert!(failure.over.is_some() && failure.error.class == ErrorClass::Other);
        }
        let budget =
            read(&json!({ "is_error": true, "subtype": "error_max_budget_usd", "errors": ["budget"] }))
                .unwrap();
        assert_eq!((budget.error.code.as_deref(), budget.over), (Some("claude_max_budget"), None));
        let long =
            read(&json!({ "is_error": true, "api_error_status": 400, "terminal_reason": "prompt_too_long" }));
        assert!(long.is_some_and(|it| it.over.is_some() && it.error.class == ErrorClass::BadRequest));
        // A model that talks about turns has not reached its limit of them.
        let talk = json!({ "is_error": true, "api_error_status": 500, "result": "API Error: 500 max turns" });
        assert_eq!(read(&talk).unwrap().error.class, ErrorClass::Transient);
    }

    #[test]
    fn a_permission_is_to_blame_only_when_it_was_the_last_thing_that_happened() {
        let result = |reason: &str| {
            json!({
                "subtype": "error_during_execution", "is_error": true, "terminal_reason": reason,
                "permission_denials": [{ "tool_use_id": "t-1" }, { "tool_use_id": "t-2" }],
            })
        };
        let class = |reason, last_tool| {
            let before = Before { last_tool, ..Before::default() };
            of_result(&result(reason), before, NOON).unwrap().error.class
        };
        assert_eq!(class("tool_denied", Some("t-2")), ErrorClass::Permission);
        assert_eq!(class("tool_denied", Some("t-3")), ErrorClass::Other);
        assert_eq!(class("tool_denied", None), ErrorClass::Other);
        assert_eq!(class("aborted_streaming", Some("t-2")), ErrorClass::Other);
    }
}
