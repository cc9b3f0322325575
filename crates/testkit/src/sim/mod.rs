//! A simulation: many agents, issues, blockers, holds, budgets and wakes over simulated days, in a moment of real time; and
//! automations with their gates and schedules, where a script asks for them.
//!
//! Store and engine are the real ones; processes are a [`Model`], time is a number, and everything that could go either
//! way is decided by one seed: what people ask, what programs do, whose transaction comes first, when the server dies.
//! A seed is a history that can be played again. After every step the rules of `rules.rs` are looked at, and in the end,
//! when nobody does anything any more, everything must come to rest.
//!
//! On SQLite a history is the same each time, to the last id. PostgreSQL answers in its own time: there a seed decides
//! what happens, and not always in which order.

mod acts;
mod automations;
mod breakage;
mod life;
mod records;
mod rules;
mod turns;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::automation::AutomationStatus;
use domain::budget::{Scope, ScopeKind};
use domain::ids::{AgentId, AutomationId, AutomationRunId, CompanyId, GateId, IssueId};
use domain::wake::Actor;
use engine::{AgentDraft, AgentPatch, Settings};
use serde_json::json;
use store::{Store, Target};
use tokio::task::JoinHandle;

use crate::{Model, NOON, SimClock, SimDice};
use automations::{Trail, Work};
use life::{Life, Surroundings};
use records::Records;
use rules::{Known, Promises};
use turns::{Death, Halt};

pub use breakage::Breakage;

/// The dearest message of a program, in micro-dollars.
const DEAREST: i64 = 20_000;
const AGENTS: u64 = 5;
/// Longer than any sweep sleeps by itself.
const A_WHILE: Duration = Duration::from_secs(31);
/// As many rounds everything has to come to rest when nobody does anything any more.
const ROUNDS: usize = 60;
/// So much of the diary is told of a history that went wrong.
const LAST: usize = 40;

/// What is played.
#[derive(Debug, Clone)]
pub struct Script {
    pub steps: usize,
    /// Automations are played as well.
    pub has_automations: bool,
    /// A rule that is broken, from outside.
    pub breaks: Option<Breakage>,
    /// The embedded store of a history that goes wrong is kept, to be looked at.
    pub keeps_store: bool,
}

/// A history in which a rule did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    pub words: String,
    /// The last things that happened.
    pub diary: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.words)?;
        self.diary.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// What a history came to: one in which nothing happened proves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    pub transactions: u64,
    pub runs: usize,
    pub wakes: usize,
    pub issues: usize,
    pub automation_runs: usize,
    /// Attempts at steps.
    pub attempts: usize,
    /// Decisions at gates that were taken.
    pub decisions: usize,
    pub slots: usize,
    pub crashes: usize,
    pub simulated: Duration,
    /// What became of every run and every wake.
    pub fates: Vec<String>,
    pub diary: Vec<String>,
}

/// Where histories are played.
#[derive(Debug, Clone)]
pub enum Ground {
    Memory,
    Postgres(String),
}

/// Plays one history.
pub fn play(ground: &Ground, seed: u64, script: &Script) -> Result<Story, Box<Failure>> {
    let folder = tempfile::Builder::new().prefix("bugle-simulation-").tempdir_in(memory()).unwrap();
    let target = match ground {
        Ground::Postgres(url) => Target::Postgres(url.clone()),
        Ground::Memory => {
            let file = folder.path().join("store.sqlite");
            std::fs::write(&file, template()).unwrap();
            Target::Sqlite(file)
        }
    };
    let mut simulation = Simulation::begin(target, seed, script, folder.path());
    let outcome = simulation.play();
    let story = simulation.story();
    if let Some(life) = simulation.life.take() {
        life.end_for_good();
    }
    match outcome {
        Ok(()) => Ok(story),
        Err(mut words) => {
            if script.keeps_store {
                words.push_str(&format!("; the store is kept in {}", folder.keep().display()));
            }
            let from = simulation.diary.len().saturating_sub(LAST);
            Err(Box::new(Failure { seed, words, diary: simulation.diary.split_off(from) }))
        }
    }
}

/// A folder on a memory file system, where there is one.
fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

/// An empty store with its schema, made once: making it takes longer than a history.
fn template() -> &'static [u8] {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("bugle-simulation-").tempdir_in(memory()).unwrap();
        let file = folder.path().join("store.sqlite");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let target = Target::Sqlite(file.clone());
            let store = Store::open(&target, store::Settings::default(), NOON.micros()).await.unwrap();
            store.close().await;
        });
        std::fs::read(&file).unwrap()
    })
}

/// What a request made.
pub(crate) enum Made {
    Nothing,
    Issue(IssueId),
    /// An automation, by the number in its name.
    Automation(u64, AutomationId),
    /// A run of an automation, and the key that it was asked for with.
    Started {
        run: AutomationRunId,
        key: Option<String>,
    },
    /// A decision at a gate was taken.
    Decided(GateId),
    /// What must never happen.
    Trouble(String),
}

