//! The centrepiece: a server killed at any instant loses nothing and doubles nothing.
//!
//! Each round is a world of ten agents. A seed decides what is asked of them (wakes with and without keys, cancels, pauses,
//! terminations of work, timers), what their processes do, and when the server is killed. After every kill, and at the end,
//! the invariants are looked at. `BUGLE_SOAK=n` plays n times as many rounds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::agent::PauseReason;
use domain::ids::{AgentId, RunId};
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::wake::{Actor, WakeStatus};
use engine::{EngineError, ProcessId, Settings, Woken};
use serde_json::json;
use store::agents::Agent;
use store::runs::Run;
use testkit::{Journal, Obedience, Refusal, Server, SimDice, World, on_postgres, on_sqlite};

const AGENTS: usize = 10;
const KILLS: usize = 20;
/// A round in which too little happened goes on, up to so many: on a busy machine a server may live too short to do much.
const MOST_KILLS: usize = 400;
const RUNS: usize = 50;

/// Plays so many rounds, or as many times more as a soak asks for; they mostly wait, so a few go side by side.
fn play_all(first: u64, short: u64, play: fn(u64)) {
    let times = std::env::var("BUGLE_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let seeds: Vec<u64> = (first..first + short * times).collect();
    for some in seeds.chunks(3) {
        std::thread::scope(|scope| {
            for &seed in some {
                scope.spawn(move || play(seed));
            }
        });
    }
}

#[test]
fn a_server_killed_at_any_instant_loses_nothing_and_doubles_nothing_on_sqlite() {
    play_all(0, 3, |seed| on_sqlite(|world| Round::play(world, seed)));
}

#[test]
fn a_server_killed_at_any_instant_loses_nothing_and_doubles_nothing_on_postgres() {
    play_all(1000, 3, |seed| on_postgres(|world| Round::play(world, seed)));
}

struct Round {
    world: World,
    dice: Arc<SimDice>,
    agents: Vec<Agent>,
    /// Keys and the run that their wake was answered with.
    answered: HashMap<String, RunId>,
    /// Every run that a caller was answered with.
    promised: Vec<RunId>,
    asked: usize,
    /// How often it may ask; more in a round that goes on.
    may_ask: usize,
    seed: u64,
}

impl Round {
    fn settings(&self) -> Settings {
        Settings { period: Duration::from_millis(30), max_runs: 12, ..self.world.settings() }
    }

    async fn play(world: World, seed: u64) {
        let dice = Arc::new(SimDice::seeded(seed));
        let mut round = Round {
            world,
            dice,
            agents: Vec::new(),
            answered: HashMap::new(),
            promised: Vec::new(),
            asked: 0,
            may_ask: RUNS,
            seed,
        };
        let server = Server::start(&round.world, round.settings()).await;
        for number in 0..AGENTS {
            let slots = 1 + (number as u32 % 3);
            let mut draft = World::scripted(slots);
            if number % 5 == 4 {
                draft.runtime_config["heartbeat"] =
                    json!({ "enabled": true, "intervalSec": 60, "maxConcurrentRuns": slots });
            }
            let world = round.world.clone();
            let agent =
                server.call(move |engine| async move { world.agent_like(&engine, draft).await }).await;
            round.agents.push(agent);
        }
        server.kill(&round.world).await;
        for kill in 0..MOST_KILLS {
            if kill >= KILLS {
                if round.has_shown_enough().await {
                    break;
                }
                round.may_ask += 5;
            }
            let server = Server::start(&round.world, round.settings()).await;
            round.live(&server).await;
            server.kill(&round.world).await;
            round.at_any_time().await;
        }
        round.until_quiet().await;
    }

    /// A stretch of life: things are asked, processes do something, and at some instant it is over.
    async fn live(&mut self, server: &Server) {
        let steps = 3 + self.dice.roll(12);
        for _ in 0..steps {
            match self.dice.roll(10) {
                0..5 => self.ask(server).await,
                5..9 => self.act(),
                _ => self.wait().await,
            }
        }
        self.wait().await;
    }

    /// Lets the server run for a while: a few turns of the scheduler, or up to some milliseconds.
    async fn wait(&self) {
        if self.dice.roll(3) == 0 {
            for _ in 0..self.dice.roll(20) {
                tokio::task::yield_now().await;
            }
            return;
        }
        // The length is the point here: nothing is waited for, the kill is to come at any instant.
        tokio::time::sleep(Duration::from_micros(self.dice.roll(15_000))).await;
    }

    async fn ask(&mut self, server: &Server) {
        let agent = self.agents[self.dice.roll(AGENTS as u64) as usize].id.clone();
        let task = ["", "a", "b", "c"][self.dice.roll(4) as usize];
        let board = Actor::local_board();
        match self.dice.roll(20) {
            0..12 if self.asked < self.may_ask => {
                self.asked += 1;
                let key = (self.dice.roll(2) == 0).then(|| format!("key-{}", self.dice.roll(30)));
                let request = match &key {
                    Some(key) => World::keyed(task, key, task),
                    None => World::request(task),
                };
                let id = agent.clone();
                let asked = server.send(move |engine| async move { engine.wake(&id, request).await });
                // Some are answered, some callers go away first.
                if self.dice.roll(2) == 0
                    && let Ok(Ok(Woken::Run(run))) = asked.await
                {
                    self.promised.push(run.id.clone());
                    let Some(key) = key else { return };
                    let known =
                        self.answered.entry(format!("{agent}/{key}")).or_insert_with(|| run.id.clone());
                    assert_eq!(*known, run.id, "seed {}: one key, two runs", self.seed);
                }
            }
            0..14 => {
                self.world.clock.advance(Duration::from_secs(self.dice.roll(90)));
                server.engine().nudge();
            }
            14..16 => {
                let live: Vec<Run> =
                    self.world.runs_of(&agent).await.into_iter().filter(|run| run.status.is_live()).collect();
                if let Some(run) = live.first() {
                    let id = run.id.clone();
                    drop(
                        server.send(move |engine| async move { engine.cancel_run(&id, None, &board).await }),
                    );
                }
            }
            16..18 => {
                drop(server.send(move |engine| async move {
                    engine.pause_agent(&agent, PauseReason::Manual, &board).await
                }));
            }
            18 => {
                drop(server.send(move |engine| async move { engine.cancel_work(&agent, &board).await }));
            }
            _ => drop(server.send(move |engine| async move { engine.resume_agent(&agent, &board).await })),
        }
    }

    /// Some process does something, or the machine.
    fn act(&self) {
        let model = &self.world.model;
        match self.dice.roll(30) {
            // A start in the middle of which a server may be killed; it comes through later, when another server lives.
            0 => model.hold_starts(),
            1..4 => model.release_starts(),
            4 => model.refuse_starts(Some([Refusal::Before, Refusal::After][self.dice.roll(2) as usize])),
            5..8 => model.refuse_starts(None),
            8 => model.fail_sweeps(1),
            _ => {}
        }
        let alive = model.alive();
        if alive.is_empty() {
            return;
        }
        let id = &alive[self.dice.roll(alive.len() as u64) as usize];
        match self.dice.roll(16) {
            0..3 => model.say_usage(id, 1, 1, 1),
            3 => model.print(id, "a line\n"),
            4 => model.say_session(id, &format!("session-{}", id.run)),
            5..12 => {
                model.say_done(id);
                model.exit(id, 0);
            }
            12 => model.exit(id, 1),
            13 => {
                model.say_failed(id, ErrorClass::Transient, None);
                model.exit(id, 1);
            }
            14 => {
                model.say_failed(id, ErrorClass::SessionGone, None);
                model.exit(id, 1);
            }
            _ => model.lose_keeper(id),
        }
        if self.dice.roll(10) == 0 {
            let obedience = [Obedience::AtOnce, Obedience::Later][self.dice.roll(2) as usize];
            model.set_obedience(&alive[0], obedience);
        }
    }

    /// What holds at every instant.
    async fn at_any_time(&self) {
        let seed = self.seed;
        for (process, starts) in self.world.model.all_starts() {
            assert!(starts <= 1, "seed {seed}: {process:?} was started {starts} times");
        }
        let mut scopes: HashMap<RunId, (AgentId, String)> = HashMap::new();
        let mut rows: HashMap<RunId, Run> = HashMap::new();
        for agent in &self.agents {
            let runs = self.world.runs_of(&agent.id).await;
            let (mut running, mut waiting) = (HashSet::new(), HashSet::new());
            let ids: HashSet<&RunId> = runs.iter().map(|run| &run.id).collect();
            for run in &runs {
                match run.status {
                    RunStatus::Running => {
                        assert!(
                            running.insert(run.task_key.clone()),
                            "seed {seed}: two running in one scope"
                        );
                    }
                    RunStatus::Queued | RunStatus::ScheduledRetry => {
                        assert!(
                            waiting.insert(run.task_key.clone()),
                            "seed {seed}: two waiting in one scope"
                        );
                    }
                    RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut => {
                        assert!(run.finished_at.is_some());
                    }
                }
                let seqs: Vec<i64> = self.world.events(&run.id).await.iter().map(|event| event.seq).collect();
                assert_eq!(seqs, (1..=run.event_seq).collect::<Vec<_>>(), "seed {seed}: {}", run.id);
                scopes.insert(run.id.clone(), (run.agent_id.clone(), run.task_key.clone()));
            }
            for wake in self.world.wakes_of(&agent.id).await {
                match (&wake.run_id, wake.status) {
                    (Some(run), _) => {
                        assert!(ids.contains(run), "seed {seed}: a wake of a run that is not there")
                    }
                    (None, WakeStatus::Skipped | WakeStatus::Failed) => assert!(wake.reason.is_some()),
                    (None, other) => panic!("seed {seed}: a wake is {other} and has no run"),
                }
            }
            rows.extend(runs.into_iter().map(|run| (run.id.clone(), run)));
        }
        // What the processes say: never two at once in a scope, and a second one only after the first was over.
        let mut alive: HashMap<&(AgentId, String), &ProcessId> = HashMap::new();
        let journal = self.world.model.journal();
        for entry in &journal {
            match entry {
                Journal::Started(id) => {
                    let scope = scopes.get(&id.run).expect("no process without a run on record");
                    let other = alive.insert(scope, id);
                    assert!(other.is_none(), "seed {seed}: {id:?} was started beside {other:?}");
                    assert!(
                        rows[&id.run].lease_epoch >= id.epoch,
                        "seed {seed}: a process of an epoch to come"
                    );
                }
                Journal::Ended(id) => {
                    alive.remove(&scopes[&id.run]);
                }
            }
        }
    }

    /// Everything is let go; then nobody may be stuck.
    async fn until_quiet(&mut self) {
        let seed = self.seed;
        self.world.model.release_starts();
        self.world.model.refuse_starts(None);
        let server = Server::start(&self.world, self.settings()).await;
        for agent in &self.agents {
            let id = agent.id.clone();
            let resumed = server
                .call(move |engine| async move { engine.resume_agent(&id, &Actor::local_board()).await })
                .await;
            assert!(!matches!(resumed, Err(EngineError::Store(_))), "seed {seed}: {resumed:?}");
        }
        // Keys that were answered are answered the same way for ever.
        let world = self.world.clone();
        let quiet = world.eventually("everybody at rest", || async {
            for id in self.world.model.alive() {
                self.world.model.say_done(&id);
                self.world.model.exit(&id, 0);
            }
            let mut live = 0;
            for agent in &self.agents {
                let runs = self.world.runs_of(&agent.id).await;
                if runs.iter().any(|run| run.status == RunStatus::ScheduledRetry) {
                    self.world.clock.advance(Duration::from_secs(3 * 3600));
                    server.engine().nudge();
                }
                live += runs.iter().filter(|run| run.status.is_live()).count();
                live += self
                    .world
                    .wakes_of(&agent.id)
                    .await
                    .iter()
                    .filter(|wake| !wake.status.is_final())
                    .count();
            }
            (live == 0).then_some(())
        });
        quiet.await;
        // Timers may have fired again meanwhile: they are switched off by pausing, so that the last look is at rest.
        for agent in &self.agents {
            let id = agent.id.clone();
            let paused = server
                .call(move |engine| async move {
                    engine.pause_agent(&id, PauseReason::Manual, &Actor::local_board()).await
                })
                .await;
            paused.unwrap();
        }
        self.at_any_time().await;
        for agent in &self.agents {
            for run in self.world.runs_of(&agent.id).await {
                let started = self.world.model.started(&run.id);
                assert!(started.len() <= 1 + usize::from(run.fresh_start_used), "seed {seed}: {run:#?}");
                if run.status == RunStatus::Succeeded {
                    assert_eq!(started.last().map(|id| id.epoch), Some(run.lease_epoch), "seed {seed}");
                }
                if run.lease_epoch == 0 {
                    assert!(started.is_empty());
                }
            }
        }
        for run in &self.promised {
            assert!(self.world.find_run(run).await.is_some(), "seed {seed}: the answer {run} is gone");
        }
        server.leave(&self.world).await;
        self.say_what_it_was().await;
    }

    /// A round in which nothing happened proves nothing.
    async fn has_shown_enough(&self) -> bool {
        self.processes() >= 10 && self.takeovers().await >= 5
    }

    fn processes(&self) -> usize {
        self.world.model.all_starts().iter().filter(|(_, starts)| *starts > 0).count()
    }

    async fn takeovers(&self) -> usize {
        let mut count = 0;
        for agent in &self.agents {
            for run in self.world.runs_of(&agent.id).await {
                let messages = self.world.messages(&run.id).await;
                count += messages.iter().filter(|words| words.contains("restarted server")).count();
            }
        }
        count
    }

    /// For the figures of long rounds.
    async fn say_what_it_was(&self) {
        let mut ends: HashMap<&'static str, usize> = HashMap::new();
        let mut second_epochs = 0;
        for agent in &self.agents {
            for run in self.world.runs_of(&agent.id).await {
                *ends.entry(run.status.as_str()).or_default() += 1;
                second_epochs += usize::from(run.lease_epoch > 1);
            }
        }
        let (processes, taken_over) = (self.processes(), self.takeovers().await);
        eprintln!(
            "seed {}: {} wakes, runs {ends:?}, {processes} processes, {second_epochs} with a second epoch, {taken_over} takeovers",
            self.seed, self.asked
        );
        assert!(self.has_shown_enough().await, "seed {}: too little happened to prove anything", self.seed);
    }
}
