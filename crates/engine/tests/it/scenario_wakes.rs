//! S11: no wake is lost, whatever dies.
//!
//! 1,000 wakes of six kinds while the server is killed five times; `BUGLE_SOAK=n` takes n wakes and a kill for each 500.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ids::{AgentId, IssueId, RunId};
use domain::issue::IssueStatus;
use domain::wake::{Actor, ActorKind, Source, WakeRequest, WakeStatus};
use engine::issues::{CommentDraft, IssueDraft, IssuePatch};
use engine::{Author, Engine, EngineError, Settings, Woken};
use serde_json::json;
use store::agents::Agent;
use store::comments::Comment;
use store::issues::Issue;
use store::runs::Run;
use store::wakes::Wake;
use store::{p, sql};
use testkit::{Server, SimDice, World, both_stores, on_postgres, on_sqlite};
use tokio::task::JoinHandle;

use crate::board::Board;
use crate::issue_settlement::{fail, say_result, under_way};
use crate::orders::place;

const AGENTS: usize = 6;

#[test]
fn no_wake_is_lost_on_sqlite() {
    on_sqlite(|world| Round::play(world, 7));
}

#[test]
fn no_wake_is_lost_on_postgres() {
    on_postgres(|world| Round::play(world, 8));
}

/// Wakes, and kills of the server.
fn measure() -> (usize, usize) {
    let wakes = std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_usize);
    (wakes, (wakes / 500).max(5))
}

/// A wake that somebody asks for with a key, until it is answered.
struct Asked {
    agent: AgentId,
    key: String,
    request: WakeRequest,
    answer: Option<JoinHandle<Result<Woken, EngineError>>>,
}

/// Wakes of six kinds at random moments, a third of them in the last moment of a run, with kills of the server.
struct Round {
    world: World,
    dice: Arc<SimDice>,
    agents: Vec<Agent>,
    issues: Vec<Issue>,
    asked: Vec<Asked>,
    /// Comments that are being made, with the agent that they call.
    saying: Vec<(AgentId, JoinHandle<Result<Comment, EngineError>>)>,
    /// Those that were answered: somebody has to be told of them.
    said: Vec<(AgentId, String)>,
    /// Dependents that somebody has to begin, or to be told of that their blocker was given up.
    freed: Vec<(AgentId, IssueId)>,
    wakes: usize,
}

impl Round {
    fn settings(world: &World) -> Settings {
        Settings { period: Duration::from_millis(200), max_runs: 24, ..world.settings() }
    }

    async fn play(world: World, seed: u64) {
        let (wakes, kills) = measure();
        let server = Server::start(&world, Round::settings(&world)).await;
        let made = {
            let world = world.clone();
            server.call(move |engine| async move { Round::people(&world, &engine).await }).await
        };
        let dice = Arc::new(SimDice::seeded(seed));
        let (agents, issues) = made;
        let mut round = Round {
            world,
            dice,
            agents,
            issues,
            asked: Vec::new(),
            saying: Vec::new(),
            said: Vec::new(),
            freed: Vec::new(),
            wakes: 0,
        };
        // Programs do what they are told by the test, and nothing by themselves.
        round.world.model.on_start(|_, _, _| {});
        let mut server = server;
        for stretch in 0..kills {
            while round.wakes < wakes * (stretch + 1) / kills {
                round.step(&server).await;
            }
            // Dead in the moment in which a blocker was given up: who waits for it has not heard of it.
            let agent = round.agents[stretch % AGENTS].clone();
            round.free_by_the_engine(&server, &agent, IssueStatus::Cancelled).await;
            server.kill(&round.world).await;
            round.world.clock.advance(Duration::from_secs(1));
            server = Server::start(&round.world, Round::settings(&round.world)).await;
            round.hear_answers().await;
            round.ask_again(&server).await;
        }
        round.until_quiet(&server).await;
        let delivered = round.check().await;
        let slowest = round.idle_agents_start_at_once(&server).await;
        eprintln!(
            "seed {seed}: {} wakes asked for, {delivered} of {} rows in the input of a run, {kills} kills; idle to started, 95 of 100 \
             within {slowest:?}",
            round.wakes,
            round.rows().await.len(),
        );
        server.kill(&round.world).await;
    }

    /// Whoever got no answer asks again, with the same key.
    async fn ask_again(&mut self, server: &Server) {
        for asked in &mut self.asked {
            let Some(answer) = asked.answer.take() else { continue };
            if let Ok(answered) = answer.await {
                answered.unwrap_or_else(|error| panic!("{} was refused: {error:?}", asked.key));
                continue;
            }
            let (id, request) = (asked.agent.clone(), asked.request.clone());
            let again = server.call(move |engine| async move { engine.wake(&id, request).await }).await;
            again.unwrap_or_else(|error| panic!("{} was refused: {error:?}", asked.key));
        }
    }

