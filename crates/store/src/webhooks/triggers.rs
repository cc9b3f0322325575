//! Triggers: who starts which automation from outside, known by the hash of its token.

use domain::ids::{AutomationId, CompanyId};
use domain::moment::Moment;
use domain::webhook::proof::Scheme;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A trigger without its token and its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookTrigger {
    pub id: String,
    pub company_id: CompanyId,
    pub automation_id: AutomationId,
    pub name: String,
    pub token_hash: String,
    pub scheme: Scheme,
    /// Where the secret stands, for the scheme that needs it.
    pub secret_header: String,
    /// The input of the run that gets what was sent.
    pub input: String,
    /// An array of names.
    pub headers: Json,
    pub size_limit: i64,
    pub rate_per_minute: i64,
    pub is_enabled: bool,
    pub secret_version: i64,
    pub created_by_user_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(WebhookTrigger {
    id,
    company_id,
    automation_id,
    name,
    token_hash,
    scheme,
    secret_header,
    input,
    headers,
    size_limit,
    rate_per_minute,
    is_enabled,
    secret_version,
    created_by_user_id,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, automation_id, name, token_hash, scheme, secret_header, input, headers, size_limit, \
         rate_per_minute, is_enabled, secret_version, created_by_user_id, created_at, updated_at"
    };
}

/// Adds a trigger.
pub async fn insert(tx: &mut Tx<'_>, trigger: &WebhookTrigger) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO webhook_triggers (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
        )),
        p![
            &trigger.id,
            &trigger.company_id,
            &trigger.automation_id,
            &trigger.name,
            &trigger.token_hash,
            trigger.scheme,
            &trigger.secret_header,
            &trigger.input,
            &trigger.headers,
            trigger.size_limit,
            trigger.rate_per_minute,
            trigger.is_enabled,
            trigger.secret_version,
            &trigger.created_by_user_id,
            trigger.created_at,
            trigger.updated_at
        ],
    )
    .await
}

/// Writes everything that may change of a trigger. The caller holds its lock.
pub async fn update(tx: &mut Tx<'_>, trigger: &WebhookTrigger) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE webhook_triggers SET name = $2, input = $3, headers = $4, size_limit = $5, rate_per_minute = $6, \
             is_enabled = $7, secret_version = $8, updated_at = $9 WHERE id = $1"
        ),
        p![
            &trigger.id,
            &trigger.name,
            &trigger.input,
            &trigger.headers,
            trigger.size_limit,
            trigger.rate_per_minute,
            trigger.is_enabled,
            trigger.secret_version,
            trigger.updated_at
        ],
    )
    .await
}

/// Returns one trigger.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<WebhookTrigger>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM webhook_triggers WHERE id = $1")), p![id]).await
}

/// Returns one trigger and locks its row.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<WebhookTrigger>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM webhook_triggers WHERE id = $1 /*+for_update*/")),
        p![id],
    )
    .await
}

/// Returns the trigger of a token, by its hash.
pub async fn by_token(tx: &mut Tx<'_>, hash: &str) -> Result<Option<WebhookTrigger>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM webhook_triggers WHERE token_hash = $1")), p![hash])
        .await
}

/// Returns the triggers of a company, oldest first.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<WebhookTrigger>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_triggers WHERE company_id = $1 ORDER BY created_at, id LIMIT $2"
        )),
        p![company, limit],
    )
    .await
}

/// Removes a trigger with its receipts and secrets; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    tx.run(sql!("DELETE FROM webhook_secrets WHERE owner_id = $1"), p![id]).await?;
    Ok(tx.exec(sql!("DELETE FROM webhook_triggers WHERE id = $1"), p![id]).await? == 1)
}
