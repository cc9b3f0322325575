//! Wakes that follow from a created, patched, commented or checked-out issue.

use serde_json::json;

use super::relatives::{Dependent, Family, blocker_gave_up, blockers_resolved, children_completed};
use super::{Draft, Kind, List, Notice, Standing};
use crate::ids::{AgentId, CommentId, IssueId, RunId};
use crate::issue::stages::StageWake;
use crate::issue::{Editor, IssueStatus};

/// How an issue came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Create,
    ChildCreate,
    /// A task that an accepted interaction suggested.
    InteractionAccept,
}

/// A comment that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub comment: CommentId,
    /// Agents it calls (`mentions`).
    pub mentioned: Vec<AgentId>,
    /// It moved the issue to `todo`.
    pub reopened_from: Option<IssueStatus>,
    /// It asks to go on (`resume`).
    pub resumes: bool,
    /// The run it stopped.
    pub interrupted: Option<RunId>,
}

/// A patched issue.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    pub issue: IssueId,
    pub before: Standing,
    pub after: Standing,
    /// Whose turn the execution policy made it.
    pub stage: Option<StageWake>,
    pub said: Option<Said>,
    /// Loaded when the issue became done or cancelled.
    pub dependents: Vec<Dependent>,
    pub family: Option<Family>,
}

/// An issue was created.
pub fn created(issue: &IssueId, standing: &Standing, origin: Origin, editor: &Editor) -> Vec<Notice> {
    let (mutation, source) = match origin {
        Origin::Create => ("create", "issue.create"),
        Origin::ChildCreate => ("create", "issue.child_create"),
        Origin::InteractionAccept => ("interaction_accept", "issue.interaction.accept"),
    };
    let mut list = List::new(issue, editor);
    if let Some(agent) = standing.assignee.as_ref().filter(|_| standing.status != IssueStatus::Backlog) {
        let notice = Draft::assignment("issue_assigned", source).payload("mutation", mutation);
        list.replace(notice.on(agent, issue), Kind::Start);
    }
    list.notices
}

/// An issue was patched, with or without a comment.
pub fn patched(patched: &Patched, editor: &Editor) -> Vec<Notice> {
    let Patched { issue, before, after, .. } = patched;
    let mut list = List::new(issue, editor);
    let is_given = after.assignee.is_some() && after.assignee != before.assignee;
    if let Some(stage) = &patched.stage {
        let notice = Draft::assignment(stage.reason, "issue.execution_stage")
            .payload("mutation", "update")
            .both("executionStage", stage.stage.clone());
        list.replace(notice.on(&stage.agent, issue), Kind::Start);
    } else if let Some(agent) = after.assignee.as_ref().filter(|_| is_given) {
        if after.status != IssueStatus::Backlog {
            let mut notice =
                Draft::assignment("issue_assigned", "issue.update").payload("mutation", "update");
            if let Some(said) = &patched.said {
                notice = notice.said(said);
            }
            list.replace(notice.on(agent, issue), Kind::Start);
        }
    } else if let Some(agent) = after.assignee.as_ref().filter(|_| can_start(before.status, after.status)) {
        let notice =
            Draft::automation("issue_status_changed", "issue.status_change").payload("mutation", "update");
        list.replace(notice.on(agent, issue), Kind::Start);
    }
    if let Some(said) = &patched.said {
        if let Some(agent) = after.assignee.as_ref().filter(|_| !is_given) {
            list.comment(agent, before.status, said);
        }
        for agent in &said.mentioned {
            list.replace(mention(agent, issue, said), Kind::Word);
        }
    }
    if after.status != before.status {
        for dependent in &patched.dependents {
            let notice = match after.status {
                IssueStatus::Done => blockers_resolved(dependent, Some(issue)),
                IssueStatus::Cancelled => blocker_gave_up(dependent, issue, after.status),
                IssueStatus::Backlog
                | IssueStatus::Todo
                | IssueStatus::InProgress
                | IssueStatus::InReview
                | IssueStatus::Blocked => None,
            };
            list.extend(notice);
        }
    }
    if after.status.is_terminal() && !before.status.is_terminal() {
        list.extend(patched.family.as_ref().and_then(|family| children_completed(family, issue)));
    }
    list.notices
}

