//! The agents of automation runs: who is meant by a name, whatever it stands for later, and agents that people paused.

use domain::agent::PauseReason;
use domain::automation::AutomationRunStatus;
use domain::automation::operation::Operation;
use domain::hold::HeldReason;
use domain::ids::{AgentId, AutomationRunId};
use domain::wake::Actor;
use engine::{AgentDraft, AgentPatch, Asked, AutomationRunView, EngineError, LaunchDraft, Settings};
use serde_json::{Value as Json, json};
use testkit::{World, both_stores};

use crate::automations::{Line, step};

/// A new agent of this name.
async fn add(line: &Line, name: &str) -> AgentId {
    let draft = AgentDraft { name: name.to_owned(), ..World::scripted(8) };
    line.engine.create_agent(&line.company, draft, &Actor::local_board()).await.unwrap().id
}

/// The one agent that is called so now.
async fn agent(line: &Line, name: &str) -> AgentId {
    let company = line.company.clone();
    let agents = line.world.read(move |tx| {
        let company = company.clone();
        Box::pin(async move { store::agents::list(tx, &company, None, 10).await })
    });
    agents.await.into_iter().find(|agent| agent.name == name).unwrap().id
}

async fn rename(line: &Line, id: &AgentId, name: &str) {
    let patch = AgentPatch { name: Some(name.to_owned()), ..AgentPatch::default() };
    line.engine.patch_agent(id, patch, &Actor::local_board()).await.unwrap();
}

async fn terminate(line: &Line, id: &AgentId) {
    line.engine.terminate_agent(id, &Actor::local_board()).await.unwrap();
}

/// A step of Ada's, and one of Bob's behind it.
fn steps() -> Json {
    json!([step("a", &[]), { "id": "b", "agent": "Bob", "objective": "do b", "dependsOn": ["a"] }])
}

/// Who works, or worked, on a step last.
fn worker(view: &AutomationRunView, node: &str) -> AgentId {
    let attempts = view.attempts.iter().filter(|it| it.node_id == node);
    attempts.max_by_key(|it| it.attempt).unwrap().agent_id.clone()
}

async fn until_held(line: &Line, run: &AutomationRunId) {
    let view = line.until(run, "held", |it| it.run.held_reason == Some(HeldReason::Paused)).await;
    assert_eq!(view.run.status, AutomationRunStatus::Queued);
    assert_eq!(view.run.held_resource.as_deref(), Some("agent Ada"));
}

