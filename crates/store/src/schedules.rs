//! Schedules as stored, and what became of each of their slots.
//!
//! A schedule knows the first slot that nobody has dealt with, `next_at`; whoever deals with it names the one he saw, so
//! that of two servers one does. The row is locked behind that of its automation.

use domain::automation::calendar::{SkipReason, SlotState};
use domain::ids::{AutomationId, AutomationRunId, CompanyId, ScheduleId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{StoreError, Tx, from_row, p, sql, sql_list};

/// A schedule of an automation.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub id: ScheduleId,
    pub company_id: CompanyId,
    pub automation_id: AutomationId,
    pub name: String,
    /// As its definition has it.
    pub spec: Json,
    /// Where the grid of an interval begins.
    pub anchor_at: Moment,
    /// The first slot that nobody has dealt with; `None`: it plans nothing.
    pub next_at: Option<Moment>,
    /// The newest one that somebody has: the clock may be set back, this is not.
    pub last_slot: Option<Moment>,
    pub paused_at: Option<Moment>,
    /// Its last pause.
    pub rested_from: Option<Moment>,
    pub rested_to: Option<Moment>,
    /// Its definition has it no more.
    pub removed_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Schedule {
    id,
    company_id,
    automation_id,
    name,
    spec,
    anchor_at,
    next_at,
    last_slot,
    paused_at,
    rested_from,
    rested_to,
    removed_at,
    created_at,
    updated_at,
});

macro_rules! columns {
    () => {
        "id, company_id, automation_id, name, spec, anchor_at, next_at, last_slot, paused_at, rested_from, rested_to, \
         removed_at, created_at, updated_at"
    };
}

/// What became of a moment that was planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    pub schedule_id: ScheduleId,
    pub slot: Moment,
    pub state: SlotState,
    /// Why it was skipped.
    pub reason: Option<SkipReason>,
    /// Why no run could be made of it, in words.
    pub detail: Option<String>,
    /// The run that was made of it.
    pub automation_run_id: Option<AutomationRunId>,
    /// When it became what it is.
    pub at: Moment,
}
from_row!(Slot { schedule_id, slot, state, reason, detail, automation_run_id, at });

/// Adds a schedule.
pub async fn insert(tx: &mut Tx<'_>, schedule: &Schedule) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO automation_schedules (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        )),
        p![
            &schedule.id,
            &schedule.company_id,
            &schedule.automation_id,
            &schedule.name,
            &schedule.spec,
            schedule.anchor_at,
            schedule.next_at,
            schedule.last_slot,
            schedule.paused_at,
            schedule.rested_from,
            schedule.rested_to,
            schedule.removed_at,
            schedule.created_at,
            schedule.updated_at
        ],
    )
    .await
}

/// Returns one schedule that was not removed.
pub async fn get(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Option<Schedule>, StoreError> {
    let text = sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM automation_schedules WHERE id = $1 AND removed_at IS NULL"
    ));
    tx.one_as(text, p![id]).await
}

/// The same, locked until the end of the transaction. Its automation is locked already.
pub async fn lock(tx: &mut Tx<'_>, id: &ScheduleId) -> Result<Option<Schedule>, StoreError> {
    let text = sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM automation_schedules WHERE id = $1 AND removed_at IS NULL /*+for_update*/"
    ));
    tx.one_as(text, p![id]).await
}

/// Returns the schedules of a company behind the given place, oldest first.
pub async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: (Moment, &str),
    limit: i64,
) -> Result<Vec<Schedule>, StoreError> {
    let text = sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM automation_schedules WHERE company_id = $1 AND removed_at IS NULL AND (created_at, id) > ($2, $3) \
         ORDER BY created_at, id LIMIT $4"
    ));
    tx.rows_as(text, p![company, after.0, after.1, limit]).await
}

/// Returns the schedules of an automation by name, locked: a definition has few.
pub async fn lock_of(
    tx: &mut Tx<'_>,
    automation: &AutomationId,
    limit: i64,
) -> Result<Vec<Schedule>, StoreError> {
    let text = sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM automation_schedules WHERE automation_id = $1 AND removed_at IS NULL ORDER BY name LIMIT $2 \
         /*+for_update*/"
    ));
    tx.rows_as(text, p![automation, limit]).await
}

/// Writes what a person or a new definition changes: the schedule is locked.
pub async fn save(tx: &mut Tx<'_>, schedule: &Schedule) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE automation_schedules SET spec = $2, anchor_at = $3, next_at = $4, paused_at = $5, rested_from = $6, \
             rested_to = $7, removed_at = $8, updated_at = $9 WHERE id = $1"
        ),
        p![
            &schedule.id,
            &schedule.spec,
            schedule.anchor_at,
            schedule.next_at,
            schedule.paused_at,
            schedule.rested_from,
            schedule.rested_to,
            schedule.removed_at,
            schedule.updated_at
        ],
    )
    .await
}

