//! S13: schedules fire each slot once, whatever happens to servers, runs and clocks.
//!
//! The long form of the year is `BUGLE_SOAK=n` with n the days of it (`cargo xtask soak schedules`); the short form takes
//! one day of `*/15`, and the whole year with what comes daily and weekly. The table of the changes of the clock is
//! `domain::automation::calendar::cron`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::automation::AutomationStatus;
use domain::automation::calendar::{SkipReason, SlotState};
use domain::moment::Moment;
use engine::Settings;
use serde_json::json;
use store::schedules::Slot;
use testkit::{NOON, World, both_stores, on_postgres, on_sqlite};

use crate::schedules::{HOUR, MINUTE, Office, end, fired, settled, skipped};

const DAY: Duration = Duration::from_secs(86_400);

both_stores! {
    async fn an_outage_of_three_hours_is_made_up_for_as_each_schedule_says(world) {
        let office = Office::new(world).await;
        for misfire in ["skip", "one", "all"] {
            let schedule = json!([{ "name": misfire, "cron": "*/15 * * * *", "misfire": misfire, "overlap": "allow" }]);
            office.apply(misfire, schedule).await;
        }
        office.engine.leave().await;
        office.world.clock.advance(3 * HOUR + 7 * MINUTE);
        let office = Office { engine: office.world.engine().await, ..office };
        office.settled().await;
        for (misfire, catch_up) in [("skip", 0), ("one", 1), ("all", 5)] {
            let slots = office.slots(misfire).await;
            // From a quarter past twelve to three o'clock.
            assert_eq!(slots.len(), 12, "every slot has a row: {misfire}");
            assert_eq!((fired(&slots), skipped(&slots, SkipReason::Misfire)), (catch_up, 12 - catch_up), "{misfire}");
            assert!(slots[12 - catch_up..].iter().all(|slot| slot.state == SlotState::Fired), "the newest fire");
            let next = office.schedule(misfire).await.schedule.next_at;
            assert_eq!(next, Some(NOON.plus(3 * HOUR + 15 * MINUTE)), "the next one is in the future");
        }
        office.pass(8 * MINUTE).await;
        for (misfire, total) in [("skip", 1), ("one", 2), ("all", 6)] {
            assert_eq!(fired(&office.slots(misfire).await), total);
        }
    }

    async fn what_is_made_up_for_takes_turns_where_runs_do_not_overlap(world) {
        let office = Office::new(world).await;
        let notes = office.apply("notes", json!([{ "name": "all", "cron": "*/15 * * * *", "misfire": "all" }])).await;
        office.engine.leave().await;
        office.world.clock.advance(3 * HOUR + 7 * MINUTE);
        let office = Office { engine: office.world.engine().await, ..office };
        office.settled().await;
        for turn in 1..=5 {
            office.world.eventually("the next in turn", || async {
                (office.runs(&notes).await.len() == turn).then_some(())
            }).await;
            office.end_runs(&notes).await;
        }
        let slots = office.slots("all").await;
        assert_eq!((fired(&slots), slots.len()), (5, 12));
    }

    async fn after_an_outage_the_newest_slots_get_the_places_of_the_queue(world) {
        let office = Office::new(world).await;
        let schedule = json!([{ "name": "often", "every": "15s", "misfire": "all", "maxCatchUp": 3 }]);
        let notes = office.apply("notes", schedule).await;
        office.engine.leave().await;
        office.world.clock.advance(Duration::from_secs(105));
        let office = Office { engine: office.world.engine().await, ..office };
        office.settled().await;
        // Seven have come: the last is in time, and of the six before it three are made up for. One starts, three wait.
        let states = |slots: &[Slot]| slots.iter().map(|slot| (slot.state, slot.reason)).collect::<Vec<_>>();
        let missed = (SlotState::Skipped, Some(SkipReason::Misfire));
        let waits = (SlotState::Waiting, None);
        let fires = (SlotState::Fired, None);
        let slots = office.slots("often").await;
        assert_eq!(states(&slots), [missed, missed, missed, fires, waits, waits, waits]);
        for turn in 2..=4 {
            office.end_runs(&notes).await;
            office.world.eventually("the next in turn", || async {
                (office.runs(&notes).await.len() == turn).then_some(())
            }).await;
        }
        assert_eq!(states(&office.slots("often").await)[3..], [fires; 4]);
    }

    async fn after_a_short_outage_one_slot_fires_and_it_is_the_newest(world) {
        let office = Office::new(world).await;
        let often = |name: &str, rest: serde_json::Value| {
            let mut schedule = rest;
            schedule["name"] = name.into();
            json!([schedule])
        };
        let rules = [
            ("one", often("one", json!({ "cron": "* * * * *", "misfire": "one" }))),
            ("beside", often("beside", json!({ "cron": "* * * * *", "misfire": "one", "overlap": "allow" }))),
            ("tens", often("tens", json!({ "every": "10s", "misfire": "skip", "overlap": "allow" }))),
        ];
        for (name, rule) in &rules {
            office.apply(name, rule.clone()).await;
        }
        office.engine.leave().await;
        office.world.clock.advance(4 * MINUTE + Duration::from_secs(20));
        let office = Office { engine: office.world.engine().await, ..office };
        office.settled().await;
        for (name, count) in [("one", 4), ("beside", 4), ("tens", 26)] {
            let slots = office.slots(name).await;
            assert_eq!((slots.len(), fired(&slots)), (count, 1), "{name}");
            assert_eq!(skipped(&slots, SkipReason::Misfire), count - 1, "{name}");
            assert_eq!(slots.last().map(|slot| slot.state), Some(SlotState::Fired), "{name}: the newest");
        }
    }

    async fn a_pause_of_an_automation_makes_up_for_nothing(world) {
        let office = Office::new(world).await;
        let rule = json!([{ "name": "often", "cron": "*/15 * * * *", "misfire": "all", "overlap": "allow" }]);
        let notes = office.apply("notes", rule).await;
        office.pass(15 * MINUTE).await;
        office.set_status(&notes, AutomationStatus::Paused).await;
        office.pass(HOUR).await;
        assert!(office.schedule("often").await.upcoming.is_empty());
        // And what came while no server was there.
        office.engine.leave().await;
        office.world.clock.advance(HOUR);
        let office = Office { engine: office.world.engine().await, ..office };
        office.set_status(&notes, AutomationStatus::Active).await;
        office.settled().await;
        let slots = office.slots("often").await;
        assert_eq!((slots.len(), fired(&slots), skipped(&slots, SkipReason::Paused)), (9, 1, 8));
        office.pass(15 * MINUTE).await;
        assert_eq!(fired(&office.slots("often").await), 2);
    }

    async fn of_two_servers_on_one_store_one_deals_with_each_slot(world) {
        let office = Office::new(world).await;
        let two = office.world.engine_with(Settings { node_id: "node-2".into(), ..office.world.settings() }).await;
        let mut automations = Vec::new();
        for number in 0..4 {
            let name = format!("n{number}");
            automations.push(office.apply(&name, json!([{ "name": name, "every": "1m", "overlap": "allow" }])).await);
        }
        for _ in 0..10 {
            office.world.clock.advance(MINUTE);
            office.engine.nudge();
            two.nudge();
            settled(&office.world).await;
        }
        two.leave().await;
        for (number, automation) in automations.iter().enumerate() {
            let slots = office.slots(&format!("n{number}")).await;
            assert_eq!((fired(&slots), slots.len()), (10, 10));
            assert_eq!(office.runs(automation).await.len(), 10);
        }
    }

    async fn a_run_that_ends_badly_frees_its_schedule(world) {
        let office = Office::new(world).await;
        let notes = office.apply("notes", json!([{ "name": "often", "every": "15m" }])).await;
        office.pass(15 * MINUTE).await;
        office.pass(15 * MINUTE).await;
        assert_eq!(skipped(&office.slots("often").await, SkipReason::Overlap), 1);
        // Its server dies, and another one finds that it is over.
        office.engine.leave().await;
        for run in office.runs(&notes).await {
            end(&office.world, run).await;
        }
        office.world.clock.advance(15 * MINUTE);
        let office = Office { engine: office.world.engine().await, ..office };
        office.settled().await;
        assert_eq!(fired(&office.slots("often").await), 2);
    }

    async fn servers_that_come_and_go_lose_no_slot_and_fire_none_twice(world) {
        let office = Office::new(world).await;
        let rules = [("skip", "*/5 * * * *"), ("one", "*/7 * * * *"), ("all", "*/3 * * * *")];
        let mut automations = BTreeMap::new();
        for (misfire, cron) in rules {
            let schedule = json!([{ "name": misfire, "cron": cron, "misfire": misfire, "overlap": "allow" }]);
            automations.insert(misfire, office.apply(misfire, schedule).await);
        }
        let mut engine = Some(office.engine.clone());
        for round in 0_u32..40 {
            // Up for a while, gone for a while, and sometimes gone in the middle of the work.
            office.world.clock.advance(MINUTE * (round % 9) + Duration::from_secs(u64::from(round * 17 % 60)));
            match engine.take() {
                Some(there) => {
                    there.nudge();
                    if round % 3 == 0 {
                        settled(&office.world).await;
                    }
                    there.leave().await;
                }
                None => engine = Some(office.world.engine().await),
            }
        }
        let office = Office { engine: office.world.engine().await, ..office };
        office.settled().await;
        let now = office.engine.now();
        for (misfire, automation) in automations {
            let slots = office.slots(misfire).await;
            let every = match misfire { "skip" => 5, "one" => 7, _ => 3 };
            assert_eq!(moments(&slots), minutes_of_an_hour(every, now), "{misfire}: each once");
            let runs = office.runs(&automation).await;
            let named: BTreeSet<_> = slots.iter().filter_map(|slot| slot.automation_run_id.clone()).collect();
            let made: BTreeSet<_> = runs.iter().map(|run| run.id.clone()).collect();
            assert_eq!((named.len(), named), (runs.len(), made), "{misfire}: a run for each that fired");
        }
    }
}

