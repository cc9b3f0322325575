//! Who is to hear of a change.
//!
//! The catalogue of spec/heartbeat.md 2.10 and spec/api.md 6: each function takes what happened and gives the wakes that
//! follow, at most one for an agent and an issue. A later entry replaces an earlier one, in the order stage or assignment,
//! status, comment, mention, dependents, parent; on a plain comment the assignee's own wake wins over a mention.
//!
//! Nobody is woken by what he writes himself on the same issue, or an agent could keep itself busy for ever. One thing
//! is not taken for such a write: an agent that hands itself *another* issue than the one its run works on. That issue
//! would have an owner whom nobody ever calls.
//!
//! Whether a wake starts anything is decided by `wake::decide`; sending it is the outbox's.

mod answers;
mod changes;
mod relatives;

pub use answers::{
    Approval, ContinuationPolicy, InteractionStatus, Resolved, approved, interaction_resolved, tree_restored,
};
pub use changes::{Origin, Patched, Said, checked_out, commented, created, patched};
pub use relatives::{
    CHILD_COMMENT_LIMIT, Child, Dependent, Family, MOST_CHILDREN_TOLD, blocker_gave_up, blockers_resolved,
};

use serde_json::{Map, Value, json};

use super::{Editor, IssueStatus};
use crate::ids::{AgentId, IssueId};
use crate::wake::{Source, TriggerDetail};

/// A wake that follows from a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub agent: AgentId,
    /// The issue the agent is to work on; `None` when it is no issue of its own.
    pub issue: Option<IssueId>,
    pub source: Source,
    pub detail: TriggerDetail,
    pub reason: &'static str,
    pub payload: Map<String, Value>,
    pub context: Map<String, Value>,
}

/// Status and agent assignee of an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
}

/// A wake without its addressee.
struct Draft {
    source: Source,
    reason: &'static str,
    payload: Map<String, Value>,
    context: Map<String, Value>,
}

impl Draft {
    fn new(source: Source, reason: &'static str, from: &str) -> Draft {
        let told = [("source", from), ("wakeReason", reason)];
        let context = told.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        Draft { source, reason, payload: Map::new(), context }
    }

    fn assignment(reason: &'static str, from: &str) -> Draft {
        Draft::new(Source::Assignment, reason, from)
    }

    fn automation(reason: &'static str, from: &str) -> Draft {
        Draft::new(Source::Automation, reason, from)
    }

    fn payload(mut self, key: &str, value: &str) -> Draft {
        self.payload.insert(key.to_owned(), value.into());
        self
    }

    fn context(mut self, key: &str, value: Value) -> Draft {
        self.context.insert(key.to_owned(), value);
        self
    }

    fn both(mut self, key: &str, value: Value) -> Draft {
        self.payload.insert(key.to_owned(), value.clone());
        self.context(key, value)
    }

    fn said(self, said: &Said) -> Draft {
        let comment = json!(said.comment);
        let mut draft = self.both("commentId", comment.clone()).context("wakeCommentId", comment);
        if let Some(from) = said.reopened_from {
            draft = draft.both("reopenedFrom", json!(from));
        }
        if said.resumes {
            draft = draft.both("resumeIntent", true.into()).both("followUpRequested", true.into());
        }
        if let Some(run) = &said.interrupted {
            draft = draft.both("interruptedRunId", json!(run));
        }
        draft
    }

    fn on(self, agent: &AgentId, issue: &IssueId) -> Notice {
        let draft = self.both("issueId", json!(issue)).context("taskId", json!(issue));
        Notice { issue: Some(issue.clone()), ..draft.for_agent(agent) }
    }

    fn for_agent(self, agent: &AgentId) -> Notice {
        Notice {
            agent: agent.clone(),
            issue: None,
            source: self.source,
            detail: TriggerDetail::System,
            reason: self.reason,
            payload: self.payload,
            context: self.context,
        }
    }
}

