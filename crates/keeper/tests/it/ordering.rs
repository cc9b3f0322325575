//! Orders: who may give them, and what happens when nobody can answer.

use keeper::{EndedBy, Handle, KeeperError};
use rustix::process::Signal;

use crate::support::{Run, kill, launcher_after};

#[test]
fn a_lower_holder_is_refused_once_a_higher_one_was_seen() {
    let mut run = Run::sh("echo ready; sleep 60");
    run.spec.holder = 5;
    run.start();
    run.until_printed("ready");
    let (older, newer) = (Handle::new(&run.folder, 4), Handle::new(&run.folder, 6));
    assert!(matches!(older.stop("late"), Err(KeeperError::Refused)));
    run.handle().hello().unwrap();
    newer.hello().unwrap();
    for refused in
        [run.handle().hello().err(), run.handle().stop("x").err(), run.handle().feed(0, b"", true).err()]
    {
        assert!(matches!(refused, Some(KeeperError::Refused)), "{refused:?}");
    }
    newer.stop("by the newer").unwrap();
    assert_eq!(run.exit().reason.as_deref(), Some("by the newer"));
}

#[test]
fn hello_says_where_things_stand() {
    let run = Run::sh("echo ready; sleep 60");
    run.start();
    run.until_printed("ready");
    let hello = run.handle().hello().unwrap();
    assert_eq!(hello.log_bytes, run.frames().last().unwrap().next_offset);
    assert_eq!((hello.stdin_offset, hello.ended), (0, false));
    assert_eq!(run.handle().take_exit().unwrap(), None);
    run.handle().stop("enough").unwrap();
    assert_eq!(run.exit().child_pid, hello.child_pid);
}

#[test]
fn nobody_is_there_before_the_start_and_after_the_end() {
    let run = Run::sh("true");
    assert!(matches!(run.handle().hello(), Err(KeeperError::NotThere)));
    run.to_end();
    assert!(matches!(run.handle().stop("x"), Err(KeeperError::NotThere)));
}

#[test]
fn a_stopped_keeper_does_not_answer_and_can_go_on() {
    let run = Run::sh("echo ready; sleep 60");
    let pid = run.start().cast_signed();
    run.until_printed("ready");
    kill(pid, Signal::STOP);
    assert!(matches!(run.handle().hello(), Err(KeeperError::NotAnswering)));
    kill(pid, Signal::CONT);
    run.handle().stop("enough").unwrap();
    assert_eq!(run.exit().ended_by, EndedBy::StopOrder);
}

#[test]
fn nonsense_on_the_socket_hurts_nobody() {
    use std::io::{Read, Write};
    let run = Run::sh("echo ready; sleep 60");
    run.start();
    run.until_printed("ready");
    let connect = || std::os::unix::net::UnixStream::connect(run.folder.join("control.sock")).unwrap();
    let mut absurd = connect();
    absurd.write_all(&[0xff; 64]).unwrap();
    // Either way of dropping us will do.
    let _ = absurd.read(&mut [0; 8]);
    let mut unknown = connect();
    let header = br#"{"holder":1,"order":{"dance":{}}}"#;
    unknown.write_all(&[&(header.len() as u32).to_le_bytes()[..], &[0; 4], header].concat()).unwrap();
    let mut answer = [0; 8];
    unknown.read_exact(&mut answer).unwrap();
    let halves: Vec<_> = (0..20).map(|_| connect().write_all(&[1, 0])).collect();
    assert!(halves.iter().all(Result::is_ok));
    run.handle().hello().unwrap();
}

#[test]
fn a_path_longer_than_a_socket_address_works() {
    let mut run = Run::sh("echo ready; sleep 60");
    run.folder = run.home.path().join("x".repeat(120)).join("r/1");
    run.start();
    run.until_printed("ready");
    run.handle().stop("enough").unwrap();
    assert_eq!(run.exit().ended_by, EndedBy::StopOrder);
}

#[test]
fn an_exit_that_cannot_be_written_is_handed_over_on_the_socket() {
    let run = run_without_room_for_its_exit();
    let exit = run.until("the record on the socket", || run.handle().take_exit().ok().flatten());
    assert_eq!((exit.code, exit.run.as_str()), (Some(3), run.spec.run.as_str()));
    // However often it is asked, and fails to write, it stays.
    for _ in 0..20 {
        assert!(run.handle().hello().unwrap().ended);
    }
    // Asking takes nothing away: a server may die between asking and storing.
    assert_eq!(run.handle().take_exit().unwrap().as_ref(), Some(&exit));
    let probe = keeper::probe(&run.folder).unwrap();
    assert!(probe.exit.is_none() && probe.holder_pid.is_some());
    run.handle().release_exit().unwrap();
    run.until_keeper_left();
    assert!(keeper::probe(&run.folder).unwrap().exit.is_none());
}

#[test]
fn an_exit_is_written_after_all_when_there_is_room_again() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let run = run_without_room_for_its_exit();
    let exit = run.until("the record on the socket", || run.handle().take_exit().ok().flatten());
    let pid = keeper::probe(&run.folder).unwrap().holder_pid.unwrap();
    let now = getrlimit(Resource::Fsize);
    prlimit(Pid::from_raw(pid), Resource::Fsize, Rlimit { current: now.maximum, ..now }).unwrap();
    // Any order makes it look again, if it has not yet; without one it would within seconds.
    let _ = run.handle().hello();
    run.until_keeper_left();
    assert_eq!(keeper::probe(&run.folder).unwrap().exit, Some(exit));
}

fn run_without_room_for_its_exit() -> Run {
    let mut run = Run::sh("exit 3");
    // In one block of a file the start record and the log have room; the exit record has not.
    run.spec.run = "long".repeat(100);
    run.start_by(&launcher_after("ulimit -S -f 1"));
    run
}
