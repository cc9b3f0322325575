//! What people decide about automations, and what sweeps do to their gates, is in the audit chain (docs/audit.md).

use std::time::Duration;

use domain::automation::definition::Decision;
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, AutomationStatus};
use engine::Asked;
use serde_json::{Value as Json, json};
use store::audit::{self, StoredAudit};
use testkit::both_stores;

use crate::automations::{Line, gate};

fn asking(expiry: Json) -> Json {
    let mut asks = gate("ok", &[]);
    asks["gate"]["expiry"] = expiry;
    json!({ "name": "line", "nodes": [asks] })
}

async fn records(line: &Line) -> Vec<StoredAudit> {
    let report = line.world.read(|tx| Box::pin(async move { audit::verify(tx, None).await })).await;
    assert!(report.ok, "{report:?}");
    line.world.read(|tx| Box::pin(async move { audit::page(tx, 0, 1_000).await })).await
}

impl Line {
    async fn pass(&self, seconds: u64) {
        self.world.clock.advance(Duration::from_secs(seconds));
        self.engine.nudge();
    }
}

both_stores! {
    async fn what_people_and_sweeps_do_to_automations_is_in_the_chain(world) {
        let line = Line::new(world).await;
        let by = Line::board();
        let automation = line.apply(asking(json!({ "expiresAfterSec": 200_000, "remindEverySec": 50_000 }))).await;
        let run = line.launch(&automation).await;
        line.decide(&line.gate(&run, "ok").await, Decision::Approve).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Completed).await;
        line.engine.set_automation_status(&automation, AutomationStatus::Paused, None, &by).await.unwrap();
        line.engine.set_automation_status(&automation, AutomationStatus::Active, None, &by).await.unwrap();

        let run = line.launch(&automation).await;
        line.gate(&run, "ok").await;
        line.pass(60_000).await;
        line.until(&run, "a reminder", |view| view.gates[0].reminders > 0).await;
        line.pass(40_000).await;
        line.until(&run, "the mark of a day", |view| view.gates[0].stale_at.is_some()).await;
        line.pass(110_000).await;
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        let retry = Asked { node: Some("ok".to_owned()), ..Asked::new(Operation::Retry) };
        line.engine.operate(&run, retry, &by).await.unwrap();
        line.gate(&run, "ok").await;
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;

        line.apply(asking(json!({ "expiresAfterSec": 3_600, "onExpiry": "escalate", "escalateTo": "boss" }))).await;
        let run = line.launch(&automation).await;
        line.gate(&run, "ok").await;
        line.pass(4_000).await;
        line.until(&run, "somebody else to be told", |view| view.gates[0].escalated_at.is_some()).await;
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        line.engine.remove_automation(&automation, &by).await.unwrap();

        let records = records(&line).await;
        let of = |action: &str| records.iter().filter(|it| it.action == action).collect::<Vec<_>>();
        for (action, times) in [
            ("automation.created", 1),
            ("automation.changed", 1),
            ("automation.paused", 1),
            ("automation.resumed", 1),
            ("automation.removed", 1),
            ("automation.run_requested", 3),
            ("automation.gate_decided", 1),
            ("automation.run_retry", 1),
            ("automation.run_cancel", 2),
        ] {
            let found = of(action);
            assert_eq!(found.len(), times, "{action}");
            assert!(found.iter().all(|it| it.actor.starts_with("user:")), "{found:?}");
        }
        for action in ["reminder_due", "marked_stale", "expired", "escalated"] {
            let found = of(&format!("automation.internal_sweep.approval_gate_{action}"));
            assert!(!found.is_empty(), "{action}");
            assert!(found.iter().all(|it| it.actor == "system:automation_gate_expiry"), "{found:?}");
        }
        let decided: Json = serde_json::from_str(&of("automation.gate_decided")[0].details).unwrap();
        assert!(decided["hash"].as_str().is_some_and(|hash| hash.len() == 64), "it says what was decided about");
        line.engine.leave().await;
    }
}
