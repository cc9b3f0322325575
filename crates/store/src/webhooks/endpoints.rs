//! Endpoints: who hears of the events of a company, and how far it was told.
//!
//! What is written about an endpoint after it was read is written behind its lock.

use domain::ids::CompanyId;
use domain::moment::Moment;
use domain::webhook::delivery::DisabledReason;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// An endpoint without what it is signed with.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    pub id: String,
    pub company_id: CompanyId,
    pub url: String,
    /// An array of patterns.
    pub events: Json,
    pub description: Option<String>,
    pub is_enabled: bool,
    pub disabled_reason: Option<DisabledReason>,
    pub disabled_at: Option<Moment>,
    pub failing_since: Option<Moment>,
    /// Up to here the event log was read for it.
    pub event_cursor: i64,
    pub secret_version: i64,
    pub created_by_user_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Endpoint {
    id,
    company_id,
    url,
    events,
    description,
    is_enabled,
    disabled_reason,
    disabled_at,
    failing_since,
    event_cursor,
    secret_version,
    created_by_user_id,
    created_at,
    updated_at
});

impl Endpoint {
    /// The patterns of the events that it hears.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.events.as_array().into_iter().flatten().filter_map(Json::as_str)
    }
}

macro_rules! columns {
    () => {
        "id, company_id, url, events, description, is_enabled, disabled_reason, disabled_at, failing_since, \
         event_cursor, secret_version, created_by_user_id, created_at, updated_at"
    };
}

/// Adds an endpoint.
pub async fn insert(tx: &mut Tx<'_>, endpoint: &Endpoint) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO webhook_endpoints (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        )),
        p![
            &endpoint.id,
            &endpoint.company_id,
            &endpoint.url,
            &endpoint.events,
            &endpoint.description,
            endpoint.is_enabled,
            endpoint.disabled_reason,
            endpoint.disabled_at,
            endpoint.failing_since,
            endpoint.event_cursor,
            endpoint.secret_version,
            &endpoint.created_by_user_id,
            endpoint.created_at,
            endpoint.updated_at
        ],
    )
    .await
}

/// Writes everything that may change of an endpoint but its cursor. The caller holds its lock.
pub async fn update(tx: &mut Tx<'_>, endpoint: &Endpoint) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE webhook_endpoints SET url = $2, events = $3, description = $4, is_enabled = $5, \
             disabled_reason = $6, disabled_at = $7, failing_since = $8, secret_version = $9, updated_at = $10 \
             WHERE id = $1"
        ),
        p![
            &endpoint.id,
            &endpoint.url,
            &endpoint.events,
            &endpoint.description,
            endpoint.is_enabled,
            endpoint.disabled_reason,
            endpoint.disabled_at,
            endpoint.failing_since,
            endpoint.secret_version,
            endpoint.updated_at
        ],
    )
    .await
}

/// Notes how far the event log was read for an endpoint.
pub async fn move_cursor(tx: &mut Tx<'_>, id: &str, cursor: i64) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE webhook_endpoints SET event_cursor = $2 WHERE id = $1"), p![id, cursor]).await
}

/// Notes since when no delivery went well.
pub async fn set_failing(tx: &mut Tx<'_>, id: &str, since: Option<Moment>) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE webhook_endpoints SET failing_since = $2 WHERE id = $1"), p![id, since]).await
}

/// Returns one endpoint.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Endpoint>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM webhook_endpoints WHERE id = $1")), p![id]).await
}

/// Returns one endpoint and locks its row.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<Endpoint>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM webhook_endpoints WHERE id = $1 /*+for_update*/")),
        p![id],
    )
    .await
}

/// Returns the endpoints of a company, oldest first.
pub async fn list(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<Vec<Endpoint>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_endpoints WHERE company_id = $1 ORDER BY created_at, id LIMIT $2"
        )),
        p![company, limit],
    )
    .await
}

/// Returns the endpoints that are to hear of events, by id, after `after`.
pub async fn enabled(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<Endpoint>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_endpoints WHERE is_enabled AND id > $1 ORDER BY id LIMIT $2"
        )),
        p![after, limit],
    )
    .await
}

/// Removes an endpoint with its deliveries and secrets; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    tx.run(sql!("DELETE FROM webhook_secrets WHERE owner_id = $1"), p![id]).await?;
    Ok(tx.exec(sql!("DELETE FROM webhook_endpoints WHERE id = $1"), p![id]).await? == 1)
}
