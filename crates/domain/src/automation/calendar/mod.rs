//! When a schedule fires: slots, what becomes of those that were missed, and what a run that is not over does to the
//! next one.
//!
//! A *slot* is a moment that a schedule planned, in UTC; it is the identity of a firing, so that none happens twice. Which
//! slots there are is [`Timing`]: a pure function, the same on every server, whatever time zones the machine knows. What
//! becomes of those that have come is [`due`]; what a new definition does to a schedule's plans is [`planning`]. Starting
//! runs is not done here.

pub mod cron;
pub mod due;
pub mod every;
pub mod planning;
pub mod spec;

use crate::moment::Moment;
use crate::words;

pub use cron::Cron;
pub use every::Every;
pub use spec::ScheduleSpec;

words!(
    /// What is done about slots that nobody dealt with in time (spec/scenarios.md S13).
    Misfire {
        /// Nothing: the next one is in the future.
        Skip = "skip",
        /// The newest of them fires.
        One = "one",
        /// The newest of them fire, as many as `maxCatchUp` says.
        All = "all",
    }
);

words!(
    /// What a slot does while a run of its automation is not over.
    Overlap {
        /// It is skipped.
        Skip = "skip",
        /// It waits for its turn.
        Queue = "queue",
        /// It fires beside it.
        Allow = "allow",
    }
);

words!(
    /// What became of a slot.
    SlotState {
        /// There is a run of it.
        Fired = "fired",
        /// It fires when the runs before it are over.
        Waiting = "waiting",
        Skipped = "skipped",
    }
);

words!(
    /// Why a slot did not fire.
    SkipReason {
        /// It was found too late.
        Misfire = "misfire",
        /// A run was not over.
        Overlap = "overlap",
        /// As many wait already as may be made up for.
        QueueFull = "queue_full",
        /// The automation or the schedule was paused.
        Paused = "paused",
        /// The automation was a draft.
Draft = "draft",
        /// Its definition has it no more, or switched it off, while it waited.
        Withdrawn = "withdrawn",
        /// No run could be made of it: the slot's row says why.
        Refused = "refused",
    }
);

/// The slots of a schedule.
#[derive(Debug, Clone)]
pub enum Timing {
    /// By the clock on the wall of a place.
    Cron(Box<Cron>),
    /// By the time that passes: slot n is the anchor and n times the interval.
    Every { anchor: Moment, every: Every },
}

impl Timing {
    /// The first slot after a moment; `None` when there is no further one.
    pub fn next_after(&self, after: Moment) -> Option<Moment> {
        match self {
            Timing::Cron(cron) => cron.next_after(after),
            Timing::Every { anchor, every } => every.next_after(*anchor, after),
        }
    }

    /// The next slots after a moment, at most so many.
    pub fn upcoming(&self, after: Moment, count: usize) -> Vec<Moment> {
        let mut last = after;
        let next = || {
            last = self.next_after(last)?;
            Some(last)
        };
        std::iter::from_fn(next).take(count).collect()
    }
}
