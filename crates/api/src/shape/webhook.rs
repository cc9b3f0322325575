//! Webhooks on the wire: endpoints, and what was sent to them. The secret is in no shape but that of the answer that
//! makes it.

use domain::moment::Moment;
use domain::webhook::place;
use engine::WithSecret;
use serde::Serialize;
use store::webhooks::deliveries::Delivery as DeliveryRow;
use store::webhooks::endpoints::Endpoint;
use utoipa::ToSchema;

/// Who hears of the events of a company.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Webhook {
    id: String,
    company_id: String,
    /// Values of its query are masked.
    url: String,
    /// Patterns: exact names, `prefix.*`, `*`.
    events: Vec<String>,
    description: Option<String>,
    enabled: bool,
    /// `by_person`, `gone` or `failing`; null while it is enabled.
    disabled_reason: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    disabled_at: Option<Moment>,
    /// Since when no delivery went well.
    #[schema(value_type = Option<String>)]
    failing_since: Option<Moment>,
    secret_version: i64,
    created_by_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Endpoint> for Webhook {
    fn from(row: Endpoint) -> Webhook {
        Webhook {
            events: row.patterns().map(str::to_owned).collect(),
            url: place::shown(&row.url),
            id: row.id,
            company_id: row.company_id.0,
            description: row.description,
            enabled: row.is_enabled,
            disabled_reason: row.disabled_reason.map(|reason| reason.as_str()),
            disabled_at: row.disabled_at,
            failing_since: row.failing_since,
            secret_version: row.secret_version,
            created_by_user_id: row.created_by_user_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The same with the secret that it signs with, told this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: Webhook,
    /// `whsec_` and base64.
    secret: String,
}

impl From<WithSecret<Endpoint>> for WebhookWithSecret {
    fn from(made: WithSecret<Endpoint>) -> WebhookWithSecret {
        WebhookWithSecret { secret: made.reveal().to_owned(), webhook: made.made.into() }
    }
}

/// One event for one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookDelivery {
    /// The `webhook-id` of every try.
    id: String,
    webhook_id: String,
    company_id: String,
    /// The cursor of the event stream; null for a test.
    event_id: Option<i64>,
    #[serde(rename = "type")]
    kind: String,
    /// `pending`, `delivered` or `failed`.
    status: &'static str,
    attempts: i64,
    /// When it is tried next.
    #[schema(value_type = Option<String>)]
    due_at: Option<Moment>,
    /// The HTTP status of the last answer; null when there was none.
    answer_status: Option<i64>,
    /// The beginning of the last answer.
    answer: Option<String>,
    /// Why there was no answer, or why nobody waits for one any more.
    error: Option<String>,
    took_ms: Option<i64>,
    #[schema(value_type = Option<String>)]
    tried_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    happened_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
}

impl From<DeliveryRow> for WebhookDelivery {
    fn from(row: DeliveryRow) -> WebhookDelivery {
        WebhookDelivery {
            id: row.id,
            webhook_id: row.endpoint_id,
            company_id: row.company_id.0,
            event_id: row.event_id,
            kind: row.kind,
            status: row.status.as_str(),
            attempts: row.attempts,
            due_at: row.due_at,
            answer_status: row.answer_status,
            answer: row.answer,
            error: row.error,
            took_ms: row.took_ms,
            tried_at: row.tried_at,
            happened_at: row.happened_at,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}
