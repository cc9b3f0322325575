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
