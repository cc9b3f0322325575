//! What a folder says about its run, without asking or disturbing anybody.

use std::path::Path;

use crate::archive::Archived;
use crate::error::KeeperError;
use crate::exit::{self, Exit};
use crate::started::{self, Started};
use crate::{folder, lock, spec};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub started: Started,
    /// Pid of the living keeper. 0: alive in a pid namespace that cannot be seen from here.
    pub holder_pid: Option<i32>,
    pub exit: Option<Exit>,
    /// The spec can be read and is the one that was started.
    pub spec_ok: bool,
}

/// Looks at a folder, or at its archive.
///
/// A missing folder is `Started::No`: to be sure that it stays so, [`crate::revoke`].
pub fn probe(folder: &Path) -> Result<Probe, KeeperError> {
    if folder::archive_path(folder).exists() {
        return Ok(probe_archive(&Archived::open(folder)?));
    }
    let first = look(folder)?;
    let seems_gone = !matches!(first.started, Started::No | Started::Revoked);
    if seems_gone && first.holder_pid.is_none() && first.exit.is_none() {
        // It may have come between the look at the lock and the look at `started`. It takes the lock first, so now that
        // `started` was seen a second look at the lock tells whether it lives.
        return look(folder);
    }
    Ok(first)
}

fn look(folder: &Path) -> Result<Probe, KeeperError> {
    // The lock first: an exit that was there before the keeper died is then seen.
    let holder_pid = lock::holder(folder).map_err(KeeperError::io("ask for the lock holder"))?;
    let started = started::read(folder).map_err(KeeperError::io("read who started"))?;
    let exit = exit::read(folder, holder_pid.is_none()).map_err(KeeperError::io("read the exit record"))?;
    let spec_ok = spec::read(folder).is_ok_and(|(_, bytes)| is_the_started(&bytes, &started));
    Ok(Probe { started, holder_pid, exit, spec_ok })
}

fn probe_archive(archived: &Archived) -> Probe {
    let started = archived.small(folder::STARTED).map_or(Started::No, |bytes| started::parse(&bytes));
    let exit = archived.small(folder::EXIT).and_then(|bytes| exit::decode(&bytes));
    let spec_bytes = archived.small(folder::SPEC);
    let spec_ok =
        spec_bytes.is_some_and(|bytes| spec::parse(&bytes).is_some() && is_the_started(&bytes, &started));
    Probe { started, holder_pid: None, exit, spec_ok }
}

fn is_the_started(spec: &[u8], started: &Started) -> bool {
    match started {
        Started::Yes(record) => record.spec_sum == crc32fast::hash(spec),
        Started::No | Started::Revoked | Started::Unreadable => true,
    }
}
