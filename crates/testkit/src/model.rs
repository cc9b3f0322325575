//! A model of the processes of runs, in memory, that behaves as keepers and their folders do.
//!
//! It is shared and survives the engines that use it: at most one start per process id, a start that can be taken back,
//! a log with offsets, a record of the end, a keeper that can be lost, orders that are refused from older servers. What
//! engines see of it is `port.rs`; here is what a test does with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use domain::ending::EndedBy;
use domain::ids::RunId;
use domain::moment::Moment;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use engine::{Clock, ExitFacts, Frame, FrameStream, ProcessId, Processes, TreeUsage};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use crate::port::Port;
use crate::world::patience;

/// What a process does when it is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obedience {
    /// It ends by the signal.
    AtOnce,
    /// It ends when the test says [`Model::obey`].
    Later,
    /// Only the death of its keeper ends it.
    Never,
}

/// How starts fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An error, and nothing was started.
    Before,
    /// An error, and the process runs all the same.
    After,
    /// An error, and even taking the start back fails, until the refusal is lifted; the process runs.
    Unclear,
    /// No error, but the keeper shows itself only at [`Model::arrive`].
    Late,
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journal {
    Started(ProcessId),
    Ended(ProcessId),
}

/// The model; clones share it.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Rung for starts that wait in blocking threads.
    pub(crate) gate: Condvar,
    changes: watch::Sender<u64>,
}

type Play = Arc<dyn Fn(&Model, &ProcessId, &adapters::Command) + Send + Sync>;

pub(crate) struct State {
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    pub(crate) boot: String,
    pub(crate) journal: Vec<Journal>,
    /// Calls of `start`, whatever came of them.
    pub(crate) attempts: Vec<ProcessId>,
    pub(crate) holding: bool,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) obedience: Obedience,
    pub(crate) sweeps_fail: u32,
    pub(crate) lingers_fail: u32,
    pub(crate) ports: Vec<Weak<Port>>,
    pub(crate) never_blocks: bool,
    pub(crate) play: Option<Play>,
    time: i64,
    /// Whose time it is here.
    clock: Option<Arc<dyn Clock>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("processes", &self.processes).finish_non_exhaustive()
    }
}

impl State {
    /// A moment later than any before it.
    fn tick(&mut self) -> i64 {
        let now = self.clock.as_ref().map_or(0, |clock| clock.now().micros());
        self.time = (self.time + 1).max(now);
        self.time
    }
}

/// Whether the epoch had its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Start {
    #[default]
    No,
    Revoked,
    Yes,
}

#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) start: Start,
    /// A launched keeper that has not come up.
    pub(crate) on_its_way: bool,
    pub(crate) keeper: bool,
    pub(crate) exit: Option<ExitFacts>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) holder: i64,
    pub(crate) obedience: Option<Obedience>,
    pub(crate) starts: u32,
    pub(crate) stops: u32,
    pub(crate) lingers: u32,
    /// What it was given on stdin since it began.
    pub(crate) input: Vec<u8>,
    pub(crate) sweeps: u32,
    pub(crate) keeper_kills: u32,
    pub(crate) archived: bool,
    pub(crate) removed: bool,
    pub(crate) argv: Vec<String>,
    /// What its tree has used; `None`: it cannot be seen.
    pub(crate) used: Option<TreeUsage>,
    pub(crate) measured: u32,
}

impl Default for Model {
    fn default() -> Model {
        Model::new()
    }
}

impl Model {
    /// Returns a model of a machine that runs nothing.
    pub fn new() -> Model {
        let state = State {
            processes: BTreeMap::new(),
            boot: "boot-1".to_owned(),
            journal: Vec::new(),
            attempts: Vec::new(),
            holding: false,
            refusal: None,
            obedience: Obedience::AtOnce,
            sweeps_fail: 0,
            lingers_fail: 0,
            ports: Vec::new(),
            never_blocks: false,
            play: None,
            time: 1_700_000_000_000_000,
            clock: None,
        };
        let shared =
            Shared { state: Mutex::new(state), gate: Condvar::new(), changes: watch::Sender::new(0) };
        Model { shared: Arc::new(shared) }
    }

