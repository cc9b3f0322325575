//! Migrations: applied once, in order, or refused with a reason.

use store::{GROUND, Migration, Settings, Store, StoreError, Target, p, sql};

use crate::NOON;

const ONE_MORE: &[Migration] = &[
    GROUND,
    Migration { version: 2, name: "things", text: "CREATE TABLE things (id {id} PRIMARY KEY, n BIGINT);" },
];

const TWO_MORE: &[Migration] = &[
    ONE_MORE[0],
    ONE_MORE[1],
    Migration {
        version: 3,
        name: "things_have_names",
        text: "-- only: sqlite\n\
               CREATE TABLE things_new (id TEXT PRIMARY KEY, n BIGINT, name TEXT NOT NULL);\n\
               INSERT INTO things_new SELECT id, n, 'sqlite' FROM things;\n\
               DROP TABLE things;\n\
               ALTER TABLE things_new RENAME TO things;\n\
               -- only: postgres\n\
               ALTER TABLE things ADD COLUMN name TEXT;\n\
               UPDATE things SET name = 'postgres';\n\
               -- only: both\n\
               CREATE INDEX things_by_name ON things (name);\n",
    },
];

const CHANGED: &[Migration] = &[
    GROUND,
    Migration { version: 2, name: "things", text: "CREATE TABLE things (id {id} PRIMARY KEY, n TEXT);" },
];

const FAILING: &[Migration] = &[
    ONE_MORE[0],
    ONE_MORE[1],
    Migration {
        version: 3,
        name: "half",
        text: "CREATE TABLE half (a BIGINT); INSERT INTO no_such_table VALUES (1);",
    },
];

const DANGLING: &[Migration] = &[
    ONE_MORE[0],
    ONE_MORE[1],
    Migration {
        version: 3,
        name: "dangling",
        text: "CREATE TABLE parts (thing TEXT REFERENCES things (id)); INSERT INTO parts VALUES ('nothing');",
    },
];

const MISSPELT: &[Migration] =
    &[GROUND, Migration { version: 2, name: "misspelt", text: "CREATE TABLE things (id {jason});" }];

async fn open(target: &Target, migrations: &'static [Migration], now: i64) -> Result<Store, StoreError> {
    Store::open_with(target, Settings::default(), now, migrations).await
}

struct Place {
    target: Target,
    folder: Option<tempfile::TempDir>,
}

fn places() -> Vec<Place> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Target::Sqlite(folder.path().join("store.sqlite"));
    let postgres = crate::postgres::database().map(|database| Target::Postgres(database.url));
    let mut places = vec![Place { target: sqlite, folder: Some(folder) }];
    places.extend(postgres.map(|target| Place { target, folder: None }));
    places
}

async fn with_a_thing(target: &Target) {
    let store = open(target, ONE_MORE, NOON).await.unwrap();
    let insert = store.write(|tx| {
        Box::pin(async move { tx.run(sql!("INSERT INTO things (id, n) VALUES ('t', 1)"), p![]).await })
    });
    // The tables of these tests are not those of the program.
    insert.await.unwrap();
    store.close().await;
}

async fn names(store: &Store) -> Vec<(String, String)> {
    let read =
        store.read(|tx| Box::pin(async move { tx.rows_as(sql!("SELECT id, name FROM things"), p![]).await }));
    read.await.unwrap()
}

#[tokio::test]
async fn a_store_is_brought_up_to_date_and_keeps_its_rows() {
    for Place { target, folder } in places() {
        with_a_thing(&target).await;
        let store = open(&target, TWO_MORE, NOON + 7).await.unwrap();
        let engine = if store.is_postgres() { "postgres" } else { "sqlite" };
        assert_eq!(names(&store).await, [("t".to_owned(), engine.to_owned())]);
        store.close().await;
        // Opening again changes nothing.
        open(&target, TWO_MORE, NOON + 8).await.unwrap().close().await;
        if let Some(folder) = folder {
            let copy = folder.path().join("store.sqlite.before-migration-3");
            let copied = rusqlite::Connection::open(&copy).unwrap();
            let rows: i64 = copied.query_row("SELECT COUNT(*) FROM things", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 1);
            assert!(copied.prepare("SELECT name FROM things").is_err(), "the copy is from before");
            // Of two connections that leave at once neither is the last: SQLite's own two files may stay.
            let mut files: Vec<_> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
                .collect();
            files.sort();
            assert_eq!(
                files,
                ["store.sqlite", "store.sqlite.before-migration-3"],
                "one copy beside the store: none for a new store, none without a migration"
            );
        }
    }
}

#[tokio::test]
async fn a_newer_store_is_refused_and_not_touched() {
    for Place { target, folder: _folder } in places() {
        open(&target, TWO_MORE, NOON).await.unwrap().close().await;
        let refused = open(&target, ONE_MORE, NOON).await.unwrap_err();
        assert!(matches!(refused, StoreError::NewerStore { have: 3, know: 2 }), "{refused:?}");
        assert_eq!(
            refused.to_string(),
            "store is at version 3, this program knows versions up to 2; use a newer program"
        );
        open(&target, TWO_MORE, NOON).await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    for Place { target, folder: _folder } in places() {
        with_a_thing(&target).await;
        let refused = open(&target, CHANGED, NOON).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::ChangedMigration { version: 2, name } if name == "things"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_store_as_it_was() {
    for Place { target, folder: _folder } in places() {
        with_a_thing(&target).await;
        let failed = open(&target, FAILING, NOON).await.unwrap_err();
        assert!(matches!(failed, StoreError::Migration { version: 3, .. }), "{failed:?}");
        let store = open(&target, TWO_MORE, NOON).await.unwrap();
        assert_eq!(names(&store).await.len(), 1);
        store.close().await;
    }
}

#[tokio::test]
async fn rows_that_refer_to_nothing_stop_a_migration() {
    for Place { target, folder: _folder } in places() {
        with_a_thing(&target).await;
        let failed = open(&target, DANGLING, NOON).await.unwrap_err();
        assert!(
            matches!(
                failed,
                StoreError::Migration { version: 3, .. } | StoreError::BadMigration { version: 3, .. }
            ),
            "{failed:?}"
        );
        open(&target, ONE_MORE, NOON).await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_misspelt_token_is_an_error() {
    for Place { target, folder: _folder } in places() {
        let refused = open(&target, MISSPELT, NOON).await.unwrap_err();
        assert!(matches!(refused, StoreError::BadMigration { version: 2, .. }), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_migrate_once() {
    for Place { target, folder: _folder } in places() {
        let nodes = (0..4).map(|node| {
            let target = target.clone();
            tokio::spawn(async move { open(&target, TWO_MORE, NOON + node).await.unwrap() })
        });
        for node in nodes.collect::<Vec<_>>() {
            node.await.unwrap().close().await;
        }
    }
}

#[test]
fn every_file_of_the_folder_is_in_the_list() {
    let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let list: Vec<String> =
        store::MIGRATIONS.iter().map(|one| format!("{:04}_{}.sql", one.version, one.name)).collect();
    assert_eq!(files, list);
}
