//! How a command fails: one type, with what to type next, and the one place where exit codes are assigned.
//!
//! Nothing is printed here; `screen` does that.

use std::fmt;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

/// What kind of failure it was. The exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The run that was waited for did not succeed, or the command itself did not.
    Failed,
    /// What was typed makes no sense, or names something that is not there.
    Usage,
    /// The server understood and did not do it: skipped, refused, not allowed.
    Refused,
    /// No server answers, or it is too busy to.
    Unreachable,
    /// The person interrupted the command; what it watched goes on.
    Interrupted,
}

impl Kind {
    /// The exit code, as documented in `bugle --help`. 130 is what shells show for an interrupted program.
    pub(crate) fn exit_number(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Unreachable => 4,
            Kind::Interrupted => 130,
        }
    }

    /// The kind that an HTTP status means to whoever typed the command.
    pub(crate) fn of_status(status: u16) -> Kind {
        match status {
            400 | 404 | 405 | 413 | 415 | 422 => Kind::Usage,
            401 | 403 | 409 | 429 => Kind::Refused,
            502..=504 => Kind::Unreachable,
            _ => Kind::Failed,
        }
    }
}

/// A command did not do what was asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// A machine string that stays the same.
    pub(crate) code: String,
    pub(crate) message: String,
    /// What to type next.
    pub(crate) hint: Option<String>,
    /// Boxed, because failures travel in every result.
    pub(crate) details: Option<Box<Json>>,
    /// Everything was said already; only the exit code counts.
    pub(crate) is_silent: bool,
}

impl Failure {
    pub(crate) fn new(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Failure {
        let (code, message) = (code.into(), message.into());
        Failure { kind, code, message, hint: None, details: None, is_silent: false }
    }

    pub(crate) fn usage(code: &str, message: impl Into<String>) -> Failure {
        Failure::new(Kind::Usage, code, message)
    }

    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Failure {
        Failure::new(Kind::Failed, code, message)
    }

    /// An end that was shown already.
    pub(crate) fn shown(kind: Kind, code: &str) -> Failure {
        Failure { is_silent: true, ..Failure::new(kind, code, "") }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn details(mut self, details: Option<Json>) -> Failure {
        self.details = details.map(Box::new);
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.exit_number())
    }

    /// The form that `--json` prints on stderr: that of the API's errors.
    pub(crate) fn to_json(&self) -> Json {
        let mut body =
            json!({ "error": self.message, "code": self.code, "exitCode": self.kind.exit_number() });
        if let Some(details) = &self.details {
            body["details"] = Json::clone(details);
        }
        if let Some(hint) = &self.hint {
            body["hint"] = json!(hint);
        }
        body
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The causes of an error, outermost first, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_exit_code_and_none_is_zero() {
        let kinds = [Kind::Failed, Kind::Usage, Kind::Refused, Kind::Unreachable, Kind::Interrupted];
        assert_eq!(kinds.map(Kind::exit_number), [1, 2, 3, 4, 130]);
    }

    #[test]
    fn statuses_mean_what_the_person_can_do() {
        for (status, kind) in [
            (400, Kind::Usage),
            (404, Kind::Usage),
            (409, Kind::Refused),
            (401, Kind::Refused),
            (503, Kind::Unreachable),
            (500, Kind::Failed),
        ] {
            assert_eq!(Kind::of_status(status), kind, "{status}");
        }
    }

    #[test]
    fn the_json_form_is_that_of_the_api() {
        let failure = Failure::usage("a.b", "no").hint("type x");
        assert_eq!(failure.to_json(), json!({"error": "no", "code": "a.b", "exitCode": 2, "hint": "type x"}));
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let inner = std::io::Error::other("disk on fire");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "disk on fire");
    }
}
