//! What the machine has to give: time, room, files, watches, ways to contain, programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::Finding;
use crate::when;

/// Below this the store could not even write why it stops.
const TOO_LITTLE: u64 = 16 << 20;
/// Below this a few talkative runs fill the disk.
const LITTLE: u64 = 1 << 30;
/// A server with the default number of runs, its streams and its store stays below this.
const FILES: u64 = 1024;
/// Seconds from 1970 to 2026: this program did not exist before.
const NOT_BEFORE: Duration = Duration::from_secs(1_767_225_600);
/// And 2100: nobody means that either.
const NOT_AFTER: Duration = Duration::from_secs(4_102_444_800);

/// The clock is set. Every id and every record carries its time.
pub(super) fn clock(now: SystemTime) -> Finding {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if (NOT_BEFORE..NOT_AFTER).contains(&since) {
        return Finding::ok("clock", "is set");
    }
    Finding::fail(
        "clock",
        "clock.wrong",
        format!("the clock is wrong: it is {} days after 1970, says the machine", since.as_secs() / 86_400),
        "set the clock, for example: timedatectl set-ntp true",
    )
}

/// The file system of the data folder has room.
pub(super) fn disk(folder: &Path) -> Finding {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(stat) => room(stat.f_bavail.saturating_mul(stat.f_frsize), folder),
        Err(error) => Finding::warn(
            "disk",
            "disk.unknown",
            format!("cannot ask how much room there is for {}: {error}", folder.display()),
            "look yourself: df -h",
        ),
    }
}

fn room(free: u64, folder: &Path) -> Finding {
    let (message, shown) = (format!("{} free", when::bytes(free)), folder.display());
    let fix = format!("make room on the file system of {shown}, or choose another: --data-dir /some/folder");
    match free {
        0..TOO_LITTLE => Finding::fail("disk", "disk.full", format!("the disk is full: {message}"), fix),
        TOO_LITTLE..LITTLE => Finding::warn("disk", "disk.low", format!("little room: {message}"), fix),
        _ => Finding::ok("disk", message),
    }
}

/// How many files the server may open.
pub(super) fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.current {
        Some(files) if files < FILES => Finding::warn(
            "open files",
            "files.few",
            format!("the server may open {files} files only"),
            format!(
                "raise the limit before the start: ulimit -n {}",
                limit.maximum.unwrap_or(FILES).max(FILES)
            ),
        ),
        Some(files) => Finding::ok("open files", format!("up to {files}")),
        None => Finding::ok("open files", "no limit"),
    }
}

/// The server can be told when a log grows.
#[cfg(target_os = "linux")]
pub(super) fn watches() -> Finding {
    use rustix::fs::inotify;

    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok()
    };
    let raise = "raise it: sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536";
    if let Err(error) = inotify::init(inotify::CreateFlags::CLOEXEC) {
        let message = format!("no file watch can be made: {error}");
        return Finding::fail("file watches", "watches.none", message, raise);
    }
    match number("max_user_watches") {
        Some(watches) if watches < FILES => Finding::warn(
            "file watches",
            "watches.few",
            format!("only {watches} folders can be watched"),
            raise,
        ),
        Some(watches) => Finding::ok("file watches", format!("up to {watches}")),
        None => Finding::ok("file watches", "available"),
    }
}

/// The server can be told when a log grows.
#[cfg(not(target_os = "linux"))]
pub(super) fn watches() -> Finding {
    Finding::ok("file watches", "logs are looked at periodically on this system")
}

/// How surely nothing of a run is left when it has ended.
pub(super) fn containment() -> Finding {
    const CHECK: &str = "containment";
    if !cfg!(target_os = "linux") {
        return Finding::warn(
            CHECK,
            "containment.group",
            "process groups only: a program that leaves its group survives the run",
            "run bugle on Linux where that matters",
        );
    }
    match own_cgroup() {
        Some(folder) if takes_children(&folder) => Finding::ok(
            CHECK,
            "cgroup v2: the kernel ends everything of a run, also when its keeper is killed",
        ),
        _ => Finding::warn(
            CHECK,
            "containment.subreaper",
            "no cgroup can be made: programs are ended through their keeper; if that is killed too, only those that \
             kept their environment are found",
            "start the server in a delegated cgroup: systemd-run --user --scope -p Delegate=yes bugle up",
        ),
    }
}

/// The folder of the cgroup (version 2) this process is in.
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

/// Makes a cgroup as a keeper does, and removes it: rights and kernel version both show only so.
fn takes_children(folder: &Path) -> bool {
    let probe = folder.join(format!("bugle-probe-{}", std::process::id()));
    if std::fs::create_dir(&probe).is_err() {
        return false;
    }
    let can_kill = probe.join("cgroup.kill").exists();
    let can_enter = std::fs::File::options().write(true).open(probe.join("cgroup.procs")).is_ok();
    // One that stays is empty and harms nobody.
    let _ = std::fs::remove_dir(&probe);
    can_kill && can_enter
}

/// Git is there, for agents that work on repositories.
pub(super) fn git() -> Finding {
    let version = Command::new("git").arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    match version {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            Finding::ok("git", said.trim().trim_start_matches("git version ").to_owned())
        }
        Ok(_) | Err(_) => Finding::warn(
            "git",
            "git.missing",
            "git was not found; agents that work on repositories need it",
            "install it, for example: apt install git",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_clock_that_was_never_set_stops_the_start() {
        let at = |seconds| clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).level;
        assert_eq!(at(0), Level::Fail);
        assert_eq!(at(1_767_225_599), Level::Fail);
        assert_eq!(at(1_767_225_600), Level::Ok);
        assert_eq!(at(5_000_000_000), Level::Fail);
    }

    #[test]
    fn a_full_disk_stops_and_a_nearly_full_one_warns() {
        let of = |free| room(free, Path::new("/data")).level;
        assert_eq!(of(1 << 20), Level::Fail);
        assert_eq!(of(100 << 20), Level::Warn);
        assert_eq!(of(10 << 30), Level::Ok);
    }
}
