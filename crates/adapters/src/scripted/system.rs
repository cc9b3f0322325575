//! What the scripted agent, and the driver of agents, need of the system and the standard library does not offer: fork,
//! signals, waits that signals interrupt.
//!
//! Unsafe code is allowed here because `fork` and signal handlers have no safe form. Both programs are
//! single-threaded, which is what makes them sound; each block says so where it relies on it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::pipe::pipe;
use rustix::process::{Pid, WaitOptions, getpid, wait, waitpid};
use rustix::time::{ClockId, clock_gettime};

const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("SEGV", libc::SIGSEGV),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("CONT", libc::SIGCONT),
];

/// The time of the processor that this process, which has one thread, has used.
pub(crate) fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// The number of a signal, named with or without `SIG`.
pub(crate) fn signal(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// False for the signals that the kernel keeps for itself.
pub(crate) fn can_be_handled(signal: i32) -> bool {
    signal != libc::SIGKILL && signal != libc::SIGSTOP
}

/// Where the handler writes the signals that came; -1 before [`Mailbox::open`].
static LETTERS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn post(signal: libc::c_int) {
    let letter = [signal as u8];
    // SAFETY: `write` is on the list of functions a signal handler may call, the buffer outlives the call, and the
    // descriptor is either valid or -1, which only fails. A full pipe loses a repeated signal, as signals do anyway.
    // errno is put back so that the interrupted code does not see this call's.
    unsafe {
        let errno = errno_location();
        let before = *errno;
        libc::write(LETTERS.load(Ordering::Relaxed), letter.as_ptr().cast(), 1);
        *errno = before;
    }
}

#[cfg(target_os = "linux")]
unsafe fn errno_location() -> *mut libc::c_int {
    // SAFETY: always sound to call; the pointer is this thread's errno.
    unsafe { libc::__errno_location() }
}

#[cfg(not(target_os = "linux"))]
unsafe fn errno_location() -> *mut libc::c_int {
    // SAFETY: always sound to call; the pointer is this thread's errno.
    unsafe { libc::__error() }
}

/// Signals that came, in order: a pipe from the handler to the program, so that none falls between a look and a wait.
#[derive(Debug)]
pub(crate) struct Mailbox {
    letters: OwnedFd,
    _slot: OwnedFd,
}

impl Mailbox {
    pub(crate) fn open() -> io::Result<Mailbox> {
        // `pipe2` would do it in one step, but not everywhere; nothing is executed between these.
        let (letters, slot) = pipe()?;
        for end in [&letters, &slot] {
            fcntl_setfd(end, FdFlags::CLOEXEC)?;
            fcntl_setfl(end, OFlags::NONBLOCK)?;
        }
        LETTERS.store(slot.as_raw_fd(), Ordering::Relaxed);
        Ok(Mailbox { letters, _slot: slot })
    }

    /// To be polled for reading.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.letters.as_fd()
    }

    /// The next signal that came, without waiting.
    pub(crate) fn next(&self) -> Option<i32> {
        let mut letter = [0];
        matches!(rustix::io::read(&self.letters, &mut letter), Ok(1)).then(|| i32::from(letter[0]))
    }

    /// Waits until a signal comes, `input` has something, or the time is over; `None` waits for ever.
    pub(crate) fn wait_or(&self, until: Option<Instant>, input: Option<BorrowedFd<'_>>) -> Woken {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            // The longest poll is a day; the loop goes on until the moment has come.
            let limit = left.unwrap_or(Duration::MAX).min(Duration::from_secs(86_400));
            let limit =
                Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) as _ };
            let letters = PollFd::new(&self.letters, PollFlags::IN);
            let mut fds = vec![letters];
            fds.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
            match poll(&mut fds, Some(&limit)) {
                Ok(0) if left.is_some_and(|left| left <= Duration::from_secs(86_400)) => {
                    return Woken::Timeout;
                }
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) if !fds[0].revents().is_empty() => return Woken::Signal,
                Ok(_) => return Woken::Input,
                Err(_) => return Woken::Timeout,
            }
        }
    }
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    Signal,
    Input,
    Timeout,
}

/// What becomes of a signal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disposition {
    Default,
    Ignore,
    Post,
}

/// Decides what becomes of a signal from now on.
pub(crate) fn dispose(signal: i32, how: Disposition) -> io::Result<()> {
    let handler = match how {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
        Disposition::Post => post as extern "C" fn(libc::c_int) as libc::sighandler_t,
    };
    // SAFETY: the zeroed action is a valid one (no flags, empty mask), the handler calls only what handlers may call,
    // and the pointers live through the call.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends this process a signal.
pub(crate) fn raise(signal: i32) -> io::Result<()> {
    // SAFETY: `kill` touches no memory.
    let result = unsafe { libc::kill(own_pid(), signal) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The number of this process.
pub(crate) fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

/// Makes a child; `None` in the child, its number in the parent.
///
/// In the child every signal waits until [`listen`]: one that comes before the child has decided what becomes of
/// signals would be answered with the handlers of its parent.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    let before = mask(None)?;
    // SAFETY: the program has one thread, so the child's memory (allocator and locks included) is in the state that
    // this thread left it in, and the child may go on with ordinary code.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        child => {
            // Read before another call can change it.
            let error = io::Error::last_os_error();
            mask(Some(before))?;
            if child > 0 { Ok(Some(child)) } else { Err(error) }
        }
    }
}

/// Lets the signals in that [`fork`] kept waiting.
pub(crate) fn listen() -> io::Result<()> {
    // SAFETY: a zeroed set is a valid place for `sigemptyset` to fill, and lives through the call.
    let none = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        none
    };
    mask(Some(none)).map(drop)
}

/// Keeps the signals of a set waiting, or all of them; returns the set before.
fn mask(set: Option<libc::sigset_t>) -> io::Result<libc::sigset_t> {
    // SAFETY: zeroed sets are valid places to be filled, and the pointers live through the calls.
    let (result, before) = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        let mut before: libc::sigset_t = std::mem::zeroed();
        (libc::sigprocmask(libc::SIG_SETMASK, &set.unwrap_or(all), &mut before), before)
    };
    if result == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}

/// Ends this process without unwinding into what its parent was doing, and without the parent's exit handlers.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: never returns and touches no memory of ours.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Waits until a child has ended, this one or any; false when there is none.
pub(crate) fn reap(child: Option<i32>) -> bool {
    loop {
        let ended = match child.and_then(Pid::from_raw) {
            Some(child) => waitpid(Some(child), WaitOptions::empty()),
            // Any child, also one that has left the process group.
            None => wait(WaitOptions::empty()),
        };
        match ended {
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_by_both_names() {
        assert_eq!(signal("TERM"), Some(libc::SIGTERM));
        assert_eq!(signal("SIGTERM"), Some(libc::SIGTERM));
        assert_eq!(signal("SIG"), None);
        assert_eq!(signal("term"), None);
    }
}
