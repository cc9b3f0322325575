//! Runs: lists, one, why, and cancelling.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::ids::{AgentId, looks_like_id};
use domain::run::RunStatus;
use engine::Held;
use store::StoreError;
use store::runs::{self as rows, Listed};

use crate::ApiState;
use crate::actor::Caller;
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::explanation::Explanation;
use crate::shape::run::{ListedRun, LiveRun, Run, RunDetail};

/// Live runs are at most this many by request of a client.
const MOST_LIVE: i64 = 50;
/// What an event begins with when a run is not tried again.
const EXHAUSTED: &str = "Bounded retry exhausted";

/// The runs of a company, or of one of its agents, newest first.
#[utoipa::path(get, path = "/companies/{company}/heartbeat-runs", tag = "runs",
    params(("company" = String, Path), ("agentId" = Option<String>, Query), ("status" = Option<String>, Query),
        ("limit" = Option<i64>, Query, description = "1 to 1000, which is the default"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<ListedRun>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let limit = asked.limit(200);
    let before = asked.place()?;
    let status = match asked.get("status") {
        None => None,
        Some(text) => Some(RunStatus::parse(text).ok_or_else(|| {
            let known: Vec<&str> = RunStatus::ALL.iter().map(|status| status.as_str()).collect();
            ApiError::bad_request("bad_query", format!("Unknown run status: {text}"))
                .hint(format!("one of: {}", known.join(", ")))
        })?),
    };
    let of = match asked.get("agentId") {
        None => Listed::Company(company.clone()),
        Some(id) if looks_like_id(id) => Listed::Agent(AgentId(id.to_ascii_lowercase())),
        Some(name) => Listed::Agent(lookup::agent_named(&state.engine, &company, name).await?.id),
    };
    let found = state
        .engine
        .store()
        .read(move |tx| {
            let (company, of, before) = (company.clone(), of.clone(), before.clone());
            Box::pin(async move {
                if let Listed::Agent(agent) = &of {
                    // An agent of another company has no runs here.
                    let agent = store::agents::get(tx, agent).await?;
                    if agent.is_none_or(|agent| agent.company_id != company) {
                        return Ok(Vec::new());
                    }
                }
                rows::listed(tx, &of, status, before, limit + 1).await
            })
        })
        .await?;
    let held = held(&state, &found).await?;
    let place = |row: &rows::Run| cursor_of(row.created_at, row.id.as_str());
    Ok(paging::page(found, limit, place, |rows| {
        rows.into_iter().zip(held).map(|(row, held)| ListedRun::new(row, held)).collect()
    }))
}

/// Why each of the runs waits; only those that wait are asked about.
pub(super) async fn held(state: &ApiState, found: &[rows::Run]) -> Result<Vec<Option<Held>>, StoreError> {
    let is_waiting = |run: &rows::Run| matches!(run.status, RunStatus::Queued | RunStatus::ScheduledRetry);
    let waiting: Vec<rows::Run> = found.iter().filter(|run| is_waiting(run)).cloned().collect();
    if waiting.is_empty() {
        return Ok(vec![None; found.len()]);
    }
    let mut reasons = state.engine.held(&waiting).await?.into_iter();
    Ok(found.iter().map(|run| if is_waiting(run) { reasons.next().flatten() } else { None }).collect())
}

/// The queued and running runs of a company, newest first; with `minCount`, filled up with the newest others.
#[utoipa::path(get, path = "/companies/{company}/live-runs", tag = "runs",
    params(("company" = String, Path), ("minCount" = Option<i64>, Query, description = "0 to 50"),
        ("limit" = Option<i64>, Query, description = "0 to 50; 0 = all")),
    responses((status = 200, body = Vec<LiveRun>), (status = 404, body = ErrorBody)))]
pub(crate) async fn live(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Vec<LiveRun>>, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let limit = asked.number("limit", 0, MOST_LIVE).unwrap_or(0);
    let least = asked.number("minCount", 0, MOST_LIVE).unwrap_or(0);
    let most = if limit == 0 { paging::MOST } else { limit };
    let least = usize::try_from(least.min(most)).unwrap_or(0);
    let (found, agents) = state
        .engine
        .store()
        .read(move |tx| {
            let company = company.clone();
            Box::pin(async move {
                let mut found = rows::live(tx, &company, most).await?;
                if found.len() < least {
                    // The newest others are among this many newest: those in between are all live.
                    let enough = i64::try_from(found.len() + least).unwrap_or(MOST_LIVE * 2);
                    for run in rows::listed(tx, &Listed::Company(company), None, None, enough).await? {
                        if found.len() < least && !found.iter().any(|live| live.id == run.id) {
                            found.push(run);
                        }
                    }
                }
                let mut ids: Vec<AgentId> = found.iter().map(|run| run.agent_id.clone()).collect();
                ids.sort();
                ids.dedup();
                let agents = store::agents::some(tx, &ids).await?;
                Ok((found, agents))
            })
        })
        .await?;
    let held = held(&state, &found).await?;
    let now = state.engine.now();
    let shaped = found.into_iter().zip(held).map(|(run, held)| {
        let agent = agents.iter().find(|agent| agent.id == run.agent_id);
        LiveRun::new(run, agent, held, now)
    });
    Ok(Json(shaped.collect()))
}

/// One run.
#[utoipa::path(get, path = "/heartbeat-runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "its id, or at least its first 8 digits")),
    responses((status = 200, body = RunDetail), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    caller: Caller,
) -> Result<Json<RunDetail>, ApiError> {
    let run = lookup::run(&state.engine, &caller, &reference).await?;
    let held = held(&state, std::slice::from_ref(&run)).await?.pop().flatten();
    let exhausted = if run.status == RunStatus::Failed { exhausted(&state, &run).await? } else { None };
    let provenance = state.engine.provenance(&run.id).await?;
    Ok(Json(RunDetail::new(run, held, (exhausted, provenance), state.engine.now())))
}

pub(super) async fn exhausted(state: &ApiState, run: &rows::Run) -> Result<Option<String>, StoreError> {
    let id = run.id.clone();
    let events = state
        .engine
        .store()
        .read(move |tx| {
            let id = id.clone();
            Box::pin(async move { rows::events_after(tx, &id, 0, paging::MOST).await })
        })
        .await?;
    Ok(events
        .into_iter()
        .rev()
        .filter_map(|event| event.message)
        .find(|message| message.starts_with(EXHAUSTED)))
}

/// Why a run is as it is, what it waits for, and what happens next by itself.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/explain", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = Explanation), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn explain(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    caller: Caller,
) -> Result<Json<Explanation>, ApiError> {
    let run = lookup::run(&state.engine, &caller, &reference).await?;
    Ok(Json(state.engine.explain(&run.id).await?.into()))
}

/// Cancels a run. It is `cancelled` at once, or `running` with `cancelRequestedAt` until its processes are gone. A run
/// that is over stays as it is.
#[utoipa::path(post, path = "/heartbeat-runs/{run}/cancel", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = Run), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn cancel(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    caller: Caller,
) -> Result<Json<Run>, ApiError> {
    let run = lookup::run(&state.engine, &caller, &reference).await?;
    caller.board_of(&run.company_id)?;
    let run = state.engine.cancel_run(&run.id, None, &caller.actor()).await?;
    let held = held(&state, std::slice::from_ref(&run)).await?.pop().flatten();
    Ok(Json(Run::new(run, held)))
}
