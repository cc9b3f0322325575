//! Liveness: the record lock a keeper holds for its whole life.
//!
//! The kernel gives it back when the keeper dies, however it dies. The asking side never takes
//! the lock, so that a probe cannot make a starting keeper fail. A record lock belongs to a
//! process and is lost when that process closes *any* descriptor of the file: the keeper opens
//! it once. (`flock` follows the descriptor through a fork and outlives its owner.)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::process::{Flock, FlockType};

use crate::folder;

/// A held lock; given back when dropped or when the process ends.
#[derive(Debug)]
pub(crate) struct Held(#[allow(dead_code, reason = "held, never used")] File);

/// Takes the lock of the folder, or says that somebody has it.
pub(crate) fn take(folder: &Path) -> io::Result<Option<Held>> {
    let path = folder.join(folder::LOCK);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Held(file))),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Pid of the living keeper of a folder. 0: one that lives in a pid namespace we cannot see.
pub(crate) fn holder(folder: &Path) -> io::Result<Option<i32>> {
    let file = match File::open(folder.join(folder::LOCK)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
    Ok(found.map(|lock| lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get())))
}
