//! Wakes for the owners of what an issue blocks and of its parent.

use serde_json::{Value, json};

use super::{Draft, Notice};
use crate::ids::{AgentId, IssueId};
use crate::issue::{IssueStatus, Priority};
use crate::wake::interaction::BLOCKER_CANCELLED;

/// Child issues that a parent's owner is told about.
pub const MOST_CHILDREN_TOLD: usize = 20;
/// Characters of a child's last comment that the parent's owner is told.
pub const CHILD_COMMENT_LIMIT: usize = 500;

/// An issue that is blocked by the one that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependent {
    pub issue: IssueId,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    /// All its blockers, and those that are not done after the change.
    pub blockers: Vec<IssueId>,
    pub unresolved: Vec<IssueId>,
}

/// The parent of the issue that changed, with all its direct children after the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    pub parent: IssueId,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    pub children: Vec<Child>,
}

/// A direct child of an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub id: IssueId,
    pub identifier: Option<String>,
    pub title: String,
    pub status: IssueStatus,
    pub priority: Priority,
    pub assignee_agent: Option<AgentId>,
    pub assignee_user: Option<String>,
    pub last_comment: Option<String>,
}

/// All blockers of an issue are done. `resolved` is the last one; a sweep that finds the issue does not know it.
pub fn blockers_resolved(dependent: &Dependent, resolved: Option<&IssueId>) -> Option<Notice> {
    let agent = dependent.assignee.as_ref().filter(|_| is_open(dependent.status))?;
    if !dependent.unresolved.is_empty() {
        return None;
    }
    let mut notice = Draft::automation("issue_blockers_resolved", "issue.blockers_resolved")
        .both("blockerIssueIds", json!(dependent.blockers));
    if let Some(resolved) = resolved {
        notice = notice.both("resolvedBlockerIssueId", json!(resolved));
    }
    Some(notice.on(agent, &dependent.issue))
}

/// A blocker will not be done by itself: it was cancelled, or recovery gave it up (`status` says which). The owner of
/// what it blocks is told even though the block stays (D7).
pub fn blocker_gave_up(dependent: &Dependent, blocker: &IssueId, status: IssueStatus) -> Option<Notice> {
    let agent = dependent.assignee.as_ref().filter(|_| is_open(dependent.status))?;
    let notice = Draft::automation(BLOCKER_CANCELLED, "issue.blocker_cancelled")
        .both("blockerIssueId", json!(blocker))
        .both("blockerStatus", json!(status))
        .both("blockerIssueIds", json!(dependent.blockers))
        .both("unresolvedBlockerIssueIds", json!(dependent.unresolved));
    Some(notice.on(agent, &dependent.issue))
}

/// The last open child of an issue was closed.
pub(super) fn children_completed(family: &Family, completed: &IssueId) -> Option<Notice> {
    let agent = family.assignee.as_ref().filter(|_| is_open(family.status))?;
    if family.children.iter().any(|child| !child.status.is_terminal()) {
        return None;
    }
    let told: Vec<Value> = family.children.iter().take(MOST_CHILDREN_TOLD).map(Child::summary).collect();
    let ids: Vec<&IssueId> = family.children.iter().map(|child| &child.id).collect();
    let notice = Draft::automation("issue_children_completed", "issue.children_completed")
        .both("completedChildIssueId", json!(completed))
        .both("childIssueIds", json!(ids))
        .both("childIssueSummaries", told.into())
        .both("childIssueSummaryTruncated", (family.children.len() > MOST_CHILDREN_TOLD).into());
    Some(notice.on(agent, &family.parent))
}

/// Somebody may work on it: not put off, not closed.
fn is_open(status: IssueStatus) -> bool {
    status != IssueStatus::Backlog && !status.is_terminal()
}

