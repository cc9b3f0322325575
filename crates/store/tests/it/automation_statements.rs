//! How the statements on automations find their rows: by an index, however many runs there are; and what a store of
//! before knows when it is brought up to date.

use std::collections::HashSet;

use domain::ids::AutomationRunId;
use store::automations::retention;
use store::{Settings, Store, Target, statement};

use crate::automations::texts;
use crate::issue_fixture::at;

/// All tables of automations.
const TABLES: &[&str] = &[
    "automations",
    "automation_versions",
    "automation_after",
    "automation_runs",
    "automation_nodes",
    "automation_attempts",
    "automation_gates",
    "automation_history",
];

fn tables_of(text: &str) -> HashSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| TABLES.contains(word))
        .collect()
}

/// Definitions are few, and a company is removed once.
fn removes_a_company(text: &str) -> bool {
    text.starts_with("DELETE") && text.contains("company_id = $1")
}

#[tokio::test]
async fn every_statement_on_automations_goes_by_an_index() {
    // These indexes hold nothing but what is asked for.
    const OF_THAT_ALONE: &[&str] = &[
        "automation_runs_at_work",
        "automation_runs_open",
        "automation_runs_look",
        "automation_runs_queued",
        "automation_runs_untold",
        "automation_attempts_ordered",
        "automation_gates_due",
        "automation_gates_pending",
        "schedule_slots_waiting",
        "CONSTANT ROW",
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    Store::open(&Target::Sqlite(file.clone()), Settings::default(), crate::NOON).await.unwrap().close().await;
    let connection = rusqlite::Connection::open(file).unwrap();
    let (mut looked_at, mut reached) = (0, HashSet::new());
    for sql in statement::registered().filter(|sql| sql.is_for_sqlite()) {
        let (text, tables) = (sql.source(), tables_of(sql.source()));
        if tables.is_empty() {
            continue;
        }
        let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.sqlite())).unwrap();
        let nulls = vec![rusqlite::types::Null; sql.parameters()];
        let steps =
            explained.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
        for step in steps.map(Result::unwrap) {
            let is_fine = !step.starts_with("SCAN")
                || removes_a_company(text)
                || OF_THAT_ALONE.iter().any(|index| step.contains(index));
            assert!(is_fine, "`{text}` goes by: {step}");
            // Newest first, or in its order: nobody sorts a list that grows with what is stored.
            let is_list = text.contains("FROM automation_runs WHERE") && text.contains("LIMIT");
            assert!(!(is_list && step.contains("TEMP B-TREE")), "`{text}` is sorted: {step}");
        }
        if text.starts_with("SELECT") && text.contains("ORDER BY") {
            // What is of one run, or not over, is little.
            let is_little = ["run_id = $1", "source_id = $1", "IN ('running', 'pausing')", "GROUP BY status"]
                .iter()
                .any(|part| text.contains(part));
            assert!(text.contains("LIMIT") || is_little, "`{text}` has no end");
        }
        reached.extend(tables);
        looked_at += 1;
    }
    assert!(looked_at > 60, "only {looked_at} statements were looked at");
    let missed: Vec<_> = TABLES.iter().filter(|table| !reached.contains(*table)).collect();
    assert!(missed.is_empty(), "no statement touches {missed:?}");
}

/// Ten thousand runs that are over, as many gates, twice as many nodes and attempts, and their history.
const MANY: &str = "
    INSERT INTO companies (id, name, status, issue_prefix, issue_counter, budget_monthly_cents, require_approval,
        created_at, updated_at) VALUES ('acme', 'Acme', 'active', 'ACM', 0, 0, FALSE, 0, 0);
    INSERT INTO automations (id, company_id, name, status, version, created_at, updated_at)
        SELECT 'auto' || n, 'acme', 'auto' || n, 'active', 1, 0, 0 FROM generate_series(1, 10) n;
    INSERT INTO automation_runs (id, company_id, automation_id, version, number, status, trigger_type, inputs, priority,
        actor_kind, created_at, updated_at, queued_at, finished_at, history_seq, told_seq, idempotency_key)
        SELECT 'run' || n, 'acme', 'auto' || (n % 10 + 1), 1, n, 'completed', 'manual', '{}', 2, 'user', n, n, n, n, 3, 3,
            'key' || n FROM generate_series(1, 10000) n;
    INSERT INTO automation_nodes (run_id, node_id, place, state)
        SELECT 'run' || n, 'node' || m, m, 'completed' FROM generate_series(1, 10000) n, generate_series(1, 2) m;
    INSERT INTO automation_attempts (run_id, node_id, attempt, company_id, epoch, agent_id, agent_run_id, state, objective,
        ordered_at, deliver_at) SELECT 'run' || n, 'node' || m, 1, 'acme', 1, 'ada', 'agent run' || n || m, 'ended', 'do it',
            n, n FROM generate_series(1, 10000) n, generate_series(1, 2) m;
    INSERT INTO automation_gates (id, company_id, run_id, node_id, status, title, shown, hash, decisions, rework_targets,
        approvers, self_approval, asked_at, decision) SELECT 'gate' || n, 'acme', 'run' || n, 'ok', 'decided', 'ok?', '{}',
            'h', '[]', '[]', '[]', TRUE, n, 'approve' FROM generate_series(1, 10000) n;
    INSERT INTO automation_history (run_id, seq, at, event)
        SELECT 'run' || n, m, n, 'run_created' FROM generate_series(1, 10000) n, generate_series(1, 3) m;
    ANALYZE;
    SET plan_cache_mode = force_generic_plan;
