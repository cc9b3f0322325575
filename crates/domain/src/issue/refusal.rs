//! Why a change of an issue is refused: the exact words that clients match on, and the details as data.
//!
//! Which HTTP status a [`Kind`] becomes is decided by the API. A refusal is an answer, not a fault: nothing is written.

use serde_json::{Value, json};

use super::stages::StageType;
use super::{HOLD_PRINCIPLES, IssueStatus};
use crate::ids::{AgentId, HoldId, IssueId, RunId};
use crate::words;

/// What sort of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense as it stands.
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    /// Somebody or something is in the way.
    Conflict,
    /// It is against a rule.
    Unprocessable,
}

words!(
    /// Why the holder is in the way, for a program that decides what to do next.
    ConflictReason {
        /// Another run works on the issue.
        HeldByRun = "held_by_run",
        /// The writer's own run is over: somebody else decides now.
        RunOver = "run_over",
        /// The issue is another agent's.
        AssignedToOther = "assigned_to_other",
        /// The issue is not in a state the caller expects.
        StatusNotExpected = "status_not_expected",
    }
);

/// Who has the issue and why that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub issue: IssueId,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    pub checkout_run: Option<RunId>,
    pub execution_run: Option<RunId>,
    /// The run that holds the issue, or held it last.
    pub holder: Option<RunId>,
    pub holder_is_live: bool,
    pub reason: ConflictReason,
}

impl Conflict {
    fn details(&self) -> Value {
        json!({
            "issueId": self.issue, "status": self.status, "assigneeAgentId": self.assignee,
            "checkoutRunId": self.checkout_run, "executionRunId": self.execution_run,
            "holderRunId": self.holder, "holderLive": self.holder_is_live, "reason": self.reason,
        })
    }
}

/// A refused change.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    IssueNotFound,
    ParentNotFound,
    ProjectPaused { by_budget: bool },
    OnlyAsItself,
    RunIdRequired,
    AssigneeNotFound,
    AssigneeUserNotFound,
    AssigneeForeign,
    AssigneePending,
    AssigneeTerminated,
    MayNotAssign,
    CheckoutHeld { issue: IssueId, hold: HoldId, root: IssueId },
    Blocked { blockers: Vec<IssueId> },
    CheckoutConflict(Box<Conflict>),
    OwnershipConflict { conflict: Box<Conflict>, actor: AgentId, actor_run: Option<RunId> },
    CheckedOutByAnother { conflict: Box<Conflict>, actor: AgentId },
    NotAssignee,
    NotCheckoutRun { issue: IssueId, assignee: Option<AgentId>, checkout_run: RunId, actor_run: RunId },
    BoardRequired,
    FollowUpNeedsComment,
    FollowUpOfCancelled,
    FollowUpOfStatus,
    FollowUpHeld,
    FollowUpBlocked,
    FollowUpNeedsAssignee,
    FollowUpOfAnother,
    InterruptNeedsComment,
    InterruptByAgent,
    OneAssignee,
    InProgressNeedsAssignee,
    BlockedByItself,
    BlockersForeign,
    BlockerCycle,
    ParentCycle,
    TooManyChildren,
    InvalidPolicy { problem: String },
    NoEligibleParticipant(StageType),
    ApprovalNeedsComment,
    ChangesNeedComment,
    NoReturnAssignee,
    NotTheParticipant,
    ReviewRequestNeedsStage,
}

