//! The log: what is replaced, what is cut, what is damaged.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;

use keeper::{KeeperError, LogReader, Stream};

use crate::support::{Run, all_frames, bytes_of, launcher_after};

#[test]
fn a_secret_printed_in_two_halves_with_a_pause_is_not_logged() {
    let mut run = Run::sh(
        "printf 'a hunter2'; echo half >&2; while [ ! -e go ]; do sleep 0.01; done; printf 'hunter2 b'",
    );
    run.sealed.secrets = vec!["hunter2hunter2".to_owned()];
    run.start();
    run.until("the first half", || {
        let reader = LogReader::open(&run.folder).ok()?;
        let mut reader = reader;
        let frames = all_frames(&mut reader);
        (!bytes_of(&frames, Stream::Stderr).is_empty() && !bytes_of(&frames, Stream::Stdout).is_empty())
            .then_some(())
    });
    assert_eq!(run.printed(Stream::Stdout), b"a ");
    std::fs::write(run.home.path().join("go"), "").unwrap();
    run.exit();
    assert_eq!(run.printed(Stream::Stdout), b"a ***REDACTED*** b");
}

#[test]
fn what_was_held_back_comes_at_the_end() {
    let mut run = Run::sh("printf 'ends like hunter2'");
    run.sealed.secrets = vec!["hunter2hunter2".to_owned()];
    run.to_end();
    assert_eq!(run.printed(Stream::Stdout), b"ends like hunter2");
}

#[test]
fn images_and_user_names_are_replaced_when_asked() {
    let image = format!(
        r#"{{"type":"image","source":{{"type":"base64","data":"{}"}}}} by bob, not bobby"#,
        "A".repeat(3000)
    );
    let mut run = Run::of(&["printf", "%s", &image]);
    run.spec.redact_images = true;
    run.spec.censor_users = vec!["bob".to_owned()];
    run.to_end();
    let printed = String::from_utf8(run.printed(Stream::Stdout)).unwrap();
    assert!(printed.contains("3000 characters") && !printed.contains("AAAA"), "{printed}");
    assert!(printed.ends_with("by b**, not bobby"), "{printed}");
}

#[test]
fn over_the_hard_limit_the_middle_goes_and_offsets_stay() {
    let mut run = Run::sh(
        "i=0; while [ $i -lt 400 ]; do printf '%01000d\n' $i; i=$((i+1)); [ $((i%50)) = 0 ] && sleep 0.01; done; :",
    );
    run.spec.limits.log_head = 20_000;
    run.spec.limits.log_tail = 10_000;
    run.spec.limits.log_hard = 100_000;
    // The writer keeps a megabyte of room at least: print more than that.
    run.spec.argv[2] = run.spec.argv[2].replace("400", "4000").replace("i%50", "i%500");
    run.start();
    // This reader keeps up, or at least stays on the files it has open: it loses nothing.
    let mut live = run.until("the log", || LogReader::open(&run.folder).ok());
    let mut seen = Vec::new();
    let exit = run.until("the end", || {
        seen.extend(all_frames(&mut live));
        keeper::probe(&run.folder).unwrap().exit
    });
    seen.extend(all_frames(&mut live));
    assert_eq!(live.offset(), exit.log_end);
    assert!(exit.dropped_bytes > 1_000_000 && exit.log_bytes < 2_500_000, "{exit:?}");
    assert!(exit.log_end > 4_000_000);

    let kept = run.frames();
    let gap =
        kept.iter().position(|frame| note(frame).is_some_and(|it| it["note"] == "gap")).expect("a gap frame");
    let gap_note = note(&kept[gap]).unwrap();
    assert_eq!(gap_note["droppedBytes"], exit.dropped_bytes);
    assert_eq!(kept[gap].next_offset, kept[gap + 1].offset);
    assert!(kept[gap].offset <= 64 + 20_000);
    // Every frame that is still there is the same frame at the same offset for a reader that saw it before.
    for frame in &kept {
        let known = seen.iter().find(|it| it.offset == frame.offset && it.seq == frame.seq);
        if note(frame).is_none_or(|it| it["note"] != "gap") {
            assert_eq!(known, Some(frame));
        }
    }
    // A later reader with an offset inside the gap is led to it, and told.
    let lost =
        seen.iter().find(|it| it.offset > kept[gap].offset && it.offset < kept[gap].next_offset).unwrap();
    let mut later = LogReader::open(&run.folder).unwrap();
    later.seek(lost.offset).unwrap();
    assert_eq!(later.next().unwrap().as_ref(), Some(&kept[gap]));
    later.seek(kept[gap + 1].offset).unwrap();
    assert_eq!(later.next().unwrap().as_ref(), Some(&kept[gap + 1]));
    let file = std::fs::read(run.folder.join("log")).unwrap();
    assert_eq!((exit.log_bytes, exit.log_sha256.as_str()), (file.len() as u64, ""));
}

