//! Tending one running run: its process is started or found again, its log is read, its end is settled.
//!
//! One task per run of this node, under one lease. What is known of the process comes from its folder and its log, the
//! same way for a new run, for one found again after a restart, and for one whose keeper died. When the lease turns out
//! to be somebody else's the task leaves and touches nothing.

mod attention;
mod brief;
mod config;
mod instructions;
mod permissions;
pub(crate) mod session;
mod skills;
mod start;
mod watch;
mod workspace;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapters::Adapter;
use domain::ending::ProcessEnd;
use domain::ids::RunId;
use serde_json::json;
use store::agents::Agent;
use store::leases::{self, Lease};
use store::run_starts::{self, RunStart};
use store::runs::{NewRunEvent, Run};
use store::runs_of_issues;
use tokio::sync::Notify;
use tokio::time::Instant;

use attention::Attention;
use start::Launch;
pub(crate) use start::{home_of, reader_of, setup_of};

use crate::environments::on_run::Placed;
use crate::permissions::take_back_all;
use crate::processes::{ExitFacts, ProcessError, ProcessId, beside};
use crate::progress::{Account, Deaf};
use crate::settlement::{self, Settled};
use crate::slots::Slot;
use crate::unwritten::{Unwritten, in_words};
use crate::{Inner, budgets, claims, resuming, signals};

/// How a task comes to its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It was claimed a moment ago: start its process.
    Launch,
    /// Another incarnation may have started it: look first.
    Attach,
}

/// What others may do with a tended run.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Rung by the watch on the run's folder, and by whoever wants the task to look.
    bell: Arc<Notify>,
    /// Rung by the task when it has read on.
    log: Arc<Notify>,
    stop: Mutex<Option<String>>,
    /// A person decided something that the process waits for.
    decided: AtomicBool,
    stderr: Mutex<String>,
    /// Why the end of the run is not on record, though its process is over.
    trouble: Mutex<Option<String>>,
    ended: tokio_util::sync::CancellationToken,
}

impl Handle {
    fn new() -> Handle {
        Handle {
            bell: Arc::new(Notify::new()),
            log: Arc::new(Notify::new()),
            stop: Mutex::default(),
            decided: AtomicBool::new(false),
            stderr: Mutex::default(),
            trouble: Mutex::default(),
            ended: tokio_util::sync::CancellationToken::new(),
        }
    }

    /// Tells the task that the record asks to stop.
    pub(crate) fn ask_to_stop(&self, words: &str) {
        lock(&self.stop).get_or_insert_with(|| words.to_owned());
        self.bell.notify_one();
    }

    /// Has the task look: the clock was moved.
    pub(crate) fn nudge(&self) {
        self.bell.notify_one();
    }

    /// Has the task look at what people decided.
    pub(crate) fn heed_decision(&self) {
        self.decided.store(true, Ordering::SeqCst);
        self.bell.notify_one();
    }

    /// Rings when the log may have grown.
    pub(crate) fn log_bell(&self) -> Arc<Notify> {
        Arc::clone(&self.log)
    }

    /// The end of its stderr.
    pub(crate) fn stderr_tail(&self) -> String {
        lock(&self.stderr).clone()
    }

