//! S11: no wake is lost, whatever dies. S12: nothing goes on for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::ids::{AgentId, IssueId, RunId};
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::wake::{Actor, ActorKind, Source, WakeRequest, WakeStatus};
use engine::issues::{CommentDraft, IssueDraft};
use engine::{Author, Engine, ProcessId, Settings};
use serde_json::json;
use store::agents::Agent;
use store::issues::Issue;
use testkit::{Server, SimDice, World, both_stores, on_postgres, on_sqlite};

use crate::board::{Board, in_run};
use crate::issue_settlement::{assigned, items, say_result, under_way};

both_stores! {
    async fn an_agent_that_comments_on_its_own_issue_never_wakes_itself(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        let before = board.count(&ada).await;
        for number in 0..100 {
            let text = format!("@Ada note {number}");
            board.say(&issue.id, &text, &in_run(&ada, &run.id)).await.unwrap();
        }
        assert_eq!(board.count(&ada).await, before);
        let patch = engine::issues::IssuePatch { status: Some(IssueStatus::Done), ..Default::default() };
        board.patch(&issue.id, patch, &in_run(&ada, &run.id)).await.unwrap();
        say_result(&world.model, &process, Some("Done."), false);
        world.over(&run.id).await;
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
    }

    async fn two_agents_that_call_each_other_are_stopped_and_people_hear_of_it_once(world) {
        let board = Board::new(&world).await;
        let pair = [board.agent("Ada").await, board.agent("Bob").await];
        let issue = board.quiet("ping", IssueStatus::Todo, None).await;
        let mut woken = 0;
        let mut who = 0;
        board.say(&issue.id, "@Ada begin", &Board::person()).await.unwrap();
        loop {
            let of = &pair[who];
            let Some((run, process)) = started(&world, of).await else { break };
            woken += 1;
            assert!(woken < 40, "nobody stops them");
            world.clock.advance(Duration::from_secs(5));
            let other = &pair[1 - who];
            let text = format!("@{} your turn", other.name);
            board.say(&issue.id, &text, &in_run(of, &run)).await.unwrap();
            say_result(&world.model, &process, None, false);
            world.over(&run).await;
            until_delivered(&world).await;
            who = 1 - who;
        }
        // Six cycles of one shape: the twelfth wake between them is held.
        assert_eq!(woken, 12);
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open.iter().filter(|item| item.kind == "wake_loop").count(), 1);
        let held = &pair[who];
        let wake = world.wakes_of(&held.id).await.pop().expect("a wake");
        assert_eq!((wake.status, wake.reason.as_deref()), (WakeStatus::Deferred, Some("wake_loop")));
        // It stays so, however often somebody looks.
        for _ in 0..5 {
            world.clock.advance(Duration::from_secs(60));
            board.engine.nudge();
            tokio::task::yield_now().await;
        }
        assert_eq!(world.wake_row(&wake.id).await.status, WakeStatus::Deferred);
        // A person looks at it: the wake goes on.
        board.say(&issue.id, "I see. Go on.", &Board::person()).await.unwrap();
        world.eventually("the wake goes on", || async {
            board.engine.nudge();
            let wake = world.wake_row(&wake.id).await;
            (wake.status != WakeStatus::Deferred).then_some(())
        }).await;
        let (run, process) = under_way(&world, &held.id).await;
        say_result(&world.model, &process, Some("Done."), false);
        world.over(&run.id).await;
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open.iter().filter(|item| item.kind == "wake_loop").count(), 0);
    }

    async fn a_timer_that_fires_many_times_during_a_long_run_leaves_one_wake_at_the_most(world) {
        let board = Board::new(&world).await;
        let mut draft = engine::AgentDraft { name: "Ada".to_owned(), ..World::scripted(1) };
        draft.runtime_config["heartbeat"] = json!({ "enabled": true, "intervalSec": 1200, "maxConcurrentRuns": 1 });
        let ada = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        for _ in 0..13 {
            world.clock.advance(Duration::from_secs(600));
            board.engine.nudge();
            world.eventually("the timer set anew", || async {
                let due = world.agent_row(&ada.id).await.next_timer_at;
                due.is_none_or(|at| at > board.engine.now()).then_some(())
            }).await;
        }
        let waiting = world.runs_of(&ada.id).await.into_iter().filter(|run| run.status != RunStatus::Running);
        assert_eq!(waiting.count(), 0, "a timer folds into the run under way");
        say_result(&world.model, &process, Some("Done."), false);
        world.over(&run.id).await;
    }
}

/// The run of an agent that started, if one does: an empty outbox and nothing queued say that none will.
async fn started(world: &World, agent: &Agent) -> Option<(RunId, ProcessId)> {
    until_delivered(world).await;
    let runs = world.runs_of(&agent.id).await;
    let run = runs.into_iter().find(|run| run.status.is_live())?;
    let (run, process) = {
        let _ = run;
        under_way(world, &agent.id).await
    };
    Some((run.id, process))
}

