//! Dealing with slots that have come: each becomes a run, waits, or is skipped with its reason, in one transaction with the
//! row that says so.
//!
//! The transaction names the first slot that it saw undone, so that of two servers one deals with it, and a crash leaves
//! either all of it or nothing (spec/automations.md W8). It makes one run at most: what the rules refuse undoes that run
//! alone, and the slot is then written down as refused.
//!
//! One slot is one row: one that has a row was dealt with, and is passed over. It comes a second time when the clock is set
//! back, or when a new definition plans it anew.

use domain::automation::calendar::due::{self, Fate, Page, Place, View};
use domain::automation::calendar::{Overlap, ScheduleSpec, SkipReason, SlotState};
use domain::automation::{AutomationStatus, TriggerType};
use domain::ids::{AutomationId, AutomationRunId, ScheduleId};
use domain::moment::Moment;
use domain::wake::Actor;
use serde_json::json;
use store::Tx;
use store::automations::definitions::{self as automations, Automation};
use store::schedules::{self, Due, Schedule, Slot};

use super::{read, trouble};
use crate::automations::{Launch, launch};
use crate::{EngineError, Inner, body_hash};

/// Slots that one transaction writes down at most.
const PAGE: usize = 100;

/// What one transaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dealt {
    /// The run that was made.
    pub(crate) run: Option<AutomationRunId>,
    /// More slots have come.
    pub(crate) is_more: bool,
}

/// What a transaction starts from; every try of it gets the same.
#[derive(Debug, Clone)]
struct Attempt<T> {
    what: T,
    now: Moment,
    run_id: AutomationRunId,
    forget_before: Moment,
    /// What the rules said to the run that was to be made.
    refused: Option<String>,
}

/// Deals with a page of what is due of a schedule.
pub(crate) async fn deal(engine: &Inner, due: &Due) -> Result<Dealt, EngineError> {
    let mut attempt = engine.attempt(due.clone());
    attempt.refused = refusal(engine.look_at_workspace(&due.automation_id, None).await.as_ref().err());
    let dealt = engine.write_unless(attempt.clone(), |tx, attempt| Box::pin(page(tx, attempt))).await;
    let Some(refused) = refusal(dealt.as_ref().err()) else { return dealt };
    attempt.refused = Some(refused);
    engine.write_unless(attempt, |tx, attempt| Box::pin(page(tx, attempt))).await
}

/// Makes a run of the first slot that waits.
pub(crate) async fn start_waiting(
    engine: &Inner,
    schedule: &ScheduleId,
    automation: &AutomationId,
) -> Result<Dealt, EngineError> {
    let mut attempt = engine.attempt((schedule.clone(), automation.clone()));
    attempt.refused = refusal(engine.look_at_workspace(automation, None).await.as_ref().err());
    let started = engine.write_unless(attempt.clone(), |tx, attempt| Box::pin(first(tx, attempt))).await;
    let Some(refused) = refusal(started.as_ref().err()) else { return started };
    attempt.refused = Some(refused);
    engine.write_unless(attempt, |tx, attempt| Box::pin(first(tx, attempt))).await
}

impl Inner {
    fn attempt<T>(&self, what: T) -> Attempt<T> {
        let now = self.clock.now();
        let run_id = AutomationRunId::mint(now, self.dice.bytes());
        Attempt { what, now, run_id, forget_before: now.minus(self.settings.keep_slots_for), refused: None }
    }
}

