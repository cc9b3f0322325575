//! What happens in a simulated world: what people ask, what programs do, what goes wrong.
//!
//! Every choice falls from the dice of the seed, and looks only at the record and at the processes.

use std::time::Duration;

use domain::agent::PauseReason;
use domain::budget::policy::Draft;
use domain::budget::{Metric, Scope, ScopeKind};
use domain::ids::{AgentId, HoldId, IssueId, RunId};
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;
use domain::telling::{AgentEvent, ErrorClass, Usage};
use domain::tree::Mode;
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest};
use engine::issues::{ChildDraft, CommentDraft, IssueDraft, IssuePatch};
use engine::{Author, Clock, Engine, EngineError, ProcessId, TreeOperation};
use serde_json::{Map, json};
use store::{p, sql};

use super::records::RunRow;
use super::{Breakage, DEAREST, Made, Simulation};
use crate::Refusal;

/// What a request came to, for the simulation: only the store must never refuse.
pub(super) fn came<T>(outcome: Result<T, EngineError>, made: impl FnOnce(T) -> Made) -> Made {
    match outcome {
        Ok(value) => made(value),
        Err(EngineError::Store(error)) => Made::Trouble(format!("the store refuses a request: {error:?}")),
        Err(_) => Made::Nothing,
    }
}

pub(super) fn nothing<T>(_: T) -> Made {
    Made::Nothing
}

fn board() -> Author {
    Author::local_board()
}

impl Simulation {
    /// Somebody does something.
    pub(super) fn act(&mut self) -> Result<(), String> {
        match self.roll(100) {
            0..16 => self.someone_creates(),
            16..22 => self.someone_comments(),
            22..30 => self.someone_changes(),
            30..36 => self.someone_wakes(),
            36..38 => self.someone_pauses(),
            38..41 => self.someone_resumes(),
            41..43 => self.someone_holds(),
            43..45 => self.someone_releases(),
            45..48 => self.someone_budgets(),
            48..50 => self.someone_cancels(),
            50..52 => self.trouble_starting(),
            52..54 => self.an_edge_is_lost(),
            54..56 => self.the_clock_jumps(),
            56..66 => return self.time_passes(),
            _ => return self.a_program_acts(),
        }
        Ok(())
    }

    /// The same, with automations.
    pub(super) fn act_among_automations(&mut self) -> Result<(), String> {
        match self.roll(100) {
            0..45 => self.act_on_automations(),
            45..75 => self.a_program_acts(),
            75..82 => self.time_passes(),
            _ => self.act(),
        }
    }

    fn agent(&self) -> AgentId {
        self.agents[self.roll(self.agents.len() as u64) as usize].clone()
    }

    fn issue(&self) -> Option<IssueId> {
        let count = self.issues.len() as u64;
        // Mostly what is new.
        let back = self.roll(count.max(1)).min(self.roll(count.max(1)));
        (count > 0).then(|| self.issues[(count - 1 - back) as usize].clone())
    }

    fn someone_creates(&mut self) {
        let status = [IssueStatus::Todo, IssueStatus::Todo, IssueStatus::Todo, IssueStatus::Backlog]
            [self.roll(4) as usize];
        let priority =
            [Priority::Critical, Priority::High, Priority::Medium, Priority::Low][self.roll(4) as usize];
        let mut blocked_by = Vec::new();
        while self.roll(3) == 0
            && let Some(blocker) = self.issue()
        {
            if !blocked_by.contains(&blocker) {
                blocked_by.push(blocker);
            }
        }
        let parent_id = if self.roll(3) == 0 { self.issue() } else { None };
        let assignee_agent_id = (self.roll(5) > 0).then(|| self.agent());
        let title = format!("issue {}", self.issues.len() + 1);
        self.note(format!("create {title} ({status}) for {assignee_agent_id:?} behind {blocked_by:?}"));
        let draft = IssueDraft {
            title,
            status,
            priority,
            blocked_by,
            parent_id,
            assignee_agent_id,
            ..IssueDraft::default()
        };
        let company = self.company.clone();
        self.ask(move |engine| async move {
            came(engine.create_issue(&company, draft, &board()).await, |issue| Made::Issue(issue.id))
        });
    }

