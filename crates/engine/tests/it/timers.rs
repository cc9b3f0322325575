//! Timers: due once, folded, skipped, paused, without drift, and once after an outage however long.

use std::time::Duration;

use domain::agent::PauseReason;
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{Actor, Source, WakeStatus};
use engine::{AgentDraft, AgentPatch, Engine};
use serde_json::json;
use store::agents::Agent;
use store::wakes::Wake;
use testkit::{NOON, World, both_stores};

const MINUTE: Duration = Duration::from_secs(60);

fn ticking(base: AgentDraft) -> AgentDraft {
    let mut draft = base;
    draft.runtime_config["heartbeat"]["enabled"] = json!(true);
    draft.runtime_config["heartbeat"]["intervalSec"] = json!(60);
    draft
}

async fn timer_wakes(world: &World, agent: &Agent, count: usize) -> Vec<Wake> {
    world
        .eventually(&format!("{count} timer wakes"), || async {
            let wakes = world.wakes_of(&agent.id).await;
            let wakes: Vec<Wake> = wakes.into_iter().filter(|wake| wake.source == Source::Timer).collect();
            assert!(wakes.len() <= count, "a timer fired too often");
            Some(wakes).filter(|wakes| wakes.len() == count)
        })
        .await
}

/// Moves the clock and waits until the sweep has looked: a second agent, due at the same time, shows that.
async fn pass(world: &World, engine: &Engine, witness: &Agent, by: Duration) {
    let before = world.wakes_of(&witness.id).await.len();
    world.clock.advance(by);
    engine.nudge();
    world
        .eventually("the sweep", || async {
            (world.wakes_of(&witness.id).await.len() > before).then_some(())
        })
        .await;
}

async fn end_first(world: &World, agent: &Agent) {
    let runs = world.runs_of(&agent.id).await;
    let run = runs.iter().find(|run| run.status.is_live()).expect("a run under way");
    let process = World::first(&run.id);
    world.model.until_alive(&process).await;
    world.model.say_done(&process);
    world.model.exit(&process, 0);
    world.over(&run.id).await;
}