    /// Why the end of the run is not on record, though its process is over.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Waits until the task has left.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    fn stop_words(&self) -> Option<String> {
        lock(&self.stop).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tends a run in a task of its own.
pub(crate) fn spawn(engine: &Arc<Inner>, run: Run, agent: Agent, lease: Lease, entry: Entry, slot: Slot) {
    let handle = Arc::new(Handle::new());
    if let Some(words) = run.stop_asked_at.and(run.stop_words.as_deref()) {
        handle.ask_to_stop(words);
    }
    lock(&engine.tended).insert(run.id.clone(), Arc::clone(&handle));
    if engine.stop_unheard.swap(false, Ordering::SeqCst) {
        engine.stop_orders.notify_one();
    }
    let inner = Arc::clone(engine);
    engine.tasks.spawn(async move {
        let id = run.id.clone();
        let agent_id = agent.id.clone();
        // Whatever ends the task, a panic too, its entry goes with it; the sweep then finds the run again.
        let _entry = Registered { engine: Arc::clone(&inner), run: id, handle: Arc::clone(&handle) };
        let mut tending = Tending::new(&inner, run, agent, lease, &handle);
        let queue = tending.tend(entry).await;
        drop(slot);
        if queue {
            inner.doorbell.ring(&agent_id);
        }
        inner.doorbell.freed();
    });
}

struct Registered {
    engine: Arc<Inner>,
    run: RunId,
    handle: Arc<Handle>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut tended = lock(&self.engine.tended);
        // Another task may have come for the run meanwhile.
        if tended.get(&self.run).is_some_and(|handle| Arc::ptr_eq(handle, &self.handle)) {
            tended.remove(&self.run);
        }
        drop(tended);
        self.handle.ended.cancel();
        self.handle.log.notify_waiters();
    }
}

/// Why a task stops looking at its process.
enum Over {
    /// The process is over.
    Ended(ProcessEnd, Option<Box<ExitFacts>>),
    /// Nobody ever started it, and now nobody can.
    NeverStarted,
    /// Somebody else holds the lease.
    Stale,
    /// The server is leaving; the process goes on.
    Leaving,
}

/// What became of opening the next epoch.
enum Next {
    Open,
    /// The record asks to stop the run: nothing is started any more.
    AskedToStop(String),
    /// The store refuses it for good: there is no second process.
    Refused(String),
    /// The lease is not ours, or the server leaves.
    Lost,
}

/// The state of a task.
pub(crate) struct Tending<'a> {
    pub(crate) engine: &'a Arc<Inner>,
    pub(crate) run: Run,
    pub(crate) agent: Agent,
    pub(crate) lease: Lease,
    handle: &'a Arc<Handle>,
    adapter: Option<&'static dyn Adapter>,
    pub(crate) account: Account,
    /// What was noted about the session that the process resumes.
    session_note: Option<serde_json::Value>,
    pub(crate) standing: session::Standing,
    /// The hash of what the program is told once for a session.
    bundle: Option<String>,
    /// The context of the run with what its agent is told of its task.
    briefing: Option<serde_json::Value>,
    attention: Attention,
    /// When the permissions that it waits for were looked at last, and those whose answers the process was told.
    permissions_at: Option<Instant>,
    told_permissions: BTreeSet<String>,
    /// Where the run works.
    pub(crate) place: Option<Box<Placed>>,
    /// Events of the run that wait for the next write.
    pub(crate) events: Vec<NewRunEvent<'static>>,
    launched_at: Option<Instant>,
    saved_at: Instant,
    stop_ordered: Option<Instant>,
    /// When its keeper was first to be told that the program has said all, and when last.
    linger_since: Option<Instant>,
    linger_tried: Option<Instant>,
    /// It was told.
    linger_ordered: bool,
    /// Its account knows that the provider has answered.
    is_answer_noted: bool,
    /// That the program has said all is on record, or need not be.
    is_done_noted: bool,
    grace: Duration,
    asked_at: Instant,
    /// Frames up to here were told to live subscribers by an earlier incarnation.
    told_up_to: u64,
}

