//! A settled run as one file: small, and still readable at every offset.
//!
//! `<folder>.run` holds the small files and the log, each in blocks that are compressed
//! independently, and an index at its end. It is written beside its name, flushed and renamed
//! before the folder goes, so that at any moment either of them is complete; a second call
//! finishes what a crash interrupted. The log is first cut to its budget, which is right only
//! here: everybody has read it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::KeeperError;
use crate::{cgroup, cut, folder, lock, spec};

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveInfo {
    /// Size of the log's frame file as archived.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
    /// Size of the archive.
    pub compressed_bytes: u64,
}

/// Turns a settled folder into its archive and removes it. May be repeated after any crash.
///
/// `StillAlive` while a keeper holds the folder: it may be writing its last record.
pub fn archive(folder: &Path) -> Result<ArchiveInfo, KeeperError> {
    let target = folder::archive_path(folder);
    if !target.exists() {
        if !folder.is_dir() {
            return Err(KeeperError::NotThere);
        }
        if let Some(pid) = lock::holder(folder).map_err(KeeperError::io("ask for the lock holder"))? {
            return Err(KeeperError::StillAlive { pid });
        }
        let limits = spec::read(folder).map(|(spec, _)| spec.limits).unwrap_or_default();
        match cut::cut_to_budget(folder, limits.log_head, limits.log_tail) {
            // Damage is archived as it is; a run that never logged has nothing to cut.
            Err(error) if !is_absent_or_damaged(&error) => {
                return Err(KeeperError::io("cut a log")(error));
            }
            Ok(()) | Err(_) => {}
        }
        write(folder, &target).map_err(KeeperError::io("write an archive"))?;
    }
    let info = Archived::open(folder)?.info();
    remove_folder(folder)?;
    Ok(info)
}

