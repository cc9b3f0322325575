//! A new process that is in its cgroup from its first moment.
//!
//! Moving a process between cgroups waits until no processor can still see the old state, which
//! takes ten milliseconds and more on a machine that was at rest. A process that is *made*
//! inside waits for nothing. Kernels and sandboxes that do not have that call get an ordinary
//! fork, and the new process moves itself. What the process then does is not decided here.
#![allow(unsafe_code)] // neither fork nor clone3 has a safe wrapper

use std::fs::File;
use std::io;

use crate::cgroup::Cgroup;

/// Which side of the fork this is.
pub(super) enum Side {
    Parent {
        pid: i32,
    },
    /// With the file through which it must move itself in; none: it is where it belongs.
    Child {
        move_into: Option<File>,
    },
}

/// Makes a process, inside the cgroup if that can be.
///
/// SAFETY: as fork: the caller has one thread, or its new process only makes system calls. The
/// C library does not learn of the new process: in it, nothing may rely on cached ids.
pub(super) unsafe fn fork(cgroup: Option<&Cgroup>) -> io::Result<Side> {
    let mut move_into = None;
    if let Some(cgroup) = cgroup {
        // SAFETY: as the caller's.
        if let Some(side) = unsafe { inside(cgroup) } {
            return Ok(side);
        }
        // Whatever the refusal was, the other way says it better, or works.
        move_into = Some(cgroup.open_procs()?);
    }
    // SAFETY: as the caller's.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child { move_into }),
        pid => Ok(Side::Parent { pid }),
    }
}

/// SAFETY: as `fork`'s.
#[cfg(target_os = "linux")]
unsafe fn inside(cgroup: &Cgroup) -> Option<Side> {
    use std::os::fd::AsRawFd;

    /// The second version of the kernel's `struct clone_args`: the first one with a cgroup.
    #[repr(C)]
    #[derive(Default)]
    struct Arguments {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const CLONE_INTO_CGROUP: u64 = 1 << 33;

    let place = cgroup.open_folder().ok()?;
    let arguments = Arguments {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        cgroup: u64::from(place.as_raw_fd().cast_unsigned()),
        ..Arguments::default()
    };
    // SAFETY: the arguments live through the call and have the size that is told. Without
    // shared memory and with no stack of its own, the new process returns here like a fork.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, std::mem::size_of::<Arguments>()) };
    match i32::try_from(pid).ok()? {
        ..0 => None,
        0 => Some(Side::Child { move_into: None }),
        pid => Some(Side::Parent { pid }),
    }
}

/// SAFETY: does nothing.
#[cfg(not(target_os = "linux"))]
unsafe fn inside(_: &Cgroup) -> Option<Side> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The code a forked process ends with: 1 made inside, 2 must move itself.
    fn made(cgroup: &Cgroup) -> i32 {
        // SAFETY: the new process only ends.
        match unsafe { fork(Some(cgroup)) }.expect("a process can be made") {
            // SAFETY: a system call.
            Side::Child { move_into } => unsafe { libc::_exit(if move_into.is_none() { 1 } else { 2 }) },
            Side::Parent { pid } => {
                let mut status = 0;
                // SAFETY: our own child and our own memory.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                libc::WEXITSTATUS(status)
            }
        }
    }

    #[test]
    fn a_place_the_kernel_refuses_is_entered_the_other_way() {
        // Looks like a cgroup by its files and is none.
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bugle-none");
        std::fs::create_dir(&place).unwrap();
        for name in ["cgroup.kill", "cgroup.procs"] {
            std::fs::write(place.join(name), "").unwrap();
        }
        assert_eq!(made(&Cgroup::known(place.to_str().unwrap()).unwrap()), 2);
    }

    #[test]
    fn where_cgroups_may_be_made_a_process_is_made_inside() {
        let folder = tempfile::tempdir().unwrap();
        // Where they may not be made there is nothing to be inside of.
        let Ok(cgroup) = Cgroup::make("fork-test", 1, folder.path()) else { return };
        let how = made(&cgroup);
        cgroup.remove();
        assert!(!cgroup.path().exists());
        assert_eq!(how, 1);
    }
}
