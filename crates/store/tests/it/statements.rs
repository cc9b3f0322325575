//! Every statement of the program, prepared on both engines.

use std::collections::HashSet;

use store::{Settings, Store, Target, statement};

/// Statements of this crate's own tests are registered, too, and need the tests' tables.
fn of_the_program() -> Vec<store::Sql> {
    let mut seen = HashSet::new();
    statement::registered()
        .filter(|sql| {
            let words = sql.source().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            !words.into_iter().any(|word| ["items", "accounts", "moves", "things"].contains(&word))
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
        let plan = plan_of(&connection, sql).join("; ");
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

/// What the engine would do, step by step.
fn plan_of(connection: &rusqlite::Connection, sql: store::Sql) -> Vec<String> {
    let explain = format!("EXPLAIN QUERY PLAN {}", sql.sqlite());
    let mut statement = connection.prepare(&explain).unwrap();
    let nulls = vec![rusqlite::types::Null; sql.parameters()];
    let steps = statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get(3)).unwrap();
    steps.collect::<Result<_, _>>().unwrap()
}

/// Nothing on issues and what hangs on them reads a whole table, and a list that need not be sorted is not.
#[tokio::test]
async fn statements_on_issues_go_by_an_index() {
    const TABLES: [&str; 18] = [
        "goals",
        "projects",
        "project_goals",
        "project_workspaces",
        "issues",
        "issue_relations",
        "issue_comments",
        "documents",
        "document_revisions",
        "work_products",
        "labels",
        "issue_labels",
        "attachments",
        "issue_read_states",
        "wake_orders",
        "issue_tree_holds",
        "issue_tree_hold_members",
        "activity_log",
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    Store::open(&Target::Sqlite(file.clone()), Settings::default(), crate::NOON).await.unwrap().close().await;
    let connection = rusqlite::Connection::open(file).unwrap();
    let (mut looked_at, mut in_order) = (0, 0);
    for sql in of_the_program().iter().filter(|sql| sql.is_for_sqlite()) {
        let text = sql.source();
        let words: HashSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        // What has no condition means all rows: the counts of metrics, and the first of an order.
        let is_narrow = words.contains("WHERE");
        if !TABLES.iter().any(|table| words.contains(table)) || text.starts_with("INSERT") || !is_narrow {
            continue;
        }
        looked_at += 1;
        let plan = plan_of(&connection, sql);
        for step in &plan {
            let of_a_walk = text.contains("WITH RECURSIVE")
                && ["SCAN a", "SCAN b", "SCAN above", "SCAN below"].contains(&step.as_str());
            // A search from some id on is a scan by another name, unless the index holds little.
            let from_an_id_on = step.contains("sqlite_autoindex") && step.contains("_1 (id>?)");
            assert!(
                of_a_walk || !(step.starts_with("SCAN") && step != "SCAN CONSTANT ROW" || from_an_id_on),
                "`{text}` goes by: {}",
                plan.join("; ")
            );
        }
        let open = text.contains("FROM issues i WHERE i.company_id = $1 AND i.status IN (");
        let all = text.contains("FROM issues i WHERE i.company_id = $1 AND i.hidden_at IS NULL");
        // A search has an order of its own, and no place to go on behind.
        if (open || all) && text.contains("$22") {
            let index = if open { "issues_open_in_order" } else { "issues_in_order" };
            let sorted = plan.iter().any(|step| step.contains("TEMP B-TREE"));
            assert!(plan[0].contains(index) && !sorted, "`{text}` goes by: {}", plan.join("; "));
            in_order += 1;
        }
    }
    assert!(looked_at > 80, "only {looked_at} statements were looked at");
    assert_eq!(in_order, 2, "the lists of a company, open and all");
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
