//! What a program is resumed with and what it is told of skills, where the program itself has to play along.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::fake_model::FakeModel;
use crate::programs::{Home, Program, as_object};
use crate::stage::{Stage, is_final};

/// Words at the top of the program's own skill, and of the one that is added here.
const OWN: &str = "How to work inside Bugle";
const ADDED: &str = "Before you touch the ledger of the harbour";

fn config(home: &Home) -> Json {
    json!({
        "command": home.installed.command, "cwd": home.work(), "env": as_object(&home.env()),
        "promptTemplate": "[fake:text say=\"All is said.\"]", "graceSec": 5, "timeoutSec": 180,
        "dangerouslyBypassApprovalsAndSandbox": true,
    })
}

async fn ended(stage: &Stage, run: &str) -> Json {
    for _ in 0..600 {
        let row = stage.run(run).await;
        if is_final(&row["status"]) {
            return row;
        }
        // The run has no bell for strangers.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("it never ended: {run}")
}

/// The names and purposes of its skills are in what the program sends to the model.
async fn hears_of_skills(program: Program, kind: &str) {
    let Some(installed) = program.find() else { return };
    let model = FakeModel::start();
    let mut stage = Stage::set(None);
    stage.start();
    let company = stage.company().await;
    let skill = json!({ "name": "harbour", "description": ADDED, "markdown": "Ask the harbour master." });
    stage.post(&format!("/companies/{company}/skills"), &skill).await;
    let home = Home::make(&installed, stage.place("skills"), model.base());
    let agent =
        stage.agent(&json!({ "name": "A", "adapterType": kind, "adapterConfig": config(&home) })).await;
    let wanted = json!({ "desiredSkills": ["harbour"] });
    stage.post(&format!("/agents/{agent}/skills/sync"), &wanted).await;
    let run = stage.wake(&agent, &json!({ "taskKey": "the-task" })).await;
    let row = ended(&stage, &run).await;
    assert_eq!(row["status"], "succeeded", "{row:#}");
    let asked = Json::Array(model.whole_requests().await).to_string();
    for words in [OWN, ADDED] {
        assert!(asked.contains(words), "{program:?} did not pass on `{words}`: {asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_tells_its_model_of_the_skills_of_the_run() {
    hears_of_skills(Program::ClaudeNew, "claude_local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_tells_its_model_of_the_skills_of_the_run() {
    hears_of_skills(Program::Codex, "codex_local").await;
}

/// Codex takes an id that is no UUID for no id at all, begins another thread and ends well: the run must not go on in it
/// as if it knew what went before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_that_begins_another_thread_for_an_id_of_its_own_choice_is_started_afresh_once() {
    let Some(installed) = Program::Codex.find() else { return };
    let model = FakeModel::start();
    let mut stage = Stage::set(None);
    stage.start();
    let home = Home::make(&installed, stage.place("other-thread"), model.base());
    let script = "session my-own-name\nresult success It is begun.";
    let agent = stage.scripted("A", script, json!({})).await;
    let before = stage.wake(&agent, &json!({ "taskKey": "the-task" })).await;
    let before = ended(&stage, &before).await;
    assert_eq!(before["sessionIdAfter"], "my-own-name", "{before:#}");
    let patch = json!({ "adapterType": "codex_local", "adapterConfig": config(&home) });
    let url = format!("/agents/{agent}");
    let (status, answer) = stage.try_ask(reqwest::Method::PATCH, &url, Some(&patch)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let wake = json!({ "payload": { "resumeFromRunId": before["id"] } });
    let run = stage.wake(&agent, &wake).await;
    let row = ended(&stage, &run).await;
    assert_eq!(row["status"], "succeeded", "{row:#}");
    assert_ne!(row["sessionIdAfter"], "my-own-name");
    let events = stage.get(&format!("/heartbeat-runs/{run}/events")).await;
    let events = events.as_array().unwrap();
    let starts = events.iter().filter(|event| event["eventType"] == "adapter.invoke").count();
    let gone = "the session is gone; starting once more without it";
    assert_eq!(starts, 2, "one extra start: {events:#?}");
    assert!(events.iter().any(|event| event["message"] == gone), "{events:#?}");
    // It is not asked for again.
    let run = stage.wake(&agent, &wake).await;
    let row = ended(&stage, &run).await;
    let events = stage.get(&format!("/heartbeat-runs/{run}/events")).await;
    let starts = |event: &&Json| event["eventType"] == "adapter.invoke";
    assert_eq!(
        (row["status"].as_str(), events.as_array().unwrap().iter().filter(starts).count()),
        (Some("succeeded"), 1)
    );
}
