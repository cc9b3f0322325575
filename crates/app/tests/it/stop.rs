//! Stop means stop: after a cancel no process of the run is left, and nothing from before it starts.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{Stage, databases};

/// Leader, wrapper, child and a grandchild in a session of its own, all deaf to SIGTERM.
const STUBBORN: &str = "\
ignore TERM
fork quiet {
  ignore TERM
  fork quiet {
    ignore TERM
    fork quiet setsid {
      ignore TERM
      hang
    }
    hang
  }
  hang
}
message up
hang";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_ignores_sigterm_is_gone_after_a_cancel() {
    for database in databases() {
        let mut stage = Stage::set(database);
        stage.start();
        let agent = stage.scripted("stubborn", STUBBORN, json!({"graceSec": 1})).await;
        let run = stage.wake(&agent, &json!({})).await;
        crate::stage::wait_for("the whole tree", || (stage.agents().len() >= 4).then_some(()));

        let began = Instant::now();
        let asked = stage.post(&format!("/heartbeat-runs/{run}/cancel"), &json!({})).await;
        assert!(asked["cancelRequestedAt"].is_string(), "shown as cancelling at once: {asked:#}");
        let ended = stage.over(&run).await;
        let took = began.elapsed();
        assert_eq!(
            (&ended["status"], &ended["errorCode"]),
            (&json!("cancelled"), &json!("cancelled")),
            "{ended:#}"
        );
        assert_eq!(stage.agents(), Vec::<i32>::new(), "processes that were left behind");
        // Grace and two seconds, five times over: the machine is shared.
        assert!(took < Duration::from_secs(15), "stopping took {took:?}");
        assert_eq!(ended["resultJson"]["stopReason"], "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wakes_from_before_a_cancel_of_an_agents_work_start_nothing_after_it() {
    for database in databases() {
        let mut stage = Stage::set(database);
        stage.start();
        let ledger = stage.place("ledger");
        let script = format!("ledger {} start\nmessage up\nhang", ledger.display());
        let body = json!({
            "name": "busy", "adapterType": "scripted", "adapterConfig": {"script": script, "graceSec": 1},
            "runtimeConfig": {"heartbeat": {"maxConcurrentRuns": 1}},
        });
        let agent = stage.agent(&body).await;
        let first = stage.wake(&agent, &json!({"taskKey": "first"})).await;
        crate::stage::wait_for("the first start", || ledger.exists().then_some(()));
        let mut waiting = Vec::new();
        for number in 0..5 {
            waiting.push(stage.wake(&agent, &json!({"taskKey": format!("waiting {number}")})).await);
        }
        assert_eq!(stage.run(&waiting[0]).await["heldReason"], "slot");
        stage.post(&format!("/agents/{agent}/cancel-work"), &json!({})).await;
        assert_eq!(stage.over(&first).await["status"], "cancelled");
        for run in &waiting {
            assert_eq!(stage.over(run).await["status"], "cancelled");
        }
        let after = stage.wake(&agent, &json!({"taskKey": "after"})).await;
        crate::stage::wait_for("the new start", || {
            (std::fs::read_to_string(&ledger).unwrap_or_default().lines().count() >= 2).then_some(())
        });
        let starts = std::fs::read_to_string(&ledger).expect("the ledger");
        let started: Vec<&str> = starts.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(started, [first.as_str(), after.as_str()]);
    }
}
