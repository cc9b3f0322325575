//! Orders to a living keeper: their wire form, and the server's end.
//!
//! One connection per order over `control.sock`. A message is two lengths, a JSON header and raw
//! bytes. Every order names the holder that gives it; the keeper refuses holders lower than the
//! highest it has seen. What an order *does* is the keeper's side (`keep`).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::KeeperError;
use crate::exit::Exit;
use crate::spec::Containment;
use crate::sweep::{Swept, sweep_marked};
use crate::{folder, lock, spec};

/// The server's way to one keeper, on behalf of one holder.
#[derive(Debug, Clone)]
pub struct Handle {
    folder: PathBuf,
    holder: i64,
}

/// How a keeper introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    pub child_pid: Option<i32>,
    pub containment: Containment,
    /// Offset after the last frame of the log.
    pub log_bytes: u64,
    /// How much input the keeper has taken for the child, the sealed part included.
    pub stdin_offset: u64,
    /// The child has ended; `exit` is there, or [`Handle::take_exit`] gives it.
    pub ended: bool,
}

/// A living keeper answers in microseconds; this is for one that is stopped or starved.
const PATIENCE: Duration = Duration::from_secs(2);
/// One message of input. The keeper keeps at most four that the child has not read.
const FEED_PIECE: usize = 256 << 10;

impl Handle {
    pub fn new(folder: &Path, holder: i64) -> Self {
        Self { folder: folder.to_owned(), holder }
    }

    /// Introduces this holder; from now on lower ones are refused.
    pub fn hello(&self) -> Result<Hello, KeeperError> {
        match self.ask(Order::Hello, &[])? {
            Reply::Hello(hello) => Ok(hello),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins to stop the child: TERM to its group, the grace, KILL. Returns when accepted; a
    /// repeated order changes nothing, also not the reason.
    pub fn stop(&self, reason: &str) -> Result<(), KeeperError> {
        self.ask_plain(Order::Stop { reason: reason.to_owned() })
    }

    /// Tells that the terminal event was seen: the child is stopped after the linger time.
    pub fn linger(&self) -> Result<(), KeeperError> {
        self.ask_plain(Order::Linger)
    }

    /// Gives the child input that begins at `offset` of everything it was given; returns up to
    /// where the keeper has it.
    ///
    /// What it already has is skipped, so the same call may be repeated after any crash. Less
    /// than offered comes back when the child does not read: offer the rest later. `close` holds
    /// once everything offered was taken.
    pub fn feed(&self, offset: u64, bytes: &[u8], close: bool) -> Result<u64, KeeperError> {
        let mut connection = self.connect()?;
        let (mut sent, mut taken) = (0, offset);
        loop {
            let piece = &bytes[sent..bytes.len().min(sent + FEED_PIECE)];
            let at = offset + sent as u64;
            let is_last = sent + piece.len() == bytes.len();
            let order = Order::Feed { offset: at, close: close && is_last };
            match exchange(&mut connection, &Request { holder: self.holder, order }, piece)? {
                Reply::Fed { acknowledged } => taken = taken.max(acknowledged),
                other => return Err(unexpected(&other)),
            }
            sent += piece.len();
            if is_last || taken < offset + sent as u64 {
                return Ok(taken);
            }
        }
    }

    /// Asks for the exit record, for the case that it could not be written to the folder.
    ///
    /// None: the child has not ended. The keeper keeps the record until [`Self::release_exit`]
    /// or until it could write it after all, so a server that dies after this call loses nothing.
    pub fn take_exit(&self) -> Result<Option<Exit>, KeeperError> {
        match self.ask(Order::TakeExit, &[])? {
            Reply::Exit { exit } => Ok(exit.map(|exit| *exit)),
            other => Err(unexpected(&other)),
        }
    }

    /// Tells that the exit record is stored elsewhere; a keeper that only waits for this leaves.
    pub fn release_exit(&self) -> Result<(), KeeperError> {
        self.ask_plain(Order::ReleaseExit)
    }

    /// Kills a keeper that does not answer, and everybody of its run.
    pub fn kill_keeper(&self) -> Result<Swept, KeeperError> {
        kill_holder(&self.folder)?;
        let (spec, _) = spec::read(&self.folder)?;
        sweep_marked(&spec.run, spec.epoch, &self.folder)
    }

    fn ask_plain(&self, order: Order) -> Result<(), KeeperError> {
        match self.ask(order, &[])? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&self, order: Order, body: &[u8]) -> Result<Reply, KeeperError> {
        exchange(&mut self.connect()?, &Request { holder: self.holder, order }, body)
    }

    fn connect(&self) -> Result<UnixStream, KeeperError> {
        let stream = connect_within(&self.folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                KeeperError::NotThere
            }
            _ => KeeperError::io("connect to a keeper")(error),
        })?;
        let limited = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        limited.map_err(KeeperError::io("limit the wait for a keeper"))?;
        Ok(stream)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) holder: i64,
    pub(crate) order: Order,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Order {
    Hello,
    Stop { reason: String },
    Linger,
    Feed { offset: u64, close: bool },
    TakeExit,
    ReleaseExit,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Reply {
    Hello(Hello),
    Done,
    Fed { acknowledged: u64 },
    Exit { exit: Option<Box<Exit>> },
    Refused,
    BadOffset,
    StdinClosed,
    NotUnderstood,
}

/// Nothing legitimate is longer.
pub(crate) const LONGEST_MESSAGE: usize = 1 << 20;

pub(crate) fn encode(header: &impl Serialize, body: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).expect("plain fields always serialise");
    let mut message = Vec::with_capacity(8 + header.len() + body.len());
    message.extend_from_slice(&u32::try_from(header.len()).expect("short headers").to_le_bytes());
    message.extend_from_slice(&u32::try_from(body.len()).expect("bounded pieces").to_le_bytes());
    message.extend_from_slice(&header);
    message.extend_from_slice(body);
    message
}

/// Lengths of header and body, from the first eight bytes; none if absurd.
pub(crate) fn lengths(prefix: [u8; 8]) -> Option<(usize, usize)> {
    let word = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().expect("four bytes")) as usize;
    let (header, body) = (word(0), word(4));
    (header <= LONGEST_MESSAGE && body <= LONGEST_MESSAGE).then_some((header, body))
}

