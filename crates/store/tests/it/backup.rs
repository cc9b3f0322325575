//! Copies of a store that is in use.

use store::{Store, StoreError, Target, p, sql};

async fn insert(store: &Store, n: i64) {
    let write = store.write(move |tx| {
        Box::pin(async move {
            let insert = sql!("INSERT INTO items (id, owner, n, flag) VALUES ($1, 'o', $2, TRUE)");
            tx.run(insert, p![format!("i{n}"), n]).await
        })
    });
    write.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_under_load_is_whole_and_has_what_was_answered_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::open(&Target::Sqlite(folder.path().join("store.sqlite"))).await;
    for n in 0..20 {
        insert(&store, n).await;
    }
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn({
        let store = store.clone();
        async move {
            let mut n = 20;
            while !*stopped.borrow_and_update() {
                insert(&store, n).await;
                n += 1;
            }
        }
    });
    let to = folder.path().join("copy.sqlite");
    let report = store.backup(&to).await.unwrap();
    stop.send(true).unwrap();
    load.await.unwrap();
    assert_eq!(report.bytes, std::fs::metadata(&to).unwrap().len());
    let copy = crate::open(&Target::Sqlite(to.clone())).await;
    let count = copy.read(|tx| {
        Box::pin(async move { tx.one_as::<(i64,)>(sql!("SELECT COUNT(*) FROM items"), p![]).await })
    });
    assert!(count.await.unwrap().unwrap().0 >= 20);
    for file in ["store.sqlite", "store.sqlite-wal", "copy.sqlite"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777;
        assert_eq!(mode, 0o600, "{file} holds what only its owner may read: {mode:o}");
    }
    copy.close().await;
    let again = store.backup(&to).await;
    assert!(matches!(again, Err(StoreError::Backup { .. })), "a backup never replaces a file: {again:?}");
    store.close().await;
}

#[tokio::test]
async fn a_backup_that_fails_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::memory().await;
    let failed = store.backup(&folder.path().join("no such folder/copy")).await;
    assert!(matches!(failed, Err(StoreError::Backup { .. })), "{failed:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    store.close().await;
}

#[tokio::test]
async fn postgres_is_copied_by_its_own_tool_or_the_error_says_what_to_install() {
    let Some(store) = crate::on_postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy");
    match store.backup(&to).await {
        Ok(report) => {
            let copy = std::fs::read(&to).unwrap();
            assert!(copy.starts_with(b"PGDMP") && copy.len() as u64 == report.bytes);
        }
        Err(StoreError::Backup { hint, .. }) => {
            assert!(hint.contains("pg_dump") || hint.contains("install the PostgreSQL client programs"));
            assert!(!to.exists());
        }
        Err(other) => panic!("{other:?}"),
    }
    store.close().await;
}
