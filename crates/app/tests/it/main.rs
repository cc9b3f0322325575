//! The program as people use it: the real binary, real servers, real processes. Nothing of it is left when a test ends.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod agents;
mod backlog;
mod broken_setups;
mod budgets_cli;
mod crash;
mod first_steps;
mod following;
mod issues_cli;
mod log_stream;
mod logins;
mod outcomes;
mod restarts;
mod scene;
mod stage;
mod stalls;
mod stop;
mod stopping;
mod transcripts;
