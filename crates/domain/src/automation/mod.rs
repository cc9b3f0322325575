//! Automations: a checked graph of steps, each an agent's work or a gate for people, and a run of it.
//!
//! A definition is checked once ([`definition::read`], [`check`]) and then never changes: a run pins its version. What
//! may happen to a run is [`transition`]; what is to be done next with it is [`advance`], asked again after everything that
//! happens; what an ended attempt means for its node is [`verdict`]. spec/automations.md is followed except where
//! docs/decisions/0024 says otherwise.

pub mod admission;
pub mod advance;
pub mod calendar;
pub mod check;
pub mod contract;
pub mod definition;
pub mod difference;
pub mod feedback;
pub mod gate;
pub mod graph;
pub mod hand_over;
pub mod operation;
pub mod repair;
pub mod rework;
pub mod scope;
pub mod sweep;
pub mod template;
pub mod transition;
pub mod verdict;

use serde::Serialize;
use serde_json::Value as Json;

use crate::words;

words!(
    /// Whether an automation may be started (spec/automations.md 1.1).
    AutomationStatus {
        Active = "active",
        /// Nothing of it starts, by no trigger; runs that wait are held.
        Paused = "paused",
        /// Only people start it, by hand.
        Draft = "draft",
    }
);

words!(
    /// The status of an automation run (spec/automations.md 1.3).
    AutomationRunStatus {
        Queued = "queued",
        Running = "running",
        /// What is under way is being stopped; then it is paused.
        Pausing = "pausing",
        Paused = "paused",
        /// Nothing is left to do before a person decides.
        AwaitingApproval = "awaiting_approval",
        Completed = "completed",
        Blocked = "blocked",
        Failed = "failed",
        Cancelled = "cancelled",
    }
);

impl AutomationRunStatus {
    /// Nothing happens to it by itself any more.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            AutomationRunStatus::Completed
                | AutomationRunStatus::Blocked
                | AutomationRunStatus::Failed
                | AutomationRunStatus::Cancelled
        )
    }

    /// Its steps may be under way: it has a place and holds its workspace.
    pub const fn is_at_work(self) -> bool {
        matches!(self, AutomationRunStatus::Running | AutomationRunStatus::Pausing)
    }
}

words!(
    /// Why a run stopped other than by coming to its end (spec/automations.md 1.3).
    StopKind {
        Cancelled = "cancelled",
        OperatorStopped = "operator_stopped",
        GuardrailStopped = "guardrail_stopped",
        Panic = "panic",
        Shutdown = "shutdown",
        ServerRestart = "server_restart",
        StaleReaped = "stale_reaped",
    }
);

words!(
    /// What a guardrail stop was about: what lifts one says nothing of the other.
    Guardrail {
        /// An agent of the run is paused by its budget.
        SpendPause = "spend_pause",
        /// The run reached one of its own limits.
        RunLimit = "run_limit",
    }
);

words!(
    /// What started a run.
    TriggerType {
        Manual = "manual",
        ManualDryRun = "manual_dry_run",
        Scheduled = "scheduled",
        Webhook = "webhook",
        /// The end of a run of another automation.
        After = "after",
    }
);

words!(
    /// What became of a node so far.
    NodeState {
        /// It waits: for what it depends on, for a free place, or for the time of its retry.
        Pending = "pending",
        /// An attempt is under way.
        Running = "running",
        /// A person is asked.
        AwaitingApproval = "awaiting_approval",
        Completed = "completed",
        /// There was nothing to do.
        Skipped = "skipped",
        Blocked = "blocked",
        Failed = "failed",
    }
);

impl NodeState {
    /// What depends on it may begin.
    pub const fn is_done(self) -> bool {
        matches!(self, NodeState::Completed | NodeState::Skipped)
    }

    /// It is over, one way or the other.
    pub const fn is_final(self) -> bool {
        matches!(self, NodeState::Completed | NodeState::Skipped | NodeState::Blocked | NodeState::Failed)
    }
}

words!(
    /// The life of one attempt of a node.
    AttemptState {
        /// Its agent is to be woken.
        Ordered = "ordered",
        /// Its agent was woken.
        Running = "running",
        /// Its result is on record, or it has none and never will.
        Ended = "ended",
    }
);

