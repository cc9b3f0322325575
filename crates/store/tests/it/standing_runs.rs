//! Runs of automations that stand until a person does something, and those that a person put aside.

use domain::automation::{AutomationRunStatus, Guardrail, StopKind};
use domain::moment::Moment;
use serde_json::json;
use store::automations::definitions::{self, Automation};
use store::automations::runs::{self, AutomationRun};
use store::automations::standing::{self, StandingRun};
use store::companies::{self, Company};
use store::{Settings, Store, Target};

use crate::both_stores;
use crate::issue_fixture::{at, company, set_up, write};
use crate::schedules::{automation, run};

/// Behind everything.
const END: (Moment, &str) = (Moment::from_micros(i64::MAX), "~");

/// A run that came to this end so many seconds after noon.
fn ended(id: &str, status: AutomationRunStatus, seconds: i64) -> AutomationRun {
    AutomationRun { finished_at: Some(at(seconds)), ..run(id, "notes", status) }
}

/// A run that was paused so many seconds after noon.
fn paused(id: &str, kind: StopKind, seconds: i64) -> AutomationRun {
    AutomationRun {
        stop_kind: Some(kind),
        stopped_at: Some(at(seconds)),
        ..run(id, "notes", AutomationRunStatus::Paused)
    }
}

async fn with(store: &Store, all: Vec<AutomationRun>) {
    set_up(store).await;
    write(store, move |tx| {
        let all = all.clone();
        Box::pin(async move {
            assert!(definitions::insert(tx, &automation("notes")).await?);
            for run in &all {
                assert!(runs::insert(tx, run).await?);
            }
            Ok(())
        })
    })
    .await;
}

