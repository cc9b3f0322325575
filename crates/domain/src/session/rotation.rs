//! When a session is given up because it has grown too old, too long or too dear (spec/heartbeat.md 4.10).
//!
//! Programs that keep their context small by themselves are left alone; the others begin afresh at a limit. An agent may
//! set each limit on its own. A limit of zero is none.

use std::time::Duration;

use serde_json::Value;

use crate::moment::Moment;

/// The limits of a session; zero is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub is_enabled: bool,
    pub most_runs: u64,
    pub most_input_tokens: u64,
    pub oldest: Duration,
}

impl Policy {
    /// Whether there is anything to be asked.
    pub fn is_active(&self) -> bool {
        self.is_enabled && (self.most_runs > 0 || self.most_input_tokens > 0 || self.oldest > Duration::ZERO)
    }
}

const HOUR: u64 = 3600;

/// The policy of a kind of agent.
fn default_of(adapter: &str) -> Policy {
    let usual = |is_enabled| Policy {
        is_enabled,
        most_runs: 200,
        most_input_tokens: 2_000_000,
        oldest: Duration::from_secs(72 * HOUR),
    };
    match adapter {
        // They compact their context themselves.
        "claude_local" | "codex_local" | "hermes_local" => {
            Policy { is_enabled: true, most_runs: 0, most_input_tokens: 0, oldest: Duration::ZERO }
        }
        "cursor" | "gemini_local" | "opencode_local" | "pi_local" | "qwen" => usual(true),
        _ => usual(false),
    }
}

/// Reads the policy of an agent: the default of its kind, each key overridden on its own. What cannot be read is ignored.
pub fn policy(adapter: &str, runtime_config: &Value) -> Policy {
    let heartbeat = runtime_config.get("heartbeat");
    let places = [
        heartbeat.and_then(|heartbeat| heartbeat.get("sessionCompaction")),
        heartbeat.and_then(|heartbeat| heartbeat.get("sessionRotation")),
        runtime_config.get("sessionCompaction"),
    ];
    let own = places.into_iter().flatten().find(|place| !place.is_null()).unwrap_or(&Value::Null);
    let default = default_of(adapter);
    let count = |key: &str| own.get(key).and_then(whole);
    // Ten years: longer than anybody means, and far from the end of the clock.
    let hours = |hours: u64| Duration::from_secs(hours.min(87_600) * HOUR);
    Policy {
        is_enabled: own.get("enabled").and_then(truth).unwrap_or(default.is_enabled),
        most_runs: count("maxSessionRuns").unwrap_or(default.most_runs),
        most_input_tokens: count("maxRawInputTokens").unwrap_or(default.most_input_tokens),
        oldest: count("maxSessionAgeHours").map_or(default.oldest, hours),
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn whole(value: &Value) -> Option<u64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    number.is_finite().then(|| number.floor().max(0.0) as u64)
}

/// The runs of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    pub runs: u64,
    /// When the oldest and the newest of them were made.
    pub oldest: Moment,
    pub newest: Moment,
    /// What the newest one read, cached or not.
    pub input_tokens: u64,
}

/// What the newest run of a session read: the sum over the session where its program counts so.
pub fn input_tokens(usage: &Value, note: &Value) -> u64 {
    let count = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let own = count(usage, "rawInputTokens").or_else(|| count(note, "inputTokens"));
    own.or_else(|| count(usage, "inputTokens")).unwrap_or(0)
}

/// The limit that a session has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Runs { found: u64, limit: u64 },
    InputTokens { found: u64, limit: u64 },
    Age { found: Duration, limit: Duration },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = |span: &Duration| span.as_secs() / HOUR;
        match self {
            Reason::Runs { found, limit } => {
                write!(f, "it served {found} runs, and {limit} are the limit (maxSessionRuns)")
            }
            Reason::InputTokens { found, limit } => {
                write!(f, "its last run read {found} tokens, and {limit} are the limit (maxRawInputTokens)")
            }
            Reason::Age { found, limit } => write!(
                f,
                "it is {} hours old, and {} are the limit (maxSessionAgeHours)",
                hours(found),
                hours(limit)
            ),
        }
    }
}

