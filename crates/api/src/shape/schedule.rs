//! Schedules of automations, on the wire.

use domain::automation::calendar::cron::shown_in;
use domain::moment::Moment;
use engine::ScheduleView;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use store::schedules::Slot as StoredSlot;
use utoipa::ToSchema;

/// When an automation starts by itself, and what becomes of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Schedule {
    id: String,
    company_id: String,
    automation_id: String,
    automation_name: String,
    /// `active`, `paused` or `draft`: only an active one is started by its schedules.
    automation_status: &'static str,
    name: String,
    /// A cron expression; null for an interval.
    cron: Option<String>,
    /// An interval such as `15m`; null for a cron expression.
    every: Option<String>,
    /// Whose clock the expression means.
    timezone: String,
    /// `skip`, `one` or `all`: what is done about slots that were missed.
    misfire: &'static str,
    /// How many of them are made up for, and how many may wait.
    max_catch_up: usize,
    /// `skip`, `queue` or `allow`: what a slot does while a run is not over.
    overlap: &'static str,
    /// What its runs are started with.
    #[schema(value_type = Object)]
    inputs: Map<String, Json>,
    enabled: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Moment>,
    /// The next firings: none while it, or its automation, rests.
    upcoming: Vec<Firing>,
    /// Slots that wait for a run to end.
    waiting: i64,
    /// The slot that was dealt with last.
    last_slot: Option<Slot>,
    /// Why it starts nothing, though nobody holds it: its slots are refused or cannot be dealt with, or the clock was set
    /// back.
    trouble: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<ScheduleView> for Schedule {
    fn from(view: ScheduleView) -> Schedule {
        let ScheduleView { schedule, spec, .. } = view;
        Schedule {
            automation_status: view.automation_status.as_str(),
            automation_name: view.automation_name,
            upcoming: Firing::all(view.upcoming, spec.timezone()),
            waiting: view.waiting,
            last_slot: view.newest.map(Slot::from),
            trouble: view.trouble,
            timezone: spec.timezone().to_owned(),
            misfire: spec.misfire().as_str(),
            max_catch_up: spec.catch_up(),
            overlap: spec.overlap().as_str(),
            enabled: spec.is_enabled(),
            cron: spec.cron,
            every: spec.every.map(|every| every.to_string()),
            inputs: spec.inputs,
            id: schedule.id.0,
            company_id: schedule.company_id.0,
            automation_id: schedule.automation_id.0,
            name: schedule.name,
            paused_at: schedule.paused_at,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
        }
    }
}

/// A moment that is planned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Firing {
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// As the clock of its time zone shows it, with the distance from UTC.
    local: String,
}

impl Firing {
    pub(crate) fn all(slots: Vec<Moment>, zone: &str) -> Vec<Firing> {
        let firing = |at: Moment| Firing { at, local: shown_in(zone, at).unwrap_or_else(|| at.iso()) };
        slots.into_iter().map(firing).collect()
    }
}

/// What became of a moment that was planned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slot {
    #[schema(value_type = String, format = DateTime)]
    slot: Moment,
    /// `fired`, `waiting` or `skipped`.
    state: &'static str,
    /// Why it was skipped: `misfire`, `overlap`, `queue_full`, `paused`, `draft`, `withdrawn` or `refused`.
    reason: Option<&'static str>,
    /// Why no run could be made of it, in words.
    detail: Option<String>,
    /// The run that was made of it.
    automation_run_id: Option<String>,
    /// When it became what it is.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
}

impl From<StoredSlot> for Slot {
    fn from(slot: StoredSlot) -> Slot {
        Slot {
            slot: slot.slot,
            state: slot.state.as_str(),
            reason: slot.reason.map(|reason| reason.as_str()),
            detail: slot.detail,
            automation_run_id: slot.automation_run_id.map(|run| run.0),
            at: slot.at,
        }
    }
}
