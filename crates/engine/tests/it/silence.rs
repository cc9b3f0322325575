//! S5: a run that is silent, one that only seems so, and one that is busy and gets nowhere.

use std::sync::Arc;
use std::time::Duration;

use domain::agent::PauseReason;
use domain::recovery::silence::WatchdogDecision;
use domain::run::RunStatus;
use domain::telling::AgentEvent;
use domain::wake::Actor;
use engine::{Author, ProcessId, TreeUsage, WatchdogVerdict};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::inbox::InboxItem;
use store::runs::Run;
use testkit::{World, both_stores};

use crate::board::Board;
use crate::issue_settlement::{items, say_result};

const WORKING: TreeUsage = TreeUsage { cpu: Duration::from_secs(1), io_bytes: 10_000, processes: 2 };

/// An agent whose runs are silent after two seconds.
async fn watched(board: &Board, watchdog: Json) -> Agent {
    board.world.model.keep_time(Arc::clone(&board.world.clock) as _);
    let mut draft = engine::AgentDraft { name: "Ada".to_owned(), ..World::scripted(3) };
    draft.runtime_config["watchdog"] = watchdog;
    let actor = Actor::local_board();
    board.engine.create_agent(&board.company, draft, &actor).await.unwrap()
}

/// Lets time pass in steps of a sixth of a second, with a look of the task in each.
async fn pass(board: &Board, process: &ProcessId, seconds: f64, mut each: impl FnMut(&World)) {
    let steps = (seconds * 6.0).round() as u32;
    for _ in 0..steps {
        let before = board.world.model.measured(process);
        board.world.clock.advance(Duration::from_micros(166_700));
        each(&board.world);
        board.engine.nudge();
        board
            .world
            .model
            .until("a measurement", |model| {
                (model.measured(process) > before || !model.is_alive(process)).then_some(())
            })
            .await;
    }
}

async fn shown(board: &Board, run: &Run) -> Vec<InboxItem> {
    items(board, run.id.as_str()).await
}

fn call(number: u32, command: &str) -> AgentEvent {
    AgentEvent::ToolCall {
        id: number.to_string(),
        name: "bash".to_owned(),
        input: json!({ "command": command }),
    }
}

