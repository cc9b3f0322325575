//! Environments on the wire: who may see and change them, and what is refused.

use api::Mode;
use serde_json::{Value, json};

use crate::stage::Stage;

const NOBODY: &str = "0192f7a0-0000-4000-8000-00000000000a";

fn ssh() -> Value {
    json!({
        "name": "Box", "driver": "ssh", "metadata": { "rack": 4 },
        "config": { "host": "box", "remoteWorkspacePath": "/srv", "privateKey": "-----BEGIN PRIVATE KEY-----" },
    })
}

#[tokio::test]
async fn environments_are_made_changed_and_removed_and_keys_are_never_shown() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let all = format!("/api/companies/{company}/environments");
    let made = stage.post(&all, ssh()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.good();
    assert_eq!((&made["config"]["privateKey"], made.to_string().contains("PRIVATE")), (&Value::Null, false));
    let sealed = made["config"]["privateKeySecretRef"].clone();
    assert_eq!((&sealed["type"], &sealed["version"]), (&json!("secret_ref"), &json!("latest")));
    assert_eq!((&made["status"], &made["configRedacted"]), (&json!("active"), &Value::Null));
    let one = format!("/api/environments/{}", made["id"].as_str().unwrap());
    let changed = stage
        .patch(&one, json!({ "config": { "port": 2222 }, "description": "under the desk" }))
        .await
        .good();
    assert_eq!((&changed["config"]["port"], &changed["config"]["host"]), (&json!(2222), &json!("box")));
    assert_eq!(changed["config"]["privateKeySecretRef"], sealed);
    let placeholder = stage.patch(&one, json!({ "config": { "privateKey": "***REDACTED***" } })).await;
    assert_eq!(placeholder.refusal().0, 400, "{}", placeholder.text);
    let listed = stage.get(&all).await.good();
    let drivers: Vec<&str> =
        listed.as_array().unwrap().iter().map(|row| row["driver"].as_str().unwrap()).collect();
    assert_eq!(drivers.len(), 2, "{listed}");
    assert!(drivers.contains(&"local") && drivers.contains(&"ssh"));
    let filtered = stage.get(&format!("{all}?driver=ssh&status=active")).await.good();
    assert_eq!(filtered.as_array().unwrap().len(), 1);
    assert_eq!(stage.get(&format!("{one}/leases")).await.good(), json!([]));
    assert_eq!(stage.get(&format!("{one}/leases?status=odd")).await.status, 400);
    let removed = stage.send(stage.http.delete(stage.url(&one))).await;
    assert_eq!(removed.status, 200, "{}", removed.text);
    let secret = stage.get(&format!("/api/companies/{company}/secrets")).await.good();
    assert_eq!(secret, json!([]), "its key goes with it");
    assert_eq!(stage.get(&one).await.refusal().2, "Environment not found");
    let lease = stage.get(&format!("/api/environment-leases/{NOBODY}")).await;
    assert_eq!(lease.refusal().2, "Environment lease not found");
    stage.end().await;
}