    /// What an engine uses: each server has a port of its own, and a port that is dropped rings nobody any more.
    pub fn port(&self) -> Arc<dyn Processes> {
        self.own_port()
    }

    pub(crate) fn own_port(&self) -> Arc<Port> {
        let port = Arc::new(Port::new(self.clone()));
        self.lock().ports.push(Arc::downgrade(&port));
        port
    }

    /// From now on, every process that starts does this at once.
    pub fn on_start(&self, play: impl Fn(&Model, &ProcessId, &adapters::Command) + Send + Sync + 'static) {
        self.lock().play = Some(Arc::new(play));
    }

    /// From now on, processes do nothing by themselves.
    pub fn idle_on_start(&self) {
        self.lock().play = None;
    }

    /// What happens here happens at the time of this clock, and not long ago.
    pub fn keep_time(&self, clock: Arc<dyn Clock>) {
        self.lock().clock = Some(clock);
    }

    /// Engines may call this model on the thread they run on: nobody holds starts.
    pub(crate) fn never_block(&self) {
        self.lock().never_blocks = true;
    }

    /// The tree of a process has used so much by now.
    pub fn set_used(&self, id: &ProcessId, used: TreeUsage) {
        if let Some(process) = self.lock().processes.get_mut(id) {
            process.used = Some(used);
        }
    }

    /// How often the tree of a process was measured.
    pub fn measured(&self, id: &ProcessId) -> u32 {
        self.count(id, |process| process.measured)
    }

    /// What a process was given on stdin since it began, as text.
    pub fn heard(&self, id: &ProcessId) -> String {
        let state = self.lock();
        let input = state.processes.get(id).map(|process| process.input.clone()).unwrap_or_default();
        String::from_utf8_lossy(&input).into_owned()
    }

    /// Starts wait, in the middle of the call, until [`Model::release_starts`].
    pub fn hold_starts(&self) {
        self.lock().holding = true;
    }

    pub fn release_starts(&self) {
        self.lock().holding = false;
        self.shared.gate.notify_all();
        self.rung();
    }

    /// Starts fail this way; `None` ends it.
    pub fn refuse_starts(&self, refusal: Option<Refusal>) {
        self.lock().refusal = refusal;
        self.rung();
    }

    /// What processes do when asked to stop, unless said otherwise for one.
    pub fn obey_by_default(&self, obedience: Obedience) {
        self.lock().obedience = obedience;
    }

    /// What one process does when asked to stop.
    pub fn set_obedience(&self, id: &ProcessId, obedience: Obedience) {
        self.lock().processes.entry(id.clone()).or_default().obedience = Some(obedience);
    }

    /// The next `times` sweeps find processes that cannot be ended.
    pub fn fail_sweeps(&self, times: u32) {
        self.lock().sweeps_fail = times;
    }

    /// The next `times` linger orders find a keeper that does not answer.
    pub fn fail_lingers(&self, times: u32) {
        self.lock().lingers_fail = times;
    }

    /// A launched keeper shows itself, unless its start was taken back meanwhile.
    pub fn arrive(&self, id: &ProcessId) {
        let mut state = self.lock();
        let process = state.processes.entry(id.clone()).or_default();
        process.on_its_way = false;
        let may = process.start == Start::No;
        if may {
            self.begin(&mut state, id);
        }
        let play = state.play.clone().filter(|_| may);
        drop(state);
        self.changed(id);
        if let Some(play) = play {
            play(self, id, &nothing());
        }
    }

    /// The program prints on stdout.
    pub fn print(&self, id: &ProcessId, text: &str) {
        self.write(id, FrameStream::Stdout, text.as_bytes());
    }

    /// The program prints on stderr.
    pub fn err(&self, id: &ProcessId, text: &str) {
        self.write(id, FrameStream::Stderr, text.as_bytes());
    }