fn moments(slots: &[Slot]) -> Vec<Moment> {
    slots.iter().map(|slot| slot.slot).collect()
}

/// What `*/n` means from noon to now.
fn minutes_of_an_hour(every: u64, now: Moment) -> Vec<Moment> {
    let passed = now.since(NOON).as_secs() / 60;
    (1..=passed)
        .filter(|minute| minute % 60 % every == 0)
        .map(|minute| NOON.plus(MINUTE * minute as u32))
        .collect()
}

/// Days of `*/15` and whether it is the long form.
fn days() -> u32 {
    std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[test]
fn a_year_has_its_exact_count_on_sqlite() {
    on_sqlite(a_year);
}

#[test]
fn a_year_has_its_exact_count_on_postgres() {
    on_postgres(a_year);
}

/// From noon of one new year's day to that of the next.
async fn a_year(world: World) {
    let office = Office::new(world).await;
    let zone = "Europe/Berlin";
    let nightly = office
        .apply(
            "nightly",
            json!([
                { "name": "berlin", "cron": "30 2 * * *", "timezone": zone },
            ]),
        )
        .await;
    let weekly = office
        .apply(
            "weekly",
            json!([
                { "name": "monday", "cron": "0 9 * * MON", "timezone": "America/New_York" },
            ]),
        )
        .await;
    let end_of_year = NOON.plus(DAY * 365);
    while office.engine.now() < end_of_year {
        let next = office.world.read(|tx| Box::pin(store::schedules::next(tx))).await.unwrap();
        office.pass(next.min(end_of_year).since(office.engine.now())).await;
        assert!(
            office.world.read(|tx| Box::pin(store::schedules::next(tx))).await.unwrap() > office.engine.now()
        );
        office.end_runs(&nightly).await;
        office.end_runs(&weekly).await;
    }
    for (name, automation, count) in [("berlin", nightly, 365), ("monday", weekly, 52)] {
        let slots = office.slots(name).await;
        assert_eq!((slots.len(), fired(&slots)), (count, count), "{name}");
        // The runs of the first months are gone by now, and what fired stays on record.
        let named: BTreeSet<_> = slots.iter().filter_map(|slot| slot.automation_run_id.clone()).collect();
        assert_eq!(named.len(), count, "{name}");
        assert!(office.runs(&automation).await.iter().all(|run| named.contains(&run.id)), "{name}");
    }
    let quarters = office.apply("quarters", json!([{ "name": "quarters", "cron": "*/15 * * * *" }])).await;
    for _ in 0..days() * 96 {
        office.pass(15 * MINUTE).await;
        office.end_runs(&quarters).await;
    }
    let slots = office.slots("quarters").await;
    let count = days() as usize * 96;
    assert_eq!((slots.len(), fired(&slots)), (count, count));
    let distinct: BTreeSet<Moment> = moments(&slots).into_iter().collect();
    assert_eq!(distinct.len(), count);
    println!("one year: 365 daily, 52 weekly, {count} of */15; each once");
}
