//! The engine from outside, on both stores, with a model in place of keepers.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod agents;
mod approvals;
mod board;
mod briefing;
mod budgets;
mod chaos;
mod checkout;
mod claims;
mod costs;
mod feed;
mod held;
mod housekeeping;
mod issue_parts;
mod issue_settlement;
mod issue_wakes;
mod issues;
mod keys;
mod lives;
mod orders;
mod outages;
mod outcomes;
mod owners;
mod people;
mod races;
mod recovery_of_issues;
mod refusals;
mod restarts;
mod scenario_budget;
mod scenario_fenced_lease;
mod scenario_loops;
mod scenario_queue_truth;
mod scenario_wakes;
mod silence;
mod simulation;
mod stopping;
mod timers;
mod trees;
