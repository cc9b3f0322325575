//! Secrets over HTTP: values go in and come out nowhere, except into the environment of a process.

use serde_json::{Value, json};

use crate::stage::{Stage, id_of};

const VALUE: &str = "canary-in-the-store-1";
const ROTATED: &str = "canary-in-the-store-2";

impl Stage {
    async fn secret(&self, company: &str, name: &str, value: &str) -> String {
        let body = json!({ "name": name, "value": value });
        id_of(&self.post(&format!("/api/companies/{company}/secrets"), body).await.good())
    }

    async fn set_env(&self, agent: &str, env: Value) -> crate::stage::Answer {
        self.patch(&format!("/api/agents/{agent}"), json!({ "adapterConfig": { "env": env } })).await
    }
}

fn bound(secret: &str) -> Value {
    json!({ "type": "secret_ref", "secretId": secret, "version": "latest" })
}

#[tokio::test]
async fn a_secret_is_made_rotated_renamed_and_removed_without_its_value_being_told() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let secrets = format!("/api/companies/{company}/secrets");
    let body = json!({ "name": "github", "value": VALUE, "description": "for CI", "extra": 1 });
    let made = stage.post(&secrets, body.clone()).await;
    assert_eq!((made.status, made.header("bugle-ignored-fields")), (201, Some("extra")));
    let made = made.json();
    let id = id_of(&made);
    let keys: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "id",
            "companyId",
            "name",
            "provider",
            "externalRef",
            "latestVersion",
            "description",
            "createdByAgentId",
            "createdByUserId",
            "createdAt",
            "updatedAt"
        ]
    );
    assert_eq!((&made["provider"], &made["latestVersion"]), (&json!("local_encrypted"), &json!(1)));
    let again = stage.post(&secrets, body).await.refusal();
    assert_eq!((again.0, again.2.as_str()), (409, "Secret already exists: github"));
    let rotated = stage.post(&format!("/api/secrets/{id}/rotate"), json!({ "value": ROTATED })).await.good();
    assert_eq!(rotated["latestVersion"], json!(2));
    let renamed =
        stage.patch(&format!("/api/secrets/{id}"), json!({ "name": "gh", "value": "dropped" })).await;
    assert_eq!(renamed.header("bugle-ignored-fields"), Some("value"));
    assert_eq!((&renamed.json()["name"], &renamed.json()["latestVersion"]), (&json!("gh"), &json!(2)));
    let listed = stage.get(&secrets).await;
    assert_eq!(listed.json().as_array().unwrap().len(), 1);
    let providers = stage.get(&format!("/api/companies/{company}/secret-providers")).await.good();
    assert_eq!(
        providers,
        json!([{ "id": "local_encrypted", "label": "Local encrypted", "requiresExternalRef": false }])
    );
    let activity = stage.get(&format!("/api/companies/{company}/activity")).await;
    for text in [listed.text, activity.text.clone()] {
        assert!(!text.contains("canary"), "{text}");
    }
    for action in ["secret.created", "secret.rotated", "secret.updated"] {
        assert!(activity.text.contains(action), "{action}");
    }
    let removed = stage.send(stage.http.delete(stage.url(&format!("/api/secrets/{id}")))).await.good();
    assert_eq!(removed, json!({ "ok": true }));
    let gone = stage.post(&format!("/api/secrets/{id}/rotate"), json!({ "value": ROTATED })).await.refusal();
    assert_eq!((gone.0, gone.2.as_str()), (404, "Secret not found"));
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_a_secret_is_refused_by_its_field() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let secrets = format!("/api/companies/{company}/secrets");
    for (body, path) in [
        (json!({ "name": "a" }), "value"),
        (json!({ "name": "a", "value": "" }), "value"),
        (json!({ "name": "a", "value": "seven77" }), "value"),
        (json!({ "name": "a", "value": "***REDACTED***" }), "value"),
        (json!({ "name": " ", "value": VALUE }), "name"),
        (json!({ "value": VALUE }), "name"),
        (json!({ "name": "a", "value": VALUE, "provider": "drawer" }), "provider"),
    ] {
        let refused = stage.post(&secrets, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(refused.json()["details"][0]["path"], json!([path]), "{body}");
        assert!(!refused.text.contains("canary"), "{}", refused.text);
    }
    let elsewhere = json!({ "name": "a", "value": VALUE, "provider": "vault" });
    let refused = stage.post(&secrets, elsewhere).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (422, "vault provider is not configured in this deployment"));
    stage.end().await;
}

