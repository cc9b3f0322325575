//! Gates: what people are asked by runs, and what they said.

use domain::automation::definition::Decision;
use domain::automation::gate::GateStatus;
use domain::ids::{AutomationRunId, CompanyId, GateId};
use domain::moment::Moment;
use domain::wake::ActorKind;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A gate as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct GateRow {
    pub id: GateId,
    pub company_id: CompanyId,
    pub run_id: AutomationRunId,
    pub node_id: String,
    pub status: GateStatus,
    pub title: String,
    pub instructions: Option<String>,
    /// Exactly what people are shown.
    pub shown: Json,
    /// Of the gate and what is shown; a decision names it.
    pub hash: String,
    /// A list of words.
    pub decisions: Json,
    /// A list of node ids.
    pub rework_targets: Json,
    /// A list of user ids; empty = whoever may decide approvals.
    pub approvers: Json,
    pub self_approval: bool,
    /// The user who started the run.
    pub started_by: Option<String>,
    pub expiry: Option<Json>,
    pub asked_at: Moment,
    pub expires_at: Option<Moment>,
    /// When its time does something to it next.
    pub next_at: Option<Moment>,
    pub reminded_at: Option<Moment>,
    pub reminders: i64,
    pub reminded_late: bool,
    pub escalated_at: Option<Moment>,
    pub escalated_to: Option<String>,
    pub stale_at: Option<Moment>,
    pub decision: Option<Decision>,
    pub reason: Option<String>,
    pub targets: Option<Json>,
    pub decided_at: Option<Moment>,
    pub decided_by_kind: Option<ActorKind>,
    pub decided_by: Option<String>,
}
from_row!(GateRow {
    id,
    company_id,
    run_id,
    node_id,
    status,
    title,
    instructions,
    shown,
    hash,
    decisions,
    rework_targets,
    approvers,
    self_approval,
    started_by,
    expiry,
    asked_at,
    expires_at,
    next_at,
    reminded_at,
    reminders,
    reminded_late,
    escalated_at,
    escalated_to,
    stale_at,
    decision,
    reason,
    targets,
    decided_at,
    decided_by_kind,
    decided_by
});

macro_rules! columns {
    () => {
        "id, company_id, run_id, node_id, status, title, instructions, shown, hash, decisions, rework_targets, approvers, self_approval, started_by, expiry, asked_at, expires_at, next_at, reminded_at, reminders, reminded_late, escalated_at, escalated_to, stale_at, decision, reason, targets, decided_at, decided_by_kind, decided_by"
    };
}

/// Adds a gate.
pub async fn insert(tx: &mut Tx<'_>, gate: &GateRow) -> Result<(), StoreError> {
    tx.run(sql!(concat!("INSERT INTO automation_gates (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)")), p![&gate.id, &gate.company_id, &gate.run_id, &gate.node_id, gate.status, &gate.title, &gate.instructions, &gate.shown, &gate.hash, &gate.decisions, &gate.rework_targets, &gate.approvers, gate.self_approval, &gate.started_by, &gate.expiry, gate.asked_at, gate.expires_at, gate.next_at, gate.reminded_at, gate.reminders, gate.reminded_late, gate.escalated_at, &gate.escalated_to, gate.stale_at, gate.decision, &gate.reason, &gate.targets, gate.decided_at, gate.decided_by_kind, &gate.decided_by]).await
}

/// Writes what becomes of a gate; its run is locked.
pub async fn update(tx: &mut Tx<'_>, gate: &GateRow) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE automation_gates SET status = $2, next_at = $3, reminded_at = $4, reminders = $5, reminded_late = $6, escalated_at = $7, escalated_to = $8, stale_at = $9, decision = $10, reason = $11, targets = $12, decided_at = $13, decided_by_kind = $14, decided_by = $15 WHERE id = $1"), p![&gate.id, gate.status, gate.next_at, gate.reminded_at, gate.reminders, gate.reminded_late, gate.escalated_at, &gate.escalated_to, gate.stale_at, gate.decision, &gate.reason, &gate.targets, gate.decided_at, gate.decided_by_kind, &gate.decided_by]).await
}

/// Writes what is shown anew, with its digest: it has changed since it was asked.
pub async fn show_anew(tx: &mut Tx<'_>, gate: &GateRow) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE automation_gates SET shown = $2, hash = $3 WHERE id = $1 AND status = 'pending'"),
        p![&gate.id, &gate.shown, &gate.hash],
    )
    .await
}

/// Returns a gate.
pub async fn get(tx: &mut Tx<'_>, id: &GateId) -> Result<Option<GateRow>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM automation_gates WHERE id = $1")), p![id]).await
}

/// Returns the gates of a run, oldest first.
pub async fn of_run(tx: &mut Tx<'_>, run: &AutomationRunId, limit: i64) -> Result<Vec<GateRow>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automation_gates WHERE run_id = $1 ORDER BY asked_at, id LIMIT $2"
        )),
        p![run, limit],
    )
    .await
}

/// Returns the gates of a company that wait, oldest first, behind a place.
pub async fn pending(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: (Moment, &str),
    limit: i64,
) -> Result<Vec<GateRow>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automation_gates WHERE company_id = $1 AND status = 'pending' \
             AND (asked_at, id) > ($2, $3) ORDER BY asked_at, id LIMIT $4"
        )),
        p![company, after.0, after.1, limit],
    )
    .await
}

/// Counts the gates of all companies that wait.
pub async fn count_all_pending(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let row = tx.one(sql!("SELECT COUNT(*) FROM automation_gates WHERE status = 'pending'"), p![]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Counts the gates of a company that wait.
pub async fn count_pending(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!("SELECT COUNT(*) FROM automation_gates WHERE company_id = $1 AND status = 'pending'"),
            p![company],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Returns gates to which their time does something now.
pub async fn due(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<GateRow>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automation_gates WHERE status = 'pending' AND next_at <= $1 ORDER BY next_at, id LIMIT $2"
        )),
        p![now, limit],
    )
    .await
}

/// Returns when time does something to a gate next.
pub async fn next_due(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT next_at FROM automation_gates WHERE status = 'pending' AND next_at IS NOT NULL \
                 ORDER BY next_at, id LIMIT 1"
            ),
            p![],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}
