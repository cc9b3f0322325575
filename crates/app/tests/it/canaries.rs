//! Values that nobody is to read, put into every place where one can come from, and looked for everywhere else.
//!
//! Where one may be found, and why:
//! - all of them in the environment of the agent's own process and of the server's: that is what an environment is;
//! - the one in the agent's plain variables in the store and its backup: plain variables are stored as they are
//!   (`docs/secrets.md`), and no answer shows them;
//! - the one in the instructions in the file that its author wrote.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value as Json, json};

use crate::scene::{Running, Scene};
use crate::stage::wait_for;

const SERVER: &str = "canary-of-the-server-5d1f";
const PLAIN: &str = "canary-of-the-agent-77c2";
const STORED: &str = "canary of the \"store\" 91ab";
const OLD: &str = "canary-before-rotation-03fe";
const PROMPTED: &str = "canary-of-the-prompt-c0de";

/// Every form in which a value may be written down.
const ALL: [&str; 9] = [
    SERVER,
    PLAIN,
    STORED,
    "canary of the \\\"store\\\" 91ab",
    "Y2FuYXJ5IG9mIHRoZSAic3RvcmUiIDkxYW",
    "63616e617279206f6620746865202273746f7265222039316162",
    "canary%20of%20the%20%22store%22%2091ab",
    OLD,
    PROMPTED,
];

/// Prints everything that it knows, posts it, and waits to be looked at.
const AGENT: &str = r#"#!/bin/sh
prompt=$(cat)
env; env >&2
printf '%s' "$GITHUB" | base64 -w 0; echo
printf '%s' "$GITHUB" | od -An -v -tx1 | tr -d ' \n'; echo
printf '%s' "$GITHUB" | sed -e 's/ /%20/g' -e 's/"/%22/g'; echo
printf '%s\n' "$prompt"
printf '{"type":"system","subtype":"init","session_id":"s-1","model":"m"}\n'
printf '{"type":"assistant","message":{"content":[{"type":"text","text":"I know %s and %s and %s"}]},"session_id":"s-1"}\n' \
  "$GITHUB" "$PLAIN_TOKEN" "$PROMPTED"
"$PROGRAM" issue comment "$BUGLE_ISSUE_ID" "I know $GITHUB, $PLAIN_TOKEN, $PROMPTED and $BUGLE_API_KEY" >&2
touch "$HERE/ready"
while [ ! -e "$HERE/go" ]; do sleep 0.05; done
printf '{"type":"result","subtype":"success","is_error":false,"result":"done with %s","session_id":"s-1"}\n' "$GITHUB"
"#;

/// Says where a canary is in some bytes.
#[track_caller]
fn none_in(what: &str, bytes: &[u8], canaries: &[&str]) {
    for canary in canaries {
        let found = bytes.windows(canary.len()).position(|part| part == canary.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(120)..(at + 80).min(bytes.len())];
            panic!("`{canary}` is in {what}: {}", String::from_utf8_lossy(around));
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Looks through every file of the data folder: whoever copies one copies no value.
fn look_through_files(scene: &Scene) {
    let files = files_below(&scene.data());
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let is_store = file.file_name().unwrap().to_string_lossy().starts_with("bugle.sqlite");
        let looked_for: Vec<&str> = ALL.into_iter().filter(|it| !(is_store && *it == PLAIN)).collect();
        none_in(&file.display().to_string(), &std::fs::read(&file).unwrap_or_default(), &looked_for);
    }
}

/// Looks through the arguments of all processes, and through the environments of keepers.
fn look_through_processes(scene: &Scene) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        none_in(&format!("the arguments of {:?}", entry.path()), &arguments, &ALL);
    }
    let mut keepers = 0;
    for pid in scene.processes() {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).nth(1).is_some_and(|first| first == b"keep") {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
            none_in("the environment of the keeper", &environment, &ALL);
            keepers += 1;
        } else {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            none_in("the environment of the agent", &environment, &[SERVER]);
            only_what_is_declared(&environment);
        }
    }
    assert_eq!(keepers, 1);
}

/// A child has the ordinary names, what is said of its run, and what its agent declares: nothing of the server's own.
fn only_what_is_declared(environment: &[u8]) {
    const DECLARED: [&str; 5] = ["GITHUB", "PROMPTED", "PLAIN_TOKEN", "HERE", "PROGRAM"];
    // Set by the adapter of this program.
    const OF_PROGRAM: &str = "QWEN_CODE_SUPPRESS_YOLO_WARNING";
    for variable in environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()) {
        let text = String::from_utf8_lossy(variable);
        let name = text.split('=').next().unwrap_or_default();
        let is_known = DECLARED.contains(&name)
            || name == OF_PROGRAM
            || adapters_env(name)
            || ["BUGLE_", "PAPERCLIP_"].iter().any(|prefix| name.starts_with(prefix));
        assert!(is_known, "the agent was given {name}");
    }
}

