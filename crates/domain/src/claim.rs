//! Which waiting run may start now, and for what the others wait.
//!
//! [`gate`] is asked for every start and for every `heldReason` that people see: the same rules, so the reason cannot
//! differ from what the dispatcher does. What ends a run is asked before what holds it; a hold lasts only as long as its
//! cause, an end is for good (D1). [`order`] ranks the candidates of one agent. Taking the lease and the issue's lock is
//! done elsewhere, each by one statement that also sees whether it is still free.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::AgentStatus;
use crate::hold::HeldReason;
use crate::ids::{AgentId, IssueId, RunId};
use crate::issue::lock::{LockFacts, is_held_by_other};
use crate::issue::stages::StageType;
use crate::issue::{IssueStatus, Principal, Priority};
use crate::moment::Moment;
use crate::run::RunStatus;
use crate::wake::WakeStatus;
use crate::wake::interaction::Passes;

/// What the gates look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimView {
    pub status: RunStatus,
    /// `None`: the agent is gone.
    pub agent: Option<AgentStatus>,
    /// It has waited longer than it may.
    pub expired: bool,
    /// A budget stops it, or has not enough left to reserve for it.
    pub budget: bool,
    /// Its account waits for the provider's limit to be reset.
    pub quota: bool,
    /// The issue it works on; `None` when it has none.
    pub issue: Option<ClaimIssue>,
    /// Slots of the agent.
    pub slots: u32,
    /// Runs of the agent that hold a slot.
    pub agent_running: u32,
    /// A run of the same agent and task key is under way.
    pub scope_running: bool,
    /// Processes the instance may run at once.
    pub instance_slots: u32,
    /// Runs of the instance that hold one.
    pub instance_running: u32,
}

/// The issue of a run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimIssue {
    Missing(IssueId),
    Found(Box<IssueAtClaim>),
}

/// What the gates look at of an issue that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueAtClaim {
    pub id: IssueId,
    pub run: RunId,
    pub agent: AgentId,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    /// Whose turn it is in the current review or approval stage.
    pub participant: Option<(Option<StageType>, Principal)>,
    /// A pause hold covers the issue.
    pub is_held: bool,
    /// Somebody who is not trusted wrote something there that nobody has released.
    pub has_held_text: bool,
    /// All blockers are done.
    pub is_ready: bool,
    pub lock: Option<LockFacts>,
    /// What the run's context lets it pass.
    pub passes: Passes,
}

/// What the gates say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may start.
    Open,
    /// It stays queued and shows this.
    Held(HeldReason),
    /// It will never start: it is cancelled, and the record says why.
    Ends(End),
    /// It is not a waiting run; there is nothing to decide.
    NotWaiting,
}

/// Why a waiting run will never start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    AgentGone,
    AgentTerminated,
    /// It waited longer than it may.
    Expired,
    IssueNotFound {
        issue: IssueId,
    },
    AssigneeChanged {
        issue: IssueId,
        previous: AgentId,
        current: Option<AgentId>,
    },
    TerminalStatus {
        issue: IssueId,
        status: IssueStatus,
    },
    ParticipantChanged {
        issue: IssueId,
        stage: Option<StageType>,
        participant: Principal,
    },
}