/// What the rules said, in words; nothing when it was not the rules that kept it from being done.
pub(crate) fn refusal(error: Option<&EngineError>) -> Option<String> {
    match error? {
        EngineError::Store(_) | EngineError::Closing | EngineError::Process(_) => None,
        EngineError::Invalid(problems) => {
            Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        refused => Some(refused.to_string()),
    }
}

async fn page(tx: &mut Tx<'_>, attempt: Attempt<Due>) -> Result<Dealt, EngineError> {
    let Attempt { what: due, now, .. } = &attempt;
    let automation = automations::lock(tx, &due.automation_id).await?;
    let Some(automation) = automation else { return Ok(Dealt::default()) };
    let locked = schedules::lock(tx, &due.id).await?;
    // Another server may have been faster, or a person.
    let Some(schedule) = locked.filter(|row| row.next_at == Some(due.next_at)) else {
        return Ok(Dealt::default());
    };
    let (spec, timing) = read(&schedule)?;
    let (has_run, waiting) = beside(tx, &automation, &schedule, &spec).await?;
    let Page { slots, next } = due::decide(
        &View {
            timing: &timing,
            next: due.next_at,
            now: *now,
            misfire: spec.misfire(),
            catch_up: spec.catch_up(),
            room: due::room(spec.overlap(), has_run, waiting, spec.catch_up()),
            rests: rests(&automation, &schedule),
            rested: schedule.rested_from.zip(schedule.rested_to),
            forget_before: attempt.forget_before,
        },
        PAGE,
    );
    let mut dealt = Dealt::default();
    let (mut next, mut last) = (next, schedule.last_slot);
    for (place, (slot, fate)) in slots.iter().enumerate() {
        last = last.max(Some(*slot));
        if schedules::has_slot(tx, &schedule.id, *slot).await? {
            continue;
        }
        let row = row_of(tx, &attempt, (&automation, &schedule, &spec), *slot, *fate).await?;
        schedules::add_slot(tx, &row).await?;
        let is_tried = row.state == SlotState::Fired || row.reason == Some(SkipReason::Refused);
        if is_tried {
            trouble::follow(tx, (&automation, &schedule), &row, &attempt.run_id).await?;
            dealt.run = row.automation_run_id;
            // One run in a transaction: the next slot is looked at in the next one.
            next = slots.get(place + 1).map(|(slot, _)| *slot).or(next);
            break;
        }
    }
    schedules::advance(tx, &schedule.id, due.next_at, next, last).await?;
    trouble::is_moving(tx, &schedule.id, *now).await?;
    dealt.is_more = next.is_some_and(|next| next <= *now);
    Ok(dealt)
}

/// Why nothing of a schedule fires at present.
fn rests(automation: &Automation, schedule: &Schedule) -> Option<SkipReason> {
    match automation.status {
        AutomationStatus::Paused => Some(SkipReason::Paused),
        AutomationStatus::Draft => Some(SkipReason::Draft),
        AutomationStatus::Active => schedule.paused_at.map(|_| SkipReason::Paused),
    }
}

/// What becomes of one slot; a run is made where one is to be.
async fn row_of(
    tx: &mut Tx<'_>,
    attempt: &Attempt<Due>,
    (automation, schedule, spec): (&Automation, &Schedule, &ScheduleSpec),
    slot: Moment,
    fate: Fate,
) -> Result<Slot, EngineError> {
    let row = blank(&schedule.id, slot, attempt.now);
    let place = match fate {
        Fate::Skip(reason) => Place::Skip(reason),
        Fate::Fire => place(tx, automation, schedule, spec).await?,
    };
    Ok(match place {
        Place::Skip(reason) => Slot { reason: Some(reason), ..row },
        Place::Wait => Slot { state: SlotState::Waiting, ..row },
        Place::Start => start(tx, attempt, (automation, schedule, spec), row).await?,
    })
}

async fn place(
    tx: &mut Tx<'_>,
    automation: &Automation,
    schedule: &Schedule,
    spec: &ScheduleSpec,
) -> Result<Place, EngineError> {
    let (has_run, waiting) = beside(tx, automation, schedule, spec).await?;
    Ok(due::place(spec.overlap(), has_run, waiting, spec.catch_up()))
}

/// What a slot finds: whether a run of its automation is not over, and how many slots wait; as far as it is asked for.
async fn beside(
    tx: &mut Tx<'_>,
    automation: &Automation,
    schedule: &Schedule,
    spec: &ScheduleSpec,
) -> Result<(bool, usize), EngineError> {
    Ok(match spec.overlap() {
        Overlap::Allow => (false, 0),
        Overlap::Skip => (schedules::has_run(tx, &automation.id).await?, 0),
        Overlap::Queue => {
            let waiting = schedules::waiting(tx, &schedule.id, spec.catch_up() as i64).await?;
            (schedules::has_run(tx, &automation.id).await?, waiting.len())
        }
    })
}

fn blank(schedule: &ScheduleId, slot: Moment, now: Moment) -> Slot {
    Slot {
        schedule_id: schedule.clone(),
        slot,
        state: SlotState::Skipped,
        reason: None,
        detail: None,
        automation_run_id: None,
        at: now,
    }
}

/// Makes the run of a slot, unless the rules have refused it before.
async fn start<T>(
    tx: &mut Tx<'_>,
    attempt: &Attempt<T>,
    (automation, schedule, spec): (&Automation, &Schedule, &ScheduleSpec),
    row: Slot,
) -> Result<Slot, EngineError> {
    if let Some(words) = &attempt.refused {
        return Ok(Slot { reason: Some(SkipReason::Refused), detail: Some(words.clone()), ..row });
    }
    let ask = Launch {
        automation: automation.id.clone(),
        trigger: TriggerType::Scheduled,
        detail: Some(json!({ "schedule": schedule.id, "name": schedule.name, "slot": row.slot })),
        inputs: spec.inputs.clone(),
        // The row of the slot is the claim; this names it to people, and to whoever reads the run.
        idempotency_key: Some(format!("schedule:{}:{}", schedule.id, row.slot.iso())),
        body_hash: body_hash(&json!(spec.inputs)),
        actor: Actor::system("automation_scheduler"),
        priority: None,
        run_id: attempt.run_id.clone(),
    };
    let run = launch(tx, ask, attempt.now).await?.run();
    Ok(Slot { state: SlotState::Fired, automation_run_id: Some(run.id), ..row })
}

async fn first(tx: &mut Tx<'_>, attempt: Attempt<(ScheduleId, AutomationId)>) -> Result<Dealt, EngineError> {
    let (schedule, automation) = &attempt.what;
    let automation = automations::lock(tx, automation).await?;
    let Some(automation) = automation.filter(|it| it.removed_at.is_none()) else {
        return Ok(Dealt::default());
    };
    let Some(schedule) = schedules::lock(tx, schedule).await? else { return Ok(Dealt::default()) };
    if rests(&automation, &schedule).is_some() || schedules::has_run(tx, &automation.id).await? {
        return Ok(Dealt::default());
    }
    let waiting = schedules::waiting(tx, &schedule.id, 2).await?;
    let Some(slot) = waiting.first() else { return Ok(Dealt::default()) };
    let (spec, _) = read(&schedule)?;
    let row = blank(&schedule.id, *slot, attempt.now);
    let row = start(tx, &attempt, (&automation, &schedule, &spec), row).await?;
    schedules::settle(tx, &row).await?;
    trouble::follow(tx, (&automation, &schedule), &row, &attempt.run_id).await?;
    Ok(Dealt { is_more: row.automation_run_id.is_none() && waiting.len() > 1, run: row.automation_run_id })
}