/// Removes a run for good, folder and archive. Nothing there is fine.
pub fn remove(folder: &Path) -> Result<(), KeeperError> {
    if let Some(pid) = lock::holder(folder).map_err(KeeperError::io("ask for the lock holder"))? {
        return Err(KeeperError::StillAlive { pid });
    }
    remove_folder(folder)?;
    for path in [folder::archive_path(folder), folder::beside(folder, ".run.tmp")] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(KeeperError::io("remove an archive")(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Renames first: a folder that is half removed would look like one that never started.
fn remove_folder(folder: &Path) -> Result<(), KeeperError> {
    // The last moment at which the folder tells where it was.
    cgroup::remove_recorded(folder);
    let gone = folder::beside(folder, ".gone");
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let clear = |path: &Path| match std::fs::remove_dir_all(path) {
        Err(error) if !absent(&error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    let removed = clear(&gone).and_then(|()| match std::fs::rename(folder, &gone) {
        Err(error) if absent(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => clear(&gone),
    });
    removed.map_err(KeeperError::io("remove a run folder"))
}

fn is_absent_or_damaged(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// Small enough to read one line of a large log cheaply, large enough to compress well.
const BLOCK: usize = 256 << 10;
const LEVEL: i32 = 3;
const MAGIC: &[u8; 8] = b"BUGLERUN";
const VERSION: u32 = 1;
const TRAILER: usize = 8 + 4 + 4 + 4 + 8;
/// What goes into an archive; sockets, locks and empty complaints do not.
const MEMBERS: [&str; 6] =
    [folder::SPEC, folder::STARTED, folder::EXIT, folder::EXIT_DRAFT, folder::COMPLAINTS, folder::LOG];

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    members: Vec<Member>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    name: String,
    bytes: u64,
    sha256: String,
    /// Where each block begins in the archive, and at last where the last one ends.
    borders: Vec<u64>,
}

fn write(folder: &Path, target: &Path) -> io::Result<()> {
    let draft = folder::beside(folder, ".run.tmp");
    let mut to = folder::create_private(&draft)?;
    let mut at = 0;
    let mut index = Index { members: Vec::new() };
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    for name in MEMBERS {
        let file = match File::open(folder.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let member = write_member(name, file, &mut to, &mut at, &mut compressor)?;
        if member.bytes > 0 {
            index.members.push(member);
        }
    }
    let index = serde_json::to_vec(&index)?;
    let mut trailer = Vec::with_capacity(TRAILER);
    trailer.extend_from_slice(&at.to_le_bytes());
    trailer.extend_from_slice(&u32::try_from(index.len()).map_err(io::Error::other)?.to_le_bytes());
    trailer.extend_from_slice(&crc32fast::hash(&index).to_le_bytes());
    trailer.extend_from_slice(&VERSION.to_le_bytes());
    trailer.extend_from_slice(MAGIC);
    to.write_all(&index)?;
    to.write_all(&trailer)?;
    to.sync_all()?;
    std::fs::rename(&draft, target)?;
    // The folder goes next: the name must be on the disk before.
    target.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn write_member(
    name: &str,
    mut from: File,
    to: &mut File,
    at: &mut u64,
    compressor: &mut zstd::bulk::Compressor<'_>,
) -> io::Result<Member> {
    let mut member = Member { name: name.to_owned(), bytes: 0, sha256: String::new(), borders: vec![*at] };
    let mut hash = Sha256::new();
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        block.clear();
        (&mut from).take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        hash.update(&block);
        member.bytes += block.len() as u64;
        let packed = compressor.compress(&block)?;
        to.write_all(&packed)?;
        *at += packed.len() as u64;
        member.borders.push(*at);
    }
    member.sha256 = hex(&hash.finalize());
    Ok(member)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An archive open for reading.
#[derive(Debug)]
pub(crate) struct Archived {
    file: File,
    length: u64,
    index: Index,
    /// The block that was unpacked last: readers go forward.
    unpacked: Mutex<Option<(usize, Vec<u8>)>>,
}

impl Archived {
    pub(crate) fn open(folder: &Path) -> Result<Self, KeeperError> {
        let file = match File::open(folder::archive_path(folder)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeeperError::NotThere),
            Err(error) => return Err(KeeperError::io("open an archive")(error)),
        };
        let length = file.metadata().map_err(KeeperError::io("measure an archive"))?.len();
        let index = read_index(&file, length).ok_or_else(|| KeeperError::corrupt("an archive", length))?;
        Ok(Self { file, length, index, unpacked: Mutex::new(None) })
    }

    pub(crate) fn info(&self) -> ArchiveInfo {
        let log = self.member(folder::LOG);
        ArchiveInfo {
            bytes: log.map_or(0, |log| log.bytes),
            sha256: log.map_or_else(|| hex(&Sha256::digest(b"")), |log| log.sha256.clone()),
            compressed_bytes: self.length,
        }
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.member(folder::LOG).map_or(0, |log| log.bytes)
    }

    /// One of the small files; none if it was not there or is damaged.
    pub(crate) fn small(&self, name: &str) -> Option<Vec<u8>> {
        let member = self.member(name)?;
        let blocks = (0..member.borders.len() - 1).map(|block| self.unpack(member, block));
        blocks.collect::<Result<Vec<_>, _>>().ok().map(|blocks| blocks.concat())
    }

    /// Reads the log at a place in its file; fewer bytes than asked for at a block's end.
    pub(crate) fn read_log(&self, to: &mut [u8], place: u64) -> Result<usize, KeeperError> {
        let Some(log) = self.member(folder::LOG) else { return Ok(0) };
        if place >= log.bytes {
            return Ok(0);
        }
        let block = usize::try_from(place / BLOCK as u64).expect("blocks of a file that fits a disk");
        let mut unpacked = self.unpacked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if unpacked.as_ref().is_none_or(|(held, _)| *held != block) {
            *unpacked = Some((block, self.unpack(log, block)?));
        }
        let (_, bytes) = unpacked.as_ref().expect("just put there");
        let skip = usize::try_from(place % BLOCK as u64).expect("less than a block");
        let rest = bytes.get(skip..).unwrap_or_default();
        let count = rest.len().min(to.len());
        to[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.index.members.iter().find(|member| member.name == name)
    }

    fn unpack(&self, member: &Member, block: usize) -> Result<Vec<u8>, KeeperError> {
        let damaged = || KeeperError::corrupt(format!("an archived {}", member.name), (block * BLOCK) as u64);
        let (from, to) = match member.borders.get(block..block + 2) {
            Some(&[from, to]) if from <= to && to <= self.length => (from, to),
            _ => return Err(damaged()),
        };
        let mut packed = vec![0; usize::try_from(to - from).map_err(|_| damaged())?];
        self.file.read_exact_at(&mut packed, from).map_err(KeeperError::io("read an archive"))?;
        zstd::bulk::decompress(&packed, BLOCK).map_err(|_| damaged())
    }
}

fn read_index(file: &File, length: u64) -> Option<Index> {
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, length.checked_sub(TRAILER as u64)?).ok()?;
    let word = |at: usize| u32::from_le_bytes(trailer[at..at + 4].try_into().expect("four bytes"));
    if &trailer[20..] != MAGIC || word(16) != VERSION {
        return None;
    }
    let at = u64::from_le_bytes(trailer[..8].try_into().expect("eight bytes"));
    let size = u64::from(word(8));
    if at.checked_add(size)? != length - TRAILER as u64 {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    if crc32fast::hash(&bytes) != word(12) {
        return None;
    }
    let index: Index = serde_json::from_slice(&bytes).ok()?;
    index.members.iter().all(|member| !member.borders.is_empty()).then_some(index)
}
