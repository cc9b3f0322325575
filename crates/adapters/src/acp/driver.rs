//! The program `bugle acp-run`: stands between the log and an agent that speaks the Agent Client Protocol.
//!
//! It starts the agent, holds the conversation ([`Talk`]) and prints every word of it. It needs no server: one that is
//! restarted reads on in the log, and answers of people come over stdin whenever there is one to send them. One thread
//! waits for everything. SIGTERM means to cancel the turn first, the way the protocol says; the agent sits in a process
//! group of its own so that it does not hear the signal before that. What is left when this program ends is its
//! keeper's to end.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

use super::talk::{Act, Talk};
use super::words::{Job, Line};
use crate::lines::LineSplitter;
use crate::scripted::system::{Disposition, Mailbox, dispose};

/// The first argument under which the `bugle` executable becomes this program.
pub const ACP_RUN: &str = "acp-run";

/// The job could not be read, or the agent could not be started.
const FAILED: u8 = 2;
/// An agent whose input was closed may take this long to end; some take two seconds.
const LEAVES: Duration = Duration::from_secs(4);
/// An agent may take this long to answer that a turn is cancelled; it takes a few hundredths of a second.
const CANCELS: Duration = Duration::from_secs(5);
/// What the agent printed before it ended may be on its way for so long.
const DRAINS: Duration = Duration::from_millis(500);

/// Runs the agent that the first line on stdin describes; ends as the agent ends.
pub fn acp_run() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(words) => {
            print(&Line::Stuck { words, is_gone: false });
            ExitCode::from(FAILED)
        }
    }
}

fn run() -> Result<u8, String> {
    // Before anything else: a signal that comes now is kept.
    let mailbox = Mailbox::open().map_err(|error| format!("cannot prepare for signals: {error}"))?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD] {
        dispose(signal, Disposition::Post).map_err(|error| format!("cannot prepare for signals: {error}"))?;
    }
    let mut orders = Orders::default();
    let job = orders.job()?;
    let argv = job.argv.clone();
    let Some((program, args)) = argv.split_first() else { return Err("the job names no program".to_owned()) };
    let mut child = Command::new(program)
        .args(args)
        .current_dir(&job.cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start `{program}`: {error}"))?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("the agent has no stdin or stdout".to_owned());
    };
    // An agent that does not read must not keep this program from reading it.
    set_nonblocking(&input).and_then(|()| set_nonblocking(&output)).map_err(|error| error.to_string())?;
    let conversation = Conversation {
        talk: Talk::new(job),
        began: Instant::now(),
        mailbox,
        orders,
        input: Some(input),
        unsent: Vec::new(),
        output: Some(output),
        lines: LineSplitter::new(),
        closed_at: None,
        stopped_at: None,
        termed: false,
        ended: None,
    };
    Ok(conversation.hold(&mut child))
}

/// What comes over stdin: the job, then answers.
#[derive(Debug, Default)]
struct Orders {
    pending: Vec<u8>,
    is_over: bool,
}

