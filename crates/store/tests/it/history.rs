//! Random histories: the same operations on both engines must give the same answers and leave the same tables, and
//! concurrent ones must keep what holds at every moment.

use store::audit::{self, AuditRecord};
use store::events;
use store::{Store, StoreError, Tx, p, sql};

use crate::both_engines;

/// A small generator of pseudo-random numbers; the seed names the history.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides) as i64
    }
}

/// One logical operation; a transaction is a few of them.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Insert { id: i64, owner: i64, n: i64 },
    InsertOrIgnore { id: i64, owner: i64, n: i64 },
    Upsert { id: i64, balance: i64 },
    CompareAndSet { id: i64, from: i64, to: i64 },
    Claim { limit: i64 },
    Delete { owner: i64, below: i64 },
    Move { source: i64, target: i64, amount: i64 },
    Page { after: i64 },
    Totals,
    Event,
    Audit,
    Refuse,
    Panic,
}

fn operation(dice: &mut Dice) -> Operation {
    use Operation::*;
    let (id, owner, n) = (dice.roll(40), dice.roll(4), dice.roll(30));
    match dice.roll(100) {
        0..18 => Insert { id, owner, n: n - 1 },
        18..36 => InsertOrIgnore { id, owner, n },
        36..46 => Upsert { id: id % 10, balance: n },
        46..56 => CompareAndSet { id, from: n, to: dice.roll(30) },
        56..64 => Claim { limit: 1 + n % 3 },
        64..68 => Delete { owner, below: n / 3 },
        68..76 => Move { source: id % 12, target: n % 12, amount: owner },
        76..82 => Page { after: id },
        82..86 => Totals,
        86..92 => Event,
        92..96 => Audit,
        96..98 => Refuse,
        _ => Panic,
    }
}

async fn perform(tx: &mut Tx<'_>, operation: Operation) -> Result<String, StoreError> {
    use Operation::*;
    let item = |id: i64| format!("item-{id:02}");
    let owner_of = |owner: i64| ["Äther", "beta", "Zeta", "alpha"][owner as usize];
    Ok(match operation {
        Insert { id, owner, n } => {
            let insert = sql!("INSERT INTO items (id, owner, n, flag) VALUES ($1, $2, $3, TRUE)");
            tx.run(insert, p![item(id), owner_of(owner), n]).await?;
            String::new()
        }
        InsertOrIgnore { id, owner, n } => {
            let insert = sql!(
                "INSERT INTO items (id, owner, n, flag, score) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
            );
            let params = p![item(id), owner_of(owner), n, n % 2 == 0, (n > 9).then_some(0.5)];
            tx.exec(insert, params).await?.to_string()
        }
        Upsert { id, balance } => {
            let upsert = sql!(
                "INSERT INTO accounts (id, balance) VALUES ($1, $2) \
                 ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + excluded.balance RETURNING balance"
            );
            format!("{:?}", tx.one_as::<(i64,)>(upsert, p![item(id), balance]).await?)
        }
        CompareAndSet { id, from, to } => {
            let set = sql!("UPDATE items SET n = $1, note = $2 WHERE id = $3 AND n = $4");
            tx.exec(set, p![to, None, item(id), from]).await?.to_string()
        }
        Claim { limit } => {
            let select =
                sql!("SELECT id, n FROM items WHERE flag ORDER BY owner, n LIMIT $1 /*+skip_locked*/");
            let found = tx.rows_as::<(String, i64)>(select, p![limit]).await?;
            for (id, _) in &found {
                let claim = sql!("UPDATE items SET flag = FALSE, note = 'claimed' WHERE id = $1 AND flag");
                tx.run(claim, p![id]).await?;
            }
            format!("{found:?}")
        }
        Delete { owner, below } => {
            let delete = sql!("DELETE FROM items WHERE owner = $1 AND n < $2");
            tx.exec(delete, p![owner_of(owner), below]).await?.to_string()
        }
        Move { source, target, amount } => {
            // Accounts 10 and 11 are never made: the reference fails.
            let insert = sql!("INSERT INTO moves (source, target, amount) VALUES ($1, $2, $3)");
            tx.run(insert, p![item(source), item(target), amount]).await?;
            String::new()
        }
        Page { after } => {
            let page = sql!(
                "SELECT id, owner, n FROM items WHERE (owner, id) > ($1, $2) ORDER BY owner, id LIMIT 5"
            );
            format!("{:?}", tx.rows_as::<(String, String, i64)>(page, p!["Zeta", item(after)]).await?)
        }
        Totals => {
            let totals = sql!(
                "SELECT owner, COUNT(*), CAST(SUM(n) AS bigint), MAX(score) FROM items GROUP BY owner ORDER BY owner"
            );
            format!("{:?}", tx.rows_as::<(String, i64, Option<i64>, Option<f64>)>(totals, p![]).await?)
        }
        Event => {
            events::append(tx, "acme", "happened", "{}", crate::NOON).await?;
            String::new()
        }
        Audit => {
            let record = AuditRecord {
                company_id: None,
                actor: "dice".into(),
                action: "rolled".into(),
                subject: "history".into(),
                details_json: "{}".into(),
                at: crate::NOON,
            };
            audit::append(tx, record).await?;
            String::new()
        }
        Refuse => return Err(StoreError::TooManyEvents),
        Panic => panic!("as the dice fell"),
    })
}

