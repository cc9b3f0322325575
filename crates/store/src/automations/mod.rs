//! Automations as stored: definitions with their versions, runs, nodes with their attempts, gates, and what happened.
//!
//! Whoever changes a run, its nodes, attempts or gates has locked the run's row first ([`runs::lock`]): it comes behind
//! agents, issues and runs in the order of locks (D15), so nothing here takes one of those.

pub mod definitions;
pub mod gates;
pub mod history;
pub mod nodes;
pub mod retention;
pub mod runs;
pub mod standing;
