//! A company that is removed leaves nothing, in no table, and takes nothing of another with it.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use store::removal;
use store::{Settings, Store, Target};

use crate::acme::{at, tx};

/// Where the parent of a row stands, for columns that the schema does not say it of.
const PARENTS: &[(&str, &str)] = &[
    ("company_id", "companies"),
    ("agent_id", "agents"),
    ("issue_id", "issues"),
    ("run_id", "runs"),
    ("policy_id", "budget_policies"),
    ("approval_id", "approvals"),
    ("blocker_id", "issues"),
    ("blocked_id", "issues"),
];
/// What belongs to the instance, or is its record.
const KEPT: &[&str] = &[
    "meta",
    "audit",
    "audit_head",
    "incarnations",
    "users",
    "board_keys",
    "cli_challenges",
    "instance_settings",
    "secrets_key",
    // What nodes go by when they remove what a company left on their disks.
    "removed_companies",
    "leftover_worktrees",
];

struct Column {
    name: String,
    kind: String,
    is_needed: bool,
}

fn tables(connection: &Connection) -> Vec<String> {
    let mut found = connection
        .prepare(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid",
        )
        .unwrap();
    let names = found.query_map([], |row| row.get::<_, String>(0)).unwrap();
    names
        .map(Result::unwrap)
        .filter(|name| !KEPT.contains(&name.as_str()) && !name.contains("migration"))
        .collect()
}

fn columns(connection: &Connection, table: &str) -> Vec<Column> {
    let mut found = connection.prepare(&format!("PRAGMA table_info({table})")).unwrap();
    let columns = found.query_map([], |row| {
        Ok(Column {
            name: row.get(1)?,
            kind: row.get(2)?,
            is_needed: row.get::<_, bool>(3)? || row.get::<_, i64>(5)? > 0,
        })
    });
    columns.unwrap().map(Result::unwrap).collect()
}

fn parents(connection: &Connection, table: &str) -> BTreeMap<String, String> {
    let mut found = connection.prepare(&format!("PRAGMA foreign_key_list({table})")).unwrap();
    let pairs = found.query_map([], |row| Ok((row.get::<_, String>(3)?, row.get::<_, String>(2)?))).unwrap();
    let mut parents: BTreeMap<String, String> =
        PARENTS.iter().map(|(column, parent)| ((*column).to_owned(), (*parent).to_owned())).collect();
    parents.extend(pairs.map(Result::unwrap));
    parents
}

/// One row in every table, each naming the company's other rows.
fn fill(connection: &Connection, company: &str) {
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
    for table in tables(connection) {
        let parents = parents(connection, &table);
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for column in columns(connection, &table) {
            let value = match (column.name.as_str(), parents.get(&column.name)) {
                ("id", _) if column.kind != "TEXT" => continue,
                ("id", _) => format!("'{company}-{table}'"),
                (_, Some(parent)) => format!("'{company}-{parent}'"),
                // Over, as far as it can be.
                ("finished_at", _) => "1".to_owned(),
                _ if !column.is_needed => continue,
                _ if column.kind == "TEXT" => format!("'{company}-{table}-{}'", column.name),
                _ => "1".to_owned(),
            };
            names.push(column.name);
            values.push(value);
        }
        let insert = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
        connection.execute(&insert, []).unwrap_or_else(|error| panic!("{error}: {insert}"));
    }
}

/// How many rows of each table name a company anywhere.
fn traces(file: &Path, company: &str) -> BTreeMap<String, i64> {
    let connection = Connection::open(file).unwrap();
    let count = |table: &String| {
        let names: Vec<String> = columns(&connection, table).into_iter().map(|column| column.name).collect();
        let names = names.join(" || ' ' || ").replace(" || ' ' || ", ", '')  || ' ' || IFNULL(");
        let query = format!("SELECT COUNT(*) FROM {table} WHERE IFNULL({names}, '') LIKE '%{company}-%'");
        connection.query_row(&query, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    tables(&connection).iter().map(|table| (table.clone(), count(table))).collect()
}

#[tokio::test]
async fn a_removed_company_leaves_no_row_and_takes_none_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let target = Target::Sqlite(file.clone());
    Store::open(&target, Settings::default(), crate::NOON).await.unwrap().close().await;
    let connection = Connection::open(&file).unwrap();
    fill(&connection, "acme");
    fill(&connection, "bolt");
    drop(connection);
    let before = traces(&file, "bolt");
    assert!(before.len() > 35 && before.values().all(|count| *count == 1), "{before:?}");
    assert_eq!(traces(&file, "acme"), before);

    let store = Store::open(&target, Settings::default(), crate::NOON).await.unwrap();
    let (company, now) = (domain::ids::CompanyId::from("acme-companies"), at(0));
    let runs = tx!(store, [company], |tx| removal::finished(tx, &company, 10));
    assert_eq!(runs.len(), 1);
    tx!(store, [runs], |tx| removal::runs(tx, &runs));
    let files = tx!(store, [company], |tx| removal::files(tx, &company, 10));
    assert_eq!(files.len(), 1);
    let ids: Vec<String> = files.into_iter().map(|(id, _)| id).collect();
    tx!(store, [ids], |tx| removal::forget_files(tx, &ids));
    while tx!(store, [company], |tx| removal::batch(tx, &company, 1)) > 0 {}
    assert!(tx!(store, [company], |tx| removal::last(tx, &company, now)));
    store.close().await;

    let left: Vec<_> = traces(&file, "acme").into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(left, []);
    assert_eq!(traces(&file, "bolt"), before);
}
