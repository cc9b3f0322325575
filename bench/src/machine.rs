//! What the machine is, and what its processes use: everything out of `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// What figures depend on.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Of the folder that data is measured in.
    pub(crate) file_system: String,
}

impl Machine {
    pub(crate) fn look(folder: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), folder)
                .unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

/// The type of the file system that a folder is on: the mount with the longest path above it.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some((words.next()?, words.next()?))
        })
        .filter(|(at, _)| folder.starts_with(at))
        .max_by_key(|(at, _)| at.len())
        .map(|(_, kind)| kind.to_owned())
}

/// The number behind a name, in a file of `name: number unit` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Anonymous resident memory, in KiB: what the process alone costs, without pages of files.
pub(crate) fn anonymous_kib(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    field(&text, "RssAnon:").context("the kernel tells no RssAnon")
}

/// Proportional memory, in KiB: pages shared by n processes count as one nth.
pub(crate) fn proportional_kib(pid: u32) -> Result<u64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    field(&fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?, "Pss:")
        .context("no Pss")
}

/// How often the threads of a process were given a core and left it, and how long they used one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Activity {
    pub(crate) switches: u64,
    pub(crate) cpu_nanos: u64,
}

/// Since their start, over all threads that live now.
pub(crate) fn activity(pid: u32) -> Result<Activity> {
    let mut sum = Activity::default();
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))? {
        let task = task?.path();
        // A thread may end between the listing and the look.
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let count = |name| field(&status, name).unwrap_or(0);
        sum.switches += count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:");
        let times = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        sum.cpu_nanos += times.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Returns when a process has had next to nothing to do for a moment, or after a while even so.
pub(crate) fn until_at_rest(pid: u32) -> Result<()> {
    const LOOKS: u32 = 100;
    const APART: Duration = Duration::from_millis(200);
    // Work may wait for a second before it is begun.
    let mut quiet_looks = 0;
    for _ in 0..LOOKS {
        let before = activity(pid)?.cpu_nanos;
        std::thread::sleep(APART);
        let used = activity(pid)?.cpu_nanos.saturating_sub(before);
        quiet_looks = if u128::from(used) < APART.as_nanos() / 50 { quiet_looks + 1 } else { 0 };
        if quiet_looks > 7 {
            break;
        }
    }
    Ok(())
}

/// How long this process has used cores since it began, in microseconds.
pub(crate) fn own_cpu_micros() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e6 + used.tv_nsec as f64 / 1e3
}

/// The processes whose command line has all of these words, in any order.
pub(crate) fn processes_with(words: &[&str]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            words.iter().all(|word| line.contains(word))
        })
        .collect()
}

/// Raises the limit of open files as far as an ordinary user may: a thousand subscribers are two thousand sockets here.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Whoever may not is told by the figure that needs it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "a / ext4 rw 0 0\nb /data xfs rw 0 0\nc /data/x tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/data/y")).as_deref(), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/database")).as_deref(), Some("ext4"));
    }

    #[test]
    fn this_process_uses_memory_and_has_been_switched_to() {
        let own = std::process::id();
        assert!(anonymous_kib(own).unwrap() > 100);
        assert!(proportional_kib(own).unwrap() > 100);
        assert!(activity(own).unwrap().cpu_nanos > 0);
        assert!(processes_with(&["it-is-not-there", "at-all"]).is_empty());
    }
}
