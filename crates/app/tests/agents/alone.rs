//! The programs without a server of ours: the few facts that every adapter is built on. When one of these fails, a
//! program has changed or the model server has, and the table of cases has nothing to stand on.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use crate::fake_model::FakeModel;
use crate::programs::{Home, Program};
use crate::scene::{Running, finish};
use crate::stage::wait_for;

/// No program ever made a session of this id.
const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";

/// Program; exit codes of a reply, of a refusal (400) and of a session that is not there; words about the latter.
const EXITS: &[(Program, i32, i32, i32, &str)] = &[
    (Program::ClaudeOld, 0, 1, 1, "No conversation found with session ID"),
    (Program::ClaudeNew, 0, 1, 1, "No conversation found with session ID"),
    (Program::Codex, 0, 1, 1, "no rollout found for thread id"),
    // The status of HTTP without its highest bits.
    (Program::Gemini, 0, 144, 42, "Invalid session identifier"),
    // What went wrong stands in its lines.
    (Program::Pi, 0, 0, 1, "No session found matching"),
    (Program::OpenCode, 0, 1, 1, "Session not found"),
    (Program::Qwen, 0, 1, 1, "No saved session found"),
];

/// The arguments for a prompt, in a new session or an old one.
fn arguments(program: Program, session: Option<&str>, prompt: &str) -> Vec<String> {
    let (before, resume, last): (&[&str], &[&str], &[&str]) = match program {
        Program::ClaudeOld | Program::ClaudeNew => (
            &["-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"],
            &["--resume"],
            &[],
        ),
        Program::Codex => (
            &["exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"],
            &["resume"],
            &[],
        ),
        Program::Gemini => {
            (&["--output-format", "stream-json", "--yolo", "-m", "gemini-2.5-pro"], &["--resume"], &["-p"])
        }
        Program::Pi => {
            (&["-p", "--mode", "json", "--provider", "fake", "--model", "fake-model"], &["--session"], &[])
        }
        Program::OpenCode => (&["run", "--format", "json"], &["--session"], &[]),
        Program::Qwen => {
            (&["--output-format", "stream-json", "--yolo", "--auth-type", "openai"], &["--resume"], &["-p"])
        }
        Program::ClaudeAcp | Program::CodexAcp => panic!("{program:?} takes no prompt as an argument"),
    };
    let resume = session.map_or(&[][..], |_| resume);
    let words =
        before.iter().chain(resume).copied().chain(session).chain(last.iter().copied()).chain([prompt]);
    words.map(str::to_owned).collect()
}

fn command(home: &Home) -> Command {
    let mut command = Command::new(&home.installed.command);
    command.env_clear().envs(home.env()).current_dir(home.work()).stdin(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_those_that_the_adapters_know() {
    let model = FakeModel::start();
    let folder = tempfile::Builder::new().prefix("bugle-alone-").tempdir().unwrap();
    let mut wrong = Vec::new();
    for (program, reply, refusal, unknown, words) in EXITS {
        let Some(installed) = program.find() else { continue };
        let home = Home::make(&installed, folder.path().join(format!("{program:?}")), model.base());
        for (case, session, prompt, code, words) in [
            ("a reply", None, "[fake:text say=\"All is said.\"]", reply, Some("said.")),
            ("a refusal", None, "[fake:400]", refusal, None),
            ("an unknown session", Some(UNKNOWN), "[fake:text]", unknown, Some(*words)),
        ] {
            model.reset().await;
            let mut command = command(&home);
            command.args(arguments(*program, session, prompt));
            let told = tokio::task::spawn_blocking(move || finish(command)).await.unwrap();
            let has_words = words.is_none_or(|words| told.out.contains(words) || told.err.contains(words));
            let answers = model.billed().await.answers;
            if told.code != Some(*code) || !has_words || (answers > 0) != (case == "a reply") {
                wrong.push(format!("{program:?}, {case}: {answers} answers, {told:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An agent that speaks the Agent Client Protocol over its stdin and stdout.
struct Spoken {
    running: Running,
    /// Its stdin: closed, it ends.
    input: UnixStream,
    number: u64,
}

impl Spoken {
    fn start(home: &Home) -> Spoken {
        let (input, theirs) = UnixStream::pair().unwrap();
        let mut command = command(home);
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        Spoken { running: Running::spawn(command), input, number: 0 }
    }

    fn send(&mut self, message: &Json) {
        writeln!(self.input, "{message}").unwrap();
    }

    /// Asks without waiting.
    fn ask(&mut self, method: &str, params: &Json) {
        self.number += 1;
        let id = self.number;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    }

    /// Waits for the answer to what was asked last.
    fn answer(&mut self) -> Json {
        // Requests of the agent have numbers too, and a method.
        loop {
            let line = self.running.out(&format!("\"id\":{}", self.number));
            let message: Json = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if message["id"] == self.number && message.get("method").is_none() {
                return message;
            }
        }
    }
}

fn converse(home: &Home) {
    let mut agent = Spoken::start(home);
    agent.ask("initialize", &json!({ "protocolVersion": 1, "clientCapabilities": {} }));
    let answer = agent.answer();
    assert_eq!(answer["result"]["protocolVersion"], 1, "{answer:#}");
    assert_eq!(answer["result"]["agentCapabilities"]["loadSession"], true, "{answer:#}");
    agent.ask("session/new", &json!({ "cwd": home.work(), "mcpServers": [] }));
    let answer = agent.answer();
    let session = answer["result"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned();
    let prompt = |text: &str| json!({ "sessionId": session, "prompt": [{ "type": "text", "text": text }] });
    agent.ask("session/prompt", &prompt("[fake:text]"));
    let answer = agent.answer();
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer:#}");
    agent.ask("session/prompt", &prompt("[fake:hang after=text]"));
    // The model's first word; warnings of the agent itself are messages too, and come before it is asked.
    agent.running.out("Hello");
    let cancel = json!({ "jsonrpc": "2.0", "method": "session/cancel", "params": { "sessionId": session } });
    agent.send(&cancel);
    let answer = agent.answer();
    assert_eq!(answer["result"]["stopReason"], "cancelled", "{answer:#}");
    drop(agent.input);
    let told = agent.running.wait();
    assert_eq!(told.code, Some(0), "the end of its input is the end: {told:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_agents_of_the_protocol_converse_and_end_with_their_input() {
    let folder = tempfile::Builder::new().prefix("bugle-alone-").tempdir().unwrap();
    for program in [Program::ClaudeAcp, Program::CodexAcp] {
        let Some(installed) = program.find() else { continue };
        let model = FakeModel::start();
        let home = Home::make(&installed, folder.path().join(format!("{program:?}")), model.base());
        let home = tokio::task::spawn_blocking(move || {
            converse(&home);
            home
        });
        let home = home.await.unwrap();
        // Claude's is gone before the program that it drives, which has its input closed then.
        wait_for("the programs behind it to end", || home.processes().is_empty().then_some(()));
        let requests = model.requests().await;
        let is_there = |answer: &str| requests.iter().any(|request| request["answer"] == answer);
        assert!(is_there("text") && is_there("hang"), "{program:?}: {requests:#?}");
    }
}
