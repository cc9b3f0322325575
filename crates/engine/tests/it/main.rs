//! The engine from outside, on both stores, with a model in place of keepers.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod chaos;
mod feed;
mod housekeeping;
mod keys;
mod lives;
mod outages;
mod outcomes;
mod races;
mod restarts;
mod stopping;
mod timers;