    fn someone_comments(&mut self) {
        let Some(issue) = self.issue() else { return };
        let draft = CommentDraft {
            body: "What about this?".to_owned(),
            reopen: self.roll(3) == 0,
            resume: self.roll(4) == 0,
            interrupt: self.roll(8) == 0,
            is_from_outside: false,
        };
        self.note(format!("comment on {issue}: {draft:?}"));
        self.ask(move |engine| async move {
            came(engine.comment_on_issue(&issue, draft, &board()).await, nothing)
        });
    }

    fn someone_changes(&mut self) {
        let Some(issue) = self.issue() else { return };
        let mut patch = IssuePatch::default();
        match self.roll(10) {
            0..3 => patch.assignee_agent = Some(Some(self.agent().0)),
            3 => patch.assignee_agent = Some(None),
            4..6 => {
                use IssueStatus::{Backlog, Blocked, Cancelled, Done, InReview, Todo};
                let statuses = [Todo, Todo, Backlog, Blocked, Cancelled, Done, InReview];
                patch.status = Some(statuses[self.roll(7) as usize]);
            }
            6..8 => {
                let other = self.issue().filter(|other| *other != issue);
                patch.blocked_by = Some(other.into_iter().collect());
            }
            8 => patch.priority = Some(Priority::Critical),
            _ => {
                patch.status = Some(IssueStatus::Todo);
                patch.assignee_agent = Some(Some(self.agent().0));
            }
        }
        self.note(format!(
            "change {issue}: status {:?}, agent {:?}, blocked by {:?}",
            patch.status, patch.assignee_agent, patch.blocked_by
        ));
        self.ask(
            move |engine| async move { came(engine.patch_issue(&issue, patch, &board()).await, nothing) },
        );
    }

    fn someone_wakes(&mut self) {
        let (agent, mut context) = (self.agent(), Map::new());
        match self.roll(3) {
            0 => {
                let Some(issue) = self.issue() else { return };
                context.insert("issueId".to_owned(), json!(issue));
                context.insert("taskKey".to_owned(), json!(issue));
            }
            1 => drop(context.insert("taskKey".to_owned(), json!(["a", "b"][self.roll(2) as usize]))),
            _ => {}
        }
        self.note(format!("wake {agent} with {context:?}"));
        let request = WakeRequest {
            source: Source::OnDemand,
            trigger_detail: Some(TriggerDetail::Manual),
            reason: Some("somebody asks".to_owned()),
            payload: Map::new(),
            context,
            idempotency_key: None,
            body_hash: String::new(),
            actor: Actor::local_board(),
            carries_on: false,
        };
        self.ask(move |engine| async move { came(engine.wake(&agent, request).await, nothing) });
    }

    fn someone_pauses(&mut self) {
        let agent = self.agent();
        self.note(format!("pause {agent}"));
        self.ask(move |engine| async move {
            came(engine.pause_agent(&agent, PauseReason::Manual, &Actor::local_board()).await, nothing)
        });
    }

    fn someone_resumes(&mut self) {
        let agent = self.agent();
        self.note(format!("resume {agent}"));
        self.resume(agent);
    }

    pub(super) fn resume(&mut self, agent: AgentId) {
        self.ask(move |engine| async move {
            came(engine.resume_agent(&agent, &Actor::local_board()).await, nothing)
        });
    }

    fn someone_holds(&mut self) {
        let Some(root) = self.issue() else { return };
        let mode =
            [Mode::Pause, Mode::Pause, Mode::Pause, Mode::Cancel, Mode::Restore][self.roll(5) as usize];
        self.note(format!("{mode} the tree of {root}"));
        let operation = TreeOperation { mode, reason: None, release_policy: None, metadata: None };
        self.ask(move |engine| async move {
            came(engine.operate_tree(&root, operation, &board()).await, nothing)
        });
    }

