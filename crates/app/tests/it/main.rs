//! The program as people use it: the real binary, real servers, real processes. Nothing of it is left when a test ends.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod agents;
mod broken_setups;
mod crash;
mod first_steps;
mod following;
mod log_stream;
mod outcomes;
mod restarts;
mod scene;
mod stage;
mod stop;
mod stopping;
