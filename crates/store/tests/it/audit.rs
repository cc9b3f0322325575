//! The audit chain: what was changed, removed or reordered is named.

use std::time::{Duration, Instant};

use store::audit::{self, AuditHead, AuditRecord, AuditReport, Break, BrokenLink, Span};
use store::audit_file::{self, End, FileReport, LastLine, Line, StoppedLine};
use store::{Sql, Store, StoreError, p, sql};

use crate::{both_engines, cost_the_same, median, postgres};

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

async fn span(store: &Store, since: Option<i64>, until: Option<i64>) -> Result<Span, BrokenLink> {
    store.read(move |tx| Box::pin(async move { audit::span(tx, since, until).await })).await.unwrap()
}

/// Where the head and the last record part.
async fn ending(store: &Store) -> Option<(i64, Break)> {
    let ending = store.read(|tx| Box::pin(async move { audit::ending(tx).await })).await.unwrap();
    ending.err().map(|link| (link.seq, link.why))
}

/// The numbers of the records that can be read from the first on, and whether something follows that cannot.
async fn readable(store: &Store) -> (Vec<i64>, bool) {
    let read = store.read(|tx| Box::pin(async move { audit::readable(tx, 0, 100).await })).await.unwrap();
    (read.records.iter().map(|record| record.seq).collect(), read.is_cut)
}

/// A part of the chain as lines of a file.
async fn lines(store: &Store, since: Option<i64>, until: Option<i64>) -> Vec<String> {
    let span = span(store, since, until).await.unwrap();
    let (behind, most) = (span.behind, span.last - span.behind);
    let records = store.read(move |tx| Box::pin(audit::page(tx, behind, most))).await.unwrap();
    let (mut previous, mut seq) = (span.previous, span.behind);
    let mut lines = Vec::new();
    for record in records {
        seq = record.seq;
        let hash = record.hash.clone();
        lines.push(serde_json::to_string(&Line::of(record, previous)).unwrap());
        previous = hash;
    }
    let end = End { records: lines.len() as i64, seq, hash: previous };
    lines.push(serde_json::to_string(&LastLine { end }).unwrap());
    lines
}

fn check(lines: &[String], kept: Option<&AuditHead>) -> FileReport {
    audit_file::check(lines.join("\n").as_bytes(), kept).unwrap()
}

/// Where a file breaks, and why.
fn place(lines: &[String]) -> Option<(i64, Break)> {
    let report = check(lines, None);
    assert_eq!(report.ok, report.first_broken.is_none());
    report.first_broken.map(|link| (link.seq, link.why))
}