#[tokio::test]
async fn a_key_is_a_secret_of_the_company_and_a_missing_or_foreign_one_is_refused_by_its_field() {
    let stage = Stage::new().await;
    let (company, other) = (stage.company("Acme").await, stage.company("Other").await);
    let all = format!("/api/companies/{company}/environments");
    let secret_of = async |company: &str| {
        let body = json!({ "name": "box key", "value": "-----BEGIN PRIVATE KEY----- of nobody" });
        crate::stage::id_of(&stage.post(&format!("/api/companies/{company}/secrets"), body).await.good())
    };
    let (own, foreign) = (secret_of(&company).await, secret_of(&other).await);
    let bound = |id: &str| json!({ "type": "secret_ref", "secretId": id, "version": "latest" });
    let with = |key: Value| {
        let config = json!({ "host": "box", "remoteWorkspacePath": "/srv", "privateKeySecretRef": key });
        json!({ "name": "Box", "driver": "ssh", "config": config })
    };
    let refused = async |body: Value| {
        let answer = stage.post(&all, body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let detail = answer.json()["details"][0].clone();
        assert_eq!(detail["path"], json!(["config", "privateKeySecretRef"]), "{detail}");
        detail["message"].as_str().unwrap().to_owned()
    };
    let missing = "Secret not found: the company has none of this id";
    assert_eq!(refused(with(bound(NOBODY))).await, missing);
    assert_eq!(refused(with(bound(&foreign))).await, missing);
    assert!(refused(with(json!("the key"))).await.starts_with("must be {"));
    let later = json!({ "type": "secret_ref", "secretId": own, "version": 4 });
    assert_eq!(refused(with(later)).await, "Secret version not found: box key has 1 versions");
    let mut two = with(bound(&own));
    two["config"]["privateKeyPath"] = json!("/home/me/key");
    assert_eq!(refused(two).await, "and privateKeyPath name two keys");

    let made = stage.post(&all, with(bound(&own))).await.good();
    let one = format!("/api/environments/{}", made["id"].as_str().unwrap());
    assert_eq!(made["config"]["privateKeySecretRef"], bound(&own));
    let used = stage.send(stage.http.delete(stage.url(&format!("/api/secrets/{own}")))).await.refusal();
    assert_eq!((used.0, used.2.as_str()), (409, "Secret is in use: environment Box (privateKeySecretRef)"));
    // Given in plain it is sealed, and the other one is free.
    let plain = json!({ "config": { "privateKey": "-----BEGIN PRIVATE KEY----- in plain" } });
    let changed = stage.patch(&one, plain.clone()).await.good();
    assert_eq!(changed["config"]["privateKey"], Value::Null);
    let sealed = changed["config"]["privateKeySecretRef"]["secretId"].clone();
    assert_ne!(sealed, json!(own));
    let again = stage.patch(&one, plain).await.good();
    assert_eq!(again["config"]["privateKeySecretRef"]["secretId"], sealed, "the next version of the same");
    assert_eq!(stage.send(stage.http.delete(stage.url(&format!("/api/secrets/{own}")))).await.status, 200);

    // Who may manage environments may not thereby read the secrets of the company.
    let ceo = json!({ "name": "Chief", "role": "ceo", "adapterType": "process", "adapterConfig": { "command": "true" } });
    let ceo = stage.post(&format!("/api/companies/{company}/agents"), ceo).await.good();
    let key = stage.key_of(&company, ceo["id"].as_str().unwrap()).await;
    let third = secret_of(&company).await;
    let asked = stage.http.post(stage.url(&all)).json(&with(bound(&third)));
    let refusal = stage.send(stage.by(asked, &key, None)).await.refusal();
    assert_eq!(refusal.0, 403, "{refusal:?}");
    let kept = stage.http.patch(stage.url(&one)).json(&json!({ "name": "Mine" }));
    assert_eq!(stage.send(stage.by(kept, &key, None)).await.status, 200);
    stage.end().await;
}

#[tokio::test]
async fn nobody_chooses_an_environment_that_is_not_there_or_put_away() {
    let stage = Stage::new().await;
    let (company, other) = (stage.company("Acme").await, stage.company("Other").await);
    let made = async |company: &str| {
        let all = format!("/api/companies/{company}/environments");
        crate::stage::id_of(&stage.post(&all, ssh()).await.good())
    };
    let (foreign, archived) = (made(&other).await, made(&company).await);
    stage.patch(&format!("/api/environments/{archived}"), json!({ "status": "archived" })).await.good();
    let issues = format!("/api/companies/{company}/issues");
    let projects = format!("/api/companies/{company}/projects");
    let issue = stage.post(&issues, json!({ "title": "Stay" })).await.good();
    let issue = format!("/api/issues/{}", issue["id"].as_str().unwrap());
    let project = stage.post(&projects, json!({ "name": "Here" })).await.good();
    let project = format!("/api/projects/{}", project["id"].as_str().unwrap());
    for (id, words) in [
        (NOBODY, "Environment not found."),
        (foreign.as_str(), "Environment not found."),
        (archived.as_str(), "Environment is archived."),
    ] {
        let settings = json!({ "environmentId": id });
        for answer in [
            stage.post(&issues, json!({ "title": "x", "executionWorkspaceSettings": settings })).await,
            stage.patch(&issue, json!({ "executionWorkspaceSettings": settings })).await,
            stage.post(&projects, json!({ "name": "x", "executionWorkspacePolicy": settings })).await,
            stage.patch(&project, json!({ "executionWorkspacePolicy": settings })).await,
        ] {
            let refusal = answer.refusal();
            assert_eq!((refusal.0, refusal.2.as_str()), (422, words));
        }
    }
    stage.patch(&issue, json!({ "executionWorkspaceSettings": { "environmentId": null } })).await.good();
    stage.end().await;
}

#[tokio::test]
async fn mistakes_in_an_environment_are_named_and_unknown_fields_refused() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let all = format!("/api/companies/{company}/environments");
    for (body, path) in [
        (json!({ "driver": "ssh" }), "name"),
        (json!({ "name": "x", "driver": "sandbox" }), "driver"),
        (json!({ "name": "x", "driver": "ssh", "config": { "host": "box" } }), "config.remoteWorkspacePath"),
        (json!({ "name": "x", "driver": "ssh", "colour": 1 }), "colour"),
        (json!({ "name": "x", "driver": "local", "config": { "host": "box" } }), "config.host"),
    ] {
        let answer = stage.post(&all, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        let details = answer.json()["details"].to_string();
        let path = serde_json::to_string(&path.split('.').collect::<Vec<_>>()).unwrap();
        assert!(details.contains(&path) || details.contains("colour"), "{body}: {details}");
    }
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}");
    let unknown = stage.patch(&path, json!({ "defaultEnvironmentId": NOBODY })).await;
    assert_eq!(unknown.status, 400, "{}", unknown.text);
    stage.end().await;
}

