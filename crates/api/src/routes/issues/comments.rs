//! Comments on issues.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::access::task::Deed;
use domain::ids::{CommentId, looks_like_id};
use engine::issues::{CommentDraft, MOST_COMMENTS};
use serde::Deserialize;
use store::comments::Order;
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked};
use crate::reach::{Reach, id_of_path};
use crate::routes::naming;
use crate::shape::comment::{Comment, WrittenComment};

/// The comments of an issue, newest first unless asked otherwise. `after` is the id of a comment: with `asc` those that
/// are newer follow, with `desc` those that are older.
#[utoipa::path(get, path = "/issues/{issue}/comments", tag = "issues",
    params(("issue" = String, Path), ("after" = Option<String>, Query, description = "also `afterCommentId`"),
        ("order" = Option<String>, Query, description = "`asc` or `desc` (default)"),
        ("limit" = Option<i64>, Query, description = "at most 500, which is the default")),
    responses((status = 200, body = Vec<Comment>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let issue = reach.issue(&reference).await?;
    let order = if asked.get("order") == Some("asc") { Order::OldestFirst } else { Order::NewestFirst };
    let limit = asked.number("limit", 1, MOST_COMMENTS).unwrap_or(MOST_COMMENTS);
    let after = match asked.cursor().or(asked.get("after")).or(asked.get("afterCommentId")) {
        None => None,
        Some(id) if looks_like_id(id) => Some(CommentId(id.to_ascii_lowercase())),
        // What is no id is no comment, and nothing follows a comment that is not there.
        Some(_) => return Ok(paging::page(Vec::<Comment>::new(), limit, |_| String::new(), |rows| rows)),
    };
    let found = reach.engine().comments(&issue.id, order, after, limit).await?;
    let is_full = i64::try_from(found.len()).is_ok_and(|length| length == limit);
    let last = found.last().filter(|_| is_full).map(|comment| comment.id.0.clone());
    let rows = found.into_iter().map(Comment::from).collect::<Vec<_>>();
    let mut answer = paging::page(rows, limit, |_| String::new(), |rows| rows);
    // A full page may be the last one; then the next is empty.
    if let Some(value) = last.and_then(|id| id.parse().ok()) {
        answer.headers_mut().insert(paging::CURSOR, value);
    }
    Ok(answer)
}

/// One comment.
#[utoipa::path(get, path = "/issues/{issue}/comments/{comment}", tag = "issues",
    params(("issue" = String, Path), ("comment" = String, Path)),
    responses((status = 200, body = Comment), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named((reference, comment)): Named<(String, String)>,
) -> Result<Json<Comment>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let comment = CommentId(id_of_path(&comment, "Comment")?);
    Ok(Json(reach.engine().comment(&issue.id, &comment).await?.into()))
}

/// Something to say.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CommentBody {
    #[schema(min_length = 1)]
    body: String,
    /// Moves a closed issue to `todo`.
    #[serde(default)]
    reopen: bool,
    /// Asks to go on with the work.
    #[serde(default)]
    resume: bool,
    /// Stops the run under way; for people.
    #[serde(default)]
    interrupt: bool,
    /// It is from outside, and held until a trusted member releases it; so is whatever members write who are not trusted.
    #[serde(default)]
    untrusted: bool,
}

/// Comments on an issue. Its assignee and whoever is mentioned are woken.
#[utoipa::path(post, path = "/issues/{issue}/comments", tag = "issues", request_body = CommentBody,
    params(("issue" = String, Path)),
    responses((status = 201, body = WrittenComment), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = CommentBody {
        body: fields.required_lines("body"),
        reopen: fields.flag("reopen"),
        resume: fields.flag("resume"),
        interrupt: fields.flag("interrupt"),
        untrusted: fields.flag("untrusted"),
    };
    let ignored = fields.drop_rest()?;
    let reach = reach.saying();
    let CommentBody { body, reopen, resume, interrupt, untrusted } = body;
    let deed = if reopen || resume || interrupt { Deed::Change } else { Deed::Say };
    let (issue, author) = reach.issue_for(deed, &reference).await?;
    let is_from_outside = reach.caller.is_from_outside(&issue.company_id, untrusted);
    let draft = CommentDraft { body, reopen, resume, interrupt, is_from_outside };
    let comment = reach.engine().comment_on_issue(&issue.id, draft, &author).await?;
    let outlook = match author.is_board() {
        true => reach.engine().outlook(&issue.id).await?,
        // An agent says what it has done.
        false => None,
    };
    Ok(naming(&ignored, (StatusCode::CREATED, Json(WrittenComment::new(comment, outlook)))))
}

/// Takes back a comment that no run has seen yet. For its author.
#[utoipa::path(delete, path = "/issues/{issue}/comments/{comment}", tag = "issues",
    params(("issue" = String, Path), ("comment" = String, Path)),
    responses((status = 200, body = Comment), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(
    reach: Reach,
    Named((reference, comment)): Named<(String, String)>,
) -> Result<Json<Comment>, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let comment = CommentId(id_of_path(&comment, "Comment")?);
    Ok(Json(reach.engine().cancel_comment(&issue.id, &comment, &author).await?.into()))
}
