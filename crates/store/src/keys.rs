//! Keys of agents and of people, found by the SHA-256 of their text. The text itself is never stored.
//!
//! A revoked or expired key is not found at all. When a key was last used is kept to the minute.

use std::time::Duration;

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// How often the use of a key is noted: so that reading requests do not become writes.
pub const STAMP_EVERY: Duration = Duration::from_secs(60);

/// The key of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    pub id: String,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub name: String,
    /// 64 hexadecimal digits.
    pub key_hash: String,
    pub last_used_at: Option<Moment>,
    pub revoked_at: Option<Moment>,
    pub created_at: Moment,
}
from_row!(AgentKey { id, company_id, agent_id, name, key_hash, last_used_at, revoked_at, created_at });

/// The key of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardKey {
    pub id: String,
    pub user_id: String,
    pub name: String,
    /// 64 hexadecimal digits.
    pub key_hash: String,
    pub last_used_at: Option<Moment>,
    pub revoked_at: Option<Moment>,
    pub expires_at: Option<Moment>,
    pub created_at: Moment,
}
from_row!(BoardKey { id, user_id, name, key_hash, last_used_at, revoked_at, expires_at, created_at });

impl AgentKey {
    /// Whether this use is to be noted with [`stamp_agent_key`].
    pub fn wants_stamp(&self, now: Moment) -> bool {
        wants_stamp(self.last_used_at, now)
    }
}

impl BoardKey {
    /// Whether this use is to be noted with [`stamp_board_key`].
    pub fn wants_stamp(&self, now: Moment) -> bool {
        wants_stamp(self.last_used_at, now)
    }
}

fn wants_stamp(last: Option<Moment>, now: Moment) -> bool {
    last.is_none_or(|last| now.since(last) >= STAMP_EVERY)
}

macro_rules! agent_columns {
    () => {
        "id, company_id, agent_id, name, key_hash, last_used_at, revoked_at, created_at"
    };
}
macro_rules! board_columns {
    () => {
        "id, user_id, name, key_hash, last_used_at, revoked_at, expires_at, created_at"
    };
}

/// Adds the key of an agent.
pub async fn insert_agent_key(tx: &mut Tx<'_>, key: &AgentKey) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO agent_keys (",
            agent_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        )),
        p![
            &key.id,
            &key.company_id,
            &key.agent_id,
            &key.name,
            &key.key_hash,
            key.last_used_at,
            key.revoked_at,
            key.created_at
        ],
    )
    .await
}

/// Returns the agent's key with this hash, unless it was revoked.
pub async fn agent_key(tx: &mut Tx<'_>, hash: &str) -> Result<Option<AgentKey>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            agent_columns!(),
            " FROM agent_keys WHERE key_hash = $1 AND revoked_at IS NULL"
        )),
        p![hash],
    )
    .await
}

/// Returns the keys of an agent, newest first, before the given place; revoked ones too.
pub async fn agent_keys(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<AgentKey>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            agent_columns!(),
            " FROM agent_keys WHERE agent_id = $1 AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![agent, at, id, limit],
    )
    .await
}

/// Revokes a key of this agent; false: there is none, or it was revoked before.
pub async fn revoke_agent_key(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    id: &str,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE agent_keys SET revoked_at = $3 WHERE id = $1 AND agent_id = $2 AND revoked_at IS NULL"
            ),
            p![id, agent, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Revokes all keys of an agent; returns how many were good until now.
pub async fn revoke_all_of_agent(tx: &mut Tx<'_>, agent: &AgentId, now: Moment) -> Result<u64, StoreError> {
    tx.exec(
        sql!("UPDATE agent_keys SET revoked_at = $2 WHERE agent_id = $1 AND revoked_at IS NULL"),
        p![agent, now],
    )
    .await
}

/// Notes that an agent's key was used; false: it was noted less than [`STAMP_EVERY`] ago.
pub async fn stamp_agent_key(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE agent_keys SET last_used_at = $2 \
                 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)"
            ),
            p![id, now, now.minus(STAMP_EVERY)],
        )
        .await?;
    Ok(changed == 1)
}

/// Adds the key of a person.
pub async fn insert_board_key(tx: &mut Tx<'_>, key: &BoardKey) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO board_keys (",
            board_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        )),
        p![
            &key.id,
            &key.user_id,
            &key.name,
            &key.key_hash,
            key.last_used_at,
            key.revoked_at,
            key.expires_at,
            key.created_at
        ],
    )
    .await
}

/// Returns the person's key with this hash, unless it was revoked or has expired.
pub async fn board_key(tx: &mut Tx<'_>, hash: &str, now: Moment) -> Result<Option<BoardKey>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            board_columns!(),
            " FROM board_keys WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)"
        )),
        p![hash, now],
    )
    .await
}

/// Returns the keys of a person, newest first, before the given place; revoked and expired ones too.
pub async fn board_keys(
    tx: &mut Tx<'_>,
    user: &str,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<BoardKey>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            board_columns!(),
            " FROM board_keys WHERE user_id = $1 AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![user, at, id, limit],
    )
    .await
}

/// Revokes a key of this person; false: there is none, or it was revoked before.
pub async fn revoke_board_key(
    tx: &mut Tx<'_>,
    user: &str,
    id: &str,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE board_keys SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL"
            ),
            p![id, user, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Notes that a person's key was used; false: it was noted less than [`STAMP_EVERY`] ago.
pub async fn stamp_board_key(tx: &mut Tx<'_>, id: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE board_keys SET last_used_at = $2 \
                 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)"
            ),
            p![id, now, now.minus(STAMP_EVERY)],
        )
        .await?;
    Ok(changed == 1)
}
