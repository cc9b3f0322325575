//! What can go wrong, named for what the caller can do about it.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// No keeper listens, or the folder (or its archive) does not exist. Look at `exit`.
    #[error("reach a keeper or run folder: it is not there")]
    NotThere,
    /// A newer holder has been seen: drop the handle and touch nothing.
    #[error("give an order: a newer server holds this keeper")]
    Refused,
    /// The epoch has its one start (or its revocation) already.
    #[error("start: this epoch was already started or revoked")]
    AlreadyStarted,
    /// The keeper is there and silent: try again, or [`crate::Handle::kill_keeper`].
    #[error("reach the keeper: it does not answer")]
    NotAnswering,
    /// The keeper still lives, so its folder must stay.
    #[error("put the run folder away: keeper {pid} is still alive")]
    StillAlive { pid: i32 },
    /// Not a border between frames, or beyond the end; for input: bytes are missing before it.
    #[error("use an offset: it is not a border of what is there")]
    BadOffset,
    /// The child's input is closed, by the child or by an earlier order.
    #[error("feed the child: its input is closed")]
    StdinClosed,
    /// A secret below eight bytes would redact ordinary text. The value is never named.
    #[error("accept secret {position}: shorter than {} bytes", crate::sealed::SHORTEST_SECRET)]
    SecretTooShort { position: usize },
    #[error("read {what}: corrupt at {offset}")]
    Corrupt { what: String, offset: u64 },
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

impl KeeperError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }

    pub(crate) fn corrupt(what: impl Into<String>, offset: u64) -> Self {
        Self::Corrupt { what: what.into(), offset }
    }
}
