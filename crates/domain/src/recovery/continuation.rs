//! A run that only planned, or said nothing, is told to go on: twice, then a person (spec/heartbeat.md 5.7).
//!
//! Attempts are counted along the chain of runs and for the issue, whichever is more, so that a retry in between does not
//! start the count again. Runs that advanced without closing their issue are `stranded`'s.

use serde_json::json;

use crate::agent::AgentStatus;
use crate::ids::{AgentId, IssueId, RunId};
use crate::issue::IssueStatus;
use crate::liveness::{LivenessState, text};
use crate::recovery::{ATTEMPTS, Block, Cause, InboxItem, InboxKind, WakeOrder, object};
use crate::words;

/// Reason of the wake.
pub const REASON: &str = "run_liveness_continuation";

/// What clients look for at the start of the comment.
pub const EXHAUSTED: &str = "Bounded liveness continuation exhausted";

/// What the agent is told when it named no next action itself.
pub const INSTRUCTION: &str = "Your last run on this issue left no work behind. Take the first concrete step now, and \
leave a comment, a document or a change that shows it; if you cannot, set the issue to blocked and say what is missing.";

/// The issue of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuedIssue {
    pub id: IssueId,
    pub identifier: String,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    /// It is in a review or approval stage.
    pub has_execution_state: bool,
    /// A pause hold covers it.
    pub held: bool,
    /// A blocker of it is not done.
    pub blocked_by_others: bool,
}

/// Everything the decision may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuationView {
    pub run: RunId,
    pub agent: AgentId,
    pub state: LivenessState,
    pub reason: String,
    pub next_action: Option<String>,
    /// `None`: the run had no issue, or it is gone.
    pub issue: Option<ContinuedIssue>,
    /// `None`: the agent is gone.
    pub agent_status: Option<AgentStatus>,
    pub budget_blocked: bool,
    /// `continuation_attempt` of the run.
    pub run_attempt: u32,
    /// Attempts counted under [`Cause::Continuation`].
    pub issue_attempts: u32,
    /// Somebody asked to stop the run.
    pub stop_asked: bool,
    /// Another run or wake of the issue is there already: promoted, retried, merged.
    pub carried_on: bool,
    /// A wake with the key of this continuation exists, whatever became of it.
    pub ordered_before: bool,
    /// Whose inbox it is when the attempts are used up.
    pub owner: Option<AgentId>,
}

words!(
    /// Why a run is not continued.
    NotContinued {
        /// It did not end in a state that is continued.
        State = "state",
        NoIssue = "no_issue",
        NotAssignee = "not_assignee",
        IssueStatus = "issue_status",
        InStage = "in_stage",
        Agent = "agent",
        Budget = "budget",
        Held = "held",
        BlockedByOthers = "blocked_by_others",
        Stopped = "stopped",
        CarriedOn = "carried_on",
        OrderedBefore = "ordered_before",
    }
);

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Continuation {
    Nothing(NotContinued),
    /// The wake that continues it.
    Wake(WakeOrder),
    /// The attempts are used up.
    Exhausted {
        /// The `liveness_reason` of the run from now on.
        reason: String,
        block: Block,
    },
}

/// Decides; the first rule that matches ends it.
pub fn decide(view: &ContinuationView) -> Continuation {
    use NotContinued as Not;
    if !matches!(view.state, LivenessState::PlanOnly | LivenessState::EmptyResponse) {
        return Continuation::Nothing(Not::State);
    }
    let Some(issue) = &view.issue else { return Continuation::Nothing(Not::NoIssue) };
    let invokable = view.agent_status.is_some_and(AgentStatus::is_invokable);
    let in_work = issue.status.is_in_work();
    for (is_so, not) in [
        (issue.assignee.as_ref() != Some(&view.agent), Not::NotAssignee),
        (!in_work, Not::IssueStatus),
        (issue.has_execution_state, Not::InStage),
        (!invokable, Not::Agent),
        (view.budget_blocked, Not::Budget),
        (issue.held, Not::Held),
        (issue.blocked_by_others, Not::BlockedByOthers),
        (view.stop_asked, Not::Stopped),
        (view.carried_on, Not::CarriedOn),
    ] {
        if is_so {
            return Continuation::Nothing(not);
        }
    }
    let used = view.run_attempt.max(view.issue_attempts);
    if used >= ATTEMPTS {
        return exhausted(view, issue, used);
    }
    if view.ordered_before {
        return Continuation::Nothing(Not::OrderedBefore);
    }
    Continuation::Wake(order(view, issue, used + 1))
}

/// The key of the wake that continues a run: the same end never continues twice.
pub fn key(issue: &IssueId, run: &RunId, state: LivenessState, next_attempt: u32) -> String {
    format!("{REASON}:{issue}:{run}:{state}:{next_attempt}")
}

