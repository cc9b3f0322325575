//! Every statement of the program, prepared on both engines.

use std::collections::HashSet;

use store::{Settings, Store, Target, statement};

/// Statements of this crate's own tests are registered, too, and need the tests' tables.
fn of_the_program() -> Vec<store::Sql> {
    let mut seen = HashSet::new();
    statement::registered()
        .filter(|sql| {
            !["items", "accounts", "moves", "things"].iter().any(|table| sql.source().contains(table))
        })
        .filter(|sql| seen.insert(sql.postgres().to_owned()))
        .collect()
}

#[test]
fn no_token_is_misspelt() {
    for sql in statement::registered() {
        assert_eq!(sql.unknown_tokens(), Vec::<String>::new(), "in `{}`", sql.source());
    }
}

#[tokio::test]
async fn every_statement_is_good_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    Store::open(&Target::Sqlite(file.clone()), Settings::default(), crate::NOON).await.unwrap().close().await;
    let connection = rusqlite::Connection::open(file).unwrap();
    let statements = of_the_program();
    assert!(statements.len() > 10, "the statements of the program are registered");
    for sql in statements.iter().filter(|sql| sql.is_for_sqlite()) {
        let prepared =
            connection.prepare(sql.sqlite()).unwrap_or_else(|error| panic!("`{}`: {error}", sql.sqlite()));
        assert_eq!(prepared.parameter_count(), sql.parameters(), "parameters of `{}`", sql.source());
    }
}

/// What asks for runs that are not over must not look at those that are.
#[tokio::test]
async fn statements_on_live_runs_go_by_the_index_of_live_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    Store::open(&Target::Sqlite(file.clone()), Settings::default(), crate::NOON).await.unwrap().close().await;
    let connection = rusqlite::Connection::open(file).unwrap();
    let of_live_runs = |sql: &&store::Sql| {
        let text = sql.source();
        text.starts_with("SELECT")
            && text.contains("FROM runs")
            && !text.contains("WHERE id")
            && [
                "status = 'queued'",
                "status = 'running'",
                "status IN ('queued'",
                "status = 'scheduled_retry'",
            ]
            .iter()
            .any(|part| text.contains(part))
    };
    let mut looked_at = 0;
    for sql in of_the_program().iter().filter(|sql| sql.is_for_sqlite()).filter(of_live_runs) {
        let explain = format!("EXPLAIN QUERY PLAN {}", sql.sqlite());
        let mut statement = connection.prepare(&explain).unwrap();
        let nulls = vec![rusqlite::types::Null; sql.parameters()];
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let plan = plan.join("; ");
        let over_all =
            plan.contains("runs_by_agent") || plan.contains("runs_by_company") || plan.contains("SCAN runs");
        let by_live_index = [
            "runs_live",
            "runs_held",
            "runs_due",
            "runs_one_running",
            "runs_one_waiting",
            "sqlite_autoindex",
        ];
        let scans_live =
            plan.contains("SCAN runs USING") && by_live_index.iter().any(|index| plan.contains(index));
        assert!(!over_all || scans_live, "`{}` goes by: {plan}", sql.source());
        looked_at += 1;
    }
    assert!(looked_at > 8, "only {looked_at} statements were looked at");
}

#[tokio::test]
async fn every_statement_is_good_postgres() {
    let Some(database) = crate::postgres::database() else { return };
    let target = Target::Postgres(database.url.clone());
    Store::open(&target, Settings::default(), crate::NOON).await.unwrap().close().await;
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    for sql in of_the_program().iter().filter(|sql| sql.is_for_postgres()) {
        let prepared = client
            .prepare(sql.postgres())
            .await
            .unwrap_or_else(|error| panic!("`{}`: {:?}", sql.postgres(), error.as_db_error()));
        assert_eq!(prepared.params().len(), sql.parameters(), "parameters of `{}`", sql.source());
    }
    drop(client);
    connection.await.unwrap().unwrap();
}
