//! Where runs work: which environment a run is given, what becomes of the lease it has on one, and what is known of the
//! services that are kept running beside a workspace.
//!
//! Reaching a machine, moving files and starting programs is the engine's business (`engine/src/environments`,
//! `engine/src/runtime_services`).

pub mod choice;
pub mod lease;
pub mod runtime_service;
pub mod workspace_command;
