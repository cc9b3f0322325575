//! Deals with the slots of schedules that have come, and starts what waited for the end of a run.
//!
//! The next slot is an indexed column: schedules that are not due are not looked at (spec/automations.md W31). A long
//! outage is made up for a page at a time, everybody's turn by turn, so that none waits behind another's. A schedule that
//! cannot be dealt with is left alone for a while, longer each time, and people are told; the others keep their time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ids::ScheduleId;
use domain::moment::Moment;
use store::StoreError;
use store::schedules::{self as stored, Due};

use crate::schedules::firing::{self, Dealt};
use crate::schedules::trouble;
use crate::{EngineError, Inner, unwritten};

const BATCH: i64 = 100;
/// The longest sleep: a clock may jump, another node may plan something.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest time that a schedule is left alone which could not be dealt with.
const LONGEST_HOLD: Duration = Duration::from_secs(300);
/// So many times in a row the store may fail one schedule before people are told.
const QUIET_TRIES: u32 = 3;

pub(crate) async fn run(engine: Arc<Inner>) {
    let mut held = Held::default();
    loop {
        let pass = pass(&engine, &mut held).await;
        if !super::rest(&engine, "the schedules", &engine.automations.schedules, pass).await {
            return;
        }
    }
}

/// A schedule, and the slot of it that could not be dealt with; `None`: it was one that waits.
type Place = (ScheduleId, Option<Moment>);

/// What could not be dealt with, and is left alone for a while. A definition that plans a schedule anew gives it another
/// place: it is not left alone then.
#[derive(Debug, Default)]
struct Held(BTreeMap<Place, Hold>);

#[derive(Debug)]
struct Hold {
    /// How many times in a row it was so.
    tries: u32,
    since: Moment,
    wait: Duration,
}

impl Hold {
    /// A clock that was set back ends it, too.
    fn lasts(&self, now: Moment) -> bool {
        now >= self.since && now.since(self.since) < self.wait
    }
}

impl Held {
    fn has(&self, place: &Place, now: Moment) -> bool {
        self.0.get(place).is_some_and(|hold| hold.lasts(now))
    }

    /// Leaves a place alone, longer each time; returns how many times in a row it was so.
    fn add(&mut self, place: Place, now: Moment, period: Duration) -> u32 {
        let tries = self.0.get(&place).map_or(0, |hold| hold.tries) + 1;
        let wait = period.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST_HOLD.max(period));
        self.0.insert(place, Hold { tries, since: now, wait });
        tries
    }

    /// Whatever could be tried again at that moment was: what was held then and is no more is gone.
    fn forget(&mut self, now: Moment) {
        self.0.retain(|_, hold| hold.lasts(now) || hold.since > now);
    }

    /// How long it is until the first of them is tried again.
    fn next(&self, now: Moment) -> Option<Duration> {
        self.0.values().map(|hold| hold.since.plus(hold.wait).since(now)).min()
    }
}

/// What a pass came to.
#[derive(Debug, Default)]
struct Sum {
    started: bool,
    is_more: bool,
}

impl Sum {
    fn take(&mut self, dealt: &Dealt) {
        self.started |= dealt.run.is_some();
        self.is_more |= dealt.is_more;
    }
}

/// Deals with what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>, held: &mut Held) -> Result<Duration, StoreError> {
    let mut sum = Sum::default();
    let began = engine.clock.now();
    let done = deal_with_all(engine, held, &mut sum, began).await;
    if sum.started {
        engine.launched();
    }
    done?;
    held.forget(began);
    if sum.is_more {
        return Ok(Duration::ZERO);
    }
    let next = next_slot(engine, held).await?;
    let now = engine.clock.now();
    let wait = next.map_or(LONGEST, |at| at.since(now)).min(held.next(now).unwrap_or(LONGEST));
    // Never less than a moment: two clocks of a database and a server may differ.
    Ok(wait.clamp(Duration::from_millis(20), LONGEST))
}

async fn deal_with_all(
    engine: &Arc<Inner>,
    held: &mut Held,
    sum: &mut Sum,
    now: Moment,
) -> Result<(), StoreError> {
    deal_with_due(engine, held, sum, now).await?;
    start_waiting(engine, held, sum, now).await
}

