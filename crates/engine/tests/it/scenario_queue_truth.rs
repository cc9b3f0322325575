//! S2: what waits in a queue is kept, says why it waits, and starts in its order.
//!
//! The short form takes 100 passes of everything that could think a run lost; `BUGLE_SOAK=n` takes n, at least 100.
//! `quota` has a scenario of its own (`scenario_accounts`).

use std::time::{Duration, Instant};

use domain::agent::PauseReason;
use domain::budget::policy::Draft;
use domain::budget::{Metric, Scope, ScopeKind};
use domain::hold::HeldReason;
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::wake::{Actor, WakeStatus};
use engine::{AgentDraft, Engine, Settings};
use serde_json::json;
use store::runs::Run;
use testkit::{Server, World, both_stores, on_postgres, on_sqlite, within};

use crate::board::Board;
use crate::issue_wakes::{about, block};

const MINUTE: Duration = Duration::from_secs(60);
const ON_ISSUES: usize = 8;
const QUEUED: usize = 20;
/// Each cause shows within a second of it, and so long after a place is free the next run starts.
const SECOND: Duration = Duration::from_secs(1);

/// Passes of the reaper: 100, or what the soak asks for.
fn passes() -> u32 {
    std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(100).max(100)
}

#[test]
fn a_queue_survives_reapers_restarts_and_a_pause_in_its_order_on_sqlite() {
    on_sqlite(play);
}

#[test]
fn a_queue_survives_reapers_restarts_and_a_pause_in_its_order_on_postgres() {
    on_postgres(play);
}

async fn play(world: World) {
    let board = Board::new(&world).await;
    let draft = AgentDraft {
        name: "Ada".to_owned(),
        runtime_config: json!({ "heartbeat": { "maxConcurrentRuns": 1 }, "budget": { "messageCents": 2.0 } }),
        ..World::scripted(1)
    };
    let ada = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
    let (long, process) = world.start(&board.engine, &ada.id, "long").await;
    let mut queue = Vec::new();
    for number in 0..ON_ISSUES {
        let issue = board.quiet(&format!("work {number}"), IssueStatus::Todo, Some(&ada)).await;
        queue.push(World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await));
    }
    for number in ON_ISSUES..QUEUED {
        queue.push(world.wake(&board.engine, &ada.id, &format!("task {number}")).await);
    }
    all_held(&world, &board.engine, &queue, HeldReason::Slot).await;
    board.engine.leave().await;

    // Every start is a pass of everything that looks for lost runs. The long run takes 13 minutes meanwhile.
    let passes = passes();
    for pass in 0..passes {
        world.clock.advance(MINUTE * 13 / passes);
        let engine = world.engine().await;
        engine.nudge();
        world.eventually("the recovery done", || async { engine.recovery().done.then_some(()) }).await;
        if pass % 10 == 9 {
            all_held(&world, &engine, &queue, HeldReason::Slot).await;
        }
        engine.leave().await;
    }
    for _ in 0..2 {
        let server = Server::start(&world, world.settings()).await;
        world
            .eventually("the recovery done", || async { server.engine().recovery().done.then_some(()) })
            .await;
        server.kill(&world).await;
    }
    assert_eq!((world.run(&long.id).await.status, world.model.starts(&process)), (RunStatus::Running, 1));
    let board = Board { engine: world.engine().await, ..board };

    // Each cause shows at once: a blocker, a budget, a pause.
    let issue = board.row(&queue[0].issue_id.clone().unwrap().as_str().into()).await;
    let blocker = board.quiet("first this", IssueStatus::Todo, None).await;
    let since = Instant::now();
    block(&board, &blocker, &issue).await;
    all_held(&world, &board.engine, &queue[..1], HeldReason::Dependency).await;
    all_held(&world, &board.engine, &queue[1..], HeldReason::Slot).await;
    assert!(since.elapsed() < within(SECOND), "{:?}", since.elapsed());
    let since = Instant::now();
    board.engine.set_budget(&board.company, cents(&ada.id.0, 1), &Board::person(), true).await.unwrap();
    all_held(&world, &board.engine, &queue, HeldReason::Budget).await;
    assert!(since.elapsed() < within(SECOND), "{:?}", since.elapsed());
    board.engine.set_budget(&board.company, cents(&ada.id.0, 100_000), &Board::person(), true).await.unwrap();
    board.move_to(&blocker.id, IssueStatus::Done).await;
    all_held(&world, &board.engine, &queue, HeldReason::Slot).await;
    let since = Instant::now();
    board.engine.pause_agent(&ada.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
    all_held(&world, &board.engine, &queue, HeldReason::Paused).await;
    assert!(since.elapsed() < within(SECOND), "{:?}", since.elapsed());
    // A pause ends what runs and holds what waits (D1).
    assert_eq!(world.over(&long.id).await.status, RunStatus::Cancelled);
    for _ in 0..12 {
        world.clock.advance(MINUTE * 5);
        board.engine.nudge();
        all_held(&world, &board.engine, &queue, HeldReason::Paused).await;
    }

    let mut since = Instant::now();
    board.engine.resume_agent(&ada.id, &Actor::local_board()).await.unwrap();
    let mut waits = Vec::new();
    for (number, next) in queue.iter().enumerate() {
        let alive = world.model.until("the next one alive", |model| model.alive().pop()).await;
        waits.push(since.elapsed());
        assert_eq!(alive.run, next.id, "number {number} of the queue is another run's");
        assert!(world.model.alive().len() <= 1, "one slot, one process");
        let run = world.until(&next.id, RunStatus::Running).await;
        // Work that is left open would be carried on, and the queue would have no end.
        if let Some(issue) = &run.issue_id {
            board.set_status(&issue.as_str().into(), IssueStatus::Done).await;
        }
        world.model.say_done(&alive);
        since = Instant::now();
        world.model.exit(&alive, 0);
        assert_eq!(world.over(&next.id).await.status, RunStatus::Succeeded);
    }
    let slowest = waits.iter().max().expect("twenty");
    eprintln!("{passes} passes; a free slot to the next start: at the most {slowest:?}");
    assert!(*slowest < within(SECOND), "{waits:?}");
    for (process, starts) in world.model.all_starts() {
        assert_eq!(starts, 1, "{process:?}");
    }
    board.engine.leave().await;
}

