//! Ending what a killed keeper left behind.
//!
//! Every process of a run carries `BUGLE_RUN=<run>/<epoch>` in its environment and, where there
//! is one, sits in the run's cgroup. Both are emptied until nobody is found. A process that
//! scrubbed its environment at a level without a cgroup, or that belongs to another user we may
//! not look at, escapes this; that is documented and cannot be closed from here.

use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup::Cgroup;
use crate::error::KeeperError;
use crate::started::{self, Started};
use crate::{proc_table, spec};

/// What a sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    pub killed: u32,
    /// Still there after ten seconds of trying (a process stuck in the kernel).
    pub left: Vec<i32>,
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Kills every process of an epoch whose keeper is dead, until none is left.
///
/// Call it when the lock is free and `exit` is missing, before settling. May be repeated.
pub fn sweep_marked(run: &str, epoch: i64, folder: &Path) -> Result<Swept, KeeperError> {
    let mut swept = Swept::default();
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let recorded = match started::read(&folder).map_err(KeeperError::io("read who started"))? {
        Started::Yes(record) => record.cgroup,
        Started::No | Started::Revoked | Started::Unreadable => None,
    };
    let cgroup =
        recorded.and_then(|path| Cgroup::known(&path)).or_else(|| Cgroup::of_folder(run, epoch, &folder));
    if let Some(cgroup) = cgroup {
        swept.killed += u32::try_from(cgroup.members().len()).unwrap_or(u32::MAX);
        if cgroup.empty_within(PATIENCE) {
            cgroup.remove();
        } else {
            swept.left = cgroup.members();
        }
    }
    let entry = format!("{}={}", spec::MARK, spec::mark(run, epoch)).into_bytes();
    sweep_by_mark(&entry, &mut swept);
    Ok(swept)
}

pub(crate) fn sweep_by_mark(entry: &[u8], swept: &mut Swept) {
    let until = Instant::now() + PATIENCE;
    let mut seen: Vec<i32> = Vec::new();
    // Twice empty: between fork and exec of a new program an environment is not readable.
    let mut empty_looks = 0;
    while empty_looks < 2 {
        let marked: Vec<i32> =
            proc_table::all().filter(|&pid| proc_table::environment_has(pid, entry)).collect();
        if marked.is_empty() {
            empty_looks += 1;
        } else {
            empty_looks = 0;
        }
        for pid in marked.iter().copied() {
            if kill_if_marked(pid, entry) && !seen.contains(&pid) {
                seen.push(pid);
                swept.killed += 1;
            }
        }
        if Instant::now() > until {
            swept.left.extend(marked.into_iter().filter(|pid| !swept.left.contains(pid)).collect::<Vec<_>>());
            return;
        }
        if empty_looks < 2 {
            // The killed need a moment to lose their memory, and with it their environment.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Kills through a handle that is fixed before the second look, so that a number that was
/// given to somebody else meanwhile is never hit.
#[cfg(target_os = "linux")]
fn kill_if_marked(pid: i32, entry: &[u8]) -> bool {
    let Some(raw) = Pid::from_raw(pid) else { return false };
    let Ok(handle) = pidfd_open(raw, PidfdFlags::empty()) else { return false };
    proc_table::environment_has(pid, entry) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn kill_if_marked(_: i32, _: &[u8]) -> bool {
    false
}
