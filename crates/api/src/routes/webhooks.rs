//! Webhooks of a company: who hears of its events, and what was sent. For people alone.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::CompanyId;
use engine::{Author, EndpointDraft, EndpointPatch, MOST_DELIVERIES, SecretValue};
use serde::Deserialize;
use store::webhooks::deliveries::Delivery;
use store::webhooks::endpoints::Endpoint;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Done;
use crate::ApiState;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked, cursor_of};
use crate::reach::{Reach, id_of_path};
use crate::shape::webhook::{Webhook, WebhookDelivery, WebhookWithSecret};

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, remove))
        .routes(routes!(rotate))
        .routes(routes!(test))
        .routes(routes!(deliveries))
        .routes(routes!(delivery))
        .routes(routes!(redeliver))
}

impl Reach {
    /// The webhook of a path, for the people of its company, and in whose name it is changed.
    async fn webhook(&self, company: &str, id: &str) -> Result<(Endpoint, Author), ApiError> {
        let company = self.company_of_people(company).await?;
        let found = self.engine().webhook(&id_of_path(id, "Webhook")?).await?;
        if found.company_id != company {
            return Err(ApiError::not_found("Webhook"));
        }
        let author = self.author(&company)?;
        Ok((found, author))
    }

    /// The company of a path, for its people.
    pub(super) async fn company_of_people(&self, id: &str) -> Result<CompanyId, ApiError> {
        let company = self.company(id).await?;
        self.caller.board_of(&company)?;
        Ok(company)
    }

    /// The delivery of a path, for the people of its company.
    async fn webhook_delivery(&self, id: &str) -> Result<(Delivery, Author), ApiError> {
        let found = self.engine().webhook_delivery(&id_of_path(id, "Webhook delivery")?).await?;
        self.of(&found.company_id)?;
        self.caller.board_of(&found.company_id)?;
        let author = self.author(&found.company_id)?;
        Ok((found, author))
    }
}

