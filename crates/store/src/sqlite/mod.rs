//! The embedded engine: one writer thread with group commit, and a few threads that only read.

mod connection;
mod job;
mod queue;
mod readers;
pub(crate) mod statements;
mod writer;

pub(crate) use connection::{Place, make_private, open_writable};
pub(crate) use job::Work;
pub(crate) use queue::{Priority, Refusal};
pub(crate) use readers::Readers;
pub(crate) use writer::Writer;
