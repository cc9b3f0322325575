//! One store, one model of processes, one clock and one set of dice, and what most tests make first in them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::{AgentId, CompanyId, RunId, WakeId};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest};
use engine::{AgentDraft, Clock, Engine, EngineError, ProcessId, Processes, Settings, Woken};
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::runs::{Run, RunEvent};
use store::wakes::Wake;
use store::{Store, StoreError, Target};

use crate::{Model, SimClock, SimDice, postgres};

/// 2026-01-01, noon.
pub const NOON: Moment = Moment::from_micros(1_767_268_800_000_000);

/// How long a test waits for what must come; long, because it is waited for only when something is wrong.
pub const fn patience() -> Duration {
    Duration::from_secs(30)
}

/// How long what a scenario limits to this may take: that in the long form (`BUGLE_SOAK`), which has the machine to itself,
/// and five times that (D27) where hundreds of tests share it.
pub fn within(limit: Duration) -> Duration {
    if std::env::var_os("BUGLE_SOAK").is_some() { limit } else { limit * 5 }
}

/// Runs a test twice, each time in a world of its own: on SQLite in memory, and on PostgreSQL where it is installed.
#[macro_export]
macro_rules! both_stores {
    ($(async fn $name:ident($world:pat) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn body($world: $crate::World) $body

            #[test]
            fn on_sqlite() {
                $crate::on_sqlite(body);
            }

            #[test]
            fn on_postgres() {
                $crate::on_postgres(body);
            }
        }
    )*};
}

/// Runs a test on SQLite in memory.
pub fn on_sqlite<F: Future<Output = ()>>(body: impl FnOnce(World) -> F) {
    on(Target::Memory, body);
}

/// Runs a test in a PostgreSQL database of its own; does nothing, and says so, where PostgreSQL is not installed.
pub fn on_postgres<F: Future<Output = ()>>(body: impl FnOnce(World) -> F) {
    if let Some(database) = postgres::database() {
        on(Target::Postgres(database.url), body);
    }
}

fn on<F: Future<Output = ()>>(target: Target, body: impl FnOnce(World) -> F) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new(target).await;
        let store = Arc::clone(&world.store);
        body(world).await;
        store.close().await;
    });
    // Tasks of engines that nobody told to leave.
    runtime.shutdown_background();
}

/// What tests happen in; clones share it.
#[derive(Debug, Clone)]
pub struct World {
    pub store: Arc<Store>,
    pub target: Target,
    pub model: Model,
    pub clock: Arc<SimClock>,
    pub dice: Arc<SimDice>,
    folder: Arc<tempfile::TempDir>,
}

