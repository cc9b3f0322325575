//! Webhooks over HTTP: a secret is told once, an URL without its keys, and everything is for people alone.

use serde_json::{Value, json};

use crate::stage::{Stage, id_of};

impl Stage {
    async fn webhook(&self, company: &str, url: &str) -> Value {
        let body = json!({ "url": url, "events": ["automation.*"], "description": "for CI" });
        self.post(&format!("/api/companies/{company}/webhooks"), body).await.good()
    }
}

#[tokio::test]
async fn a_webhook_is_made_changed_and_removed_and_its_secret_told_once() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let all = format!("/api/companies/{company}/webhooks");
    let made = stage.webhook(&company, "https://example.com/hook?token=hush").await;
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!(made["url"], "https://example.com/hook?token=***");
    let one = format!("{all}/{}", id_of(&made));
    let keys: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "id",
            "companyId",
            "url",
            "events",
            "description",
            "enabled",
            "disabledReason",
            "disabledAt",
            "failingSince",
            "secretVersion",
            "createdByUserId",
            "createdAt",
            "updatedAt",
            "secret"
        ]
    );
    let off =
        stage.patch(&one, json!({ "enabled": false, "events": ["*"], "description": null })).await.good();
    assert_eq!(
        (&off["enabled"], &off["disabledReason"], &off["events"], &off["description"]),
        (&json!(false), &json!("by_person"), &json!(["*"]), &Value::Null)
    );
    let refused = stage.post(&format!("{one}/test"), json!({})).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (409, "Webhook is disabled: enable it first"));
    let rotated = stage.post(&format!("{one}/rotate"), json!({ "overlapSeconds": 0 })).await.good();
    assert_eq!(rotated["secretVersion"], 2);
    let told = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(told, secret);
    for path in [all.clone(), one.clone(), format!("/api/companies/{company}/activity")] {
        let text = stage.get(&path).await.text;
        for hidden in [&*secret, &*told, "hush"] {
            assert!(!text.contains(hidden), "{hidden} in {path}: {text}");
        }
    }
    let removed = stage.send(stage.http.delete(stage.url(&one))).await.good();
    assert_eq!(removed, json!({ "ok": true }));
    assert_eq!(stage.get(&one).await.refusal().0, 404);
    stage.end().await;
}