impl End {
    /// The error code on the run.
    pub const fn code(&self) -> &'static str {
        match self {
            End::AgentGone | End::AgentTerminated => "cancelled",
            End::Expired => "expired",
            End::IssueNotFound { .. } => "issue_not_found",
            End::AssigneeChanged { .. } => "issue_assignee_changed",
            End::TerminalStatus { .. } => "issue_terminal_status",
            End::ParticipantChanged { .. } => "issue_review_participant_changed",
        }
    }

    /// The words on the run and on its wake.
    pub const fn words(&self) -> &'static str {
        match self {
            End::AgentGone => "the agent no longer exists",
            End::AgentTerminated => "the agent was terminated",
            End::Expired => "it waited longer than a run may wait",
            End::IssueNotFound { .. } => "its issue no longer exists",
            End::AssigneeChanged { .. } => "its agent is not the assignee of the issue",
            End::TerminalStatus { .. } => "its issue was closed before it started",
            End::ParticipantChanged { .. } => "its issue waits for another reviewer",
        }
    }

    /// The run is overtaken by what happened to its issue; nobody stopped it.
    pub const fn is_stale(&self) -> bool {
        match self {
            End::AgentGone | End::AgentTerminated | End::Expired => false,
            End::IssueNotFound { .. }
            | End::AssigneeChanged { .. }
            | End::TerminalStatus { .. }
            | End::ParticipantChanged { .. } => true,
        }
    }

    /// What becomes of the wakes it carries.
    pub const fn wake_status(&self) -> WakeStatus {
        if self.is_stale() { WakeStatus::Skipped } else { WakeStatus::Cancelled }
    }

    /// The result of a run that was overtaken (spec/heartbeat.md 3.3 row 6).
    pub fn result(&self) -> Option<Value> {
        self.is_stale().then(|| {
            json!({
                "stopReason": self.code(), "effectiveTimeoutSec": 0, "timeoutConfigured": false,
                "timeoutSource": "stale_queued_run_gate", "timeoutFired": false,
            })
        })
    }

    /// The payload of its last event.
    pub fn event(&self) -> Option<Value> {
        match self {
            End::AgentGone | End::AgentTerminated | End::Expired => None,
            End::IssueNotFound { issue } => Some(json!({ "issueId": issue })),
            End::AssigneeChanged { issue, previous, current } => Some(json!({
                "issueId": issue, "previousAssigneeAgentId": previous, "currentAssigneeAgentId": current,
            })),
            End::TerminalStatus { issue, status } => {
                Some(json!({ "issueId": issue, "currentStatus": status }))
            }
            End::ParticipantChanged { issue, stage, participant } => Some(json!({
                "issueId": issue, "currentStageType": stage, "currentParticipant": participant,
            })),
        }
    }
}

/// Asks the gates, in order.
pub fn gate(view: &ClaimView) -> Gate {
    match view.status {
        RunStatus::Queued => {}
        RunStatus::ScheduledRetry => return Gate::Held(HeldReason::RetryBackoff),
        RunStatus::Running
        | RunStatus::Succeeded
        | RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::TimedOut => {
            return Gate::NotWaiting;
        }
    }
    let is_paused = match view.agent {
        None => return Gate::Ends(End::AgentGone),
        Some(AgentStatus::Terminated) => return Gate::Ends(End::AgentTerminated),
        // An agent that waits for approval is as good as paused: its queue is kept until somebody decides.
        Some(AgentStatus::Paused | AgentStatus::PendingApproval) => true,
        Some(AgentStatus::Active | AgentStatus::Idle | AgentStatus::Running | AgentStatus::Error) => false,
    };
    let issue = match &view.issue {
        None => None,
        Some(ClaimIssue::Missing(issue)) => {
            return Gate::Ends(End::IssueNotFound { issue: issue.clone() });
        }
        Some(ClaimIssue::Found(issue)) => Some(issue.as_ref()),
    };
    if let Some(end) = issue.and_then(stale) {
        return Gate::Ends(end);
    }
    if view.expired {
        return Gate::Ends(End::Expired);
    }
    let holds = [
        (is_paused, HeldReason::Paused),
        (view.budget, HeldReason::Budget),
        (issue.is_some_and(|issue| issue.is_held && !issue.passes.verified), HeldReason::Hold),
        // No word of anybody who is not trusted opens it, and no other comment.
        (issue.is_some_and(|issue| issue.has_held_text), HeldReason::Hold),
        (issue.is_some_and(|issue| !issue.is_ready && !issue.passes.dependencies()), HeldReason::Dependency),
        (view.quota, HeldReason::Quota),
        (view.scope_running || issue.is_some_and(waits_for_the_lock), HeldReason::Running),
        (view.agent_running >= view.slots, HeldReason::Slot),
        (view.instance_running >= view.instance_slots, HeldReason::Capacity),
    ];
    holds.iter().find(|(applies, _)| *applies).map_or(Gate::Open, |(_, reason)| Gate::Held(*reason))
}

/// True when a run that was queued then has waited longer than runs may; without a limit none ever has (D22).
pub fn has_expired(queued_at: Moment, may_wait: Option<Duration>, now: Moment) -> bool {
    may_wait.is_some_and(|longest| now >= queued_at.plus(longest))
}

