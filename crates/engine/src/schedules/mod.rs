//! Schedules: what starts automations by themselves.
//!
//! When they do is `domain::automation::calendar`'s to say. Here what is due is dealt with, each slot in the transaction
//! that makes its run ([`firing`]); people look at schedules and hold them ([`people`]), and are told when one starts
//! nothing any more ([`trouble`]); and the rows follow the definition ([`align`]), in the transaction that gives an
//! automation a new version.

pub(crate) mod firing;
mod people;
pub(crate) mod trouble;

use domain::automation::Problem;
use domain::automation::calendar::planning::{self, Plan};
use domain::automation::calendar::spec::MOST_SCHEDULES;
use domain::automation::calendar::{ScheduleSpec, SkipReason, Timing};
use domain::ids::{AutomationId, CompanyId, ScheduleId};
use store::schedules::{self, Schedule};
use store::{StoreError, Tx};

use crate::EngineError;
use crate::activity::Scribe;

pub use people::{MOST_PREVIEW, MOST_SCHEDULES_LISTED, MOST_SLOTS, ScheduleView};

/// Brings the schedules of an automation in line with its definition: the name makes one the same. The automation is
/// locked. True when something is planned otherwise than before: whoever commits this rings for the sweep.
pub(crate) async fn align(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    (company, automation): (&CompanyId, &AutomationId),
    wanted: &[ScheduleSpec],
) -> Result<bool, EngineError> {
    let now = scribe.now;
    let mut is_changed = false;
    let there = schedules::lock_of(tx, automation, MOST_SCHEDULES as i64).await?;
    for gone in there.iter().filter(|row| !wanted.iter().any(|spec| spec.name == row.name)) {
        let removed = Schedule { next_at: None, removed_at: Some(now), updated_at: now, ..gone.clone() };
        schedules::withdraw(tx, &gone.id, SkipReason::Withdrawn, now).await?;
        trouble::is_over(tx, &gone.id, "removed", now).await?;
        schedules::save(tx, &removed).await?;
        is_changed = true;
    }
    for spec in wanted {
        let row = there.iter().find(|row| row.name == spec.name);
        // What stands there was checked when it was saved; a newer program may read more strictly.
        let known = row.and_then(|row| Some((read_spec(row).ok()?, row)));
        let before =
            known.as_ref().map(|(old, row)| (old, Plan { anchor: row.anchor_at, next: row.next_at }));
        let last = row.and_then(|row| row.last_slot);
        let plan = planning::plan(before, last, spec, now).map_err(invalid)?;
        if known.as_ref().is_some_and(|(old, row)| old == spec && row.next_at == plan.next) {
            continue;
        }
        is_changed = true;
        match row {
            Some(row) => {
                if !spec.is_enabled() {
                    schedules::withdraw(tx, &row.id, SkipReason::Withdrawn, now).await?;
                    trouble::is_over(tx, &row.id, "switched_off", now).await?;
                }
                schedules::save(tx, &planned(row.clone(), spec, plan, scribe)).await?;
            }
            None => {
                let fresh = fresh(ScheduleId(scribe.id()), company, automation, scribe);
                schedules::insert(tx, &planned(fresh, spec, plan, scribe)).await?;
            }
        }
    }
    Ok(is_changed)
}

fn fresh(id: ScheduleId, company: &CompanyId, automation: &AutomationId, scribe: &Scribe) -> Schedule {
    Schedule {
        id,
        company_id: company.clone(),
        automation_id: automation.clone(),
        name: String::new(),
        spec: serde_json::Value::Null,
        anchor_at: scribe.now,
        next_at: None,
        last_slot: None,
        paused_at: None,
        rested_from: None,
        rested_to: None,
        removed_at: None,
        created_at: scribe.now,
        updated_at: scribe.now,
    }
}

fn planned(row: Schedule, spec: &ScheduleSpec, plan: Plan, scribe: &Scribe) -> Schedule {
    Schedule {
        name: spec.name.clone(),
        spec: serde_json::to_value(spec).expect("a schedule is plain data"),
        anchor_at: plan.anchor,
        next_at: plan.next,
        updated_at: scribe.now,
        ..row
    }
}

/// What a schedule says, as it is stored.
fn read_spec(row: &Schedule) -> Result<ScheduleSpec, EngineError> {
    serde_json::from_value(row.spec.clone())
        .map_err(|error| invalid(Problem::new("schedule", error.to_string(), "apply its definition again")))
}

/// What a schedule says, and its slots.
fn read(row: &Schedule) -> Result<(ScheduleSpec, Timing), EngineError> {
    let spec = read_spec(row)?;
    let timing = spec.timing(row.anchor_at).map_err(invalid)?;
    Ok((spec, timing))
}

fn invalid(problem: Problem) -> EngineError {
    let hint = Some(problem.hint);
    EngineError::Invalid(vec![adapters::Problem { path: problem.path, message: problem.message, hint }])
}

/// Removes a batch of slots that are too old, and of what removed schedules left.
pub(crate) async fn forget(
    tx: &mut Tx<'_>,
    before: domain::moment::Moment,
    limit: i64,
) -> Result<u64, StoreError> {
    Ok(schedules::remove_slots(tx, before, limit).await? + schedules::remove_gone(tx, limit).await?)
}
