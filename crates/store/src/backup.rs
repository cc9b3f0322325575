//! Copies of a store that is in use.
//!
//! A SQLite copy is made by `VACUUM INTO` under a temporary name, flushed, checked and renamed, so that a file of the
//! wanted name is always a whole copy. For PostgreSQL its own tool is called. Restoring is not done here.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    pub file: PathBuf,
    pub bytes: u64,
}

fn failed(
    reason: impl Into<String>,
    hint: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Backup { reason: reason.into(), hint, source: Some(Arc::new(source)) }
}

/// Copies what the connection sees.
pub(crate) fn sqlite(connection: &Connection, to: &Path) -> Result<BackupReport, StoreError> {
    refuse_existing(to)?;
    sqlite_replacing(connection, to)
}

/// [`sqlite`], in place of a copy that may be there.
pub(crate) fn sqlite_replacing(connection: &Connection, to: &Path) -> Result<BackupReport, StoreError> {
    let part = part_of(to);
    let outcome = sqlite_into(connection, &part).and_then(|bytes| {
        std::fs::rename(&part, to).map_err(|error| failed("renaming the copy", CHECK_FOLDER, error))?;
        flush_folder(to)?;
        Ok(BackupReport { file: to.to_owned(), bytes })
    });
    if outcome.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    outcome
}

const CHECK_FOLDER: &str = "check that the folder exists, is writable and has space";

fn sqlite_into(connection: &Connection, part: &Path) -> Result<u64, StoreError> {
    let _ = std::fs::remove_file(part);
    let name = part.to_str().ok_or_else(|| StoreError::Backup {
        reason: "the name of the copy is not UTF-8".into(),
        hint: "choose another name",
        source: None,
    })?;
    // An empty file is what VACUUM INTO takes as its target; made here, nobody else can read the copy.
    crate::sqlite::make_private(part);
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| failed("copying", CHECK_FOLDER, error))?;
    let copy = File::open(part).map_err(|error| failed("opening the copy", CHECK_FOLDER, error))?;
    copy.sync_all().map_err(|error| failed("flushing the copy", CHECK_FOLDER, error))?;
    let bytes = copy.metadata().map_err(|error| failed("measuring the copy", CHECK_FOLDER, error))?.len();
    let verdict = Connection::open_with_flags(part, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|copy| copy.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)))
        .map_err(|error| failed("checking the copy", "the disk may be failing", error))?;
    if verdict != "ok" {
        return Err(StoreError::Backup {
            reason: format!("the copy is damaged: {verdict}"),
            hint: "the store or the disk may be damaged; keep the last good backup",
            source: None,
        });
    }
    Ok(bytes)
}

/// Copies a PostgreSQL database with `pg_dump` in its custom format.
pub(crate) async fn postgres(url: &str, to: &Path) -> Result<BackupReport, StoreError> {
    refuse_existing(to)?;
    let part = part_of(to);
    let config: tokio_postgres::Config = url.parse().map_err(StoreError::unavailable)?;
    let _ = std::fs::remove_file(&part);
    crate::sqlite::make_private(&part);
    let mut command = tokio::process::Command::new("pg_dump");
    command.arg("--format=custom").arg("--no-password").arg("--file").arg(&part);
    // By the environment: what stands in the arguments, everybody on the machine may read.
    for (name, value) in connection_variables(&config) {
        command.env(name, value);
    }
    let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await;
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            return Err(failed(
                "pg_dump cannot be started",
                "install the PostgreSQL client programs of the server's version, or back up at the server",
                error,
            ));
        }
    };
    if !output.status.success() {
        let _ = std::fs::remove_file(&part);
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(StoreError::Backup {
            reason: format!("pg_dump: {said}"),
            hint: "pg_dump must be at least as new as the server",
            source: None,
        });
    }
    let copy = File::open(&part).map_err(|error| failed("opening the copy", CHECK_FOLDER, error))?;
    copy.sync_all().map_err(|error| failed("flushing the copy", CHECK_FOLDER, error))?;
    let bytes = copy.metadata().map_err(|error| failed("measuring the copy", CHECK_FOLDER, error))?.len();
    std::fs::rename(&part, to).map_err(|error| failed("renaming the copy", CHECK_FOLDER, error))?;
    flush_folder(to)?;
    Ok(BackupReport { file: to.to_owned(), bytes })
}

/// The variables by which PostgreSQL's own programs learn where to connect.
fn connection_variables(config: &tokio_postgres::Config) -> Vec<(&'static str, OsString)> {
    use tokio_postgres::config::Host;
    let mut variables = Vec::new();
    match config.get_hosts().first() {
        Some(Host::Tcp(host)) => variables.push(("PGHOST", host.into())),
        #[cfg(unix)]
        Some(Host::Unix(folder)) => variables.push(("PGHOST", folder.into())),
        None => {}
    }
    if let Some(port) = config.get_ports().first() {
        variables.push(("PGPORT", port.to_string().into()));
    }
    if let Some(user) = config.get_user() {
        variables.push(("PGUSER", user.into()));
    }
    if let Some(database) = config.get_dbname() {
        variables.push(("PGDATABASE", database.into()));
    }
    if let Some(password) = config.get_password() {
        variables.push(("PGPASSWORD", OsStr::from_bytes(password).into()));
    }
    variables
}

fn refuse_existing(to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Backup {
            reason: format!("{} already exists", to.display()),
            hint: "choose a new name; a backup never replaces a file",
            source: None,
        });
    }
    Ok(())
}

fn part_of(to: &Path) -> PathBuf {
    let mut name = to.to_owned().into_os_string();
    name.push(".part");
    name.into()
}

fn flush_folder(file: &Path) -> Result<(), StoreError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("flushing the folder of the copy", CHECK_FOLDER, error))
}
