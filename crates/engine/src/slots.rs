//! Places for processes on this node: how many may run, and how many do.
//!
//! A place is taken before a run is claimed and given back when the run is over. Runs that a restarted server takes over
//! have their places from the first moment on, beyond the limit if it was lowered meanwhile: then nothing new starts until
//! enough of them have ended. Who is to start next is not decided here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a node.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: u32,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    taken: u32,
    /// Of these: for runs of an earlier start that are not taken over yet.
    reserved: u32,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Slots {
    /// Returns `limit` places, of which `reserved` are taken by runs that go on.
    pub(crate) fn new(limit: u32, reserved: u32) -> Slots {
        Slots { limit, places: Mutex::new(Places { taken: reserved, reserved }) }
    }

    /// How many are taken, and how many there are.
    pub(crate) fn load(&self) -> (u32, u32) {
        (self.lock().taken, self.limit)
    }

    /// How many may be taken now.
    pub(crate) fn free(&self) -> u32 {
        self.limit.saturating_sub(self.lock().taken)
    }

    /// Takes a free place.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Slot> {
        let mut places = self.lock();
        if places.taken >= self.limit {
            return None;
        }
        places.taken += 1;
        Some(Slot(Arc::clone(self)))
    }

    /// Takes the place of a process that is there already, whatever the limit is.
    pub(crate) fn take_over(self: &Arc<Self>) -> Slot {
        let mut places = self.lock();
        if places.reserved > 0 {
            places.reserved -= 1;
        } else {
            places.taken += 1;
        }
        Slot(Arc::clone(self))
    }

    /// Everything is taken over: places that were kept for runs that ended meanwhile are free.
    pub(crate) fn end_reservation(&self) {
        let mut places = self.lock();
        places.taken -= std::mem::take(&mut places.reserved);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Each change is whole before the lock is given back, so a panic leaves sound counts.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_there_are() {
        let slots = Arc::new(Slots::new(2, 0));
        let (one, two) = (slots.take(), slots.take());
        assert!(one.is_some() && two.is_some() && slots.take().is_none());
        drop(one);
        assert_eq!((slots.load(), slots.free()), ((1, 2), 1));
        assert!(slots.take().is_some());
    }

    #[test]
    fn runs_that_go_on_have_places_beyond_the_limit_which_stays_what_it_was() {
        let slots = Arc::new(Slots::new(1, 2));
        assert_eq!((slots.load(), slots.free()), ((2, 1), 0));
        let (one, two, third) = (slots.take_over(), slots.take_over(), slots.take_over());
        assert_eq!(slots.load(), (3, 1));
        drop((one, two));
        assert!(slots.take().is_none());
        drop(third);
        assert!(slots.take().is_some());
    }

    #[test]
    fn places_kept_for_runs_that_ended_are_given_back() {
        let slots = Arc::new(Slots::new(3, 3));
        let taken = slots.take_over();
        slots.end_reservation();
        slots.end_reservation();
        assert_eq!(slots.load(), (1, 3));
        drop(taken);
        assert_eq!(slots.load(), (0, 3));
    }
}
