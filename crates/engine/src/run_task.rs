//! Tending one running run: its process is started or found again, its log is read, its end is settled.
//!
//! One task per run of this node, under one lease. What is known of the process comes from its folder and its log, the
//! same way for a new run, for one found again after a restart, and for one whose keeper died. When the lease turns out
//! to be somebody else's the task leaves and touches nothing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapters::{Adapter, Setup};
use domain::ending::{EndedBy, ProcessEnd};
use domain::ids::RunId;
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::leases::{self, Lease};
use store::runs::{self, NewRunEvent, Run};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::feed::LogPiece;
use crate::processes::{ExitFacts, Frame, FrameStream, LogSource, ProcessError, ProcessId, Seen};
use crate::progress::Account;
use crate::settlement::{self, Settled};
use crate::slots::Slot;
use crate::{Inner, signals};

/// Runs shorter than this save no progress: their end says it all.
const FIRST_SAVE: Duration = Duration::from_millis(250);
/// Output alone is saved this often.
const SAVE_OUTPUT: Duration = Duration::from_secs(5);
/// The keeper may take this long to show itself after it was executed.
const KEEPER_SHOWS: Duration = Duration::from_secs(10);
/// Beyond grace and linger, a keeper may take this long to end its run (D28).
const KEEPER_ENDS: Duration = Duration::from_secs(2);
/// Without any ring the folder is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A living keeper is asked this often whether it holds a record that it could not write.
const ASK_FOR_EXIT: Duration = Duration::from_secs(10);
/// Frames taken in before others get a turn.
const TURN: usize = 256;
/// Live events carry at most this much of a piece of output (spec/heartbeat.md 15).
const LIVE_CHUNK: usize = 8192;

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
    stderr: Mutex<String>,
    ended: tokio_util::sync::CancellationToken,
}

impl Handle {
    fn new() -> Handle {
        Handle {
            bell: Arc::new(Notify::new()),
            log: Arc::new(Notify::new()),
            stop: Mutex::default(),
            stderr: Mutex::default(),
            ended: tokio_util::sync::CancellationToken::new(),
        }
    }