    fn someone_releases(&mut self) {
        let count = self.records.holds.len() as u64;
        if count == 0 {
            return;
        }
        let (root, hold) = self.records.holds[self.roll(count) as usize].clone();
        self.note(format!("release the hold {hold}"));
        self.release(root, hold);
    }

    pub(super) fn release(&mut self, root: String, hold: String) {
        self.ask(move |engine| async move {
            let (root, hold) = (IssueId(root), HoldId(hold));
            came(engine.release_tree_hold(&root, &hold, None, None, &board()).await, nothing)
        });
    }

    fn someone_budgets(&mut self) {
        let scope = match self.roll(2) {
            0 => Scope { kind: ScopeKind::Company, id: self.company.0.clone() },
            _ => Scope { kind: ScopeKind::Agent, id: self.agent().0 },
        };
        let cents = 3 + self.roll(12) as i64;
        self.budget(scope, cents);
    }

    /// Sets a cap. What is promised is what the scope may ever have spent: a cap that is lowered takes nothing back.
    pub(super) fn budget(&mut self, scope: Scope, cents: i64) {
        self.note(format!("a cap of {cents} cents for {} {}", scope.kind, scope.id));
        let key = (scope.kind.as_str().to_owned(), scope.id.clone(), "billed_cents".to_owned());
        let spent = self.records.counters.iter();
        let spent = spent.filter(|it| it.scope == scope.id).map(|it| it.spent).max().unwrap_or(0);
        // Without a policy there was no cap so far: what was spent before is on the counter when it is made.
        let before = self.said.values().sum::<i64>();
        let promise = self.promises.entry(key).or_insert(before);
        *promise = (*promise).max(cents * 10_000).max(spent);
        let draft = Draft {
            scope,
            metric: Some(Metric::BilledCents),
            window: None,
            amount: cents,
            warn_percent: None,
            hard_stop: None,
            notify: None,
            is_active: None,
        };
        let company = self.company.clone();
        self.ask(move |engine| async move {
            came(engine.set_budget(&company, draft, &board(), true).await, nothing)
        });
    }

    fn someone_cancels(&mut self) {
        let live: Vec<&RunRow> = self.records.runs.iter().filter(|run| run.is_live()).collect();
        if live.is_empty() {
            return;
        }
        let run = RunId(live[self.roll(live.len() as u64) as usize].id.clone());
        self.note(format!("cancel run {run}"));
        self.ask(move |engine| async move {
            came(engine.cancel_run(&run, None, &Actor::local_board()).await, nothing)
        });
    }

    fn trouble_starting(&mut self) {
        let refusal = [Some(Refusal::Before), Some(Refusal::After), None][self.roll(3) as usize];
        self.note(format!("starts fail: {refusal:?}"));
        self.around.model.refuse_starts(refusal);
    }

    /// Somebody finishes an issue behind the back of the server, and nobody tells it.
    fn an_edge_is_lost(&mut self) {
        let is_quiet =
            |id: &str| !self.records.runs.iter().any(|run| run.is_live() && run.issue.as_deref() == Some(id));
        let open: Vec<String> = self
            .records
            .issues
            .iter()
            .filter(|issue| {
                matches!(issue.status.as_str(), "backlog" | "todo" | "blocked") && is_quiet(&issue.id)
            })
            .map(|issue| issue.id.clone())
            .collect();
        if open.is_empty() || !self.pending.is_empty() {
            return;
        }
        let issue = open[self.roll(open.len() as u64) as usize].clone();
        self.note(format!("{issue} is done, and nobody is told"));
        let now = self.around.clock.now().micros();
        self.life().tamper(move |tx| {
            let issue = issue.clone();
            Box::pin(async move {
                let done = sql!(
                    "UPDATE issues SET status = 'done', completed_at = $2, check_at = NULL, waits_on_blockers = FALSE \
                     WHERE id = $1"
                );
                tx.exec(done, p![issue, now]).await
            })
        });
    }

