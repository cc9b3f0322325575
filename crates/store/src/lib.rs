//! The store: the only place that speaks SQL.
//!
//! It keeps what the other rooms decided: transactions with group commit on SQLite, pipelined transactions on
//! PostgreSQL, one SQL text for both; migrations; the event log; the audit chain. It decides nothing.

mod backup;
mod error;
mod migrate;
mod postgres;
mod row;
mod sqlite;
pub mod statement;
mod store;
mod tx;
mod value;

pub mod accounts;
pub mod activity;
pub mod agents;
pub mod approvals;
pub mod attachments;
pub mod audit;
pub mod audit_file;
pub mod automations;
pub mod budgets;
pub mod challenges;
pub mod comments;
pub mod companies;
pub mod config_revisions;
pub mod costs;
pub mod dismissals;
pub mod documents;
pub mod environment_leases;
pub mod environments;
pub mod events;
pub mod execution_workspaces;
pub mod goals;
pub mod held_texts;
pub mod holds;
pub mod inbox;
pub mod instance_settings;
pub mod instructions;
pub mod interactions;
pub mod issues;
pub mod keys;
pub mod labels;
pub mod leases;
pub mod leftovers;
pub mod locks;
mod nouns;
pub mod orders;
pub mod overview;
pub mod pauses;
pub mod projects;
pub mod reads;
pub mod recoveries;
pub mod relations;
pub mod removal;
pub mod retention;
pub mod run_outputs;
pub mod run_starts;
pub mod runs;
pub mod runs_of_issues;
pub mod runtime_services;
pub mod schedules;
pub mod secrets;

pub mod sessions;
pub mod skills;
pub mod users;
pub mod wakes;
pub mod webhooks;
pub mod work_products;
pub mod workspace_operations;

pub use backup::BackupReport;
pub use error::{Cause, Rule, StoreError};
pub use futures_util::future::BoxFuture;
pub use migrate::Migration;
pub use row::{Cell, FromCell, FromRow, Row};
pub use statement::{LIST_SIZES, ListStatement, Sql, Statement};
pub use store::{QueueLoad, Settings, Store, Target, Turn, Turnstile};
pub use tx::Tx;
pub use value::{Params, Value};

#[doc(hidden)]
pub use linkme;

use store::retry_after;

/// The schema of the store, oldest first.
pub const MIGRATIONS: &[Migration] = &[
    GROUND,
    ENGINE,
    ISSUES,
    MONEY_AND_PEOPLE,
    WATCH,
    DISMISSALS,
    QUESTIONS,
    TURNED_AWAY,
    SESSION_NOTES,
    SECRETS,
    WORKSPACES,
    ACCOUNTS,
    SESSIONS,
    ENVIRONMENTS,
    INSTRUCTIONS,
    LEFTOVERS,
    UNTRUSTED,
    AUTOMATIONS,
    SCHEDULES,
    WEBHOOKS,
    OLD_AUTOMATION_RUNS,
    FILES_BEFORE,
    STANDING_AUTOMATION_RUNS,
    AGENTS_OF_AUTOMATION_RUNS,
];

/// What the event log and the audit chain stand on.
pub const GROUND: Migration =
    Migration { version: 1, name: "ground", text: include_str!("../migrations/0001_ground.sql") };

/// Companies, agents, wakes, runs and their events.
const ENGINE: Migration =
    Migration { version: 2, name: "engine", text: include_str!("../migrations/0002_engine.sql") };

/// Projects, issues and what hangs on them, the outbox of wakes.
const ISSUES: Migration =
    Migration { version: 3, name: "issues", text: include_str!("../migrations/0003_issues.sql") };

/// Budgets and costs, users and their keys, approvals, the inbox.
const MONEY_AND_PEOPLE: Migration = Migration {
    version: 4,
    name: "money_and_people",
    text: include_str!("../migrations/0004_money_and_people.sql"),
};

