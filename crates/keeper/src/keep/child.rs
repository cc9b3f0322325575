//! Making the child: everything between the decision and its first instruction.
//!
//! All memory is prepared before the fork; the forked process only makes system calls until it
//! is replaced. What fails there is reported through a pipe that closes by itself when the
//! program is executed, which is how the keeper knows that it really was.
#![allow(unsafe_code)] // fork, exec and wait4 have no safe wrapper

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::fork::{self, Side};
use crate::cgroup::Cgroup;
use crate::spec::{MARK, Spec, Stdin};

#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: i32,
    /// Closes when the program is executed; brings the report if it is not.
    pub(super) exec: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) stdin: Option<OwnedFd>,
}

/// What a child used, itself and what it reaped.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Used {
    pub(super) cpu_us: u64,
    pub(super) peak_memory: u64,
}

/// One look at our children.
#[derive(Debug)]
pub(super) enum Reaped {
    One {
        pid: i32,
        status: i32,
        used: Used,
    },
    /// There are children, and none has ended.
    NoneEnded,
    NoChildren,
}

/// Pipes as large as an ordinary user may have: fewer and larger reads.
#[cfg(target_os = "linux")]
const PIPE_SIZE: usize = 1 << 20;

/// Closes what the server may have left open above the standard streams.
pub(super) fn close_inherited() {
    #[cfg(target_os = "linux")]
    // SAFETY: called first thing in the process, before anything here has opened a descriptor.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } == 0;
    #[cfg(not(target_os = "linux"))]
    let closed = false;
    if !closed {
        for fd in 3..1024 {
            // SAFETY: as above; closing a number that is not open does nothing.
            unsafe { libc::close(fd) };
        }
    }
}

