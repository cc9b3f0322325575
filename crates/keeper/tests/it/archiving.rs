//! A settled run as one file, and every crash on the way there.

use keeper::{KeeperError, LogReader, Revocation, Started, Stream};

use crate::support::{Run, all_frames, bytes_of, file_names, launcher};

fn settled() -> Run {
    // More than two blocks, and not all of it compresses to nothing.
    let run = Run::sh(
        "head -c 300000 /dev/urandom; i=0; while [ $i -lt 3000 ]; do echo line $i of the log; i=$((i+1)); done; head -c 300000 /dev/zero",
    );
    run.to_end();
    run
}

#[test]
fn an_archive_reads_like_the_folder_it_was() {
    let run = settled();
    let (probe, frames) = (keeper::probe(&run.folder).unwrap(), run.frames());
    let exit = probe.exit.clone().unwrap();
    let mut before = LogReader::open(&run.folder).unwrap();
    let first = before.next().unwrap().unwrap();

    let info = keeper::archive(&run.folder).unwrap();
    assert_eq!((info.bytes, &info.sha256), (exit.log_bytes, &exit.log_sha256));
    assert!(info.compressed_bytes < info.bytes);
    assert!(!run.folder.exists());
    assert_eq!(file_names(run.folder.parent().unwrap()), ["1.run"]);

    assert_eq!(keeper::probe(&run.folder).unwrap(), probe);
    assert_eq!(run.frames(), frames);
    let mut reader = LogReader::open(&run.folder).unwrap();
    for frame in frames.iter().rev().step_by(7) {
        reader.seek(frame.offset).unwrap();
        assert_eq!(reader.next().unwrap().as_ref(), Some(frame));
    }
    assert!(matches!(reader.seek(frames[1].offset + 1), Err(KeeperError::BadOffset)));
    // A reader that was open goes on as if nothing had happened.
    let mut rest = vec![first];
    rest.extend(all_frames(&mut before));
    assert_eq!(rest, frames);
    assert_eq!(keeper::archive(&run.folder).unwrap(), info);
}

#[test]
fn an_archived_run_cannot_be_started_again() {
    let run = Run::sh("true");
    run.to_end();
    keeper::archive(&run.folder).unwrap();
    assert_eq!(keeper::revoke(&run.folder).unwrap(), Revocation::AlreadyStarted);
    let again = launcher().launch(&run.folder, &run.spec, &run.sealed);
    assert!(matches!(again, Err(KeeperError::AlreadyStarted)));
    assert!(matches!(keeper::probe(&run.folder).unwrap().started, Started::Yes(_)));
    assert!(!run.folder.exists());
}

