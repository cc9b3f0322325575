//! The store: the only place that speaks SQL.
//!
//! It keeps what the other rooms decided: transactions with group commit on SQLite, pipelined transactions on
//! PostgreSQL, one SQL text for both; migrations; the event log; the audit chain. It decides nothing.

mod backup;
mod error;
mod migrate;
mod postgres;
mod row;
mod sqlite;
pub mod statement;
mod store;
mod tx;
mod value;

pub mod agents;
pub mod audit;
pub mod companies;
pub mod events;
pub mod leases;
mod nouns;
pub mod retention;
pub mod runs;
pub mod sessions;
pub mod wakes;

pub use backup::BackupReport;
pub use error::{Cause, Rule, StoreError};
pub use futures_util::future::BoxFuture;
pub use migrate::Migration;
pub use row::{Cell, FromCell, FromRow, Row};
pub use statement::{LIST_SIZES, ListStatement, Sql, Statement};
pub use store::{QueueLoad, Settings, Store, Target};
pub use tx::Tx;
pub use value::{Params, Value};

#[doc(hidden)]
pub use linkme;

use store::retry_after;

/// The schema of the store, oldest first.
pub const MIGRATIONS: &[Migration] = &[GROUND, ENGINE];

/// What the event log and the audit chain stand on.
pub const GROUND: Migration =
    Migration { version: 1, name: "ground", text: include_str!("../migrations/0001_ground.sql") };

/// Companies, agents, wakes, runs and their events.
const ENGINE: Migration =
    Migration { version: 2, name: "engine", text: include_str!("../migrations/0002_engine.sql") };

/// What a panic said.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
