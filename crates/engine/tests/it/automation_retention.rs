//! Automation runs that are over and old go with everything of theirs; what a run that is there needs stays.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use domain::automation::definition::Decision;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, TriggerType};
use domain::ids::{AutomationId, AutomationRunId, RunId};
use engine::{EngineError, LaunchDraft, Settings};
use serde_json::json;
use testkit::both_stores;

use crate::automations::{Line, gate, step};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

fn folder(line: &Line, run: &AutomationRunId) -> PathBuf {
    line.engine.settings().data_dir.join("automations").join(run.as_str())
}

/// The run comes to its end after its one step; returns the run of its agent.
async fn ended(line: &Line, run: &AutomationRunId) -> RunId {
    let worked = line.says(run, "a", 1, "done").await;
    line.until_status(run, AutomationRunStatus::Completed).await;
    let file = folder(line, run).join("status.json");
    line.world
        .eventually("its status told", || async {
            let told = std::fs::read_to_string(&file).ok()?;
            told.contains("\"completed\"").then_some(())
        })
        .await;
    worked
}

/// Has what is old removed, pass after pass, until so.
async fn until_gone(line: &Line, run: &AutomationRunId) {
    line.world
        .eventually("it is gone", || async {
            line.engine.nudge();
            let found = line.engine.find_automation_run(run).await;
            matches!(found, Err(EngineError::NotFound(_))).then_some(())
        })
        .await;
}

async fn keyed(line: &Line, automation: &AutomationId) -> AutomationRunId {
    let draft = LaunchDraft { idempotency_key: Some("key".to_owned()), ..LaunchDraft::default() };
    line.engine.run_automation(&line.company, automation, draft, &Line::board()).await.unwrap().id
}

fn set_changed(path: &Path, at: SystemTime) {
    std::fs::File::open(path).unwrap().set_modified(at).unwrap();
}

both_stores! {
    async fn what_is_over_and_old_goes_and_the_audit_knows_of_it(world) {
        let line = Line::new(world).await;
        let over = line.started(json!([step("a", &[])])).await;
        let worked = ended(&line, &over).await;
        line.world.run_until(&worked, "archived", |run| run.log_state == "archived").await;
        // Another one waits for a person, for longer than anything is kept.
        let mut ask = gate("ok", &["a"]);
        ask["gate"]["expiry"] = json!({ "expiresAfterSec": 0 });
        let waits = line.started(json!([step("a", &[]), ask, step("b", &["ok"])])).await;
        let kept = line.says(&waits, "a", 1, "a draft").await;
        line.until_status(&waits, AutomationRunStatus::AwaitingApproval).await;
        line.world.run_until(&kept, "archived", |run| run.log_state == "archived").await;
        line.world.clock.advance(DAY * 91);
        until_gone(&line, &over).await;
        assert!(!folder(&line, &over).exists());
        let history = line.engine.automation_history(&over, 0, 10).await;
        assert!(matches!(history, Err(EngineError::NotFound(_))));
        // Then the runs of its agents, which nobody needs any more.
        line.world.clock.advance(MINUTE * 2);
        line.world.eventually("the agent's run is gone", || async {
            line.engine.nudge();
            line.world.find_run(&worked).await.is_none().then_some(())
        }).await;
        assert!(line.world.find_run(&kept).await.is_some());
        let gate = line.gate(&waits, "ok").await;
        line.decide(&gate, Decision::Approve).await.unwrap();
        line.says(&waits, "b", 1, "published").await;
        line.until_status(&waits, AutomationRunStatus::Completed).await;
        let (chain, told) = line.world.read(|tx| Box::pin(async move {
            Ok((store::audit::verify(tx, None).await?, store::audit::page(tx, 0, 100).await?))
        })).await;
        assert!(chain.ok);
        assert!(told.iter().any(|it| it.action == "automation.run_requested" && it.subject == over.as_str()));
        line.engine.leave().await;
    }

    async fn a_run_goes_after_those_that_were_started_after_it(world) {
        let settings = Settings { keep_runs_for: DAY * 2, ..world.settings() };
        let line = Line::with(world, settings).await;
        let build = line.apply(json!({ "name": "build", "nodes": [step("a", &[])] })).await;
        let mut ask = gate("ok", &[]);
        ask["gate"]["expiry"] = json!({ "expiresAfterSec": 0 });
        line.apply(json!({ "name": "publish", "nodes": [ask], "after": [{ "automation": "build" }] })).await;
        let alone = line.apply(json!({ "name": "alone", "nodes": [step("a", &[])] })).await;
        let (first, other) = (line.launch(&build).await, line.launch(&alone).await);
        for run in [&first, &other] {
            ended(&line, run).await;
        }
        let after = line.world.eventually("what comes after it", || async {
            let all = line.engine.automation_runs(&line.company, None, None, 10).await.unwrap();
            all.into_iter().find(|run| run.trigger_type == TriggerType::After)
        }).await;
        line.until_status(&after.id, AutomationRunStatus::AwaitingApproval).await;
        line.world.clock.advance(DAY * 3);
        until_gone(&line, &other).await;
        assert!(line.engine.find_automation_run(&first).await.is_ok(), "the other one goes on with its work");
        line.operate(&after.id, Operation::Cancel).await.unwrap();
        line.until_status(&after.id, AutomationRunStatus::Cancelled).await;
        line.world.clock.advance(DAY * 3);
        until_gone(&line, &after.id).await;
        line.world.clock.advance(MINUTE * 2);
        until_gone(&line, &first).await;
        line.engine.leave().await;
    }

    async fn a_key_is_good_for_a_day_however_short_runs_are_kept(world) {
        let settings = Settings { keep_runs_for: MINUTE * 30, ..world.settings() };
        let line = Line::with(world, settings).await;
        let automation = line.apply(json!({ "name": "line", "nodes": [step("a", &[])] })).await;
        let (first, plain) = (keyed(&line, &automation).await, line.launch(&automation).await);
        for run in [&first, &plain] {
            ended(&line, run).await;
        }
        line.world.clock.advance(MINUTE * 60);
        until_gone(&line, &plain).await;
        assert_eq!(keyed(&line, &automation).await, first);
        line.world.clock.advance(DAY);
        until_gone(&line, &first).await;
        assert_ne!(keyed(&line, &automation).await, first);
        line.engine.leave().await;
    }

    async fn folders_of_runs_that_are_gone_are_removed_when_they_are_old(world) {
        let line = Line::new(world).await;
        let run = line.started(json!([step("a", &[])])).await;
        ended(&line, &run).await;
        let all = line.engine.settings().data_dir.join("automations");
        let (gone, young) = (domain::ids::mint(line.engine.now(), [1; 16]), domain::ids::mint(line.engine.now(), [2; 16]));
        for name in [gone.as_str(), young.as_str(), "notes"] {
            std::fs::create_dir_all(all.join(name)).unwrap();
            std::fs::write(all.join(name).join("status.json"), "{}").unwrap();
        }
        for name in [gone.as_str(), "notes", run.as_str()] {
            set_changed(&all.join(name), SystemTime::UNIX_EPOCH + DAY);
        }
        line.world.eventually("the folder is gone", || async {
            line.engine.nudge();
            (!all.join(&gone).exists()).then_some(())
        }).await;
        // A store that was put back may know less than the disk holds; and what is no run's folder is nobody's to remove.
        assert!(all.join(&young).exists() && all.join("notes").exists() && folder(&line, &run).exists());
        line.engine.leave().await;
    }
}
