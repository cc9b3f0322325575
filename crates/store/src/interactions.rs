//! Interactions: cards in the thread of an issue that wait for an answer.
//!
//! Under one idempotency key an issue has one interaction. An answer is a guarded move out of `pending`.

use domain::ids::{AgentId, CommentId, CompanyId, IssueId, RunId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{StoreError, Tx, from_row, p, sql, sql_list};

/// An interaction as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Interaction {
    pub id: String,
    pub company_id: CompanyId,
    pub issue_id: IssueId,
    pub kind: String,
    pub status: String,
    pub continuation_policy: String,
    pub idempotency_key: Option<String>,
    pub source_comment_id: Option<CommentId>,
    pub source_run_id: Option<RunId>,
    pub title: Option<String>,
    pub summary: Option<String>,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub resolved_by_agent_id: Option<AgentId>,
    pub resolved_by_user_id: Option<String>,
    pub payload: Json,
    pub result: Option<Json>,
    pub resolved_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Interaction {
    id,
    company_id,
    issue_id,
    kind,
    status,
    continuation_policy,
    idempotency_key,
    source_comment_id,
    source_run_id,
    title,
    summary,
    created_by_agent_id,
    created_by_user_id,
    resolved_by_agent_id,
    resolved_by_user_id,
    payload,
    result,
    resolved_at,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, issue_id, kind, status, continuation_policy, idempotency_key, source_comment_id, \
         source_run_id, title, summary, created_by_agent_id, created_by_user_id, resolved_by_agent_id, \
         resolved_by_user_id, payload, result, resolved_at, created_at, updated_at"
    };
}

/// Adds an interaction; returns false, and adds nothing, when its issue has one with its key.
pub async fn insert(tx: &mut Tx<'_>, interaction: &Interaction) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO issue_thread_interactions (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
                 $20) ON CONFLICT (issue_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
            )),
            p![
                &interaction.id,
                &interaction.company_id,
                &interaction.issue_id,
                &interaction.kind,
                &interaction.status,
                &interaction.continuation_policy,
                &interaction.idempotency_key,
                &interaction.source_comment_id,
                &interaction.source_run_id,
                &interaction.title,
                &interaction.summary,
                &interaction.created_by_agent_id,
                &interaction.created_by_user_id,
                &interaction.resolved_by_agent_id,
                &interaction.resolved_by_user_id,
                &interaction.payload,
                &interaction.result,
                interaction.resolved_at,
                interaction.created_at,
                interaction.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one interaction.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Interaction>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM issue_thread_interactions WHERE id = $1")), p![id])
        .await
}

/// Returns the interaction of an issue that used an idempotency key.
pub async fn with_key(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    key: &str,
) -> Result<Option<Interaction>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM issue_thread_interactions WHERE issue_id = $1 AND idempotency_key = $2"
        )),
        p![issue, key],
    )
    .await
}

/// Returns the interactions of an issue, oldest first, after the given place.
pub async fn list(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    after: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Interaction>, StoreError> {
    let (at, id) = after.unwrap_or((Moment::from_micros(i64::MIN), String::new()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM issue_thread_interactions WHERE issue_id = $1 AND (created_at, id) > ($2, $3) \
             ORDER BY created_at, id LIMIT $4"
        )),
        p![issue, at, id, limit],
    )
    .await
}

/// Returns the interactions of an issue that wait for an answer, oldest first.
pub async fn pending(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Interaction>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM issue_thread_interactions WHERE issue_id = $1 AND status = 'pending' \
             ORDER BY created_at, id LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// Returns those of these issues on which somebody is asked, in no order.
pub async fn waiting_on(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT DISTINCT issue_id FROM issue_thread_interactions \
                 WHERE status = 'pending' AND issue_id IN ({list})"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns the interactions of a company that wait for an answer, newest first; those on issues that are over or hidden
/// need nobody.
pub async fn waiting(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<Interaction>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM issue_thread_interactions WHERE company_id = $1 AND status = 'pending' \
             AND EXISTS (SELECT 1 FROM issues i WHERE i.id = issue_id AND i.hidden_at IS NULL \
                         AND i.status NOT IN ('done', 'cancelled')) \
             ORDER BY created_at DESC, id DESC LIMIT $2"
        )),
        p![company, limit],
    )
    .await
}

/// Returns the same ones oldest first, behind a place.
pub async fn waiting_after(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: (Moment, &str),
    limit: i64,
) -> Result<Vec<Interaction>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM issue_thread_interactions WHERE company_id = $1 AND status = 'pending' \
             AND (created_at, id) > ($2, $3) \
             AND EXISTS (SELECT 1 FROM issues i WHERE i.id = issue_id AND i.hidden_at IS NULL \
                         AND i.status NOT IN ('done', 'cancelled')) \
             ORDER BY created_at, id LIMIT $4"
        )),
        p![company, after.0, after.1, limit],
    )
    .await
}

/// Counts what [`waiting`] returns.
pub async fn count_waiting(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT COUNT(*) FROM issue_thread_interactions WHERE company_id = $1 AND status = 'pending' \
                 AND EXISTS (SELECT 1 FROM issues i WHERE i.id = issue_id AND i.hidden_at IS NULL \
                             AND i.status NOT IN ('done', 'cancelled'))"
            ),
            p![company],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// How an interaction ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// `accepted`, `rejected`, `answered`, `expired` or `failed`.
    pub status: String,
    pub result: Option<Json>,
    pub by_agent: Option<AgentId>,
    pub by_user: Option<String>,
}

/// Ends a pending interaction; `None`: it has been resolved already.
pub async fn resolve(
    tx: &mut Tx<'_>,
    id: &str,
    answer: &Answer,
    now: Moment,
) -> Result<Option<Interaction>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "UPDATE issue_thread_interactions SET status = $2, result = $3, resolved_by_agent_id = $4, \
             resolved_by_user_id = $5, resolved_at = $6, updated_at = $6 \
             WHERE id = $1 AND status = 'pending' RETURNING ",
            columns!()
        )),
        p![id, &answer.status, &answer.result, &answer.by_agent, &answer.by_user, now],
    )
    .await
}
