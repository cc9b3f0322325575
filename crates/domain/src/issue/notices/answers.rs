//! Wakes that follow when a person answers: approvals, interactions, restored subtrees.

use serde_json::json;

use super::{Draft, Notice, Standing};
use crate::ids::{AgentId, CommentId, HoldId, IssueId, RunId};
use crate::words;

/// An approval and the issues linked to it, first link first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub id: String,
    pub status: String,
    /// The agent that asked for it.
    pub requester: Option<AgentId>,
    pub linked: Vec<(IssueId, Standing)>,
}

/// An approval was granted: who asked for it hears of it, whatever happened to its issues.
///
/// The wake belongs to the first linked issue that is open and still the requester's. Tied to any other it would end at
/// the claim as overtaken, and the answer would be lost.
pub fn approved(approval: &Approval) -> Option<Notice> {
    let agent = approval.requester.as_ref()?;
    let own =
        |standing: &Standing| standing.assignee.as_ref() == Some(agent) && !standing.status.is_terminal();
    let issue = approval.linked.iter().find(|(_, standing)| own(standing)).map(|(issue, _)| issue);
    let ids: Vec<&IssueId> = approval.linked.iter().map(|(issue, _)| issue).collect();
    let draft = Draft::automation("approval_approved", "approval.approved")
        .both("approvalId", approval.id.as_str().into())
        .both("approvalStatus", approval.status.as_str().into())
        .both("issueIds", json!(ids));
    Some(match issue {
        Some(issue) => draft.on(agent, issue),
        None => draft.for_agent(agent),
    })
}

words!(
    /// Who hears when an interaction is resolved.
    ContinuationPolicy {
        Never = "none",
        Always = "wake_assignee",
        OnAccept = "wake_assignee_on_accept",
    }
);

words!(
    /// What became of an interaction.
    InteractionStatus {
        Pending = "pending",
        Accepted = "accepted",
        Rejected = "rejected",
        Answered = "answered",
        Expired = "expired",
        Failed = "failed",
    }
);

/// An interaction that a person resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub interaction: String,
    pub kind: String,
    pub status: InteractionStatus,
    pub policy: ContinuationPolicy,
    pub issue: IssueId,
    pub standing: Standing,
    pub source_comment: Option<CommentId>,
    pub source_run: Option<RunId>,
}

/// An interaction was resolved. The wake names no comment, so it passes no gate that others do not.
pub fn interaction_resolved(resolved: &Resolved) -> Option<Notice> {
    let agent = resolved.standing.assignee.as_ref()?;
    let source = match resolved.status {
        InteractionStatus::Accepted => "issue.interaction.accept",
        InteractionStatus::Rejected => "issue.interaction.reject",
        InteractionStatus::Answered => "issue.interaction.respond",
        InteractionStatus::Pending | InteractionStatus::Expired | InteractionStatus::Failed => return None,
    };
    let is_wanted = match resolved.policy {
        ContinuationPolicy::Never => false,
        ContinuationPolicy::Always => true,
        ContinuationPolicy::OnAccept => resolved.status == InteractionStatus::Accepted,
    };
    if !is_wanted || resolved.standing.status.is_terminal() {
        return None;
    }
    let notice = Draft::automation("issue_commented", source)
        .payload("mutation", "interaction")
        .both("interactionId", resolved.interaction.as_str().into())
        .both("interactionKind", resolved.kind.as_str().into())
        .both("interactionStatus", json!(resolved.status))
        .both("sourceCommentId", json!(resolved.source_comment))
        .both("sourceRunId", json!(resolved.source_run));
    Some(notice.on(agent, &resolved.issue))
}

