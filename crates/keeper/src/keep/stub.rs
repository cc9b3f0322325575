//! The first process of a run's pid namespace.
//!
//! The kernel kills everybody in a pid namespace when its first process ends, and this one ends
//! when the keeper does, however that happens. It does nothing else: orphans it inherits are
//! reaped by the kernel because it ignores their end. `/proc` is not mounted anew, so tools
//! inside see outer pids there; that is why this level is only used when asked for.

#[cfg(not(target_os = "linux"))]
pub(super) use absent::Stub;
#[cfg(target_os = "linux")]
pub(super) use present::Stub;

#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // unshare and fork have no safe wrapper
mod present {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};

    #[derive(Debug)]
    pub(in crate::keep) struct Stub {
        pub(in crate::keep) pid: i32,
        /// Its other end is all the stub has open.
        _alive: OwnedFd,
    }

    impl Stub {
        /// Makes the namespace; every process this one forks from now on is in it.
        pub(in crate::keep) fn make() -> io::Result<Self> {
            let (read, write) = io::pipe()?;
            let (read, write) = (OwnedFd::from(read), OwnedFd::from(write));
            // SAFETY: no memory is involved.
            if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
                own_user_namespace()?;
            }
            // SAFETY: the keeper has one thread; the child makes system calls only.
            match unsafe { libc::fork() } {
                -1 => Err(io::Error::last_os_error()),
                0 => {
                    drop(write);
                    // SAFETY: in the forked process, which never returns.
                    unsafe { wait_for_end(read.as_raw_fd()) }
                }
                pid => Ok(Self { pid, _alive: write }),
            }
        }
    }

    /// Without root the namespace needs a user namespace around it, in which we stay who we are.
    fn own_user_namespace() -> io::Result<()> {
        let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        // SAFETY: no memory is involved.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) } != 0 {
            return Err(io::Error::last_os_error());
        }
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
    }

    /// SAFETY: only right after fork, in the forked process.
    unsafe fn wait_for_end(read: i32) -> ! {
        // SAFETY: system calls only.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            // Everything but the one pipe: the keeper's lock, log and socket are not ours.
            libc::dup2(read, 0);
            libc::close_range(1, libc::c_uint::MAX, 0);
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            libc::signal(libc::SIGTERM, libc::SIG_IGN);
            let mut byte = 0_u8;
            loop {
                // The end of the pipe is the end of the keeper, also one that came before the
                // death signal was asked for.
                let count = libc::read(0, (&raw mut byte).cast(), 1);
                if count == 0 || (count < 0 && *libc::__errno_location() != libc::EINTR) {
                    libc::_exit(0);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod absent {
    use std::io;

    #[derive(Debug)]
    pub(in crate::keep) struct Stub {
        pub(in crate::keep) pid: i32,
    }

    impl Stub {
        pub(in crate::keep) fn make() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
