//! What changes an account: runs that start and end on it, the time, and people.
//!
//! Each move says what became of it in a [`Change`], or nothing when all stays as it is. A run that was on its way when
//! the account was parked says nothing new, unless the provider names a later time.

use std::time::Duration;

use crate::account::said::Said;
use crate::account::{
    Account, BETWEEN_STARTS, BRAKE_REFUSALS, BRAKE_SPAN, BREAKER_FAILURES, BREAKER_SPAN, Entry, Failure,
    LATEST_RESET, LONGEST_PARK, PARKED_FOR, Park, ParkedFor, RESUMING_FOR, Standing, Unclear, Wait,
};
use crate::ids::{AgentId, RunId};
use crate::moment::Moment;

/// What a move came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Something to remember that nobody needs to hear of.
    Noted,
    /// It stands otherwise now.
    Moved {
        /// A person is told of it.
        notice: Option<Notice>,
        /// It works: what people were told of it is settled.
        works: bool,
    },
}

/// What a person is told, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Somebody has to log in.
    LoginLost,
    /// It was refused too often, or for reasons nobody knows, and stays parked for long.
    KeepsFailing,
    /// The limit is over: go on?
    GoOn,
}

/// The end of a run, as the account hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended<'a> {
    pub run: &'a RunId,
    pub agent: &'a AgentId,
    pub said: Said,
}

const MOVED: Change = Change::Moved { notice: None, works: false };
const WORKS: Change = Change::Moved { notice: None, works: true };

impl Account {
    /// A run starts, if it may.
    pub fn start(&mut self, run: &RunId, now: Moment) -> Result<Option<Change>, Wait> {
        Ok(match self.admits(now)? {
            Entry::Free => None,
            Entry::Probe => {
                let Standing::Parked(park) = &self.standing else { return Ok(None) };
                self.standing = Standing::Probing { park: park.clone(), run: run.clone(), since: now };
                Some(MOVED)
            }
            Entry::InTurn => {
                let Standing::Resuming { next_start_at, until } = &mut self.standing else { return Ok(None) };
                if *until <= now {
                    self.standing = Standing::Open;
                    return Ok(Some(MOVED));
                }
                *next_start_at = now.plus(BETWEEN_STARTS);
                Some(Change::Noted)
            }
        })
    }

    /// A run ended.
    pub fn ended(&mut self, ended: Ended<'_>, now: Moment) -> Option<Change> {
        match ended.said {
            Said::Answered => self.answered(ended.run, now),
            Said::Limit { not_before } => self.limited(ended.run, not_before, now),
            Said::LoginLost => self.login_lost(ended.run, now),
            Said::Failed(kind) => self.failed(ended, kind, now),
            Said::Nothing => {
                let park = self.tried_by(ended.run)?;
                // Nobody knows more than before: the next one tries.
                self.standing = Standing::Parked(Park { until: Some(now), ..park });
                Some(MOVED)
            }
        }
    }

    /// The provider answered a run, which may go on.
    pub fn answered(&mut self, run: &RunId, now: Moment) -> Option<Change> {
        match &self.standing {
            Standing::Probing { run: probe, since, .. } if probe == run => {
                let next_start_at = since.plus(BETWEEN_STARTS).max(now);
                self.forget();
                self.standing = Standing::Resuming { next_start_at, until: now.plus(RESUMING_FOR) };
                Some(WORKS)
            }
            // It may have been answered before the account was parked.
            Standing::Parked(_) | Standing::Probing { .. } => None,
            Standing::Open | Standing::Resuming { .. } => {
                let has_past = self.level > 0 || !self.refusals.is_empty() || !self.failures.is_empty();
                self.forget();
                has_past.then_some(WORKS)
            }
        }
    }

    fn limited(&mut self, run: &RunId, not_before: Option<Moment>, now: Moment) -> Option<Change> {
        let named = not_before.filter(|at| *at > now).map(|at| at.min(now.plus(LATEST_RESET)));
        let is_late = match &self.standing {
            Standing::Open | Standing::Resuming { .. } => false,
            Standing::Probing { run: probe, .. } => probe != run,
            Standing::Parked(_) => true,
        };
        if is_late {
            return self.put_off(named?, now);
        }
        self.refuse([now]);
        let until = named.unwrap_or_else(|| self.next_park(now));
        let (until, is_braked) = self.brake(until);
        self.set_parked(ParkedFor::Quota, Some(until), named == Some(until), now);
        let notice = is_braked.then_some(Notice::KeepsFailing);
        Some(Change::Moved { notice, works: false })
    }

