//! What the tests of the other rooms stand on; it never ships.
//!
//! A clock and dice that a test holds in its hand, a [`Model`] of running processes that outlives engines as keepers
//! do, a [`World`] around one store, [`both_stores!`], which runs a test on SQLite and on PostgreSQL, and [`sim`], which
//! plays whole histories from seeds.

// Tests want to hear at once and loudly what went wrong, and a panic is how.
#![allow(clippy::unwrap_used)]

mod chance;
mod model;
mod port;
pub mod postgres;
mod server;
pub mod sim;
mod sshd;
mod world;

pub use chance::{SimClock, SimDice};
pub use model::{Journal, Model, Obedience, Refusal};
pub use server::Server;
pub use sshd::Sshd;
pub use world::{NOON, World, on_postgres, on_sqlite, patience, within};