words!(
    /// Why an attempt did not do what was asked (spec/automations.md 1.2, and what else happens to agents).
    FailureClass {
        ProviderTransient = "provider_transient",
        ProviderTerminal = "provider_terminal",
        ToolResolution = "tool_resolution",
        ContractMiss = "contract_miss",
        /// The agent itself says that it did not succeed.
        VerifyFailed = "verify_failed",
        AgentFailed = "agent_failed",
        Timeout = "timeout",
        ProcessLost = "process_lost",
        /// Bugle stopped it, for the sake of something else.
        Interrupted = "interrupted",
        /// A person stopped the agent's run.
        Stopped = "stopped",
        /// Where it was to work could not be had or made ready: a host that is away, a workspace that could not be laid out.
        EnvironmentFailed = "environment_failed",
        AgentGone = "agent_gone",
        Template = "template",
        /// It changed what its scope leaves out: people look before anything goes on.
        ScopeViolation = "scope_violation",
    }
);

impl FailureClass {
    /// It counts as one of the node's attempts. What the infrastructure did never does.
    pub const fn consumes_attempt(self) -> bool {
        matches!(self, FailureClass::VerifyFailed | FailureClass::AgentFailed | FailureClass::Timeout)
    }

    /// It counts as one of the node's repairs.
    pub const fn consumes_repair(self) -> bool {
        matches!(self, FailureClass::ContractMiss)
    }

    /// Trying again cannot help before a person has done something.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            FailureClass::ProviderTerminal
                | FailureClass::ToolResolution
                | FailureClass::Stopped
                | FailureClass::AgentGone
                | FailureClass::Template
                | FailureClass::ScopeViolation
        )
    }
}

/// What is wrong with a definition or a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// As in `nodes[2].dependsOn[0]`.
    pub path: String,
    pub message: String,
    /// What helps.
    pub hint: String,
}

impl Problem {
    pub fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem { path: path.into(), message: message.into(), hint: hint.into() }
    }
}

/// What a node came to, as it is kept and as later nodes see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The verdict: `completed`, `skipped`, `blocked`, ...
    pub status: String,
    /// The agent's last words.
    pub text: String,
    /// The last words as JSON, when they are or hold a JSON object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub json: Option<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub files: Vec<OutputFile>,
    /// True when `text` is not all that the agent said.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub text_is_cut: bool,
}

/// A file that a node was to leave, as it was found when the node ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputFile {
    /// Relative to the workspace.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_infrastructure_does_consumes_nothing_of_a_node() {
        let rows = [
            (FailureClass::ProviderTransient, false, false, false),
            (FailureClass::ProviderTerminal, false, false, true),
            (FailureClass::ToolResolution, false, false, true),
            (FailureClass::ContractMiss, false, true, false),
            (FailureClass::VerifyFailed, true, false, false),
            (FailureClass::AgentFailed, true, false, false),
            (FailureClass::Timeout, true, false, false),
            (FailureClass::ProcessLost, false, false, false),
            (FailureClass::Interrupted, false, false, false),
            (FailureClass::Stopped, false, false, true),
            (FailureClass::EnvironmentFailed, false, false, false),
            (FailureClass::AgentGone, false, false, true),
            (FailureClass::Template, false, false, true),
            (FailureClass::ScopeViolation, false, false, true),
        ];
        assert_eq!(rows.map(|row| row.0), FailureClass::ALL);
        for (class, attempt, repair, terminal) in rows {
            assert_eq!(
                (class.consumes_attempt(), class.consumes_repair(), class.is_terminal()),
                (attempt, repair, terminal),
                "{class}"
            );
        }
    }

    #[test]
    fn states_say_what_they_allow() {
        use AutomationRunStatus::*;
        let at_work: Vec<_> = AutomationRunStatus::ALL.iter().filter(|it| it.is_at_work()).collect();
        assert_eq!(at_work, [&Running, &Pausing]);
        let over: Vec<_> = AutomationRunStatus::ALL.iter().filter(|it| it.is_final()).collect();
        assert_eq!(over, [&Completed, &Blocked, &Failed, &Cancelled]);
        let done: Vec<_> = NodeState::ALL.iter().filter(|it| it.is_done()).collect();
        assert_eq!(done, [&NodeState::Completed, &NodeState::Skipped]);
        let over: Vec<_> = NodeState::ALL.iter().filter(|it| it.is_final()).collect();
        assert_eq!(
            over,
            [&NodeState::Completed, &NodeState::Skipped, &NodeState::Blocked, &NodeState::Failed]
        );
    }
}