    /// A run that was on its way names a later time.
    fn put_off(&mut self, named: Moment, now: Moment) -> Option<Change> {
        let park = self.park_mut()?;
        let waits_for_time = matches!(park.why, ParkedFor::Quota | ParkedFor::Failures);
        if !waits_for_time || park.until.is_some_and(|until| until >= named) {
            return None;
        }
        self.set_parked(ParkedFor::Quota, Some(named), true, now);
        Some(MOVED)
    }

    fn login_lost(&mut self, run: &RunId, now: Moment) -> Option<Change> {
        let (was_login, is_probe) = match &self.standing {
            Standing::Parked(park) if park.why == ParkedFor::Login => return None,
            Standing::Probing { park, run: probe, .. } => (park.why == ParkedFor::Login, probe == run),
            Standing::Parked(_) | Standing::Open | Standing::Resuming { .. } => (false, false),
        };
        if was_login && !is_probe {
            // It speaks of the login that was lost before.
            return None;
        }
        self.refuse([now]);
        self.set_parked(ParkedFor::Login, None, false, now);
        let notice = (!was_login).then_some(Notice::LoginLost);
        Some(Change::Moved { notice, works: false })
    }

    fn failed(&mut self, ended: Ended<'_>, kind: Unclear, now: Moment) -> Option<Change> {
        if self.tried_by(ended.run).is_some() {
            if kind == Unclear::Unknown {
                self.refuse([now]);
            }
            return Some(self.trip(kind, now));
        }
        if self.park().is_some() {
            return None;
        }
        self.failures.retain(|failure| now.since(failure.at) < BREAKER_SPAN);
        self.failures.push(Failure { at: now, kind, agent: ended.agent.clone() });
        let alike: Vec<&Failure> = self.failures.iter().filter(|failure| failure.kind == kind).collect();
        // One agent that is set up wrong is not to stop the others.
        let is_about_account = !self.is_shared || alike.iter().any(|failure| failure.agent != *ended.agent);
        if alike.len() < BREAKER_FAILURES || !is_about_account {
            const MOST: usize = 8;
            let surplus = self.failures.len().saturating_sub(MOST);
            self.failures.drain(..surplus);
            return Some(Change::Noted);
        }
        if kind == Unclear::Unknown {
            let moments: Vec<Moment> = alike.iter().map(|failure| failure.at).collect();
            self.refuse(moments);
        }
        Some(self.trip(kind, now))
    }

    /// A provider that is busy is asked again within the hour; what nobody understands also comes to the brake.
    fn trip(&mut self, kind: Unclear, now: Moment) -> Change {
        self.failures.clear();
        let until = self.next_park(now);
        let (until, is_braked) = if kind == Unclear::Unknown { self.brake(until) } else { (until, false) };
        self.set_parked(ParkedFor::Failures, Some(until), false, now);
        Change::Moved { notice: is_braked.then_some(Notice::KeepsFailing), works: false }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) -> Option<Change> {
        let auto_resume = self.auto_resume;
        match &mut self.standing {
            Standing::Probing { park, since, .. } if since.plus(park.patience()) <= now => {
                self.standing = Standing::Resuming { next_start_at: now, until: now.plus(RESUMING_FOR) };
                Some(WORKS)
            }
            Standing::Resuming { until, .. } if *until <= now => {
                self.standing = Standing::Open;
                Some(MOVED)
            }
            Standing::Parked(park) if park.until.is_some_and(|until| until <= now) => {
                if auto_resume || park.is_released || park.is_asked {
                    return None;
                }
                park.is_asked = true;
                Some(Change::Moved { notice: Some(Notice::GoOn), works: false })
            }
            Standing::Open | Standing::Probing { .. } | Standing::Resuming { .. } | Standing::Parked(_) => {
                None
            }
        }
    }

