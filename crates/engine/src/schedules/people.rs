//! What people see of schedules, and what they do with them: run one now, hold it, let it go on.

use domain::access::Refusal;
use domain::automation::calendar::cron::shown_in;
use domain::automation::calendar::{ScheduleSpec, planning};
use domain::automation::{AutomationStatus, TriggerType};
use domain::ids::{AutomationRunId, CompanyId, ScheduleId};
use domain::moment::Moment;
use serde_json::json;
use store::automations::definitions::{self as automations, Automation};
use store::automations::runs::AutomationRun;
use store::schedules::{self, Schedule, Slot};
use store::{StoreError, Tx, audit, inbox};

use super::{read, read_spec, trouble};
use crate::activity::{Author, Scribe};
use crate::automations::{Launch, launch};
use crate::issues::Locks;
use crate::{Engine, EngineError, body_hash, stops};

/// Schedules that one list holds at most.
pub const MOST_SCHEDULES_LISTED: i64 = 1000;
/// Slots that one list holds at most.
pub const MOST_SLOTS: i64 = 500;
/// Firings that are shown ahead at most.
pub const MOST_PREVIEW: usize = 100;
/// Firings that are shown with a schedule.
const UPCOMING: usize = 5;
/// Slots ahead that are looked at for those.
const LOOKED_AT: usize = 20;

/// A schedule as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleView {
    pub schedule: Schedule,
    pub spec: ScheduleSpec,
    pub automation_name: String,
    pub automation_status: AutomationStatus,
    /// Its next firings, as it stands: none while it, or its automation, rests.
    pub upcoming: Vec<Moment>,
    /// Slots that wait for a run to end.
    pub waiting: i64,
    /// The slot that was dealt with last.
    pub newest: Option<Slot>,
    /// Why it starts nothing, though nobody holds it.
    pub trouble: Option<String>,
}

impl Engine {
    /// Lists the schedules of a company behind the given place, oldest first, at most [`MOST_SCHEDULES_LISTED`].
    pub async fn schedules(
        &self,
        company: &CompanyId,
        after: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<ScheduleView>, EngineError> {
        let (now, limit) = (self.now(), limit.clamp(1, MOST_SCHEDULES_LISTED + 1));
        let after = after.unwrap_or((Moment::from_micros(i64::MIN), String::new()));
        let listed = self.inner.read((company.clone(), after), move |tx, (company, after)| {
            Box::pin(async move {
                let rows = schedules::of_company(tx, &company, (after.0, &after.1), limit).await?;
                views(tx, rows, now).await
            })
        });
        Ok(listed.await?)
    }

    /// Returns one schedule.
    pub async fn schedule(&self, id: &ScheduleId) -> Result<ScheduleView, EngineError> {
        let now = self.now();
        let found = self.inner.read(id.clone(), move |tx, id| {
            Box::pin(async move {
                let rows = schedules::get(tx, &id).await?.into_iter().collect();
                Ok(views(tx, rows, now).await?.pop())
            })
        });
        found.await?.ok_or(EngineError::NotFound("Schedule"))
    }

    /// Lists what became of the slots of a schedule, newest first, at most [`MOST_SLOTS`].
    pub async fn schedule_slots(
        &self,
        id: &ScheduleId,
        before: Option<Moment>,
        limit: i64,
    ) -> Result<Vec<Slot>, EngineError> {
        let limit = limit.clamp(1, MOST_SLOTS + 1);
        let before = before.unwrap_or(Moment::from_micros(i64::MAX));
        let found = self.inner.read((id.clone(), before), move |tx, (id, before)| {
            Box::pin(async move { schedules::slots(tx, &id, before, limit).await })
        });
        Ok(found.await?)
    }

    /// Starts a run with the inputs of a schedule. No slot is used up by it, and none of its rules hold it back.
    pub async fn run_schedule_now(
        &self,
        id: &ScheduleId,
        idempotency_key: Option<String>,
        by: &Author,
    ) -> Result<AutomationRun, EngineError> {
        let run_id = AutomationRunId(self.new_id());
        let started = self.inner.change(
            by,
            Locks::default(),
            (id.clone(), idempotency_key, run_id),
            |tx, scribe, _, (id, idempotency_key, run_id)| {
                Box::pin(async move {
                    let (_, schedule) = locked(tx, &id).await?;
                    let inputs = read_spec(&schedule)?.inputs;
                    let ask = Launch {
                        automation: schedule.automation_id,
                        trigger: TriggerType::Manual,
                        detail: Some(json!({ "schedule": id, "name": schedule.name })),
                        body_hash: body_hash(&json!({ "schedule": id, "inputs": inputs })),
                        inputs,
                        idempotency_key,
                        actor: scribe.by.actor(),
                        priority: None,
                        run_id,
                    };
                    Ok(launch(tx, ask, scribe.now).await?.run())
                })
            },
        );
        let run = started.await?;
        self.inner.launched();
        Ok(run)
    }

    /// Holds a schedule: its slots pass by, each with its row. One that is held already stays so.
    pub async fn pause_schedule(&self, id: &ScheduleId, by: &Author) -> Result<ScheduleView, EngineError> {
        self.hold_schedule(id, true, by).await
    }

    /// Lets a schedule go on: what was planned meanwhile is not made up for.
    pub async fn resume_schedule(&self, id: &ScheduleId, by: &Author) -> Result<ScheduleView, EngineError> {
        self.hold_schedule(id, false, by).await
    }

    async fn hold_schedule(
        &self,
        id: &ScheduleId,
        is_held: bool,
        by: &Author,
    ) -> Result<ScheduleView, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let held =
            self.inner.change(by, Locks::default(), (id.clone(), is_held), |tx, scribe, _, (id, is_held)| {
                Box::pin(async move { hold(tx, scribe, &id, is_held).await })
            });
        held.await?;
        self.inner.automations.schedules.notify_one();
        self.schedule(id).await
    }

