//! The event log: nothing appears below a cursor that was given out.

use std::sync::Mutex;

use store::events::{self, StoredEvent};
use store::{Store, StoreError, Target, p, sql};

use crate::both_engines;

async fn append(store: &Store, company: &'static str, kind: &'static str) {
    let write = store.write(move |tx| {
        Box::pin(async move { events::append(tx, company, kind, r#"{"a":1}"#, crate::NOON).await })
    });
    write.await.unwrap();
}

async fn after(store: &Store, company: Option<&'static str>, cursor: i64, limit: i64) -> Vec<StoredEvent> {
    store.read(move |tx| Box::pin(events::after(tx, company, cursor, limit))).await.unwrap()
}

/// [`after`], as soon as that many are there. Tests share one server, and a transaction of any of its databases holds
/// back the readers of all: what was committed is not always seen at once.
async fn soon(store: &Store, company: Option<&'static str>, cursor: i64, count: usize) -> Vec<StoredEvent> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let found = after(store, company, cursor, 5000).await;
        if found.len() >= count {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "{} of {count} events", found.len());
        tokio::task::yield_now().await;
    }
}

async fn head(store: &Store) -> i64 {
    store.read(|tx| Box::pin(events::head(tx))).await.unwrap()
}

fn kinds(events: &[StoredEvent]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

both_engines! {
    async fn events_come_in_the_order_of_commits_and_by_cursor(store: Store) {
        assert_eq!(head(&store).await, 0);
        append(&store, "acme", "one").await;
        append(&store, "other", "two").await;
        let write = store.write(|tx| Box::pin(async move {
            for kind in ["three", "four", "five"] {
                events::append(tx, "acme", kind, "{}", crate::NOON).await?;
            }
            Ok(())
        }));
        write.await.unwrap();
        let all = soon(&store, None, 0, 5).await;
        assert_eq!(kinds(&all), ["one", "two", "three", "four", "five"]);
        assert_eq!(all[0], StoredEvent {
            id: all[0].id, company_id: "acme".into(), kind: "one".into(), payload: r#"{"a":1}"#.into(),
            created_at: crate::NOON,
        });
        assert_eq!(head(&store).await, all[4].id);
        assert_eq!(kinds(&after(&store, Some("acme"), all[0].id, 2).await), ["three", "four"]);
        assert_eq!(kinds(&after(&store, None, all[2].id, 100).await), ["four", "five"]);
        assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    async fn an_event_of_an_undone_transaction_is_not_seen(store: Store) {
        let write = store.write::<(), _>(|tx| Box::pin(async move {
            events::append(tx, "acme", "undone", "{}", crate::NOON).await?;
            Err(StoreError::Closed)
        }));
        write.await.unwrap_err();
        append(&store, "acme", "done").await;
        assert_eq!(kinds(&soon(&store, None, 0, 1).await), ["done"]);
    }

    async fn one_transaction_has_room_for_4096_events(store: Store) {
        let fill = |count: i64| store.write(move |tx| Box::pin(async move {
            for _ in 0..count {
                events::append(tx, "acme", "e", "{}", crate::NOON).await?;
            }
            Ok(())
        }));
        assert!(matches!(fill(events::MOST_PER_TRANSACTION + 1).await, Err(StoreError::TooManyEvents)));
        fill(events::MOST_PER_TRANSACTION).await.unwrap();
        append(&store, "acme", "next").await;
        let all = soon(&store, None, 0, 4097).await;
        assert_eq!(all.len(), 4097);
        assert_eq!(all[4096].kind, "next");
    }

    async fn a_follower_misses_nothing_while_many_write(store: Store) {
        const WRITERS: usize = 8;
        const EACH: usize = 40;
        let writers: Vec<_> = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let write = store.write(move |tx| Box::pin(async move {
                        events::append(tx, "acme", "first", &format!("{writer}/{number}"), crate::NOON).await?;
                        if tx.is_postgres() && number % 3 == writer % 3 {
                            // Makes the transaction last, so that others with higher numbers commit before it.
                            tx.rows(sql!("SELECT CAST(pg_sleep(0.003) AS text) /*+only_postgres*/"), p![]).await?;
                        }
                        events::append(tx, "acme", "second", &format!("{writer}/{number}"), crate::NOON).await
                    }));
                    write.await.unwrap();
                }
            })
        }).collect();
        let mut seen: Vec<StoredEvent> = Vec::new();
        while seen.len() < WRITERS * EACH * 2 {
            let cursor = seen.last().map_or(0, |event| event.id);
            seen.extend(after(&store, Some("acme"), cursor, 7).await);
            tokio::task::yield_now().await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(seen, after(&store, None, 0, 100_000).await, "followed by cursor, and read at the end");
        for pair in seen.chunks(2) {
            assert_eq!((pair[0].kind.as_str(), pair[1].kind.as_str()), ("first", "second"));
            assert_eq!(pair[0].payload, pair[1].payload, "the events of one transaction stand together");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_above_a_transaction_that_is_still_open_is_read() {
    let Some(store) = crate::on_postgres().await else { return };
    let (started, start) = tokio::sync::oneshot::channel::<()>();
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let signals = Mutex::new(Some((started, gate)));
    let late = tokio::spawn({
        let store = store.clone();
        async move {
            let write = store.write(move |tx| {
                let (started, gate) = signals.lock().unwrap().take().unwrap();
                Box::pin(async move {
                    events::append(tx, "acme", "late", "{}", crate::NOON).await?;
                    // A read sends what was kept back: the transaction has its number now.
                    tx.rows(sql!("SELECT 1"), p![]).await?;
                    started.send(()).unwrap();
                    gate.await.unwrap();
                    Ok(())
                })
            });
            write.await.unwrap();
        }
    });
    start.await.unwrap();
    append(&store, "acme", "early").await;
    assert_eq!(after(&store, None, 0, 10).await, [], "a lower number may still commit");
    assert_eq!(head(&store).await, 0);
    go.send(()).unwrap();
    late.await.unwrap();
    assert_eq!(kinds(&soon(&store, None, 0, 2).await), ["late", "early"]);
    store.close().await;
}

#[tokio::test]
async fn ids_go_on_rising_in_a_server_whose_transaction_numbers_are_lower() {
    let Some(database) = crate::postgres::database() else { return };
    let target = Target::Postgres(database.url);
    let store = crate::open(&target).await;
    append(&store, "acme", "before").await;
    // As after a restore from a server that had seen a billion transactions more.
    let restore = store.write(|tx| {
        Box::pin(async move {
            let shift = sql!("UPDATE events SET id = id + $1");
            tx.exec(shift, p![4096_i64 * 1_000_000_000]).await
        })
    });
    restore.await.unwrap();
    store.close().await;
    for number in 0..2 {
        let store = crate::open(&target).await;
        append(&store, "acme", if number == 0 { "after" } else { "much later" }).await;
        store.close().await;
    }
    let store = crate::open(&target).await;
    let all = soon(&store, None, 0, 3).await;
    assert_eq!(kinds(&all), ["before", "after", "much later"]);
    assert!(all[2].id < 1 << 53, "clients read ids as floating point numbers");
    store.close().await;
}
