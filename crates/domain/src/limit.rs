//! How long a run of an agent may take, as its configuration says: what people are told of it at the end.
//!
//! The limit itself is enforced by whoever runs the process; the adapter hands it over with the command. Here is only
//! which key counts for which kind of agent, and what applies where nothing is said (spec/heartbeat.md 4.13).

use serde_json::Value;

/// The limit of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLimit {
    /// 0 is none.
    pub seconds: f64,
    /// The configuration says so, and not the default of the kind.
    pub is_configured: bool,
    /// The configuration counts in thousandths.
    pub in_millis: bool,
}

/// Reads the limit of an agent of this kind.
pub fn of(kind: &str, config: &Value) -> TimeLimit {
    let number =
        |key: &str| config.get(key).and_then(Value::as_f64).filter(|it| it.is_finite() && *it >= 0.0);
    let millis = number("timeoutMs").filter(|_| kind == "http").map(|millis| millis / 1000.0);
    // The program of this kind has a limit of its own, and takes 0 for nothing said.
    let seconds = number("timeoutSec").filter(|seconds| kind != "hermes_local" || *seconds > 0.0);
    let default = match kind {
        "hermes_local" => 300.0,
        "openclaw_gateway" => 120.0,
        _ => 0.0,
    };
    let configured = millis.or(seconds);
    TimeLimit {
        seconds: configured.unwrap_or(default),
        is_configured: configured.is_some(),
        in_millis: millis.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_its_key_and_its_default() {
        let limit = |seconds, is_configured, in_millis| TimeLimit { seconds, is_configured, in_millis };
        let none = limit(0.0, false, false);
        for (kind, config, expected) in [
            ("claude_local", json!({}), none),
            ("claude_local", json!({ "timeoutSec": 90 }), limit(90.0, true, false)),
            ("claude_local", json!({ "timeoutSec": 0.5 }), limit(0.5, true, false)),
            ("claude_local", json!({ "timeoutSec": 0 }), limit(0.0, true, false)),
            // Of no meaning to a program.
            ("claude_local", json!({ "timeoutMs": 500 }), none),
            ("claude_local", json!({ "timeoutSec": "90" }), none),
            ("claude_local", json!({ "timeoutSec": -1 }), none),
            ("process", json!(null), none),
            ("http", json!({}), none),
            ("http", json!({ "timeoutMs": 1_500 }), limit(1.5, true, true)),
            ("http", json!({ "timeoutSec": 20 }), limit(20.0, true, false)),
            ("http", json!({ "timeoutSec": 20, "timeoutMs": 0 }), limit(0.0, true, true)),
            ("hermes_local", json!({}), limit(300.0, false, false)),
            ("hermes_local", json!({ "timeoutSec": 0 }), limit(300.0, false, false)),
            ("hermes_local", json!({ "timeoutSec": 60 }), limit(60.0, true, false)),
            ("openclaw_gateway", json!({}), limit(120.0, false, false)),
            ("openclaw_gateway", json!({ "timeoutSec": 0 }), limit(0.0, true, false)),
        ] {
            assert_eq!(of(kind, &config), expected, "{kind} {config}");
        }
    }
}