/// The work can begin, and it could not before.
fn can_start(before: IssueStatus, after: IssueStatus) -> bool {
    match before {
        IssueStatus::Backlog => after != IssueStatus::Backlog && !after.is_terminal(),
        IssueStatus::Blocked | IssueStatus::Done | IssueStatus::Cancelled => after == IssueStatus::Todo,
        IssueStatus::Todo | IssueStatus::InProgress | IssueStatus::InReview => false,
    }
}

/// A comment was written; `before` is the issue as it was.
pub fn commented(issue: &IssueId, before: &Standing, said: &Said, editor: &Editor) -> Vec<Notice> {
    let mut list = List::new(issue, editor);
    if let Some(agent) = &before.assignee {
        list.comment(agent, before.status, said);
    }
    for agent in &said.mentioned {
        list.add(mention(agent, issue, said), Kind::Word);
    }
    list.notices
}

/// An issue was checked out for an agent; an agent that does so for itself in its run needs no call.
pub fn checked_out(issue: &IssueId, agent: &AgentId, editor: &Editor) -> Vec<Notice> {
    let by_itself = editor.agent() == Some(agent) && editor.run().is_some();
    let notice = Draft::assignment("issue_checked_out", "issue.checkout").payload("mutation", "checkout");
    if by_itself { Vec::new() } else { vec![notice.on(agent, issue)] }
}

