//! Wakes as stored: every ask, with its fate.

use domain::ids::{AgentId, CompanyId, IssueId, RunId, WakeId};
use domain::moment::Moment;
use domain::wake::{ActorKind, Source, TriggerDetail, WakeStatus};
use serde_json::Value as Json;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

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
    pub issue_id: Option<IssueId>,
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
    error,
    issue_id
});

macro_rules! columns {
    () => {
        "id, company_id, agent_id, source, trigger_detail, reason, payload, status, coalesced_count, actor_kind, \
         actor_id, idempotency_key, body_hash, run_id, requested_at, claimed_at, finished_at, error, issue_id"
    };
}

/// Adds a wake. The caller has looked its idempotency key up in the same transaction, with the agent locked.
pub async fn insert(tx: &mut Tx<'_>, wake: &Wake) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO wakes (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
             $15, $16, $17, $18, $19)"
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
            &wake.error,
            &wake.issue_id
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

/// Returns the wake of an agent that is deferred on an issue; there is one at most.
pub async fn deferred(tx: &mut Tx<'_>, agent: &AgentId, issue: &IssueId) -> Result<Option<Wake>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE agent_id = $1 AND issue_id = $2 AND status = 'deferred_issue_execution'"
        )),
        p![agent, issue],
    )
    .await
}

/// Returns the wakes that are deferred on an issue, oldest first.
pub async fn deferred_on(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Wake>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE issue_id = $1 AND status = 'deferred_issue_execution' \
             ORDER BY requested_at, id LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// Returns the wakes of an agent on an issue that were asked for after `since` and started nothing, newest first.
pub async fn without_effect(
    tx: &mut Tx<'_>,
    (issue, agent): (&IssueId, &AgentId),
    since: Moment,
    limit: i64,
) -> Result<Vec<Wake>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE issue_id = $1 AND run_id IS NULL AND status IN ('skipped', 'failed') \
             AND agent_id = $2 AND requested_at > $3 ORDER BY requested_at DESC, id DESC LIMIT $4"
        )),
        p![issue, agent, since, limit],
    )
    .await
}

/// Writes what became of a deferred wake when a later one was merged into it; returns false when it is not deferred any
/// more. Who asked first, why and when stays.
pub async fn merge_deferred(tx: &mut Tx<'_>, id: &WakeId, payload: &Json) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE wakes SET payload = $2, coalesced_count = coalesced_count + 1 \
                 WHERE id = $1 AND status = 'deferred_issue_execution'"
            ),
            p![id, payload],
        )
        .await?;
    Ok(changed == 1)
}

/// Writes what became of a deferred wake that was asked for again: everything but who asked, when and with what.
/// Returns false when it is not deferred any more.
pub async fn settle_deferred(tx: &mut Tx<'_>, wake: &Wake) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE wakes SET status = $2, run_id = $3, reason = $4, error = $5, claimed_at = $6, finished_at = $7 \
                 WHERE id = $1 AND status = 'deferred_issue_execution'"
            ),
            p![&wake.id, wake.status, &wake.run_id, &wake.reason, &wake.error, wake.claimed_at, wake.finished_at],
        )
        .await?;
    Ok(changed == 1)
}

/// Ends a wake that has no run, deferred or queued; returns false when it is neither any more.
pub async fn end_without_run(
    tx: &mut Tx<'_>,
    id: &WakeId,
    status: WakeStatus,
    error: Option<&str>,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE wakes SET status = $2, error = $3, finished_at = $4 WHERE id = $1 AND run_id IS NULL \
                 AND status IN ('queued', 'deferred_issue_execution')"
            ),
            p![id, status, error, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns issues on which wakes are deferred though no live run holds them, by id, after `after`: a promotion that was
/// lost. Only deferred wakes are looked at.
pub async fn deferred_for_nothing(
    tx: &mut Tx<'_>,
    after: &str,
    limit: i64,
) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT DISTINCT w.issue_id FROM wakes w WHERE w.status = 'deferred_issue_execution' \
                 AND w.issue_id > $1 AND NOT EXISTS (SELECT 1 FROM issues i JOIN runs r ON r.id = i.lock_run_id \
                   WHERE i.id = w.issue_id AND r.status = 'running' AND r.lease_epoch = i.lock_epoch) \
                 ORDER BY w.issue_id LIMIT $2"
            ),
            p![after, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns which of these issues have deferred wakes, with the agents.
pub async fn deferred_on_some(
    tx: &mut Tx<'_>,
    issues: &[IssueId],
) -> Result<Vec<(IssueId, AgentId)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT issue_id, agent_id FROM wakes WHERE status = 'deferred_issue_execution' \
                 AND issue_id IN ({list}) ORDER BY issue_id, requested_at, id"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the deferred wakes of an agent, oldest first.
pub async fn deferred_of_agent(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    limit: i64,
) -> Result<Vec<Wake>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE agent_id = $1 AND issue_id IS NOT NULL AND status = 'deferred_issue_execution' \
             ORDER BY +requested_at, id LIMIT $2"
        )),
        p![agent, limit],
    )
    .await
}

/// A wake that an agent caused, as far as circles of wakes go.
#[derive(Debug, Clone, PartialEq)]
pub struct Caused {
    pub from: AgentId,
    pub to: AgentId,
    pub issue_id: Option<IssueId>,
    pub reason: Option<String>,
    pub requested_at: Moment,
}
from_row!(Caused { from, to, issue_id, reason, requested_at });

/// Counts the wakes that one agent caused after `since`, up to `limit`.
pub async fn count_caused_by(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
    since: Moment,
    limit: i64,
) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT COUNT(*) FROM (SELECT 1 AS one FROM wakes WHERE company_id = $1 AND actor_id = $2 \
                 AND requested_at > $3 AND actor_kind = 'agent' LIMIT $4) AS caused"
            ),
            p![company, agent, since, limit],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Returns the newest wakes that agents caused after `since` and that reached somebody, newest first. One that is held
/// for `held` reached nobody.
pub async fn caused_by_agents(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    since: Moment,
    held: &str,
    limit: i64,
) -> Result<Vec<Caused>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT actor_id, agent_id, issue_id, reason, requested_at FROM wakes WHERE company_id = $1 \
             AND requested_at > $2 AND actor_kind = 'agent' \
             AND (run_id IS NOT NULL OR (status = 'deferred_issue_execution' AND reason <> $3)) \
             ORDER BY requested_at DESC, id DESC LIMIT $4"
        ),
        p![company, since, held, limit],
    )
    .await
}

/// Returns wakes that are held because agents woke each other in a circle, oldest first.
pub async fn held_in_circles(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<Wake>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wakes WHERE status = 'deferred_issue_execution' AND reason = 'wake_loop' \
             ORDER BY requested_at, id LIMIT $1"
        )),
        p![limit],
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
             AND (status IN ('skipped', 'coalesced') OR (run_id IS NULL AND status IN ('failed', 'cancelled'))) \
             AND (idempotency_key IS NULL OR finished_at < $2) LIMIT $3)"
        ),
        p![before, keys_before, limit],
    )
    .await
}
