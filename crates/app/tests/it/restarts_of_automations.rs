//! A server that is told to stop leaves at once, and its automations go on: by the processes that run, and by the next
//! server.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value as Json;

use crate::scene::Scene;
use crate::stage::wait_for;

const LINE: &str = r#"
name = "line"

[[nodes]]
id = "build"
agent = "builder"
objective = "build it"

[[nodes]]
id = "ok"
dependsOn = ["build"]
gate = { title = "Publish it?" }

[[nodes]]
id = "publish"
agent = "builder"
objective = "publish it"
dependsOn = ["ok"]
"#;

const BUILDER: &str = "until [ -e go ]; do sleep 0.02; done; echo $BUGLE_NODE_ID >> ledger; echo done";

fn run_of(scene: &Scene, run: &str) -> Json {
    scene.get(&format!("/automation-runs/{run}"))
}

fn until_status(scene: &Scene, run: &str, status: &str) -> Json {
    wait_for(status, || Some(run_of(scene, run)).filter(|run| run["status"] == status))
}

/// Far below the half minute that a server used to take for nothing.
fn stop(scene: &mut Scene, signal: Signal) {
    let (took, told) = scene.stop(signal);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_server_that_is_told_to_stop_leaves_at_once_and_its_automations_go_on() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut scene = Scene::served();
        let folder = scene.place("").to_str().unwrap().to_owned();
        scene.ok(&["agent", "add", "builder", "--cwd", &folder, "--", "sh", "-c", BUILDER]);
        let file = scene.place("line.toml");
        std::fs::write(&file, LINE).unwrap();
        scene.ok(&["automation", "apply", file.to_str().unwrap()]);
        scene.ok(&["automation", "run", "line"]);
        let company = scene.json(&["company", "list"])[0]["id"].as_str().unwrap().to_owned();
        let runs = scene.get(&format!("/companies/{company}/automation-runs"));
        let run = runs[0]["id"].as_str().unwrap().to_owned();
        let agent_run = wait_for("the first step", || {
            run_of(&scene, &run)["attempts"][0]["runId"].as_str().map(str::to_owned)
        });
        wait_for("its process", || scene.run(&agent_run)["processPid"].as_i64());

        // The step ends while no server is there.
        stop(&mut scene, signal);
        std::fs::write(scene.place("go"), "").unwrap();
        wait_for("the end of the step", || {
            std::fs::read_to_string(scene.place("ledger")).ok().filter(|text| text == "build\n")
        });
        scene.up(&[]);
        until_status(&scene, &run, "awaiting_approval");

        // An idle server waits for nobody.
        stop(&mut scene, signal);
        scene.up(&[]);
        scene.ok(&["gate", "approve", "ok"]);
        let done = until_status(&scene, &run, "completed");
        let attempts: Vec<_> = done["nodes"].as_array().unwrap().iter().map(|it| &it["attempt"]).collect();
        assert_eq!(attempts, [1, 0, 1], "nothing was made twice");
        assert_eq!(std::fs::read_to_string(scene.place("ledger")).unwrap(), "build\npublish\n");
        assert_eq!(scene.processes(), Vec::<i32>::new());
    }
}