    fn the_clock_jumps(&mut self) {
        let by = Duration::from_secs(self.roll(3600));
        let now = self.around.clock.now();
        let back = self.roll(2) == 0;
        self.note(format!("the clock jumps {} by {by:?}", if back { "back" } else { "on" }));
        self.around.clock.set(if back { now.minus(by) } else { now.plus(by) });
    }

    fn time_passes(&mut self) -> Result<(), String> {
        let seconds = match self.roll(10) {
            0..4 => 1 + self.roll(5),
            4..7 => 30 + self.roll(300),
            7..9 => 1800 + self.roll(7200),
            _ => 20_000 + self.roll(80_000),
        };
        self.note(format!("{seconds} s pass"));
        self.pass(Duration::from_secs(seconds))
    }

    /// One of the programs that run does something.
    fn a_program_acts(&mut self) -> Result<(), String> {
        self.settle()?;
        let alive = self.around.model.alive();
        if alive.is_empty() {
            return Ok(());
        }
        let id = alive[self.roll(alive.len() as u64) as usize].clone();
        let Some(run) = self.records.run(id.run.as_str()).cloned() else { return Ok(()) };
        if self.around.model.stops(&id) > 0 {
            self.note(format!("{} stops, as it was told", id.run));
            self.around.model.obey(&id);
            return Ok(());
        }
        let author = Author::agent(&AgentId(run.agent.clone()), Some(&id.run));
        let own = run.issue.clone().map(IssueId);
        match (self.roll(30), own) {
            (0..8, _) => return self.spends(&id),
            (8, _) => self.around.model.say_session(&id, &format!("session-{}", run.task_key)),
            (9..11, _) => self.around.model.say_message(&id, "I will go on with it."),
            (11..14, Some(issue)) => {
                let body = "Next I will run the tests.".to_owned();
                let draft = CommentDraft { body, ..CommentDraft::default() };
                self.note(format!("{} comments on its own {issue}", run.id));
                self.ask(move |engine| async move {
                    came(engine.comment_on_issue(&issue, draft, &author).await, nothing)
                });
            }
            (14..16, _) => {
                let Some(other) = self.issue() else { return Ok(()) };
                let name = self.roll(self.agents.len() as u64);
                let body = format!("Look at this, @Agent{name}.");
                let draft = CommentDraft { body, ..CommentDraft::default() };
                self.note(format!("{} comments on {other} and mentions Agent{name}", run.id));
                self.ask(move |engine| async move {
                    came(engine.comment_on_issue(&other, draft, &author).await, nothing)
                });
            }
            (16, Some(issue)) => {
                let child = IssueDraft {
                    title: "a part of it".to_owned(),
                    status: IssueStatus::Todo,
                    assignee_agent_id: Some(self.agent()),
                    ..IssueDraft::default()
                };
                let block_parent_until_done = self.roll(2) == 0;
                let draft =
                    ChildDraft { issue: child, acceptance_criteria: Vec::new(), block_parent_until_done };
                self.note(format!("{} makes a child of {issue}", run.id));
                self.ask(move |engine| async move {
                    came(engine.create_child_issue(&issue, draft, &author).await, |issue| {
                        Made::Issue(issue.id)
                    })
                });
            }
            (17..20, Some(issue)) => {
                let status =
                    [IssueStatus::InReview, IssueStatus::Blocked, IssueStatus::Done][self.roll(3) as usize];
                self.note(format!("{} sets {issue} to {status}", run.id));
                let patch = IssuePatch { status: Some(status), ..IssuePatch::default() };
                self.ask(move |engine| async move {
                    came(engine.patch_issue(&issue, patch, &author).await, nothing)
                });
            }
            _ => return self.ends(&id, &run),
        }
        Ok(())
    }

