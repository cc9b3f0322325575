//! Wire shapes as clients see them, with what changes from run to run left out.

use engine::FrameStream::{Stderr, Stdout};
use serde_json::{Value, json};

use crate::stage::Stage;

/// Replaces ids, times and other values that are new each time.
pub(crate) fn scrubbed(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, scrubbed(value))).collect(),
        Value::Array(items) => items.into_iter().map(scrubbed).collect(),
        Value::String(text) => Value::from(scrubbed_text(&text)),
        other => other,
    }
}

fn scrubbed_text(text: &str) -> String {
    if domain::ids::looks_like_id(text) {
        return "[id]".to_owned();
    }
    if domain::moment::Moment::parse(text).is_some() {
        assert_eq!((text.len(), text.ends_with('Z')), (24, true), "milliseconds and Z: {text}");
        return "[time]".to_owned();
    }
    match text.split_once('/') {
        Some((id, epoch)) if domain::ids::looks_like_id(id) => format!("[id]/{epoch}"),
        _ => text.to_owned(),
    }
}

macro_rules! shape {
    ($name:literal, $value:expr) => {
        insta::assert_json_snapshot!($name, scrubbed($value))
    };
}

#[tokio::test]
async fn companies_and_agents() {
    let stage = Stage::new().await;
    let body = json!({"name": "Acme Corp", "description": "builds things", "budgetMonthlyCents": 5000});
    let company = stage.post("/api/companies", body).await.good();
    shape!("company", company.clone());
    let id = company["id"].as_str().unwrap();
    assert_eq!(stage.get(&format!("/api/companies/{id}")).await.good(), company);
    assert_eq!(stage.get("/api/companies").await.good(), json!([company]));
    let chief = json!({"name": "Chief", "role": "ceo", "adapterConfig": {"command": "true"}});
    let chief = stage.post(&format!("/api/companies/{id}/agents"), chief).await.good();
    let body = json!({
        "name": "Release Engineer", "role": "engineer", "title": "Dr", "icon": "rocket", "reportsTo": chief["id"],
        "capabilities": "releases", "adapterConfig": {"command": "true", "env": {"A": "1"}},
        "runtimeConfig": {"heartbeat": {"enabled": "maybe", "maxConcurrentRuns": "many"}}, "budgetMonthlyCents": 100,
        "metadata": {"team": "core"},
    });
    let agent = stage.post(&format!("/api/companies/{id}/agents"), body).await.good();
    shape!("agent", agent.clone());
    shape!("agent_detail", stage.get("/api/agents/release-engineer").await.good());
    let clearing = json!({"title": null, "metadata": null, "reportsTo": null, "icon": null, "capabilities": null, "name": "Eng"});
    let changed = stage.patch("/api/agents/release-engineer", clearing).await.good();
    for key in ["title", "metadata", "reportsTo", "icon", "capabilities"] {
        assert_eq!(changed[key], Value::Null, "{key}");
    }
    assert_eq!((&changed["urlKey"], &changed["adapterConfig"]), (&json!("eng"), &agent["adapterConfig"]));
    let list = stage.get(&format!("/api/companies/{id}/agents")).await.good();
    assert_eq!(list, json!([chief, changed]));
    stage.end().await;
}

#[tokio::test]
async fn a_run_in_all_its_forms() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let body = json!({"reason": "look", "taskKey": "t-1", "payload": {"note": "hi"}});
    let woken = stage.post(&format!("/api/agents/{agent}/wakeup"), body).await.good();
    let run = woken["id"].as_str().unwrap().to_owned();
    shape!("run_full", woken);
    stage.started(&run).await;
    let live = stage.get(&format!("/api/companies/{company}/live-runs")).await.good();
    let mut live = live[0].clone();
    assert!(live["outputSilence"]["silenceAgeMs"].as_i64().unwrap() < 60_000);
    live["outputSilence"]["silenceAgeMs"] = json!("[age]");
    shape!("run_live", live);
    stage.puppets.say(&run, Stdout, b"working\n");
    stage.puppets.say(&run, Stderr, b"warning\n");
    stage.puppets.end(&run, 7);
    assert_eq!(stage.over(&company, &run).await, "failed");
    let mut detail = stage.get(&format!("/api/heartbeat-runs/{run}")).await.good();
    // What stands in a result is the engine's to say.
    assert!(detail["resultJson"].is_object());
    detail["resultJson"] = json!("[result]");
    shape!("run_detail", detail.clone());
    let list = stage.get(&format!("/api/companies/{company}/heartbeat-runs")).await.good();
    let in_list = list.as_array().unwrap().iter().find(|listed| listed["id"] == run).unwrap().clone();
    shape!("run_list", in_list.clone());
    // The list form is the detail without what is left out for size.
    let (detail, in_list) = (detail.as_object_mut().unwrap(), in_list.as_object().unwrap());
    for (key, value) in in_list {
        if !["stdoutExcerpt", "stderrExcerpt", "contextSnapshot", "resultJson", "updatedAt", "logCompressed"]
            .contains(&key.as_str())
        {
            assert_eq!(detail[key], *value, "{key}");
        }
    }
    let events = stage.get(&format!("/api/heartbeat-runs/{run}/events")).await.good();
    let first = events[0].clone();
    shape!("run_event", first);
    let seqs: Vec<i64> =
        events.as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
    let after = stage.get(&format!("/heartbeat-runs/{run}/events?afterSeq=1&limit=1")).await.good();
    assert_eq!(after, json!([events[1]]));
    let explained = stage.get(&format!("/api/heartbeat-runs/{run}/explain")).await.good();
    assert_eq!((&explained["status"], &explained["stderr"]), (&json!("failed"), &json!(["warning"])));
    let keys: Vec<&String> = explained.as_object().unwrap().keys().collect();
    insta::assert_json_snapshot!("explanation_keys", keys);
    stage.end().await;
}