    /// The program says an event, as scripted agents do.
    pub fn say(&self, id: &ProcessId, event: &AgentEvent) {
        let line = format!("::bugle:: {}\n", serde_json::to_string(event).unwrap());
        self.write(id, FrameStream::Stdout, line.as_bytes());
    }

    /// The program says that it is done, with success.
    pub fn say_done(&self, id: &ProcessId) {
        let summary = Some("done".to_owned());
        self.say(id, &AgentEvent::Result { error: None, summary, plan_only: false, json: None });
    }

    /// The program says that it failed.
    pub fn say_failed(&self, id: &ProcessId, class: ErrorClass, not_before: Option<Moment>) {
        let error = AgentError { class, message: format!("{class} trouble"), code: None, not_before };
        let event = AgentEvent::Result { error: Some(error), summary: None, plan_only: false, json: None };
        self.say(id, &event);
    }

    pub fn say_session(&self, id: &ProcessId, session: &str) {
        self.say(id, &AgentEvent::Session { id: session.to_owned() });
    }

    pub fn say_message(&self, id: &ProcessId, text: &str) {
        self.say(id, &AgentEvent::Message { text: text.to_owned() });
    }

    pub fn say_usage(&self, id: &ProcessId, input: u64, output: u64, cost_micros: i64) {
        let usage = Usage {
            input_tokens: input,
            output_tokens: output,
            cost_micros: Some(cost_micros),
            ..Usage::default()
        };
        self.say(id, &AgentEvent::UsageAdded { usage });
    }

    /// The process ends by itself with a code.
    pub fn exit(&self, id: &ProcessId, code: i32) {
        self.end(id, Some(code), None, EndedBy::Itself, false);
    }

    /// A signal that is not ours ends the process.
    pub fn signal(&self, id: &ProcessId, signal: i32) {
        self.end(id, None, Some(signal), EndedBy::Itself, false);
    }

    /// The kernel ends the process because memory ran out.
    pub fn kill_for_memory(&self, id: &ProcessId) {
        self.end(id, None, Some(9), EndedBy::Itself, true);
    }

    /// The keeper ends the process, for its own reasons or because it was asked to.
    pub fn end_by(&self, id: &ProcessId, by: EndedBy) {
        self.note(&mut self.lock(), id, &json!({ "note": "term" }));
        self.end(id, None, Some(15), by, false);
    }

    /// A process that was asked to stop does so now.
    pub fn obey(&self, id: &ProcessId) {
        self.end_by(id, EndedBy::StopOrder);
    }

    /// The program could not be executed.
    pub fn fail_exec(&self, id: &ProcessId, error: &str) {
        let mut state = self.lock();
        let process = state.processes.get_mut(id).expect("a started process");
        process.exit = Some(ExitFacts { exec_error: Some(error.to_owned()), ..ExitFacts::default() });
        process.keeper = false;
        state.journal.push(Journal::Ended(id.clone()));
        drop(state);
        self.changed(id);
    }

    /// The keeper dies and leaves no record.
    pub fn lose_keeper(&self, id: &ProcessId) {
        let mut state = self.lock();
        let process = state.processes.get_mut(id).expect("a started process");
        if process.keeper {
            process.keeper = false;
            state.journal.push(Journal::Ended(id.clone()));
        }
        drop(state);
        self.changed(id);
    }

    /// The machine starts anew: what ran is gone, and what was not flushed may be.
    pub fn reboot(&self, boot: &str, forgotten: &[ProcessId]) {
        let mut state = self.lock();
        state.boot = boot.to_owned();
        let alive: Vec<ProcessId> = alive(&state);
        for id in alive {
            if let Some(process) = state.processes.get_mut(&id) {
                process.keeper = false;
            }
            state.journal.push(Journal::Ended(id));
        }
        for id in forgotten {
            if let Some(process) = state.processes.get_mut(id) {
                (process.start, process.exit) = (Start::No, None);
                process.frames.clear();
            }
        }
    }