#[tokio::test]
async fn what_was_sent_is_listed_and_sent_again_by_hand() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    // Nobody nearby is reached from here: the try fails, and says why.
    let made = stage.webhook(&company, &stage.url("/hook")).await;
    let one = format!("/api/companies/{company}/webhooks/{}", id_of(&made));
    let ordered = stage.post(&format!("{one}/test"), json!({})).await;
    assert_eq!(ordered.status, 202);
    let path = format!("/api/webhook-deliveries/{}", id_of(&ordered.json()));
    let tried = async {
        loop {
            let now = stage.get(&path).await.good();
            if now["attempts"] == 1 {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    let tried = tokio::time::timeout(crate::stage::PATIENCE, tried).await.expect("it is tried");
    assert_eq!((&tried["status"], &tried["type"]), (&json!("pending"), &json!("webhook.test")));
    assert!(tried["error"].as_str().unwrap().contains("must not be reached from here"), "{tried}");
    let again = stage.post(&format!("{path}/redeliver"), json!({})).await.refusal();
    assert_eq!((again.0, again.2.as_str()), (409, "Delivery is being sent already"));
    let listed = stage.get(&format!("{one}/deliveries?limit=1")).await.good();
    assert_eq!(listed[0]["id"], tried["id"]);
    stage.patch(&one, json!({ "enabled": false })).await.good();
    stage.patch(&one, json!({ "enabled": true })).await.good();
    let over = stage.get(&path).await.good();
    assert_eq!((&over["status"], &over["error"]), (&json!("failed"), &json!("the endpoint was disabled")));
    let again = stage.post(&format!("{path}/redeliver"), json!({})).await;
    assert_eq!((again.status, again.json()["id"].clone()), (202, tried["id"].clone()));
    stage.end().await;
}

#[tokio::test]
async fn mistakes_are_named_and_nobody_but_people_gets_near() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let all = format!("/api/companies/{company}/webhooks");
    for (body, path) in [
        (json!({ "events": ["*"] }), json!(["url"])),
        (json!({ "url": "https://example.com" }), json!(["events"])),
        (json!({ "url": "https://a:b@example.com", "events": ["*"] }), json!(["url"])),
        (json!({ "url": "https://example.com", "events": ["*", "A"] }), json!(["events", "1"])),
        (json!({ "url": "https://example.com", "events": ["*"], "secret": "x" }), json!(["secret"])),
        (json!({ "url": "https://example.com", "events": ["*"], "typo": 1 }), json!(["typo"])),
    ] {
        let refused = stage.post(&all, body.clone()).await;
        assert_eq!((refused.status, &refused.json()["details"][0]["path"]), (400, &path), "{body}");
    }
    let made = stage.webhook(&company, "https://example.com/hook").await;
    let other = stage.company("Rival").await;
    let elsewhere = format!("/api/companies/{other}/webhooks/{}", id_of(&made));
    assert_eq!(stage.get(&elsewhere).await.refusal().0, 404);
    let agent = stage.agent(&company, "Engineer", 5).await;
    let key = stage.key_of(&company, &agent).await;
    for (method, path) in [("GET", all.clone()), ("POST", all.clone())] {
        let body =
            if method == "GET" { Value::Null } else { json!({ "url": "https://a.b", "events": ["*"] }) };
        let refused = stage.with_key(method, &path, (&key, None), body).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (403, "Board access required"), "{method}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_request_from_outside_starts_an_automation_and_each_refusal_says_why() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    stage.agent(&company, "Engineer", 5).await;
    let definition = json!({
        "name": "deploy", "inputs": {"webhook": {"type": "object"}},
        "nodes": [{"id": "work", "agent": "Engineer", "objective": "look"}],
    });
    let board = engine::Author::local_board();
    let home = company.as_str().into();
    let applied = stage.engine.apply_automation(&home, &definition, false, &board).await.unwrap();
    let automation = applied.view.automation.id;
    let status = async |status| {
        stage.engine.set_automation_status(&automation, status, None, &board).await.unwrap();
    };
    status(domain::automation::AutomationStatus::Active).await;
    let all = format!("/api/companies/{company}/webhook-triggers");
    let body = json!({
        "automation": "deploy", "scheme": "shared_secret", "secret": "long-enough-secret", "sizeLimit": 64,
        "name": "push",
    });
    let made = stage.post(&all, body).await.good();
    assert_eq!((&made["secret"], &made["automation"]), (&json!("long-enough-secret"), &json!("deploy")));
    let place = made["path"].as_str().unwrap().to_owned();
    let one = format!("{all}/{}", id_of(&made));
    for path in [all.clone(), one.clone(), format!("/api/companies/{company}/activity")] {
        let text = stage.get(&path).await.text;
        let token = place.rsplit('/').next().unwrap();
        assert!(!text.contains("long-enough-secret") && !text.contains(token), "{path}: {text}");
    }
    let send = async |secret: &str, id: &str, body: &'static str| {
        // Neither the name of the machine nor a credential is anybody's business here.
        let request = stage.http.post(stage.url(&place)).header("host", "bugle.example");
        let request = request.header("authorization", "Basic of-somebody-else").header("webhook-id", id);
        stage.send(request.header("x-webhook-secret", secret).body(body)).await
    };
    let taken = send("long-enough-secret", "e1", "{\"ref\": 1}").await;
    let again = send("long-enough-secret", "e1", "{\"ref\": 1}").await;
    let (taken, again) = ((taken.status, taken.json()), (again.status, again.json()));
    assert_eq!(
        (taken.0, &taken.1["status"], again.0, &again.1["status"]),
        (202, &json!("accepted"), 200, &json!("duplicate"))
    );
    assert_eq!(taken.1["automationRunId"], again.1["automationRunId"]);
    let long = "0123456789012345678901234567890123456789012345678901234567890123456789";
    for (secret, id, body, refusal) in [
        ("guessed-guessed", "e2", "{}", (401, "signature_invalid")),
        ("long-enough-secret", "e1", "{}", (409, "event_id_reused")),
        ("long-enough-secret", "e 2", "{}", (401, "signature_invalid")),
        ("long-enough-secret", "e2", long, (413, "body_too_large")),
    ] {
        let refused = send(secret, id, body).await.refusal();
        assert_eq!((refused.0, refused.1.as_str()), refusal, "{id} {body}");
    }
    status(domain::automation::AutomationStatus::Paused).await;
    assert_eq!(send("long-enough-secret", "e3", "{}").await.refusal().1, "automation_paused");
    stage.patch(&one, json!({ "enabled": false })).await.good();
    assert_eq!(send("long-enough-secret", "e3", "{}").await.refusal().1, "trigger_disabled");
    let unknown = stage.post("/api/hooks/guessed", json!({})).await.refusal();
    assert_eq!((unknown.0, unknown.1.as_str()), (404, "not_found"));
    let came = stage.get(&format!("{one}/receipts")).await.good();
    let statuses: Vec<&str> =
        came.as_array().unwrap().iter().rev().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(
        statuses,
        ["accepted", "duplicate", "rejected", "rejected", "rejected", "rejected", "rejected", "disabled"]
    );
    // The automation of another one goes, and comes back under its name.
    let spare = json!({"name": "spare", "inputs": {"webhook": {"type": "object"}},
        "nodes": [{"id": "work", "agent": "Engineer", "objective": "look"}]});
    let applied = stage.engine.apply_automation(&home, &spare, false, &board).await.unwrap();
    let body = json!({ "automation": "spare", "scheme": "shared_secret", "secret": "long-enough-secret" });
    let of_spare = stage.post(&all, body).await.good();
    let place = of_spare["path"].as_str().unwrap().to_owned();
    let ask = async || {
        let request = stage.http.post(stage.url(&place)).header("x-webhook-secret", "long-enough-secret");
        stage.send(request.body("{}")).await
    };
    stage.engine.remove_automation(&applied.view.automation.id, &board).await.unwrap();
    let refused = ask().await.refusal();
    assert_eq!((refused.0, refused.1.as_str()), (404, "automation_removed"), "{}", refused.2);
    let path = format!("{all}/{}", id_of(&of_spare));
    let shown = stage.get(&path).await.good();
    assert_eq!((&shown["automation"], &shown["obstacle"]), (&json!("spare"), &json!("automation_removed")));
    let applied = stage.engine.apply_automation(&home, &spare, false, &board).await.unwrap();
    assert_eq!(ask().await.status, 202);
    let shown = stage.get(&path).await.good();
    let id = json!(applied.view.automation.id);
    assert_eq!((&shown["automationId"], &shown["obstacle"]), (&id, &Value::Null));

    let kept = format!("/api/webhook-receipts/{}/body", taken.1["receiptId"].as_str().unwrap());
    let kept = stage.get(&kept).await;
    assert_eq!(
        (kept.header("content-type"), kept.text.as_str()),
        (Some("application/octet-stream"), "{\"ref\": 1}")
    );
    let refused = stage.post(&all, json!({ "automation": "deploy", "scheme": "notion" })).await;
    assert_eq!((refused.status, &refused.json()["details"][0]["path"]), (400, &json!(["scheme"])));
    stage.end().await;
}