/// A history under way.
pub(crate) struct Simulation {
    around: Surroundings,
    life: Option<Life>,
    dice: SimDice,
    script: Script,
    company: CompanyId,
    agents: Vec<AgentId>,
    /// Issues that somebody was told of.
    issues: Vec<IssueId>,
    promises: Promises,
    /// What each run said that it cost.
    said: HashMap<String, i64>,
    most_alive: i64,
    pending: Vec<JoinHandle<Made>>,
    records: Records,
    automations: automations::Known,
    work: Work,
    trail: Trail,
    diary: Vec<String>,
    crashes: usize,
    transactions: u64,
    passed: Duration,
    can_abandon: bool,
    can_crash: bool,
    has_broken: bool,
}

impl Simulation {
    fn begin(target: Target, seed: u64, script: &Script, folder: &Path) -> Simulation {
        let model = Model::new();
        model.never_block();
        let clock = Arc::new(SimClock::at(NOON));
        model.keep_time(Arc::clone(&clock) as _);
        // Without a period a lost ring is lost for good: what it costs must be found out, and is by a test.
        let is_deaf = script.breaks == Some(Breakage::NoPeriod);
        let period = Duration::from_secs(if is_deaf { 100_000_000 } else { 5 });
        let settings = Settings {
            data_dir: folder.to_owned(),
            node_id: "node-1".to_owned(),
            program: "/proc/self/exe".into(),
            max_runs: 4,
            max_automation_runs: automations::PLACES,
            period,
            ..Settings::default()
        };
        let mut known = automations::Known::default();
        if script.has_automations {
            let root = folder.canonicalize().unwrap();
            known.folders = ["one", "other", "one/inner"].iter().map(|name| root.join(name)).collect();
            known.folders.iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
        }
        let dice = SimDice::seeded(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0x1234_5678);
        let engine_dice = Arc::new(SimDice::seeded(dice.number()));
        let mut around = Surroundings { target, model, clock, dice: engine_dice, settings, store: None };
        let life = Life::begin(&mut around, dice.number());
        Simulation {
            around,
            life: Some(life),
            dice,
            script: script.clone(),
            company: CompanyId(String::new()),
            agents: Vec::new(),
            issues: Vec::new(),
            promises: Promises::new(),
            said: HashMap::new(),
            most_alive: 0,
            pending: Vec::new(),
            records: Records::default(),
            automations: known,
            work: Work::default(),
            trail: Trail::default(),
            diary: Vec::new(),
            crashes: 0,
            transactions: 0,
            passed: Duration::ZERO,
            can_abandon: false,
            can_crash: false,
            has_broken: false,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        self.set_up()?;
        (self.can_abandon, self.can_crash) = (true, self.script.breaks != Some(Breakage::NoPeriod));
        for _ in 0..self.script.steps {
            if self.can_crash && self.roll(8) == 0 {
                let turns = 1 + self.roll(12);
                let death = [Death::Before(turns), Death::Unanswered(turns)][self.roll(2) as usize];
                self.note(format!("the server will die: {death:?}"));
                self.life().turns.die(death);
            }
            if self.script.has_automations {
                self.act_among_automations()?;
            } else {
                self.act()?;
            }
            self.break_a_rule();
            // Now and then several things happen at once.
            if self.roll(4) > 0 {
                self.settle()?;
            }
        }
        self.settle()?;
        self.come_to_rest()
    }

    fn set_up(&mut self) -> Result<(), String> {
        let engine = self.life().engine.clone();
        let board = Actor::local_board();
        let made = self.now(async move { engine.create_company("Acme", None, 0, &board).await })?;
        self.company = made.id;
        for number in 0..AGENTS {
            let slots = 1 + number % 2;
            let has_timer = number == 3;
            let heartbeat = json!({ "enabled": has_timer, "intervalSec": 1800, "maxConcurrentRuns": slots });
            let draft = AgentDraft {
                name: format!("Agent{number}"),
                adapter_type: "scripted".to_owned(),
                adapter_config: json!({ "script": "hang", "graceSec": 1 }),
                runtime_config: json!({ "heartbeat": heartbeat }),
                reports_to: self.agents.first().cloned(),
                ..AgentDraft::default()
            };
            let (engine, company) = (self.life().engine.clone(), self.company.clone());
            let agent =
                self.now(async move { engine.create_agent(&company, draft, &Actor::local_board()).await })?;
            self.agents.push(agent.id);
        }
        if self.roll(2) == 0 || self.script.breaks == Some(Breakage::NoCap) {
            let cents = 4 + self.roll(10) as i64;
            self.budget(Scope { kind: ScopeKind::Company, id: self.company.0.clone() }, cents);
        }
        if self.script.has_automations {
            self.someone_applies(0);
            self.settle()?;
            self.someone_applies(1);
        }
        self.settle()
    }

    /// Asks, and waits for the answer; nothing goes wrong meanwhile.
    fn now<T: Send + 'static>(
        &mut self,
        asked: impl Future<Output = Result<T, engine::EngineError>> + Send + 'static,
    ) -> Result<T, String> {
        let task = self.life().spawn(asked);
        self.settle()?;
        let outcome = self.life().outcome(task).ok_or("a request was not answered")??;
        outcome.map_err(|error| format!("a request was refused: {error:?}"))
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("there is always a server")
    }

