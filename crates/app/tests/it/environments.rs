//! Runs on another machine: this one, reached over ssh as a stranger would be.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use testkit::Sshd;

use crate::stage::{PATIENCE, Stage, Wire};

fn git(folder: &Path, args: &[&str]) -> String {
    let done = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@localhost", "-c", "init.defaultBranch=main"])
        .args(args)
        .output()
        .expect("git");
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

fn read(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(name)).ok()
}

/// Adds an environment on this server; returns its id.
async fn environment(wire: &Wire, sshd: &Sshd) -> String {
    let company = wire.company().await;
    let config = json!({
        "host": "127.0.0.1", "port": sshd.port, "username": sshd.user, "privateKey": sshd.private_key,
        "knownHosts": sshd.known_hosts, "remoteWorkspacePath": sshd.folder().join("far").display().to_string(),
    });
    let body = json!({ "name": "Far", "driver": "ssh", "config": config });
    let probed = wire.post(&format!("/companies/{company}/environments/probe-config"), &body).await;
    assert_eq!(probed["ok"], true, "{probed}\n{}", sshd.log());
    let made = wire.post(&format!("/companies/{company}/environments"), &body).await;
    assert_eq!(made["config"]["privateKeySecretRef"]["type"], "secret_ref", "{made}");
    assert_eq!(made["config"]["privateKey"], Json::Null);
    made["id"].as_str().expect("an id").to_owned()
}

/// Adds an agent that runs a script of the shell there; returns its id.
async fn agent(wire: &Wire, name: &str, environment: &str, cwd: &Path, script: &str) -> String {
    let config = json!({ "command": "/bin/sh", "args": ["-c", script], "cwd": cwd, "graceSec": 1 });
    let body = json!({
        "name": name, "adapterType": "process", "adapterConfig": config, "defaultEnvironmentId": environment,
    });
    wire.agent(&body).await
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    found.push((entry.path(), std::fs::read(entry.path()).unwrap_or_default()));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    found
}