#[tokio::test]
async fn an_agent_without_the_right_sees_no_configuration_and_moves_nobody() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let all = format!("/api/companies/{company}/environments");
    let made = stage.post(&all, ssh()).await.good();
    let one = format!("/api/environments/{}", made["id"].as_str().unwrap());
    let agent = stage.agent(&company, "Engineer", 1).await;
    let key = stage.key_of(&company, &agent).await;
    let get = |path: &str| stage.by(stage.http.get(stage.url(path)), &key, None);
    let seen = stage.send(get(&one)).await.good();
    assert_eq!((&seen["config"], &seen["metadata"]), (&json!({}), &Value::Null));
    assert_eq!((&seen["configRedacted"], &seen["metadataRedacted"]), (&json!(true), &json!(true)));
    let missing = "Missing permission: environments:manage";
    for request in [
        stage.http.post(stage.url(&all)).json(&ssh()),
        stage.http.patch(stage.url(&one)).json(&json!({ "name": "Mine" })),
        stage.http.delete(stage.url(&one)),
        stage.http.post(stage.url(&format!("{one}/probe"))),
        stage.http.get(stage.url(&format!("{one}/leases"))),
        stage
            .http
            .patch(stage.url(&format!("/api/agents/{agent}")))
            .json(&json!({ "defaultEnvironmentId": null })),
    ] {
        let refusal = stage.send(stage.by(request, &key, None)).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (403, missing));
    }
    let wish = json!({ "title": "Move", "executionWorkspaceSettings": { "environmentId": made["id"] } });
    let policy = json!({ "name": "Moved", "executionWorkspacePolicy": { "environmentId": made["id"] } });
    let issues = format!("/api/companies/{company}/issues");
    let projects = format!("/api/companies/{company}/projects");
    let issue = stage.post(&issues, json!({ "title": "Stay", "assigneeAgentId": agent })).await.good();
    let issue = format!("/api/issues/{}", issue["id"].as_str().unwrap());
    let project = stage.post(&projects, json!({ "name": "Here" })).await.good();
    let project = format!("/api/projects/{}", project["id"].as_str().unwrap());
    for request in [
        stage.http.post(stage.url(&issues)).json(&wish),
        stage.http.patch(stage.url(&issue)).json(&wish),
        stage.http.post(stage.url(&format!("{issue}/children"))).json(&wish),
        stage.http.post(stage.url(&projects)).json(&policy),
        stage.http.patch(stage.url(&project)).json(&policy),
    ] {
        let refusal = stage.send(stage.by(request, &key, None)).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (403, missing));
    }
    stage.patch(&issue, wish).await.good();
    let can = stage.send(get(&format!("{all}/capabilities"))).await.good();
    assert_eq!(can["drivers"]["ssh"]["remote"], true);
    stage.end().await;
}

