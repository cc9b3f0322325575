//! Documents of issues, with their revisions.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use engine::issues::DocumentDraft;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::Asked;
use crate::reach::{Reach, id_of_path};
use crate::routes::{Done, naming};
use crate::shape::document::{Document, Revision};

/// The documents of an issue with their texts, by key.
#[utoipa::path(get, path = "/issues/{issue}/documents", tag = "issues",
    params(("issue" = String, Path), ("includeSystem" = Option<bool>, Query, description = "with the program's own")),
    responses((status = 200, body = Vec<Document>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<Document>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().documents(&issue.id, asked.is_set("includeSystem")).await?;
    Ok(Json(found.into_iter().map(Document::from).collect()))
}

/// The document of a key.
#[utoipa::path(get, path = "/issues/{issue}/documents/{key}", tag = "issues",
    params(("issue" = String, Path), ("key" = String, Path, description = "for example `plan`")),
    responses((status = 200, body = Document), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named((reference, key)): Named<(String, String)>,
) -> Result<Json<Document>, ApiError> {
    let issue = reach.issue(&reference).await?;
    Ok(Json(reach.engine().document(&issue.id, &key).await?.into()))
}

/// A text for a document.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DocumentBody {
    /// Absent or null: none.
    #[schema(max_length = 200)]
    title: Option<String>,
    /// `markdown`.
    format: String,
    body: String,
    #[schema(max_length = 500)]
    change_summary: Option<String>,
    /// `latestRevisionId` of the text that was read; absent for a new document.
    base_revision_id: Option<String>,
}

/// Writes a document: a new one (201), or over the revision that was read (200).
#[utoipa::path(put, path = "/issues/{issue}/documents/{key}", tag = "issues", request_body = DocumentBody,
    params(("issue" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = Document), (status = 201, body = Document), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn put(
    reach: Reach,
    Named((reference, key)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = DocumentBody {
        title: fields.text("title"),
        format: fields.required_word("format", &["markdown"], |word| word).unwrap_or_default().to_owned(),
        body: fields.present_lines("body"),
        change_summary: fields.text("changeSummary"),
        base_revision_id: fields.id("baseRevisionId"),
    };
    let ignored = fields.drop_rest()?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let draft = DocumentDraft {
        title: body.title,
        format: body.format,
        body: body.body,
        change_summary: body.change_summary,
        base_revision_id: body.base_revision_id,
    };
    let saved = reach.engine().put_document(&issue.id, &key, draft, &author).await?;
    let status = if saved.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(naming(&ignored, (status, Json(Document::from(saved)))))
}

/// The texts that a document had, newest first.
#[utoipa::path(get, path = "/issues/{issue}/documents/{key}/revisions", tag = "issues",
    params(("issue" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = Vec<Revision>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn revisions(
    reach: Reach,
    Named((reference, key)): Named<(String, String)>,
) -> Result<Json<Vec<Revision>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().document_revisions(&issue.id, &key).await?;
    Ok(Json(found.into_iter().map(Revision::from).collect()))
}

/// Makes an earlier text the newest one.
#[utoipa::path(post, path = "/issues/{issue}/documents/{key}/revisions/{revision}/restore", tag = "issues",
    params(("issue" = String, Path), ("key" = String, Path), ("revision" = String, Path)),
    responses((status = 200, body = Document), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn restore(
    reach: Reach,
    Named((reference, key, revision)): Named<(String, String, String)>,
) -> Result<Json<Document>, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let revision = id_of_path(&revision, "Revision")?;
    let saved = reach.engine().restore_document(&issue.id, &key, &revision, &author).await?;
    Ok(Json(saved.into()))
}

/// Removes a document with its revisions. For people.
#[utoipa::path(delete, path = "/issues/{issue}/documents/{key}", tag = "issues",
    params(("issue" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = Done), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(
    reach: Reach,
    Named((reference, key)): Named<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    reach.engine().delete_document(&issue.id, &key, &author).await?;
    Ok(Json(Done::new()))
}
