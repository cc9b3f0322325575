//! What may go wrong in the store, named for what the caller can do about it.
//!
//! Engine codes are translated here and nowhere else. HTTP statuses are not assigned here.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// The engine's own error. Shared, because one failed commit answers a whole group of callers.
pub type Cause = Arc<dyn Error + Send + Sync>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Too much work is waiting. Nothing was done; the same call may be made again later.
    #[error("store is busy, retry after {} ms", retry_after.as_millis())]
    Busy { retry_after: Duration },
    /// The store was closed before the call was looked at. Nothing was done.
    #[error("store is closed")]
    Closed,
    /// A rule of the schema refused a row. Expected conflicts use `ON CONFLICT`; this one was not expected.
    #[error("{rule} constraint {name} refused {statement}")]
    Constraint { rule: Rule, name: String, statement: &'static str, source: Cause },
    /// One statement failed; its transaction was undone.
    #[error("statement `{statement}`")]
    Statement { statement: &'static str, source: Cause },
    /// A column did not hold what the reader of the row expects.
    #[error("column {column} of `{statement}`: {reason}")]
    Row { statement: &'static str, column: usize, reason: String },
    /// A statement was given the wrong number of parameters.
    #[error("`{statement}` takes {takes} parameters, given {given}")]
    Parameters { statement: &'static str, takes: usize, given: usize },
    /// The closure awaited something that is not the store. Always a mistake in the program.
    #[error("transaction awaited something outside the store")]
    ForeignAwait,
    /// The closure took back what it had done, for a reason that it tells its caller itself.
    #[error("transaction was withdrawn by its caller")]
    Withdrawn,
    /// The closure panicked; its transaction was undone.
    #[error("transaction panicked: {message}")]
    Panicked { message: String },
    /// Other transactions were in the way for longer than we keep trying. Nothing was done.
    #[error("transaction gave way to others {attempts} times")]
    Contention { attempts: u32, source: Cause },
    /// The disk is full. Nothing was done.
    #[error("store has no space left")]
    Full { source: Cause },
    /// The database cannot be reached or read. Nothing was done.
    #[error("store is unavailable")]
    Unavailable { source: Cause },
    /// The answer to a commit was lost: it may or may not have happened. Never retried by the store.
    #[error("outcome of the commit is unknown")]
    Unknown { source: Cause },
    /// A transaction appends at most [`crate::events::MOST_PER_TRANSACTION`] events.
    #[error("too many events in one transaction")]
    TooManyEvents,
    /// The audit chain has no head that can be read: nothing can be recorded, so nothing is decided. Nothing was done.
    #[error(
        "the record of decisions has no head, so nothing can be decided; see `bugle audit verify`, and restore a backup"
    )]
    NoAuditHead,
    /// The store was written by a newer program.
    #[error("store is at version {have}, this program knows versions up to {know}; use a newer program")]
    NewerStore { have: i64, know: i64 },
    /// A migration that was applied is not the one this program carries.
    #[error("migration {version} ({name}) was applied with another content")]
    ChangedMigration { version: i64, name: String },
    /// The program's own list of migrations is not usable.
    #[error("migration {version} ({name}): {reason}")]
    BadMigration { version: i64, name: String, reason: String },
    /// A migration failed; it was undone.
    #[error("migration {version} ({name})")]
    Migration { version: i64, name: String, source: Cause },
    /// A backup could not be made.
    #[error("backup: {reason}")]
    Backup { reason: String, hint: &'static str, source: Option<Cause> },
}

/// Which kind of schema rule refused a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Unique,
    ForeignKey,
    Check,
    NotNull,
    Other,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Rule::Unique => "unique",
            Rule::ForeignKey => "foreign key",
            Rule::Check => "check",
            Rule::NotNull => "not null",
            Rule::Other => "integrity",
        })
    }
}

impl StoreError {
    /// Whether the caller may simply call again: nothing was done, and the reason passes by itself.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Contention { .. } | Self::Unavailable { .. })
    }

    pub(crate) fn unavailable(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { source: Arc::new(source) }
    }

    /// Translates an error of SQLite met while running `statement`.
    pub(crate) fn sqlite(statement: &'static str, error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let rusqlite::Error::SqliteFailure(failure, message) = &error else {
            return Self::Statement { statement, source: Arc::new(error) };
        };
        match failure.code {
            Code::ConstraintViolation => {
                let rule = match failure.extended_code {
                    rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                    | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                    | rusqlite::ffi::SQLITE_CONSTRAINT_ROWID => Rule::Unique,
                    rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Rule::ForeignKey,
                    rusqlite::ffi::SQLITE_CONSTRAINT_CHECK => Rule::Check,
                    rusqlite::ffi::SQLITE_CONSTRAINT_NOTNULL => Rule::NotNull,
                    _ => Rule::Other,
                };
                // "UNIQUE constraint failed: runs.id" -> "runs.id"
                let text = message.as_deref().unwrap_or_default();
                let name = text.split_once(": ").map_or(text, |(_, name)| name).to_owned();
                Self::Constraint { rule, name, statement, source: Arc::new(error) }
            }
            Code::DiskFull => Self::Full { source: Arc::new(error) },
            Code::SystemIoFailure
            | Code::CannotOpen
            | Code::DatabaseCorrupt
            | Code::NotADatabase
            | Code::ReadOnly
            | Code::PermissionDenied
            | Code::NoLargeFileSupport => Self::Unavailable { source: Arc::new(error) },
            Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed => {
                Self::Contention { attempts: 1, source: Arc::new(error) }
            }
            _ => Self::Statement { statement, source: Arc::new(error) },
        }
    }

    /// Translates an error of PostgreSQL met while running `statement`.
    pub(crate) fn postgres(statement: &'static str, error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            if error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>()) {
                return Self::Unavailable { source: Arc::new(error) };
            }
            return Self::Statement { statement, source: Arc::new(error) };
        };
        let code = told.code().code().to_owned();
        let rule = match code.as_str() {
            "23505" => Some(Rule::Unique),
            "23503" => Some(Rule::ForeignKey),
            "23514" => Some(Rule::Check),
            "23502" => Some(Rule::NotNull),
            other if other.starts_with("23") => Some(Rule::Other),
            _ => None,
        };
        if let Some(rule) = rule {
            let name = told.constraint().or(told.column()).unwrap_or_default().to_owned();
            return Self::Constraint { rule, name, statement, source: Arc::new(error) };
        }
        match code.as_str() {
            "40001" | "40P01" | "55P03" => Self::Contention { attempts: 1, source: Arc::new(error) },
            "53100" => Self::Full { source: Arc::new(error) },
            _ if speaks_of_the_connection(&code) => Self::Unavailable { source: Arc::new(error) },
            _ => Self::Statement { statement, source: Arc::new(error) },
        }
    }
}

/// Whether a PostgreSQL code says that the session or the server is going away, not that a statement is wrong.
pub(crate) fn speaks_of_the_connection(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") || code == "25P03"
}