/// What happened to the issue since the run was queued that makes it pointless (spec/heartbeat.md 3.5).
fn stale(issue: &IssueAtClaim) -> Option<End> {
    let passes = issue.passes;
    if issue.assignee.as_ref() != Some(&issue.agent) && !passes.interaction {
        return Some(End::AssigneeChanged {
            issue: issue.id.clone(),
            previous: issue.agent.clone(),
            current: issue.assignee.clone(),
        });
    }
    if issue.status.is_terminal() && !passes.resume_intent && !passes.comment {
        return Some(End::TerminalStatus { issue: issue.id.clone(), status: issue.status });
    }
    if issue.status == IssueStatus::InReview
        && !passes.comment
        && let Some((stage, participant)) = &issue.participant
        && participant.agent() != Some(&issue.agent)
    {
        return Some(End::ParticipantChanged {
            issue: issue.id.clone(),
            stage: *stage,
            participant: participant.clone(),
        });
    }
    None
}

/// The assignee's work on an issue is done by one run at a time. Others, who were mentioned, run beside it.
fn waits_for_the_lock(issue: &IssueAtClaim) -> bool {
    issue.assignee.as_ref() == Some(&issue.agent) && is_held_by_other(&issue.run, issue.lock.as_ref())
}

/// A queued run of an agent, as far as its place in the queue goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: RunId,
    /// 0 task in progress and ready, 1 task ready, 2 no task, 3 task not ready (spec/heartbeat.md 3.2).
    pub rank: u8,
    /// 0 critical to 3 low, 4 anything else.
    pub priority: u8,
    pub queued_at: Moment,
}

/// The place of a run by its issue: rank and priority. `None` for a run without one.
///
/// An issue whose blockers are unknown counts as ready.
pub const fn rank(issue: Option<(IssueStatus, Priority, bool)>) -> (u8, u8) {
    match issue {
        None => (RANK_NO_TASK, PRIORITY_NONE),
        Some((IssueStatus::InProgress, priority, true)) => (0, priority.rank()),
        Some((_, priority, true)) => (1, priority.rank()),
        Some((_, priority, false)) => (3, priority.rank()),
    }
}

/// Rank of a run without a task.
pub const RANK_NO_TASK: u8 = 2;
/// Priority of a run without a task.
pub const PRIORITY_NONE: u8 = 4;