async fn until_delivered(world: &World) {
    world
        .eventually("an empty outbox", || async {
            let left: i64 = world.read(|tx| Box::pin(store::orders::count(tx))).await;
            (left == 0).then_some(())
        })
        .await;
}

const AGENTS: usize = 6;

#[test]
fn no_wake_is_lost_on_sqlite() {
    on_sqlite(|world| Round::play(world, 7));
}

#[test]
fn no_wake_is_lost_on_postgres() {
    on_postgres(|world| Round::play(world, 8));
}

/// S11: wakes of six kinds at random moments, a third of them in the last moment of a run, with kills of the server.
struct Round {
    world: World,
    dice: Arc<SimDice>,
    agents: Vec<Agent>,
    issues: Vec<Issue>,
    /// Comments that somebody has to be told of, with the agent.
    said: Vec<(AgentId, String)>,
    /// Dependents and blockers that are done now.
    freed: Vec<(AgentId, IssueId)>,
    wakes: usize,
}

impl Round {
    fn settings(world: &World) -> Settings {
        Settings { period: Duration::from_millis(30), max_runs: 24, ..world.settings() }
    }

    async fn play(world: World, seed: u64) {
        let times: usize = std::env::var("BUGLE_SOAK").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
        let (wakes, kills) = (1_000 * times.min(10), 5 * times.min(4));
        let server = Server::start(&world, Round::settings(&world)).await;
        let made = {
            let world = world.clone();
            server.call(move |engine| async move { Round::people(&world, &engine).await }).await
        };
        let dice = Arc::new(SimDice::seeded(seed));
        let (agents, issues) = made;
        let mut round = Round { world, dice, agents, issues, said: Vec::new(), freed: Vec::new(), wakes: 0 };
        round.world.model.on_start(|_, _, _| {});
        let mut server = server;
        for stretch in 0..=kills {
            while round.wakes < wakes * (stretch + 1) / (kills + 1) {
                round.step(&server).await;
            }
            server.kill(&round.world).await;
            round.world.clock.advance(Duration::from_secs(1));
            server = Server::start(&round.world, Round::settings(&round.world)).await;
        }
        round.until_quiet(&server).await;
        round.check().await;
        server.kill(&round.world).await;
    }

    async fn people(world: &World, engine: &Engine) -> (Vec<Agent>, Vec<Issue>) {
        let company = world.company(engine).await;
        let mut agents = Vec::new();
        for number in 0..AGENTS {
            let draft = engine::AgentDraft { name: format!("Agent{number}"), ..World::scripted(2) };
            agents.push(engine.create_agent(&company, draft, &Actor::local_board()).await.unwrap());
        }
        let mut issues = Vec::new();
        for number in 0..AGENTS * 2 {
            let draft = IssueDraft {
                title: format!("work {number}"),
                status: IssueStatus::Todo,
                assignee_agent_id: Some(agents[number % AGENTS].id.clone()),
                ..IssueDraft::default()
            };
            issues.push(engine.create_issue(&company, draft, &Author::local_board()).await.unwrap());
        }
        (agents, issues)
    }

    /// One wake of some kind, and perhaps the end of some run, before it or in the same moment.
    async fn step(&mut self, server: &Server) {
        let at_the_end = self.dice.roll(10) < 3;
        if at_the_end {
            self.end_one();
        }
        self.wake(server).await;
        if !at_the_end && self.dice.roll(2) == 0 {
            self.end_one();
        }
        self.wakes += 1;
    }

    fn end_one(&self) {
        let alive = self.world.model.alive();
        if alive.is_empty() {
            return;
        }
        let id = &alive[self.dice.roll(alive.len() as u64) as usize];
        say_result(&self.world.model, id, Some("The parser is odd."), false);
    }

    async fn wake(&mut self, server: &Server) {
        let of = self.dice.roll(AGENTS as u64) as usize;
        let agent = self.agents[of].clone();
        let issue = self.issues[self.dice.roll(self.issues.len() as u64) as usize].clone();
        let number = self.wakes;
        match self.dice.roll(6) {
            // A person asks for an agent.
            0 => {
                let id = agent.id.clone();
                drop(
                    server
                        .send(move |engine| async move { engine.wake(&id, World::request("by hand")).await }),
                );
            }
            // A timer.
            1 => {
                let id = agent.id.clone();
                let request = WakeRequest {
                    source: Source::Timer,
                    reason: Some("heartbeat_timer".to_owned()),
                    ..World::request("")
                };
                drop(server.send(move |engine| async move { engine.wake(&id, request).await }));
            }
            // A comment to the assignee, and a mention of somebody else; each names its number.
            2 | 3 => {
                let mentions = self.dice.roll(2) == 0;
                let body = if mentions {
                    format!("@{} wake {number}", agent.name)
                } else {
                    format!("wake {number}")
                };
                let draft = CommentDraft { body, ..CommentDraft::default() };
                let id = issue.id.clone();
                let said = server.call(move |engine| async move {
                    engine.comment_on_issue(&id, draft, &Author::local_board()).await
                });
                let comment = said.await.expect("a comment");
                let told = if mentions { agent.id } else { issue.assignee_agent_id.expect("assigned") };
                self.said.push((told, comment.id.0));
            }
            // The program wakes the assignee.
            4 => {
                let (id, issue) = (issue.assignee_agent_id.clone().expect("assigned"), issue.id.clone());
                let mut request = World::request("");
                request.source = Source::Automation;
                request.reason = Some("issue_status_changed".to_owned());
                request.actor = Actor { kind: ActorKind::System, id: Some("test".to_owned()) };
                request.payload.insert("issueId".to_owned(), json!(issue));
                drop(server.send(move |engine| async move { engine.wake(&id, request).await }));
            }
            // A dependent becomes ready, and nobody is told: the edge is lost.
            _ => self.free_a_dependent(&agent).await,
        }
    }

