//! At most one start per epoch, whatever comes late, twice or torn.

use std::process::{Command, Stdio};
use std::sync::Barrier;

use keeper::{KeeperError, LATE_EXIT, Launcher, Revocation, SETUP_EXIT, Started, TORN_EXIT};

use crate::support::{Run, file_names, finished, launcher, launcher_after};

/// Rounds of what depends on the moment; `BUGLE_SOAK` gives another number.
fn rounds(short: u64) -> u64 {
    std::env::var("BUGLE_SOAK").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(short)
}

#[test]
fn a_missing_folder_is_not_started() {
    let run = Run::sh("true");
    let probe = keeper::probe(&run.folder).unwrap();
    assert_eq!(
        (probe.started, probe.holder_pid, probe.exit, probe.spec_ok),
        (Started::No, None, None, false)
    );
}

#[test]
fn a_keeper_that_comes_after_a_revocation_leaves_without_starting() {
    let run = Run::sh("touch ran");
    std::fs::create_dir_all(&run.folder).unwrap();
    // Launched, and held up before it reads its message until the start was revoked.
    let held_up = launcher_after("while [ ! -e \"$1/go\" ]; do sleep 0.01; done");
    let pid = run.start_by(&held_up);
    assert_eq!(keeper::revoke(&run.folder).unwrap(), Revocation::Revoked);
    assert_eq!(keeper::revoke(&run.folder).unwrap(), Revocation::Revoked);
    std::fs::write(run.folder.join("go"), "").unwrap();
    let finished = run.until("the late keeper", || finished(pid));
    assert_eq!(finished, Some(i32::from(LATE_EXIT)));
    assert!(!run.home.path().join("ran").exists());
    assert_eq!(keeper::probe(&run.folder).unwrap().started, Started::Revoked);
}

#[test]
fn revoking_comes_too_late_for_a_started_run() {
    let run = Run::sh("true");
    run.to_end();
    assert_eq!(keeper::revoke(&run.folder).unwrap(), Revocation::AlreadyStarted);
    assert!(matches!(keeper::probe(&run.folder).unwrap().started, Started::Yes(_)));
}

