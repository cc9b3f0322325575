//! Automation runs that go on: who waits for people is not stopped for it, what needs no place gets none, what ended for
//! want of something begins where it was, and what lay in the workspace before is nobody's work.

use std::time::Duration;

use domain::agent::PauseReason;
use domain::automation::definition::{Decision, Limits};
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, NodeState, StopKind};
use domain::gate::{Answer, GateKind};
use domain::ids::{AgentId, AutomationRunId};
use domain::wake::Actor;
use engine::{AnyGate, Asked, Author, EngineError, GateAnswer, Settings};
use serde_json::{Value as Json, json};
use testkit::{Obedience, both_stores};

use crate::automations::{Line, asks_for_permission, gate, result, state, step};

const HOUR: Duration = Duration::from_secs(3_600);

fn person(name: &str) -> Author {
    Author::Board { user: Some(name.to_owned()), may_assign: true }
}

fn allowed(gate: &AnyGate) -> GateAnswer {
    GateAnswer {
        answer: Answer::Approve,
        hash: gate.hash(),
        reason: None,
        targets: Vec::new(),
        answers: None,
        selected: None,
    }
}

/// How many records of the protected chain tell of this.
async fn audited(line: &Line, action: &'static str) -> usize {
    let records = line.world.read(|tx| Box::pin(async move { store::audit::page(tx, 0, 1_000).await })).await;
    records.iter().filter(|record| record.action == action).count()
}

async fn ada(line: &Line) -> AgentId {
    let company = line.company.clone();
    let found = line.world.read(move |tx| {
        let company = company.clone();
        Box::pin(async move { store::agents::named(tx, &company, "Ada", "ada").await })
    });
    found.await.remove(0).id
}

async fn retry(line: &Line, run: &AutomationRunId, node: &str) {
    let asked = Asked { node: Some(node.to_owned()), ..Asked::new(Operation::Retry) };
    line.engine.operate(run, asked, &Line::board()).await.unwrap();
}

async fn runs_of(line: &Line, automation: &domain::ids::AutomationId) -> usize {
    line.engine.automation_runs(&line.company, Some(automation), None, 10).await.unwrap().len()
}

