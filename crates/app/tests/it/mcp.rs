//! `bugle mcp`: a tool server over stdin and stdout, with what a real run is given, for as long as the run lasts.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::scene::{Running, Scene};
use crate::stage::wait_for;

/// A client that started `bugle mcp` with this environment.
struct Client {
    running: Running,
    /// Its stdin: closed, it ends.
    input: UnixStream,
    number: u64,
}

impl Client {
    fn start(scene: &Scene, env: &[(String, String)]) -> Client {
        let (input, theirs) = UnixStream::pair().unwrap();
        let mut command = scene.command(&["mcp"]);
        // As in a run: nothing says where the server is but the run's own variables.
        command.env_remove("BUGLE_DATA_DIR").envs(env.iter().cloned()).stdin(OwnedFd::from(theirs));
        Client { running: Running::spawn(command), input, number: 0 }
    }

    fn send(&mut self, message: &str) {
        writeln!(self.input, "{message}").unwrap();
    }

    /// The whole answer to a request.
    fn ask(&mut self, method: &str, params: Json) -> Json {
        self.number += 1;
        let id = self.number;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        serde_json::from_str(&self.running.out(&format!("\"id\":{id},"))).unwrap()
    }

    /// What a tool told.
    fn call(&mut self, tool: &str, arguments: Json) -> Json {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        assert_eq!(answer["result"]["isError"], false, "{tool}: {answer}");
        answer["result"]["structuredContent"].clone()
    }
}

/// The variables of Bugle that a run was given, once its process has written them down.
fn given(file: &Path) -> Vec<(String, String)> {
    let text = wait_for("the environment of the run", || {
        std::fs::read_to_string(file).ok().filter(|text| text.ends_with("END\n"))
    });
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let ours = pairs.filter(|(name, _)| name.starts_with("BUGLE_"));
    ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn an_agent_works_with_tools_while_its_run_lasts_and_no_longer() {
    let scene = Scene::served();
    let file = scene.place("environment");
    let script = format!("(env; echo END) > {}; exec sleep 1000", file.display());
    scene.ok(&["agent", "add", "ada", "--", "sh", "-c", &script]);
    scene.ok(&["issue", "create", "Write notes", "--assignee", "ada"]);
    let env = given(&file);
    let mut client = Client::start(&scene, &env);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let welcome = client.ask("initialize", hello);
    assert_eq!(welcome["result"]["serverInfo"]["name"], "bugle", "{welcome}");
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    client.send("");
    let tools = client.ask("tools/list", json!({}));
    assert!(tools["result"]["tools"].as_array().unwrap().len() > 30);
    // The whole task: read, say, split, ask, hand in.
    let task = client.call("read_task", json!({}));
    assert_eq!(task["issue"]["title"], "Write notes");
    let said = client.call("comment", json!({"body": "On it,\nsoon"}));
    let run = env.iter().find(|(name, _)| name == "BUGLE_RUN_ID").map(|(_, value)| value.as_str());
    assert_eq!(said["createdByRunId"].as_str(), run);
    let parts = client.call("create_subtasks", json!({"tasks": [{"title": "Research"}]}));
    assert_eq!(parts["created"][0]["parentId"], task["issue"]["id"]);
    let questions = json!([{"prompt": "Long or short?", "options": [{"label": "long"}, {"label": "short"}]}]);
    let asked = client.call("ask_questions", json!({"questions": questions}));
    assert_eq!(asked["status"], "pending");
    // A person answers, somewhere else.
    let issue = task["issue"]["identifier"].as_str().unwrap();
    answer(&scene, issue, asked["id"].as_str().unwrap());
    let answered = client.call("list_questions", json!({}));
    assert_eq!(answered["items"][0]["result"]["answers"][0]["optionIds"], json!(["o2"]));
    let product = client.call("report_work_product", json!({"type": "document", "title": "Notes"}));
    assert_eq!(product["createdByRunId"].as_str(), run);
    // What is no message is answered as such, and does not end it.
    client.send("hello?");
    client.running.out("-32700");
    let done = client.call("finish", json!({"outcome": "done", "comment": "Short notes are written"}));
    assert_eq!(
        (&done["status"], &done["comment"]["body"]),
        (&json!("done"), &json!("Short notes are written"))
    );
    // The run is stopped: its token is worth nothing from then on, and the agent reads why.
    scene.ok(&["run", "cancel", run.unwrap()]);
    wait_for("the end of the run", || (scene.run(run.unwrap())["status"] == "cancelled").then_some(()));
    let late = client.ask("tools/call", json!({"name": "whoami"}));
    assert!(late["error"]["message"].as_str().unwrap().contains("not valid any more"), "{late}");
    // Its client is gone, and so is it.
    client.input.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(client.running.wait().code, Some(0));
}

#[test]
fn a_client_without_a_server_reads_what_is_wrong() {
    let scene = Scene::bare();
    let nowhere = vec![("BUGLE_API_URL".to_owned(), "http://127.0.0.1:9".to_owned())];
    let mut client = Client::start(&scene, &nowhere);
    let answer = client.ask("initialize", json!({}));
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(words.contains("no server answers at http://127.0.0.1:9"), "{words}");
}

/// Answers `short`, as the page would.
fn answer(scene: &Scene, issue: &str, question: &str) {
    let note: Json =
        serde_json::from_slice(&std::fs::read(scene.data().join("server.json")).unwrap()).unwrap();
    let listen = note["listen"].as_str().unwrap();
    let body = json!({"answers": [{"questionId": "q1", "optionIds": ["o2"]}]}).to_string();
    let mut stream = std::net::TcpStream::connect(listen).unwrap();
    let length = body.len();
    let path = format!("/api/issues/{issue}/interactions/{question}/respond");
    write!(stream, "POST {path} HTTP/1.0\r\nHost: {listen}\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut stream, &mut told).unwrap();
    assert!(told.starts_with("HTTP/1.0 200"), "{told}");
}
