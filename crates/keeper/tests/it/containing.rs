//! Programs that do not want to end, and the keeper's promise that nobody is left.

use std::time::{Duration, Instant};

use keeper::{Containment, EndedBy, Stream};
use rustix::process::Signal;

use crate::support::{Run, alive, kill, marked};

const NOBODY: [i32; 0] = [];
const LEVELS: [Containment; 3] = [Containment::Subreaper, Containment::Cgroup, Containment::PidNamespace];

/// Runs the same test at every level this machine has.
fn at_each_level(script: &str, test: impl Fn(&Run)) {
    for level in LEVELS {
        let mut run = Run::sh(script);
        run.spec.containment = level;
        test(&run);
        assert_eq!(marked(&run.spec.run, 1), Vec::<i32>::new(), "{level:?}");
    }
}

#[test]
fn a_child_that_ignores_term_is_killed_after_the_grace() {
    for level in LEVELS {
        let mut run = Run::sh("trap 'echo no' TERM; echo ready; while :; do sleep 0.01; done");
        run.spec.containment = level;
        run.spec.limits.grace = Duration::from_millis(150);
        run.start();
        run.until_printed("ready");
        let asked = Instant::now();
        run.handle().stop("enough").unwrap();
        run.handle().stop("a second reason changes nothing").unwrap();
        let exit = run.exit();
        assert!(asked.elapsed() >= Duration::from_millis(150));
        assert_eq!((exit.signal, exit.ended_by), (Some(9), EndedBy::StopOrder));
        assert_eq!(exit.reason.as_deref(), Some("enough"));
        assert_eq!(exit.left_behind, NOBODY);
        assert_eq!(marked(&run.spec.run, 1), NOBODY);
    }
}

#[test]
fn a_child_that_obeys_term_has_the_whole_grace_and_its_last_words_are_kept() {
    let run = Run::sh("trap 'echo saved; exit 5' TERM; echo ready; while :; do sleep 0.01; done");
    run.start();
    run.until_printed("ready");
    run.handle().stop("enough").unwrap();
    let exit = run.exit();
    assert_eq!((exit.code, exit.ended_by), (Some(5), EndedBy::StopOrder));
    assert_eq!(run.printed(Stream::Stdout), b"ready\nsaved\n");
}

#[test]
fn a_grandchild_in_its_own_session_that_ignores_term_does_not_survive() {
    at_each_level(
        "setsid sh -c 'trap \"\" TERM; echo $$ up; while :; do sleep 1; done' & wait_for=1; sleep 60",
        |run| {
            run.start();
            run.until_printed("up");
            run.handle().stop("enough").unwrap();
            let exit = run.exit();
            assert_eq!(exit.left_behind, NOBODY);
            assert!(exit.survivors_killed >= 1, "{exit:?}");
        },
    );
}

#[test]
fn a_daemon_left_behind_by_an_ordinary_end_does_not_survive() {
    // Forked twice, its own session, holding the pipes open.
    at_each_level(
        "(setsid sh -c 'trap \"\" TERM; sleep 60 & echo daemon up; wait; sleep 60' &) ; sleep 0.2; exit 0",
        |run| {
            let exit = run.to_end();
            assert_eq!((exit.code, exit.ended_by), (Some(0), EndedBy::Itself));
            assert!(exit.survivors_killed >= 1, "{exit:?}");
            assert_eq!(exit.left_behind, NOBODY);
        },
    );
}

#[test]
fn survivors_of_an_ordinary_end_may_say_goodbye() {
    let run = Run::sh(
        "setsid sh -c 'trap \"echo bye; exit 0\" TERM; echo up; while :; do sleep 0.01; done' & while [ ! -e go ]; do sleep 0.01; done",
    );
    run.start();
    run.until_printed("up");
    std::fs::write(run.home.path().join("go"), "").unwrap();
    run.exit();
    assert_eq!(run.printed(Stream::Stdout), b"up\nbye\n");
}

#[test]
fn a_stopped_child_can_be_ended() {
    at_each_level("echo ready; kill -STOP $$; sleep 60", |run| {
        run.start();
        run.until_printed("ready");
        run.handle().stop("enough").unwrap();
        let exit = run.exit();
        assert_eq!((exit.signal, exit.left_behind), (Some(15), vec![]));
    });
}