async fn listed(store: &Store, before: (Moment, &'static str), limit: i64) -> Vec<StandingRun> {
    let found =
        store.read(move |tx| Box::pin(async move { standing::list(tx, &company(), before, limit).await }));
    found.await.unwrap()
}

async fn names(store: &Store) -> Vec<String> {
    listed(store, END, 99).await.into_iter().map(|run| run.id.0).collect()
}

async fn counted(store: &Store, most: i64) -> i64 {
    let found = store.read(move |tx| Box::pin(async move { standing::count(tx, &company(), most).await }));
    found.await.unwrap()
}

async fn put_aside(store: &Store, id: &'static str, seconds: i64) -> bool {
    write(store, move |tx| Box::pin(async move { standing::put_aside(tx, &id.into(), at(seconds)).await }))
        .await
}

async fn change(store: &Store, id: &'static str, with: fn(&mut AutomationRun)) {
    write(store, move |tx| {
        Box::pin(async move {
            let mut row = runs::lock(tx, &id.into()).await?.unwrap();
            with(&mut row);
            runs::update(tx, &row).await
        })
    })
    .await;
}

both_stores! {
    async fn those_stand_that_ended_badly_or_are_paused_and_do_not_go_on(store: Store) {
        use AutomationRunStatus::{AwaitingApproval, Blocked, Cancelled, Completed, Failed, Queued, Running};
        let limited = AutomationRun {
            guardrail: Some(Guardrail::RunLimit), detail: Some("maxTokens".into()), number: 7,
            last_failure: Some(json!({ "nodeId": "a" })), ..paused("limited", StopKind::GuardrailStopped, 3)
        };
        with(&store, vec![
            ended("failed", Failed, 1),
            ended("blocked", Blocked, 2),
            limited,
            paused("stale", StopKind::StaleReaped, 4),
            AutomationRun { look_at: Some(at(9)), ..paused("goes on", StopKind::StaleReaped, 5) },
            paused("held", StopKind::OperatorStopped, 6),
            ended("done", Completed, 7),
            ended("cancelled", Cancelled, 8),
            run("queued", "notes", Queued),
            run("running", "notes", Running),
            run("asks", "notes", AwaitingApproval),
        ]).await;
        assert_eq!(names(&store).await, ["stale", "limited", "blocked", "failed"]);
        assert_eq!((counted(&store, 99).await, counted(&store, 3).await), (4, 3));
        let two = listed(&store, (at(3), "limited"), 1).await;
        assert_eq!(two.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["blocked"]);
        let found = &listed(&store, END, 2).await[1];
        let expected = StandingRun {
            id: "limited".into(), company_id: company(), automation_id: "notes".into(), automation: automation("notes").name,
            number: 7, status: AutomationRunStatus::Paused, stop_kind: Some(StopKind::GuardrailStopped),
            guardrail: Some(Guardrail::RunLimit), detail: Some("maxTokens".into()),
            last_failure: Some(json!({ "nodeId": "a" })), since: at(3), aside_at: None,
        };
        assert_eq!(found, &expected);
        // An automation that was removed has its name still, and runs of others are not shown.
        write(&store, |tx| Box::pin(async move {
            let gone = Automation { removed_at: Some(at(9)), ..automation("notes") };
            definitions::update(tx, &gone).await?;
            let other = companies::get(tx, &company()).await?.unwrap();
            let other = Company { id: "rival".into(), issue_prefix: "RIV".into(), name: "Rival".into(), ..other };
            assert!(companies::insert(tx, &other).await?);
            let theirs = AutomationRun { company_id: "rival".into(), ..ended("theirs", Failed, 9) };
            assert!(runs::insert(tx, &theirs).await?);
            Ok(())
        })).await;
        assert_eq!(listed(&store, END, 2).await[1], expected);
        assert_eq!(names(&store).await.len(), 4);
    }

    async fn one_that_was_put_aside_stands_again_when_it_comes_to_stand_again(store: Store) {
        with(&store, vec![ended("a", AutomationRunStatus::Failed, 1), run("b", "notes", AutomationRunStatus::Running)]).await;
        assert!(!put_aside(&store, "b", 2).await, "it does not stand");
        assert!(put_aside(&store, "a", 2).await);
        assert!(!put_aside(&store, "a", 3).await, "once is enough");
        assert_eq!((names(&store).await.len(), counted(&store, 9).await), (0, 0));
        let kept = store.read(|tx| Box::pin(async move { standing::get(tx, &"a".into()).await }));
        assert_eq!(kept.await.unwrap().map(|run| run.aside_at), Some(Some(at(2))));
        // Something is written that has nothing to do with it.
        change(&store, "a", |row| row.resumes = 3).await;
        assert_eq!(names(&store).await.len(), 0);
        // It goes on, and fails at the same moment.
        change(&store, "a", |row| row.status = AutomationRunStatus::Queued).await;
        let gone = store.read(|tx| Box::pin(async move { standing::get(tx, &"a".into()).await }));
        assert_eq!(gone.await.unwrap(), None);
        change(&store, "a", |row| row.status = AutomationRunStatus::Failed).await;
        assert_eq!(names(&store).await, ["a"]);
    }
}

#[tokio::test]
async fn runs_that_ended_before_are_no_news_and_those_that_are_paused_stand() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let target = Target::Sqlite(file.clone());
    let before = store::MIGRATIONS.iter().position(|it| it.version == 23).unwrap();
    let older = Store::open_with(&target, Settings::default(), crate::NOON, &store::MIGRATIONS[..before])
        .await
        .unwrap();
    older.close().await;
    let connection = rusqlite::Connection::open(&file).unwrap();
    let theirs = "
        INSERT INTO companies (id, name, status, issue_prefix, issue_counter, budget_monthly_cents, require_approval,
            created_at, updated_at) VALUES ('acme', 'Acme', 'active', 'ACM', 0, 0, FALSE, 0, 0);
        INSERT INTO automations (id, company_id, name, status, version, created_at, updated_at)
            VALUES ('notes', 'acme', 'notes', 'active', 1, 0, 0);
        INSERT INTO automation_runs (id, company_id, automation_id, version, number, status, trigger_type, inputs, priority,
            actor_kind, created_at, updated_at, queued_at, finished_at, stopped_at, stop_kind)
            VALUES ('failed', 'acme', 'notes', 1, 1, 'failed', 'manual', '{}', 2, 'system', 0, 0, 0, 5, NULL, NULL),
                ('paused', 'acme', 'notes', 1, 2, 'paused', 'manual', '{}', 2, 'system', 0, 0, 0, NULL, 6, 'stale_reaped');";
    connection.execute_batch(theirs).unwrap();
    drop(connection);
    let newer = Store::open(&target, Settings::default(), crate::NOON).await.unwrap();
    assert_eq!(names(&newer).await, ["paused"]);
    newer.close().await;
}
