//! The doorbell: hints that something is to be done. A lost ring costs a period, never work.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ids::AgentId;
use tokio::sync::Notify;

/// Rings the dispatcher for certain agents, or for all of them.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    dirty: Mutex<Dirty>,
    bell: Notify,
    /// A run waits for a process to end, whosever it is.
    starved: AtomicBool,
}

#[derive(Debug, Default)]
struct Dirty {
    agents: BTreeSet<AgentId>,
    all: bool,
}

/// For whom the bell rang.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// These agents.
    Agents(Vec<AgentId>),
    /// Anybody: look at all agents that have a queue.
    Everybody,
}

impl Doorbell {
    /// Something changed for an agent.
    pub(crate) fn ring(&self, agent: &AgentId) {
        self.lock().agents.insert(agent.clone());
        self.bell.notify_one();
    }

    /// Something changed for everybody.
    pub(crate) fn ring_all(&self) {
        self.lock().all = true;
        self.bell.notify_one();
    }

    /// A run was held because the instance is full.
    pub(crate) fn starve(&self) {
        self.starved.store(true, Ordering::Relaxed);
    }

    /// Somebody waits for a place: who comes now has to queue behind.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    /// A place was given back: a process ended, or it was held for nothing.
    pub(crate) fn freed(&self) {
        if self.starved.swap(false, Ordering::Relaxed) {
            self.ring_all();
        }
    }

    /// Waits for a ring, at most for `period`.
    pub(crate) async fn wait(&self, period: Duration) -> Rung {
        let timed_out = tokio::time::timeout(period, self.bell.notified()).await.is_err();
        let mut dirty = self.lock();
        let all = std::mem::take(&mut dirty.all) || timed_out;
        let agents = std::mem::take(&mut dirty.agents);
        if all { Rung::Everybody } else { Rung::Agents(agents.into_iter().collect()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Dirty> {
        // A panic while the set was held leaves a set of hints: any state of it is good.
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
