//! Issues: the work items of a company, what their statuses mean, and what follows from a change of one.
//!
//! The files beside this one decide who may take an issue, what a change does to it and who is to hear of it. Nothing
//! here loads or writes; the shell is `engine::issues`.

pub mod attention;
pub mod change;
pub mod checkout;
pub mod create;
pub mod follow_up;
pub mod lock;
pub mod mentions;
pub mod notices;
pub mod products;
pub mod refusal;
pub mod stages;

use serde_json::{Value, json};

use crate::ids::{AgentId, HoldId, IssueId, RunId};
use crate::words;

words!(
    /// The seven statuses of the wire (spec/heartbeat.md 1.2). Any status may follow any other.
    IssueStatus {
        Backlog = "backlog",
        Todo = "todo",
        InProgress = "in_progress",
        InReview = "in_review",
        Done = "done",
        Blocked = "blocked",
        Cancelled = "cancelled",
    }
);

impl IssueStatus {
    /// Nothing is left to do.
    pub const fn is_terminal(self) -> bool {
        matches!(self, IssueStatus::Done | IssueStatus::Cancelled)
    }

    /// The one who is responsible for it should be at work on it.
    pub const fn is_in_work(self) -> bool {
        matches!(self, IssueStatus::Todo | IssueStatus::InProgress)
    }
}

words!(
    /// How urgent an issue is; the order of declaration is the order of claims.
    Priority { Critical = "critical", High = "high", Medium = "medium", Low = "low" }
);

impl Priority {
    /// 0 critical to 3 low (spec/heartbeat.md 3.2).
    pub const fn rank(self) -> u8 {
        self as u8
    }
}

/// Who may be responsible for an issue or take part in a stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Principal {
    Agent(AgentId),
    User(String),
}

impl Principal {
    /// The agent, when it is one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Principal::Agent(agent) => Some(agent),
            Principal::User(_) => None,
        }
    }

    /// The user, when it is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Principal::User(user) => Some(user),
            Principal::Agent(_) => None,
        }
    }
}

/// Who changes an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Editor {
    /// A person, or the trusted board without a name.
    Board { user: Option<String> },
    /// An agent, with the run it says it works in.
    Agent { id: AgentId, run: Option<EditorRun> },
    /// A part of the program.
    System,
}

/// The run in which an agent writes. The caller made sure that it is a run of that agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditorRun {
    pub id: RunId,
    /// It is running, under the epoch that the writer holds.
    pub is_live: bool,
    /// The issue it works on.
    pub issue: Option<IssueId>,
}

impl Editor {
    /// The agent, when it is one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Editor::Agent { id, .. } => Some(id),
            Editor::Board { .. } | Editor::System => None,
        }
    }

    /// The run it writes in.
    pub fn run(&self) -> Option<&EditorRun> {
        match self {
            Editor::Agent { run, .. } => run.as_ref(),
            Editor::Board { .. } | Editor::System => None,
        }
    }

    /// The same one as a participant of stages; the nameless board is nobody.
    pub fn principal(&self) -> Option<Principal> {
        match self {
            Editor::Agent { id, .. } => Some(Principal::Agent(id.clone())),
            Editor::Board { user } => user.clone().map(Principal::User),
            Editor::System => None,
        }
    }
}

/// An issue that blocks another and is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    pub id: IssueId,
    pub identifier: Option<String>,
    pub title: String,
    pub status: IssueStatus,
    pub priority: Priority,
    pub assignee_agent: Option<AgentId>,
    pub assignee_user: Option<String>,
}

impl Blocker {
    /// The form in which runs and clients see it.
    pub fn summary(&self) -> Value {
        json!({
            "id": self.id, "identifier": self.identifier, "title": self.title, "status": self.status,
            "priority": self.priority, "assigneeAgentId": self.assignee_agent,
            "assigneeUserId": self.assignee_user,
        })
    }
}

/// An active pause hold that covers an issue.
#[derive(Debug, Clone, PartialEq)]
pub struct PauseHold {
    pub id: HoldId,
    /// The issue it was put on.
    pub root: IssueId,
    pub reason: Option<String>,
    pub release_policy: Option<Value>,
}

/// What people read beside a refusal by a hold: why it is not a fault.
pub const HOLD_PRINCIPLES: [&str; 3] = [
    "a pause stops automatic work on the whole subtree until a person lifts it",
    "a comment of a person or a mention is still answered",
    "no agent lifts a hold by itself",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_done_and_cancelled_are_terminal_and_urgent_comes_first() {
        let terminal: Vec<&str> =
            IssueStatus::ALL.iter().filter(|s| s.is_terminal()).map(|s| s.as_str()).collect();
        assert_eq!(terminal, ["done", "cancelled"]);
        let ranks: Vec<u8> = Priority::ALL.iter().map(|p| p.rank()).collect();
        assert_eq!(ranks, [0, 1, 2, 3]);
        assert_eq!(Priority::ALL[0], Priority::Critical);
    }

    #[test]
    fn a_writer_is_an_agent_a_person_or_the_program() {
        let run = EditorRun { id: "r".into(), is_live: true, issue: None };
        let agent = Editor::Agent { id: "a".into(), run: Some(run.clone()) };
        assert_eq!((agent.agent(), agent.run()), (Some(&"a".into()), Some(&run)));
        assert_eq!(agent.principal(), Some(Principal::Agent("a".into())));
        let person = Editor::Board { user: Some("u".into()) };
        assert_eq!((person.agent(), person.run()), (None, None));
        assert_eq!(person.principal(), Some(Principal::User("u".into())));
        assert_eq!(Editor::Board { user: None }.principal(), None);
        assert_eq!(Editor::System.principal(), None);
        assert_eq!(Principal::User("u".into()).user(), Some("u"));
        assert_eq!(Principal::User("u".into()).agent(), None);
        assert_eq!(Principal::Agent("a".into()).user(), None);
        assert_eq!(Principal::Agent("a".into()).agent(), Some(&"a".into()));
    }
}