    /// How often this process was really started.
    pub fn starts(&self, id: &ProcessId) -> u32 {
        self.lock().processes.get(id).map_or(0, |process| process.starts)
    }

    /// Calls of `start` so far, whatever came of them.
    pub fn attempts(&self) -> usize {
        self.lock().attempts.len()
    }

    /// All processes of a run that were ever started, by epoch.
    pub fn started(&self, run: &RunId) -> Vec<ProcessId> {
        let state = self.lock();
        let mut ids: Vec<ProcessId> = state
            .processes
            .iter()
            .filter(|(id, process)| id.run == *run && process.starts > 0)
            .map(|(id, _)| id.clone())
            .collect();
        ids.sort_by_key(|id| id.epoch);
        ids
    }

    /// Every process and how often it was started.
    pub fn all_starts(&self) -> Vec<(ProcessId, u32)> {
        self.lock().processes.iter().map(|(id, process)| (id.clone(), process.starts)).collect()
    }

    /// What happened so far.
    pub fn journal(&self) -> Vec<Journal> {
        self.lock().journal.clone()
    }

    /// The processes that live now.
    pub fn alive(&self) -> Vec<ProcessId> {
        alive(&self.lock())
    }

    pub fn is_alive(&self, id: &ProcessId) -> bool {
        self.lock().processes.get(id).is_some_and(|process| process.keeper)
    }

    /// How often it was ordered to stop.
    pub fn stops(&self, id: &ProcessId) -> u32 {
        self.count(id, |process| process.stops)
    }

    /// The newest server that its keeper heard of: the one it obeys.
    pub fn obeyed(&self, id: &ProcessId) -> i64 {
        self.lock().processes.get(id).map_or(0, |process| process.holder)
    }

    pub fn lingers(&self, id: &ProcessId) -> u32 {
        self.count(id, |process| process.lingers)
    }

    pub fn sweeps(&self, id: &ProcessId) -> u32 {
        self.count(id, |process| process.sweeps)
    }

    pub fn keeper_kills(&self, id: &ProcessId) -> u32 {
        self.count(id, |process| process.keeper_kills)
    }

    pub fn is_archived(&self, id: &ProcessId) -> bool {
        self.lock().processes.get(id).is_some_and(|process| process.archived)
    }

    pub fn is_removed(&self, id: &ProcessId) -> bool {
        self.lock().processes.get(id).is_some_and(|process| process.removed)
    }

    pub fn is_revoked(&self, id: &ProcessId) -> bool {
        self.lock().processes.get(id).is_some_and(|process| process.start == Start::Revoked)
    }

    /// The arguments it was started with.
    pub fn argv(&self, id: &ProcessId) -> Vec<String> {
        self.lock().processes.get(id).map(|process| process.argv.clone()).unwrap_or_default()
    }

    fn count(&self, id: &ProcessId, of: impl Fn(&Process) -> u32) -> u32 {
        self.lock().processes.get(id).map_or(0, of)
    }