    fn ask(&mut self, server: &Server, agent: &AgentId, request: WakeRequest) {
        let key = format!("wake {}", self.wakes);
        let request = WakeRequest {
            idempotency_key: Some(key.clone()),
            body_hash: engine::body_hash(&json!(key)),
            ..request
        };
        let (id, sent) = (agent.clone(), request.clone());
        let answer = server.send(move |engine| async move { engine.wake(&id, sent).await });
        self.asked.push(Asked { agent: agent.clone(), key, request, answer: Some(answer) });
    }

    async fn rows(&self) -> Vec<Wake> {
        let mut rows = Vec::new();
        for agent in &self.agents {
            rows.extend(self.world.wakes_of(&agent.id).await);
        }
        rows
    }

    async fn people(world: &World, engine: &Engine) -> (Vec<Agent>, Vec<Issue>) {
        let company = world.company(engine).await;
        let mut agents = Vec::new();
        for number in 0..AGENTS {
            let mut draft = engine::AgentDraft { name: format!("Agent{number}"), ..World::scripted(2) };
            // Timer wakes are taken in; none fires by itself.
            draft.runtime_config["heartbeat"] =
                json!({ "enabled": true, "intervalSec": 1_000_000, "maxConcurrentRuns": 2 });
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
        // So many callers wait for their answers at once.
        if self.saying.len() >= 8 {
            self.hear_answers().await;
        }
    }

    /// What was answered before the server died is promised; of the rest nobody knows.
    async fn hear_answers(&mut self) {
        for (told, saying) in std::mem::take(&mut self.saying) {
            if let Ok(said) = saying.await {
                self.said.push((told, said.expect("a comment").id.0));
            }
        }
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
                self.ask(server, &agent.id, World::request("by hand"));
            }
            // A timer.
            1 => {
                let request = WakeRequest {
                    source: Source::Timer,
                    reason: Some("heartbeat_timer".to_owned()),
                    ..World::request("")
                };
                self.ask(server, &agent.id, request);
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
                let told = if mentions { agent.id } else { issue.assignee_agent_id.expect("assigned") };
                let saying = server.send(move |engine| async move {
                    engine.comment_on_issue(&id, draft, &Author::local_board()).await
                });
                self.saying.push((told, saying));
            }
            // The program wakes the assignee.
            4 => {
                let (id, issue) = (issue.assignee_agent_id.clone().expect("assigned"), issue.id.clone());
                let mut request = World::request("");
                request.source = Source::Automation;
                request.reason = Some("issue_status_changed".to_owned());
                request.actor = Actor { kind: ActorKind::System, id: Some("test".to_owned()) };
                request.payload.insert("issueId".to_owned(), json!(issue));
                self.ask(server, &id, request);
            }
            // A dependent becomes ready, and its blocker is done, or given up, or done without anybody being told.
            _ => match self.dice.roll(3) {
                0 => self.free_by_the_engine(server, &agent, IssueStatus::Done).await,
                1 => self.free_by_the_engine(server, &agent, IssueStatus::Cancelled).await,
                _ => self.free_a_dependent(&agent).await,
            },
        }
    }

    /// A dependent whose blocker changes in the engine, which tells whoever waits.
    async fn free_by_the_engine(&mut self, server: &Server, agent: &Agent, becomes: IssueStatus) {
        let (company, id) = (agent.company_id.clone(), agent.id.clone());
        let dependent = server.call(move |engine| async move {
            let by = Author::local_board();
            let draft = |title: &str| IssueDraft {
                title: title.to_owned(),
                status: IssueStatus::Todo,
                ..IssueDraft::default()
            };
            let blocker = engine.create_issue(&company, draft("blocks"), &by).await.unwrap();
            let waits = IssueDraft {
                assignee_agent_id: Some(id),
                blocked_by: vec![blocker.id.clone()],
                ..draft("waits")
            };
            let waits = engine.create_issue(&company, waits, &by).await.unwrap();
            let patch = IssuePatch { status: Some(becomes), ..IssuePatch::default() };
            engine.patch_issue(&blocker.id, patch, &by).await.unwrap();
            waits.id
        });
        self.freed.push((agent.id.clone(), dependent.await));
    }

    /// A dependent whose blocker is done, and nobody is told: the edge is lost.
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

    /// Ends whatever runs, until nothing is left to be done. However much there is, it has to become less.
    async fn until_quiet(&self, server: &Server) {
        let mut least = i64::MAX;
        while least > 0 {
            least = self
                .world
                .eventually("a world with less to do", || async {
                    server.engine().nudge();
                    for id in self.world.model.alive() {
                        say_result(&self.world.model, &id, Some("The parser is odd."), false);
                    }
                    let left = self.left().await;
                    (left < least).then_some(left)
                })
                .await;
        }
    }

    /// How much is open: wakes, runs, orders, and dependents that nobody told that they may begin.
    async fn left(&self) -> i64 {
        let left = self.world.read(|tx| {
            Box::pin(async move {
                let open = sql!(
                    "SELECT (SELECT COUNT(*) FROM wakes WHERE status IN ('queued', 'claimed', 'deferred_issue_execution')) \
                     + (SELECT COUNT(*) FROM runs WHERE status IN ('queued', 'scheduled_retry', 'running')) \
                     + (SELECT COUNT(*) FROM wake_orders)"
                );
                let open = tx.one_as::<(i64,)>(open, p![]).await?.map_or(0, |(count,)| count);
                let waiting = store::relations::ready_but_waiting(tx, "", 10).await?;
                Ok(open + i64::try_from(waiting.len()).unwrap_or(i64::MAX))
            })
        });
        left.await
    }

    /// Every wake is in the input of exactly one run that started, or names the wake that took it in and that is; every
    /// comment is in the input of a run of the agent that it called; every dependent had a run. Returns how many wakes
    /// are in the input of a run themselves.
    async fn check(&self) -> usize {
        let mut told: BTreeMap<(AgentId, String), BTreeSet<RunId>> = BTreeMap::new();
        let mut worked: BTreeSet<(AgentId, IssueId)> = BTreeSet::new();
        let mut started: BTreeSet<RunId> = BTreeSet::new();
        for agent in &self.agents {
            for run in self.world.runs_of(&agent.id).await {
                let did = !self.world.model.started(&run.id).is_empty();
                assert!(did, "never started: {run:#?}");
                started.insert(run.id.clone());
                if is_given_on(&run) {
                    continue;
                }
                for id in run.context["wakeCommentIds"].as_array().into_iter().flatten() {
                    let id = id.as_str().unwrap().to_owned();
                    told.entry((agent.id.clone(), id)).or_default().insert(run.id.clone());
                }
                if let Some(issue) = &run.issue_id {
                    worked.insert((agent.id.clone(), IssueId(issue.clone())));
                }
            }
        }
        let rows: BTreeMap<String, Wake> =
            self.rows().await.into_iter().map(|wake| (wake.id.0.clone(), wake)).collect();
        let mut delivered = 0;
        for wake in rows.values() {
            assert!(wake.status.is_final(), "{wake:?}");
            delivered += usize::from(wake.run_id.is_some());
            let mut at = wake;
            while at.run_id.is_none() {
                let by = at.payload["deferredWakeupRequestId"].as_str();
                let next = by.and_then(|by| rows.get(by)).filter(|next| next.id != at.id);
                let Some(next) = next else { break };
                at = next;
            }
            match &at.run_id {
                Some(run) => assert!(started.contains(run), "{wake:?}"),
                // An issue that was blocked when it was made: its assignee hears of it when it is not.
                None => {
                    let reason = wake.reason.as_deref();
                    assert_eq!(
                        (wake.status, reason),
                        (WakeStatus::Skipped, Some("issue_dependencies_blocked"))
                    );
                }
            }
        }
        for asked in &self.asked {
            let found = rows.values().filter(|wake| {
                wake.agent_id == asked.agent && wake.idempotency_key.as_deref() == Some(asked.key.as_str())
            });
            assert_eq!(found.count(), 1, "{} is on record", asked.key);
        }
        for said in &self.said {
            let count = told.get(said).map_or(0, BTreeSet::len);
            assert_eq!(count, 1, "{said:?} was read in {count} runs");
        }
        for freed in &self.freed {
            assert!(worked.contains(freed), "{freed:?} was never begun");
        }
        delivered
    }

    /// Now everybody is idle: from the wake to the process is a moment.
    async fn idle_agents_start_at_once(&self, server: &Server) -> Duration {
        let mut took = Vec::new();
        for number in 0..40 {
            let id = self.agents[number % AGENTS].id.clone();
            let since = Instant::now();
            let (run, process) = server.start_run(&self.world, &id, &format!("idle {number}")).await;
            took.push(since.elapsed());
            say_result(&self.world.model, &process, Some("Done."), false);
            self.world.over(&run.id).await;
        }
        took.sort();
        let slow = took[took.len() * 95 / 100];
        assert!(slow <= Duration::from_secs(1), "{took:?}");
        slow
    }
}

