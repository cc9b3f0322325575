//! The engine from outside, on both stores, with a model in place of keepers.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod agents;
mod approvals;
mod automation_retention;
mod automations;
mod board;
mod briefing;
mod budgets;
mod chaos;
mod checkout;
mod claims;
mod company_file;
mod costs;
mod environments;
mod feed;
mod held;
mod held_texts;
mod housekeeping;
mod instructions;
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
mod permissions;
mod races;
mod recovery_of_issues;
mod refusals;
mod restarts;
mod scenario_accounts;
mod scenario_budget;
mod scenario_fenced_lease;
mod scenario_loops;
mod scenario_queue_truth;
mod scenario_schedules;
mod scenario_sessions;
mod scenario_wakes;
mod schedules;
mod secrets;
mod silence;
mod simulation;
mod skills;
mod stopping;
mod timers;
mod transcripts;
mod trees;
mod webhook_triggers;
mod webhooks;