/// What an engine may be compared by: not its words, but the kind of its error.
fn kind(error: &StoreError) -> String {
    match error {
        StoreError::Constraint { rule, .. } => format!("{rule} constraint"),
        other => other.to_string(),
    }
}

/// Everything in the tables, in an order that does not depend on the engine.
async fn tables(store: &Store) -> String {
    let read = store.read(|tx| {
        Box::pin(async move {
            type Item = (String, String, i64, bool, Option<f64>, Option<String>);
            let items = sql!("SELECT id, owner, n, flag, score, note FROM items ORDER BY id");
            let items = tx.rows_as::<Item>(items, p![]).await?;
            let accounts = sql!("SELECT id, balance FROM accounts ORDER BY id");
            let accounts = tx.rows_as::<(String, i64)>(accounts, p![]).await?;
            let moves = sql!("SELECT source, target, amount FROM moves ORDER BY source, target, amount");
            let moves = tx.rows_as::<(String, String, i64)>(moves, p![]).await?;
            let events = sql!("SELECT company_id, type FROM events ORDER BY id");
            let events = tx.rows_as::<(String, String)>(events, p![]).await?;
            let audit = audit::head(tx).await?;
            Ok(format!("{items:?}\n{accounts:?}\n{moves:?}\n{events:?}\n{audit:?}"))
        })
    });
    read.await.unwrap()
}