/// Puts the candidates into the order in which they are claimed: rank, priority, then first come first served.
pub fn order(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| {
        (a.rank, a.priority, a.queued_at, &a.id).cmp(&(b.rank, b.priority, b.queued_at, &b.id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> ClaimView {
        ClaimView {
            status: RunStatus::Queued,
            agent: Some(AgentStatus::Idle),
            expired: false,
            budget: false,
            quota: false,
            issue: None,
            slots: 2,
            agent_running: 0,
            scope_running: false,
            instance_slots: 10,
            instance_running: 0,
        }
    }

    #[test]
    fn the_gates_are_asked_in_order() {
        use HeldReason::{Capacity, Paused, RetryBackoff, Running, Slot};
        let rows: Vec<(&str, ClaimView, Gate)> = vec![
            ("free", free(), Gate::Open),
            ("last slot", ClaimView { agent_running: 1, ..free() }, Gate::Open),
            ("no slot", ClaimView { agent_running: 2, ..free() }, Gate::Held(Slot)),
            ("more than the slots", ClaimView { agent_running: 3, ..free() }, Gate::Held(Slot)),
            (
                "same task under way",
                ClaimView { scope_running: true, agent_running: 1, ..free() },
                Gate::Held(Running),
            ),
            (
                "same task wins over slot",
                ClaimView { scope_running: true, agent_running: 2, ..free() },
                Gate::Held(Running),
            ),
            (
                "pause wins over all",
                ClaimView {
                    agent: Some(AgentStatus::Paused),
                    scope_running: true,
                    agent_running: 2,
                    instance_running: 10,
                    ..free()
                },
                Gate::Held(Paused),
            ),
            (
                "pending approval",
                ClaimView { agent: Some(AgentStatus::PendingApproval), ..free() },
                Gate::Held(Paused),
            ),
            ("instance full", ClaimView { instance_running: 10, ..free() }, Gate::Held(Capacity)),
            (
                "slot wins over instance",
                ClaimView { instance_running: 10, agent_running: 2, ..free() },
                Gate::Held(Slot),
            ),
            (
                "terminated",
                ClaimView { agent: Some(AgentStatus::Terminated), ..free() },
                Gate::Ends(End::AgentTerminated),
            ),
            ("gone", ClaimView { agent: None, ..free() }, Gate::Ends(End::AgentGone)),
            (
                "retry not due",
                ClaimView { status: RunStatus::ScheduledRetry, agent: None, ..free() },
                Gate::Held(RetryBackoff),
            ),
            ("error agents start", ClaimView { agent: Some(AgentStatus::Error), ..free() }, Gate::Open),
            (
                "running agents start",
                ClaimView { agent: Some(AgentStatus::Running), agent_running: 1, ..free() },
                Gate::Open,
            ),
        ];
        for (name, view, expected) in rows {
            assert_eq!(gate(&view), expected, "{name}");
        }
        for &status in RunStatus::ALL.iter().filter(|s| s.is_final() || **s == RunStatus::Running) {
            assert_eq!(gate(&ClaimView { status, ..free() }), Gate::NotWaiting, "{status}");
        }
    }

    fn at() -> IssueAtClaim {
        IssueAtClaim {
            id: "i".into(),
            run: "r".into(),
            agent: "me".into(),
            status: IssueStatus::Todo,
            assignee: Some("me".into()),
            participant: None,
            is_held: false,
            has_held_text: false,
            is_ready: true,
            lock: None,
            passes: Passes::default(),
        }
    }

    fn on(issue: IssueAtClaim) -> ClaimView {
        ClaimView { issue: Some(ClaimIssue::Found(Box::new(issue))), ..free() }
    }

    fn locked_by(run: &str, status: RunStatus) -> Option<LockFacts> {
        let agent = "you".into();
        Some(LockFacts { run: run.into(), epoch: 1, agent, run_status: Some(status), run_epoch: 1 })
    }

    #[test]
    fn the_issue_holds_a_run_in_the_fixed_order() {
        use HeldReason::{Budget, Capacity, Dependency, Hold, Paused, Quota, Running, Slot};
        let everything = || ClaimView {
            agent: Some(AgentStatus::Paused),
            budget: true,
            quota: true,
            agent_running: 2,
            instance_running: 10,
            ..on(IssueAtClaim {
                is_held: true,
                is_ready: false,
                lock: locked_by("x", RunStatus::Running),
                ..at()
            })
        };
        let idle = Some(AgentStatus::Idle);
        // Each row takes away what held the row before it.
        let unpaused = ClaimView { agent: idle, ..everything() };
        let funded = ClaimView { budget: false, ..unpaused.clone() };
        let issue = |is_held, is_ready, lock| {
            let issue = IssueAtClaim { is_held, is_ready, lock, ..at() };
            Some(ClaimIssue::Found(Box::new(issue)))
        };
        let live = || locked_by("x", RunStatus::Running);
        let released = ClaimView { issue: issue(false, false, live()), ..funded.clone() };
        let ready = ClaimView { issue: issue(false, true, live()), ..released.clone() };
        let within = ClaimView { quota: false, ..ready.clone() };
        let alone = ClaimView { issue: issue(false, true, None), ..within.clone() };
        let slotted = ClaimView { agent_running: 1, ..alone.clone() };
        let rows = [
            (everything(), Gate::Held(Paused)),
            (unpaused, Gate::Held(Budget)),
            (funded, Gate::Held(Hold)),
            (released, Gate::Held(Dependency)),
            (ready, Gate::Held(Quota)),
            (within, Gate::Held(Running)),
            (alone, Gate::Held(Slot)),
            (slotted.clone(), Gate::Held(Capacity)),
            (ClaimView { instance_running: 9, ..slotted }, Gate::Open),
        ];
        for (view, expected) in rows {
            assert_eq!(gate(&view), expected, "{view:?}");
        }
    }

    #[test]
    fn comments_and_news_of_blockers_pass_what_holds_others() {
        use HeldReason::{Dependency, Hold, Running};
        let none = Passes::default();
        let comment = Passes { comment: true, interaction: true, ..none };
        let verified = Passes { verified: true, ..comment };
        let news = Passes { blocker_cancelled: true, ..none };
        let blocked = |passes| IssueAtClaim { is_ready: false, passes, ..at() };
        let held = |passes| IssueAtClaim { is_held: true, passes, ..at() };
        let unseen = |passes| IssueAtClaim { has_held_text: true, passes, ..at() };
        let live = || locked_by("x", RunStatus::Running);
        let mentioned = IssueAtClaim { assignee: Some("you".into()), lock: live(), passes: comment, ..at() };
        let rows = [
            ("blocked", blocked(none), Gate::Held(Dependency)),
            ("blocked, comment id alone", blocked(Passes { comment: true, ..none }), Gate::Held(Dependency)),
            ("blocked, comment", blocked(comment), Gate::Open),
            ("blocked, news of the blocker", blocked(news), Gate::Open),
            ("held", held(none), Gate::Held(Hold)),
            ("held, comment not verified", held(comment), Gate::Held(Hold)),
            ("held, verified", held(verified), Gate::Open),
            ("held, news of the blocker", held(news), Gate::Held(Hold)),
            ("a text that nobody released", unseen(none), Gate::Held(Hold)),
            ("a text that nobody released, verified comment", unseen(verified), Gate::Held(Hold)),
            ("locked by a live run", IssueAtClaim { lock: live(), ..at() }, Gate::Held(Running)),
            (
                "locked by a live run, verified comment",
                IssueAtClaim { lock: live(), passes: verified, ..at() },
                Gate::Held(Running),
            ),
            (
                "locked by a run that is over",
                IssueAtClaim { lock: locked_by("x", RunStatus::Failed), ..at() },
                Gate::Open,
            ),
            (
                "locked by itself",
                IssueAtClaim { lock: locked_by("r", RunStatus::Running), ..at() },
                Gate::Open,
            ),
            ("mentioned, beside the live run", mentioned, Gate::Open),
        ];
        for (name, issue, expected) in rows {
            assert_eq!(gate(&on(issue)), expected, "{name}");
        }
    }

    #[test]
    fn a_run_that_its_issue_left_behind_ends() {
        let none = Passes::default();
        let mention = Passes { comment: true, interaction: true, ..none };
        let comment = Passes { comment: true, ..none };
        let resume = Passes { resume_intent: true, ..none };
        let to = |assignee: Option<&str>, passes| IssueAtClaim {
            assignee: assignee.map(AgentId::from),
            passes,
            ..at()
        };
        let closed = |status, passes| IssueAtClaim { status, passes, ..at() };
        let review = |participant: Option<Principal>, passes| IssueAtClaim {
            status: IssueStatus::InReview,
            participant: participant.map(|one| (Some(StageType::Review), one)),
            passes,
            ..at()
        };
        let changed = |current: Option<&str>| {
            Gate::Ends(End::AssigneeChanged {
                issue: "i".into(),
                previous: "me".into(),
                current: current.map(AgentId::from),
            })
        };
        let terminal = |status| Gate::Ends(End::TerminalStatus { issue: "i".into(), status });
        let you = || Principal::Agent("you".into());
        let theirs = |participant| {
            let stage = Some(StageType::Review);
            Gate::Ends(End::ParticipantChanged { issue: "i".into(), stage, participant })
        };
        let rows = [
            ("assignee, todo", at(), Gate::Open),
            ("assignee, in progress", closed(IssueStatus::InProgress, none), Gate::Open),
            ("given away", to(Some("you"), none), changed(Some("you"))),
            ("nobody's", to(None, none), changed(None)),
            ("given away, a comment id alone", to(Some("you"), comment), changed(Some("you"))),
            ("given away, a mention", to(Some("you"), mention), Gate::Open),
            (
                "given away wins over closed",
                IssueAtClaim { status: IssueStatus::Done, ..to(Some("you"), none) },
                changed(Some("you")),
            ),
            ("done", closed(IssueStatus::Done, none), terminal(IssueStatus::Done)),
            ("cancelled", closed(IssueStatus::Cancelled, none), terminal(IssueStatus::Cancelled)),
            ("done, with a comment", closed(IssueStatus::Done, comment), Gate::Open),
            ("done, to be resumed", closed(IssueStatus::Done, resume), Gate::Open),
            ("in review, no stage", review(None, none), Gate::Open),
            ("in review, its turn", review(Some(Principal::Agent("me".into())), none), Gate::Open),
            ("in review, another's turn", review(Some(you()), none), theirs(you())),
            (
                "in review, a person's turn",
                review(Some(Principal::User("u".into())), none),
                theirs(Principal::User("u".into())),
            ),
            ("in review, another's turn, with a comment", review(Some(you()), comment), Gate::Open),
            (
                "another's turn, but not in review",
                IssueAtClaim { status: IssueStatus::InProgress, ..review(Some(you()), none) },
                Gate::Open,
            ),
        ];
        for (name, issue, expected) in rows {
            assert_eq!(gate(&on(issue.clone())), expected, "{name}");
            if let Gate::Ends(_) = expected {
                let paused = ClaimView { agent: Some(AgentStatus::Paused), ..on(issue) };
                assert_eq!(gate(&paused), expected, "{name}: ends although its agent is paused");
            }
        }
        let missing = ClaimView { issue: Some(ClaimIssue::Missing("i".into())), ..free() };
        assert_eq!(gate(&missing), Gate::Ends(End::IssueNotFound { issue: "i".into() }));
    }

    #[test]
    fn a_run_that_waited_too_long_expires_whatever_holds_it() {
        let late = ClaimView { expired: true, agent: Some(AgentStatus::Paused), ..free() };
        assert_eq!(gate(&late), Gate::Ends(End::Expired));
        assert_eq!(gate(&ClaimView { expired: true, ..free() }), Gate::Ends(End::Expired));
        let (at, hour) = (Moment::from_micros(5), Duration::from_secs(3600));
        let rows = [
            (None, hour * 1000, false),
            (Some(hour), hour - Duration::from_micros(1), false),
            (Some(hour), hour, true),
        ];
        for (may_wait, waited, expired) in rows {
            assert_eq!(has_expired(at, may_wait, at.plus(waited)), expired, "{may_wait:?} {waited:?}");
        }
        assert_eq!(gate(&ClaimView { agent: None, ..late }), Gate::Ends(End::AgentGone));
    }

    #[test]
    fn the_record_of_an_end_says_why() {
        let issue = || IssueId::from("i");
        let participant = Principal::User("u".into());
        let rows = [
            (End::AgentGone, "cancelled", None),
            (End::AgentTerminated, "cancelled", None),
            (End::Expired, "expired", None),
            (End::IssueNotFound { issue: issue() }, "issue_not_found", Some(json!({"issueId": "i"}))),
            (
                End::AssigneeChanged { issue: issue(), previous: "a".into(), current: None },
                "issue_assignee_changed",
                Some(json!({"issueId": "i", "previousAssigneeAgentId": "a", "currentAssigneeAgentId": null})),
            ),
            (
                End::TerminalStatus { issue: issue(), status: IssueStatus::Done },
                "issue_terminal_status",
                Some(json!({"issueId": "i", "currentStatus": "done"})),
            ),
            (
                End::ParticipantChanged { issue: issue(), stage: Some(StageType::Approval), participant },
                "issue_review_participant_changed",
                Some(json!({"issueId": "i", "currentStageType": "approval",
                    "currentParticipant": {"type": "user", "agentId": null, "userId": "u"}})),
            ),
        ];
        let mut words: Vec<&str> = rows.iter().map(|(end, _, _)| end.words()).collect();
        for (end, code, event) in rows {
            assert_eq!((end.code(), end.event()), (code, event.clone()));
            assert_eq!(end.is_stale(), event.is_some(), "{code}");
            if end.is_stale() {
                let result = json!({"stopReason": code, "effectiveTimeoutSec": 0, "timeoutConfigured": false,
                    "timeoutSource": "stale_queued_run_gate", "timeoutFired": false});
                assert_eq!((end.wake_status(), end.result()), (WakeStatus::Skipped, Some(result)));
            } else {
                assert_eq!((end.wake_status(), end.result()), (WakeStatus::Cancelled, None));
            }
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 7, "each end has words of its own");
    }

    #[test]
    fn work_in_progress_comes_first_and_blocked_work_last() {
        use IssueStatus::{Blocked, InProgress, Todo};
        for (issue, expected) in [
            (Some((InProgress, Priority::Low, true)), (0, 3)),
            (Some((Todo, Priority::Critical, true)), (1, 0)),
            (Some((Blocked, Priority::High, true)), (1, 1)),
            (None, (2, 4)),
            (Some((InProgress, Priority::Critical, false)), (3, 0)),
            (Some((Todo, Priority::Medium, false)), (3, 2)),
        ] {
            assert_eq!(rank(issue), expected, "{issue:?}");
        }
    }

    #[test]
    fn rank_then_priority_then_age_then_id() {
        let candidate = |id: &str, rank, priority, at| Candidate {
            id: id.into(),
            rank,
            priority,
            queued_at: Moment::from_micros(at),
        };
        let mut queue = vec![
            candidate("e", 3, 0, 1),
            candidate("d", 2, 4, 9),
            candidate("c", 2, 4, 8),
            candidate("b", 1, 3, 9),
            candidate("a", 1, 0, 9),
            candidate("b2", 1, 3, 9),
        ];
        order(&mut queue);
        let ids: Vec<&str> = queue.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "b2", "c", "d", "e"]);
    }
}
