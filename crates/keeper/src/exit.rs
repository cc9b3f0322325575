//! The exit record: what the keeper saw of its child's end.
//!
//! It is drafted under another name that is preallocated at the start (so that a full disk
//! does not lose it), flushed, and renamed. A length and a checksum stand in its first line: a
//! reader that finds the keeper dead may accept a complete draft, and never a torn one.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::folder;
use crate::spec::Containment;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    pub format: u32,
    pub run: String,
    pub epoch: i64,
    /// The child's program was executed. False: nothing of it ever ran.
    pub executed: bool,
    /// Why it was not, with the name of the error and what was tried.
    pub exec_error: Option<String>,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub ended_by: EndedBy,
    /// Text of the stop order.
    pub reason: Option<String>,
    pub started_at_us: i64,
    pub ended_at_us: i64,
    pub wall_us: u64,
    /// User and system time of the child and of every descendant that was reaped.
    pub cpu_us: u64,
    /// Of the cgroup where its controller is there, else of the largest single process.
    pub peak_memory_bytes: u64,
    /// Known only from a cgroup.
    pub oom_killed: bool,
    /// Size of the log file.
    pub log_bytes: u64,
    /// Hash over exactly these bytes. Empty for a log that could not be read again, and for one over its budget: that one is cut when it is
    /// archived, and [`crate::ArchiveInfo`] has the hash of what lasts.
    pub log_sha256: String,
    /// The offset after the last frame: a reader that stands here has read everything. Equals
    /// `log_bytes` unless something was cut out.
    pub log_end: u64,
    /// Processes that outlived the child and were ended by the keeper.
    pub survivors_killed: u32,
    /// Processes that could not be ended. Must be empty.
    pub left_behind: Vec<i32>,
    /// What was in force, never `Auto`.
    pub containment: Containment,
    pub child_pid: Option<i32>,
    /// Output that is not in the log: over the budget, or refused by a full disk.
    pub dropped_bytes: u64,
}

/// Who sent the signal first. `Itself` also when a stranger's signal killed the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    Itself,
    StopOrder,
    WallLimit,
    Lingering,
    /// Never written by this layout, which drops output rather than stop a child for it. Kept
    /// so that a later layout may.
    LogLimit,
}

const TITLE: &str = "bugle-exit";
/// Room for the longest record: reasons and errors are cut, lists are bounded.
const ROOM: u64 = 8 << 10;
pub(crate) const LONGEST_TEXT: usize = 1000;

/// The place of the record, made before the child exists.
#[derive(Debug)]
pub(crate) struct Draft(File);

impl Draft {
    pub(crate) fn prepare(folder: &Path) -> io::Result<Self> {
        folder::create_private(&folder.join(folder::EXIT_DRAFT)).map(Self)
    }

    /// Takes room on the disk. Not needed to start the child, so that the child need not wait.
    pub(crate) fn reserve(&self) {
        #[cfg(target_os = "linux")]
        {
            // Not every file system can; then a full disk is met when writing.
            let _ = rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::KEEP_SIZE, 0, ROOM);
        }
    }

    /// Writes, flushes and renames. May be tried again after a failure.
    pub(crate) fn publish(&mut self, folder: &Path, exit: &Exit) -> io::Result<()> {
        let bytes = encode(exit);
        self.0.rewind()?;
        self.0.write_all(&bytes)?;
        self.0.set_len(bytes.len() as u64)?;
        self.0.sync_all()?;
        std::fs::rename(folder.join(folder::EXIT_DRAFT), folder.join(folder::EXIT))
    }
}

/// Reads the record of a folder. `draft_too`: the keeper is known to be dead.
pub(crate) fn read(folder: &Path, draft_too: bool) -> io::Result<Option<Exit>> {
    let published = read_one(&folder.join(folder::EXIT))?;
    if published.is_some() || !draft_too { Ok(published) } else { read_one(&folder.join(folder::EXIT_DRAFT)) }
}

fn read_one(path: &Path) -> io::Result<Option<Exit>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(4 * ROOM).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(decode(&bytes))
}

pub(crate) fn encode(exit: &Exit) -> Vec<u8> {
    let body = serde_json::to_vec(exit).expect("plain fields always serialise");
    let mut bytes = format!("{TITLE} {} {:08x}\n", body.len(), crc32fast::hash(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Exit> {
    let line = bytes.iter().position(|&byte| byte == b'\n')?;
    let mut words = std::str::from_utf8(&bytes[..line]).ok()?.split(' ');
    if words.next()? != TITLE {
        return None;
    }
    let length: usize = words.next()?.parse().ok()?;
    let sum = u32::from_str_radix(words.next()?, 16).ok()?;
    // What follows the body is room that was preallocated.
    let body = bytes[line + 1..].get(..length)?;
    (crc32fast::hash(body) == sum).then(|| serde_json::from_slice(body).ok()).flatten()
}

/// Cuts a text so that the record fits its room.
pub(crate) fn shorten(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let end = (0..=LONGEST_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
pub(crate) fn sample() -> Exit {
    Exit {
        format: 1,
        run: "r".to_owned(),
        epoch: 1,
        executed: true,
        exec_error: None,
        code: Some(3),
        signal: None,
        ended_by: EndedBy::Itself,
        reason: None,
        started_at_us: 1,
        ended_at_us: 2,
        wall_us: 1,
        cpu_us: 1,
        peak_memory_bytes: 1,
        oom_killed: false,
        log_bytes: 64,
        log_sha256: "00".repeat(32),
        log_end: 64,
        survivors_killed: 0,
        left_behind: vec![],
        containment: Containment::Subreaper,
        child_pid: Some(7),
        dropped_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_torn_prefix_and_every_flipped_byte_is_refused() {
        let whole = encode(&sample());
        assert_eq!(decode(&whole), Some(sample()));
        for cut in 0..whole.len() {
            assert_eq!(decode(&whole[..cut]), None, "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0x20;
            // The case of a checksum's letters does not matter; any other change must.
            assert!(decode(&bent).is_none() || decode(&bent) == Some(sample()), "flipped at {at}");
        }
    }

    #[test]
    fn a_draft_counts_only_when_the_keeper_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let mut padded = encode(&sample());
        padded.resize(ROOM as usize, 0);
        std::fs::write(folder.path().join(folder::EXIT_DRAFT), padded).unwrap();
        assert_eq!(read(folder.path(), false).unwrap(), None);
        assert_eq!(read(folder.path(), true).unwrap(), Some(sample()));
    }

    #[test]
    fn the_longest_record_fits_its_room() {
        let mut exit = sample();
        exit.reason = Some(shorten(&"ä\u{1}".repeat(5000)));
        exit.exec_error = Some(shorten(&"\u{1}".repeat(400)));
        exit.left_behind = vec![i32::MAX; 64];
        exit.run = "r".repeat(64);
        assert!((encode(&exit).len() as u64) < ROOM, "{}", encode(&exit).len());
    }
}
