//! One ordinary life: output, exit codes, errors of starting.

use keeper::{EndedBy, Started, Stream};

use crate::support::{Run, argv, file_names, finished, launcher};

#[test]
fn output_arrives_byte_for_byte_also_when_it_is_not_text() {
    let run = Run::sh("printf 'a\\000b\\377\\376\\n'; printf 'wrong\\n' >&2; printf 'no newline'");
    let exit = run.to_end();
    assert_eq!((exit.code, exit.signal, exit.executed), (Some(0), None, true));
    assert_eq!(run.printed(Stream::Stdout), b"a\0b\xff\xfe\nno newline");
    assert_eq!(run.printed(Stream::Stderr), b"wrong\n");
    let seqs: Vec<u64> = run.frames().iter().map(|frame| frame.seq).collect();
    assert_eq!(seqs, (0..seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(exit.log_end, run.frames().last().unwrap().next_offset);
}

#[test]
fn a_large_output_is_complete_and_its_hash_is_right() {
    let run = Run::sh("head -c 20000000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero >&2");
    let exit = run.to_end();
    let printed = run.printed(Stream::Stdout);
    assert_eq!(printed.len(), 20_000_000);
    assert!(printed.iter().all(|&byte| byte == b'x'));
    assert_eq!(run.printed(Stream::Stderr).len(), 100_000);
    let file = std::fs::read(run.folder.join("log")).unwrap();
    assert_eq!(exit.log_bytes, file.len() as u64);
    assert_eq!(exit.log_sha256, hash(&file));
    assert_eq!(exit.dropped_bytes, 0);
}

fn hash(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let exit = Run::sh("exit 37").to_end();
    assert_eq!((exit.code, exit.signal, exit.ended_by), (Some(37), None, EndedBy::Itself));
    let exit = Run::sh("kill -9 $$").to_end();
    assert_eq!((exit.code, exit.signal, exit.ended_by), (None, Some(9), EndedBy::Itself));
}

#[test]
fn times_and_memory_are_measured() {
    let exit = Run::sh("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done").to_end();
    assert!(exit.cpu_us > 0 && exit.wall_us >= 1000 && exit.ended_at_us > exit.started_at_us, "{exit:?}");
    assert!(exit.peak_memory_bytes > 100_000, "{exit:?}");
}

#[test]
fn the_child_gets_the_given_environment_and_the_mark_and_nothing_else() {
    let mut run = Run::of(&["env"]);
    run.sealed.env.push(("A".to_owned(), "1 2".to_owned()));
    run.sealed.env.push(("BUGLE_RUN".to_owned(), "forged/9".to_owned()));
    run.to_end();
    let printed = String::from_utf8(run.printed(Stream::Stdout)).unwrap();
    let mark = format!("BUGLE_RUN={}/1", run.spec.run);
    assert_eq!(printed.lines().collect::<Vec<_>>(), ["PATH=/usr/bin:/bin", "A=1 2", mark.as_str()]);
}

#[test]
fn the_child_has_its_own_session_three_descriptors_and_no_new_privileges() {
    let run = Run::sh(
        "cut -d' ' -f1,5,6 /proc/$$/stat; grep NoNewPrivs /proc/$$/status; pwd; exec ls /proc/self/fd",
    );
    let exit = run.to_end();
    let printed = String::from_utf8(run.printed(Stream::Stdout)).unwrap();
    let pid = exit.child_pid.unwrap();
    let here = std::fs::canonicalize(run.home.path()).unwrap();
    // The fourth is the folder that `ls` reads.
    let wanted = format!("{pid} {pid} {pid}\nNoNewPrivs:\t1\n{}\n0\n1\n2\n3\n", here.display());
    assert_eq!(printed, wanted);
}

#[test]
fn no_signal_is_ignored_or_blocked_in_the_child() {
    let run = Run::of(&["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"]);
    run.to_end();
    let printed = String::from_utf8(run.printed(Stream::Stdout)).unwrap();
    for line in printed.lines() {
        let mask = u64::from_str_radix(line.split('\t').next_back().unwrap(), 16).unwrap();
        // Two that the C library keeps for itself cannot be reset.
        assert_eq!(mask & !(0b11 << 31), 0, "{line}");
    }
    assert_eq!(printed.lines().count(), 2);
}

#[test]
fn new_privileges_can_be_allowed() {
    let mut run = Run::sh("grep NoNewPrivs /proc/$$/status");
    run.spec.no_new_privs = false;
    run.to_end();
    assert_eq!(run.printed(Stream::Stdout), b"NoNewPrivs:\t0\n");
}

#[test]
fn what_cannot_be_executed_is_explained() {
    let cases: &[(&[&str], &str)] = &[
        (&["no-such-program"], "ENOENT: no program no-such-program in PATH (/usr/bin:/bin)"),
        (&["/no/such/program"], "ENOENT: program /no/such/program does not exist"),
        (&["./plain"], "EACCES: ./plain is not executable"),
        (&["./broken"], "ENOENT: ./broken exists, but the interpreter it asks for does not"),
        (&["./text"], "ENOEXEC: ./text is neither a program for this machine nor a script with a #! line"),
        (&["/bin/echo", "a\0b"], "EINVAL: argument 1 holds a NUL byte"),
    ];
    for (words, wanted) in cases {
        let run = Run::of(words);
        let put = |name: &str, text: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt;
            let path = run.home.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("plain", "data", 0o600);
        put("broken", "#!/no/such/interpreter\n", 0o700);
        put("text", "just words\n", 0o700);
        let exit = run.to_end();
        assert_eq!(exit.exec_error.as_deref(), Some(*wanted));
        assert_eq!((exit.executed, exit.code, exit.signal), (false, None, None), "{words:?}");
    }
}

#[test]
fn a_missing_working_folder_is_named() {
    let mut run = Run::sh("true");
    run.spec.cwd = run.home.path().join("gone");
    let wanted = format!("ENOENT: working folder {} does not exist", run.spec.cwd.display());
    assert_eq!(run.to_end().exec_error, Some(wanted));
}

#[test]
fn the_program_is_looked_for_in_the_childs_path() {
    let mut run = Run::of(&["mine"]);
    let path = run.home.path().join("mine");
    std::fs::write(&path, "#!/bin/sh\necho found\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    run.sealed.env = vec![("PATH".to_owned(), format!("/nowhere:{}", run.home.path().display()))];
    assert_eq!(run.to_end().code, Some(0));
    assert_eq!(run.printed(Stream::Stdout), b"found\n");
}

#[test]
fn the_log_tells_the_life_and_the_folder_is_left_tidy() {
    let run = Run::of(&["/bin/true"]);
    let exit = run.to_end();
    let notes = run.notes();
    assert_eq!(notes[0]["note"], "exec_ok");
    assert_eq!(notes[0]["pid"], exit.child_pid.unwrap());
    assert_eq!(notes[0]["startedAtUs"], exit.started_at_us);
    assert_eq!(notes.last().unwrap()["note"], "ended");
    assert_eq!(file_names(&run.folder), argv(&["exit", "keeper.err", "lock", "log", "spec", "started"]));
    assert_eq!(run.complaints(), "");
    let probe = keeper::probe(&run.folder).unwrap();
    assert!(probe.spec_ok && probe.exit == Some(exit));
    let Started::Yes(record) = probe.started else { panic!("{:?}", probe.started) };
    assert_eq!(record.boot_id, keeper::boot_id());
}

#[test]
fn nothing_secret_is_in_the_folder_or_in_what_the_keeper_shows() {
    let mut run = Run::sh("echo \"$TOKEN\"; cat; echo ready; exec sleep 60");
    let secret = "s3cr3t-value-of-the-run";
    run.sealed.env.push(("TOKEN".to_owned(), secret.to_owned()));
    run.sealed.secrets.push(secret.to_owned());
    run.sealed.stdin = format!("the prompt names {secret} too\n").into_bytes();
    run.spec.stdin = keeper::Stdin::Once;
    let pid = run.start();
    run.until_printed("ready");
    for shown in ["environ", "cmdline"] {
        let bytes = std::fs::read(format!("/proc/{pid}/{shown}")).unwrap();
        assert!(!contains(&bytes, secret.as_bytes()), "{shown}");
        assert!(!contains(&bytes, b"BUGLE_RUN"), "{shown}");
    }
    run.handle().stop("done").unwrap();
    run.until_keeper_left();
    for name in file_names(&run.folder) {
        let bytes = std::fs::read(run.folder.join(&name)).unwrap();
        assert!(!contains(&bytes, secret.as_bytes()), "{name}");
    }
    let text = String::from_utf8(run.printed(Stream::Stdout)).unwrap();
    assert_eq!(text, "***REDACTED***\nthe prompt names ***REDACTED*** too\nready\n");
    assert_eq!(run.printed(Stream::Stdin), b"the prompt names ***REDACTED*** too\n");
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn a_keeper_whose_folder_was_removed_leaves_when_its_child_ends() {
    let run = Run::sh("rm -rf runs/r/1; exit 3");
    let pid = launcher().launch(&run.folder, &run.spec, &run.sealed).unwrap();
    run.until("the keeper's end", || finished(pid));
}
