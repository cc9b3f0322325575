//! Pause holds, cancel ends, and nothing from before a stop starts after it.

use domain::agent::{AgentStatus, PauseReason};
use domain::run::RunStatus;
use domain::wake::{Actor, WakeStatus};
use engine::EngineError;
use store::runs::Run;
use testkit::{Obedience, World, both_stores};

fn board() -> Actor {
    Actor::local_board()
}

both_stores! {
    async fn a_pause_cancels_what_runs_and_holds_what_waits_until_it_is_resumed(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (running, process) = world.start(&engine, &agent.id, "a").await;
        let follower = world.wake(&engine, &agent.id, "a").await;
        let other = world.wake(&engine, &agent.id, "b").await;
        let paused = engine.pause_agent(&agent.id, PauseReason::Manual, &board()).await.unwrap();
        assert_eq!((paused.status, paused.pause_reason), (AgentStatus::Paused, Some(PauseReason::Manual)));
        // At once, whatever the process still does.
        let held = engine.held_reasons(&[follower.clone(), other.clone()]).await.unwrap();
        assert!(held.iter().all(|held| held.unwrap().as_str() == "paused"), "{held:?}");
        let ended = world.over(&running.id).await;
        assert_eq!((ended.status, ended.error_code.as_deref()), (RunStatus::Cancelled, Some("cancelled")));
        assert_eq!(ended.result.unwrap()["stopReason"], serde_json::json!("paused"));
        assert_eq!(world.model.stops(&process), 1);
        let refused = engine.wake(&agent.id, World::request("c")).await;
        assert!(matches!(refused, Err(EngineError::NotInvokable(AgentStatus::Paused))));
        let wake = world.wakes_of(&agent.id).await.pop().unwrap();
        assert_eq!((wake.status, wake.reason.as_deref()), (WakeStatus::Failed, Some("agent.not_invokable")));
        assert_eq!(world.agent_row(&agent.id).await.status, AgentStatus::Paused);
        engine.nudge();
        engine.resume_agent(&agent.id, &board()).await.unwrap();
        let process = World::first(&follower.id);
        world.model.until_alive(&process).await;
        assert_eq!(world.run(&other.id).await.status, RunStatus::Queued);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.model.until_alive(&World::first(&other.id)).await;
    }

    async fn a_cancelled_run_ends_when_its_processes_are_gone(world) {
        let engine = world.engine().await;
        world.model.obey_by_default(Obedience::Later);
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let asked = engine.cancel_run(&run.id, Some("enough".into()), &board()).await.unwrap();
        assert_eq!(asked.status, RunStatus::Running);
        assert!(asked.stop_asked_at.is_some());
        world.model.until_stopping(&process).await;
        assert_eq!(world.run(&run.id).await.status, RunStatus::Running);
        assert!(engine.explain(&run.id).await.unwrap().cancelling);
        // A second ask changes nothing.
        engine.cancel_run(&run.id, Some("again".into()), &board()).await.unwrap();
        world.model.obey(&process);
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.error.as_deref()), (RunStatus::Cancelled, Some("enough")));
        assert_eq!(world.wakes_of(&agent.id).await[0].status, WakeStatus::Cancelled);
        // What is over stays as it is; its log may be put away meanwhile.
        let same = engine.cancel_run(&run.id, None, &board()).await.unwrap();
        assert_eq!(same, Run { log_state: same.log_state.clone(), ..run });
    }

    async fn a_cancelled_queued_run_never_starts(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (_, process) = world.start(&engine, &agent.id, "a").await;
        let queued = world.wake(&engine, &agent.id, "b").await;
        let joined = world.wake(&engine, &agent.id, "b").await;
        assert_eq!(joined.id, queued.id);
        let ended = engine.cancel_run(&queued.id, None, &board()).await.unwrap();
        assert_eq!((ended.status, ended.lease_epoch), (RunStatus::Cancelled, 0));
        let wakes = world.wakes_of(&agent.id).await;
        assert_eq!((wakes[1].status, wakes[2].status), (WakeStatus::Cancelled, WakeStatus::Coalesced));
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let (_, next) = world.start(&engine, &agent.id, "c").await;
        assert_eq!(world.model.starts(&World::first(&queued.id)), 0);
        assert!(world.model.is_alive(&next));
    }

    async fn cancelled_work_never_starts_and_new_work_does(world) {
        let engine = world.engine().await;
        world.model.obey_by_default(Obedience::Later);
        let agent = world.agent(&engine, 2).await;
        let (a, one) = world.start(&engine, &agent.id, "a").await;
        let (b, two) = world.start(&engine, &agent.id, "b").await;
        let mut waiting = Vec::new();
        for task in ["a", "b", "c", "d"] {
            waiting.push(world.wake(&engine, &agent.id, task).await);
        }
        let report = engine.cancel_work(&agent.id, &board()).await.unwrap();
        assert_eq!((report.stopping.len(), report.withdrawn.len(), report.held.len()), (2, 4, 0));
        // New work, while the old processes still die.
        let new = world.wake(&engine, &agent.id, "a").await;
        assert!(!waiting.iter().any(|old| old.id == new.id));
        for process in [one, two] {
            world.model.until_stopping(&process).await;
            world.model.obey(&process);
        }
        for run in [&a, &b] {
            assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        }
        let process = World::first(&new.id);
        world.model.until_alive(&process).await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        assert_eq!(world.over(&new.id).await.status, RunStatus::Succeeded);
        for old in waiting {
            assert_eq!(world.run(&old.id).await.status, RunStatus::Cancelled);
            assert_eq!(world.model.starts(&World::first(&old.id)), 0);
        }
    }

    async fn a_scheduled_retry_is_held_by_a_pause_and_ended_by_a_cancel(world) {
        let engine = world.engine().await;
        for cancel in [true, false] {
            let agent = world.agent(&engine, 1).await;
            let (run, process) = world.start(&engine, &agent.id, "a").await;
            world.model.say_failed(&process, domain::telling::ErrorClass::Transient, None);
            world.model.exit(&process, 1);
            world.over(&run.id).await;
            let retry = world.runs_of(&agent.id).await.pop().unwrap();
            assert_eq!(retry.status, RunStatus::ScheduledRetry);
            if cancel {
                let report = engine.cancel_work(&agent.id, &board()).await.unwrap();
                assert_eq!(report.withdrawn, std::slice::from_ref(&retry.id));
                assert_eq!(world.run(&retry.id).await.status, RunStatus::Cancelled);
                assert!(world.wakes_of(&agent.id).await.iter().all(|wake| wake.status.is_final()));
                continue;
            }
            let report = engine.pause_agent(&agent.id, PauseReason::Manual, &board()).await;
            assert_eq!(report.unwrap().status, AgentStatus::Paused);
            world.clock.set(retry.retry_at.unwrap());
            engine.nudge();
            let due = world.until(&retry.id, RunStatus::Queued).await;
            let held = engine.held_reasons(std::slice::from_ref(&due)).await.unwrap();
            assert_eq!(held[0].unwrap().as_str(), "paused");
            engine.resume_agent(&agent.id, &board()).await.unwrap();
            world.model.until_alive(&World::first(&retry.id)).await;
        }
    }

    async fn a_terminated_agent_is_stopped_for_good(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (running, _) = world.start(&engine, &agent.id, "a").await;
        let queued = world.wake(&engine, &agent.id, "b").await;
        let gone = engine.terminate_agent(&agent.id, &board()).await.unwrap();
        assert_eq!(gone.status, AgentStatus::Terminated);
        assert_eq!(world.over(&running.id).await.status, RunStatus::Cancelled);
        assert_eq!(world.over(&queued.id).await.status, RunStatus::Cancelled);
        assert_eq!(world.agent_row(&agent.id).await.status, AgentStatus::Terminated);
        let refused = engine.wake(&agent.id, World::request("c")).await;
        assert!(matches!(refused, Err(EngineError::NotInvokable(AgentStatus::Terminated))));
        assert!(matches!(engine.resume_agent(&agent.id, &board()).await, Err(EngineError::Conflict { .. })));
        let paused = engine.pause_agent(&agent.id, PauseReason::Manual, &board()).await;
        assert!(matches!(paused, Err(EngineError::Conflict { .. })));
    }

    async fn a_process_that_ignores_the_stop_dies_with_its_keeper(world) {
        let engine = world.engine().await;
        world.model.obey_by_default(Obedience::Never);
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        engine.cancel_run(&run.id, None, &board()).await.unwrap();
        let run = world.over(&run.id).await;
        assert_eq!(run.status, RunStatus::Cancelled);
        assert_eq!((world.model.keeper_kills(&process), world.model.sweeps(&process)), (1, 1));
    }

    async fn stopping_the_runs_ends_those_that_an_earlier_server_left_too(world) {
        let before = world.engine().await;
        let agent = world.agent(&before, 3).await;
        let mut runs = Vec::new();
        for task in ["a", "b", "c"] {
            runs.push(world.start(&before, &agent.id, task).await.0);
        }
        before.leave().await;
        // Asked at once: nothing was taken over yet.
        let engine = world.engine().await;
        assert_eq!(engine.stop_runs(testkit::patience()).await, 0);
        for run in runs {
            assert_eq!(world.run(&run.id).await.status, RunStatus::Cancelled);
        }
        assert!(world.model.alive().is_empty());
    }

    async fn a_keeper_that_missed_that_its_program_is_done_is_told_again(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        world.model.fail_lingers(1);
        let (_, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_message(&process, "did it");
        world.model.say_done(&process);
        world.eventually("the order", || async { (world.model.lingers(&process) == 1).then_some(()) }).await;
    }

    async fn a_program_that_is_done_and_stays_goes_with_its_keeper_at_last(world) {
        let engine = world.engine().await;
        let mut draft = World::scripted(1);
        draft.adapter_config["graceSec"] = serde_json::json!(0);
        let agent = world.agent_like(&engine, draft).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_message(&process, "did it");
        world.model.say_done(&process);
        let run = world.over(&run.id).await;
        assert_eq!(run.status, RunStatus::Succeeded);
        assert_eq!((world.model.keeper_kills(&process), world.model.sweeps(&process)), (1, 1));
    }

    async fn stopping_the_runs_of_a_server_ends_them_and_takes_nothing_in(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 3).await;
        let mut runs = Vec::new();
        for task in ["a", "b", "c"] {
            runs.push(world.start(&engine, &agent.id, task).await.0);
        }
        let queued = world.wake(&engine, &agent.id, "d").await;
        assert_eq!(engine.stop_runs(testkit::patience()).await, 0);
        for run in runs {
            assert_eq!(world.run(&run.id).await.status, RunStatus::Cancelled);
        }
        assert_eq!(world.run(&queued.id).await.status, RunStatus::Queued);
        assert!(matches!(engine.wake(&agent.id, World::request("e")).await, Err(EngineError::Closing)));
        assert!(world.model.alive().is_empty());
    }
}
