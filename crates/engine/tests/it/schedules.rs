//! Schedules: they follow the definition, start one run for a slot, and say what became of each.

use std::time::Duration;

use domain::automation::calendar::{SkipReason, SlotState};
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, AutomationStatus, TriggerType};
use domain::ids::{AutomationId, AutomationRunId, CompanyId, ScheduleId};
use domain::moment::Moment;
use engine::{Asked, Author, Engine, EngineError, ScheduleView, Settings};
use serde_json::{Value as Json, json};
use store::automations::runs::{self, AutomationRun};
use store::inbox::InboxItem;
use store::schedules::{Schedule, Slot};
use testkit::{NOON, World, both_stores};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A company with an engine, and short ways to look at its schedules.
pub(crate) struct Office {
    pub(crate) world: World,
    pub(crate) engine: Engine,
    pub(crate) company: CompanyId,
}

impl Office {
    pub(crate) async fn new(world: World) -> Office {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        Office { world, engine, company }
    }

    /// Saves an automation of this name with these schedules. Its runs are not over before somebody says so.
    pub(crate) async fn apply(&self, name: &str, schedules: Json) -> AutomationId {
        let definition = json!({
            "name": name, "nodes": [{ "id": "ok", "gate": {} }],
            "inputs": { "since": { "type": "string", "default": "v1" } },
            "schedules": schedules,
        });
        self.apply_whole(&definition).await.unwrap()
    }

    pub(crate) async fn apply_whole(&self, definition: &Json) -> Result<AutomationId, EngineError> {
        let applied =
            self.engine.apply_automation(&self.company, definition, false, &Author::local_board()).await;
        applied.map(|applied| applied.view.automation.id)
    }

    pub(crate) async fn set_status(&self, automation: &AutomationId, status: AutomationStatus) {
        let by = Author::local_board();
        self.engine.set_automation_status(automation, status, None, &by).await.unwrap();
    }

    /// The schedule of that name.
    pub(crate) async fn schedule(&self, name: &str) -> ScheduleView {
        let all = self.engine.schedules(&self.company, None, 100).await.unwrap();
        all.into_iter()
            .find(|view| view.schedule.name == name)
            .unwrap_or_else(|| panic!("no schedule {name}"))
    }

    pub(crate) async fn id(&self, name: &str) -> ScheduleId {
        self.schedule(name).await.schedule.id
    }

    /// Its slots that were dealt with, oldest first.
    pub(crate) async fn slots(&self, name: &str) -> Vec<Slot> {
        let id = self.id(name).await;
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = self.engine.schedule_slots(&id, before, 500).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.slot);
            all.extend(page);
        }
        all.reverse();
        all
    }

    /// What is in the inbox.
    async fn items(&self) -> Vec<InboxItem> {
        self.engine.inbox(&self.company, None, 100).await.unwrap().items
    }

    /// All runs of an automation, oldest first.
    pub(crate) async fn runs(&self, automation: &AutomationId) -> Vec<AutomationRun> {
        let id = automation.clone();
        let read = self.world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                runs::of_automation(tx, &id, (Moment::from_micros(i64::MAX), ""), 100_000).await
            })
        });
        let mut all = read.await;
        all.reverse();
        all
    }

    /// Runs of an automation that are not over: however many there were, these are few.
    async fn open_runs(&self, automation: &AutomationId) -> Vec<AutomationRunId> {
        let id = automation.clone();
        let read = self.world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { runs::open_of(tx, &id, "", 1_000).await })
        });
        read.await
    }

    /// Ends all runs of an automation that are not over.
    pub(crate) async fn end_runs(&self, automation: &AutomationId) {
        for run in self.open_runs(automation).await {
            let asked = Asked::new(Operation::Cancel);
            self.engine.operate(&run, asked, &Author::local_board()).await.unwrap();
            self.world
                .eventually("the end of the run", || async {
                    (!self.open_runs(automation).await.contains(&run)).then_some(())
                })
                .await;
        }
    }

    /// Moves the clock, and waits until everything that has come is dealt with.
    pub(crate) async fn pass(&self, by: Duration) {
        self.world.clock.advance(by);
        self.engine.nudge();
        self.settled().await;
    }

    pub(crate) async fn settled(&self) {
        settled(&self.world).await;
    }
}

