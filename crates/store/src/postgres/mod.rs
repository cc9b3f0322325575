//! The engine for several nodes: pooled connections to PostgreSQL, one short pipelined transaction per call.

mod attempt;
mod pool;
mod transaction;

pub(crate) use attempt::{Kind, perform};
pub(crate) use pool::Postgres;
pub(crate) use transaction::{CommitFailure, PgTx};