impl Child {
    fn summary(&self) -> Value {
        let comment = self.last_comment.as_ref();
        let comment: Option<String> = comment.map(|text| text.chars().take(CHILD_COMMENT_LIMIT).collect());
        json!({
            "id": self.id, "identifier": self.identifier, "title": self.title, "status": self.status,
            "priority": self.priority, "assigneeAgentId": self.assignee_agent,
            "assigneeUserId": self.assignee_user, "summary": comment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, one, patch, person, shown, standing};
    use super::super::{Patched, patched};
    use super::*;
    use crate::wake::Source;

    #[test]
    fn owners_of_dependents_hear_when_blockers_end() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, Todo};
        let dependent = |issue: &str, status, assignee: Option<&str>, unresolved: &[&str]| Dependent {
            issue: issue.into(),
            status,
            assignee: assignee.map(AgentId::from),
            blockers: vec!["i".into(), "k".into()],
            unresolved: unresolved.iter().map(|id| (*id).into()).collect(),
        };
        let all = |left: &[&str]| {
            vec![
                dependent("d1", Blocked, Some("dev"), left),
                dependent("d2", Todo, Some("dev"), left),
                dependent("d3", Backlog, Some("dev"), left),
                dependent("d4", Done, Some("dev"), left),
                dependent("d5", Blocked, None, left),
            ]
        };
        let ended = |before, after, dependents| Patched {
            dependents,
            ..patch(standing(before, None), standing(after, None))
        };
        let both = |reason| vec![("dev", "d1", reason), ("dev", "d2", reason)];
        let rows = [
            ("done", ended(InProgress, Done, all(&[])), both("issue_blockers_resolved")),
            (
                "done after it was cancelled",
                ended(Cancelled, Done, all(&[])),
                both("issue_blockers_resolved"),
            ),
            ("done, others open", ended(InProgress, Done, all(&["k"])), vec![]),
            ("done before", ended(Done, Done, all(&[])), vec![]),
            ("cancelled", ended(Todo, Cancelled, all(&["i", "k"])), both("issue_blocker_cancelled")),
            ("cancelled before", ended(Cancelled, Cancelled, all(&["i"])), vec![]),
            ("opened again", ended(Done, Todo, all(&["i"])), vec![]),
        ];
        for (name, patch, expected) in rows {
            // The agent that ends a blocker hears too: the dependent is another issue.
            assert_eq!(shown(&patched(&patch, &agent("dev", "i"))), expected, "{name}");
        }
        let done =
            patched(&ended(InProgress, Done, vec![dependent("d1", Blocked, Some("dev"), &[])]), &person());
        let (notice, payload, context) = one(&done);
        assert_eq!(notice.source, Source::Automation);
        assert_eq!(
            payload,
            json!({"issueId": "d1", "resolvedBlockerIssueId": "i", "blockerIssueIds": ["i", "k"]})
        );
        assert_eq!(context["source"], json!("issue.blockers_resolved"));
        let swept = blockers_resolved(&dependent("d1", Blocked, Some("dev"), &[]), None).expect("a wake");
        assert_eq!(Value::Object(swept.payload), json!({"issueId": "d1", "blockerIssueIds": ["i", "k"]}));
        let given_up = blocker_gave_up(&dependent("d1", Blocked, Some("dev"), &["i"]), &"i".into(), Blocked);
        let given_up = given_up.expect("a wake");
        assert_eq!(given_up.context["wakeReason"], json!("issue_blocker_cancelled"));
        assert_eq!(
            Value::Object(given_up.payload),
            json!({"issueId": "d1", "blockerIssueId": "i", "blockerStatus": "blocked",
                "blockerIssueIds": ["i", "k"], "unresolvedBlockerIssueIds": ["i"]})
        );
    }

    #[test]
    fn the_owner_of_the_parent_hears_when_the_last_child_is_closed() {
        use IssueStatus::{Backlog, Cancelled, Done, InProgress, Todo};
        let child = |id: String, status| Child {
            id: IssueId(id),
            identifier: None,
            title: "part".into(),
            status,
            priority: Priority::Low,
            assignee_agent: None,
            assignee_user: Some("u".into()),
            last_comment: Some("é".repeat(600)),
        };
        let family = |status, assignee: Option<&str>, children| Family {
            parent: "p".into(),
            status,
            assignee: assignee.map(AgentId::from),
            children,
        };
        let closed = || vec![child("i".into(), Done), child("k".into(), Cancelled)];
        let open = || vec![child("i".into(), Done), child("k".into(), Todo)];
        let lead = || Some("lead");
        let ended = |before, after, family| Patched {
            family: Some(family),
            ..patch(standing(before, None), standing(after, None))
        };
        let heard = vec![("lead", "p", "issue_children_completed")];
        let rows = [
            ("done", ended(InProgress, Done, family(InProgress, lead(), closed())), heard.clone()),
            ("cancelled", ended(Todo, Cancelled, family(Todo, lead(), closed())), heard),
            ("one is open", ended(InProgress, Done, family(InProgress, lead(), open())), vec![]),
            ("closed before", ended(Cancelled, Done, family(InProgress, lead(), closed())), vec![]),
            ("not closed", ended(Todo, InProgress, family(InProgress, lead(), closed())), vec![]),
            ("parent put off", ended(Todo, Done, family(Backlog, lead(), closed())), vec![]),
            ("parent closed", ended(Todo, Done, family(Done, lead(), closed())), vec![]),
            ("parent nobody's", ended(Todo, Done, family(Todo, None, closed())), vec![]),
        ];
        for (name, patch, expected) in rows {
            assert_eq!(shown(&patched(&patch, &agent("lead", "i"))), expected, "{name}");
        }
        let many: Vec<Child> = (0..21).map(|n| child(format!("k{n}"), Done)).collect();
        let notices = patched(&ended(Todo, Done, family(Todo, lead(), many[..20].to_vec())), &person());
        let (_, payload, _) = one(&notices);
        assert_eq!(payload["childIssueSummaryTruncated"], json!(false));
        let notices = patched(&ended(Todo, Done, family(Todo, lead(), many)), &person());
        let (_, payload, context) = one(&notices);
        assert_eq!(payload["completedChildIssueId"], json!("i"));
        assert_eq!(payload["childIssueIds"].as_array().map(Vec::len), Some(21));
        assert_eq!(payload["childIssueSummaryTruncated"], json!(true));
        let told = context["childIssueSummaries"].as_array().expect("a list");
        assert_eq!(told.len(), 20);
        assert_eq!(
            told[0],
            json!({"id": "k0", "identifier": null, "title": "part", "status": "done", "priority": "low",
                "assigneeAgentId": null, "assigneeUserId": "u", "summary": "é".repeat(500)})
        );
    }
}