both_stores! {
    async fn a_due_timer_wakes_its_agent_once(world) {
        let engine = world.engine().await;
        let witness = world.agent_like(&engine, ticking(World::scripted(1))).await;
        let agent = world.agent_like(&engine, ticking(World::scripted(1))).await;
        engine.nudge();
        assert!(world.wakes_of(&agent.id).await.is_empty());
        pass(&world, &engine, &witness, MINUTE).await;
        let wakes = timer_wakes(&world, &agent, 1).await;
        assert_eq!((wakes[0].status, wakes[0].reason.as_deref()), (WakeStatus::Claimed, Some("heartbeat_timer")));
        assert_eq!(wakes[0].actor_id.as_deref(), Some("heartbeat_scheduler"));
        engine.nudge();
        // The run under way takes the next one in.
        pass(&world, &engine, &witness, MINUTE).await;
        let wakes = timer_wakes(&world, &agent, 2).await;
        assert_eq!(wakes[1].status, WakeStatus::Coalesced);
        assert_eq!(wakes[1].run_id, wakes[0].run_id);
        assert_eq!(world.runs_of(&agent.id).await.len(), 1);
    }

    async fn the_interval_counts_from_the_end_of_the_last_run(world) {
        let engine = world.engine().await;
        let agent = world.agent_like(&engine, ticking(World::scripted(1))).await;
        world.clock.advance(MINUTE);
        engine.nudge();
        timer_wakes(&world, &agent, 1).await;
        world.clock.advance(Duration::from_secs(30));
        end_first(&world, &agent).await;
        let row = world.agent_row(&agent.id).await;
        assert_eq!(row.next_timer_at, row.last_heartbeat_at.map(|at| at.plus(MINUTE)));
        assert!(row.next_timer_at.unwrap() >= NOON.plus(MINUTE * 2 + Duration::from_secs(30)));
    }

    async fn a_timer_keeps_to_its_grid_and_makes_up_for_an_outage_once(world) {
        let engine = world.engine().await;
        let agent = world.agent_like(&engine, ticking(World::scripted(1))).await;
        let first: Moment = agent.next_timer_at.unwrap();
        engine.leave().await;
        world.clock.advance(MINUTE * 10 + Duration::from_secs(7));
        let engine = world.engine().await;
        timer_wakes(&world, &agent, 1).await;
        // The next one is the next of the old grid: late firing has not moved it.
        assert_eq!(world.agent_row(&agent.id).await.next_timer_at, Some(first.plus(MINUTE * 10)));
        world.clock.advance(MINUTE);
        engine.nudge();
        timer_wakes(&world, &agent, 2).await;
        assert_eq!(world.agent_row(&agent.id).await.next_timer_at, Some(first.plus(MINUTE * 11)));
    }

    async fn of_two_servers_one_fires(world) {
        let one = world.engine().await;
        let two = world.engine_with(engine::Settings { node_id: "node-2".into(), ..world.settings() }).await;
        let mut agents = Vec::new();
        for _ in 0..5 {
            agents.push(world.agent_like(&one, ticking(World::scripted(1))).await);
        }
        for round in 1..=4 {
            world.clock.advance(MINUTE);
            one.nudge();
            two.nudge();
            for agent in &agents {
                timer_wakes(&world, agent, round).await;
            }
        }
        // A settled look of both, then counted again.
        one.leave().await;
        two.leave().await;
        for agent in &agents {
            timer_wakes(&world, agent, 4).await;
        }
    }

    async fn a_paused_agents_timer_rests_and_starts_anew(world) {
        let engine = world.engine().await;
        let witness = world.agent_like(&engine, ticking(World::scripted(1))).await;
        let agent = world.agent_like(&engine, ticking(World::scripted(1))).await;
        engine.pause_agent(&agent.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        assert_eq!(world.agent_row(&agent.id).await.next_timer_at, None);
        pass(&world, &engine, &witness, MINUTE * 3).await;
        assert!(world.wakes_of(&agent.id).await.is_empty());
        let resumed = engine.resume_agent(&agent.id, &Actor::local_board()).await.unwrap();
        assert!(resumed.next_timer_at.unwrap() >= NOON.plus(MINUTE * 4));
        pass(&world, &engine, &witness, MINUTE).await;
        timer_wakes(&world, &agent, 1).await;
    }

    async fn a_timer_that_is_switched_off_fires_no_more(world) {
        let engine = world.engine().await;
        let witness = world.agent_like(&engine, ticking(World::scripted(1))).await;
        let agent = world.agent_like(&engine, ticking(World::scripted(1))).await;
        let off = AgentPatch {
            runtime_config: Some(json!({ "heartbeat": { "enabled": false, "intervalSec": 60 } })),
            ..AgentPatch::default()
        };
        let off = engine.patch_agent(&agent.id, off, &Actor::local_board()).await.unwrap();
        assert_eq!(off.next_timer_at, None);
        pass(&world, &engine, &witness, MINUTE).await;
        assert!(world.wakes_of(&agent.id).await.is_empty());
    }

    async fn a_timer_with_nothing_to_do_starts_nothing_where_that_is_wanted(world) {
        let engine = world.engine().await;
        let mut draft = ticking(World::scripted(1));
        draft.runtime_config["heartbeat"]["skipWhenIdle"] = json!(true);
        let agent = world.agent_like(&engine, draft).await;
        world.clock.advance(MINUTE);
        engine.nudge();
        let wakes = timer_wakes(&world, &agent, 1).await;
        assert_eq!((wakes[0].status, wakes[0].reason.as_deref()), (WakeStatus::Skipped, Some("heartbeat.no_work")));
        assert!(world.runs_of(&agent.id).await.is_empty());
    }

    async fn a_timer_wake_joins_the_run_that_waits(world) {
        let engine = world.engine().await;
        let agent = world.agent_like(&engine, ticking(World::scripted(1))).await;
        world.start(&engine, &agent.id, "a").await;
        let waiting = world.wake(&engine, &agent.id, "").await;
        assert_eq!(waiting.status, RunStatus::Queued);
        world.clock.advance(MINUTE);
        engine.nudge();
        let wakes = timer_wakes(&world, &agent, 1).await;
        assert_eq!((wakes[0].status, wakes[0].run_id.as_ref()), (WakeStatus::Coalesced, Some(&waiting.id)));
    }
}