fn order(view: &ContinuationView, issue: &ContinuedIssue, attempt: u32) -> WakeOrder {
    let instruction = view.next_action.as_deref().unwrap_or(INSTRUCTION);
    WakeOrder {
        agent: view.agent.clone(),
        issue: Some(issue.id.clone()),
        reason: REASON,
        retry_of: None,
        payload: object(json!({
            "issueId": issue.id,
            "sourceRunId": view.run,
            "livenessState": view.state,
            "livenessReason": view.reason,
            "continuationAttempt": attempt,
            "maxContinuationAttempts": ATTEMPTS,
            "instruction": instruction,
        })),
        context: object(json!({
            "issueId": issue.id,
            "taskId": issue.id,
            "taskKey": issue.id,
            "wakeReason": REASON,
            "livenessContinuationAttempt": attempt,
            "livenessContinuationMaxAttempts": ATTEMPTS,
            "livenessContinuationSourceRunId": view.run,
            "livenessContinuationState": view.state,
            "livenessContinuationReason": view.reason,
            "livenessContinuationInstruction": instruction,
        })),
        idempotency_key: Some(key(&issue.id, &view.run, view.state, attempt)),
        continuation_attempt: attempt,
        counts_as: Some(Cause::Continuation),
    }
}

fn exhausted(view: &ContinuationView, issue: &ContinuedIssue, used: u32) -> Continuation {
    let reason = text::cut(
        &format!("{}; it was continued {used} times and is not continued again", view.reason),
        crate::liveness::REASON,
    );
    let activity = object(json!({
        "identifier": issue.identifier,
        "status": IssueStatus::Blocked,
        "previousStatus": issue.status,
        "source": "recovery.liveness_continuation",
        "cause": Cause::Continuation,
        "attempts": used,
        "latestRunId": view.run,
        "livenessState": view.state,
    }));
    Continuation::Exhausted {
        reason,
        block: Block {
            issue: issue.id.clone(),
            cause: Cause::Continuation,
            comment: format!(
                "{EXHAUSTED}: runs of this issue end without work ({}), and it was continued automatically {used} times. Say what is to be done next, then set the issue to todo. The last run is {}.",
                view.state, view.run
            ),
            inbox: InboxItem {
                kind: InboxKind::StrandedIssue,
                entity_type: "issue",
                entity_id: issue.id.to_string(),
                cause: Cause::Continuation.as_str().to_owned(),
                title: format!("{} gets plans and no work", issue.identifier),
                details: activity.clone(),
                owner: view.owner.clone(),
            },
            activity,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn planned() -> ContinuationView {
        ContinuationView {
            run: "r".into(),
            agent: "a".into(),
            state: LivenessState::PlanOnly,
            reason: "it planned".into(),
            next_action: Some("fix the lexer".into()),
            issue: Some(ContinuedIssue {
                id: "i".into(),
                identifier: "ACM-1".into(),
                status: IssueStatus::InProgress,
                assignee: Some("a".into()),
                has_execution_state: false,
                held: false,
                blocked_by_others: false,
            }),
            agent_status: Some(AgentStatus::Idle),
            budget_blocked: false,
            run_attempt: 0,
            issue_attempts: 0,
            stop_asked: false,
            carried_on: false,
            ordered_before: false,
            owner: Some("boss".into()),
        }
    }

    fn on(change: fn(&mut ContinuedIssue)) -> ContinuationView {
        let mut view = planned();
        change(view.issue.as_mut().expect("it has one"));
        view
    }

    fn short(continuation: Continuation) -> String {
        match continuation {
            Continuation::Nothing(not) => not.to_string(),
            Continuation::Wake(order) => format!("attempt {}", order.continuation_attempt),
            Continuation::Exhausted { .. } => "exhausted".into(),
        }
    }

    #[test]
    fn every_guard_in_its_order() {
        let status = |agent_status| ContinuationView { agent_status, ..planned() };
        let rows: Vec<(&str, ContinuationView, &str)> = vec![
            ("first plan", planned(), "attempt 1"),
            (
                "second silence",
                ContinuationView { state: LivenessState::EmptyResponse, run_attempt: 1, ..planned() },
                "attempt 2",
            ),
            ("third", ContinuationView { run_attempt: 2, ..planned() }, "exhausted"),
            (
                "third, by the count of the issue",
                ContinuationView { issue_attempts: 2, ..planned() },
                "exhausted",
            ),
            (
                "third, asked again",
                ContinuationView { run_attempt: 2, ordered_before: true, ..planned() },
                "exhausted",
            ),
            ("ordered before", ContinuationView { ordered_before: true, ..planned() }, "ordered_before"),
            ("todo", on(|i| i.status = IssueStatus::Todo), "attempt 1"),
            ("no issue", ContinuationView { issue: None, agent_status: None, ..planned() }, "no_issue"),
            ("somebody else's", on(|i| i.assignee = Some("b".into())), "not_assignee"),
            ("nobody's", on(|i| i.assignee = None), "not_assignee"),
            ("backlog", on(|i| i.status = IssueStatus::Backlog), "issue_status"),
            ("in review", on(|i| i.status = IssueStatus::InReview), "issue_status"),
            ("blocked", on(|i| i.status = IssueStatus::Blocked), "issue_status"),
            ("done", on(|i| i.status = IssueStatus::Done), "issue_status"),
            ("cancelled", on(|i| i.status = IssueStatus::Cancelled), "issue_status"),
            ("in a stage", on(|i| i.has_execution_state = true), "in_stage"),
            ("agent gone", status(None), "agent"),
            ("agent paused", status(Some(AgentStatus::Paused)), "agent"),
            ("agent terminated", status(Some(AgentStatus::Terminated)), "agent"),
            ("agent pending", status(Some(AgentStatus::PendingApproval)), "agent"),
            ("agent active", status(Some(AgentStatus::Active)), "attempt 1"),
            ("agent running", status(Some(AgentStatus::Running)), "attempt 1"),
            ("agent in error", status(Some(AgentStatus::Error)), "attempt 1"),
            ("over budget", ContinuationView { budget_blocked: true, run_attempt: 2, ..planned() }, "budget"),
            ("held", on(|i| i.held = true), "held"),
            ("blockers open", on(|i| i.blocked_by_others = true), "blocked_by_others"),
            ("stopped", ContinuationView { stop_asked: true, ..planned() }, "stopped"),
            ("carried on", ContinuationView { carried_on: true, run_attempt: 2, ..planned() }, "carried_on"),
        ];
        for (name, view, expected) in rows {
            assert_eq!(short(decide(&view)), expected, "{name}");
        }
        for &state in LivenessState::ALL {
            let continued = matches!(state, LivenessState::PlanOnly | LivenessState::EmptyResponse);
            let expected = if continued { "attempt 1" } else { "state" };
            assert_eq!(short(decide(&ContinuationView { state, ..planned() })), expected, "{state}");
        }
    }

    #[test]
    fn the_wake_tells_the_agent_what_it_said_itself() {
        let Continuation::Wake(order) = decide(&planned()) else { panic!("expected a wake") };
        assert_eq!(order.idempotency_key.as_deref(), Some("run_liveness_continuation:i:r:plan_only:1"));
        assert_eq!((order.reason, order.counts_as), ("run_liveness_continuation", Some(Cause::Continuation)));
        assert_eq!(
            Value::Object(order.payload),
            json!({
                "issueId": "i", "sourceRunId": "r", "livenessState": "plan_only", "livenessReason": "it planned",
                "continuationAttempt": 1, "maxContinuationAttempts": 2, "instruction": "fix the lexer",
            })
        );
        assert_eq!(
            Value::Object(order.context),
            json!({
                "issueId": "i", "taskId": "i", "taskKey": "i", "wakeReason": "run_liveness_continuation",
                "livenessContinuationAttempt": 1, "livenessContinuationMaxAttempts": 2,
                "livenessContinuationSourceRunId": "r", "livenessContinuationState": "plan_only",
                "livenessContinuationReason": "it planned",
                "livenessContinuationInstruction": "fix the lexer",
            })
        );
        let silent = ContinuationView { next_action: None, ..planned() };
        let Continuation::Wake(order) = decide(&silent) else { panic!("expected a wake") };
        assert_eq!(order.payload["instruction"], INSTRUCTION);
    }

    #[test]
    fn used_up_attempts_block_the_issue_with_the_words_clients_look_for() {
        let Continuation::Exhausted { reason, block } =
            decide(&ContinuationView { run_attempt: 2, ..planned() })
        else {
            panic!("expected the end")
        };
        assert_eq!(reason, "it planned; it was continued 2 times and is not continued again");
        assert!(block.comment.starts_with("Bounded liveness continuation exhausted"), "{}", block.comment);
        assert_eq!((block.cause, block.inbox.kind), (Cause::Continuation, InboxKind::StrandedIssue));
        assert_eq!(block.inbox.owner, Some("boss".into()));
        assert_eq!(
            (&block.activity["status"], &block.activity["previousStatus"]),
            (&json!("blocked"), &json!("in_progress"))
        );
        let long = ContinuationView { run_attempt: 2, reason: "x".repeat(600), ..planned() };
        let Continuation::Exhausted { reason, .. } = decide(&long) else { panic!("expected the end") };
        assert_eq!(reason.chars().count(), 500);
    }
}
