//! Labels of a company.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use engine::issues::LabelDraft;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::reach::{Reach, id_of_path};
use crate::routes::naming;
use crate::shape::issue::Label;

/// The labels of a company, by name.
#[utoipa::path(get, path = "/companies/{company}/labels", tag = "issues", params(("company" = String, Path)),
    responses((status = 200, body = Vec<Label>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(reach: Reach, Named(company): Named<String>) -> Result<Json<Vec<Label>>, ApiError> {
    let company = reach.company(&company).await?;
    let found = reach.engine().labels(&company).await?;
    Ok(Json(found.into_iter().map(Label::from).collect()))
}

/// A new label.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct LabelBody {
    #[schema(min_length = 1, max_length = 48)]
    name: String,
    /// `#rrggbb`.
    color: String,
}

/// Adds a label.
#[utoipa::path(post, path = "/companies/{company}/labels", tag = "issues", request_body = LabelBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Label), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = LabelBody { name: fields.required_text("name"), color: fields.required_text("color") };
    let ignored = fields.drop_rest()?;
    let company = reach.company(&company).await?;
    let draft = LabelDraft { name: body.name, color: body.color };
    let label = reach.engine().create_label(&company, draft, &reach.planner(&company)?).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Label::from(label)))))
}

/// Removes a label from its company and all issues.
#[utoipa::path(delete, path = "/labels/{label}", tag = "issues", params(("label" = String, Path)),
    responses((status = 200, body = Label), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(id): Named<String>) -> Result<Json<Label>, ApiError> {
    let id = id_of_path(&id, "Label")?;
    let wanted = id.clone();
    let found = reach
        .engine()
        .store()
        .read(move |tx| {
            let wanted = wanted.clone();
            Box::pin(async move { store::labels::get(tx, &wanted).await })
        })
        .await?;
    let company = found.ok_or_else(|| ApiError::not_found("Label"))?.company_id;
    reach.of(&company)?;
    Ok(Json(reach.engine().delete_label(&id, &reach.planner(&company)?).await?.into()))
}
