//! What is over is put away, and gone in the end; what is not over, or of another server, is left alone.

use std::time::Duration;

use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{Actor, Source};
use engine::{AgentPatch, Engine, Settings};
use serde_json::json;
use store::runs::Run;
use testkit::{Model, World, both_stores};

const DAY: Duration = Duration::from_secs(86_400);

async fn ended(world: &World, engine: &Engine, agent: &store::agents::Agent, task: &str) -> Run {
    let (run, process) = world.start(engine, &agent.id, task).await;
    world.model.say_done(&process);
    world.model.exit(&process, 0);
    world.over(&run.id).await
}

both_stores! {
    async fn a_finished_run_is_archived_and_removed_when_it_is_old(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 2).await;
        let (kept, _) = world.start(&engine, &agent.id, "b").await;
        let run = ended(&world, &engine, &agent, "a").await;
        let process = World::first(&run.id);
        world.run_until(&run.id, "archived", |run| run.log_state == "archived").await;
        assert!(world.model.is_archived(&process) && !world.model.is_removed(&process));
        world.clock.advance(DAY * 91);
        engine.nudge();
        world.eventually("it is gone", || async {
            engine.nudge();
            world.find_run(&run.id).await.is_none().then_some(())
        }).await;
        assert!(world.model.is_removed(&process));
        assert!(world.events(&run.id).await.is_empty());
        let wakes = world.wakes_of(&agent.id).await;
        assert_eq!(wakes.iter().filter_map(|wake| wake.run_id.as_ref()).collect::<Vec<_>>(), [&kept.id]);
        // What is under way is kept, however old.
        assert_eq!(world.run(&kept.id).await.status, RunStatus::Running);
        assert_eq!(world.agent_row(&agent.id).await.id, agent.id);
    }

    async fn wakes_that_started_nothing_go_and_their_keys_stay_for_a_day(world) {
        let settings = Settings { keep_idle_wakes_for: Duration::from_secs(3600), ..world.settings() };
        let engine = world.engine_with(settings).await;
        let agent = world.agent(&engine, 1).await;
        let off = AgentPatch {
            runtime_config: Some(json!({ "heartbeat": { "wakeOnDemand": false } })),
            ..AgentPatch::default()
        };
        engine.patch_agent(&agent.id, off, &Actor::local_board()).await.unwrap();
        engine.wake(&agent.id, World::request("a")).await.unwrap();
        engine.wake(&agent.id, World::keyed("a", "key", "")).await.unwrap();
        let left = |count: usize| {
            let (world, agent) = (&world, &agent);
            move || async move { (world.wakes_of(&agent.id).await.len() == count).then_some(()) }
        };
        world.clock.advance(Duration::from_secs(7200));
        engine.nudge();
        world.eventually("the one without a key gone", left(1)).await;
        assert!(world.wakes_of(&agent.id).await[0].idempotency_key.is_some());
        world.clock.advance(DAY);
        engine.nudge();
        world.eventually("the other one gone", left(0)).await;
    }

    async fn what_was_settled_and_what_expired_is_forgotten(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let now = engine.now();
        let item = |id: &str, resolved: bool| store::inbox::InboxItem {
            id: id.to_owned(),
            company_id: company.clone(),
            kind: "stranded_issue".into(),
            entity_type: "issue".into(),
            entity_id: id.to_owned(),
            cause: "stranded".into(),
            title: "left".into(),
            details: json!({}),
            owner_agent_id: None,
            opened_at: now,
            resolved_at: resolved.then_some(now),
            resolution: resolved.then(|| "gone".to_owned()),
        };
        let items = [item("over", true), item("open", false)];
        let login = engine::ChallengeDraft { command: "login".into(), client_name: None, requested: domain::access::challenge::RequestedAccess::Board, company_id: None };
        engine.create_challenge(login).await.unwrap();
        let written = items.clone();
        world.store.write(move |tx| {
            let items = written.clone();
            Box::pin(async move {
                for item in &items {
                    assert!(store::inbox::open(tx, item).await?);
                }
                Ok(())
            })
        }).await.unwrap();
        let left = |id: &'static str| world.read(move |tx| Box::pin(store::inbox::get(tx, id)));
        world.clock.advance(DAY * 91);
        engine.nudge();
        world.eventually("it is gone", || async {
            engine.nudge();
            left("over").await.is_none().then_some(())
        }).await;
        assert!(left("open").await.is_some());
        world.eventually("the login is gone", || async {
            let count = world.read(|tx| Box::pin(store::challenges::count_unexpired(tx, Moment::from_micros(0)))).await;
            (count == 0).then_some(())
        }).await;
    }

    async fn the_runs_of_another_server_are_left_to_it(world) {
        let there = world.engine().await;
        let agent = world.agent(&there, 1).await;
        let theirs = ended(&world, &there, &agent, "a").await;
        there.leave().await;
        assert_eq!(world.run(&theirs.id).await.log_state, "folder");
        // Another node, with other folders.
        let here = world.clone().with_model(Model::new());
        let engine = here.engine_with(Settings { node_id: "node-2".into(), ..here.settings() }).await;
        let ours = ended(&here, &engine, &agent, "a").await;
        here.run_until(&ours.id, "archived", |run| run.log_state == "archived").await;
        assert_eq!(world.run(&theirs.id).await.log_state, "folder");
    }

    async fn the_oldest_logs_go_when_all_of_them_are_too_large(world) {
        let settings = Settings { keep_log_bytes: 1000, ..world.settings() };
        let logs = settings.data_dir.join("runs");
        let engine = world.engine_with(settings).await;
        let agent = world.agent(&engine, 1).await;
        let mut runs = Vec::new();
        for task in ["a", "b"] {
            let run = ended(&world, &engine, &agent, task).await;
            world.run_until(&run.id, "archived", |run| run.log_state == "archived").await;
            runs.push(run);
        }
        // A little above the limit: the oldest alone brings it below.
        std::fs::create_dir_all(&logs).unwrap();
        std::fs::write(logs.join("log"), vec![0; 1001]).unwrap();
        world.clock.advance(Duration::from_secs(61));
        engine.nudge();
        world.run_until(&runs[0].id, "without its log", |run| run.log_state == "removed").await;
        assert!(world.model.is_removed(&World::first(&runs[0].id)));
        assert_eq!(world.run(&runs[1].id).await.log_state, "archived");
        assert_eq!(world.run(&runs[0].id).await.status, RunStatus::Succeeded);
        assert!(world.wakes_of(&agent.id).await.iter().all(|wake| wake.source == Source::OnDemand));
    }
}
