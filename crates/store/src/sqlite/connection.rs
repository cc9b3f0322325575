//! Where the database file is and how a connection to it is set up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// A database file, and the folder that goes when the last user of it goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) vfs: Option<&'static str>,
    pub(crate) flush: bool,
    /// What SQLite did here so far, see `statements::take_steps`.
    pub(crate) steps: Arc<AtomicU64>,
    _folder: Option<Arc<MemoryFolder>>,
}

/// A folder on a memory file system, removed when it is dropped.
#[derive(Debug)]
struct MemoryFolder(PathBuf);

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Place {
    pub(crate) fn file(path: &Path, vfs: Option<&'static str>, flush: bool) -> Self {
        Self { file: path.to_owned(), vfs, flush, steps: Arc::default(), _folder: None }
    }

    /// A new, empty place on a memory file system. It has everything a file has: several connections, a log, readers
    /// that do not wait for the writer.
    pub(crate) fn memory(vfs: Option<&'static str>, flush: bool) -> Result<Self, StoreError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        remove_leftovers(&root);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = root.join(format!("{MEMORY_PREFIX}{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).map_err(StoreError::unavailable)?;
        let file = folder.join("store.sqlite");
        let steps = Arc::default();
        Ok(Self { file, vfs, flush, steps, _folder: Some(Arc::new(MemoryFolder(folder))) })
    }
}

const MEMORY_PREFIX: &str = "bugle-store-";

/// Removes memory folders of processes that were killed.
fn remove_leftovers(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(MEMORY_PREFIX)?.split('-').next());
        if let Some(pid) = owner.filter(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()))
            && Path::new("/proc/self").exists()
            && !Path::new("/proc").join(pid).exists()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes the file for its owner alone, if it is missing: it holds the environments of agents, and the folder may be open
/// to others. SQLite gives its log the same mode. What cannot be made here, the opening reports.
pub(crate) fn make_private(file: &Path) {
    let mut options = std::fs::OpenOptions::new();
    let _ = std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600).open(file);
}

/// Opens the connection that writes; makes the file if it is missing.
pub(crate) fn open_writable(place: &Place) -> rusqlite::Result<Connection> {
    make_private(&place.file);
    let connection = open(place, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_PROTOCOL),
            Some(format!("journal mode is {mode}; the file system does not carry a write-ahead log")),
        ));
    }
    connection.execute_batch(if place.flush {
        "PRAGMA synchronous = FULL"
    } else {
        "PRAGMA synchronous = OFF"
    })?;
    connection.execute_batch(
        // The log is written back by the writer when it has time, not inside somebody's commit.
        "PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -65536;
         PRAGMA journal_size_limit = 16777216;",
    )?;
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(crate) fn open_readable(place: &Place) -> rusqlite::Result<Connection> {
    // Not opened read-only: the last connection to leave must be able to recover and clean up the log.
    let connection = open(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch(
        "PRAGMA query_only = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -8192;",
    )?;
    Ok(connection)
}

fn open(place: &Place, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // One thread uses a connection at a time, so SQLite's own mutex is not needed.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match place.vfs {
        None => Connection::open_with_flags(&place.file, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(&place.file, flags, vfs)?,
    };
    connection.set_prepared_statement_cache_capacity(256);
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // Plans do not depend on the values bound, so that statements are not prepared again at each `LIMIT $n`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(
        "PRAGMA foreign_keys = ON;
         PRAGMA mmap_size = 268435456;
         PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}
