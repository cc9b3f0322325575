//! Runs of automations in the inbox: there as long as they stand, and nobody opens or closes them; and those that were
//! cancelled because nobody decided.

use std::time::Duration;

use domain::automation::AutomationRunStatus;
use domain::automation::operation::Operation;
use engine::{ActivityFilter, Asked, EngineError};
use serde_json::json;
use store::automations::runs::AutomationRun;
use testkit::both_stores;

use crate::automations::{Line, gate, step};
use crate::budgets::say;

both_stores! {
    async fn a_run_that_is_blocked_is_in_the_inbox_until_somebody_acts_or_puts_it_aside(world) {
        let line = Line::new(world).await;
        let inbox = async || line.engine.inbox(&line.company, None, 10).await.unwrap();
        let counted = async || {
            let badges = line.engine.badges(&line.company, Some("me")).await.unwrap();
            (inbox().await.open.0, badges.inbox)
        };
        let mut strict = step("a", &[]);
        strict["output"] = json!({ "schema": { "type": "object" }, "repairs": 1 });
        let run = line.started(json!([strict])).await;
        let misses = async |attempts: [i64; 2]| {
            for attempt in attempts {
                line.says(&run, "a", attempt, "no json").await;
            }
            line.until_status(&run, AutomationRunStatus::Blocked).await;
        };
        assert_eq!(counted().await, (0, 0));
        misses([1, 2]).await;
        let items = inbox().await.items;
        let [item] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!((item.kind.as_str(), item.entity_type.as_str(), item.cause.as_str()), ("automation_run", "automation_run", "blocked"));
        assert_eq!((&item.id, &item.entity_id, item.resolved_at), (&run.0, &run.0, None));
        assert!(item.title.starts_with("line #1 is blocked: "), "{}", item.title);
        assert_eq!((&item.details["automation"], &item.details["status"]), (&json!("line"), &json!("blocked")));
        assert_eq!(counted().await, (1, 1));
        let page = line.engine.inbox(&line.company, Some((item.opened_at, item.id.clone())), 10).await.unwrap();
        assert!(page.items.is_empty(), "it is on one page");

        line.operate(&run, Operation::Recover).await.unwrap();
        assert_eq!((inbox().await.items.len(), counted().await), (0, (0, 0)));
        let gone = line.engine.inbox_item(run.as_str()).await.unwrap_err();
        assert!(matches!(gone, EngineError::NotFound("Inbox item")), "{gone}");
        misses([3, 4]).await;
        assert_eq!(counted().await, (1, 1));
        let before = line.view(&run).await.run;
        for _ in 0..2 {
            let aside = line.engine.resolve_inbox_item(run.as_str(), &Line::board()).await.unwrap();
            assert_eq!((aside.resolution.as_deref(), aside.resolved_at.is_some()), (Some("dismissed"), true));
        }
        assert_eq!((inbox().await.items.len(), counted().await), (0, (0, 0)));
        let after = line.view(&run).await.run;
        let what = |run: &AutomationRun| (run.status, run.updated_at, run.history_seq);
        assert_eq!(what(&after), what(&before), "the run is what it was");
        let told = line.engine.activity(&line.company, ActivityFilter::default(), 100).await.unwrap();
        assert_eq!(told.iter().filter(|entry| entry.action == "inbox.item_resolved").count(), 1, "said once");
        // It was about how it stood then.
        let retry = Asked { node: Some("a".to_owned()), ..Asked::new(Operation::Retry) };
        line.engine.operate(&run, retry, &Line::board()).await.unwrap();
        misses([5, 6]).await;
        assert_eq!(counted().await, (1, 1));
        line.engine.leave().await;
    }

    async fn a_run_that_reached_its_limit_is_in_the_inbox_and_one_that_a_person_paused_is_not(world) {
        let line = Line::new(world).await;
        let held = line.started(json!([step("a", &[])])).await;
        line.process(&held, "a", 1).await;
        line.operate(&held, Operation::Pause).await.unwrap();
        line.until_status(&held, AutomationRunStatus::Paused).await;
        let limits = json!({ "name": "limited", "limits": { "maxTokens": 5 }, "nodes": [step("a", &[])] });
        let limited = line.apply(limits).await;
        let run = line.launch(&limited).await;
        let process = line.process(&run, "a", 1).await;
        say(&line.world, &process, None, 10);
        line.until_status(&run, AutomationRunStatus::Paused).await;
        let items = line.world.eventually("the run that does not go on", || async {
            let items = line.engine.inbox(&line.company, None, 10).await.unwrap().items;
            (!items.is_empty()).then_some(items)
        });
        let items = items.await;
        let [item] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!((&item.entity_id, item.cause.as_str()), (&run.0, "run_limit"));
        assert!(item.title.contains("maxTokens"), "{}", item.title);
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        assert!(line.engine.inbox(&line.company, None, 10).await.unwrap().items.is_empty());
        line.engine.leave().await;
    }

    async fn a_run_that_nobody_decided_in_time_is_in_the_inbox_until_somebody_asks_again(world) {
        let line = Line::new(world).await;
        let inbox = async || line.engine.inbox(&line.company, None, 10).await.unwrap();
        let mut asks = gate("ok", &[]);
        asks["gate"]["expiry"] = json!({ "expiresAfterSec": 3600 });
        let run = line.started(json!([asks])).await;
        let retry = async || {
            let retry = Asked { node: Some("ok".to_owned()), ..Asked::new(Operation::Retry) };
            line.engine.operate(&run, retry, &Line::board()).await.unwrap();
        };
        let expire = async || {
            line.gate(&run, "ok").await;
            line.world.clock.advance(Duration::from_secs(3_700));
            line.engine.nudge();
            line.until_status(&run, AutomationRunStatus::Cancelled).await;
        };
        expire().await;
        let told = inbox().await;
        let [item] = told.items.as_slice() else { panic!("{:?}", told.items) };
        assert_eq!((item.kind.as_str(), item.cause.as_str()), ("automation_run", "gate_expired"));
        assert_eq!((item.entity_id.as_str(), told.open.0), (run.as_str(), 1));
        assert_eq!((&item.details["nodeId"], &item.details["status"]), (&json!("ok"), &json!("cancelled")));
        assert!(item.title.contains("nobody decided at ok in time"), "{}", item.title);

        retry().await;
        line.gate(&run, "ok").await;
        assert_eq!((inbox().await.items.len(), inbox().await.open.0), (0, 0), "somebody asked again");
        // Who ends a run knows of it.
        line.operate(&run, Operation::Cancel).await.unwrap();
        line.until_status(&run, AutomationRunStatus::Cancelled).await;
        assert_eq!(inbox().await.items, []);

        retry().await;
        expire().await;
        let item = inbox().await.items.remove(0);
        for _ in 0..2 {
            let aside = line.engine.resolve_inbox_item(&item.id, &Line::board()).await.unwrap();
            assert_eq!(aside.resolution.as_deref(), Some("dismissed"));
        }
        assert_eq!(inbox().await.items, []);
        assert_eq!(line.view(&run).await.run.status, AutomationRunStatus::Cancelled);
        line.engine.leave().await;
    }
}
