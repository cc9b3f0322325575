//! The store: opened once, shared by everybody, closed at the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::backup::{self, BackupReport};
use crate::migrate::{self, Migration};
use crate::postgres::{self, Kind, Postgres};
use crate::sqlite::{Place, Priority, Readers, Refusal, Work, Writer, open_writable};
use crate::{Cause, StoreError, Tx, events, p, sql};

type Result<T> = std::result::Result<T, StoreError>;

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The embedded store, in this file.
    Sqlite(PathBuf),
    /// The embedded store on a memory file system, gone when it is closed. For tests.
    Memory,
    /// A PostgreSQL database, by its connection string.
    Postgres(String),
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that read, each with its own connection. Four serve two cores with some waiting for the disk.
    pub readers: usize,
    /// Calls of one priority that may wait; one more is refused. 8,192 are worked off in about a second.
    pub queue: usize,
    /// Calls that share one commit at most. More than 256 makes each wait longer and saves no more flushes.
    pub batch: usize,
    /// Connections to PostgreSQL. More than 16 are slower: they wait for each other's rows.
    pub pg_pool: usize,
    /// Whether statements to PostgreSQL travel together. Off only to measure what it brings.
    pub pg_pipelining: bool,
    #[doc(hidden)]
    pub sqlite_vfs: Option<&'static str>,
    #[doc(hidden)]
    pub sqlite_flush: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            readers: 4,
            queue: 8192,
            batch: 256,
            pg_pool: 16,
            pg_pipelining: true,
            sqlite_vfs: None,
            sqlite_flush: true,
        }
    }
}

/// How much is waiting, and what was done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueLoad {
    pub waiting_high: usize,
    pub waiting_bulk: usize,
    /// Commits that writes shared. With PostgreSQL the server groups them, so this and what follows stay 0.
    pub batches: u64,
    pub jobs: u64,
    pub largest_batch: u64,
}

/// Stands before the store of a simulation and says who comes when, and who never gets an answer.
#[doc(hidden)]
pub trait Turnstile: Send + Sync {
    /// Waits for the turn of a call.
    fn enter(&self, is_write: bool) -> BoxFuture<'static, Box<dyn Turn>>;
}

/// The turn of one call; dropped when its caller goes away.
#[doc(hidden)]
pub trait Turn: Send {
    /// The call is answered; the caller gets the answer when this returns.
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// A handle to the store; clones share it.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    settings: Arc<Settings>,
    turnstile: Option<Arc<dyn Turnstile>>,
}

enum Engine {
    Sqlite {
        place: Place,
        writer: Writer,
        readers: Readers,
        threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    },
    Postgres(Arc<Postgres>),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let engine = if self.is_postgres() { "postgres" } else { "sqlite" };
        f.debug_struct("Store").field("engine", &engine).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store and brings its schema up to date.
    pub async fn open(target: &Target, settings: Settings, now_us: i64) -> Result<Store> {
        Self::open_with(target, settings, now_us, crate::MIGRATIONS).await
    }

    /// [`Store::open`] with other migrations than those of the program; they must begin with [`crate::GROUND`].
    #[doc(hidden)]
    pub async fn open_with(
        target: &Target,
        settings: Settings,
        now_us: i64,
        migrations: &'static [Migration],
    ) -> Result<Store> {
        let engine = match target {
            Target::Postgres(url) => {
                let postgres = Postgres::new(url, settings.pg_pool)?;
                postgres.set_up(migrations, now_us).await?;
                Engine::Postgres(Arc::new(postgres))
            }
            Target::Sqlite(_) | Target::Memory => {
                let (target, settings) = (target.clone(), settings.clone());
                // Migrating may take long, and every step of it blocks.
                tokio::task::spawn_blocking(move || open_sqlite(&target, &settings, migrations, now_us))
                    .await
                    .map_err(StoreError::unavailable)??
            }
        };
        Ok(Self { engine: Arc::new(engine), settings: Arc::new(settings), turnstile: None })
    }

