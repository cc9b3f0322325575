//! What endpoints sign with and triggers check with, sealed. Nothing here can open one.

use domain::ids::CompanyId;
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// One version of the secret of an endpoint or a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    pub owner_id: String,
    pub version: i64,
    pub company_id: CompanyId,
    pub key_id: String,
    /// JSON text.
    pub material: String,
    /// `None`: it is the latest one.
    pub expires_at: Option<Moment>,
    pub created_at: Moment,
}
from_row!(SealedSecret { owner_id, version, company_id, key_id, material, expires_at, created_at });

/// Adds a version.
pub async fn insert(tx: &mut Tx<'_>, secret: &SealedSecret) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO webhook_secrets (owner_id, version, company_id, key_id, material, expires_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)"
        ),
        p![
            &secret.owner_id,
            secret.version,
            &secret.company_id,
            &secret.key_id,
            &secret.material,
            secret.expires_at,
            secret.created_at
        ],
    )
    .await
}

/// Lets the versions of an owner run out at `at`, unless they do before; removes those that have.
pub async fn expire(tx: &mut Tx<'_>, owner: &str, at: Moment, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "DELETE FROM webhook_secrets WHERE owner_id = $1 AND expires_at IS NOT NULL AND expires_at <= $2"
        ),
        p![owner, now],
    )
    .await?;
    tx.run(
        sql!(
            "UPDATE webhook_secrets SET expires_at = $2 WHERE owner_id = $1 \
             AND (expires_at IS NULL OR expires_at > $2)"
        ),
        p![owner, at],
    )
    .await
}

/// Returns the versions of an owner that are good at `now`, newest first.
pub async fn good(
    tx: &mut Tx<'_>,
    owner: &str,
    now: Moment,
    limit: i64,
) -> Result<Vec<SealedSecret>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT owner_id, version, company_id, key_id, material, expires_at, created_at FROM webhook_secrets \
             WHERE owner_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY version DESC LIMIT $3"
        ),
        p![owner, now, limit],
    )
    .await
}

/// Returns the versions of all owners of a company, at most `limit`.
pub async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<SealedSecret>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT owner_id, version, company_id, key_id, material, expires_at, created_at FROM webhook_secrets \
             WHERE company_id = $1 LIMIT $2"
        ),
        p![company, limit],
    )
    .await
}
