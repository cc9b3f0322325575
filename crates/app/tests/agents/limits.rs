//! Limits and logins with real programs: what they say parks the account that their agents share, and the work goes on.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::fake_model::FakeModel;
use crate::programs::{Home, Installed, Program, as_object};
use crate::stage::Stage;

fn agent(home: &Home, name: &str, kind: &str, prompt: &str) -> Json {
    json!({
        "name": name, "adapterType": kind,
        "adapterConfig": {
            "command": home.installed.command, "cwd": home.work(), "env": as_object(&home.env()),
            "promptTemplate": prompt, "graceSec": 5, "timeoutSec": 120, "account": "the-team",
            "dangerouslyBypassApprovalsAndSandbox": true,
        },
    })
}

/// A reset lies a minute away, as programs tell it; starting them takes its time too.
const PATIENCE: Duration = Duration::from_secs(240);

/// Waits until a run has succeeded, however often that takes a look.
async fn succeeded(stage: &Stage, run: &str) -> Json {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = stage.run(run).await;
        if found["status"] == "succeeded" {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not go on: {found:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Wakes an agent for a task of its own.
async fn wake(stage: &Stage, agent: &str, task: &str) -> String {
    stage.wake(agent, &json!({ "taskKey": task })).await
}

/// The run that goes on where another one was refused.
async fn carried_on(stage: &Stage, refused: &str) -> Json {
    let company = stage.company().await;
    let runs = stage.get(&format!("/companies/{company}/heartbeat-runs")).await;
    let next = runs.as_array().unwrap().iter().find(|run| run["retryOfRunId"] == refused).cloned();
    next.unwrap_or_else(|| panic!("nothing goes on: {runs:#}"))
}

async fn only_account(stage: &Stage) -> Json {
    let company = stage.company().await;
    let accounts = stage.get(&format!("/companies/{company}/accounts")).await;
    assert_eq!(accounts.as_array().map(Vec::len), Some(1), "{accounts:#}");
    accounts[0].clone()
}

/// Codex meets a limit that is reset in a minute; its agent and another one of the account wait, and go on by themselves.
pub(crate) async fn a_limit_of_codex(installed: Installed) {
    let model = FakeModel::start();
    let mut stage = Stage::set(None);
    stage.start();
    let home = Home::make(&installed, stage.place("limit"), model.base());
    let limited = agent(&home, "Limited", "codex_local", "[fake:usage_limit resets=60 times=1]");
    let limited = stage.agent(&limited).await;
    let other = stage.agent(&agent(&home, "Other", "codex_local", "[fake:text]")).await;
    let refused = stage.over(&wake(&stage, &limited, "a").await).await;
    assert_eq!(refused["errorCode"], "quota_exhausted", "{refused:#}");
    let reset = refused["resultJson"]["retryNotBefore"].as_str().expect("it names its reset").to_owned();
    let waits = wake(&stage, &other, "b").await;
    let held = stage.run(&waits).await;
    assert_eq!((&held["status"], &held["heldReason"]), (&json!("queued"), &json!("quota")), "{held:#}");
    assert_eq!(held["heldUntil"], json!(reset));
    let told = stage.get(&format!("/heartbeat-runs/{waits}/explain")).await;
    assert!(told["waitsFor"].as_str().unwrap().contains("waiting for quota until"), "{told:#}");
    let next = carried_on(&stage, refused["id"].as_str().unwrap()).await;
    let mut ends = Vec::new();
    for run in [next["id"].as_str().unwrap().to_owned(), waits] {
        ends.push(succeeded(&stage, &run).await);
    }
    let moment = |text: &Json| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let reset: jiff::Timestamp = reset.parse().unwrap();
    for run in ends {
        let late: Duration =
            moment(&run["startedAt"]).duration_since(reset).try_into().expect("not too soon");
        assert!(late <= Duration::from_secs(30), "{late:?}: {run:#}");
    }
}

/// Claude Code loses its login; it is told once, and what was asked for is done when somebody has put it right.
pub(crate) async fn a_lost_login_of_claude(installed: Installed) {
    let model = FakeModel::start();
    let mut stage = Stage::set(None);
    stage.start();
    let home = Home::make(&installed, stage.place("login"), model.base());
    let first = stage.agent(&agent(&home, "First", "claude_local", "[fake:401]")).await;
    let second = stage.agent(&agent(&home, "Second", "claude_local", "[fake:text]")).await;
    let refused = stage.over(&wake(&stage, &first, "a").await).await;
    assert_eq!(refused["errorCode"], "claude_auth_required", "{refused:#}");
    let waits = wake(&stage, &second, "b").await;
    assert_eq!(stage.run(&waits).await["heldReason"], "quota");
    let account = only_account(&stage).await;
    assert_eq!((&account["state"], &account["reason"]), (&json!("parked"), &json!("login")), "{account:#}");
    let company = stage.company().await;
    let inbox = stage.get(&format!("/companies/{company}/inbox-items")).await;
    assert_eq!(inbox["items"].as_array().map(Vec::len), Some(1), "{inbox:#}");
    let asked = model.requests().await.len();
    // The model lets it in from now on, as it does who has logged in.
    let put_right = json!({ "adapterConfig": { "promptTemplate": "[fake:text]" } });
    let path = format!("/agents/{first}");
    let (status, answer) = stage.try_ask(reqwest::Method::PATCH, &path, Some(&put_right)).await.unwrap();
    assert!((200..300).contains(&status), "{status} {answer:#}");
    let next = carried_on(&stage, refused["id"].as_str().unwrap()).await;
    for run in [next["id"].as_str().unwrap().to_owned(), waits] {
        succeeded(&stage, &run).await;
    }
    assert!(model.requests().await.len() > asked);
    let account = only_account(&stage).await;
    assert_ne!(account["state"], "parked", "{account:#}");
    let inbox = stage.get(&format!("/companies/{company}/inbox-items")).await;
    assert_eq!(inbox["items"], json!([]));
}

/// Plays one of these with a program that is installed.
pub(crate) async fn play<F: Future<Output = ()>>(program: Program, play: impl FnOnce(Installed) -> F) {
    if let Some(installed) = program.find() {
        play(installed).await;
    }
}