/// A cancelled subtree was restored and its agents are to go on.
pub fn tree_restored(root: &IssueId, hold: &HoldId, restored: &[(IssueId, Standing)]) -> Vec<Notice> {
    let woken = restored.iter().filter_map(|(issue, standing)| Some((issue, standing.assignee.as_ref()?)));
    woken
        .map(|(issue, agent)| {
            Draft::assignment("issue_tree_restored", "issue.tree_restore")
                .both("rootIssueId", json!(root))
                .both("restoreHoldId", json!(hold))
                .on(agent, issue)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::samples::{one, standing};
    use super::*;
    use crate::issue::IssueStatus;
    use crate::wake::Source;

    #[test]
    fn an_approval_reaches_its_requester_on_an_issue_it_can_work_on() {
        use IssueStatus::{Done, InProgress};
        let approval = |requester: Option<&str>, linked: Vec<(&str, Standing)>| Approval {
            id: "ap".into(),
            status: "approved".into(),
            requester: requester.map(AgentId::from),
            linked: linked.into_iter().map(|(id, standing)| (id.into(), standing)).collect(),
        };
        let own = || standing(InProgress, Some("dev"));
        let notice = approved(&approval(Some("dev"), vec![("i", own()), ("j", own())])).expect("a wake");
        assert_eq!((notice.agent.as_str(), notice.reason), ("dev", "approval_approved"));
        assert_eq!((notice.source, notice.issue), (Source::Automation, Some("i".into())));
        assert_eq!(
            Value::Object(notice.payload),
            json!({"approvalId": "ap", "approvalStatus": "approved", "issueId": "i", "issueIds": ["i", "j"]})
        );
        assert_eq!(notice.context["source"], json!("approval.approved"));
        let passed_over =
            vec![("x", standing(Done, Some("dev"))), ("y", standing(InProgress, Some("qa"))), ("j", own())];
        let notice = approved(&approval(Some("dev"), passed_over.clone())).expect("a wake");
        assert_eq!(notice.issue, Some("j".into()));
        let notice = approved(&approval(Some("dev"), passed_over[..2].to_vec())).expect("a wake");
        assert_eq!(notice.issue, None);
        assert_eq!(
            Value::Object(notice.payload),
            json!({"approvalId": "ap", "approvalStatus": "approved", "issueIds": ["x", "y"]})
        );
        assert_eq!(approved(&approval(None, vec![])), None);
    }

    #[test]
    fn an_answer_wakes_the_assignee_as_its_policy_says() {
        use ContinuationPolicy::{Always, Never, OnAccept};
        use InteractionStatus::{Accepted, Answered, Expired, Failed, Pending, Rejected};
        let resolved = |policy, status| Resolved {
            interaction: "in".into(),
            kind: "request_confirmation".into(),
            status,
            policy,
            issue: "i".into(),
            standing: standing(IssueStatus::InReview, Some("dev")),
            source_comment: None,
            source_run: Some("r".into()),
        };
        for (policy, status, source) in [
            (Always, Accepted, Some("issue.interaction.accept")),
            (Always, Rejected, Some("issue.interaction.reject")),
            (Always, Answered, Some("issue.interaction.respond")),
            (Always, Expired, None),
            (Always, Pending, None),
            (Always, Failed, None),
            (OnAccept, Accepted, Some("issue.interaction.accept")),
            (OnAccept, Rejected, None),
            (OnAccept, Answered, None),
            (Never, Accepted, None),
        ] {
            let notice = interaction_resolved(&resolved(policy, status));
            let found = notice.as_ref().map(|notice| notice.context["source"].clone());
            assert_eq!(found, source.map(Value::from), "{policy} {status}");
        }
        let notice = interaction_resolved(&resolved(Always, Rejected)).expect("a wake");
        assert_eq!((notice.source, notice.reason), (Source::Automation, "issue_commented"));
        assert_eq!(
            Value::Object(notice.payload),
            json!({"issueId": "i", "interactionId": "in", "interactionKind": "request_confirmation",
                "interactionStatus": "rejected", "sourceCommentId": null, "sourceRunId": "r",
                "mutation": "interaction"})
        );
        assert!(!crate::wake::interaction::is_interaction(&notice.context));
        let of = |standing| interaction_resolved(&Resolved { standing, ..resolved(Always, Accepted) });
        assert_eq!(of(standing(IssueStatus::Done, Some("dev"))), None);
        assert_eq!(of(standing(IssueStatus::Todo, None)), None);
    }

    #[test]
    fn a_restored_tree_wakes_the_agents_in_it() {
        let restored = [
            ("a".into(), standing(IssueStatus::Todo, Some("dev"))),
            ("b".into(), standing(IssueStatus::Todo, None)),
        ];
        let notices = tree_restored(&"root".into(), &"h".into(), &restored);
        let (notice, payload, context) = one(&notices);
        assert_eq!((notice.source, notice.reason), (Source::Assignment, "issue_tree_restored"));
        assert_eq!(payload, json!({"issueId": "a", "rootIssueId": "root", "restoreHoldId": "h"}));
        assert_eq!(context["source"], json!("issue.tree_restore"));
    }
}