    /// A person says that it is to go on: what it was parked by itself for is tried by one run first.
    pub fn resume(&mut self, now: Moment) -> Option<Change> {
        self.forget();
        match &mut self.standing {
            Standing::Parked(park) if park.why == ParkedFor::Person => {
                self.standing = Standing::Open;
                Some(WORKS)
            }
            Standing::Parked(park) => {
                park.until = Some(now);
                park.is_released = true;
                Some(MOVED)
            }
            Standing::Open | Standing::Probing { .. } | Standing::Resuming { .. } => None,
        }
    }

    /// The login was seen to change: one run tries it, unless it was tried too often.
    pub fn login_changed(&mut self, now: Moment) -> Option<Change> {
        let (until, _) = self.brake(now);
        match &mut self.standing {
            Standing::Parked(park) if park.why == ParkedFor::Login && park.until.is_none() => {
                park.until = Some(until);
                park.is_released = true;
                Some(MOVED)
            }
            Standing::Open | Standing::Probing { .. } | Standing::Resuming { .. } | Standing::Parked(_) => {
                None
            }
        }
    }

    /// Somebody set an agent of the account up anew: what was wrong may be right now, and one run tries it.
    pub fn configured(&mut self, now: Moment) -> Option<Change> {
        match &mut self.standing {
            Standing::Parked(park) if matches!(park.why, ParkedFor::Login | ParkedFor::Failures) => {
                park.until = Some(now);
                park.is_released = true;
                Some(MOVED)
            }
            Standing::Open | Standing::Probing { .. } | Standing::Resuming { .. } | Standing::Parked(_) => {
                None
            }
        }
    }

    /// A person parks it.
    pub fn park_by_person(&mut self, until: Option<Moment>, now: Moment) -> Change {
        self.set_parked(ParkedFor::Person, until, true, now);
        MOVED
    }

    /// Whether it goes on by itself.
    pub fn set_auto_resume(&mut self, auto_resume: bool) -> Option<Change> {
        if self.auto_resume == auto_resume {
            return None;
        }
        self.auto_resume = auto_resume;
        if let Standing::Parked(park) = &mut self.standing {
            park.is_asked = false;
        }
        Some(MOVED)
    }

    fn set_parked(&mut self, why: ParkedFor, until: Option<Moment>, is_named: bool, now: Moment) {
        let since = self.park_mut().map_or(now, |park| park.since);
        self.standing =
            Standing::Parked(Park { why, since, until, is_named, is_released: false, is_asked: false });
    }

    fn park_mut(&mut self) -> Option<&mut Park> {
        match &mut self.standing {
            Standing::Parked(park) | Standing::Probing { park, .. } => Some(park),
            Standing::Open | Standing::Resuming { .. } => None,
        }
    }

    /// What it was parked for, when this run tries it.
    fn tried_by(&self, run: &RunId) -> Option<Park> {
        match &self.standing {
            Standing::Probing { park, run: probe, .. } if probe == run => Some(park.clone()),
            Standing::Open | Standing::Parked(_) | Standing::Probing { .. } | Standing::Resuming { .. } => {
                None
            }
        }
    }

    fn forget(&mut self) {
        self.level = 0;
        self.refusals.clear();
        self.failures.clear();
    }

    fn refuse(&mut self, at: impl IntoIterator<Item = Moment>) {
        self.refusals.extend(at);
        let surplus = self.refusals.len().saturating_sub(BRAKE_REFUSALS);
        self.refusals.drain(..surplus);
    }

    /// Until when it is parked where nobody names a time.
    fn next_park(&mut self, now: Moment) -> Moment {
        let span: Duration = PARKED_FOR.saturating_mul(1 << self.level.min(8)).min(LONGEST_PARK);
        self.level = self.level.saturating_add(1);
        now.plus(span)
    }

    /// Not before the first of too many refusals is a day ago; true when that is later.
    fn brake(&self, until: Moment) -> (Moment, bool) {
        match self.refusals.first().filter(|_| self.refusals.len() >= BRAKE_REFUSALS) {
            Some(first) if first.plus(BRAKE_SPAN) > until => (first.plus(BRAKE_SPAN), true),
            Some(_) | None => (until, false),
        }
    }
}
