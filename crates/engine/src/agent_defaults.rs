//! What is written into a configuration when an agent is saved (spec/heartbeat.md 9.1), so that everybody sees what will
//! be used. At run time nothing is filled in any more.

use serde_json::{Map, Value as Json, json};

use crate::world::Dice;

/// The model that a new Codex agent gets.
const CODEX_MODEL: &str = "gpt-5.3-codex";
const CODEX_BYPASSES: [&str; 2] = ["dangerouslyBypassApprovalsAndSandbox", "dangerouslyBypassSandbox"];

/// What a key is made of, where a configuration has to have one.
pub(crate) type Seed = [u8; 32];

pub(crate) fn seed(dice: &dyn Dice) -> Seed {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&dice.bytes());
    seed[16..].copy_from_slice(&dice.bytes());
    seed
}

/// The configuration with the defaults of its kind where it says nothing.
pub(crate) fn written(kind: &str, mut config: Json, seed: Seed) -> Json {
    let Some(map) = config.as_object_mut() else { return config };
    match kind {
        "codex_local" => {
            fill(map, "model", json!(CODEX_MODEL));
            // Nobody is there to be asked. Whoever says anything about it is not contradicted.
            if !CODEX_BYPASSES.iter().any(|key| map.get(*key).is_some_and(Json::is_boolean)) {
                map.insert(CODEX_BYPASSES[0].to_owned(), json!(true));
            }
        }
        "gemini_local" | "cursor" => fill(map, "model", json!("auto")),
        // The gateway knows the agent by it from now on.
        "openclaw_gateway" if map.get("disableDeviceAuth") != Some(&json!(true)) => {
            fill(map, "devicePrivateKeyPem", json!(adapters::device_private_key_pem(seed)));
        }
        _ => {}
    }
    config
}

fn fill(map: &mut Map<String, Json>, key: &str, value: Json) {
    let is_blank = map.get(key).is_none_or(|given| given.is_null() || given == "");
    if is_blank {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays_and_what_is_not_said_is_written() {
        for (kind, config, expected) in [
            (
                "codex_local",
                json!({}),
                json!({"model": CODEX_MODEL, "dangerouslyBypassApprovalsAndSandbox": true}),
            ),
            (
                "codex_local",
                json!({"model": "o3", "dangerouslyBypassSandbox": false}),
                json!({"model": "o3", "dangerouslyBypassSandbox": false}),
            ),
            (
                "gemini_local",
                json!({"model": "", "sandbox": true}),
                json!({"model": "auto", "sandbox": true}),
            ),
            ("cursor", json!({"mode": "plan"}), json!({"mode": "plan", "model": "auto"})),
            ("cursor", json!({"model": "gpt-5"}), json!({"model": "gpt-5"})),
            ("gemini_local", json!({"model": "gemini-2.5-pro"}), json!({"model": "gemini-2.5-pro"})),
            (
                "openclaw_gateway",
                json!({"url": "ws://h"}),
                json!({"url": "ws://h", "devicePrivateKeyPem": adapters::device_private_key_pem([7; 32])}),
            ),
            (
                "openclaw_gateway",
                json!({"devicePrivateKeyPem": "own"}),
                json!({"devicePrivateKeyPem": "own"}),
            ),
            ("openclaw_gateway", json!({"disableDeviceAuth": true}), json!({"disableDeviceAuth": true})),
            ("claude_local", json!({}), json!({})),
            ("process", json!({"command": "true"}), json!({"command": "true"})),
        ] {
            assert_eq!(written(kind, config, [7; 32]), expected, "{kind}");
        }
    }
}
