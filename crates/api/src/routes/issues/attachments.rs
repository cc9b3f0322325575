//! Attachments: files of issues, taken in as a form and given out as they came.

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::access::task::Deed;
use domain::ids::{CommentId, looks_like_id};
use engine::issues::AttachmentDraft;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::ApiState;
use crate::errors::{ApiError, ErrorBody, Issue as Mistake};
use crate::lookup::Named;
use crate::reach::{Reach, id_of_path};
use crate::routes::Done;
use crate::shape::attachment::Attachment;

/// What a file without a type is.
const UNKNOWN: &str = "application/octet-stream";
/// What a form needs beside its file.
const FORM: usize = 1 << 20;
/// A text field of a form is not longer.
const LONGEST_TEXT: usize = 4_096;

/// The attachments of an issue, newest first.
#[utoipa::path(get, path = "/issues/{issue}/attachments", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Vec<Attachment>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<Attachment>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().attachments(&issue.id).await?;
    Ok(Json(found.into_iter().map(Attachment::from).collect()))
}

/// A file for an issue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the form; the parts are read one by one")]
pub(crate) struct AttachmentForm {
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    issue_comment_id: Option<String>,
}

/// A form with a file, read to its end.
#[derive(Debug)]
pub(crate) struct Upload {
    file: Option<AttachmentDraft>,
    is_too_large: bool,
    comment: Option<String>,
}

impl Upload {
    /// Reads a form. Who may send one was asked before: strangers are not listened to for megabytes.
    async fn read(mut request: Request, state: &ApiState) -> Result<Upload, ApiError> {
        let limit = state.options.attachment_limit;
        DefaultBodyLimit::max(limit.saturating_add(FORM)).apply(&mut request);
        let mut form = Multipart::from_request(request, state).await.map_err(|_| {
            ApiError::bad_request("no_form", "Missing file field 'file'")
                .hint("send the file as multipart/form-data, in the field `file`")
        })?;
        let mut upload = Upload { file: None, is_too_large: false, comment: None };
        while let Some(field) = form.next_field().await.map_err(|error| broken(&error, limit))? {
            match field.name() {
                Some("file") if upload.file.is_none() => upload.read_file(field, limit).await?,
                Some("file") => return Err(ApiError::bad_request("two_files", "Only one file is taken")),
                Some("issueCommentId") => upload.comment = Some(read_text(field, limit).await?),
                Some(_) | None => {}
            }
        }
        Ok(upload)
    }

    async fn read_file(&mut self, mut field: Field<'_>, limit: usize) -> Result<(), ApiError> {
        let mut draft = AttachmentDraft {
            comment: None,
            content_type: field.content_type().unwrap_or(UNKNOWN).to_owned(),
            original_filename: field.file_name().map(str::to_owned).filter(|name| !name.is_empty()),
            bytes: Vec::new(),
        };
        while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error, limit))? {
            if self.is_too_large || draft.bytes.len() + chunk.len() > limit {
                // Read on, so that the refusal is heard, but keep nothing.
                self.is_too_large = true;
                draft.bytes = Vec::new();
                continue;
            }
            draft.bytes.extend_from_slice(&chunk);
        }
        self.file = Some(draft);
        Ok(())
    }
}

async fn read_text(mut field: Field<'_>, limit: usize) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error, limit))? {
        if bytes.len() + chunk.len() <= LONGEST_TEXT {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn broken(error: &MultipartError, limit: usize) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return exceeds(limit);
    }
    ApiError::bad_request("bad_form", "Form ended early or is malformed")
}

fn exceeds(limit: usize) -> ApiError {
    ApiError::unprocessable("attachment_too_large", format!("Attachment exceeds {limit} bytes"))
}