/// Every one of these is queued as it was, untouched by anybody, and shows this reason.
async fn all_held(world: &World, engine: &Engine, queue: &[Run], reason: HeldReason) {
    let mut rows = Vec::new();
    for run in queue {
        let row = world.run(&run.id).await;
        assert_eq!((row.status, row.error_code.as_deref()), (RunStatus::Queued, None), "{row:#?}");
        rows.push(row);
    }
    assert_eq!(engine.held_reasons(&rows).await.unwrap(), vec![Some(reason); queue.len()]);
}

fn cents(agent: &str, amount: i64) -> Draft {
    Draft {
        scope: Scope { kind: ScopeKind::Agent, id: agent.to_owned() },
        metric: Some(Metric::BilledCents),
        window: None,
        amount,
        warn_percent: None,
        hard_stop: None,
        notify: None,
        is_active: None,
    }
}

/// An engine in which runs wait for an hour at the most.
async fn impatient(world: &World) -> Engine {
    world.engine_with(Settings { max_queue_age: Some(MINUTE * 60), ..world.settings() }).await
}

both_stores! {
    async fn a_run_that_waited_too_long_ends_as_expired_and_frees_what_it_held(world) {
        let engine = impatient(&world).await;
        let company = world.company(&engine).await;
        let board = Board { world: world.clone(), engine, company };
        let by = Actor::local_board();
        let ada = board.engine.create_agent(&board.company, World::scripted(1), &by).await.unwrap();
        let (long, process) = world.start(&board.engine, &ada.id, "long").await;
        let issue = board.quiet("work", IssueStatus::Todo, Some(&ada)).await;
        let old = World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await);
        let joined = World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await);
        assert_eq!(joined.id, old.id);
        assert_eq!(board.row(&issue.id).await.execution_run_id, Some(old.id.clone()));
        world.clock.advance(MINUTE * 30);
        let young = world.wake(&board.engine, &ada.id, "young").await;
        world.clock.advance(MINUTE * 29);
        board.engine.nudge();
        let held = board.engine.held_reasons(&[world.run(&old.id).await]).await.unwrap();
        assert_eq!(held, [Some(HeldReason::Slot)]);
        world.clock.advance(MINUTE * 2);
        board.engine.nudge();
        let ended = world.over(&old.id).await;
        assert_eq!((ended.status, ended.error_code.as_deref()), (RunStatus::Cancelled, Some("expired")));
        assert!(world.model.started(&old.id).is_empty());
        for wake in world.wakes_of(&ada.id).await.into_iter().filter(|wake| wake.run_id.as_ref() == Some(&old.id)) {
            assert!(matches!(wake.status, WakeStatus::Cancelled | WakeStatus::Coalesced), "{wake:?}");
        }
        let row = board.row(&issue.id).await;
        assert_eq!((row.execution_run_id, row.lock_run_id, row.status), (None, None, IssueStatus::Todo));
        assert!(row.check_at.is_some(), "somebody looks after the work that it leaves");
        // What waits for less long goes on waiting, what runs goes on running, and the issue takes a new run.
        assert_eq!(world.run(&young.id).await.status, RunStatus::Queued);
        assert_eq!(world.run(&long.id).await.status, RunStatus::Running);
        let again = World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await);
        assert!(again.id != old.id && again.status == RunStatus::Queued, "{again:?}");
        board.finish((&long, &process)).await;
        world.model.until_alive(&World::first(&again.id)).await;
        board.engine.leave().await;
    }

    async fn a_run_that_expired_while_no_server_was_there_does_not_start(world) {
        let first = impatient(&world).await;
        let agent = world.agent(&first, 1).await;
        let (_, process) = world.start(&first, &agent.id, "long").await;
        let waiting = world.wake(&first, &agent.id, "waits").await;
        first.leave().await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.clock.advance(MINUTE * 61);
        let next = impatient(&world).await;
        assert_eq!(world.over(&waiting.id).await.error_code.as_deref(), Some("expired"));
        assert!(world.model.started(&waiting.id).is_empty());
        next.leave().await;
    }

    async fn an_agent_that_is_paused_keeps_no_run_longer_than_it_may_wait(world) {
        let engine = impatient(&world).await;
        let agent = world.agent(&engine, 1).await;
        world.start(&engine, &agent.id, "runs").await;
        let waiting = world.wake(&engine, &agent.id, "waits").await;
        engine.pause_agent(&agent.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        world.clock.advance(MINUTE * 61);
        engine.nudge();
        assert_eq!(world.over(&waiting.id).await.error_code.as_deref(), Some("expired"));
        engine.leave().await;
    }
}
