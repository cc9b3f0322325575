//! One life of a server: an engine in a runtime of one thread whose clock stands, until it is killed.
//!
//! Time goes on only when the simulation says so, and then for the runtime and for the clock of the engine alike. The
//! embedded store outlives the server as its file would; of PostgreSQL every server has connections of its own.

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use engine::{Engine, Settings};
use store::{Store, StoreError, Target};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::turns::{Halt, Turns};
use crate::{Model, SimClock, SimDice};

/// What outlives a server.
pub(crate) struct Surroundings {
    pub(crate) target: Target,
    pub(crate) model: Model,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) dice: Arc<SimDice>,
    pub(crate) settings: Settings,
    /// The embedded store, once it is open.
    pub(crate) store: Option<Arc<Store>>,
}

/// A server that lives.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    pub(crate) turns: Turns,
    store: Arc<Store>,
    /// `None` only in the end.
    runtime: Option<Runtime>,
    /// A thread of the runtime waits for its other end as long as this lives: so no clock moves by itself.
    standstill: Option<mpsc::Sender<()>>,
}

impl Life {
    /// Starts a server; `seed` decides whose turn it is in it.
    pub(crate) fn begin(around: &mut Surroundings, seed: u64) -> Life {
        let turns = Turns::seeded(seed);
        let asked = turns.clone();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        // What comes from outside the runtime is always taken first: whether it is must not depend on how often tasks looked
        // about for nothing.
        builder.enable_all().start_paused(true).global_queue_interval(1).event_interval(1);
        let runtime = builder.on_thread_park(move || asked.parked()).build().unwrap();
        let (standstill, end) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || end.recv().is_err());
        let shared = around.store.clone();
        let store = match (shared, &around.target) {
            (Some(store), Target::Sqlite(_) | Target::Memory) => store,
            (_, target) => {
                let settings =
                    store::Settings { pg_pool: 2, readers: 1, sqlite_flush: false, ..Default::default() };
                let opened = runtime.block_on(Store::open(target, settings, crate::NOON.micros()));
                Arc::new(opened.unwrap())
            }
        };
        if !store.is_postgres() {
            around.store = Some(Arc::clone(&store));
        }
        let behind = Arc::new(store.behind(Arc::new(turns.clone())));
        let (clock, dice) = (Arc::clone(&around.clock), Arc::clone(&around.dice));
        let started =
            Engine::start(behind, around.model.port(), clock as _, dice as _, around.settings.clone());
        let engine = runtime.block_on(started).unwrap();
        Life { engine, turns, store, runtime: Some(runtime), standstill: Some(standstill) }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("only the end takes it")
    }

    /// Lets everything happen that happens without time going on.
    pub(crate) fn quiet(&self) -> Halt {
        self.runtime().block_on(self.turns.quiet())
    }

    /// Time goes on; what that sets off happens with the next [`Life::quiet`].
    pub(crate) fn advance(&self, by: Duration) {
        self.runtime().block_on(tokio::time::advance(by));
    }

    /// Somebody asks the server for something.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        asked: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime().spawn(asked)
    }

    /// The outcome of a task that is over; `None`: it was taken away.
    pub(crate) fn outcome<T>(&self, task: JoinHandle<T>) -> Option<Result<T, String>> {
        match self.runtime().block_on(task) {
            Ok(outcome) => Some(Ok(outcome)),
            Err(error) if error.is_panic() => Some(Err(format!("a request panicked: {error}"))),
            Err(_) => None,
        }
    }

    /// Looks at the store, past the turnstile.
    pub(crate) fn read<T, F>(&self, closure: F) -> T
    where
        F: for<'t, 'c> Fn(&'t mut store::Tx<'c>) -> store::BoxFuture<'t, Result<T, StoreError>>
            + Send
            + Sync
            + 'static,
        T: Send + 'static,
    {
        self.runtime().block_on(self.store.read(closure)).unwrap()
    }

    /// Writes what no server would write.
    pub(crate) fn tamper<F>(&self, closure: F) -> u64
    where
        F: for<'t, 'c> Fn(&'t mut store::Tx<'c>) -> store::BoxFuture<'t, Result<u64, StoreError>>
            + Send
            + Sync
            + 'static,
    {
        self.runtime().block_on(self.store.write(closure)).unwrap()
    }

    /// The server dies: its tasks stop where they wait.
    pub(crate) fn end(mut self) {
        self.stop(false);
    }

    /// The same, and the store is closed.
    pub(crate) fn end_for_good(mut self) {
        self.stop(true);
    }

    fn stop(&mut self, is_last: bool) {
        let Some(runtime) = self.runtime.take() else { return };
        drop(self.standstill.take());
        self.turns.shut();
        if is_last || self.store.is_postgres() {
            runtime.block_on(self.store.close());
        }
        runtime.shutdown_background();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        drop(self.standstill.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