/// Adds a file to an issue.
#[utoipa::path(post, path = "/companies/{company}/issues/{issue}/attachments", tag = "issues",
    request_body(content = AttachmentForm, content_type = "multipart/form-data"),
    params(("company" = String, Path), ("issue" = String, Path)),
    responses((status = 201, body = Attachment), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named((company, reference)): Named<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    if issue.company_id != company {
        return Err(ApiError::unprocessable("unprocessable", "Issue does not belong to company"));
    }
    let upload = Upload::read(request, &reach.state).await?;
    let Some(file) = upload.file else {
        return Err(ApiError::bad_request("no_file", "Missing file field 'file'"));
    };
    if upload.is_too_large {
        return Err(exceeds(reach.state.options.attachment_limit));
    }
    let comment = match upload.comment.filter(|text| !text.is_empty()) {
        None => None,
        Some(id) if looks_like_id(&id) => Some(CommentId(id.to_ascii_lowercase())),
        Some(_) => {
            let mistake = Mistake::new("invalid_string", "issueCommentId", "Invalid uuid");
            return Err(ApiError::validation(mistake));
        }
    };
    let draft = AttachmentDraft { comment, ..file };
    let made = reach.engine().create_attachment(&issue.id, draft, &author).await?;
    Ok((StatusCode::CREATED, Json(Attachment::from(made))).into_response())
}

/// The bytes of an attachment.
#[utoipa::path(get, path = "/attachments/{attachment}/content", tag = "issues",
    params(("attachment" = String, Path)),
    responses((status = 200, description = "the file", content_type = "application/octet-stream"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn content(reach: Reach, Named(id): Named<String>) -> Result<Response, ApiError> {
    let found = find(&reach, &id).await?;
    let path = reach.engine().attachment_path(&found);
    let bytes = tokio::fs::read(&path).await.map_err(|error| {
        tracing::error!(%error, path = %path.display(), "cannot read an attachment");
        match error.kind() {
            std::io::ErrorKind::NotFound => ApiError::not_found("Attachment content"),
            _ => ApiError::internal(),
        }
    })?;
    let mut answer = Body::from(bytes).into_response();
    headers_of(&found, answer.headers_mut());
    Ok(answer)
}

fn headers_of(found: &store::attachments::Attachment, headers: &mut HeaderMap) {
    let kind = HeaderValue::from_str(&found.content_type).unwrap_or(HeaderValue::from_static(UNKNOWN));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let plain = plain_type(&found.content_type);
    if plain == "image/svg+xml" {
        // A drawing may hold programs; they are not to run with the rights of this origin.
        let policy = "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'";
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
    let way = if is_shown(&plain) { "inline" } else { "attachment" };
    let name = found.original_filename.as_deref().unwrap_or("attachment");
    if let Ok(value) = HeaderValue::from_str(&disposition(way, name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
}

fn plain_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What browsers may show in place; anything else is saved.
fn is_shown(plain: &str) -> bool {
    const SHOWN: [&str; 5] =
        ["application/pdf", "text/plain", "text/markdown", "application/json", "text/csv"];
    plain.starts_with("image/") || SHOWN.contains(&plain)
}

/// The name twice: in ASCII for everybody, and as it is (RFC 6266).
fn disposition(way: &str, name: &str) -> String {
    let clean = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' };
    let plain: String = name.chars().map(clean).collect();
    let mut whole = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            whole.push(char::from(byte));
        } else {
            whole.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("{way}; filename=\"{plain}\"; filename*=UTF-8''{whole}")
}

/// Removes an attachment.
#[utoipa::path(delete, path = "/attachments/{attachment}", tag = "issues", params(("attachment" = String, Path)),
    responses((status = 200, body = Done), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(id): Named<String>) -> Result<Json<Done>, ApiError> {
    let found = find(&reach, &id).await?;
    reach.in_scope_of(Deed::Change, found.issue_id.as_str()).await?;
    let author = reach.author(&found.company_id)?;
    reach.engine().delete_attachment(&found.id, &author).await?;
    Ok(Json(Done::new()))
}

async fn find(reach: &Reach, id: &str) -> Result<store::attachments::Attachment, ApiError> {
    let id = id_of_path(id, "Attachment")?;
    let found = reach.engine().attachment(&id).await?;
    reach.of(&found.company_id)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_header() {
        assert_eq!(
            disposition("inline", "a\"b\\\r\nc ä.txt"),
            "inline; filename=\"a_b___c _.txt\"; filename*=UTF-8''a%22b%5C%0D%0Ac%20%C3%A4.txt"
        );
    }

    #[test]
    fn only_harmless_kinds_are_shown_in_place() {
        for (kind, shown) in [
            ("image/png", true),
            ("text/plain; charset=utf-8", true),
            ("Text/Markdown", true),
            ("text/html", false),
            ("application/javascript", false),
            ("", false),
        ] {
            assert_eq!(is_shown(&plain_type(kind)), shown, "{kind}");
        }
    }
}
