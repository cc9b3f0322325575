//! How the writer of the embedded store groups what waits.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use store::{Settings, Store, StoreError, Target, p, sql};
use tokio::task::JoinHandle;

/// Keeps the writer busy with one transaction until it is told to go on.
struct Held {
    go: Sender<()>,
    holder: JoinHandle<Result<(), StoreError>>,
}

async fn hold(store: &Store) -> Held {
    let (go, gate) = channel::<()>();
    let (started, start) = tokio::sync::oneshot::channel::<()>();
    let signals = Mutex::new(Some((started, gate)));
    let store = store.clone();
    let holder = tokio::spawn(async move {
        store
            .write(move |_| {
                let (started, gate) = signals.lock().unwrap().take().unwrap();
                started.send(()).unwrap();
                gate.recv().unwrap();
                Box::pin(async { Ok(()) })
            })
            .await
    });
    start.await.unwrap();
    Held { go, holder }
}

impl Held {
    async fn release(self) {
        self.go.send(()).unwrap();
        self.holder.await.unwrap().unwrap();
    }
}

async fn open(settings: Settings) -> Store {
    Store::open_with(&Target::Memory, settings, crate::NOON, crate::SCHEMA).await.unwrap()
}

fn insert(store: &Store, n: i64) -> JoinHandle<Result<(), StoreError>> {
    let store = store.clone();
    tokio::spawn(async move {
        let write = store.write(move |tx| {
            Box::pin(async move {
                let insert = sql!("INSERT INTO items (id, owner, n, flag) VALUES ($1, 'o', $2, TRUE)");
                tx.run(insert, p![format!("i{n}"), n]).await
            })
        });
        write.await
    })
}

async fn until_waiting(store: &Store, high: usize, bulk: usize) {
    while (store.load().waiting_high, store.load().waiting_bulk) != (high, bulk) {
        tokio::task::yield_now().await;
    }
}

async fn count(store: &Store) -> i64 {
    let count = store.read(|tx| {
        Box::pin(async move { tx.one_as::<(i64,)>(sql!("SELECT COUNT(*) FROM items"), p![]).await })
    });
    count.await.unwrap().unwrap().0
}

#[tokio::test]
async fn what_waits_shares_one_commit() {
    let store = open(Settings::default()).await;
    let before = store.load();
    let held = hold(&store).await;
    let writes: Vec<_> = (0..100).map(|n| insert(&store, n)).collect();
    until_waiting(&store, 100, 0).await;
    held.release().await;
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let after = store.load();
    assert_eq!((after.batches - before.batches, after.jobs - before.jobs), (2, 101));
    assert_eq!(after.largest_batch, 100);
    assert_eq!(count(&store).await, 100);
    store.close().await;
}

#[tokio::test]
async fn one_that_fails_undoes_only_itself() {
    let store = open(Settings::default()).await;
    let held = hold(&store).await;
    // The third has the number of the first.
    let writes: Vec<_> = [1, 2, 1, 3].into_iter().map(|n| insert(&store, n)).collect();
    until_waiting(&store, 4, 0).await;
    held.release().await;
    let mut fine = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(()) => fine += 1,
            Err(error) => assert!(matches!(error, StoreError::Constraint { .. }), "{error:?}"),
        }
    }
    assert_eq!((fine, count(&store).await), (3, 3));
    store.close().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let store = open(Settings { queue: 4, ..Settings::default() }).await;
    let held = hold(&store).await;
    let writes: Vec<_> = (0..4).map(|n| insert(&store, n)).collect();
    until_waiting(&store, 4, 0).await;
    let refused = insert(&store, 9).await.unwrap();
    assert!(
        matches!(refused, Err(StoreError::Busy { retry_after }) if retry_after.as_secs() >= 1),
        "{refused:?}"
    );
    held.release().await;
    for write in writes {
        write.await.unwrap().unwrap();
    }
    insert(&store, 9).await.unwrap().unwrap();
    assert_eq!(count(&store).await, 5);
    store.close().await;
}

/// Queues writes that note the order in which they run.
fn noting(store: &Store, bulk: bool, name: String, order: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let (store, order) = (store.clone(), order.clone());
    tokio::spawn(async move {
        let note = move || order.lock().unwrap().push(name.clone());
        let done = if bulk {
            let write = store.write_bulk(move |_| {
                note();
                Box::pin(async { Ok(()) })
            });
            write.await
        } else {
            let write = store.write(move |_| {
                note();
                Box::pin(async { Ok(()) })
            });
            write.await
        };
        done.unwrap();
    })
}

