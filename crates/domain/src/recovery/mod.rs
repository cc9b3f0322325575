//! What is done when work does not go on by itself, and what all of it has in common.
//!
//! Recovery makes no work items (D7). A rule either orders a wake, which passes the one intake like any other, or it
//! blocks the issue in place, with one comment, one activity entry and one open inbox item. [`Cause`] and [`ATTEMPTS`]
//! bound it: per issue and cause, [`ATTEMPTS`] automatic attempts, then a person. The rules are in the files beside this
//! one; counting and writing are the shell's.

use serde_json::{Map, Value, json};

use crate::ids::{AgentId, IssueId, RunId};
use crate::liveness::LivenessState;
use crate::wake::ActorKind;
use crate::{budget, words};

pub mod breaker;
pub mod continuation;
pub mod graph;
pub mod last_run;
pub mod looks;
pub mod orphan;
pub mod pulse;
pub mod repetition;
pub mod silence;
pub mod stranded;

/// Automatic attempts per issue and cause, until something resets the count (D7).
pub const ATTEMPTS: u32 = 2;

/// The actor of what recovery writes and wakes.
pub const ACTOR: &str = "heartbeat";

words!(
    /// Why something was tried again; attempts are counted for each by itself.
    Cause {
        /// A run of the issue failed and nothing carries the work on.
        Stranded = "stranded",
        /// Runs succeed and the issue stays open with nothing that carries it on.
        Continuation = "continuation",
        /// A run owed a comment and left none.
        MissingComment = "missing_comment",
        /// The process of a run was lost.
        ProcessLost = "process_lost",
        /// An unassigned blocker went back to the agent that made it.
        OrphanBlocker = "orphan_blocker",
        /// The owner of a stuck chain of issues was woken.
        GraphLiveness = "graph_liveness",
    }
);

words!(
    /// The kinds of inbox items.
    InboxKind {
        /// An issue was blocked because automatic attempts are used up or would be pointless.
        StrandedIssue = "stranded_issue",
        /// A chain of blockers or a review that nobody works on.
        StuckChain = "stuck_chain",
        /// A running run is silent.
        SilentRun = "silent_run",
        /// A running run does the same again and again.
        NoProgress = "no_progress",
        /// Agents wake each other in a circle.
        WakeLoop = "wake_loop",
        /// An agent has been paused for long, and work waits for it.
        PausedAgent = "paused_agent",
        /// An account has lost its login.
        AccountLogin = "account_login",
        /// An account refuses every run, or waits for a word of a person.
        AccountParked = "account_parked",
        /// Somebody who is not trusted wrote something that waits to be released.
        HeldText = "held_text",
        /// Events are not sent to an endpoint any more.
        WebhookDisabled = "webhook_disabled",
        /// A schedule starts nothing: its slots are refused, or cannot be dealt with.
        ScheduleStuck = "schedule_stuck",
        /// A run of an automation failed, is blocked, or was paused and does not go on by itself. No row: it is made of
        /// the run.
        AutomationRun = "automation_run",
    }
);

impl InboxKind {
    /// It asks why an issue rests: whoever sets the issue going again has answered it.
    pub const fn asks_why_it_rests(self) -> bool {
        match self {
            InboxKind::StrandedIssue | InboxKind::StuckChain => true,
            InboxKind::SilentRun
            | InboxKind::NoProgress
            | InboxKind::WakeLoop
            | InboxKind::PausedAgent
            | InboxKind::AccountLogin
            | InboxKind::AccountParked
            | InboxKind::HeldText
            | InboxKind::WebhookDisabled
            | InboxKind::ScheduleStuck
            | InboxKind::AutomationRun => false,
        }
    }
}

/// True for a wake of the program that carries on what was accepted before, because a budget stopped it or it was left
/// alone: the agent's taste for new wakes is not asked, and a budget holds it instead of refusing it (D1).
pub fn carries_on(by: ActorKind, reason: &str) -> bool {
    by == ActorKind::System
        && [budget::resume::WAKE_REASON, stranded::BEGIN, stranded::GO_ON].contains(&reason)
}

/// Something happened that may make counted attempts void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// A run of the issue succeeded and was classified like this.
    RunSucceeded(LivenessState),
    /// A person commented, changed the issue, or resolved its inbox item.
    Person,
    /// The issue got another assignee.
    Reassigned,
}

/// True when the touch sets the count of the cause back to zero.
///
/// A success does not reset [`Cause::Continuation`]: a run that succeeds each time without ever closing its issue would
/// be continued for ever.
pub const fn resets(cause: Cause, touch: Touch) -> bool {
    match (cause, touch) {
        (_, Touch::Person | Touch::Reassigned) => true,
        (_, Touch::RunSucceeded(LivenessState::Completed)) => true,
        (Cause::Continuation | Cause::OrphanBlocker | Cause::GraphLiveness, Touch::RunSucceeded(_)) => false,
        (Cause::MissingComment, Touch::RunSucceeded(_)) => false,
        (Cause::Stranded | Cause::ProcessLost, Touch::RunSucceeded(_)) => true,
    }
}

