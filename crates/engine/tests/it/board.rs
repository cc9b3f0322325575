//! A company with agents and issues, and what tests of them ask: who was woken, what was told.

use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;
use engine::issues::{CommentDraft, IssueDraft, IssuePatch};
use engine::{Author, Engine, EngineError, ProcessId};
use serde_json::{Value as Json, json};
use store::activity::Activity;
use store::agents::Agent;
use store::comments::Comment;
use store::issues::Issue;
use store::runs::Run;
use testkit::World;

/// A company on an engine.
pub(crate) struct Board {
    pub(crate) world: World,
    pub(crate) engine: Engine,
    pub(crate) company: CompanyId,
}

impl Board {
    pub(crate) async fn new(world: &World) -> Board {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        Board { world: world.clone(), engine, company }
    }

    /// Another company on the same engine.
    pub(crate) async fn neighbour(&self) -> Board {
        let company = self.world.company(&self.engine).await;
        Board { world: self.world.clone(), engine: self.engine.clone(), company }
    }

    pub(crate) fn person() -> Author {
        Author::local_board()
    }

    /// An agent of this name; its program does not end by itself.
    pub(crate) async fn agent(&self, name: &str) -> Agent {
        self.agent_reporting(name, None).await
    }

    pub(crate) async fn agent_reporting(&self, name: &str, to: Option<&AgentId>) -> Agent {
        let draft =
            engine::AgentDraft { name: name.to_owned(), reports_to: to.cloned(), ..World::scripted(3) };
        let actor = domain::wake::Actor::local_board();
        self.engine.create_agent(&self.company, draft, &actor).await.unwrap()
    }

    /// An issue for an agent, in a status. Whom that wakes is of no interest: the wake is not waited for.
    pub(crate) async fn issue(&self, title: &str, status: IssueStatus, assignee: Option<&Agent>) -> Issue {
        self.issue_like(IssueDraft { status, ..self.draft(title, assignee) }).await
    }

    pub(crate) fn draft(&self, title: &str, assignee: Option<&Agent>) -> IssueDraft {
        IssueDraft {
            title: title.to_owned(),
            status: IssueStatus::Todo,
            priority: Priority::Medium,
            assignee_agent_id: assignee.map(|agent| agent.id.clone()),
            ..IssueDraft::default()
        }
    }

    pub(crate) async fn issue_like(&self, draft: IssueDraft) -> Issue {
        self.engine.create_issue(&self.company, draft, &Board::person()).await.unwrap()
    }

    /// An issue of an agent that nobody was woken for: made in the backlog, then moved by hand of the program.
    pub(crate) async fn quiet(&self, title: &str, status: IssueStatus, assignee: Option<&Agent>) -> Issue {
        let issue = self.issue(title, IssueStatus::Backlog, assignee).await;
        self.set_status(&issue.id, status).await;
        self.row(&issue.id).await
    }

