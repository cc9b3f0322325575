//! Logical transactions a second, for 1, 16 and 256 callers: `throughput FILE` or `throughput postgres://...`.
//!
//! Each caller claims a queued row: one read and four writes, durable at the answer. Beside the store as it is, the same
//! with one commit for each transaction (SQLite), or with one message for each statement (PostgreSQL).

use std::time::{Duration, Instant};

use store::{GROUND, Migration, Settings, Store, StoreError, Target, Tx, events, p, sql};

const SCHEMA: &[Migration] = &[
    GROUND,
    Migration {
        version: 2,
        name: "claims",
        text: "CREATE TABLE queued (id {id} PRIMARY KEY, lane BIGINT NOT NULL, at BIGINT NOT NULL);
               CREATE INDEX queued_next ON queued (lane, at);
               CREATE TABLE running (id {id} PRIMARY KEY, lane BIGINT NOT NULL, epoch BIGINT NOT NULL);
               CREATE INDEX running_lane ON running (lane);
               CREATE TABLE lanes (lane BIGINT PRIMARY KEY, claimed BIGINT NOT NULL);",
    },
];

const FOR: Duration = Duration::from_secs(3);

#[tokio::main(worker_threads = 2)]
async fn main() {
    let place = std::env::args().nth(1).expect("give a file or a connection string");
    let (target, plain) = if place.starts_with("postgres") {
        (Target::Postgres(place), Settings { pg_pipelining: false, ..Settings::default() })
    } else {
        (Target::Sqlite(place.into()), Settings { batch: 1, ..Settings::default() })
    };
    for (name, settings) in [("as it is", Settings::default()), ("plain", plain)] {
        let store = Store::open_with(&target, settings, 0, SCHEMA).await.expect("the store opens");
        for callers in [1, 16, 256] {
            measure(&store, name, callers).await;
        }
        store.close().await;
    }
}

async fn measure(store: &Store, name: &str, callers: i64) {
    fill(store, callers).await;
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..callers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while started.elapsed() < FOR {
                let begun = Instant::now();
                store.write(move |tx| Box::pin(claim(tx, lane))).await.expect("a claim works");
                taken.push(begun.elapsed());
            }
            taken
        });
    }
    let mut taken: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let seconds = started.elapsed().as_secs_f64();
    taken.sort_unstable();
    let at = |part: usize| taken[(taken.len() * part / 1000).min(taken.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "{name:9} {callers:4} callers: {:7.0} /s, p50 {:6.2} ms, p99 {:6.2} ms, worst {:6.2} ms",
        taken.len() as f64 / seconds,
        at(500),
        at(990),
        at(1000)
    );
}

async fn fill(store: &Store, callers: i64) {
    let fill = store.write(move |tx| {
        Box::pin(async move {
            for table in [sql!("DELETE FROM queued"), sql!("DELETE FROM running"), sql!("DELETE FROM lanes")]
            {
                tx.run(table, p![]).await?;
            }
            for lane in 0..callers {
                tx.run(sql!("INSERT INTO lanes (lane, claimed) VALUES ($1, 0)"), p![lane]).await?;
                for at in 0..20 {
                    let insert = sql!("INSERT INTO queued (id, lane, at) VALUES ($1, $2, $3)");
                    tx.run(insert, p![format!("{lane:08}-{at:08}-fill"), lane, at]).await?;
                }
            }
            Ok(())
        })
    });
    fill.await.expect("the tables are filled");
}

/// One read, four writes. What is claimed goes to the end of the lane again, so the tables keep their size.
async fn claim(tx: &mut Tx<'_>, lane: i64) -> Result<(), StoreError> {
    let next = sql!("SELECT id, at FROM queued WHERE lane = $1 ORDER BY at LIMIT 1 /*+skip_locked*/");
    let Some((id, at)) = tx.one_as::<(String, i64)>(next, p![lane]).await? else { return Ok(()) };
    tx.run(sql!("UPDATE queued SET at = $1 WHERE id = $2"), p![at + 20, &id]).await?;
    let start = sql!(
        "INSERT INTO running (id, lane, epoch) VALUES ($1, $2, 1) \
         ON CONFLICT (id) DO UPDATE SET epoch = running.epoch + 1"
    );
    tx.run(start, p![&id, lane]).await?;
    tx.run(sql!("UPDATE lanes SET claimed = claimed + 1 WHERE lane = $1"), p![lane]).await?;
    events::append(
        tx,
        "bench",
        "claimed",
        r#"{"run":"01234567-89ab-4cde-8f01-23456789abcd","status":"running"}"#,
        at,
    )
    .await
}
