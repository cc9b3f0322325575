//! Waking over HTTP: what the answer is, and that it is given once.

use serde_json::{Value, json};

use crate::stage::{Stage, id_of};

#[tokio::test]
async fn a_wake_answers_with_its_run_and_a_second_one_joins_it() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}/wakeup");
    // In the backlog the assignee is not woken by being given it.
    let issue = json!({"title": "Look at it", "assigneeAgentId": agent, "status": "backlog"});
    let issue = stage.post(&format!("/api/companies/{company}/issues"), issue).await.good();
    let body = json!({"reason": "look", "payload": {"issueId": id_of(&issue), "taskKey": "look"}});
    let answer = stage.post(&path, body.clone()).await;
    assert_eq!(answer.status, 202);
    let run = answer.good();
    assert_eq!(
        (&run["status"], &run["invocationSource"], &run["triggerDetail"]),
        (&json!("running"), &json!("on_demand"), &json!("manual"))
    );
    let context = &run["contextSnapshot"];
    assert_eq!(
        (&context["triggeredBy"], &context["actorId"], &context["forceFreshSession"]),
        (&json!("board"), &json!("local-board"), &json!(false))
    );
    assert_eq!((&context["wakeReason"], &context["issueId"]), (&json!("look"), &body["payload"]["issueId"]));
    let follow_up = stage.post(&path, body.clone()).await.good();
    assert_ne!(id_of(&follow_up), id_of(&run));
    assert_eq!(follow_up["heldReason"], "running");
    let third = stage.post(&path, body).await.good();
    assert_eq!(id_of(&third), id_of(&follow_up));
    stage.end().await;
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_another_body_is_409() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let path = format!("/api/agents/{agent}/wakeup");
    let first = stage
        .post(&path, json!({"idempotencyKey": "k1", "reason": "a", "payload": {"x": 1, "y": 2}}))
        .await
        .good();
    // The order of keys is no other body, and the header is as good as the field.
    let text = r#"{"payload": {"y": 2, "x": 1}, "reason": "a"}"#;
    let again =
        stage.send(stage.http.post(stage.url(&path)).header("Idempotency-Key", "k1").body(text)).await.good();
    assert_eq!(id_of(&again), id_of(&first));
    let runs = stage.get(&format!("/api/companies/{company}/heartbeat-runs")).await.good();
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let wakes = stage.get(&format!("/api/agents/{agent}/wakeups")).await.good();
    assert_eq!(wakes.as_array().unwrap().len(), 1);
    for other in [
        json!({"idempotencyKey": "k1", "reason": "b"}),
        json!({"idempotencyKey": "k1", "reason": "a", "payload": {"x": 1, "y": 2}, "taskKey": "t"}),
        json!({"idempotencyKey": "k1", "reason": "a", "payload": {"x": 1, "y": 2}, "forceFreshSession": true}),
    ] {
        let answer = stage.post(&path, other).await;
        assert_eq!(answer.refusal().0, 409);
        assert_eq!(answer.refusal().1, "idempotency_key_reused");
        assert_eq!(answer.json()["details"]["wakeupRequestId"], wakes[0]["id"]);
    }
    let both = stage
        .http
        .post(stage.url(&path))
        .header("Idempotency-Key", "k2")
        .json(&json!({"idempotencyKey": "k3"}));
    assert_eq!(stage.send(both).await.refusal().1, "bad_idempotency_key");
    stage.end().await;
}

#[tokio::test]
async fn a_hundred_equal_wakes_at_once_are_one_run() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let path = format!("/api/agents/{agent}/wakeup");
    let wakes = (0..100).map(|_| stage.post(&path, json!({"idempotencyKey": "once"})));
    let mut runs: Vec<String> =
        futures_util::future::join_all(wakes).await.into_iter().map(|answer| id_of(&answer.good())).collect();
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn a_wake_that_is_not_wanted_says_why_nothing_starts() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let quiet = json!({"runtimeConfig": {"heartbeat": {"wakeOnDemand": false}}});
    stage.patch(&format!("/api/agents/{agent}"), quiet).await.good();
    let body = json!({"idempotencyKey": "k", "payload": {"issueId": "i-1"}});
    for _ in 0..2 {
        let answer = stage.post(&format!("/api/agents/{agent}/wakeup"), body.clone()).await;
        assert_eq!(answer.status, 202);
        let mut skipped = answer.good();
        assert!(skipped.as_object_mut().unwrap().remove("wakeupRequestId").is_some());
        let expected = json!({
            "status": "skipped", "reason": "wakeup_skipped", "message": "Wakeup was skipped.", "issueId": "i-1",
            "executionRunId": null, "executionAgentId": null, "executionAgentName": null,
            "skipReason": "heartbeat.wakeOnDemand.disabled",
        });
        assert_eq!(skipped, expected);
    }
    let invoked =
        stage.send(stage.http.post(stage.url(&format!("/api/agents/{agent}/heartbeat/invoke")))).await;
    assert_eq!((invoked.status, invoked.json()), (202, json!({"status": "skipped"})));
    stage.end().await;
}

