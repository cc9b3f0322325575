//! A server goes, in order or killed, and the next one goes on where it was.

use domain::run::RunStatus;
use testkit::{Server, World, both_stores};

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
}