/// The automation was at rest until now: what came of its schedules meanwhile, and nobody has dealt with, is not made up
/// for. Its row is locked.
pub async fn rest(tx: &mut Tx<'_>, automation: &AutomationId, now: Moment) -> Result<(), StoreError> {
    let text = sql!(
        "UPDATE automation_schedules SET rested_from = next_at, rested_to = $2 \
         WHERE automation_id = $1 AND removed_at IS NULL AND next_at IS NOT NULL AND next_at <= $2"
    );
    tx.run(text, p![automation, now]).await
}

/// A schedule with a slot that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub id: ScheduleId,
    pub automation_id: AutomationId,
    /// The first slot that nobody has dealt with.
    pub next_at: Moment,
}
from_row!(Due { id, automation_id, next_at });

/// Returns schedules with a slot that has come, behind the given place, the longest due first.
pub async fn due(
    tx: &mut Tx<'_>,
    now: Moment,
    after: (Moment, &str),
    limit: i64,
) -> Result<Vec<Due>, StoreError> {
    let text = sql!(
        "SELECT id, automation_id, next_at FROM automation_schedules WHERE next_at IS NOT NULL AND next_at <= $1 \
         AND (next_at, id) > ($2, $3) ORDER BY next_at, id LIMIT $4"
    );
    tx.rows_as(text, p![now, after.0, after.1, limit]).await
}

/// Returns the next slot of all.
pub async fn next(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let text = sql!(
        "SELECT next_at FROM automation_schedules WHERE next_at IS NOT NULL ORDER BY next_at, id LIMIT 1"
    );
    tx.one(text, p![]).await?.map_or(Ok(None), |row| row.get(0))
}

/// Moves a schedule on to the first slot that is left; false, and nothing is changed, when somebody else has.
pub async fn advance(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    seen: Moment,
    next: Option<Moment>,
    last_slot: Option<Moment>,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE automation_schedules SET next_at = $3, last_slot = COALESCE($4, last_slot) \
                 WHERE id = $1 AND next_at = $2"
            ),
            p![id, seen, next, last_slot],
        )
        .await?;
    Ok(changed == 1)
}

/// Writes down what became of a slot. A second row for it is an error: the transaction is undone.
pub async fn add_slot(tx: &mut Tx<'_>, slot: &Slot) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO schedule_slots (schedule_id, slot, state, reason, detail, automation_run_id, at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)"
        ),
        p![
            &slot.schedule_id,
            slot.slot,
            slot.state,
            slot.reason,
            &slot.detail,
            &slot.automation_run_id,
            slot.at
        ],
    )
    .await
}

/// True when a slot was dealt with.
pub async fn has_slot(tx: &mut Tx<'_>, id: &ScheduleId, slot: Moment) -> Result<bool, StoreError> {
    let text = sql!("SELECT 1 FROM schedule_slots WHERE schedule_id = $1 AND slot = $2");
    Ok(tx.one(text, p![id, slot]).await?.is_some())
}

/// Returns slots of a schedule that were dealt with, before the given one, newest first.
pub async fn slots(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    before: Moment,
    limit: i64,
) -> Result<Vec<Slot>, StoreError> {
    let text = sql!(
        "SELECT schedule_id, slot, state, reason, detail, automation_run_id, at FROM schedule_slots \
         WHERE schedule_id = $1 AND slot < $2 ORDER BY slot DESC LIMIT $3"
    );
    tx.rows_as(text, p![id, before, limit]).await
}

/// Returns the newest slot of each of these schedules that has one.
pub async fn newest(tx: &mut Tx<'_>, ids: &[ScheduleId]) -> Result<Vec<Slot>, StoreError> {
    let text = sql_list!(
        "SELECT schedule_id, slot, state, reason, detail, automation_run_id, at FROM schedule_slots s \
         WHERE slot = (SELECT MAX(slot) FROM schedule_slots n WHERE n.schedule_id = s.schedule_id) \
         AND schedule_id IN ({list})"
    );
    let rows = tx.rows_in(text, p![], ids.iter().map(Value::from).collect()).await?;
    rows.iter().map(crate::Row::read).collect()
}