#[tokio::test]
async fn a_paused_agent_is_not_invokable_and_the_refusal_is_on_record() {
    let stage = Stage::new().await;
    let (_, agent, _) = stage.with_run().await;
    let paused = stage.send(stage.http.post(stage.url(&format!("/api/agents/{agent}/pause")))).await.good();
    assert_eq!((&paused["status"], &paused["pauseReason"]), (&json!("paused"), &json!("manual")));
    let answer = stage.post(&format!("/api/agents/{agent}/wakeup"), json!({})).await;
    let text = "Agent is not invokable in its current state";
    assert_eq!(answer.refusal(), (409, "agent.not_invokable".into(), text.into()));
    assert_eq!(answer.json()["details"], json!({"status": "paused"}));
    let wakes = stage.get(&format!("/api/agents/{agent}/wakeups")).await.good();
    assert_eq!((&wakes[0]["status"], &wakes[0]["reason"]), (&json!("failed"), &json!("agent.not_invokable")));
    let resumed = stage.send(stage.http.post(stage.url(&format!("/api/agents/{agent}/resume")))).await.good();
    assert_ne!(resumed["status"], "paused");
    assert_eq!(stage.post(&format!("/api/agents/{agent}/wakeup"), json!({})).await.status, 202);
    stage.end().await;
}

#[tokio::test]
async fn the_status_in_a_change_of_an_agent_is_a_switch() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}");
    let to = |status: &str| json!({ "status": status });
    let paused = stage.patch(&path, to("paused")).await;
    assert_eq!(paused.header("bugle-ignored-fields"), None);
    let paused = paused.good();
    assert_eq!((&paused["status"], &paused["pauseReason"]), (&json!("paused"), &json!("manual")));
    // It is a switch that people turn.
    let key = stage.agent_key(&agent).await;
    let own = stage.with_key("PATCH", &path, (&key, None), to("active")).await.refusal();
    assert_eq!((own.0, own.2.as_str()), (403, "Board access required"));
    let resumed = stage.patch(&path, json!({"status": "active", "title": "Dr"})).await.good();
    assert_eq!((&resumed["status"], &resumed["title"]), (&json!("idle"), &json!("Dr")));
    assert_eq!(stage.patch(&path, to("idle")).await.good()["status"], "idle");
    for wrong in ["running", "error", "pending_approval", "terminated", "asleep"] {
        let refused = stage.patch(&path, json!({"status": wrong, "title": "Prof"})).await;
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.text);
        assert_eq!(refused.json()["details"][0]["path"], json!(["status"]), "{wrong}");
    }
    assert_eq!(stage.get(&path).await.good()["title"], "Dr", "what is refused changes nothing");
    let told = stage.get(&format!("/api/companies/{company}/activity?entityId={agent}")).await.good();
    let told: Vec<&str> =
        told.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let told: Vec<&str> = told.into_iter().filter(|action| *action != "agent.key_created").collect();
    assert_eq!(told, ["agent.resumed", "agent.updated", "agent.paused", "agent.created"]);
    stage.post(&format!("{path}/terminate"), json!({})).await.good();
    for status in ["active", "paused"] {
        let refused = stage.patch(&path, to(status)).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (409, "Terminated agents cannot be resumed"));
    }
    let company = format!("/api/companies/{company}");
    stage.patch(&company, json!({"requireBoardApprovalForNewAgents": true})).await.good();
    let draft = json!({"name": "New", "adapterConfig": {"command": "true"}});
    let hired = stage.post(&format!("{company}/agent-hires"), draft).await.good();
    let waits = format!("/api/agents/{}", id_of(&hired["agent"]));
    let refused = stage.patch(&waits, to("idle")).await.refusal();
    assert_eq!(
        (refused.0, refused.2.as_str()),
        (409, "Pending approval agents cannot be activated directly")
    );
    stage.end().await;
}

