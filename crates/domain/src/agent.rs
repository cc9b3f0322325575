//! Agents: their status, when they may be woken, and the policy read from their runtime configuration.

use std::time::Duration;

use serde_json::Value;

use crate::words;

words!(
    /// The status of an agent (spec/heartbeat.md 1.2).
    AgentStatus {
        Active = "active",
        Paused = "paused",
        Idle = "idle",
        Running = "running",
        Error = "error",
        PendingApproval = "pending_approval",
        Terminated = "terminated",
    }
);

impl AgentStatus {
    /// A wake for the agent may be accepted.
    pub const fn is_invokable(self) -> bool {
        !matches!(self, AgentStatus::Paused | AgentStatus::Terminated | AgentStatus::PendingApproval)
    }

    /// The agent takes no work until somebody lets it: it is paused, or was not let in yet.
    pub const fn is_kept_back(self) -> bool {
        matches!(self, AgentStatus::Paused | AgentStatus::PendingApproval)
    }

    /// [`Self::is_kept_back`], by people and not by a budget, whose pauses end with it (spec/automations.md 2.1).
    pub fn is_kept_back_by_people(self, reason: Option<PauseReason>) -> bool {
        self.is_kept_back() && reason != Some(PauseReason::Budget)
    }

    /// The rejection of its hire ends the agent: one that waits for it, and one that never was let in, whatever became
    /// of it meanwhile.
    pub const fn ends_when_rejected(self, was_let_in: bool) -> bool {
        match self {
            AgentStatus::PendingApproval => true,
            AgentStatus::Terminated => false,
            AgentStatus::Active
            | AgentStatus::Paused
            | AgentStatus::Idle
            | AgentStatus::Running
            | AgentStatus::Error => !was_let_in,
        }
    }

    /// What it takes that an agent of this status has the one that a change of it names.
    pub fn turned(self, wanted: AgentStatus) -> Result<Turn, TurnRefused> {
        if self == wanted {
            return Ok(Turn::Stay);
        }
        if self == AgentStatus::Terminated {
            return Err(TurnRefused::Terminated);
        }
        match wanted {
            // Work makes it busy, and its end and its approval have routes of their own.
            AgentStatus::Running
            | AgentStatus::Error
            | AgentStatus::PendingApproval
            | AgentStatus::Terminated => Err(TurnRefused::NotSettable),
            AgentStatus::Paused | AgentStatus::Active | AgentStatus::Idle
                if self == AgentStatus::PendingApproval =>
            {
                Err(TurnRefused::NotLetIn)
            }
            AgentStatus::Paused => Ok(Turn::Pause),
            AgentStatus::Active | AgentStatus::Idle => match self {
                AgentStatus::Paused | AgentStatus::Error => Ok(Turn::Resume),
                AgentStatus::Active
                | AgentStatus::Idle
                | AgentStatus::Running
                | AgentStatus::PendingApproval
                | AgentStatus::Terminated => Ok(Turn::Stay),
            },
        }
    }
}

/// The switch that gives an agent the status that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has it, as far as anybody can give it.
    Stay,
    Pause,
    Resume,
}

/// Why an agent cannot be given a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnRefused {
    /// Its work is over for good.
    Terminated,
    /// It waits for its approval.
    NotLetIn,
    /// Nobody sets that status.
    NotSettable,
}

impl TurnRefused {
    /// The text of the wire.
    pub const fn text(self) -> &'static str {
        match self {
            TurnRefused::Terminated => "Terminated agents cannot be resumed",
            TurnRefused::NotLetIn => "Pending approval agents cannot be activated directly",
            TurnRefused::NotSettable => "cannot be set by a change of the agent",
        }
    }
}

words!(
    /// Why an agent is paused.
    PauseReason { Manual = "manual", Budget = "budget", System = "system" }
);

words!(
    /// The role of an agent.
    Role {
        Ceo = "ceo", Cto = "cto", Cmo = "cmo", Cfo = "cfo", Security = "security", Engineer = "engineer",
        Designer = "designer", Pm = "pm", Qa = "qa", Devops = "devops", Researcher = "researcher", General = "general",
    }
);

/// When an agent is woken and how much it does at once; read from `runtimeConfig.heartbeat` (spec/heartbeat.md 1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatPolicy {
    /// Timer wakes are accepted.
    pub enabled: bool,
    /// The span between timer wakes; zero means none.
    pub every: Duration,
    /// Wakes other than the timer's are accepted.
    pub wake_on_demand: bool,
    /// Runs at the same time, 1 to 10.
    pub max_concurrent_runs: u32,
    /// A timer wake with nothing to do starts nothing (D5).
    pub skip_when_idle: bool,
}