    /// [`Store::open`] for who only looks, into a store whose schema is that of the program: nothing is changed.
    pub async fn open_to_look(target: &Target, settings: Settings) -> Result<Store> {
        let Target::Postgres(url) = target else { return Self::open(target, settings, 0).await };
        let postgres = Postgres::new(url, settings.pg_pool)?;
        let engine = Engine::Postgres(Arc::new(postgres));
        Ok(Self { engine: Arc::new(engine), settings: Arc::new(settings), turnstile: None })
    }

    /// The same store for somebody who has to pass a turnstile.
    #[doc(hidden)]
    pub fn behind(&self, turnstile: Arc<dyn Turnstile>) -> Store {
        Store { turnstile: Some(turnstile), ..self.clone() }
    }

    /// Runs a closure as one transaction; what it did is durable when this returns `Ok`. The closure may be run more
    /// than once, so it touches nothing but the transaction.
    pub async fn write<T, F>(&self, closure: F) -> Result<T>
    where
        F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.write_as(Priority::High, closure).await
    }

    /// [`Store::write`] for what is merely many: it never makes the others wait for more than a moment.
    pub async fn write_bulk<T, F>(&self, closure: F) -> Result<T>
    where
        F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.write_as(Priority::Bulk, closure).await
    }

    async fn write_as<T, F>(&self, priority: Priority, closure: F) -> Result<T>
    where
        F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.in_turn(true, async {
            match &*self.engine {
                Engine::Sqlite { writer, .. } => {
                    let (work, answer) = Work::new(closure);
                    writer.push(work, priority).map_err(refused)?;
                    answer.await.unwrap_or_else(|_| Err(StoreError::Unknown { source: answer_lost() }))
                }
                Engine::Postgres(postgres) => {
                    let kind = if priority == Priority::Bulk { Kind::Bulk } else { Kind::Write };
                    self.on_postgres(postgres, kind, closure).await
                }
            }
        })
        .await
    }

    /// Makes a call, when it is its turn where that is asked.
    async fn in_turn<T>(&self, is_write: bool, call: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(turnstile) = &self.turnstile else { return call.await };
        let turn = turnstile.enter(is_write).await;
        let answer = call.await;
        turn.leave().await;
        answer
    }

    /// Runs a closure that only reads. All its statements see one and the same state.
    pub async fn read<T, F>(&self, closure: F) -> Result<T>
    where
        F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.in_turn(false, async {
            match &*self.engine {
                Engine::Sqlite { readers, .. } => {
                    let (work, answer) = Work::new(closure);
                    readers.push(work).map_err(refused)?;
                    answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable { source: answer_lost() }))
                }
                Engine::Postgres(postgres) => self.on_postgres(postgres, Kind::Read, closure).await,
            }
        })
        .await
    }

    async fn on_postgres<T, F>(&self, postgres: &Arc<Postgres>, kind: Kind, closure: F) -> Result<T>
    where
        F: for<'t, 'c> Fn(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let Settings { queue, pg_pipelining, .. } = *self.settings;
        postgres::perform(postgres.clone(), kind, queue, pg_pipelining, closure).await
    }

    pub fn is_postgres(&self) -> bool {
        matches!(&*self.engine, Engine::Postgres(_))
    }

    /// Asks the database for an answer.
    pub async fn ping(&self) -> Result<()> {
        self.read(|tx| Box::pin(async move { tx.one(sql!("SELECT 1"), p![]).await.map(|_| ()) })).await
    }

    /// Makes a consistent copy while the store is in use. Returns when the copy is on disk and was checked.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport> {
        match &*self.engine {
            Engine::Postgres(postgres) => backup::postgres(postgres.url(), to).await,
            Engine::Sqlite { place, .. } => {
                let (place, to) = (place.clone(), to.to_owned());
                // On a connection of its own: a copy takes long, and neither writer nor readers are to wait for it.
                let copy = move || {
                    let connection =
                        open_writable(&place).map_err(|error| StoreError::sqlite("open", error))?;
                    backup::sqlite(&connection, &to)
                };
                tokio::task::spawn_blocking(copy).await.map_err(StoreError::unavailable)?
            }
        }
    }

    /// How busy the store is.
    pub fn load(&self) -> QueueLoad {
        match &*self.engine {
            Engine::Sqlite { writer, .. } => {
                let ((waiting_high, waiting_bulk), tally) = (writer.waiting(), writer.tally());
                QueueLoad {
                    waiting_high,
                    waiting_bulk,
                    batches: tally.batches,
                    jobs: tally.jobs,
                    largest_batch: tally.largest,
                }
            }
            Engine::Postgres(postgres) => {
                let (waiting_high, waiting_bulk) = postgres.waiting();
                QueueLoad { waiting_high, waiting_bulk, ..QueueLoad::default() }
            }
        }
    }

    /// Steps that SQLite made for all that was asked so far. They tell what statements cost by how many rows they look at,
    /// however busy the machine is. 0 with PostgreSQL.
    #[doc(hidden)]
    pub fn steps(&self) -> u64 {
        match &*self.engine {
            Engine::Sqlite { place, .. } => place.steps.load(Ordering::Relaxed),
            Engine::Postgres(_) => 0,
        }
    }

    /// Takes nothing more in and returns when nothing is under way. What waits is worked off; with PostgreSQL, what still
    /// waits for a connection is refused.
    pub async fn close(&self) {
        match &*self.engine {
            Engine::Sqlite { writer, readers, threads, .. } => {
                writer.close();
                readers.close();
                let threads = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
                let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
                // Fails only if the runtime is going down, which ends the wait as well.
                let _ = tokio::task::spawn_blocking(join).await;
            }
            Engine::Postgres(postgres) => postgres.close().await,
        }
    }
}

