//! Automation runs at their edges: work that was cut off half-way and may not be repeated, decisions while a run backs off,
//! runs that cannot be read, and who begins after an end.

use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, NodeState, StopKind};
use domain::ids::AutomationRunId;
use domain::moment::Moment;
use engine::{AutomationRunView, Clock as _, Settings};
use serde_json::json;
use store::automations::runs::AutomationRun;
use testkit::{Obedience, both_stores};

use crate::automations::{Line, gate, state, step};

async fn until_row(line: &Line, run: &AutomationRunId, status: AutomationRunStatus) -> AutomationRun {
    let found = line.world.eventually(status.as_str(), || async {
        Some(line.row(run).await).filter(|row| row.status == status)
    });
    found.await
}

fn reason(view: &AutomationRunView, node: &str) -> String {
    view.nodes.iter().find(|it| it.node_id == node).unwrap().reason.clone().unwrap_or_default()
}

both_stores! {
    async fn what_may_not_be_repeated_and_was_lost_half_way_waits_for_a_person(world) {
        let line = Line::new(world).await;
        let mut once = step("publish", &[]);
        once["repeatable"] = json!(false);
        let run = line.started(json!([once])).await;
        let lost = line.process(&run, "publish", 1).await;
        line.world.model.lose_keeper(&lost);
        let view = line.until_status(&run, AutomationRunStatus::Blocked).await;
        assert!(reason(&view, "publish").contains("nobody knows"), "{}", reason(&view, "publish"));
        assert_eq!(view.attempts.len(), 1);
        assert_eq!(view.attempts[0].agent_run_id, Some(lost.run.clone()), "nobody did it again");
        // A person looked, and has it done again; then somebody pauses the run in the midst of it.
        line.operate(&run, Operation::Recover).await.unwrap();
        line.process(&run, "publish", 2).await;
        line.operate(&run, Operation::Pause).await.unwrap();
        let view = line.until_status(&run, AutomationRunStatus::Paused).await;
        assert_eq!(state(&view, "publish"), NodeState::Blocked);
        line.operate(&run, Operation::Recover).await.unwrap();
        line.says(&run, "publish", 3, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_decision_lets_go_on_a_run_that_backs_off(world) {
        let line = Line::new(world).await;
        let mut slow = step("a", &[]);
        slow["retry"] = json!({ "backoff": { "kind": "fixed", "initialSec": 600 } });
        let run = line.started(json!([slow, gate("ok", &[]), step("b", &["ok"])])).await;
        let asked = line.gate(&run, "ok").await;
        let process = line.process(&run, "a", 1).await;
        line.world.model.exit(&process, 1);
        line.until(&run, "backing off", |it| it.run.status == AutomationRunStatus::Queued && it.run.not_before.is_some()).await;
        line.decide(&asked, Decision::Approve).await.unwrap();
        // No time goes by.
        line.says(&run, "b", 1, "published").await;
        let view = line.until(&run, "backing off again", |it| {
            state(it, "b") == NodeState::Completed && it.run.status == AutomationRunStatus::Queued
        });
        assert_eq!(state(&view.await, "a"), NodeState::Pending);
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        line.engine.leave().await;
    }

    async fn a_step_that_backs_off_is_made_again_at_once_where_a_person_says_so(world) {
        let line = Line::new(world).await;
        let mut slow = step("a", &[]);
        slow["retry"] = json!({ "backoff": { "kind": "fixed", "initialSec": 600 } });
        let run = line.started(json!([slow])).await;
        let process = line.process(&run, "a", 1).await;
        line.world.model.exit(&process, 1);
        let backs_off = line.until(&run, "backing off", |it| it.run.not_before.is_some()).await;
        assert_eq!(backs_off.run.status, AutomationRunStatus::Queued);
        assert!(backs_off.allowed.contains(&Operation::Retry), "{:?}", backs_off.allowed);
        let retry = engine::Asked { node: Some("a".to_owned()), ..engine::Asked::new(Operation::Retry) };
        let queued = line.engine.operate(&run, retry, &Line::board()).await.unwrap();
        assert_eq!((queued.not_before, queued.queued_at), (None, backs_off.run.queued_at), "it keeps its turn");
        // No time goes by.
        line.says(&run, "a", 2, "done").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.leave().await;
    }

    async fn a_run_that_waits_and_cannot_be_read_is_blocked_and_keeps_no_place(world) {
        let settings = Settings { max_automation_runs: 1, ..world.settings() };
        let line = Line::with(world, settings).await;
        let automation = line.apply(json!({ "name": "line", "nodes": [step("a", &[])] })).await;
        let first = line.launch(&automation).await;
        line.process(&first, "a", 1).await;
        let broken = line.launch(&automation).await;
        let third = line.launch(&automation).await;
        line.meddle(&broken, |row| row.own_definition = Some(json!({ "nodes": 7 }))).await;
        line.says(&first, "a", 1, "done").await;
        line.until_status(&first, AutomationRunStatus::Completed).await;
        let blocked = until_row(&line, &broken, AutomationRunStatus::Blocked).await;
        assert!(blocked.detail.unwrap().contains("cannot be read"));
        line.says(&third, "a", 1, "done").await;
        line.until_status(&third, AutomationRunStatus::Completed).await;
        line.engine.remove_automation(&automation, &Line::board()).await.unwrap();
        line.engine.leave().await;
    }

    async fn a_run_that_asks_and_cannot_be_read_is_cancelled_all_the_same(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([gate("ok", &[])])).await;
        let asked = line.gate(&run, "ok").await;
        line.until_status(&run, AutomationRunStatus::AwaitingApproval).await;
        line.meddle(&run, |row| row.own_definition = Some(json!({ "nodes": 7 }))).await;
        let ended = line.operate(&run, Operation::Cancel).await.unwrap();
        assert_eq!(ended.status, AutomationRunStatus::Blocked);
        assert_eq!(line.engine.gate(&asked.id).await.unwrap().gate.status, GateStatus::Withdrawn);
        line.engine.leave().await;
    }

    async fn each_link_to_an_automation_starts_a_run_of_its_own(world) {
        let line = Line::new(world).await;
        let build = line.apply(json!({ "name": "build", "nodes": [gate("ok", &[])] })).await;
        let link = |env: &str| json!({ "automation": "build", "inputs": { "env": env }, "on": ["completed", "cancelled"] });
        let deploy = line.apply(json!({
            "name": "deploy", "inputs": { "env": { "type": "string" } }, "nodes": [gate("go", &[])],
            "after": [link("staging"), link("prod")],
        })).await;
        let started = async || {
            let runs = line.engine.automation_runs(&line.company, Some(&deploy), None, 10).await.unwrap();
            let mut envs: Vec<String> = runs.iter().map(|run| run.inputs["env"].as_str().unwrap().to_owned()).collect();
            envs.sort();
            envs
        };
        let run = line.launch(&build).await;
        line.decide(&line.gate(&run, "ok").await, Decision::Approve).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Completed).await;
        assert_eq!(started().await, ["prod", "staging"]);
        // Another end of the same run is another hand-over.
        line.operate(&run, Operation::Retry).await.unwrap_err();
        let retry = engine::Asked { node: Some("ok".to_owned()), ..engine::Asked::new(Operation::Retry) };
        line.engine.operate(&run, retry, &Line::board()).await.unwrap();
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        assert_eq!(started().await, ["prod", "prod", "staging", "staging"]);
        line.engine.leave().await;
    }

    async fn what_is_handed_over_keeps_its_type(world) {
        let line = Line::new(world).await;
        let build = line.apply(json!({ "name": "build", "nodes": [step("a-b", &[])] })).await;
        let value = |field: &str| format!("{{{{ nodes['a-b'].json.{field} }}}}");
        let deploy = line.apply(json!({
            "name": "deploy", "nodes": [gate("go", &[])],
            "inputs": {
                "sure": { "type": "boolean" }, "count": { "type": "number" }, "list": { "type": "array" },
                "table": { "type": "object" }, "text": { "type": "string" }, "any": {}, "none": { "required": false },
            },
            "after": [{ "automation": "build", "inputs": {
                "sure": value("list[0]"), "count": value("n"), "list": value("list"), "table": value("table"),
                "text": format!("it is {} of {}", value("list[0]"), value("table")), "any": value("n"), "none": value("list[1]"),
            } }],
        })).await;
        let run = line.launch(&build).await;
        line.says(&run, "a-b", 1, "{\"list\": [true, null, 1.5], \"n\": 3, \"table\": {\"k\": false}}").await;
        line.until_status(&run, AutomationRunStatus::Completed).await;
        let runs = line.engine.automation_runs(&line.company, Some(&deploy), None, 10).await.unwrap();
        let inputs: Vec<_> = runs.into_iter().map(|run| json!(run.inputs)).collect();
        let expected = json!({
            "sure": true, "count": 3, "list": [true, null, 1.5], "table": { "k": false },
            "text": "it is true of {\"k\":false}", "any": 3, "none": null,
        });
        assert_eq!(inputs, [expected]);
        line.engine.leave().await;
    }

    async fn what_was_cancelled_is_cancelled_whatever_a_restart_asks_for(world) {
        let line = Line::new(world.clone()).await;
        let policy = json!({ "onRestart": "fail" });
        let automation = line.apply(json!({ "name": "line", "policy": policy, "nodes": [step("a", &[])] })).await;
        let run = line.launch(&automation).await;
        let process = line.process(&run, "a", 1).await;
        world.model.set_obedience(&process, Obedience::Later);
        line.operate(&run, Operation::Cancel).await.unwrap();
        world.model.until_stopping(&process).await;
        line.engine.leave().await;
        let line = Line { engine: world.engine().await, ..line };
        world.model.obey(&process);
        let view = line.until(&run, "over", |view| view.run.status.is_final()).await;
        assert_eq!((view.run.status, view.run.stop_kind), (AutomationRunStatus::Cancelled, Some(StopKind::OperatorStopped)));
        line.engine.leave().await;
    }

    async fn a_run_that_nobody_lets_go_on_is_left_alone(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[])])).await;
        line.process(&run, "a", 1).await;
        line.operate(&run, Operation::Pause).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Paused).await;
        let now = line.world.clock.now();
        let long_ago = Moment::from_micros(now.micros() - 3_600_000_000);
        line.meddle(&run, move |row| {
            row.stop_kind = Some(StopKind::StaleReaped);
            (row.stopped_at, row.updated_at, row.look_at) = (Some(long_ago), long_ago, Some(long_ago));
        }).await;
        line.engine.nudge();
        let left = line.world.eventually("no more looks", || async {
            Some(line.row(&run).await).filter(|row| row.look_at.is_none())
        });
        let left = left.await;
        assert_eq!((left.status, left.updated_at), (AutomationRunStatus::Paused, long_ago), "nothing of it was written");
        line.engine.leave().await;
    }
}
