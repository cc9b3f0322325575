//! How the statements on money and people find their rows: by an index, never by walking a table.

use std::collections::HashSet;

use rusqlite::Connection;
use store::{Settings, Store, Target, statement};

const TABLES: &[&str] = &[
    "budget_policies",
    "budget_counters",
    "budget_reservations",
    "budget_incidents",
    "cost_events",
    "run_messages",
    "approvals",
    "approval_comments",
    "issue_approvals",
    "issue_thread_interactions",
    "users",
    "memberships",
    "permission_grants",
    "agent_keys",
    "board_keys",
    "cli_challenges",
    "inbox_items",
    "issue_recoveries",
    "instance_settings",
    "agent_config_revisions",
    "company_secrets",
    "company_secret_versions",
    "secret_references",
    "webhook_endpoints",
    "webhook_deliveries",
    "webhook_triggers",
    "webhook_receipts",
    "webhook_secrets",
];

/// The tables of ours that a statement names.
fn tables_of(text: &str) -> HashSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| TABLES.contains(word))
        .collect()
}

fn plan(connection: &Connection, sql: store::Sql) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.sqlite())).unwrap();
    let nulls = vec![rusqlite::types::Null; sql.parameters()];
    let rows = statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn every_statement_on_money_and_people_goes_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    Store::open(&Target::Sqlite(file.clone()), Settings::default(), crate::NOON).await.unwrap().close().await;
    let connection = Connection::open(file).unwrap();
    let mut reached = HashSet::new();
    let mut looked_at = 0;
    for sql in statement::registered().filter(|sql| sql.is_for_sqlite()) {
        let tables = tables_of(sql.source());
        // A test that breaks something on purpose need not be quick about it.
        if tables.is_empty() || sql.source().starts_with("UPDATE budget_counters SET spent = spent + 1,") {
            continue;
        }
        for step in plan(&connection, sql) {
            // `SCAN x USING INDEX` is allowed only where the index holds nothing but what is asked for.
            let walks = step.starts_with("SCAN ")
                && ![
                    "budget_reservations_held_by_run",
                    "budget_counters_stopped",
                    "users_admins",
                    "users_by_age",
                    "latest",
                    "CONSTANT ROW",
                ]
                .iter()
                .any(|fine| step.contains(fine));
            assert!(!walks, "`{}` goes by: {step}", sql.source());
        }
        reached.extend(tables);
        looked_at += 1;
    }
    assert!(looked_at > 90, "only {looked_at} statements were looked at");
    let missed: Vec<_> = TABLES.iter().filter(|table| !reached.contains(*table)).collect();
    assert!(missed.is_empty(), "no statement touches {missed:?}");
}

/// A list without an end grows with the store: whatever returns many rows says how many.
#[test]
fn every_list_on_money_and_people_is_bounded() {
    let mut looked_at = 0;
    for sql in statement::registered() {
        let text = sql.source();
        if tables_of(text).is_empty() || !text.starts_with("SELECT") || !text.contains("ORDER BY") {
            continue;
        }
        looked_at += 1;
        // A run has one reservation for each of its policies, and at most twelve policies.
        let few = text.contains("WHERE run_id = $1") || text.contains("COALESCE($3, $1)");
        assert!(text.contains("LIMIT") || few, "`{text}` has no end");
    }
    assert!(looked_at > 25, "only {looked_at} lists were looked at");
}