#[tokio::test]
async fn agents_have_no_part_in_secrets() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let key = stage.key_of(&company, &agent).await;
    let id = stage.secret(&company, "github", VALUE).await;
    for (method, path, body) in [
        ("GET", format!("/api/companies/{company}/secrets"), Value::Null),
        ("GET", format!("/api/companies/{company}/secret-providers"), Value::Null),
        ("POST", format!("/api/companies/{company}/secrets"), json!({ "name": "b", "value": VALUE })),
        ("POST", format!("/api/secrets/{id}/rotate"), json!({ "value": VALUE })),
        ("PATCH", format!("/api/secrets/{id}"), json!({ "name": "b" })),
        ("DELETE", format!("/api/secrets/{id}"), Value::Null),
    ] {
        let refused = stage.with_key(method, &path, (&key, None), body).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (403, "Board access required"), "{method} {path}");
    }
    // Nor does one give itself what it was not given.
    let own = json!({ "adapterConfig": { "env": { "STOLEN": bound(&id) } } });
    let refused = stage.with_key("PATCH", &format!("/api/agents/{agent}"), (&key, None), own).await.refusal();
    let text = "Agents can only bind secrets that they were given themselves (adapterConfig.env.STOLEN)";
    assert_eq!((refused.0, refused.2.as_str()), (403, text));
    let project = json!({ "name": "Mine", "env": { "STOLEN": bound(&id) } });
    let projects = format!("/api/companies/{company}/projects");
    assert_eq!(stage.with_key("POST", &projects, (&key, None), project.clone()).await.status, 403);
    // What it has it may hand on.
    stage.set_env(&agent, json!({ "GIVEN": bound(&id) })).await.good();
    assert_eq!(stage.with_key("POST", &projects, (&key, None), project).await.status, 201);
    stage.end().await;
}

#[tokio::test]
async fn a_process_gets_the_value_and_nobody_else_does() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let id = stage.secret(&company, "github", VALUE).await;
    let other = stage.secret(&company, "npm", "canary-in-the-store-3").await;
    stage.set_env(&agent, json!({ "TOKEN": bound(&id), "LEVEL": "full", "BOTH": "agent" })).await.good();
    let project = json!({ "name": "Site", "env": { "NPM": bound(&other), "BOTH": "project" } });
    let project = stage.post(&format!("/api/companies/{company}/projects"), project).await.good();
    assert_eq!(project["env"]["BOTH"], json!({ "type": "plain", "value": "project" }));
    let issue = json!({
        "title": "Work", "status": "todo", "assigneeAgentId": agent, "projectId": id_of(&project),
    });
    let issue = id_of(&stage.post(&format!("/api/companies/{company}/issues"), issue).await.good());
    let run = stage.run_of_issue(&issue).await;
    for (name, value) in
        [("TOKEN", VALUE), ("LEVEL", "full"), ("NPM", "canary-in-the-store-3"), ("BOTH", "project")]
    {
        assert_eq!(stage.puppets.variable(&run, name), value, "{name}");
    }
    let hidden = stage.puppets.secrets(&run);
    assert!(hidden.contains(&VALUE.to_owned()) && hidden.contains(&"canary-in-the-store-3".to_owned()));
    for path in [
        format!("/api/agents/{agent}"),
        format!("/api/projects/{}", id_of(&project)),
        format!("/api/heartbeat-runs/{run}"),
        format!("/api/heartbeat-runs/{run}/events"),
        format!("/api/issues/{issue}"),
    ] {
        let shown = stage.get(&path).await;
        assert!(shown.status == 200 && !shown.text.contains("canary"), "{path} {}", shown.text);
    }
    // The next process gets the new value, or the version that it was given.
    stage.post(&format!("/api/secrets/{id}/rotate"), json!({ "value": ROTATED })).await.good();
    let first = json!({ "type": "secret_ref", "secretId": id, "version": 1 });
    stage.set_env(&agent, json!({ "TOKEN": bound(&id), "FIRST": first })).await.good();
    let run = stage.wake(&agent, "again").await;
    stage.started(&run).await;
    assert_eq!(stage.puppets.variable(&run, "TOKEN"), ROTATED);
    assert_eq!(stage.puppets.variable(&run, "FIRST"), VALUE);
    stage.end().await;
}

