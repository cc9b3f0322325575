//! Two things at once, in the order that hurts.
//!
//! Where the order of two commits matters, the one writer of the embedded store is held until both stand in its queue;
//! such tests run on that store alone.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use domain::agent::PauseReason;
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::wake::Actor;
use engine::{Happening, Heard, Settings, StopReport};
use testkit::{Obedience, Refusal, World, both_stores, on_sqlite};

/// The writer, held; dropping this lets it go on.
struct Held {
    world: World,
    _release: mpsc::Sender<()>,
}

impl Held {
    async fn hold(world: &World) -> Held {
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let (entered, has_entered) = tokio::sync::oneshot::channel();
        let entered = Arc::new(Mutex::new(Some(entered)));
        let store = Arc::clone(&world.store);
        tokio::spawn(async move {
            let held = store.write(move |_| {
                let (released, entered) = (Arc::clone(&released), Arc::clone(&entered));
                Box::pin(async move {
                    if let Some(entered) = entered.lock().unwrap().take() {
                        entered.send(()).unwrap();
                    }
                    // Ends when the sender is dropped.
                    let _ = released.lock().unwrap().recv();
                    Ok(())
                })
            });
            held.await.unwrap();
        });
        has_entered.await.unwrap();
        Held { world: world.clone(), _release: release }
    }

    /// Waits until so many writes stand in the queue.
    async fn until_waiting(&self, count: usize) {
        let waiting = || async { (self.world.store.load().waiting_high >= count).then_some(()) };
        self.world.eventually("writes in the queue", waiting).await;
    }
}

#[test]
fn work_cancelled_while_its_end_is_written_is_not_tried_again() {
    on_sqlite(|world| async move {
        for lost in [true, false] {
            // A write of the engine's own may stand in the queue for the cancel; then the end comes first.
            let mut in_order = false;
            for _ in 0..5 {
                let engine = world.engine().await;
                let agent = world.agent(&engine, 1).await;
                let (run, process) = world.start(&engine, &agent.id, "a").await;
                let held = Held::hold(&world).await;
                let (asked, id) = (engine.clone(), agent.id.clone());
                let cancel = tokio::spawn(async move { asked.cancel_work(&id, &Actor::local_board()).await });
                held.until_waiting(1).await;
                if lost {
                    world.model.lose_keeper(&process);
                } else {
                    world.model.say_failed(&process, ErrorClass::Transient, None);
                    world.model.exit(&process, 1);
                }
                held.until_waiting(2).await;
                drop(held);
                cancel.await.unwrap().unwrap();
                let run = world.over(&run.id).await;
                in_order = run.stop_asked_at.is_some();
                if in_order {
                    assert_eq!(world.runs_of(&agent.id).await.len(), 1, "a retry started after the cancel");
                    assert!(!world.messages(&run.id).await.iter().any(|words| words.contains("retry")));
                }
                engine.leave().await;
                if in_order {
                    break;
                }
            }
            assert!(in_order, "the cancel never came first");
        }
    });
}

#[test]
fn a_session_found_gone_while_the_run_is_cancelled_starts_nothing_fresh() {
    on_sqlite(|world| async move {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_session(&process, "s");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&run.id).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let held = Held::hold(&world).await;
        let (asked, id) = (engine.clone(), run.id.clone());
        let cancel = tokio::spawn(async move { asked.cancel_run(&id, None, &Actor::local_board()).await });
        held.until_waiting(1).await;
        world.model.say_failed(&process, ErrorClass::SessionGone, None);
        world.model.exit(&process, 1);
        held.until_waiting(2).await;
        drop(held);
        cancel.await.unwrap().unwrap();
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.lease_epoch), (RunStatus::Cancelled, 1));
        assert_eq!(world.model.started(&run.id).len(), 1);
    });
}

#[test]
fn a_new_wake_does_not_overtake_a_run_that_waits_for_the_slot() {
    on_sqlite(|world| async move {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (_, process) = world.start(&engine, &agent.id, "a").await;
        let waiting = world.wake(&engine, &agent.id, "b").await;
        let held = Held::hold(&world).await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        held.until_waiting(1).await;
        let (asked, id) = (engine.clone(), agent.id.clone());
        let late = tokio::spawn(async move { World::ran(asked.wake(&id, World::request("c")).await) });
        held.until_waiting(2).await;
        drop(held);
        let late = late.await.unwrap();
        assert_eq!(late.status, RunStatus::Queued);
        world.model.until_alive(&World::first(&waiting.id)).await;
        assert_eq!(world.model.starts(&World::first(&late.id)), 0);
    });
}

