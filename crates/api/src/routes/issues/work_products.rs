//! Work products: what came out of an issue.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::access::task::Deed;
use domain::ids::RunId;
use domain::issue::products::{HEALTHS, KINDS, REVIEW_STATES, STATUSES};
use engine::issues::{ProductDraft, ProductPatch};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::reach::{Reach, id_of_path};
use crate::routes::naming;
use crate::shape::work_product::WorkProduct;

/// The work products of an issue, primary ones first.
#[utoipa::path(get, path = "/issues/{issue}/work-products", tag = "issues", params(("issue" = String, Path)),
    responses((status = 200, body = Vec<WorkProduct>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<WorkProduct>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().work_products(&issue.id).await?;
    Ok(Json(found.into_iter().map(WorkProduct::from).collect()))
}

/// A work product, new or changed: what is absent stays or has its default, null clears.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkProductBody {
    /// Required for a new one: `preview_url`, `runtime_service`, `pull_request`, `branch`, `commit`, `artifact` or
    /// `document`.
    r#type: Option<String>,
    /// Required for a new one.
    provider: Option<String>,
    /// Required for a new one.
    title: Option<String>,
    project_id: Option<Option<String>>,
    execution_workspace_id: Option<Option<String>>,
    runtime_service_id: Option<Option<String>>,
    external_id: Option<Option<String>>,
    /// An absolute address.
    url: Option<Option<String>>,
    /// `active` (default), `ready_for_review`, `approved`, `changes_requested`, `merged`, `closed`, `failed`, `archived` or
    /// `draft`.
    status: Option<String>,
    /// `none` (default), `needs_board_review`, `approved` or `changes_requested`.
    review_state: Option<String>,
    /// It takes that place from the one of its kind before it.
    is_primary: Option<bool>,
    /// `unknown` (default), `healthy` or `unhealthy`.
    health_status: Option<String>,
    summary: Option<Option<String>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
    /// Of a new one; agents: always their run.
    created_by_run_id: Option<String>,
}

impl WorkProductBody {
    fn read(fields: &mut Fields, is_new: bool) -> WorkProductBody {
        let word = |word: &'static str| word;
        let (kind, provider, title, run) = if is_new {
            (
                fields.required_word("type", &KINDS, word),
                Some(fields.required_text("provider")),
                Some(fields.required_text("title")),
                fields.id("createdByRunId"),
            )
        } else {
            let kind = fields.word("type", &KINDS, word);
            let (provider, title) = (fields.text("provider"), fields.text("title"));
            (kind, fields.not_blank("provider", provider), fields.not_blank("title", title), None)
        };
        WorkProductBody {
            r#type: kind.map(str::to_owned),
            provider,
            title,
            project_id: fields.nullable_id("projectId"),
            execution_workspace_id: fields.nullable_id("executionWorkspaceId"),
            runtime_service_id: fields.nullable_id("runtimeServiceId"),
            external_id: fields.nullable_text("externalId"),
            url: fields.nullable_url("url"),
            status: fields.word("status", &STATUSES, word).map(str::to_owned),
            review_state: fields.word("reviewState", &REVIEW_STATES, word).map(str::to_owned),
            is_primary: fields.boolean("isPrimary"),
            health_status: fields.word("healthStatus", &HEALTHS, word).map(str::to_owned),
            summary: fields.nullable_text("summary"),
            metadata: fields.nullable_object("metadata"),
            created_by_run_id: run,
        }
    }

    fn draft(self) -> ProductDraft {
        let otherwise = ProductDraft::default();
        ProductDraft {
            kind: self.r#type.unwrap_or(otherwise.kind),
            provider: self.provider.unwrap_or_default(),
            title: self.title.unwrap_or_default(),
            project_id: self.project_id.flatten(),
            execution_workspace_id: self.execution_workspace_id.flatten(),
            runtime_service_id: self.runtime_service_id.flatten(),
            external_id: self.external_id.flatten(),
            url: self.url.flatten(),
            status: self.status.unwrap_or(otherwise.status),
            review_state: self.review_state.unwrap_or(otherwise.review_state),
            is_primary: self.is_primary.unwrap_or(false),
            health_status: self.health_status.unwrap_or(otherwise.health_status),
            summary: self.summary.flatten(),
            metadata: self.metadata.flatten().map(Value::Object),
            created_by_run_id: self.created_by_run_id.map(RunId),
        }
    }

    fn patch(self) -> ProductPatch {
        ProductPatch {
            kind: self.r#type,
            provider: self.provider,
            title: self.title,
            project_id: self.project_id,
            execution_workspace_id: self.execution_workspace_id,
            runtime_service_id: self.runtime_service_id,
            external_id: self.external_id,
            url: self.url,
            status: self.status,
            review_state: self.review_state,
            is_primary: self.is_primary,
            health_status: self.health_status,
            summary: self.summary,
            metadata: self.metadata.map(|object| object.map(Value::Object)),
        }
    }
}

/// Adds a work product to an issue.
#[utoipa::path(post, path = "/issues/{issue}/work-products", tag = "issues", request_body = WorkProductBody,
    params(("issue" = String, Path)),
    responses((status = 201, body = WorkProduct), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = WorkProductBody::read(&mut fields, true);
    let ignored = fields.drop_rest()?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let made = reach.engine().create_work_product(&issue.id, body.draft(), &author).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(WorkProduct::from(made)))))
}

/// Changes a work product.
#[utoipa::path(patch, path = "/work-products/{product}", tag = "issues", request_body = WorkProductBody,
    params(("product" = String, Path)),
    responses((status = 200, body = WorkProduct), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(id): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = WorkProductBody::read(&mut fields, false);
    let ignored = fields.drop_rest()?;
    let product = find(&reach, &id).await?;
    reach.in_scope_of(Deed::Change, product.issue_id.as_str()).await?;
    let author = reach.author(&product.company_id)?;
    let changed = reach.engine().patch_work_product(&product.id, body.patch(), &author).await?;
    Ok(naming(&ignored, Json(WorkProduct::from(changed))))
}

/// Removes a work product.
#[utoipa::path(delete, path = "/work-products/{product}", tag = "issues", params(("product" = String, Path)),
    responses((status = 200, body = WorkProduct), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(reach: Reach, Named(id): Named<String>) -> Result<Json<WorkProduct>, ApiError> {
    let product = find(&reach, &id).await?;
    reach.in_scope_of(Deed::Change, product.issue_id.as_str()).await?;
    let author = reach.author(&product.company_id)?;
    Ok(Json(reach.engine().delete_work_product(&product.id, &author).await?.into()))
}

async fn find(reach: &Reach, id: &str) -> Result<store::work_products::WorkProduct, ApiError> {
    let id = id_of_path(id, "Work product")?;
    let product = reach.engine().work_product(&id).await?;
    reach.of(&product.company_id)?;
    Ok(product)
}
