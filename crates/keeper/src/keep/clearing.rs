//! After the child: nobody of its run may be left.
//!
//! As child subreaper the keeper inherits every orphan below it, so "no child left" means "no
//! descendant left". Survivors get a moment to end by TERM, then passes of KILL and reaping,
//! direct children only: their numbers cannot belong to others before they are reaped. The
//! child's group is not signalled here, since its leader is gone and the number may be reused.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::child::{self, Reaped};
use super::{Bounds, proc_table};

/// What was learned from reaping.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) cpu_us: u64,
    pub(super) peak_memory: u64,
    pub(super) survivors: u32,
}

impl Ledger {
    pub(super) fn add(&mut self, used: child::Used) {
        self.cpu_us += used.cpu_us;
        self.peak_memory = self.peak_memory.max(used.peak_memory);
    }
}

/// How far a clearing is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Busy {
        again_at: Instant,
    },
    Empty,
    /// These could not be ended in time.
    GaveUp(Vec<i32>),
}

#[derive(Debug)]
pub(super) struct Clearing {
    asked: bool,
    counted: bool,
    kill_at: Instant,
    give_up_at: Instant,
}

/// Survivors of a child that left by itself: enough to close a file, too short to matter.
const SURVIVORS_GRACE: Duration = Duration::from_millis(200);
/// Longer takes only what the kernel does not let go.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_PASSES: Duration = Duration::from_millis(1);
/// Reaped in one pass; output is drained between passes.
const MOST_REAPED: usize = 256;
const MOST_NAMED: usize = 64;

impl Clearing {
    /// `at_once`: they had their grace already.
    pub(super) fn begin(now: Instant, at_once: bool) -> Self {
        let grace = if at_once { Duration::ZERO } else { SURVIVORS_GRACE };
        Self { asked: false, counted: false, kill_at: now + grace, give_up_at: now + PATIENCE }
    }

    /// One pass; says when the next one is due (earlier when a child ends).
    pub(super) fn pass(&mut self, now: Instant, bounds: &mut Bounds, ledger: &mut Ledger) -> Progress {
        if !reap(bounds, ledger) {
            return Progress::Empty;
        }
        let stub = bounds.stub.as_ref().map(|stub| stub.pid);
        let me = std::process::id().cast_signed();
        if now < self.kill_at {
            if !self.asked {
                self.asked = true;
                let survivors = stub.map_or_else(|| proc_table::children_of(me), proc_table::descendants_of);
                if survivors.is_empty() && stub.is_some() {
                    // Only the stub is left.
                    self.kill_at = now;
                }
                self.count_inside(stub, &survivors, ledger);
                ask(&survivors);
            }
            if now < self.kill_at {
                return Progress::Busy { again_at: self.kill_at };
            }
        }
        if now >= self.give_up_at {
            let mut left = stub.map_or_else(|| proc_table::children_of(me), proc_table::descendants_of);
            left.truncate(MOST_NAMED);
            return Progress::GaveUp(left);
        }
        if let Some(cgroup) = &bounds.cgroup {
            cgroup.kill();
        }
        if let Some(stub) = stub {
            // Whoever is inside dies with it and is reaped by the kernel.
            if !self.counted {
                self.count_inside(Some(stub), &proc_table::descendants_of(stub), ledger);
            }
            signal(stub, Signal::KILL);
        }
        for pid in proc_table::children_of(me) {
            signal(pid, Signal::KILL);
        }
        Progress::Busy { again_at: now + BETWEEN_PASSES }
    }

    /// The survivors inside a pid namespace are reaped by the kernel, so they are counted when
    /// they are first seen and not by how they ended.
    fn count_inside(&mut self, stub: Option<i32>, survivors: &[i32], ledger: &mut Ledger) {
        if stub.is_some() {
            self.counted = true;
            ledger.survivors += u32::try_from(survivors.len()).unwrap_or(u32::MAX);
        }
    }
}

/// Reaps who has ended; false when there is no child at all.
fn reap(bounds: &mut Bounds, ledger: &mut Ledger) -> bool {
    for _ in 0..MOST_REAPED {
        match child::reap_any() {
            Reaped::One { pid, status, used } => {
                ledger.add(used);
                let is_stub = bounds.stub.as_ref().is_some_and(|stub| stub.pid == pid);
                bounds.forget(pid);
                if !is_stub && child::ending(status).1.is_some() {
                    ledger.survivors += 1;
                }
            }
            Reaped::NoneEnded => return true,
            Reaped::NoChildren => return false,
        }
    }
    true
}

/// TERM, and CONT so that a stopped process can hear it.
fn ask(survivors: &[i32]) {
    for &pid in survivors {
        signal(pid, Signal::TERM);
        signal(pid, Signal::CONT);
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
