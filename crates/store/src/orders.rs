//! The outbox of wakes: what a change ordered in its own transaction, until it is delivered.
//!
//! An order stands from the commit of the change on, so no crash loses it, and is removed in the transaction that
//! delivers it, so none is delivered twice. There is one open order for an agent, an issue, a reason and an actor; a
//! later one is merged into it by the caller ([`twin`], [`replace`]). The actor counts because what an order may pass
//! depends on who asked. Whoever touches an order of an issue has locked that issue before; an order without an issue,
//! its agent. The deliverer reads without a lock ([`due`]), locks agent and issue, and takes the order with [`take`].

use domain::ids::{AgentId, CompanyId, IssueId, WakeId};
use domain::moment::Moment;
use domain::wake::{ActorKind, Source, TriggerDetail};
use serde_json::Value as Json;

use crate::value::Value;
use crate::{StoreError, Tx, from_row, p, sql, sql_list};

/// An order as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub id: i64,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub issue_id: Option<IssueId>,
    /// A deferred wake that is to be promoted.
    pub wake_id: Option<WakeId>,
    pub source: Source,
    pub trigger_detail: Option<TriggerDetail>,
    pub reason: String,
    pub payload: Json,
    pub context: Json,
    pub actor_kind: ActorKind,
    /// Empty: nobody in particular.
    pub actor_id: String,
    pub idempotency_key: Option<String>,
    pub attempts: i64,
    pub last_error: Option<String>,
    pub deliver_at: Moment,
    pub created_at: Moment,
}
from_row!(Order {
    id,
    company_id,
    agent_id,
    issue_id,
    wake_id,
    source,
    trigger_detail,
    reason,
    payload,
    context,
    actor_kind,
    actor_id,
    idempotency_key,
    attempts,
    last_error,
    deliver_at,
    created_at
});

macro_rules! columns {
    () => {
        "id, company_id, agent_id, issue_id, wake_id, source, trigger_detail, reason, payload, context, \
         actor_kind, actor_id, idempotency_key, attempts, last_error, deliver_at, created_at"
    };
}

/// An order to be placed.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOrder {
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub issue_id: Option<IssueId>,
    pub wake_id: Option<WakeId>,
    pub source: Source,
    pub trigger_detail: Option<TriggerDetail>,
    pub reason: String,
    pub payload: Json,
    pub context: Json,
    pub actor_kind: ActorKind,
    /// Empty: nobody in particular.
    pub actor_id: String,
    pub idempotency_key: Option<String>,
}

/// Places an order; returns its number. `None`: an open one stands for the same, or for the same deferred wake, and
/// nothing was placed.
pub async fn place(tx: &mut Tx<'_>, order: &NewOrder, now: Moment) -> Result<Option<i64>, StoreError> {
    let row = tx
        .one(
            sql!(
                "INSERT INTO wake_orders (company_id, agent_id, issue_id, wake_id, source, trigger_detail, reason, \
                 payload, context, actor_kind, actor_id, idempotency_key, deliver_at, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) \
                 ON CONFLICT DO NOTHING RETURNING id"
            ),
            p![
                &order.company_id, &order.agent_id, &order.issue_id, &order.wake_id, order.source,
                order.trigger_detail, &order.reason, &order.payload, &order.context, order.actor_kind,
                &order.actor_id, &order.idempotency_key, now
            ],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Returns the open order that stands for the same as this one.
pub async fn twin(tx: &mut Tx<'_>, order: &NewOrder) -> Result<Option<Order>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wake_orders WHERE agent_id = $1 AND issue_id = $2 AND reason = $3 AND actor_kind = $4 \
             AND actor_id = $5 AND issue_id IS NOT NULL AND wake_id IS NULL"
        )),
        p![&order.agent_id, &order.issue_id, &order.reason, order.actor_kind, &order.actor_id],
    )
    .await
}

/// Writes what became of an order when a later one was merged into it. It keeps its place.
pub async fn replace(tx: &mut Tx<'_>, id: i64, payload: &Json, context: &Json) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE wake_orders SET payload = $2, context = $3 WHERE id = $1"), p![id, payload, context])
        .await
}

/// Returns orders that are due, the oldest first.
pub async fn due(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<Order>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wake_orders WHERE deliver_at <= $1 ORDER BY deliver_at, id LIMIT $2"
        )),
        p![now, limit],
    )
    .await
}

/// Returns when the next order is due.
pub async fn next_due(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row =
        tx.one(sql!("SELECT deliver_at FROM wake_orders ORDER BY deliver_at, id LIMIT 1"), p![]).await?;
    row.map(|row| row.get(0)).transpose()
}

/// Takes an order out of the box for delivery in this transaction, as it stands now. `None`: somebody else has
/// delivered it.
pub async fn take(tx: &mut Tx<'_>, id: i64) -> Result<Option<Order>, StoreError> {
    tx.one_as(sql!(concat!("DELETE FROM wake_orders WHERE id = $1 RETURNING ", columns!())), p![id]).await
}

/// Puts off an order that could not be delivered, and says why.
pub async fn put_off(tx: &mut Tx<'_>, id: i64, error: &str, until: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE wake_orders SET attempts = attempts + 1, last_error = $2, deliver_at = $3 WHERE id = $1"
        ),
        p![id, error, until],
    )
    .await
}

/// Returns the open orders of an issue, oldest first.
pub async fn of_issue(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Order>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM wake_orders WHERE issue_id = $1 ORDER BY +deliver_at, id LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// Returns the open orders of an agent, oldest first.
pub async fn of_agent(tx: &mut Tx<'_>, agent: &AgentId, limit: i64) -> Result<Vec<Order>, StoreError> {
    tx.rows_as(
        sql!(concat!("SELECT ", columns!(), " FROM wake_orders WHERE agent_id = $1 ORDER BY id LIMIT $2")),
        p![agent, limit],
    )
    .await
}

/// Returns which of these issues have open orders.
pub async fn waiting_for(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT DISTINCT issue_id FROM wake_orders WHERE issue_id IN ({list}) ORDER BY issue_id"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Counts the orders that are not delivered.
pub async fn count(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let row = tx.one(sql!("SELECT COUNT(*) FROM wake_orders"), p![]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}