fn mention(agent: &AgentId, issue: &IssueId, said: &Said) -> Notice {
    let comment = json!(said.comment);
    Draft::automation("issue_comment_mentioned", "comment.mention")
        .both("commentId", comment.clone())
        .context("wakeCommentId", comment)
        .on(agent, issue)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, one, patch, person, said, shown, standing};
    use super::*;
    use crate::wake::{Source, TriggerDetail};

    #[test]
    fn a_new_issue_wakes_its_assignee_unless_it_is_put_off() {
        use IssueStatus::{Backlog, Todo};
        let (issue, todo) = ("i".into(), standing(Todo, Some("dev")));
        for (origin, mutation, source) in [
            (Origin::Create, "create", "issue.create"),
            (Origin::ChildCreate, "create", "issue.child_create"),
            (Origin::InteractionAccept, "interaction_accept", "issue.interaction.accept"),
        ] {
            let notices = created(&issue, &todo, origin, &person());
            let (notice, payload, context) = one(&notices);
            assert_eq!((notice.source, notice.detail), (Source::Assignment, TriggerDetail::System));
            assert_eq!((notice.agent.as_str(), notice.reason), ("dev", "issue_assigned"));
            assert_eq!(payload, json!({"issueId": "i", "mutation": mutation}));
            assert_eq!(
                context,
                json!({"issueId": "i", "taskId": "i", "source": source, "wakeReason": "issue_assigned"})
            );
        }
        assert_eq!(created(&issue, &standing(Backlog, Some("dev")), Origin::Create, &person()), vec![]);
        assert_eq!(created(&issue, &standing(Todo, None), Origin::Create, &person()), vec![]);
    }

    #[test]
    fn a_patch_wakes_who_can_begin() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};
        let dev = |status| standing(status, Some("dev"));
        let assigned = vec![("dev", "i", "issue_assigned")];
        let moved = vec![("dev", "i", "issue_status_changed")];
        let rows = [
            ("given", standing(Todo, None), dev(Todo), assigned.clone()),
            ("given from another", standing(Todo, Some("qa")), dev(InProgress), assigned.clone()),
            ("given and out of the backlog", standing(Backlog, None), dev(Todo), assigned),
            ("given in the backlog", standing(Backlog, None), dev(Backlog), vec![]),
            ("taken away", dev(Todo), standing(Todo, None), vec![]),
            ("out of the backlog", dev(Backlog), dev(Todo), moved.clone()),
            ("out of the backlog into progress", dev(Backlog), dev(InProgress), moved.clone()),
            ("closed from the backlog", dev(Backlog), dev(Cancelled), vec![]),
            ("blocked no longer", dev(Blocked), dev(Todo), moved.clone()),
            ("blocked, in progress", dev(Blocked), dev(InProgress), vec![]),
            ("opened again", dev(Done), dev(Todo), moved.clone()),
            ("restored", dev(Cancelled), dev(Todo), moved),
            ("opened again into the backlog", dev(Done), dev(Backlog), vec![]),
            ("in progress", dev(Todo), dev(InProgress), vec![]),
            ("back from review", dev(InReview), dev(Todo), vec![]),
            ("blocked now", dev(InProgress), dev(Blocked), vec![]),
            ("nothing", dev(Backlog), dev(Backlog), vec![]),
            ("nobody's", standing(Backlog, None), standing(Todo, None), vec![]),
        ];
        for (name, before, after, expected) in rows {
            assert_eq!(shown(&patched(&patch(before, after), &person())), expected, "{name}");
        }
    }

    #[test]
    fn the_wakes_of_a_patch_carry_their_keys() {
        use IssueStatus::{Backlog, Done, Todo};
        let given = Patched {
            said: Some(Said { interrupted: Some("x".into()), ..said(&[]) }),
            ..patch(standing(Todo, None), standing(Todo, Some("dev")))
        };
        let notices = patched(&given, &person());
        let (notice, payload, context) = one(&notices);
        assert_eq!(notice.source, Source::Assignment);
        assert_eq!(
            payload,
            json!({"issueId": "i", "mutation": "update", "commentId": "c", "interruptedRunId": "x"})
        );
        assert_eq!(
            context,
            json!({"issueId": "i", "taskId": "i", "source": "issue.update", "wakeReason": "issue_assigned",
                "commentId": "c", "wakeCommentId": "c", "interruptedRunId": "x"})
        );
        let moved = patch(standing(Backlog, Some("dev")), standing(Todo, Some("dev")));
        let notices = patched(&moved, &person());
        let (notice, payload, context) = one(&notices);
        assert_eq!(notice.source, Source::Automation);
        assert_eq!(payload, json!({"issueId": "i", "mutation": "update"}));
        assert_eq!(context["source"], json!("issue.status_change"));

        let reopened = Patched {
            said: Some(Said { reopened_from: Some(Done), resumes: true, ..said(&[]) }),
            ..patch(standing(Done, Some("dev")), standing(Todo, Some("dev")))
        };
        let notices = patched(&reopened, &person());
        let (notice, payload, context) = one(&notices);
        assert_eq!((notice.source, notice.reason), (Source::Automation, "issue_reopened_via_comment"));
        assert_eq!(
            payload,
            json!({"issueId": "i", "commentId": "c", "mutation": "comment", "reopenedFrom": "done",
                "resumeIntent": true, "followUpRequested": true})
        );
        assert_eq!(
            context,
            json!({"issueId": "i", "taskId": "i", "commentId": "c", "wakeCommentId": "c",
                "source": "issue.comment.reopen", "wakeReason": "issue_reopened_via_comment",
                "reopenedFrom": "done", "resumeIntent": true, "followUpRequested": true})
        );
    }

    #[test]
    fn a_stage_replaces_the_assignment() {
        use IssueStatus::{InProgress, InReview};
        let stage = StageWake {
            agent: "qa".into(),
            reason: "execution_review_requested",
            stage: json!({"stageId": "s"}),
        };
        let handed = Patched {
            stage: Some(stage),
            said: Some(said(&[])),
            ..patch(standing(InProgress, Some("dev")), standing(InReview, Some("qa")))
        };
        let notices = patched(&handed, &agent("dev", "i"));
        let (notice, payload, context) = one(&notices);
        assert_eq!((notice.source, notice.reason), (Source::Assignment, "execution_review_requested"));
        assert_eq!(
            payload,
            json!({"issueId": "i", "mutation": "update", "executionStage": {"stageId": "s"}})
        );
        assert_eq!(
            context,
            json!({"issueId": "i", "taskId": "i", "source": "issue.execution_stage",
                "wakeReason": "execution_review_requested", "executionStage": {"stageId": "s"}})
        );
    }

    #[test]
    fn a_comment_wakes_the_assignee_and_a_mention_who_is_called() {
        use IssueStatus::{Backlog, Blocked, Done, InProgress, Todo};
        let reopened = |mentioned: &[&str]| Said { reopened_from: Some(Done), ..said(mentioned) };
        let commented_on = ("dev", "i", "issue_commented");
        type Row<'a> = (&'a str, Standing, Said, Editor, Vec<(&'a str, &'a str, &'a str)>);
        let dev = |status| standing(status, Some("dev"));
        let rows: Vec<Row<'_>> = vec![
            ("open", dev(InProgress), said(&[]), person(), vec![commented_on]),
            ("put off", dev(Backlog), said(&[]), person(), vec![commented_on]),
            ("blocked", dev(Blocked), said(&[]), person(), vec![commented_on]),
            ("closed", dev(Done), said(&[]), person(), vec![]),
            (
                "reopened",
                dev(Done),
                reopened(&[]),
                person(),
                vec![("dev", "i", "issue_reopened_via_comment")],
            ),
            ("nobody's", standing(Todo, None), said(&[]), person(), vec![]),
            ("another agent", dev(InProgress), said(&[]), agent("qa", "i"), vec![commented_on]),
            ("its own", dev(InProgress), said(&[]), agent("dev", "i"), vec![]),
            ("its own, from another issue", dev(InProgress), said(&[]), agent("dev", "j"), vec![]),
            ("its own, calling itself", dev(InProgress), said(&["dev"]), agent("dev", "i"), vec![]),
            ("its own, reopened", dev(Done), reopened(&[]), agent("dev", "i"), vec![]),
            (
                "its own, reopened from another issue",
                dev(Done),
                reopened(&[]),
                agent("dev", "j"),
                vec![("dev", "i", "issue_reopened_via_comment")],
            ),
            (
                "its own, reopened outside of runs",
                dev(Done),
                reopened(&[]),
                Editor::Agent { id: "dev".into(), run: None },
                vec![("dev", "i", "issue_reopened_via_comment")],
            ),
            ("the assignee called", dev(InProgress), said(&["dev"]), person(), vec![commented_on]),
            (
                "others called",
                dev(InProgress),
                said(&["qa", "cto", "qa"]),
                agent("cto", "i"),
                vec![commented_on, ("qa", "i", "issue_comment_mentioned")],
            ),
            (
                "called on a closed issue",
                dev(Done),
                said(&["qa"]),
                person(),
                vec![("qa", "i", "issue_comment_mentioned")],
            ),
            (
                "the assignee called on a closed issue",
                dev(Done),
                said(&["dev"]),
                person(),
                vec![("dev", "i", "issue_comment_mentioned")],
            ),
        ];
        for (name, before, said, editor, expected) in rows {
            assert_eq!(shown(&commented(&"i".into(), &before, &said, &editor)), expected, "{name}");
        }
        let notices = commented(&"i".into(), &standing(Todo, None), &said(&["qa"]), &person());
        let (notice, payload, context) = one(&notices);
        assert_eq!(notice.source, Source::Automation);
        assert_eq!(payload, json!({"issueId": "i", "commentId": "c"}));
        assert_eq!(
            context,
            json!({"issueId": "i", "taskId": "i", "commentId": "c", "wakeCommentId": "c",
                "source": "comment.mention", "wakeReason": "issue_comment_mentioned"})
        );
        let notices = commented(&"i".into(), &dev(Todo), &said(&[]), &person());
        let (_, payload, context) = one(&notices);
        assert_eq!(payload, json!({"issueId": "i", "commentId": "c", "mutation": "comment"}));
        assert_eq!(context["source"], json!("issue.comment"));
    }

    #[test]
    fn on_a_patch_the_later_entry_wins_and_each_agent_is_woken_once() {
        use IssueStatus::{Backlog, Done, InProgress, Todo};
        let dev = |status| standing(status, Some("dev"));
        let with = |before, after, said| Patched { said: Some(said), ..patch(before, after) };
        let rows = [
            (
                "comment over status",
                with(dev(Backlog), dev(Todo), said(&[])),
                person(),
                vec![("dev", "i", "issue_commented")],
            ),
            (
                "mention over comment",
                with(dev(Todo), dev(Todo), said(&["dev"])),
                person(),
                vec![("dev", "i", "issue_comment_mentioned")],
            ),
            (
                "mention over assignment",
                with(standing(Todo, None), dev(Todo), said(&["dev"])),
                person(),
                vec![("dev", "i", "issue_comment_mentioned")],
            ),
            (
                "no comment wake beside an assignment",
                with(standing(Todo, Some("qa")), dev(Todo), said(&["cto"])),
                person(),
                vec![("dev", "i", "issue_assigned"), ("cto", "i", "issue_comment_mentioned")],
            ),
            (
                "a comment on an issue that was closed",
                with(dev(Done), dev(Done), said(&[])),
                person(),
                vec![],
            ),
            (
                "a comment that closes",
                with(dev(InProgress), dev(Done), said(&[])),
                person(),
                vec![("dev", "i", "issue_commented")],
            ),
            ("its own", with(dev(InProgress), dev(Done), said(&["dev"])), agent("dev", "i"), vec![]),
        ];
        for (name, patch, editor, expected) in rows {
            assert_eq!(shown(&patched(&patch, &editor)), expected, "{name}");
        }
    }

    #[test]
    fn an_agent_does_not_wake_itself_on_its_issue_but_may_hand_itself_another() {
        use IssueStatus::{Backlog, Todo};
        let dev = |status| standing(status, Some("dev"));
        let outside = Editor::Agent { id: "dev".into(), run: None };
        let given = patch(standing(Todo, Some("qa")), dev(Todo));
        let moved = patch(dev(Backlog), dev(Todo));
        for (name, editor, count) in
            [("on it", agent("dev", "i"), 0), ("on another", agent("dev", "j"), 1), ("outside", outside, 1)]
        {
            assert_eq!(patched(&given, &editor).len(), count, "given, {name}");
            assert_eq!(patched(&moved, &editor).len(), count, "moved, {name}");
            let new = created(&"i".into(), &dev(Todo), Origin::Create, &editor);
            assert_eq!(new.len(), count, "created, {name}");
        }
        assert_eq!(patched(&moved, &agent("qa", "i")).len(), 1, "another agent");
    }

    #[test]
    fn a_checkout_wakes_the_agent_unless_it_checks_out_for_itself() {
        let rows = [
            ("the board", person(), 1),
            ("another agent", agent("cto", "i"), 1),
            ("itself in its run", agent("dev", "i"), 0),
            ("itself without a run", Editor::Agent { id: "dev".into(), run: None }, 1),
        ];
        for (name, editor, count) in rows {
            assert_eq!(checked_out(&"i".into(), &"dev".into(), &editor).len(), count, "{name}");
        }
        let notices = checked_out(&"i".into(), &"dev".into(), &person());
        let (notice, payload, context) = one(&notices);
        assert_eq!((notice.source, notice.reason), (Source::Assignment, "issue_checked_out"));
        assert_eq!(payload, json!({"issueId": "i", "mutation": "checkout"}));
        assert_eq!(context["source"], json!("issue.checkout"));
    }
}
