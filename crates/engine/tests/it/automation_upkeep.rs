//! What keeps automation runs going, and what ends them: folders that are gone, records that cannot be read, budgets that are
//! raised, accounts that are parked, and a store that is away.

use std::sync::Arc;
use std::time::Duration;

use domain::agent::PauseReason;
use domain::automation::gate::GateStatus;
use domain::automation::operation::Operation;
use domain::automation::{AttemptState, AutomationRunStatus, NodeState, StopKind};
use domain::budget::ScopeKind;
use domain::hold::HeldReason;
use domain::ids::{AgentId, AutomationRunId};
use domain::moment::Moment;
use domain::wake::Actor;
use engine::{AccountPatch, AgentDraft, Asked, Clock as _, Engine, EngineError, LaunchDraft, Settings};
use serde_json::json;
use store::automations::nodes::{self, Attempt};
use store::automations::runs::AutomationRun;
use testkit::{World, both_stores};
use tokio::sync::Semaphore;

use crate::automations::{Line, gate, result, state, step};
use crate::budgets::{cents, say};

async fn agent(line: &Line, name: &str) -> AgentId {
    let agents = line.world.read({
        let company = line.company.clone();
        move |tx| {
            let company = company.clone();
            Box::pin(async move { store::agents::list(tx, &company, None, 10).await })
        }
    });
    agents.await.into_iter().find(|agent| agent.name == name).unwrap().id
}

/// The attempts of a run, as stored.
async fn attempts(line: &Line, run: &AutomationRunId) -> Vec<Attempt> {
    let run = run.clone();
    let read = line.world.read(move |tx| {
        let run = run.clone();
        Box::pin(async move { nodes::attempts(tx, &run, 10).await })
    });
    read.await
}

/// A run at work of which one step, `a`, is left, whose agent is paused: nobody could be woken for it yet.
async fn kept(line: &Line) -> AutomationRunId {
    let reason = PauseReason::Manual;
    line.engine.pause_agent(&agent(line, "Ada").await, reason, &Actor::local_board()).await.unwrap();
    // Where all that comes first is of agents that are paused, the run would not even begin.
    let other = json!({ "id": "z", "agent": "Bob", "objective": "do z" });
    let run = line.started(json!([step("a", &[]), other])).await;
    line.says(&run, "z", 1, "done").await;
    line.until(&run, "done with the other step", |view| state(view, "z") == NodeState::Completed).await;
    let held = line.world.eventually("a step that waits for its agent", || async {
        attempts(line, &run).await.into_iter().find(|it| it.held_reason == Some(HeldReason::Paused))
    });
    held.await;
    run
}

