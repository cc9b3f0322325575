//! Agents behind an OpenClaw gateway, with a real server, the real driver, and a gateway that is none.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::gateway::{Gateway, Manner, Step};
use crate::scene::Scene;

const TOKEN: &str = "token-of-the-gateway";

fn delta(text: &str) -> Step {
    Step::Event("assistant", json!({ "delta": text }))
}

fn accepted() -> Step {
    Step::Answer(json!({ "status": "accepted" }))
}

fn waited(payload: Json) -> Vec<Step> {
    vec![Step::Wait, Step::Waited(payload)]
}

/// A server with one agent, `claw`, that works at the gateway.
fn with_agent(gateway: &Gateway, config: Json, more: &[&str]) -> Scene {
    let scene = Scene::served();
    add(&scene, gateway, config, more);
    scene
}

fn add(scene: &Scene, gateway: &Gateway, config: Json, more: &[&str]) {
    let (url, config) = (gateway.url(), config.to_string());
    let add =
        ["agent", "add", "claw", "--adapter", "openclaw_gateway", "--endpoint", &url, "--config", &config];
    scene.ok(&[&add[..], more].concat());
}

fn wake(scene: &Scene) -> String {
    scene.json(&["wake", "claw"])["id"].as_str().unwrap().to_owned()
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[test]
fn what_the_agent_says_is_on_the_record_with_its_spaces_and_its_cost() {
    let mut steps = vec![accepted(), delta("Mended"), delta(" the "), delta("door. ")];
    let usage =
        json!({ "usage": { "inputTokens": 1200, "outputTokens": 30 }, "model": "m-1", "costUsd": 0.5 });
    steps.extend(waited(json!({ "status": "ok", "result": { "meta": { "agentMeta": usage } } })));
    let gateway = Gateway::playing(steps);
    let scene = with_agent(&gateway, json!({}), &[]);
    let run = scene.ended(&wake(&scene));
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let result = &run["resultJson"];
    assert_eq!((&result["summary"], &result["runId"]), (&json!("Mended the door."), &Json::Null));
    assert_eq!(
        (&result["effectiveTimeoutSec"], &result["timeoutSource"]),
        (&json!(120.0), &json!("default"))
    );
    let usage = &run["usageJson"];
    assert_eq!((&usage["inputTokens"], &usage["model"]), (&json!(1200), &json!("m-1")), "{run:#}");
    assert_eq!(usage["provider"], "openclaw");
    let transcript = scene.ok(&["logs", run["id"].as_str().unwrap(), "--transcript"]).out;
    assert!(transcript.contains("Mended the door."), "{transcript}");
    let params = gateway.params("agent");
    assert_eq!(params["idempotencyKey"], run["id"]);
    assert!(
        params["message"]
            .as_str()
            .unwrap()
            .contains(&format!("PAPERCLIP_RUN_ID={}", run["id"].as_str().unwrap()))
    );
    assert_eq!(scene.processes(), Vec::<i32>::new());
}

#[test]
fn failures_have_their_code_and_a_run_that_took_too_long_is_timed_out() {
    for (payload, status, code) in [
        (
            json!({ "status": "error", "error": "the model fell over" }),
            "failed",
            "openclaw_gateway_wait_error",
        ),
        (json!({ "status": "timeout" }), "timed_out", "openclaw_gateway_wait_timeout"),
    ] {
        let gateway = Gateway::playing([vec![accepted()], waited(payload)].concat());
        let scene = with_agent(&gateway, json!({ "waitTimeoutMs": 5000 }), &[]);
        let run = scene.ended(&wake(&scene));
        assert_eq!((&run["status"], &run["errorCode"]), (&json!(status), &json!(code)), "{run:#}");
    }
}

#[test]
fn an_agent_has_a_key_of_its_own_which_is_paired_once_and_shown_to_nobody() {
    let steps = [vec![accepted(), delta("done")], waited(json!({ "status": "ok", "result": {} }))].concat();
    let gateway = Gateway::open(Manner { token: Some(TOKEN), pairs: true, steps, ..Manner::default() });
    let scene = Scene::served();
    let mut store = scene.command(&["secret", "set", "gateway"]);
    let mut storing = store.stdin(Stdio::piped()).spawn().unwrap();
    storing.stdin.take().unwrap().write_all(TOKEN.as_bytes()).unwrap();
    assert!(storing.wait().unwrap().success());
    add(&scene, &gateway, json!({}), &["--env", "OPENCLAW_GATEWAY_TOKEN=secret:gateway"]);
    for _ in 0..2 {
        let run = scene.ended(&wake(&scene));
        assert_eq!(run["status"], "succeeded", "{run:#}");
    }
    let approved = gateway.methods().iter().filter(|method| *method == "device.pair.approve").count();
    assert_eq!((approved, gateway.paired().len()), (1, 1), "{:?}", gateway.methods());
    let agent = scene.json(&["agent", "list"])[0].clone();
    let shown = scene.get(&format!("/agents/{}", agent["id"].as_str().unwrap()));
    assert_eq!(shown["adapterConfig"]["devicePrivateKeyPem"], "***REDACTED***", "{shown:#}");
    // What is shown can be sent back, and stays what it was.
    scene.ok(&["agent", "set", "claw", "--config", &shown["adapterConfig"].to_string()]);
    assert_eq!(scene.ended(&wake(&scene))["status"], "succeeded");
    assert_eq!(gateway.paired().len(), 1, "the device is still the same");
    for file in files_below(&scene.data()) {
        let is_store = file.file_name().unwrap().to_string_lossy().starts_with("bugle.sqlite");
        let bytes = std::fs::read(&file).unwrap_or_default();
        let holds = |what: &str| bytes.windows(what.len()).any(|window| window == what.as_bytes());
        assert!(!holds(TOKEN), "{}", file.display());
        assert!(is_store || !holds("BEGIN PRIVATE KEY"), "{}", file.display());
    }
}

#[test]
fn a_run_goes_on_while_the_server_is_killed_and_the_agent_is_told_once() {
    let ok = Step::Waited(json!({ "status": "ok", "result": {} }));
    let steps = vec![accepted(), Step::Wait, delta("before"), Step::Hold, delta(" and after"), ok];
    let gateway = Gateway::playing(steps);
    let mut scene = with_agent(&gateway, json!({}), &[]);
    let id = wake(&scene);
    gateway.until_asked("agent.wait");
    scene.kill();
    gateway.release();
    // The gateway says the rest while nobody is there to read it.
    crate::stage::wait_for("the driver to leave", || scene.processes().is_empty().then_some(()));
    scene.up(&[]);
    let run = scene.ended(&id);
    assert_eq!((&run["status"], &run["attempt"]), (&json!("succeeded"), &json!(1)), "{run:#}");
    assert_eq!(run["resultJson"]["summary"], "before and after");
    assert_eq!(gateway.methods().iter().filter(|method| *method == "agent").count(), 1);
}

#[test]
fn a_cancel_reaches_the_gateway() {
    let gateway = Gateway::playing(vec![accepted(), Step::Hang]);
    let scene = with_agent(&gateway, json!({ "sessionKeyStrategy": "run" }), &[]);
    let id = wake(&scene);
    gateway.until_asked("agent.wait");
    scene.ok(&["run", "cancel", &id]);
    let run = scene.ended(&id);
    assert_eq!(run["status"], "cancelled", "{run:#}");
    let aborted = gateway.params("chat.abort");
    assert_eq!(
        (&aborted["runId"], &aborted["sessionKey"]),
        (&json!(id), &json!(format!("paperclip:run:{id}")))
    );
    assert_eq!(scene.processes(), Vec::<i32>::new());
}