/// Waits until no slot is left that has come.
pub(crate) async fn settled(world: &World) {
    world
        .eventually("slots that are dealt with", || async {
            let next = world.read(|tx| Box::pin(store::schedules::next(tx))).await;
            let now = engine::Clock::now(&*world.clock);
            next.is_none_or(|next| next > now).then_some(())
        })
        .await;
}

/// Ends a run, whatever it was about to do.
pub(crate) async fn end(world: &World, run: AutomationRun) {
    let now = engine::Clock::now(&*world.clock);
    let write = world.store.write(move |tx| {
        let run = run.clone();
        Box::pin(async move {
            let run = runs::lock(tx, &run.id).await?.unwrap_or(run);
            let over = AutomationRun {
                status: AutomationRunStatus::Completed,
                finished_at: Some(now),
                look_at: None,
                working_since: None,
                ..run
            };
            runs::update(tx, &over).await
        })
    });
    write.await.unwrap();
}

pub(crate) fn fired(slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| slot.state == SlotState::Fired).count()
}

pub(crate) fn skipped(slots: &[Slot], reason: SkipReason) -> usize {
    slots.iter().filter(|slot| slot.reason == Some(reason)).count()
}

fn after_noon(span: Duration) -> Moment {
    NOON.plus(span)
}

