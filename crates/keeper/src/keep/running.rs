//! The keeper's loop: wait, read, write down, obey, until nobody is left.
//!
//! The order at the end is fixed: the child ends, its run is cleared of survivors, the pipes
//! are drained, the log is closed. What follows (publishing the exit record) is `leaving`. An
//! exit record therefore says that everything is over, and nothing is logged after it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;

use super::Bounds;
use super::child::{self, Child, Reaped};
use super::clearing::{Clearing, Ledger, Progress};
use super::control::Control;
use super::input::{Input, Taken};
use super::ladder::{Ladder, Push};
use super::log_writer::LogWriter;
use super::signals::Signals;
use super::unmap;
use crate::exit::{Draft, EndedBy, Exit, shorten};
use crate::folder;
use crate::frame::Stream;
use crate::orders::{Hello, Order, Reply, Request};
use crate::redact::Redactor;
use crate::sealed::Sealed;
use crate::spec::{FORMAT, Spec, Stdin};

/// What is left to tell when everything is over.
pub(super) struct Outcome {
    pub(super) exit: Exit,
    pub(super) hello: Hello,
    /// The highest that gave an order.
    pub(super) holder: i64,
}

/// Runs the child until nobody is left and says how it went.
pub(super) fn run(
    spec: Spec,
    sealed: Sealed,
    bounds: Bounds,
    log: LogWriter,
    draft: &Draft,
    signals: &Signals,
    control: &mut Control,
) -> Outcome {
    let (started, started_at_us) = (Instant::now(), folder::now_us());
    // First of all: what is needed only to listen to the child can be made while it begins.
    let child = child::start(&spec, &sealed.env, bounds.cgroup.as_ref());
    draft.reserve();
    let mut life = Life::new(spec, sealed, bounds, log, started, started_at_us);
    match child {
        Ok(child) => {
            life.adopt(child);
            life.until_over(signals, control);
        }
        Err(why) => life.never_began(why),
    }
    life.close()
}

/// One of the child's output pipes and what guards it.
struct Output {
    pipe: Option<File>,
    redact: Redactor,
}

#[derive(Clone, Copy)]
struct Ended {
    at: Instant,
    at_us: i64,
    code: Option<i32>,
    signal: Option<i32>,
}

struct Life {
    spec: Spec,
    sealed: Sealed,
    bounds: Bounds,
    /// The highest that gave an order.
    holder: i64,
    log: LogWriter,
    ladder: Ladder,
    reason: Option<String>,
    ledger: Ledger,
    exec: Option<OwnedFd>,
    executed: bool,
    exec_error: Option<String>,
    /// Its number, and its group's, is its own only until it has ended.
    pid: Option<i32>,
    out: Output,
    err: Output,
    input: Input,
    redact_input: Redactor,
    started: Instant,
    started_at_us: i64,
    ended: Option<Ended>,
    left_behind: Vec<i32>,
    /// Made at the first output: a quiet child costs none.
    buffer: Vec<u8>,
}

/// What a look at the descriptors found.
#[derive(Debug, Default, Clone, Copy)]
struct Sight {
    signals: bool,
    exec: bool,
    out: bool,
    err: bool,
    input: bool,
    control: bool,
}

/// One read, one frame.
const READ: usize = 128 << 10;
/// Reads from one pipe before others get their turn.
const TURN: usize = 16;
/// What a stranger that was handed a pipe may still print after the run is over.
const LAST_WORDS: usize = 4 << 20;