both_stores! {
    async fn a_step_that_waits_for_a_permission_is_neither_silent_nor_late(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[])])).await;
        let process = line.process(&run, "a", 1).await;
        line.world.model.say(&process, &asks_for_permission());
        let asked = line.world.eventually("the question", || async {
            let after = (domain::moment::Moment::from_micros(0), String::new());
            let found = line.engine.pending_gates(&line.company, vec![GateKind::Permission], after, 10).await.unwrap();
            found.into_iter().next()
        });
        let asked = asked.await;
        // A night goes by: ten minutes of silence and half an hour in all are the limits of a step.
        for _ in 0..9 {
            line.world.clock.advance(HOUR);
            line.engine.nudge();
            line.looked_at(&run).await;
        }
        line.engine.answer_gate(asked.id(), allowed(&asked), &Line::board()).await.unwrap();
        line.world.clock.advance(Duration::from_secs(60));
        line.engine.nudge();
        line.looked_at(&run).await;
        line.world.model.say(&process, &result("done"));
        line.world.model.exit(&process, 0);
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(view.attempts.len(), 1, "nobody stopped it");
        line.engine.leave().await;
    }

    async fn what_needs_no_place_waits_for_none(world) {
        let settings = Settings { max_automation_runs: 1, ..world.settings() };
        let line = Line::with(world, settings).await;
        let run = line.started(json!([gate("first", &[]), gate("last", &["first"])])).await;
        let first = line.gate(&run, "first").await;
        line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        // Another one takes the only place, and keeps it.
        let automation = line.apply(json!({ "name": "busy", "nodes": [step("a", &[])] })).await;
        let busy = line.launch(&automation).await;
        line.process(&busy, "a", 1).await;
        line.decide(&first, Decision::Approve).await.unwrap();
        let last = line.gate(&run, "last").await;
        assert_eq!(line.view(&run).await.run.status, AutomationRunStatus::AwaitingApproval);
        line.decide(&last, Decision::Approve).await.unwrap();
        let view = line.view(&run).await;
        assert_eq!(view.run.status, AutomationRunStatus::Completed, "it was over with the decision");
        assert!(view.run.finished_at.is_some());
        assert_eq!(line.events(&run).await.last().map(String::as_str), Some("run_completed"));
        line.says(&busy, "a", 1, "done").await;
        line.until_status(&busy, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_question_that_cannot_be_asked_ends_its_run(world) {
        let line = Line::new(world).await;
        let mut ask = gate("ok", &["a"]);
        ask["gate"]["title"] = json!("version {{ nodes.a.json.version }}");
        let run = line.started(json!([step("a", &[]), ask])).await;
        line.says(&run, "a", 1, "{\"versoin\": 3}").await;
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        let node = view.nodes.iter().find(|node| node.node_id == "ok").unwrap();
        assert!(node.reason.as_deref().unwrap().contains("`nodes.a.json.version` is not there"), "{node:?}");
        line.engine.leave().await;
    }

    async fn steps_are_made_again_while_people_are_asked_about_others(world) {
        let line = Line::new(world).await;
        let mut once = step("a", &[]);
        once["retry"] = json!({ "maxAttempts": 1 });
        let run = line.started(json!([once, gate("ok", &[])])).await;
        let asked = line.gate(&run, "ok").await;
        let process = line.process(&run, "a", 1).await;
        line.world.model.exit(&process, 1);
        line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        retry(&line, &run, "a").await;
        line.says(&run, "a", 2, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        assert_eq!((state(&view, "a"), view.gates.len()), (NodeState::Completed, 1), "the question stayed");
        line.decide(&asked, Decision::Approve).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_run_that_ended_for_want_of_its_folder_begins_where_it_was(world) {
        let line = Line::new(world).await;
        let folder = line.world.settings().data_dir.join("work");
        std::fs::create_dir_all(&folder).unwrap();
        let automation = line.apply(json!({ "name": "line", "workspace": folder, "nodes": [step("a", &[]), step("b", &["a"])] })).await;
        let run = line.launch(&automation).await;
        line.says(&run, "a", 1, "done").await;
        let process = line.process(&run, "b", 1).await;
        line.operate(&run, Operation::Pause).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Paused).await;
        drop(process);
        std::fs::remove_dir(&folder).unwrap();
        line.operate(&run, Operation::Resume).await.unwrap();
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        assert!(view.nodes.iter().all(|node| node.state != NodeState::Failed), "no step of it failed");
        std::fs::create_dir(&folder).unwrap();
        line.operate(&run, Operation::Recover).await.unwrap();
        line.says(&run, "b", 2, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(view.attempts.iter().filter(|attempt| attempt.node_id == "a").count(), 1, "what is done is done");
        assert_eq!(audited(&line, "automation.internal_sweep.failed_without_workspace").await, 1);
        line.engine.leave().await;
    }

    async fn a_run_that_failed_with_its_server_is_recovered_where_it_was(world) {
        let line = Line::new(world.clone()).await;
        let automation = line.apply(json!({
            "name": "line", "policy": { "onRestart": "fail" }, "nodes": [step("a", &[]), step("b", &["a"])],
        })).await;
        let run = line.launch(&automation).await;
        line.says(&run, "a", 1, "done").await;
        line.process(&run, "b", 1).await;
        line.engine.leave().await;
        let line = Line { engine: world.engine().await, ..line };
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        assert_eq!(view.run.stop_kind, Some(StopKind::Shutdown));
        assert!(view.allowed.contains(&Operation::Recover), "{:?}", view.allowed);
        line.operate(&run, Operation::Recover).await.unwrap();
        line.says(&run, "b", 2, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(view.attempts.iter().filter(|attempt| attempt.node_id == "a").count(), 1);
        line.engine.leave().await;
    }

    async fn a_run_in_which_nothing_happens_is_paused_and_goes_on_twice(world) {
        let line = Line::new(world).await;
        let mut stubborn = step("a", &[]);
        stubborn["retry"] = json!({ "maxAttempts": 10 });
        let run = line.started(json!([stubborn])).await;
        for number in 1..=3 {
            let process = line.process(&run, "a", number).await;
            line.world.model.set_obedience(&process, Obedience::Later);
            line.world.clock.advance(Duration::from_secs(601));
            line.engine.nudge();
            line.world.model.until_stopping(&process).await;
            // It was told to stop for its silence, and does not: the run is paused behind it.
            line.world.clock.advance(Duration::from_secs(60));
            line.engine.nudge();
            line.until(&run, "reaped", |view| view.run.stop_kind == Some(StopKind::StaleReaped)).await;
            line.world.model.obey(&process);
            if number < 3 {
                line.until(&run, "at rest", |view| view.run.status != AutomationRunStatus::Pausing).await;
                line.world.clock.advance(Duration::from_secs(61));
                line.engine.nudge();
            }
        }
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!((view.run.resumes, view.run.look_at), (2, None), "a person looks now");
        assert_eq!(audited(&line, "automation.internal_sweep.paused_stale_run").await, 3);
        assert_eq!(audited(&line, "automation.internal_sweep.auto_resumed_stale_reaped_run").await, 2);
        assert_eq!(audited(&line, "automation.internal_sweep.stopped_overdue_step").await, 3);
        line.operate(&run, Operation::Resume).await.unwrap();
        line.says(&run, "a", 4, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn who_begins_after_a_name_begins_after_whoever_has_it(world) {
        let line = Line::new(world).await;
        let first = line.apply(json!({ "name": "build", "nodes": [gate("ok", &[])] })).await;
        let deploy = line.apply(json!({
            "name": "deploy", "nodes": [gate("go", &[])], "after": [{ "automation": "build" }],
        })).await;
        line.engine.remove_automation(&first, &Line::board()).await.unwrap();
        let second = line.apply(json!({ "name": "build", "nodes": [gate("ok", &[])] })).await;
        assert_ne!(first, second);
        let run = line.launch(&second).await;
        let asked = line.gate(&run, "ok").await;
        line.decide(&asked, Decision::Approve).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(runs_of(&line, &deploy).await, 1);
        line.engine.leave().await;
    }

    async fn who_started_the_first_run_approves_no_gate_of_the_next_one(world) {
        let line = Line::new(world).await;
        let ann = person("ann");
        let build = line.apply(json!({ "name": "build", "nodes": [gate("ok", &[])] })).await;
        let mut own = gate("go", &[]);
        own["gate"]["selfApproval"] = json!(false);
        let deploy = line.apply(json!({
            "name": "deploy", "nodes": [own], "after": [{ "automation": "build" }],
        })).await;
        let run = line.engine.run_automation(&line.company, &build, engine::LaunchDraft::default(), &ann).await.unwrap();
        let asked = line.gate(&run.id, "ok").await;
        line.decide_by(&asked, Decision::Approve, &ann).await.unwrap();
        line.until_status(&run.id, AutomationRunStatus::Completed).await;
        let next = line.engine.automation_runs(&line.company, Some(&deploy), None, 10).await.unwrap().remove(0);
        let asked = line.gate(&next.id, "go").await;
        let refused = line.decide_by(&asked, Decision::Approve, &ann).await.unwrap_err();
        assert!(refused.to_string().contains("somebody else"), "{refused}");
        line.decide_by(&asked, Decision::Approve, &person("bob")).await.unwrap();
        line.until_status(&next.id, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn an_agent_that_asks_a_person_goes_on_with_the_answer(world) {
        let line = Line::new(world).await;
        let mut once = step("a", &[]);
        once["retry"] = json!({ "maxAttempts": 1 });
        let run = line.started(json!([once, step("b", &["a"])])).await;
        let words = "There are two keys.\n\n```json\n{\"status\": \"ask\", \"question\": \"Which key?\"}\n```";
        line.says(&run, "a", 1, words).await;
        let asked = line.gate(&run, "a").await;
        assert_eq!(asked.title, "a asks: Which key?");
        assert!(asked.instructions.as_deref().unwrap().contains("two keys"), "{asked:?}");
        line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        let say = |decision, reason: Option<&str>| engine::GateDecision {
            decision,
            hash: asked.hash.clone(),
            reason: reason.map(str::to_owned),
            targets: Vec::new(),
        };
        let refused = line.engine.decide_gate(&asked.id, say(Decision::Rework, None), &Line::board()).await;
        assert!(refused.unwrap_err().to_string().contains("cannot be decided here"));
        line.engine.decide_gate(&asked.id, say(Decision::Approve, Some("the second one")), &Line::board()).await.unwrap();
        let process = line.process(&run, "a", 2).await;
        let told = line.view(&run).await.nodes[0].feedback.clone().unwrap();
        assert!(told.contains("Which key?") && told.contains("the second one"), "{told}");
        line.world.model.say(&process, &result("opened"));
        line.world.model.exit(&process, 0);
        line.says(&run, "b", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!((state(&view, "a"), view.nodes[0].attempts), (NodeState::Completed, 1), "a question is no attempt");
        line.engine.leave().await;
    }

    async fn an_automation_is_paused_with_its_runs(world) {
        let settings = Settings { max_automation_runs: 1, ..world.settings() };
        let line = Line::with(world, settings).await;
        let automation = line.apply(json!({ "name": "line", "nodes": [step("a", &[])] })).await;
        let (first, second) = (line.launch(&automation).await, line.launch(&automation).await);
        line.process(&first, "a", 1).await;
        let told = line.engine.pause_runs(&automation, (Some("night".to_owned()), false), &Line::board()).await.unwrap();
        assert_eq!(told, 2);
        for run in [&first, &second] {
            let view = line.until_status(run, AutomationRunStatus::Paused).await;
            assert_eq!(view.run.stop_reason.as_deref(), Some("night"));
        }
        assert_eq!(line.engine.pause_runs(&automation, (None, false), &Line::board()).await.unwrap(), 0);
        for run in [&first, &second] {
            line.operate(run, Operation::Cancel).await.unwrap();
            line.until_status(run, AutomationRunStatus::Cancelled).await;
        }
        line.engine.leave().await;
    }

    async fn who_is_named_at_a_gate_and_is_nobody_is_told_of(world) {
        let line = Line::new(world).await;
        let mut ask = gate("ok", &[]);
        ask["gate"]["approvers"] = json!(["nobody@x", "local-board"]);
        ask["gate"]["expiry"] = json!({ "expiresAfterSec": 3600, "onExpiry": "escalate", "escalateTo": "boss" });
        let definition = json!({ "name": "line", "nodes": [ask] });
        let applied = line.engine.apply_automation(&line.company, &definition, false, &Line::board()).await.unwrap();
        let names: Vec<&str> = applied.warnings.iter().filter_map(|words| words.split('`').nth(3)).collect();
        assert_eq!(names, ["nobody@x", "boss"], "{:?}", applied.warnings);
        line.engine.leave().await;
    }

    async fn a_limit_that_was_raised_stays_raised(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({
            "name": "line", "nodes": [step("a", &[])], "limits": { "maxRuntimeSec": 100, "maxTokens": 10 },
        })).await;
        let run = line.launch(&automation).await;
        line.process(&run, "a", 1).await;
        line.operate(&run, Operation::Pause).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Paused).await;
        let raise = async |limits: Limits| {
            let asked = Asked { limits: Some(limits), ..Asked::new(Operation::Resume) };
            line.engine.operate(&run, asked, &Line::board()).await.unwrap().limits
        };
        raise(Limits { max_runtime_sec: Some(900), ..Limits::default() }).await;
        line.process(&run, "a", 2).await;
        line.operate(&run, Operation::Pause).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Paused).await;
        let both = raise(Limits { max_tokens: Some(70), ..Limits::default() }).await;
        assert_eq!(both, Some(json!({ "maxRuntimeSec": 900, "maxTokens": 70 })));
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        line.engine.leave().await;
    }

    async fn a_run_in_the_queue_of_a_paused_automation_is_held_there(world) {
        let settings = Settings { max_automation_runs: 1, ..world.settings() };
        let line = Line::with(world, settings).await;
        let automation = line.apply(json!({ "name": "line", "nodes": [step("a", &[])] })).await;
        let first = line.launch(&automation).await;
        line.process(&first, "a", 1).await;
        let second = line.launch(&automation).await;
        let status = domain::automation::AutomationStatus::Paused;
        line.engine.set_automation_status(&automation, status, None, &Line::board()).await.unwrap();
        line.says(&first, "a", 1, "done").await;
        line.until_status(&first, AutomationRunStatus::Completed).await;
        line.until(&second, "held", |view| {
            view.run.status == AutomationRunStatus::Queued
                && view.run.held_reason == Some(domain::hold::HeldReason::Paused)
        }).await;
        let status = domain::automation::AutomationStatus::Active;
        line.engine.set_automation_status(&automation, status, None, &Line::board()).await.unwrap();
        line.says(&second, "a", 1, "done").await;
        line.until_status(&second, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_file_of_an_earlier_run_is_no_output_of_this_one(world) {
        let line = Line::new(world).await;
        let folder = line.world.settings().data_dir.join("work");
        std::fs::create_dir_all(&folder).unwrap();
        let mut notes = step("a", &[]);
        notes["output"] = json!({ "files": ["notes.md"] });
        let automation = line.apply(json!({ "name": "line", "workspace": folder, "nodes": [notes] })).await;
        for number in 0..2 {
            let run = line.launch(&automation).await;
            if number == 1 {
                line.says(&run, "a", 1, "all done, really").await;
            }
            let process = line.process(&run, "a", number + 1).await;
            let before = line.view(&run).await;
            std::fs::write(folder.join("notes.md"), "the same words").unwrap();
            line.world.model.say(&process, &result("done"));
            line.world.model.exit(&process, 0);
            let view = line.until_status(&run, AutomationRunStatus::Completed).await;
            if number == 1 {
                let feedback: Json = json!(before.nodes[0].feedback);
                assert!(feedback.to_string().contains("was there before the run"), "{feedback}");
                assert_eq!(view.nodes[0].repairs, 1);
            }
        }
        line.engine.leave().await;
    }

    async fn a_dry_run_finds_the_agent_that_is_gone(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({ "name": "line", "nodes": [step("a", &[])] })).await;
        let ada = ada(&line).await;
        line.engine.terminate_agent(&ada, &Actor::local_board()).await.unwrap();
        let draft = engine::LaunchDraft { dry_run: true, ..engine::LaunchDraft::default() };
        let refused = line.engine.run_automation(&line.company, &automation, draft, &Line::board()).await.unwrap_err();
        let EngineError::Invalid(problems) = refused else { panic!("{refused}") };
        assert_eq!(problems[0].path, "nodes[0].agent");
        line.engine.leave().await;
    }

    async fn time_in_which_no_agent_works_is_not_counted(world) {
        let line = Line::new(world).await;
        let ada = ada(&line).await;
        line.engine.pause_agent(&ada, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        let automation = line.apply(json!({
            "name": "line", "limits": { "maxRuntimeSec": 600 },
            "nodes": [step("a", &[]), { "id": "z", "agent": "Bob", "objective": "do z" }],
        })).await;
        let run = line.launch(&automation).await;
        line.says(&run, "z", 1, "done").await;
        line.until(&run, "held", |view| {
            let mut attempts = view.attempts.iter();
            state(view, "z") == NodeState::Completed
                && attempts.any(|it| it.held_reason == Some(domain::hold::HeldReason::Paused))
        }).await;
        for _ in 0..3 {
            line.world.clock.advance(HOUR);
            line.engine.nudge();
            line.looked_at(&run).await;
        }
        line.engine.resume_agent(&ada, &Actor::local_board()).await.unwrap();
        line.world.clock.advance(Duration::from_secs(60));
        let process = line.process(&run, "a", 1).await;
        line.world.clock.advance(Duration::from_secs(300));
        line.world.model.say(&process, &result("done"));
        line.world.model.exit(&process, 0);
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        let worked = Duration::from_micros(view.run.worked_micros.try_into().unwrap());
        assert!(worked >= Duration::from_secs(300) && worked < Duration::from_secs(500), "{worked:?}");
        line.engine.leave().await;
    }
}