fn note(frame: &keeper::Frame) -> Option<serde_json::Value> {
    (frame.stream == Stream::Keeper).then(|| serde_json::from_slice(&frame.bytes).unwrap())
}

#[test]
fn a_disk_that_refuses_output_does_not_stop_the_child() {
    // Sixteen blocks are full long before the child has printed everything.
    let run = Run::sh("head -c 300000 /dev/zero; echo done > finished");
    run.start_by(&launcher_after("ulimit -f 16"));
    let exit = run.exit();
    assert!(run.home.path().join("finished").exists());
    assert_eq!(exit.code, Some(0));
    let kept = run.printed(Stream::Stdout).len() as u64;
    assert_eq!(kept + exit.dropped_bytes, 300_000);
    assert!(exit.dropped_bytes > 0);
}

#[test]
fn half_a_frame_is_not_there_yet() {
    let run = Run::sh("echo one; echo two >&2");
    run.to_end();
    let path = run.folder.join("log");
    let whole = std::fs::read(&path).unwrap();
    let frames = run.frames();
    let last = frames.last().unwrap();
    for cut in last.offset..last.next_offset {
        std::fs::write(&path, &whole[..usize::try_from(cut).unwrap()]).unwrap();
        let mut reader = LogReader::open(&run.folder).unwrap();
        assert_eq!(all_frames(&mut reader), frames[..frames.len() - 1], "cut at {cut}");
        assert_eq!(reader.offset(), last.offset);
        // And then it comes.
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(reader.next().unwrap().as_ref(), Some(last));
    }
}

#[test]
fn a_damaged_frame_is_reported_at_its_offset() {
    let run = Run::sh("echo one; echo two >&2");
    run.to_end();
    let frames = run.frames();
    let path = run.folder.join("log");
    let whole = std::fs::read(&path).unwrap();
    let damaged = &frames[1];
    for at in damaged.offset..damaged.next_offset {
        std::fs::write(&path, &whole).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[whole[usize::try_from(at).unwrap()] ^ 0x10], at).unwrap();
        let mut reader = LogReader::open(&run.folder).unwrap();
        assert_eq!(reader.next().unwrap().as_ref(), Some(&frames[0]));
        for _ in 0..2 {
            let error = reader.next().unwrap_err();
            assert!(
                matches!(error, KeeperError::Corrupt { offset, .. } if offset == damaged.offset),
                "{error:?}"
            );
        }
        // What follows can still be reached by whoever knows where it is.
        reader.seek(damaged.next_offset).unwrap();
        assert_eq!(reader.next().unwrap().as_ref(), Some(&frames[2]));
    }
    OpenOptions::new().write(true).open(&path).unwrap().write_all(b"not a log").unwrap();
    assert!(matches!(LogReader::open(&run.folder), Err(KeeperError::Corrupt { offset: 0, .. })));
}

#[test]
fn only_borders_of_frames_are_offsets() {
    // The child prints a log, header and frames: they must not be taken for this log's own.
    let first = Run::sh("echo inner");
    first.to_end();
    let run = Run::of(&["cat", first.folder.join("log").to_str().unwrap()]);
    run.to_end();
    let frames = run.frames();
    let end = frames.last().unwrap().next_offset;
    let mut borders: Vec<u64> = frames.iter().map(|frame| frame.offset).collect();
    borders.extend([0, end]);
    let mut reader = LogReader::open(&run.folder).unwrap();
    for offset in 0..end + 100 {
        let found = reader.seek(offset);
        if borders.contains(&offset) {
            assert!(found.is_ok(), "{offset}");
        } else {
            assert!(matches!(found, Err(KeeperError::BadOffset)), "{offset}");
        }
    }
}
