//! What this executable is when it is started as somebody's child: it tells its first instruction, stamps lines, keeps a
//! run or plays a script. Decided before anything else exists.

// The first instruction is a call of the system's clock, without a runtime around it.
#![allow(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Writes the time of its first instruction to the file or pipe that follows.
pub(crate) const FIRST_INSTRUCTION: &str = "--first-instruction";
/// Prints so many lines with the time on them, so many microseconds apart.
pub(crate) const STAMP_LINES: &str = "--stamp-lines";
/// Becomes a keeper, as the program does.
pub(crate) const KEEP: &str = "keep";
/// Begins each stamped line.
pub(crate) const STAMP: &str = "stamp ";

/// Plays the role that the first argument names; `None` when it is the benchmark itself.
pub(crate) fn play() -> Option<ExitCode> {
    let now = monotonic_nanos();
    let mut args = std::env::args_os().skip(1);
    let first = args.next()?;
    if first == FIRST_INSTRUCTION {
        let told = std::fs::OpenOptions::new()
            .append(true)
            .open(args.next()?)
            .and_then(|mut file| file.write_all(format!("{now}\n").as_bytes()));
        return Some(if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if first == STAMP_LINES {
        let number = |arg: Option<std::ffi::OsString>| arg?.to_str()?.parse::<u64>().ok();
        let (count, apart) = (number(args.next())?, Duration::from_micros(number(args.next())?));
        for _ in 0..count {
            std::thread::sleep(apart);
            let line = format!("{STAMP}{}\n", monotonic_nanos());
            if std::io::stdout().write_all(line.as_bytes()).is_err() {
                return Some(ExitCode::FAILURE);
            }
        }
        return Some(ExitCode::SUCCESS);
    }
    if first == KEEP {
        return Some(keeper::keep_main(Path::new(&args.next()?)));
    }
    if first == adapters::SCRIPTED {
        return Some(adapters::scripted_main(args.map(|arg| arg.to_string_lossy().into_owned())));
    }
    None
}

/// Nanoseconds of the clock that all processes of this boot share.
pub(crate) fn monotonic_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own, and this clock exists wherever the program runs.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