/// True while another automatic attempt is allowed.
pub const fn may_try(attempts: u32) -> bool {
    attempts < ATTEMPTS
}

/// A wake that a rule asks for: `automation`/`system`, actor `system`/[`ACTOR`]. It passes the one intake.
#[derive(Debug, Clone, PartialEq)]
pub struct WakeOrder {
    pub agent: AgentId,
    /// The issue it is about; `None` when the agent is to look at one that is not its own.
    pub issue: Option<IssueId>,
    pub reason: &'static str,
    /// The run it carries on.
    pub retry_of: Option<RunId>,
    pub payload: Map<String, Value>,
    pub context: Map<String, Value>,
    pub idempotency_key: Option<String>,
    /// `continuation_attempt` of the run it leads to.
    pub continuation_attempt: u32,
    /// The attempt is counted under this cause when the order is written.
    pub counts_as: Option<Cause>,
}

/// One thing that needs a person.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxItem {
    pub kind: InboxKind,
    /// `issue` or `run`.
    pub entity_type: &'static str,
    pub entity_id: String,
    /// At most one item is open per (kind, entity, cause).
    pub cause: String,
    pub title: String,
    pub details: Map<String, Value>,
    pub owner: Option<AgentId>,
}

/// An issue is set to `blocked` in place: status, one comment without author, one activity entry, one inbox item.
///
/// Its dependants' owners hear of it with reason `issue_blocker_cancelled`, as of a cancelled blocker.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub issue: IssueId,
    pub cause: Cause,
    pub comment: String,
    /// Details of the activity `issue.updated`.
    pub activity: Map<String, Value>,
    pub inbox: InboxItem,
}

/// The map of an object literal.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// The wake that carries a run of an issue on.
pub(crate) fn carry_on(agent: &AgentId, issue: &IssueId, run: Option<&RunId>, words: Carry) -> WakeOrder {
    let mut payload = object(json!({ "issueId": issue }));
    let mut context = object(json!({
        "issueId": issue, "taskId": issue, "wakeReason": words.reason, "retryReason": words.retry_reason,
    }));
    if let Some(source) = words.source {
        context.insert("source".into(), json!(source));
    }
    if let Some(run) = run {
        payload.insert("retryOfRunId".into(), json!(run));
        context.insert("retryOfRunId".into(), json!(run));
    }
    WakeOrder {
        agent: agent.clone(),
        issue: Some(issue.clone()),
        reason: words.reason,
        retry_of: run.cloned(),
        payload,
        context,
        idempotency_key: None,
        continuation_attempt: 0,
        counts_as: words.counts_as,
    }
}

/// The machine strings of a wake that carries on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carry {
    pub(crate) reason: &'static str,
    pub(crate) retry_reason: &'static str,
    pub(crate) source: Option<&'static str>,
    pub(crate) counts_as: Option<Cause>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_resets_everything_and_a_success_what_it_disproves() {
        for &cause in Cause::ALL {
            assert!(resets(cause, Touch::Person), "{cause}");
            assert!(resets(cause, Touch::Reassigned), "{cause}");
            assert!(resets(cause, Touch::RunSucceeded(LivenessState::Completed)), "{cause}");
            let disproved = matches!(cause, Cause::Stranded | Cause::ProcessLost);
            for &state in LivenessState::ALL.iter().filter(|s| **s != LivenessState::Completed) {
                assert_eq!(resets(cause, Touch::RunSucceeded(state)), disproved, "{cause} {state}");
            }
        }
    }

    #[test]
    fn only_the_program_carries_on_and_only_for_its_three_reasons() {
        for (by, reason, expected) in [
            (ActorKind::System, "budget_resumed", true),
            (ActorKind::System, "issue_assignment_recovery", true),
            (ActorKind::System, "issue_continuation_needed", true),
            (ActorKind::System, "issue_assigned", false),
            (ActorKind::User, "issue_continuation_needed", false),
            (ActorKind::Agent, "issue_assignment_recovery", false),
        ] {
            assert_eq!(carries_on(by, reason), expected, "{by} {reason}");
        }
    }

    #[test]
    fn who_sets_an_issue_going_answers_only_why_it_rested() {
        let answered: Vec<&str> =
            InboxKind::ALL.iter().filter(|kind| kind.asks_why_it_rests()).map(|kind| kind.as_str()).collect();
        assert_eq!(answered, ["stranded_issue", "stuck_chain"]);
    }

    #[test]
    fn two_attempts_and_no_third() {
        assert_eq!([0, 1, 2, 3].map(may_try), [true, true, false, false]);
    }
}
