//! Schedules that start nothing, told to people: one item in the inbox for each, as long as it stands so.
//!
//! A slot that no run can be made of has its row, and the next one is tried all the same; people hear of the first, and the
//! item is resolved when a slot fires again. A schedule that cannot be dealt with at all is tried again and again by the
//! sweep, which tells of it here.

use domain::ids::{AutomationRunId, ScheduleId};
use domain::moment::Moment;
use domain::recovery::InboxKind;
use serde_json::json;
use store::automations::definitions::{self as automations, Automation};
use store::inbox::{self, InboxItem};
use store::schedules::{self, Schedule, Slot};
use store::{StoreError, Tx};

use crate::Inner;

/// Of items about schedules.
pub(super) const KIND: InboxKind = InboxKind::ScheduleStuck;
/// No run can be made of its slots.
const REFUSED: &str = "refused";
/// Its slots cannot be dealt with.
const STUCK: &str = "stuck";
/// How much of the reason is in a title.
const REASON: usize = 200;

/// A run was made of a slot, or the rules refused it: people are told that it is refused, or that it fires again. The item
/// gets the id of the run that was not made.
pub(super) async fn follow(
    tx: &mut Tx<'_>,
    of: (&Automation, &Schedule),
    slot: &Slot,
    run_id: &AutomationRunId,
) -> Result<(), StoreError> {
    match &slot.detail {
        Some(words) => tell(tx, of, REFUSED, words, run_id.0.clone(), slot.at).await,
        None => is_over(tx, &slot.schedule_id, "fired", slot.at).await,
    }
}

/// Its slots are dealt with.
pub(super) async fn is_moving(tx: &mut Tx<'_>, id: &ScheduleId, now: Moment) -> Result<(), StoreError> {
    inbox::resolve_of(tx, id.as_str(), Some(STUCK), "dealt_with", now).await.map(drop)
}

/// Nobody needs to look at it any more.
pub(super) async fn is_over(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    how: &str,
    now: Moment,
) -> Result<(), StoreError> {
    inbox::resolve_of(tx, id.as_str(), None, how, now).await.map(drop)
}

/// Tells people that the slots of a schedule cannot be dealt with.
pub(crate) async fn tell_stuck(engine: &Inner, id: &ScheduleId, words: &str) -> Result<(), StoreError> {
    let now = engine.clock.now();
    let item_id = domain::ids::mint(now, engine.dice.bytes());
    let context = (id.clone(), words.to_owned(), item_id);
    let told = engine.write(context, move |tx, (id, words, item_id)| {
        Box::pin(async move {
            let Some(schedule) = schedules::get(tx, &id).await? else { return Ok(()) };
            let Some(automation) = automations::get(tx, &schedule.automation_id).await? else {
                return Ok(());
            };
            tell(tx, (&automation, &schedule), STUCK, &words, item_id, now).await
        })
    });
    told.await
}

/// Opens an item, or tells the open one anew.
async fn tell(
    tx: &mut Tx<'_>,
    (automation, schedule): (&Automation, &Schedule),
    cause: &str,
    words: &str,
    id: String,
    now: Moment,
) -> Result<(), StoreError> {
    let name = format!("{}/{}", automation.name, schedule.name);
    let reason: String = words.chars().take(REASON).collect();
    let item = InboxItem {
        id,
        company_id: schedule.company_id.clone(),
        kind: KIND.as_str().to_owned(),
        entity_type: "schedule".to_owned(),
        entity_id: schedule.id.0.clone(),
        cause: cause.to_owned(),
        title: format!("the schedule {name} starts nothing: {reason}"),
        details: json!({
            "automationId": automation.id, "automation": automation.name, "schedule": schedule.name, "reason": words,
        }),
        owner_agent_id: None,
        opened_at: now,
        resolved_at: None,
        resolution: None,
    };
    if !inbox::open(tx, &item).await? {
        inbox::retell(tx, &item).await?;
    }
    Ok(())
}
