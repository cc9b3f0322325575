//! The model server of the tests, `fake_model.py`: what it answers stands in the prompt, what it was asked it remembers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};

/// A server of its own. It ends with this value, and with the test process in whatever way that ends.
pub(crate) struct FakeModel {
    base: String,
    http: reqwest::Client,
    /// The watching shell waits for its end.
    stdin: Option<ChildStdin>,
    watch: Child,
}

/// Tokens that the model reported, over all requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Billed {
    /// Answers to the agent itself, those of side requests (titles, summaries) not among them.
    pub(crate) answers: u64,
    /// Neither read from a cache nor written to one.
    pub(crate) input: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) output: u64,
    /// Input and output of the side requests, which are in no other field.
    pub(crate) side: [u64; 2],
}

impl FakeModel {
    /// Starts one on a free port.
    pub(crate) fn start() -> FakeModel {
        // The first line is the server's; the shell says nothing.
        const WATCH: &str =
            r#"python3 "$1" --port 0 </dev/null & model=$!; read -r _; kill $model; wait $model"#;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents/fake_model.py");
        let mut watch = Command::new("/bin/sh")
            .args(["-c", WATCH, "watch"])
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = watch.stdin.take();
        let mut line = String::new();
        BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Json = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the model server (python3 is needed) said `{line}`: {error}"));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        FakeModel { base: format!("http://127.0.0.1:{}", said["port"]), http, stdin, watch }
    }

    /// Its address, without a path.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Forgets what was asked.
    pub(crate) async fn reset(&self) {
        let answer = self.http.post(format!("{}/_fake/reset", self.base)).json(&json!({})).send().await;
        assert!(answer.unwrap().status().is_success());
    }

    /// What was asked since, oldest first.
    pub(crate) async fn requests(&self) -> Vec<Json> {
        let answer = self.http.get(format!("{}/_fake/requests", self.base)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// The same, with everything that was asked.
    pub(crate) async fn whole_requests(&self) -> Vec<Json> {
        let answer = self.http.get(format!("{}/_fake/requests?bodies=1", self.base)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// How often the agent itself asked since, answered or not.
    pub(crate) async fn asked(&self) -> u64 {
        self.requests().await.iter().filter(|request| request["side"] != true).count() as u64
    }

    /// What it reported since, as the programs must have heard it.
    pub(crate) async fn billed(&self) -> Billed {
        let mut billed = Billed::default();
        for request in self.requests().await {
            let Some(usage) = request["usage"].as_object() else { continue };
            let tokens = |name: &str| usage[name].as_u64().unwrap();
            if request["side"] == true {
                billed.side[0] += tokens("in");
                billed.side[1] += tokens("out");
                continue;
            }
            billed.answers += 1;
            billed.input += tokens("in");
            billed.cache_read += tokens("cache_read");
            billed.cache_write += tokens("cache_write");
            billed.output += tokens("out");
        }
        billed
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.watch.wait();
    }
}

#[tokio::test]
async fn the_model_adds_up_what_it_reported_and_forgets_it_when_told() {
    let model = FakeModel::start();
    let ask = async |body: Json| {
        let answer = model.http.post(format!("{}/v1/messages", model.base)).json(&body).send().await;
        answer.unwrap().status().as_u16()
    };
    let tools = json!([{ "name": "Bash", "input_schema": {} }]);
    let prompt = |text: &str| json!([{ "role": "user", "content": text }]);
    assert_eq!(ask(json!({ "messages": prompt("hello"), "tools": tools })).await, 200);
    assert_eq!(ask(json!({ "messages": prompt("a title") })).await, 200);
    assert_eq!(ask(json!({ "messages": prompt("[fake:500]"), "tools": tools })).await, 500);
    let billed =
        Billed { answers: 1, input: 1000, cache_read: 200, cache_write: 30, output: 7, side: [100, 3] };
    assert_eq!((model.billed().await, model.requests().await.len()), (billed, 3));
    model.reset().await;
    assert_eq!(model.billed().await, Billed::default());
}

/// Its own test is written in its own language.
#[test]
fn the_model_passes_its_self_test() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents/test_fake_model.py");
    let told = Command::new("python3").arg(script).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}