#[test]
fn a_stop_committed_before_the_task_is_there_reaches_it() {
    on_sqlite(|world| async move {
        // Wake and stop share one commit, and whose answer is looked at first is chance.
        let mut in_order = 0;
        for round in 0..40 {
            let engine = world.engine().await;
            let agent = world.agent(&engine, 1).await;
            let held = Held::hold(&world).await;
            let (asked, id) = (engine.clone(), agent.id.clone());
            let wake = tokio::spawn(async move { World::ran(asked.wake(&id, World::request("a")).await) });
            held.until_waiting(1).await;
            let (asked, id) = (engine.clone(), agent.id.clone());
            let stop = tokio::spawn(async move { asked.cancel_work(&id, &Actor::local_board()).await });
            held.until_waiting(2).await;
            drop(held);
            let run = wake.await.unwrap();
            let mut stopped = stop.await.unwrap().unwrap();
            if stopped == StopReport::default() {
                // A write of the engine's own stood in the queue for the wake, which came after the stop.
                stopped = engine.cancel_work(&agent.id, &Actor::local_board()).await.unwrap();
            } else {
                in_order += 1;
            }
            assert_ne!(stopped, StopReport::default(), "round {round}");
            let run = world.over(&run.id).await;
            assert_eq!(run.status, RunStatus::Cancelled, "round {round}");
            engine.leave().await;
        }
        assert!(in_order >= 10, "{in_order}");
    });
}

