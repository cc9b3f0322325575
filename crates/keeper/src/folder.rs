//! The run folder: the names in it, and the two ways of putting a small file there.
//!
//! Either way a file appears complete or not at all, whenever the writer is killed. Nothing
//! here is flushed to the disk; who needs that does it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const SPEC: &str = "spec";
pub(crate) const LOCK: &str = "lock";
pub(crate) const STARTED: &str = "started";
pub(crate) const LOG: &str = "log";
pub(crate) const EXIT: &str = "exit";
/// Preallocated at the start, renamed to [`EXIT`] when complete.
pub(crate) const EXIT_DRAFT: &str = "exit.tmp";
pub(crate) const SOCKET: &str = "control.sock";
pub(crate) const COMPLAINTS: &str = "keeper.err";

/// Identifies this boot of the machine: a process of another boot cannot be alive.
pub fn boot_id() -> String {
    imp::boot_id()
}

/// Where the archive of a folder lies: beside it, with `.run` appended.
pub(crate) fn archive_path(folder: &Path) -> PathBuf {
    beside(folder, ".run")
}

/// A name beside the folder.
pub(crate) fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = folder.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Microseconds since 1970 UTC.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Puts a file in place of whatever has the name.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = draft(folder, name);
    let written = create_private(&draft).and_then(|mut file| file.write_all(bytes));
    written.and_then(|()| std::fs::rename(&draft, folder.join(name))).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

/// Puts a file there if nothing has the name; says whether it did.
///
/// A rename that replaces nothing is exclusive *and* brings the content along, and so is a hard
/// link; creating first and writing then would leave an empty file behind a crash. File systems
/// that have neither get the latter.
pub(crate) fn create_exclusively(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<bool> {
    let (draft, target) = (draft(folder, name), folder.join(name));
    let written = create_private(&draft).and_then(|mut file| file.write_all(bytes));
    let placed = written.and_then(|()| place(&draft, &target)).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    });
    match placed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK)) => {
            let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target);
            match created {
                Ok(mut file) => file.write_all(bytes).map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Gives a finished draft its name if nothing has it.
fn place(draft: &Path, target: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        // One change of the folder instead of two.
        match renameat_with(CWD, draft, CWD, target, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {}
            renamed => return Ok(renamed?),
        }
    }
    std::fs::hard_link(draft, target)?;
    let _ = std::fs::remove_file(draft);
    Ok(())
}

fn draft(folder: &Path, name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".{name}.{}.{number}", std::process::id()))
}

#[cfg(target_os = "linux")]
mod imp {
    pub(super) fn boot_id() -> String {
        let read = crate::kernel_file::text(std::path::Path::new("/proc/sys/kernel/random/boot_id"));
        read.map(|it| it.trim().to_owned()).unwrap_or_else(|_| "unknown".to_owned())
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code)] // one sysctl that has no safe wrapper
mod imp {
    pub(super) fn boot_id() -> String {
        let mut since = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let mut size = std::mem::size_of::<libc::timeval>();
        // SAFETY: the name ends in NUL and the kernel writes at most `size` bytes to `since`.
        let code = unsafe {
            libc::sysctlbyname(
                c"kern.boottime".as_ptr(),
                (&raw mut since).cast(),
                &raw mut size,
                std::ptr::null_mut(),
                0,
            )
        };
        if code == 0 { format!("boot-{}", since.tv_sec) } else { "unknown".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_exclusive_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert!(create_exclusively(folder.path(), "started", b"one").unwrap());
        assert!(!create_exclusively(folder.path(), "started", b"two").unwrap());
        assert_eq!(std::fs::read(folder.path().join("started")).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}
