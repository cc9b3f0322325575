//! A server that can be killed: an engine in a runtime of its own, which is torn down between any two of its steps.
//!
//! With PostgreSQL it has connections of its own too, which break when it is killed. The embedded store is shared, as
//! its file would be; what the killed engine had queued there is worked off before the next server starts.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use domain::ids::AgentId;
use engine::{Engine, ProcessId, Settings};
use store::agents::Agent;
use store::runs::Run;
use store::{Store, Target, p, sql};
use tokio::runtime::Runtime;

use crate::World;
use crate::port::Port;

/// A server.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    runtime: Option<Runtime>,
    /// How PostgreSQL knows its connections.
    name: String,
    /// Its threads that have begun and not ended.
    threads: Arc<AtomicUsize>,
    port: Arc<Port>,
}

impl Server {
    /// Starts a server in a world, as an ordinary start does.
    pub async fn start(world: &World, settings: Settings) -> Server {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("server-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let threads = Arc::new(AtomicUsize::new(0));
        let (begun, ended) = (Arc::clone(&threads), Arc::clone(&threads));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all();
        builder.on_thread_start(move || {
            begun.fetch_add(1, Ordering::SeqCst);
        });
        builder.on_thread_stop(move || {
            ended.fetch_sub(1, Ordering::SeqCst);
        });
        let runtime = builder.build().unwrap();
        let (clock, dice, port) = (Arc::clone(&world.clock), Arc::clone(&world.dice), world.model.own_port());
        let own_port = Arc::clone(&port);
        let target = match &world.target {
            Target::Postgres(url) => Some(Target::Postgres(format!("{url}?application_name={name}"))),
            Target::Sqlite(_) | Target::Memory => None,
        };
        let shared = Arc::clone(&world.store);
        let started = runtime.spawn(async move {
            let store = match target {
                Some(target) => {
                    let settings = store::Settings { pg_pool: 8, ..store::Settings::default() };
                    Arc::new(Store::open(&target, settings, crate::NOON.micros()).await.unwrap())
                }
                None => shared,
            };
            Engine::start(store, port, clock as _, dice as _, settings).await.unwrap()
        });
        let engine = started.await.unwrap();
        Server { engine, runtime: Some(runtime), name, threads, port: own_port }
    }

    /// The engine, for what needs no store: all else belongs into [`Server::call`], or it would outlive the server.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Has the engine do something in its own runtime, and waits for it.
    pub async fn call<T, F>(&self, ask: impl FnOnce(Engine) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.send(ask).await.expect("the server lives")
    }

    /// Has the engine do something, without waiting; a killed server answers with an error.
    pub fn send<T, F>(&self, ask: impl FnOnce(Engine) -> F) -> tokio::task::JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runtime.as_ref().expect("only the end takes it").spawn(ask(self.engine.clone()))
    }

    /// Creates an agent that speaks; see [`World::agent`].
    pub async fn agent(&self, world: &World, slots: u32) -> Agent {
        let world = world.clone();
        self.call(move |engine| async move { world.agent(&engine, slots).await }).await
    }

    /// Wakes an agent for a task; returns the run.
    pub async fn wake(&self, agent: &AgentId, task: &str) -> Run {
        let (agent, request) = (agent.clone(), World::request(task));
        self.call(move |engine| async move { World::ran(engine.wake(&agent, request).await) }).await
    }

    /// Wakes an agent and waits until the process lives.
    pub async fn start_run(&self, world: &World, agent: &AgentId, task: &str) -> (Run, ProcessId) {
        let run = self.wake(agent, task).await;
        let process = World::first(&run.id);
        world.model.until_alive(&process).await;
        (run, process)
    }

    /// Kills it: every task stops where it waits, nothing is tidied up.
    pub async fn kill(mut self, world: &World) {
        let runtime = self.runtime.take().expect("only the end takes it");
        // Threads that are in the middle of a step finish that step; a start that is held by the model goes on alone.
        let ending = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_millis(50)));
        ending.await.unwrap();
        self.gone(world).await;
    }

    /// Ends it in an orderly way.
    pub async fn leave(mut self, world: &World) {
        self.call(|engine| async move { engine.leave().await }).await;
        let runtime = self.runtime.take().expect("only the end takes it");
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(1))).await.unwrap();
        self.gone(world).await;
    }

    /// Waits until nothing that it had under way can reach the store any more.
    async fn gone(&self, world: &World) {
        // A thread may have been in the middle of a step, and have been given no time since. What it still does is done
        // before anybody looks; only starts that the model holds come later.
        let (threads, port) = (&self.threads, &self.port);
        world
            .eventually("the threads of a killed server gone", || async {
                (threads.load(Ordering::SeqCst) <= port.held_starts()).then_some(())
            })
            .await;
        if !world.store.is_postgres() {
            world.store.write(|_| Box::pin(async { Ok(()) })).await.unwrap();
            return;
        }
        let name = self.name.clone();
        world
            .eventually("the connections of a killed server gone", || {
                let name = name.clone();
                let count = world.read(move |tx| {
                    let name = name.clone();
                    Box::pin(async move {
                        let open = sql!(
                            "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = $1 /*+only_postgres*/"
                        );
                        tx.one_as::<(i64,)>(open, p![name]).await
                    })
                });
                async move { (count.await == Some((0,))).then_some(()) }
            })
            .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