    /// The next firings of a schedule that need not be there. `count` is at most [`MOST_PREVIEW`].
    pub fn preview_schedule(
        &self,
        spec: &ScheduleSpec,
        from: Option<Moment>,
        count: usize,
    ) -> Result<Vec<Moment>, EngineError> {
        let from = from.unwrap_or(self.now());
        let timing = spec.timing(from).map_err(super::invalid)?;
        Ok(timing.upcoming(from, count.min(MOST_PREVIEW)))
    }
}

/// A schedule and its automation, both locked.
async fn locked(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<(Automation, Schedule), EngineError> {
    let gone = || EngineError::NotFound("Schedule");
    let automation = schedules::get(tx, id).await?.ok_or_else(gone)?.automation_id;
    let automation = automations::lock(tx, &automation).await?.ok_or_else(gone)?;
    let schedule = schedules::lock(tx, id).await?.ok_or_else(gone)?;
    Ok((automation, schedule))
}

async fn hold(
    tx: &mut Tx<'_>,
    mut scribe: Scribe,
    id: &ScheduleId,
    is_held: bool,
) -> Result<(), EngineError> {
    let (_, schedule) = locked(tx, id).await?;
    let now = scribe.now;
    let changed = match (schedule.paused_at, is_held) {
        (None, true) => Schedule { paused_at: Some(now), ..schedule },
        (Some(since), false) => {
            Schedule { paused_at: None, rested_from: Some(since), rested_to: Some(now), ..schedule }
        }
        // It is so already.
        (Some(_), true) | (None, false) => return Ok(()),
    };
    schedules::save(tx, &Schedule { updated_at: now, ..changed.clone() }).await?;
    let action = if is_held { "automation.schedule_paused" } else { "automation.schedule_resumed" };
    let details = json!({ "automationId": changed.automation_id, "schedule": changed.name });
    scribe.tell(tx, &changed.company_id, action, ("schedule", id.as_str()), details).await?;
    let record =
        stops::record(&changed.company_id, &scribe.by.actor(), action, id.as_str(), &changed.name, now);
    audit::append(tx, record).await?;
    Ok(())
}

async fn views(tx: &mut Tx<'_>, rows: Vec<Schedule>, now: Moment) -> Result<Vec<ScheduleView>, StoreError> {
    let ids: Vec<ScheduleId> = rows.iter().map(|row| row.id.clone()).collect();
    let newest = schedules::newest(tx, &ids).await?;
    let waiting = schedules::count_waiting(tx, &ids).await?;
    let names: Vec<String> = ids.iter().map(|id| id.0.clone()).collect();
    let told = inbox::open_about(tx, trouble::KIND.as_str(), &names).await?;
    let mut all = Vec::with_capacity(rows.len());
    let mut automation: Option<Automation> = None;
    for schedule in rows {
        // Schedules of one automation mostly stand beside each other.
        if automation.as_ref().is_none_or(|known| known.id != schedule.automation_id) {
            automation = automations::get(tx, &schedule.automation_id).await?;
        }
        let Some(automation) = &automation else { continue };
        let told = told.iter().find(|item| item.entity_id == schedule.id.0);
        let told = told.and_then(|item| item.details["reason"].as_str().map(str::to_owned));
        let trouble = told.or_else(|| set_back(&schedule, now)).filter(|_| !rests(automation, &schedule));
        all.push(ScheduleView {
            upcoming: upcoming(tx, automation, &schedule, now).await?,
            trouble,
            spec: read_spec(&schedule).unwrap_or_else(|_| ScheduleSpec {
                name: schedule.name.clone(),
                enabled: Some(false),
                ..ScheduleSpec::default()
            }),
            automation_name: automation.name.clone(),
            automation_status: automation.status,
            waiting: waiting.iter().find(|(id, _)| *id == schedule.id).map_or(0, |(_, count)| *count),
            newest: newest.iter().find(|slot| slot.schedule_id == schedule.id).cloned(),
            schedule,
        });
    }
    Ok(all)
}

fn rests(automation: &Automation, schedule: &Schedule) -> bool {
    automation.status != AutomationStatus::Active || schedule.paused_at.is_some()
}

async fn upcoming(
    tx: &mut Tx<'_>,
    automation: &Automation,
    schedule: &Schedule,
    now: Moment,
) -> Result<Vec<Moment>, StoreError> {
    let Some(next) = schedule.next_at.filter(|_| !rests(automation, schedule)) else { return Ok(Vec::new()) };
    let Ok((_, timing)) = read(schedule) else { return Ok(Vec::new()) };
    if schedule.last_slot.is_none_or(|last| last < next) {
        return Ok(planning::upcoming(&timing, next, now, UPCOMING));
    }
    // It plans anew, and the clock was ahead before: what was dealt with is passed over.
    let mut free = Vec::new();
    for slot in planning::upcoming(&timing, next, now, LOOKED_AT) {
        if free.len() < UPCOMING && !schedules::has_slot(tx, &schedule.id, slot).await? {
            free.push(slot);
        }
    }
    if free.is_empty() {
        free = timing.upcoming(schedule.last_slot.unwrap_or(next), UPCOMING);
    }
    Ok(free)
}

/// In words that it waits for a clock that was set back.
fn set_back(schedule: &Schedule, now: Moment) -> Option<String> {
    let (spec, timing) = read(schedule).ok()?;
    let last = schedule.last_slot?;
    planning::was_set_back(&timing, (Some(last), schedule.next_at), now).then(|| {
        let shown = shown_in(spec.timezone(), last).unwrap_or_else(|| last.iso());
        format!(
            "the clock was set back: its slots until {shown} were dealt with and do not come again; to start it before that, \
             give it another timing (bugle automation apply) or use bugle schedule run-now"
        )
    })
}
