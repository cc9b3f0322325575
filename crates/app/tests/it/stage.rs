//! A real server in a folder of its own, driven over HTTP, killed and started again as a test likes.
//!
//! Everything that it started is gone when it is dropped: the server, its keepers, and every process that carries the
//! mark of one of its runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

/// What never takes this long is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    database: Option<String>,
    server: Option<Child>,
    base: String,
    http: reqwest::Client,
    /// What `up` is given besides.
    extra: Vec<String>,
}

impl Stage {
    /// A stage on the embedded store, or on PostgreSQL.
    pub(crate) fn set(database: Option<String>) -> Stage {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        Stage { folder, database, server: None, base: String::new(), http, extra: Vec::new() }
    }

    pub(crate) fn with(mut self, extra: &[&str]) -> Stage {
        self.extra = extra.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the server and waits until it listens; returns how long that took.
    pub(crate) fn start(&mut self) -> Duration {
        let began = Instant::now();
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("server.log"));
        let log = log.expect("the server's log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugle"));
        command.args(["up", "--listen", "127.0.0.1:0", "--data-dir"]).arg(self.data()).args(&self.extra);
        if let Some(database) = &self.database {
            command.args(["--database-url", database]);
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BUGLE_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        let server = command.spawn().expect("the program starts");
        let pid = i64::from(server.id());
        self.server = Some(server);
        let note = self.data().join("server.json");
        let listen = wait_for("the server to listen", || {
            if let Some(status) = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten()) {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let note: Json = serde_json::from_slice(&std::fs::read(&note).ok()?).ok()?;
            (note["pid"].as_i64() == Some(pid)).then(|| note["listen"].as_str().map(str::to_owned)).flatten()
        });
        self.base = format!("http://{listen}/api");
        began.elapsed()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("the server can be killed");
            server.wait().expect("and is gone");
        }
    }

    /// SIGTERM; returns how long it took to leave.
    pub(crate) fn terminate(&mut self) -> Duration {
        let began = Instant::now();
        if let Some(mut server) = self.server.take() {
            signal(server.id().cast_signed(), rustix::process::Signal::TERM);
            server.wait().expect("the server leaves");
        }
        began.elapsed()
    }

    /// Asks; an answer that did not come (the server was killed) is `None`.
    pub(crate) async fn try_ask(&self, method: reqwest::Method, path: &str, body: Option<&Json>) -> Option<(u16, Json)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    pub(crate) async fn get(&self, path: &str) -> Json {
        let (status, answer) = self.try_ask(reqwest::Method::GET, path, None).await.expect("an answer");
        assert!(status < 300, "GET {path}: {status} {answer}\n{}", self.log());
        answer
    }

    pub(crate) async fn post(&self, path: &str, body: &Json) -> Json {
        let (status, answer) = self.try_ask(reqwest::Method::POST, path, Some(body)).await.expect("an answer");
        assert!(status < 300, "POST {path} {body}: {status} {answer}\n{}", self.log());
        answer
    }

    pub(crate) async fn company(&self) -> String {
        self.get("/companies").await[0]["id"].as_str().expect("the first start makes a company").to_owned()
    }

    /// Adds an agent; returns its id.
    pub(crate) async fn agent(&self, body: &Json) -> String {
        let company = self.company().await;
        let agent = self.post(&format!("/companies/{company}/agents"), body).await;
        agent["id"].as_str().expect("an id").to_owned()
    }

    /// Adds a scripted agent that follows `script`.
    pub(crate) async fn scripted(&self, name: &str, script: &str, more: Json) -> String {
        let mut config = json!({ "script": script });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        self.agent(&json!({"name": name, "adapterType": "scripted", "adapterConfig": config})).await
    }

    pub(crate) async fn wake(&self, agent: &str, body: &Json) -> String {
        let run = self.post(&format!("/agents/{agent}/wakeup"), body).await;
        run["id"].as_str().unwrap_or_else(|| panic!("a run, not {run}")).to_owned()
    }

    pub(crate) async fn run(&self, run: &str) -> Json {
        self.get(&format!("/heartbeat-runs/{run}")).await
    }

    /// Waits until a run is over; returns it.
    pub(crate) async fn over(&self, run: &str) -> Json {
        self.until(&format!("the end of {run}"), run, |run| is_final(&run["status"])).await
    }

    /// Waits until a run is as wished; returns it.
    pub(crate) async fn until(&self, what: &str, run: &str, wish: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.run(run).await;
            if wish(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}: {found:#}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The whole output of a run on one stream.
    pub(crate) async fn output(&self, run: &str, stream: &str) -> String {
        let (mut offset, mut text) = (0, String::new());
        loop {
            let page = self.get(&format!("/heartbeat-runs/{run}/log?offset={offset}&limitBytes=200000")).await;
            for line in page["content"].as_str().expect("content").lines() {
                let piece: Json = serde_json::from_str(line).expect("whole lines of JSON");
                if piece["stream"] == stream {
                    text.push_str(piece["chunk"].as_str().expect("a chunk"));
                }
            }
            let next = page["nextOffset"].as_i64().expect("an offset to go on at");
            if next == offset {
                return text;
            }
            offset = next;
        }
    }

    /// The numbers of the events of a run.
    pub(crate) async fn event_numbers(&self, run: &str) -> Vec<i64> {
        let events = self.get(&format!("/heartbeat-runs/{run}/events?limit=1000")).await;
        events.as_array().expect("a list").iter().map(|event| event["seq"].as_i64().expect("a number")).collect()
    }

    /// Living processes that carry the mark of a run of this stage, keepers not among them.
    pub(crate) fn marked(&self, runs: &[String]) -> Vec<i32> {
        processes(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| {
                let mark = entry.strip_prefix(b"BUGLE_RUN=").map(String::from_utf8_lossy);
                mark.is_some_and(|mark| runs.iter().any(|run| mark.starts_with(run.as_str())))
            })
        })
    }

    /// Living keepers of this stage.
    pub(crate) fn keepers(&self) -> Vec<i32> {
        let folder = self.data().join("runs").display().to_string();
        processes(|pid| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments: Vec<_> = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            arguments.get(1).is_some_and(|first| first == "keep") && arguments.iter().any(|arg| arg.starts_with(&folder))
        })
    }

    fn own_runs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.data().join("runs")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        for pid in self.keepers().into_iter().chain(self.marked(&self.own_runs())) {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
}

pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // A process that is gone already needs no signal.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

pub(crate) fn is_final(status: &Json) -> bool {
    matches!(status.as_str(), Some("succeeded" | "failed" | "cancelled" | "timed_out"))
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Pids of living processes (not of zombies) that are as wished.
fn processes(wish: impl Fn(i32) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| !is_zombie(*pid) && wish(*pid)).collect()
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

/// Runs a test on the embedded store and on PostgreSQL.
pub(crate) fn databases() -> Vec<Option<String>> {
    let mut databases = vec![None];
    if let Some(database) = testkit::postgres::database() {
        // The cluster goes with the test process; the database may stay until then.
        databases.push(Some(database.url.clone()));
        std::mem::forget(database);
    }
    databases
}

/// A file beside the data folder.
pub(crate) fn beside(stage: &Stage, name: &str) -> PathBuf {
    Path::new(stage.folder.path()).join(name)
}