both_engines! {
    async fn a_file_of_the_chain_is_checked_without_the_store(store: Store) {
        assert_eq!(place(&lines(&store, None, None).await), None, "an empty chain is whole");
        append(&store, 1..=9).await;
        let kept = head(&store).await;
        let whole = lines(&store, None, None).await;
        let report = check(&whole, Some(&kept));
        assert!(report.ok && report.covers_head);
        assert_eq!((report.checked, report.span), (9, Some((1, 9))));
        let forged = AuditHead { hash: "0".repeat(64), ..kept.clone() };
        assert_eq!(check(&whole, Some(&forged)).first_broken, Some(BrokenLink { seq: 9, why: Break::NotAsExported }));

        // A part of it, by time: its first record is not the first of all.
        let part = lines(&store, Some(crate::NOON + 3), Some(crate::NOON + 6)).await;
        let report = check(&part, Some(&kept));
        assert_eq!((report.ok, report.checked, report.span), (true, 4, Some((3, 6))));
        assert!(!report.covers_head, "the head lies behind it");
        assert_eq!(check(&lines(&store, Some(crate::NOON + 100), None).await, None).checked, 0);
        assert_eq!(check(&lines(&store, None, Some(crate::NOON - 100)).await, None).checked, 0);
    }

    async fn what_was_done_to_a_file_is_named_by_its_number(store: Store) {
        append(&store, 1..=5).await;
        let whole = lines(&store, None, None).await;
        let edited = |edit: &dyn Fn(&mut Vec<String>)| {
            let mut lines = whole.clone();
            edit(&mut lines);
            place(&lines)
        };
        for (from, to) in [
            ("user:1", "user:2"),
            ("gate.approved", "gate.rejected"),
            ("gate:3", "gate:4"),
            (r#"\"n\":3"#, r#"\"n\":4"#),
            (r#""companyId":null"#, r#""companyId":"acme""#),
            (r#""at":""#, r#""at":"9"#),
        ] {
            let changed = edited(&|lines| {
                assert!(lines[2].contains(from), "{from} in {}", lines[2]);
                lines[2] = lines[2].replace(from, to);
            });
            assert_eq!(changed, Some((3, Break::Changed)), "{from}");
        }
        assert_eq!(edited(&|lines| drop(lines.remove(2))), Some((3, Break::Missing)));
        assert_eq!(edited(&|lines| drop(lines.remove(0))), Some((1, Break::Missing)), "the beginning");
        assert_eq!(edited(&|lines| lines.swap(2, 3)), Some((3, Break::Missing)));
        assert_eq!(edited(&|lines| drop(lines.remove(4))), Some((5, Break::Truncated)), "the last record");
        assert_eq!(edited(&|lines| lines.truncate(3)), Some((4, Break::Truncated)), "the end");
        assert_eq!(edited(&|lines| lines.swap(4, 5)), Some((5, Break::Truncated)));
        assert_eq!(edited(&|lines| lines[1].truncate(40)), Some((2, Break::Unreadable)));
        let twice = edited(&|lines| lines.insert(2, lines[1].clone()));
        assert_eq!(twice, Some((3, Break::Missing)));
        let more = edited(&|lines| {
            let again = lines[4].clone();
            lines.push(again);
        });
        assert_eq!(more, Some((6, Break::BeyondHead)));
        // Who makes all of it anew is found by the head that was kept elsewhere.
        let kept = head(&store).await;
        tamper(&store, &[sql!("DELETE FROM audit"), sql!("UPDATE audit_head SET seq = 0, hash = \
            '0000000000000000000000000000000000000000000000000000000000000000'")]).await;
        append(&store, 11..=15).await;
        let forged = lines(&store, None, None).await;
        assert_eq!(place(&forged), None);
        assert_eq!(check(&forged, Some(&kept)).first_broken, Some(BrokenLink { seq: 5, why: Break::NotAsExported }));
    }

    async fn a_file_that_was_not_written_to_its_end_says_so(store: Store) {
        append(&store, 1..=5).await;
        let whole = lines(&store, None, None).await;
        let stopped = |seq| {
            serde_json::to_string(&StoppedLine::from(BrokenLink { seq, why: Break::Unreadable })).unwrap()
        };
        let cut: Vec<String> = whole[..2].iter().cloned().chain([stopped(3)]).collect();
        assert_eq!((check(&cut, None).checked, place(&cut)), (2, Some((3, Break::Unreadable))));
        assert_eq!(place(&[stopped(7)]), Some((7, Break::Unreadable)), "a part that begins there");
    }

    async fn a_row_before_the_first_record_is_named_and_is_in_no_file(store: Store) {
        append(&store, 1..=3).await;
        for (add, number) in [
            (sql!("INSERT INTO audit (seq, at, actor, action, subject, details, hash) VALUES (0, 1, 'x', 'x', 'x', 'x', 'x')"), 0),
            (sql!("INSERT INTO audit (seq, at, actor, action, subject, details, hash) VALUES (-5, 1, 'x', 'x', 'x', 'x', 'x')"), -5),
        ] {
            tamper(&store, &[add]).await;
            assert_eq!(verify(&store, None).await, broken(0, number, Break::BeforeFirst));
            for since in [None, Some(0)] {
                let report = check(&lines(&store, since, None).await, None);
                assert_eq!((report.first_broken, report.span), (None, Some((1, 3))), "{since:?}");
            }
            tamper(&store, &[sql!("DELETE FROM audit WHERE seq < 1")]).await;
            assert!(verify(&store, None).await.ok);
        }
    }

    async fn without_its_head_the_chain_takes_nothing_and_has_no_end(store: Store) {
        append(&store, 1..=5).await;
        let kept = head(&store).await;
        tamper(&store, &[sql!("DELETE FROM audit_head")]).await;
        assert_eq!(verify(&store, None).await, broken(5, 6, Break::NoHead));
        assert_eq!(verify(&store, Some(AuditHead { seq: 7, ..kept })).await, broken(5, 6, Break::Truncated));
        assert_eq!(ending(&store).await, Some((6, Break::NoHead)));
        assert_eq!(span(&store, None, None).await, Err(BrokenLink { seq: 6, why: Break::NoHead }));
        let asked = store.read(|tx| Box::pin(audit::head(tx))).await;
        assert!(matches!(asked, Err(StoreError::NoAuditHead)), "{asked:?}");
        let decided =
            store.write(|tx| Box::pin(async move { audit::append(tx, record(6)).await })).await;
        assert!(matches!(decided, Err(StoreError::NoAuditHead)), "{decided:?}");
        assert!(decided.unwrap_err().to_string().contains("bugle audit verify"));
        assert_eq!(readable(&store).await, ((1..=5).collect::<Vec<i64>>(), false));
    }

    async fn a_head_that_does_not_fit_the_last_record_is_named_without_a_walk(store: Store) {
        assert_eq!(ending(&store).await, None, "an empty chain has its end");
        append(&store, 1..=5).await;
        assert_eq!(ending(&store).await, None);
        tamper(&store, &[sql!("UPDATE audit_head SET hash = 'x'")]).await;
        assert_eq!(ending(&store).await, Some((5, Break::Changed)));
        tamper(&store, &[sql!("UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)")]).await;
        assert_eq!(ending(&store).await, Some((4, Break::BeyondHead)));
        tamper(&store, &[sql!("DELETE FROM audit WHERE seq > 2")]).await;
        assert_eq!(ending(&store).await, Some((3, Break::Truncated)));
        assert_eq!(span(&store, None, None).await, Err(BrokenLink { seq: 3, why: Break::Truncated }));
    }

    async fn a_part_behind_a_removed_record_has_no_beginning(store: Store) {
        append(&store, 1..=5).await;
        tamper(&store, &[sql!("DELETE FROM audit WHERE seq = 2")]).await;
        let missing = Err(BrokenLink { seq: 2, why: Break::Missing });
        assert_eq!(span(&store, Some(crate::NOON + 3), None).await, missing);
    }

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

/// Columns of PostgreSQL hold what their type says; those of SQLite hold anything.
#[tokio::test]
async fn a_record_that_cannot_be_read_is_named_and_those_before_it_can_be_had() {
    for damage in [
        sql!("UPDATE audit SET details = X'7b7d' WHERE seq = 5 /*+only_sqlite*/"),
        sql!("UPDATE audit SET details = CAST(X'ff' AS TEXT) WHERE seq = 5 /*+only_sqlite*/"),
        sql!("UPDATE audit SET company_id = X'00' WHERE seq = 5 /*+only_sqlite*/"),
        sql!("UPDATE audit SET at = 'noon' WHERE seq = 5 /*+only_sqlite*/"),
        sql!("UPDATE audit SET seq = 4.5 WHERE seq = 5 /*+only_sqlite*/"),
    ] {
        let store = crate::memory().await;
        append(&store, 1..=9).await;
        tamper(&store, &[damage]).await;
        assert_eq!(verify(&store, None).await, broken(4, 5, Break::Unreadable), "{}", damage.source());
        assert_eq!(readable(&store).await, ((1..=4).collect::<Vec<i64>>(), true), "{}", damage.source());
        let whole = Span { behind: 0, previous: audit::GENESIS.to_owned(), last: 9 };
        assert_eq!(span(&store, None, None).await, Ok(whole), "{}", damage.source());
        store.close().await;
    }
}

#[tokio::test]
async fn ends_and_beginnings_that_cannot_be_read_are_named() {
    let store = crate::memory().await;
    append(&store, 1..=9).await;
    tamper(&store, &[sql!("UPDATE audit SET hash = X'00' WHERE seq = 9 /*+only_sqlite*/")]).await;
    assert_eq!(verify(&store, None).await, broken(8, 9, Break::Unreadable));
    assert_eq!(ending(&store).await, Some((9, Break::Unreadable)));
    assert!(span(&store, None, None).await.is_ok(), "what is before it can be had");
    tamper(&store, &[sql!("UPDATE audit_head SET hash = X'00' /*+only_sqlite*/")]).await;
    assert_eq!(
        ending(&store).await,
        Some((1, Break::NoHead)),
        "neither the head nor the last record can be read"
    );
    let decided = store.write(|tx| Box::pin(async move { audit::append(tx, record(10)).await })).await;
    assert!(matches!(decided, Err(StoreError::NoAuditHead)), "{decided:?}");
    store.close().await;

    let store = crate::memory().await;
    append(&store, 1..=3).await;
    let nameless = sql!(
        "INSERT INTO audit (seq, at, actor, action, subject, details, hash) \
         VALUES (NULL, 1, 'x', 'x', 'x', 'x', 'x') /*+only_sqlite*/"
    );
    tamper(&store, &[nameless]).await;
    assert_eq!(verify(&store, None).await, broken(0, 0, Break::BeforeFirst));
    store.close().await;
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

/// How long a record takes to be appended, at the median of many that are appended to both in turn.
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
    cost_the_same(async || appending(&short, &long).await).await;
    let verified = verify(&long, None).await;
    assert!(verified.ok && verified.checked >= 10_200, "{verified:?}");
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