#[test]
fn of_starts_and_revocations_at_the_same_time_exactly_one_wins() {
    for round in 0..rounds(12) {
        let run = Run::sh("echo x >> \"$OUT\"");
        let mut run = run;
        run.sealed.env.push(("OUT".to_owned(), run.home.path().join("ran").to_string_lossy().into_owned()));
        std::fs::create_dir_all(&run.folder).unwrap();
        let barrier = Barrier::new(5);
        let (launched, revoked): (Vec<u32>, Vec<Revocation>) = std::thread::scope(|scope| {
            let launch = || {
                barrier.wait();
                launcher().launch(&run.folder, &run.spec, &run.sealed).ok()
            };
            let revoke = || {
                barrier.wait();
                // Some rounds give the keepers the time they need to win.
                std::thread::sleep(std::time::Duration::from_micros(round % 12 * 400));
                keeper::revoke(&run.folder).unwrap()
            };
            let launches: Vec<_> = (0..3).map(|_| scope.spawn(launch)).collect();
            let revocations: Vec<_> = (0..2).map(|_| scope.spawn(revoke)).collect();
            (
                launches.into_iter().filter_map(|it| it.join().unwrap()).collect(),
                revocations.into_iter().map(|it| it.join().unwrap()).collect(),
            )
        });
        for pid in launched {
            run.until("all keepers", || finished(pid));
        }
        let runs = std::fs::read_to_string(run.home.path().join("ran")).unwrap_or_default().lines().count();
        let probe = keeper::probe(&run.folder).unwrap();
        match probe.started {
            Started::Revoked => {
                assert_eq!((runs, revoked), (0, vec![Revocation::Revoked; 2]));
            }
            Started::Yes(_) => {
                assert_eq!((runs, revoked), (1, vec![Revocation::AlreadyStarted; 2]));
                assert!(probe.spec_ok && probe.exit.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_second_launch_of_an_epoch_is_refused() {
    let run = Run::sh("echo ready; sleep 60");
    run.start();
    run.until_printed("ready");
    let second = launcher().launch(&run.folder, &run.spec, &run.sealed);
    assert!(matches!(second, Err(KeeperError::AlreadyStarted)), "{second:?}");
}

#[test]
fn a_torn_message_starts_nothing() {
    let run = Run::sh("true");
    std::fs::create_dir_all(&run.folder).unwrap();
    let keeper = env!("CARGO_BIN_EXE_keeper-under-test");
    let status = Command::new(keeper).arg(&run.folder).stdin(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(i32::from(TORN_EXIT)));
    assert_eq!(file_names(&run.folder), Vec::<String>::new());
}

#[test]
fn a_spec_of_another_launch_is_not_run() {
    let run = Run::sh("touch ran");
    std::fs::create_dir_all(&run.folder).unwrap();
    let held_up = launcher_after("while [ ! -e \"$1/go\" ]; do sleep 0.01; done");
    let pid = run.start_by(&held_up);
    let spec = std::fs::read_to_string(run.folder.join("spec")).unwrap();
    std::fs::write(run.folder.join("spec"), spec.replace("touch ran", "touch run")).unwrap();
    std::fs::write(run.folder.join("go"), "").unwrap();
    assert_eq!(run.until("the keeper", || finished(pid)), Some(i32::from(SETUP_EXIT)));
    assert_eq!(keeper::probe(&run.folder).unwrap().started, Started::No);
}

#[test]
fn a_message_larger_than_any_pipe_arrives() {
    let mut run = Run::of(&["wc", "-c"]);
    run.spec.stdin = keeper::Stdin::Once;
    run.sealed.stdin = vec![b'p'; 5_000_000];
    run.to_end();
    assert_eq!(run.printed(keeper::Stream::Stdout), b"5000000\n");
}

#[test]
fn a_keeper_that_does_not_take_a_large_message_is_not_waited_for() {
    let mut run = Run::of(&["true"]);
    run.sealed.stdin = vec![b'p'; 5_000_000];
    let leaves = Launcher { program: "/bin/true".into(), args: Vec::new() };
    let launched = leaves.launch(&run.folder, &run.spec, &run.sealed);
    assert!(matches!(launched, Err(KeeperError::Io { .. })), "{launched:?}");
}

#[test]
fn a_short_secret_is_refused_by_its_position() {
    let mut run = Run::sh("true");
    run.sealed.secrets = vec!["long enough".to_owned(), "short".to_owned()];
    let error = launcher().launch(&run.folder, &run.spec, &run.sealed).unwrap_err();
    assert!(matches!(error, KeeperError::SecretTooShort { position: 1 }));
    assert!(!error.to_string().contains("short:") && !format!("{error:?}").contains("\"short\""));
    assert!(!run.folder.exists());
}

#[test]
fn damaged_files_are_told_and_do_not_count_as_not_started() {
    let run = Run::sh("true");
    run.to_end();
    for (name, bytes) in [("started", &b"{half"[..]), ("exit", b"bugle-exit 9 00\n"), ("spec", b"\xff")] {
        std::fs::write(run.folder.join(name), bytes).unwrap();
    }
    let probe = keeper::probe(&run.folder).unwrap();
    assert_eq!((probe.started, probe.exit, probe.spec_ok), (Started::Unreadable, None, false));
    assert_eq!(keeper::revoke(&run.folder).unwrap(), Revocation::AlreadyStarted);
    assert!(launcher().launch(&run.folder, &run.spec, &run.sealed).is_err());
}

#[test]
fn the_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let run = Run::sh("echo ready; sleep 60");
    run.start();
    run.until_printed("ready");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&run.folder), 0o700);
    for name in file_names(&run.folder) {
        assert_eq!(mode(&run.folder.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn a_keeper_killed_at_any_moment_leaves_a_folder_that_can_be_decided() {
    let (mut before_start, mut after_start) = (0, 0);
    for round in 0..rounds(30) {
        let mut run = Run::sh("echo x >> ran; setsid sleep 60 & sleep 60");
        run.spec.containment =
            if round % 2 == 0 { keeper::Containment::Subreaper } else { keeper::Containment::Auto };
        let pid = run.start();
        // From before it has read anything until well after the child runs.
        std::thread::sleep(std::time::Duration::from_micros(round % 30 * 240));
        crate::support::kill(pid.cast_signed(), rustix::process::Signal::KILL);
        run.until("its end", || finished(pid));
        assert_eq!(keeper::probe(&run.folder).unwrap().holder_pid, None);
        match keeper::revoke(&run.folder).unwrap() {
            Revocation::Revoked => before_start += 1,
            Revocation::AlreadyStarted => after_start += 1,
        }
        let swept = keeper::sweep_marked(&run.spec.run, 1, &run.folder).unwrap();
        assert_eq!(swept.left, Vec::<i32>::new());
        assert_eq!(crate::support::marked(&run.spec.run, 1), Vec::<i32>::new());
        let probe = keeper::probe(&run.folder).unwrap();
        assert_eq!(probe.exit, None);
        if probe.started == Started::Revoked {
            assert_eq!(swept.killed, 0);
            assert!(!run.home.path().join("ran").exists(), "it ran, and could be started again");
        }
    }
    assert!(before_start > 0 && after_start > 0, "{before_start} before, {after_start} after");
}

#[test]
fn the_socket_is_private_and_the_child_has_the_mask_of_the_server() {
    use std::os::unix::fs::PermissionsExt;

    let run = Run::sh("umask; sleep 60");
    run.start_by(&launcher_after("umask 027"));
    let printed = run.until_printed("\n");
    assert_eq!(printed.trim().trim_start_matches('0'), "27");
    let mode = std::fs::metadata(run.folder.join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_keeper_that_is_just_coming_up_is_never_taken_for_one_that_is_gone() {
    for _ in 0..rounds(40) {
        let run = Run::sh("read never");
        let folder = run.folder.clone();
        let looking = std::thread::spawn(move || {
            loop {
                let seen = keeper::probe(&folder).unwrap();
                let is_gone = matches!(seen.started, Started::Yes(_)) && seen.holder_pid.is_none();
                assert!(!is_gone || seen.exit.is_some(), "a living keeper was taken for dead");
                if seen.exit.is_some() {
                    break;
                }
            }
        });
        run.to_end();
        looking.join().unwrap();
    }
}

/// The window between the look at the lock and the look at `started`, held open: `started` is a pipe, so the first look
/// has asked for the lock when the pipe has a reader, and sees what is written to it whenever the test wants.
#[test]
fn a_keeper_that_came_between_the_looks_at_lock_and_start_is_alive() {
    use std::io::Write;

    let run = Run::sh("echo ready; sleep 60");
    run.start();
    run.until_printed("ready");
    let started = std::fs::read(run.folder.join("started")).unwrap();
    let folder = run.home.path().join("coming-up");
    std::fs::create_dir(&folder).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("started"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let looking = std::thread::spawn({
        let folder = folder.clone();
        move || keeper::probe(&folder).unwrap()
    });
    // Opened when the other side is: nobody held the lock when it was asked for.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(folder.join("started")).unwrap();
    // Now the keeper comes: first its lock, then its start.
    std::fs::hard_link(run.folder.join("lock"), folder.join("lock")).unwrap();
    std::fs::copy(run.folder.join("started"), folder.join("started.new")).unwrap();
    std::fs::rename(folder.join("started.new"), folder.join("started")).unwrap();
    pipe.write_all(&started).unwrap();
    drop(pipe);
    let seen = looking.join().unwrap();
    assert!(matches!(seen.started, Started::Yes(_)), "{seen:?}");
    assert!(seen.holder_pid.is_some(), "a living keeper was taken for dead: {seen:?}");
}