#[tokio::test]
async fn bulk_writes_come_after_the_others_and_are_not_starved_by_them() {
    let store = open(Settings { batch: 2, ..Settings::default() }).await;
    let order = Arc::default();
    let held = hold(&store).await;
    let mut writes = Vec::new();
    for number in 0..3 {
        writes.push(noting(&store, true, format!("b{number}"), &order));
        until_waiting(&store, 0, number + 1).await;
    }
    for number in 0..6 {
        writes.push(noting(&store, false, format!("h{number}"), &order));
        until_waiting(&store, number + 1, 3).await;
    }
    held.release().await;
    for write in writes {
        write.await.unwrap();
    }
    // The first group already held its one job when these came, and took one bulk job along.
    assert_eq!(*order.lock().unwrap(), ["b0", "h0", "h1", "b1", "h2", "h3", "b2", "h4", "h5"]);
    store.close().await;
}

#[tokio::test]
async fn a_group_of_bulk_writes_ends_when_another_write_comes() {
    let store = open(Settings::default()).await;
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let held = hold(&store).await;
    let (go, gate) = channel::<()>();
    let (started, start) = tokio::sync::oneshot::channel::<()>();
    let signals = Mutex::new(Some((started, gate)));
    let slow = tokio::spawn({
        let store = store.clone();
        async move {
            let write = store.write_bulk(move |_| {
                let (started, gate) = signals.lock().unwrap().take().unwrap();
                started.send(()).unwrap();
                gate.recv().unwrap();
                Box::pin(async { Ok(()) })
            });
            write.await.unwrap();
        }
    });
    until_waiting(&store, 0, 1).await;
    let mut writes: Vec<_> = Vec::new();
    for number in 0..3 {
        writes.push(noting(&store, true, format!("b{number}"), &order));
        until_waiting(&store, 0, number + 2).await;
    }
    // The slow one joins the group of the holder, which is answered only behind it.
    held.go.send(()).unwrap();
    start.await.unwrap();
    writes.push(noting(&store, false, "h".into(), &order));
    until_waiting(&store, 1, 3).await;
    go.send(()).unwrap();
    slow.await.unwrap();
    held.holder.await.unwrap().unwrap();
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(order.lock().unwrap()[0], "h");
    store.close().await;
}

#[tokio::test]
async fn closing_works_off_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(folder.path().join("store.sqlite"));
    let store = crate::open(&target).await;
    let held = hold(&store).await;
    let writes: Vec<_> = (0..50).map(|n| insert(&store, n)).collect();
    until_waiting(&store, 50, 0).await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    while !matches!(insert(&store, 99).await.unwrap(), Err(StoreError::Closed)) {}
    held.release().await;
    closing.await.unwrap();
    let mut fine = 0;
    for write in writes {
        write.await.unwrap().unwrap();
        fine += 1;
    }
    assert_eq!(fine, 50);
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["store.sqlite"], "closing writes the log back");
    let again = crate::open(&target).await;
    assert!(count(&again).await >= 50);
    again.close().await;
}

#[tokio::test]
async fn the_log_is_written_back_while_writes_go_on() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let file = folder.path().join("store.sqlite");
    let store = crate::open(&Target::Sqlite(file.clone())).await;
    let log = folder.path().join("store.sqlite-wal");
    let mut longest = 0;
    for round in 0..60 {
        let write = store.write(move |tx| {
            Box::pin(async move {
                let insert =
                    sql!("INSERT INTO items (id, owner, n, flag, note) VALUES ($1, 'o', $2, TRUE, $3)");
                tx.run(insert, p![format!("i{round}"), round, "x".repeat(1 << 20)]).await
            })
        });
        write.await.unwrap();
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }
    assert!(longest < 24 << 20, "60 MiB were written, and the log grew to {longest} bytes");
    store.close().await;
}

#[tokio::test]
async fn the_log_begins_anew_after_it_was_written_back() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let file = folder.path().join("store.sqlite");
    let store = crate::open(&Target::Sqlite(file.clone())).await;
    let write = store.write(|tx| {
        Box::pin(async move {
            let insert =
                sql!("INSERT INTO items (id, owner, n, flag, note) VALUES ('big', 'o', 0, TRUE, $1)");
            tx.run(insert, p!["x".repeat(20 << 20)]).await
        })
    });
    write.await.unwrap();
    insert(&store, 1).await.unwrap().unwrap();
    let written_back = || std::fs::metadata(&file).unwrap().modified().unwrap();
    let before = written_back();
    for n in 2..50 {
        insert(&store, n).await.unwrap().unwrap();
    }
    assert_eq!(written_back(), before, "small writes behind a long log do not write it back again and again");
    store.close().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_stores_of_processes_that_were_killed_are_removed() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let gone = child.id();
    child.wait().unwrap();
    let left = std::path::PathBuf::from(format!("/dev/shm/bugle-store-{gone}-0"));
    std::fs::create_dir(&left).unwrap();
    let store = crate::memory().await;
    assert!(!left.exists());
    store.close().await;
}
