//! A run folder of its own for each test, and waiting that is driven by changes in it.
//!
//! What a test leaves alive is killed when its run is dropped.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use keeper::{
    Containment, Exit, Frame, Handle, KeeperError, Launcher, Limits, LogReader, Sealed, Spec, Stdin, Stream,
    Watch,
};
use tempfile::TempDir;

/// Far more than anything here takes; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Run {
    pub(crate) home: TempDir,
    pub(crate) folder: PathBuf,
    pub(crate) spec: Spec,
    pub(crate) sealed: Sealed,
    changes: Receiver<u64>,
    watch: Watch,
}

pub(crate) fn launcher() -> Launcher {
    Launcher { program: env!("CARGO_BIN_EXE_keeper-under-test").into(), args: Vec::new() }
}

/// A keeper that a shell starts after some preparation.
pub(crate) fn launcher_after(preparation: &str) -> Launcher {
    let script = format!("{preparation}; exec \"$0\" \"$1\"");
    let keeper = env!("CARGO_BIN_EXE_keeper-under-test").to_owned();
    Launcher { program: "/bin/sh".into(), args: vec!["-c".to_owned(), script, keeper] }
}

pub(crate) fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl Run {
    /// A run of a shell script, at the level that works everywhere.
    pub(crate) fn sh(script: &str) -> Self {
        Self::of(&["/bin/sh", "-c", script])
    }

    pub(crate) fn of(words: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("runs/r/1");
        let spec = Spec {
            format: 1,
            // Distinct among tests that run at the same time, for the mark is looked for everywhere.
            run: home.path().file_name().unwrap().to_string_lossy().replace('.', ""),
            epoch: 1,
            holder: 1,
            argv: argv(words),
            cwd: home.path().to_owned(),
            limits: Limits { grace: Duration::from_secs(5), ..Limits::default() },
            containment: Containment::Subreaper,
            no_new_privs: true,
            stdin: Stdin::Closed,
            redact_images: false,
            censor_users: Vec::new(),
        };
        let env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let (tell, changes) = channel();
        let watch = Watch::start(move |token| tell.send(token).unwrap_or_default()).unwrap();
        Self { home, folder, spec, sealed: Sealed { env, ..Sealed::default() }, changes, watch }
    }

    pub(crate) fn start(&self) -> u32 {
        self.start_by(&launcher())
    }

    pub(crate) fn start_by(&self, launcher: &Launcher) -> u32 {
        let pid = launcher.launch(&self.folder, &self.spec, &self.sealed).unwrap();
        self.watch.add(&self.folder, 1).unwrap();
        pid
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::new(&self.folder, self.spec.holder)
    }

    /// Waits until something is there, looking again whenever the folder changed.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; keeper.err: {}", self.complaints());
            // A change may be one that is not watched (a process that goes): look now and then.
            let _ = self.changes.recv_timeout(left.min(Duration::from_millis(20)));
        }
    }

    pub(crate) fn complaints(&self) -> String {
        std::fs::read_to_string(self.folder.join("keeper.err")).unwrap_or_default()
    }

    pub(crate) fn exit(&self) -> Exit {
        self.until("the exit record", || keeper::probe(&self.folder).unwrap().exit)
    }

    /// Starts it and waits for its end and for the keeper's.
    pub(crate) fn to_end(&self) -> Exit {
        self.start();
        let exit = self.exit();
        self.until_keeper_left();
        exit
    }

    pub(crate) fn until_keeper_left(&self) {
        self.until("the keeper's end", || {
            keeper::probe(&self.folder).unwrap().holder_pid.is_none().then_some(())
        });
    }

    pub(crate) fn frames(&self) -> Vec<Frame> {
        all_frames(&mut LogReader::open(&self.folder).unwrap())
    }

    pub(crate) fn printed(&self, stream: Stream) -> Vec<u8> {
        bytes_of(&self.frames(), stream)
    }

    /// Waits until the child has printed this and returns all it has printed.
    pub(crate) fn until_printed(&self, wanted: &str) -> String {
        self.until(wanted, || {
            let mut reader = match LogReader::open(&self.folder) {
                Err(KeeperError::NotThere) => return None,
                reader => reader.unwrap(),
            };
            let text = bytes_of(&all_frames(&mut reader), Stream::Stdout);
            let text = String::from_utf8_lossy(&text).into_owned();
            text.contains(wanted).then_some(text)
        })
    }

    pub(crate) fn notes(&self) -> Vec<serde_json::Value> {
        let frames = self.frames().into_iter().filter(|frame| frame.stream == Stream::Keeper);
        frames.map(|frame| serde_json::from_slice(&frame.bytes).unwrap()).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.folder.join("spec").exists() {
            let _ = self.handle().kill_keeper();
        }
        let _ = keeper::sweep_marked(&self.spec.run, self.spec.epoch, &self.folder);
        finished(0);
    }
}

/// Exit code of a launched keeper once it was reaped, by this test or by another one.
pub(crate) fn finished(pid: u32) -> Option<Option<i32>> {
    static REAPED: std::sync::Mutex<Vec<keeper::Finished>> = std::sync::Mutex::new(Vec::new());
    let mut reaped = REAPED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    reaped.extend(keeper::reap_finished());
    reaped.iter().rev().find(|it| it.pid == pid).map(|it| it.code)
}

pub(crate) fn all_frames(reader: &mut LogReader) -> Vec<Frame> {
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

pub(crate) fn bytes_of(frames: &[Frame], stream: Stream) -> Vec<u8> {
    let frames = frames.iter().filter(|frame| frame.stream == stream);
    frames.flat_map(|frame| frame.bytes.clone()).collect()
}

/// Pids of the processes that carry the mark of a run.
pub(crate) fn marked(run: &str, epoch: i64) -> Vec<i32> {
    let entry = format!("BUGLE_RUN={run}/{epoch}").into_bytes();
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|it| it.file_name().to_str()?.parse().ok());
    let carries = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|it| it == entry)
    };
    pids.filter(carries).collect()
}

pub(crate) fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub(crate) fn alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|text| !text.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

pub(crate) fn file_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