impl World {
    /// A new world at noon.
    pub async fn new(target: Target) -> World {
        let settings = store::Settings { pg_pool: 8, readers: 2, ..store::Settings::default() };
        let store = Store::open(&target, settings, NOON.micros()).await.unwrap();
        World {
            store: Arc::new(store),
            target,
            model: Model::new(),
            clock: Arc::new(SimClock::at(NOON)),
            dice: Arc::new(SimDice::seeded(1)),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    /// The same world with other processes: another machine, or one that was kept from an earlier world.
    pub fn with_model(self, model: Model) -> World {
        World { model, ..self }
    }

    /// Settings in which no sweep comes by itself within the patience of a test: a lost ring is a failed test.
    pub fn settings(&self) -> Settings {
        Settings {
            data_dir: self.folder.path().to_owned(),
            node_id: "node-1".to_owned(),
            program: "/proc/self/exe".into(),
            max_runs: 64,
            period: Duration::from_secs(120),
            ..Settings::default()
        }
    }

    /// An engine in the runtime of the test.
    pub async fn engine(&self) -> Engine {
        self.engine_with(self.settings()).await
    }

    pub async fn engine_with(&self, settings: Settings) -> Engine {
        self.engine_on(Arc::clone(&self.store), self.model.port(), settings).await
    }

    pub async fn engine_on(&self, store: Arc<Store>, port: Arc<dyn Processes>, settings: Settings) -> Engine {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Engine::start(store, port, clock, Arc::clone(&self.dice) as _, settings).await.unwrap()
    }

    /// A company.
    pub async fn company(&self, engine: &Engine) -> CompanyId {
        engine.create_company("Acme", None, 0, &Actor::local_board()).await.unwrap().id
    }

    /// An agent that speaks, with this many slots, in a company of its own.
    pub async fn agent(&self, engine: &Engine, slots: u32) -> Agent {
        self.agent_like(engine, scripted(slots)).await
    }

    /// An agent of this kind in a company of its own.
    pub async fn agent_like(&self, engine: &Engine, draft: AgentDraft) -> Agent {
        let company = self.company(engine).await;
        engine.create_agent(&company, draft, &Actor::local_board()).await.unwrap()
    }

    /// Wakes an agent for a task; returns the run.
    pub async fn wake(&self, engine: &Engine, agent: &AgentId, task: &str) -> Run {
        ran(engine.wake(agent, request(task)).await)
    }

    /// Wakes an agent and waits until the process lives.
    pub async fn start(&self, engine: &Engine, agent: &AgentId, task: &str) -> (Run, ProcessId) {
        let run = self.wake(engine, agent, task).await;
        let id = first(&run.id);
        self.model.until_alive(&id).await;
        (run, id)
    }

    pub async fn run(&self, id: &RunId) -> Run {
        self.find_run(id).await.expect("a run of that id")
    }

    pub async fn find_run(&self, id: &RunId) -> Option<Run> {
        let id = id.clone();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::runs::get(tx, &id).await })
        })
        .await
    }

    pub async fn agent_row(&self, id: &AgentId) -> Agent {
        let id = id.clone();
        let read = self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::agents::get(tx, &id).await })
        });
        read.await.expect("an agent of that id")
    }

    /// All runs of an agent, oldest first.
    pub async fn runs_of(&self, agent: &AgentId) -> Vec<Run> {
        let id = agent.clone();
        let read = self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                store::runs::listed(tx, &store::runs::Listed::Agent(id), None, None, 10_000).await
            })
        });
        let mut runs = read.await;
        runs.reverse();
        runs
    }

    /// All wakes of an agent, oldest first.
    pub async fn wakes_of(&self, agent: &AgentId) -> Vec<Wake> {
        let id = agent.clone();
        let read = self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::wakes::of_agent(tx, &id, None, 10_000).await })
        });
        let mut wakes = read.await;
        wakes.reverse();
        wakes
    }

    pub async fn wake_row(&self, id: &WakeId) -> Wake {
        let id = id.clone();
        let read = self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::wakes::get(tx, &id).await })
        });
        read.await.expect("a wake of that id")
    }

    /// The events of a run, in order.
    pub async fn events(&self, run: &RunId) -> Vec<RunEvent> {
        let id = run.clone();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::runs::events_after(tx, &id, 0, 10_000).await })
        })
        .await
    }

    /// What an agent carries from run to run.
    pub async fn runtime_state(&self, agent: &AgentId) -> Option<store::sessions::RuntimeState> {
        let id = agent.clone();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::sessions::runtime_state(tx, &id).await })
        })
        .await
    }

    /// The event log of a company, from its beginning.
    pub async fn company_events(&self, company: &CompanyId) -> Vec<store::events::StoredEvent> {
        let id = company.clone();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::events::after(tx, Some(id.as_str()), 0, 100_000).await })
        })
        .await
    }

    /// The ids of the next entries in the log of a company.
    pub async fn company_events_after(&self, company: &CompanyId, after: i64, limit: i64) -> Vec<i64> {
        let id = company.clone();
        let read = self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::events::after(tx, Some(id.as_str()), after, limit).await })
        });
        read.await.into_iter().map(|event| event.id).collect()
    }

    /// The words of the events of a run, in order.
    pub async fn messages(&self, run: &RunId) -> Vec<String> {
        self.events(run).await.into_iter().filter_map(|event| event.message).collect()
    }

    /// Reads from the store of the test.
    pub async fn read<T, F>(&self, closure: F) -> T
    where
        F: for<'t, 'c> Fn(&'t mut store::Tx<'c>) -> store::BoxFuture<'t, Result<T, StoreError>>
            + Send
            + Sync
            + 'static,
        T: Send + 'static,
    {
        self.store.read(closure).await.unwrap()
    }

    /// Waits until a look at the world gives something.
    pub async fn eventually<T, F>(&self, what: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        let waited = tokio::time::timeout(patience(), async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                // The store rings no bell for strangers: it is asked again.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// Waits until a run is so.
    pub async fn run_until(&self, id: &RunId, what: &str, so: impl Fn(&Run) -> bool) -> Run {
        let last = std::cell::RefCell::new(None);
        let waited = tokio::time::timeout(patience(), async {
            loop {
                let run = self.find_run(id).await;
                if let Some(run) = run.as_ref().filter(|run| so(run)) {
                    return run.clone();
                }
                last.replace(run);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        waited.unwrap_or_else(|_| panic!("the run never was {what}: {:#?}", last.borrow()))
    }

    /// Waits until a run is over.
    pub async fn over(&self, id: &RunId) -> Run {
        self.run_until(id, "over", |run| run.status.is_final()).await
    }

    /// Waits until a run has this status.
    pub async fn until(&self, id: &RunId, status: RunStatus) -> Run {
        self.run_until(id, status.as_str(), |run| run.status == status).await
    }
}

impl World {
    /// An agent that speaks: the terminal event decides how its runs end.
    pub fn scripted(slots: u32) -> AgentDraft {
        scripted(slots)
    }

    /// An agent that is a plain command: its exit decides.
    pub fn plain(slots: u32) -> AgentDraft {
        AgentDraft {
            name: "Plain".to_owned(),
            adapter_type: "process".to_owned(),
            adapter_config: json!({ "command": "/bin/true", "graceSec": 1 }),
            runtime_config: json!({ "heartbeat": { "maxConcurrentRuns": slots } }),
            ..AgentDraft::default()
        }
    }

    /// A wake for a task; without one for an empty name.
    pub fn request(task: &str) -> WakeRequest {
        request(task)
    }

    /// The same with an idempotency key and the hash of its body.
    pub fn keyed(task: &str, key: &str, body: &str) -> WakeRequest {
        WakeRequest {
            idempotency_key: Some(key.to_owned()),
            body_hash: engine::body_hash(&json!({ "body": body })),
            ..request(task)
        }
    }

    /// The first process of a run.
    pub fn first(run: &RunId) -> ProcessId {
        first(run)
    }

    /// The run that a wake came to.
    pub fn ran(woken: Result<Woken, EngineError>) -> Run {
        ran(woken)
    }
}

fn scripted(slots: u32) -> AgentDraft {
    AgentDraft {
        name: "Speaker".to_owned(),
        adapter_type: "scripted".to_owned(),
        adapter_config: json!({ "script": "hang", "graceSec": 1 }),
        runtime_config: json!({ "heartbeat": { "maxConcurrentRuns": slots } }),
        ..AgentDraft::default()
    }
}

fn request(task: &str) -> WakeRequest {
    let mut context: Map<String, Json> = Map::new();
    if !task.is_empty() {
        context.insert("taskKey".to_owned(), task.into());
    }
    WakeRequest {
        source: Source::OnDemand,
        trigger_detail: Some(TriggerDetail::Manual),
        reason: Some("test".to_owned()),
        payload: Map::new(),
        context,
        idempotency_key: None,
        body_hash: String::new(),
        actor: Actor::local_board(),
        carries_on: false,
    }
}

fn first(run: &RunId) -> ProcessId {
    ProcessId { run: run.clone(), epoch: 1 }
}

fn ran(woken: Result<Woken, EngineError>) -> Run {
    match woken {
        Ok(Woken::Run(run)) => *run,
        other => panic!("the wake came to no run: {other:?}"),
    }
}