/// The webhooks of a company, oldest first.
#[utoipa::path(get, path = "/companies/{company}/webhooks", tag = "webhooks", params(("company" = String, Path)),
    responses((status = 200, body = Vec<Webhook>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
) -> Result<Json<Vec<Webhook>>, ApiError> {
    let company = reach.company_of_people(&company).await?;
    let found = reach.engine().webhooks(&company).await?;
    Ok(Json(found.into_iter().map(Webhook::from).collect()))
}

/// A new webhook.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body; the secret is read into a type of its own")]
pub(crate) struct WebhookBody {
    /// `http` or `https`, without a user.
    url: String,
    /// Patterns: exact names, `prefix.*`, or `*` for everything.
    events: Vec<String>,
    description: Option<String>,
    /// `whsec_` and 24 to 64 bytes in base64; absent: one is made.
    secret: Option<String>,
}

/// Makes a webhook; it hears what happens from now on. Its secret is told this once.
#[utoipa::path(post, path = "/companies/{company}/webhooks", tag = "webhooks", request_body = WebhookBody,
    params(("company" = String, Path)),
    responses((status = 201, body = WebhookWithSecret), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<(StatusCode, Json<WebhookWithSecret>), ApiError> {
    let mut fields = Fields::read(&bytes)?;
    if !fields.has("events") {
        fields.mistake("invalid_type", "events", "Required");
    }
    let draft = EndpointDraft {
        url: fields.required_text("url"),
        events: fields.texts("events").unwrap_or_default(),
        description: fields.nullable_text("description").flatten(),
        secret: fields.text("secret").map(SecretValue::new),
    };
    fields.refuse_rest()?;
    let company = reach.company_of_people(&company).await?;
    let made = reach.engine().create_webhook(&company, draft, &reach.author(&company)?).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One webhook.
#[utoipa::path(get, path = "/companies/{company}/webhooks/{webhook}", tag = "webhooks",
    params(("company" = String, Path), ("webhook" = String, Path)),
    responses((status = 200, body = Webhook), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
) -> Result<Json<Webhook>, ApiError> {
    let (found, _) = reach.webhook(&company, &id).await?;
    Ok(Json(found.into()))
}

/// A change of a webhook: what is absent stays, null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body")]
pub(crate) struct WebhookPatchBody {
    /// All of it: values that are masked where it is shown are refused.
    url: Option<String>,
    events: Option<Vec<String>>,
    description: Option<Option<String>>,
    /// Enabled again, it hears what happens from then on.
    enabled: Option<bool>,
}

/// Changes a webhook, enables or disables it.
#[utoipa::path(patch, path = "/companies/{company}/webhooks/{webhook}", tag = "webhooks", request_body = WebhookPatchBody,
    params(("company" = String, Path), ("webhook" = String, Path)),
    responses((status = 200, body = Webhook), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<Webhook>, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let patch = EndpointPatch {
        url: fields.text("url"),
        events: fields.texts("events"),
        description: fields.nullable_text("description"),
        is_enabled: fields.boolean("enabled"),
    };
    fields.refuse_rest()?;
    let (found, author) = reach.webhook(&company, &id).await?;
    Ok(Json(reach.engine().patch_webhook(&found.id, patch, &author).await?.into()))
}

/// Removes a webhook with the record of its deliveries.
#[utoipa::path(delete, path = "/companies/{company}/webhooks/{webhook}", tag = "webhooks",
    params(("company" = String, Path), ("webhook" = String, Path)),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
) -> Result<Json<Done>, ApiError> {
    let (found, author) = reach.webhook(&company, &id).await?;
    reach.engine().delete_webhook(&found.id, &author).await?;
    Ok(Json(Done::new()))
}

/// A new secret.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body; the secret is read into a type of its own")]
pub(crate) struct RotationBody {
    /// Absent: one is made.
    secret: Option<String>,
    /// How long the old one is good beside it: 24 h unless it is said otherwise.
    overlap_seconds: Option<i64>,
}

/// Reads a rotation: the secret that was chosen, and how long the old one stays.
pub(crate) fn rotation(bytes: &[u8]) -> Result<(Option<SecretValue>, Option<Duration>), ApiError> {
    let mut fields = Fields::read_or_empty(bytes)?;
    let secret = fields.text("secret").map(SecretValue::new);
    let overlap = fields.count("overlapSeconds").map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    fields.refuse_rest()?;
    Ok((secret, overlap))
}

/// Gives a webhook a new secret, told this once; the old one signs beside it for a while.
#[utoipa::path(post, path = "/companies/{company}/webhooks/{webhook}/rotate", tag = "webhooks", request_body = RotationBody,
    params(("company" = String, Path), ("webhook" = String, Path)),
    responses((status = 200, body = WebhookWithSecret), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn rotate(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<WebhookWithSecret>, ApiError> {
    let (secret, overlap) = rotation(&bytes)?;
    let (found, author) = reach.webhook(&company, &id).await?;
    Ok(Json(reach.engine().rotate_webhook_secret(&found.id, secret, overlap, &author).await?.into()))
}

/// Sends an event that means nothing; the delivery says what came of it.
#[utoipa::path(post, path = "/companies/{company}/webhooks/{webhook}/test", tag = "webhooks",
    params(("company" = String, Path), ("webhook" = String, Path)),
    responses((status = 202, body = WebhookDelivery), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn test(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
) -> Result<(StatusCode, Json<WebhookDelivery>), ApiError> {
    let (found, author) = reach.webhook(&company, &id).await?;
    let ordered = reach.engine().test_webhook(&found.id, &author).await?;
    Ok((StatusCode::ACCEPTED, Json(ordered.into())))
}

/// What was sent to a webhook, or is to be, newest first.
#[utoipa::path(get, path = "/companies/{company}/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("company" = String, Path), ("webhook" = String, Path), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<WebhookDelivery>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn deliveries(
    reach: Reach,
    Named((company, id)): Named<(String, String)>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let (found, _) = reach.webhook(&company, &id).await?;
    let limit = asked.number("limit", 1, MOST_DELIVERIES - 1).unwrap_or(100);
    // One more than is given tells whether there are more.
    let rows = reach.engine().webhook_deliveries(&found.id, asked.place()?, limit + 1).await?;
    let place = |row: &Delivery| cursor_of(row.created_at, &row.id);
    Ok(paging::page(rows, limit, place, |rows| rows.into_iter().map(WebhookDelivery::from).collect()))
}

/// One delivery.
#[utoipa::path(get, path = "/webhook-deliveries/{delivery}", tag = "webhooks", params(("delivery" = String, Path)),
    responses((status = 200, body = WebhookDelivery), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn delivery(
    reach: Reach,
    Named(id): Named<String>,
) -> Result<Json<WebhookDelivery>, ApiError> {
    let (found, _) = reach.webhook_delivery(&id).await?;
    Ok(Json(found.into()))
}

/// Sends a delivery that is over once more, under its own id.
#[utoipa::path(post, path = "/webhook-deliveries/{delivery}/redeliver", tag = "webhooks", params(("delivery" = String, Path)),
    responses((status = 202, body = WebhookDelivery), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn redeliver(
    reach: Reach,
    Named(id): Named<String>,
) -> Result<(StatusCode, Json<WebhookDelivery>), ApiError> {
    let (found, author) = reach.webhook_delivery(&id).await?;
    let ordered = reach.engine().redeliver(&found.id, &author).await?;
    Ok((StatusCode::ACCEPTED, Json(ordered.into())))
}
