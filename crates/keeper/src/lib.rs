//! One child process: start it, contain it, log it, stop it, outlive the server.
//!
//! The crate has two halves that meet only in a *run folder*. The **keeper process**
//! ([`keep_main`]) holds one child for its whole life and writes down what happened. The
//! **server side** ([`Launcher`], [`probe`], [`Handle`], [`LogReader`], [`Watch`], [`archive`])
//! starts keepers, asks them, and reads what they wrote; it may die and come back at any time.
//!
//! | file in the folder | written by | means |
//! | --- | --- | --- |
//! | `spec` | server | what to run; never a secret |
//! | `lock` | keeper | a record lock held as long as the keeper lives |
//! | `started` | whoever is first | the one start of this epoch, or its revocation |
//! | `log` | keeper | frames of output, redacted |
//! | `exit` | keeper | how it ended, complete and checksummed |
//! | `control.sock` | keeper | where orders arrive |
//! | `keeper.err` | keeper | its own complaints; normally empty |
//!
//! It knows no domain word (agent, issue, company), no database and no async runtime. What
//! escapes it: work handed to another daemon (a container engine, a unit manager, a terminal
//! multiplexer that already runs) is not a descendant and is not ended with the run.

mod archive;
mod cgroup;
mod cut;
mod error;
mod exit;
mod folder;
mod frame;
mod keep;
mod kernel_file;
mod launch;
mod lock;
mod log_reader;
mod once;
mod orders;
mod probe;
mod proc_table;
mod redact;
mod sealed;
mod spec;
mod started;
mod sweep;
mod tree;
mod watch;

pub use archive::{ArchiveInfo, archive, remove};
pub use error::KeeperError;
pub use exit::{EndedBy, Exit};
pub use folder::boot_id;
pub use frame::{Frame, Stream};
pub use keep::{LATE_EXIT, SETUP_EXIT, TORN_EXIT, keep_main};
pub use launch::{Finished, Launcher, reap_finished};
pub use log_reader::LogReader;
pub use once::{Once, Ran, run_once};
pub use orders::{Handle, Hello};
pub use probe::{Probe, probe};
pub use redact::hide;
pub use sealed::Sealed;
pub use spec::{Containment, Limits, Spec, Stdin};
pub use started::{Revocation, StartRecord, Started, revoke};
pub use sweep::{Swept, sweep_marked};
pub use tree::{TreeUsage, tree_usage};
pub use watch::Watch;
