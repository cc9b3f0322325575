//! Signals to the keeper, turned into bytes that its poll loop reads.
#![allow(unsafe_code)] // handlers can only be set through the C interface

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the handler writes. One keeper is one process, so one place is enough.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

#[derive(Debug)]
pub(super) struct Signals {
    read: OwnedFd,
    _write: OwnedFd,
}

/// What came since the last look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caught {
    pub(super) child: bool,
    pub(super) terminate: bool,
}

impl Signals {
    /// Catches CHLD and TERM from now on.
    pub(super) fn catch() -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        let (read, write) = (OwnedFd::from(read), OwnedFd::from(write));
        for end in [&read, &write] {
            let flags = rustix::fs::fcntl_getfl(end)?;
            rustix::fs::fcntl_setfl(end, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        WRITE_END.store(write.as_raw_fd(), Ordering::SeqCst);
        set(libc::SIGCHLD, handle as *const () as libc::sighandler_t)?;
        set(libc::SIGTERM, handle as *const () as libc::sighandler_t)?;
        Ok(Self { read, _write: write })
    }

    /// Readable when something came.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    pub(super) fn take(&self) -> Caught {
        let mut caught = Caught::default();
        let mut bytes = [0_u8; 64];
        while let Ok(count) = rustix::io::read(&self.read, &mut bytes) {
            if count == 0 {
                break;
            }
            caught.child |= bytes[..count].contains(&(libc::SIGCHLD as u8));
            caught.terminate |= bytes[..count].contains(&(libc::SIGTERM as u8));
        }
        caught
    }
}

/// Ignores what a keeper must not die of: a terminal's signals, closed pipes, a file size limit.
pub(super) fn ignore_noise() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGXFSZ] {
        let _ = set(signal, libc::SIG_IGN);
    }
}

fn set(signal: libc::c_int, to: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid; the handler only calls write(2).
    let code = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = to;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn handle(signal: libc::c_int) {
    let byte = signal as u8;
    let to = WRITE_END.load(Ordering::Relaxed);
    // A full pipe already says that something came. The interrupted code's errno must survive.
    // SAFETY: write(2) may be called in a handler; the byte lives on this stack.
    unsafe {
        let errno = errno();
        let saved = *errno;
        libc::write(to, (&raw const byte).cast(), 1);
        *errno = saved;
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn errno() -> *mut libc::c_int {
    // SAFETY: no preconditions; the pointer is to this thread's own.
    unsafe { libc::__errno_location() }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
unsafe fn errno() -> *mut libc::c_int {
    // SAFETY: no preconditions; the pointer is to this thread's own.
    unsafe { libc::__error() }
}
