//! Starting a keeper from the server.
//!
//! The server executes its own program again and does nothing between fork and exec, which
//! keeps the fast spawn path of the standard library; everything delicate is done by the keeper,
//! which is small. The confidential message is put into the pipe *before* the keeper exists when
//! it fits, so that in the ordinary case there is no moment at which it could be torn.
//!
//! A keeper is a child of this process until one of them ends, and leaves a zombie: call
//! [`reap_finished`] now and then (it asks for the launched pids only, never for "any child").

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::error::KeeperError;
use crate::sealed::Sealed;
use crate::spec::{FORMAT, Spec};
use crate::started::{self, Started};
use crate::{folder, lock};

/// How to run the program in its keeper mode.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// `/proc/self/exe` means the code that is running, also after an upgrade replaced the file.
    pub program: PathBuf,
    /// Comes before the folder, which is appended.
    pub args: Vec<String>,
}

/// A keeper that has ended and was reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    pub pid: u32,
    /// 0, [`crate::LATE_EXIT`] and its sisters; none: killed by a signal.
    pub code: Option<i32>,
}

/// How long a new keeper may take to read a message that did not fit the pipe.
const PATIENCE: Duration = Duration::from_secs(10);

static LAUNCHED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

impl Launcher {
    /// Starts a keeper for the folder and returns its pid.
    ///
    /// After it returns the keeper has, or will find in its pipe, all it needs; the child may not
    /// exist yet. It waits for the keeper only if the message is larger than a pipe, and for the
    /// child never.
    pub fn launch(&self, folder: &Path, spec: &Spec, sealed: &Sealed) -> Result<u32, KeeperError> {
        sealed.check()?;
        let folder = std::path::absolute(folder).map_err(KeeperError::io("name the run folder"))?;
        if folder::archive_path(&folder).exists() {
            return Err(KeeperError::AlreadyStarted);
        }
        make_folder(&folder)?;
        // The keeper decides for good; this spares the spec of one that already runs.
        let started = started::read(&folder).map_err(KeeperError::io("read who started"))?;
        let held = lock::holder(&folder).map_err(KeeperError::io("ask for the lock holder"))?;
        if started != Started::No || held.is_some() {
            return Err(KeeperError::AlreadyStarted);
        }
        let spec_bytes = spec_bytes(spec);
        folder::replace(&folder, folder::SPEC, &spec_bytes).map_err(KeeperError::io("write the spec"))?;
        let complaints = folder::create_private(&folder.join(folder::COMPLAINTS))
            .map_err(KeeperError::io("create keeper.err"))?;

        let message = sealed.encode(crc32fast::hash(&spec_bytes));
        let mut pipe = Feed::new(message).map_err(KeeperError::io("make a pipe"))?;
        pipe.push().map_err(KeeperError::io("fill the pipe of a keeper"))?;
        let pid =
            self.spawn(&folder, pipe.take_reader(), complaints).map_err(KeeperError::io("start a keeper"))?;
        if let Err(error) = pipe.finish() {
            let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // It cannot have started anything without the whole message.
            let _ = known.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            return Err(KeeperError::io("hand over to a keeper")(error));
        }
        Ok(pid)
    }

    fn spawn(&self, folder: &Path, input: OwnedFd, complaints: File) -> io::Result<u32> {
        let mut command = Command::new(&self.program);
        // The keeper's own environment is empty: nothing of the server's is shown by it, and
        // it never carries the mark of a run.
        command.args(&self.args).arg(folder).env_clear();
        command.stdin(input).stdout(Stdio::null()).stderr(complaints);
        let pid = command.spawn()?.id();
        LAUNCHED.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        Ok(pid)
    }
}

/// Reaps the keepers this process launched that have ended.
pub fn reap_finished() -> Vec<Finished> {
    let mut finished = Vec::new();
    LAUNCHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|&pid| {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
        match waitpid(Some(raw), WaitOptions::NOHANG) {
            Ok(None) | Err(rustix::io::Errno::INTR) => true,
            Ok(Some((_, status))) => {
                finished.push(Finished { pid, code: status.exit_status() });
                false
            }
            // Somebody else reaped it.
            Err(_) => {
                finished.push(Finished { pid, code: None });
                false
            }
        }
    });
    finished
}

/// The bytes of a spec as they stand in the folder.
fn spec_bytes(spec: &Spec) -> Vec<u8> {
    let spec = Spec { format: FORMAT, ..spec.clone() };
    serde_json::to_vec(&spec).expect("plain fields always serialise")
}

/// Makes the folder and those above it, for nobody else.
pub(crate) fn make_folder(folder: &Path) -> Result<(), KeeperError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)))
        .map_err(KeeperError::io("make the run folder"))
}

/// The writing end of a keeper's pipe.
struct Feed {
    message: Vec<u8>,
    sent: usize,
    writer: File,
    reader: Option<OwnedFd>,
}

impl Feed {
    fn new(message: Vec<u8>) -> io::Result<Self> {
        let (reader, writer) = pipe_closed_on_exec()?;
        let flags = rustix::fs::fcntl_getfl(&writer)?;
        rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK)?;
        #[cfg(target_os = "linux")]
        if message.len() > 64 << 10 {
            // Ordinary users may have pipes up to 1 MiB; what is beyond goes in pieces.
            let _ = rustix::pipe::fcntl_setpipe_size(&writer, message.len().min(1 << 20));
        }
        Ok(Self { message, sent: 0, writer: File::from(writer), reader: Some(reader) })
    }

    fn take_reader(&mut self) -> OwnedFd {
        self.reader.take().expect("given to one keeper")
    }

    /// Writes what fits now.
    fn push(&mut self) -> io::Result<()> {
        while self.sent < self.message.len() {
            match self.writer.write(&self.message[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the rest while the keeper reads, then closes.
    fn finish(mut self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.sent < self.message.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wait = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.writer.as_fd(), PollFlags::OUT)], Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => self.push()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn pipe_closed_on_exec() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}
