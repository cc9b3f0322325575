//! Taking an issue, giving it back, and taking it away.

use axum::Json;
use axum::response::Response;
use domain::ids::AgentId;
use domain::issue::IssueStatus;
use engine::issues::Checkout;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::core;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::Asked;
use crate::reach::Reach;
use crate::routes::naming;
use crate::shape::issue::{ForceReleased, Issue, PreviousLocks};

/// Who takes an issue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckoutBody {
    agent_id: String,
    /// At least one; the issue must be in one of them.
    #[schema(value_type = Vec<String>)]
    expected_statuses: Vec<IssueStatus>,
}

/// Takes an issue for an agent; its run has it until it is given back. 409: somebody else has it, do not try again.
#[utoipa::path(post, path = "/issues/{issue}/checkout", tag = "issues", request_body = CheckoutBody,
    params(("issue" = String, Path), ("X-Paperclip-Run-Id" = Option<String>, Header)),
    responses((status = 200, body = Issue), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn take(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = read(&mut fields);
    let ignored = fields.drop_rest()?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let checkout = Checkout { agent: AgentId(body.agent_id), expected: body.expected_statuses };
    let taken = reach.engine().checkout_issue(&issue.id, checkout, &author).await?;
    Ok(naming(&ignored, Json(core(&reach, taken).await?)))
}

fn read(fields: &mut Fields) -> CheckoutBody {
    let agent_id = fields.required_id("agentId");
    let items = fields.filled_array("expectedStatuses");
    fields.put_back("expectedStatuses", Some(Value::Array(items)));
    let expected = fields.words("expectedStatuses", IssueStatus::ALL, IssueStatus::as_str);
    CheckoutBody { agent_id, expected_statuses: expected.unwrap_or_default() }
}

/// Gives an issue back: it is `todo` and nobody's.
#[utoipa::path(post, path = "/issues/{issue}/release", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Issue), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn release(reach: Reach, Named(reference): Named<String>) -> Result<Json<Issue>, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    if let domain::access::Actor::Agent(agent) = reach.caller.who()
        && agent.run().is_none()
    {
        return Err(domain::access::Refusal::RunRequired.into());
    }
    let released = reach.engine().release_issue(&issue.id, &author).await?;
    Ok(Json(core(&reach, released).await?))
}

/// Takes all locks of an issue away, whoever has them. For people.
#[utoipa::path(post, path = "/issues/{issue}/admin/force-release", tag = "issues",
    params(("issue" = String, Path), ("clearAssignee" = Option<bool>, Query)),
    responses((status = 200, body = ForceReleased), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn force_release(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<ForceReleased>, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let clears = asked.is_set("clearAssignee");
    let released = reach.engine().force_release_issue(&issue.id, clears, &author).await?;
    Ok(Json(ForceReleased {
        issue: core(&reach, released.issue).await?,
        previous: PreviousLocks {
            checkout_run_id: released.previous_checkout.map(|id| id.0),
            execution_run_id: released.previous_execution.map(|id| id.0),
        },
    }))
}