    /// Waits until something is so; looks again whenever anything changes here.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&Model) -> Option<T>) -> T {
        let mut changes = self.shared.changes.subscribe();
        let waited = tokio::time::timeout(patience(), async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                changes.changed().await.expect("the model holds the sender");
            }
        });
        waited.await.unwrap_or_else(|_| panic!("the model never saw: {what}; {:?}", self.lock()))
    }

    /// Waits until the process lives.
    pub async fn until_alive(&self, id: &ProcessId) {
        self.until(&format!("{id:?} alive"), |model| model.is_alive(id).then_some(())).await;
    }

    /// Waits until the process was ordered to stop.
    pub async fn until_stopping(&self, id: &ProcessId) {
        self.until(&format!("a stop order for {id:?}"), |model| (model.stops(id) > 0).then_some(())).await;
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The start itself; the caller has made sure that it may.
    pub(crate) fn begin(&self, state: &mut State, id: &ProcessId) {
        state.journal.push(Journal::Started(id.clone()));
        let at = state.tick();
        let process = state.processes.entry(id.clone()).or_default();
        process.start = Start::Yes;
        process.starts += 1;
        process.keeper = true;
        let note =
            json!({ "note": "exec_ok", "pid": 1000 + id.epoch, "pgid": 1000 + id.epoch, "startedAtUs": at });
        push(process, FrameStream::Keeper, note.to_string().as_bytes(), at);
    }

    pub(crate) fn note(&self, state: &mut State, id: &ProcessId, note: &Json) {
        let at = state.tick();
        if let Some(process) = state.processes.get_mut(id) {
            push(process, FrameStream::Keeper, note.to_string().as_bytes(), at);
        }
    }

    /// Tells everybody who watches this process, and whoever waits for the model.
    pub(crate) fn changed(&self, id: &ProcessId) {
        let ports: Vec<Arc<Port>> = {
            let mut state = self.lock();
            state.ports.retain(|port| port.strong_count() > 0);
            state.ports.iter().filter_map(Weak::upgrade).collect()
        };
        for port in ports {
            port.ring(id);
        }
        self.rung();
    }

    pub(crate) fn rung(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    fn write(&self, id: &ProcessId, stream: FrameStream, bytes: &[u8]) {
        let mut state = self.lock();
        let at = state.tick();
        let process = state.processes.get_mut(id).expect("a started process");
        push(process, stream, bytes, at);
        drop(state);
        self.changed(id);
    }

    fn end(&self, id: &ProcessId, code: Option<i32>, signal: Option<i32>, by: EndedBy, out_of_memory: bool) {
        let mut state = self.lock();
        self.end_locked(&mut state, id, code, signal, by, out_of_memory);
        drop(state);
        self.changed(id);
    }

    pub(crate) fn end_locked(
        &self,
        state: &mut State,
        id: &ProcessId,
        code: Option<i32>,
        signal: Option<i32>,
        by: EndedBy,
        out_of_memory: bool,
    ) {
        let at = Moment::from_micros(state.tick());
        let process = state.processes.get_mut(id).expect("a started process");
        // Who comes second finds it over.
        if !process.keeper {
            return;
        }
        process.keeper = false;
        let log_bytes = process.frames.last().map_or(0, |frame| frame.next_offset);
        process.exit = Some(ExitFacts {
            executed: true,
            code,
            signal,
            by: Some(by),
            out_of_memory,
            started_at: Some(at),
            ended_at: Some(at),
            log_bytes,
            log_sha256: format!("{:064x}", log_bytes),
            containment: "model".to_owned(),
            ..ExitFacts::default()
        });
        state.journal.push(Journal::Ended(id.clone()));
    }
}

fn alive(state: &State) -> Vec<ProcessId> {
    let mut ids: Vec<ProcessId> =
        state.processes.iter().filter(|(_, process)| process.keeper).map(|(id, _)| id.clone()).collect();
    ids.sort_by(|a, b| (&a.run, a.epoch).cmp(&(&b.run, b.epoch)));
    ids
}

fn push(process: &mut Process, stream: FrameStream, bytes: &[u8], at: i64) {
    // A header of the file, then one of each frame.
    let offset = process.frames.last().map_or(16, |frame| frame.next_offset);
    let next_offset = offset + 24 + bytes.len() as u64;
    let seq = process.frames.len() as u64;
    process.frames.push(Frame {
        seq,
        stream,
        at: Moment::from_micros(at),
        bytes: bytes.to_vec(),
        offset,
        next_offset,
    });
}

fn nothing() -> adapters::Command {
    adapters::Command {
        argv: Vec::new(),
        cwd: "/".into(),
        env: Vec::new(),
        stdin: Vec::new(),
        keep_stdin_open: false,
        secrets: Vec::new(),
        grace: std::time::Duration::ZERO,
        wall: None,
        notes: Vec::new(),
        in_files: Vec::new(),
    }
}
