//! Triggers of automations from outside, and what came to them. For people alone.

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use domain::webhook::proof::Scheme;
use engine::{Author, MOST_RECEIPTS, SecretValue, TriggerDraft, TriggerPatch, TriggerView};
use serde::Deserialize;
use store::webhooks::receipts::Receipt;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Done;
use super::webhooks::{RotationBody, rotation};
use crate::ApiState;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked, cursor_of};
use crate::reach::{Reach, id_of_path};
use crate::shape::webhook_trigger::{
    NewWebhookTrigger, RotatedWebhookTrigger, WebhookReceipt, WebhookTrigger,
};

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, remove))
        .routes(routes!(rotate))
        .routes(routes!(receipts))
        .routes(routes!(body))
}

impl Reach {
    /// The trigger of a path, for the people of its company, and in whose name it is changed.
    async fn webhook_trigger(&self, company: &str, id: &str) -> Result<(TriggerView, Author), ApiError> {
        let company = self.company_of_people(company).await?;
        let found = self.engine().webhook_trigger(&id_of_path(id, "Webhook trigger")?).await?;
        if found.trigger.company_id != company {
            return Err(ApiError::not_found("Webhook trigger"));
        }
        let author = self.author(&company)?;
        Ok((found, author))
    }
}

/// The webhook triggers of a company, oldest first.
#[utoipa::path(get, path = "/companies/{company}/webhook-triggers", tag = "webhooks", params(("company" = String, Path)),
    responses((status = 200, body = Vec<WebhookTrigger>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
) -> Result<Json<Vec<WebhookTrigger>>, ApiError> {
    let company = reach.company_of_people(&company).await?;
    let found = reach.engine().webhook_triggers(&company).await?;
    Ok(Json(found.into_iter().map(WebhookTrigger::from).collect()))
}

/// A new trigger.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body; the secret is read into a type of its own")]
pub(crate) struct WebhookTriggerBody {
    /// Name or id of the automation.
    automation: String,
    /// `standard` (default), `github` or `shared_secret`.
    #[schema(value_type = Option<String>)]
    scheme: Option<String>,
    name: Option<String>,
    /// Absent: one is made.
    secret: Option<String>,
    /// For `shared_secret`: `x-webhook-secret` unless it is said otherwise.
    secret_header: Option<String>,
    /// The input of the run that gets what was sent; `webhook` unless it is said otherwise.
    input: Option<String>,
    /// The headers that are handed on with it.
    headers: Option<Vec<String>>,
    /// Bytes; 1 MiB unless it is said otherwise.
    size_limit: Option<i64>,
    /// 120 unless it is said otherwise.
    rate_per_minute: Option<i64>,
}

/// Makes a trigger of an automation. Its path and its secret are told this once.
#[utoipa::path(post, path = "/companies/{company}/webhook-triggers", tag = "webhooks", request_body = WebhookTriggerBody,
    params(("company" = String, Path)),
    responses((status = 201, body = NewWebhookTrigger), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<(StatusCode, Json<NewWebhookTrigger>), ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let draft = TriggerDraft {
        automation: fields.required_text("automation"),
        name: fields.text("name"),
        scheme: fields.word("scheme", Scheme::ALL, Scheme::as_str).unwrap_or(Scheme::Standard),
        secret: fields.text("secret").map(SecretValue::new),
        secret_header: fields.text("secretHeader"),
        input: fields.text("input"),
        headers: fields.texts("headers"),
        size_limit: fields.count("sizeLimit"),
        rate_per_minute: fields.count("ratePerMinute"),
    };
    fields.refuse_rest()?;
    let company = reach.company_of_people(&company).await?;
    let made = reach.engine().create_webhook_trigger(&company, draft, &reach.author(&company)?).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One trigger.
#[utoipa::path(get, path = "/companies/{company}/webhook-triggers/{trigger}", tag = "webhooks",
    params(("company" = String, Path), ("trigger" = String, Path)),
    responses((status = 200, body = WebhookTrigger), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
) -> Result<Json<WebhookTrigger>, ApiError> {
    let (found, _) = reach.webhook_trigger(&company, &id).await?;
    Ok(Json(found.into()))
}

/// A change of a trigger: what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body")]
pub(crate) struct WebhookTriggerPatchBody {
    name: Option<String>,
    input: Option<String>,
    headers: Option<Vec<String>>,
    size_limit: Option<i64>,
    rate_per_minute: Option<i64>,
    enabled: Option<bool>,
}

/// Changes a trigger, enables or disables it.
#[utoipa::path(patch, path = "/companies/{company}/webhook-triggers/{trigger}", tag = "webhooks", request_body = WebhookTriggerPatchBody,
    params(("company" = String, Path), ("trigger" = String, Path)),
    responses((status = 200, body = WebhookTrigger), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<WebhookTrigger>, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let patch = TriggerPatch {
        name: fields.text("name"),
        input: fields.text("input"),
        headers: fields.texts("headers"),
        size_limit: fields.count("sizeLimit"),
        rate_per_minute: fields.count("ratePerMinute"),
        is_enabled: fields.boolean("enabled"),
    };
    fields.refuse_rest()?;
    let (found, author) = reach.webhook_trigger(&company, &id).await?;
    Ok(Json(reach.engine().patch_webhook_trigger(&found.trigger.id, patch, &author).await?.into()))
}

/// Removes a trigger with its receipts; runs that it started stay.
#[utoipa::path(delete, path = "/companies/{company}/webhook-triggers/{trigger}", tag = "webhooks",
    params(("company" = String, Path), ("trigger" = String, Path)),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    let (found, author) = reach.webhook_trigger(&company, &id).await?;
    reach.engine().delete_webhook_trigger(&found.trigger.id, &author).await?;
    Ok(Json(Done::new()))
}

/// Gives a trigger a new secret, told this once; the old one is good beside it for a while.
#[utoipa::path(post, path = "/companies/{company}/webhook-triggers/{trigger}/rotate", tag = "webhooks", request_body = RotationBody,
    params(("company" = String, Path), ("trigger" = String, Path)),
    responses((status = 200, body = RotatedWebhookTrigger), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn rotate(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<RotatedWebhookTrigger>, ApiError> {
    let (secret, overlap) = rotation(&bytes)?;
    let (found, author) = reach.webhook_trigger(&company, &id).await?;
    Ok(Json(reach.engine().rotate_trigger_secret(&found.trigger.id, secret, overlap, &author).await?.into()))
}

/// What came to a trigger, newest first.
#[utoipa::path(get, path = "/companies/{company}/webhook-triggers/{trigger}/receipts", tag = "webhooks",
    params(("company" = String, Path), ("trigger" = String, Path), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<WebhookReceipt>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn receipts(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let (found, _) = reach.webhook_trigger(&company, &id).await?;
    let limit = asked.number("limit", 1, MOST_RECEIPTS - 1).unwrap_or(100);
    // One more than is given tells whether there are more.
    let rows = reach.engine().webhook_receipts(&found.trigger.id, asked.place()?, limit + 1).await?;
    let place = |row: &Receipt| cursor_of(row.received_at, &row.id);
    Ok(paging::page(rows, limit, place, |rows| rows.into_iter().map(WebhookReceipt::from).collect()))
}

/// The body of a receipt, as it came. It is of somebody outside: a browser that gets it keeps it as a file.
#[utoipa::path(get, path = "/webhook-receipts/{receipt}/body", tag = "webhooks", params(("receipt" = String, Path)),
    responses((status = 200, body = String, content_type = "application/octet-stream"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn body(
    reach: Reach,
    Named(id): Named<String>,
) -> Result<([(HeaderName, &'static str); 3], Vec<u8>), ApiError> {
    let found = reach.engine().webhook_receipt(&id_of_path(&id, "Webhook receipt")?).await?;
    reach.of(&found.company_id)?;
    reach.caller.board_of(&found.company_id)?;
    let bytes = reach.engine().webhook_body(&found.id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"body\""),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, bytes))
}