impl Life {
    fn new(
        spec: Spec,
        sealed: Sealed,
        bounds: Bounds,
        mut log: LogWriter,
        started: Instant,
        started_at_us: i64,
    ) -> Self {
        for limit in &bounds.unenforced {
            log.note(&json!({"note": "limit_unenforced", "limit": limit}));
        }
        if let Some(level) = bounds.refused {
            log.note(&json!({"note": "containment_unavailable", "wanted": level, "used": bounds.level}));
        }
        let redactor = || Redactor::new(&sealed.secrets, spec.redact_images, &spec.censor_users);
        let redact_input =
            if spec.stdin == Stdin::Closed { Redactor::new(&[], false, &[]) } else { redactor() };
        Self {
            holder: spec.holder,
            log,
            ladder: Ladder::new(&spec.limits, started),
            reason: None,
            ledger: Ledger::default(),
            exec: None,
            executed: false,
            exec_error: None,
            pid: None,
            out: Output { pipe: None, redact: redactor() },
            err: Output { pipe: None, redact: redactor() },
            input: Input::new(None, Vec::new(), true),
            redact_input,
            started,
            started_at_us,
            ended: None,
            left_behind: Vec::new(),
            buffer: Vec::new(),
            spec,
            sealed,
            bounds,
        }
    }

    fn adopt(&mut self, child: Child) {
        self.pid = Some(child.pid);
        self.exec = Some(child.exec);
        self.out.pipe = Some(child.stdout.into());
        self.err.pipe = Some(child.stderr.into());
        let first = std::mem::take(&mut self.sealed.stdin);
        if child.stdin.is_some() {
            log_pieces(&mut self.log, Stream::Stdin, self.redact_input.push(&first));
        }
        self.input = Input::new(child.stdin, first, self.spec.stdin == Stdin::Once);
    }

    fn never_began(&mut self, why: String) {
        self.exec_error = Some(why);
        self.end(None, None);
        let mut clearing = Clearing::begin(Instant::now(), true);
        // Only the stub of a pid namespace can be there.
        while let Progress::Busy { again_at } =
            clearing.pass(Instant::now(), &mut self.bounds, &mut self.ledger)
        {
            std::thread::sleep(again_at.saturating_duration_since(Instant::now()));
        }
    }

    fn until_over(&mut self, signals: &Signals, control: &mut Control) {
        let mut clearing: Option<Clearing> = None;
        let mut deadline = self.ladder.next();
        loop {
            let sight = self.look(signals, control, deadline);
            if sight.input {
                self.input.push();
            }
            if sight.exec {
                self.exec_report();
            }
            if sight.out {
                self.read(Stream::Stdout, TURN);
            }
            if sight.err {
                self.read(Stream::Stderr, TURN);
            }
            if sight.control {
                control.accept();
                control.serve(|request, body| self.obey(request, body));
            }
            let now = Instant::now();
            if sight.signals {
                let caught = signals.take();
                if caught.terminate {
                    self.stop("the keeper was told to end (SIGTERM)", now);
                }
                if caught.child {
                    self.reap();
                }
            }
            if self.ended.is_none() {
                if let Some(push) = self.ladder.due(now) {
                    self.push(push);
                }
                deadline = self.ladder.next();
                continue;
            }
            let at_once = self.ladder.was_killed();
            let clearing = clearing.get_or_insert_with(|| Clearing::begin(now, at_once));
            match clearing.pass(now, &mut self.bounds, &mut self.ledger) {
                Progress::Busy { again_at } => deadline = Some(again_at),
                Progress::Empty => return,
                Progress::GaveUp(left) => {
                    self.left_behind = left;
                    return;
                }
            }
        }
    }

    /// Waits until something happens or the deadline comes.
    fn look(&self, signals: &Signals, control: &Control, deadline: Option<Instant>) -> Sight {
        let timeout = deadline.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        let mut fds = Vec::with_capacity(8);
        let mut add = |fd, flags| {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            fds.len() - 1
        };
        let signal_at = add(signals.fd(), PollFlags::IN);
        let exec_at = self.exec.as_ref().map(|fd| add(fd.as_fd(), PollFlags::IN));
        let out_at = self.out.pipe.as_ref().map(|fd| add(fd.as_fd(), PollFlags::IN));
        let err_at = self.err.pipe.as_ref().map(|fd| add(fd.as_fd(), PollFlags::IN));
        let input_at = self.input.fd().map(|fd| add(fd, PollFlags::OUT));
        let control_at = fds.len();
        fds.extend(control.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // Interrupted by a signal whose byte is there at the next look.
            return Sight { signals: true, ..Sight::default() };
        }
        let ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        Sight {
            signals: ready(Some(signal_at)),
            exec: ready(exec_at),
            out: ready(out_at),
            err: ready(err_at),
            input: ready(input_at),
            control: fds[control_at..].iter().any(|fd| !fd.revents().is_empty()),
        }
    }