/// What a process needs to find its way on a machine; shells add the last ones.
fn adapters_env(name: &str) -> bool {
    const ORDINARY: [&str; 26] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TERM",
        "TMPDIR",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NODE_EXTRA_CA_CERTS",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "AGENT_HOME",
    ];
    ORDINARY.contains(&name) || name.starts_with("LC_") || name.starts_with("XDG_")
}

fn tells_of_run(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("heartbeat.run.status")
}

/// Listens on the WebSocket of a company from its first event on. What a server sends is not masked.
fn look_through_socket(listen: &str, company: &str) {
    let mut stream = std::net::TcpStream::connect(listen).unwrap();
    stream.set_read_timeout(Some(testkit::patience())).unwrap();
    let request = format!(
        "GET /api/companies/{company}/events/ws?after=0 HTTP/1.1\r\nHost: {listen}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let (mut heard, mut part) = (Vec::new(), [0; 64 << 10]);
    while let Ok(length @ 1..) = stream.read(&mut part) {
        heard.extend_from_slice(&part[..length]);
        if tells_of_run(&heard) {
            // And what comes with that.
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        }
    }
    assert!(tells_of_run(&heard), "the socket tells of the run");
    none_in("the WebSocket", &heard, &ALL);
}

/// Asks every route that answers to GET, with the ids of what there is.
async fn look_through_routes(base: &str, ids: &[(&str, &str)]) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let described: Json =
        http.get(format!("{base}/api/openapi.json")).send().await.unwrap().json().await.unwrap();
    let (mut asked, mut answered) = (0, 0);
    for (path, methods) in described["paths"].as_object().unwrap() {
        if methods.get("get").is_none() {
            continue;
        }
        let mut concrete = path.clone();
        for (name, id) in ids {
            concrete = concrete.replace(&format!("{{{name}}}"), id);
        }
        if concrete.contains('{') {
            continue;
        }
        let answer = http.get(format!("{base}{concrete}")).send().await.unwrap();
        asked += 1;
        answered += usize::from(answer.status().is_success());
        // A stream does not end: what it has to tell of the past comes at once.
        let mut body = answer.bytes_stream();
        let mut text = Vec::new();
        while let Ok(Some(Ok(part))) = tokio::time::timeout(Duration::from_millis(700), body.next()).await {
            text.extend_from_slice(&part);
        }
        none_in(&format!("GET {concrete}"), &text, &ALL);
    }
    assert!(asked > 60 && answered > 50, "{answered} of {asked}");
    for (name, cursor) in [("Last-Event-ID", "0")] {
        let company = ids.iter().find(|(name, _)| *name == "company").unwrap().1;
        let events = http.get(format!("{base}/api/companies/{company}/events")).header(name, cursor);
        let mut body = events.send().await.unwrap().bytes_stream();
        let mut text = Vec::new();
        loop {
            // Until it tells of the run, and what comes with that.
            let most = if tells_of_run(&text) { Duration::from_secs(1) } else { testkit::patience() };
            match tokio::time::timeout(most, body.next()).await {
                Ok(Some(Ok(part))) => text.extend_from_slice(&part),
                _ => break,
            }
        }
        assert!(tells_of_run(&text), "the stream tells of the run");
        none_in("the stream of events", &text, &ALL);
    }
}

fn with_value(scene: &Scene, args: &[&str], value: &str) {
    let file = scene.place("value");
    std::fs::write(&file, format!("{value}\n")).unwrap();
    let mut command = scene.command(args);
    command.stdin(std::fs::File::open(&file).unwrap());
    let told = crate::scene::finish(command);
    assert_eq!(told.code, Some(0), "{told:?}");
    none_in("what the command says", format!("{told:?}").as_bytes(), &[value]);
}

