//! The approvals that concern an issue.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::reach::{Reach, id_of_path};
use crate::routes::{Done, naming};
use crate::shape::approval::Approval;

/// The approvals of an issue, the newest link first.
#[utoipa::path(get, path = "/issues/{issue}/approvals", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Vec<Approval>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<Approval>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().approvals_of_issue(&issue.id).await?;
    Ok(Json(found.into_iter().map(Approval::from).collect()))
}

/// An approval that concerns an issue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkBody {
    approval_id: String,
}

/// Links an approval with an issue.
#[utoipa::path(post, path = "/issues/{issue}/approvals", tag = "issues", request_body = LinkBody,
    params(("issue" = String, Path)),
    responses((status = 201, body = Vec<Approval>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn link(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = LinkBody { approval_id: fields.required_id("approvalId") };
    let ignored = fields.drop_rest()?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let linked = reach.engine().link_approval(&issue.id, &body.approval_id, true, &author).await?;
    let linked: Vec<Approval> = linked.into_iter().map(Approval::from).collect();
    Ok(naming(&ignored, (StatusCode::CREATED, Json(linked))))
}

/// Takes a link away.
#[utoipa::path(delete, path = "/issues/{issue}/approvals/{approval}", tag = "issues",
    params(("issue" = String, Path), ("approval" = String, Path)),
    responses((status = 200, body = Done), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn unlink(
    reach: Reach,
    Named((reference, approval)): Named<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let approval = id_of_path(&approval, "Approval")?;
    reach.engine().link_approval(&issue.id, &approval, false, &author).await?;
    Ok(Json(Done::new()))
}
