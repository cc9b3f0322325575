//! What a client hears when something is wrong with what it sent.

use serde_json::{Value, json};

use crate::stage::{Stage, id_of};

const NOBODY: &str = "0192f7a0-0000-4000-8000-00000000000a";

#[tokio::test]
async fn unknown_routes_and_wrong_methods_have_the_envelope() {
    let stage = Stage::new().await;
    for path in ["/api/nothing", "/api", "/api/", "/nothing", "/api/agents", "/api/heartbeat-runs"] {
        let refusal = stage.get(path).await.refusal();
        assert_eq!(refusal, (404, "route_not_found".into(), "API route not found".into()), "{path}");
    }
    for path in ["/api/companies", "/api/health", "/metrics"] {
        let answer = stage.send(stage.http.delete(stage.url(path))).await;
        assert_eq!(
            answer.refusal(),
            (405, "method_not_allowed".into(), "Method not allowed".into()),
            "{path}"
        );
        assert!(answer.header("allow").unwrap().contains("GET"), "{path}");
    }
    let answer = stage.get("/api/agents/%FF%FE").await;
    assert_eq!(answer.refusal().0, 400);
    stage.end().await;
}

#[tokio::test]
async fn things_that_are_not_there_are_named() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    for (path, thing) in [
        (format!("/api/companies/{NOBODY}"), "Company"),
        ("/api/companies/acme".to_owned(), "Company"),
        (format!("/api/companies/{NOBODY}/agents"), "Company"),
        (format!("/api/companies/{NOBODY}/events"), "Company"),
        (format!("/api/agents/{NOBODY}"), "Agent"),
        ("/api/agents/nobody".to_owned(), "Agent"),
        (format!("/api/agents/nobody?companyId={company}"), "Agent"),
        (format!("/api/heartbeat-runs/{NOBODY}"), "Heartbeat run"),
        ("/api/heartbeat-runs/latest".to_owned(), "Heartbeat run"),
        (format!("/api/heartbeat-runs/{NOBODY}/log"), "Heartbeat run"),
        (format!("/heartbeat-runs/{NOBODY}/events"), "Heartbeat run"),
        (format!("/api/heartbeat-runs/{NOBODY}/log/stream"), "Heartbeat run"),
        (format!("/api/heartbeat-runs/{NOBODY}/explain"), "Heartbeat run"),
    ] {
        assert_eq!(
            stage.get(&path).await.refusal(),
            (404, "not_found".into(), format!("{thing} not found")),
            "{path}"
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn every_mistake_of_a_wake_is_named_with_its_path() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}/wakeup");
    let body = json!({
        "source": "whim", "triggerDetail": 5, "reason": [], "payload": "x", "forceFreshSession": "yes", "taskKey": {},
    });
    let answer = stage.post(&path, body).await;
    assert_eq!(answer.refusal(), (400, "validation_error".into(), "Validation error".into()));
    let details = answer.json()["details"].clone();
    let named: Vec<(&str, &str)> = details
        .as_array()
        .unwrap()
        .iter()
        .map(|issue| (issue["code"].as_str().unwrap(), issue["path"][0].as_str().unwrap()))
        .collect();
    let expected = [
        ("invalid_enum_value", "source"),
        ("invalid_type", "triggerDetail"),
        ("invalid_type", "reason"),
        ("invalid_type", "payload"),
        ("invalid_type", "forceFreshSession"),
        ("invalid_type", "taskKey"),
    ];
    assert_eq!(named, expected);
    for body in [json!([]), json!(null), json!("wake"), json!(7)] {
        assert_eq!(stage.post(&path, body).await.refusal().0, 400);
    }
    let empty = stage.send(stage.http.post(stage.url(&path))).await;
    assert_eq!(empty.refusal().2, "Validation error");
    let list = stage.get(&format!("/api/companies/{company}/heartbeat-runs")).await.good();
    assert_eq!(list, json!([]), "none of them woke the agent");
    stage.end().await;
}

