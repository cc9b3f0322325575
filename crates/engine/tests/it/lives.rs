//! From a wake to its end: what is on record after each step, slots, merging and order.

use domain::agent::AgentStatus;
use domain::ending::EndedBy;
use domain::run::RunStatus;
use domain::wake::WakeStatus;
use engine::Woken;
use serde_json::json;
use testkit::{World, both_stores};

both_stores! {
    async fn a_wake_with_a_free_slot_is_running_in_its_own_commit(world) {
        let engine = world.engine().await;
        world.model.hold_starts();
        let agent = world.agent(&engine, 1).await;
        let run = world.wake(&engine, &agent.id, "a").await;
        assert_eq!((run.status, run.lease_epoch), (RunStatus::Running, 1));
        // The row says the same, though no process could be started yet.
        let row = world.run(&run.id).await;
        assert_eq!((row.status, row.lease_epoch, row.node_id.as_deref()), (RunStatus::Running, 1, Some("node-1")));
        assert_eq!(world.wakes_of(&agent.id).await[0].status, WakeStatus::Claimed);
        assert_eq!(world.agent_row(&agent.id).await.status, AgentStatus::Running);
        world.model.release_starts();
    }

    async fn a_whole_life_is_on_record(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_session(&process, "session-1");
        world.model.say_message(&process, "working");
        world.model.say_usage(&process, 100, 20, 5000);
        world.model.err(&process, "a warning\n");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.exit_code, run.error.as_deref()), (RunStatus::Succeeded, Some(0), None));
        assert_eq!(run.session_after.as_deref(), Some("session-1"));
        assert_eq!(run.stderr_excerpt.as_deref(), Some("a warning\n"));
        assert_eq!(run.usage.as_ref().unwrap()["costMicros"], json!(5000));
        assert_eq!(run.result.as_ref().unwrap()["stopReason"], json!("completed"));
        assert_eq!(run.log_bytes, Some(run.log_offset));
        assert_eq!(run.process_pid, Some(1001));

        let wake = &world.wakes_of(&agent.id).await[0];
        assert_eq!((wake.status, wake.run_id.as_ref()), (WakeStatus::Completed, Some(&run.id)));
        assert!(wake.claimed_at.is_some() && wake.finished_at.is_some());

        let events = world.events(&run.id).await;
        let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=run.event_seq).collect::<Vec<_>>());
        let words: Vec<&str> = events.iter().filter_map(|event| event.message.as_deref()).collect();
        assert_eq!(words, ["run queued", "run started", "adapter invocation", "run succeeded"]);

        let row = world.agent_row(&agent.id).await;
        assert_eq!((row.status, row.last_heartbeat_at), (AgentStatus::Idle, run.finished_at));
        let state = world.runtime_state(&agent.id).await.unwrap();
        assert_eq!((state.input_tokens, state.output_tokens, state.cost_micros), (100, 20, 5000));
        assert_eq!((state.last_run_id.as_ref(), state.session_id.as_deref()), (Some(&run.id), Some("session-1")));
        // PostgreSQL shows events when no older transaction is open any more, anywhere.
        let kinds = world
            .eventually("the last event of the log", || async {
                let log = world.company_events(&agent.company_id).await;
                let kinds: Vec<String> = log.into_iter().map(|event| event.kind).collect();
                Some(kinds).filter(|kinds| kinds.iter().filter(|kind| *kind == "agent.status").count() == 2)
            })
            .await;
        let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
        assert_eq!((count("heartbeat.run.queued"), count("heartbeat.run.status")), (1, 2));
        assert_eq!(count("heartbeat.run.event"), events.len());
    }

    async fn a_failed_run_leaves_its_agent_in_error_and_totals_add_up(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        for (round, code) in [(1, 0), (2, 3)] {
            let (run, process) = world.start(&engine, &agent.id, "a").await;
            world.model.say_usage(&process, 10, 1, 7);
            if code == 0 {
                world.model.say_done(&process);
            }
            world.model.exit(&process, code);
            world.over(&run.id).await;
            let state = world.runtime_state(&agent.id).await.unwrap();
            assert_eq!((state.input_tokens, state.cost_micros), (10 * round, 7 * round));
        }
        assert_eq!(world.agent_row(&agent.id).await.status, AgentStatus::Error);
        // And it works again.
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        assert_eq!(world.agent_row(&agent.id).await.status, AgentStatus::Running);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
    }

    async fn a_second_wake_follows_the_run_under_way_and_a_third_joins_the_second(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 5).await;
        let (first, process) = world.start(&engine, &agent.id, "a").await;
        let second = world.wake(&engine, &agent.id, "a").await;
        assert_eq!(second.status, RunStatus::Queued);
        assert_ne!(second.id, first.id);
        let held = engine.held_reasons(std::slice::from_ref(&second)).await.unwrap();
        assert_eq!(held[0].unwrap().as_str(), "running");
        let mut third = World::request("a");
        third.context.insert("more".into(), json!(1));
        let third = World::ran(engine.wake(&agent.id, third).await);
        assert_eq!(third.id, second.id);
        assert_eq!(world.run(&second.id).await.context["more"], json!(1));
        let wakes = world.wakes_of(&agent.id).await;
        let fates: Vec<_> = wakes.iter().map(|wake| (wake.status, wake.run_id.clone().unwrap())).collect();
        assert_eq!(
            fates,
            [
                (WakeStatus::Claimed, first.id.clone()),
                (WakeStatus::Queued, second.id.clone()),
                (WakeStatus::Coalesced, second.id.clone())
            ]
        );
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        // The follow-up starts by itself, after the first has ended.
        let process = World::first(&second.id);
        world.model.until_alive(&process).await;
        assert_eq!(world.run(&first.id).await.status, RunStatus::Succeeded);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&second.id).await;
        assert_eq!(world.runs_of(&agent.id).await.len(), 2);
        assert!(world.wakes_of(&agent.id).await.iter().all(|wake| wake.status.is_final()));
    }

    async fn slots_are_kept_and_given_on_in_the_order_of_the_queue(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 2).await;
        let (_, one) = world.start(&engine, &agent.id, "a").await;
        let (_, two) = world.start(&engine, &agent.id, "b").await;
        let mut waiting = Vec::new();
        for task in ["c", "d", "e"] {
            waiting.push(world.wake(&engine, &agent.id, task).await);
        }
        let held = engine.held_reasons(&waiting).await.unwrap();
        assert!(held.iter().all(|held| held.unwrap().as_str() == "slot"), "{held:?}");
        assert_eq!(world.model.alive().len(), 2);
        for (ends, next) in [(two, 0), (one, 1), (World::first(&waiting[0].id), 2)] {
            world.model.say_done(&ends);
            world.model.exit(&ends, 0);
            world.model.until_alive(&World::first(&waiting[next].id)).await;
            assert!(world.model.alive().len() <= 2);
        }
    }

    async fn without_a_task_key_wakes_of_an_agent_share_one_scope(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 5).await;
        let (first, process) = world.start(&engine, &agent.id, "").await;
        let second = world.wake(&engine, &agent.id, "").await;
        assert_eq!((first.task_key.as_str(), second.status), ("", RunStatus::Queued));
        assert_eq!(world.wake(&engine, &agent.id, "").await.id, second.id);
        world.model.end_by(&process, EndedBy::WallLimit);
        assert_eq!(world.over(&first.id).await.status, RunStatus::TimedOut);
        world.model.until_alive(&World::first(&second.id)).await;
    }

    async fn the_instance_runs_no_more_than_it_may_and_gives_free_places_on(world) {
        let settings = engine::Settings { max_runs: 2, ..world.settings() };
        let engine = world.engine_with(settings).await;
        let mut agents = Vec::new();
        for _ in 0..5 {
            agents.push(world.agent(&engine, 3).await);
        }
        let mut runs = Vec::new();
        for agent in &agents {
            runs.push(world.wake(&engine, &agent.id, "a").await);
        }
        let alive = world
            .model
            .until("two alive", |model| Some(model.alive()).filter(|alive| alive.len() == 2))
            .await;
        assert_eq!(engine.capacity(), (2, 2));
        let held = engine.held_reasons(&runs[2..]).await.unwrap();
        assert!(held.iter().all(|held| held.unwrap().as_str() == "capacity"), "{held:?}");
        let mut ended = 0;
        let mut next = alive;
        while ended < 5 {
            let id = next.pop().unwrap();
            world.model.say_done(&id);
            world.model.exit(&id, 0);
            ended += 1;
            world.over(&id.run).await;
            let expected = (5 - ended).min(2);
            next = world
                .model
                .until("free places given on", |model| {
                    assert!(model.alive().len() <= 2);
                    Some(model.alive()).filter(|alive| alive.len() == expected)
                })
                .await;
        }
        world.eventually("all places free", || async { (engine.capacity() == (0, 2)).then_some(()) }).await;
    }

    async fn the_session_of_a_task_is_the_next_runs(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        // Queued before there was a session: what counts is the session when it starts.
        let follower = world.wake(&engine, &agent.id, "a").await;
        world.model.say_session(&process, "s-1");
        world.model.say_message(&process, "hello");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&run.id).await;
        let process = World::first(&follower.id);
        world.model.until_alive(&process).await;
        let argv = world.model.argv(&process);
        assert!(argv.windows(2).any(|pair| pair == ["--resume", "s-1"]), "{argv:?}");
        assert_eq!(world.run(&follower.id).await.session_before.as_deref(), Some("s-1"));
        // Another task has none of it.
        let other = world.wake(&engine, &agent.id, "b").await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let process = World::first(&other.id);
        world.model.until_alive(&process).await;
        assert!(!world.model.argv(&process).contains(&"--resume".to_owned()));
    }

    async fn an_agent_that_is_not_there_is_not_found(world) {
        let engine = world.engine().await;
        let answer = engine.wake(&"nobody".into(), World::request("a")).await;
        assert!(matches!(answer, Err(engine::EngineError::NotFound("Agent"))));
    }

    async fn a_closing_engine_takes_no_wake_in(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        engine.leave().await;
        let answer: Result<Woken, _> = engine.wake(&agent.id, World::request("a")).await;
        assert!(matches!(answer, Err(engine::EngineError::Closing)));
        assert!(world.wakes_of(&agent.id).await.is_empty());
    }
}