#[tokio::test]
async fn a_value_among_the_arguments_is_a_start_that_fails_without_telling_it() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let id = stage.secret(&company, "github", VALUE).await;
    let config = json!({ "args": ["--token", format!("x{VALUE}")], "env": { "TOKEN": bound(&id) } });
    stage.patch(&format!("/api/agents/{agent}"), json!({ "adapterConfig": config })).await.good();
    let run = stage.wake(&agent, "task").await;
    assert_eq!(stage.over(&company, &run).await, "failed");
    let shown = stage.get(&format!("/api/heartbeat-runs/{run}")).await;
    assert!(shown.text.contains("argument 2 of the command holds the value of a secret"), "{}", shown.text);
    assert!(!shown.text.contains("canary"), "{}", shown.text);
    stage.end().await;
}

#[tokio::test]
async fn bindings_are_checked_when_they_are_saved() {
    let stage = Stage::new().await;
    let (company, rival) = (stage.company("Acme Corp").await, stage.company("Rival").await);
    let agent = stage.agent(&company, "Engineer", 5).await;
    let (own, foreign) =
        (stage.secret(&company, "own", VALUE).await, stage.secret(&rival, "foreign", VALUE).await);
    let nobody = "0192f7a0-0000-4000-8000-00000000000a";
    for (env, error) in [
        (json!({ "A-B": "x" }), "Invalid environment variable name: A-B"),
        (json!({ "A": 5 }), "Invalid environment binding for key: A"),
        (json!({ "A": { "type": "secret_ref" } }), "Invalid environment binding for key: A"),
        (json!({ "A": "***REDACTED***" }), "Refusing to persist redacted placeholder for key: A"),
        (json!({ "A": bound(nobody) }), "Secret not found: the company has none of this id"),
        (json!({ "A": bound(&foreign) }), "Secret not found: the company has none of this id"),
        (
            json!({ "A": { "type": "secret_ref", "secretId": own, "version": 2 } }),
            "Secret version not found: own has 1 versions",
        ),
    ] {
        let refused = stage.set_env(&agent, env.clone()).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (422, error), "{env}");
        let project = json!({ "name": "Site", "env": env });
        let refused = stage.post(&format!("/api/companies/{company}/projects"), project).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (422, error), "{env}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_secret_in_use_is_not_removed_and_who_uses_it_is_told() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let id = stage.secret(&company, "github", VALUE).await;
    stage.set_env(&agent, json!({ "TOKEN": bound(&id) })).await.good();
    let project = json!({ "name": "Site", "env": { "GH": bound(&id) } });
    let project = id_of(&stage.post(&format!("/api/companies/{company}/projects"), project).await.good());
    let remove = || stage.send(stage.http.delete(stage.url(&format!("/api/secrets/{id}"))));
    let refused = remove().await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json()["error"], "Secret is in use: agent Engineer (TOKEN), project Site (GH)");
    assert_eq!(refused.json()["details"]["references"].as_array().unwrap().len(), 2);
    stage.send(stage.http.delete(stage.url(&format!("/api/projects/{project}")))).await.good();
    assert_eq!(remove().await.status, 409, "the agent still refers to it");
    stage.set_env(&agent, json!({})).await.good();
    remove().await.good();
    stage.end().await;
}

#[tokio::test]
async fn plain_values_are_hidden_by_their_names_and_stay_when_their_marks_come_back() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let shown = stage.set_env(&agent, json!({ "GH_TOKEN": VALUE, "LEVEL": "full" })).await.good();
    let env = &shown["adapterConfig"]["env"];
    assert_eq!(env["GH_TOKEN"], json!({ "type": "plain", "value": "***REDACTED***" }));
    assert_eq!(env["LEVEL"], json!({ "type": "plain", "value": "full" }));
    let mut sent = env.clone();
    sent["LEVEL"] = json!("low");
    stage.set_env(&agent, sent).await.good();
    let run = stage.wake(&agent, "task").await;
    stage.started(&run).await;
    assert_eq!(stage.puppets.variable(&run, "GH_TOKEN"), VALUE);
    assert_eq!(stage.puppets.variable(&run, "LEVEL"), "low");
    stage.end().await;
}

