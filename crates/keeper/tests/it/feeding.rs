//! Input for the child.

use keeper::{KeeperError, Stdin, Stream};

use crate::support::Run;

fn open(script: &str, first: &str) -> Run {
    let mut run = Run::sh(script);
    run.spec.stdin = Stdin::Open;
    run.sealed.stdin = first.as_bytes().to_vec();
    run.start();
    run.until("the keeper", || run.handle().hello().ok());
    run
}

#[test]
fn closed_input_is_empty_input() {
    let run = Run::of(&["cat"]);
    assert_eq!(run.to_end().code, Some(0));
    assert_eq!(run.printed(Stream::Stdout), b"");
}

#[test]
fn input_given_once_ends() {
    let mut run = Run::of(&["cat"]);
    run.spec.stdin = Stdin::Once;
    run.sealed.stdin = b"all there is".to_vec();
    run.to_end();
    assert_eq!(run.printed(Stream::Stdout), b"all there is");
    assert_eq!(run.printed(Stream::Stdin), b"all there is");
    assert!(matches!(run.handle().feed(0, b"", true), Err(KeeperError::NotThere)));
}

#[test]
fn feeding_is_idempotent_by_offset_and_logged() {
    let run = open("cat", "one ");
    let handle = run.handle();
    assert_eq!(handle.hello().unwrap().stdin_offset, 4);
    assert_eq!(handle.feed(4, b"two ", false).unwrap(), 8);
    assert_eq!(handle.feed(4, b"two ", false).unwrap(), 8);
    assert_eq!(handle.feed(0, b"one two three ", false).unwrap(), 14);
    assert!(matches!(handle.feed(20, b"hole", false), Err(KeeperError::BadOffset)));
    run.until_printed("three");
    assert_eq!(handle.feed(14, b"end", true).unwrap(), 17);
    assert_eq!(run.exit().code, Some(0));
    assert_eq!(run.printed(Stream::Stdout), b"one two three end");
    assert_eq!(run.printed(Stream::Stdin), b"one two three end");
}

#[test]
fn a_child_that_does_not_read_gets_the_rest_later() {
    let run = open("while [ ! -e go ]; do sleep 0.01; done; wc -c", "");
    let all = vec![b'x'; 3_000_000];
    let taken = run.handle().feed(0, &all, true).unwrap();
    assert!(taken > 0 && taken < 3_000_000, "{taken}");
    std::fs::write(run.home.path().join("go"), "").unwrap();
    let mut offset = taken;
    while offset < 3_000_000 {
        offset = run.handle().feed(offset, &all[usize::try_from(offset).unwrap()..], true).unwrap();
    }
    run.exit();
    assert_eq!(run.printed(Stream::Stdout), b"3000000\n");
}

#[test]
fn a_child_that_closed_its_input_is_not_fed() {
    let run = open("exec 0<&-; echo closed; sleep 60", "");
    run.until_printed("closed");
    let refused = run.until("the closed pipe", || {
        let offset = run.handle().hello().unwrap().stdin_offset;
        run.handle().feed(offset, b"x", false).err()
    });
    assert!(matches!(refused, KeeperError::StdinClosed), "{refused:?}");
}

#[test]
fn a_secret_that_is_fed_in_two_halves_is_not_logged() {
    let mut run = Run::of(&["cat"]);
    run.spec.stdin = Stdin::Open;
    run.sealed.secrets = vec!["hunter2hunter2".to_owned()];
    run.start();
    run.until("the keeper", || run.handle().hello().ok());
    run.handle().feed(0, b"<hunter2", false).unwrap();
    run.handle().feed(8, b"hunter2>", true).unwrap();
    run.exit();
    assert_eq!(run.printed(Stream::Stdin), b"<***REDACTED***>");
    assert_eq!(run.printed(Stream::Stdout), b"<***REDACTED***>");
}
