//! What the processes of a run have used so far, seen from outside while they run.
//!
//! The keeper is everybody's ancestor or foster parent (it is subreaper), so its descendants are the run; it is not
//! counted itself, since it works even for a child that does not. Figures are sums over those who live and over those
//! whose parents have waited for them: a process that nobody waited for takes its own along, so a sum may fall. Nothing
//! is judged here.

use std::path::Path;
use std::time::Duration;

use crate::error::KeeperError;
use crate::lock;
#[cfg(target_os = "linux")]
use crate::{kernel_file, proc_table};

/// What a tree of processes has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeUsage {
    /// Processor time.
    pub cpu: Duration,
    /// Bytes read and written, from wherever and to wherever.
    pub io_bytes: u64,
    pub processes: u32,
}

/// Returns what the processes below the keeper of a folder have used. `None`: no keeper lives, or they cannot be seen
/// from here.
pub fn tree_usage(folder: &Path) -> Result<Option<TreeUsage>, KeeperError> {
    let keeper = lock::holder(folder).map_err(KeeperError::io("ask for the lock holder"))?;
    // 0 is a keeper in a pid namespace that cannot be seen from here.
    Ok(keeper.filter(|&pid| pid > 0).and_then(below))
}

/// The kernel counts processor time in these towards programs, on every machine it runs on but one.
#[cfg(target_os = "linux")]
const TICK: Duration = Duration::from_millis(10);
/// A tree that grows faster than it is walked is walked so far.
#[cfg(target_os = "linux")]
const MOST: usize = 10_000;

#[cfg(target_os = "linux")]
fn below(keeper: i32) -> Option<TreeUsage> {
    let mut usage = TreeUsage::default();
    let mut found = proc_table::children_of_all_threads(keeper);
    let mut looked_at = 0;
    while let Some(&pid) = found.get(looked_at)
        && looked_at < MOST
    {
        looked_at += 1;
        found.extend(proc_table::children_of_all_threads(pid));
        // One that has just gone is in nobody's sum any more, or in its parent's.
        let Some(cpu) = cpu_of(pid) else { continue };
        usage.cpu += cpu;
        usage.io_bytes = usage.io_bytes.saturating_add(io_of(pid));
        usage.processes += 1;
    }
    Some(usage)
}

#[cfg(not(target_os = "linux"))]
fn below(_: i32) -> Option<TreeUsage> {
    None
}

/// Processor time of a process and of the children that it waited for.
#[cfg(target_os = "linux")]
fn cpu_of(pid: i32) -> Option<Duration> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also parentheses; what follows the last one is plain.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
    let ticks: u64 =
        rest.split_ascii_whitespace().skip(11).take(4).filter_map(|it| it.parse::<u64>().ok()).sum();
    Some(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Bytes read and written by a process and by the children that it waited for; 0 where that may not be seen.
#[cfg(target_os = "linux")]
fn io_of(pid: i32) -> u64 {
    let text = kernel_file::text(Path::new(&format!("/proc/{pid}/io"))).unwrap_or_default();
    let counts = text.lines().filter_map(|line| {
        let (name, count) = line.split_once(": ")?;
        matches!(name, "rchar" | "wchar").then(|| count.trim().parse::<u64>().ok())?
    });
    counts.sum()
}