/// Puts something harmless in place of standard input.
pub(super) fn close_stdin(null: &File) -> io::Result<()> {
    // SAFETY: both are open descriptors; standard input belongs to nobody else here.
    if unsafe { libc::dup2(null.as_raw_fd(), 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Forks and executes. An error is one of the keeper's own (no pipe, no process).
pub(super) fn start(spec: &Spec, env: &[(String, String)], cgroup: Option<&Cgroup>) -> Result<Child, String> {
    let plan = Plan::new(spec, env)?;
    let made = |what: &'static str| move |error: io::Error| format!("{}: {what}", name_of(&error));
    let (stdout, out) = wide_pipe().map_err(made("cannot make a pipe"))?;
    let (stderr, err) = wide_pipe().map_err(made("cannot make a pipe"))?;
    let (exec, report) = pipe().map_err(made("cannot make a pipe"))?;
    let (input, stdin) = match spec.stdin {
        Stdin::Closed => {
            (OwnedFd::from(File::open("/dev/null").map_err(made("cannot open /dev/null"))?), None)
        }
        Stdin::Once | Stdin::Open => {
            let (input, stdin) = pipe().map_err(made("cannot make a pipe"))?;
            set_nonblocking(&stdin).map_err(made("cannot use a pipe"))?;
            (input, Some(stdin))
        }
    };
    for end in [&stdout, &stderr, &exec] {
        set_nonblocking(end).map_err(made("cannot use a pipe"))?;
    }
    let ends = Ends {
        stdin: input.as_raw_fd(),
        stdout: out.as_raw_fd(),
        stderr: err.as_raw_fd(),
        report: report.as_raw_fd(),
    };
    let pid = plan.fork(&ends, cgroup).map_err(made("cannot make a process"))?;
    Ok(Child { pid, exec, stdout, stderr, stdin })
}

/// Reaps one child that has ended, whoever it is.
pub(super) fn reap_any() -> Reaped {
    loop {
        let mut status = 0;
        // SAFETY: an all-zero rusage is valid and both pointers are to our own memory.
        let (pid, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
        };
        match pid {
            0 => return Reaped::NoneEnded,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Reaped::NoChildren,
            pid => return Reaped::One { pid, status, used: used(&usage) },
        }
    }
}

fn used(usage: &libc::rusage) -> Used {
    let micros = |time: libc::timeval| time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_usec as u64;
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Used {
        cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
        peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit,
    }
}

/// Exit code or signal of a wait status.
pub(super) fn ending(status: i32) -> (Option<i32>, Option<i32>) {
    if libc::WIFEXITED(status) {
        (Some(libc::WEXITSTATUS(status)), None)
    } else {
        (None, libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)))
    }
}

/// Explains a report of the forked process, with the name of the error and what was tried.
pub(super) fn explain(report: &[u8], spec: &Spec, env: &[(String, String)]) -> String {
    let (Some(&step), Some(number)) = (report.first(), report.get(1..5)) else {
        return "the child ended before its program was executed".to_owned();
    };
    let number = i32::from_ne_bytes(number.try_into().expect("four bytes"));
    let error = io::Error::from_raw_os_error(number);
    let name = name_of(&error);
    let cwd = spec.cwd.display();
    match step {
        STEP_CWD => {
            let why = match number {
                libc::ENOENT => "does not exist",
                libc::ENOTDIR => "is not a folder",
                libc::EACCES => "may not be entered",
                _ => "cannot be entered",
            };
            format!("{name}: working folder {cwd} {why}")
        }
        STEP_EXEC => explain_exec(&name, number, spec, env),
        STEP_CGROUP => format!("{name}: cannot enter the cgroup of the run"),
        STEP_PRIVILEGES => format!("{name}: cannot give up new privileges"),
        _ => format!("{name}: cannot set up the child's streams and session"),
    }
}

fn explain_exec(name: &str, number: i32, spec: &Spec, env: &[(String, String)]) -> String {
    let program = &spec.argv[0];
    let candidates = candidates(program, env);
    let found = candidates.iter().find(|path| spec.cwd.join(path).is_file());
    match (number, found) {
        (libc::ENOENT, Some(path)) => {
            format!("{name}: {} exists, but the interpreter it asks for does not", path.display())
        }
        (libc::ENOENT | libc::ENOTDIR, None) if program.contains('/') => {
            format!("{name}: program {program} does not exist")
        }
        (libc::ENOENT | libc::ENOTDIR, None) => {
            format!("{name}: no program {program} in PATH ({})", path_of(env).unwrap_or("not set"))
        }
        (libc::EACCES, found) => {
            let shown = found.map_or_else(|| program.clone(), |path| path.display().to_string());
            format!("{name}: {shown} is not executable")
        }
        (libc::ENOEXEC, found) => {
            let shown = found.map_or_else(|| program.clone(), |path| path.display().to_string());
            format!("{name}: {shown} is neither a program for this machine nor a script with a #! line")
        }
        (libc::E2BIG, _) => format!("{name}: arguments and environment together are too long"),
        _ => format!("{name}: cannot execute {program}"),
    }
}

/// The name of an error as the manuals write it.
pub(super) fn name_of(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.kind().to_string() };
    let names = [
        (libc::ENOENT, "ENOENT"),
        (libc::EACCES, "EACCES"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EPERM, "EPERM"),
        (libc::E2BIG, "E2BIG"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENFILE, "ENFILE"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EIO, "EIO"),
    ];
    let known = names.iter().find(|(it, _)| *it == number);
    known.map_or_else(|| format!("errno {number}"), |(_, name)| (*name).to_owned())
}

/// Where the program may be: itself if it names a place, else along the child's own PATH.
fn candidates(program: &str, env: &[(String, String)]) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    let folders = path_of(env).unwrap_or_default().split(':');
    let here = |folder: &str| if folder.is_empty() { PathBuf::from(".") } else { PathBuf::from(folder) };
    folders.filter(|_| path_of(env).is_some()).map(|folder| here(folder).join(program)).collect()
}

fn path_of(env: &[(String, String)]) -> Option<&str> {
    env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str())
}

const STEP_SESSION: u8 = 1;
const STEP_CGROUP: u8 = 2;
const STEP_STREAMS: u8 = 3;
const STEP_CWD: u8 = 4;
const STEP_PRIVILEGES: u8 = 5;
const STEP_EXEC: u8 = 6;

/// Everything the forked process needs, in its final form.
struct Plan {
    programs: Vec<CString>,
    cwd: CString,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has it"))]
    no_new_privs: bool,
    argv: Pointers,
    env: Pointers,
}

/// C strings and the null-terminated list of pointers to them.
struct Pointers {
    _strings: Vec<CString>,
    list: Vec<*const libc::c_char>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        let ends = std::iter::once(std::ptr::null());
        let list = strings.iter().map(|string| string.as_ptr()).chain(ends).collect();
        Self { _strings: strings, list }
    }
}

struct Ends {
    stdin: RawFd,
    stdout: RawFd,
    stderr: RawFd,
    report: RawFd,
}