impl Orders {
    /// Waits for the first line.
    fn job(&mut self) -> Result<Job, String> {
        loop {
            if let Some(line) = self.line() {
                return serde_json::from_slice(&line)
                    .map_err(|error| format!("cannot read the job: {error}"));
            }
            if self.is_over {
                return Err("cannot read the job: there is none".to_owned());
            }
            self.read().map_err(|error| format!("cannot read the job: {error}"))?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut piece = [0; 64 * 1024];
        match rustix::io::read(io::stdin(), &mut piece) {
            Ok(0) => self.is_over = true,
            Ok(count) => self.pending.extend_from_slice(&piece[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => {
                self.is_over = true;
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.pending)?;
        let mut line: Vec<u8> = self.pending.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

/// A conversation with a running agent.
#[derive(Debug)]
struct Conversation {
    talk: Talk,
    began: Instant,
    mailbox: Mailbox,
    orders: Orders,
    /// The agent's.
    input: Option<ChildStdin>,
    /// Words that the agent has not taken yet.
    unsent: Vec<u8>,
    output: Option<ChildStdout>,
    lines: LineSplitter,
    closed_at: Option<Instant>,
    stopped_at: Option<Instant>,
    termed: bool,
    ended: Option<(ExitStatus, Instant)>,
}

impl Conversation {
    /// Goes on until the agent is gone; returns the exit code.
    fn hold(mut self, child: &mut Child) -> u8 {
        let acts = self.talk.begin();
        self.perform(acts);
        loop {
            self.wait();
            while let Some(signal) = self.mailbox.next() {
                if signal != libc::SIGCHLD {
                    self.stop(child);
                }
            }
            self.hear_orders();
            self.hear_agent();
            let acts = self.talk.tick(self.began.elapsed());
            self.perform(acts);
            self.push();
            if self.ended.is_none()
                && let Ok(Some(status)) = child.try_wait()
            {
                self.ended = Some((status, Instant::now()));
            }
            if let Some((status, at)) = self.ended
                && (self.output.is_none() || at.elapsed() >= DRAINS)
            {
                let said = std::mem::take(&mut self.lines);
                said.finish_into(&mut self);
                print(&Line::Ended { code: status.code(), signal: status.signal() });
                return self.exit_code(status);
            }
            self.lose_patience(child);
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) {
        let now = Instant::now();
        let left = |since: Option<Instant>, most: Duration| {
            since.map(|since| (since + most).saturating_duration_since(now))
        };
        let limits = [
            left(self.closed_at, LEAVES).filter(|_| !self.termed),
            left(self.stopped_at, CANCELS).filter(|_| !self.termed),
            left(self.ended.map(|(_, at)| at), DRAINS),
            self.talk.next_tick().map(|at| at.saturating_sub(self.began.elapsed())),
        ];
        // Seldom, and for nothing but a signal that this system lost.
        let limit = limits.into_iter().flatten().min().unwrap_or(Duration::from_secs(30));
        let limit = limit + Duration::from_millis(1);
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(30) as _,
            tv_nsec: i64::from(limit.subsec_nanos()) as _,
        };
        let stdin = io::stdin();
        let mut fds = vec![PollFd::from_borrowed_fd(self.mailbox.fd(), PollFlags::IN)];
        if !self.orders.is_over {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        let orders_at = (!self.orders.is_over).then_some(1);
        if let Some(output) = &self.output {
            fds.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
        }
        if let Some(input) = self.input.as_ref().filter(|_| !self.unsent.is_empty()) {
            fds.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::OUT));
        }
        if poll(&mut fds, Some(&limit)).is_err() {
            return;
        }
        let has_orders = orders_at.is_some_and(|at| !fds[at].revents().is_empty());
        drop(fds);
        if has_orders {
            // An input that breaks is over: nobody answers any more, and the run goes on.
            let _ = self.orders.read();
        }
    }

    fn hear_orders(&mut self) {
        while let Some(line) = self.orders.line() {
            let acts = self.talk.answer(&line);
            self.perform(acts);
        }
    }

    fn hear_agent(&mut self) {
        let mut piece = [0; 64 * 1024];
        // A turn's worth: signals and answers are looked at in between.
        for _ in 0..16 {
            let Some(output) = &mut self.output else { return };
            match output.read(&mut piece) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    let mut said = Vec::new();
                    self.lines.push(&piece[..count], |line| said.push(line.to_vec()));
                    for line in said {
                        self.hear(&line);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }

    fn hear(&mut self, line: &[u8]) {
        let acts = self.talk.line(line, self.began.elapsed());
        self.perform(acts);
    }

    fn perform(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Print(line) => print(&line),
                Act::Send(message) => {
                    self.unsent.extend_from_slice(message.to_string().as_bytes());
                    self.unsent.push(b'\n');
                }
                Act::Close => {
                    self.closed_at.get_or_insert_with(Instant::now);
                }
            }
        }
        self.push();
    }

    /// Writes what the agent takes now, and closes its input when all is said.
    fn push(&mut self) {
        let Some(input) = &mut self.input else { return };
        while !self.unsent.is_empty() {
            match input.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It reads no more. Its end says why.
                Err(_) => {
                    self.unsent.clear();
                    self.input = None;
                    return;
                }
            }
        }
        if self.closed_at.is_some() {
            self.input = None;
        }
    }

    /// The first request cancels the turn, another one ends the agent.
    fn stop(&mut self, child: &Child) {
        if self.stopped_at.is_some() || self.talk.is_over() {
            self.terminate(child);
        }
        self.stopped_at.get_or_insert_with(Instant::now);
        let acts = self.talk.stop();
        self.perform(acts);
    }

    /// Ends an agent that does not answer, or does not leave.
    fn lose_patience(&mut self, child: &Child) {
        let is_over = |since: Option<Instant>, most: Duration| since.is_some_and(|at| at.elapsed() >= most);
        if is_over(self.closed_at, LEAVES) || is_over(self.stopped_at, CANCELS) {
            self.terminate(child);
        }
    }

    fn terminate(&mut self, child: &Child) {
        if self.ended.is_some() || std::mem::replace(&mut self.termed, true) {
            return;
        }
        // It leads its group, and is not reaped: the number is its own.
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    /// An agent that had answered is not blamed for how it was ended.
    fn exit_code(&self, status: ExitStatus) -> u8 {
        if self.talk.is_done() && self.termed {
            return 0;
        }
        let signal = status.signal().map(|signal| 128 + signal);
        status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

impl LineSplitter {
    /// Gives a last line that has no end to the conversation.
    fn finish_into(mut self, conversation: &mut Conversation) {
        let mut last = None;
        self.finish(|line| last = Some(line.to_vec()));
        if let Some(line) = last {
            conversation.hear(&line);
        }
    }
}

fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

/// Prints a line. A log that is gone is noticed by whoever reads it.
fn print(line: &Line) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line.to_bytes()).and_then(|()| out.flush());
}
