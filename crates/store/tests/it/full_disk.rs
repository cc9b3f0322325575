//! A disk that is full or fails: errors for all it concerns, and recovery by itself.

use std::sync::atomic::Ordering;

use store::{Settings, Store, StoreError, Target, p, sql};

async fn insert(store: &Store, n: i64) -> Result<(), StoreError> {
    let write = store.write(move |tx| {
        Box::pin(async move {
            let insert = sql!("INSERT INTO items (id, owner, n, flag, note) VALUES ($1, 'o', $2, TRUE, $3)");
            tx.run(insert, p![format!("i{n}"), n, "x".repeat(20_000)]).await
        })
    });
    write.await
}

async fn numbers(store: &Store) -> Vec<i64> {
    let read = store.read(|tx| {
        Box::pin(async move { tx.rows_as::<(i64,)>(sql!("SELECT n FROM items ORDER BY n"), p![]).await })
    });
    read.await.unwrap().into_iter().map(|(n,)| n).collect()
}

async fn open(file: &std::path::Path, vfs: &'static str) -> Store {
    let settings = Settings { sqlite_vfs: Some(vfs), ..Settings::default() };
    Store::open_with(&Target::Sqlite(file.to_owned()), settings, crate::NOON, crate::SCHEMA).await.unwrap()
}

fn is_sound(file: &std::path::Path) -> bool {
    let connection = rusqlite::Connection::open(file).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    verdict == "ok"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_the_whole_group_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let faults = crate::lossy_vfs::register("full-disk", 7);
    let store = open(&file, "full-disk").await;
    insert(&store, 1).await.unwrap();
    faults.full.store(true, Ordering::SeqCst);
    let (a, b, c) = tokio::join!(insert(&store, 2), insert(&store, 3), insert(&store, 4));
    for outcome in [a, b, c] {
        assert!(matches!(outcome, Err(StoreError::Full { .. })), "{outcome:?}");
    }
    assert_eq!(numbers(&store).await, [1], "reading goes on");
    faults.full.store(false, Ordering::SeqCst);
    insert(&store, 5).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 5]);
    store.close().await;
    assert!(is_sound(&file));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_flush_failed_is_not_called_done_nor_undone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let faults = crate::lossy_vfs::register("failing-flush", 9);
    let store = open(&file, "failing-flush").await;
    insert(&store, 1).await.unwrap();
    faults.flush.store(true, Ordering::SeqCst);
    for n in 2..5 {
        let outcome = insert(&store, n).await;
        assert!(
            matches!(outcome, Err(StoreError::Unknown { .. } | StoreError::Unavailable { .. })),
            "{outcome:?}"
        );
    }
    faults.flush.store(false, Ordering::SeqCst);
    insert(&store, 6).await.unwrap();
    let found = numbers(&store).await;
    assert!(found.contains(&1) && found.contains(&6), "{found:?}");
    store.close().await;
    assert!(is_sound(&file));
    let again = crate::open(&Target::Sqlite(file)).await;
    assert_eq!(numbers(&again).await, found, "what was read stays");
    again.close().await;
}
