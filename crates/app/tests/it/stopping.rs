//! Ends: of runs, of a server with its runs, of everything they started.

use std::time::Duration;

use rustix::process::Signal;

use crate::scene::Scene;

/// A child in a session of its own, and nobody listens to TERM.
const STUBBORN: &str = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo deep; while :; do sleep 0.1; done' & \
     echo started; while :; do sleep 0.1; done";

#[test]
fn a_cancelled_run_leaves_nobody() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "stubborn", "--grace", "1", "--", "sh", "-c", STUBBORN]);
    let mut follow = scene.start(&["wake", "stubborn", "--follow"]);
    follow.out("deep");
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    let told = scene.ok(&["run", "cancel", &run]);
    assert!(told.out.contains("is being stopped"), "{told:?}");
    let told = follow.wait();
    assert_eq!(told.code, Some(1), "a cancelled run did not succeed: {told:?}");
    assert_eq!(scene.run(&run)["status"], "cancelled");
    assert_eq!(scene.processes(), Vec::<i32>::new());
    let again = scene.ok(&["run", "cancel", &run]);
    assert!(again.out.contains("over already"), "{again:?}");
}

#[test]
fn stop_runs_ends_the_runs_with_the_server() {
    let mut scene = Scene::bare();
    scene.up(&["--stop-runs"]);
    scene.ok(&["agent", "add", "stubborn", "--grace", "1", "--", "sh", "-c", STUBBORN]);
    let mut follow = scene.start(&["wake", "stubborn", "--follow"]);
    follow.out("deep");
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    let (took, told) = scene.stop(Signal::TERM);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(scene.processes(), Vec::<i32>::new());
    scene.up(&[]);
    let run = scene.run(&run);
    assert_eq!(run["status"], "cancelled", "{run}");
    assert!(run["error"].as_str().unwrap().contains("--stop-runs"), "{run}");
}

#[test]
fn work_that_is_cancelled_starts_nothing_afterwards() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "busy", "--grace", "1", "--max-concurrent", "1", "--", "sh", "-c", STUBBORN]);
    let mut follow = scene.start(&["wake", "busy", "--task-key", "a", "--follow"]);
    follow.out("deep");
    for key in ["b", "c"] {
        scene.ok(&["wake", "busy", "--task-key", key]);
    }
    let told = scene.json(&["agent", "cancel-work", "busy"]);
    assert_eq!(
        (told["stopping"].as_array().unwrap().len(), told["withdrawn"].as_array().unwrap().len()),
        (1, 2)
    );
    follow.wait();
    let runs = scene.json(&["run", "list"]);
    let statuses: Vec<&str> =
        runs.as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["cancelled"; 3]);
    assert_eq!(scene.processes(), Vec::<i32>::new());
}
