//! Threads that read, each on its own connection. They never wait for the writer.
//!
//! Each closure sees one snapshot: the state after some commit, for all its statements.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::connection::{Place, open_readable};
use super::job::Job;
use super::queue::{Priority, Queue, Refusal, Worker};
use super::statements;
use crate::StoreError;
use crate::tx::{Engine, Tx};

pub(crate) struct Readers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(place: &Place, count: usize, bound: usize) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::new(bound));
        let mut readers = Self { queue: queue.clone(), threads: Vec::new() };
        for number in 0..count.max(1) {
            let connection = open_readable(place).map_err(|error| StoreError::sqlite("open", error))?;
            let (queue, place) = (queue.clone(), place.clone());
            let thread = std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || {
                    // Also when one of several dies by a mistake of ours: better no answers than fewer and fewer.
                    let worker = Worker(queue);
                    work(&worker.0, &place, connection);
                })
                .map_err(StoreError::unavailable)?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    pub(crate) fn push(&self, job: Box<dyn Job>) -> Result<(), Refusal> {
        self.queue.push(job, Priority::High)
    }

    pub(crate) fn close(&self) {
        self.queue.close();
    }

    pub(crate) fn take_threads(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.threads)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn work(queue: &Queue, place: &Place, mut connection: Connection) {
    while let Some(mut job) = queue.take_any() {
        let failure = read(&mut connection, job.as_mut()).err();
        if matches!(failure, Some(StoreError::Unavailable { .. })) {
            // Perhaps the file was replaced or the disk came back: a new connection for the next job.
            if let Ok(fresh) = open_readable(place) {
                connection = fresh;
            }
        }
        place.steps.fetch_add(statements::take_steps(), Ordering::Relaxed);
        job.answer(failure);
    }
}

fn read(connection: &mut Connection, job: &mut dyn Job) -> Result<(), StoreError> {
    let begin = |error| StoreError::sqlite("BEGIN", error);
    connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([])).map_err(begin)?;
    let outcome = job.perform(&mut Tx::new(Engine::Sqlite(connection)));
    // Nothing was written, so there is nothing that ending could fail to keep.
    let ended = connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([]));
    if ended.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(|error| StoreError::sqlite("ROLLBACK", error))?;
    }
    outcome
}