#[test]
fn a_chain_of_forks_is_followed_to_its_end() {
    // Each link starts the next one in a new session and stays.
    let script = "cat > link <<'E'\n#!/bin/sh\nif [ $1 -gt 0 ]; then setsid ./link $(($1-1)) & else echo deep; fi\nsleep 60\nE\nchmod +x link; ./link 40; sleep 60";
    at_each_level(script, |run| {
        run.start();
        run.until_printed("deep");
        run.handle().stop("enough").unwrap();
        let exit = run.exit();
        assert_eq!(exit.left_behind, NOBODY);
        assert!(exit.survivors_killed >= 40, "{exit:?}");
    });
}

#[test]
fn forkers_that_outrun_a_single_pass_are_caught() {
    let script = "cat > roll <<'E'\n#!/bin/sh\ntrap '' TERM\nsetsid ./roll &\nexit 0\nE\nchmod +x roll; for i in 1 2 3; do ./roll & done; sleep 0.2; echo rolling; exit 0";
    at_each_level(script, |run| {
        let exit = run.to_end();
        assert_eq!(exit.left_behind, NOBODY);
    });
}

#[test]
fn the_wall_limit_needs_no_server() {
    let mut run = Run::sh("sleep 60");
    run.spec.limits.wall = Some(Duration::from_millis(100));
    let exit = run.to_end();
    assert_eq!((exit.signal, exit.ended_by), (Some(15), EndedBy::WallLimit));
    assert!(exit.wall_us >= 100_000 && exit.wall_us < 5_000_000, "{exit:?}");
}

#[test]
fn a_child_that_lingers_is_ended() {
    let mut run = Run::sh("echo result; sleep 60");
    run.spec.limits.linger = Duration::from_millis(50);
    run.start();
    run.until_printed("result");
    run.handle().linger().unwrap();
    assert_eq!(run.exit().ended_by, EndedBy::Lingering);
}

#[test]
fn a_child_that_ends_within_the_linger_time_ended_by_itself() {
    let run = Run::sh("echo result; while [ ! -e go ]; do sleep 0.01; done");
    run.start();
    run.until_printed("result");
    run.handle().linger().unwrap();
    std::fs::write(run.home.path().join("go"), "").unwrap();
    let exit = run.exit();
    assert_eq!((exit.code, exit.ended_by), (Some(0), EndedBy::Itself));
}

#[test]
fn term_to_the_keeper_is_a_stop_order() {
    let run = Run::sh("echo ready; sleep 60");
    let pid = run.start();
    run.until_printed("ready");
    kill(pid.cast_signed(), Signal::HUP);
    kill(pid.cast_signed(), Signal::INT);
    kill(pid.cast_signed(), Signal::TERM);
    let exit = run.exit();
    assert_eq!((exit.signal, exit.ended_by), (Some(15), EndedBy::StopOrder));
    assert!(exit.reason.unwrap().contains("SIGTERM"));
}

#[test]
fn the_level_in_force_is_told_everywhere() {
    for level in LEVELS {
        let mut run = Run::sh("echo ready; sleep 60");
        run.spec.containment = level;
        run.start();
        run.until_printed("ready");
        let hello = run.handle().hello().unwrap();
        let keeper::Started::Yes(record) = keeper::probe(&run.folder).unwrap().started else { panic!() };
        run.handle().stop("enough").unwrap();
        let exit = run.exit();
        assert_eq!((hello.containment, record.containment), (exit.containment, exit.containment));
        if exit.containment != level {
            let told = run.notes().into_iter().any(|note| note["note"] == "containment_unavailable");
            assert!(told, "{level:?} was not to be had, and the log does not say so");
        }
    }
}

#[test]
fn limits_that_cannot_be_enforced_are_told() {
    let mut run = Run::sh("true");
    run.spec.limits.memory = Some(1 << 30);
    run.to_end();
    let notes = run.notes();
    assert!(
        notes.iter().any(|note| note["note"] == "limit_unenforced" && note["limit"] == "memory"),
        "{notes:?}"
    );
}