#[tokio::test]
async fn what_an_agent_writes_holds_none_of_its_values() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let id = stage.secret(&company, "github", "canary \"quoted\" value").await;
    stage.set_env(&agent, json!({ "GH": bound(&id), "NPM_TOKEN": "canary-in-the-env" })).await.good();
    let issue = json!({ "title": "Work", "status": "todo", "assigneeAgentId": agent });
    let issue = id_of(&stage.post(&format!("/api/companies/{company}/issues"), issue).await.good());
    let run = stage.run_of_issue(&issue).await;
    let token = stage.puppets.variable(&run, "PAPERCLIP_API_KEY");
    // Also after a rotation: the process has the old value.
    stage.post(&format!("/api/secrets/{id}/rotate"), json!({ "value": "another long value" })).await.good();
    let said = format!("env: canary \"quoted\" value, canary-in-the-env, {token}.");
    let path = format!("/api/issues/{issue}/comments");
    let body = json!({ "body": said });
    let made = stage.with_key("POST", &path, (&token, None), body).await.good();
    assert_eq!(made["body"], "env: ***REDACTED***, ***REDACTED***, ***REDACTED***.");
    let plan = json!({ "format": "markdown", "body": "the plan: canary-in-the-env" });
    let path = format!("/api/issues/{issue}/documents/plan");
    let put = stage.with_key("PUT", &path, (&token, None), plan).await.good();
    assert_eq!(put["body"], "the plan: ***REDACTED***");
    stage.end().await;
}

#[tokio::test]
async fn a_runs_token_acts_on_its_task_and_where_it_may_not_is_written_down() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 5).await;
    let other_agent = stage.agent(&company, "Other", 5).await;
    let issues = format!("/api/companies/{company}/issues");
    let create = |body: Value| {
        let (stage, issues) = (&stage, &issues);
        async move { id_of(&stage.post(issues, body).await.good()) }
    };
    let above = create(json!({ "title": "Above" })).await;
    let other = create(json!({ "title": "Other", "assigneeAgentId": other_agent })).await;
    let given = create(json!({ "title": "Given", "assigneeAgentId": agent })).await;
    let task = json!({ "title": "Task", "status": "todo", "assigneeAgentId": agent, "parentId": above });
    let task = create(task).await;
    let below = create(json!({ "title": "Below", "parentId": task })).await;
    let run = stage.run_of_issue(&task).await;
    let token = stage.puppets.variable(&run, "PAPERCLIP_API_KEY");
    let patch = |issue: &str| {
        let path = format!("/api/issues/{issue}");
        let (stage, token) = (&stage, &token);
        async move { stage.with_key("PATCH", &path, (token, None), json!({ "priority": "high" })).await }
    };
    let say = |issue: &str| {
        let path = format!("/api/issues/{issue}/comments");
        let (stage, token) = (&stage, &token);
        async move { stage.with_key("POST", &path, (token, None), json!({ "body": "hello" })).await }
    };
    let child = |parent: &str| {
        let body = json!({ "title": "Part", "parentId": parent });
        let (stage, token, issues) = (&stage, &token, &issues);
        async move { stage.with_key("POST", issues, (token, None), body).await }
    };
    for (name, issue, changes, says) in [
        ("task", &task, 200, 201),
        ("below", &below, 200, 201),
        ("given", &given, 200, 201),
        ("above", &above, 403, 201),
        ("other", &other, 403, 403),
    ] {
        assert_eq!(patch(issue).await.status, changes, "change {name}");
        assert_eq!(say(issue).await.status, says, "comment {name}");
        assert_eq!(child(issue).await.status, says, "child {name}");
    }
    let made = child(&task).await.good();
    assert_eq!(patch(&id_of(&made)).await.status, 200, "what it made");
    let refused = patch(&other).await.refusal();
    assert_eq!(refused.2, "Run token can only act on its own task");
    let projects = format!("/api/companies/{company}/projects");
    let refused =
        stage.with_key("POST", &projects, (&token, None), json!({ "name": "Mine" })).await.refusal();
    assert_eq!(refused.2, "Run token can only act on its own task");
    // Another company, and after the end.
    let rival = stage.company("Rival").await;
    let foreign = format!("/api/companies/{rival}/issues");
    let foreign = stage.with_key("GET", &foreign, (&token, None), Value::Null).await.refusal();
    assert_eq!(foreign.2, "Agent key cannot access another company");
    stage.puppets.end(&run, 0);
    stage.over(&company, &run).await;
    for _ in 0..3 {
        assert_eq!(patch(&task).await.refusal().2, "Run token is not valid any more: its run has ended");
    }
    let activity = stage.get(&format!("/api/companies/{company}/activity?limit=500")).await.good();
    let told: Vec<&str> = activity
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "run_token.refused" && entry["runId"] == json!(run))
        .map(|entry| entry["details"]["error"].as_str().unwrap())
        .collect();
    let times = |text: &str| told.iter().filter(|said| said.contains(text)).count();
    assert_eq!(times("its run has ended"), 1, "once, however often: {told:?}");
    assert_eq!(times("Agent key cannot access another company"), 1);
    assert_eq!(times("only act on its own task"), 5, "{told:?}");
    stage.end().await;
}