both_stores! {
    async fn a_stop_asked_at_another_server_reaches_the_run(world) {
        let settings = Settings { period: Duration::from_millis(50), ..world.settings() };
        let tender = world.engine_with(settings).await;
        let other = world.engine_with(Settings { node_id: "node-2".into(), ..world.settings() }).await;
        let agent = world.agent(&tender, 1).await;
        let (run, process) = world.start(&tender, &agent.id, "a").await;
        other.pause_agent(&agent.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        assert_eq!(world.model.stops(&process), 1);
    }

    async fn a_held_agent_takes_no_place_from_one_that_could_start(world) {
        let engine = world.engine_with(Settings { max_runs: 1, ..world.settings() }).await;
        let held = world.agent(&engine, 1).await;
        let busy = world.agent(&engine, 1).await;
        let waiting = world.agent(&engine, 1).await;
        let (_, process) = world.start(&engine, &busy.id, "a").await;
        world.wake(&engine, &held.id, "a").await;
        engine.pause_agent(&held.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        let run = world.wake(&engine, &waiting.id, "a").await;
        world.eventually("the dispatcher has seen that there is no place", || async {
            let held = engine.held_reasons(std::slice::from_ref(&run)).await.unwrap();
            held[0].is_some_and(|reason| reason.as_str() == "capacity").then_some(())
        })
        .await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.model.until_alive(&World::first(&run.id)).await;
    }

    async fn on_a_full_instance_every_agent_gets_its_turn(world) {
        let engine = world.engine_with(Settings { max_runs: 1, ..world.settings() }).await;
        let mut agents = Vec::new();
        for _ in 0..4 {
            agents.push(world.agent(&engine, 1).await);
        }
        for agent in &agents {
            world.wake(&engine, &agent.id, "a").await;
        }
        let mut served = Vec::new();
        while served.len() < 12 {
            let alive = world.model.until("one alive", |model| model.alive().pop()).await;
            let agent = world.run(&alive.run).await.agent_id;
            // Whoever works has more to do at once.
            world.wake(&engine, &agent, "a").await;
            served.push(agent);
            world.model.say_done(&alive);
            world.model.exit(&alive, 0);
            world.over(&alive.run).await;
        }
        for agent in &agents {
            let turns = served.iter().filter(|id| **id == agent.id).count();
            assert!(turns >= 2, "{served:?}");
        }
    }

    async fn a_caller_who_goes_away_changes_nothing(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 10).await;
        for task in ["a", "b", "c", "d", "e"] {
            let mut wake = Box::pin(engine.wake(&agent.id, World::request(task)));
            // Looked at once, then dropped: the request was taken in, the answer is not waited for.
            let _ = futures_util::poll!(&mut wake);
            drop(wake);
        }
        world.model.until("all of them alive", |model| (model.alive().len() == 5).then_some(())).await;
    }

    async fn a_start_whose_outcome_is_unclear_is_not_called_a_failure(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        world.model.refuse_starts(Some(Refusal::Unclear));
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_usage(&process, 1, 1, 1);
        let run = world.run_until(&run.id, "over, or tended", |run| run.usage.is_some() || run.status.is_final()).await;
        assert_eq!(run.status, RunStatus::Running, "{:?}", run.error);
        world.model.refuse_starts(None);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
    }

    async fn an_error_after_the_start_is_no_failure_and_one_before_it_is(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        world.model.refuse_starts(Some(Refusal::After));
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        world.model.refuse_starts(Some(Refusal::Before));
        let run = world.wake(&engine, &agent.id, "a").await;
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("adapter_failed")));
        assert!(run.error.unwrap().contains("no more processes"));
    }

    async fn runs_taken_over_count_and_raise_no_limit(world) {
        let first = world.engine_with(Settings { max_runs: 4, ..world.settings() }).await;
        let mut agents = Vec::new();
        for _ in 0..5 {
            agents.push(world.agent(&first, 1).await);
        }
        let mut processes = Vec::new();
        for agent in &agents[..4] {
            processes.push(world.start(&first, &agent.id, "a").await.1);
        }
        let waiting = world.wake(&first, &agents[4].id, "a").await;
        first.leave().await;
        let next = world.engine_with(Settings { max_runs: 2, ..world.settings() }).await;
        world.eventually("recovery", || async { next.recovery().done.then_some(()) }).await;
        assert_eq!(next.capacity(), (4, 2));
        for (ended, process) in processes.iter().enumerate() {
            assert!(ended > 2 || world.model.starts(&World::first(&waiting.id)) == 0);
            world.model.say_done(process);
            world.model.exit(process, 0);
            world.over(&process.run).await;
            if ended == 2 {
                world.model.until_alive(&World::first(&waiting.id)).await;
            }
        }
        let places = |expected| {
            let next = next.clone();
            move || {
                let next = next.clone();
                async move { (next.capacity() == expected).then_some(()) }
            }
        };
        world.eventually("one place taken", places((1, 2))).await;
        // Two at once, and not a third.
        for agent in &agents[..3] {
            world.wake(&next, &agent.id, "b").await;
        }
        world.model.until("two alive", |model| (model.alive().len() == 2).then_some(())).await;
        next.nudge();
        world.eventually("two places taken", places((2, 2))).await;
        assert_eq!(world.model.alive().len(), 2);
    }

    async fn runs_that_go_on_have_their_places_before_new_ones_start(world) {
        let first = world.engine_with(Settings { max_runs: 2, ..world.settings() }).await;
        let mut agents = Vec::new();
        for _ in 0..4 {
            agents.push(world.agent(&first, 1).await);
        }
        for agent in &agents[..2] {
            world.start(&first, &agent.id, "a").await;
        }
        for agent in &agents[2..] {
            world.wake(&first, &agent.id, "a").await;
        }
        first.leave().await;
        let next = world.engine_with(Settings { max_runs: 2, ..world.settings() }).await;
        next.nudge();
        let new = world.wake(&next, &agents[0].id, "b").await;
        assert_eq!(new.status, RunStatus::Queued);
        world.eventually("recovery", || async { next.recovery().done.then_some(()) }).await;
        next.nudge();
        assert_eq!((world.model.alive().len(), next.capacity()), (2, (2, 2)));
    }

    async fn a_subscriber_misses_nothing_however_it_comes(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        world.model.obey_by_default(Obedience::AtOnce);
        let busy = {
            let (engine, id) = (engine.clone(), agent.id.clone());
            tokio::spawn(async move {
                loop {
                    engine.pause_agent(&id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
                    engine.resume_agent(&id, &Actor::local_board()).await.unwrap();
                }
            })
        };
        for _ in 0..100 {
            let mut subscription = engine.subscribe(&agent.company_id, None).await.unwrap();
            let from = subscription.cursor();
            let mut heard = Vec::new();
            while heard.len() < 6 {
                let next = tokio::time::timeout(testkit::patience(), subscription.next());
                if let Heard::Happening(Happening::Event(event)) = next.await.expect("events come").unwrap() {
                    heard.push(event.id);
                }
            }
            drop(subscription);
            let log: Vec<i64> = world.company_events_after(&agent.company_id, from, 6).await;
            assert_eq!(heard, log);
        }
        busy.abort();
    }
}