/// A run that goes on with what an earlier one was told.
fn is_given_on(run: &Run) -> bool {
    let reason = run.context["wakeReason"].as_str();
    run.retry_of_run_id.is_some()
        || matches!(
            reason,
            Some("issue_continuation_needed" | "missing_issue_comment" | "process_lost_retry")
        )
}

/// What a dependent may wait after its blocker is not in its way any more.
const HANDLED_WITHIN: Duration = Duration::from_secs(30);

both_stores! {
    async fn a_dependent_is_handled_in_time_although_no_ring_tells_of_its_blocker(world) {
        // A lost ring costs what the period makes of it: a fifth of the product's own, and a fifth of the time allowed.
        let period = Settings::default().period / 5;
        let engine = world.engine_with(Settings { period, ..world.settings() }).await;
        let company = world.company(&engine).await;
        let board = Board { world: world.clone(), engine, company };
        let ada = board.agent("Ada").await;
        let mut waiting = Vec::new();
        for (becomes, ordered) in [
            (IssueStatus::Done, Some("issue_blockers_resolved")),
            (IssueStatus::Cancelled, Some("issue_blocker_cancelled")),
            // Nobody wrote down that anybody is to be told.
            (IssueStatus::Done, None),
        ] {
            let blocker = board.issue("blocks", IssueStatus::Todo, None).await;
            let draft = IssueDraft { blocked_by: vec![blocker.id.clone()], ..board.draft("waits", Some(&ada)) };
            waiting.push((blocker.id, becomes, ordered, board.issue_like(draft).await));
        }
        until_no_order(&world).await;
        assert_eq!(world.runs_of(&ada.id).await.len(), 0);
        let since = Instant::now();
        for (blocker, becomes, ordered, issue) in &waiting {
            // What the change of a blocker writes, without anybody being rung.
            board.set_status(blocker, *becomes).await;
            let Some(reason) = ordered else { continue };
            let id = issue.id.clone();
            let is_done = *becomes == IssueStatus::Done;
            let written = world.store.write(move |tx| {
                let id = id.clone();
                Box::pin(async move { store::issues::set_waits_on_blockers(tx, &id, !is_done).await })
            });
            written.await.unwrap();
            place(&board, &ada, Some(issue), reason).await;
        }
        for (_, _, ordered, issue) in &waiting {
            let run = world.eventually("a run on the dependent", || async {
                let runs = world.runs_of(&ada.id).await;
                runs.into_iter().find(|run| run.issue_id.as_deref() == Some(issue.id.as_str()))
            }).await;
            world.model.until_alive(&World::first(&run.id)).await;
            assert_eq!(run.context["wakeReason"], ordered.unwrap_or("issue_blockers_resolved"));
        }
        eprintln!("dependents are handled {:?} after the last ring was lost", since.elapsed());
        assert!(since.elapsed() <= HANDLED_WITHIN / 5, "{:?}", since.elapsed());
        board.engine.leave().await;
    }

    async fn who_waits_for_work_that_is_given_up_hears_of_it_in_time(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let blocker = board.quiet("blocks", IssueStatus::Todo, Some(&ada)).await;
        let draft = IssueDraft { blocked_by: vec![blocker.id.clone()], ..board.draft("waits", Some(&bob)) };
        let waits = board.issue_like(draft).await;
        until_no_order(&world).await;
        let bobs = bob.id.clone();
        world.model.on_start(move |model, process, command| {
            let is_bobs = command.env.iter().any(|(_, value)| value == bobs.as_str());
            if !is_bobs {
                fail(model, process);
            }
        });
        board.engine.wake(&ada.id, crate::issue_wakes::about(&blocker.id, "issue_assigned")).await.unwrap();
        world.eventually("a blocked issue", || async {
            world.clock.advance(Duration::from_secs(5));
            board.engine.nudge();
            (board.row(&blocker.id).await.status == IssueStatus::Blocked).then_some(())
        }).await;
        let given_up = Instant::now();
        let (run, _) = under_way(&world, &bob.id).await;
        assert_eq!(run.issue_id.as_deref(), Some(waits.id.as_str()));
        assert_eq!(run.context["wakeReason"], "issue_blocker_cancelled");
        assert!(given_up.elapsed() <= HANDLED_WITHIN, "{:?}", given_up.elapsed());
    }
}

async fn until_no_order(world: &World) {
    let look = || async {
        let left: i64 = world.read(|tx| Box::pin(store::orders::count(tx))).await;
        (left == 0).then_some(())
    };
    world.eventually("an empty outbox", look).await;
}
