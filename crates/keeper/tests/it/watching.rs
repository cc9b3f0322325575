//! Being told that something changed.

use std::sync::mpsc::{Receiver, channel};

use keeper::{KeeperError, Watch};
use rustix::process::Signal;

use crate::support::{PATIENCE, Run, kill};

fn watch(run: &Run, token: u64) -> (Watch, Receiver<u64>) {
    let (tell, told) = channel();
    let watch = Watch::start(move |token| tell.send(token).unwrap_or_default()).unwrap();
    watch.add(&run.folder, token).unwrap();
    (watch, told)
}

/// Waits for notices, and for nothing else, until it is so.
fn told_until(told: &Receiver<u64>, token: u64, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(token));
    }
}

#[test]
fn output_and_exit_wake() {
    let run = Run::sh(
        "read_it() { while [ ! -e $1 ]; do sleep 0.01; done; }; echo one; read_it go; echo two; read_it on",
    );
    run.start();
    run.until_printed("one");
    let (_watch, told) = watch(&run, 42);
    std::fs::write(run.home.path().join("go"), "").unwrap();
    told_until(&told, 42, || String::from_utf8_lossy(&run.printed(keeper::Stream::Stdout)).contains("two"));
    std::fs::write(run.home.path().join("on"), "").unwrap();
    told_until(&told, 42, || keeper::probe(&run.folder).unwrap().exit.is_some());
}

#[test]
fn the_death_of_a_keeper_wakes() {
    let run = Run::sh("echo ready; sleep 60");
    let pid = run.start().cast_signed();
    run.until_printed("ready");
    let (_watch, told) = watch(&run, 7);
    kill(pid, Signal::KILL);
    told_until(&told, 7, || keeper::probe(&run.folder).unwrap().holder_pid.is_none());
}

#[test]
fn one_watch_serves_many_and_forgets_on_request() {
    let (one, two) = (Run::sh("true"), Run::sh("true"));
    for run in [&one, &two] {
        std::fs::create_dir_all(&run.folder).unwrap();
    }
    let (watch, told) = watch(&one, 1);
    watch.add(&two.folder, 2).unwrap();
    std::fs::write(two.folder.join("log"), "x").unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(2));
    watch.remove(2);
    while told.try_recv().is_ok() {}
    std::fs::write(two.folder.join("log"), "y").unwrap();
    std::fs::write(one.folder.join("log"), "x").unwrap();
    // Notices keep their order: had the forgotten folder told, it would have come first.
    let mut seen = vec![told.recv_timeout(PATIENCE).unwrap()];
    drop(watch);
    seen.extend(told.try_iter());
    assert!(seen.iter().all(|&token| token == 1), "{seen:?}");
}

#[test]
fn an_overflowing_queue_tells_everybody() {
    let many: Vec<Run> = (0..3).map(|_| Run::sh("true")).collect();
    let (tell, told) = channel();
    let (enter, entered) = channel();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(()));
    let closed = gate.lock().unwrap();
    let behind = std::sync::Arc::clone(&gate);
    let watch = Watch::start(move |token| {
        let _ = enter.send(());
        drop(behind.lock().unwrap());
        let _ = tell.send(token);
    })
    .unwrap();
    for (token, run) in many.iter().enumerate() {
        std::fs::create_dir_all(&run.folder).unwrap();
        watch.add(&run.folder, token as u64).unwrap();
    }
    std::fs::write(many[0].folder.join("log"), "x").unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    // While the watcher is held up, more happens than the kernel keeps. Two names in turn,
    // since equal notices are joined.
    let limit: usize =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let (log, exit) = (many[0].folder.join("log"), many[0].folder.join("exit"));
    for _ in 0..limit / 2 + 1 {
        std::fs::write(&log, "x").unwrap();
        std::fs::write(&exit, "x").unwrap();
    }
    drop(closed);
    let mut missing = vec![1, 2];
    while !missing.is_empty() {
        let token = told.recv_timeout(PATIENCE).expect("everybody is told");
        missing.retain(|&it| it != token);
    }
}

#[test]
fn a_missing_folder_cannot_be_watched() {
    let run = Run::sh("true");
    let watch = Watch::start(|_| {}).unwrap();
    assert!(matches!(watch.add(&run.folder, 1), Err(KeeperError::NotThere)));
}
