//! Schedules of automations: what is planned, what became of it, and what people do about it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::automation::calendar::{Every, ScheduleSpec};
use domain::ids::{CompanyId, ScheduleId, looks_like_id};
use domain::moment::Moment;
use engine::{MOST_PREVIEW, MOST_SCHEDULES_LISTED, MOST_SLOTS, ScheduleView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{Asked, cursor_of, page};
use crate::shape::schedule::{Firing, Schedule, Slot};

/// Firings that are shown ahead when nobody says how many.
const PREVIEW: i64 = 5;

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(preview))
        .routes(routes!(show))
        .routes(routes!(slots))
        .routes(routes!(run_now))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// The schedules of all automations of a company, oldest first.
#[utoipa::path(get, path = "/companies/{company}/schedules", tag = "automations",
    params(("company" = String, Path), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Schedule>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let limit = asked.limit(MOST_SCHEDULES_LISTED).min(MOST_SCHEDULES_LISTED);
    let rows = state.engine.schedules(&company, asked.place()?, limit + 1).await?;
    let place = |view: &ScheduleView| cursor_of(view.schedule.created_at, view.schedule.id.as_str());
    Ok(page(rows, limit, place, |rows| rows.into_iter().map(Schedule::from).collect()))
}

/// When a schedule would fire that need not be there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PreviewBody {
    /// A cron expression; either this or `every`.
    cron: Option<String>,
    /// An interval such as `15m`.
    every: Option<String>,
    /// Whose clock the expression means; UTC when left out.
    timezone: Option<String>,
    /// The firings after this moment; now when left out.
    #[schema(value_type = Option<String>)]
    from: Option<Moment>,
    /// How many, 5 when left out, 100 at most.
    count: Option<i64>,
}

impl PreviewBody {
    fn read(bytes: &[u8]) -> Result<(PreviewBody, Option<Every>), ApiError> {
        let mut fields = Fields::read(bytes)?;
        let read = PreviewBody {
            cron: fields.text("cron"),
            every: fields.text("every"),
            timezone: fields.text("timezone"),
            from: fields.moment("from"),
            count: fields.count("count"),
        };
        let every = match read.every.as_deref().map(Every::parse) {
            Some(Err(why)) => {
                fields.mistake("custom", "every", why);
                None
            }
            Some(Ok(every)) => Some(every),
            None => None,
        };
        if read.count.is_some_and(|count| !(1..=MOST_PREVIEW as i64).contains(&count)) {
            fields.mistake("custom", "count", format!("must be between 1 and {MOST_PREVIEW}"));
        }
        fields.refuse_rest()?;
        Ok((read, every))
    }
}