    fn roll(&self, sides: u64) -> u64 {
        self.dice.roll(sides)
    }

    fn note(&mut self, line: String) {
        self.diary.push(format!("{} {line}", self.passed.as_secs()));
    }

    /// Lets everything happen that happens by itself without time going on, through crashes, and looks at the rules.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            match self.life().quiet() {
                Halt::Quiet => break,
                Halt::Crash => self.crash(),
                Halt::Abandoned => {
                    for task in &self.pending {
                        task.abort();
                    }
                }
            }
        }
        for task in std::mem::take(&mut self.pending) {
            match self.life().outcome(task) {
                Some(Ok(Made::Issue(issue))) => self.issues.push(issue),
                Some(Ok(Made::Automation(number, id))) => {
                    let before = self.automations.automations.insert(number, id.clone());
                    if before.as_ref().is_some_and(|before| *before != id) {
                        return Err(format!("automation-{number} is {before:?} and {id}"));
                    }
                }
                Some(Ok(Made::Started { run, key })) => {
                    self.automations.promised.push(run.clone());
                    let before = key.and_then(|key| self.automations.keys.insert(key, run.clone()));
                    if before.as_ref().is_some_and(|before| *before != run) {
                        return Err(format!("one key started {before:?} and {run}"));
                    }
                }
                Some(Ok(Made::Decided(gate))) => *self.automations.decided.entry(gate).or_default() += 1,
                Some(Ok(Made::Trouble(words)) | Err(words)) => return Err(words),
                Some(Ok(Made::Nothing)) | None => {}
            }
        }
        self.look()
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.note("the server dies, and another one starts".to_owned());
        if let Some(life) = self.life.take() {
            self.transactions += life.turns.count();
            life.end();
        }
        let seed = self.dice.number();
        self.life = Some(Life::begin(&mut self.around, seed));
    }

    fn look(&mut self) -> Result<(), String> {
        self.records = self.life().read(|tx| Box::pin(Records::read(tx)));
        self.most_alive = self.most_alive.max(self.around.model.alive().len() as i64);
        let promised: Vec<String> = self.issues.iter().map(|issue| issue.0.clone()).collect();
        let known = Known {
            model: &self.around.model,
            promises: &self.promises,
            said: &self.said,
            dearest: DEAREST,
            most_alive: self.most_alive,
            promised_issues: &promised,
        };
        rules::at_any_time(&self.records, &known)?;
        if self.script.has_automations { self.look_at_automations() } else { Ok(()) }
    }

    fn look_at_automations(&mut self) -> Result<(), String> {
        let (cursor, known) = (self.work.cursor, std::mem::take(&mut self.work.definitions));
        self.work = self.life().read(move |tx| Box::pin(Work::read(tx, cursor, known.clone())));
        self.trail.follow(&self.work)?;
        automations::at_any_time(&automations::Sight {
            work: &self.work,
            records: &self.records,
            trail: &self.trail,
            known: &self.automations,
            said: &self.said,
        })
    }

    /// Time goes on.
    fn pass(&mut self, by: Duration) -> Result<(), String> {
        self.settle()?;
        let before: Vec<i64> = self.records.orders.iter().map(|order| order.0).collect();
        let due = automations::due(&self.work);
        self.passed += by;
        self.around.clock.advance(by);
        self.life().advance(by);
        self.settle()?;
        if by < A_WHILE {
            return Ok(());
        }
        let now = engine::Clock::now(&*self.around.clock).micros();
        let left = self.records.orders.iter().find(|order| before.contains(&order.0) && order.4 <= now);
        if let Some(order) = left {
            return Err(format!("an order was left lying for {by:?}: {order:?}"));
        }
        let still = automations::due(&self.work);
        let is_left = |it: &&(String, i64)| it.1 <= now - by.as_micros() as i64 && still.contains(it);
        match due.iter().find(is_left) {
            Some((what, _)) => Err(format!("what was due was left lying for {by:?}: {what}")),
            None => automations::reasons(&self.work),
        }
    }

    /// Nobody asks for anything any more, what was paused goes on, and programs end: then everything comes to rest.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.note("nobody asks for anything any more".to_owned());
        (self.can_abandon, self.can_crash) = (false, false);
        self.around.model.refuse_starts(None);
        self.life().turns.live_on();
        self.pass(A_WHILE)?;
        for (root, hold) in self.records.holds.clone() {
            self.release(root, hold);
        }
        for agent in self.agents.clone() {
            let id = agent.clone();
            let heartbeat = json!({ "heartbeat": { "enabled": false, "maxConcurrentRuns": 2 } });
            let patch = AgentPatch { runtime_config: Some(heartbeat), ..AgentPatch::default() };
            self.ask(move |engine| async move {
                match engine.patch_agent(&id, patch, &Actor::local_board()).await {
                    Ok(_) => Made::Nothing,
                    Err(error) => Made::Trouble(format!("cannot change an agent: {error:?}")),
                }
            });
            self.resume(agent);
        }
        self.settle()?;
        for (kind, id, _) in self.promises.keys().cloned().collect::<std::collections::BTreeSet<_>>() {
            let kind = if kind == "company" { ScopeKind::Company } else { ScopeKind::Agent };
            self.budget(Scope { kind, id }, 1_000_000);
        }
        self.settle()?;
        if self.script.has_automations {
            self.automations.is_ending = true;
            self.rest_schedules();
            self.settle()?;
            for automation in self.automations.automations.values().cloned().collect::<Vec<_>>() {
                self.set_status(automation, AutomationStatus::Active);
            }
            self.settle()?;
        }
        let mut at_rest = 0;
        for _ in 0..ROUNDS {
            if self.script.has_automations {
                self.everybody_helps();
                self.settle()?;
            }
            self.everybody_ends()?;
            for seconds in [4 * 3600, 31] {
                self.pass(Duration::from_secs(seconds))?;
            }
            self.reasons()?;
            at_rest = if self.unrest().is_some() { 0 } else { at_rest + 1 };
            if at_rest == 2 {
                rules::at_rest(&self.records)?;
                return automations::at_rest(&self.work);
            }
        }
        Err(format!("it never comes to rest: {:?}", self.unrest()))
    }

    fn unrest(&self) -> Option<String> {
        rules::unrest(&self.records).or_else(|| automations::unrest(&self.work))
    }

    fn everybody_ends(&mut self) -> Result<(), String> {
        // The steps of automations follow one another at once, and so do the runs that wait for a place.
        for _ in 0..if self.script.has_automations { 20 } else { 1 } {
            let alive = self.around.model.alive();
            if alive.is_empty() {
                break;
            }
            for id in alive {
                let Some(run) = self.records.run(id.run.as_str()).cloned() else { continue };
                if self.around.model.is_alive(&id) {
                    self.ends(&id, &run)?;
                }
                self.settle()?;
            }
        }
        Ok(())
    }

    /// No run waits without a reason, once every sweep has looked.
    fn reasons(&mut self) -> Result<(), String> {
        let queued: Vec<String> =
            self.records.runs.iter().filter(|run| run.status == "queued").map(|run| run.id.clone()).collect();
        for run in queued {
            let engine = self.life().engine.clone();
            let run = domain::ids::RunId(run);
            let told = self.now(async move { engine.explain(&run).await })?;
            if told.status == domain::run::RunStatus::Queued && told.held_reason.is_none() {
                return Err(format!("a run waits for nothing: {told:?}"));
            }
        }
        Ok(())
    }

    fn story(&self) -> Story {
        let runs = self
            .records
            .runs
            .iter()
            .map(|run| format!("run {} {} {} {:?}", run.id, run.status, run.epoch, run.finished_at));
        let wakes = self.records.wakes.iter().map(|wake| format!("wake {} {}", wake.id, wake.status));
        let work = &self.work;
        let mine = work.runs.iter().map(|run| {
            let nodes: Vec<_> = work.nodes_of(&run.id).map(|node| (node.state, node.attempt)).collect();
            format!("automation run {} {} {} {nodes:?}", run.id, run.status, run.history_seq)
        });
        let gates = work.gates.iter().map(|gate| format!("gate {} {}", gate.id, gate.status));
        let fates = runs.chain(wakes).chain(mine).chain(gates).collect();
        Story {
            transactions: self.transactions + self.life.as_ref().map_or(0, |life| life.turns.count()),
            runs: self.records.runs.len(),
            wakes: self.records.wakes.len(),
            issues: self.records.issues.len(),
            automation_runs: work.runs.len(),
            attempts: work.attempts.len(),
            decisions: work.gates.iter().filter(|gate| gate.decision.is_some()).count(),
            slots: work.slots.len(),
            crashes: self.crashes,
            simulated: self.passed,
            fates,
            diary: self.diary.clone(),
        }
    }
}
