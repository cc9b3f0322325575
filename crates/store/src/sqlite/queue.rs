//! The bounded queue in front of the writer and in front of the readers.
//!
//! Two priorities: what keeps agents moving, and what is merely many. Ordering between them is the writer's business.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::job::Job;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    High,
    Bulk,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full { waiting: usize },
    Closed,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    arrival: Condvar,
    bound: usize,
}

#[derive(Default)]
struct State {
    high: VecDeque<Box<dyn Job>>,
    bulk: VecDeque<Box<dyn Job>>,
    closed: bool,
}

/// Held by a thread that works a queue off. When the thread ends, by a panic as well, nobody waits for it in vain.
pub(crate) struct Worker(pub(crate) Arc<Queue>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// What waiting for work ended with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Work,
    Patience,
    Closed,
}

impl Queue {
    pub(crate) fn new(bound: usize) -> Self {
        Self { state: Mutex::default(), arrival: Condvar::new(), bound }
    }

    pub(crate) fn push(&self, job: Box<dyn Job>, priority: Priority) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        let line = match priority {
            Priority::High => &mut state.high,
            Priority::Bulk => &mut state.bulk,
        };
        // Each priority has the whole bound, so that a flood of bulk writes does not refuse a claim.
        if line.len() >= self.bound {
            return Err(Refusal::Full { waiting: line.len() });
        }
        line.push_back(job);
        drop(state);
        self.arrival.notify_one();
        Ok(())
    }

    /// Waits until there is work, or for as long as `patience`. `Closed` comes only when nothing is left.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Wait {
        let mut state = self.lock();
        loop {
            if !state.high.is_empty() || !state.bulk.is_empty() {
                return Wait::Work;
            }
            if state.closed {
                return Wait::Closed;
            }
            match patience {
                None => state = self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (after, timeout) =
                        self.arrival.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
                    state = after;
                    if timeout.timed_out() && state.high.is_empty() && state.bulk.is_empty() && !state.closed
                    {
                        return Wait::Patience;
                    }
                }
            }
        }
    }

    /// Takes up to `most` jobs of high priority.
    pub(crate) fn take_high(&self, most: usize, into: &mut VecDeque<Box<dyn Job>>) {
        let mut state = self.lock();
        let count = most.min(state.high.len());
        into.extend(state.high.drain(..count));
    }

    /// Takes one bulk job; with `unless_high` only while nothing of high priority waits.
    pub(crate) fn take_bulk(&self, unless_high: bool) -> Option<Box<dyn Job>> {
        let mut state = self.lock();
        if unless_high && !state.high.is_empty() { None } else { state.bulk.pop_front() }
    }

    /// Takes one job of any priority, waiting for it; `None` when closed and empty.
    pub(crate) fn take_any(&self) -> Option<Box<dyn Job>> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.high.pop_front() {
                return Some(job);
            }
            if let Some(job) = state.bulk.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing more in. What is queued is still worked off.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrival.notify_all();
    }

    /// Takes nothing more in and drops what waits; its callers are told that their answer is lost.
    fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = (std::mem::take(&mut state.high), std::mem::take(&mut state.bulk));
        drop(state);
        drop(left);
    }

    /// How many wait: of high priority, and bulk.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.high.len(), state.bulk.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No job runs under this lock, so the lines are whole even if a thread died.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::Work;
    use super::*;

    #[test]
    fn nobody_waits_for_a_thread_that_died() {
        let queue = Arc::new(Queue::new(8));
        let (job, mut answer) = Work::new(|_| Box::pin(async { Ok(()) }));
        queue.push(job, Priority::High).unwrap();
        let worker = Worker(queue.clone());
        let died = std::thread::spawn(move || {
            let _worker = worker;
            panic!("a mistake of ours");
        });
        assert!(died.join().is_err());
        answer.try_recv().expect_err("the answer is lost, and its caller knows");
        let (job, _) = Work::new(|_| Box::pin(async { Ok(()) }));
        assert_eq!(queue.push(job, Priority::High), Err(Refusal::Closed));
    }
}
