//! Bare limits: a small durable append, a keeper with its child, a child alone. Nothing of the engine is in them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keeper::{Containment, Launcher, Limits, Sealed, Spec, Stdin};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::roles::{self, monotonic_nanos};
use crate::scene::Scene;

/// Appends small records to a file, each on disk before the next: the flush that every commit waits for.
pub(crate) struct Flusher(File);

impl Flusher {
    pub(crate) fn new(scene: &Scene) -> Result<Flusher> {
        let file = scene.file("flushes");
        Ok(Flusher(OpenOptions::new().create(true).append(true).open(file)?))
    }

    /// One row: what a small transaction adds to a log.
    pub(crate) fn flush(&mut self) -> Result<Duration> {
        let row = [7; 256];
        let began = Instant::now();
        self.0.write_all(&row)?;
        self.0.sync_data()?;
        Ok(began.elapsed())
    }
}

/// A pipe with a name through which children tell when they began.
pub(crate) struct FirstInstructions {
    path: PathBuf,
    reader: BufReader<File>,
}

impl FirstInstructions {
    pub(crate) fn new(scene: &Scene) -> Result<FirstInstructions> {
        let path = scene.file("first-instructions");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)?;
        // Open for both, so that it neither waits for a first writer nor ends with the last.
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(FirstInstructions { path, reader: BufReader::new(file) })
    }

    /// What follows the executable in the child's command line.
    pub(crate) fn args(&self) -> [String; 2] {
        [roles::FIRST_INSTRUCTION.to_owned(), self.path.to_string_lossy().into_owned()]
    }

    /// Waits for the next child and returns when it began.
    pub(crate) fn next(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        line.trim().parse().context("a child tells the time")
    }
}

/// Starts keepers in folders of a scene.
pub(crate) struct Keepers {
    launcher: Launcher,
    runs: PathBuf,
    number: AtomicU64,
    containment: Containment,
}

impl Keepers {
    pub(crate) fn new(program: &Path, scene: &Scene) -> Keepers {
        let launcher = Launcher { program: program.to_owned(), args: vec![roles::KEEP.to_owned()] };
        Keepers {
            launcher,
            runs: scene.file("runs"),
            number: AtomicU64::new(0),
            containment: Containment::Auto,
        }
    }

    /// Keepers with the least containment: no group of the kernel's is made for a run.
    pub(crate) fn with_subreaper_only(mut self) -> Keepers {
        self.containment = Containment::Subreaper;
        self
    }

    /// Starts a keeper and returns its pid.
    pub(crate) fn launch(&self, argv: Vec<String>, secrets: Vec<String>) -> Result<(u32, PathBuf)> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let run = format!("00000000-0000-4000-8000-{number:012x}");
        let folder = self.runs.join(&run).join("1");
        let spec = Spec {
            format: 1,
            run,
            epoch: 1,
            holder: 1,
            argv,
            cwd: PathBuf::from("/"),
            limits: Limits::default(),
            containment: self.containment,
            no_new_privs: true,
            stdin: Stdin::Closed,
            redact_images: true,
            censor_users: Vec::new(),
        };
        let env = vec![("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())];
        let sealed = Sealed { env, secrets, stdin: Vec::new() };
        Ok((self.launcher.launch(&folder, &spec, &sealed)?, folder))
    }

    /// Starts a keeper and waits until it has ended.
    pub(crate) fn run(&self, argv: Vec<String>, secrets: Vec<String>) -> Result<PathBuf> {
        let (pid, folder) = self.launch(argv, secrets)?;
        wait(pid)?;
        Ok(folder)
    }

    /// Runs of `true` a second, with so many keepers at the same time.
    pub(crate) fn rate(&self, side_by_side: usize, span: Duration) -> Result<f64> {
        let began = Instant::now();
        let count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..side_by_side)
                .map(|_| {
                    scope.spawn(|| {
                        while began.elapsed() < span {
                            self.run(vec!["/bin/true".to_owned()], Vec::new())?;
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            callers.into_iter().try_for_each(|caller| caller.join().expect("a caller does not panic"))
        })?;
        let rate = count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        // Their list would grow; all of them were waited for.
        keeper::reap_finished();
        Ok(rate)
    }

    /// From the decision to start to the child's first instruction, through a keeper.
    pub(crate) fn first_instruction(&self, own: &Path, told: &mut FirstInstructions) -> Result<Duration> {
        let mut argv = vec![own.to_string_lossy().into_owned()];
        argv.extend(told.args());
        let began = monotonic_nanos();
        let (pid, _) = self.launch(argv, Vec::new())?;
        let span = Duration::from_nanos(told.next()?.saturating_sub(began));
        wait(pid)?;
        keeper::reap_finished();
        Ok(span)
    }
}

/// From the start of a child to its first instruction, without a keeper.
pub(crate) fn first_instruction_alone(own: &Path, told: &mut FirstInstructions) -> Result<Duration> {
    let began = monotonic_nanos();
    let mut child = Command::new(own).args(told.args()).spawn()?;
    let span = Duration::from_nanos(told.next()?.saturating_sub(began));
    child.wait()?;
    Ok(span)
}

/// Waits for a keeper, which is a child of this process.
pub(crate) fn wait(pid: u32) -> Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).context("pids are positive")?;
    let status = waitpid(Some(raw), WaitOptions::empty())?;
    let code = status.and_then(|(_, status)| status.exit_status());
    ensure!(code == Some(0), "a keeper ended with {code:?}");
    Ok(())
}
