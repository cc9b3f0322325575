//! An agent asks for a permission in the middle of its work: a person is asked, and the answer reaches the agent once,
//! whatever becomes of the server meanwhile.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::scene::Scene;
use crate::stage::wait_for;

const ASKS: &str = "message may I\npermission Bash {\"command\": \"rm -rf x\"}\nledger answers ${LINE}\n\
                    message it says ${LINE}\nresult success done";

/// A scene with an agent of the protocol that plays a script.
fn with_agent(script: &str, config: &str) -> Scene {
    let scene = Scene::served();
    std::fs::write(scene.place("script"), script).unwrap();
    let (folder, program) = (scene.place(""), env!("CARGO_BIN_EXE_bugle"));
    let folder = folder.to_str().unwrap();
    let add = ["agent", "add", "ada", "--adapter", "acp", "--cwd", folder, "--config", config];
    scene.ok(&[&add[..], &["--", program, "scripted", "script", "--speak", "acp"]].concat());
    scene
}

fn wake(scene: &Scene) -> String {
    scene.json(&["wake", "ada"])["id"].as_str().unwrap().to_owned()
}

/// The only approval that waits.
fn asked(scene: &Scene) -> Json {
    wait_for("somebody to be asked", || {
        let pending = scene.json(&["approval", "list", "--status", "pending"]);
        pending.as_array().filter(|pending| !pending.is_empty()).map(|pending| {
            assert_eq!(pending.len(), 1, "{pending:#?}");
            pending[0].clone()
        })
    })
}

fn answers(scene: &Scene) -> Vec<String> {
    let text = std::fs::read_to_string(scene.place("answers")).unwrap_or_default();
    text.lines().map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect()
}

fn id(approval: &Json) -> &str {
    approval["id"].as_str().unwrap()
}

#[test]
fn the_answer_of_a_person_reaches_the_agent_once_though_the_server_is_killed() {
    let mut scene = with_agent(ASKS, "{}");
    let since = Instant::now();
    let run = wake(&scene);
    let approval = asked(&scene);
    // Two seconds where nobody else wants the processors.
    println!("a person was asked {:?} after the wake", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    let payload = &approval["payload"];
    assert_eq!(payload["title"], "permission for Bash: rm -rf x");
    assert_eq!(payload["input"]["command"], "rm -rf x");
    assert_eq!(
        (&payload["permission"]["runId"], &payload["permission"]["attempt"]),
        (&run.clone().into(), &1.into())
    );
    assert!(scene.ok(&["inbox"]).out.contains("permission for Bash: rm -rf x"));
    let refused = scene.bugle(&["--json", "approval", "request-revision", id(&approval)]);
    assert_eq!(refused.code, Some(2), "{refused:?}");

    scene.kill();
    scene.up(&[]);
    assert_eq!(id(&asked(&scene)), id(&approval), "nobody is asked twice");
    assert_eq!(scene.run(&run)["status"], "running");
    scene.ok(&["approval", "approve", id(&approval)]);
    // It may have been handed over already, or not.
    scene.kill();
    scene.up(&[]);
    let ended = scene.ended(&run);
    assert_eq!((&ended["status"], &ended["attempt"]), (&"succeeded".into(), &1.into()), "{ended:#}");
    assert_eq!(answers(&scene), ["allow"]);
    assert_eq!(ended["resultJson"]["summary"], "it says allow");
    assert_eq!(scene.json(&["run", "list"]).as_array().unwrap().len(), 1, "the answer wakes nobody");
    assert_eq!(scene.processes(), Vec::<i32>::new());
}

#[test]
fn a_refusal_is_heard_and_the_agent_goes_on_without() {
    let scene = with_agent(ASKS, "{}");
    let run = wake(&scene);
    scene.ok(&["approval", "reject", id(&asked(&scene))]);
    assert_eq!(scene.ended(&run)["status"], "succeeded");
    assert_eq!(answers(&scene), ["reject"]);
}

#[test]
fn who_waits_too_long_is_told_so_and_the_approval_with_him() {
    let scene = with_agent(ASKS, r#"{"permissionTimeoutSec": 1}"#);
    let run = wake(&scene);
    let approval = asked(&scene);
    assert_eq!(scene.ended(&run)["status"], "succeeded");
    assert_eq!(answers(&scene), ["none"]);
    wait_for("the approval to be taken back", || {
        let now = scene.json(&["approval", "show", id(&approval)]);
        (now["status"] == "cancelled").then_some(())
    });
}

#[test]
fn a_cancel_while_it_waits_ends_the_turn_by_the_protocol_and_takes_the_approval_back() {
    let scene = with_agent(ASKS, "{}");
    let run = wake(&scene);
    let approval = asked(&scene);
    scene.ok(&["run", "cancel", &run]);
    let ended = scene.ended(&run);
    assert_eq!(ended["status"], "cancelled", "{ended:#}");
    assert_eq!(ended["exitCode"], 0, "it was asked to end its turn, and left: {ended:#}");
    assert_eq!(scene.json(&["approval", "show", id(&approval)])["status"], "cancelled");
    let late = scene.bugle(&["--json", "approval", "approve", id(&approval)]);
    assert_eq!(late.code, Some(3), "{late:?}");
    let log = scene.ok(&["logs", &run]).out;
    let (asked, cancelled) =
        (log.find("\"outcome\":\"cancelled\"").unwrap(), log.find("session/cancel").unwrap());
    assert!(asked < cancelled, "{log}");
    assert_eq!(scene.processes(), Vec::<i32>::new());
}
