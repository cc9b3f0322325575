//! The audit chain: what was changed, removed or reordered is named.

use std::time::{Duration, Instant};

use store::audit::{self, AuditHead, AuditRecord, AuditReport, Break, BrokenLink};
use store::{Sql, Store, StoreError, p, sql};

use crate::{both_engines, median, postgres};

fn record(number: i64) -> AuditRecord {
    AuditRecord {
        company_id: (number % 2 == 0).then(|| "acme".to_owned()),
        actor: "user:1".into(),
        action: "gate.approved".into(),
        subject: format!("gate:{number}"),
        details_json: format!(r#"{{"n":{number}}}"#),
        at: crate::NOON + number,
    }
}

async fn append(store: &Store, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        store
            .write(move |tx| Box::pin(async move { audit::append(tx, record(number)).await }))
            .await
            .unwrap();
    }
}

async fn verify(store: &Store, exported: Option<AuditHead>) -> AuditReport {
    let verify = store.read(move |tx| {
        let exported = exported.clone();
        Box::pin(async move { audit::verify(tx, exported.as_ref()).await })
    });
    verify.await.unwrap()
}

async fn head(store: &Store) -> AuditHead {
    store.read(|tx| Box::pin(audit::head(tx))).await.unwrap()
}

async fn tamper(store: &Store, statements: &[Sql]) {
    for &sql in statements {
        let changed = store.write(move |tx| Box::pin(async move { tx.exec(sql, p![]).await })).await.unwrap();
        assert!(changed > 0, "`{}` changed nothing", sql.source());
    }
}

fn broken(checked: i64, seq: i64, why: Break) -> AuditReport {
    AuditReport { ok: false, checked, first_broken: Some(BrokenLink { seq, why }) }
}

both_engines! {
    async fn an_untouched_chain_holds(store: Store) {
        assert_eq!(verify(&store, None).await, AuditReport { ok: true, checked: 0, first_broken: None });
        let start = head(&store).await;
        append(&store, 1..=5).await;
        let exported = head(&store).await;
        append(&store, 6..=9).await;
        let whole = AuditReport { ok: true, checked: 9, first_broken: None };
        for known in [None, Some(start), Some(exported), Some(head(&store).await)] {
            assert_eq!(verify(&store, known).await, whole);
        }
        let first = store.read(|tx| Box::pin(audit::page(tx, 0, 1))).await.unwrap().remove(0);
        assert_eq!(
            (first.seq, first.company_id, first.subject, first.at),
            (1, None, "gate:1".to_owned(), crate::NOON + 1)
        );
    }

    async fn a_long_chain_is_read_in_pages(store: Store) {
        let write = store.write(|tx| Box::pin(async move {
            for number in 1..=2100 {
                audit::append(tx, record(number)).await?;
            }
            Ok(())
        }));
        write.await.unwrap();
        assert_eq!(verify(&store, None).await, AuditReport { ok: true, checked: 2100, first_broken: None });
    }

    async fn a_changed_field_is_named(store: Store) {
        append(&store, 1..=5).await;
        for (change, back) in [
            (sql!("UPDATE audit SET actor = 'user:2' WHERE seq = 3"), sql!("UPDATE audit SET actor = 'user:1' WHERE seq = 3")),
            (sql!("UPDATE audit SET at = at + 1 WHERE seq = 3"), sql!("UPDATE audit SET at = at - 1 WHERE seq = 3")),
            (sql!("UPDATE audit SET company_id = '' WHERE seq = 3"), sql!("UPDATE audit SET company_id = NULL WHERE seq = 3")),
            (
                sql!("UPDATE audit SET action = 'gate.approvedg', subject = 'ate:3' WHERE seq = 3"),
                sql!("UPDATE audit SET action = 'gate.approved', subject = 'gate:3' WHERE seq = 3"),
            ),
        ] {
            tamper(&store, &[change]).await;
            assert_eq!(verify(&store, None).await, broken(2, 3, Break::Changed), "{}", change.source());
            tamper(&store, &[back]).await;
            assert!(verify(&store, None).await.ok);
        }
    }

    async fn a_removed_record_is_named(store: Store) {
        append(&store, 1..=5).await;
        tamper(&store, &[sql!("DELETE FROM audit WHERE seq = 2")]).await;
        assert_eq!(verify(&store, None).await, broken(1, 2, Break::Missing));
        // Closing the gap makes its successor wrong instead.
        tamper(&store, &[
            sql!("UPDATE audit SET seq = 2 WHERE seq = 3"),
            sql!("UPDATE audit SET seq = 3 WHERE seq = 4"),
        ]).await;
        assert_eq!(verify(&store, None).await, broken(1, 2, Break::Changed));
    }

    async fn reordered_records_are_named(store: Store) {
        append(&store, 1..=5).await;
        tamper(&store, &[
            sql!("UPDATE audit SET seq = 99 WHERE seq = 3"),
            sql!("UPDATE audit SET seq = 3 WHERE seq = 4"),
            sql!("UPDATE audit SET seq = 4 WHERE seq = 99"),
        ]).await;
        assert_eq!(verify(&store, None).await, broken(2, 3, Break::Changed));
    }

    async fn a_chain_that_was_cut_off_is_named(store: Store) {
        append(&store, 1..=5).await;
        let exported = head(&store).await;
        tamper(&store, &[sql!("DELETE FROM audit WHERE seq > 3")]).await;
        assert_eq!(verify(&store, None).await, broken(3, 4, Break::Truncated));
        // Somebody who moves the stored head as well is found by the exported one only.
        tamper(&store, &[sql!(
            "UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)"
        )]).await;
        assert!(verify(&store, None).await.ok);
        assert_eq!(verify(&store, Some(exported.clone())).await, broken(3, 4, Break::Truncated));
        // So is a chain that was made anew behind the cut.
        append(&store, 14..=16).await;
        assert!(verify(&store, None).await.ok);
        assert_eq!(verify(&store, Some(exported)).await, broken(4, 5, Break::NotAsExported));
    }

    async fn a_record_of_an_undone_transaction_leaves_no_gap(store: Store) {
        append(&store, 1..=1).await;
        let undone = store.write::<(), _>(|tx| Box::pin(async move {
            audit::append(tx, record(2)).await?;
            Err(StoreError::Closed)
        }));
        undone.await.unwrap_err();
        append(&store, 3..=3).await;
        assert_eq!(verify(&store, None).await, AuditReport { ok: true, checked: 2, first_broken: None });
    }

    async fn many_writers_make_one_chain(store: Store) {
        let writers: Vec<_> = (0..8).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move { append(&store, writer * 10..=writer * 10 + 9).await })
        }).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(verify(&store, None).await, AuditReport { ok: true, checked: 80, first_broken: None });
    }
}

