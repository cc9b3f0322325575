//! An instance that listens on a free port, and clients for it.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use api::{ApiOptions, ApiState};
use engine::{Engine, Settings, SystemClock, SystemDice};
use futures_util::StreamExt;
use serde_json::{Value, json};
use store::{Store, Target};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::puppets::Puppets;

pub(crate) const BOARD_TOKEN: &str = "bugle_board_0123456789";

/// Nothing in a test takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) puppets: Arc<Puppets>,
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) folder: tempfile::TempDir,
    server: JoinHandle<()>,
    closing: CancellationToken,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The answer, if it is a success.
    #[track_caller]
    pub(crate) fn good(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }

    /// Status and envelope of a failure: text and code.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("no {key} in {body}")).to_owned();
        (self.status, text("code"), text("error"))
    }
}

impl Stage {
    pub(crate) async fn new() -> Stage {
        Stage::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ApiOptions)) -> Stage {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Target::Memory, store::Settings::default(), 0).await.unwrap();
        let puppets = Arc::new(Puppets::default());
        let settings = Settings {
            data_dir: folder.path().to_owned(),
            node_id: "node".to_owned(),
            program: "/bin/true".into(),
            ..Settings::default()
        };
        let (clock, dice) = (Arc::new(SystemClock), Arc::new(SystemDice));
        let processes = Arc::clone(&puppets);
        let engine = Engine::start(Arc::new(store), processes, clock, dice, settings).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut options = ApiOptions::new(address, "1.2.3", engine.now());
        options.board_token = Some(BOARD_TOKEN.to_owned());
        change(&mut options);
        let router = api::router(ApiState::new(engine.clone(), options));
        let closing = CancellationToken::new();
        let closed = closing.clone();
        let server = tokio::spawn(async move {
            let serving = axum::serve(listener, router).into_future();
            tokio::select! {
                served = serving => served.unwrap(),
                () = closed.cancelled() => {}
            }
        });
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Stage { engine, puppets, address, http, folder, server, closing }
    }

    /// Takes everything down.
    pub(crate) async fn end(self) {
        self.closing.cancel();
        self.server.await.unwrap();
        self.engine.leave().await;
        self.engine.store().close().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.http.post(self.url(path)).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(self.http.patch(self.url(path)).json(&body)).await
    }

    /// As somebody with a key, in a run if one is named.
    pub(crate) fn by(
        &self,
        request: reqwest::RequestBuilder,
        key: &str,
        run: Option<&str>,
    ) -> reqwest::RequestBuilder {
        let request = request.bearer_auth(key);
        match run {
            None => request,
            Some(run) => request.header("X-Paperclip-Run-Id", run),
        }
    }

    /// Makes a key for an agent; its token.
    pub(crate) async fn key_of(&self, company: &str, agent: &str) -> String {
        let author = engine::Author::local_board();
        let made = self.engine.create_agent_key(&agent.into(), "test", &author).await.unwrap();
        assert!(made.token.starts_with("pcp_"), "{company}");
        made.token
    }

    /// A company, by its id.
    pub(crate) async fn company(&self, name: &str) -> String {
        id_of(&self.post("/api/companies", json!({ "name": name })).await.good())
    }

    /// An agent with that many slots, by its id.
    pub(crate) async fn agent(&self, company: &str, name: &str, slots: u32) -> String {
        let body = json!({
            "name": name, "adapterType": "process", "adapterConfig": {"command": "true"},
            "runtimeConfig": {"heartbeat": {"maxConcurrentRuns": slots}},
        });
        id_of(&self.post(&format!("/api/companies/{company}/agents"), body).await.good())
    }

    /// Wakes with a task key; the run.
    pub(crate) async fn wake(&self, agent: &str, task: &str) -> String {
        id_of(&self.post(&format!("/api/agents/{agent}/wakeup"), json!({ "taskKey": task })).await.good())
    }

    /// A company, an agent and a run of it whose process was started.
    pub(crate) async fn with_run(&self) -> (String, String, String) {
        let company = self.company("Acme Corp").await;
        let agent = self.agent(&company, "Engineer", 5).await;
        let run = self.wake(&agent, "task").await;
        self.started(&run).await;
        (company, agent, run)
    }

    /// Waits until the process of a run was started.
    pub(crate) async fn started(&self, run: &str) {
        let waiting = async {
            loop {
                let rung = self.puppets.started.notified();
                tokio::pin!(rung);
                rung.as_mut().enable();
                if self.puppets.is_started(run) {
                    return;
                }
                rung.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the run starts");
    }

    /// Waits until a run works on an issue; the run.
    pub(crate) async fn run_of_issue(&self, issue: &str) -> String {
        let path = format!("/api/issues/{issue}/live-runs");
        let found = async {
            loop {
                let live = self.get(&path).await.good();
                match live.as_array().unwrap().iter().find(|run| run["status"] == "running") {
                    Some(run) => return id_of(run),
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let run = tokio::time::timeout(PATIENCE, found).await.expect("a run works on the issue");
        self.started(&run).await;
        run
    }

    /// Waits until a run is over; its status. Follows the events of its company, as a client would.
    pub(crate) async fn over(&self, company: &str, run: &str) -> String {
        let mut events =
            Events::open(self, &format!("/api/companies/{company}/events"), Some("0".to_owned())).await;
        loop {
            let event = events.next().await.expect("the stream goes on");
            let payload = &event.json()["payload"];
            let is_final = payload["finishedAt"].is_string();
            if event.name == "heartbeat.run.status" && payload["runId"] == run && is_final {
                return payload["status"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Appends events to the log of a company, in one transaction.
    pub(crate) async fn append_events(&self, company: &str, payloads: Vec<String>) {
        let company = company.to_owned();
        let now = self.engine.now().micros();
        self.engine
            .store()
            .write(move |tx| {
                let (company, payloads) = (company.clone(), payloads.clone());
                Box::pin(async move {
                    for payload in payloads {
                        store::events::append(tx, &company, "test.event", &payload, now).await?;
                    }
                    Ok(())
                })
            })
            .await
            .unwrap();
    }
}

#[track_caller]
pub(crate) fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned()
}

/// A client of server-sent events.
pub(crate) struct Events {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
    /// Of the buffer, what was given already.
    read: usize,
    rest: Vec<u8>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SentEvent {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl SentEvent {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

impl Events {
    pub(crate) async fn open(stage: &Stage, path: &str, last: Option<String>) -> Events {
        Events::asked(stage.http.get(stage.url(path)), last).await
    }

    /// The same with a key.
    pub(crate) async fn open_as(stage: &Stage, path: &str, last: Option<String>, key: &str) -> Events {
        Events::asked(stage.http.get(stage.url(path)).bearer_auth(key), last).await
    }

    async fn asked(mut request: reqwest::RequestBuilder, last: Option<String>) -> Events {
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert!(!answer.headers().contains_key("content-encoding"));
        Events { body: answer.bytes_stream().boxed(), buffer: String::new(), read: 0, rest: Vec::new() }
    }

    /// The next event; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<SentEvent> {
        loop {
            if let Some(length) = self.buffer[self.read..].find("\n\n") {
                let event = parse(&self.buffer[self.read..self.read + length]);
                self.read += length + 2;
                if let Some(event) = event {
                    return Some(event);
                }
                continue;
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            let bytes =
                tokio::time::timeout(PATIENCE, self.body.next()).await.expect("the stream goes on")?;
            self.rest.extend_from_slice(&bytes.unwrap());
            // Chunks end anywhere, also within a code point.
            let whole = match std::str::from_utf8(&self.rest) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            let rest = self.rest.split_off(whole);
            self.buffer.push_str(std::str::from_utf8(&self.rest).unwrap());
            self.rest = rest;
        }
    }
}

fn parse(block: &str) -> Option<SentEvent> {
    let mut event = SentEvent::default();
    for line in block.lines().filter(|line| !line.starts_with(':')) {
        match line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")) {
            ("id", id) => event.id = Some(id.to_owned()),
            ("event", name) => event.name = name.to_owned(),
            ("data", data) => event.data.push_str(data),
            other => panic!("unexpected line {other:?}"),
        }
    }
    (event != SentEvent::default()).then_some(event)
}