#[tokio::test]
async fn a_nul_in_a_text_is_refused_before_any_database_sees_it() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}/wakeup");
    for body in [
        json!({ "reason": "a\0b" }),
        json!({ "taskKey": "a\0b" }),
        json!({ "idempotencyKey": "a\0b" }),
        json!({ "payload": { "taskKey": "a\0b" } }),
    ] {
        let answer = stage.post(&path, body.clone()).await;
        assert_eq!(answer.refusal().0, 400, "{body}");
        assert!(answer.json()["details"][0]["message"].as_str().unwrap().contains("NUL"), "{body}");
    }
    assert_eq!(stage.post("/api/companies", json!({ "name": "a\0b" })).await.refusal().0, 400);
    let asked = stage.get(&format!("/api/agents/a%00b?companyId={company}")).await;
    assert_eq!(asked.refusal().0, 404);
    stage.end().await;
}

#[tokio::test]
async fn texts_that_stand_in_every_list_are_bounded() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    for (field, most) in [("reason", 65_536), ("taskKey", 1_024), ("idempotencyKey", 1_024)] {
        let answer =
            stage.post(&format!("/api/agents/{agent}/wakeup"), json!({ field: "x".repeat(most + 1) })).await;
        assert_eq!(answer.refusal().0, 400, "{field}");
        assert_eq!(answer.json()["details"][0]["path"][0], field);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_cursor_from_the_future_is_refused_with_what_to_do() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let answer = stage.get(&format!("/api/companies/{company}/events?after=99999999999")).await;
    assert_eq!(answer.refusal().0, 400);
    assert_eq!(answer.json()["code"], "cursor_ahead");
    stage.end().await;
}

#[tokio::test]
async fn the_body_is_looked_at_before_the_agent() {
    let stage = Stage::new().await;
    let path = format!("/api/agents/{NOBODY}/wakeup");
    assert_eq!(stage.post(&path, json!([])).await.status, 400);
    assert_eq!(stage.post(&path, json!({})).await.status, 404);
    stage.end().await;
}

