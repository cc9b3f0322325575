//! What a transaction promises, the same on both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use store::{Rule, Store, StoreError, Value, p, sql, sql_list};

use crate::both_engines;

async fn insert(tx: &mut store::Tx<'_>, id: &str, n: i64) -> Result<(), StoreError> {
    tx.run(sql!("INSERT INTO items (id, owner, n, flag) VALUES ($1, 'o', $2, TRUE)"), p![id, n]).await
}

async fn ids(store: &Store) -> Vec<String> {
    store
        .read(|tx| {
            Box::pin(async move {
                let rows = tx.rows_as::<(String,)>(sql!("SELECT id FROM items ORDER BY id"), p![]).await?;
                Ok(rows.into_iter().map(|(id,)| id).collect())
            })
        })
        .await
        .unwrap()
}

both_engines! {
    async fn a_committed_write_is_seen_by_the_next_read(store: Store) {
        store.write(|tx| Box::pin(async move { insert(tx, "a", 1).await })).await.unwrap();
        assert_eq!(ids(&store).await, ["a"]);
    }

    async fn an_error_of_the_closure_undoes_everything(store: Store) {
        let refused: Result<(), _> = store.write(|tx| Box::pin(async move {
            insert(tx, "a", 1).await?;
            assert_eq!(tx.rows(sql!("SELECT id FROM items"), p![]).await?.len(), 1, "it sees its own writes");
            Err(StoreError::TooManyEvents)
        })).await;
        assert!(matches!(refused, Err(StoreError::TooManyEvents)));
        assert_eq!(ids(&store).await, Vec::<String>::new());
    }

    async fn the_first_error_poisons_the_transaction_though_it_was_caught(store: Store) {
        store.write(|tx| Box::pin(async move { insert(tx, "a", 1).await })).await.unwrap();
        let outcome = store.write(|tx| Box::pin(async move {
            insert(tx, "b", 2).await?;
            let insert_again = sql!("INSERT INTO items (id, owner, n, flag) VALUES ('a', 'o', 3, TRUE)");
            let caught = tx.exec(insert_again, p![]).await;
            assert!(matches!(caught, Err(StoreError::Constraint { rule: Rule::Unique, .. })), "{caught:?}");
            let later = tx.rows(sql!("SELECT id FROM items"), p![]).await;
            assert!(matches!(later, Err(StoreError::Constraint { .. })), "{later:?}");
            Ok(())
        })).await;
        assert!(matches!(outcome, Err(StoreError::Constraint { .. })), "{outcome:?}");
        assert_eq!(ids(&store).await, ["a"]);
    }

    async fn a_deferred_write_that_fails_is_an_error_of_the_whole(store: Store) {
        let outcome = store.write(|tx| Box::pin(async move {
            insert(tx, "a", 1).await?;
            tx.run(sql!("INSERT INTO items (id, owner, n, flag) VALUES ('b', 'o', -1, TRUE)"), p![]).await?;
            insert(tx, "c", 3).await
        })).await;
        assert!(matches!(outcome, Err(StoreError::Constraint { rule: Rule::Check, .. })), "{outcome:?}");
        assert_eq!(ids(&store).await, Vec::<String>::new());
    }

    async fn a_panic_undoes_its_own_transaction_only(store: Store) {
        let fine = store.write(|tx| Box::pin(async move { insert(tx, "fine", 1).await }));
        let panics = store.write::<(), _>(|tx| Box::pin(async move {
            insert(tx, "panics", 2).await?;
            tx.rows(sql!("SELECT id FROM items"), p![]).await?;
            panic!("out of luck");
        }));
        let also_fine = store.write(|tx| Box::pin(async move { insert(tx, "also fine", 3).await }));
        let (fine, panicked, also_fine) = tokio::join!(fine, panics, also_fine);
        fine.unwrap();
        also_fine.unwrap();
        assert!(
            matches!(&panicked, Err(StoreError::Panicked { message }) if message == "out of luck"),
            "{panicked:?}"
        );
        assert_eq!(ids(&store).await, ["also fine", "fine"]);
    }

    async fn every_kind_of_value_comes_back_as_it_went_in(store: Store) {
        store.write(|tx| Box::pin(async move {
            let insert = sql!(
                "INSERT INTO items (id, owner, n, flag, score, note, body, raw) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            );
            let body = r#"{"k": [1, "é"]}"#;
            tx.run(insert, p!["full", "o", i64::MAX, false, 0.25, "ünï", body, vec![0_u8, 255]]).await?;
            tx.run(insert, p!["empty", "o", 0, true, None, None, None, None]).await
        })).await.unwrap();
        type Found = (i64, bool, Option<f64>, Option<String>, Option<String>, Option<Vec<u8>>);
        let found = store.read(|tx| Box::pin(async move {
            tx.rows_as::<Found>(sql!("SELECT n, flag, score, note, body, raw FROM items ORDER BY id DESC"), p![]).await
        })).await.unwrap();
        assert_eq!(found, [
            (i64::MAX, false, Some(0.25), Some("ünï".into()), Some(r#"{"k": [1, "é"]}"#.into()), Some(vec![0, 255])),
            (0, true, None, None, None, None),
        ]);
    }

    async fn a_bare_null_takes_the_type_of_its_place(store: Store) {
        let found = store.read(|tx| Box::pin(async move {
            tx.rows(sql!("SELECT id FROM items WHERE (CAST($1 AS text) IS NULL OR note = $1) AND n = $2"), p![None, None]).await
        })).await.unwrap();
        assert!(found.is_empty());
    }

    async fn a_wrong_number_of_parameters_is_refused(store: Store) {
        let outcome = store.write(|tx| Box::pin(async move {
            tx.exec(sql!("UPDATE items SET n = $1 WHERE id = $2"), p![1]).await
        })).await;
        assert!(matches!(outcome, Err(StoreError::Parameters { takes: 2, given: 1, .. })), "{outcome:?}");
    }

    async fn a_column_of_another_type_is_named(store: Store) {
        store.write(|tx| Box::pin(async move { insert(tx, "a", 1).await })).await.unwrap();
        let outcome = store.read(|tx| Box::pin(async move {
            tx.one_as::<(String, String)>(sql!("SELECT id, n FROM items"), p![]).await
        })).await;
        assert!(
            matches!(&outcome, Err(StoreError::Row { column: 1, statement: "SELECT id, n FROM items", .. })),
            "{outcome:?}"
        );
    }

    async fn row_counts_tell_whether_a_compare_and_set_won(store: Store) {
        store.write(|tx| Box::pin(async move { insert(tx, "a", 1).await })).await.unwrap();
        let changed = store.write(|tx| Box::pin(async move {
            let set = sql!("UPDATE items SET n = $1 WHERE id = $2 AND n = $3");
            Ok((tx.exec(set, p![2, "a", 1]).await?, tx.exec(set, p![3, "a", 1]).await?))
        })).await.unwrap();
        assert_eq!(changed, (1, 0));
    }

    async fn returning_gives_the_rows_that_were_changed(store: Store) {
        let found = store.write(|tx| Box::pin(async move {
            insert(tx, "a", 1).await?;
            insert(tx, "b", 2).await?;
            let update = sql!("UPDATE items SET flag = FALSE WHERE owner = $1 RETURNING id");
            let first = tx.one(update, p!["o"]).await?.map(|row| row.get::<String>(0)).transpose()?;
            let left = tx.rows(sql!("SELECT id FROM items WHERE flag"), p![]).await?.len();
            Ok((first.is_some(), left))
        })).await.unwrap();
        assert_eq!(found, (true, 0), "all rows are changed though one was asked for");
    }

    async fn a_list_of_any_length_is_looked_up(store: Store) {
        store.write(|tx| Box::pin(async move {
            for n in 0..150 {
                insert(tx, &format!("i{n:03}"), n).await?;
            }
            Ok(())
        })).await.unwrap();
        for count in [0_i64, 1, 3, 4, 5, 64, 65, 150] {
            let (found, changed) = store.write(move |tx| Box::pin(async move {
                let list: Vec<Value> = (0..count).map(|n| Value::from(format!("i{n:03}"))).collect();
                let select = sql_list!("SELECT id FROM items WHERE owner = $1 AND id IN ({list})");
                let found = tx.rows_in(select, p!["o"], list.clone()).await?.len();
                let update = sql_list!("UPDATE items SET note = $1 WHERE id IN ({list})");
                Ok((found as i64, tx.exec_in(update, p!["seen"], list).await? as i64))
            })).await.unwrap();
            assert_eq!((found, changed), (count, count));
        }
    }

    async fn a_reader_sees_one_state_for_all_its_statements(store: Store) {
        store.write(|tx| Box::pin(async move { insert(tx, "a", 1).await })).await.unwrap();
        let (started, start) = tokio::sync::oneshot::channel::<()>();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let signals = std::sync::Mutex::new(Some((started, gate)));
        let reader = tokio::spawn({
            let store = store.clone();
            async move {
                store.read(move |tx| {
                    let signals = signals.lock().unwrap().take().unwrap();
                    Box::pin(async move {
                        let (started, gate) = signals;
                        let count = sql!("SELECT COUNT(*) FROM items");
                        let before = tx.one_as::<(i64,)>(count, p![]).await?;
                        started.send(()).unwrap();
                        gate.recv().unwrap();
                        Ok((before, tx.one_as::<(i64,)>(count, p![]).await?))
                    })
                }).await
            }
        });
        start.await.unwrap();
        store.write(|tx| Box::pin(async move { insert(tx, "b", 2).await })).await.unwrap();
        go.send(()).unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), (Some((1,)), Some((1,))));
    }

    async fn a_reader_cannot_write(store: Store) {
        let outcome = store.read(|tx| Box::pin(async move { insert(tx, "a", 1).await })).await;
        assert!(matches!(outcome, Err(StoreError::Statement { .. } | StoreError::Unavailable { .. })), "{outcome:?}");
        assert_eq!(ids(&store).await, Vec::<String>::new());
    }

    async fn a_caller_who_gives_up_does_not_stop_the_write(store: Store) {
        // A write can be over as soon as it is looked at for the first time: then the next one is left.
        for number in 0..1_000_i64 {
            // What a task does without a pause is cut short at some point: that is not what is to be seen here.
            tokio::task::yield_now().await;
            let attempts = Arc::new(AtomicUsize::new(0));
            let (seen, id) = (attempts.clone(), number.to_string());
            let wanted = id.clone();
            let mut write = Box::pin(store.write(move |tx| {
                seen.fetch_add(1, Ordering::SeqCst);
                let id = id.clone();
                Box::pin(async move { insert(tx, &id, number).await })
            }));
            if futures_util::poll!(write.as_mut()).is_ready() {
                continue;
            }
            drop(write);
            while !ids(&store).await.contains(&wanted) {
                tokio::task::yield_now().await;
            }
            assert_eq!(attempts.load(Ordering::SeqCst), 1);
            return;
        }
        panic!("every write was over at once");
    }

    async fn after_closing_everything_is_refused(store: Store) {
        store.ping().await.unwrap();
        store.close().await;
        let write = store.write(|tx| Box::pin(async move { insert(tx, "a", 1).await })).await;
        assert!(matches!(write, Err(StoreError::Closed)), "{write:?}");
        assert!(matches!(store.ping().await, Err(StoreError::Closed)));
    }
}

#[tokio::test]
async fn awaiting_something_foreign_inside_a_transaction_is_reported() {
    let store = crate::memory().await;
    let outcome = store
        .write(|tx| {
            Box::pin(async move {
                insert(tx, "a", 1).await?;
                tokio::task::yield_now().await;
                Ok(())
            })
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::ForeignAwait)), "{outcome:?}");
    assert_eq!(ids(&store).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_value_that_does_not_fit_its_parameter_keeps_the_whole_from_being_sent() {
    let Some(store) = crate::on_postgres().await else { return };
    let outcome = store
        .write(|tx| {
            Box::pin(async move {
                insert(tx, "a", 1).await?;
                tx.run(sql!("UPDATE items SET flag = $1 WHERE id = $2"), p!["no boolean", "a"]).await
            })
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Statement { .. })), "{outcome:?}");
    assert_eq!(ids(&store).await, Vec::<String>::new());
}
