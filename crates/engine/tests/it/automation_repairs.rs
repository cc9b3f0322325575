//! What people do to runs in the middle: what one step had stopped, what is made again in vain, repairs of what is broken
//! in several places, questions that are open meanwhile, and pauses that take too long.

use std::time::Duration;

use domain::automation::definition::Decision;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, NodeState, StopKind};
use domain::ids::AutomationRunId;
use domain::wake::Actor;
use engine::{Asked, AutomationRunView, EngineError};
use serde_json::{Value as Json, json};
use store::automations::runs::AutomationRun;
use testkit::both_stores;

use crate::automations::{Line, code, gate, state, step};

/// A step that is tried once, with more fields.
fn once(id: &str, before: &[&str], more: Json) -> Json {
    let mut step = step(id, before);
    step["retry"] = json!({ "maxAttempts": 1 });
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

async fn fails(line: &Line, run: &AutomationRunId, node: &str, attempt: i64) {
    let process = line.process(run, node, attempt).await;
    line.world.model.exit(&process, 1);
}

async fn of_node(
    line: &Line,
    run: &AutomationRunId,
    operation: Operation,
    node: &str,
) -> Result<AutomationRun, EngineError> {
    let asked = Asked { node: Some(node.to_owned()), ..Asked::new(operation) };
    line.engine.operate(run, asked, &Line::board()).await
}

async fn repair(
    line: &Line,
    run: &AutomationRunId,
    node: &str,
    patch: Json,
) -> Result<AutomationRun, EngineError> {
    let asked = Asked { node: Some(node.to_owned()), patch: Some(patch), ..Asked::new(Operation::Repair) };
    line.engine.operate(run, asked, &Line::board()).await
}

async fn pause(line: &Line, run: &AutomationRunId, drain: bool) -> Result<AutomationRun, EngineError> {
    line.engine.operate(run, Asked { drain, ..Asked::new(Operation::Pause) }, &Line::board()).await
}

fn places(refused: Result<AutomationRun, EngineError>) -> Vec<String> {
    match refused {
        Err(EngineError::Invalid(problems)) => problems.into_iter().map(|problem| problem.path).collect(),
        other => panic!("{other:?}"),
    }
}

fn reason(view: &AutomationRunView, node: &str) -> String {
    let row = view.nodes.iter().find(|row| row.node_id == node).unwrap();
    row.reason.clone().unwrap_or_default()
}

both_stores! {
    async fn what_a_step_had_stopped_begins_again_with_it(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({
            "name": "line", "limits": { "maxParallelAgents": 1 },
            "nodes": [once("x", &[], json!({ "partialFailure": "pause_all" })), step("y", &[]), step("z", &["x"])],
        })).await;
        let run = line.launch(&automation).await;
        fails(&line, &run, "x", 1).await;
        let failed = line.until_status(&run, AutomationRunStatus::Failed).await;
        assert_eq!((state(&failed, "y"), state(&failed, "z")), (NodeState::Blocked, NodeState::Blocked));
        assert!(reason(&failed, "y").contains("x did not succeed, and stops all others"), "{}", reason(&failed, "y"));
        assert!(reason(&failed, "z").contains("it depends on x"), "{}", reason(&failed, "z"));
        of_node(&line, &run, Operation::Retry, "x").await.unwrap();
        line.says(&run, "x", 2, "mended").await;
        line.says(&run, "y", 1, "done").await;
        line.says(&run, "z", 1, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn what_another_one_blocked_stops_nobody_else(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([
            once("a", &[], json!({})), once("b", &["a"], json!({ "partialFailure": "pause_all" })),
            step("c", &[]), step("d", &["c"]),
        ])).await;
        line.process(&run, "c", 1).await;
        fails(&line, &run, "a", 1).await;
        line.until(&run, "blocked at b", |view| state(view, "b") == NodeState::Blocked).await;
        line.says(&run, "c", 1, "done").await;
        line.says(&run, "d", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        assert_eq!(state(&view, "d"), NodeState::Completed);
        line.engine.leave().await;
    }

    async fn nothing_is_made_again_behind_what_is_broken(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([once("a", &[], json!({})), step("b", &["a"])])).await;
        fails(&line, &run, "a", 1).await;
        line.until_status(&run, AutomationRunStatus::Failed).await;
        for operation in [Operation::Retry, Operation::Continue] {
            let refused = of_node(&line, &run, operation, "b").await.unwrap_err();
            assert!(refused.to_string().contains("It cannot begin before a"), "{refused}");
            let shown = line.engine.preview_operation(&run, operation, Some("b".to_owned())).await.unwrap_err();
            assert!(shown.to_string().contains("It cannot begin before a"), "{shown}");
        }
        for operation in [Operation::Pause, Operation::Resume, Operation::Cancel] {
            let refused = line.engine.preview_operation(&run, operation, None).await;
            assert!(matches!(refused, Err(EngineError::Invalid(_))), "{operation}: {refused:?}");
        }
        assert_eq!(line.view(&run).await.run.status, AutomationRunStatus::Failed, "nothing has happened to it");
        line.engine.leave().await;
    }

    async fn a_repair_is_judged_by_what_it_changes(world) {
        let line = Line::new(world).await;
        let by_bob = json!({ "agent": "Bob" });
        let run = line.started(json!([once("a", &[], by_bob.clone()), once("b", &["a"], by_bob)])).await;
        fails(&line, &run, "a", 1).await;
        let view = line.until_status(&run, AutomationRunStatus::Failed).await;
        let bob = view.attempts[0].agent_id.clone();
        line.engine.terminate_agent(&bob, &Actor::local_board()).await.unwrap();
        assert_eq!(places(repair(&line, &run, "a", json!({})).await), ["patch"]);
        let bare = of_node(&line, &run, Operation::Repair, "a").await;
        assert_eq!(places(bare), ["patch"]);
        assert_eq!(places(repair(&line, &run, "a", json!({ "agent": "Nobody" })).await), ["nodes[0].agent"]);
        // Bob stands at the other step, too: that is its own repair.
        repair(&line, &run, "a", json!({ "agent": "Ada" })).await.unwrap();
        line.says(&run, "a", 2, "done").await;
        line.until_status(&run, AutomationRunStatus::Failed).await;
        repair(&line, &run, "b", json!({ "agent": "Ada" })).await.unwrap();
        line.says(&run, "b", 1, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn an_open_question_is_put_anew_when_a_repair_changes_what_it_lets_happen(world) {
        let line = Line::new(world).await;
        let mut asks = gate("g", &[]);
        asks["gate"]["selfApproval"] = json!(true);
        asks["gate"]["approvers"] = json!(["local-board"]);
        let run = line.started(json!([asks, step("z", &["g"])])).await;
        let looked_at = line.gate(&run, "g").await;
        line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        // Who decides is not for a run to change, whoever may repair it.
        let loosened = repair(&line, &run, "g", json!({ "gate": { "title": "may it go on?" } })).await;
        assert_eq!(places(loosened), ["patch.gate.approvers"]);
        assert_eq!(line.gate(&run, "g").await.hash, looked_at.hash);
        repair(&line, &run, "z", json!({ "objective": "deploy to production" })).await.unwrap();
        let refused = line.decide(&looked_at, Decision::Approve).await.unwrap_err();
        assert_eq!(code(&refused), "stale");
        let again = line.gate(&run, "g").await;
        assert!(again.id == looked_at.id && again.hash != looked_at.hash);
        assert!(line.events(&run).await.contains(&"gate_changed".to_owned()));
        line.decide(&again, Decision::Approve).await.unwrap();
        line.says(&run, "z", 1, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(view.attempts[0].objective, "deploy to production");
        line.engine.leave().await;
    }

    async fn a_pause_that_lets_work_end_has_the_limits_of_the_run_and_can_be_hastened(world) {
        let line = Line::new(world).await;
        let automation = line.apply(json!({
            "name": "line", "limits": { "maxRuntimeSec": 60 }, "nodes": [step("a", &[])],
        })).await;
        let run = line.launch(&automation).await;
        line.process(&run, "a", 1).await;
        pause(&line, &run, true).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Pausing).await;
        line.world.clock.advance(Duration::from_secs(61));
        line.engine.nudge();
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!((state(&view, "a"), view.run.stop_kind), (NodeState::Pending, Some(StopKind::OperatorStopped)));

        let run = line.started(json!([step("a", &[])])).await;
        line.process(&run, "a", 1).await;
        pause(&line, &run, true).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Pausing).await;
        assert!(pause(&line, &run, true).await.is_err(), "it is asked already");
        pause(&line, &run, false).await.unwrap();
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!(state(&view, "a"), NodeState::Pending);
        line.engine.leave().await;
    }

    async fn the_time_of_a_run_stands_still_while_a_step_waits_to_be_tried_again(world) {
        let line = Line::new(world).await;
        let mut slow = step("a", &[]);
        slow["retry"] = json!({ "backoff": { "kind": "fixed", "initialSec": 25 } });
        let automation =
            line.apply(json!({ "name": "line", "limits": { "maxRuntimeSec": 10 }, "nodes": [slow] })).await;
        let run = line.launch(&automation).await;
        fails(&line, &run, "a", 1).await;
        line.until(&run, "to be tried again", |view| view.nodes[0].retry_at.is_some()).await;
        line.world.clock.advance(Duration::from_secs(26));
        line.engine.nudge();
        line.says(&run, "a", 2, "done").await;
        let view = line.until_status(&run, AutomationRunStatus::Completed).await;
        assert!(view.run.worked_micros < 10_000_000, "{}", view.run.worked_micros);
        line.engine.leave().await;
    }
}
