//! What people decide about runs that are silent: leave it alone for a while, let it go on, or it was no silence.
//!
//! There is no issue for the evaluation of a silent run: it is an item of the inbox, and whoever owns that may decide.

use axum::Json;
use axum::response::Response;
use domain::recovery::silence::{DECISION_REASON, WatchdogDecision as Decision};
use engine::{EngineError, WatchdogVerdict};
use serde::Deserialize;
use utoipa::ToSchema;

use super::naming;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::reach::Reach;
use crate::shape::run_of_issue::WatchdogDecision;

/// What is decided.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DecisionBody {
    /// `snooze`, `continue` or `dismissed_false_positive`.
    decision: String,
    /// Names nothing: silent runs have no issues of their own.
    evaluation_issue_id: Option<String>,
    /// Cut to 4000 characters.
    reason: Option<String>,
    /// Until when it is left alone; `snooze` needs it.
    snoozed_until: Option<String>,
}

/// Decides about a silent run.
#[utoipa::path(post, path = "/heartbeat-runs/{run}/watchdog-decisions", tag = "runs", request_body = DecisionBody,
    params(("run" = String, Path)),
    responses((status = 200, body = WatchdogDecision), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn decide(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = DecisionBody {
        decision: fields.text("decision").unwrap_or_default(),
        evaluation_issue_id: fields.text("evaluationIssueId"),
        reason: fields.text("reason"),
        snoozed_until: fields.text("snoozedUntil"),
    };
    let ignored = fields.drop_rest()?;
    let Some(decision) = Decision::parse(&body.decision) else {
        return Err(ApiError::bad_request("bad_decision", "Unsupported watchdog decision")
            .hint("one of: snooze, continue, dismissed_false_positive"));
    };
    let until = match body.snoozed_until.filter(|_| decision == Decision::Snooze) {
        None => None,
        Some(text) => Some(domain::moment::Moment::parse(&text).ok_or_else(|| {
            ApiError::bad_request("bad_snooze", "snoozedUntil must be a future ISO datetime")
        })?),
    };
    let now = reach.engine().now();
    if let Err(error) = decision.quiet_until(until, now) {
        return Err(ApiError::bad_request("bad_snooze", error.to_string()));
    }
    let run = lookup::run(reach.engine(), &reach.caller, &reference).await?;
    if body.evaluation_issue_id.is_some() {
        let text = "Watchdog decision evaluation issue is not bound to the target run";
        return Err(ApiError::forbidden("forbidden", text).hint("leave evaluationIssueId out"));
    }
    let author = reach.author(&run.company_id)?;
    let verdict = WatchdogVerdict { decision, until, reason: body.reason.clone() };
    let quiet_until = match reach.engine().decide_watchdog(&run.id, verdict, &author).await {
        Ok(until) => until,
        // Whoever has no part in the run has none in its state either.
        Err(EngineError::Conflict { message, .. }) if message.starts_with("Only the board") => {
            let text = "Only the board or the assigned recovery owner can record watchdog decisions";
            return Err(ApiError::forbidden("forbidden", text));
        }
        Err(error) => return Err(error.into()),
    };
    let answer = WatchdogDecision {
        id: reach.engine().new_id(),
        company_id: run.company_id.0,
        run_id: run.id.0,
        evaluation_issue_id: None,
        decision: decision.as_str(),
        snoozed_until: quiet_until,
        reason: body.reason.map(|reason| reason.chars().take(DECISION_REASON).collect()),
        created_by_agent_id: author.agent_id().map(|id| id.0),
        created_by_user_id: author.user_id(),
        created_by_run_id: author.run_id().map(|id| id.0),
        created_at: now,
        updated_at: now,
    };
    Ok(naming(&ignored, Json(answer)))
}
