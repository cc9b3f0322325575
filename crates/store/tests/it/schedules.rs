//! Schedules and their slots: one claim for each slot, found when due, and gone when old.

use domain::automation::calendar::{SkipReason, SlotState};
use domain::automation::{AutomationRunStatus, AutomationStatus, TriggerType};
use domain::ids::{AutomationId, ScheduleId};
use domain::moment::Moment;
use domain::wake::ActorKind;
use serde_json::json;
use store::automations::definitions::{self, Automation};
use store::automations::runs::{self, AutomationRun};
use store::schedules::{self, Due, Schedule, Slot};
use store::{Rule, Settings, Store, StoreError, Target, Tx, statement};

use crate::both_stores;
use crate::issue_fixture::{at, company, set_up, write};

pub(crate) fn automation(id: &str) -> Automation {
    Automation {
        id: id.into(),
        company_id: company(),
        name: id.into(),
        status: AutomationStatus::Active,
        paused_reason: None,
        version: 1,
        created_by: None,
        created_at: at(0),
        updated_at: at(0),
        removed_at: None,
    }
}

fn schedule(id: &str, automation: &str, next: Option<i64>) -> Schedule {
    Schedule {
        id: id.into(),
        company_id: company(),
        automation_id: automation.into(),
        name: format!("{id}-name"),
        spec: json!({ "name": format!("{id}-name"), "every": "15m" }),
        anchor_at: at(0),
        next_at: next.map(at),
        last_slot: None,
        paused_at: None,
        rested_from: None,
        rested_to: None,
        removed_at: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn skipped(id: &str, slot: i64) -> Slot {
    Slot {
        schedule_id: id.into(),
        slot: at(slot),
        state: SlotState::Skipped,
        reason: Some(SkipReason::Misfire),
        detail: None,
        automation_run_id: None,
        at: at(slot + 1),
    }
}

fn waiting(id: &str, slot: i64) -> Slot {
    Slot { state: SlotState::Waiting, reason: None, ..skipped(id, slot) }
}

fn fired(id: &str, slot: i64, run: &str) -> Slot {
    Slot { state: SlotState::Fired, reason: None, automation_run_id: Some(run.into()), ..skipped(id, slot) }
}

pub(crate) fn run(id: &str, automation: &str, status: AutomationRunStatus) -> AutomationRun {
    AutomationRun {
        id: id.into(),
        company_id: company(),
        automation_id: automation.into(),
        version: 1,
        own_definition: None,
        number: 1,
        status,
        trigger_type: TriggerType::Scheduled,
        trigger_detail: None,
        inputs: json!({}),
        idempotency_key: None,
        body_hash: None,
        priority: 2,
        actor_kind: ActorKind::System,
        actor_id: None,
        created_at: at(0),
        updated_at: at(0),
        queued_at: at(0),
        started_at: None,
        finished_at: None,
        epoch: 0,
        server_node: None,
        root: None,
        held_reason: None,
        held_resource: None,
        held_until: None,
        not_before: None,
        stop_to: None,
        stop_asked_at: None,
        stop_drains: false,
        stop_kind: None,
        stop_reason: None,
        guardrail: None,
        stopped_at: None,
        worked_micros: 0,
        working_since: None,
        tokens: 0,
        cost_micros: 0,
        limits: None,
        last_failure: None,
        detail: None,
        resumes: 0,
        history_seq: 0,
        look_at: None,
        told_seq: 0,
        files_before: None,
        admitted_at: None,
        agent_ids: None,
    }
}

/// The automations `notes` and `build`, and these schedules.
async fn with(store: &Store, all: Vec<Schedule>) {
    set_up(store).await;
    write(store, move |tx| {
        let all = all.clone();
        Box::pin(async move {
            for id in ["notes", "build"] {
                assert!(definitions::insert(tx, &automation(id)).await?);
            }
            for schedule in &all {
                schedules::insert(tx, schedule).await?;
            }
            Ok(())
        })
    })
    .await;
}

async fn add(tx: &mut Tx<'_>, slots: &[Slot]) -> Result<(), StoreError> {
    for slot in slots {
        schedules::add_slot(tx, slot).await?;
    }
    Ok(())
}

fn moments(slots: &[Slot]) -> Vec<Moment> {
    slots.iter().map(|slot| slot.slot).collect()
}

both_stores! {
    async fn a_schedule_comes_back_as_it_stood(store: Store) {
        with(&store, vec![schedule("s", "notes", Some(900))]).await;
        let id = ScheduleId::from("s");
        let found = store.read(move |tx| { let id = id.clone(); Box::pin(async move { schedules::get(tx, &id).await }) });
        assert_eq!(found.await.unwrap(), Some(schedule("s", "notes", Some(900))));
        let changed = Schedule {
            spec: json!({ "name": "s-name", "every": "1h" }),
            anchor_at: at(5),
            next_at: Some(at(3600)),
            paused_at: Some(at(7)),
            rested_from: Some(at(1)),
            rested_to: Some(at(2)),
            updated_at: at(8),
            ..schedule("s", "notes", None)
        };
        let wanted = changed.clone();
        let (found, removed) = write(&store, move |tx| { let changed = changed.clone(); Box::pin(async move {
            schedules::save(tx, &changed).await?;
            let found = schedules::lock(tx, &changed.id).await?;
            let gone = Schedule { next_at: None, removed_at: Some(at(9)), ..changed.clone() };
            schedules::save(tx, &gone).await?;
            // Its name is free again.
            schedules::insert(tx, &Schedule { id: "again".into(), ..changed.clone() }).await?;
            Ok((found, schedules::get(tx, &changed.id).await?))
        })}).await;
        assert_eq!((found, removed), (Some(wanted), None));
    }

    async fn of_two_that_saw_the_same_slot_one_deals_with_it(store: Store) {
        with(&store, vec![schedule("s", "notes", Some(900))]).await;
        let once = write(&store, |tx| Box::pin(async move {
            add(tx, &[skipped("s", 900)]).await?;
            schedules::advance(tx, &"s".into(), at(900), Some(at(1800)), Some(at(900))).await
        })).await;
        let twice = write(&store, |tx| Box::pin(async move {
            schedules::advance(tx, &"s".into(), at(900), Some(at(1800)), Some(at(900))).await
        })).await;
        assert!(once && !twice);
        // Whoever went past that would meet the key of the slot, and undo all that he did.
        let met = store.write(|tx| Box::pin(async move { add(tx, &[fired("s", 900, "r")]).await })).await;
        assert!(matches!(met, Err(StoreError::Constraint { rule: Rule::Unique, .. })), "{met:?}");
        let (found, slots) = store.read(|tx| Box::pin(async move {
            let found = schedules::get(tx, &"s".into()).await?.unwrap();
            Ok((found, schedules::slots(tx, &"s".into(), at(9000), 10).await?))
        })).await.unwrap();
        assert_eq!((found.next_at, found.last_slot), (Some(at(1800)), Some(at(900))));
        assert_eq!(slots, [skipped("s", 900)]);
    }

    async fn a_slot_is_known_by_its_row(store: Store) {
        with(&store, vec![schedule("s", "notes", Some(900)), schedule("t", "notes", Some(900))]).await;
        let known = write(&store, |tx| Box::pin(async move {
            add(tx, &[skipped("s", 900), waiting("s", 1800)]).await?;
            let mut known = Vec::new();
            for (id, slot) in [("s", 900), ("s", 1800), ("s", 901), ("t", 900)] {
                known.push(schedules::has_slot(tx, &id.into(), at(slot)).await?);
            }
            Ok(known)
        })).await;
        assert_eq!(known, [true, true, false, false]);
    }

    async fn what_is_due_is_found_in_its_order_and_by_pages(store: Store) {
        let all = vec![
            schedule("a", "notes", Some(300)), schedule("b", "notes", Some(100)), schedule("c", "build", Some(100)),
            schedule("d", "build", Some(301)), schedule("e", "build", None),
        ];
        with(&store, all).await;
        let (first, rest, next) = store.read(|tx| Box::pin(async move {
            let first = schedules::due(tx, at(300), (Moment::from_micros(i64::MIN), ""), 2).await?;
            let rest = schedules::due(tx, at(300), (at(100), "c"), 2).await?;
            Ok((first, rest, schedules::next(tx).await?))
        })).await.unwrap();
        let due = |id: &str, automation: &str, next| Due {
            id: id.into(), automation_id: automation.into(), next_at: at(next),
        };
        assert_eq!(first, [due("b", "notes", 100), due("c", "build", 100)]);
        assert_eq!((rest, next), (vec![due("a", "notes", 300)], Some(at(100))));
    }

    async fn what_waits_is_ready_when_no_run_is_left_that_is_not_over(store: Store) {
        let paused = Schedule { paused_at: Some(at(1)), ..schedule("p", "build", Some(900)) };
        with(&store, vec![schedule("s", "notes", Some(900)), schedule("t", "build", Some(900)), paused]).await;
        write(&store, |tx| Box::pin(async move {
            add(tx, &[waiting("s", 1), waiting("s", 2), waiting("p", 1), skipped("t", 1)]).await?;
            runs::insert(tx, &run("r", "notes", AutomationRunStatus::AwaitingApproval)).await?;
            runs::insert(tx, &run("old", "build", AutomationRunStatus::Failed)).await
        })).await;
        let ready = || async {
            store.read(|tx| Box::pin(async move {
                Ok((
                    schedules::ready(tx, "", 10).await?,
                    schedules::has_run(tx, &"notes".into()).await?,
                    schedules::has_run(tx, &"build".into()).await?,
                ))
            })).await.unwrap()
        };
        assert_eq!(ready().await, (vec![], true, false));
        write(&store, |tx| Box::pin(async move {
            let over = AutomationRun {
                status: AutomationRunStatus::Completed, finished_at: Some(at(9)), ..run("r", "notes", AutomationRunStatus::Running)
            };
            runs::update(tx, &over).await
        })).await;
        let s = (ScheduleId::from("s"), AutomationId::from("notes"));
        assert_eq!(ready().await, (vec![s], false, false));
        let (settled, again, left) = write(&store, |tx| Box::pin(async move {
            let settled = schedules::settle(tx, &fired("s", 1, "r2")).await?;
            let again = schedules::settle(tx, &fired("s", 1, "r3")).await?;
            Ok((settled, again, schedules::waiting(tx, &"s".into(), 10).await?))
        })).await;
        assert_eq!((settled, again, left), (true, false, vec![at(2)]));
        let withdrawn = write(&store, |tx| Box::pin(async move {
            schedules::withdraw(tx, &"s".into(), SkipReason::Withdrawn, at(50)).await?;
            schedules::slots(tx, &"s".into(), at(9000), 10).await
        })).await;
        let expected = Slot { reason: Some(SkipReason::Withdrawn), at: at(50), ..skipped("s", 2) };
        assert_eq!(withdrawn, [expected, fired("s", 1, "r2")]);
    }

    async fn slots_are_listed_by_pages_and_counted_for_several_schedules(store: Store) {
        with(&store, vec![schedule("s", "notes", Some(900)), schedule("t", "notes", Some(900))]).await;
        let ids = ["s", "t", "u"].map(ScheduleId::from);
        let (page, rest, newest, counted) = write(&store, move |tx| { let ids = ids.clone(); Box::pin(async move {
            add(tx, &[skipped("s", 1), waiting("s", 3), fired("s", 2, "r"), waiting("s", 4), skipped("t", 9)]).await?;
            Ok((
                schedules::slots(tx, &"s".into(), at(9000), 2).await?,
                schedules::slots(tx, &"s".into(), at(3), 2).await?,
                schedules::newest(tx, &ids).await?,
                schedules::count_waiting(tx, &ids).await?,
            ))
        })}).await;
        assert_eq!((moments(&page), moments(&rest)), (vec![at(4), at(3)], vec![at(2), at(1)]));
        let mut newest: Vec<(&str, Moment)> = newest.iter().map(|it| (it.schedule_id.as_str(), it.slot)).collect();
        newest.sort();
        assert_eq!(newest, [("s", at(4)), ("t", at(9))]);
        assert_eq!(counted, [("s".into(), 2)]);
    }

    async fn old_slots_go_in_batches_and_what_waits_stays(store: Store) {
        with(&store, vec![schedule("s", "notes", Some(900))]).await;
        let (counts, left) = write(&store, |tx| Box::pin(async move {
            add(tx, &[skipped("s", 1), fired("s", 2, "r"), waiting("s", 3), skipped("s", 4), skipped("s", 100)]).await?;
            let mut counts = Vec::new();
            for _ in 0..3 {
                counts.push(schedules::remove_slots(tx, at(50), 2).await?);
            }
            Ok((counts, schedules::slots(tx, &"s".into(), at(9000), 10).await?))
        })).await;
        assert_eq!((counts, moments(&left)), (vec![2, 1, 0], vec![at(100), at(3)]));
    }

    async fn a_removed_schedule_goes_with_its_slots_in_batches(store: Store) {
        let gone = Schedule { removed_at: Some(at(1)), ..schedule("g", "notes", None) };
        with(&store, vec![gone, schedule("s", "notes", Some(900))]).await;
        let counts = write(&store, |tx| Box::pin(async move {
            add(tx, &[skipped("g", 1), skipped("g", 2), skipped("g", 3), skipped("s", 1)]).await?;
            let mut counts = Vec::new();
            for _ in 0..4 {
                counts.push(schedules::remove_gone(tx, 2).await?);
            }
            Ok(counts)
        })).await;
        assert_eq!(counts, [2, 1, 1, 0]);
        let left = store.read(|tx| Box::pin(async move { schedules::slots(tx, &"s".into(), at(9000), 10).await }));
        assert_eq!(left.await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn every_statement_on_schedules_goes_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    Store::open(&Target::Sqlite(file.clone()), Settings::default(), crate::NOON).await.unwrap().close().await;
    let connection = rusqlite::Connection::open(file).unwrap();
    let mut looked_at = 0;
    for sql in statement::registered().filter(|sql| sql.is_for_sqlite()) {
        let text = sql.source();
        if !["automation_schedules", "schedule_slots"].iter().any(|table| text.contains(table)) {
            continue;
        }
        let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.sqlite())).unwrap();
        let nulls = vec![rusqlite::types::Null; sql.parameters()];
        let steps =
            explained.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
        for step in steps.map(Result::unwrap) {
            // The index of what waits, or was removed, holds nothing else.
            let is_fine = !step.starts_with("SCAN")
                || [
                    "schedule_slots_waiting",
                    "automation_schedules_removed",
                    "automation_schedules_due",
                    "CONSTANT ROW",
                ]
                .iter()
                .any(|index| step.contains(index));
            assert!(is_fine, "`{text}` goes by: {step}");
        }
        if text.contains("ORDER BY") {
            assert!(text.contains("LIMIT"), "`{text}` has no end");
        }
        looked_at += 1;
    }
    assert!(looked_at > 15, "only {looked_at} statements were looked at");
}