";

#[tokio::test]
async fn with_many_runs_stored_no_statement_on_postgresql_reads_them_all() {
    const GROWING: &[&str] = &[
        "automation_runs",
        "automation_nodes",
        "automation_attempts",
        "automation_gates",
        "automation_history",
    ];
    let Some(database) = crate::postgres::database() else { return };
    let target = Target::Postgres(database.url.clone());
    Store::open(&target, Settings::default(), crate::NOON).await.unwrap().close().await;
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(MANY).await.unwrap();
    let (mut seen, mut faults) = (HashSet::new(), Vec::new());
    for sql in statement::registered().filter(|sql| sql.is_for_postgres()) {
        let text = sql.postgres();
        let tables = tables_of(text);
        let grows = GROWING.iter().any(|table| tables.contains(table)) && !removes_a_company(text);
        if !grows || !seen.insert(text.to_owned()) {
            continue;
        }
        let nulls = vec!["NULL"; sql.parameters()].join(", ");
        let call = if nulls.is_empty() { String::new() } else { format!("({nulls})") };
        client.batch_execute(&format!("PREPARE looked_at AS {text}")).await.unwrap();
        let plan = client.simple_query(&format!("EXPLAIN EXECUTE looked_at{call}")).await.unwrap();
        client.batch_execute("DEALLOCATE looked_at").await.unwrap();
        for line in plan {
            let tokio_postgres::SimpleQueryMessage::Row(row) = line else { continue };
            let step = row.get(0).unwrap_or_default();
            let walks = step.contains("Seq Scan") && GROWING.iter().any(|table| step.contains(table));
            if walks {
                faults.push(format!("`{text}` goes by: {step}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(seen.len() > 50, "only {} statements were looked at", seen.len());
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn runs_that_began_after_others_are_known_by_it_when_the_store_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let target = Target::Sqlite(file.clone());
    let before = store::MIGRATIONS.iter().position(|it| it.version == 21).unwrap();
    let older = Store::open_with(&target, Settings::default(), crate::NOON, &store::MIGRATIONS[..before])
        .await
        .unwrap();
    older.close().await;
    let one = AutomationRunId::mint(at(0), [1; 16]);
    let connection = rusqlite::Connection::open(&file).unwrap();
    let add = |id: &str, trigger: &str, key: String| {
        let text = "INSERT INTO automation_runs (id, company_id, automation_id, version, number, status, trigger_type, \
                    inputs, priority, actor_kind, created_at, updated_at, queued_at, finished_at, idempotency_key) \
                    VALUES (?1, 'acme', 'notes', 1, 1, 'completed', ?2, '{}', 2, 'system', 0, 0, 0, 1, ?3)";
        connection.execute(text, (id, trigger, key)).unwrap();
    };
    let theirs = "
        INSERT INTO companies (id, name, status, issue_prefix, issue_counter, budget_monthly_cents, require_approval,
            created_at, updated_at) VALUES ('acme', 'Acme', 'active', 'ACM', 0, 0, FALSE, 0, 0);
        INSERT INTO automations (id, company_id, name, status, version, created_at, updated_at)
            VALUES ('notes', 'acme', 'notes', 'active', 1, 0, 0);";
    connection.execute_batch(theirs).unwrap();
    add(one.as_str(), "manual", "after:nothing".to_owned());
    add("two", "after", format!("after:{one}:1"));
    drop(connection);
    let newer = Store::open(&target, Settings::default(), crate::NOON).await.unwrap();
    let found = newer.read(|tx| Box::pin(async move { retention::over_before(tx, at(1), at(1), 9).await }));
    assert_eq!(texts(&found.await.unwrap()), ["two"]);
    newer.close().await;
}
