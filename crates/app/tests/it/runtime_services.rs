//! Services and jobs beside the worktree of a task, and what becomes of it when it is closed, or its company deleted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::environments::{first_run, marked, until_service};
use crate::stage::{PATIENCE, Stage, Wire};
use crate::workspaces::{git, repository};

/// A repository, a project of it with services and jobs, and the worktree of an issue that a run worked in.
struct Task {
    company: String,
    project: String,
    issue: String,
    place: Json,
}

async fn task(wire: &Wire, repo: &Path, runtime: Json, script: &str) -> Task {
    repository(repo);
    let company = wire.company().await;
    let workspace = json!({ "name": "site", "cwd": repo, "runtimeConfig": { "workspaceRuntime": runtime } });
    let project = wire
        .post(&format!("/companies/{company}/projects"), &json!({ "name": "Site", "workspace": workspace }))
        .await;
    let project = project["id"].as_str().unwrap().to_owned();
    let config = json!({ "command": "/bin/sh", "args": ["-c", script] });
    let ada = wire.agent(&json!({ "name": "Ada", "adapterType": "process", "adapterConfig": config })).await;
    let issue = json!({ "title": "Look", "status": "todo", "projectId": project, "assigneeAgentId": ada });
    let issue = wire.post(&format!("/companies/{company}/issues"), &issue).await;
    let issue = issue["id"].as_str().unwrap().to_owned();
    let run = first_run(wire, &issue).await;
    wire.over(&run).await;
    let places = wire.get(&format!("/companies/{company}/execution-workspaces?issueId={issue}")).await;
    Task { company, project, issue, place: places[0].clone() }
}

impl Task {
    fn at(&self, rest: &str) -> String {
        format!("/execution-workspaces/{}{rest}", self.place["id"].as_str().unwrap())
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(self.place["cwd"].as_str().unwrap())
    }
}

async fn refused(wire: &Wire, method: Method, path: &str, body: &Json) -> Json {
    let (status, answer) = wire.try_ask(method, path, Some(body)).await.expect("an answer");
    assert_eq!(status, 409, "{answer:#}");
    answer
}

