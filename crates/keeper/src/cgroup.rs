//! The cgroup (version 2) of one run: made below our own, emptied by the kernel in one go.
//!
//! It holds the child and never the keeper. Limits are set where the controllers happen to be
//! there; they are not delegated here, since that would move processes that are not ours.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Every cgroup made here has a name that begins so; no other is ever touched.
const PREFIX: &str = "bugle-";

#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

/// Figures of a cgroup; what its controllers do not tell is none.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_us: Option<u64>,
    pub(crate) peak_memory: Option<u64>,
    pub(crate) oom_killed: bool,
}

impl Cgroup {
    /// Makes the cgroup of a run folder, or fails where that is not possible.
    pub(crate) fn make(run: &str, epoch: i64, folder: &Path) -> io::Result<Self> {
        let own = own_cgroup().ok_or(io::ErrorKind::Unsupported)?;
        let path = own.join(name(run, epoch, folder));
        match std::fs::create_dir(&path) {
            // Left by a keeper of this folder that died before it started anything.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let made = Self { path };
        // Without these (older kernels) it would contain nothing.
        if made.path.join("cgroup.kill").exists() && made.open_procs().is_ok() {
            return Ok(made);
        }
        made.remove();
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The cgroup a start record names; none if that is not one of ours.
    pub(crate) fn known(path: &str) -> Option<Self> {
        let path = PathBuf::from(path);
        let ours = path.file_name()?.to_str()?.starts_with(PREFIX) && path.join("cgroup.kill").exists();
        ours.then_some(Self { path })
    }

    /// The cgroup that a folder's run would have been given, if it is there.
    pub(crate) fn of_folder(run: &str, epoch: i64, folder: &Path) -> Option<Self> {
        let path = own_cgroup()?.join(name(run, epoch, folder));
        Self::known(path.to_str()?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a limit; false where the controller is not there.
    pub(crate) fn limit(&self, file: &str, value: u64) -> bool {
        std::fs::write(self.path.join(file), value.to_string()).is_ok()
    }

    /// A process that writes `0` here moves itself in.
    pub(crate) fn open_procs(&self) -> io::Result<File> {
        File::options().write(true).open(self.path.join("cgroup.procs"))
    }

    /// Kills everybody inside, also those being forked meanwhile.
    pub(crate) fn kill(&self) {
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
    }

    pub(crate) fn is_empty(&self) -> bool {
        let events = std::fs::read_to_string(self.path.join("cgroup.events"));
        events.map_or(true, |text| text.lines().any(|line| line == "populated 0"))
    }

    pub(crate) fn members(&self) -> Vec<i32> {
        let list = std::fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Kills until nobody is inside, for at most so long.
    pub(crate) fn empty_within(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            if self.is_empty() {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            self.kill();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let read = |name: &str| std::fs::read_to_string(self.path.join(name)).ok();
        let field = |text: String, key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
        };
        Usage {
            cpu_us: read("cpu.stat").and_then(|text| field(text, "usage_usec ")),
            peak_memory: read("memory.peak").and_then(|text| text.trim().parse().ok()),
            oom_killed: read("memory.events")
                .and_then(|text| field(text, "oom_kill "))
                .is_some_and(|times| times > 0),
        }
    }

    /// Removes it; stays if somebody is inside.
    pub(crate) fn remove(&self) {
        // Children of the run may have made cgroups of their own below.
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                Self { path: entry.path() }.remove();
            }
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// One name per folder, so that two data folders with equal run names do not share.
fn name(run: &str, epoch: i64, folder: &Path) -> String {
    let plain: String = run.chars().take(40).filter(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
    let sum = crc32fast::hash(folder.as_os_str().as_encoded_bytes());
    format!("{PREFIX}{plain}-{epoch}-{sum:08x}")
}

/// Folder of the cgroup this process is in.
fn own_cgroup() -> Option<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let inside = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| place.to_owned())
    })?;
    Some(Path::new(&mount).join(inside))
}