#[test]
fn a_killed_keeper_frees_the_lock_and_a_sweep_finds_what_it_left() {
    let script =
        "trap '' TERM HUP; setsid sh -c 'sleep 60' & setsid sleep 60 & echo ready; while :; do sleep 1; done";
    for level in LEVELS {
        let mut run = Run::sh(script);
        run.spec.containment = level;
        let pid = run.start().cast_signed();
        run.until_printed("ready");
        assert_eq!(keeper::probe(&run.folder).unwrap().holder_pid, Some(pid));
        kill(pid, Signal::KILL);
        run.until_keeper_left();
        let probe = keeper::probe(&run.folder).unwrap();
        assert_eq!((probe.holder_pid, probe.exit), (None, None));
        let swept = keeper::sweep_marked(&run.spec.run, 1, &run.folder).unwrap();
        assert_eq!(swept.left, NOBODY);
        assert!(swept.killed >= 3 || level == Containment::PidNamespace, "{level:?}: {swept:?}");
        assert_eq!(marked(&run.spec.run, 1), NOBODY);
        assert_eq!(keeper::sweep_marked(&run.spec.run, 1, &run.folder).unwrap().killed, 0);
    }
}

#[test]
fn a_sweep_spares_other_epochs_and_runs_whose_names_begin_alike() {
    let mut run = Run::sh("echo ready; sleep 60");
    run.spec.epoch = 12;
    run.start();
    run.until_printed("ready");
    let child = run.handle().hello().unwrap().child_pid.unwrap();
    assert_eq!(keeper::sweep_marked(&run.spec.run, 1, run.home.path()).unwrap().killed, 0);
    assert!(alive(child));
}

#[test]
fn a_keeper_that_does_not_answer_is_killed_with_its_run() {
    let run = Run::sh("setsid sleep 60 & echo ready; sleep 60");
    let pid = run.start().cast_signed();
    run.until_printed("ready");
    kill(pid, Signal::STOP);
    let swept = run.handle().kill_keeper().unwrap();
    assert!(swept.killed >= 2 && swept.left.is_empty(), "{swept:?}");
    let probe = keeper::probe(&run.folder).unwrap();
    assert_eq!((probe.holder_pid, probe.exit), (None, None));
    assert_eq!(marked(&run.spec.run, 1), NOBODY);
}

#[test]
fn a_child_is_in_its_cgroup_from_its_first_instruction() {
    let mut run = Run::of(&["/bin/cat", "/proc/self/cgroup"]);
    run.spec.containment = Containment::Cgroup;
    let exit = run.to_end();
    let keeper::Started::Yes(record) = keeper::probe(&run.folder).unwrap().started else { panic!() };
    let seen = String::from_utf8(run.printed(Stream::Stdout)).unwrap();
    match record.cgroup {
        Some(path) => {
            let name = path.rsplit('/').next().unwrap();
            assert!(seen.lines().any(|line| line.starts_with("0::") && line.ends_with(name)), "{seen}");
            assert!(!std::path::Path::new(&path).exists(), "{path} is still there");
        }
        None => assert_ne!(exit.containment, Containment::Cgroup),
    }
}

/// Kills the keeper and everybody in its run, and returns the cgroup that is left, empty.
fn deserted() -> Option<(Run, std::path::PathBuf)> {
    let mut run = Run::sh("setsid sleep 60 & echo ready; sleep 60");
    run.spec.containment = Containment::Cgroup;
    let pid = run.start().cast_signed();
    run.until_printed("ready");
    let keeper::Started::Yes(record) = keeper::probe(&run.folder).unwrap().started else { panic!() };
    kill(pid, Signal::KILL);
    run.until_keeper_left();
    // None: cgroups are not to be had on this machine.
    let path = std::path::PathBuf::from(record.cgroup?);
    std::fs::write(path.join("cgroup.kill"), "1").unwrap();
    run.until("an empty cgroup", || {
        let events = std::fs::read_to_string(path.join("cgroup.events")).unwrap();
        events.contains("populated 0").then_some(())
    });
    Some((run, path))
}

#[test]
fn a_cgroup_whose_processes_are_gone_goes_with_the_sweep() {
    let Some((run, path)) = deserted() else { return };
    let swept = keeper::sweep_marked(&run.spec.run, 1, &run.folder).unwrap();
    assert_eq!((swept.killed, swept.left), (0, vec![]));
    assert!(!path.exists());
}

#[test]
fn a_cgroup_that_nobody_swept_goes_with_the_folder() {
    for end in [|run: &Run| keeper::archive(&run.folder).map(|_| ()), |run: &Run| keeper::remove(&run.folder)]
    {
        let Some((run, path)) = deserted() else { return };
        assert!(path.exists());
        end(&run).unwrap();
        assert!(!path.exists());
    }
}