    /// Tells the task that the record asks to stop.
    pub(crate) fn ask_to_stop(&self, words: &str) {
        lock(&self.stop).get_or_insert_with(|| words.to_owned());
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
        lock(&self.engine.tended).remove(&self.run);
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
    /// Events of the run that wait for the next write.
    pub(crate) events: Vec<NewRunEvent<'static>>,
    launched_at: Option<Instant>,
    saved_at: Instant,
    stop_ordered: Option<Instant>,
    linger_ordered: bool,
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
        let account = Account::new(Box::new(Deaf));
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
            events: Vec::new(),
            launched_at: None,
            saved_at: Instant::now(),
            stop_ordered: None,
            linger_ordered: false,
            grace,
            asked_at: Instant::now(),
            told_up_to,
        }
    }

    fn process(&self) -> ProcessId {
        ProcessId { run: self.run.id.clone(), epoch: self.lease.epoch }
    }

    pub(crate) fn adapter(&self) -> Option<&'static dyn Adapter> {
        self.adapter
    }

    pub(crate) fn stop_words(&self) -> Option<String> {
        self.handle.stop_words()
    }

    /// Tends the run to its end; true when another run of its agent may start now.
    async fn tend(&mut self, mut entry: Entry) -> bool {
        loop {
            let over = match entry {
                Entry::Launch => match self.launch().await {
                    Ok(()) => self.watch().await,
                    Err(words) => Over::Ended(ProcessEnd::NeverStarted { error: words }, None),
                },
                Entry::Attach => {
                    self.prepare_reader();
                    self.watch().await
                }
            };
            self.engine.processes.unwatch(&self.process());
            let (end, exit) = match over {
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
                        Next::Lost => return false,
                    },
                },
                Over::Ended(end, exit) => (end, exit),
            };
            // Judged again when somebody asked to stop it in the meantime: that can be once.
            loop {
                match settlement::settle(self, end.clone(), exit.as_deref()).await {
                    Settled::Over { queue } => return queue,
                    Settled::Stale | Settled::Leaving => return false,
                    Settled::AskedToStop(words) => self.handle.ask_to_stop(&words),
                    Settled::StartFresh => match self.next_epoch(true).await {
                        Next::Open => break,
                        Next::AskedToStop(words) => self.handle.ask_to_stop(&words),
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
        let context = (self.lease.clone(), self.run.clone(), self.engine.claimer.boot_id.clone());
        let written = self
            .engine
            .write_patiently(context, move |tx, (lease, run, boot)| {
                Box::pin(async move {
                    let Some(next) = leases::next_epoch(tx, &lease, fresh, &boot, now).await? else {
                        return Ok(Err(leases::stop_words(tx, &lease).await?));
                    };
                    if fresh {
                        store::sessions::forget(tx, &run.agent_id, &run.task_key, None).await?;
                    }
                    let message = if fresh {
                        "the session is gone; starting once more without it"
                    } else {
                        "the process had not been started before the server stopped; starting it now"
                    };
                    let event =
                        signals::lifecycle("warn", message, Some(json!({ "attempt": next.lease.epoch })));
                    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), next.seq, event, now)
                        .await?;
                    Ok(Ok(next))
                })
            })
            .await;
        let next = match written {
            Some(Ok(next)) => next,
            Some(Err(Some(words))) => return Next::AskedToStop(words),
            Some(Err(None)) | None => return Next::Lost,
        };
        self.engine.feed.ring();
        self.lease = next.lease;
        self.run.lease_epoch = self.lease.epoch;
        self.run.log_offset = 0;
        self.told_up_to = 0;
        if fresh {
            self.run.fresh_start_used = true;
            self.run.session_before = None;
        }
        (self.launched_at, self.stop_ordered, self.linger_ordered) = (None, None, false);
        Next::Open
    }

    fn with_setup<T>(&self, use_it: impl FnOnce(&Setup<'_>) -> T) -> T {
        let settings = &self.engine.settings;
        let home = settings.data_dir.join("agents").join(self.agent.id.as_str());
        let session = self.run.session_before.as_deref();
        use_it(&Setup {
            run_id: self.run.id.as_str(),
            company_id: self.run.company_id.as_str(),
            agent_id: self.agent.id.as_str(),
            agent_name: &self.agent.name,
            task_key: Some(self.run.task_key.as_str()).filter(|key| !key.is_empty()),
            config: &self.agent.adapter_config,
            context: &self.run.context,
            wake_reason: self.run.context.get("wakeReason").and_then(Json::as_str),
            session,
            api_url: &settings.api_url,
            program: &settings.program,
            default_cwd: &home,
            host: &settings.host,
        })
    }

    fn prepare_reader(&mut self) {
        let reader: Box<dyn adapters::Reader> = match self.adapter {
            Some(adapter) => self.with_setup(|setup| adapter.reader(setup)),
            None => Box::new(Deaf),
        };
        self.account = Account::new(reader);
        let seconds =
            self.agent.adapter_config.get("graceSec").and_then(Json::as_f64).filter(|s| s.is_finite());
        self.grace = Duration::from_secs_f64(seconds.unwrap_or(15.0).clamp(0.0, 3600.0));
    }

    /// Starts the process; the error is in words, and says that nothing was started.
    async fn launch(&mut self) -> Result<(), String> {
        self.prepare_reader();
        if self.stop_words().is_some() {
            return Err("it was asked to stop before it started".to_owned());
        }
        let Some(adapter) = self.adapter else {
            return Err(format!("unknown adapter type `{}`", self.agent.adapter_type));
        };
        let home = self.engine.settings.data_dir.join("agents").join(self.agent.id.as_str());
        let described = match std::fs::create_dir_all(&home) {
            Ok(()) => self.with_setup(|setup| adapter.command(setup)),
            Err(error) => return Err(format!("cannot make the folder {}: {error}", home.display())),
        };
        let command = described.map_err(|error| match error.hint() {
            Some(hint) => format!("cannot {error}; hint: {hint}"),
            None => format!("cannot {error}"),
        })?;
        self.grace = command.grace;
        self.events.push(invoke_event(self.adapter.map_or("unknown", |adapter| adapter.kind()), &command));
        let (engine, id, holder) = (Arc::clone(self.engine), self.process(), self.lease.holder);
        let started = tokio::task::spawn_blocking(move || {
            let Err(error) = engine.processes.start(&id, holder, &command) else { return Ok(()) };
            // An error says nothing about what the keeper has got: only who holds `started` may say so.
            match engine.processes.revoke(&id) {
                Ok(true) => Err(format!("cannot start the process: {error}")),
                Ok(false) => Ok(()),
                Err(second) => {
                    // It may run. The look at the folder goes on until it is sure.
                    tracing::warn!(run = %id.run, %error, %second, "it is not clear whether the process started");
                    Ok(())
                }
            }
        });
        self.launched_at = Some(Instant::now());
        // A start that was broken off, by a panic or the end of the runtime, is as unclear.
        started.await.unwrap_or(Ok(()))
    }

    /// Reads along until the process is over.
    async fn watch(&mut self) -> Over {
        let id = self.process();
        if let Err(error) = self.engine.processes.watch(&id, Arc::clone(&self.handle.bell)) {
            // The period finds everything that the bell would have told, only later.
            tracing::debug!(run = %id.run, %error, "cannot watch the run folder");
        }
        if self.launched_at.is_none() {
            let greeted = self.order(|processes, id, holder| processes.greet(id, holder)).await;
            if let Err(ProcessError::Refused) = greeted {
                return Over::Stale;
            }
        }
        self.saved_at = Instant::now();
        let mut log = None;
        loop {
            let more = self.read_on(&mut log);
            if let Some(over) = self.orders().await {
                return over;
            }
            if more {
                tokio::task::yield_now().await;
            } else if let Some(over) = self.look(&mut log).await {
                return over;
            }
            if !self.save_when_due().await {
                return Over::Stale;
            }
            if more {
                continue;
            }
            let wait = self.next_look();
            tokio::select! {
                () = self.handle.bell.notified() => {}
                () = self.engine.leaving.cancelled() => return Over::Leaving,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes in what the log has; true when there may be more right now.
    fn read_on(&mut self, log: &mut Option<Box<dyn LogSource>>) -> bool {
        if log.is_none() {
            *log = self.engine.processes.log(&self.process(), 0).ok();
        }
        let Some(source) = log else { return false };
        let mut taken = 0;
        while taken < TURN {
            match source.next() {
                Ok(Some(frame)) => {
                    self.account.take(&frame);
                    self.tell(&frame);
                    taken += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "cannot read the log");
                    *log = None;
                    break;
                }
            }
        }
        if taken > 0 {
            if let Some(text) = self.account.stderr_tail.text() {
                *lock(&self.handle.stderr) = text;
            }
            self.handle.log.notify_waiters();
        }
        taken == TURN
    }

    /// Tells live subscribers of a piece of output, once over all incarnations.
    fn tell(&self, frame: &Frame) {
        let stream = match frame.stream {
            FrameStream::Stdout => "stdout",
            FrameStream::Stderr => "stderr",
            FrameStream::Stdin | FrameStream::Keeper => return,
        };
        if frame.offset < self.told_up_to || self.engine.feed.is_idle() {
            return;
        }
        let mut from = frame.bytes.len().saturating_sub(LIVE_CHUNK);
        while from > 0 && from < frame.bytes.len() && frame.bytes[from] & 0xc0 == 0x80 {
            from += 1;
        }
        let payload = json!({
            "runId": self.run.id, "agentId": self.run.agent_id, "ts": frame.at, "stream": stream,
            "chunk": String::from_utf8_lossy(&frame.bytes[from..]), "truncated": from > 0,
            "offset": frame.offset, "nextOffset": frame.next_offset,
        });
        self.engine.feed.tell(LogPiece { company_id: self.run.company_id.clone(), payload, at: frame.at });
    }

    /// Gives the orders that are due: stop, linger, or the end of patience with a keeper.
    async fn orders(&mut self) -> Option<Over> {
        if let Some(words) = self.handle.stop_words()
            && self.stop_ordered.is_none()
        {
            match self.order(move |processes, id, holder| processes.stop(id, holder, &words)).await {
                Ok(()) => self.stop_ordered = Some(Instant::now()),
                Err(ProcessError::Refused) => return Some(Over::Stale),
                // No socket yet, or not any more: the look at the folder says which.
                Err(ProcessError::NotThere) => {}
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "the keeper did not take the stop order");
                    self.stop_ordered = Some(Instant::now());
                }
            }
        }
        if self.account.told.is_done()
            && !self.linger_ordered
            && self.adapter.is_some_and(|a| a.has_terminal_event())
        {
            self.linger_ordered = true;
            if let Err(ProcessError::Refused) =
                self.order(|processes, id, holder| processes.linger(id, holder)).await
            {
                return Some(Over::Stale);
            }
        }
        let patience = self.grace + KEEPER_ENDS;
        if self.stop_ordered.is_some_and(|at| at.elapsed() > patience) {
            tracing::warn!(run = %self.run.id, "the keeper did not end its run; killing it");
            match self.order(|processes, id, holder| processes.kill_keeper(id, holder)).await {
                Err(ProcessError::Refused) => return Some(Over::Stale),
                Ok(()) | Err(_) => self.stop_ordered = Some(Instant::now()),
            }
        }
        None
    }

    /// Looks at the folder; `Some` when the process is over.
    async fn look(&mut self, log: &mut Option<Box<dyn LogSource>>) -> Option<Over> {
        let id = self.process();
        let seen = match self.engine.processes.probe(&id) {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(run = %id.run, %error, "cannot look at the run folder");
                return None;
            }
        };
        match seen {
            Seen::Alive => self.unwritten_exit().await.map(|exit| self.end(log, exit)),
            Seen::Ended(exit) => Some(self.end(log, exit)),
            Seen::NotStarted | Seen::Revoked => self.nobody_started(&seen).await,
            Seen::Gone => {
                if let Err(error) = self.order(|processes, id, _| processes.sweep(id)).await {
                    tracing::warn!(run = %id.run, %error, "cannot end what a lost keeper left; trying again");
                    return None;
                }
                while self.read_on(log) {}
                self.account.finish();
                Some(Over::Ended(ProcessEnd::Lost, None))
            }
            Seen::Damaged(what) => {
                tracing::warn!(run = %id.run, what, "the run folder is damaged");
                if let Err(error) = self.order(|processes, id, _| processes.sweep(id)).await {
                    tracing::warn!(run = %id.run, %error, "cannot end what is left of the run; trying again");
                    return None;
                }
                while self.read_on(log) {}
                self.account.finish();
                Some(Over::Ended(ProcessEnd::Lost, None))
            }
        }
    }

    /// Everything was written before the record: one more reading is the whole log.
    fn end(&mut self, log: &mut Option<Box<dyn LogSource>>, exit: Box<ExitFacts>) -> Over {
        while self.read_on(log) {}
        self.account.finish();
        Over::Ended(ended(&exit), Some(exit))
    }

    /// A keeper whose disk is full keeps its record and stays; asked seldom, because it hardly ever happens.
    async fn unwritten_exit(&mut self) -> Option<Box<ExitFacts>> {
        if self.asked_at.elapsed() < ASK_FOR_EXIT {
            return None;
        }
        self.asked_at = Instant::now();
        let (engine, id) = (Arc::clone(self.engine), self.process());
        let asked = tokio::task::spawn_blocking(move || engine.processes.unwritten_exit(&id)).await;
        asked.ok()?.ok()?.map(Box::new)
    }

    /// No keeper has shown itself. Ours may be on its way; one of an earlier incarnation is not waited for.
    async fn nobody_started(&mut self, seen: &Seen) -> Option<Over> {
        if self.launched_at.is_some_and(|at| at.elapsed() < KEEPER_SHOWS) && *seen == Seen::NotStarted {
            return None;
        }
        match self.order(|processes, id, _| processes.revoke(id).map(|_| ())).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "cannot take back the start");
                return None;
            }
        }
        match self.engine.processes.probe(&self.process()) {
            Ok(Seen::Revoked) => {}
            // It came after all, in this very moment; the next look sees how far it is.
            Ok(_) | Err(_) => return None,
        }
        if self.launched_at.is_some() {
            let error = "its keeper did not come up; see keeper.err in the run folder".to_owned();
            return Some(Over::Ended(ProcessEnd::NeverStarted { error }, None));
        }
        if self.run.boot_id.as_deref() != Some(self.engine.claimer.boot_id.as_str()) {
            // The folder of another boot may have lost what was not flushed: it may have run (D10).
            return Some(Over::Ended(ProcessEnd::Lost, None));
        }
        Some(Over::NeverStarted)
    }

    /// Saves progress when it is due; false when the lease is not ours any more.
    async fn save_when_due(&mut self) -> bool {
        let due = if self.account.news || !self.events.is_empty() {
            FIRST_SAVE
        } else if self.account.output {
            SAVE_OUTPUT
        } else {
            return true;
        };
        if self.saved_at.elapsed() < due {
            return true;
        }
        self.saved_at = Instant::now();
        let now = self.engine.clock.now();
        let events = std::mem::take(&mut self.events);
        let context = (self.lease.clone(), self.run.clone(), self.account.progress(), events.clone());
        let saved = self.engine.write(context, move |tx, (lease, run, progress, events)| {
            Box::pin(async move {
                if !leases::progress(tx, &lease, &progress, now).await? {
                    return Ok(false);
                }
                let count = i64::try_from(events.len()).unwrap_or(0);
                if count > 0 {
                    let first = runs::draw_seq(tx, &run.id, count).await? - count + 1;
                    for (seq, event) in (first..).zip(events) {
                        signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now)
                            .await?;
                    }
                }
                Ok(true)
            })
        });
        match saved.await {
            Ok(true) => {
                (self.account.news, self.account.output) = (false, false);
                self.engine.feed.ring();
                true
            }
            Ok(false) => false,
            Err(error) => {
                // Nothing is lost: the next save writes the same, and more.
                tracing::warn!(run = %self.run.id, %error, "cannot save progress");
                self.events = events;
                true
            }
        }
    }

    fn next_look(&self) -> Duration {
        let since = self.saved_at.elapsed();
        if self.launched_at.is_some()
            && self.account.process == Default::default()
            && self.account.offset == 0
        {
            // Nothing is known of it yet: the watch may have been set up a moment too late.
            return Duration::from_millis(50);
        }
        if self.handle.stop_words().is_some() && self.stop_ordered.is_none() {
            return Duration::from_millis(20);
        }
        if self.account.news || !self.events.is_empty() {
            return FIRST_SAVE.saturating_sub(since).max(Duration::from_millis(1));
        }
        if self.account.output {
            SAVE_OUTPUT.saturating_sub(since).clamp(Duration::from_millis(1), LOOK_AGAIN)
        } else {
            LOOK_AGAIN
        }
    }

    /// Gives an order that may block; the future borrows nothing of the task.
    fn order(
        &self,
        order: impl FnOnce(&dyn crate::Processes, &ProcessId, i64) -> Result<(), ProcessError> + Send + 'static,
    ) -> impl Future<Output = Result<(), ProcessError>> + Send + 'static {
        let (engine, id, holder) = (Arc::clone(self.engine), self.process(), self.lease.holder);
        let given = tokio::task::spawn_blocking(move || order(&*engine.processes, &id, holder));
        async move { given.await.unwrap_or_else(|error| Err(ProcessError::Other(error.to_string()))) }
    }
}

