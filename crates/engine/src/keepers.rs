//! Real processes: the engine's port, answered by keepers and their run folders.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ending::EndedBy;
use domain::ids::RunId;
use domain::moment::Moment;
use keeper::{
    Containment, Handle, KeeperError, Launcher, Limits, LogReader, Probe, Revocation, Sealed, Spec, Started,
    Stdin,
};
use tokio::sync::Notify;

use crate::processes::{
    ExitFacts, Frame, FrameStream, LogSource, ProcessError, ProcessId, Processes, Seen, TreeUsage,
};

/// The keepers of one data folder.
#[derive(Debug)]
pub struct Keepers {
    runs: PathBuf,
    launcher: Launcher,
    watch: keeper::Watch,
    watched: Arc<Mutex<Watched>>,
    tokens: AtomicU64,
    /// How sure it is to be that nobody is left.
    containment: Containment,
}

#[derive(Debug, Default)]
struct Watched {
    bells: BTreeMap<u64, Arc<Notify>>,
    tokens: BTreeMap<ProcessId, u64>,
}

impl Keepers {
    /// Run folders lie in `<data_dir>/runs/<run>/<epoch>`; `program` is executed with the argument `keep` and a folder.
    pub fn new(data_dir: &Path, program: PathBuf) -> Result<Keepers, ProcessError> {
        let watched = Arc::new(Mutex::new(Watched::default()));
        let shared = Arc::clone(&watched);
        let watch = keeper::Watch::start(move |token| {
            let bell = lock(&shared).bells.get(&token).cloned();
            if let Some(bell) = bell {
                bell.notify_one();
            }
            // A keeper that ended is a child of ours until it is reaped.
            keeper::reap_finished();
        })?;
        Ok(Keepers {
            runs: data_dir.join("runs"),
            launcher: Launcher { program, args: vec!["keep".to_owned()] },
            watch,
            watched,
            tokens: AtomicU64::new(1),
            containment: Containment::Auto,
        })
    }

    fn folder(&self, id: &ProcessId) -> PathBuf {
        self.runs.join(id.run.as_str()).join(id.epoch.to_string())
    }

    /// Where values lie that are too large for the environment of the process: beside its folder, and gone with it.
    fn values(&self, id: &ProcessId) -> PathBuf {
        self.runs.join(id.run.as_str()).join(format!("{}.values", id.epoch))
    }

    /// The environment of the process, with the names of the files that hold what fits in no variable.
    fn env(
        &self,
        id: &ProcessId,
        command: &adapters::Command,
    ) -> Result<Vec<(String, String)>, ProcessError> {
        let mut env = command.env.clone();
        for value in &command.in_files {
            let [name, _] = &value.variables;
            let failed = |why: &dyn std::fmt::Display| {
                ProcessError::Other(format!("cannot write the file of {name}: {why}"))
            };
            let path = written(&self.values(id), name, &value.text).map_err(|error| failed(&error))?;
            let path = path.into_os_string().into_string().map_err(|_| failed(&"its path is not text"))?;
            for variable in &value.variables {
                if env.iter().all(|(set, _)| set != variable) {
                    env.push((variable.clone(), path.clone()));
                }
            }
        }
        env.sort();
        Ok(env)
    }
}

/// Writes a file for nobody else, complete or not at all, and says where it lies.
fn written(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let (path, draft) = (folder.join(name), folder.join(format!(".{name}")));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&draft, &path)?;
    Ok(path)
}