/// A chain of this length.
async fn chain(store: &Store, length: i64) {
    for page in 0..length / 100 {
        let write = store.write(move |tx| {
            Box::pin(async move {
                for number in page * 100..page * 100 + 100 {
                    audit::append(tx, record(number)).await?;
                }
                Ok(())
            })
        });
        write.await.unwrap();
    }
    assert_eq!(head(store).await.seq, length);
}

/// How long a record takes to be appended, at the median of many that were appended to both in turn.
async fn appending(short: &Store, long: &Store) -> [Duration; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for number in 0..200 {
        for (store, took) in [short, long].into_iter().zip(&mut took) {
            let before = Instant::now();
            append(store, number..=number).await;
            took.push(before.elapsed());
        }
    }
    took.map(median)
}

async fn a_record_costs_the_same(short: Store, long: Store) {
    chain(&short, 100).await;
    chain(&long, 10_000).await;
    let [behind_few, behind_many] = appending(&short, &long).await;
    assert!(
        behind_many < behind_few.mul_f64(1.5),
        "{behind_few:?} behind 100 records, {behind_many:?} behind 10,000"
    );
    assert_eq!(verify(&long, None).await, AuditReport { ok: true, checked: 10_200, first_broken: None });
    short.close().await;
    long.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_costs_the_same_behind_a_hundred_and_behind_ten_thousand() {
    a_record_costs_the_same(crate::memory().await, crate::memory().await).await;
    let (Some(short), Some(long)) = (postgres::database(), postgres::database()) else { return };
    let open = |url: &str| store::Target::Postgres(url.to_owned());
    let (short_store, long_store) =
        (crate::open(&open(&short.url)).await, crate::open(&open(&long.url)).await);
    a_record_costs_the_same(short_store, long_store).await;
}