/// Decides whether a session is given up; one that no run was in is not.
pub fn decide(policy: &Policy, history: Option<&History>) -> Option<Reason> {
    let history = history.filter(|history| policy.is_active() && history.runs > 0)?;
    if policy.most_runs > 0 && history.runs > policy.most_runs {
        return Some(Reason::Runs { found: history.runs, limit: policy.most_runs });
    }
    if policy.most_input_tokens > 0 && history.input_tokens >= policy.most_input_tokens {
        return Some(Reason::InputTokens { found: history.input_tokens, limit: policy.most_input_tokens });
    }
    let age = history.newest.since(history.oldest);
    (policy.oldest > Duration::ZERO && age >= policy.oldest)
        .then_some(Reason::Age { found: age, limit: policy.oldest })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * HOUR);

    fn read(adapter: &str, config: Value) -> (bool, u64, u64, u64) {
        let policy = policy(adapter, &config);
        let found = (policy.is_enabled, policy.most_runs, policy.most_input_tokens);
        (found.0, found.1, found.2, policy.oldest.as_secs() / HOUR)
    }

    #[test]
    fn each_kind_has_its_policy_and_an_agent_overrides_it_key_by_key() {
        let usual = (true, 200, 2_000_000, 72);
        let at = |place: &str, own: Value| match place {
            "" => json!({ "sessionCompaction": own }),
            place => json!({ "heartbeat": { place: own } }),
        };
        let rows = [
            // A9.35: these compact by themselves.
            ("claude_local", json!({}), (true, 0, 0, 0)),
            ("codex_local", json!({}), (true, 0, 0, 0)),
            // A9.36: the others are given up early enough.
            ("gemini_local", json!({}), usual),
            ("opencode_local", json!({}), usual),
            ("pi_local", json!({}), usual),
            ("cursor", json!({}), usual),
            ("qwen", json!({}), usual),
            ("scripted", json!({}), (false, 200, 2_000_000, 72)),
            // A9.37: the agent's own wins, key by key.
            ("codex_local", at("sessionCompaction", json!({ "maxSessionRuns": 3 })), (true, 3, 0, 0)),
            ("pi_local", at("sessionRotation", json!({ "enabled": "off" })), (false, 200, 2_000_000, 72)),
            (
                "scripted",
                at("", json!({ "enabled": 1, "maxSessionAgeHours": " 2.9 " })),
                (true, 200, 2_000_000, 2),
            ),
            (
                "pi_local",
                at("", json!({ "maxRawInputTokens": -5, "maxSessionRuns": "x" })),
                (true, 200, 0, 72),
            ),
            ("pi_local", at("", json!({ "enabled": "perhaps", "maxSessionRuns": null })), usual),
            ("pi_local", at("", json!(7)), usual),
            // The first place that says anything counts alone.
            (
                "pi_local",
                json!({ "heartbeat": { "sessionCompaction": null, "sessionRotation": { "maxSessionRuns": 1 } },
                    "sessionCompaction": { "maxSessionRuns": 9, "maxRawInputTokens": 9 } }),
                (true, 1, 2_000_000, 72),
            ),
        ];
        for (adapter, config, expected) in rows {
            assert_eq!(read(adapter, config.clone()), expected, "{adapter} {config}");
        }
    }

    #[test]
    fn a_session_is_given_up_at_the_first_limit_it_reached() {
        let policy = Policy { is_enabled: true, most_runs: 3, most_input_tokens: 100, oldest: DAY };
        let day = |days: u32| Moment::from_micros(0).plus(DAY * days);
        let of =
            |runs, tokens, days| History { runs, oldest: day(0), newest: day(days), input_tokens: tokens };
        let runs = Some(Reason::Runs { found: 4, limit: 3 });
        let tokens = Some(Reason::InputTokens { found: 100, limit: 100 });
        let age = Some(Reason::Age { found: DAY, limit: DAY });
        let rows = [
            (policy, Some(of(3, 99, 0)), None),
            (policy, Some(of(4, 100, 1)), runs),
            (policy, Some(of(3, 100, 1)), tokens),
            (policy, Some(of(3, 99, 1)), age),
            (policy, Some(of(0, 500, 5)), None),
            (policy, None, None),
            (Policy { is_enabled: false, ..policy }, Some(of(9, 500, 5)), None),
            (Policy { most_runs: 0, ..policy }, Some(of(4, 0, 0)), None),
            (Policy { most_input_tokens: 0, ..policy }, Some(of(1, 500, 0)), None),
            (Policy { oldest: Duration::ZERO, ..policy }, Some(of(1, 0, 9)), None),
        ];
        for (at, (policy, history, expected)) in rows.into_iter().enumerate() {
            assert_eq!(decide(&policy, history.as_ref()), expected, "row {at}");
        }
        let none = Policy { is_enabled: true, most_runs: 0, most_input_tokens: 0, oldest: Duration::ZERO };
        assert!(
            policy.is_active() && !none.is_active() && !Policy { is_enabled: false, ..policy }.is_active()
        );
    }

    #[test]
    fn what_the_newest_run_read_is_taken_from_where_it_is_said_best() {
        let usage = json!({ "rawInputTokens": 7, "inputTokens": 3 });
        let note = json!({ "inputTokens": 5 });
        assert_eq!(input_tokens(&usage, &note), 7);
        assert_eq!(input_tokens(&json!({ "inputTokens": 3 }), &note), 5);
        assert_eq!(input_tokens(&json!({ "inputTokens": 3 }), &json!({})), 3);
        assert_eq!(input_tokens(&Value::Null, &Value::Null), 0);
    }
}
