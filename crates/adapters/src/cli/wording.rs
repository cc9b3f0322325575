//! What the words of a failure mean, where several agent programs use the same ones.
//!
//! Providers answer with a status and a sentence, and the programs hand both on as text. Phrases are looked
//! for without regard to case, and only as whole words. Which of these a program's failure is asked for, and
//! in which order, is the business of its own reader.

/// The login is missing or was lost.
const LOGIN: &[&str] = &[
    "not logged in",
    "please log in",
    "please login",
    "please sign in",
    "log in again",
    "sign in again",
    "login required",
    "requires login",
    "run /login",
    "run `claude login`",
    "run `codex login`",
    "run gemini auth",
    "unauthorized",
    "not authenticated",
    "please authenticate",
    "authentication required",
    "authentication_error",
    "authentication failed",
    "invalid authentication",
    "invalid credentials",
    "invalid api key",
    "invalid x-api-key",
    "incorrect api key",
    "invalid_api_key",
    "api key required",
    "api key is required",
    "api key missing",
    "api key is missing",
    "api key invalid",
    "api key not valid",
    "missing api key",
    "no api key",
    "token has expired",
    "token expired",
    "refresh token was",
    "refresh token has",
    "refresh_token_reused",
    "refresh_token_expired",
    "refresh_token_invalidated",
];

/// What the account may use is used up: only its reset, or money, helps.
const LIMIT: &[&str] = &[
    "usage limit",
    "usage cap reached",
    "hour limit reached",
    "daily limit reached",
    "weekly limit reached",
    "monthly limit reached",
    "hit your limit",
    "hit your session limit",
    "hit your weekly limit",
    "extra usage",
    "quota exceeded",
    "quota_exceeded",
    "exceeded your quota",
    "exceeded your current quota",
    "quota exhausted",
    "exhausted your daily quota",
    "exhausted your capacity",
    "insufficient_quota",
    "insufficient quota",
    "insufficient credits",
    "out of credits",
    "credit balance is too low",
    "billing hard limit",
];

/// The provider is busy or down; a moment later it may not be.
const BUSY: &[&str] = &[
    "rate limit",
    "rate limits",
    "rate limited",
    "rate limiting",
    "rate_limit_error",
    "rate_limit_exceeded",
    "too many requests",
    "overloaded",
    "overloaded_error",
    "service unavailable",
    "temporarily unavailable",
    "bad gateway",
    "gateway timeout",
    "internal server error",
    "high demand",
    "temporary errors",
    "at capacity",
    "try again later",
    "throttled",
    "throttling",
    "throttlingexception",
    "servicequotaexceededexception",
];

/// The connection did not come about, or broke.
const CUT: &[&str] = &[
    "stream disconnected",
    "stream closed",
    "stream ended",
    "stream error",
    "connection error",
    "connection closed",
    "connection reset",
    "connection refused",
    "connection aborted",
    "connection timed out",
    "request timed out",
    "network error",
    "transport error",
    "error sending request",
    "error decoding response body",
    "fetch failed",
    "socket hang up",
    "premature close",
    "unexpected eof",
    "econnreset",
    "econnrefused",
    "etimedout",
    "enotfound",
    "eai_again",
];

/// Words that a status follows: `unexpected status 401`, `HTTP 429`, `API Error: 529`.
const BEFORE_STATUS: &[&str] = &["status", "status code", "http", "error", "error code", "code", "api error"];

/// Nobody is logged in, or the login was lost.
pub(crate) fn is_login(text: &str) -> bool {
    status(text) == Some(401) || has_any(text, LOGIN)
}

/// A limit of the account is reached. A limit of the rate is not one: that is over in a moment.
pub(crate) fn is_limit(text: &str) -> bool {
    has_any(text, LIMIT)
}

/// The provider has too much to do, or does not work.
pub(crate) fn is_busy(text: &str) -> bool {
    status(text).is_some_and(|status| matches!(status, 408 | 429 | 500..=599)) || has_any(text, BUSY)
}

/// The connection to the provider failed.
pub(crate) fn is_cut(text: &str) -> bool {
    has_any(text, CUT)
}

/// A session is not there: `unknown <noun>`, or `<noun> ... not found` in one line. Nouns are in lower case.
pub(crate) fn is_gone(text: &str, nouns: &[&str]) -> bool {
    let text = plain(text);
    text.lines().any(|line| {
        nouns.iter().any(|noun| {
            contains(line, &format!("unknown {noun}"))
                || places(line, noun).any(|at| contains(&line[at + noun.len()..], "not found"))
        })
    })
}

/// The first HTTP status that the text names as one.
pub(crate) fn status(text: &str) -> Option<u16> {
    let text = plain(text);
    let mut from = 0;
    while let Some(at) = text[from..].find(|letter: char| letter.is_ascii_digit()).map(|at| from + at) {
        let end = text[at..].find(|letter: char| !letter.is_ascii_digit()).map_or(text.len(), |end| at + end);
        from = end;
        let (before, behind) = (&text[..at], &text[end..]);
        let is_whole = !before.chars().next_back().is_some_and(is_part_of_word)
            && !behind.chars().next().is_some_and(is_part_of_word);
        let Some(number) = text[at..end].parse().ok().filter(|number| (400..600).contains(number)) else {
            continue;
        };
        let lead = before.trim_end_matches([' ', ':', '(', '=', '"', '[']);
        let is_announced = lead.len() < before.len()
            && BEFORE_STATUS.iter().any(|word| {
                lead.strip_suffix(word)
                    .is_some_and(|rest| !rest.chars().next_back().is_some_and(is_part_of_word))
            });
        let is_alone_in_brackets = before.ends_with('(') && behind.starts_with(')');
        if is_whole && (is_announced || is_alone_in_brackets) {
            return Some(number);
        }
    }
    None
}