/// Counts the slots that wait of each of these schedules that has some.
pub async fn count_waiting(
    tx: &mut Tx<'_>,
    ids: &[ScheduleId],
) -> Result<Vec<(ScheduleId, i64)>, StoreError> {
    let text = sql_list!(
        "SELECT schedule_id, COUNT(*) FROM schedule_slots WHERE state = 'waiting' AND schedule_id IN ({list}) \
         GROUP BY schedule_id"
    );
    let rows = tx.rows_in(text, p![], ids.iter().map(Value::from).collect()).await?;
    rows.iter().map(crate::Row::read).collect()
}

/// Returns the slots of a schedule that wait, oldest first.
pub async fn waiting(tx: &mut Tx<'_>, id: &ScheduleId, limit: i64) -> Result<Vec<Moment>, StoreError> {
    let text = sql!(
        "SELECT slot FROM schedule_slots WHERE schedule_id = $1 AND state = 'waiting' ORDER BY slot LIMIT $2"
    );
    let rows = tx.rows(text, p![id, limit]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// A slot that waits becomes what it is; false when it waits no more.
pub async fn settle(tx: &mut Tx<'_>, slot: &Slot) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE schedule_slots SET state = $3, reason = $4, detail = $5, automation_run_id = $6, at = $7 \
                 WHERE schedule_id = $1 AND slot = $2 AND state = 'waiting'"
            ),
            p![
                &slot.schedule_id,
                slot.slot,
                slot.state,
                slot.reason,
                &slot.detail,
                &slot.automation_run_id,
                slot.at
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// What waits of a schedule waits no more.
pub async fn withdraw(
    tx: &mut Tx<'_>,
    id: &ScheduleId,
    reason: SkipReason,
    now: Moment,
) -> Result<u64, StoreError> {
    let text = sql!(
        "UPDATE schedule_slots SET state = 'skipped', reason = $2, at = $3 WHERE schedule_id = $1 AND state = 'waiting'"
    );
    tx.exec(text, p![id, reason, now]).await
}

/// Returns schedules with slots that wait for nothing any more, behind the given one: their automation may start, and
/// no run of it is left that is not over.
pub async fn ready(
    tx: &mut Tx<'_>,
    after: &str,
    limit: i64,
) -> Result<Vec<(ScheduleId, AutomationId)>, StoreError> {
    let text = sql!(
        "SELECT s.id, s.automation_id FROM automation_schedules s JOIN automations a ON a.id = s.automation_id \
         WHERE s.id IN (SELECT schedule_id FROM schedule_slots WHERE state = 'waiting') AND s.id > $1 \
         AND s.paused_at IS NULL AND s.removed_at IS NULL AND a.status = 'active' AND a.removed_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM automation_runs r WHERE r.automation_id = s.automation_id \
             AND r.status IN ('queued', 'running', 'pausing', 'paused', 'awaiting_approval')) \
         ORDER BY s.id LIMIT $2"
    );
    tx.rows_as(text, p![after, limit]).await
}

/// True when an automation has a run that is not over.
pub async fn has_run(tx: &mut Tx<'_>, automation: &AutomationId) -> Result<bool, StoreError> {
    let text = sql!(
        "SELECT 1 FROM automation_runs WHERE automation_id = $1 \
         AND status IN ('queued', 'running', 'pausing', 'paused', 'awaiting_approval') LIMIT 1"
    );
    Ok(tx.one(text, p![automation]).await?.is_some())
}

/// Removes rows of slots that became what they are before `before`; what waits stays.
pub async fn remove_slots(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM schedule_slots WHERE (schedule_id, slot) IN (SELECT schedule_id, slot FROM schedule_slots \
             WHERE at < $1 AND state <> 'waiting' ORDER BY at LIMIT $2)"
        ),
        p![before, limit],
    )
    .await
}

/// Removes one batch of what removed schedules leave: their slots, then themselves.
pub async fn remove_gone(tx: &mut Tx<'_>, limit: i64) -> Result<u64, StoreError> {
    let found = tx
        .one(
            sql!("SELECT id FROM automation_schedules WHERE removed_at IS NOT NULL ORDER BY id LIMIT 1"),
            p![],
        )
        .await?;
    let Some(row) = found else { return Ok(0) };
    let id: ScheduleId = row.get(0)?;
    let slots = sql!(
        "DELETE FROM schedule_slots WHERE schedule_id = $1 AND slot IN \
         (SELECT slot FROM schedule_slots WHERE schedule_id = $1 ORDER BY slot LIMIT $2)"
    );
    let removed = tx.exec(slots, p![&id, limit]).await?;
    if removed > 0 {
        return Ok(removed);
    }
    tx.exec(sql!("DELETE FROM automation_schedules WHERE id = $1 AND removed_at IS NOT NULL"), p![&id]).await
}