    /// A message that costs something. The server hears of it before anything else is said.
    fn spends(&mut self, id: &ProcessId) -> Result<(), String> {
        let cost = (1 + self.roll(4) as i64) * DEAREST / 4;
        let cost = (self.roll(12) > 0).then_some(cost);
        self.note(format!("{} spends {cost:?}", id.run));
        *self.said.entry(id.run.0.clone()).or_default() += cost.unwrap_or(0);
        let usage = Usage { output_tokens: 100, cost_micros: cost, ..Usage::default() };
        self.around.model.say(id, &AgentEvent::UsageAdded { usage });
        self.pass(Duration::from_secs(1))
    }

    /// A program ends, well or badly.
    pub(super) fn ends(&mut self, id: &ProcessId, run: &RunRow) -> Result<(), String> {
        let temper = self.agents.iter().position(|agent| agent.0 == run.agent).unwrap_or(0);
        // The first agent fails more than it works.
        let fails = self.roll(if temper == 0 { 2 } else { 6 }) == 0 && !self.automations.is_ending;
        let model = self.around.model.clone();
        if !fails && let Some(words) = self.words_of_step(run) {
            self.note(format!("{} says {words}", id.run));
            model.say(
                id,
                &AgentEvent::Result { error: None, summary: Some(words), plan_only: false, json: None },
            );
            model.exit(id, 0);
            return Ok(());
        }
        if !fails {
            let closes = self.roll(4) > 0;
            self.note(format!("{} succeeds{}", id.run, if closes { " and closes its issue" } else { "" }));
            if closes && let Some(issue) = run.issue.clone().map(IssueId) {
                let author = Author::agent(&AgentId(run.agent.clone()), Some(&id.run));
                let patch = IssuePatch { status: Some(IssueStatus::Done), ..IssuePatch::default() };
                self.ask(move |engine| async move {
                    came(engine.patch_issue(&issue, patch, &author).await, nothing)
                });
                self.settle()?;
            }
            model.say_done(id);
            model.exit(id, 0);
            return Ok(());
        }
        let way = self.roll(9);
        self.note(format!("{} fails in way {way}", id.run));
        match way {
            0 => model.lose_keeper(id),
            1 => model.kill_for_memory(id),
            2 => model.exit(id, 0),
            3 => {
                model.say_failed(id, ErrorClass::Transient, None);
                model.exit(id, 1);
            }
            4 => {
                let until: Moment = self.around.clock.now().plus(Duration::from_secs(600 + self.roll(7200)));
                model.say_failed(id, ErrorClass::Quota, Some(until));
                model.exit(id, 1);
            }
            // A session that is gone is found to be gone before anything was done.
            5 if !self.said.contains_key(id.run.as_str()) => {
                model.say_failed(id, ErrorClass::SessionGone, None);
                model.exit(id, 1);
            }
            6 => {
                model.say_failed(id, ErrorClass::Permission, None);
                model.exit(id, 1);
            }
            7 => model.signal(id, 9),
            _ => model.exit(id, 1),
        }
        Ok(())
    }

    /// Asks the server for something; what comes of it is looked at when all is quiet.
    pub(super) fn ask<F>(&mut self, asked: impl FnOnce(Engine) -> F)
    where
        F: Future<Output = Made> + Send + 'static,
    {
        let life = self.life();
        let task = life.spawn(asked(life.engine.clone()));
        // Where nobody looks by himself, rings are lost more often, and no new server rings them all.
        let odds = if self.script.breaks == Some(Breakage::NoPeriod) { 3 } else { 25 };
        if self.can_abandon && self.roll(odds) == 0 {
            self.note("  and goes away".to_owned());
            self.life().turns.abandon(task.id());
        }
        self.pending.push(task);
    }
}
