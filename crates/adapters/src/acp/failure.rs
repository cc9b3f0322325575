//! What an error of an agent means: the class of the failure, and when to come back.
//!
//! The protocol has two numbers of its own (a login is missing, a thing is not there); everything else is an internal
//! error with data that every agent fills in its own way. Kinds that are known count, then the words.

use domain::moment::Moment;
use domain::telling::{AgentError, ErrorClass};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::cli::{clock, refusal, wording};

/// The protocol's own numbers.
const AUTH_REQUIRED: i64 = -32_000;
const NOT_FOUND: i64 = -32_002;

/// What a time in a message is measured by.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// The run's start; times lie after it.
    pub(super) started_at: Moment,
    /// Where the program's clock shows what it prints.
    pub(super) zone: TimeZone,
}

/// Reads the `error` of an answer.
pub(super) fn read(error: &Value, clock: &Clock) -> AgentError {
    let data = &error["data"];
    let said = ["message", "details", "detail"].iter().find_map(|key| data[*key].as_str());
    let own = error["message"].as_str().unwrap_or("the agent reported a failure and no reason");
    let message = match said.or_else(|| data.as_str()).map(str::trim).filter(|said| !said.is_empty()) {
        Some(said) => said.to_owned(),
        None => own.strip_prefix("Internal error: ").unwrap_or(own).trim().to_owned(),
    };
    let by_words = of_words(&message, clock);
    let code = error["code"].as_i64();
    let kind = kind_of(&data["errorKind"]).or_else(|| kind_of(&data["codexErrorInfo"]));
    let class = match (code, kind.as_deref().and_then(class_of)) {
        (Some(AUTH_REQUIRED), _) => ErrorClass::Auth,
        (Some(NOT_FOUND), _) => ErrorClass::SessionGone,
        // Words of a limit say more than a kind that is common to a limit and to a crowd.
        (_, Some(ErrorClass::Transient)) if by_words.class == ErrorClass::Quota => ErrorClass::Quota,
        (_, Some(class)) => class,
        (_, None) => by_words.class,
    };
    AgentError { class, ..by_words }
}

/// Reads a failure that was reported as text.
pub(super) fn of_words(message: &str, clock: &Clock) -> AgentError {
    let message = unwrapped(message);
    let error = refusal::read(&message, None, clock.started_at);
    let not_before = match error.class {
        ErrorClass::Quota | ErrorClass::Transient => {
            error.not_before.or_else(|| clock::next_in(&message, clock.started_at, &clock.zone))
        }
        _ => None,
    };
    let class = if is_gone(&message) { ErrorClass::SessionGone } else { error.class };
    AgentError { class, not_before, ..error }
}

/// A failure of no class.
pub(super) fn other(message: &str) -> AgentError {
    let message = refusal::bounded(message).to_owned();
    AgentError { class: ErrorClass::Other, message, code: None, not_before: None }
}

fn is_gone(message: &str) -> bool {
    wording::has_any(message, &["no rollout found for thread id", "resource not found"])
        || wording::is_gone(message, &["session", "thread", "conversation"])
}

/// Some hand on the JSON of the provider's answer: the sentence in it, with what the answer calls it.
fn unwrapped(message: &str) -> String {
    let message = message.trim();
    let inside = || {
        let answer: Value = serde_json::from_str(message).ok()?;
        let error = answer.get("error").filter(|error| error.is_object()).unwrap_or(&answer);
        let sentence = refusal::message_of(error)?;
        let kind = error["type"].as_str().map_or(String::new(), |kind| format!(" ({kind})"));
        Some(format!("{sentence}{kind}"))
    };
    Some(message)
        .filter(|it| it.starts_with('{'))
        .and_then(|_| inside())
        .unwrap_or_else(|| message.to_owned())
}

