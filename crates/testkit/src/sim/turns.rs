//! Whose turn it is: one call of the store at a time, chosen by the seed, and the instants at which a server dies.
//!
//! The runtime of a simulation has one thread. Whenever all its tasks wait, this is asked: a call that waits for the store
//! gets its turn, or the server is dead, or nothing is left to do. So every interleaving of transactions can happen, none
//! depends on real time, and a crash comes exactly between two of them.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use store::{Turn, Turnstile};
use tokio::sync::oneshot;
use tokio::task::Id;

use crate::SimDice;

type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// Why a stretch of life is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// All tasks wait for time or for somebody outside.
    Quiet,
    /// The server died.
    Crash,
    /// A caller went away right after the commit that it asked for.
    Abandoned,
}

/// When a server dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Before the call that is this many turns away.
    Before(u64),
    /// After the call that is this many turns away, with its answer on the way.
    Unanswered(u64),
}

/// The turnstile; clones share it.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

struct State {
    dice: SimDice,
    waiting: Vec<oneshot::Sender<Box<Pass>>>,
    under_way: u32,
    turns: u64,
    death: Option<Death>,
    doomed: Option<Id>,
    halt: Option<Halt>,
    /// The server is dead: nobody gets a turn any more.
    is_shut: bool,
    root: Option<Waker>,
}

struct Pass {
    turns: Turns,
    number: u64,
    is_write: bool,
    task: Option<Id>,
    is_over: bool,
}

impl Turns {
    pub(crate) fn seeded(seed: u64) -> Turns {
        Turns(Arc::new(Mutex::new(State {
            dice: SimDice::seeded(seed),
            waiting: Vec::new(),
            under_way: 0,
            turns: 0,
            death: None,
            doomed: None,
            halt: None,
            is_shut: false,
            root: None,
        })))
    }

    /// How many calls had their turn.
    pub(crate) fn count(&self) -> u64 {
        self.lock().turns
    }

    /// Plans the death of the server, counted from now.
    pub(crate) fn die(&self, death: Death) {
        let mut state = self.lock();
        let now = state.turns;
        state.death = Some(match death {
            Death::Before(turns) => Death::Before(now + turns),
            Death::Unanswered(turns) => Death::Unanswered(now + turns),
        });
    }

    /// The server does not die after all.
    pub(crate) fn live_on(&self) {
        self.lock().death = None;
    }

    /// The next write of this task is made, and the task never hears of it.
    pub(crate) fn abandon(&self, task: Id) {
        self.lock().doomed = Some(task);
    }

    /// Nobody gets a turn any more.
    pub(crate) fn shut(&self) {
        self.lock().is_shut = true;
    }

    /// Waits until the runtime has nothing to do.
    pub(crate) async fn quiet(&self) -> Halt {
        poll_fn(|context| {
            let mut state = self.lock();
            match state.halt.take() {
                Some(halt) => Poll::Ready(halt),
                None => {
                    state.root = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// All tasks of the runtime wait.
    pub(crate) fn parked(&self) {
        let mut state = self.lock();
        if state.under_way > 0 || state.is_shut {
            // The store is at it; its answer goes on.
            return;
        }
        if state.halt.is_none() {
            while !state.waiting.is_empty() {
                if let Some(Death::Before(at)) = state.death
                    && state.turns >= at
                {
                    state.halt = Some(Halt::Crash);
                    break;
                }
                let count = state.waiting.len() as u64;
                let chosen = state.dice.roll(count) as usize;
                let next = state.waiting.swap_remove(chosen);
                state.turns += 1;
                state.under_way += 1;
                let pass = Pass {
                    turns: self.clone(),
                    number: state.turns,
                    is_write: false,
                    task: None,
                    is_over: false,
                };
                let Err(mut unused) = next.send(Box::new(pass)) else { return };
                // Whoever waited has gone.
                unused.is_over = true;
                state.under_way -= 1;
            }
        }
        // Somebody may be waiting for the runtime who is not asking whether it is quiet.
        if let Some(root) = state.root.take() {
            state.halt.get_or_insert(Halt::Quiet);
            drop(state);
            root.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turnstile for Turns {
    fn enter(&self, is_write: bool) -> BoxFuture<Box<dyn Turn>> {
        let task = tokio::task::try_id();
        let (go, gone) = oneshot::channel();
        self.lock().waiting.push(go);
        Box::pin(async move {
            match gone.await {
                Ok(mut pass) => {
                    pass.is_write = is_write;
                    pass.task = task;
                    pass as Box<dyn Turn>
                }
                // The server is dead, and this with it.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl Turn for Pass {
    fn leave(mut self: Box<Self>) -> BoxFuture<()> {
        self.is_over = true;
        let is_answered = {
            let mut state = self.turns.lock();
            state.under_way -= 1;
            if state.death == Some(Death::Unanswered(self.number)) {
                state.halt = Some(Halt::Crash);
            } else if self.is_write && self.task.is_some() && state.doomed == self.task {
                state.doomed = None;
                state.halt = Some(Halt::Abandoned);
            }
            state.halt.is_none()
        };
        Box::pin(async move {
            if !is_answered {
                std::future::pending().await
            }
        })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_over {
            self.turns.lock().under_way -= 1;
        }
    }
}
