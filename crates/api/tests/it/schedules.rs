//! Schedules over the wire: what people see of them, and what they do.

use engine::Author;
use serde_json::{Value, json};

use crate::shapes::scrubbed;
use crate::stage::{Stage, id_of};

/// Saves an automation with these schedules.
pub(crate) async fn apply(stage: &Stage, company: &str, name: &str, schedules: Value) {
    let definition = json!({
        "name": name, "nodes": [{ "id": "ok", "gate": {} }],
        "inputs": { "since": { "default": "v1" } }, "schedules": schedules,
    });
    let by = Author::local_board();
    stage.engine.apply_automation(&company.into(), &definition, false, &by).await.unwrap();
}

#[tokio::test]
async fn people_see_hold_and_run_schedules() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let nightly = json!([{
        "name": "nightly", "cron": "30 2 29 2 *", "timezone": "Europe/Berlin", "misfire": "all", "maxCatchUp": 3,
        "inputs": { "since": "v2" },
    }]);
    apply(&stage, &company, "notes", nightly).await;
    let list = format!("/api/companies/{company}/schedules");
    let all = stage.get(&list).await.good();
    assert_eq!(all.as_array().map(Vec::len), Some(1));
    let schedule = id_of(&all[0]);
    let path = format!("/api/schedules/{schedule}");
    assert_eq!(stage.get(&path).await.good(), all[0]);
    let mut shape = scrubbed(all[0].clone());
    // When it is depends on the day on which this is tried.
    let first = shape["upcoming"][0]["local"].take();
    assert!(first.as_str().is_some_and(|local| local.ends_with("-02-29 02:30 +01:00")), "{first}");
    assert_eq!(shape["upcoming"].as_array().map(Vec::len), Some(5));
    shape["upcoming"] = json!("[firings]");
    insta::assert_json_snapshot!("schedule", shape);

    let held = stage.post(&format!("{path}/pause"), json!({})).await.good();
    assert!(held["pausedAt"].is_string() && held["upcoming"] == json!([]), "{held}");
    let free = stage.post(&format!("{path}/resume"), json!({})).await.good();
    assert_eq!((&free["pausedAt"], &free["upcoming"]), (&json!(null), &all[0]["upcoming"]));

    let body = json!({ "idempotencyKey": "now" });
    let started = stage.post(&format!("{path}/run-now"), body.clone()).await;
    assert_eq!(started.status, 202);
    let started = started.good();
    assert_eq!((&started["number"], &started["status"]), (&json!(1), &json!("queued")));
    let again = stage.post(&format!("{path}/run-now"), body).await.good();
    assert_eq!(again["automationRunId"], started["automationRunId"]);
    let slots = stage.get(&format!("{path}/slots")).await.good();
    assert_eq!(slots, json!([]), "a run by hand is no slot");

    let misspelt = stage.post(&format!("{path}/run-now"), json!({ "idempotencykey": "now" })).await;
    assert_eq!(misspelt.status, 400);
    let agent = json!({ "name": "Ada", "adapterType": "process", "adapterConfig": { "command": "true" } });
    let agent = id_of(&stage.post(&format!("/api/companies/{company}/agents"), agent).await.good());
    let key = stage.agent_key(&agent).await;
    for action in ["pause", "resume", "run-now"] {
        let by_agent = stage.with_key("POST", &format!("{path}/{action}"), (&key, None), json!({})).await;
        assert_eq!(by_agent.status, 403, "{action}");
    }
    for unknown in ["0192f7a0-0000-4000-8000-00000000000a", "nightly"] {
        let unknown = stage.get(&format!("/api/schedules/{unknown}")).await;
        assert_eq!(unknown.refusal(), (404, "not_found".into(), "Schedule not found".into()));
    }
    stage.end().await;
}

#[tokio::test]
async fn slots_that_have_come_are_listed_by_pages_newest_first() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    apply(&stage, &company, "notes", json!([{ "name": "often", "every": "1s" }])).await;
    let schedule = id_of(&stage.get(&format!("/api/companies/{company}/schedules")).await.good()[0]);
    let path = format!("/api/schedules/{schedule}/slots");
    let slots = tokio::time::timeout(crate::stage::PATIENCE, async {
        loop {
            let slots = stage.get(&path).await.good();
            if slots.as_array().is_some_and(|slots| slots.len() > 2) {
                return slots;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let slots = slots.await.unwrap();
    // The first one fired; its run waits for a person, and holds the others up.
    let states = |slot: &Value| (slot["state"].clone(), slot["reason"].clone());
    let last = slots.as_array().and_then(|slots| slots.last()).unwrap();
    assert_eq!(states(last), (json!("fired"), json!(null)));
    assert!(last["automationRunId"].is_string());
    assert_eq!(states(&slots[0]), (json!("skipped"), json!("overlap")));
    let page = stage.get(&format!("{path}?limit=1")).await;
    let cursor = page.header("bugle-cursor").unwrap().to_owned();
    let first = page.json();
    let next = stage.get(&format!("{path}?limit=1&cursor={cursor}")).await.good();
    assert!(first[0]["slot"].as_str() > next[0]["slot"].as_str(), "{first} {next}");
    stage.end().await;
}

#[tokio::test]
async fn firings_are_shown_before_anything_is_saved() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let path = format!("/api/companies/{company}/schedules/preview");
    let from = "2026-03-28T00:00:00Z";
    let body = json!({ "cron": "30 2 * * *", "timezone": "Europe/Berlin", "from": from, "count": 3 });
    let firings = stage.post(&path, body).await.good();
    assert_eq!(
        firings,
        json!([
            { "at": "2026-03-28T01:30:00.000Z", "local": "2026-03-28 02:30 +01:00" },
            { "at": "2026-03-29T01:00:00.000Z", "local": "2026-03-29 03:00 +02:00" },
            { "at": "2026-03-30T00:30:00.000Z", "local": "2026-03-30 02:30 +02:00" },
        ])
    );
    let firings = stage.post(&path, json!({ "every": "90m", "from": from })).await.good();
    assert_eq!(firings.as_array().map(Vec::len), Some(5));
    assert_eq!(firings[0]["local"], "2026-03-28 01:30 +00:00");
    for (body, field) in [
        (json!({}), "cron"),
        (json!({ "cron": "61 * * * *" }), "cron"),
        (json!({ "cron": "0 0 31 2 *" }), "cron"),
        (json!({ "cron": "* * * * *", "timezone": "Mars/Olympus" }), "timezone"),
        (json!({ "cron": "* * * * *", "every": "1m" }), "every"),
        (json!({ "every": "0s" }), "every"),
        (json!({ "every": "1m", "count": 101 }), "count"),
        (json!({ "every": "1m", "from": "tomorrow" }), "from"),
        (json!({ "every": "1m", "zone": "UTC" }), "zone"),
    ] {
        let refused = stage.post(&path, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        let path = refused.json()["details"][0]["path"].clone();
        assert_eq!(path, json!([field]), "{body}: {}", refused.text);
    }
    stage.end().await;
}