both_stores! {
    async fn a_run_without_any_sign_of_life_is_shown_once_and_taken_back_when_it_works_again(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "stallSec": 2, "criticalSec": 60 })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        world.model.set_used(&process, WORKING);
        pass(&board, &process, 1.5, |_| {}).await;
        assert_eq!(shown(&board, &run).await, []);
        pass(&board, &process, 1.0, |_| {}).await;
        let open = world.eventually("an item", || async { shown(&board, &run).await.pop() }).await;
        assert_eq!((open.kind.as_str(), open.cause.as_str()), ("silent_run", "silent"));
        assert_eq!(open.details["measured"], true);
        assert!(open.details["silenceAgeMs"].as_u64().is_some_and(|age| (2000..2500).contains(&age)), "{}", open.details);
        assert_eq!(world.run_until(&run.id, "flagged", |run| run.silence_level == "suspicious").await.status, RunStatus::Running);
        pass(&board, &process, 2.0, |_| {}).await;
        assert_eq!(shown(&board, &run).await.len(), 1);
        world.model.set_used(&process, TreeUsage { cpu: Duration::from_secs(9), ..WORKING });
        pass(&board, &process, 0.4, |_| {}).await;
        world.eventually("a resolved item", || async { shown(&board, &run).await.is_empty().then_some(()) }).await;
        assert_eq!(world.run(&run.id).await.silence_level, "ok");
    }

    async fn a_silent_run_whose_child_compiles_is_never_shown(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "stallSec": 2, "stallAction": "stop" })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        let mut cpu = 0;
        world.model.set_used(&process, WORKING);
        let of = process.clone();
        pass(&board, &process, 12.0, move |world| {
            cpu += 100;
            world.model.set_used(&of, TreeUsage { cpu: Duration::from_millis(cpu), ..WORKING });
        }).await;
        assert_eq!(shown(&board, &run).await, []);
        assert_eq!(world.run(&run.id).await.status, RunStatus::Running);
    }

    async fn a_silent_run_is_stopped_where_that_is_the_policy_and_its_item_goes_with_it(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "stallSec": 2, "stallAction": "stop" })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        world.model.set_used(&process, WORKING);
        pass(&board, &process, 3.0, |_| {}).await;
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::TimedOut, Some("silent")));
        assert_eq!(shown(&board, &run).await, []);
        let told = board.engine.activity(&board.company, Default::default(), 100).await.unwrap();
        assert_eq!(told.iter().filter(|entry| entry.action == "heartbeat.output_stale_detected").count(), 1);
    }

    async fn what_cannot_be_measured_is_shown_and_not_stopped(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "stallSec": 2, "stallAction": "stop" })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        pass(&board, &process, 5.0, |_| {}).await;
        assert_eq!(shown(&board, &run).await[0].details["measured"], false);
        assert_eq!(world.run(&run.id).await.status, RunStatus::Running);
    }

    async fn the_same_call_again_and_again_is_shown_at_the_eighth_and_stopped_where_that_is_the_policy(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "noProgressAction": "stop" })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        for number in 1..=7 {
            world.model.say(&process, &call(number, "make"));
        }
        world.model.say_message(&process, "seven");
        world.eventually("what it said", || async {
            board.engine.nudge();
            world.run(&run.id).await.no_progress_count.eq(&0).then_some(())
        }).await;
        assert_eq!(shown(&board, &run).await, []);
        world.model.say(&process, &call(8, "make"));
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::TimedOut, Some("no_progress")));
        assert_eq!(run.no_progress_count, 1);
        let told = board.engine.activity(&board.company, Default::default(), 100).await.unwrap();
        let entry = told.iter().find(|entry| entry.action == "heartbeat.no_progress_detected").expect("told");
        assert_eq!(entry.details.as_ref().map(|details| details["times"].clone()), Some(json!(8)));
    }

    async fn the_same_call_is_progress_while_the_workspace_changes(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "noProgressAction": "stop" })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        let home = world.settings().data_dir.join("agents").join(ada.id.as_str());
        std::fs::write(home.join("report.txt"), "changed since").unwrap();
        for number in 1..=30 {
            world.model.say(&process, &call(number, "make"));
        }
        say_result(&world.model, &process, Some("It takes long."), false);
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.no_progress_count), (RunStatus::Succeeded, 0));
    }

    async fn a_restarted_server_knows_what_was_shown(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "stallSec": 2, "criticalSec": 3600 })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        for number in 1..=8 {
            world.model.say(&process, &call(number, "make"));
        }
        world.model.set_used(&process, WORKING);
        world.eventually("two items", || async {
            let count = world.model.measured(&process);
            world.clock.advance(Duration::from_micros(166_700));
            board.engine.nudge();
            world.model.until("a measurement", |model| (model.measured(&process) > count).then_some(())).await;
            (shown(&board, &run).await.len() == 2).then_some(())
        }).await;
        // A person took note of both.
        for item in shown(&board, &run).await {
            let now = board.engine.now();
            let written = world.store.write(move |tx| {
                let id = item.id.clone();
                Box::pin(async move { store::inbox::resolve(tx, &id, "seen", now).await })
            });
            assert!(written.await.unwrap());
        }
        board.engine.leave().await;
        let board = Board { engine: world.engine().await, ..board };
        let before = world.model.measured(&process);
        world.eventually("a task again", || async {
            world.clock.advance(Duration::from_millis(20));
            board.engine.nudge();
            (world.model.measured(&process) > before).then_some(())
        }).await;
        pass(&board, &process, 3.0, |_| {}).await;
        assert_eq!(shown(&board, &run).await, [], "the same is not shown twice");
        board.engine.leave().await;
    }

    async fn a_person_may_ask_to_hear_nothing_for_a_while(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "stallSec": 2, "criticalSec": 4, "stallAction": "stop" })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        world.model.set_used(&process, WORKING);
        let verdict = |decision, until| WatchdogVerdict { decision, until, reason: Some("it downloads".to_owned()) };
        let until = board.engine.now().plus(Duration::from_secs(30));
        let person = Board::person();
        let asked = board.engine.decide_watchdog(&run.id, verdict(WatchdogDecision::Snooze, Some(until)), &person);
        assert_eq!(asked.await.unwrap(), Some(until));
        pass(&board, &process, 8.0, |_| {}).await;
        assert_eq!((world.run(&run.id).await.status, shown(&board, &run).await), (RunStatus::Running, vec![]));
        let past = board.engine.decide_watchdog(&run.id, verdict(WatchdogDecision::Snooze, None), &person).await;
        assert!(past.is_err());
        let stranger = board.agent("Eve").await;
        let by = Author::agent(&stranger.id, None);
        assert!(board.engine.decide_watchdog(&run.id, verdict(WatchdogDecision::Continue, None), &by).await.is_err());
        world.clock.advance(Duration::from_secs(30));
        pass(&board, &process, 1.0, |_| {}).await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::TimedOut);
    }

    async fn a_run_that_is_being_stopped_is_left_alone(world) {
        let board = Board::new(&world).await;
        let ada = watched(&board, json!({ "stallSec": 2 })).await;
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        world.model.set_obedience(&process, testkit::Obedience::Later);
        world.model.set_used(&process, WORKING);
        board.engine.pause_agent(&ada.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        world.model.until_stopping(&process).await;
        pass(&board, &process, 3.0, |_| {}).await;
        assert_eq!(shown(&board, &run).await, []);
        world.model.obey(&process);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
    }

    async fn that_a_program_is_done_is_on_record_while_it_stays_and_only_once(world) {
        let first = world.engine().await;
        let ada = world.agent(&first, 1).await;
        let (run, process) = world.start(&first, &ada.id, "").await;
        world.model.say_message(&process, "hello");
        world.model.say_done(&process);
        let said = || async {
            let events = world.events(&run.id).await.into_iter();
            let said: Vec<_> = events.filter(|it| it.message.as_deref() == Some("the agent is done; its process stays")).collect();
            said
        };
        let event = world.eventually("that it is done", || async { said().await.pop() }).await;
        assert_eq!(event.payload.unwrap()["result"], "success");
        assert_eq!(world.run(&run.id).await.status, RunStatus::Running, "its process is there still");
        first.leave().await;
        let second = world.engine().await;
        world.model.say_usage(&process, 10, 1, 100);
        // Saved no sooner than a program that stays is noted.
        world.run_until(&run.id, "with its usage saved", |run| run.usage.is_some()).await;
        assert_eq!(said().await.len(), 1);
        world.model.end_by(&process, domain::ending::EndedBy::Lingering);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        assert_eq!(said().await.len(), 1);
        second.leave().await;
    }
}