#[tokio::test]
async fn a_terminated_agent_stays_so() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let switch =
        |which: &'static str| stage.send(stage.http.post(stage.url(&format!("/api/agents/{agent}/{which}"))));
    assert_eq!(switch("terminate").await.good()["status"], "terminated");
    assert_eq!(switch("pause").await.refusal().2, "Cannot pause terminated agent");
    assert_eq!(switch("resume").await.refusal().2, "Cannot resume terminated agent");
    assert_eq!(stage.get(&format!("/api/companies/{company}/agents")).await.good(), json!([]));
    stage.end().await;
}

#[tokio::test]
async fn a_cancelled_run_is_cancelling_until_its_process_is_gone() {
    let stage = Stage::new().await;
    let (company, agent, run) = stage.with_run().await;
    let waiting = stage.wake(&agent, "task").await;
    let cancel =
        |run: String| stage.send(stage.http.post(stage.url(&format!("/api/heartbeat-runs/{run}/cancel"))));
    let asked = cancel(run.clone()).await.good();
    assert!(asked["status"] == "cancelled" || asked["cancelRequestedAt"].is_string(), "{asked}");
    assert_eq!(stage.over(&company, &run).await, "cancelled");
    let again = cancel(run).await.good();
    assert_eq!((&again["status"], &again["cancelRequestedAt"]), (&json!("cancelled"), &Value::Null));
    stage.started(&waiting).await;
    let report =
        stage.send(stage.http.post(stage.url(&format!("/api/agents/{agent}/cancel-work")))).await.good();
    assert_eq!(report, json!({"stopping": [waiting], "withdrawn": [], "held": []}));
    assert_eq!(stage.over(&company, &waiting).await, "cancelled");
    stage.end().await;
}

#[tokio::test]
async fn a_wake_behind_another_agents_run_is_deferred_and_says_behind_whose() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let worker = stage.agent(&company, "Worker", 1).await;
    let other = stage.agent(&company, "Other", 1).await;
    let issue = json!({"title": "Do it", "assigneeAgentId": worker, "status": "todo"});
    let issue = id_of(&stage.post(&format!("/api/companies/{company}/issues"), issue).await.good());
    let holder = stage.run_of_issue(&issue).await;
    let path = format!("/api/agents/{other}/wakeup");
    let answer = stage.post(&path, json!({"payload": {"issueId": issue}})).await;
    assert_eq!(answer.status, 202);
    let mut answer = answer.json();
    answer.as_object_mut().unwrap().remove("wakeupRequestId");
    assert_eq!(
        answer,
        json!({
            "status": "skipped", "reason": "issue_execution_deferred", "issueId": issue,
            "message": "Wakeup was deferred because this issue is already being executed by Worker.",
            "executionRunId": holder, "executionAgentId": worker, "executionAgentName": "Worker",
            "skipReason": "issue_execution_deferred",
        })
    );
    stage.end().await;
}

#[tokio::test]
async fn a_wake_that_names_an_issue_of_another_company_hears_nothing_of_it() {
    let stage = Stage::new().await;
    let rival = stage.company("Rival").await;
    let worker = stage.agent(&rival, "Secret Worker", 1).await;
    let issue = json!({"title": "Do it", "assigneeAgentId": worker, "status": "todo"});
    let issue = id_of(&stage.post(&format!("/api/companies/{rival}/issues"), issue).await.good());
    stage.run_of_issue(&issue).await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let quiet = json!({"runtimeConfig": {"heartbeat": {"wakeOnDemand": false}}});
    stage.patch(&format!("/api/agents/{agent}"), quiet).await.good();
    let body = json!({"payload": {"issueId": issue}});
    let skipped = stage.post(&format!("/api/agents/{agent}/wakeup"), body).await.good();
    assert_eq!((&skipped["status"], &skipped["issueId"]), (&json!("skipped"), &json!(issue)));
    for field in ["executionRunId", "executionAgentId", "executionAgentName"] {
        assert_eq!(skipped[field], json!(null), "{field}");
    }
    stage.end().await;
}
