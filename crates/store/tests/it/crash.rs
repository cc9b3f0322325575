//! Durability, proven: the process is killed under load on a file layer that loses what was not flushed, again and
//! again, and every write that was answered must be there.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use store::{Settings, Store, Target, p, sql};

const FILE: &str = "BUGLE_CRASH_FILE";
const ROUND: &str = "BUGLE_CRASH_ROUND";
const FLUSH: &str = "BUGLE_CRASH_FLUSH";

#[test]
fn every_answered_write_survives_a_kill_that_loses_what_was_not_flushed() {
    // The full form is asked for with BUGLE_SOAK=100.
    let rounds = std::env::var("BUGLE_SOAK").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let folder = tempfile::tempdir().unwrap();
    let mut answered = HashSet::new();
    for round in 0..rounds {
        let before = answered.len();
        run_and_kill(folder.path(), round, true, &mut answered);
        assert!(answered.len() > before, "round {round} got nothing done");
        let found = look(folder.path()).unwrap_or_else(|why| panic!("round {round}: {why}"));
        let lost: Vec<_> = answered.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {} answered writes are lost, as {:?}", lost.len(), lost[0]);
    }
    eprintln!("{rounds} kills, {} answered writes, none lost", answered.len());
}

#[test]
fn without_flushes_the_same_kill_loses_answered_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered = HashSet::new();
    // A kill may by chance meet a moment at which everything was flushed by a write-back.
    let lost = (0..5).any(|round| {
        run_and_kill(folder.path(), round, false, &mut answered);
        // A file that cannot even be read has lost them, too.
        look(folder.path()).map_or(true, |found| !answered.is_subset(&found))
    });
    assert!(lost, "the file layer does not lose what was not flushed, so it proves nothing");
}

/// Starts a process that writes, kills it after a number of answers, and notes what it said was done.
fn run_and_kill(folder: &Path, round: u64, flush: bool, answered: &mut HashSet<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, folder.join("store.sqlite"))
        .env(ROUND, round.to_string())
        .env(FLUSH, if flush { "on" } else { "off" })
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut until_kill = 20 + round.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 700;
    let mut line = String::new();
    loop {
        line.clear();
        output.read_line(&mut line).unwrap();
        // A line that was cut off by the kill is still an answer that was on its way: not counted.
        let Some(whole) = line.strip_suffix('\n') else { break };
        let Some(id) = whole.strip_prefix("answered ") else { continue };
        answered.insert(id.to_owned());
        until_kill = until_kill.saturating_sub(1);
        if until_kill == 0 {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9), "the child ended by itself");
}

/// Reads what the files hold, from a copy: the next round is to recover them by itself.
fn look(folder: &Path) -> Result<HashSet<String>, String> {
    let copy = tempfile::tempdir().unwrap();
    for name in ["store.sqlite", "store.sqlite-wal"] {
        if folder.join(name).exists() {
            std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
        }
    }
    let connection = rusqlite::Connection::open(copy.path().join("store.sqlite")).unwrap();
    let look = || -> rusqlite::Result<(String, HashSet<String>, HashSet<String>, i64)> {
        let ids = |text: &str| -> rusqlite::Result<HashSet<String>> {
            connection.prepare(text)?.query_map([], |row| row.get(0))?.collect()
        };
        Ok((
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?,
            ids("SELECT id FROM items")?,
            ids("SELECT id FROM accounts WHERE id <> 'total'")?,
            connection.query_row(
                "SELECT COALESCE(MAX(balance), 0) FROM accounts WHERE id = 'total'",
                [],
                |row| row.get(0),
            )?,
        ))
    };
    let (integrity, items, accounts, total) = look().map_err(|error| error.to_string())?;
    if integrity != "ok" {
        return Err(integrity);
    }
    if items != accounts || items.len() as i64 != total {
        return Err(format!("half a transaction: {}, {}, {total}", items.len(), accounts.len()));
    }
    Ok(items)
}

#[test]
#[ignore = "this is the process that the tests beside it start and kill"]
fn child() {
    let (Ok(file), Ok(round), Ok(flush)) = (std::env::var(FILE), std::env::var(ROUND), std::env::var(FLUSH))
    else {
        eprintln!("nothing to do: the crash tests start this one by themselves");
        return;
    };
    crate::lossy_vfs::register("lossy", round.parse::<u64>().unwrap() + 0x517C_C1B7);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings =
            Settings { sqlite_vfs: Some("lossy"), sqlite_flush: flush == "on", ..Settings::default() };
        let store = Store::open_with(&Target::Sqlite(file.into()), settings, crate::NOON, crate::SCHEMA)
            .await
            .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..24 {
            let (store, round) = (store.clone(), round.clone());
            tasks.spawn(async move {
                for number in 0.. {
                    let id = format!("{round}/{task}/{number}");
                    write(&store, id.clone(), number).await;
                    // In one call: what was begun before the kill is whole or not there.
                    std::io::stdout().lock().write_all(format!("answered {id}\n").as_bytes()).unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
}

async fn write(store: &Store, id: String, number: i64) {
    let write = store.write(move |tx| {
        let id = id.clone();
        Box::pin(async move {
            let note = "x".repeat(100 + (number as usize * 997) % 9000);
            let insert = sql!("INSERT INTO items (id, owner, n, flag, note) VALUES ($1, $1, $2, TRUE, $3)");
            tx.run(insert, p![&id, number, note]).await?;
            tx.run(sql!("INSERT INTO accounts (id, balance) VALUES ($1, 0)"), p![&id]).await?;
            let count = sql!(
                "INSERT INTO accounts (id, balance) VALUES ('total', 1) \
                 ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + 1"
            );
            tx.run(count, p![]).await
        })
    });
    write.await.unwrap();
}