/// What watches over work finds its rows by.
const WATCH: Migration =
    Migration { version: 5, name: "watch", text: include_str!("../migrations/0005_watch.sql") };

/// What people have put aside in their inbox.
const DISMISSALS: Migration =
    Migration { version: 6, name: "dismissals", text: include_str!("../migrations/0006_dismissals.sql") };

/// What waits for an answer of a person.
const QUESTIONS: Migration =
    Migration { version: 7, name: "questions", text: include_str!("../migrations/0007_questions.sql") };

/// Wakes that were turned away.
const TURNED_AWAY: Migration =
    Migration { version: 8, name: "turned_away", text: include_str!("../migrations/0008_turned_away.sql") };

/// What adapters note about the sessions of their runs.
const SESSION_NOTES: Migration = Migration {
    version: 9,
    name: "session_notes",
    text: include_str!("../migrations/0009_session_notes.sql"),
};

/// What agents need and nobody is to read.
const SECRETS: Migration =
    Migration { version: 10, name: "secrets", text: include_str!("../migrations/0010_secrets.sql") };

/// Where runs work, and what came out of them.
const WORKSPACES: Migration =
    Migration { version: 11, name: "workspaces", text: include_str!("../migrations/0011_workspaces.sql") };

/// Accounts at providers, and on which of them runs work.
const ACCOUNTS: Migration =
    Migration { version: 12, name: "accounts", text: include_str!("../migrations/0012_accounts.sql") };

/// What is kept of sessions, and of the start of each process.
const SESSIONS: Migration =
    Migration { version: 13, name: "sessions", text: include_str!("../migrations/0013_sessions.sql") };
/// Environments, leases on them, and the services beside workspaces.
const ENVIRONMENTS: Migration = Migration {
    version: 14,
    name: "environments",
    text: include_str!("../migrations/0014_environments.sql"),
};

/// What agents are told before anything else.
const INSTRUCTIONS: Migration = Migration {
    version: 15,
    name: "instructions",
    text: include_str!("../migrations/0015_instructions.sql"),
};

/// Which secrets environments refer to, and what deleted companies left on disks.
const LEFTOVERS: Migration =
    Migration { version: 16, name: "leftovers", text: include_str!("../migrations/0016_leftovers.sql") };

/// What people write whom nobody trusts.
const UNTRUSTED: Migration =
    Migration { version: 17, name: "untrusted", text: include_str!("../migrations/0017_untrusted.sql") };

/// Automations, their runs, and what people are asked by them.
const AUTOMATIONS: Migration =
    Migration { version: 18, name: "automations", text: include_str!("../migrations/0018_automations.sql") };

/// When automations start by themselves.
const SCHEDULES: Migration =
    Migration { version: 19, name: "schedules", text: include_str!("../migrations/0019_schedules.sql") };
/// Events that leave for the servers of others, and requests of others that start automations.
const WEBHOOKS: Migration =
    Migration { version: 20, name: "webhooks", text: include_str!("../migrations/0020_webhooks.sql") };
/// What finds automation runs that are old enough to go.
const OLD_AUTOMATION_RUNS: Migration = Migration {
    version: 21,
    name: "old_automation_runs",
    text: include_str!("../migrations/0021_old_automation_runs.sql"),
};
/// What lay in a workspace before a run of an automation.
const FILES_BEFORE: Migration = Migration {
    version: 22,
    name: "files_before",
    text: include_str!("../migrations/0022_files_before.sql"),
};
/// What finds automation runs that wait for a person to do something.
const STANDING_AUTOMATION_RUNS: Migration = Migration {
    version: 23,
    name: "standing_automation_runs",
    text: include_str!("../migrations/0023_standing_automation_runs.sql"),
};
/// Who is meant by the names of agents in a run of an automation.
const AGENTS_OF_AUTOMATION_RUNS: Migration = Migration {
    version: 24,
    name: "agents_of_automation_runs",
    text: include_str!("../migrations/0024_agents_of_automation_runs.sql"),
};

/// What a panic said.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
