//! Texts from outside: what waits on an issue, and letting it go on. For people who prove that they are.

use axum::Json;
use axum::response::Response;
use domain::access::outside::Decision;
use domain::access::{Proof, Refusal};
use domain::ids::IssueId;
use serde::Deserialize;
use store::issues::Issue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::naming;
use crate::ApiState;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::reach::Reach;
use crate::shape::held_text::HeldText;

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(decide))
        .routes(routes!(of_run))
        .routes(routes!(release))
}

/// What is decided, and about which texts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DecisionBody {
    /// The texts that were seen: what came since is not among them.
    text_ids: Vec<String>,
    /// `released` (default) or `refused`.
    #[schema(value_type = Option<String>)]
    decision: Option<Decision>,
}

impl DecisionBody {
    fn read(fields: &mut Fields) -> DecisionBody {
        if !fields.has("textIds") {
            fields.mistake("invalid_type", "textIds", "Required");
        }
        DecisionBody {
            text_ids: fields.ids("textIds").unwrap_or_default(),
            decision: fields.word("decision", Decision::ALL, Decision::as_str),
        }
    }
}

/// The texts from outside on an issue, decided ones too, oldest first. For people who prove that they are.
#[utoipa::path(get, path = "/issues/{issue}/held-texts", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Vec<HeldText>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<HeldText>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    texts_of(&reach, &issue).await
}

/// Releases texts from outside, or refuses them: released, they take their places, and what waited for them goes on. For
/// people who prove that they are.
#[utoipa::path(post, path = "/issues/{issue}/held-texts/decide", tag = "issues", request_body = DecisionBody,
    params(("issue" = String, Path)),
    responses((status = 200, body = Vec<HeldText>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn decide(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let issue = reach.issue(&reference).await?;
    decided(&reach, &issue, &bytes).await
}

/// The texts from outside on the issue of a run. For people who prove that they are.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/held-texts", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = Vec<HeldText>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn of_run(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<HeldText>>, ApiError> {
    match issue_of(&reach, &reference).await? {
        Some(issue) => texts_of(&reach, &issue).await,
        None => Ok(Json(Vec::new())),
    }
}

/// The same decision for the issue of a run that waits for it.
#[utoipa::path(post, path = "/heartbeat-runs/{run}/release", tag = "runs", request_body = DecisionBody,
    params(("run" = String, Path)),
    responses((status = 200, body = Vec<HeldText>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn release(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let issue = issue_of(&reach, &reference).await?.ok_or_else(|| ApiError::not_found("Issue of the run"))?;
    decided(&reach, &issue, &bytes).await
}

async fn issue_of(reach: &Reach, run: &str) -> Result<Option<Issue>, ApiError> {
    let run = lookup::run(reach.engine(), &reach.caller, run).await?;
    let Some(id) = run.issue_id.map(IssueId) else { return Ok(None) };
    let found = reach.engine().find_issue(id.as_str()).await?;
    Ok(found.filter(|issue| issue.company_id == run.company_id))
}

async fn texts_of(reach: &Reach, issue: &Issue) -> Result<Json<Vec<HeldText>>, ApiError> {
    let board = reach.caller.board_of(&issue.company_id)?;
    // Also to read them: whoever is on this machine may be the program of an agent.
    if board.proof == Proof::LocalImplicit {
        return Err(Refusal::BoardTokenRequired.into());
    }
    let found = reach.engine().held_texts(&issue.id).await?;
    Ok(Json(found.into_iter().map(HeldText::from).collect()))
}

async fn decided(reach: &Reach, issue: &Issue, bytes: &[u8]) -> Result<Response, ApiError> {
    // Before anything of the request is looked at: whoever may not decide learns nothing.
    reach.caller.person(&issue.company_id)?;
    let mut fields = Fields::read(bytes)?;
    let DecisionBody { text_ids, decision } = DecisionBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let (decision, by) = (decision.unwrap_or(Decision::Released), reach.author(&issue.company_id)?);
    let found = reach.engine().decide_held_texts(&issue.id, text_ids, decision, &by).await?;
    Ok(naming(&ignored, Json(found.into_iter().map(HeldText::from).collect::<Vec<_>>())))
}
