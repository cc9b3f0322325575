//! Deals with the slots of schedules that have come, and starts what waited for the end of a run.
//!
//! The next slot is an indexed column: schedules that are not due are not looked at (spec/automations.md W31). A long
//! outage is made up for a page at a time, everybody's turn by turn, so that none waits behind another's.

use std::sync::Arc;
use std::time::Duration;

use domain::moment::Moment;
use store::StoreError;
use store::schedules::{self as stored, Due};

use crate::schedules::firing::{self, Dealt};
use crate::{EngineError, Inner};

const BATCH: i64 = 100;
/// The longest sleep: a clock may jump, another node may plan something.
const LONGEST: Duration = Duration::from_secs(30);

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "the schedules", &engine.automations.schedules, pass).await {
            return;
        }
    }
}

/// What a pass came to.
#[derive(Debug, Default)]
struct Sum {
    failed: bool,
    started: bool,
    is_more: bool,
}

impl Sum {
    fn take(&mut self, schedule: &str, dealt: Result<Dealt, EngineError>) {
        match dealt {
            Ok(dealt) => {
                self.started |= dealt.run.is_some();
                self.is_more |= dealt.is_more;
            }
            // One schedule's trouble is not another's: it is said, and the next pass tries again.
            Err(error) => {
                tracing::warn!(
                    schedule,
                    error = &error as &dyn std::error::Error,
                    "cannot deal with what is due"
                );
                self.failed = true;
            }
        }
    }
}

/// Deals with what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let mut sum = Sum::default();
    deal_with_due(engine, &mut sum).await?;
    start_waiting(engine, &mut sum).await?;
    if sum.started {
        engine.launched();
    }
    if sum.failed {
        // It is due still, and would be at once again.
        return Ok(engine.settings.period);
    }
    if sum.is_more {
        return Ok(Duration::ZERO);
    }
    let next = engine.read((), |tx, ()| Box::pin(stored::next(tx))).await?;
    let now = engine.clock.now();
    // Never less than a moment: two clocks of a database and a server may differ.
    Ok(next.map_or(LONGEST, |at| at.since(now)).clamp(Duration::from_millis(20), LONGEST))
}

async fn deal_with_due(engine: &Arc<Inner>, sum: &mut Sum) -> Result<(), StoreError> {
    let now = engine.clock.now();
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
            sum.take(due.id.as_str(), firing::deal(engine, due).await);
        }
        after = match page.last() {
            Some(last) if page.len() as i64 == BATCH => (last.next_at, last.id.0.clone()),
            Some(_) | None => return Ok(()),
        };
    }
}

async fn start_waiting(engine: &Arc<Inner>, sum: &mut Sum) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let page =
            engine.read(after, |tx, after| Box::pin(async move { stored::ready(tx, &after, BATCH).await }));
        let page = page.await?;
        for (schedule, automation) in &page {
            if engine.closing.is_cancelled() {
                return Ok(());
            }
            sum.take(schedule.as_str(), firing::start_waiting(engine, schedule, automation).await);
        }
        after = match page.last() {
            Some((last, _)) if page.len() as i64 == BATCH => last.0.clone(),
            Some(_) | None => return Ok(()),
        };
    }
}