impl<'a> Tending<'a> {
    fn new(
        engine: &'a Arc<Inner>,
        run: Run,
        agent: Agent,
        lease: Lease,
        handle: &'a Arc<Handle>,
    ) -> Tending<'a> {
        let adapter = adapters::find(&agent.adapter_type);
        let account = Account::new(Box::new(Deaf), run.created_at, None);
        let attention = Attention::of(&run, &agent, engine.clock.now());
        let grace = Duration::from_secs(15);
        let told_up_to = u64::try_from(run.log_offset).unwrap_or(0);
        Tending {
            engine,
            run,
            agent,
            lease,
            handle,
            adapter,
            account,
            session_note: None,
            standing: session::Standing::default(),
            bundle: None,
            briefing: None,
            attention,
            permissions_at: None,
            told_permissions: BTreeSet::new(),
            place: None,
            events: Vec::new(),
            launched_at: None,
            saved_at: Instant::now(),
            stop_ordered: None,
            linger_since: None,
            linger_tried: None,
            linger_ordered: false,
            is_answer_noted: false,
            is_done_noted: false,
            grace,
            asked_at: Instant::now(),
            told_up_to,
        }
    }

    fn process(&self) -> ProcessId {
        ProcessId { run: self.run.id.clone(), epoch: self.lease.epoch }
    }

    /// Waits until the task is to look at something.
    pub(crate) async fn rung(&self) {
        self.handle.bell.notified().await;
    }

    pub(crate) fn adapter(&self) -> Option<&'static dyn Adapter> {
        self.adapter
    }

    pub(crate) fn stop_words(&self) -> Option<String> {
        self.handle.stop_words()
    }

    /// People were shown something of the run that is over with it.
    pub(crate) fn has_shown(&self) -> bool {
        self.attention.has_shown()
    }

    /// Tells people why the end of the run is not on record.
    pub(crate) fn say_trouble(&self, words: String) {
        *lock(&self.handle.trouble) = Some(words);
    }

    /// Tends the run to its end; true when another run of its agent may start now.
    async fn tend(&mut self, mut entry: Entry) -> bool {
        loop {
            let over = match entry {
                Entry::Launch => match self.launch().await {
                    Ok(Launch::Started) => self.watch().await,
                    Ok(Launch::Leaving) => Over::Leaving,
                    Err(end) => Over::Ended(end, None),
                },
                Entry::Attach => {
                    self.recall_place().await;
                    self.prepare_reader(Entry::Attach).await;
                    self.watch().await
                }
            };
            self.engine.processes.unwatch(&self.process());
            let (mut end, exit) = match over {
                Over::Stale | Over::Leaving => return false,
                Over::NeverStarted => match self.stop_words() {
                    Some(_) => (ProcessEnd::NeverStarted { error: "it had not been started".into() }, None),
                    None => match self.next_epoch(false).await {
                        Next::Open => {
                            entry = Entry::Launch;
                            continue;
                        }
                        Next::AskedToStop(words) => {
                            self.handle.ask_to_stop(&words);
                            (ProcessEnd::NeverStarted { error: "it had not been started".into() }, None)
                        }
                        Next::Refused(error) => (ProcessEnd::NeverStarted { error }, None),
                        Next::Lost => return false,
                    },
                },
                Over::Ended(end, exit) => (end, exit),
            };
            if !self.bring_back(&end).await {
                return false;
            }
            // Judged again when somebody asked to stop it in the meantime: that can be once.
            loop {
                match settlement::settle(self, end.clone(), exit.as_deref()).await {
                    Settled::Over { queue } => return queue,
                    Settled::Stale | Settled::Leaving => return false,
                    Settled::AskedToStop(words) => self.handle.ask_to_stop(&words),
                    Settled::StartFresh => match self.next_epoch(true).await {
                        Next::Open => break,
                        Next::AskedToStop(words) => self.handle.ask_to_stop(&words),
                        Next::Refused(error) => end = ProcessEnd::NeverStarted { error },
                        Next::Lost => return false,
                    },
                }
            }
            entry = Entry::Launch;
        }
    }

    /// Opens the next epoch for a second process.
    async fn next_epoch(&mut self, fresh: bool) -> Next {
        let now = self.engine.clock.now();
        let claimant = self.engine.claimant();
        // What this process used is charged, and kept for the next one to add to.
        let over = self.account.used().map(|_| (self.account.handed_over(), self.account.to_charge()));
        let usage = over.as_ref().and_then(|(progress, _)| progress.usage.clone());
        let first = session::first_start(&self.run, &self.agent, now);
        let gone = self.run.session_before.clone().filter(|_| fresh);
        let asked = self.waiting_approvals();
        let context = (self.lease.clone(), self.run.clone(), claimant, over, (first, gone, asked));
        let written = self
            .engine
            .write_patiently(context, move |tx, (lease, run, claimant, over, (first, gone, asked))| {
                Box::pin(async move {
                    let issue = claims::lock_issue(tx, &run).await?;
                    let boot = &claimant.by.boot_id;
                    let Some(next) = leases::next_epoch(tx, &lease, fresh, boot, now).await? else {
                        return Ok(Err(leases::stop_words(tx, &lease).await?));
                    };
                    let token = claimant.tokens.hash(&run.id, next.lease.epoch);
                    runs_of_issues::set_token(tx, &next.lease, &token).await?;
                    claims::follow(tx, &run, issue.as_ref(), next.lease.epoch, now).await?;
                    take_back_all(tx, asked, "its process is over").await?;
                    let last = run_starts::get(tx, &run.id, lease.epoch).await?;
                    let kind = last.as_ref().map_or(&first.adapter_type, |last| &last.adapter_type).clone();
                    let first = RunStart { epoch: next.lease.epoch, ..first };
                    run_starts::insert(tx, &session::next_start(first, last, gone.as_deref())).await?;
                    if fresh {
                        store::sessions::forget(tx, &run.agent_id, &run.task_key, None).await?;
                    }
                    if let Some(session) = &gone {
                        resuming::mark_gone(tx, &run, &kind, session, now).await?;
                    }
                    let message = if fresh {
                        "the session is gone; starting once more without it"
                    } else {
                        "the process had not been started before the server stopped; starting it now"
                    };
                    let event = signals::lifecycle(
                        "warn",
                        message,
                        Some(json!({ "attempt": next.lease.epoch, "session": gone })),
                    );
                    let mut charged = budgets::Charged::default();
                    if let Some((progress, to_charge)) = over {
                        leases::progress(tx, &next.lease, &progress, now).await?;
                        if let Some(used) = to_charge {
                            charged = budgets::charge(tx, &run, used, now).await?;
                        }
                    }
                    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), next.seq, event, now)
                        .await?;
                    Ok(Ok((next, charged)))
                })
            })
            .await;
        let (next, charged) = match written {
            Ok(Ok(written)) => written,
            Ok(Err(Some(words))) => return Next::AskedToStop(words),
            Ok(Err(None)) | Err(Unwritten::Leaving) => return Next::Lost,
            Err(Unwritten::Refused(error)) => {
                let words = in_words(&error);
                return Next::Refused(format!("the store refuses to record another start: {words}"));
            }
        };
        self.engine.after_charge(charged);
        self.engine.feed.ring();
        self.lease = next.lease;
        self.run.lease_epoch = self.lease.epoch;
        self.run.usage = usage.or_else(|| self.run.usage.take());
        self.run.log_offset = 0;
        self.run.process_pid = None;
        self.told_up_to = 0;
        if fresh {
            self.run.fresh_start_used = true;
            self.run.session_before = None;
        }
        (self.launched_at, self.stop_ordered) = (None, None);
        self.told_permissions.clear();
        (self.linger_since, self.linger_tried, self.linger_ordered) = (None, None, false);
        self.is_done_noted = false;
        Next::Open
    }

    /// Gives an order that may block; the future borrows nothing of the task.
    fn order(
        &self,
        order: impl FnOnce(&dyn crate::Processes, &ProcessId, i64) -> Result<(), ProcessError> + Send + 'static,
    ) -> impl Future<Output = Result<(), ProcessError>> + Send + 'static {
        let (engine, id, holder) = (Arc::clone(self.engine), self.process(), self.lease.holder);
        let given = beside(&self.engine.processes, move || order(&*engine.processes, &id, holder));
        async move { given.await.unwrap_or_else(|error| Err(ProcessError::Other(error.to_string()))) }
    }
}