#[test]
fn a_canary_is_found_nowhere_but_in_its_process() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let scene = Scene::bare();
    let mut command = scene.command(&["up", "--listen", "127.0.0.1:0"]);
    command.env("CANARY", SERVER).env("AWS_SECRET_ACCESS_KEY", SERVER).env("DATABASE_PASSWORD", SERVER);
    command
        .env("BUGLE_LOG", "debug,bugle=trace,engine=trace,api=trace,store=trace,keeper=trace,adapters=trace");
    let mut server = Running::spawn(command);
    server.out("listens on");
    let note: Json =
        serde_json::from_slice(&std::fs::read(scene.data().join("server.json")).unwrap()).unwrap();
    let base = format!("http://{}", note["listen"].as_str().unwrap());

    with_value(&scene, &["secret", "set", "github"], OLD);
    with_value(&scene, &["secret", "rotate", "github"], STORED);
    with_value(&scene, &["--json", "secret", "set", "prompted"], PROMPTED);
    let program = scene.place("agent.sh");
    std::fs::write(&program, AGENT).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let instructions = scene.place("instructions.md");
    std::fs::write(&instructions, format!("Use {PROMPTED} for everything.")).unwrap();
    let config = json!({
        "command": program.to_str().unwrap(), "instructionsFilePath": instructions.to_str().unwrap(),
        "promptTemplate": "Work.",
        "env": {
            "PLAIN_TOKEN": PLAIN, "HERE": scene.place("").to_str().unwrap().trim_end_matches('/'),
            "PROGRAM": env!("CARGO_BIN_EXE_bugle"),
        },
    });
    let config = config.to_string();
    let added = ["agent", "add", "cody", "--adapter", "qwen", "--no-check", "--config", &config];
    let agent = scene.json(&added)["id"].as_str().unwrap().to_owned();
    let bound = ["agent", "set-env", "cody", "GITHUB=secret:github", "PROMPTED=secret:prompted"];
    scene.ok(&bound);
    let project = scene.json(&["project", "create", "Site"]);
    let issue = scene.json(&[
        "issue",
        "create",
        "Work",
        "--assignee",
        "cody",
        "--project",
        "site",
        "--status",
        "todo",
    ]);
    wait_for("the agent", || scene.place("ready").exists().then_some(()));

    let company = scene.json(&["company", "list"])[0]["id"].as_str().unwrap().to_owned();
    let issue = issue["id"].as_str().unwrap().to_owned();
    let runs = scene.get(&format!("/companies/{company}/heartbeat-runs"));
    let run = runs[0]["id"].as_str().unwrap().to_owned();
    look_through_processes(&scene);
    look_through_files(&scene);
    let comments = scene.get(&format!("/issues/{issue}/comments")).to_string();
    assert!(
        comments.contains("I know ***REDACTED***, ***REDACTED***, ***REDACTED*** and ***REDACTED***"),
        "{comments}"
    );
    let project = project["id"].as_str().unwrap();
    let ids = [
        ("company", company.as_str()),
        ("agent", &agent),
        ("run", &run),
        ("issue", &issue),
        ("project", project),
        ("key", "plan"),
        ("kind", "qwen"),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(look_through_routes(&base, &ids));

    look_through_socket(note["listen"].as_str().unwrap(), &company);

    std::fs::write(scene.place("go"), "").unwrap();
    let ended = scene.ended(&run);
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    assert!(ended["resultJson"].to_string().contains("***REDACTED***"), "{ended:#}");
    runtime.block_on(look_through_routes(&base, &ids));
    look_through_socket(note["listen"].as_str().unwrap(), &company);
    look_through_files(&scene);
    let backup = scene.place("backup");
    scene.ok(&["backup", backup.to_str().unwrap()]);
    let in_store: Vec<&str> = ALL.into_iter().filter(|it| *it != PLAIN).collect();
    none_in("the backup", &std::fs::read(&backup).unwrap(), &in_store);
    for args in [
        vec!["secret", "list"],
        vec!["--json", "secret", "list"],
        vec!["status"],
        vec!["--json", "status"],
        vec!["company", "list"],
        vec!["agent", "list"],
        vec!["--json", "agent", "show", "cody"],
        vec!["run", "list"],
        vec!["--json", "run", "show", &run],
        vec!["--json", "run", "explain", &run],
        vec!["--json", "logs", &run],
        vec!["issue", "list"],
        vec!["issue", "runs", &issue],
        vec!["issue", "activity", &issue],
        vec!["--json", "issue", "show", &issue],
        vec!["project", "list"],
        vec!["account", "list"],
        vec!["agent", "show", "cody"],
        vec!["run", "show", &run],
        vec!["run", "explain", &run],
        vec!["logs", &run],
        vec!["logs", &run, "--transcript"],
        vec!["issue", "show", &issue],
        vec!["activity"],
        vec!["doctor"],
    ] {
        let told = scene.bugle(&args);
        assert!(told.out.len() > 10, "{args:?}: {told:?}");
        none_in(&format!("bugle {args:?}"), format!("{}{}", told.out, told.err).as_bytes(), &ALL);
    }
    let logged = scene.ok(&["logs", &run]).out;
    assert!(
        logged.contains("GITHUB=***REDACTED***") && logged.contains("PLAIN_TOKEN=***REDACTED***"),
        "{logged}"
    );
    server.signal(rustix::process::Signal::TERM);
    let told = server.wait();
    none_in("the log of the server", told.err.as_bytes(), &ALL);
    none_in("the output of the server", told.out.as_bytes(), &ALL);
}
