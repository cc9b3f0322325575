//! Whether a comment may ask for more work on an issue (spec/api.md 5.4).
//!
//! Asked when anybody says `resume`, and when an agent says `reopen`. What then happens to the issue is decided by
//! `change`.

use super::refusal::Refusal;
use super::{Editor, IssueStatus};
use crate::ids::AgentId;

/// What the check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowUp<'a> {
    pub status: IssueStatus,
    pub assignee: Option<&'a AgentId>,
    /// A pause hold covers the issue.
    pub is_held: bool,
    /// A blocker is not done.
    pub is_blocked: bool,
    /// The agent may manage other agents' issues.
    pub manages: bool,
}

/// Checks the rows from top to bottom.
pub fn check(view: FollowUp<'_>, editor: &Editor) -> Result<(), Refusal> {
    match view.status {
        IssueStatus::Cancelled => return Err(Refusal::FollowUpOfCancelled),
        IssueStatus::Backlog | IssueStatus::InReview => return Err(Refusal::FollowUpOfStatus),
        IssueStatus::Done | IssueStatus::Blocked | IssueStatus::Todo | IssueStatus::InProgress => {}
    }
    if view.is_held {
        return Err(Refusal::FollowUpHeld);
    }
    if view.status == IssueStatus::Blocked && view.is_blocked {
        return Err(Refusal::FollowUpBlocked);
    }
    let Some(agent) = editor.agent() else { return Ok(()) };
    match view.assignee {
        None => Err(Refusal::FollowUpNeedsAssignee),
        Some(assignee) if assignee != agent && !view.manages => Err(Refusal::FollowUpOfAnother),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follow_up_is_refused_by_the_first_row_that_applies() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};
        let (me, you): (AgentId, AgentId) = ("me".into(), "you".into());
        let agent = Editor::Agent { id: me.clone(), run: None };
        let person = Editor::Board { user: None };
        let of = |status| FollowUp {
            status,
            assignee: Some(&me),
            is_held: false,
            is_blocked: false,
            manages: false,
        };
        let rows = [
            (
                "cancelled",
                FollowUp { is_held: true, ..of(Cancelled) },
                &agent,
                Err(Refusal::FollowUpOfCancelled),
            ),
            ("backlog", of(Backlog), &person, Err(Refusal::FollowUpOfStatus)),
            ("in review", FollowUp { is_held: true, ..of(InReview) }, &agent, Err(Refusal::FollowUpOfStatus)),
            ("done", of(Done), &agent, Ok(())),
            ("todo", of(Todo), &agent, Ok(())),
            ("in progress", of(InProgress), &agent, Ok(())),
            ("blocked, blockers done", of(Blocked), &agent, Ok(())),
            (
                "held",
                FollowUp { is_held: true, is_blocked: true, ..of(Blocked) },
                &person,
                Err(Refusal::FollowUpHeld),
            ),
            (
                "blocked",
                FollowUp { is_blocked: true, assignee: None, ..of(Blocked) },
                &agent,
                Err(Refusal::FollowUpBlocked),
            ),
            ("open blockers, but not blocked", FollowUp { is_blocked: true, ..of(Todo) }, &agent, Ok(())),
            (
                "nobody's, agent",
                FollowUp { assignee: None, ..of(Done) },
                &agent,
                Err(Refusal::FollowUpNeedsAssignee),
            ),
            ("nobody's, person", FollowUp { assignee: None, ..of(Done) }, &person, Ok(())),
            (
                "another's, agent",
                FollowUp { assignee: Some(&you), ..of(Done) },
                &agent,
                Err(Refusal::FollowUpOfAnother),
            ),
            (
                "another's, a manager",
                FollowUp { assignee: Some(&you), manages: true, ..of(Done) },
                &agent,
                Ok(()),
            ),
            ("another's, person", FollowUp { assignee: Some(&you), ..of(Done) }, &person, Ok(())),
        ];
        for (name, view, editor, expected) in rows {
            assert_eq!(check(view, editor), expected, "{name}");
        }
    }
}
