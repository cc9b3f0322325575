//! Issues: create, show, change, delete. Their parts are in the files beside this one.

pub(crate) mod approvals;
pub(crate) mod attachments;
mod body;
pub(crate) mod checkout;
pub(crate) mod comments;
pub(crate) mod documents;
pub(crate) mod history;
pub(crate) mod interactions;
pub(crate) mod labels;
pub(crate) mod lists;
pub(crate) mod marks;
pub(crate) mod work_products;

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::access::task::Deed;
use domain::ids::IssueId;
use engine::issues::{Detail, IssueDraft};
use store::issues::Issue as Row;

use self::body::{ChildBody, IssueBody, IssuePatchBody};
use super::naming;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::Asked;
use crate::reach::Reach;
use crate::shape::comment::Comment;
use crate::shape::issue::{CreatedIssue, Issue, PatchedIssue, summaries};
use crate::shape::issue_detail::{HeartbeatContext, IssueDetail};
use crate::shape::reference::{RelatedWork, projects_in};

/// Creates an issue. Its assignee is woken, unless it is in the backlog, which is the default.
#[utoipa::path(post, path = "/companies/{company}/issues", tag = "issues", request_body = IssueBody,
    params(("company" = String, Path)),
    responses((status = 201, body = CreatedIssue), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = IssueBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let reach = reach.saying();
    let company = reach.company(&company).await?;
    reach.no_host_commands(body.host_commands())?;
    if body.names_environment() {
        reach.caller.chooser_of_environments(&company)?;
    }
    let is_from_outside = reach.caller.is_from_outside(&company, body.is_from_outside());
    let draft = IssueDraft { is_from_outside, ..body.draft() };
    if let Some(parent) = &draft.parent_id {
        reach.in_scope_of(Deed::Say, parent.as_str()).await?;
    }
    let made = reach.engine().create_issue(&company, draft, &reach.author(&company)?).await?;
    let detail = reach.engine().issue_detail(&made.id).await?;
    let names = reach.holders(std::iter::once(&detail.issue)).await?;
    let answer = CreatedIssue {
        related_work: RelatedWork::of(&detail.issue, &detail.related),
        referenced_issue_identifiers: detail.referenced,
        issue: Issue::new(detail.issue, detail.labels, &names),
    };
    Ok(naming(&ignored, (StatusCode::CREATED, Json(answer))))
}

/// Creates an issue below another one.
#[utoipa::path(post, path = "/issues/{issue}/children", tag = "issues", request_body = ChildBody,
    params(("issue" = String, Path, description = "id or identifier of the parent")),
    responses((status = 201, body = Issue), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create_child(
    reach: Reach,
    Named(parent): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = ChildBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let found = reach.engine().find_issue(&parent).await?;
    let parent = found.ok_or_else(|| ApiError::not_found("Parent issue"))?;
    reach.of(&parent.company_id)?;
    reach.in_scope(Deed::Say, &parent).await?;
    reach.no_host_commands(body.issue.host_commands())?;
    if body.issue.names_environment() {
        reach.caller.chooser_of_environments(&parent.company_id)?;
    }
    let author = reach.author(&parent.company_id)?;
    let made = reach.engine().create_child_issue(&parent.id, body.draft(), &author).await?;
    let answer = core(&reach, made).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(answer))))
}

/// One issue with everything around it.
#[utoipa::path(get, path = "/issues/{issue}", tag = "issues",
    params(("issue" = String, Path, description = "id or identifier")),
    responses((status = 200, body = IssueDetail), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<IssueDetail>, ApiError> {
    let id = reach.issue(&reference).await?.id;
    let detail = reach.engine().issue_detail(&id).await?;
    let names = reach.holders(std::iter::once(&detail.issue)).await?;
    let mentioned = mentioned_projects(&reach, &detail).await?;
    Ok(Json(IssueDetail::new(detail, mentioned, &names)))
}

async fn mentioned_projects(reach: &Reach, detail: &Detail) -> Result<Vec<engine::ProjectCard>, ApiError> {
    /// More links than a description has.
    const MOST: usize = 20;
    let mut found = Vec::new();
    for id in projects_in(detail.issue.description.as_deref().unwrap_or_default()).into_iter().take(MOST) {
        match reach.engine().project(&id).await {
            Ok(card) if card.project.company_id == detail.issue.company_id => found.push(card),
            // A link to what is gone, or to another company's, shows nothing.
            Ok(_) | Err(engine::EngineError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// What an agent reads first of its issue.
#[utoipa::path(get, path = "/issues/{issue}/heartbeat-context", tag = "issues",
    params(("issue" = String, Path), ("wakeCommentId" = Option<String>, Query)),
    responses((status = 200, body = HeartbeatContext), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn context(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<HeartbeatContext>, ApiError> {
    let id = reach.issue(&reference).await?.id;
    let comment = asked.get("wakeCommentId").filter(|text| domain::ids::looks_like_id(text));
    let comment = comment.map(|text| domain::ids::CommentId(text.to_ascii_lowercase()));
    Ok(Json(reach.engine().heartbeat_context(&id, comment).await?.into()))
}

/// Changes an issue, with a comment if one is sent.
#[utoipa::path(patch, path = "/issues/{issue}", tag = "issues", request_body = IssuePatchBody,
    params(("issue" = String, Path)),
    responses((status = 200, body = PatchedIssue), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = IssuePatchBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    reach.no_host_commands(body.host_commands())?;
    if body.names_environment() {
        reach.caller.chooser_of_environments(&issue.company_id)?;
    }
    let patch = body.patch();
    let shows_relations = patch.blocked_by.is_some();
    let shows_references = patch.title.is_some() || patch.description.is_some() || patch.comment.is_some();
    let patched = reach.engine().patch_issue(&issue.id, patch, &author).await?;
    let names = reach.holders(std::iter::once(&patched.issue)).await?;
    let labels = labels_of(&reach, &issue.id).await?;
    let mut answer = PatchedIssue {
        issue: Issue::new(patched.issue, labels, &names),
        comment: patched.comment.map(Comment::from),
        blocked_by: None,
        blocks: None,
        related_work: None,
        referenced_issue_identifiers: None,
    };
    if shows_relations {
        let (blocked_by, blocks) = reach.engine().issue_relations(&issue.id).await?;
        answer.blocked_by = Some(summaries(blocked_by));
        answer.blocks = Some(summaries(blocks));
    }
    if shows_references {
        let detail = reach.engine().issue_detail(&issue.id).await?;
        answer.related_work = Some(RelatedWork::of(&detail.issue, &detail.related));
        answer.referenced_issue_identifiers = Some(detail.referenced);
    }
    Ok(naming(&ignored, Json(answer)))
}

/// Deletes an issue with all that hangs on it; its children stay, without a parent.
#[utoipa::path(delete, path = "/issues/{issue}", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Issue), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(reference): Named<String>) -> Result<Json<Issue>, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let labels = labels_of(&reach, &issue.id).await?;
    let gone = reach.engine().delete_issue(&issue.id, &author).await?;
    let names = reach.holders(std::iter::once(&gone)).await?;
    Ok(Json(Issue::new(gone, labels, &names)))
}

/// The core form of an issue.
async fn core(reach: &Reach, row: Row) -> Result<Issue, ApiError> {
    let labels = labels_of(reach, &row.id).await?;
    let names = reach.holders(std::iter::once(&row)).await?;
    Ok(Issue::new(row, labels, &names))
}

async fn labels_of(reach: &Reach, issue: &IssueId) -> Result<Vec<store::labels::Label>, ApiError> {
    Ok(reach.engine().issue_labels(issue).await?)
}
