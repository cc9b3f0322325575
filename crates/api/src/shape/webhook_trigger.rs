//! Triggers on the wire, and what came to them. Token and secret are in no shape but that of the answer that makes them.

use domain::moment::Moment;
use domain::webhook::proof::Rejection;
use engine::{MadeTrigger, Reception, TriggerView, WithSecret};
use serde::Serialize;
use store::webhooks::receipts::Receipt;
use utoipa::ToSchema;

/// Who starts which automation from outside.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookTrigger {
    id: String,
    company_id: String,
    /// The automation that it starts; when it was removed, the one that has its name now.
    automation_id: String,
    /// Its name.
    automation: String,
    /// Why no request starts anything at present: `automation_removed`, `automation_paused` or `input_refused`. Null:
    /// nothing is in the way, unless it is turned off.
    obstacle: Option<&'static str>,
    name: String,
    /// `standard`, `github` or `shared_secret`.
    scheme: &'static str,
    /// Where the secret stands, for `shared_secret`.
    secret_header: String,
    /// The input of the run that gets what was sent.
    input: String,
    /// The headers that are handed on with it.
    headers: Vec<String>,
    size_limit: i64,
    rate_per_minute: i64,
    enabled: bool,
    secret_version: i64,
    created_by_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<TriggerView> for WebhookTrigger {
    fn from(view: TriggerView) -> WebhookTrigger {
        let row = view.trigger;
        let headers = row.headers.as_array().into_iter().flatten();
        WebhookTrigger {
            headers: headers.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            id: row.id,
            company_id: row.company_id.0,
            automation_id: row.automation_id.0,
            automation: view.automation,
            obstacle: view.obstacle.map(Rejection::as_str),
            name: row.name,
            scheme: row.scheme.as_str(),
            secret_header: row.secret_header,
            input: row.input,
            size_limit: row.size_limit,
            rate_per_minute: row.rate_per_minute,
            enabled: row.is_enabled,
            secret_version: row.secret_version,
            created_by_user_id: row.created_by_user_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The same with where to send and what to prove it with, told this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewWebhookTrigger {
    #[serde(flatten)]
    trigger: WebhookTrigger,
    /// The path on this server to send to.
    path: String,
    secret: String,
}

impl From<MadeTrigger> for NewWebhookTrigger {
    fn from(made: MadeTrigger) -> NewWebhookTrigger {
        NewWebhookTrigger {
            path: format!("/api/hooks/{}", made.reveal_token()),
            secret: made.reveal_secret().to_owned(),
            trigger: made.view.into(),
        }
    }
}

/// A trigger with its new secret, told this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RotatedWebhookTrigger {
    #[serde(flatten)]
    trigger: WebhookTrigger,
    secret: String,
}

impl From<WithSecret<TriggerView>> for RotatedWebhookTrigger {
    fn from(rotated: WithSecret<TriggerView>) -> RotatedWebhookTrigger {
        RotatedWebhookTrigger { secret: rotated.reveal().to_owned(), trigger: rotated.made.into() }
    }
}

/// What came to a trigger, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookReceipt {
    id: String,
    trigger_id: String,
    company_id: String,
    /// `received`, `accepted`, `rejected`, `duplicate`, `disabled` or `failed`.
    status: &'static str,
    /// Why, in a word.
    reason: Option<String>,
    /// The id that its sender gave it.
    event_id: Option<String>,
    /// SHA-256 of the body.
    digest: String,
    size: i64,
    content_type: Option<String>,
    /// The receipt of the one that came before.
    duplicate_of: Option<String>,
    automation_run_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    received_at: Moment,
}

impl From<Receipt> for WebhookReceipt {
    fn from(row: Receipt) -> WebhookReceipt {
        WebhookReceipt {
            id: row.id,
            trigger_id: row.trigger_id,
            company_id: row.company_id.0,
            status: row.status.as_str(),
            reason: row.reason,
            event_id: row.event_id,
            digest: row.digest,
            size: row.size,
            content_type: row.content_type,
            duplicate_of: row.duplicate_of,
            automation_run_id: row.automation_run_id,
            received_at: row.received_at,
        }
    }
}

/// What a sender is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Taken {
    receipt_id: String,
    /// `accepted`: a run was started; `duplicate`: one was before; `received`: none is.
    status: &'static str,
    automation_run_id: Option<String>,
}

impl From<Reception> for Taken {
    fn from(reception: Reception) -> Taken {
        let receipt = reception.receipt;
        Taken {
            receipt_id: receipt.id,
            status: receipt.status.as_str(),
            automation_run_id: receipt.automation_run_id,
        }
    }
}