/// Default of `maxConcurrentRuns`.
pub const DEFAULT_CONCURRENT_RUNS: u32 = 5;

impl HeartbeatPolicy {
    /// Reads the policy; `adapter_type` decides the default of `skipWhenIdle`.
    pub fn read(runtime_config: &Value, adapter_type: &str) -> HeartbeatPolicy {
        let heartbeat = runtime_config.get("heartbeat").filter(|v| v.is_object()).unwrap_or(&Value::Null);
        let wake_on_demand = ["wakeOnDemand", "wakeOnAssignment", "wakeOnOnDemand", "wakeOnAutomation"]
            .iter()
            .find_map(|key| heartbeat.get(key).and_then(Value::as_bool))
            .unwrap_or(true);
        let every = heartbeat.get("intervalSec").and_then(number).filter(|s| s.is_finite()).unwrap_or(0.0);
        // Ten years: longer than anybody means, and far from the end of the clock.
        let every = Duration::from_secs_f64(every.clamp(0.0, 315_360_000.0));
        let max_concurrent_runs = match heartbeat.get("maxConcurrentRuns").and_then(number) {
            Some(n) if n.is_finite() => n.floor().clamp(1.0, 10.0) as u32,
            _ => DEFAULT_CONCURRENT_RUNS,
        };
        let works_without_tasks = matches!(adapter_type, "process" | "http" | "scripted");
        HeartbeatPolicy {
            enabled: heartbeat.get("enabled").and_then(Value::as_bool).unwrap_or(false),
            every,
            wake_on_demand,
            max_concurrent_runs,
            skip_when_idle: heartbeat
                .get("skipWhenIdle")
                .and_then(Value::as_bool)
                .unwrap_or(!works_without_tasks),
        }
    }

    /// The agent has a timer.
    pub fn has_timer(&self) -> bool {
        self.enabled && !self.every.is_zero()
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
}

/// The short name of an agent: lower case, runs of other characters become one dash (spec/api.md 1, "urlKey").
///
/// Empty when the name has no letter or digit; the caller then uses the id.
pub fn url_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for c in name.trim().to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            key.push(c);
        } else if !key.is_empty() && !key.ends_with('-') {
            key.push('-');
        }
    }
    key.truncate(key.trim_end_matches('-').len());
    key
}