/// The next firings of a cron expression or an interval, before anything is saved.
#[utoipa::path(post, path = "/companies/{company}/schedules/preview", tag = "automations", request_body = PreviewBody,
    params(("company" = String, Path)),
    responses((status = 200, body = Vec<Firing>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn preview(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Json<Vec<Firing>>, ApiError> {
    lookup::company(&state.engine, &caller, &company).await?;
    let (read, every) = PreviewBody::read(&body)?;
    let spec = ScheduleSpec { cron: read.cron, every, timezone: read.timezone, ..ScheduleSpec::default() };
    let count = usize::try_from(read.count.unwrap_or(PREVIEW)).unwrap_or(MOST_PREVIEW);
    let slots = state.engine.preview_schedule(&spec, read.from, count)?;
    Ok(Json(Firing::all(slots, spec.timezone())))
}

/// One schedule, with its next firings.
#[utoipa::path(get, path = "/schedules/{schedule}", tag = "automations", params(("schedule" = String, Path)),
    responses((status = 200, body = Schedule), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(schedule): Named<String>,
    caller: Caller,
) -> Result<Json<Schedule>, ApiError> {
    Ok(Json(found(&state, &caller, &schedule).await?.into()))
}

/// What became of the slots of a schedule, newest first.
#[utoipa::path(get, path = "/schedules/{schedule}/slots", tag = "automations",
    params(("schedule" = String, Path), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Slot>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn slots(
    State(state): State<ApiState>,
    Named(schedule): Named<String>,
    caller: Caller,
    asked: Asked,
) -> Result<Response, ApiError> {
    let id = found(&state, &caller, &schedule).await?.schedule.id;
    let limit = asked.limit(MOST_SLOTS).min(MOST_SLOTS);
    let before = asked.place()?.map(|(slot, _)| slot);
    let rows = state.engine.schedule_slots(&id, before, limit + 1).await?;
    let place = |slot: &store::schedules::Slot| cursor_of(slot.slot, id.as_str());
    Ok(page(rows, limit, place, |rows| rows.into_iter().map(Slot::from).collect()))
}

/// How a run is started by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunNowBody {
    /// Sent again with the same key, it gives the same run.
    idempotency_key: Option<String>,
}

impl RunNowBody {
    fn read(bytes: &[u8]) -> Result<RunNowBody, ApiError> {
        let mut fields = Fields::read_or_empty(bytes)?;
        let key = fields.text("idempotencyKey");
        let idempotency_key = fields.not_blank("idempotencyKey", key);
        fields.refuse_rest()?;
        Ok(RunNowBody { idempotency_key })
    }
}

/// The run that was started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartedRun {
    automation_run_id: String,
    automation_id: String,
    /// Counted for each automation, from 1.
    number: i64,
    status: &'static str,
}

/// Starts a run with the inputs of a schedule, now. None of its slots is used up by it.
#[utoipa::path(post, path = "/schedules/{schedule}/run-now", tag = "automations", request_body = RunNowBody,
    params(("schedule" = String, Path)),
    responses((status = 202, body = StartedRun), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn run_now(
    State(state): State<ApiState>,
    Named(schedule): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<StartedRun>), ApiError> {
    let (id, company) = steered(&state, &caller, &schedule).await?;
    let key = RunNowBody::read(&body)?.idempotency_key;
    let run = state.engine.run_schedule_now(&id, key, &caller.author(&company)?).await?;
    let started = StartedRun {
        automation_run_id: run.id.0,
        automation_id: run.automation_id.0,
        number: run.number,
        status: run.status.as_str(),
    };
    Ok((StatusCode::ACCEPTED, Json(started)))
}

/// Holds a schedule: its slots pass by, each with its row.
#[utoipa::path(post, path = "/schedules/{schedule}/pause", tag = "automations", params(("schedule" = String, Path)),
    responses((status = 200, body = Schedule), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn pause(
    State(state): State<ApiState>,
    Named(schedule): Named<String>,
    caller: Caller,
) -> Result<Json<Schedule>, ApiError> {
    let (id, company) = steered(&state, &caller, &schedule).await?;
    Ok(Json(state.engine.pause_schedule(&id, &caller.author(&company)?).await?.into()))
}

/// Lets a schedule go on. What was planned meanwhile is not made up for.
#[utoipa::path(post, path = "/schedules/{schedule}/resume", tag = "automations", params(("schedule" = String, Path)),
    responses((status = 200, body = Schedule), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn resume(
    State(state): State<ApiState>,
    Named(schedule): Named<String>,
    caller: Caller,
) -> Result<Json<Schedule>, ApiError> {
    let (id, company) = steered(&state, &caller, &schedule).await?;
    Ok(Json(state.engine.resume_schedule(&id, &caller.author(&company)?).await?.into()))
}

/// The schedule that is meant. What is another company's is not there.
async fn found(state: &ApiState, caller: &Caller, id: &str) -> Result<ScheduleView, ApiError> {
    if !looks_like_id(id) {
        return Err(ApiError::not_found("Schedule"));
    }
    let view = state.engine.schedule(&ScheduleId(id.to_ascii_lowercase())).await?;
    lookup::company(&state.engine, caller, view.schedule.company_id.as_str()).await?;
    Ok(view)
}

/// The same, of a company of which the caller is a person.
async fn steered(state: &ApiState, caller: &Caller, id: &str) -> Result<(ScheduleId, CompanyId), ApiError> {
    let schedule = found(state, caller, id).await?.schedule;
    caller.board_of(&schedule.company_id)?;
    Ok((schedule.id, schedule.company_id))
}