/// The next slot of those that are not left alone.
async fn next_slot(engine: &Arc<Inner>, held: &Held) -> Result<Option<Moment>, StoreError> {
    let mut after = (Moment::from_micros(i64::MIN), String::new());
    let limit = i64::try_from(held.0.len()).map_or(BATCH, |count| (count + 1).min(BATCH));
    loop {
        let page = engine.read(after, move |tx, after| {
            let end = Moment::from_micros(i64::MAX);
            Box::pin(async move { stored::due(tx, end, (after.0, &after.1), limit).await })
        });
        let page: Vec<Due> = page.await?;
        let now = engine.clock.now();
        if let Some(free) = page.iter().find(|due| !held.has(&place_of(due), now)) {
            return Ok(Some(free.next_at));
        }
        after = match page.last() {
            Some(last) if page.len() as i64 == limit => (last.next_at, last.id.0.clone()),
            Some(_) | None => return Ok(None),
        };
    }
}

fn place_of(due: &Due) -> Place {
    (due.id.clone(), Some(due.next_at))
}

/// One schedule's trouble is not another's: it is said, and tried again later.
async fn settle(
    engine: &Arc<Inner>,
    held: &mut Held,
    sum: &mut Sum,
    place: Place,
    dealt: Result<Dealt, EngineError>,
) {
    let error = match dealt {
        Ok(dealt) => {
            held.0.remove(&place);
            sum.take(&dealt);
            return;
        }
        Err(EngineError::Closing) => return,
        Err(error) => error,
    };
    let schedule = place.0.clone();
    let tries = held.add(place, engine.clock.now(), engine.settings.period);
    tracing::warn!(
        %schedule,
        tries,
        error = &error as &dyn std::error::Error,
        "cannot deal with what is due"
    );
    // What the rules say they say again; a store may come back.
    let words = match firing::refusal(Some(&error)) {
        Some(words) => words,
        None if tries < QUIET_TRIES => return,
        None => match &error {
            EngineError::Store(error) => unwritten::in_words(error),
            other => other.to_string(),
        },
    };
    if let Err(error) = trouble::tell_stuck(engine, &schedule, &words).await {
        tracing::warn!(%schedule, %error, "cannot tell that a schedule is stuck");
    }
}

async fn deal_with_due(
    engine: &Arc<Inner>,
    held: &mut Held,
    sum: &mut Sum,
    now: Moment,
) -> Result<(), StoreError> {
    let mut after = (Moment::from_micros(i64::MIN), String::new());
    loop {
        let page = engine.read(after, move |tx, after| {
            Box::pin(async move { stored::due(tx, now, (after.0, &after.1), BATCH).await })
        });
        let page: Vec<Due> = page.await?;
        for due in &page {
            if engine.closing.is_cancelled() {
                return Ok(());
            }
            let place = place_of(due);
            if held.has(&place, now) {
                continue;
            }
            let dealt = firing::deal(engine, due).await;
            settle(engine, held, sum, place, dealt).await;
        }
        after = match page.last() {
            Some(last) if page.len() as i64 == BATCH => (last.next_at, last.id.0.clone()),
            Some(_) | None => return Ok(()),
        };
    }
}

async fn start_waiting(
    engine: &Arc<Inner>,
    held: &mut Held,
    sum: &mut Sum,
    now: Moment,
) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let page =
            engine.read(after, |tx, after| Box::pin(async move { stored::ready(tx, &after, BATCH).await }));
        let page = page.await?;
        for (schedule, automation) in &page {
            if engine.closing.is_cancelled() {
                return Ok(());
            }
            let place = (schedule.clone(), None);
            if held.has(&place, now) {
                continue;
            }
            let dealt = firing::start_waiting(engine, schedule, automation).await;
            settle(engine, held, sum, place, dealt).await;
        }
        after = match page.last() {
            Some((last, _)) if page.len() as i64 == BATCH => last.0.clone(),
            Some(_) | None => return Ok(()),
        };
    }
}