/// The issue prefix of a company: its first three letters A-Z, `CMP` if it has none (spec/api.md 1).
pub fn issue_prefix(company_name: &str) -> String {
    let prefix: String =
        company_name.to_uppercase().chars().filter(char::is_ascii_uppercase).take(3).collect();
    if prefix.is_empty() { "CMP".to_owned() } else { prefix }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(heartbeat: Value) -> HeartbeatPolicy {
        HeartbeatPolicy::read(&json!({ "heartbeat": heartbeat }), "process")
    }

    #[test]
    fn a_rejected_hire_ends_who_was_never_let_in() {
        for &status in AgentStatus::ALL {
            let (never, before) = match status {
                AgentStatus::Terminated => (false, false),
                AgentStatus::PendingApproval => (true, true),
                _ => (true, false),
            };
            assert_eq!(status.ends_when_rejected(false), never, "{status}");
            assert_eq!(status.ends_when_rejected(true), before, "{status}");
        }
    }

    #[test]
    fn a_named_status_pauses_resumes_or_is_refused() {
        use AgentStatus::{Active, Error, Idle, Paused, PendingApproval, Running, Terminated};
        for (status, paused, active) in [
            (Active, Ok(Turn::Pause), Ok(Turn::Stay)),
            (Paused, Ok(Turn::Stay), Ok(Turn::Resume)),
            (Idle, Ok(Turn::Pause), Ok(Turn::Stay)),
            (Running, Ok(Turn::Pause), Ok(Turn::Stay)),
            (Error, Ok(Turn::Pause), Ok(Turn::Resume)),
            (PendingApproval, Err(TurnRefused::NotLetIn), Err(TurnRefused::NotLetIn)),
            (Terminated, Err(TurnRefused::Terminated), Err(TurnRefused::Terminated)),
        ] {
            assert_eq!(status.turned(Paused), paused, "{status}");
            assert_eq!((status.turned(Active), status.turned(Idle)), (active, active), "{status}");
            for wanted in [Running, Error, PendingApproval, Terminated] {
                let expected = match status {
                    same if same == wanted => Ok(Turn::Stay),
                    Terminated => Err(TurnRefused::Terminated),
                    _ => Err(TurnRefused::NotSettable),
                };
                assert_eq!(status.turned(wanted), expected, "{status} to {wanted}");
            }
        }
    }

    #[test]
    fn an_empty_configuration_gives_the_documented_defaults() {
        let policy = HeartbeatPolicy {
            enabled: false,
            every: Duration::ZERO,
            wake_on_demand: true,
            max_concurrent_runs: 5,
            skip_when_idle: false,
        };
        assert_eq!(HeartbeatPolicy::read(&json!({}), "process"), policy);
        assert_eq!(HeartbeatPolicy::read(&json!({"heartbeat": []}), "http"), policy);
        assert_eq!(HeartbeatPolicy::read(&Value::Null, "scripted"), policy);
        assert!(HeartbeatPolicy::read(&json!({}), "claude_local").skip_when_idle);
    }

    #[test]
    fn slots_are_floored_and_kept_between_one_and_ten() {
        for (given, slots) in [
            (json!(0), 1),
            (json!(1), 1),
            (json!(2.9), 2),
            (json!(10), 10),
            (json!(11), 10),
            (json!(-3), 1),
            (json!("4"), 4),
            (json!("many"), 5),
            (json!("inf"), 5),
            (json!("NaN"), 5),
            (json!(null), 5),
            (json!(true), 5),
        ] {
            assert_eq!(read(json!({ "maxConcurrentRuns": given })).max_concurrent_runs, slots, "{given}");
        }
    }

    #[test]
    fn the_first_known_alias_decides_whether_wakes_are_taken() {
        assert!(!read(json!({"wakeOnAssignment": false})).wake_on_demand);
        assert!(!read(json!({"wakeOnOnDemand": false})).wake_on_demand);
        assert!(!read(json!({"wakeOnAutomation": false})).wake_on_demand);
        assert!(read(json!({"wakeOnDemand": true, "wakeOnAssignment": false})).wake_on_demand);
        assert!(!read(json!({"wakeOnDemand": null, "wakeOnAssignment": false})).wake_on_demand);
    }

    #[test]
    fn a_timer_needs_both_switch_and_interval() {
        for (enabled, every, timer) in
            [(true, 60, true), (true, 0, false), (false, 60, false), (true, -5, false)]
        {
            assert_eq!(read(json!({"enabled": enabled, "intervalSec": every})).has_timer(), timer);
        }
        let ten_years = Duration::from_secs(315_360_000);
        for (every, expected) in [
            (json!(60), Duration::from_secs(60)),
            (json!("0.5"), Duration::from_millis(500)),
            (json!(1e12), ten_years),
            (json!("inf"), Duration::ZERO),
            (json!("-inf"), Duration::ZERO),
            (json!("soon"), Duration::ZERO),
        ] {
            assert_eq!(read(json!({ "intervalSec": every })).every, expected, "{every}");
        }
    }

    #[test]
    fn only_some_statuses_take_wakes() {
        let refusing: Vec<_> =
            AgentStatus::ALL.iter().filter(|s| !s.is_invokable()).map(|s| s.as_str()).collect();
        assert_eq!(refusing, ["paused", "pending_approval", "terminated"]);
        // Of those, one takes no work ever again.
        let kept: Vec<_> = AgentStatus::ALL.iter().filter(|s| s.is_kept_back()).map(|s| s.as_str()).collect();
        assert_eq!(kept, ["paused", "pending_approval"]);
    }

    #[test]
    fn a_budget_that_keeps_an_agent_back_is_no_person() {
        use PauseReason::{Budget, Manual, System};
        for (status, reason, by_people) in [
            (AgentStatus::Paused, None, true),
            (AgentStatus::Paused, Some(Manual), true),
            (AgentStatus::Paused, Some(System), true),
            (AgentStatus::Paused, Some(Budget), false),
            (AgentStatus::PendingApproval, None, true),
            (AgentStatus::Idle, None, false),
            (AgentStatus::Error, Some(Manual), false),
            (AgentStatus::Terminated, Some(Manual), false),
        ] {
            assert_eq!(status.is_kept_back_by_people(reason), by_people, "{status} {reason:?}");
        }
    }

    #[test]
    fn short_names_keep_letters_and_digits() {
        for (name, key) in [
            ("Release Notes", "release-notes"),
            ("  A__b--C ", "a-b-c"),
            ("café 2", "caf-2"),
            ("???", ""),
            ("x!", "x"),
        ] {
            assert_eq!(url_key(name), key);
        }
    }

    #[test]
    fn prefixes_take_three_letters() {
        for (name, prefix) in [("Acme Corp", "ACM"), ("x1y", "XY"), ("42", "CMP")] {
            assert_eq!(issue_prefix(name), prefix);
        }
    }
}
