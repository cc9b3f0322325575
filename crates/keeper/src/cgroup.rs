//! The cgroup (version 2) of one run: made below our own, emptied by the kernel in one go.
//!
//! It holds the child and never the keeper. Limits are set where the controllers happen to be
//! there; they are not delegated here, since that would move processes that are not ours.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::kernel_file;
use crate::started::{self, Started};

/// Every cgroup made here has a name that begins so; no other is ever touched.
const PREFIX: &str = "bugle-";
const KILL: &str = "cgroup.kill";
/// By which the kernel knows this file system; the field's width differs among machines.
#[cfg(target_os = "linux")]
const CGROUP2: i128 = 0x6367_7270;
/// How long a cgroup that is empty may refuse to go: the last of its processes are still being
/// taken apart.
const GOING: Duration = Duration::from_millis(200);

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
        if made.path.join(KILL).exists() && made.open_procs().is_ok() {
            return Ok(made);
        }
        made.remove();
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The cgroup a start record names; none if that is not one of ours.
    pub(crate) fn known(path: &str) -> Option<Self> {
        let path = PathBuf::from(path);
        let ours = path.file_name()?.to_str()?.starts_with(PREFIX) && path.join(KILL).exists();
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

    /// The cgroup itself: a process can be made inside of it.
    #[cfg(target_os = "linux")]
    pub(crate) fn open_folder(&self) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(&self.path)
    }

    /// Kills everybody inside, also those being forked meanwhile.
    pub(crate) fn kill(&self) {
        let _ = std::fs::write(self.path.join(KILL), "1");
    }

    pub(crate) fn is_empty(&self) -> bool {
        let events = kernel_file::text(&self.path.join("cgroup.events"));
        events.map_or(true, |text| text.lines().any(|line| line == "populated 0"))
    }

    pub(crate) fn members(&self) -> Vec<i32> {
        let list = kernel_file::text(&self.path.join("cgroup.procs")).unwrap_or_default();
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
        let read = |name: &str| kernel_file::text(&self.path.join(name)).ok();
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
        let until = Instant::now() + GOING;
        while self.remove_now().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
            if !self.is_empty() || Instant::now() > until {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn remove_now(&self) -> io::Result<()> {
        // The ordinary case: nothing below.
        let Err(error) = std::fs::remove_dir(&self.path) else { return Ok(()) };
        if error.kind() != io::ErrorKind::ResourceBusy {
            return Err(error);
        }
        // Children of the run may have made cgroups of their own below.
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = Self { path: entry.path() }.remove_now();
            }
        }
        std::fs::remove_dir(&self.path)
    }
}

/// Removes the cgroup that the start record of a folder names, if it is still there and nobody is
/// inside: its keeper was killed, and so was whoever should have swept.
pub(crate) fn remove_recorded(folder: &Path) {
    if let Ok(Started::Yes(record)) = started::read(folder)
        && let Some(cgroup) = record.cgroup.as_deref().and_then(Cgroup::known)
    {
        cgroup.remove();
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
    let own = kernel_file::text(Path::new("/proc/self/cgroup")).ok()?;
    let inside = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(mount()?.join(inside))
}

/// Where the cgroups are mounted.
fn mount() -> Option<PathBuf> {
    // The list of mounts is long on a machine with many containers, and the place hardly varies.
    #[cfg(target_os = "linux")]
    for usual in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if rustix::fs::statfs(usual).is_ok_and(|it| i128::from(it.f_type) == CGROUP2) {
            return Some(PathBuf::from(usual));
        }
    }
    let mounts = kernel_file::text(Path::new("/proc/self/mounts")).ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}
