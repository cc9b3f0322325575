//! What an environment binds its names to: a plain text, or a secret of the company by reference (spec/api.md 4.3.1).
//!
//! Read here for agents and projects alike, so that both refuse the same in the same words. Whether a secret exists, and
//! what its value is, is not known here.

use domain::ids::looks_like_id;
use serde_json::{Map, Value};

use crate::adapter::Problem;
use crate::env::{LONGEST, RESERVED, is_secret_name};
use crate::settings::REDACTED;

/// What one name is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding<'a> {
    Plain(&'a str),
    Secret(SecretRef),
}

/// A secret of the company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// In small letters.
    pub secret: String,
    /// `None`: the latest.
    pub version: Option<i64>,
}

/// Reads one binding: a text, `{"type": "plain", "value"}` or `{"type": "secret_ref", "secretId", "version"?}`.
pub fn binding(value: &Value) -> Option<Binding<'_>> {
    let fields = match value {
        Value::String(text) => return Some(Binding::Plain(text)),
        other => other.as_object()?,
    };
    match fields.get("type").and_then(Value::as_str)? {
        "plain" => fields.get("value").and_then(Value::as_str).map(Binding::Plain),
        "secret_ref" => {
            let secret = fields.get("secretId").and_then(Value::as_str).filter(|id| looks_like_id(id))?;
            let version = match fields.get("version") {
                None => None,
                Some(Value::String(word)) if word == "latest" => None,
                Some(number) => Some(number.as_i64().filter(|number| *number >= 1)?),
            };
            Some(Binding::Secret(SecretRef { secret: secret.to_ascii_lowercase(), version }))
        }
        _ => None,
    }
}

/// Looks for mistakes in an environment at `path`.
pub fn check_env(path: &str, env: &Map<String, Value>) -> Vec<Problem> {
    env.iter()
        .filter_map(|(name, value)| {
            let (message, hint) = mistake(name, value).or_else(|| unsavable(value))?;
            Some(Problem {
                path: format!("{path}.{name}"),
                message: message.replace("{name}", name),
                hint: hint.map(str::to_owned),
            })
        })
        .collect()
}

/// What is wrong with one name and its binding; the name stands as `{name}` in the text.
pub(crate) fn mistake(name: &str, value: &Value) -> Option<(&'static str, Option<&'static str>)> {
    if !is_name(name) {
        return Some((
            "Invalid environment variable name: {name}",
            Some("use letters, digits and _, no digit first"),
        ));
    }
    if name == RESERVED {
        return Some((
            "Invalid environment variable name: {name} is reserved: it marks the processes of a run",
            Some("choose another name"),
        ));
    }
    match binding(value) {
        None => Some((
            "Invalid environment binding for key: {name}",
            Some(
                "write a text, {\"type\": \"plain\", \"value\": \"...\"}, or \
                 {\"type\": \"secret_ref\", \"secretId\": \"...\", \"version\": \"latest\"}",
            ),
        )),
        Some(Binding::Plain(text)) if name.len() + text.len() + 2 > LONGEST => Some((
            "Invalid environment binding for key: {name} (it is longer than the system takes: 128 KiB)",
            Some("put it into a file"),
        )),
        Some(Binding::Plain(_) | Binding::Secret(_)) => None,
    }
}

/// What is wrong with a binding that is to be saved; configurations of agents are looked through for this as a whole.
fn unsavable(value: &Value) -> Option<(&'static str, Option<&'static str>)> {
    match binding(value)? {
        Binding::Plain(REDACTED) => {
            Some(("Refusing to persist redacted placeholder for key: {name}", Some("send the value itself")))
        }
        Binding::Plain(text) if text.contains('\0') => {
            Some(("Invalid environment binding for key: {name} (it holds a NUL byte)", None))
        }
        Binding::Plain(_) | Binding::Secret(_) => None,
    }
}

/// Strict mode: looks for plain values under names that say that they are nobody else's business.
pub fn check_strictly(path: &str, env: &Map<String, Value>) -> Vec<Problem> {
    let is_bare = |name: &str, value: &Value| match binding(value) {
        // A mark that comes back stands for what is stored, and nothing new.
        Some(Binding::Plain(text)) => is_secret_name(name) && !text.trim().is_empty() && text != REDACTED,
        Some(Binding::Secret(_)) | None => false,
    };
    env.iter()
        .filter(|(name, value)| is_bare(name, value))
        .map(|(name, _)| Problem {
            path: format!("{path}.{name}"),
            message: format!("Strict secret mode requires secret references for sensitive key: {name}"),
            hint: Some("store the value first: bugle secret set NAME; then refer to it".to_owned()),
        })
        .collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0192F7A0-0000-4000-8000-000000000000";

    #[test]
    fn bindings_have_three_forms_and_no_other() {
        let secret = |version| Some(Binding::Secret(SecretRef { secret: ID.to_ascii_lowercase(), version }));
        for (value, read) in [
            (json!("x"), Some(Binding::Plain("x"))),
            (json!({"type": "plain", "value": ""}), Some(Binding::Plain(""))),
            (json!({"type": "plain", "value": 1}), None),
            (json!({"type": "plain"}), None),
            (json!({"value": "x"}), None),
            (json!({"type": "secret_ref", "secretId": ID}), secret(None)),
            (json!({"type": "secret_ref", "secretId": ID, "version": "latest"}), secret(None)),
            (json!({"type": "secret_ref", "secretId": ID, "version": 2}), secret(Some(2))),
            (json!({"type": "secret_ref", "secretId": ID, "version": 0}), None),
            (json!({"type": "secret_ref", "secretId": ID, "version": "2"}), None),
            (json!({"type": "secret_ref", "secretId": "x"}), None),
            (json!({"type": "other"}), None),
            (json!(1), None),
            (json!(null), None),
        ] {
            assert_eq!(binding(&value), read, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_key() {
        let long = "x".repeat(LONGEST);
        let env = json!({
            "1A": "x", "A-B": "x", "BUGLE_RUN": "x", "NO": 5, "SHOWN": REDACTED, "NUL": "a\0b", "LONG": long,
            "FINE": "x", "ALSO": {"type": "secret_ref", "secretId": ID},
        });
        let found: Vec<String> = check_env("env", env.as_object().unwrap())
            .into_iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect();
        assert_eq!(
            found,
            [
                "env.1A: Invalid environment variable name: 1A",
                "env.A-B: Invalid environment variable name: A-B",
                "env.BUGLE_RUN: Invalid environment variable name: BUGLE_RUN is reserved: it marks the processes of a run",
                "env.NO: Invalid environment binding for key: NO",
                "env.SHOWN: Refusing to persist redacted placeholder for key: SHOWN",
                "env.NUL: Invalid environment binding for key: NUL (it holds a NUL byte)",
                "env.LONG: Invalid environment binding for key: LONG (it is longer than the system takes: 128 KiB)",
            ]
        );
    }

    #[test]
    fn strict_mode_wants_references_where_the_name_says_so() {
        let env = json!({
            "API_KEY": "x", "GH_TOKEN": {"type": "plain", "value": "x"}, "LEVEL": "full", "OTHER_KEY": " ",
            "PASSWORD": {"type": "secret_ref", "secretId": ID},
        });
        let found: Vec<String> = check_strictly("env", env.as_object().unwrap())
            .into_iter()
            .map(|problem| problem.message)
            .collect();
        assert_eq!(
            found,
            [
                "Strict secret mode requires secret references for sensitive key: API_KEY",
                "Strict secret mode requires secret references for sensitive key: GH_TOKEN",
            ]
        );
    }
}
