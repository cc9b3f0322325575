//! How far a person has read an issue, and what they put out of their way.

use axum::Json;
use axum::response::{IntoResponse, Response};
use engine::issues::{Marked, ReadMark};
use serde::Serialize;
use utoipa::ToSchema;

use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::reach::Reach;
use crate::routes::Done;
use crate::shape::issue::ReadState;

async fn mark(reach: &Reach, reference: &str, mark: ReadMark) -> Result<(String, Marked), ApiError> {
    let (issue, author) = reach.issue_for_change(reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let marked = reach.engine().mark_issue(&issue.id, mark, &author).await?;
    Ok((issue.id.0, marked))
}

fn state_of(marked: Marked) -> Result<Json<ReadState>, ApiError> {
    marked.state.map(|state| Json(ReadState::from(state))).ok_or_else(ApiError::internal)
}

/// Notes that a person has read an issue.
#[utoipa::path(post, path = "/issues/{issue}/read", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = ReadState), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn read(reach: Reach, Named(reference): Named<String>) -> Result<Json<ReadState>, ApiError> {
    state_of(mark(&reach, &reference, ReadMark::Read).await?.1)
}

/// What was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Unread {
    id: String,
    /// It had been read.
    removed: bool,
}

/// Takes that back.
#[utoipa::path(delete, path = "/issues/{issue}/read", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Unread), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn unread(reach: Reach, Named(reference): Named<String>) -> Result<Json<Unread>, ApiError> {
    let (id, marked) = mark(&reach, &reference, ReadMark::Unread).await?;
    Ok(Json(Unread { id, removed: marked.removed }))
}

/// Puts an issue out of a person's way until something happens on it.
#[utoipa::path(post, path = "/issues/{issue}/inbox-archive", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = ReadState), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn archive(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<ReadState>, ApiError> {
    state_of(mark(&reach, &reference, ReadMark::Archived).await?.1)
}

/// Brings it back.
#[utoipa::path(delete, path = "/issues/{issue}/inbox-archive", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = ReadState), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn unarchive(reach: Reach, Named(reference): Named<String>) -> Result<Response, ApiError> {
    let (_, marked) = mark(&reach, &reference, ReadMark::Unarchived).await?;
    Ok(match marked.state.filter(|_| marked.removed) {
        Some(state) => Json(ReadState::from(state)).into_response(),
        None => Json(Done::new()).into_response(),
    })
}