#[tokio::test]
async fn malformed_json_says_where_and_the_content_type_does_not_matter() {
    let stage = Stage::new().await;
    let post = |body: &'static str| stage.http.post(stage.url("/api/companies")).body(body);
    let answer = stage
        .send(post("{\"name\": \"x\",\n \"budgetMonthlyCents\": }").header("Content-Type", "text/plain"))
        .await;
    assert_eq!(
        answer.refusal(),
        (400, "malformed_json".into(), "Malformed JSON in line 2, column 24".into())
    );
    assert_eq!(answer.json()["details"]["line"], 2);
    assert_eq!(stage.send(post("{\"name\": \"x\"}")).await.status, 201);
    assert_eq!(stage.send(post("{\"name\": \"y\"}").header("Content-Type", "text/plain")).await.status, 201);
    stage.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let stage = Stage::with(|options| options.body_limit = 4096).await;
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(5000));
    let answer = stage.send(stage.http.post(stage.url("/api/companies")).body(large.clone())).await;
    assert_eq!(answer.refusal(), (413, "body_too_large".into(), "Request body is too large".into()));
    // The same without a length: it is counted.
    let chunks =
        futures_util::stream::iter(large.into_bytes().chunks(512).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let chunks = futures_util::StreamExt::map(chunks, Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(chunks);
    let answer = stage.send(stage.http.post(stage.url("/api/companies")).body(body)).await;
    assert_eq!(answer.refusal().0, 413);
    stage.end().await;
}

#[tokio::test]
async fn fields_that_nobody_reads_are_named_and_our_own_routes_refuse_them() {
    let stage = Stage::new().await;
    let body = json!({"name": "Acme", "colour": "red", "logo": null});
    let answer = stage.post("/api/companies", body).await;
    assert_eq!(answer.header("bugle-ignored-fields"), Some("colour, logo"));
    let company = answer.good()["id"].as_str().unwrap().to_owned();
    let agent = stage.agent(&company, "Engineer", 1).await;
    let wake = json!({"reason": "x", "priority": 1});
    let answer = stage.post(&format!("/api/agents/{agent}/wakeup"), wake).await;
    assert_eq!((answer.status, answer.header("bugle-ignored-fields")), (202, Some("priority")));
    let patch = json!({"title": "Dr", "status": "idle", "spentMonthlyCents": 5});
    let answer = stage.patch(&format!("/api/agents/{agent}"), patch).await;
    assert_eq!((answer.status, answer.header("bugle-ignored-fields")), (200, Some("spentMonthlyCents")));
    let known_only = stage.post(&format!("/api/agents/{agent}/wakeup"), json!({})).await;
    assert_eq!(known_only.header("bugle-ignored-fields"), None);
    let answer = stage.post("/api/backup", json!({"path": "/nonexistent/x", "compress": true})).await;
    assert_eq!(answer.refusal().2, "Validation error");
    assert_eq!(answer.json()["details"][0]["path"], json!(["compress"]));
    stage.end().await;
}

#[tokio::test]
async fn an_agent_that_cannot_be_is_refused_by_rule() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let other = stage.company("Other").await;
    let stranger = stage.agent(&other, "Stranger", 1).await;
    let path = format!("/api/companies/{company}/agents");
    let config = json!({"command": "true"});
    for (body, status, error) in [
        (json!({"name": "A", "adapterType": "telepathy"}), 422, "Unknown adapter type: telepathy"),
        (json!({"name": "A", "adapterConfig": config, "reportsTo": NOBODY}), 404, "Manager not found"),
        (
            json!({"name": "A", "adapterConfig": config, "reportsTo": stranger}),
            422,
            "Manager must belong to same company",
        ),
        (json!({"adapterConfig": config}), 400, "Validation error"),
        (json!({"name": "  ", "adapterConfig": config}), 400, "Validation error"),
        (json!({"name": "A", "role": "king"}), 400, "Validation error"),
        (json!({"name": "A", "reportsTo": "boss"}), 400, "Validation error"),
        (json!({"name": "A", "icon": "banana"}), 400, "Validation error"),
        (json!({"name": "A", "budgetMonthlyCents": -1}), 400, "Validation error"),
        (json!({"name": "A", "adapterConfig": []}), 400, "Validation error"),
    ] {
        let refusal = stage.post(&path, body.clone()).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (status, error), "{body}");
    }
    let missing = stage.post(&path, json!({"name": "A"})).await;
    assert_eq!(missing.status, 422, "{}", missing.text);
    assert_eq!(missing.json()["details"][0]["path"], json!(["adapterConfig", "command"]));
    let agent = stage.agent(&company, "A", 1).await;
    let (status, _, error) =
        stage.patch(&format!("/api/agents/{agent}"), json!({"permissions": {}})).await.refusal();
    assert_eq!((status, error.as_str()), (400, "Validation error"));
    let own = stage.patch(&format!("/api/agents/{agent}"), json!({"reportsTo": agent})).await;
    assert_eq!((own.status, own.refusal().2.as_str()), (422, "Agent cannot report to itself"));
    let below = stage.agent(&company, "B", 1).await;
    stage.patch(&format!("/api/agents/{below}"), json!({ "reportsTo": agent })).await.good();
    for (manager, status, error) in [
        (NOBODY, 404, "Manager not found"),
        (&stranger, 422, "Manager must belong to same company"),
        (&below, 422, "Reporting relationship would create cycle"),
    ] {
        let (is, _, words) =
            stage.patch(&format!("/api/agents/{agent}"), json!({ "reportsTo": manager })).await.refusal();
        assert_eq!((is, words.as_str()), (status, error));
    }
    stage.end().await;
}

#[tokio::test]
async fn a_secret_is_not_replaced_by_the_mark_that_hides_it() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let (agents, hires) =
        (format!("/api/companies/{company}/agents"), format!("/api/companies/{company}/agent-hires"));
    let body =
        |key: Value| json!({"name": "A", "adapterConfig": {"command": "true", "env": {"API_KEY": key}}});
    let agent = id_of(&stage.post(&agents, body(json!("secret"))).await.good());
    let agent = format!("/api/agents/{agent}");
    let shown = stage.get(&format!("{agent}/configuration")).await.good()["adapterConfig"].clone();
    assert!(shown.to_string().contains("***REDACTED***"), "{shown}");
    let words = "Refusing to persist redacted placeholder for key: API_KEY";
    for value in [json!("***REDACTED***"), json!({"type": "plain", "value": "***REDACTED***"})] {
        for path in [&agents, &hires] {
            let refused = stage.post(path, body(value.clone())).await.refusal();
            assert_eq!((refused.0, refused.2.as_str()), (422, words), "{path}");
        }
        // Of one that is there it stands for what is stored.
        stage.patch(&agent, body(value.clone())).await.good();
        let other = json!({"adapterConfig": {"env": {"NEW_KEY": value}}});
        let refused = stage.patch(&agent, other).await.refusal();
        let words = "Refusing to persist redacted placeholder for key: NEW_KEY";
        assert_eq!((refused.0, refused.2.as_str()), (422, words));
    }
    stage.patch(&agent, json!({ "adapterConfig": shown })).await.good();
    stage.patch(&agent, json!({"adapterConfig": {"command": "false"}})).await.good();
    let run = stage.wake(agent.rsplit('/').next().unwrap(), "task").await;
    stage.started(&run).await;
    assert_eq!(stage.puppets.variable(&run, "API_KEY"), "secret");
    stage.end().await;
}