impl Refusal {
    /// The words of the answer; programs compare them.
    pub const fn text(&self) -> &'static str {
        self.row().1
    }

    /// The sort of refusal.
    pub const fn kind(&self) -> Kind {
        self.row().0
    }

    const fn row(&self) -> (Kind, &'static str) {
        use Kind::{Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unprocessable};
        match self {
            Refusal::IssueNotFound => (NotFound, "Issue not found"),
            Refusal::ParentNotFound => (NotFound, "Parent issue not found"),
            Refusal::ProjectPaused { by_budget: false } => (Conflict, "Project is paused"),
            Refusal::ProjectPaused { by_budget: true } => {
                (Conflict, "Project is paused because its budget hard-stop was reached")
            }
            Refusal::OnlyAsItself => (Forbidden, "Agent can only checkout as itself"),
            Refusal::RunIdRequired => (Unauthenticated, "Agent run id required"),
            Refusal::AssigneeNotFound => (NotFound, "Assignee agent not found"),
            Refusal::AssigneeUserNotFound => (NotFound, "Assignee user not found"),
            Refusal::AssigneeForeign => (Unprocessable, "Assignee must belong to same company"),
            Refusal::AssigneePending => (Conflict, "Cannot assign work to pending approval agents"),
            Refusal::AssigneeTerminated => (Conflict, "Cannot assign work to terminated agents"),
            Refusal::MayNotAssign => (Forbidden, "Missing permission: tasks:assign"),
            Refusal::CheckoutHeld { .. } => (Conflict, "Issue checkout blocked by active subtree pause hold"),
            Refusal::Blocked { .. } => (Unprocessable, "Issue is blocked by unresolved blockers"),
            Refusal::CheckoutConflict(_) => (Conflict, "Issue checkout conflict"),
            Refusal::OwnershipConflict { .. } => (Conflict, "Issue run ownership conflict"),
            Refusal::CheckedOutByAnother { .. } => (Conflict, "Issue is checked out by another agent"),
            Refusal::NotAssignee => (Conflict, "Only assignee can release issue"),
            Refusal::NotCheckoutRun { .. } => (Conflict, "Only checkout run can release issue"),
            Refusal::BoardRequired => (Forbidden, "Board access required"),
            Refusal::FollowUpNeedsComment => (Invalid, "Follow-up intent requires a comment"),
            Refusal::FollowUpOfCancelled => {
                (Conflict, "Cancelled issues must be restored through the dedicated restore flow")
            }
            Refusal::FollowUpOfStatus => {
                (Conflict, "Issue is not resumable through comment follow-up intent")
            }
            Refusal::FollowUpHeld => (Conflict, "Issue follow-up blocked by active subtree pause hold"),
            Refusal::FollowUpBlocked => (Conflict, "Issue follow-up blocked by unresolved blockers"),
            Refusal::FollowUpNeedsAssignee => (Conflict, "Issue follow-up requires an assigned agent"),
            Refusal::FollowUpOfAnother => {
                (Forbidden, "Agent cannot request follow-up for another agent's issue")
            }
            Refusal::InterruptNeedsComment => (Invalid, "Interrupt is only supported when posting a comment"),
            Refusal::InterruptByAgent => {
                (Forbidden, "Only board users can interrupt active runs from issue comments")
            }
            Refusal::OneAssignee => (Unprocessable, "Issue can only have one assignee"),
            Refusal::InProgressNeedsAssignee => (Unprocessable, "in_progress issues require an assignee"),
            Refusal::BlockedByItself => (Unprocessable, "Issue cannot be blocked by itself"),
            Refusal::BlockersForeign => (Unprocessable, "Blocked-by issues must belong to the same company"),
            Refusal::BlockerCycle => (Unprocessable, "Blocking relations cannot contain cycles"),
            Refusal::ParentCycle => (Unprocessable, "An issue cannot be below itself"),
            Refusal::TooManyChildren => (Unprocessable, "An issue can have at most 25 direct children"),
            Refusal::InvalidPolicy { .. } => (Unprocessable, "Invalid execution policy"),
            Refusal::NoEligibleParticipant(StageType::Review) => {
                (Unprocessable, "No eligible review participant is configured for this issue")
            }
            Refusal::NoEligibleParticipant(StageType::Approval) => {
                (Unprocessable, "No eligible approval participant is configured for this issue")
            }
            Refusal::ApprovalNeedsComment => {
                (Unprocessable, "Approving a review or approval stage requires a comment")
            }
            Refusal::ChangesNeedComment => (Unprocessable, "Requesting changes requires a comment"),
            Refusal::NoReturnAssignee => (Unprocessable, "This execution stage has no return assignee"),
            Refusal::NotTheParticipant => (
                Unprocessable,
                "Only the active reviewer or approver can advance the current execution stage",
            ),
            Refusal::ReviewRequestNeedsStage => {
                (Unprocessable, "reviewRequest requires an active review or approval stage")
            }
        }
    }

    /// The details of the answer, where there are any.
    pub fn details(&self) -> Option<Value> {
        match self {
            Refusal::CheckoutHeld { issue, hold, root } => Some(json!({
                "issueId": issue, "holdId": hold, "rootIssueId": root, "mode": "pause",
                "securityPrinciples": HOLD_PRINCIPLES,
            })),
            Refusal::Blocked { blockers } => Some(json!({ "unresolvedBlockerIssueIds": blockers })),
            Refusal::CheckoutConflict(conflict) => Some(conflict.details()),
            Refusal::OwnershipConflict { conflict, actor, actor_run } => {
                let mut details = conflict.details();
                details["actorAgentId"] = json!(actor);
                details["actorRunId"] = json!(actor_run);
                Some(details)
            }
            Refusal::CheckedOutByAnother { conflict, actor } => {
                let mut details = conflict.details();
                details["actorAgentId"] = json!(actor);
                Some(details)
            }
            Refusal::NotCheckoutRun { issue, assignee, checkout_run, actor_run } => Some(json!({
                "issueId": issue, "assigneeAgentId": assignee, "checkoutRunId": checkout_run,
                "actorRunId": actor_run,
            })),
            Refusal::InvalidPolicy { problem } => Some(json!({ "problem": problem })),
            Refusal::IssueNotFound
            | Refusal::ParentNotFound
            | Refusal::ProjectPaused { .. }
            | Refusal::OnlyAsItself
            | Refusal::RunIdRequired
            | Refusal::AssigneeNotFound
            | Refusal::AssigneeUserNotFound
            | Refusal::AssigneeForeign
            | Refusal::AssigneePending
            | Refusal::AssigneeTerminated
            | Refusal::MayNotAssign
            | Refusal::NotAssignee
            | Refusal::BoardRequired
            | Refusal::FollowUpNeedsComment
            | Refusal::FollowUpOfCancelled
            | Refusal::FollowUpOfStatus
            | Refusal::FollowUpHeld
            | Refusal::FollowUpBlocked
            | Refusal::FollowUpNeedsAssignee
            | Refusal::FollowUpOfAnother
            | Refusal::InterruptNeedsComment
            | Refusal::InterruptByAgent
            | Refusal::OneAssignee
            | Refusal::InProgressNeedsAssignee
            | Refusal::BlockedByItself
            | Refusal::BlockersForeign
            | Refusal::BlockerCycle
            | Refusal::ParentCycle
            | Refusal::TooManyChildren
            | Refusal::NoEligibleParticipant(_)
            | Refusal::ApprovalNeedsComment
            | Refusal::ChangesNeedComment
            | Refusal::NoReturnAssignee
            | Refusal::NotTheParticipant
            | Refusal::ReviewRequestNeedsStage => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict() -> Box<Conflict> {
        Box::new(Conflict {
            issue: "i".into(),
            status: IssueStatus::InProgress,
            assignee: Some("a".into()),
            checkout_run: Some("c".into()),
            execution_run: None,
            holder: Some("h".into()),
            holder_is_live: true,
            reason: ConflictReason::HeldByRun,
        })
    }

    /// Words, kind and details as clients see them, row by row.
    #[test]
    fn every_refusal_says_what_clients_match_on() {
        use Kind::{Conflict, Forbidden, Invalid, NotFound, Unauthenticated, Unprocessable};
        let held = json!({
            "issueId": "i", "status": "in_progress", "assigneeAgentId": "a", "checkoutRunId": "c",
            "executionRunId": null, "holderRunId": "h", "holderLive": true, "reason": "held_by_run",
        });
        let with = |more: Value| {
            let mut all = held.clone();
            for (key, value) in more.as_object().expect("an object") {
                all[key] = value.clone();
            }
            Some(all)
        };
        let rows: Vec<(Refusal, Kind, &str, Option<Value>)> = vec![
            (Refusal::IssueNotFound, NotFound, "Issue not found", None),
            (Refusal::ParentNotFound, NotFound, "Parent issue not found", None),
            (Refusal::ProjectPaused { by_budget: false }, Conflict, "Project is paused", None),
            (
                Refusal::ProjectPaused { by_budget: true },
                Conflict,
                "Project is paused because its budget hard-stop was reached",
                None,
            ),
            (Refusal::OnlyAsItself, Forbidden, "Agent can only checkout as itself", None),
            (Refusal::RunIdRequired, Unauthenticated, "Agent run id required", None),
            (Refusal::AssigneeNotFound, NotFound, "Assignee agent not found", None),
            (Refusal::AssigneeUserNotFound, NotFound, "Assignee user not found", None),
            (Refusal::AssigneeForeign, Unprocessable, "Assignee must belong to same company", None),
            (Refusal::AssigneePending, Conflict, "Cannot assign work to pending approval agents", None),
            (Refusal::AssigneeTerminated, Conflict, "Cannot assign work to terminated agents", None),
            (Refusal::MayNotAssign, Forbidden, "Missing permission: tasks:assign", None),
            (
                Refusal::CheckoutHeld { issue: "i".into(), hold: "h".into(), root: "r".into() },
                Conflict,
                "Issue checkout blocked by active subtree pause hold",
                Some(json!({"issueId": "i", "holdId": "h", "rootIssueId": "r", "mode": "pause",
                    "securityPrinciples": HOLD_PRINCIPLES})),
            ),
            (
                Refusal::Blocked { blockers: vec!["b".into()] },
                Unprocessable,
                "Issue is blocked by unresolved blockers",
                Some(json!({"unresolvedBlockerIssueIds": ["b"]})),
            ),
            (Refusal::CheckoutConflict(conflict()), Conflict, "Issue checkout conflict", Some(held.clone())),
            (
                Refusal::OwnershipConflict {
                    conflict: conflict(),
                    actor: "x".into(),
                    actor_run: Some("y".into()),
                },
                Conflict,
                "Issue run ownership conflict",
                with(json!({"actorAgentId": "x", "actorRunId": "y"})),
            ),
            (
                Refusal::CheckedOutByAnother { conflict: conflict(), actor: "x".into() },
                Conflict,
                "Issue is checked out by another agent",
                with(json!({"actorAgentId": "x"})),
            ),
            (Refusal::NotAssignee, Conflict, "Only assignee can release issue", None),
            (
                Refusal::NotCheckoutRun {
                    issue: "i".into(),
                    assignee: Some("a".into()),
                    checkout_run: "c".into(),
                    actor_run: "y".into(),
                },
                Conflict,
                "Only checkout run can release issue",
                Some(
                    json!({"issueId": "i", "assigneeAgentId": "a", "checkoutRunId": "c", "actorRunId": "y"}),
                ),
            ),
            (Refusal::BoardRequired, Forbidden, "Board access required", None),
            (Refusal::FollowUpNeedsComment, Invalid, "Follow-up intent requires a comment", None),
            (
                Refusal::FollowUpOfCancelled,
                Conflict,
                "Cancelled issues must be restored through the dedicated restore flow",
                None,
            ),
            (
                Refusal::FollowUpOfStatus,
                Conflict,
                "Issue is not resumable through comment follow-up intent",
                None,
            ),
            (Refusal::FollowUpHeld, Conflict, "Issue follow-up blocked by active subtree pause hold", None),
            (Refusal::FollowUpBlocked, Conflict, "Issue follow-up blocked by unresolved blockers", None),
            (Refusal::FollowUpNeedsAssignee, Conflict, "Issue follow-up requires an assigned agent", None),
            (
                Refusal::FollowUpOfAnother,
                Forbidden,
                "Agent cannot request follow-up for another agent's issue",
                None,
            ),
            (
                Refusal::InterruptNeedsComment,
                Invalid,
                "Interrupt is only supported when posting a comment",
                None,
            ),
            (
                Refusal::InterruptByAgent,
                Forbidden,
                "Only board users can interrupt active runs from issue comments",
                None,
            ),
            (Refusal::OneAssignee, Unprocessable, "Issue can only have one assignee", None),
            (Refusal::InProgressNeedsAssignee, Unprocessable, "in_progress issues require an assignee", None),
            (Refusal::BlockedByItself, Unprocessable, "Issue cannot be blocked by itself", None),
            (
                Refusal::BlockersForeign,
                Unprocessable,
                "Blocked-by issues must belong to the same company",
                None,
            ),
            (Refusal::BlockerCycle, Unprocessable, "Blocking relations cannot contain cycles", None),
            (Refusal::ParentCycle, Unprocessable, "An issue cannot be below itself", None),
            (Refusal::TooManyChildren, Unprocessable, "An issue can have at most 25 direct children", None),
            (
                Refusal::InvalidPolicy { problem: "p".into() },
                Unprocessable,
                "Invalid execution policy",
                Some(json!({"problem": "p"})),
            ),
            (
                Refusal::NoEligibleParticipant(StageType::Review),
                Unprocessable,
                "No eligible review participant is configured for this issue",
                None,
            ),
            (
                Refusal::NoEligibleParticipant(StageType::Approval),
                Unprocessable,
                "No eligible approval participant is configured for this issue",
                None,
            ),
            (
                Refusal::ApprovalNeedsComment,
                Unprocessable,
                "Approving a review or approval stage requires a comment",
                None,
            ),
            (Refusal::ChangesNeedComment, Unprocessable, "Requesting changes requires a comment", None),
            (Refusal::NoReturnAssignee, Unprocessable, "This execution stage has no return assignee", None),
            (
                Refusal::NotTheParticipant,
                Unprocessable,
                "Only the active reviewer or approver can advance the current execution stage",
                None,
            ),
            (
                Refusal::ReviewRequestNeedsStage,
                Unprocessable,
                "reviewRequest requires an active review or approval stage",
                None,
            ),
        ];
        for (refusal, kind, text, details) in rows {
            assert_eq!((refusal.kind(), refusal.text(), refusal.details()), (kind, text, details));
        }
    }
}
