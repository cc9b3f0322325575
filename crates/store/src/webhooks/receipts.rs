//! Receipts: what came in from outside, and what became of it.
//!
//! The trigger is locked whenever one is added that may start something, so that of two requests for the same event the
//! second sees the first.

use domain::ids::CompanyId;
use domain::moment::Moment;
use domain::webhook::receipt::ReceiptStatus;

use crate::{StoreError, Tx, from_row, p, sql};

/// A receipt without the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub id: String,
    pub trigger_id: String,
    pub company_id: CompanyId,
    pub status: ReceiptStatus,
    /// Why, in a word.
    pub reason: Option<String>,
    pub event_id: Option<String>,
    pub digest: String,
    pub size: i64,
    pub content_type: Option<String>,
    pub duplicate_of: Option<String>,
    pub automation_run_id: Option<String>,
    pub received_at: Moment,
}
from_row!(Receipt {
    id,
    trigger_id,
    company_id,
    status,
    reason,
    event_id,
    digest,
    size,
    content_type,
    duplicate_of,
    automation_run_id,
    received_at
});

macro_rules! columns {
    () => {
        "id, trigger_id, company_id, status, reason, event_id, digest, size, content_type, duplicate_of, \
         automation_run_id, received_at"
    };
}

/// Adds a receipt, with the body where it is kept.
pub async fn insert(tx: &mut Tx<'_>, receipt: &Receipt, body: Option<&[u8]>) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO webhook_receipts (",
            columns!(),
            ", body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        )),
        p![
            &receipt.id,
            &receipt.trigger_id,
            &receipt.company_id,
            receipt.status,
            &receipt.reason,
            &receipt.event_id,
            &receipt.digest,
            receipt.size,
            &receipt.content_type,
            &receipt.duplicate_of,
            &receipt.automation_run_id,
            receipt.received_at,
            body
        ],
    )
    .await
}

/// Returns one receipt.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Receipt>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM webhook_receipts WHERE id = $1")), p![id]).await
}

/// Returns the body of a receipt, while it is kept.
pub async fn body(tx: &mut Tx<'_>, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let row =
        tx.one(sql!("SELECT body FROM webhook_receipts WHERE id = $1 AND body IS NOT NULL"), p![id]).await?;
    row.map(|row| row.get(0)).transpose()
}

/// Returns the last receipt of an event that was taken in.
pub async fn of_event(tx: &mut Tx<'_>, trigger: &str, event: &str) -> Result<Option<Receipt>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_receipts WHERE trigger_id = $1 AND event_id = $2 \
             AND status IN ('received', 'accepted') ORDER BY received_at DESC LIMIT 1"
        )),
        p![trigger, event],
    )
    .await
}

/// Returns the last receipt of a body that was taken in.
pub async fn of_digest(tx: &mut Tx<'_>, trigger: &str, digest: &str) -> Result<Option<Receipt>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_receipts WHERE trigger_id = $1 AND digest = $2 \
             AND status IN ('received', 'accepted') ORDER BY received_at DESC LIMIT 1"
        )),
        p![trigger, digest],
    )
    .await
}

/// Returns the receipts of a trigger, newest first, before a place.
pub async fn list(
    tx: &mut Tx<'_>,
    trigger: &str,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Receipt>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_receipts WHERE trigger_id = $1 AND (received_at, id) < ($2, $3) \
             ORDER BY received_at DESC, id DESC LIMIT $4"
        )),
        p![trigger, at, id, limit],
    )
    .await
}

/// Removes the bodies of receipts from before `before`, oldest first; returns how many.
pub async fn remove_bodies(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "UPDATE webhook_receipts SET body = NULL WHERE id IN (SELECT id FROM webhook_receipts \
             WHERE body IS NOT NULL AND received_at < $1 ORDER BY received_at, id LIMIT $2)"
        ),
        p![before, limit],
    )
    .await
}

/// Removes receipts from before `before`, oldest first; returns how many.
pub async fn remove_old(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM webhook_receipts WHERE id IN (SELECT id FROM webhook_receipts \
             WHERE received_at < $1 ORDER BY received_at, id LIMIT $2)"
        ),
        p![before, limit],
    )
    .await
}
