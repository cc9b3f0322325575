//! The keeper process: one child from its start to the last of its descendants.
//!
//! It is one thread with one poll loop, and holds little memory, because there is one keeper for
//! every run. Everything it decides without a server: the wall limit, the grace, the end of the
//! log. It never looks at what the child prints, except to redact it.
//!
//! Signals: TERM to the keeper is taken as a stop order, so that a person, or a machine
//! that shuts down, gets an orderly end with a record instead of orphans. INT and HUP are
//! ignored: they come from terminals, and a keeper has none.

mod child;
mod clearing;
mod control;
mod fork;
mod input;
mod ladder;
mod leaving;
mod log_writer;
mod running;
mod signals;
mod stub;
mod unmap;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cgroup::Cgroup;
use crate::exit::Draft;
use crate::sealed::Sealed;
use crate::spec::{Containment, Spec};
use crate::started::{self, StartRecord, Started};
use crate::{folder, lock, proc_table, spec};

/// The keeper left because somebody else has the start of this epoch: not a failure.
pub const LATE_EXIT: u8 = 75;
/// The confidential message did not arrive whole; nothing was started.
pub const TORN_EXIT: u8 = 76;
/// The folder could not be used; nothing was started. `keeper.err` says why.
pub const SETUP_EXIT: u8 = 77;

/// The whole keeper process. The program calls it first thing when it is run in keeper mode.
pub fn keep_main(folder: &Path) -> ExitCode {
    match keep(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(leaving) => {
            complain(&leaving.why);
            ExitCode::from(leaving.code)
        }
    }
}

/// Tells `keeper.err`. The macros of the standard library would panic on a full disk.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "keeper: {what}");
}

/// Why a keeper leaves before it had the start.
struct Leaving {
    code: u8,
    why: String,
}

impl Leaving {
    fn late(why: &str) -> Self {
        Self { code: LATE_EXIT, why: why.to_owned() }
    }

    fn setup(what: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { code: SETUP_EXIT, why: format!("{what}: {error}") }
    }
}

fn keep(folder: &Path) -> Result<(), Leaving> {
    child::close_inherited();
    let (sealed, spec_sum) = receive().map_err(|error| Leaving {
        code: TORN_EXIT,
        why: format!("the launch message did not arrive: {error}"),
    })?;
    signals::ignore_noise();
    let _ = rustix::process::setsid();

    // From here on every name is relative: short enough for a socket, and still the same
    // folder when somebody renames it.
    std::env::set_current_dir(folder).map_err(Leaving::setup("enter the run folder"))?;
    let folder = std::env::current_dir().map_err(Leaving::setup("find the run folder"))?;
    let here = Path::new(".");
    let spec = read_spec(here, spec_sum)?;

    let held = lock::take(here).map_err(Leaving::setup("take the lock"))?;
    let _held = held.ok_or_else(|| Leaving::late("another keeper holds the lock"))?;
    if started::read(here).map_err(Leaving::setup("read who started"))? != Started::No {
        return Err(Leaving::late("the epoch was already started or revoked"));
    }
    let draft = Draft::prepare(here).map_err(Leaving::setup("prepare the exit record"))?;
    let signals = signals::Signals::catch().map_err(Leaving::setup("catch signals"))?;
    let control = control::Control::listen().map_err(Leaving::setup("listen for orders"))?;
    let log = log_writer::LogWriter::create(&spec.limits).map_err(Leaving::setup("create the log"))?;
    let bounds = Bounds::make(&spec, &folder);

    let record = StartRecord {
        keeper_pid: std::process::id().cast_signed(),
        boot_id: folder::boot_id(),
        at_us: folder::now_us(),
        containment: bounds.level,
        cgroup: bounds.cgroup.as_ref().map(|cgroup| cgroup.path().to_string_lossy().into_owned()),
        spec_sum,
    };
    match started::claim(here, &record) {
        Ok(true) => {}
        Ok(false) => {
            bounds.undo();
            return Err(Leaving::late("the epoch was already started or revoked"));
        }
        Err(error) => {
            bounds.undo();
            return Err(Leaving::setup("record the start")(error));
        }
    }
    let mut control = control;
    let outcome = running::run(spec, sealed, bounds, log, &draft, &signals, &mut control);
    leaving::publish(outcome, draft, &signals, control);
    Ok(())
}

/// Reads the message from standard input and puts `/dev/null` in its place.
fn receive() -> io::Result<(Sealed, u32)> {
    let received = Sealed::receive(&mut io::stdin().lock())?;
    child::close_stdin(&File::open("/dev/null")?)?;
    Ok(received)
}

fn read_spec(here: &Path, wanted_sum: u32) -> Result<Spec, Leaving> {
    let broken = |why: String| Leaving { code: SETUP_EXIT, why };
    let (spec, bytes) = spec::read(here).map_err(|error| broken(format!("read the spec: {error}")))?;
    // Two launches into one folder may have crossed: the spec must be the one of our message.
    if crc32fast::hash(&bytes) != wanted_sum {
        return Err(broken("the spec in the folder belongs to another launch".to_owned()));
    }
    Ok(spec)
}

/// What keeps the run's processes together, as far as it could be had.
struct Bounds {
    level: Containment,
    cgroup: Option<Cgroup>,
    stub: Option<stub::Stub>,
    /// Limits that nothing here enforces, to be told in the log.
    unenforced: Vec<&'static str>,
    /// A level that was asked for and is not to be had here.
    refused: Option<Containment>,
}

impl Bounds {
    /// Makes the wanted level or the next one below it.
    fn make(spec: &Spec, folder: &Path) -> Self {
        let lowest = if become_subreaper() { Containment::Subreaper } else { Containment::Group };
        let mut bounds =
            Self { level: lowest, cgroup: None, stub: None, unenforced: Vec::new(), refused: None };
        match spec.containment {
            Containment::Auto | Containment::Cgroup => {
                bounds.cgroup = Cgroup::make(&spec.run, spec.epoch, folder).ok();
                if bounds.cgroup.is_some() {
                    bounds.level = Containment::Cgroup;
                }
            }
            Containment::PidNamespace => {
                bounds.stub = stub::Stub::make().ok();
                if bounds.stub.is_some() {
                    bounds.level = Containment::PidNamespace;
                }
            }
            Containment::Subreaper | Containment::Group => {}
        }
        if spec.containment != Containment::Auto && spec.containment != bounds.level {
            bounds.refused = Some(spec.containment);
        }
        for (name, file, value) in
            [("pids", "pids.max", spec.limits.pids), ("memory", "memory.max", spec.limits.memory)]
        {
            let Some(value) = value else { continue };
            if !bounds.cgroup.as_ref().is_some_and(|cgroup| cgroup.limit(file, value)) {
                bounds.unenforced.push(name);
            }
        }
        bounds
    }

    /// A process was reaped; perhaps it was the stub.
    fn forget(&mut self, pid: i32) {
        if self.stub.as_ref().is_some_and(|stub| stub.pid == pid) {
            self.stub = None;
        }
    }

    fn undo(self) {
        if let Some(cgroup) = self.cgroup {
            cgroup.remove();
        }
    }
}

#[cfg(target_os = "linux")]
fn become_subreaper() -> bool {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn become_subreaper() -> bool {
    false
}
