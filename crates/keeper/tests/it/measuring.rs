//! What the processes of a run use, seen while they run.

use std::time::Duration;

use keeper::{TreeUsage, tree_usage};

use crate::support::Run;

fn usage(run: &Run) -> TreeUsage {
    tree_usage(&run.folder).unwrap().expect("a living keeper")
}

#[test]
fn a_silent_grandchild_that_computes_is_seen() {
    let run = Run::sh("echo ready; setsid sh -c 'while :; do :; done'; true");
    run.start();
    run.until_printed("ready");
    let first = run.until("two processes", || Some(usage(&run)).filter(|it| it.processes >= 2));
    run.until("more processor time", || {
        (usage(&run).cpu >= first.cpu + Duration::from_millis(50)).then_some(())
    });
}

#[test]
fn a_silent_child_that_copies_is_seen_by_its_bytes() {
    let run = Run::sh("echo ready; while :; do cat /bin/sh > /dev/null; sleep 0.02; done");
    run.start();
    run.until_printed("ready");
    let first = usage(&run);
    run.until("more bytes", || (usage(&run).io_bytes >= first.io_bytes + 200_000).then_some(()));
}

#[test]
fn a_tree_that_sleeps_uses_nothing_and_one_that_is_over_cannot_be_measured() {
    let run = Run::sh("mkfifo never; echo ready; read x < never");
    run.start();
    run.until_printed("ready");
    let first = usage(&run);
    // The time is the point here: nothing is to happen in it.
    std::thread::sleep(Duration::from_millis(300));
    let second = usage(&run);
    assert_eq!((second.io_bytes, second.processes), (first.io_bytes, 1));
    assert!(second.cpu - first.cpu <= Duration::from_millis(10), "{first:?} {second:?}");
    run.handle().stop("enough").unwrap();
    run.exit();
    run.until_keeper_left();
    assert_eq!(tree_usage(&run.folder).unwrap(), None);
}