/// Hears nothing: for agents of a type that this program does not know.
struct Deaf;

impl adapters::Reader for Deaf {
    fn line(&mut self, _: adapters::Source, _: &[u8]) -> Vec<domain::telling::AgentEvent> {
        Vec::new()
    }

    fn is_listening(&self) -> bool {
        false
    }
}

fn ended(exit: &ExitFacts) -> ProcessEnd {
    if !exit.executed {
        let error = exit.exec_error.clone().unwrap_or_else(|| "the program was not executed".to_owned());
        return ProcessEnd::NeverStarted { error };
    }
    ProcessEnd::Ended {
        code: exit.code,
        signal: exit.signal,
        by: exit.by.unwrap_or(EndedBy::Itself),
        out_of_memory: exit.out_of_memory,
    }
}

/// `adapter.invoke`: what was started, for people. Values of the environment are never in it.
fn invoke_event(kind: &'static str, command: &adapters::Command) -> NewRunEvent<'static> {
    let names: serde_json::Map<String, Json> =
        command.env.iter().map(|(name, _)| (name.clone(), Json::from("***REDACTED***"))).collect();
    let hide = |text: &str| {
        let mut text = text.to_owned();
        for secret in &command.secrets {
            text = text.replace(secret.as_str(), "***REDACTED***");
        }
        text
    };
    let args: Vec<String> = command.argv.iter().skip(1).map(|arg| hide(arg)).collect();
    NewRunEvent {
        event_type: "adapter.invoke",
        stream: Some("system"),
        level: "info",
        message: "adapter invocation",
        payload: Some(json!({
            "adapterType": kind,
            "command": command.argv.first(),
            "commandArgs": args,
            "cwd": command.cwd,
            "commandNotes": command.notes,
            "env": names,
        })),
    }
}
