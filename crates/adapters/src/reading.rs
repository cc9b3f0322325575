//! What is kept of a configuration so that the output of a run can be read again when its agent was configured anew.
//!
//! Readers look at a few short settings and at which variables are there. No value that could be secret is kept, and no
//! long text.

use serde_json::{Map, Value, json};

use crate::env::is_secret_name;

/// Longer texts are prompts and scripts.
const LONGEST: usize = 512;
/// Not for readers.
const NOT_READ: [&str; 3] = ["headers", "payloadTemplate", "url"];
/// The only variables whose values mean anything to a reader; of others it matters that they are there.
const VALUES: [&str; 4] = ["TZ", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "GOOGLE_GENAI_USE_GCA"];
/// Stands for a value.
const SET: &str = "set";
/// A router of models; that it is asked is read from an address.
const ROUTER: &str = "openrouter.ai";

/// The part of an `adapterConfig` that readers of its runs need.
pub fn kept_for_readers(config: &Value) -> Value {
    let Some(config) = config.as_object() else { return json!({}) };
    let mut kept = Map::new();
    for (key, value) in config {
        let is_long = value.as_str().is_some_and(|text| text.len() > LONGEST);
        if key == "env" {
            kept.insert(key.clone(), Value::Object(value.as_object().map(variables).unwrap_or_default()));
        } else if !is_long && !is_secret_name(key) && !NOT_READ.contains(&key.as_str()) {
            kept.insert(key.clone(), value.clone());
        }
    }
    Value::Object(kept)
}

fn variables(env: &Map<String, Value>) -> Map<String, Value> {
    let one = |(name, binding): (&String, &Value)| {
        let value = binding.as_str().or_else(|| binding.get("value")?.as_str());
        let kept = match value {
            Some(value) if value.trim().is_empty() || VALUES.contains(&name.as_str()) => value,
            Some(value) if value.contains(ROUTER) => ROUTER,
            Some(_) | None => SET,
        };
        (name.clone(), Value::from(kept))
    };
    env.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_keep_what_they_look_at_and_no_secret() {
        let config = json!({
            "command": "claude", "cwd": "/w", "extraArgs": ["--verbose"], "apiKey": "sk-1", "url": "http://u:p@h",
            "promptTemplate": "x".repeat(LONGEST + 1), "model": "m", "headers": { "x": "y" },
            "env": {
                "ANTHROPIC_API_KEY": "sk-2", "TZ": "UTC", "EMPTY": " ", "DB": "postgres://u:p@h/d",
                "STORED": { "type": "secret_ref", "secretId": "i" },
                "CLAUDE_CODE_USE_BEDROCK": { "type": "plain", "value": "1" },
                "OPENAI_BASE_URL": "https://u:p@openrouter.ai/api",
            },
        });
        let expected = json!({
            "command": "claude", "cwd": "/w", "extraArgs": ["--verbose"], "model": "m",
            "env": {
                "ANTHROPIC_API_KEY": "set", "TZ": "UTC", "EMPTY": " ", "DB": "set", "STORED": "set",
                "CLAUDE_CODE_USE_BEDROCK": "1", "OPENAI_BASE_URL": "openrouter.ai",
            },
        });
        assert_eq!(kept_for_readers(&config), expected);
        assert_eq!(kept_for_readers(&expected), expected);
        assert_eq!(kept_for_readers(&Value::Null), json!({}));
    }
}