#[tokio::test]
async fn what_is_kept_as_it_comes_is_bounded() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agents = format!("/api/companies/{company}/agents");
    let long = || "x".repeat(262_144);
    let too_big = "is larger than 262144 bytes";
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "A", "adapterConfig": {"command": "true"}});
        body[field] = value;
        body
    };
    for (body, field, message) in [
        (with("metadata", json!({"a": long()})), "metadata", too_big),
        (with("adapterConfig", json!({"command": "true", "a": long()})), "adapterConfig", too_big),
        (with("runtimeConfig", json!({"a": long()})), "runtimeConfig", too_big),
        (with("title", json!("x".repeat(1_001))), "title", "is longer than 1000 characters"),
        (with("capabilities", json!(long())), "capabilities", "is longer than 20000 characters"),
    ] {
        let refused = stage.post(&agents, body).await;
        assert_eq!(refused.status, 400, "{field}");
        let mistake = &refused.json()["details"][0];
        assert_eq!((&mistake["path"], &mistake["message"]), (&json!([field]), &json!(message)));
    }
    let agent = id_of(&stage.post(&agents, with("title", json!("Engineer"))).await.good());
    let path = format!("/api/agents/{agent}/wakeup");
    let refused = stage.post(&path, json!({"payload": {"a": long()}})).await;
    assert_eq!((refused.status, &refused.json()["details"][0]["path"]), (400, &json!(["payload"])));
    // A change is merged into what is stored: many small ones make no large one.
    let agent = format!("/api/agents/{agent}");
    let half = |key: &str| json!({"adapterConfig": {key: "x".repeat(140_000)}});
    stage.patch(&agent, half("one")).await.good();
    let refused = stage.patch(&agent, half("two")).await;
    assert_eq!((refused.status, &refused.json()["details"][0]["path"]), (422, &json!(["adapterConfig"])));
    stage.end().await;
}

#[tokio::test]
async fn short_names_are_resolved_where_they_mean_one_agent() {
    let stage = Stage::new().await;
    let (status, _, error) = stage.get("/api/agents/engineer").await.refusal();
    assert_eq!((status, error.as_str()), (404, "Agent not found"));
    let one = stage.company("One").await;
    let first = stage.agent(&one, "Release Engineer", 1).await;
    let found = |answer: Value| answer["id"].as_str().unwrap().to_owned();
    for name in ["release-engineer", "Release%20Engineer", "RELEASE-ENGINEER"] {
        assert_eq!(found(stage.get(&format!("/api/agents/{name}")).await.good()), first, "{name}");
    }
    let two = stage.company("Two").await;
    let second = stage.agent(&two, "Release Engineer", 1).await;
    let refusal = stage.get("/api/agents/release-engineer").await.refusal();
    assert_eq!(
        (refusal.0, refusal.2.as_str()),
        (422, "Agent shortname lookup requires companyId query parameter")
    );
    for (company, agent) in [(one, first), (two, second)] {
        let path = format!("/api/agents/release-engineer?companyId={company}");
        assert_eq!(found(stage.get(&path).await.good()), agent);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_backup_is_a_whole_new_file_at_an_absolute_path() {
    let stage = Stage::new().await;
    stage.company("Acme").await;
    let file = stage.folder.path().join("copy.sqlite");
    let made = stage.post("/api/backup", json!({ "path": file })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.json()["bytes"].as_u64(), Some(file.metadata().unwrap().len()));
    let again = stage.post("/api/backup", json!({ "path": file })).await;
    assert_eq!((again.status, again.refusal().1.as_str()), (409, "backup_exists"));
    assert_eq!(stage.post("/api/backup", json!({"path": "copy.sqlite"})).await.status, 400);
    let nowhere =
        stage.post("/api/backup", json!({"path": stage.folder.path().join("no/such/folder/x")})).await;
    assert_eq!((nowhere.status, nowhere.refusal().1.as_str()), (422, "backup_failed"));
    stage.end().await;
}