async fn play(store: &Store, seed: u64, transactions: usize) -> Vec<String> {
    let mut dice = Dice(seed);
    let mut answers = Vec::new();
    for _ in 0..transactions {
        let operations: Vec<Operation> = (0..=dice.roll(4)).map(|_| operation(&mut dice)).collect();
        let write = store.write({
            let operations = operations.clone();
            move |tx| {
                let operations = operations.clone();
                Box::pin(async move {
                    let mut said = Vec::new();
                    for operation in operations {
                        said.push(perform(tx, operation).await?);
                    }
                    Ok(said.join(" "))
                })
            }
        });
        // PostgreSQL learns of a write later: where the closure fails by itself, its error may come before that of a
        // write, so only that it failed can be compared.
        let fails =
            operations.iter().any(|operation| matches!(operation, Operation::Refuse | Operation::Panic));
        let answer = match write.await {
            Ok(answer) => answer,
            Err(_) if fails => "undone".to_owned(),
            Err(error) => kind(&error),
        };
        answers.push(format!("{operations:?} -> {answer}"));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_history_gives_the_same_answers_and_tables_on_both_engines() {
    let rounds = std::env::var("BUGLE_SOAK").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3_u64);
    for seed in 1..=rounds {
        let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let Some(postgres) = crate::on_postgres().await else { return };
        let sqlite = crate::memory().await;
        let (on_sqlite, on_postgres) = tokio::join!(play(&sqlite, seed, 300), play(&postgres, seed, 300));
        for (number, (a, b)) in on_sqlite.iter().zip(&on_postgres).enumerate() {
            assert_eq!(a, b, "transaction {number} of history {seed:#x}");
        }
        assert_eq!(tables(&sqlite).await, tables(&postgres).await, "tables after history {seed:#x}");
        let failed = on_sqlite.iter().filter(|answer| answer.contains("constraint")).count();
        assert!((10..200).contains(&failed), "a history has both kinds of outcomes: {failed} of 300 failed");
        sqlite.close().await;
        postgres.close().await;
    }
}

const ACCOUNTS: i64 = 6;

both_engines! {
    async fn concurrent_transfers_neither_make_nor_lose_money(store: Store) {
        let write = store.write(|tx| Box::pin(async move {
            for id in 0..ACCOUNTS {
                let insert = sql!("INSERT INTO accounts (id, balance) VALUES ($1, 100)");
                tx.run(insert, p![format!("account-{id}")]).await?;
            }
            Ok(())
        }));
        write.await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8_u64 {
            let store = store.clone();
            tasks.spawn(async move {
                let mut dice = Dice(0xDEAD_BEEF + task);
                let mut done = 0;
                for number in 0..40 {
                    let (source, target, amount) = (dice.roll(6), dice.roll(6), 1 + dice.roll(60));
                    let transfer = store.write(move |tx| Box::pin(async move { transfer(tx, source, target, amount, number % 7 == 6).await }));
                    match transfer.await {
                        Ok(true) => done += 1,
                        Ok(false) => {}
                        Err(StoreError::Closed) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    if number % 10 == 0 {
                        assert_eq!(sum(&store).await, ACCOUNTS * 100, "at every moment");
                    }
                }
                done
            });
        }
        let done: i64 = tasks.join_all().await.into_iter().sum();
        assert!(done > 50, "{done} transfers");
        let counted = store.read(|tx| Box::pin(async move {
            let moves = tx.one_as::<(i64,)>(sql!("SELECT COUNT(*) FROM moves"), p![]).await?;
            let poorest = tx.one_as::<(i64,)>(sql!("SELECT MIN(balance) FROM accounts"), p![]).await?;
            let wrong = sql!(
                "SELECT accounts.id FROM accounts WHERE balance <> 100 \
                 + (SELECT CAST(COALESCE(SUM(amount), 0) AS bigint) FROM moves WHERE target = accounts.id) \
                 - (SELECT CAST(COALESCE(SUM(amount), 0) AS bigint) FROM moves WHERE source = accounts.id)"
            );
            let wrong = tx.rows(wrong, p![]).await?.len();
            let events = tx.one_as::<(i64,)>(sql!("SELECT COUNT(*) FROM events"), p![]).await?;
            Ok((moves, events, poorest.unwrap().0 >= 0, wrong, audit::verify(tx, None).await?))
        }));
        let (moves, events, solvent, wrong, audit) = counted.await.unwrap();
        assert_eq!((moves, events, solvent, wrong), (Some((done,)), Some((done,)), true, 0));
        assert!(audit.ok && audit.checked == done, "{audit:?}");
        assert_eq!(sum(&store).await, ACCOUNTS * 100);
    }
}

/// Moves money if there is enough, with an event and an audit record. The accounts are locked in the order given, so
/// that transfers get in each other's way.
async fn transfer(
    tx: &mut Tx<'_>,
    source: i64,
    target: i64,
    amount: i64,
    undo: bool,
) -> Result<bool, StoreError> {
    if source == target {
        return Ok(false);
    }
    let (source, target) = (format!("account-{source}"), format!("account-{target}"));
    let lock = sql!("SELECT balance FROM accounts WHERE id = $1 /*+for_update*/");
    let have = tx.one_as::<(i64,)>(lock, p![&source]).await?;
    tx.one(lock, p![&target]).await?;
    if have.is_none_or(|(have,)| have < amount) {
        return Ok(false);
    }
    let add = sql!("UPDATE accounts SET balance = balance + $1 WHERE id = $2");
    tx.run(add, p![-amount, &source]).await?;
    tx.run(add, p![amount, &target]).await?;
    let note = sql!("INSERT INTO moves (source, target, amount) VALUES ($1, $2, $3)");
    tx.run(note, p![&source, &target, amount]).await?;
    events::append(tx, "bank", "moved", "{}", crate::NOON).await?;
    let record = AuditRecord {
        company_id: Some("bank".into()),
        actor: source,
        action: "moved".into(),
        subject: target,
        details_json: amount.to_string(),
        at: crate::NOON,
    };
    audit::append(tx, record).await?;
    if undo {
        return Err(StoreError::Closed);
    }
    Ok(true)
}

async fn sum(store: &Store) -> i64 {
    let read = store.read(|tx| {
        Box::pin(async move {
            let sum = sql!("SELECT CAST(SUM(balance) AS bigint) FROM accounts");
            tx.one_as::<(i64,)>(sum, p![]).await
        })
    });
    read.await.unwrap().unwrap().0
}