impl Plan {
    fn new(spec: &Spec, env: &[(String, String)]) -> Result<Self, String> {
        let text = |what: &str, bytes: &OsStr| {
            CString::new(bytes.as_bytes()).map_err(|_| format!("EINVAL: {what} holds a NUL byte"))
        };
        let arguments = spec.argv.iter().enumerate();
        let argv = arguments.map(|(at, it)| text(&format!("argument {at}"), OsStr::new(it)));
        let mark = (MARK.to_owned(), spec.mark());
        let entries = env.iter().filter(|(name, _)| name != MARK).chain([&mark]);
        let env_list = entries.map(|(name, value)| {
            text(
                &format!("environment variable {}", name.escape_debug()),
                OsStr::new(&format!("{name}={value}")),
            )
        });
        let programs = candidates(&spec.argv[0], env);
        let programs = programs.iter().map(|path| text("the program's name", path.as_os_str()));
        Ok(Self {
            programs: programs.collect::<Result<_, _>>()?,
            cwd: text("the working folder", Path::new(&spec.cwd).as_os_str())?,
            no_new_privs: spec.no_new_privs,
            argv: Pointers::new(argv.collect::<Result<_, _>>()?),
            env: Pointers::new(env_list.collect::<Result<_, _>>()?),
        })
    }

    fn fork(&self, ends: &Ends, cgroup: Option<&Cgroup>) -> io::Result<i32> {
        // SAFETY: the keeper has one thread, and the child only makes system calls on memory
        // prepared before. Signals wait meanwhile: a TERM that comes before the child has its
        // own dispositions must end it, not run the keeper's handler in it.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            let side = fork::fork(cgroup);
            if let Ok(Side::Child { move_into }) = &side {
                self.become_child(ends, move_into.as_ref().map(AsRawFd::as_raw_fd));
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
            match side? {
                Side::Parent { pid } => Ok(pid),
                Side::Child { .. } => unreachable!("it became the child above"),
            }
        }
    }

    /// Runs in the forked process.
    ///
    /// SAFETY: to be called right after fork, by its only thread.
    unsafe fn become_child(&self, ends: &Ends, move_into: Option<RawFd>) -> ! {
        // SAFETY: system calls only, on descriptors and memory that the fork copied.
        unsafe {
            for signal in 1..=64 {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            if libc::setsid() < 0 {
                fail(ends, STEP_SESSION);
            }
            if let Some(procs) = move_into
                && libc::write(procs, b"0".as_ptr().cast(), 1) != 1
            {
                fail(ends, STEP_CGROUP);
            }
            for (from, to) in [(ends.stdin, 0), (ends.stdout, 1), (ends.stderr, 2)] {
                if libc::dup2(from, to) < 0 {
                    fail(ends, STEP_STREAMS);
                }
            }
            if libc::chdir(self.cwd.as_ptr()) < 0 {
                fail(ends, STEP_CWD);
            }
            #[cfg(target_os = "linux")]
            if self.no_new_privs && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 {
                fail(ends, STEP_PRIVILEGES);
            }
            // As a shell does: go on when a place does not have it, and remember one that may not be run.
            let mut worst = libc::ENOENT;
            for program in &self.programs {
                libc::execve(program.as_ptr(), self.argv.list.as_ptr(), self.env.list.as_ptr());
                match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                    libc::ENOENT | libc::ENOTDIR => {}
                    libc::EACCES => worst = libc::EACCES,
                    other => {
                        worst = other;
                        break;
                    }
                }
            }
            report(ends, STEP_EXEC, worst)
        }
    }
}

/// SAFETY: only in the forked process.
unsafe fn fail(ends: &Ends, step: u8) -> ! {
    let number = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    // SAFETY: as the caller's.
    unsafe { report(ends, step, number) }
}

/// SAFETY: only in the forked process.
unsafe fn report(ends: &Ends, step: u8, number: i32) -> ! {
    let [a, b, c, d] = number.to_ne_bytes();
    let bytes = [step, a, b, c, d];
    // SAFETY: write and _exit are system calls; the bytes live on this stack.
    unsafe {
        libc::write(ends.report, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(127)
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    Ok((read.into(), write.into()))
}

fn wide_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe()?;
    #[cfg(target_os = "linux")]
    {
        // Refused to a user with very many pipes; then it is an ordinary one.
        let _ = rustix::pipe::fcntl_setpipe_size(&read, PIPE_SIZE);
    }
    Ok((read, write))
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}