#[tokio::test]
async fn services_that_cannot_be_started_say_why() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let workspace = json!({ "name": "web", "cwd": stage.folder.path() });
    let all = format!("/api/companies/{company}/projects");
    let project = stage.post(&all, json!({ "name": "Web", "workspace": workspace })).await.good();
    let (id, workspace) = (project["id"].as_str().unwrap(), project["workspaces"][0]["id"].as_str().unwrap());
    let at = format!("/api/projects/{id}/workspaces/{workspace}");
    let said = |answer: crate::stage::Answer| {
        let refusal = answer.refusal();
        (refusal.0, refusal.2)
    };
    let none = stage.post(&format!("{at}/runtime-services/start"), json!({})).await;
    assert_eq!(said(none), (422, "Project workspace has no runtime service configuration".to_owned()));
    let config = json!({ "workspaceRuntime": { "services": [{ "name": "web", "command": "true" }] } });
    stage.patch(&at, json!({ "runtimeConfig": config })).await.good();
    let unknown = stage.post(&format!("{at}/runtime-services/begin"), json!({})).await;
    assert_eq!(said(unknown), (404, "Workspace command action not found".to_owned()));
    let other =
        stage.post(&format!("{at}/runtime-commands/start"), json!({ "workspaceCommandId": "db" })).await;
    assert_eq!(said(other), (404, "Workspace command not found for this project workspace".to_owned()));
    let jobs = json!({ "workspaceRuntime": {
        "services": [{ "name": "web", "command": "true" }], "jobs": [{ "name": "seed", "command": "true" }],
    } });
    stage.patch(&at, json!({ "runtimeConfig": jobs })).await.good();
    for (action, body, words) in [
        ("start", json!({ "workspaceCommandId": "seed" }), "Workspace job `seed` can only be run"),
        (
            "run",
            json!({ "workspaceCommandId": "web" }),
            "A workspace service should be started instead of run",
        ),
        ("run", json!({ "serviceIndex": 0 }), "A workspace service should be started instead of run"),
        ("run", json!({}), "Select a workspace job to run"),
    ] {
        let answer = stage.post(&format!("{at}/runtime-services/{action}"), body).await;
        assert_eq!(said(answer), (422, words.to_owned()));
    }
    let nobodys = json!({ "runtimeServiceId": NOBODY });
    let nobodys = stage.post(&format!("{at}/runtime-services/stop"), nobodys).await;
    assert_eq!(said(nobodys), (404, "Runtime service not found for this project workspace".to_owned()));
    let nowhere = json!({ "name": "nowhere", "repoUrl": "https://example.org/a.git", "runtimeConfig": jobs });
    let nowhere = stage.post(&format!("/api/projects/{id}/workspaces"), nowhere).await.good();
    let there = format!("/api/projects/{id}/workspaces/{}", nowhere["id"].as_str().unwrap());
    let needs = stage.post(&format!("{there}/runtime-services/start"), json!({})).await;
    assert_eq!(
        said(needs),
        (422, "Project workspace needs a local path before services can be run in it".to_owned())
    );
    stage.end().await;
}