/// One of the phrases stands in the text, as whole words.
pub(crate) fn has_any(text: &str, phrases: &[&str]) -> bool {
    let text = plain(text);
    phrases.iter().any(|phrase| contains(&text, phrase))
}

/// The text in lower case, with the plain apostrophe for the typographic ones.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['\u{2019}', '\u{2018}'], "'")
}

fn contains(text: &str, phrase: &str) -> bool {
    places(text, phrase).next().is_some()
}

/// Where a phrase stands as whole words.
fn places<'a>(text: &'a str, phrase: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(phrase).map(|(at, _)| at).filter(move |at| {
        let (before, behind) = (&text[..*at], &text[at + phrase.len()..]);
        !before.chars().next_back().is_some_and(is_part_of_word)
            && !behind.chars().next().is_some_and(is_part_of_word)
    })
}

fn is_part_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Login, limit, busy, cut.
    fn meaning(text: &str) -> [bool; 4] {
        [is_login(text), is_limit(text), is_busy(text), is_cut(text)]
    }

    const LOGIN: [bool; 4] = [true, false, false, false];
    const LIMIT: [bool; 4] = [false, true, false, false];
    const BUSY: [bool; 4] = [false, false, true, false];
    const CUT: [bool; 4] = [false, false, false, true];
    const NOTHING: [bool; 4] = [false; 4];

    #[test]
    fn phrases_mean_what_providers_mean_by_them() {
        let rows = [
            ("unexpected status 401 Unauthorized: invalid x-api-key", LOGIN),
            ("Not logged in \u{b7} Please run /login", LOGIN),
            ("INVALID API KEY", LOGIN),
            ("refresh_token_reused: it was used already", LOGIN),
            ("You\u{2019}ve hit your usage limit. Try again at 10:51 PM.", LIMIT),
            ("5-hour limit reached \u{2219} resets 3pm", LIMIT),
            ("You exceeded your current quota, please check your plan", LIMIT),
            ("exceeded retry limit, last status: 429 Too Many Requests", BUSY),
            ("Rate limit reached for requests", BUSY),
            ("API Error: 529 {\"type\":\"overloaded_error\"}", BUSY),
            ("API Error: Request rejected (429)", BUSY),
            ("unexpected status 503", BUSY),
            ("We\u{2019}re currently experiencing high demand, which may cause temporary errors.", BUSY),
            ("stream disconnected before completion", CUT),
            ("connect ECONNREFUSED 127.0.0.1:1", CUT),
            ("Bad request to the fake model.", NOTHING),
            // Parts of words are other words.
            ("preauthentication required", NOTHING),
            ("the usage limits of this tool", NOTHING),
            ("moverloaded", NOTHING),
            ("", NOTHING),
        ];
        for (text, expected) in rows {
            assert_eq!(meaning(text), expected, "{text}");
        }
    }

    #[test]
    fn a_status_is_a_number_that_is_called_one() {
        let rows = [
            ("unexpected status 529 <unknown status code>: Overloaded", Some(529)),
            ("last status: 429 Too Many Requests", Some(429)),
            ("status code 503", Some(503)),
            ("HTTP 404", Some(404)),
            ("API Error: 401 {}", Some(401)),
            ("{\"status\": 400}", Some(400)),
            ("{\"code\":429}", Some(429)),
            ("Request rejected (429)", Some(429)),
            ("line 1 error: status 500", Some(500)),
            ("429", None),
            ("it took 429 seconds", None),
            ("status 4290", None),
            ("status 200", None),
            ("status429", None),
            ("barcode 429", None),
            ("http://127.0.0.1:500/v1", None),
            ("see code 99999999999999999999, status 502", Some(502)),
        ];
        for (text, expected) in rows {
            assert_eq!(status(text), expected, "{text}");
        }
    }

    #[test]
    fn a_session_that_is_gone_is_named_in_one_line() {
        let nouns = &["session", "thread"];
        let rows = [
            ("Error: Unknown session abc", true),
            ("Session abc-1 was not found", true),
            ("thread not found", true),
            ("thread\nfile not found", false),
            ("file not found", false),
            ("not found: session", false),
            ("obsession not found", false),
        ];
        for (text, expected) in rows {
            assert_eq!(is_gone(text, nouns), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_meaning(text in "(\\PC|status |[0-9]{1,5}|\u{130}|chat|not found|[(:)]|\n){0,24}") {
            let status = status(&text);
            prop_assert!(status.is_none_or(|status| (400..600).contains(&status)));
            prop_assert!(!is_gone(&text, &["chat"]) || text.to_lowercase().contains("chat"));
            meaning(&text);
        }
    }
}
