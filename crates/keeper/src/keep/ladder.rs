//! When to stop the child, and how hard: TERM, the grace, KILL.
//!
//! Plain decisions over times that are given; signals are sent by whoever asks. The first
//! reason to stop stays the reason.

use std::time::{Duration, Instant};

use crate::exit::EndedBy;
use crate::spec::Limits;

#[derive(Debug)]
pub(super) struct Ladder {
    grace: Duration,
    linger: Duration,
    wall_at: Option<Instant>,
    linger_at: Option<Instant>,
    step: Step,
    ended_by: EndedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Standing,
    Asked { kill_at: Instant },
    Killed,
}

/// What is to be done to the group now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    Term(EndedBy),
    Kill,
}

impl Ladder {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            grace: limits.grace,
            linger: limits.linger,
            wall_at: limits.wall.and_then(|wall| now.checked_add(wall)),
            linger_at: None,
            step: Step::Standing,
            ended_by: EndedBy::Itself,
        }
    }

    /// Asks for the end; none if that was done before.
    pub(super) fn stop(&mut self, by: EndedBy, now: Instant) -> Option<Push> {
        if self.step != Step::Standing {
            return None;
        }
        self.step = Step::Asked { kill_at: now + self.grace };
        self.ended_by = by;
        Some(Push::Term(by))
    }

    /// The child may stay for the linger time from now; said again, nothing changes.
    pub(super) fn linger(&mut self, now: Instant) {
        self.linger_at.get_or_insert(now + self.linger);
    }

    /// What has become due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Push> {
        match self.step {
            Step::Asked { kill_at } if now >= kill_at => {
                self.step = Step::Killed;
                Some(Push::Kill)
            }
            Step::Standing if self.wall_at.is_some_and(|at| now >= at) => self.stop(EndedBy::WallLimit, now),
            Step::Standing if self.linger_at.is_some_and(|at| now >= at) => {
                self.stop(EndedBy::Lingering, now)
            }
            Step::Standing | Step::Asked { .. } | Step::Killed => None,
        }
    }

    /// When [`Self::due`] may have something.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.step {
            Step::Standing => [self.wall_at, self.linger_at].into_iter().flatten().min(),
            Step::Asked { kill_at } => Some(kill_at),
            Step::Killed => None,
        }
    }

    pub(super) fn ended_by(&self) -> EndedBy {
        self.ended_by
    }

    /// The group was killed: nobody needs time to say goodbye any more.
    pub(super) fn was_killed(&self) -> bool {
        self.step == Step::Killed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(wall: Option<u64>) -> (Ladder, Instant) {
        let now = Instant::now();
        let limits = Limits {
            wall: wall.map(Duration::from_secs),
            grace: Duration::from_secs(10),
            linger: Duration::from_secs(5),
            ..Limits::default()
        };
        (Ladder::new(&limits, now), now)
    }

    #[test]
    fn the_first_reason_stays_the_reason() {
        let (mut ladder, t0) = ladder(Some(100));
        assert_eq!(ladder.stop(EndedBy::StopOrder, t0), Some(Push::Term(EndedBy::StopOrder)));
        assert_eq!(ladder.stop(EndedBy::WallLimit, t0), None);
        assert_eq!(ladder.due(t0 + Duration::from_secs(9)), None);
        assert_eq!(ladder.due(t0 + Duration::from_secs(10)), Some(Push::Kill));
        assert_eq!(ladder.due(t0 + Duration::from_secs(200)), None);
        assert_eq!(ladder.ended_by(), EndedBy::StopOrder);
        assert!(ladder.was_killed());
    }

    #[test]
    fn wall_and_linger_become_due_by_themselves() {
        let (mut ladder, t0) = ladder(Some(100));
        assert_eq!(ladder.next(), Some(t0 + Duration::from_secs(100)));
        ladder.linger(t0 + Duration::from_secs(1));
        ladder.linger(t0 + Duration::from_secs(3));
        assert_eq!(ladder.next(), Some(t0 + Duration::from_secs(6)));
        assert_eq!(ladder.due(t0 + Duration::from_secs(6)), Some(Push::Term(EndedBy::Lingering)));
        let (mut ladder, t0) = self::ladder(Some(100));
        assert_eq!(ladder.due(t0 + Duration::from_secs(100)), Some(Push::Term(EndedBy::WallLimit)));
        let (ladder, _) = self::ladder(None);
        assert_eq!(ladder.next(), None);
    }
}
