//! Idempotency keys: the same ask gets the same answer, whatever has become of the first, and another ask gets none.

use domain::agent::{AgentStatus, PauseReason};
use domain::run::RunStatus;
use domain::wake::Actor;
use engine::{AgentPatch, EngineError, Woken};
use futures_util::future::join_all;
use serde_json::json;
use testkit::{World, both_stores};

both_stores! {
    async fn the_same_ask_is_answered_with_the_same_run_for_ever(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 5).await;
        let ask = || engine.wake(&agent.id, World::keyed("a", "key", "body"));
        let run = World::ran(ask().await);
        let process = World::first(&run.id);
        world.model.until_alive(&process).await;
        assert_eq!(World::ran(ask().await).id, run.id);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let ended = world.over(&run.id).await;
        assert_eq!(World::ran(ask().await), ended);
        assert_eq!((world.wakes_of(&agent.id).await.len(), world.runs_of(&agent.id).await.len()), (1, 1));
        // Of another agent it is another key.
        let other = world.agent(&engine, 1).await;
        assert_ne!(World::ran(engine.wake(&other.id, World::keyed("a", "key", "body")).await).id, run.id);
    }

    async fn the_same_key_with_another_body_is_refused_and_writes_nothing(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 5).await;
        engine.wake(&agent.id, World::keyed("a", "key", "body")).await.unwrap();
        let wake = world.wakes_of(&agent.id).await.remove(0).id;
        let answer = engine.wake(&agent.id, World::keyed("a", "key", "another body")).await;
        assert!(matches!(answer, Err(EngineError::KeyReused { wake: of }) if of == wake.0));
        assert_eq!(world.wakes_of(&agent.id).await.len(), 1);
    }

    async fn twenty_equal_wakes_at_once_make_one_run(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 5).await;
        let asks = (0..20).map(|_| engine.wake(&agent.id, World::keyed("a", "key", "body")));
        let runs: Vec<_> = join_all(asks).await.into_iter().map(|answer| World::ran(answer).id).collect();
        assert!(runs.iter().all(|run| *run == runs[0]));
        assert_eq!((world.wakes_of(&agent.id).await.len(), world.runs_of(&agent.id).await.len()), (1, 1));
        world.model.until_alive(&World::first(&runs[0])).await;
    }

    async fn twenty_wakes_at_once_make_a_run_and_one_that_follows_it(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 5).await;
        let asks = (0..20).map(|_| engine.wake(&agent.id, World::request("a")));
        let runs: Vec<_> = join_all(asks).await.into_iter().map(World::ran).collect();
        let stored = world.runs_of(&agent.id).await;
        assert_eq!(stored.len(), 2);
        let running = stored.iter().find(|run| run.status == RunStatus::Running).unwrap();
        assert!(stored.iter().any(|run| run.status == RunStatus::Queued));
        assert_eq!(runs.iter().filter(|run| run.id == running.id).count(), 1);
        assert_eq!(world.wakes_of(&agent.id).await.len(), 20);
    }

    async fn a_skipped_ask_stays_skipped(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let config = |on: bool| AgentPatch {
            runtime_config: Some(json!({ "heartbeat": { "wakeOnDemand": on } })),
            ..AgentPatch::default()
        };
        engine.patch_agent(&agent.id, config(false), &Actor::local_board()).await.unwrap();
        let first = engine.wake(&agent.id, World::keyed("a", "key", "body")).await.unwrap();
        let Woken::Skipped(first) = first else { panic!("{first:?}") };
        assert_eq!(first.reason.unwrap().as_str(), "heartbeat.wakeOnDemand.disabled");
        engine.patch_agent(&agent.id, config(true), &Actor::local_board()).await.unwrap();
        let again = engine.wake(&agent.id, World::keyed("a", "key", "body")).await.unwrap();
        let Woken::Skipped(again) = again else { panic!("{again:?}") };
        assert_eq!((again.wake, again.reason), (first.wake, None));
        assert!(world.runs_of(&agent.id).await.is_empty());
    }

    async fn a_refused_ask_stays_refused_with_the_same_words(world) {
        let engine = world.engine().await;
        for terminated in [false, true] {
            let agent = world.agent(&engine, 1).await;
            let expected = if terminated {
                engine.terminate_agent(&agent.id, &Actor::local_board()).await.unwrap();
                AgentStatus::Terminated
            } else {
                engine.pause_agent(&agent.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
                AgentStatus::Paused
            };
            for _ in 0..2 {
                let answer = engine.wake(&agent.id, World::keyed("a", "key", "body")).await;
                assert!(matches!(answer, Err(EngineError::NotInvokable(status)) if status == expected));
                if !terminated {
                    engine.resume_agent(&agent.id, &Actor::local_board()).await.unwrap();
                }
            }
            assert_eq!(world.wakes_of(&agent.id).await.len(), 1);
        }
    }

    async fn a_merged_ask_is_answered_with_the_run_it_joined(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        world.start(&engine, &agent.id, "a").await;
        let follower = world.wake(&engine, &agent.id, "a").await;
        for _ in 0..2 {
            let merged = World::ran(engine.wake(&agent.id, World::keyed("a", "key", "body")).await);
            assert_eq!(merged.id, follower.id);
        }
        assert_eq!(world.wakes_of(&agent.id).await.len(), 3);
    }
}
