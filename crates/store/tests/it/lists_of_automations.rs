//! What people look at of automations: page by page, filters before limits, and as quick however much is stored.

use std::time::{Duration, Instant};

use domain::automation::AutomationRunStatus;
use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::moment::Moment;
use serde_json::json;
use store::automations::definitions;
use store::automations::gates::{self, GateRow};
use store::automations::runs::{self, AutomationRun};
use store::{Store, Target};

use crate::issue_fixture::{at, company, set_up, write};
use crate::schedules::{automation, run};
use crate::{both_stores, cost_the_same, median, program_store};

const END: (Moment, &str) = (Moment::from_micros(i64::MAX), "~");

fn id(number: i64) -> String {
    format!("run-{number:06}")
}

/// The run of this number, that many seconds after noon.
fn numbered(number: i64, status: AutomationRunStatus) -> AutomationRun {
    AutomationRun { number, created_at: at(number), ..run(&id(number), "notes", status) }
}

/// The gate of a run, opened with it; every second one is decided.
fn gate(number: i64) -> GateRow {
    let is_decided = number % 2 == 0;
    GateRow {
        id: format!("gate-{number:06}").as_str().into(),
        company_id: company(),
        run_id: id(number).as_str().into(),
        node_id: "ok".into(),
        status: if is_decided { GateStatus::Decided } else { GateStatus::Pending },
        title: "May it go on?".into(),
        instructions: None,
        shown: json!({}),
        hash: "hash".into(),
        decisions: json!(["approve"]),
        rework_targets: json!([]),
        approvers: json!([]),
        self_approval: true,
        started_by: None,
        expiry: None,
        asked_at: at(number),
        expires_at: None,
        next_at: None,
        reminded_at: None,
        reminders: 0,
        reminded_late: false,
        escalated_at: None,
        escalated_to: None,
        stale_at: None,
        decision: is_decided.then_some(Decision::Approve),
        reason: None,
        targets: None,
        decided_at: is_decided.then(|| at(number + 1)),
        decided_by_kind: None,
        decided_by: None,
    }
}

/// The automation `notes` with runs of these numbers, one in fifty of them failed, each with its gate.
async fn with(store: &Store, numbers: std::ops::Range<i64>) {
    set_up(store).await;
    write(store, |tx| Box::pin(async move { definitions::insert(tx, &automation("notes")).await })).await;
    for from in numbers.clone().step_by(500) {
        let to = (from + 500).min(numbers.end);
        write(store, move |tx| {
            Box::pin(async move {
                for number in from..to {
                    let status = match number % 50 {
                        49 => AutomationRunStatus::Failed,
                        _ => AutomationRunStatus::AwaitingApproval,
                    };
                    assert!(runs::insert(tx, &numbered(number, status)).await?);
                    gates::insert(tx, &gate(number)).await?;
                }
                Ok(())
            })
        })
        .await;
    }
}

fn numbers(runs: &[AutomationRun]) -> Vec<i64> {
    runs.iter().map(|run| run.number).collect()
}

async fn failed(store: &Store, before: (Moment, String), limit: i64) -> Vec<AutomationRun> {
    let read = store.read(move |tx| {
        let before = before.clone();
        Box::pin(async move {
            let of = (&company(), None);
            runs::in_status(tx, of, AutomationRunStatus::Failed, (before.0, &before.1), limit).await
        })
    });
    read.await.unwrap()
}

both_stores! {
    async fn an_old_gate_is_listed_however_many_newer_runs_there_are(store: Store) {
        with(&store, 1..1_202).await;
        let mut found: Vec<GateRow> = Vec::new();
        loop {
            let last = found.last().map(|gate| (gate.asked_at, gate.id.0.clone()));
            let after = last.unwrap_or((Moment::from_micros(0), String::new()));
            let page = store.read(move |tx| {
                let after = after.clone();
                Box::pin(async move { gates::pending(tx, &company(), (after.0, &after.1), 100).await })
            });
            let page = page.await.unwrap();
            assert!(page.len() <= 100);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found.len(), 601);
        assert_eq!(found[0].id.as_str(), "gate-000001", "the oldest comes first");
        assert!(found.iter().all(|gate| gate.status == GateStatus::Pending));
        assert!(found.is_sorted_by_key(|gate| gate.asked_at));
        let counted = store.read(|tx| Box::pin(async move { gates::count_pending(tx, &company()).await }));
        assert_eq!(counted.await.unwrap(), 601);
    }

    async fn a_filter_comes_before_the_limit_and_a_cursor_goes_on_behind_it(store: Store) {
        with(&store, 0..300).await;
        let first = failed(&store, (END.0, END.1.to_owned()), 4).await;
        assert_eq!(numbers(&first), [299, 249, 199, 149]);
        // What is added meanwhile moves nothing.
        let newer = || numbered(300, AutomationRunStatus::Failed);
        write(&store, move |tx| Box::pin(async move { runs::insert(tx, &newer()).await })).await;
        let next = failed(&store, (first[3].created_at, first[3].id.0.clone()), 4).await;
        assert_eq!(numbers(&next), [99, 49]);
        let of_one = store.read(|tx| Box::pin(async move {
            let notes = "notes".into();
            let other = "build".into();
            let (company, stranger) = (company(), "other".into());
            let failed = AutomationRunStatus::Failed;
            Ok([
                runs::in_status(tx, (&company, Some(&notes)), failed, END, 100).await?.len(),
                runs::in_status(tx, (&company, Some(&other)), failed, END, 100).await?.len(),
                runs::in_status(tx, (&stranger, None), failed, END, 100).await?.len(),
            ])
        }));
        assert_eq!(of_one.await.unwrap(), [7, 0, 0]);
    }
}

/// How long what people look at takes, at the median of many looks at both in turn.
async fn looking(few: &Store, many: &Store) -> [Duration; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..100 {
        for (store, took) in [few, many].into_iter().zip(&mut took) {
            let before = Instant::now();
            let read = store.read(|tx| {
                Box::pin(async move {
                    let listed = runs::of_company(tx, &company(), END, 50).await?.len();
                    let of_one = runs::of_automation(tx, &"notes".into(), END, 50).await?.len();
                    let waits = gates::pending(tx, &company(), (Moment::from_micros(0), ""), 20).await?.len();
                    let one = runs::get(tx, &id(42).as_str().into()).await?.is_some();
                    Ok((listed, of_one, waits, one))
                })
            });
            assert_eq!(read.await.unwrap(), (50, 50, 20, true));
            took.push(before.elapsed());
        }
    }
    took.map(median)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_costs_the_same_among_a_hundred_runs_and_among_ten_thousand() {
    let (few, many) = (program_store(&Target::Memory).await, program_store(&Target::Memory).await);
    with(&few, 0..100).await;
    with(&many, 0..10_000).await;
    cost_the_same(async || looking(&few, &many).await).await;
    few.close().await;
    many.close().await;
}
