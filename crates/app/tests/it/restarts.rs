//! The server comes and goes; the runs do not notice.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::scene::Scene;

const COUNTER: &str = "i=0; until [ -e go ]; do i=$((i+1)); echo tick $i; sleep 0.02; done; echo went";

/// A server with one run under way; returns the run and the pid of its process.
fn under_way(scene: &Scene) -> (String, i64) {
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "counter", "--cwd", &folder, "--", "sh", "-c", COUNTER]);
    let mut follow = scene.start(&["wake", "counter", "--follow"]);
    follow.out("tick 2");
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    // What is known of the process is recorded a moment after it began.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    let pid = loop {
        if let Some(pid) = scene.run(&run)["processPid"].as_i64() {
            break pid;
        }
        assert!(std::time::Instant::now() < until, "no process was recorded");
    };
    (run, pid)
}

/// Waits until the server of now tends the run.
fn taken_over(scene: &Scene, run: &str) {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while scene.json(&["run", "explain", run])["holder"]["tendedHere"] != true {
        assert!(std::time::Instant::now() < until, "{}", scene.ok(&["run", "explain", run]).out);
    }
}

fn finish(scene: &Scene, run: &str, pid: i64) {
    taken_over(scene, run);
    let now = scene.run(run);
    assert_eq!((now["status"].as_str(), now["processPid"].as_i64()), (Some("running"), Some(pid)));
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "the same process lives");
    std::fs::write(scene.place("go"), "").unwrap();
    let ended = scene.ended(run);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(ended["attempt"], 1, "one start only");
    let log = scene.ok(&["logs", run]).out;
    let lines: Vec<&str> = log.lines().collect();
    let (last, ticks) = lines.split_last().unwrap();
    assert_eq!(*last, "went");
    for (at, line) in ticks.iter().enumerate() {
        assert_eq!(*line, format!("tick {}", at + 1), "a gap or a repeat");
    }
    assert_eq!(scene.processes(), Vec::<i32>::new());
}

#[test]
fn ctrl_c_leaves_within_two_seconds_and_the_next_start_goes_on() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut scene = Scene::served();
        let (run, pid) = under_way(&scene);
        // Somebody watches; that must not hold the server.
        let mut watcher = scene.start(&["logs", &run, "-f"]);
        watcher.out("tick 1");
        let (took, told) = scene.stop(signal);
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.err.contains("1 run goes on"), "{told:?}");
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        scene.up(&[]);
        finish(&scene, &run, pid);
        assert_eq!(watcher.wait().code, Some(0));
    }
}

#[test]
fn kill_9_loses_nothing() {
    let mut scene = Scene::served();
    let (run, pid) = under_way(&scene);
    for _ in 0..3 {
        scene.kill();
        scene.up(&[]);
        taken_over(&scene, &run);
    }
    finish(&scene, &run, pid);
}

#[test]
fn a_newer_program_goes_on_with_the_runs_of_the_older() {
    let mut scene = Scene::bare();
    let program = scene.place("bugle");
    std::fs::copy(env!("CARGO_BIN_EXE_bugle"), &program).unwrap();
    scene.use_program(program.clone());
    scene.up(&[]);
    let (run, pid) = under_way(&scene);
    // As an installer does it: the new file takes the name, the old one lives on in those who run it.
    let newer = scene.place("bugle.new");
    std::fs::copy(env!("CARGO_BIN_EXE_bugle"), &newer).unwrap();
    std::fs::rename(&newer, &program).unwrap();
    // The old server still starts runs, by the code that it is.
    scene.ok(&["agent", "add", "quick", "--", "echo", "still here"]);
    assert_eq!(scene.ok(&["wake", "quick", "--follow"]).out, "still here\n");
    std::fs::write(scene.place("steps"), "print scripted too\nresult success done\n").unwrap();
    scene.ok(&["agent", "add", "mock", "--script", "steps"]);
    assert!(scene.ok(&["wake", "mock", "--follow"]).out.contains("scripted too"));
    scene.stop(Signal::TERM);
    scene.up(&[]);
    finish(&scene, &run, pid);
}

#[test]
fn a_corrupt_run_folder_ends_its_own_run_and_harms_nothing_else() {
    let mut scene = Scene::served();
    let (run, _) = under_way(&scene);
    scene.kill();
    for pid in scene.processes() {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    let folder = scene.data().join("runs").join(&run).join("1");
    for name in ["spec", "started", "exit", "exit.tmp", "log"] {
        std::fs::write(folder.join(name), b"\0\xffthis is no record\n").unwrap();
    }
    scene.up(&[]);
    let ended = scene.ended(&run);
    assert_eq!(ended["status"], "failed", "{ended}");
    assert!(ended["error"].is_string(), "{ended}");
    scene.ok(&["run", "explain", &run]);
    scene.ok(&["agent", "add", "quick", "--", "echo", "still here"]);
    assert_eq!(scene.ok(&["wake", "quick", "--follow"]).out, "still here\n");
}

#[test]
fn a_second_server_on_the_folder_is_told_who_has_it() {
    let scene = Scene::served();
    let told = scene.bugle(&["--json", "up", "--listen", "127.0.0.1:0"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let error = told.error();
    assert_eq!(error["code"], "instance.held");
    assert!(error["error"].as_str().unwrap().contains(&format!("pid {}", scene.server_pid())), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--data-dir"), "{error}");
    // The one that was there first does not notice.
    scene.ok(&["status"]);
}
