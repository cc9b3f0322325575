//! The store from outside, on both engines.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

// The file, not the crate: the test kit stands on the engine, and these tests must not wait for that room to compile.
#[allow(unreachable_pub)]
#[path = "../../../testkit/src/postgres.rs"]
mod postgres;

mod accounts;
mod acme;
mod activity;
mod approvals;
mod audit;
mod automation_statements;
mod automations;
mod backup;
mod budgets;
mod challenges;
mod comments;
mod costs;
mod crash;
mod environments;
mod events;
mod full_disk;
mod group_commit;
mod held_texts;
mod history;
mod holds;
mod inbox;
mod instructions;
mod interactions;
mod issue_fixture;
mod issue_lists;
mod issues;
mod keys;
mod lists_of_automations;
mod locks;
mod lossy_vfs;
mod lost_connection;
mod migrations;
mod orders;
mod overview;
mod pauses;
mod plans;
mod projects;
mod recoveries;
mod relations;
mod removal;
mod round_trips;
mod runs_of_issues;
mod schedules;
mod secrets;
mod sessions;
mod settings;
mod standing_runs;
mod statements;
mod transactions;
mod users;
mod webhooks;
mod workspaces;

use store::{GROUND, Migration, Settings, Store, Target};

/// 2026-01-01, noon.
const NOON: i64 = 1_767_268_800_000_000;

/// The schema that these tests use: the ground, and a few tables of their own.
const SCHEMA: &[Migration] = &[
    GROUND,
    Migration {
        version: 2,
        name: "items",
        text: "CREATE TABLE items (
                 id    {id} PRIMARY KEY,
                 owner {id} NOT NULL,
                 n     BIGINT NOT NULL CHECK (n >= 0),
                 flag  BOOLEAN NOT NULL,
                 score DOUBLE PRECISION,
                 note  TEXT,
                 body  {json},
                 raw
               -- only: sqlite
                 BLOB
               -- only: postgres
                 BYTEA
               -- only: both
               );
               CREATE UNIQUE INDEX items_one_n ON items (owner, n);
               CREATE TABLE accounts (
                 id      {id} PRIMARY KEY,
                 balance BIGINT NOT NULL
               );
               CREATE TABLE moves (
                 id      {serial},
                 source  {id} NOT NULL REFERENCES accounts (id),
                 target  {id} NOT NULL REFERENCES accounts (id),
                 amount  BIGINT NOT NULL
               );",
    },
];

async fn open(target: &Target) -> Store {
    Store::open_with(target, Settings::default(), NOON, SCHEMA).await.unwrap()
}

async fn memory() -> Store {
    open(&Target::Memory).await
}

async fn on_postgres() -> Option<Store> {
    let database = postgres::database()?;
    Some(open(&Target::Postgres(database.url)).await)
}

/// Makes one test of each function for each engine: `both_engines! { async fn claim(store: Store) { ... } }`.
macro_rules! both_engines {
    ($($(#[$about:meta])* async fn $name:ident($store:ident: Store) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$about])*
            async fn claim($store: store::Store) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let store = crate::memory().await;
                claim(store.clone()).await;
                store.close().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let Some(store) = crate::on_postgres().await else { return };
                claim(store.clone()).await;
                store.close().await;
            }
        }
    )*};
}
pub(crate) use both_engines;

/// [`both_engines!`] on the schema of the program.
macro_rules! both_stores {
    ($($(#[$about:meta])* async fn $name:ident($store:ident: Store) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$about])*
            async fn claim($store: store::Store) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let store = crate::program_store(&store::Target::Memory).await;
                claim(store.clone()).await;
                store.close().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let Some(database) = crate::postgres::database() else { return };
                let store = crate::program_store(&store::Target::Postgres(database.url)).await;
                claim(store.clone()).await;
                store.close().await;
            }
        }
    )*};
}
pub(crate) use both_stores;

/// A store with the schema of the program.
async fn program_store(target: &Target) -> Store {
    Store::open(target, Settings::default(), NOON).await.unwrap()
}

/// Fails when the second of two costs half as much again as the first. Others are at work on the machine too: what costs the
/// same shows it in one of some rounds, what grows with what is stored shows it in none.
async fn cost_the_same(round: impl AsyncFn() -> [std::time::Duration; 2]) {
    const ROUNDS: usize = 5;
    let mut seen = Vec::new();
    while seen.len() < ROUNDS {
        let [first, second] = round().await;
        if second < first.mul_f64(1.5) {
            return;
        }
        seen.push([first, second]);
    }
    panic!("the second is dearer in each round: {seen:?}");
}

/// The one in the middle.
fn median(mut took: Vec<std::time::Duration>) -> std::time::Duration {
    took.sort_unstable();
    took[took.len() / 2]
}
