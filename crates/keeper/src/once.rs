//! A program that is run once, within bounds, by whoever waits for it: to look whether it works at all.
//!
//! It is no run: it has no folder, no keeper and no log, and does not outlive the caller on purpose. When [`run_once`]
//! returns nothing of it is left: its process group is killed before its leader is reaped, and after that everything that
//! carries its mark.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::error::KeeperError;
use crate::spec;
use crate::sweep::{Swept, sweep_by_mark};

/// More of an output is not kept.
const MOST_OUTPUT: u64 = 1 << 20;
/// A pipe that is still open when everybody who could write to it was killed is held by somebody who got away.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Once<'a> {
    /// The program, a path, and its arguments.
    pub argv: &'a [String],
    pub cwd: &'a Path,
    /// All of its environment.
    pub env: &'a [(String, String)],
    pub stdin: &'a [u8],
    /// What its processes are found by; nobody else's.
    pub mark: &'a str,
    pub limit: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// `None` after a signal.
    pub code: Option<i32>,
    /// It was ended at the limit.
    pub timed_out: bool,
    /// What could not be ended.
    pub left: Vec<i32>,
}

/// Runs a program to its end, or to the limit. Blocks for as long as that takes.
pub fn run_once(once: Once<'_>) -> Result<Ran, KeeperError> {
    let [program, arguments @ ..] = once.argv else {
        return Err(KeeperError::Io {
            what: "start nothing".to_owned(),
            source: std::io::ErrorKind::InvalidInput.into(),
        });
    };
    let mark = spec::mark(once.mark, 0);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(once.cwd)
        .env_clear()
        .envs(once.env.iter().cloned())
        .env(spec::MARK, &mark);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(KeeperError::io(format!("start `{program}`")))?;
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    feed(&mut child, once.stdin);
    let over = end_of(&child);
    let timed_out = over.recv_timeout(once.limit).is_err();
    // The leader is not reaped yet, so that its number is still its own.
    if let Some(group) = pid_of(&child) {
        // Nobody left to kill is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().map_err(KeeperError::io(format!("wait for `{program}`")))?;
    let mut swept = Swept::default();
    sweep_by_mark(format!("{}={mark}", spec::MARK).as_bytes(), &mut swept);
    let text = |pipe: Receiver<Vec<u8>>| pipe.recv_timeout(LAST_WORDS).unwrap_or_default();
    Ok(Ran { stdout: text(out), stderr: text(err), code: status.code(), timed_out, left: swept.left })
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Rings when the process has ended; it is left to be reaped.
fn end_of(child: &Child) -> Receiver<()> {
    let (ended, over) = channel();
    if let Some(pid) = pid_of(child) {
        std::thread::spawn(move || {
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
            // Whoever waited may have given up.
            let _ = ended.send(());
        });
    }
    over
}

/// Reads a pipe to its end on a thread of its own; keeps the beginning.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (read, text) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error counts.
            let _ = pipe.by_ref().take(MOST_OUTPUT).read_to_end(&mut kept);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        let _ = read.send(kept);
    });
    text
}

/// Writes the input on a thread of its own: a program that does not read must not stop us.
fn feed(child: &mut Child, input: &[u8]) {
    let (Some(mut stdin), input) = (child.stdin.take(), input.to_vec()) else { return };
    std::thread::spawn(move || {
        // A program may end without having read all of it.
        let _ = stdin.write_all(&input);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, mark: &str, limit: Duration) -> Ran {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        run_once(Once { argv: &argv, cwd: Path::new("/"), env: &env, stdin: b"in", mark, limit }).unwrap()
    }

    #[test]
    fn a_program_says_what_it_has_to_say() {
        let ran = run("cat; echo err >&2; exit 3", "once-says", Duration::from_secs(20));
        assert_eq!((ran.stdout.as_slice(), ran.stderr.as_slice()), (&b"in"[..], &b"err\n"[..]));
        assert_eq!((ran.code, ran.timed_out), (Some(3), false));
    }

    #[test]
    fn nothing_of_it_is_left_at_the_limit_or_before() {
        let mark = format!("{}={}", spec::MARK, spec::mark("once-left", 0)).into_bytes();
        let living = || crate::proc_table::all().any(|pid| crate::proc_table::environment_has(pid, &mark));
        let ran = run(
            "sleep 1000 & setsid sleep 1000 & trap '' TERM; sleep 1000",
            "once-left",
            Duration::from_millis(300),
        );
        assert_eq!((ran.code, ran.timed_out, ran.left), (None, true, Vec::new()));
        assert!(!living());
        // It leaves by itself, and leaves somebody behind.
        let ran = run(
            "setsid sleep 1000 >/dev/null 2>&1 & sleep 1000 & echo bye",
            "once-left",
            Duration::from_secs(20),
        );
        assert_eq!((ran.code, ran.timed_out, ran.stdout.as_slice()), (Some(0), false, &b"bye\n"[..]));
        assert!(!living());
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let argv = ["/no/such/program".to_owned()];
        let once = Once {
            argv: &argv,
            cwd: Path::new("/"),
            env: &[],
            stdin: b"",
            mark: "once-no",
            limit: LAST_WORDS,
        };
        assert!(run_once(once).is_err());
    }
}
