//! Reading a transcript through all the processes of a run, and holding on to a reading that will soon go on.
//!
//! A mark says where to go on, but what the reader of the adapter knows by then comes only from reading the
//! log from the start. So the last few readings are kept as they stand: who asks for the next page goes on
//! with one of them, and paging through a log costs no more than reading it once. A reading that is not there
//! any more is made again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use adapters::{Reader, Setup};
use domain::ids::RunId;
use domain::moment::Moment;
use store::runs::Run;

use super::fold::{Fold, Said};
use super::{Cast, Item, Mark, TranscriptPage};
use crate::Inner;
use crate::processes::{LogSource, ProcessError, ProcessId};
use crate::progress::Deaf;
use crate::run_task::session::settled_note;
use crate::run_task::{home_of, reader_of, setup_of};

/// A page is not made larger than about this; a single item may be.
const PAGE: usize = 1 << 20;
/// Readings that are kept, and for how long: a client that follows a run asks every second or so.
const MOST_KEPT: usize = 8;
const KEPT_FOR: Duration = Duration::from_secs(30);

/// One reading of a transcript, standing at a mark.
pub(super) struct Sitting {
    cast: Cast,
    mark: Mark,
    /// The process that is being read.
    attempt: i64,
    fold: Option<Fold>,
    source: Option<Box<dyn LogSource>>,
    /// The process is over, and its end was read.
    is_finished: bool,
    /// Read and not given: the frame it came from, its place there, and what it says.
    ahead: VecDeque<(u64, u32, Said)>,
    /// Behind the last frame that was read.
    end: u64,
    has_log: bool,
}

/// What a look gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A frame was taken in, or the next process begun.
    Moved,
    /// There is no more now.
    Caught,
    /// There will be no more.
    Over,
}

impl Sitting {
    pub(super) fn new(cast: Cast, mark: Mark) -> Sitting {
        Sitting {
            cast,
            mark,
            attempt: mark.attempt,
            fold: None,
            source: None,
            is_finished: false,
            ahead: VecDeque::new(),
            end: 0,
            has_log: false,
        }
    }

    /// Reads on. Blocks for as long as reading the files takes.
    pub(super) fn page(
        &mut self,
        engine: &Inner,
        run: &Run,
        limit: usize,
    ) -> Result<TranscriptPage, ProcessError> {
        let (mut items, mut weight, mut step) = (Vec::new(), 0, Step::Moved);
        while items.len() < limit.max(1) && weight < PAGE {
            if let Some((offset, place, (at, what))) = self.ahead.pop_front() {
                let mark = &mut self.mark;
                // What was read to know what the reader knows was given before.
                if (offset, place) < (mark.offset, mark.taken) {
                    continue;
                }
                *mark = Mark { offset, taken: place + 1, seq: mark.seq + 1, ..*mark };
                weight += what.weight();
                items.push(Item { seq: Some(mark.seq), at, attempt: mark.attempt, what });
                continue;
            }
            if step != Step::Moved {
                break;
            }
            step = match self.step(engine, run) {
                Ok(step) => step,
                // What was read before the damage is given; the next request meets it alone.
                Err(error) if !items.is_empty() => {
                    tracing::warn!(run = %run.id, %error, "a log cannot be read on");
                    break;
                }
                Err(error) => return Err(error),
            };
        }
        let is_at_end = self.ahead.is_empty() && step != Step::Moved;
        let under_way = match &self.fold {
            Some(fold) if is_at_end => {
                let item = |(at, what)| Item { seq: None, at, attempt: self.attempt, what };
                fold.under_way().map(item).collect()
            }
            _ => Vec::new(),
        };
        let is_over = is_at_end && step == Step::Over;
        Ok(TranscriptPage { items, under_way, next: self.mark, is_over, has_log: self.has_log })
    }

