//! Connections to PostgreSQL that are lost, at the moments that matter.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use store::{Store, StoreError, Target, p, sql};

use crate::postgres::{Cluster, Durability};

async fn insert(tx: &mut store::Tx<'_>, id: &str, note: Option<&str>) -> Result<(), StoreError> {
    let insert = sql!("INSERT INTO items (id, owner, n, flag, note) VALUES ($1, $1, 0, TRUE, $2)");
    tx.run(insert, p![id, note]).await
}

async fn ids(store: &Store) -> HashSet<String> {
    let read = store.read(|tx| {
        Box::pin(async move { tx.rows_as::<(String,)>(sql!("SELECT id FROM items"), p![]).await })
    });
    read.await.unwrap().into_iter().map(|(id,)| id).collect()
}

#[tokio::test]
async fn a_transaction_whose_connection_is_lost_before_its_commit_is_run_again() {
    let Some(store) = crate::on_postgres().await else { return };
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let write = store.write(move |tx| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            insert(tx, "a", None).await?;
            if first {
                let lose =
                    sql!("SELECT CAST(pg_terminate_backend(pg_backend_pid()) AS text) /*+only_postgres*/");
                tx.rows(lose, p![]).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    assert_eq!(ids(&store).await, HashSet::from(["a".to_owned()]));
    store.close().await;
}

#[tokio::test]
async fn a_connection_lost_while_committing_leaves_the_outcome_unknown() {
    let Some(database) = crate::postgres::database() else { return };
    let store = crate::open(&Target::Postgres(database.url.clone())).await;
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    // Runs inside COMMIT.
    client
        .batch_execute(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW WHEN (NEW.note = 'lose') EXECUTE FUNCTION lose();",
        )
        .await
        .unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let write = store.write(move |tx| {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { insert(tx, "a", Some("lose")).await })
    });
    let outcome = write.await;
    assert!(matches!(outcome, Err(StoreError::Unknown { .. })), "{outcome:?}");
    assert_eq!(attempts.load(Ordering::SeqCst), 1, "never run again: it may have been done");
    store.write(|tx| Box::pin(async move { insert(tx, "b", None).await })).await.unwrap();
    assert!(ids(&store).await.contains("b"), "the pool has recovered");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_block_each_other_are_run_again() {
    let Some(store) = crate::on_postgres().await else { return };
    let write = store.write(|tx| {
        Box::pin(async move {
            tx.run(sql!("INSERT INTO accounts (id, balance) VALUES ('a', 0), ('b', 0)"), p![]).await
        })
    });
    write.await.unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let meeting = Arc::new(tokio::sync::Barrier::new(2));
    let crossing = [("a", "b"), ("b", "a")].map(|(first, second)| {
        let (store, attempts, meeting) = (store.clone(), attempts.clone(), meeting.clone());
        tokio::spawn(async move {
            let write = store.write(move |tx| {
                let meet = attempts.fetch_add(1, Ordering::SeqCst) < 2;
                let meeting = meeting.clone();
                Box::pin(async move {
                    let add = sql!("UPDATE accounts SET balance = balance + 1 WHERE id = $1");
                    tx.exec(add, p![first]).await?;
                    if meet {
                        meeting.wait().await;
                    }
                    tx.exec(add, p![second]).await
                })
            });
            write.await.unwrap();
        })
    });
    for one in crossing {
        one.await.unwrap();
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 3, "one of the two gave way");
    let read = store.read(|tx| {
        Box::pin(async move { tx.rows_as::<(i64,)>(sql!("SELECT balance FROM accounts"), p![]).await })
    });
    assert_eq!(read.await.unwrap(), [(2,), (2,)]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_under_load_loses_no_answered_write() {
    let Some(cluster) = Cluster::start(Durability::Full) else { return };
    let store = crate::open(&Target::Postgres(cluster.database().url)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut answered, mut undone) = (Vec::new(), Vec::new());
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("{writer}/{number}");
                    let write = store.write({
                        let id = id.clone();
                        move |tx| {
                            let id = id.clone();
                            Box::pin(async move { insert(tx, &id, None).await })
                        }
                    });
                    match write.await {
                        Ok(()) => answered.push(id),
                        Err(StoreError::Unavailable { .. }) => undone.push(id),
                        Err(StoreError::Unknown { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                (answered, undone)
            })
        })
        .collect();
    while ids(&store).await.len() < 100 {
        tokio::task::yield_now().await;
    }
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.crash_and_restart();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let after_restart = loop {
        // The first attempts may still meet the server at its start.
        if let Ok(()) = store.ping().await {
            break ids(&store).await.len();
        }
    };
    while ids(&store).await.len() < after_restart + 100 {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    let (mut answered, mut undone) = (HashSet::new(), HashSet::new());
    for writer in writers {
        let (yes, no) = writer.await.unwrap();
        answered.extend(yes);
        undone.extend(no);
    }
    let found = ids(&store).await;
    assert!(answered.is_subset(&found), "{:?} are lost", answered.difference(&found).collect::<Vec<_>>());
    assert!(undone.is_disjoint(&found), "what was reported as not done is not there");
    cluster.crash();
    let refused = store.write(|tx| Box::pin(async move { insert(tx, "late", None).await })).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    store.close().await;
}