/// What a wake about the written issue says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The issue is there to be worked on.
    Start,
    /// Somebody said something.
    Word,
}

/// The wakes of one change.
struct List<'a> {
    written: &'a IssueId,
    editor: &'a Editor,
    notices: Vec<Notice>,
}

impl<'a> List<'a> {
    fn new(written: &'a IssueId, editor: &'a Editor) -> List<'a> {
        List { written, editor, notices: Vec::new() }
    }

    /// The wake of the assignee for a comment: always when it reopened the issue, else unless the issue was closed.
    fn comment(&mut self, agent: &AgentId, before: IssueStatus, said: &Said) {
        let (reason, source, kind) = match said.reopened_from {
            Some(_) => ("issue_reopened_via_comment", "issue.comment.reopen", Kind::Start),
            None if before.is_terminal() => return,
            None => ("issue_commented", "issue.comment", Kind::Word),
        };
        let notice = Draft::automation(reason, source).payload("mutation", "comment").said(said);
        self.replace(notice.on(agent, self.written), kind);
    }

    fn replace(&mut self, notice: Notice, kind: Kind) {
        if !self.is_own(&notice, kind) {
            self.extend(Some(notice));
        }
    }

    fn add(&mut self, notice: Notice, kind: Kind) {
        if self.place(&notice).is_none() {
            self.replace(notice, kind);
        }
    }

    fn extend(&mut self, notice: Option<Notice>) {
        let Some(notice) = notice else { return };
        match self.place(&notice) {
            Some(at) => self.notices[at] = notice,
            None => self.notices.push(notice),
        }
    }

    fn place(&self, notice: &Notice) -> Option<usize> {
        self.notices.iter().position(|known| known.agent == notice.agent && known.issue == notice.issue)
    }

    fn is_own(&self, notice: &Notice, kind: Kind) -> bool {
        let works_on = self.editor.run().and_then(|run| run.issue.as_ref());
        let hands_itself_another = kind == Kind::Start && works_on != Some(self.written);
        self.editor.agent() == Some(&notice.agent) && !hands_itself_another
    }
}

#[cfg(test)]
mod samples {
    //! What the tests of the files beside this one begin with.

    use super::*;
    use crate::issue::EditorRun;

    pub(super) fn person() -> Editor {
        Editor::Board { user: Some("u".into()) }
    }

    pub(super) fn agent(id: &str, works_on: &str) -> Editor {
        let run = EditorRun { id: "r".into(), is_live: true, issue: Some(works_on.into()) };
        Editor::Agent { id: id.into(), run: Some(run) }
    }

    pub(super) fn standing(status: IssueStatus, assignee: Option<&str>) -> Standing {
        Standing { status, assignee: assignee.map(AgentId::from) }
    }

    pub(super) fn said(mentioned: &[&str]) -> Said {
        Said {
            comment: "c".into(),
            mentioned: mentioned.iter().map(|id| (*id).into()).collect(),
            reopened_from: None,
            resumes: false,
            interrupted: None,
        }
    }

    pub(super) fn patch(before: Standing, after: Standing) -> Patched {
        Patched {
            issue: "i".into(),
            before,
            after,
            stage: None,
            said: None,
            dependents: vec![],
            family: None,
        }
    }

    /// Agent, issue and reason of each wake.
    pub(super) fn shown(notices: &[Notice]) -> Vec<(&str, &str, &str)> {
        notices
            .iter()
            .map(|notice| {
                let issue = notice.issue.as_ref().expect("an issue");
                (notice.agent.as_str(), issue.as_str(), notice.reason)
            })
            .collect()
    }

    pub(super) fn one(notices: &[Notice]) -> (&Notice, Value, Value) {
        assert_eq!(notices.len(), 1, "{notices:?}");
        let notice = &notices[0];
        (notice, Value::Object(notice.payload.clone()), Value::Object(notice.context.clone()))
    }
}