both_stores! {
    async fn a_slot_that_has_come_starts_one_run_with_the_inputs_of_its_schedule(world) {
        let office = Office::new(world).await;
        let notes = office.apply("notes", json!([{ "name": "often", "every": "15m", "inputs": { "since": "v2" } }])).await;
        let schedule = office.schedule("often").await;
        let next: Vec<Moment> = (1..=5).map(|n| after_noon(15 * MINUTE * n)).collect();
        assert_eq!((schedule.schedule.next_at, &schedule.upcoming), (Some(next[0]), &next));
        assert_eq!((schedule.automation_name.as_str(), schedule.newest), ("notes", None));
        office.pass(14 * MINUTE).await;
        assert!(office.runs(&notes).await.is_empty(), "nothing fires before its time");
        office.pass(MINUTE).await;
        let runs = office.runs(&notes).await;
        assert_eq!(runs.len(), 1);
        let run = &runs[0];
        assert_eq!((run.trigger_type, &run.inputs), (TriggerType::Scheduled, &json!({ "since": "v2" })));
        let detail = run.trigger_detail.as_ref().unwrap();
        assert_eq!((&detail["name"], &detail["slot"]), (&json!("often"), &json!(next[0])));
        let slots = office.slots("often").await;
        assert_eq!((slots.len(), slots[0].slot, slots[0].state), (1, next[0], SlotState::Fired));
        assert_eq!(slots[0].automation_run_id.as_ref(), Some(&run.id));
        let schedule = office.schedule("often").await;
        assert_eq!((schedule.schedule.next_at, schedule.schedule.last_slot), (Some(next[1]), Some(next[0])));
        assert_eq!(schedule.newest.as_ref(), Some(&slots[0]));
        // However often somebody looks.
        for _ in 0..5 {
            office.pass(Duration::ZERO).await;
        }
        assert_eq!(office.runs(&notes).await.len(), 1);
    }

    async fn a_late_look_moves_no_interval(world) {
        let office = Office::new(world).await;
        let notes = office.apply("notes", json!([{ "name": "often", "every": "10m", "overlap": "allow" }])).await;
        for late in [0, 7, 13, 41, 59] {
            let next = office.schedule("often").await.schedule.next_at.unwrap();
            let wait = next.since(office.engine.now()) + Duration::from_secs(late);
            office.pass(wait).await;
        }
        let slots: Vec<Moment> = office.slots("often").await.iter().map(|slot| slot.slot).collect();
        assert_eq!(slots, (1..=5).map(|n| after_noon(10 * MINUTE * n)).collect::<Vec<_>>());
        assert_eq!(office.runs(&notes).await.len(), 5);
    }

    async fn schedules_follow_the_definition(world) {
        let office = Office::new(world).await;
        let first = json!([
            { "name": "kept", "every": "15m" }, { "name": "retimed", "every": "15m" }, { "name": "gone", "every": "15m" },
        ]);
        office.apply("notes", first).await;
        office.pass(20 * MINUTE).await;
        let ids = (office.id("kept").await, office.id("retimed").await, office.id("gone").await);
        let second = json!([
            { "name": "kept", "every": "15m", "inputs": { "since": "v9" } }, { "name": "retimed", "cron": "0 * * * *" },
            { "name": "new", "every": "1h" }, { "name": "off", "every": "1m", "enabled": false },
        ]);
        office.apply("notes", second.clone()).await;
        let kept = office.schedule("kept").await;
        assert_eq!((&kept.schedule.id, kept.schedule.next_at), (&ids.0, Some(after_noon(30 * MINUTE))));
        assert_eq!(kept.schedule.last_slot, Some(after_noon(15 * MINUTE)));
        assert_eq!(kept.spec.inputs["since"], "v9");
        let retimed = office.schedule("retimed").await;
        assert_eq!((&retimed.schedule.id, retimed.schedule.next_at), (&ids.1, Some(after_noon(HOUR))));
        assert_eq!(retimed.schedule.last_slot, Some(after_noon(15 * MINUTE)));
        assert_eq!(office.schedule("new").await.schedule.next_at, Some(after_noon(80 * MINUTE)));
        let off = office.schedule("off").await;
        assert_eq!((off.schedule.next_at, off.upcoming), (None, vec![]));
        let gone = office.engine.schedule(&ids.2).await.unwrap_err();
        assert!(matches!(gone, EngineError::NotFound("Schedule")), "{gone:?}");
        // The same definition again changes nothing.
        office.pass(MINUTE).await;
        let before = office.engine.schedules(&office.company, None, 100).await.unwrap();
        office.apply("notes", second).await;
        let after = office.engine.schedules(&office.company, None, 100).await.unwrap();
        let rows = |all: &[ScheduleView]| all.iter().map(|view| view.schedule.clone()).collect::<Vec<_>>();
        assert_eq!(rows(&before), rows(&after));
    }

    async fn a_definition_whose_schedules_cannot_be_meant_is_refused_with_the_place(world) {
        let office = Office::new(world).await;
        let definition = |schedule: Json| json!({
            "name": "notes", "nodes": [{ "id": "ok", "gate": {} }], "schedules": [{ "name": "ok", "every": "1m" }, schedule],
        });
        for (schedule, path) in [
            (json!({ "name": "n", "cron": "0 0 31 2 *" }), "schedules[1].cron"),
            (json!({ "name": "n", "cron": "0 2 * * *", "timezone": "Mars/Olympus" }), "schedules[1].timezone"),
            (json!({ "name": "n", "every": "0s" }), "schedules[1].every"),
            (json!({ "name": "ok", "every": "1m" }), "schedules[1].name"),
            (json!({ "name": "n", "every": "1m", "inputs": { "x": 1 } }), "schedules[1].inputs.x"),
        ] {
            match office.apply_whole(&definition(schedule)).await {
                Err(EngineError::Invalid(problems)) => assert_eq!(problems[0].path, path),
                other => panic!("{path}: {other:?}"),
            }
        }
        assert!(office.engine.schedules(&office.company, None, 10).await.unwrap().is_empty());
    }

    async fn what_a_slot_does_while_a_run_is_not_over_is_said_by_its_schedule(world) {
        let office = Office::new(world).await;
        let mut automations = Vec::new();
        for overlap in ["skip", "queue", "allow"] {
            let schedule = json!([{ "name": overlap, "every": "10m", "overlap": overlap, "maxCatchUp": 2 }]);
            automations.push(office.apply(overlap, schedule).await);
        }
        for _ in 0..5 {
            office.pass(10 * MINUTE).await;
        }
        let slots = office.slots("skip").await;
        assert_eq!((fired(&slots), skipped(&slots, SkipReason::Overlap)), (1, 4));
        let slots = office.slots("allow").await;
        assert_eq!((fired(&slots), slots.len(), office.runs(&automations[2]).await.len()), (5, 5, 5));
        // One runs, two wait, and no more may.
        let slots = office.slots("queue").await;
        let waiting = slots.iter().filter(|slot| slot.state == SlotState::Waiting).count();
        assert_eq!((fired(&slots), waiting, skipped(&slots, SkipReason::QueueFull)), (1, 2, 2));
        assert_eq!(office.schedule("queue").await.waiting, 2);
        // They take their turns, in their order, one when the other is over.
        for turn in 2..=3 {
            office.end_runs(&automations[1]).await;
            office.world.eventually("the next in turn", || async {
                (office.runs(&automations[1]).await.len() == turn).then_some(())
            }).await;
            let slots = office.slots("queue").await;
            let states: Vec<SlotState> = slots.iter().take(turn).map(|slot| slot.state).collect();
            assert_eq!(states, vec![SlotState::Fired; turn]);
        }
        assert_eq!(office.schedule("queue").await.waiting, 0);
        office.end_runs(&automations[0]).await;
        office.pass(10 * MINUTE).await;
        assert_eq!(fired(&office.slots("skip").await), 2, "a run that is over holds nobody up");
    }

    async fn what_waits_is_withdrawn_with_its_schedule(world) {
        let office = Office::new(world).await;
        let queue = json!([{ "name": "q", "every": "10m", "overlap": "queue" }]);
        let notes = office.apply("notes", queue).await;
        for _ in 0..3 {
            office.pass(10 * MINUTE).await;
        }
        assert_eq!(office.schedule("q").await.waiting, 2);
        let off = json!([{ "name": "q", "every": "10m", "overlap": "queue", "enabled": false }]);
        office.apply("notes", off).await;
        assert_eq!(skipped(&office.slots("q").await, SkipReason::Withdrawn), 2);
        office.end_runs(&notes).await;
        office.pass(HOUR).await;
        assert_eq!(office.runs(&notes).await.len(), 1);
    }

    async fn a_slot_that_no_run_can_be_made_of_says_why_and_the_next_one_is_tried(world) {
        let office = Office::new(world).await;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("site");
        std::fs::create_dir(&place).unwrap();
        let definition = json!({
            "name": "notes", "nodes": [{ "id": "ok", "gate": {} }], "workspace": place,
            "schedules": [{ "name": "often", "every": "10m" }],
        });
        let notes = office.apply_whole(&definition).await.unwrap();
        std::fs::remove_dir(&place).unwrap();
        office.pass(10 * MINUTE).await;
        let slots = office.slots("often").await;
        assert_eq!((slots.len(), slots[0].reason), (1, Some(SkipReason::Refused)));
        assert!(slots[0].detail.as_deref().is_some_and(|words| words.starts_with("workspace: ")), "{slots:?}");
        assert!(office.runs(&notes).await.is_empty());
        // People are told once, however long it goes on.
        office.pass(10 * MINUTE).await;
        assert_eq!(skipped(&office.slots("often").await, SkipReason::Refused), 2);
        let items = office.items().await;
        let [item] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!((item.kind.as_str(), item.cause.as_str(), item.entity_id.as_str()), ("schedule_stuck", "refused", office.id("often").await.as_str()));
        assert!(item.title.starts_with("the schedule notes/often starts nothing: workspace: "), "{}", item.title);
        let trouble = office.schedule("often").await.trouble;
        assert!(trouble.as_deref().is_some_and(|words| words.starts_with("workspace: ")), "{trouble:?}");
        std::fs::create_dir(&place).unwrap();
        office.pass(10 * MINUTE).await;
        assert_eq!((fired(&office.slots("often").await), office.runs(&notes).await.len()), (1, 1));
        assert_eq!((office.items().await.len(), office.schedule("often").await.trouble), (0, None));
    }

    async fn what_a_removed_schedule_was_refused_needs_nobody_any_more(world) {
        let office = Office::new(world).await;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("site");
        std::fs::create_dir(&place).unwrap();
        let definition = |schedules: Json| json!({
            "name": "notes", "nodes": [{ "id": "ok", "gate": {} }], "workspace": place, "schedules": schedules,
        });
        office.apply_whole(&definition(json!([{ "name": "often", "every": "10m" }]))).await.unwrap();
        std::fs::remove_dir(&place).unwrap();
        office.pass(10 * MINUTE).await;
        assert_eq!(office.items().await.len(), 1);
        std::fs::create_dir(&place).unwrap();
        office.apply_whole(&definition(json!([]))).await.unwrap();
        assert!(office.items().await.is_empty());
    }

    async fn a_clock_that_was_ahead_and_is_set_right_fires_no_slot_twice_and_stops_none(world) {
        let office = Office::new(world).await;
        let rule = |is_enabled: bool| {
            json!([{ "name": "often", "every": "10m", "overlap": "allow", "enabled": is_enabled }])
        };
        let notes = office.apply("notes", rule(true)).await;
        for _ in 0..3 {
            office.pass(10 * MINUTE).await;
        }
        office.world.clock.set(after_noon(5 * MINUTE));
        office.apply("notes", rule(false)).await;
        office.apply("notes", rule(true)).await;
        // It waits for the first slot that was not dealt with, and says so.
        let schedule = office.schedule("often").await;
        let next = after_noon(40 * MINUTE);
        assert_eq!((schedule.schedule.next_at, schedule.upcoming.first()), (Some(next), Some(&next)));
        assert!(schedule.trouble.is_some_and(|words| words.contains("the clock was set back")));
        office.pass(15 * MINUTE).await;
        assert_eq!(office.runs(&notes).await.len(), 3);
        office.pass(20 * MINUTE).await;
        let slots = office.slots("often").await;
        let moments: Vec<Moment> = slots.iter().map(|slot| slot.slot).collect();
        assert_eq!(moments, (1..=4).map(|n| after_noon(10 * MINUTE * n)).collect::<Vec<_>>());
        assert_eq!((fired(&slots), office.runs(&notes).await.len()), (4, 4));
        assert_eq!(office.schedule("often").await.trouble, None);
    }

    async fn a_slot_that_was_dealt_with_is_passed_over_when_another_timing_plans_it_anew(world) {
        let office = Office::new(world).await;
        let rule = |cron: &str| json!([{ "name": "often", "cron": cron, "overlap": "allow" }]);
        let notes = office.apply("notes", rule("*/10 * * * *")).await;
        for _ in 0..3 {
            office.pass(10 * MINUTE).await;
        }
        let before = office.slots("often").await;
        office.world.clock.set(after_noon(5 * MINUTE));
        office.apply("notes", rule("*/5 * * * *")).await;
        let schedule = office.schedule("often").await;
        let ahead: Vec<Moment> = [15, 25, 35, 40, 45].map(|minute| after_noon(MINUTE * minute)).to_vec();
        assert_eq!((schedule.upcoming, schedule.trouble), (ahead, None));
        for _ in 0..7 {
            office.pass(5 * MINUTE).await;
        }
        let slots = office.slots("often").await;
        let moments: Vec<Moment> = slots.iter().map(|slot| slot.slot).collect();
        let expected: Vec<Moment> =
            [10, 15, 20, 25, 30, 35, 40].map(|minute| after_noon(MINUTE * minute)).to_vec();
        assert_eq!((moments, fired(&slots), office.runs(&notes).await.len()), (expected, 7, 7));
        assert!(before.iter().all(|slot| slots.contains(slot)), "what was dealt with stays as it was");
        // Nor does it go back behind what was dealt with last.
        assert_eq!(office.schedule("often").await.schedule.last_slot, Some(after_noon(40 * MINUTE)));
    }

    async fn a_schedule_that_cannot_be_dealt_with_is_told_of_and_slows_no_other(world) {
        let office = Office::new(world).await;
        office.apply("one", json!([{ "name": "bad", "every": "10m" }])).await;
        office.apply("two", json!([{ "name": "good", "every": "11m" }])).await;
        // As an older program may have left it.
        let bad = office.schedule("bad").await.schedule;
        let broken = Schedule { spec: json!({ "name": "bad", "cron": "61 * * * *" }), ..bad };
        let broke = office.world.store.write(move |tx| {
            let broken = broken.clone();
            Box::pin(async move { store::schedules::save(tx, &broken).await })
        });
        broke.await.unwrap();
        let a_moment = Duration::from_millis(200);
        office.world.clock.advance(11 * MINUTE - a_moment);
        office.engine.nudge();
        let words = office.world.eventually("word of it", || async { office.schedule("bad").await.trouble }).await;
        assert!(words.contains("61 * * * *"), "{words}");
        let items = office.items().await;
        assert_eq!((items.len(), items[0].kind.as_str(), items[0].cause.as_str()), (1, "schedule_stuck", "stuck"));
        // Nobody rings: the sweep comes in time for the other one.
        office.world.clock.advance(a_moment);
        office.world.eventually("the other one", || async {
            (fired(&office.slots("good").await) == 1).then_some(())
        }).await;
        office.apply("one", json!([{ "name": "bad", "every": "20m" }])).await;
        let next = office.schedule("bad").await.schedule.next_at.unwrap();
        office.pass(next.since(office.engine.now())).await;
        assert_eq!(fired(&office.slots("bad").await), 1);
        assert_eq!((office.items().await.len(), office.schedule("bad").await.trouble), (0, None));
    }

    async fn a_run_by_hand_uses_up_no_slot_and_its_key_stands_for_one_run(world) {
        let office = Office::new(world).await;
        let schedule = json!([{ "name": "often", "every": "1h", "inputs": { "since": "v2" } }]);
        let notes = office.apply("notes", schedule).await;
        let (id, by) = (office.id("often").await, Author::local_board());
        let key = Some("now".to_owned());
        let run = office.engine.run_schedule_now(&id, key.clone(), &by).await.unwrap();
        let again = office.engine.run_schedule_now(&id, key, &by).await.unwrap();
        assert_eq!((&run.id, run.trigger_type, &run.inputs), (&again.id, TriggerType::Manual, &json!({ "since": "v2" })));
        let other = office.engine.run_schedule_now(&id, None, &by).await.unwrap();
        assert_ne!(other.id, run.id);
        assert_eq!(office.runs(&notes).await.len(), 2);
        assert!(office.slots("often").await.is_empty());
        assert_eq!(office.schedule("often").await.schedule.next_at, Some(after_noon(HOUR)));
    }

    async fn a_schedule_that_is_held_lets_its_slots_pass_by_and_makes_up_for_none(world) {
        let office = Office::new(world).await;
        let rule = |name: &str| json!({ "name": name, "every": "10m", "misfire": "all", "overlap": "allow" });
        let notes = office.apply("notes", json!([rule("held"), rule("free")])).await;
        let (id, by) = (office.id("held").await, Author::local_board());
        let held = office.engine.pause_schedule(&id, &by).await.unwrap();
        assert!(held.schedule.paused_at.is_some() && held.upcoming.is_empty());
        office.pass(10 * MINUTE).await;
        // What comes while nobody looks at it is of the pause all the same.
        office.engine.leave().await;
        office.world.clock.advance(20 * MINUTE);
        let held = office.world.engine().await;
        held.resume_schedule(&id, &by).await.unwrap();
        let office = Office { engine: held, ..office };
        office.engine.nudge();
        office.settled().await;
        let slots = office.slots("held").await;
        assert_eq!((slots.len(), skipped(&slots, SkipReason::Paused)), (3, 3), "{slots:?}");
        office.pass(10 * MINUTE).await;
        assert_eq!(fired(&office.slots("held").await), 1);
        assert_eq!(fired(&office.slots("free").await), 4);
        assert_eq!(office.runs(&notes).await.len(), 5);
        let agent = Author::agent(&"ada".into(), None);
        let refused = office.engine.pause_schedule(&id, &agent).await;
        assert!(matches!(refused, Err(EngineError::Denied(_))), "{refused:?}");
    }

    async fn a_draft_and_a_removed_automation_fire_nothing(world) {
        let office = Office::new(world).await;
        let often = |name: &str| json!([{ "name": name, "every": "10m" }]);
        let (draft, gone) = (office.apply("draft", often("d")).await, office.apply("gone", often("g")).await);
        office.set_status(&draft, AutomationStatus::Draft).await;
        let id = office.id("g").await;
        office.engine.remove_automation(&gone, &Author::local_board()).await.unwrap();
        office.pass(30 * MINUTE).await;
        let slots = office.slots("d").await;
        assert_eq!((slots.len(), skipped(&slots, SkipReason::Draft)), (3, 3));
        assert!(office.engine.schedule(&id).await.is_err());
        assert!(office.runs(&gone).await.is_empty() && office.runs(&draft).await.is_empty());
    }

    async fn old_slots_are_forgotten_and_a_very_long_outage_writes_none_of_them(world) {
        let settings = Settings { keep_slots_for: HOUR, ..world.settings() };
        let office = Office::new(world).await;
        office.engine.leave().await;
        let office = Office { engine: office.world.engine_with(settings).await, ..office };
        office.apply("notes", json!([{ "name": "often", "every": "10m" }])).await;
        // A year: no row of it is older than what is kept.
        office.pass(HOUR * 24 * 365).await;
        let slots = office.slots("often").await;
        assert!(slots.len() <= 7, "{}", slots.len());
        office.pass(HOUR * 2).await;
        office.world.eventually("old slots gone", || async {
            office.engine.nudge();
            let slots = office.slots("often").await;
            let oldest = office.engine.now().minus(HOUR * 2);
            slots.iter().all(|slot| slot.at >= oldest).then_some(())
        }).await;
    }
}
