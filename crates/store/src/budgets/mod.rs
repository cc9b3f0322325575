//! Budgets as stored: what a scope may spend, what it has spent and set aside, and what was said about it.
//!
//! A *policy* is an amount for a scope, a metric and a kind of window. Its *counter* of one window is the only row that
//! knows how much is left, and every change to it is one guarded statement. A *reservation* is what one run holds of
//! it. An *incident* is a threshold that was crossed. Which policies stop whom, and what crossing one means, is decided
//! by the rules, not here.
//!
//! Locks are taken in this order: policy, counters by policy and window. Functions that touch several counters sort
//! them, so that two runs never wait for each other.

pub mod counters;
pub mod incidents;
pub mod policies;
pub mod reservations;
pub mod scopes;
pub mod stopped;

pub use domain::budget::window::Window;
