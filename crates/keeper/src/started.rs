//! The one start of an epoch: who creates `started` has it, and only one can.
//!
//! A keeper creates it just before it executes the child; recovery creates it (as a revocation)
//! before it starts the run anew elsewhere. Whatever crashes, at most one of them wins.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::KeeperError;
use crate::folder;
use crate::spec::Containment;

/// Whether the epoch had its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    No,
    Revoked,
    Yes(StartRecord),
    /// Something is there and it cannot be read: treat it as started.
    Unreadable,
}

/// Written by the keeper that won.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartRecord {
    pub keeper_pid: i32,
    pub boot_id: String,
    pub at_us: i64,
    pub containment: Containment,
    /// The cgroup of the run, so that a sweep can empty it after the keeper's death.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// Checksum of the spec that was started; another spec in the folder is not the one that ran.
    #[serde(default)]
    pub spec_sum: u32,
}

/// Outcome of [`revoke`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// No keeper will ever start this epoch.
    Revoked,
    /// Too late: a keeper has it, or had it.
    AlreadyStarted,
}

const REVOKED: &[u8] = b"revoked\n";

/// Takes the start away from every keeper that may still come. May be repeated.
pub fn revoke(folder: &Path) -> Result<Revocation, KeeperError> {
    if folder::archive_path(folder).exists() {
        return Ok(Revocation::AlreadyStarted);
    }
    crate::launch::make_folder(folder)?;
    let created = folder::create_exclusively(folder, folder::STARTED, REVOKED)
        .map_err(KeeperError::io("revoke a start"))?;
    if created {
        return Ok(Revocation::Revoked);
    }
    match read(folder).map_err(KeeperError::io("read who started"))? {
        Started::Revoked => Ok(Revocation::Revoked),
        Started::No | Started::Yes(_) | Started::Unreadable => Ok(Revocation::AlreadyStarted),
    }
}

/// Claims the start for a keeper; false: somebody else has it.
pub(crate) fn claim(folder: &Path, record: &StartRecord) -> io::Result<bool> {
    let bytes = serde_json::to_vec(record).expect("plain fields always serialise");
    folder::create_exclusively(folder, folder::STARTED, &bytes)
}

pub(crate) fn read(folder: &Path) -> io::Result<Started> {
    match std::fs::read(folder.join(folder::STARTED)) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Started::No),
        Err(error) => Err(error),
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Started {
    if bytes == REVOKED {
        return Started::Revoked;
    }
    serde_json::from_slice(bytes).map_or(Started::Unreadable, Started::Yes)
}
