//! What a kind of environment has to be able to do.
//!
//! Every step may be asked for again after a crash, so each must bear being done twice. A driver keeps nothing in
//! memory: what it must remember of a lease it returns, and is handed back later.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use adapters::{Command, Problem};
use serde_json::Value as Json;
use store::BoxFuture;

use super::local::Local;
use super::ssh::Ssh;

/// Everything a driver may look at.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub lease_id: &'a str,
    pub run_id: &'a str,
    /// The same for all runs of one agent on one task: a session made in one finds its folder again in the next.
    pub scope: &'a str,
    /// Of the environment.
    pub config: &'a Json,
    /// What it returned of this lease before.
    pub held: &'a Json,
    /// Where agents of this machine reach the API.
    pub api_url: &'a str,
    /// A socket on which the API knows nobody without a key; what is let in from another machine ends there.
    pub door: Option<&'a Path>,
    /// The folder of this lease on this machine; may not be there yet.
    pub folder: &'a Path,
    /// The folder that the run works in, on this machine.
    pub local: &'a Path,
    /// What programs of this machine are started with.
    pub host: &'a adapters::Host,
}

impl Debug for Ask<'_> {
    /// Leaves out the configuration, which may hold a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("lease_id", &self.lease_id)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}

/// Which step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Find,
    Inactive,
    UnknownDriver,
    AdapterStays,
    Acquire,
    Transport,
    Realise,
    Release,
    Clean,
    Probe,
}

impl Step {
    /// The machine string (spec/heartbeat.md 1.2).
    pub const fn code(self) -> &'static str {
        match self {
            Step::Find => "environment_not_found",
            Step::Inactive => "environment_inactive",
            Step::UnknownDriver => "unsupported_environment",
            Step::AdapterStays => "unsupported_adapter_environment",
            Step::Acquire => "lease_acquire_failed",
            Step::Transport => "transport_resolution_failed",
            Step::Realise => "workspace_realization_failed",
            Step::Release => "lease_release_failed",
            Step::Clean => "lease_cleanup_failed",
            Step::Probe => "probe_failed",
        }
    }
}

/// Why a step was not done, in words for people that never hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {words}", .step.code())]
pub struct DriverError {
    pub step: Step,
    pub words: String,
}

impl DriverError {
    pub fn new(step: Step, words: impl Into<String>) -> DriverError {
        DriverError { step, words: words.into() }
    }
}

/// What came back of a run's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroughtBack {
    /// For people.
    pub words: String,
    /// Not everything is in the run's folder: `words` say where the rest lies.
    pub is_partial: bool,
}

/// What a look at an environment found.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeReport {
    pub ok: bool,
    pub summary: String,
    pub details: Option<Json>,
}

/// One kind of environment.
pub trait Driver: Send + Sync + Debug {
    /// The machine string, `driver` on the wire.
    fn kind(&self) -> &'static str;

    /// Its runs work on another machine, in a folder of their own there.
    fn is_remote(&self) -> bool;

    /// Looks for mistakes in a configuration. Touches nothing outside its argument.
    fn check(&self, config: &Json) -> Vec<Problem>;

    /// The keys of a configuration that are never given back.
    fn secrets(&self) -> &'static [&'static str] {
        &[]
    }

    /// Says where everything of a lease will lie, before anything is done: it is on record when something was begun. For
    /// remote ones it names `remoteCwd`.
    fn lay_out(&self, ask: &Ask<'_>) -> Result<Json, DriverError>;

    /// Reaches the machine and finds out how its agents reach the API. Returns what is to be remembered of the lease; for
    /// remote ones it names `paperclipApiUrl`.
    fn acquire<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>>;

    /// Brings the run's folder there. Returns what is to be remembered of it, for people too.
    fn realise<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>>;

    /// Makes of a command of that machine one that this machine executes.
    fn wrap<'a>(&'a self, ask: Ask<'a>, command: Command) -> BoxFuture<'a, Result<Command, DriverError>>;

    /// Ends what still runs of the run there and brings its work back, never over what others did meanwhile.
    fn bring_back<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<BroughtBack, DriverError>>;

    /// Ends what still runs of the run there, removes what was made for it, and forgets its keys. What was not brought
    /// back stays, and is named in the answer.
    fn release<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Option<String>, DriverError>>;

    /// Looks whether runs could work there.
    fn probe<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, ProbeReport>;

    /// Names the machine and the folder that sessions of this lease are made in, as an object; `None`: this machine.
    fn machine(&self, _held: &Json) -> Option<Json> {
        None
    }
}

/// The drivers of an engine.
#[derive(Debug, Clone)]
pub struct Drivers(Vec<Arc<dyn Driver>>);

impl Default for Drivers {
    fn default() -> Drivers {
        Drivers(vec![Arc::new(Local), Arc::new(Ssh)])
    }
}

impl Drivers {
    /// The same with one more; a driver of the same word is replaced.
    #[must_use]
    pub fn with(mut self, driver: Arc<dyn Driver>) -> Drivers {
        self.0.retain(|known| known.kind() != driver.kind());
        self.0.push(driver);
        self
    }

    /// The driver of this word.
    pub fn find(&self, kind: &str) -> Option<Arc<dyn Driver>> {
        self.0.iter().find(|driver| driver.kind() == kind).cloned()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Driver>> {
        self.0.iter()
    }
}
