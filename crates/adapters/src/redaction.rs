//! Values that must not be shown, replaced by a marker that clients know (spec/api.md 1).

use serde_json::{Map, Value};

use crate::env::is_secret_name;
use crate::settings::REDACTED;

/// Parts of keys whose values are secrets, in lower case without separators.
const SECRET_KEYS: [&str; 14] = [
    "apikey",
    "accesstoken",
    "authtoken",
    "authorization",
    "bearer",
    "secret",
    "passwd",
    "password",
    "credential",
    "jwt",
    "privatekey",
    "cookie",
    "connectionstring",
    "refreshtoken",
];

/// Replaces what is secret by its key or its form. References to secrets stay: they hold none.
pub fn redacted(mut value: Value) -> Value {
    redact(&mut value);
    value
}

/// Replaces the plain values of an environment whose names say that they are nobody else's business. What a binding is
/// stays to be seen.
pub fn redacted_env(mut env: Value) -> Value {
    for (name, binding) in env.as_object_mut().into_iter().flatten() {
        if !is_secret_name(name) {
            continue;
        }
        match binding {
            Value::String(text) if !text.is_empty() => *text = REDACTED.to_owned(),
            Value::Object(fields)
                if !is_reference(fields) && fields.get("value").is_some_and(|value| value != "") =>
            {
                fields.insert("value".to_owned(), Value::from(REDACTED));
            }
            _ => {}
        }
    }
    env
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) if is_reference(map) => {}
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if key == "env" && value.is_object() {
                    *value = redacted_env(value.take());
                }
                let is_shown = value.is_null() || value.as_object().is_some_and(is_binding);
                if is_secret_key(key) && !is_shown {
                    *value = Value::from(REDACTED);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) if is_token(text) => *value = Value::from(REDACTED),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A reference, or a binding whose value was looked at as such.
fn is_binding(map: &Map<String, Value>) -> bool {
    let is_hidden = map.get("value").is_some_and(|value| value == REDACTED || value == "");
    is_reference(map) || (is_hidden && map.get("type").is_some_and(|kind| kind == "plain"))
}

fn is_reference(map: &Map<String, Value>) -> bool {
    map.get("type").and_then(Value::as_str) == Some("secret_ref")
}

fn is_secret_key(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    plain == "auth" || SECRET_KEYS.iter().any(|part| plain.contains(part))
}

/// Three parts of base64 with dots between them, the first of which begins a JSON object.
fn is_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let is_part = |part: Option<&str>| {
        part.is_some_and(|part| {
            part.len() >= 8
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='))
        })
    };
    text.starts_with("eyJ")
        && is_part(parts.next())
        && is_part(parts.next())
        && is_part(parts.next())
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_replaced_by_key_and_by_form() {
        let token = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl";
        let shown = redacted(json!({
            "env": {"API_KEY": "k", "DB_PASSWORD": 5, "HOME": "/root"},
            "list": [{"Authorization": "x"}, token, "a.b.c"],
            "secretRef": {"type": "secret_ref", "secretId": "1"},
            "authorId": "kept", "auth": "gone", "cookie": null,
        }));
        let expected = json!({
            "env": {"API_KEY": REDACTED, "DB_PASSWORD": REDACTED, "HOME": "/root"},
            "list": [{"Authorization": REDACTED}, REDACTED, "a.b.c"],
            "secretRef": {"type": "secret_ref", "secretId": "1"},
            "authorId": "kept", "auth": REDACTED, "cookie": null,
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn environments_keep_their_shape_and_lose_what_their_names_call_secret() {
        let shown = redacted(json!({
            "command": "x",
            "env": {
                "GH_TOKEN": {"type": "plain", "value": "k"}, "API_KEY": "k", "LEVEL": {"type": "plain", "value": "full"},
                "PASSWORD": {"type": "secret_ref", "secretId": "1"}, "EMPTY_KEY": {"type": "plain", "value": ""},
            },
            "headers": {"Authorization": "Bearer k"},
        }));
        let expected = json!({
            "command": "x",
            "env": {
                "GH_TOKEN": {"type": "plain", "value": REDACTED}, "API_KEY": REDACTED,
                "LEVEL": {"type": "plain", "value": "full"},
                "PASSWORD": {"type": "secret_ref", "secretId": "1"}, "EMPTY_KEY": {"type": "plain", "value": ""},
            },
            "headers": {"Authorization": REDACTED},
        });
        assert_eq!(shown, expected);
    }
}
