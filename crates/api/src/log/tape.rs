//! Reading the log of a run through all its processes: one after the other, as they were started.
//!
//! A run has more than one process when its session was gone or its process was lost before it began. Reading waits for
//! nothing: who wants to follow comes back when the bell rings.

use domain::ids::RunId;
use engine::{Engine, LogSource, ProcessError};
use store::runs::Run;

use super::cutter::{Cutter, Piece, Unit};
use super::place::Place;

/// What is known of the run: how far it may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// The epoch of its newest process; 0 before the first.
    pub(crate) epoch: i64,
    pub(crate) is_final: bool,
}

impl Known {
    pub(crate) fn of(run: &Run) -> Known {
        Known { epoch: run.lease_epoch, is_final: run.status.is_final() }
    }
}

/// What a look gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    /// A frame was taken in, or the next process begun.
    Moved,
    /// There is no more now.
    Caught,
    /// There will be no more.
    Over,
}

/// A reader of the log of one run.
pub(crate) struct Tape {
    engine: Engine,
    run: RunId,
    place: Place,
    unit: Unit,
    with_system: bool,
    cutter: Cutter,
    source: Option<Box<dyn LogSource>>,
    /// A log was there.
    has_log: bool,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("run", &self.run).field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Tape {
    /// Goes on from a place.
    pub(crate) fn new(engine: Engine, run: RunId, place: Place, unit: Unit, with_system: bool) -> Tape {
        let cutter = Cutter::new(place, unit, with_system);
        Tape { engine, run, place, unit, with_system, cutter, source: None, has_log: false }
    }

    /// Takes the next frame and gives what it completes. Blocks for as long as a read of a file takes.
    pub(crate) fn pull(&mut self, known: Known, out: &mut Vec<Piece>) -> Result<Pull, ProcessError> {
        if known.epoch < self.place.epoch {
            return Ok(if known.is_final { Pull::Over } else { Pull::Caught });
        }
        if self.source.is_none() {
            match self.engine.log(&self.run, self.place.epoch, self.place.offset) {
                Ok(source) => {
                    self.source = Some(source);
                    self.has_log = true;
                }
                Err(ProcessError::NotThere) => return Ok(self.at_end(known, out)),
                Err(error) => return Err(error),
            }
        }
        match self.source.as_mut().map(|source| source.next()).transpose()?.flatten() {
            Some(frame) => {
                self.cutter.take(&frame, out);
                Ok(Pull::Moved)
            }
            None => Ok(self.at_end(known, out)),
        }
    }

    /// Where another reader goes on.
    pub(crate) fn place(&self) -> Place {
        if self.source.is_some() { self.cutter.place() } else { self.place }
    }

    /// Some process of the run has a log.
    pub(crate) fn has_log(&self) -> bool {
        self.has_log
    }

    fn at_end(&mut self, known: Known, out: &mut Vec<Piece>) -> Pull {
        // An earlier process is over, or the epoch would not have risen.
        if self.place.epoch < known.epoch {
            self.cutter.finish(out);
            self.place = Place::border(self.place.epoch + 1, 0);
            self.cutter = Cutter::new(self.place, self.unit, self.with_system);
            self.source = None;
            return Pull::Moved;
        }
        if !known.is_final {
            return Pull::Caught;
        }
        self.cutter.finish(out);
        Pull::Over
    }
}