#[test]
fn archiving_survives_a_crash_at_every_step() {
    let run = settled();
    let copy = run.home.path().join("copy");
    copy_folder(&run.folder, &copy);
    let parent = run.folder.parent().unwrap().to_owned();
    let frames = run.frames();
    let info = keeper::archive(&run.folder).unwrap();
    let archive = std::fs::read(parent.join("1.run")).unwrap();

    // Half of it written under its draft name.
    std::fs::remove_file(parent.join("1.run")).unwrap();
    copy_folder(&copy, &run.folder);
    std::fs::write(parent.join("1.run.tmp"), &archive[..archive.len() / 2]).unwrap();
    assert_eq!(run.frames(), frames, "the folder still counts");
    assert_eq!(keeper::archive(&run.folder).unwrap().sha256, info.sha256);
    assert_eq!(file_names(&parent), ["1.run"]);

    // Renamed, and the folder still there.
    copy_folder(&copy, &run.folder);
    assert_eq!(run.frames(), frames);
    assert_eq!(keeper::archive(&run.folder).unwrap().sha256, info.sha256);
    assert_eq!(file_names(&parent), ["1.run"]);

    // The folder set aside and half removed.
    copy_folder(&copy, &parent.join("1.gone"));
    std::fs::remove_file(parent.join("1.gone/started")).unwrap();
    assert_eq!(run.frames(), frames);
    keeper::archive(&run.folder).unwrap();
    assert_eq!(file_names(&parent), ["1.run"]);
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in file_names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn archiving_cuts_to_the_budget_and_keeps_offsets() {
    let mut run =
        Run::sh("i=0; while [ $i -lt 300 ]; do printf '%0999d\n' $i; sleep 0.0005; i=$((i+1)); done");
    run.spec.limits.log_head = 50_000;
    run.spec.limits.log_tail = 20_000;
    let exit = run.to_end();
    assert_eq!(exit.dropped_bytes, 0, "nothing is dropped while somebody may still want to read it");
    let before = run.frames();
    assert_eq!(bytes_of(&before, Stream::Stdout).len(), 300_000);
    let info = keeper::archive(&run.folder).unwrap();
    assert!(info.bytes <= 64 + 50_000 + 20_000 + 300, "{info:?}");
    let after = run.frames();
    let gap =
        after.windows(2).position(|pair| pair[0].next_offset - pair[0].offset > 100_000).expect("a gap");
    for frame in after[..gap].iter().chain(&after[gap + 1..]) {
        assert!(before.contains(frame), "{} moved or changed", frame.offset);
    }
    let mut reader = LogReader::open(&run.folder).unwrap();
    reader.seek(before[before.len() / 2].offset).unwrap();
    assert_eq!(reader.next().unwrap().as_ref(), Some(&after[gap]));
    assert_eq!(after.last().unwrap().next_offset, exit.log_end);
}

#[test]
fn a_living_run_is_not_archived_nor_removed() {
    let run = Run::sh("echo ready; sleep 60");
    run.start();
    run.until_printed("ready");
    assert!(matches!(keeper::archive(&run.folder), Err(KeeperError::StillAlive { .. })));
    assert!(matches!(keeper::remove(&run.folder), Err(KeeperError::StillAlive { .. })));
    assert!(run.folder.join("started").exists());
}

#[test]
fn a_damaged_run_can_be_archived_and_tells_its_damage() {
    let run = Run::sh("echo one");
    run.to_end();
    std::fs::write(run.folder.join("spec"), "{").unwrap();
    let path = run.folder.join("log");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    keeper::archive(&run.folder).unwrap();
    let mut reader = LogReader::open(&run.folder).unwrap();
    let ending = std::iter::from_fn(|| reader.next().transpose()).last_or_error();
    assert!(matches!(ending, Some(KeeperError::Corrupt { .. })));
    assert!(!keeper::probe(&run.folder).unwrap().spec_ok);
}

trait LastOrError {
    fn last_or_error(self) -> Option<KeeperError>;
}

impl<I: Iterator<Item = Result<keeper::Frame, KeeperError>>> LastOrError for I {
    fn last_or_error(mut self) -> Option<KeeperError> {
        self.find_map(Result::err)
    }
}

#[test]
fn a_damaged_archive_is_reported() {
    let run = settled();
    keeper::archive(&run.folder).unwrap();
    let path = run.folder.parent().unwrap().join("1.run");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(keeper::probe(&run.folder), Err(KeeperError::Corrupt { .. })));
    assert!(matches!(LogReader::open(&run.folder), Err(KeeperError::Corrupt { .. })));
    let mut bent = whole.clone();
    bent[100_000] ^= 1;
    std::fs::write(&path, bent).unwrap();
    let mut reader = LogReader::open(&run.folder).unwrap();
    let ending = std::iter::from_fn(|| reader.next().transpose()).last_or_error();
    assert!(matches!(ending, Some(KeeperError::Corrupt { .. })), "{ending:?}");
}

#[test]
fn removing_leaves_nothing_and_may_be_repeated() {
    let run = Run::sh("true");
    run.to_end();
    let parent = run.folder.parent().unwrap();
    keeper::archive(&run.folder).unwrap();
    for _ in 0..2 {
        keeper::remove(&run.folder).unwrap();
        assert_eq!(file_names(parent), Vec::<String>::new());
    }
    assert!(matches!(keeper::archive(&run.folder), Err(KeeperError::NotThere)));
    assert!(matches!(LogReader::open(&run.folder), Err(KeeperError::NotThere)));
}
