//! A blocker that belongs to nobody goes back to the agent that made it (spec/heartbeat.md 5.5.3).
//!
//! Only while that helps: twice at most, and never under a hold. Blockers with an owner are `graph`'s.

use std::time::Duration;

use serde_json::json;

use crate::agent::AgentStatus;
use crate::ids::{AgentId, IssueId};
use crate::issue::IssueStatus;
use crate::recovery::{self, Cause, WakeOrder, looks, object};

/// `source` of the activity.
pub const ACTIVITY_SOURCE: &str = "recovery.reconcile_unassigned_blocking_issue";

/// How many blocked issues the comment names.
pub const NAMED: usize = 5;

/// Everything the decision may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanView {
    pub issue: IssueId,
    pub identifier: String,
    pub status: IssueStatus,
    /// An agent or a person has it.
    pub assigned: bool,
    /// The agent that made it, and its status; `None` when a person did or the agent is gone.
    pub creator: Option<(AgentId, AgentStatus)>,
    /// Identifiers of the open issues it blocks.
    pub blocks: Vec<String>,
    pub held: bool,
    /// Attempts counted under [`Cause::OrphanBlocker`].
    pub attempts: u32,
    /// So long nobody changed it: whoever made it a moment ago may be about to give it to somebody.
    pub untouched_for: Duration,
}

/// The issue gets its maker as assignee; its status stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Adoption {
    pub issue: IssueId,
    pub assignee: AgentId,
    pub comment: String,
    pub activity: serde_json::Map<String, serde_json::Value>,
    pub wake: WakeOrder,
}

/// Decides; `None` leaves it alone.
pub fn decide(view: &OrphanView) -> Option<Adoption> {
    let (creator, status) = view.creator.as_ref()?;
    let waits = matches!(view.status, IssueStatus::Todo | IssueStatus::Blocked);
    let wanted = waits && !view.assigned && !view.blocks.is_empty() && !view.held;
    let wanted = wanted && view.untouched_for >= looks::AFTER;
    if !wanted || !status.is_invokable() || !recovery::may_try(view.attempts) {
        return None;
    }
    let named = view.blocks.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = view.blocks.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(Adoption {
        issue: view.issue.clone(),
        assignee: creator.clone(),
        comment: format!(
            "Assigned to the agent that created it: nobody had this issue, and it blocks {named}{rest}."
        ),
        activity: object(json!({
            "identifier": view.identifier,
            "assigneeAgentId": creator,
            "source": ACTIVITY_SOURCE,
        })),
        wake: WakeOrder {
            agent: creator.clone(),
            issue: Some(view.issue.clone()),
            reason: "issue_assigned",
            retry_of: None,
            payload: object(json!({ "issueId": view.issue, "mutation": "unassigned_blocker_recovery" })),
            context: object(json!({
                "issueId": view.issue, "taskId": view.issue, "wakeReason": "issue_assigned",
                "source": "issue.unassigned_blocker_recovery",
            })),
            idempotency_key: None,
            continuation_attempt: 0,
            counts_as: Some(Cause::OrphanBlocker),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan() -> OrphanView {
        OrphanView {
            issue: "i".into(),
            identifier: "ACM-2".into(),
            status: IssueStatus::Todo,
            assigned: false,
            creator: Some(("a".into(), AgentStatus::Idle)),
            blocks: vec!["ACM-3".into()],
            held: false,
            attempts: 0,
            untouched_for: looks::AFTER,
        }
    }

    #[test]
    fn an_unassigned_blocker_goes_back_to_its_maker() {
        let adoption = decide(&orphan()).expect("an adoption");
        assert_eq!(adoption.assignee, "a".into());
        assert!(adoption.comment.ends_with("it blocks ACM-3."), "{}", adoption.comment);
        assert_eq!(adoption.activity["source"], "recovery.reconcile_unassigned_blocking_issue");
        assert_eq!(adoption.wake.reason, "issue_assigned");
        assert_eq!(adoption.wake.payload["mutation"], "unassigned_blocker_recovery");
        assert_eq!(adoption.wake.context["source"], "issue.unassigned_blocker_recovery");
        assert_eq!(adoption.wake.counts_as, Some(Cause::OrphanBlocker));
    }

    #[test]
    fn five_blocked_issues_are_named() {
        let blocks = |n: usize| (1..=n).map(|i| format!("X-{i}")).collect::<Vec<_>>();
        let comment = |n| decide(&OrphanView { blocks: blocks(n), ..orphan() }).expect("an adoption").comment;
        assert!(comment(5).ends_with("X-5."), "{}", comment(5));
        assert!(comment(7).ends_with("X-5 and 2 more."), "{}", comment(7));
    }

    #[test]
    fn it_is_left_alone_where_that_would_not_help() {
        let rows = [
            ("assigned", OrphanView { assigned: true, ..orphan() }, false),
            ("made by a person", OrphanView { creator: None, ..orphan() }, false),
            (
                "maker paused",
                OrphanView { creator: Some(("a".into(), AgentStatus::Paused)), ..orphan() },
                false,
            ),
            ("blocks nothing open", OrphanView { blocks: vec![], ..orphan() }, false),
            ("held", OrphanView { held: true, ..orphan() }, false),
            ("made a moment ago", OrphanView { untouched_for: looks::AFTER / 2, ..orphan() }, false),
            ("tried once", OrphanView { attempts: 1, ..orphan() }, true),
            ("tried twice", OrphanView { attempts: 2, ..orphan() }, false),
            ("blocked", OrphanView { status: IssueStatus::Blocked, ..orphan() }, true),
            ("in progress", OrphanView { status: IssueStatus::InProgress, ..orphan() }, false),
            ("in review", OrphanView { status: IssueStatus::InReview, ..orphan() }, false),
            ("backlog", OrphanView { status: IssueStatus::Backlog, ..orphan() }, false),
            ("done", OrphanView { status: IssueStatus::Done, ..orphan() }, false),
        ];
        for (name, view, adopted) in rows {
            assert_eq!(decide(&view).is_some(), adopted, "{name}");
        }
    }
}
