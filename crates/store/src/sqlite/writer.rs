//! The one thread that writes, with group commit.
//!
//! It takes what waits, runs each job under a savepoint of its own, commits once, and only then answers: no answer
//! leaves before its commit is on disk. A lone caller waits for nobody: a group starts the moment a job is there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::connection::{Place, open_writable};
use super::job::Job;
use super::queue::{Priority, Queue, Refusal, Wait, Worker};
use super::statements;
use crate::StoreError;
use crate::tx::{Engine, Tx};

/// Pages in the log at which an idle moment is used to write it back: 4 MiB.
const CHECKPOINT_WHEN_IDLE: u64 = 1024;
/// Pages in the log at which it is written back whoever waits: 16 MiB.
const CHECKPOINT_ANYWAY: u64 = 4096;
/// How long nothing must have come before the log is written back whatever its size.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// How long bulk jobs may make the jobs of high priority in the same group wait.
const BULK_PATIENCE: Duration = Duration::from_millis(1);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Arc<Queue>,
    batch: usize,
    batches: AtomicU64,
    jobs: AtomicU64,
    largest: AtomicU64,
}

/// What the writer has done since it was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) batches: u64,
    pub(crate) jobs: u64,
    pub(crate) largest: u64,
}

impl Writer {
    pub(crate) fn start(
        place: Place,
        connection: Connection,
        bound: usize,
        batch: usize,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::new(bound)),
            batch: batch.max(1),
            batches: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            largest: AtomicU64::new(0),
        });
        let thread = std::thread::Builder::new()
            .name("store-write".into())
            .spawn({
                let shared = shared.clone();
                let log = Arc::new(AtomicU64::new(0));
                move || {
                    let _worker = Worker(shared.queue.clone());
                    let mut writer =
                        Loop { shared, place, connection: None, log, tried_at: 0, written: false };
                    match writer.adopt(connection) {
                        Ok(()) => writer.run(),
                        Err(error) => tracing::error!(%error, "the log cannot be watched"),
                    }
                }
            })
            .map_err(StoreError::unavailable)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn push(&self, job: Box<dyn Job>, priority: Priority) -> Result<(), Refusal> {
        self.shared.queue.push(job, priority)
    }

    pub(crate) fn waiting(&self) -> (usize, usize) {
        self.shared.queue.waiting()
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            batches: self.shared.batches.load(Ordering::Relaxed),
            jobs: self.shared.jobs.load(Ordering::Relaxed),
            largest: self.shared.largest.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn close(&self) {
        self.shared.queue.close();
    }

    pub(crate) fn take_thread(&mut self) -> Option<JoinHandle<()>> {
        self.thread.take()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

struct Loop {
    shared: Arc<Shared>,
    place: Place,
    /// Missing after an error that a connection does not survive, until the next group opens a new one.
    connection: Option<Connection>,
    /// Pages in the log, as of the last commit. The length of the file does not say it: the file keeps its length when
    /// the log begins anew.
    log: Arc<AtomicU64>,
    /// Pages that were in the log when it was last written back. If a reader kept it from beginning anew, the next
    /// attempt waits until it has grown again.
    tried_at: u64,
    /// Whether anything was written since the log was last written back whole.
    written: bool,
}

/// A job that was run, and how it went.
type Performed = (Box<dyn Job>, Option<StoreError>);

impl Loop {
    fn run(mut self) {
        loop {
            // With nothing to write back there is nothing to wake up for.
            let patience = self.written.then_some(IDLE_AFTER);
            match self.shared.queue.wait(patience) {
                Wait::Work => {
                    self.group();
                    self.write_back_if_due();
                }
                Wait::Patience => self.write_back("PASSIVE"),
                Wait::Closed => break,
            }
        }
        self.write_back("TRUNCATE");
    }

    /// One group: begin, run, commit, answer.
    fn group(&mut self) {
        let mut performed = Vec::new();
        let outcome = self.connected().and_then(|connection| {
            begin(connection)?;
            Ok(())
        });
        if let Err(error) = outcome {
            self.give_up_connection();
            self.refuse_all(error);
            return;
        }
        let connection = self.connection.as_mut().expect("`connected` has just made sure of it");
        let unusable = perform(&self.shared, connection, &mut performed);
        let failure = match unusable {
            Some(error) => Some(error),
            None => commit(connection),
        };
        let broken = failure.is_some() && connection.execute_batch("ROLLBACK").is_err()
            || !connection.is_autocommit()
            || matches!(failure, Some(StoreError::Unavailable { .. } | StoreError::Unknown { .. }));
        if broken {
            self.give_up_connection();
        }
        self.written = true;
        self.place.steps.fetch_add(statements::take_steps(), Ordering::Relaxed);
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.shared.jobs.fetch_add(performed.len() as u64, Ordering::Relaxed);
        self.shared.largest.fetch_max(performed.len() as u64, Ordering::Relaxed);
        for (job, own) in performed {
            // A job with an error of its own was undone whatever became of the group.
            job.answer(own.or_else(|| failure.clone()));
        }
    }

    fn connected(&mut self) -> Result<&mut Connection, StoreError> {
        if self.connection.is_none() {
            let fresh = open_writable(&self.place).map_err(|error| StoreError::sqlite("open", error))?;
            tracing::info!("opened a new connection for writing");
            self.adopt(fresh).map_err(|error| StoreError::sqlite("open", error))?;
        }
        Ok(self.connection.as_mut().expect("it was filled above"))
    }

    fn adopt(&mut self, mut connection: Connection) -> rusqlite::Result<()> {
        let log = self.log.clone();
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            log.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        self.connection = Some(connection);
        Ok(())
    }

    fn give_up_connection(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err((_, error)) = connection.close()
        {
            tracing::warn!(%error, "connection for writing did not close");
        }
    }

    /// Answers everything that waits now with `error`; nothing of it was begun.
    fn refuse_all(&mut self, error: StoreError) {
        tracing::error!(%error, "no transaction can be begun");
        let mut jobs = VecDeque::new();
        self.shared.queue.take_high(usize::MAX, &mut jobs);
        while let Some(job) = self.shared.queue.take_bulk(false) {
            jobs.push_back(job);
        }
        for job in jobs {
            job.answer(Some(error.clone()));
        }
    }

    fn write_back_if_due(&mut self) {
        let (high, bulk) = self.shared.queue.waiting();
        let due = if high + bulk == 0 { CHECKPOINT_WHEN_IDLE } else { CHECKPOINT_ANYWAY };
        let pages = self.log.load(Ordering::Relaxed);
        if pages < self.tried_at {
            self.tried_at = 0;
        }
        if pages - self.tried_at >= due {
            self.write_back("PASSIVE");
        }
    }

    fn write_back(&mut self, mode: &'static str) {
        self.written = false;
        self.tried_at = self.log.load(Ordering::Relaxed);
        let Some(connection) = &self.connection else { return };
        let outcome = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
        if let Err(error) = outcome {
            // The log keeps everything; the next attempt comes with the next writes.
            tracing::warn!(%error, "log was not written back");
        }
    }
}

fn begin(connection: &Connection) -> Result<(), StoreError> {
    control(connection, "BEGIN IMMEDIATE")
}

/// Commits; an error says for all jobs of the group what became of them.
fn commit(connection: &Connection) -> Option<StoreError> {
    let error = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).err()?;
    if let rusqlite::Error::SqliteFailure(failure, _) = &error
        && failure.code == rusqlite::ErrorCode::SystemIoFailure
    {
        // The log may hold the whole commit although its flush failed, and a crash now could bring it back.
        return Some(StoreError::Unknown { source: Arc::new(error) });
    }
    Some(StoreError::sqlite("COMMIT", error))
}

/// Runs jobs until the group is full or nothing more should join it. Returns an error that the whole group shares.
fn perform(
    shared: &Shared,
    connection: &mut Connection,
    performed: &mut Vec<Performed>,
) -> Option<StoreError> {
    let mut high = VecDeque::new();
    shared.queue.take_high(shared.batch, &mut high);
    let with_high = !high.is_empty();
    while let Some(job) = high.pop_front() {
        if let Some(error) = one(connection, job, performed) {
            // Not run, but of this group: the error says that nothing was done, which is true of them as well.
            performed.extend(high.into_iter().map(|job| (job, Some(error.clone()))));
            return Some(error);
        }
    }
    // At least one bulk job joins each group, so that a steady stream of others cannot starve them.
    let (started, mut first) = (Instant::now(), true);
    while (first || performed.len() < shared.batch && (!with_high || started.elapsed() < BULK_PATIENCE))
        && let Some(job) = shared.queue.take_bulk(!first)
    {
        first = false;
        if let Some(error) = one(connection, job, performed) {
            return Some(error);
        }
    }
    None
}

/// Runs one job under its savepoint. Returns an error if the transaction as a whole did not survive.
fn one(
    connection: &mut Connection,
    mut job: Box<dyn Job>,
    performed: &mut Vec<Performed>,
) -> Option<StoreError> {
    if let Err(error) = control(connection, "SAVEPOINT job") {
        performed.push((job, Some(error.clone())));
        return Some(error);
    }
    let failure = job.perform(&mut Tx::new(Engine::Sqlite(connection))).err();
    if connection.is_autocommit() {
        // A full disk or an I/O error makes SQLite roll back the whole transaction by itself.
        let error = failure.clone().unwrap_or(StoreError::Closed);
        performed.push((job, Some(error.clone())));
        return Some(error);
    }
    let settled = match &failure {
        None => control(connection, "RELEASE job"),
        Some(_) => control(connection, "ROLLBACK TO job").and_then(|()| control(connection, "RELEASE job")),
    };
    let fatal = match settled {
        Err(error) => Some(error),
        Ok(()) => failure
            .clone()
            .filter(|error| matches!(error, StoreError::Full { .. } | StoreError::Unavailable { .. })),
    };
    performed.push((job, failure));
    fatal
}

fn control(connection: &Connection, text: &'static str) -> Result<(), StoreError> {
    connection
        .prepare_cached(text)
        .and_then(|mut statement| statement.execute([]))
        .map(|_| ())
        .map_err(|error| StoreError::sqlite(text, error))
}
