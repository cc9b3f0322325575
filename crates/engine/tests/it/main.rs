//! The engine from outside, on both stores, with a model in place of keepers.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod budgets;
mod approvals;
mod board;
mod chaos;
mod claims;
mod checkout;
mod feed;
mod held;
mod housekeeping;
mod issue_settlement;
mod issue_parts;
mod issue_wakes;
mod issues;
mod keys;
mod lives;
mod loops;
mod outages;
mod orders;
mod outcomes;
mod owners;
mod people;
mod races;
mod recovery_of_issues;
mod refusals;
mod restarts;
mod simulation;
mod silence;
mod stopping;
mod timers;
mod trees;