/// Until nothing keeps a workspace from being closed.
async fn until_free(wire: &Wire, readiness: &str) -> Json {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = wire.get(readiness).await;
        if found["state"] != "blocked" {
            return found;
        }
        assert!(Instant::now() < deadline, "the workspace is never free: {found:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_jobs_run_beside_a_worktree_and_end_before_it_is_closed() {
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let runtime = json!({
        "services": [{ "name": "web", "command": "pwd; exec sleep 1000", "lifecycle": "shared" }],
        "jobs": [
            { "name": "count", "command": "pwd; echo two >&2" },
            { "name": "fail", "command": "echo no; exit 3" },
            { "name": "long", "command": "while [ ! -e go ]; do sleep 0.05; done; echo went" },
        ],
    });
    let task = task(&wire, &stage.place("repo"), runtime, "true").await;
    let of_project = {
        let shown = wire.get(&format!("/projects/{}", task.project)).await;
        format!("/projects/{}/workspaces/{}", task.project, shown["workspaces"][0]["id"].as_str().unwrap())
    };

    // The one of the project and that of the task are two: each runs in its own folder.
    let shared = wire.post(&format!("{of_project}/runtime-services/start"), &json!({})).await;
    assert_eq!(shared["operation"]["status"], "succeeded", "{shared:#}");
    let shared = shared["workspace"]["runtimeServices"][0]["id"].as_str().unwrap().to_owned();
    let started = wire.post(&task.at("/runtime-services/start"), &json!({})).await;
    let services = started["workspace"]["runtimeServices"].as_array().unwrap();
    let web = services.iter().find(|row| row["id"] != shared.as_str()).expect("its own service").clone();
    assert_eq!(
        (&web["scopeType"], &web["cwd"]),
        (&json!("execution_workspace"), &task.place["cwd"]),
        "{web:#}"
    );
    let web = web["id"].as_str().unwrap().to_owned();
    until_service(&wire, &web, "running").await;
    until_service(&wire, &shared, "running").await;
    let again = wire.post(&task.at("/runtime-commands/start"), &json!({ "workspaceCommandId": "web" })).await;
    let again = again["workspace"]["runtimeServices"].as_array().unwrap().clone();
    assert!(again.iter().any(|row| row["id"] == web.as_str()), "it is used again: {again:#?}");
    assert_eq!(wire.get(&task.at("")).await["runtimeServices"].as_array().unwrap().len(), 2);

    let job = async |name: &str| {
        let ran = wire.post(&task.at("/runtime-services/run"), &json!({ "workspaceCommandId": name })).await;
        ran["operation"].clone()
    };
    let count = job("count").await;
    assert_eq!((&count["status"], &count["exitCode"]), (&json!("succeeded"), &json!(0)), "{count:#}");
    assert_eq!(count["stdoutExcerpt"], format!("{}\n", task.folder().display()));
    assert_eq!(count["stderrExcerpt"], "two\n");
    let fail = job("fail").await;
    assert_eq!((&fail["status"], &fail["exitCode"]), (&json!("failed"), &json!(3)), "{fail:#}");
    let operations = wire.get(&task.at("/workspace-operations")).await;
    let actions: Vec<&str> =
        operations.as_array().unwrap().iter().filter_map(|row| row["metadata"]["action"].as_str()).collect();
    assert_eq!(actions, ["start", "start", "run", "run"], "{operations:#}");

    // A job outlives the server, and its end is written by the next one.
    let asking = tokio::spawn({
        let (wire, path) = (wire.clone(), task.at("/runtime-services/run"));
        async move { wire.try_ask(Method::POST, &path, Some(&json!({ "workspaceCommandId": "long" }))).await }
    });
    let long = until_listed(&wire, &task.company, "long").await;
    stage.kill();
    let _ = asking.await;
    stage.start();
    let twice = json!({ "workspaceCommandId": "long" });
    let twice = refused(&wire, Method::POST, &task.at("/runtime-services/run"), &twice).await;
    assert_eq!(twice["error"], "Workspace job `long` is running already");
    let readiness = wire.get(&task.at("/close-readiness")).await;
    assert_eq!(readiness["state"], "blocked", "{readiness:#}");
    assert!(readiness["blockingReasons"].to_string().contains("job `long`"), "{readiness:#}");
    std::fs::write(task.folder().join("go"), "").unwrap();
    until_service(&wire, &long, "stopped").await;
    let operations = wire.get(&task.at("/workspace-operations")).await;
    // Beside it the workspace may have been taken by a run of its issue.
    let is_run = |row: &&Json| row["metadata"]["action"] == "run";
    let last = operations.as_array().unwrap().iter().rfind(is_run).unwrap().clone();
    assert_eq!(
        (&last["status"], &last["stdoutExcerpt"]),
        (&json!("succeeded"), &json!("went\n")),
        "{last:#}"
    );

    // Stopping those of the workspace leaves the project's alone; closing ends what is left.
    wire.post(&task.at("/runtime-services/restart"), &json!({})).await;
    let restarted = wire.get(&task.at("")).await["runtimeServices"].clone();
    let is_own = |row: &&Json| row["scopeType"] == "execution_workspace" && row["status"] != "stopped";
    let own = restarted.as_array().unwrap().iter().find(is_own).expect("it was started again").clone();
    let own = own["id"].as_str().unwrap().to_owned();
    until_service(&wire, &own, "running").await;
    assert_eq!(wire.get(&format!("/runtime-services/{shared}")).await["status"], "running");
    let done = json!({ "status": "done" });
    wire.try_ask(Method::PATCH, &format!("/issues/{}", task.issue), Some(&done)).await.unwrap();
    // A run that went on with the issue before it was done works in it still.
    let readiness = until_free(&wire, &task.at("/close-readiness")).await;
    assert_eq!(readiness["runtimeServices"][0]["id"], own.as_str(), "{readiness:#}");
    assert_eq!(readiness["plannedActions"][0]["kind"], "stop_runtime_services");
    let archive = json!({ "status": "archived" });
    let (status, closed) = wire.try_ask(Method::PATCH, &task.at(""), Some(&archive)).await.unwrap();
    assert_eq!((status, &closed["status"]), (200, &json!("archived")), "{closed:#}");
    assert_eq!((marked(&own), task.folder().exists()), (0, false), "something of it is left");
    assert_eq!(wire.get(&format!("/runtime-services/{own}")).await["status"], "stopped");
    assert_eq!(wire.get(&format!("/runtime-services/{shared}")).await["status"], "running");
    let gone = refused(&wire, Method::POST, &task.at("/runtime-services/start"), &json!({})).await;
    assert_eq!(gone["error"], "The workspace is closed");

    // Whoever goes on with its issue is told, until somebody moves it.
    let issue = format!("/issues/{}", task.issue);
    let said = refused(&wire, Method::POST, &format!("{issue}/comments"), &json!({ "body": "more" })).await;
    let name = closed["name"].as_str().unwrap();
    let words = format!(
        "This issue is linked to the closed workspace \"{name}\". Move it to an open workspace before adding comments or \
         resuming work."
    );
    assert_eq!(
        (&said["error"], &said["executionWorkspace"]["id"]),
        (&json!(words), &task.place["id"]),
        "{said:#}"
    );
    assert!(said["hint"].as_str().unwrap().contains("executionWorkspaceId"), "{said:#}");
    let checkout = json!({ "agentId": closed["id"], "expectedStatuses": ["done"] });
    let checkout = refused(&wire, Method::POST, &format!("{issue}/checkout"), &checkout).await;
    assert_eq!(checkout["code"], "workspace.closed");
    let title = json!({ "title": "Look again" });
    let (status, _) = wire.try_ask(Method::PATCH, &issue, Some(&title)).await.unwrap();
    assert_eq!(status, 200, "a person may still change what it says");
    let free = json!({ "executionWorkspaceId": null });
    assert_eq!(wire.try_ask(Method::PATCH, &issue, Some(&free)).await.unwrap().0, 200);
    wire.post(&format!("{issue}/comments"), &json!({ "body": "more" })).await;
    wire.post(&format!("/runtime-services/{shared}/stop"), &json!({})).await;
    until_service(&wire, &shared, "stopped").await;
}

/// The id of a live service or job, once there is one of this name.
async fn until_listed(wire: &Wire, company: &str, name: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = wire.get(&format!("/companies/{company}/runtime-services?live=true")).await;
        let is_it = |row: &&Json| row["serviceName"] == name && row["status"] == "running";
        if let Some(found) = all.as_array().unwrap().iter().find(is_it) {
            return found["id"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{name} never runs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_company_leaves_nothing_behind_and_work_in_a_repository_is_saved() {
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let repo = stage.place("repo");
    let runtime = json!({ "services": [{ "name": "web", "command": "exec sleep 1000" }] });
    let task = task(&wire, &repo, runtime, "echo precious > precious.txt").await;
    assert!(task.folder().join("precious.txt").is_file());
    // A clone of the server's own, and skills that were laid out.
    for folder in ["projects", "skills"] {
        let folder = stage.data().join(folder).join(&task.company).join("x");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("file"), "text").unwrap();
    }
    let strange = stage.data().join("workspaces").join("nobody-knows-me");
    std::fs::create_dir_all(&strange).unwrap();
    let web = wire.post(&task.at("/runtime-services/start"), &json!({})).await;
    let web = web["workspace"]["runtimeServices"][0]["id"].as_str().unwrap().to_owned();
    until_service(&wire, &web, "running").await;
    let (status, answer) =
        wire.try_ask(Method::DELETE, &format!("/companies/{}", task.company), None).await.expect("an answer");
    assert!(status < 300, "{status} {answer:#}");
    assert_eq!(marked(&web), 0, "its service went on");
    let deadline = Instant::now() + PATIENCE;
    let left = || {
        let data = stage.data();
        let own = ["projects", "skills"].map(|folder| data.join(folder).join(&task.company));
        own.into_iter().chain([task.folder()]).filter(|folder| folder.exists()).collect::<Vec<_>>()
    };
    while !left().is_empty() {
        assert!(Instant::now() < deadline, "left over: {:?}", left());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let saved = git(&repo, &["for-each-ref", "--format=%(refname)", "refs/bugle/saved"]);
    assert_eq!(git(&repo, &["show", &format!("{saved}:precious.txt")]), "precious");
    assert_eq!(git(&repo, &["worktree", "list"]).lines().count(), 1);
    assert!(strange.exists(), "what nothing is known of stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wished_beside_a_workspace_is_noted_when_it_is_made() {
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let repo = stage.place("repo");
    let task =
        task(&wire, &repo, json!({ "services": [{ "name": "web", "command": "true" }] }), "true").await;
    assert_eq!(task.place["config"], Json::Null, "nobody wished anything");
    let runtime = json!({ "jobs": [{ "name": "own", "command": "echo mine" }] });
    let wished = json!({ "executionWorkspacePolicy": { "enabled": true, "workspaceRuntime": runtime } });
    let project = format!("/projects/{}", task.project);
    assert_eq!(wire.try_ask(Method::PATCH, &project, Some(&wished)).await.unwrap().0, 200);
    let agents = wire.get(&format!("/companies/{}/agents", task.company)).await;
    let ada = agents.as_array().unwrap().iter().find(|row| row["name"] == "Ada").unwrap()["id"].clone();
    let issue =
        json!({ "title": "More", "status": "todo", "projectId": task.project, "assigneeAgentId": ada });
    let issue = wire.post(&format!("/companies/{}/issues", task.company), &issue).await;
    let issue = issue["id"].as_str().unwrap().to_owned();
    wire.over(&first_run(&wire, &issue).await).await;
    let listed = format!("/companies/{}/execution-workspaces?issueId={issue}", task.company);
    let first = wire.get(&listed).await[0].clone();
    assert_eq!(first["config"]["workspaceRuntime"], runtime, "{first:#}");
    // What it has is its own: the project may wish something else for those to come, and a second run keeps it.
    let none = json!({ "executionWorkspacePolicy": null });
    assert_eq!(wire.try_ask(Method::PATCH, &project, Some(&none)).await.unwrap().0, 200);
    let again =
        wire.wake(ada.as_str().unwrap(), &json!({ "payload": { "issueId": issue }, "reason": "x" })).await;
    wire.over(&again).await;
    let places = wire.get(&listed).await;
    assert_eq!(places.as_array().unwrap().len(), 1);
    assert_eq!((&places[0]["cwd"], &places[0]["config"]), (&first["cwd"], &first["config"]));
    let path = format!("/execution-workspaces/{}/runtime-services", first["id"].as_str().unwrap());
    let ran = wire.post(&format!("{path}/run"), &json!({ "workspaceCommandId": "own" })).await;
    assert_eq!(ran["operation"]["stdoutExcerpt"], "mine\n", "{ran:#}");
    let web = json!({ "workspaceCommandId": "web" });
    let (status, answer) = wire.try_ask(Method::POST, &format!("{path}/start"), Some(&web)).await.unwrap();
    assert_eq!(
        (status, &answer["error"]),
        (404, &json!("Workspace command not found for this execution workspace"))
    );
}