/// Removes a folder, if it is there.
fn removed(folder: &Path) -> Result<(), ProcessError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ProcessError::Other(format!("cannot remove {}: {error}", folder.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Processes for Keepers {
    fn start(&self, id: &ProcessId, holder: i64, command: &adapters::Command) -> Result<(), ProcessError> {
        let spec = Spec {
            format: 1,
            run: id.run.0.clone(),
            epoch: id.epoch,
            holder,
            argv: command.argv.clone(),
            cwd: command.cwd.clone(),
            limits: Limits { wall: command.wall, grace: command.grace, ..Limits::default() },
            containment: self.containment,
            no_new_privs: true,
            stdin: match (command.keep_stdin_open, command.stdin.is_empty()) {
                (true, _) => Stdin::Open,
                (false, true) => Stdin::Closed,
                (false, false) => Stdin::Once,
            },
            redact_images: true,
            censor_users: Vec::new(),
        };
        let sealed = Sealed {
            env: self.env(id, command)?,
            secrets: command.secrets.clone(),
            stdin: command.stdin.clone(),
        };
        keeper::reap_finished();
        match self.launcher.launch(&self.folder(id), &spec, &sealed) {
            // Started before by somebody: the look at the folder finds out how far it is.
            Ok(_) | Err(KeeperError::AlreadyStarted) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn probe(&self, id: &ProcessId) -> Result<Seen, ProcessError> {
        let Probe { started, holder_pid, exit, spec_ok: _ } = keeper::probe(&self.folder(id))?;
        if let Some(exit) = exit {
            // The record is the keeper's last word but one; it leaves right after it.
            return Ok(Seen::Ended(Box::new(facts(exit))));
        }
        Ok(match (started, holder_pid) {
            (_, Some(_)) => Seen::Alive,
            (Started::No, None) => Seen::NotStarted,
            (Started::Revoked, None) => Seen::Revoked,
            (Started::Yes(_), None) => Seen::Gone,
            (Started::Unreadable, None) => Seen::Damaged("`started` cannot be read".to_owned()),
        })
    }

    fn unwritten_exit(&self, id: &ProcessId) -> Result<Option<ExitFacts>, ProcessError> {
        Ok(Handle::new(&self.folder(id), 0).take_exit()?.map(facts))
    }

    fn revoke(&self, id: &ProcessId) -> Result<bool, ProcessError> {
        Ok(keeper::revoke(&self.folder(id))? == Revocation::Revoked)
    }

    fn greet(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        Ok(Handle::new(&self.folder(id), holder).hello().map(|_| ())?)
    }

    fn stop(&self, id: &ProcessId, holder: i64, words: &str) -> Result<(), ProcessError> {
        Ok(Handle::new(&self.folder(id), holder).stop(words)?)
    }

    fn linger(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        Ok(Handle::new(&self.folder(id), holder).linger()?)
    }

    fn say(&self, id: &ProcessId, holder: i64, bytes: &[u8]) -> Result<(), ProcessError> {
        let handle = Handle::new(&self.folder(id), holder);
        let offset = handle.hello()?.stdin_offset;
        if handle.feed(offset, bytes, false)? < offset + bytes.len() as u64 {
            return Err(ProcessError::Other("the process does not read its input".to_owned()));
        }
        Ok(())
    }

    fn kill_keeper(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError> {
        Ok(Handle::new(&self.folder(id), holder).kill_keeper().map(|_| ())?)
    }

    fn sweep(&self, id: &ProcessId) -> Result<(), ProcessError> {
        let swept = keeper::sweep_marked(id.run.as_str(), id.epoch, &self.folder(id))?;
        if swept.left.is_empty() {
            return Ok(());
        }
        Err(ProcessError::Other(format!("processes {:?} of the run cannot be ended", swept.left)))
    }

    fn log(&self, id: &ProcessId, offset: u64) -> Result<Box<dyn LogSource>, ProcessError> {
        let mut reader = LogReader::open(&self.folder(id))?;
        if offset > 0 {
            reader.seek(offset).map_err(|error| match error {
                KeeperError::BadOffset => ProcessError::BadOffset(offset),
                other => other.into(),
            })?;
        }
        Ok(Box::new(Log(reader)))
    }

    fn watch(&self, id: &ProcessId, bell: Arc<Notify>) -> Result<(), ProcessError> {
        let token = self.tokens.fetch_add(1, Ordering::Relaxed);
        {
            let mut watched = lock(&self.watched);
            watched.bells.insert(token, Arc::clone(&bell));
            watched.tokens.insert(id.clone(), token);
        }
        let added = self.watch.add(&self.folder(id), token);
        // What happened before the watch was there is seen by the look that this ring causes.
        bell.notify_one();
        if added.is_err() {
            self.unwatch(id);
        }
        Ok(added?)
    }

    fn measure(&self, id: &ProcessId) -> Result<Option<TreeUsage>, ProcessError> {
        let used = keeper::tree_usage(&self.folder(id))?;
        Ok(used.map(|keeper::TreeUsage { cpu, io_bytes, processes }| TreeUsage { cpu, io_bytes, processes }))
    }

    fn unwatch(&self, id: &ProcessId) {
        let token = {
            let mut watched = lock(&self.watched);
            let token = watched.tokens.remove(id);
            if let Some(token) = token {
                watched.bells.remove(&token);
            }
            token
        };
        if let Some(token) = token {
            self.watch.remove(token);
        }
        keeper::reap_finished();
    }

    fn archive(&self, id: &ProcessId) -> Result<(), ProcessError> {
        keeper::reap_finished();
        let folder = self.folder(id);
        // A keeper writes its record and leaves; it is waited for, briefly, and else the next pass comes again.
        for _ in 0..50 {
            match keeper::archive(&folder) {
                Err(KeeperError::StillAlive { .. }) => {
                    let released = Handle::new(&folder, i64::MAX).release_exit();
                    tracing::trace!(run = %id.run, ?released, "a keeper is still there");
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(_) => return removed(&self.values(id)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(ProcessError::Other("its keeper is still there".to_owned()))
    }

    fn remove(&self, run: &RunId) -> Result<u64, ProcessError> {
        let folder = self.runs.join(run.as_str());
        let mut freed = 0;
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => {
                return Err(ProcessError::Other(format!("cannot read {}: {error}", folder.display())));
            }
        };
        let mut epochs = Vec::new();
        for entry in entries.flatten() {
            freed += entry.metadata().map_or(0, |data| data.len());
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(epoch) = name.split('.').next().and_then(|first| first.parse::<i64>().ok()) {
                epochs.push(epoch);
            }
        }
        epochs.sort_unstable();
        epochs.dedup();
        for epoch in epochs {
            keeper::remove(&self.folder(&ProcessId { run: run.clone(), epoch }))?;
        }
        std::fs::remove_dir_all(&folder)
            .map_err(|error| ProcessError::Other(format!("cannot remove {}: {error}", folder.display())))?;
        Ok(freed)
    }

    fn boot_id(&self) -> String {
        keeper::boot_id()
    }
}

struct Log(LogReader);

impl LogSource for Log {
    fn next(&mut self) -> Result<Option<Frame>, ProcessError> {
        Ok(self.0.next()?.map(|frame| Frame {
            seq: frame.seq,
            stream: match frame.stream {
                keeper::Stream::Stdout => FrameStream::Stdout,
                keeper::Stream::Stderr => FrameStream::Stderr,
                keeper::Stream::Stdin => FrameStream::Stdin,
                keeper::Stream::Keeper => FrameStream::Keeper,
            },
            at: Moment::from_micros(frame.at_us),
            bytes: frame.bytes,
            offset: frame.offset,
            next_offset: frame.next_offset,
        }))
    }
}

fn facts(exit: keeper::Exit) -> ExitFacts {
    ExitFacts {
        executed: exit.executed,
        exec_error: exit.exec_error,
        code: exit.code,
        signal: exit.signal,
        by: Some(match exit.ended_by {
            keeper::EndedBy::Itself | keeper::EndedBy::LogLimit => EndedBy::Itself,
            keeper::EndedBy::StopOrder => EndedBy::StopOrder,
            keeper::EndedBy::WallLimit => EndedBy::WallLimit,
            keeper::EndedBy::Lingering => EndedBy::Lingering,
        }),
        out_of_memory: exit.oom_killed,
        started_at: Some(Moment::from_micros(exit.started_at_us)),
        ended_at: Some(Moment::from_micros(exit.ended_at_us)),
        cpu_micros: exit.cpu_us,
        peak_memory_bytes: exit.peak_memory_bytes,
        log_bytes: exit.log_bytes,
        log_sha256: exit.log_sha256,
        survivors_killed: exit.survivors_killed,
        left_behind: exit.left_behind,
        containment: match exit.containment {
            Containment::Auto => "auto",
            Containment::Cgroup => "cgroup",
            Containment::PidNamespace => "pid_namespace",
            Containment::Subreaper => "subreaper",
            Containment::Group => "group",
        }
        .to_owned(),
        dropped_bytes: exit.dropped_bytes,
    }
}

impl From<KeeperError> for ProcessError {
    fn from(error: KeeperError) -> ProcessError {
        match error {
            KeeperError::NotThere => ProcessError::NotThere,
            KeeperError::Refused => ProcessError::Refused,
            KeeperError::NotAnswering => ProcessError::NotAnswering,
            damaged @ KeeperError::Corrupt { .. } => ProcessError::Damaged(damaged.to_string()),
            other => {
                let mut text = other.to_string();
                let mut source = std::error::Error::source(&other);
                while let Some(cause) = source {
                    text.push_str(": ");
                    text.push_str(&cause.to_string());
                    source = cause.source();
                }
                ProcessError::Other(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_files_are_for_nobody_else_and_go_as_a_whole() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let values = folder.path().join("run/1.values");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for text in ["a longer one", "one"] {
            let path = written(&values, "BUGLE_NODE_OBJECTIVE_FILE", text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!((mode(&path), mode(&values)), (0o600, 0o700));
        }
        assert_eq!(std::fs::read_dir(&values).unwrap().count(), 1, "no draft is left");
        for _ in 0..2 {
            removed(&values).unwrap();
            assert!(!values.exists());
        }
    }
}