#[tokio::test]
async fn commands_of_the_host_are_for_people_and_services_for_those_who_work_there() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let runtime = json!({ "services": [{ "name": "web", "command": "true", "cwd": "/no/such/folder" }] });
    let workspace = json!({
        "name": "web", "cwd": stage.folder.path(), "runtimeConfig": { "workspaceRuntime": runtime },
    });
    let all = format!("/api/companies/{company}/projects");
    let project = stage.post(&all, json!({ "name": "Web", "workspace": workspace })).await.good();
    let (id, workspace) = (project["id"].as_str().unwrap(), project["workspaces"][0]["id"].as_str().unwrap());
    let start = format!("/api/projects/{id}/workspaces/{workspace}/runtime-services/start");
    // Whoever may is told that the folder is not there; nobody else gets as far.
    let missing = "Missing permission to manage workspace runtime services";
    let may = async |key: Option<&str>| {
        let request = stage.http.post(stage.url(&start)).json(&json!({}));
        let request = match key {
            Some(key) => stage.by(request, key, None),
            None => request,
        };
        let refusal = stage.send(request).await.refusal();
        match refusal.0 {
            422 => true,
            403 if refusal.2 == missing => false,
            _ => panic!("{refusal:?}"),
        }
    };
    let hired = async |name: &str, role: &str, to: Option<&str>| {
        let body = json!({
            "name": name, "role": role, "reportsTo": to, "adapterType": "process",
            "adapterConfig": { "command": "true" },
        });
        let made = stage.post(&format!("/api/companies/{company}/agents"), body).await.good();
        let id = crate::stage::id_of(&made);
        let key = stage.key_of(&company, &id).await;
        (id, key)
    };
    let (_, chief) = hired("Chief", "ceo", None).await;
    let (manager, managers) = hired("Manager", "general", None).await;
    let (worker, workers) = hired("Worker", "general", Some(&manager)).await;
    let (_, strangers) = hired("Stranger", "general", None).await;
    assert!(may(None).await && may(Some(&chief)).await);
    assert!(!may(Some(&workers)).await && !may(Some(&managers)).await);
    let issue = json!({
        "title": "Build", "projectId": id, "projectWorkspaceId": workspace, "assigneeAgentId": worker,
        "status": "backlog",
    });
    let issue = stage.post(&format!("/api/companies/{company}/issues"), issue).await.good();
    assert!(may(Some(&workers)).await && may(Some(&managers)).await && !may(Some(&strangers)).await);
    let issue = format!("/api/issues/{}", issue["id"].as_str().unwrap());
    stage.patch(&issue, json!({ "status": "done" })).await.good();
    assert!(!may(Some(&workers)).await, "its work there is over");

    let strategy = json!({ "workspaceStrategy": { "type": "git_worktree", "provisionCommand": "make" } });
    for (request, is_known) in [
        (
            stage.http.patch(stage.url(&format!("/api/projects/{id}"))),
            json!({ "executionWorkspacePolicy": strategy }),
        ),
        (stage.http.patch(stage.url(&issue)), json!({ "executionWorkspaceSettings": strategy })),
        (
            stage.http.patch(stage.url(&format!("/api/projects/{id}/workspaces/{workspace}"))),
            json!({ "cleanupCommand": "rm -r x" }),
        ),
        (
            stage.http.patch(stage.url(&format!("/api/projects/{id}/workspaces/{workspace}"))),
            json!({ "runtimeConfig": { "workspaceRuntime": runtime } }),
        ),
        (
            stage.http.patch(stage.url(&format!("/api/projects/{id}"))),
            json!({ "executionWorkspacePolicy": { "workspaceRuntime": runtime } }),
        ),
        (
            stage.http.patch(stage.url(&issue)),
            json!({ "executionWorkspaceSettings": { "workspaceRuntime": runtime } }),
        ),
    ] {
        let refusal = stage.send(stage.by(request.json(&is_known), &chief, None)).await.refusal();
        let words = "Agent keys cannot modify host-executed workspace commands";
        assert!(refusal.0 == 403 && refusal.2.starts_with(words), "{refusal:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn who_comes_by_the_door_is_nobody_without_a_key() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let key = stage.key_of(&company, &agent).await;
    let options = api::ApiOptions::new(stage.address, "1.2.3", stage.engine.now());
    assert_eq!(options.mode, Mode::LocalTrusted);
    let state = api::ApiState::new(stage.engine.clone(), options).for_strangers();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, api::router(state)).into_future());
    let path = format!("{url}/api/companies/{company}/agents");
    assert!(matches!(stage.send(stage.http.get(&path)).await.status, 401 | 403));
    let board = stage.send(stage.http.get(&path).bearer_auth(crate::stage::BOARD_TOKEN)).await;
    assert_eq!(board.status, 401, "the token of this machine's board was shown elsewhere");
    assert_eq!(stage.send(stage.http.get(&path).bearer_auth(&key)).await.status, 200);
    server.abort();
    stage.end().await;
}
