//! Challenges: logins of the command line that wait for a person.
//!
//! The key is made together with the challenge and handed out at once; its hash lies here until a person approves, and
//! only then becomes a key (the caller adds it in the same transaction). A challenge is decided once.

use domain::ids::CompanyId;
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// A challenge as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub id: String,
    /// SHA-256 of the secret that its owner shows, as hexadecimal digits.
    pub secret_hash: String,
    pub command: String,
    pub client_name: Option<String>,
    /// `board` or `instance_admin_required`.
    pub requested_access: String,
    pub requested_company_id: Option<CompanyId>,
    pub pending_key_hash: String,
    pub pending_key_name: String,
    pub approved_by_user_id: Option<String>,
    pub board_key_id: Option<String>,
    pub approved_at: Option<Moment>,
    pub cancelled_at: Option<Moment>,
    pub expires_at: Moment,
    pub created_at: Moment,
}
from_row!(Challenge {
    id,
    secret_hash,
    command,
    client_name,
    requested_access,
    requested_company_id,
    pending_key_hash,
    pending_key_name,
    approved_by_user_id,
    board_key_id,
    approved_at,
    cancelled_at,
    expires_at,
    created_at
});

macro_rules! columns {
    () => {
        "id, secret_hash, command, client_name, requested_access, requested_company_id, pending_key_hash, \
         pending_key_name, approved_by_user_id, board_key_id, approved_at, cancelled_at, expires_at, created_at"
    };
}

/// Adds a challenge.
pub async fn insert(tx: &mut Tx<'_>, challenge: &Challenge) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO cli_challenges (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        )),
        p![
            &challenge.id,
            &challenge.secret_hash,
            &challenge.command,
            &challenge.client_name,
            &challenge.requested_access,
            &challenge.requested_company_id,
            &challenge.pending_key_hash,
            &challenge.pending_key_name,
            &challenge.approved_by_user_id,
            &challenge.board_key_id,
            challenge.approved_at,
            challenge.cancelled_at,
            challenge.expires_at,
            challenge.created_at
        ],
    )
    .await
}

/// Returns a challenge to whoever has its secret; `None` also when the secret is another one.
pub async fn with_secret(
    tx: &mut Tx<'_>,
    id: &str,
    secret_hash: &str,
) -> Result<Option<Challenge>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM cli_challenges WHERE id = $1 AND secret_hash = $2")),
        p![id, secret_hash],
    )
    .await
}

/// Approves an open challenge; returns it, with the hash that becomes the key `board_key_id` of this user. `None`: it
/// was approved, cancelled, or has expired.
pub async fn approve(
    tx: &mut Tx<'_>,
    id: &str,
    user: &str,
    board_key_id: &str,
    now: Moment,
) -> Result<Option<Challenge>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "UPDATE cli_challenges SET approved_by_user_id = $2, board_key_id = $3, approved_at = $4 WHERE id = $1 \
             AND approved_at IS NULL AND cancelled_at IS NULL AND expires_at > $4 RETURNING ",
            columns!()
        )),
        p![id, user, board_key_id, now],
    )
    .await
}

/// Cancels an open challenge; false: it was approved, cancelled, or has expired.
pub async fn cancel(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE cli_challenges SET cancelled_at = $2 \
                 WHERE id = $1 AND approved_at IS NULL AND cancelled_at IS NULL AND expires_at > $2"
            ),
            p![id, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Counts the challenges that have not expired: anybody may make one, so their number is to be bounded.
pub async fn count_unexpired(tx: &mut Tx<'_>, now: Moment) -> Result<i64, StoreError> {
    let row = tx.one(sql!("SELECT COUNT(*) FROM cli_challenges WHERE expires_at > $1"), p![now]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Removes challenges that expired before `before`, oldest first; returns how many.
pub async fn remove_expired(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM cli_challenges WHERE id IN (SELECT id FROM cli_challenges WHERE expires_at < $1 \
             ORDER BY expires_at, id LIMIT $2)"
        ),
        p![before, limit],
    )
    .await
}