/// Waits until every lease of an environment is over; returns them, newest first.
async fn given_back(wire: &Wire, environment: &str) -> Vec<Json> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leases = wire.get(&format!("/environments/{environment}/leases")).await;
        let leases = leases.as_array().expect("a list").clone();
        if leases.iter().all(|lease| lease["status"] != "active") {
            return leases;
        }
        assert!(Instant::now() < deadline, "leases are not given back: {leases:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Processes that carry the mark of a run there.
fn far_processes(run: &str) -> Vec<String> {
    let mark = format!("BUGLE_RUN={run}/remote");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| {
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |entries| entries.count() == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_works_on_another_machine_and_its_work_comes_back() {
    let Some(sshd) = Sshd::start() else { return };
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let repo = stage.place("repo");
    std::fs::create_dir_all(&repo).unwrap();
    git(&repo, &["init", "-q"]);
    std::fs::write(repo.join("tracked"), "one\n").unwrap();
    std::fs::write(repo.join("other"), "one\n").unwrap();
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-q", "-m", "first"]);
    // What is not committed goes there, too.
    std::fs::write(repo.join("tracked"), "one\ntwo\n").unwrap();

    let script = r#"
        pwd; cat tracked
        echo three >> tracked; echo fresh > fresh
        git add -A; git -c user.name=Far -c user.email=far@localhost commit -q -m "far away"
        echo later > later
        for file in /proc/[0-9]*/cmdline; do
          case "$(tr '\0' ' ' < $file 2>/dev/null)" in *"$BUGLE_API_KEY"*) echo "LEAK $file";; esac
        done
        ls -a "$(dirname "$(dirname "$PWD")")/runs/$BUGLE_RUN_ID"
        if command -v curl >/dev/null; then
          curl -sS -o /dev/null -w "with=%{http_code}\n" -H "Authorization: Bearer $BUGLE_API_KEY" "$BUGLE_API_URL/api/agents/me"
          curl -sS -o /dev/null -w "without=%{http_code}\n" "$BUGLE_API_URL/api/companies"
        fi
    "#;
    let far = environment(&wire, &sshd).await;
    let ada = agent(&wire, "Ada", &far, &repo, script).await;
    let run = wire.wake(&ada, &json!({})).await;
    let over = wire.over(&run).await;
    let (out, err) = (wire.output(&run, "stdout").await, wire.output(&run, "stderr").await);
    assert_eq!(over["status"], "succeeded", "{over:#}\n{out}\n{err}\n{}", sshd.log());
    let root = sshd.folder().join("far");
    assert!(out.starts_with(&format!("{}/.bugle/work/", root.display())), "{out}");
    assert!(out.contains("one\ntwo\n"), "{out}");
    assert!(!out.contains("LEAK"), "a key is in a list of arguments: {out}");
    assert!(
        !out.contains("launch.sh") && out.contains("stop.sh"),
        "the environment was left in a file: {out}"
    );
    if out.contains("with=") {
        assert!(out.contains("with=200"), "{out}");
        assert!(out.contains("without=403") || out.contains("without=401"), "a stranger is let in: {out}");
    }
    let shown = &over["contextSnapshot"]["paperclipEnvironment"];
    assert_eq!((&shown["driver"], &shown["name"]), (&json!("ssh"), &json!("Far")), "{over:#}");

    assert_eq!(read(&repo, "tracked").as_deref(), Some("one\ntwo\nthree\n"));
    assert_eq!(read(&repo, "fresh").as_deref(), Some("fresh\n"));
    assert_eq!(read(&repo, "later").as_deref(), Some("later\n"));
    assert_eq!(git(&repo, &["log", "-1", "--format=%s", "main"]), "far away");
    assert_eq!(git(&repo, &["status", "--porcelain"]), "?? later");
    assert!(!git(&repo, &["rev-parse", &format!("refs/bugle/remote/{run}")]).is_empty());

    let leases = given_back(&wire, &far).await;
    assert_eq!((&leases[0]["status"], &leases[0]["cleanupStatus"]), (&json!("released"), &json!("success")));
    assert!(
        is_empty(&root.join(".bugle/runs")) && is_empty(&root.join(".bugle/work")),
        "something was left there"
    );
    assert!(is_empty(&stage.data().join("leases")), "a key was left here");
    let part = sshd.private_key.lines().nth(2).expect("a key of several lines");
    for (path, bytes) in files(&stage.data()) {
        let has_it = bytes.windows(part.len()).any(|window| window == part.as_bytes());
        assert!(!has_it, "the key stands in {}", path.display());
    }
    assert_eq!(far_processes(&run), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_that_a_person_makes_meanwhile_are_never_overwritten() {
    let Some(sshd) = Sshd::start() else { return };
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let (repo, go) = (stage.place("repo"), stage.place("go"));
    std::fs::create_dir_all(&repo).unwrap();
    git(&repo, &["init", "-q"]);
    std::fs::write(repo.join("text"), "one\n").unwrap();
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-q", "-m", "first"]);
    let script =
        format!("echo theirs > text; echo ready; while [ ! -e {} ]; do sleep 0.1; done", go.display());
    let far = environment(&wire, &sshd).await;
    let ada = agent(&wire, "Ada", &far, &repo, &script).await;
    let run = wire.wake(&ada, &json!({})).await;
    until_said(&wire, &run, "ready").await;
    std::fs::write(repo.join("text"), "mine\n").unwrap();
    std::fs::write(&go, "").unwrap();
    let over = wire.over(&run).await;
    assert_eq!(over["status"], "succeeded", "{over:#}");
    assert_eq!(read(&repo, "text").as_deref(), Some("mine\n"));
    let kept = git(&repo, &["show", &format!("refs/bugle/remote/{run}:text")]);
    assert_eq!(kept, "theirs");
}

async fn until_said(wire: &Wire, run: &str, words: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Until its process is there it has no log.
        let path = format!("/heartbeat-runs/{run}/log");
        let part = wire.try_ask(reqwest::Method::GET, &path, None).await;
        if part.is_some_and(|(_, part)| part["content"].as_str().is_some_and(|text| text.contains(words))) {
            return;
        }
        assert!(Instant::now() < deadline, "it never said {words}: {:#}", wire.run(run).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_there_outlives_the_server_and_a_cancel_leaves_nobody_there() {
    let Some(sshd) = Sshd::start() else { return };
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let home = stage.place("home");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("note"), "here\n").unwrap();
    // Children in sessions of their own, that do not listen when they are asked to end.
    let script = "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000; sleep 1000\" & cat note; \
                  echo there > note; echo ready; sleep 1000; sleep 1000";
    let far = environment(&wire, &sshd).await;
    let ada = agent(&wire, "Ada", &far, &home, script).await;
    let run = wire.wake(&ada, &json!({})).await;
    until_said(&wire, &run, "ready").await;
    stage.kill();
    stage.start();
    assert_eq!(wire.run(&run).await["status"], "running");
    assert!(far_processes(&run).len() >= 2);
    wire.post(&format!("/heartbeat-runs/{run}/cancel"), &json!({})).await;
    let over = wire.over(&run).await;
    assert_eq!(over["status"], "cancelled", "{over:#}");
    assert_eq!(far_processes(&run), Vec::<String>::new(), "somebody is left there");
    assert_eq!(read(&home, "note").as_deref(), Some("there\n"), "what it had done came back");
    let leases = given_back(&wire, &far).await;
    assert_eq!(leases[0]["status"], "released");
    assert!(is_empty(&stage.data().join("leases")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_cannot_be_had_ends_the_run_with_its_reason() {
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let company = wire.company().await;
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = json!({ "host": "127.0.0.1", "port": port, "remoteWorkspacePath": "/tmp/x" });
    let body = json!({ "name": "Nowhere", "driver": "ssh", "config": config });
    let made = wire.post(&format!("/companies/{company}/environments"), &body).await;
    let ada = agent(&wire, "Ada", made["id"].as_str().unwrap(), &stage.place("home"), "true").await;
    let run = wire.wake(&ada, &json!({})).await;
    let over = wire.over(&run).await;
    assert_eq!(
        (&over["status"], &over["errorCode"]),
        (&json!("failed"), &json!("lease_acquire_failed")),
        "{over:#}"
    );
    let probed =
        wire.post(&format!("/environments/{}/probe", made["id"].as_str().unwrap()), &json!({})).await;
    assert_eq!(probed["ok"], false, "{probed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_outlives_the_server_is_used_again_and_leaves_nothing_when_it_is_stopped() {
    let mut stage = Stage::set(None);
    stage.start();
    let wire = stage.wire();
    let company = wire.company().await;
    let folder = stage.place("web");
    std::fs::create_dir_all(&folder).unwrap();
    let service = json!({
        "name": "web", "command": "echo \"port $WEB_PORT\"; setsid sleep 1000 & exec sleep 1000",
        "port": { "type": "auto", "envKey": "WEB_PORT" }, "lifecycle": "shared",
        "expose": { "type": "url", "urlTemplate": "http://127.0.0.1:{{port}}/app" },
    });
    let workspace = json!({
        "name": "web", "cwd": folder, "runtimeConfig": { "workspaceRuntime": { "services": [service] } },
    });
    let project = json!({ "name": "Web", "workspace": workspace });
    let project = wire.post(&format!("/companies/{company}/projects"), &project).await;
    let at = format!(
        "/projects/{}/workspaces/{}/runtime-services",
        project["id"].as_str().unwrap(),
        project["workspaces"][0]["id"].as_str().unwrap()
    );
    let started = wire.post(&format!("{at}/start"), &json!({})).await;
    let first = started["workspace"]["runtimeServices"][0].clone();
    let id = first["id"].as_str().expect("a service").to_owned();
    let running = until_service(&wire, &id, "running").await;
    assert_eq!(running["url"], format!("http://127.0.0.1:{}/app", running["port"]));
    let again = wire.post(&format!("{at}/start"), &json!({ "workspaceCommandId": "web" })).await;
    assert_eq!(again["workspace"]["runtimeServices"].as_array().unwrap().len(), 1, "{again:#}");
    assert_eq!(again["workspace"]["runtimeServices"][0]["id"], id.as_str());
    let log = until_log(&wire, &id, "port").await;
    assert_eq!(log.trim(), format!("port {}", running["port"]));

    let ada = json!({
        "name": "Ada", "adapterType": "process",
        "adapterConfig": { "command": "/bin/sh", "args": ["-c", "echo \"$PAPERCLIP_RUNTIME_PRIMARY_URL\""] },
    });
    let ada = wire.agent(&ada).await;
    let issue =
        json!({ "title": "Look", "status": "todo", "projectId": project["id"], "assigneeAgentId": ada });
    let issue = wire.post(&format!("/companies/{company}/issues"), &issue).await;
    let run = first_run(&wire, issue["id"].as_str().unwrap()).await;
    wire.over(&run).await;
    let told = wire.output(&run, "stdout").await;
    assert_eq!(told.trim(), running["url"].as_str().unwrap(), "{:#}", wire.run(&run).await);

    stage.kill();
    stage.start();
    assert_eq!(wire.get(&format!("/runtime-services/{id}")).await["status"], "running");
    assert!(marked(&id) >= 2, "its processes went with the server");
    wire.post(&format!("{at}/stop"), &json!({ "runtimeServiceId": id })).await;
    until_service(&wire, &id, "stopped").await;
    assert_eq!(marked(&id), 0, "something of it is left");
    let restarted = wire.post(&format!("{at}/restart"), &json!({})).await;
    assert_ne!(restarted["workspace"]["runtimeServices"][0]["id"], id.as_str());
    let second = restarted["workspace"]["runtimeServices"][0]["id"].as_str().unwrap().to_owned();
    until_service(&wire, &second, "running").await;
    wire.post(&format!("/runtime-services/{second}/stop"), &json!({})).await;
    until_service(&wire, &second, "stopped").await;
}

/// The first run of an issue.
pub(crate) async fn first_run(wire: &Wire, issue: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let runs = wire.get(&format!("/issues/{issue}/runs")).await;
        if let Some(run) = runs.as_array().and_then(|runs| runs.last()).and_then(|run| run["runId"].as_str())
        {
            return run.to_owned();
        }
        assert!(Instant::now() < deadline, "nobody works on the issue");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Living processes of a service.
pub(crate) fn marked(service: &str) -> usize {
    let mark = format!("BUGLE_RUN={service}/");
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let is_marked = |entry: &std::fs::DirEntry| {
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|one| one.starts_with(mark.as_bytes()))
    };
    entries.flatten().filter(is_marked).count()
}

pub(crate) async fn until_service(wire: &Wire, id: &str, status: &str) -> Json {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = wire.get(&format!("/runtime-services/{id}")).await;
        if found["status"] == status {
            return found;
        }
        assert!(Instant::now() < deadline, "the service is never {status}: {found:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_log(wire: &Wire, id: &str, words: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = wire.get(&format!("/runtime-services/{id}/log")).await;
        let content = log["content"].as_str().expect("a text").to_owned();
        if content.contains(words) {
            return content;
        }
        assert!(Instant::now() < deadline, "it never said {words}: {content}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