#[tokio::test]
async fn what_agents_carry_and_what_they_were_asked() {
    let stage = Stage::new().await;
    let (company, agent, run) = stage.with_run().await;
    let path = format!("/api/agents/{agent}/runtime-state");
    let fresh = stage.get(&path).await.good();
    assert_eq!((&fresh["lastRunId"], &fresh["totalCostCents"]), (&Value::Null, &json!(0)));
    stage.puppets.end(&run, 0);
    stage.over(&company, &run).await;
    shape!("runtime_state", stage.get(&path).await.good());
    shape!("wake", stage.get(&format!("/api/agents/{agent}/wakeups")).await.good()[0].clone());
    let (at, id) = (stage.engine.now(), stage.engine.new_id());
    let session = store::sessions::TaskSession {
        id,
        company_id: company.as_str().into(),
        agent_id: agent.as_str().into(),
        adapter_type: "process".to_owned(),
        task_key: "t-1".to_owned(),
        session_id: "s-9".to_owned(),
        last_run_id: Some(run.as_str().into()),
        last_error: None,
        created_at: at,
        updated_at: at,
        params: None,
    };
    let saving = stage.engine.store().write(move |tx| {
        let session = session.clone();
        Box::pin(async move { store::sessions::save(tx, &session).await })
    });
    saving.await.unwrap();
    shape!("task_session", stage.get(&format!("/api/agents/{agent}/task-sessions")).await.good()[0].clone());
    assert_eq!(stage.get(&path).await.good()["sessionDisplayId"], "s-9");
    let other = stage.post(&format!("{path}/reset-session"), json!({"taskKey": "t-2"})).await.good();
    assert_eq!(other["clearedTaskSessions"], 0);
    let reset = stage.send(stage.http.post(stage.url(&format!("{path}/reset-session")))).await.good();
    assert_eq!((&reset["clearedTaskSessions"], &reset["sessionDisplayId"]), (&json!(1), &Value::Null));
    assert_eq!(stage.get(&format!("/api/agents/{agent}/task-sessions")).await.good(), json!([]));
    stage.end().await;
}

#[tokio::test]
async fn the_instance() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let health = stage.get("/api/health").await.good();
    assert_eq!(stage.get("/health").await.status, 200);
    let mut settled = health;
    // Nothing is to be taken over, and whether that was noticed yet does not matter here.
    settled["recovery"]["done"] = json!(true);
    shape!("health", settled);
    let head = stage.get("/api/audit/head").await.good();
    assert_eq!((head["seq"].as_i64(), head["hash"].as_str().unwrap().len()), (Some(1), 64));
    let verdict = stage.get("/api/audit/verify").await.good();
    assert_eq!(verdict, json!({"ok": true, "checked": 1, "firstBroken": null}));
    let kept = format!("/api/audit/verify?seq=1&hash={}", head["hash"].as_str().unwrap());
    assert_eq!(stage.get(&kept).await.good()["ok"], true);
    let other = format!("/api/audit/verify?seq=1&hash={}", "0".repeat(64));
    let broken = json!({"ok": false, "checked": 0, "firstBroken": {"seq": 1, "why": "not_as_exported"}});
    assert_eq!(stage.get(&other).await.good(), broken);
    assert_eq!(stage.get("/api/audit/verify?seq=1").await.status, 400);
    let test = |kind: &str| format!("/api/companies/{company}/adapters/{kind}/test-environment");
    let tested = stage
        .post(&test("process"), json!({"adapterConfig": {"command": "no-such-program-here"}}))
        .await
        .good();
    assert_eq!((&tested["adapterType"], &tested["status"]), (&json!("process"), &json!("fail")));
    let codes: Vec<&str> =
        tested["checks"].as_array().unwrap().iter().map(|check| check["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"process_command_unresolvable"), "{codes:?}");
    let passed = stage.post(&test("process"), json!({"adapterConfig": {"command": "true"}})).await.good();
    assert_eq!(passed["status"], "pass", "{passed}");
    let unknown = stage.post(&test("telepathy"), json!({})).await.refusal();
    assert_eq!((unknown.0, unknown.2.as_str()), (422, "Unknown adapter type: telepathy"));
    stage.end().await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unhealthy_and_503() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    stage.engine.store().close().await;
    let health = stage.get("/api/health").await;
    assert_eq!(health.status, 503);
    let expected = json!({"status": "unhealthy", "version": "1.2.3", "error": "database_unreachable"});
    assert_eq!(health.json(), expected);
    let answer = stage.get(&format!("/api/companies/{company}")).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    assert!(stage.get("/metrics").await.text.contains("bugle_store_up 0\n"));
    stage.end().await;
}