/// The name of a kind: a text, or the only key of an object.
fn kind_of(kind: &Value) -> Option<String> {
    let name = match kind {
        Value::String(name) => name.as_str(),
        Value::Object(fields) => fields.keys().next()?.as_str(),
        _ => return None,
    };
    Some(name.chars().filter(|letter| *letter != '_').collect::<String>().to_ascii_lowercase())
}

/// `None`: the kind says nothing of the class.
fn class_of(kind: &str) -> Option<ErrorClass> {
    Some(match kind {
        "ratelimit"
        | "overloaded"
        | "servererror"
        | "serveroverloaded"
        | "internalservererror"
        | "httpconnectionfailed"
        | "responsestreamconnectionfailed"
        | "responsestreamdisconnected"
        | "responsetoomanyfailedattempts" => ErrorClass::Transient,
        "usagelimitexceeded" | "billingerror" | "sessionbudgetexceeded" => ErrorClass::Quota,
        "authenticationfailed" | "unauthorized" | "oauthorgnotallowed" => ErrorClass::Auth,
        "invalidrequest" | "badrequest" | "contextwindowexceeded" | "modelnotfound" => ErrorClass::BadRequest,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn noon() -> Clock {
        let started_at = Moment::parse("2026-11-20T12:00:00Z").unwrap();
        Clock { started_at, zone: TimeZone::UTC }
    }

    #[test]
    fn numbers_kinds_and_words_give_the_class() {
        use ErrorClass::{Auth, BadRequest, Other, Quota, SessionGone, Transient};
        let internal =
            |message: &str, data: Value| json!({ "code": -32603, "message": message, "data": data });
        let limit =
            "Internal error: API Error: Request rejected (429) \u{b7} The usage limit has been reached";
        let rows = [
            (json!({ "code": -32000, "message": "Authentication required" }), Auth),
            (
                json!({ "code": -32002, "message": "Resource not found", "data": { "sessionId": "x" } }),
                SessionGone,
            ),
            (
                internal("Internal error", json!({ "details": "no rollout found for thread id x" })),
                SessionGone,
            ),
            (internal(limit, json!({ "errorKind": "rate_limit" })), Quota),
            (
                internal("Internal error: API Error: 429 busy", json!({ "errorKind": "rate_limit" })),
                Transient,
            ),
            (
                internal("Internal error: API Error: 400 Bad request.", json!({ "errorKind": "unknown" })),
                BadRequest,
            ),
            (internal("Internal error: nothing", json!({ "errorKind": "authentication_failed" })), Auth),
            (
                internal(
                    "Internal error",
                    json!({ "message": "You\u{2019}ve hit your usage limit.", "codexErrorInfo": "usageLimitExceeded" }),
                ),
                Quota,
            ),
            (
                internal(
                    "Internal error",
                    json!({ "message": "x", "codexErrorInfo": { "responseStreamDisconnected": { "httpStatusCode": null } } }),
                ),
                Transient,
            ),
            (internal("Internal error", json!({ "codexErrorInfo": "other" })), Other),
            (json!({}), Other),
        ];
        for (error, class) in rows {
            assert_eq!(read(&error, &noon()).class, class, "{error}");
        }
    }

    #[test]
    fn the_words_are_the_providers_and_a_time_in_them_is_the_next_such_time() {
        let error = json!({ "code": -32603, "message": "Internal error", "data": {
            "message": "You\u{2019}ve hit your usage limit. Visit https://x or try again at 3:05 PM.",
            "codexErrorInfo": "usageLimitExceeded",
        } });
        let read = read(&error, &noon());
        assert!(read.message.starts_with("You\u{2019}ve hit"), "{}", read.message);
        assert_eq!(read.not_before, Moment::parse("2026-11-20T15:05:00Z"));
        let answer = r#"{"error": {"type": "invalid_request_error", "message": "Bad request."}}"#;
        let read = of_words(answer, &noon());
        assert_eq!(
            (read.message.as_str(), read.class),
            ("Bad request. (invalid_request_error)", ErrorClass::BadRequest)
        );
    }
}
