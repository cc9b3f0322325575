//! Why a write that must not be lost was not made: the server leaves, or the store refuses it for good.
//!
//! An outage is neither: it is waited for. What is done instead of a refused write is its caller's to say.

use store::StoreError;

/// Refusals in a row after which a write is given up: one may be of a moment (a statement that was broken off), five over
/// the better part of a second are not.
pub(crate) const MOST_REFUSALS: u32 = 5;

/// Why something was not written in the end.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The server leaves first, and the next start finds everything as it was.
    Leaving,
    /// The store is there and does not take it.
    Refused(StoreError),
}

/// Whether the store was there and did not want what it was given: an outage passes, this does not.
pub(crate) fn is_refusal(error: &StoreError) -> bool {
    match error {
        StoreError::Constraint { .. }
        | StoreError::Statement { .. }
        | StoreError::Row { .. }
        | StoreError::Parameters { .. }
        | StoreError::ForeignAwait
        | StoreError::Withdrawn
        | StoreError::Panicked { .. }
        | StoreError::NoAuditHead
        | StoreError::TooManyEvents => true,
        StoreError::Busy { .. }
        | StoreError::Closed
        | StoreError::Contention { .. }
        | StoreError::Full { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Unknown { .. }
        | StoreError::NewerStore { .. }
        | StoreError::ChangedMigration { .. }
        | StoreError::BadMigration { .. }
        | StoreError::Migration { .. }
        | StoreError::Backup { .. } => false,
    }
}

/// An error of the store in words for people: what refused, and why, without the statement.
pub(crate) fn in_words(error: &StoreError) -> String {
    /// As much as fits a line or two.
    const MOST: usize = 300;
    let mut words = match error {
        StoreError::Constraint { rule, name, .. } => format!("{rule} constraint {name}"),
        StoreError::Statement { .. } => String::new(),
        other => other.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !words.is_empty() {
            words.push_str(": ");
        }
        // Further lines quote the row.
        words.push_str(cause.to_string().lines().next().unwrap_or_default());
        source = cause.source();
    }
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST).collect();
    words.trim().to_owned()
}