    /// Reads from an output pipe until it is empty, closed, or has had its turn.
    fn read(&mut self, stream: Stream, turn: usize) {
        let output = if stream == Stream::Stdout { &mut self.out } else { &mut self.err };
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ];
        }
        for _ in 0..turn {
            let Some(pipe) = &mut output.pipe else { return };
            match pipe.read(&mut self.buffer) {
                Ok(0) => {
                    output.pipe = None;
                    self.log.append(stream, &output.redact.finish());
                }
                Ok(count) => {
                    let bytes = &self.buffer[..count];
                    if output.redact.is_idle() {
                        self.log.append(stream, bytes);
                    } else {
                        log_pieces(&mut self.log, stream, output.redact.push(bytes));
                    }
                    if count < READ / 2 {
                        // Most likely all there was; polling finds out as cheaply.
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => output.pipe = None,
            }
        }
    }

    /// The pipe that closes at exec: closed means executed, bytes mean why not.
    fn exec_report(&mut self) {
        let Some(exec) = &self.exec else { return };
        let mut report = [0; 16];
        match rustix::io::read(exec, &mut report) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Ok(0) | Err(_) => {
                self.executed = true;
                let note = json!({
                    "note": "exec_ok",
                    "pid": self.pid,
                    "pgid": self.pid,
                    "startedAtUs": self.started_at_us,
                    "containment": self.bounds.level,
                });
                self.log.note(&note);
            }
            Ok(count) => {
                let why = child::explain(&report[..count], &self.spec, &self.sealed.env);
                self.exec_error = Some(Redactor::whole(&self.sealed.secrets, &why));
                self.log.note(&json!({"note": "exec_failed", "why": self.exec_error}));
            }
        }
        self.exec = None;
        // No longer needed, and the less of it lies in memory the better.
        self.sealed = Sealed::default();
        unmap::give_back();
    }

    fn obey(&mut self, request: Request, body: &[u8]) -> Reply {
        if request.holder < self.holder {
            return Reply::Refused;
        }
        self.holder = request.holder;
        match request.order {
            Order::Hello => Reply::Hello(self.hello()),
            Order::Stop { reason } => {
                self.stop(&reason, Instant::now());
                Reply::Done
            }
            Order::Linger => {
                self.ladder.linger(Instant::now());
                Reply::Done
            }
            Order::Feed { offset, close } => self.feed(offset, body, close),
            Order::TakeExit => Reply::Exit { exit: None },
            Order::ReleaseExit => Reply::Done,
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            child_pid: self.pid,
            containment: self.bounds.level,
            log_bytes: self.log.end(),
            stdin_offset: self.input.offset(),
            ended: self.ended.is_some(),
        }
    }

    fn feed(&mut self, offset: u64, bytes: &[u8], close: bool) -> Reply {
        if self.spec.stdin != Stdin::Open {
            return Reply::StdinClosed;
        }
        match self.input.offer(offset, bytes, close) {
            Taken::New(new) => {
                log_pieces(&mut self.log, Stream::Stdin, self.redact_input.push(new));
                Reply::Fed { acknowledged: self.input.offset() }
            }
            Taken::Missing => Reply::BadOffset,
            Taken::Closed => Reply::StdinClosed,
        }
    }

    fn stop(&mut self, reason: &str, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        if let Some(push) = self.ladder.stop(EndedBy::StopOrder, now) {
            self.reason = Some(shorten(reason));
            self.push(push);
        }
    }

    /// Signals the group; its leader was not reaped, so the number is still its own.
    fn push(&mut self, push: Push) {
        let (Some(raw), None) = (self.pid, self.ended) else { return };
        let pid = Pid::from_raw(raw).expect("a child's number is positive");
        match push {
            Push::Term(by) => {
                self.log.note(&json!({"note": "term", "by": by, "reason": self.reason}));
                send(pid, Signal::TERM);
                // A stopped process hears it only when it goes on.
                send(pid, Signal::CONT);
            }
            Push::Kill => {
                self.log.note(&json!({"note": "kill"}));
                send(pid, Signal::KILL);
            }
        }
    }

    /// Reaps whoever has ended, until the child is among them: the rest is for the clearing.
    fn reap(&mut self) {
        while self.ended.is_none() {
            let Reaped::One { pid, status, used } = child::reap_any() else { return };
            self.ledger.add(used);
            if Some(pid) == self.pid {
                let (code, signal) = child::ending(status);
                self.end(code, signal);
            } else {
                self.bounds.forget(pid);
            }
        }
    }

    fn end(&mut self, code: Option<i32>, signal: Option<i32>) {
        self.ended = Some(Ended { at: Instant::now(), at_us: folder::now_us(), code, signal });
    }

    fn close(mut self) -> Outcome {
        self.exec_report();
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.read(stream, LAST_WORDS / READ);
        }
        // Held back and never decided, or the pipe is still open in a stranger's hands.
        self.log.append(Stream::Stdout, &self.out.redact.finish());
        self.log.append(Stream::Stderr, &self.err.redact.finish());
        self.log.append(Stream::Stdin, &self.redact_input.finish());
        self.input.close();

        let ended = self.ended.expect("closed only after the end");
        // The number 127 of a child that never was our program says nothing.
        let (code, signal) = if self.executed { (ended.code, ended.signal) } else { (None, None) };
        self.log.note(&json!({
            "note": "ended",
            "code": code,
            "signal": signal,
            "endedBy": self.ladder.ended_by(),
            "survivorsKilled": self.ledger.survivors,
            "leftBehind": self.left_behind,
        }));
        let hello = self.hello();
        let log = self.log.finish();
        let usage = self.bounds.cgroup.as_ref().map(crate::cgroup::Cgroup::usage).unwrap_or_default();
        if let Some(cgroup) = &self.bounds.cgroup {
            cgroup.remove();
        }
        let exit = Exit {
            format: FORMAT,
            run: self.spec.run,
            epoch: self.spec.epoch,
            executed: self.executed,
            exec_error: self.exec_error.as_deref().map(shorten),
            code,
            signal,
            ended_by: self.ladder.ended_by(),
            reason: self.reason,
            started_at_us: self.started_at_us,
            ended_at_us: ended.at_us,
            wall_us: u64::try_from(ended.at.duration_since(self.started).as_micros()).unwrap_or(u64::MAX),
            cpu_us: usage.cpu_us.unwrap_or(0).max(self.ledger.cpu_us),
            peak_memory_bytes: usage.peak_memory.unwrap_or(self.ledger.peak_memory),
            oom_killed: usage.oom_killed,
            log_bytes: log.bytes,
            log_sha256: log.sha256,
            log_end: log.end,
            survivors_killed: self.ledger.survivors,
            left_behind: self.left_behind,
            containment: self.bounds.level,
            child_pid: self.pid,
            dropped_bytes: log.dropped,
        };
        let hello = Hello { log_bytes: exit.log_end, ..hello };
        Outcome { exit, hello, holder: self.holder }
    }
}

/// Frames have a bounded size; what a filter gives out at once need not.
fn log_pieces(log: &mut LogWriter, stream: Stream, bytes: &[u8]) {
    for piece in bytes.chunks(2 * READ) {
        log.append(stream, piece);
    }
}

/// To the group, or to the child alone as long as it has not made its group.
fn send(pid: Pid, signal: Signal) {
    if kill_process_group(pid, signal).is_err() {
        let _ = kill_process(pid, signal);
    }
}
