//! What happened on an issue: its runs, and its activity.

use axum::Json;
use axum::response::Response;
use domain::ids::{AgentId, IssueId, RunId, looks_like_id};
use domain::run::RunStatus;
use store::agents::Agent;
use store::runs::Run;

use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked};
use crate::reach::Reach;
use crate::routes::runs::{exhausted, held};
use crate::shape::activity::Activity;
use crate::shape::issue::IssueOfRun;
use crate::shape::run::LiveRun;
use crate::shape::run_of_issue::RunOfIssue;

async fn agents_of(reach: &Reach, runs: &[Run]) -> Result<Vec<Agent>, ApiError> {
    let mut ids: Vec<AgentId> = runs.iter().map(|run| run.agent_id.clone()).collect();
    ids.sort();
    ids.dedup();
    let found = reach
        .engine()
        .store()
        .read(move |tx| {
            let ids = ids.clone();
            Box::pin(async move { store::agents::some(tx, &ids).await })
        })
        .await?;
    Ok(found)
}

/// The queued and running runs of an issue, newest first.
#[utoipa::path(get, path = "/issues/{issue}/live-runs", tag = "runs", params(("issue" = String, Path)),
    responses((status = 200, body = Vec<LiveRun>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn live(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<LiveRun>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let mut found = reach.engine().live_runs_of_issue(&issue.id).await?;
    found.retain(|run| matches!(run.status, RunStatus::Queued | RunStatus::Running));
    found.reverse();
    let agents = agents_of(&reach, &found).await?;
    let held = held(&reach.state, &found).await?;
    let now = reach.engine().now();
    let shaped = found.into_iter().zip(held).map(|(run, held)| {
        let agent = agents.iter().find(|agent| agent.id == run.agent_id);
        LiveRun::new(run, agent, held, now).of_issue()
    });
    Ok(Json(shaped.collect()))
}

/// The run that works on an issue: the one that the issue points to, else one of its assignee that is running. Null if
/// there is none.
#[utoipa::path(get, path = "/issues/{issue}/active-run", tag = "runs", params(("issue" = String, Path)),
    responses((status = 200, body = Option<LiveRun>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn active(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Option<LiveRun>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let mut live = reach.engine().live_runs_of_issue(&issue.id).await?;
    live.retain(|run| matches!(run.status, RunStatus::Queued | RunStatus::Running));
    let pointed = issue.execution_run_id.as_ref().or(issue.lock_run_id.as_ref());
    let is_pointed = |run: &Run| pointed == Some(&run.id);
    let is_assignees = |run: &Run| {
        run.status == RunStatus::Running && issue.assignee_agent_id.as_ref() == Some(&run.agent_id)
    };
    let at = live.iter().position(is_pointed).or_else(|| live.iter().rposition(is_assignees));
    let Some(run) = at.map(|at| live.swap_remove(at)) else { return Ok(Json(None)) };
    let agents = agents_of(&reach, std::slice::from_ref(&run)).await?;
    let held = held(&reach.state, std::slice::from_ref(&run)).await?.pop().flatten();
    let shaped = LiveRun::new(run, agents.first(), held, reach.engine().now());
    Ok(Json(Some(shaped.active_on(issue.id.0))))
}

/// The runs of an issue, newest first.
#[utoipa::path(get, path = "/issues/{issue}/runs", tag = "runs",
    params(("issue" = String, Path), ("limit" = Option<i64>, Query, description = "1 to 1000, which is the default")),
    responses((status = 200, body = Vec<RunOfIssue>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn runs(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<RunOfIssue>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().runs_of_issue(&issue.id, asked.limit(paging::MOST)).await?;
    let agents = agents_of(&reach, &found).await?;
    let ids: Vec<RunId> = found.iter().map(|run| run.id.clone()).collect();
    let places = reach.engine().places_of_runs(&ids).await?;
    let mut shaped = Vec::with_capacity(found.len());
    for run in found {
        let agent = agents.iter().find(|agent| agent.id == run.agent_id);
        // Only a run that was tried again can have been tried too often.
        let is_candidate = run.status == RunStatus::Failed && run.retry_attempt > 0;
        let why = if is_candidate { exhausted(&reach.state, &run).await? } else { None };
        let place = places.get(&run.id);
        shaped.push(RunOfIssue::new(run, agent, why, place));
    }
    Ok(Json(shaped))
}

/// The issues that a run is about; none for a run that does not exist.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/issues", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = Vec<IssueOfRun>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(crate) async fn of_run(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<IssueOfRun>>, ApiError> {
    reach.caller.anybody()?;
    if !looks_like_id(&reference) {
        return Ok(Json(Vec::new()));
    }
    let id = RunId(reference.to_ascii_lowercase());
    let found = reach
        .engine()
        .store()
        .read(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                let Some(run) = store::runs::get(tx, &id).await? else { return Ok(None) };
                let issue = match run.issue_id.clone() {
                    None => None,
                    Some(issue) => store::issues::get(tx, &IssueId(issue)).await?,
                };
                Ok(Some((run.company_id, issue)))
            })
        })
        .await?;
    let Some((company, issue)) = found else { return Ok(Json(Vec::new())) };
    reach.of(&company)?;
    // A run is told which issue it is about; that of another company it has no part in.
    let issue = issue.filter(|issue| issue.company_id == company && issue.hidden_at.is_none());
    Ok(Json(issue.into_iter().map(IssueOfRun::from).collect()))
}

/// What was done to an issue, newest first, at most 1000.
#[utoipa::path(get, path = "/issues/{issue}/activity", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Vec<Activity>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn activity(reach: Reach, Named(reference): Named<String>) -> Result<Response, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().issue_activity(&issue.id, paging::MOST).await?;
    Ok(paging::page(
        found,
        paging::MOST,
        |_| String::new(),
        |rows| rows.into_iter().map(Activity::from).collect(),
    ))
}