    async fn free_a_dependent(&mut self, agent: &Agent) {
        let (company, now) = (agent.company_id.clone(), engine::Clock::now(&*self.world.clock));
        let number = self.wakes;
        let new_id = || IssueId(domain::ids::mint(now, engine::Dice::bytes(&*self.dice)));
        let template = self.issues[0].clone();
        let dependent = Issue {
            id: new_id(),
            identifier: format!("DEP-{number}"),
            issue_number: 1_000_000 + number as i64,
            status: IssueStatus::Todo,
            assignee_agent_id: Some(agent.id.clone()),
            waits_on_blockers: true,
            lock_run_id: None,
            lock_epoch: None,
            lock_agent_id: None,
            locked_at: None,
            checkout_run_id: None,
            execution_run_id: None,
            check_at: None,
            ..template
        };
        let (row, blocker) = (dependent.clone(), new_id());
        let written = self.world.store.write(move |tx| {
            let (row, company, blocker) = (row.clone(), company.clone(), blocker.clone());
            Box::pin(async move {
                let blocker = Issue {
                    id: blocker,
                    identifier: format!("{}-B", row.identifier),
                    issue_number: row.issue_number + 500_000,
                    status: IssueStatus::Done,
                    assignee_agent_id: None,
                    waits_on_blockers: false,
                    ..row.clone()
                };
                store::issues::insert(tx, &blocker).await?;
                store::issues::insert(tx, &row).await?;
                store::relations::add(tx, &company, &blocker.id, &row.id, &Default::default(), now).await
            })
        });
        written.await.unwrap();
        self.freed.push((agent.id.clone(), dependent.id));
    }

    /// Ends whatever runs, until nothing is left to be done.
    async fn until_quiet(&self, server: &Server) {
        self.world
            .eventually("a quiet world", || async {
                server.engine().nudge();
                for id in self.world.model.alive() {
                    say_result(&self.world.model, &id, Some("The parser is odd."), false);
                }
                let mut live = 0;
                for agent in &self.agents {
                    let wakes = self.world.wakes_of(&agent.id).await;
                    live += wakes.iter().filter(|wake| !wake.status.is_final()).count();
                    live +=
                        self.world.runs_of(&agent.id).await.iter().filter(|run| run.status.is_live()).count();
                }
                let left: i64 = self.world.read(|tx| Box::pin(store::orders::count(tx))).await;
                let waits =
                    self.world.read(|tx| Box::pin(store::relations::ready_but_waiting(tx, "", 10))).await;
                (live == 0 && left == 0 && waits.is_empty()).then_some(())
            })
            .await;
    }

    /// Every wake is final and names its run, or says why it has none; every comment is in the input of a run of the
    /// agent that it called; every dependent that became ready had a run.
    async fn check(&self) {
        let mut told: BTreeMap<AgentId, BTreeSet<String>> = BTreeMap::new();
        let mut worked: BTreeSet<(AgentId, IssueId)> = BTreeSet::new();
        let mut all = 0;
        for agent in &self.agents {
            let runs = self.world.runs_of(&agent.id).await;
            let known: BTreeSet<&RunId> = runs.iter().map(|run| &run.id).collect();
            for run in &runs {
                let ids = run.context["wakeCommentIds"].as_array().cloned().unwrap_or_default();
                let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned));
                told.entry(agent.id.clone()).or_default().extend(ids);
                if let Some(issue) = &run.issue_id {
                    worked.insert((agent.id.clone(), IssueId(issue.clone())));
                }
            }
            for wake in self.world.wakes_of(&agent.id).await {
                all += 1;
                assert!(wake.status.is_final(), "{wake:?}");
                match &wake.run_id {
                    Some(run) => assert!(known.contains(run), "{wake:?}"),
                    None => {
                        let joined = wake.payload["deferredWakeupRequestId"].is_string();
                        assert!(joined || wake.status == WakeStatus::Skipped, "{wake:?}");
                    }
                }
            }
        }
        assert!(all >= self.wakes / 3, "{all} wakes of {}", self.wakes);
        for (agent, comment) in &self.said {
            assert!(told.get(agent).is_some_and(|ids| ids.contains(comment)), "{agent} never read {comment}");
        }
        for freed in &self.freed {
            assert!(worked.contains(freed), "{freed:?} was never begun");
        }
    }
}