fn open_sqlite(
    target: &Target,
    settings: &Settings,
    migrations: &[Migration],
    now_us: i64,
) -> Result<Engine> {
    let place = match target {
        Target::Sqlite(file) => Place::file(file, settings.sqlite_vfs, settings.sqlite_flush),
        Target::Memory | Target::Postgres(_) => Place::memory(settings.sqlite_vfs, settings.sqlite_flush)?,
    };
    let mut connection = open_writable(&place).map_err(|error| StoreError::sqlite("open", error))?;
    if let Some(copy) = migrate::sqlite(&mut connection, Some(&place.file), migrations, now_us)? {
        tracing::info!(file = %copy.display(), "kept a copy from before the migration");
    }
    // Readers come after the migration: their connections would see the old schema first.
    let mut readers = Readers::start(&place, settings.readers, settings.queue)?;
    let mut writer = Writer::start(place.clone(), connection, settings.queue, settings.batch)?;
    // The writer last: whoever closes the last connection writes the log back.
    let threads = readers.take_threads().into_iter().chain(writer.take_thread()).collect();
    Ok(Engine::Sqlite { place, writer, readers, threads: Mutex::new(threads) })
}

impl Postgres {
    async fn set_up(&self, migrations: &[Migration], now_us: i64) -> Result<()> {
        let mut client = self.client().await?;
        migrate::postgres_lock(&client).await?;
        let outcome = async {
            migrate::postgres(&mut client, migrations, now_us).await?;
            let mut tx = Tx::new(crate::tx::Engine::Postgres(postgres::PgTx::new(&client, "BEGIN", true)));
            events::raise_base(&mut tx).await?;
            let crate::tx::Engine::Postgres(tx) = tx.into_engine() else { return Ok(()) };
            tx.commit().await.map_err(postgres::CommitFailure::into_error)
        }
        .await;
        migrate::postgres_unlock(&client).await?;
        outcome
    }
}

/// A thread of the store ended with a call in its hands.
fn answer_lost() -> Cause {
    Arc::new(std::io::Error::other("the answer was lost inside the store"))
}

fn refused(refusal: Refusal) -> StoreError {
    match refusal {
        Refusal::Closed => StoreError::Closed,
        Refusal::Full { waiting } => StoreError::Busy { retry_after: retry_after(waiting) },
    }
}

/// When to come back to a queue of this length: the time in which a slow disk works it off, at least a second,
/// because that is the smallest step of `Retry-After`.
pub(crate) fn retry_after(waiting: usize) -> Duration {
    Duration::from_secs((waiting as u64 / 4096).max(1))
}