    /// Writes a status without anybody hearing of it.
    pub(crate) async fn set_status(&self, issue: &IssueId, status: IssueStatus) {
        let id = issue.clone();
        self.world
            .store
            .write(move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    let mut issue = store::issues::lock(tx, &id).await?.expect("an issue of that id");
                    issue.status = status;
                    store::issues::update(tx, &issue).await
                })
            })
            .await
            .unwrap();
    }

    pub(crate) async fn row(&self, issue: &IssueId) -> Issue {
        let id = issue.clone();
        let found = self.world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::issues::get(tx, &id).await })
        });
        found.await.expect("an issue of that id")
    }

    /// A running run of an agent on an issue.
    pub(crate) async fn running(&self, agent: &Agent, issue: &Issue) -> (Run, ProcessId) {
        let mut request = World::request("");
        request.context.insert("issueId".to_owned(), json!(issue.id));
        request.payload.insert("issueId".to_owned(), json!(issue.id));
        let run = World::ran(self.engine.wake(&agent.id, request).await);
        let process = World::first(&run.id);
        self.world.model.until_alive(&process).await;
        (self.world.run(&run.id).await, process)
    }

    /// Ends a running run well.
    pub(crate) async fn finish(&self, (run, process): (&Run, &ProcessId)) {
        self.world.model.say_done(process);
        self.world.model.exit(process, 0);
        self.world.over(&run.id).await;
    }

    pub(crate) async fn patch(
        &self,
        issue: &IssueId,
        patch: IssuePatch,
        by: &Author,
    ) -> Result<Issue, EngineError> {
        self.engine.patch_issue(issue, patch, by).await.map(|patched| patched.issue)
    }

    pub(crate) async fn move_to(&self, issue: &IssueId, status: IssueStatus) -> Issue {
        let patch = IssuePatch { status: Some(status), ..IssuePatch::default() };
        self.patch(issue, patch, &Board::person()).await.unwrap()
    }

    pub(crate) async fn say(&self, issue: &IssueId, body: &str, by: &Author) -> Result<Comment, EngineError> {
        let draft = CommentDraft { body: body.to_owned(), ..CommentDraft::default() };
        self.engine.comment_on_issue(issue, draft, by).await
    }

    /// Every reason for which an agent was woken or is about to be, with the issue, in order: what lies in the outbox
    /// and what has left it.
    pub(crate) async fn calls(&self, agent: &AgentId) -> Vec<(String, Option<IssueId>)> {
        let id = agent.clone();
        self.world
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    let mut calls: Vec<(i64, String, Option<IssueId>)> = Vec::new();
                    for wake in store::wakes::of_agent(tx, &id, None, 10_000).await? {
                        // A deferred wake is recorded under another reason; its own is parked with it.
                        let parked = &wake.payload[domain::wake::PARKED]["wakeReason"];
                        let reason = parked.as_str().map(str::to_owned).or(wake.reason).unwrap_or_default();
                        calls.push((wake.requested_at.micros(), reason, wake.issue_id));
                    }
                    calls.reverse();
                    for order in store::orders::due(tx, Moment::from_micros(i64::MAX), 10_000).await? {
                        if order.agent_id == id {
                            calls.push((order.created_at.micros(), order.reason, order.issue_id));
                        }
                    }
                    Ok(calls.into_iter().map(|(_, reason, issue)| (reason, issue)).collect())
                })
            })
            .await
    }

    /// The reasons for which an agent was called on an issue since it had been called so often.
    pub(crate) async fn reasons(&self, agent: &Agent, issue: &IssueId, before: usize) -> Vec<String> {
        let calls = self.calls(&agent.id).await;
        let calls = calls.into_iter().skip(before);
        calls.filter(|(_, of)| of.as_ref() == Some(issue)).map(|(reason, _)| reason).collect()
    }

    /// How often an agent was called until now. All of that has arrived: what comes later does not join it by chance.
    pub(crate) async fn count(&self, agent: &Agent) -> usize {
        let id = &agent.id;
        let delivered = || async move {
            let id = id.clone();
            let open = self.world.read(move |tx| {
                let id = id.clone();
                Box::pin(async move { store::orders::of_agent(tx, &id, 1).await })
            });
            open.await.is_empty().then_some(())
        };
        self.world.eventually("an empty outbox", delivered).await;
        self.calls(&agent.id).await.len()
    }

    /// What was told of an issue, oldest first.
    pub(crate) async fn told(&self, issue: &IssueId) -> Vec<Activity> {
        let mut told = self.engine.issue_activity(issue, 1000).await.unwrap();
        told.reverse();
        told
    }

    /// The status that the last change of an issue gave it; a run that started since may have moved it on.
    pub(crate) async fn became(&self, issue: &IssueId) -> Option<String> {
        let told = self.told(issue).await;
        let changes = told.into_iter().rev().filter(|entry| entry.action == "issue.updated");
        changes.filter_map(|entry| Some(entry.details?["status"].as_str()?.to_owned())).next()
    }

    pub(crate) async fn actions(&self, issue: &IssueId) -> Vec<String> {
        self.told(issue).await.into_iter().map(|entry| entry.action).collect()
    }
}

/// The words, the kind and the details of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, EngineError>) -> (String, String, Json) {
    match outcome {
        Err(EngineError::Refused { kind, message, details }) => {
            (format!("{kind:?}"), message, details.unwrap_or_default())
        }
        Err(EngineError::Denied(refusal)) => (format!("{:?}", refusal.kind()), refusal.text(), Json::Null),
        Err(EngineError::NotFound(thing)) => {
            ("NotFound".to_owned(), format!("{thing} not found"), Json::Null)
        }
        Err(EngineError::Conflict { message, details }) => {
            ("Conflict".to_owned(), message, details.unwrap_or_default())
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// The fields that a request got wrong.
pub(crate) fn wrong_fields<T: std::fmt::Debug>(outcome: Result<T, EngineError>) -> Vec<String> {
    match outcome {
        Err(EngineError::Invalid(problems)) => problems.into_iter().map(|problem| problem.path).collect(),
        other => panic!("not wrong: {other:?}"),
    }
}

/// An agent in a run.
pub(crate) fn in_run(agent: &Agent, run: &RunId) -> Author {
    Author::agent(&agent.id, Some(run))
}
