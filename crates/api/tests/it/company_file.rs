//! A company as a file over HTTP: who may have one, who may apply one, and what is answered.

use serde_json::{Value, json};

use crate::stage::{BOARD_TOKEN, Stage};

fn small() -> Value {
    json!({
        "version": 1,
        "company": {"name": "Acme Corp", "requireBoardApprovalForNewAgents": true},
        "agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true", "env": {"API_KEY": "canary-value"}}}],
        "budgets": [{"agent": "Ada", "amount": 500}],
    })
}

#[tokio::test]
async fn only_a_person_applies_a_file_and_everybody_who_may_look_sees_what_it_would_do() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Robot", 1).await;
    let key = stage.key_of(&company, &agent).await;
    let (export, apply) =
        (format!("/api/companies/{company}/export"), format!("/api/companies/{company}/apply"));
    let body = |dry: bool| json!({"document": small(), "dryRun": dry});
    for (path, sent) in [(&export, None), (&apply, Some(body(true))), (&apply, Some(body(false)))] {
        let request = match &sent {
            None => stage.http.get(stage.url(path)),
            Some(sent) => stage.http.post(stage.url(path)).json(sent),
        };
        let answer = stage.send(stage.by(request, &key, None)).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text);
    }
    let before = stage.get(&export).await.good();
    let looked = stage.post(&apply, body(true)).await.good();
    assert_eq!((&looked["applied"], &looked["companyId"]), (&json!(false), &json!(company)));
    assert_eq!(looked["left"], json!([{"kind": "agent", "name": "Robot"}]));
    // Being on this machine proves nothing.
    let answer = stage.post(&apply, body(false)).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    let answer = stage.post("/api/companies/apply", json!({"name": "New", "document": small()})).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert_eq!(stage.get(&export).await.good(), before);
    let mut sent = body(false);
    sent["expect"] = looked["fingerprint"].clone();
    let request = stage.http.post(stage.url(&apply)).bearer_auth(BOARD_TOKEN).json(&sent);
    let applied = stage.send(request).await.good();
    assert_eq!(applied["applied"], true);
    assert_eq!(
        applied["changes"],
        json!([
            {"action": "change", "kind": "company", "name": "Acme Corp", "fields": [
                {"path": "requireBoardApprovalForNewAgents", "before": false, "after": true}]},
            {"action": "make", "kind": "agent", "name": "Ada", "fields": [
                {"path": "name", "before": null, "after": "Ada"},
                {"path": "adapterType", "before": null, "after": "process"},
                {"path": "adapterConfig.command", "before": null, "after": "true"},
                {"path": "adapterConfig.env.API_KEY", "before": null, "after": "***REDACTED***"}]},
            {"action": "make", "kind": "budget", "name": "agent Ada, billed_cents, calendar_month_utc", "fields": [
                {"path": "agent", "before": null, "after": "Ada"}, {"path": "amount", "before": null, "after": 500}]},
        ])
    );
    let agents = stage.get(&format!("/api/companies/{company}/agents")).await.good();
    let ada = agents.as_array().unwrap().iter().find(|agent| agent["name"] == "Ada").unwrap();
    assert_eq!((&ada["status"], &ada["budgetMonthlyCents"]), (&json!("idle"), &json!(500)));
    let again =
        stage.post(&apply, json!({"document": stage.get(&export).await.good(), "dryRun": true})).await.good();
    assert_eq!(again["changes"], json!([]));
    // Who looks later has looked at something else.
    let request = stage.http.post(stage.url(&apply)).bearer_auth(BOARD_TOKEN).json(&sent);
    assert_eq!(stage.send(request).await.status, 409);
    stage.end().await;
}

#[tokio::test]
async fn a_company_is_founded_by_one_request_or_not_at_all() {
    let stage = Stage::new().await;
    let found = |document: Value| {
        let body = json!({"name": "Twin", "document": document});
        stage.send(stage.http.post(stage.url("/api/companies/apply")).bearer_auth(BOARD_TOKEN).json(&body))
    };
    let mut wrong = small();
    wrong["agents"][0]["adapterConfig"] = json!({});
    let refused = found(wrong).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["details"][0]["path"], json!(["agents[0]", "adapterConfig", "command"]));
    assert_eq!(stage.get("/api/companies").await.good(), json!([]));
    let founded = found(small()).await.good();
    let company = founded["companyId"].as_str().unwrap();
    let shown = stage.get(&format!("/api/companies/{company}")).await.good();
    assert_eq!(shown["name"], "Twin");
    let missing =
        stage.post(&format!("/api/companies/{company}/apply"), json!({"dryRun": true, "force": 1})).await;
    let details = missing.json()["details"].clone();
    let paths: Vec<&str> =
        details.as_array().unwrap().iter().map(|it| it["path"][0].as_str().unwrap()).collect();
    assert_eq!((missing.status, paths), (400, vec!["document", "force"]));
    stage.end().await;
}
