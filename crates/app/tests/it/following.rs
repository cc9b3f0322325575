//! `wake --follow` and `logs -f` through everything that may come between.

use rustix::process::Signal;

use crate::scene::Scene;

/// Says its pid, counts while it waits for the file `go`, says so, and ends.
const PATIENT: &str =
    "echo pid $$; i=0; until [ -e go ]; do i=$((i+1)); echo tick $i; sleep 0.05; done; echo went";

/// The lines without a gap or a repeat.
fn assert_counts(out: &str) {
    let mut lines = out.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("pid ")), "{out}");
    let lines: Vec<&str> = lines.collect();
    let (last, ticks) = lines.split_last().unwrap();
    assert_eq!(*last, "went");
    for (at, line) in ticks.iter().enumerate() {
        assert_eq!(*line, format!("tick {}", at + 1), "a gap or a repeat:\n{out}");
    }
    assert!(!ticks.is_empty());
}

#[test]
fn following_survives_a_server_that_is_killed_and_started_again() {
    let mut scene = Scene::served();
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "patient", "--cwd", &folder, "--", "sh", "-c", PATIENT]);
    let mut follow = scene.start(&["wake", "patient", "--follow"]);
    let pid = follow.out("pid ");
    follow.out("tick 3");
    scene.kill();
    follow.err("the server went away");
    scene.up(&[]);
    follow.err("the server is back");
    std::fs::write(scene.place("go"), "").unwrap();
    let told = follow.wait();
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_counts(&told.out);
    assert_eq!(told.out.matches("pid ").count(), 1);
    assert_eq!(told.err.matches("went away").count(), 1, "said once: {told:?}");
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    let log = scene.ok(&["logs", &run]);
    assert_eq!(log.out, told.out, "the stored log is what was shown");
    assert!(log.out.starts_with(&pid));
}

#[test]
fn a_run_that_ends_while_the_server_is_away_is_told_when_it_is_back() {
    let mut scene = Scene::served();
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "patient", "--cwd", &folder, "--", "sh", "-c", PATIENT]);
    let mut follow = scene.start(&["wake", "patient", "--follow"]);
    follow.out("tick 1");
    scene.stop(Signal::TERM);
    follow.err("the server went away");
    std::fs::write(scene.place("go"), "").unwrap();
    // It ends by itself, with nobody there to see it.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !scene.processes().is_empty() {
        assert!(std::time::Instant::now() < until, "the run did not end without its server");
        std::thread::yield_now();
    }
    scene.up(&[]);
    let told = follow.wait();
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_counts(&told.out);
}

#[test]
fn leaving_with_ctrl_c_leaves_the_run_alone() {
    let scene = Scene::served();
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "patient", "--cwd", &folder, "--", "sh", "-c", PATIENT]);
    let mut follow = scene.start(&["wake", "patient", "--follow"]);
    follow.out("tick 1");
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    follow.signal(Signal::INT);
    let told = follow.wait();
    assert_eq!(told.code, Some(130), "{told:?}");
    assert!(told.err.contains(&format!("bugle logs {run} -f")), "{told:?}");
    assert!(told.err.contains(&format!("bugle run cancel {run}")), "{told:?}");
    assert_eq!(scene.run(&run)["status"], "running");
    let mut again = scene.start(&["logs", &run, "-f"]);
    again.out("tick 2");
    std::fs::write(scene.place("go"), "").unwrap();
    let told = again.wait();
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_counts(&told.out);
}

#[test]
fn ctrl_c_leaves_a_server_that_does_not_answer() {
    let scene = Scene::served();
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "patient", "--cwd", &folder, "--", "sh", "-c", PATIENT]);
    let mut follow = scene.start(&["wake", "patient", "--follow"]);
    follow.out("tick 1");
    let server = rustix::process::Pid::from_raw(scene.server_pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(server, Signal::STOP).unwrap();
    // Long enough that it has asked for the state and waits for the answer.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let began = std::time::Instant::now();
    follow.signal(Signal::INT);
    let told = follow.wait();
    rustix::process::kill_process(server, Signal::CONT).unwrap();
    assert_eq!(told.code, Some(130), "{told:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    std::fs::write(scene.place("go"), "").unwrap();
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(scene.ended(&run)["status"], "succeeded");
}

#[test]
fn a_run_that_waits_is_followed_from_its_queue_to_its_end() {
    let scene = Scene::served();
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "one", "--max-concurrent", "1", "--cwd", &folder, "--", "sh", "-c", PATIENT]);
    let mut first = scene.start(&["wake", "one", "--task-key", "a", "--follow"]);
    first.out("tick 1");
    let mut second = scene.start(&["wake", "one", "--task-key", "b", "--follow"]);
    second.err("queued (slot)");
    std::fs::write(scene.place("go"), "").unwrap();
    assert_eq!(first.wait().code, Some(0));
    let told = second.wait();
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.ends_with("went\n"), "{told:?}");
}