    fn step(&mut self, engine: &Inner, run: &Run) -> Result<Step, ProcessError> {
        if run.lease_epoch < self.attempt {
            return Ok(if run.status.is_final() { Step::Over } else { Step::Caught });
        }
        if self.is_finished {
            return Ok(self.at_end(run));
        }
        if self.source.is_none() {
            let id = ProcessId { run: run.id.clone(), epoch: self.attempt };
            match engine.processes.log(&id, self.end) {
                Ok(source) => {
                    self.source = Some(source);
                    self.has_log = true;
                }
                Err(ProcessError::NotThere) => return Ok(self.at_end(run)),
                Err(error) => return Err(error),
            }
        }
        let Some(frame) = self.source.as_mut().map(|source| source.next()).transpose()?.flatten() else {
            return Ok(self.at_end(run));
        };
        let fold = self.fold.get_or_insert_with(|| Fold::new(self.cast.reader(engine, run, self.attempt)));
        let mut said = Vec::new();
        fold.take(&frame, &mut said);
        self.end = frame.next_offset;
        self.put(frame.offset, said);
        Ok(Step::Moved)
    }

    fn put(&mut self, offset: u64, said: Vec<Said>) {
        self.ahead.extend((0..).zip(said).map(|(place, said)| (offset, place, said)));
    }

    fn at_end(&mut self, run: &Run) -> Step {
        let is_newest = self.attempt >= run.lease_epoch;
        if is_newest && !run.status.is_final() {
            return Step::Caught;
        }
        if !std::mem::replace(&mut self.is_finished, true) {
            let mut said = Vec::new();
            if let Some(fold) = &mut self.fold {
                fold.finish(&mut said);
            }
            // What it revealed is given before the next process is begun.
            self.put(self.end, said);
            return Step::Moved;
        }
        if is_newest {
            return Step::Over;
        }
        self.attempt += 1;
        self.mark = Mark { attempt: self.attempt, offset: 0, taken: 0, ..self.mark };
        (self.source, self.fold, self.end, self.is_finished) = (None, None, 0, false);
        Step::Moved
    }

    /// Closes the log until the reading goes on: a log that is removed must not stay open.
    fn pause(&mut self) {
        self.source = None;
    }
}

impl Cast {
    /// A reader for the lines of a process of the run, as the process had one while it ran.
    fn reader(&self, engine: &Inner, run: &Run, attempt: i64) -> Box<dyn Reader> {
        let start = self.starts.iter().find(|start| start.epoch == attempt);
        let kind = start.map_or(&self.kind, |start| &start.adapter_type);
        let Some(adapter) = adapters::find(kind) else { return Box::new(Deaf) };
        let home = home_of(&engine.settings, &self.agent.id);
        let recorded = setup_of(&engine.settings, run, &self.agent, &home);
        let session = match start {
            Some(start) => start.session_asked.as_deref(),
            None => recorded.session,
        };
        // A run from before starts were recorded is read as its agent is configured now.
        let of_agent =
            if *kind == self.agent.adapter_type { recorded.config } else { &serde_json::Value::Null };
        let note = settled_note(self.session_note.clone().filter(|_| session.is_some()));
        let setup = Setup {
            config: start.map_or(of_agent, |start| &start.config),
            session,
            session_note: note.as_ref(),
            ..recorded
        };
        reader_of(adapter, &setup)
    }
}

/// Readings that will soon go on, the oldest first. Handles, not truth.
#[derive(Default)]
pub(crate) struct Sittings {
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    run: RunId,
    mark: Mark,
    until: Moment,
    sitting: Sitting,
}

impl std::fmt::Debug for Sittings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sittings").finish_non_exhaustive()
    }
}

impl Sittings {
    /// Takes out the reading of a run that stands at the mark, if there is one.
    pub(super) fn take(&self, run: &RunId, mark: Mark, now: Moment) -> Option<Sitting> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.until > now);
        let place = kept.iter().position(|kept| kept.mark == mark && kept.run == *run)?;
        Some(kept.remove(place).sitting)
    }

    /// Keeps a reading for a while.
    pub(super) fn keep(&self, run: &RunId, mark: Mark, now: Moment, mut sitting: Sitting) {
        sitting.pause();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.until > now && !(kept.mark == mark && kept.run == *run));
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push(Kept { run: run.clone(), mark, until: now.plus(KEPT_FOR), sitting });
    }
}