fn exchange(stream: &mut UnixStream, request: &Request, body: &[u8]) -> Result<Reply, KeeperError> {
    let answered = stream.write_all(&encode(request, body)).and_then(|()| receive(stream));
    let reply = answered.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => KeeperError::NotAnswering,
        // It left between accepting and answering.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            KeeperError::NotThere
        }
        io::ErrorKind::InvalidData => KeeperError::corrupt("a keeper's answer", 0),
        _ => KeeperError::io("talk to a keeper")(error),
    })?;
    match reply {
        Reply::Refused => Err(KeeperError::Refused),
        Reply::BadOffset => Err(KeeperError::BadOffset),
        Reply::StdinClosed => Err(KeeperError::StdinClosed),
        other => Ok(other),
    }
}

fn receive(stream: &mut UnixStream) -> io::Result<Reply> {
    let mut prefix = [0; 8];
    stream.read_exact(&mut prefix)?;
    let (header, _) = lengths(prefix).ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = vec![0; header];
    stream.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn unexpected(reply: &Reply) -> KeeperError {
    KeeperError::corrupt(format!("a keeper's answer ({reply:?})"), 0)
}

/// Connects to a socket whose path may be longer than the 108 bytes an address can hold.
#[cfg(target_os = "linux")]
fn connect_within(folder: &Path) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let open = std::fs::File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{}", open.as_raw_fd(), folder::SOCKET))
}

/// Other systems have no way around the limit for a server with threads.
#[cfg(not(target_os = "linux"))]
fn connect_within(folder: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(folder.join(folder::SOCKET))
}

#[cfg(target_os = "linux")]
fn kill_holder(folder: &Path) -> Result<(), KeeperError> {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let holder = || lock::holder(folder).map_err(KeeperError::io("ask for the lock holder"));
    let Some(pid) = holder()? else { return Ok(()) };
    let Some(raw) = Pid::from_raw(pid) else { return Err(KeeperError::StillAlive { pid }) };
    // The handle is fixed first and the holder asked again: the number cannot mean another then.
    if let Ok(handle) = pidfd_open(raw, PidfdFlags::empty())
        && holder()? == Some(pid)
    {
        let sent = pidfd_send_signal(&handle, Signal::KILL);
        sent.map_err(|error| KeeperError::io("kill a keeper")(error.into()))?;
        wait_for_release(folder, || wait_readable(&handle))
    } else {
        wait_for_release(folder, pause)
    }
}

#[cfg(not(target_os = "linux"))]
fn kill_holder(folder: &Path) -> Result<(), KeeperError> {
    use rustix::process::{Pid, Signal, kill_process};
    let holder = lock::holder(folder).map_err(KeeperError::io("ask for the lock holder"))?;
    if let Some(pid) = holder.and_then(Pid::from_raw) {
        kill_process(pid, Signal::KILL).map_err(|error| KeeperError::io("kill a keeper")(error.into()))?;
    }
    wait_for_release(folder, pause)
}

#[cfg(target_os = "linux")]
fn wait_readable(handle: &std::os::fd::OwnedFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&wait));
}

fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

fn wait_for_release(folder: &Path, wait: impl Fn()) -> Result<(), KeeperError> {
    let until = Instant::now() + PATIENCE;
    loop {
        wait();
        match lock::holder(folder).map_err(KeeperError::io("ask for the lock holder"))? {
            None => return Ok(()),
            Some(pid) if Instant::now() > until => return Err(KeeperError::StillAlive { pid }),
            Some(_) => pause(),
        }
    }
}
