//! The port between the engine and the processes of runs: what the engine asks of them, in its own words.
//!
//! [`crate::keepers::Keepers`] answers with real keepers; a simulation answers with a model. Calls are synchronous and
//! short, except where said; nothing here knows the store.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use domain::ending::EndedBy;
use domain::ids::RunId;
use domain::moment::Moment;
use tokio::sync::Notify;
use tokio::task::JoinError;

/// One process of a run: the run and the epoch it was started under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    pub run: RunId,
    pub epoch: i64,
}

/// The record of an end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitFacts {
    /// The program was executed; false with `exec_error` when it was not.
    pub executed: bool,
    pub exec_error: Option<String>,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub by: Option<EndedBy>,
    pub out_of_memory: bool,
    pub started_at: Option<Moment>,
    pub ended_at: Option<Moment>,
    pub cpu_micros: u64,
    pub peak_memory_bytes: u64,
    pub log_bytes: u64,
    pub log_sha256: String,
    pub survivors_killed: u32,
    /// Processes that could not be ended: always empty, or the record says so.
    pub left_behind: Vec<i32>,
    pub containment: String,
    pub dropped_bytes: u64,
}

/// What there is of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has started it, and no keeper is there.
    NotStarted,
    /// The right to start it was taken back.
    Revoked,
    /// Its keeper lives.
    Alive,
    /// It is over; nothing of it is left.
    Ended(Box<ExitFacts>),
    /// It may have run; its keeper is gone and left no record.
    Gone,
    /// Its files make no sense.
    Damaged(String),
}

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameStream {
    Stdout,
    Stderr,
    Stdin,
    /// Notes of the keeper: JSON.
    Keeper,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub seq: u64,
    pub stream: FrameStream,
    pub at: Moment,
    pub bytes: Vec<u8>,
    pub offset: u64,
    pub next_offset: u64,
}

/// A log, read from an offset on. `None`: nothing complete is there now.
pub trait LogSource: Send {
    /// The next frame.
    fn next(&mut self) -> Result<Option<Frame>, ProcessError>;
}

/// What the whole tree of a run's processes has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeUsage {
    pub cpu: Duration,
    /// Bytes read and written.
    pub io_bytes: u64,
    pub processes: u32,
}

/// What may go wrong with a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such process or log.
    #[error("no such process")]
    NotThere,
    /// The keeper obeys a newer server.
    #[error("keeper obeys another server")]
    Refused,
    /// The keeper is there and says nothing.
    #[error("keeper does not answer")]
    NotAnswering,
    /// The offset is not the border of a frame.
    #[error("offset {0} is not the border of a frame")]
    BadOffset(u64),
    /// The files of the run make no sense.
    #[error("{0}")]
    Damaged(String),
    /// Anything else, in words for people.
    #[error("{0}")]
    Other(String),
}

/// The processes of the runs of this node.
pub trait Processes: Send + Sync + Debug + 'static {
    /// Starts a process; returns when its keeper was executed.
    fn start(&self, id: &ProcessId, holder: i64, command: &adapters::Command) -> Result<(), ProcessError>;
    /// Looks at a process.
    fn probe(&self, id: &ProcessId) -> Result<Seen, ProcessError>;
    /// Asks a living keeper for a record that it could not write (a full disk). May block for its answer.
    fn unwritten_exit(&self, id: &ProcessId) -> Result<Option<ExitFacts>, ProcessError>;
    /// Takes back the right to start it; false when it was started already.
    fn revoke(&self, id: &ProcessId) -> Result<bool, ProcessError>;
    /// Tells its keeper who looks after it now. May block for the keeper's answer.
    fn greet(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError>;
    /// Orders it to stop: terminate, grace, kill. Returns when the order is accepted.
    fn stop(&self, id: &ProcessId, holder: i64, words: &str) -> Result<(), ProcessError>;
    /// Says that its terminal event was seen: it is stopped if it stays.
    fn linger(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError>;
    /// Gives it input, behind all that it was given before; returns when its keeper has it. May block for that.
    fn say(&self, id: &ProcessId, holder: i64, bytes: &[u8]) -> Result<(), ProcessError> {
        let _ = (id, holder, bytes);
        Err(ProcessError::Other("these processes take no input".to_owned()))
    }
    /// Kills a keeper that does not answer. May take a while.
    fn kill_keeper(&self, id: &ProcessId, holder: i64) -> Result<(), ProcessError>;
    /// Ends whatever a dead keeper left. May take a while.
    fn sweep(&self, id: &ProcessId) -> Result<(), ProcessError>;
    /// Opens its log at an offset.
    fn log(&self, id: &ProcessId, offset: u64) -> Result<Box<dyn LogSource>, ProcessError>;
    /// Rings `bell` whenever something about it may have changed.
    fn watch(&self, id: &ProcessId, bell: Arc<Notify>) -> Result<(), ProcessError>;
    /// Measures what its tree has used so far; `None` where that cannot be seen. May take a while.
    fn measure(&self, _id: &ProcessId) -> Result<Option<TreeUsage>, ProcessError> {
        Ok(None)
    }
    /// Ends the watch.
    fn unwatch(&self, id: &ProcessId);
    /// Packs the folder of a finished process into one file; doing it again does nothing.
    fn archive(&self, id: &ProcessId) -> Result<(), ProcessError>;
    /// Removes everything of a run; returns how many bytes were freed.
    fn remove(&self, run: &RunId) -> Result<u64, ProcessError>;
    /// The id of this boot of the machine.
    fn boot_id(&self) -> String;
    /// No call ever blocks, so that none needs a thread of its own: a simulation, in which one thing happens at a time.
    #[doc(hidden)]
    fn never_blocks(&self) -> bool {
        false
    }
}

/// Does something that may block, beside the runtime.
pub(crate) fn beside<T: Send + 'static>(
    processes: &Arc<dyn Processes>,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, JoinError>> + Send + 'static {
    let never_blocks = processes.never_blocks();
    async move { if never_blocks { Ok(work()) } else { tokio::task::spawn_blocking(work).await } }
}
