//! A scene driven over HTTP by many hands at once: servers that are killed and started again while clients go on asking.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::scene::Scene;

/// What never takes this long is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    scene: Scene,
    wire: Wire,
    /// What `up` is given besides.
    extra: Vec<String>,
}

/// The way to the server, wherever it listens now. Clones stay with it over its restarts.
#[derive(Clone)]
pub(crate) struct Wire {
    base: Arc<Mutex<String>>,
    http: reqwest::Client,
}

impl std::ops::Deref for Stage {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl Stage {
    /// A stage on the embedded store, or on PostgreSQL.
    pub(crate) fn set(database: Option<String>) -> Stage {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        let extra = database.into_iter().flat_map(|url| ["--database-url".to_owned(), url]).collect();
        Stage { scene: Scene::bare(), wire: Wire { base: Arc::default(), http }, extra }
    }

    pub(crate) fn with(mut self, extra: &[&str]) -> Stage {
        self.extra.extend(extra.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn start(&mut self) {
        let extra: Vec<&str> = self.extra.iter().map(String::as_str).collect();
        self.scene.up(&extra);
        let note = std::fs::read(self.scene.data().join("server.json")).expect("the note of the server");
        let note: Json = serde_json::from_slice(&note).expect("JSON");
        *self.base.lock().expect("no panic") =
            format!("http://{}/api", note["listen"].as_str().expect("an address"));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.scene.kill();
    }

    /// The way to the server.
    pub(crate) fn wire(&self) -> Wire {
        self.wire.clone()
    }

    /// Living processes of runs of this stage, keepers not among them.
    pub(crate) fn agents(&self) -> Vec<i32> {
        let keepers = self.keepers();
        self.scene.processes().into_iter().filter(|pid| !keepers.contains(pid)).collect()
    }

    /// Living keepers of this stage.
    pub(crate) fn keepers(&self) -> Vec<i32> {
        let is_keeper = |pid: &i32| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).nth(1).is_some_and(|first| first == b"keep")
        };
        self.scene.processes().into_iter().filter(is_keeper).collect()
    }

    /// Runs a command that must succeed, with `--json`.
    #[allow(dead_code, reason = "the tests with real agents use it")]
    pub(crate) fn told(&self, args: &[&str]) -> Json {
        self.scene.json(args)
    }

    /// The data folder of the server.
    pub(crate) fn data(&self) -> PathBuf {
        self.scene.data()
    }

    /// A place for other files.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.scene.place(name)
    }
}

impl Wire {
    /// Asks; an answer that did not come (the server was killed) is `None`.
    pub(crate) async fn try_ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Json>,
    ) -> Option<(u16, Json)> {
        self.try_ask_with(None, method, path, body).await
    }

    /// The same with a token, for what only a person may do.
    pub(crate) async fn try_ask_with(
        &self,
        token: Option<&str>,
        method: reqwest::Method,
        path: &str,
        body: Option<&Json>,
    ) -> Option<(u16, Json)> {
        let base = self.base.lock().expect("no panic").clone();
        let mut request = self.http.request(method, format!("{base}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// Opens a stream of events, to be resumed after the last of them; `None` when the server is not there.
    pub(crate) async fn stream(&self, path: &str, last: Option<u64>) -> Option<reqwest::Response> {
        let base = self.base.lock().expect("no panic").clone();
        let mut request = self.http.get(format!("{base}{path}"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        request.send().await.ok()
    }

    pub(crate) async fn get(&self, path: &str) -> Json {
        let (status, answer) = self.try_ask(reqwest::Method::GET, path, None).await.expect("an answer");
        assert!(status < 300, "GET {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn post(&self, path: &str, body: &Json) -> Json {
        let (status, answer) =
            self.try_ask(reqwest::Method::POST, path, Some(body)).await.expect("an answer");
        assert!(status < 300, "POST {path} {body}: {status} {answer}");
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
            assert!(Instant::now() < deadline, "waited in vain for {what}: {found:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The whole output of a run on one stream.
    pub(crate) async fn output(&self, run: &str, stream: &str) -> String {
        let (mut offset, mut text) = (0, String::new());
        loop {
            let page =
                self.get(&format!("/heartbeat-runs/{run}/log?offset={offset}&limitBytes=200000")).await;
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
        events
            .as_array()
            .expect("a list")
            .iter()
            .map(|event| event["seq"].as_i64().expect("a number"))
            .collect()
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

/// The embedded store, and PostgreSQL.
pub(crate) fn databases() -> Vec<Option<String>> {
    let mut databases = vec![None];
    if let Some(database) = testkit::postgres::database() {
        // The cluster goes with the test process; the database may stay until then.
        databases.push(Some(database.url.clone()));
        std::mem::forget(database);
    }
    databases
}
