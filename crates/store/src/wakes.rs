//! Wakes as stored: every ask, with its fate.

use domain::ids::{AgentId, CompanyId, RunId, WakeId};
use domain::moment::Moment;
use domain::wake::{ActorKind, Source, TriggerDetail, WakeStatus};
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A wake as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Wake {
    pub id: WakeId,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub source: Source,
    pub trigger_detail: Option<TriggerDetail>,
    pub reason: Option<String>,
    pub payload: Json,
    pub status: WakeStatus,
    pub coalesced_count: i64,
    pub actor_kind: ActorKind,
    pub actor_id: Option<String>,
    pub idempotency_key: Option<String>,
    pub body_hash: Option<String>,
    pub run_id: Option<RunId>,
    pub requested_at: Moment,
    pub claimed_at: Option<Moment>,
    pub finished_at: Option<Moment>,
    pub error: Option<String>,
}
from_row!(Wake {
    id,
    company_id,
    agent_id,
    source,
    trigger_detail,
    reason,
    payload,
    status,
    coalesced_count,
    actor_kind,
    actor_id,
    idempotency_key,
    body_hash,
    run_id,
    requested_at,
    claimed_at,
    finished_at,
    error
});

macro_rules! columns {
    () => {
        "id, company_id, agent_id, source, trigger_detail, reason, payload, status, coalesced_count, actor_kind, \
         actor_id, idempotency_key, body_hash, run_id, requested_at, claimed_at, finished_at, error"
    };
}

/// Adds a wake. The caller has looked its idempotency key up in the same transaction, with the agent locked.
pub async fn insert(tx: &mut Tx<'_>, wake: &Wake) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO wakes (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
             $15, $16, $17, $18)"
        )),
        p![
            &wake.id,
            &wake.company_id,
            &wake.agent_id,
            wake.source,
            wake.trigger_detail,
            &wake.reason,
            &wake.payload,
            wake.status,
            wake.coalesced_count,
            wake.actor_kind,
            &wake.actor_id,
            &wake.idempotency_key,
            &wake.body_hash,
            &wake.run_id,
            wake.requested_at,
            wake.claimed_at,
            wake.finished_at,
            &wake.error
        ],
    )
    .await
}

/// Returns one wake.
pub async fn get(tx: &mut Tx<'_>, id: &WakeId) -> Result<Option<Wake>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM wakes WHERE id = $1")), p![id]).await
}

/// Returns the wake that used an idempotency key.
pub async fn with_key(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
    key: &str,
) -> Result<Option<Wake>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE company_id = $1 AND agent_id = $2 AND idempotency_key = $3"
        )),
        p![company, agent, key],
    )
    .await
}

/// Returns the wakes delivered by, or merged into, a run, oldest first.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId, limit: i64) -> Result<Vec<Wake>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE run_id = $1 ORDER BY requested_at, id LIMIT $2"
        )),
        p![run, limit],
    )
    .await
}

/// Returns the wakes of an agent, newest first, before the given place.
pub async fn of_agent(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    before: Option<(Moment, WakeId)>,
    limit: i64,
) -> Result<Vec<Wake>, StoreError> {
    let (at, id) = before.map_or((Moment::from_micros(i64::MAX), "~".to_owned()), |(at, id)| (at, id.0));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE agent_id = $1 AND (requested_at, id) < ($2, $3) \
             ORDER BY requested_at DESC, id DESC LIMIT $4"
        )),
        p![agent, at, id, limit],
    )
    .await
}

/// Marks the wake of a run as claimed.
pub async fn mark_claimed(tx: &mut Tx<'_>, run: &RunId, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE wakes SET status = 'claimed', claimed_at = $2 WHERE run_id = $1 AND status = 'queued'"),
        p![run, now],
    )
    .await
}

/// Ends the open wakes of a run the way the run ended.
pub async fn finish(
    tx: &mut Tx<'_>,
    run: &RunId,
    status: WakeStatus,
    error: Option<&str>,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE wakes SET status = $2, error = $3, finished_at = $4 \
             WHERE run_id = $1 AND status IN ('queued', 'claimed')"
        ),
        p![run, status, error, now],
    )
    .await
}

/// Removes wakes that started nothing and ended before `before`; keys younger than `keys_before` are kept.
pub async fn remove_idle(
    tx: &mut Tx<'_>,
    before: Moment,
    keys_before: Moment,
    limit: i64,
) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM wakes WHERE id IN (SELECT id FROM wakes WHERE finished_at IS NOT NULL AND finished_at < $1 \
             AND status IN ('skipped', 'coalesced') AND (idempotency_key IS NULL OR finished_at < $2) LIMIT $3)"
        ),
        p![before, keys_before, limit],
    )
    .await
}
