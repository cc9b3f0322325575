//! Deliveries: one event for one endpoint, and how far that has come.
//!
//! Whoever sends one holds its lease for a while: what becomes of it is written by the holder only. A lease that nobody
//! gives back runs out by itself, because the moment at which it ends is the moment at which the delivery is due again.

use domain::ids::CompanyId;
use domain::moment::Moment;
use domain::webhook::delivery::DeliveryStatus;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub id: String,
    pub endpoint_id: String,
    pub company_id: CompanyId,
    /// `None`: somebody asked for it by hand.
    pub event_id: Option<i64>,
    pub kind: String,
    pub payload: Json,
    pub happened_at: Moment,
    pub status: DeliveryStatus,
    pub attempts: i64,
    /// `None`: it is over.
    pub due_at: Option<Moment>,
    pub lease: Option<String>,
    pub answer_status: Option<i64>,
    pub answer: Option<String>,
    pub error: Option<String>,
    pub took_ms: Option<i64>,
    pub tried_at: Option<Moment>,
    pub created_at: Moment,
    pub finished_at: Option<Moment>,
}
from_row!(Delivery {
    id,
    endpoint_id,
    company_id,
    event_id,
    kind,
    payload,
    happened_at,
    status,
    attempts,
    due_at,
    lease,
    answer_status,
    answer,
    error,
    took_ms,
    tried_at,
    created_at,
    finished_at
});

macro_rules! columns {
    () => {
        "id, endpoint_id, company_id, event_id, type, payload, happened_at, status, attempts, due_at, lease, \
         answer_status, answer, error, took_ms, tried_at, created_at, finished_at"
    };
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub status: DeliveryStatus,
    pub attempts: i64,
    /// When it is tried again; only while it is pending.
    pub due_at: Option<Moment>,
    pub answer_status: Option<i64>,
    pub answer: Option<String>,
    pub error: Option<String>,
    pub took_ms: i64,
    pub tried_at: Moment,
}

/// Adds a delivery that is due. One that is there for the same event stays as it is.
pub async fn insert(tx: &mut Tx<'_>, delivery: &Delivery) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO webhook_deliveries (id, endpoint_id, company_id, event_id, type, payload, happened_at, \
             status, attempts, due_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', 0, $8, $9) \
             ON CONFLICT (endpoint_id, event_id) DO NOTHING"
        ),
        p![
            &delivery.id,
            &delivery.endpoint_id,
            &delivery.company_id,
            delivery.event_id,
            &delivery.kind,
            &delivery.payload,
            delivery.happened_at,
            delivery.due_at,
            delivery.created_at
        ],
    )
    .await
}

/// Takes the next delivery of an endpoint that is due, under a lease that ends at `until`.
pub async fn claim(
    tx: &mut Tx<'_>,
    endpoint: &str,
    lease: &str,
    now: Moment,
    until: Moment,
) -> Result<Option<Delivery>, StoreError> {
    let found: Option<(String,)> = tx
        .one_as(
            sql!(
                "SELECT id FROM webhook_deliveries WHERE endpoint_id = $1 AND status = 'pending' AND due_at <= $2 \
                 ORDER BY due_at, id LIMIT 1 /*+skip_locked*/"
            ),
            p![endpoint, now],
        )
        .await?;
    let Some((id,)) = found else { return Ok(None) };
    tx.one_as(
        sql!(concat!(
            "UPDATE webhook_deliveries SET lease = $2, due_at = $3 WHERE id = $1 RETURNING ",
            columns!()
        )),
        p![id, lease, until],
    )
    .await
}

/// Writes what a try came to; returns false, and writes nothing, when the lease is somebody else's by now.
pub async fn settle(tx: &mut Tx<'_>, id: &str, lease: &str, outcome: &Outcome) -> Result<bool, StoreError> {
    let is_over = outcome.status != DeliveryStatus::Pending;
    let changed = tx
        .exec(
            sql!(
                "UPDATE webhook_deliveries SET status = $3, attempts = $4, due_at = $5, answer_status = $6, \
                 answer = $7, error = $8, took_ms = $9, tried_at = $10, finished_at = $11, lease = NULL \
                 WHERE id = $1 AND lease = $2 AND status = 'pending'"
            ),
            p![
                id,
                lease,
                outcome.status,
                outcome.attempts,
                outcome.due_at,
                outcome.answer_status,
                &outcome.answer,
                &outcome.error,
                outcome.took_ms,
                outcome.tried_at,
                is_over.then_some(outcome.tried_at)
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Ends all deliveries of an endpoint that still wait; returns how many there were.
pub async fn give_up(tx: &mut Tx<'_>, endpoint: &str, error: &str, now: Moment) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "UPDATE webhook_deliveries SET status = 'failed', due_at = NULL, lease = NULL, error = $2, \
             finished_at = $3 WHERE endpoint_id = $1 AND status = 'pending'"
        ),
        p![endpoint, error, now],
    )
    .await
}

/// Makes a delivery due that is over, as if it had never been tried; returns false when it is not over.
pub async fn restart(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE webhook_deliveries SET status = 'pending', attempts = 0, due_at = $2, finished_at = NULL, \
                 lease = NULL WHERE id = $1 AND status <> 'pending'"
            ),
            p![id, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns one delivery.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Delivery>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM webhook_deliveries WHERE id = $1")), p![id]).await
}

/// Returns when the next delivery of an endpoint is due.
pub async fn next_due(tx: &mut Tx<'_>, endpoint: &str) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT due_at FROM webhook_deliveries WHERE endpoint_id = $1 AND status = 'pending' \
                 ORDER BY due_at, id LIMIT 1"
            ),
            p![endpoint],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// True when at least `many` deliveries of an endpoint wait.
pub async fn has_waiting(tx: &mut Tx<'_>, endpoint: &str, many: i64) -> Result<bool, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT id FROM webhook_deliveries WHERE endpoint_id = $1 AND status = 'pending' \
                 ORDER BY due_at, id LIMIT 1 OFFSET $2"
            ),
            p![endpoint, many - 1],
        )
        .await?;
    Ok(row.is_some())
}

/// Returns the deliveries of an endpoint, newest first, before a place.
pub async fn list(
    tx: &mut Tx<'_>,
    endpoint: &str,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Delivery>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_deliveries WHERE endpoint_id = $1 AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![endpoint, at, id, limit],
    )
    .await
}

/// Removes deliveries that were over before `before`, oldest first; returns how many.
pub async fn remove_over(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries \
             WHERE status <> 'pending' AND finished_at < $1 ORDER BY finished_at, id LIMIT $2)"
        ),
        p![before, limit],
    )
    .await
}