both_stores! {
    async fn an_agent_that_is_renamed_works_for_the_runs_that_meant_it(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({ "name": "line", "nodes": steps() })).await;
        let run = line.launch(&automation).await;
        line.process(&run, "a", 1).await;
        let bob = agent(&line, "Bob").await;
        rename(&line, &bob, "Robert").await;
        let other = add(&line, "Bob").await;
        line.says(&run, "a", 1, "done").await;
        line.says(&run, "b", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(worker(&view, "b"), bob);
        // A run that is made now means whoever has the name now.
        let next = line.launch(&automation).await;
        line.says(&next, "a", 1, "done").await;
        line.says(&next, "b", 1, "done").await;
        let view = line.until_status(&next, AutomationRunStatus::Completed).await;
        assert_eq!(worker(&view, "b"), other);
        line.engine.leave().await;
    }

    async fn where_the_agent_that_was_meant_is_ended_another_one_of_its_name_works(world) {
        let line = Line::new(world).await;
        let run = line.started(steps()).await;
        line.process(&run, "a", 1).await;
        terminate(&line, &agent(&line, "Bob").await).await;
        let other = add(&line, "Bob").await;
        line.says(&run, "a", 1, "done").await;
        line.says(&run, "b", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(worker(&view, "b"), other);
        line.engine.leave().await;
    }

    async fn a_run_of_before_finds_its_agents_by_name(world) {
        let line = Line::new(world).await;
        let run = line.started(steps()).await;
        line.process(&run, "a", 1).await;
        line.meddle(&run, |row| row.agent_ids = None).await;
        rename(&line, &agent(&line, "Bob").await, "Robert").await;
        line.says(&run, "a", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        assert_eq!(view.nodes[1].reason.as_deref(), Some("there is no agent `Bob` any more"));
        line.engine.leave().await;
    }

    async fn a_repair_names_agents_as_they_are_called_now_and_leaves_the_others_as_they_were_meant(world) {
        let line = Line::new(world).await;
        let (ada, bob) = (agent(&line, "Ada").await, agent(&line, "Bob").await);
        let run = line.started(steps()).await;
        assert_eq!(line.row(&run).await.agent_ids, Some(json!({ "Ada": ada, "Bob": bob })));
        line.process(&run, "a", 1).await;
        line.operate(&run, Operation::Pause).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Paused).await;
        rename(&line, &bob, "Robert").await;
        let eve = add(&line, "Eve").await;
        let patch = Some(json!({ "agent": "Eve" }));
        let repair = Asked { node: Some("a".to_owned()), patch, ..Asked::new(Operation::Repair) };
        line.engine.operate(&run, repair, &Line::board()).await.unwrap();
        assert_eq!(line.row(&run).await.agent_ids, Some(json!({ "Bob": bob, "Eve": eve })));
        rename(&line, &eve, "Evelyn").await;
        line.says(&run, "a", 2, "done").await;
        line.says(&run, "b", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!((worker(&view, "a"), worker(&view, "b")), (eve, bob));
        line.engine.leave().await;
    }

    async fn an_agent_that_was_ended_is_nobody_by_its_id_either(world) {
        let line = Line::new(world).await;
        let ada = agent(&line, "Ada").await;
        let of = |objective: &str| json!({
            "name": "line", "nodes": [{ "id": "a", "agent": ada, "objective": objective }],
        });
        let automation = line.apply(of("do it")).await;
        terminate(&line, &ada).await;
        let draft = LaunchDraft { dry_run: true, ..LaunchDraft::default() };
        let by = Line::board();
        let dry = line.engine.run_automation(&line.company, &automation, draft, &by).await.unwrap_err();
        let saved = line.engine.apply_automation(&line.company, &of("do more"), false, &by).await.unwrap_err();
        for refused in [dry, saved] {
            let EngineError::Invalid(problems) = refused else { panic!("{refused}") };
            assert_eq!((problems.len(), problems[0].path.as_str()), (1, "nodes[0].agent"));
        }
        line.engine.leave().await;
    }

    async fn runs_of_an_agent_that_is_paused_keep_no_place_and_no_folder(world) {
        let settings = Settings { max_automation_runs: 1, ..world.settings() };
        let line = Line::with(world, settings).await;
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, agent: &str| json!({
            "name": name, "workspace": folder.path(),
            "nodes": [{ "id": "a", "agent": agent, "objective": "do it" }],
        });
        let (adas, bobs) = (line.apply(of("adas", "Ada")).await, line.apply(of("bobs", "Bob")).await);
        let ada = agent(&line, "Ada").await;
        line.engine.pause_agent(&ada, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        let waiting = [line.launch(&adas).await, line.launch(&adas).await];
        for run in &waiting {
            until_held(&line, run).await;
        }
        let other = line.launch(&bobs).await;
        line.says(&other, "a", 1, "done").await;
        line.until_status(&other, AutomationRunStatus::Completed).await;
        for run in &waiting {
            until_held(&line, run).await;
        }
        // No time goes by, and nobody nudges.
        line.engine.resume_agent(&ada, &Actor::local_board()).await.unwrap();
        for run in &waiting {
            line.says(run, "a", 1, "done").await;
            line.until_status(run, AutomationRunStatus::Completed).await;
        }
        line.engine.leave().await;
    }

    async fn a_run_of_before_waits_for_its_agent_that_is_paused_as_well(world) {
        let settings = Settings { max_automation_runs: 1, ..world.settings() };
        let line = Line::with(world, settings).await;
        let automation = line.apply(json!({ "name": "line", "nodes": [step("a", &[])] })).await;
        let first = line.launch(&automation).await;
        line.process(&first, "a", 1).await;
        let second = line.launch(&automation).await;
        line.meddle(&second, |row| row.agent_ids = None).await;
        let ada = agent(&line, "Ada").await;
        line.engine.pause_agent(&ada, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        line.operate(&first, Operation::Cancel).await.unwrap();
        line.until_status(&first, AutomationRunStatus::Cancelled).await;
        until_held(&line, &second).await;
        line.operate(&second, Operation::Cancel).await.unwrap();
        line.engine.leave().await;
    }
}
