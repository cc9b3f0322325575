//! A server goes, in order or killed, and the next one goes on where it was.

use std::time::Duration;

use domain::run::RunStatus;
use domain::wake::Actor;
use engine::ProcessError;
use testkit::{Obedience, Refusal, Server, World, both_stores};

both_stores! {
    async fn a_process_outlives_its_server_and_the_next_one_takes_it_over(world) {
        for orderly in [true, false] {
            let server = Server::start(&world, world.settings()).await;
            let agent = server.agent(&world, 1).await;
            let run = server.wake(&agent.id, "a").await;
            let process = World::first(&run.id);
            world.model.until_alive(&process).await;
            world.model.say_usage(&process, 10, 1, 100);
            world.run_until(&run.id, "with its usage saved", |run| run.usage.is_some()).await;
            if orderly { server.leave(&world).await } else { server.kill(&world).await }
            world.model.say_usage(&process, 10, 1, 100);
            let next = Server::start(&world, world.settings()).await;
            world.run_until(&run.id, "taken over", |row| row.lease_holder > run.lease_holder).await;
            world.model.say_usage(&process, 10, 1, 100);
            world.model.say_done(&process);
            world.model.exit(&process, 0);
            let ended = world.over(&run.id).await;
            assert_eq!((ended.status, ended.lease_epoch), (RunStatus::Succeeded, 1));
            assert_eq!(ended.usage.unwrap()["inputTokens"], serde_json::json!(30));
            assert_eq!(world.runtime_state(&agent.id).await.unwrap().input_tokens, 30);
            assert_eq!(world.model.started(&run.id).len(), 1);
            let seqs: Vec<i64> = world.events(&run.id).await.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, (1..=ended.event_seq).collect::<Vec<_>>());
            next.leave(&world).await;
        }
    }

    async fn what_ended_while_no_server_was_there_is_settled(world) {
        let server = Server::start(&world, world.settings()).await;
        let agent = server.agent(&world, 1).await;
        let run = server.wake(&agent.id, "a").await;
        let process = World::first(&run.id);
        world.model.until_alive(&process).await;
        server.kill(&world).await;
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let next = Server::start(&world, world.settings()).await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        assert_eq!(world.model.starts(&process), 1);
        world.eventually("recovery done", || async { next.engine().recovery().done.then_some(()) }).await;
        assert_eq!(next.engine().recovery().taken_over, 1);
    }

    async fn what_was_claimed_and_never_started_is_started_once_under_the_next_epoch(world) {
        let server = Server::start(&world, world.settings()).await;
        let agent = server.agent(&world, 1).await;
        world.model.hold_starts();
        let run = server.wake(&agent.id, "a").await;
        world.model.until("the start under way", |model| (model.attempts() == 1).then_some(())).await;
        server.kill(&world).await;
        let next = Server::start(&world, world.settings()).await;
        let (first, second) = (World::first(&run.id), engine::ProcessId { run: run.id.clone(), epoch: 2 });
        world.model.until("the start taken back", |model| model.is_revoked(&first).then_some(())).await;
        // Now the late start of the first server comes through, and finds that it may not.
        world.model.release_starts();
        world.model.until_alive(&second).await;
        world.model.say_done(&second);
        world.model.exit(&second, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        assert_eq!((world.model.starts(&first), world.model.starts(&second)), (0, 1));
        next.leave(&world).await;
    }

    async fn a_stop_that_was_asked_before_the_kill_is_carried_out_after_it(world) {
        world.model.obey_by_default(Obedience::Later);
        let server = Server::start(&world, world.settings()).await;
        let agent = server.agent(&world, 1).await;
        let (run, process) = server.start_run(&world, &agent.id, "a").await;
        let id = run.id.clone();
        server.call(|engine| async move { engine.cancel_run(&id, None, &Actor::local_board()).await }).await.unwrap();
        server.kill(&world).await;
        let before = world.model.stops(&process);
        let next = Server::start(&world, world.settings()).await;
        world.model.until("the order again", |model| (model.stops(&process) > before).then_some(())).await;
        world.model.obey(&process);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        next.leave(&world).await;
    }

    async fn a_run_asked_to_stop_before_it_started_is_not_started_by_the_next_server(world) {
        let server = Server::start(&world, world.settings()).await;
        let agent = server.agent(&world, 1).await;
        world.model.hold_starts();
        let run = server.wake(&agent.id, "a").await;
        world.model.until("the start under way", |model| (model.attempts() == 1).then_some(())).await;
        let id = run.id.clone();
        server.call(|engine| async move { engine.cancel_run(&id, None, &Actor::local_board()).await }).await.unwrap();
        server.kill(&world).await;
        let next = Server::start(&world, world.settings()).await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        world.model.release_starts();
        assert_eq!((world.model.started(&run.id).len(), world.run(&run.id).await.lease_epoch), (0, 1));
        next.leave(&world).await;
    }

    async fn a_process_that_is_on_record_and_whose_folder_was_removed_is_lost_and_not_started_beside_itself(world) {
        for is_killed in [true, false] {
            let server = Server::start(&world, world.settings()).await;
            let agent = server.agent(&world, 1).await;
            let (run, process) = server.start_run(&world, &agent.id, "a").await;
            world.model.say_usage(&process, 10, 1, 100);
            world.run_until(&run.id, "with progress", |run| run.log_offset > 0).await;
            let next = if is_killed {
                server.kill(&world).await;
                world.model.reboot("boot-1", std::slice::from_ref(&process));
                Server::start(&world, world.settings()).await
            } else {
                world.model.reboot("boot-1", std::slice::from_ref(&process));
                world.model.port().greet(&process, 0).unwrap_or_default();
                server
            };
            let run = world.over(&run.id).await;
            assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("process_lost")));
            assert_eq!((run.lease_epoch, world.model.starts(&process)), (1, 1));
            assert_eq!(world.model.sweeps(&process), 1, "what is left of it is ended first");
            next.leave(&world).await;
        }
    }

    async fn after_a_restart_of_the_machine_what_may_have_run_is_lost_and_not_started_again_in_silence(world) {
        let server = Server::start(&world, world.settings()).await;
        let agent = server.agent(&world, 3).await;
        let (gone, lost) = server.start_run(&world, &agent.id, "a").await;
        let (forgotten, unwritten) = server.start_run(&world, &agent.id, "b").await;
        let (done, ended) = server.start_run(&world, &agent.id, "c").await;
        server.kill(&world).await;
        world.model.say_done(&ended);
        world.model.exit(&ended, 0);
        world.model.reboot("boot-2", std::slice::from_ref(&unwritten));
        let next = Server::start(&world, world.settings()).await;
        assert_eq!(world.over(&done.id).await.status, RunStatus::Succeeded);
        for (run, process) in [(gone, lost), (forgotten, unwritten)] {
            let run = world.over(&run.id).await;
            assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("process_lost")));
            assert_eq!((run.lease_epoch, world.model.starts(&process)), (1, 1));
            let runs = world.runs_of(&agent.id).await;
            let retries: Vec<_> =
                runs.iter().filter(|other| other.retry_of_run_id.as_ref() == Some(&run.id)).collect();
            assert_eq!(retries.len(), 1);
            world.model.until_alive(&World::first(&retries[0].id)).await;
            assert_eq!(world.run(&retries[0].id).await.boot_id.as_deref(), Some("boot-2"));
        }
        next.leave(&world).await;
    }

    async fn a_stale_server_leaves_and_changes_nothing(world) {
        // Its sweeps come often, so that it has every chance to do harm.
        let often = engine::Settings { period: Duration::from_millis(20), ..world.settings() };
        let stale = world.engine_with(often.clone()).await;
        let agent = world.agent(&stale, 1).await;
        let (run, process) = world.start(&stale, &agent.id, "a").await;
        let next = world.engine_with(often).await;
        world.run_until(&run.id, "taken over", |row| row.lease_holder > run.lease_holder).await;
        // Both hear it, one may write it.
        world.model.say_usage(&process, 5, 5, 5);
        let tended = |engine: &engine::Engine| {
            let (engine, id) = (engine.clone(), run.id.clone());
            async move { engine.explain(&id).await.unwrap().holder.unwrap().tended_here }
        };
        world.eventually("the stale task has left", || async { (!tended(&stale).await).then_some(()) }).await;
        assert!(tended(&next).await);
        // A stop asked at the stale server is the new one's to carry out.
        stale.cancel_run(&run.id, None, &Actor::local_board()).await.unwrap();
        let ended = world.over(&run.id).await;
        assert_eq!((ended.status, ended.lease_holder), (RunStatus::Cancelled, run.lease_holder.map(|h| h + 1)));
        assert_eq!(world.model.stops(&process), 1);
        assert_eq!(world.runtime_state(&agent.id).await.unwrap().input_tokens, 5);
        let messages = world.messages(&run.id).await;
        assert_eq!(messages.iter().filter(|words| *words == "run cancelled").count(), 1);
    }

    async fn a_keeper_obeys_the_newest_server_only(world) {
        let old = world.engine().await;
        let agent = world.agent(&old, 1).await;
        let (run, process) = world.start(&old, &agent.id, "a").await;
        let _next = world.engine().await;
        world.run_until(&run.id, "taken over", |row| row.lease_holder > run.lease_holder).await;
        let old_holder = run.lease_holder.unwrap();
        world.model.until("a greeting", |model| (model.obeyed(&process) > old_holder).then_some(())).await;
        world.model.print(&process, "still there\n");
        let port = world.model.port();
        let refused = port.stop(&process, old_holder, "late");
        assert!(matches!(refused, Err(ProcessError::Refused)), "{refused:?}");
        assert_eq!(world.model.stops(&process), 0);
    }

    async fn everything_that_ran_is_taken_over_and_the_recovery_says_so(world) {
        let server = Server::start(&world, world.settings()).await;
        let agents = [server.agent(&world, 10).await, server.agent(&world, 10).await];
        let mut processes = Vec::new();
        for agent in &agents {
            for number in 0..10 {
                processes.push(server.start_run(&world, &agent.id, &format!("task-{number}")).await.1);
            }
        }
        server.kill(&world).await;
        let next = Server::start(&world, engine::Settings { recovery_width: 3, ..world.settings() }).await;
        world.eventually("recovery done", || async { next.engine().recovery().done.then_some(()) }).await;
        let recovery = next.engine().recovery();
        assert_eq!((recovery.taken_over, recovery.failed), (20, 0));
        assert_eq!(next.engine().capacity(), (20, 64));
        for process in &processes {
            world.model.say_done(process);
            world.model.exit(process, 0);
            assert_eq!(world.over(&process.run).await.status, RunStatus::Succeeded);
        }
        next.leave(&world).await;
    }

    async fn a_keeper_that_comes_late_is_waited_for_by_its_own_server(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        world.model.refuse_starts(Some(Refusal::Late));
        let run = world.wake(&engine, &agent.id, "a").await;
        let process = World::first(&run.id);
        world.model.until("the start", |model| (model.attempts() == 1).then_some(())).await;
        world.model.arrive(&process);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.lease_epoch), (RunStatus::Succeeded, 1));
    }
}

#[test]
fn an_embedded_store_in_a_new_data_folder_leaves_no_run_running_for_ever() {
    testkit::on_sqlite(|world| async move {
        let server = Server::start(&world, world.settings()).await;
        let agent = server.agent(&world, 1).await;
        let (run, process) = server.start_run(&world, &agent.id, "a").await;
        server.kill(&world).await;
        // A copy of the store comes without run folders, and its new folder has a new id.
        world.model.reboot("boot-1", std::slice::from_ref(&process));
        let moved = engine::Settings { node_id: "node-2".to_owned(), ..world.settings() };
        let next = Server::start(&world, moved).await;
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::Failed, Some("process_lost")));
        assert_eq!(world.model.starts(&process), 1, "it may have run: it is not started again in silence");
        assert_eq!(world.model.sweeps(&process), 0, "where the store comes from it may still run");
        next.leave(&world).await;
    });
}