both_stores! {
    async fn a_folder_that_is_gone_fails_the_run_that_could_begin_and_it_says_what_to_do(world) {
        let line = Line::new(world).await;
        let folder = tempfile::tempdir().unwrap();
        let (site, docs) = (folder.path().join("site"), folder.path().join("site/docs"));
        std::fs::create_dir_all(&docs).unwrap();
        let of = |name: &str, workspace| json!({ "name": name, "workspace": workspace, "nodes": [step("a", &[])] });
        let first = line.apply(of("site", &site)).await;
        let second = line.apply(of("docs", &docs)).await;
        let first = line.launch(&first).await;
        line.process(&first, "a", 1).await;
        let keyed = LaunchDraft { idempotency_key: Some("k".to_owned()), ..LaunchDraft::default() };
        let by = Line::board();
        let run = line.engine.run_automation(&line.company, &second, keyed.clone(), &by).await.unwrap();
        let waits = line.until(&run.id, "the folder", |it| it.run.held_reason == Some(HeldReason::WorkspaceLock));
        let holder = waits.await.held_by.unwrap();
        assert_eq!((holder.id, holder.automation.as_str(), holder.number), (first.clone(), "site", 1));
        std::fs::remove_dir(&docs).unwrap();
        line.says(&first, "a", 1, "done").await;
        let view = line.until_status(&run.id, AutomationRunStatus::Failed).await;
        let detail = view.run.detail.clone().unwrap();
        assert!(detail.contains("docs") && detail.contains("make the folder and retry"), "{detail}");
        assert_eq!((view.run.stop_kind, view.attempts.len()), (Some(StopKind::GuardrailStopped), 0));
        assert!(line.events(&run.id).await.contains(&"run_failed_workspace".to_owned()));

        // Whoever starts one now is told at once, except by a key that has its run.
        let refused = line.launch_with(&second, json!({})).await.unwrap_err();
        let EngineError::Invalid(problems) = &refused else { panic!("{refused:?}") };
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "workspace"));
        let again = line.engine.run_automation(&line.company, &second, keyed, &by).await.unwrap();
        assert_eq!(again.id, run.id);

        std::fs::create_dir(&docs).unwrap();
        let retry = Asked { node: Some("a".to_owned()), ..Asked::new(Operation::Retry) };
        line.engine.operate(&run.id, retry, &by).await.unwrap();
        line.says(&run.id, "a", 1, "done").await;
        let view = line.until_status(&run.id, AutomationRunStatus::Completed).await;
        assert_eq!(view.run.root.as_deref(), docs.canonicalize().unwrap().to_str());
        line.engine.leave().await;
    }

    async fn a_step_of_a_run_that_cannot_be_read_is_let_go_and_the_run_says_so(world) {
        let line = Line::new(world).await;
        let run = kept(&line).await;
        line.meddle(&run, |row| row.own_definition = Some(json!({ "nodes": 7 }))).await;
        line.world.clock.advance(Duration::from_secs(31));
        line.engine.nudge();
        let ended = line.world.eventually("the end of the attempt", || async {
            let is_it = |it: &Attempt| it.node_id == "a" && it.state == AttemptState::Ended;
            attempts(&line, &run).await.into_iter().find(is_it)
        });
        let record = ended.await.record.unwrap();
        assert!(record["reason"].as_str().unwrap().contains("cannot be read"), "{record}");
        let blocked = line.world.eventually("a run that says so", || async {
            Some(line.row(&run).await).filter(|row| row.status == AutomationRunStatus::Blocked)
        });
        assert!(blocked.await.detail.unwrap().contains("cannot be read"));
        line.engine.leave().await;
    }

    async fn a_step_of_a_run_that_is_over_is_let_go(world) {
        let line = Line::new(world).await;
        let run = kept(&line).await;
        line.meddle(&run, |row| row.status = AutomationRunStatus::Failed).await;
        line.world.clock.advance(Duration::from_secs(31));
        line.engine.nudge();
        let ended = line.world.eventually("the end of the attempt", || async {
            let is_it = |it: &Attempt| it.node_id == "a" && it.state == AttemptState::Ended;
            attempts(&line, &run).await.into_iter().find(is_it)
        });
        let record = ended.await.record.unwrap();
        assert_eq!((&record["outcome"], &record["reason"]), (&json!("withdrawn"), &json!("its run is failed")));
        line.engine.leave().await;
    }

    async fn a_gate_of_a_run_that_cannot_be_read_is_withdrawn_when_its_time_comes(world) {
        let line = Line::new(world).await;
        let mut asks = gate("ok", &[]);
        asks["gate"]["expiry"] = json!({ "expiresAfterSec": 60 });
        let run = line.started(json!([asks])).await;
        let asked = line.gate(&run, "ok").await;
        line.meddle(&run, |row| row.own_definition = Some(json!({ "nodes": 7 }))).await;
        line.world.clock.advance(Duration::from_secs(61));
        line.engine.nudge();
        let withdrawn = line.world.eventually("a gate that nobody is asked at", || async {
            let gate = line.engine.gate(&asked.id).await.unwrap().gate;
            (gate.status != GateStatus::Pending).then_some(gate)
        });
        assert_eq!(withdrawn.await.status, GateStatus::Withdrawn);
        line.engine.leave().await;
    }

    async fn a_step_that_its_definition_does_not_have_fails_and_says_so(world) {
        let line = Line::new(world).await;
        let run = kept(&line).await;
        line.meddle(&run, |row| row.own_definition = Some(json!({ "name": "line", "nodes": [] }))).await;
        line.world.clock.advance(Duration::from_secs(31));
        line.engine.nudge();
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        let reason = view.nodes[0].reason.as_deref().unwrap_or_default();
        let attempt = view.attempts.iter().find(|it| it.node_id == "a").unwrap();
        assert_eq!((reason, attempt.state), ("its definition has no such node", AttemptState::Ended));
        line.engine.leave().await;
    }

    async fn what_ends_beside_a_rejection_is_judged_all_the_same(world) {
        let line = Line::new(world.clone()).await;
        let mut review = step("a-review", &["draft"]);
        review["kind"] = json!("review");
        let run = line.started(json!([step("draft", &[]), review, step("z", &[])])).await;
        let other = line.process(&run, "z", 1).await;
        line.says(&run, "draft", 1, "a draft").await;
        let review = line.process(&run, "a-review", 1).await;
        // Both end while nobody looks, so that one look finds both.
        line.engine.leave().await;
        world.model.say(&other, &result("z is done"));
        world.model.exit(&other, 0);
        world.model.say(&review, &result("{\"approved\": false, \"feedback\": \"shorter\"}"));
        world.model.exit(&review, 0);
        let line = Line { engine: world.engine().await, ..line };
        let process = line.process(&run, "draft", 2).await;
        let told = line.world.run(&process.run).await.context["bugleAutomation"]["feedback"].clone();
        assert_eq!(told, "shorter");
        let view = line.until(&run, "the other step", |view| state(view, "z") == NodeState::Completed).await;
        assert_eq!(view.nodes.iter().find(|it| it.node_id == "z").unwrap().attempt, 1, "and only once");
        line.engine.leave().await;
    }

    async fn an_agent_that_works_again_is_woken_for_its_step_at_once(world) {
        let line = Line::new(world).await;
        let run = kept(&line).await;
        line.engine.resume_agent(&agent(&line, "Ada").await, &Actor::local_board()).await.unwrap();
        line.says(&run, "a", 1, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_run_goes_on_as_soon_as_the_budget_of_its_agent_is_raised(world) {
        let line = Line::new(world).await;
        let ada = agent(&line, "Ada").await;
        let set = async |amount| {
            let draft = cents(ScopeKind::Agent, ada.as_str(), amount);
            line.engine.set_budget(&line.company, draft, &Line::board(), true).await.unwrap();
        };
        set(5).await;
        let run = line.started(json!([step("a", &[])])).await;
        let process = line.process(&run, "a", 1).await;
        say(&line.world, &process, Some(50_000), 10);
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!(view.run.stop_kind, Some(StopKind::GuardrailStopped));
        // While nothing is raised it stays where it is, however often it is looked at.
        line.world.clock.advance(Duration::from_secs(61));
        line.engine.nudge();
        line.looked_at(&run).await;
        let events = line.events(&run).await;
        assert!(!events.contains(&"run_auto_resumed".to_owned()), "{events:?}");
        // No time goes by, and nobody nudges.
        set(1_000).await;
        let view = line.until(&run, "another attempt", |it| it.nodes[0].attempt > view.nodes[0].attempt).await;
        line.says(&run, "a", view.nodes[0].attempt, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_run_whose_agents_wait_for_their_account_holds_no_place_and_no_folder(world) {
        let settings = Settings { max_automation_runs: 1, ..world.settings() };
        let engine = world.engine_with(settings).await;
        let company = world.company(&engine).await;
        for (name, account) in [("Ada", "team"), ("Bob", "own")] {
            let config = json!({ "script": "hang", "graceSec": 1, "account": account });
            let draft = AgentDraft { name: name.to_owned(), adapter_config: config, ..World::scripted(8) };
            engine.create_agent(&company, draft, &Actor::local_board()).await.unwrap();
        }
        let line = Line { world, engine, company };
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, agent: &str| json!({
            "name": name, "workspace": folder.path(),
            "nodes": [{ "id": "a", "agent": agent, "objective": "do it" }],
        });
        let (adas, bobs) = (line.apply(of("adas", "Ada")).await, line.apply(of("bobs", "Bob")).await);
        // An account is known when a run has used it.
        let first = line.launch(&adas).await;
        line.says(&first, "a", 1, "done").await;
        line.until_status(&first, AutomationRunStatus::Completed).await;
        let accounts = line.engine.accounts(&line.company).await.unwrap();
        let account = accounts.into_iter().find(|it| it.stored.label.contains("team")).unwrap().stored.id;
        let change = async |patch| {
            line.engine.change_account(&account, patch, &Line::board()).await.unwrap();
        };
        let until = line.world.clock.now().plus(Duration::from_secs(3600));
        change(AccountPatch::Park { until: Some(until) }).await;

        let waits = line.launch(&adas).await;
        let is_held = |it: &AutomationRun, until: Option<Moment>| {
            (it.held_reason, it.held_until) == (Some(HeldReason::RateLimit), until)
        };
        let view = line.until(&waits, "the account", |it| is_held(&it.run, Some(until))).await;
        assert!(view.run.held_resource.as_deref().unwrap().contains("team"), "{:?}", view.run.held_resource);
        // Somebody else has the one place and the folder meanwhile.
        let other = line.launch(&bobs).await;
        line.says(&other, "a", 1, "done").await;
        line.until_status(&other, AutomationRunStatus::Completed).await;
        assert_eq!(line.view(&waits).await.run.status, AutomationRunStatus::Queued);
        change(AccountPatch::Resume).await;
        line.says(&waits, "a", 1, "done").await;
        line.until_status(&waits, AutomationRunStatus::Completed).await;

        // And by itself, when the time has come.
        let until = line.world.clock.now().plus(Duration::from_secs(3600));
        change(AccountPatch::Park { until: Some(until) }).await;
        let waits = line.launch(&adas).await;
        line.until(&waits, "the account", |it| is_held(&it.run, Some(until))).await;
        line.world.clock.advance(Duration::from_secs(3601));
        line.engine.nudge();
        line.says(&waits, "a", 1, "done").await;
        line.until_status(&waits, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_server_whose_store_is_away_leaves_all_the_same(world) {
        let line = Line::new(world).await;
        let gate = Arc::new(Semaphore::new(0));
        // Every connection that reads is taken.
        let mut taken = Vec::new();
        for _ in 0..32 {
            let (store, gate) = (Arc::clone(&line.world.store), Arc::clone(&gate));
            taken.push(tokio::spawn(async move {
                let held = store.read(move |_| {
                    let gate = Arc::clone(&gate);
                    Box::pin(async move {
                        drop(gate.acquire().await);
                        Ok(())
                    })
                });
                drop(held.await);
            }));
        }
        tokio::task::yield_now().await;
        let engine: Engine = line.engine.clone();
        let leaving = engine.leaving();
        let left = tokio::spawn(async move { engine.leave().await });
        tokio::time::timeout(testkit::patience(), leaving.cancelled()).await.expect("it leaves");
        gate.add_permits(1_000);
        left.await.unwrap();
        for read in taken {
            read.await.unwrap();
        }
    }
}
