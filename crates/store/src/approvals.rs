//! Approvals: what somebody asked a person to decide, the talk about it, and the issues it concerns.
//!
//! A decision is a guarded move: of two at once the first stands, and the second learns that it came late. What a
//! decision sets off is not done here.

use domain::ids::{AgentId, CompanyId, IssueId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{StoreError, Tx, from_row, p, sql, sql_list};

/// An approval as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    pub id: String,
    pub company_id: CompanyId,
    pub kind: String,
    pub requested_by_agent_id: Option<AgentId>,
    pub requested_by_user_id: Option<String>,
    pub status: String,
    pub payload: Json,
    pub decision_note: Option<String>,
    pub decided_by_user_id: Option<String>,
    pub decided_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Approval {
    id,
    company_id,
    kind,
    requested_by_agent_id,
    requested_by_user_id,
    status,
    payload,
    decision_note,
    decided_by_user_id,
    decided_at,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, type, requested_by_agent_id, requested_by_user_id, status, payload, decision_note, \
         decided_by_user_id, decided_at, created_at, updated_at"
    };
}

/// Adds an approval.
pub async fn insert(tx: &mut Tx<'_>, approval: &Approval) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO approvals (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        )),
        p![
            &approval.id,
            &approval.company_id,
            &approval.kind,
            &approval.requested_by_agent_id,
            &approval.requested_by_user_id,
            &approval.status,
            &approval.payload,
            &approval.decision_note,
            &approval.decided_by_user_id,
            approval.decided_at,
            approval.created_at,
            approval.updated_at
        ],
    )
    .await
}

/// Adds an approval whose id says what it is about; false: it was added before.
pub async fn insert_once(tx: &mut Tx<'_>, approval: &Approval) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO approvals (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING"
            )),
            p![
                &approval.id,
                &approval.company_id,
                &approval.kind,
                &approval.requested_by_agent_id,
                &approval.requested_by_user_id,
                &approval.status,
                &approval.payload,
                &approval.decision_note,
                &approval.decided_by_user_id,
                approval.decided_at,
                approval.created_at,
                approval.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one approval.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Approval>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM approvals WHERE id = $1")), p![id]).await
}

/// Returns one approval and locks it until the transaction ends.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<Approval>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM approvals WHERE id = $1 /*+for_update*/")), p![id])
        .await
}

/// Returns the approvals of a company, newest first, before the given place; with a status, only those.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    status: Option<&str>,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Approval>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    let Some(status) = status else {
        return tx
            .rows_as(
                sql!(concat!(
                    "SELECT ",
                    columns!(),
                    " FROM approvals WHERE company_id = $1 AND (created_at, id) < ($2, $3) \
                     ORDER BY created_at DESC, id DESC LIMIT $4"
                )),
                p![company, at, id, limit],
            )
            .await;
    };
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM approvals WHERE company_id = $1 AND status = $2 AND (created_at, id) < ($3, $4) \
             ORDER BY created_at DESC, id DESC LIMIT $5"
        )),
        p![company, status, at, id, limit],
    )
    .await
}

/// Returns what an agent asked for since then, oldest first.
pub async fn of_agent_since(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
    since: Moment,
    limit: i64,
) -> Result<Vec<Approval>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM approvals WHERE company_id = $1 AND created_at >= $2 AND requested_by_agent_id = $3 \
             ORDER BY created_at, id LIMIT $4"
        )),
        p![company, since, agent, limit],
    )
    .await
}

/// Counts the approvals of a company that wait for a decision.
pub async fn count_pending(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    let row = tx
        .one(sql!("SELECT COUNT(*) FROM approvals WHERE company_id = $1 AND status = 'pending'"), p![company])
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Returns the approvals of a company that wait for a person, oldest first, behind a place.
pub async fn waiting(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: (Moment, &str),
    limit: i64,
) -> Result<Vec<Approval>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM approvals WHERE company_id = $1 AND status = 'pending' AND (created_at, id) > ($2, $3) \
             ORDER BY created_at, id LIMIT $4"
        )),
        p![company, after.0, after.1, limit],
    )
    .await
}

/// What a person, or a rule, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `approved`, `rejected` or `cancelled`.
    pub status: String,
    pub note: Option<String>,
    pub by_user: Option<String>,
}

/// Decides an approval that is pending or was sent back; `None`: it is decided already.
pub async fn decide(
    tx: &mut Tx<'_>,
    id: &str,
    verdict: &Verdict,
    now: Moment,
) -> Result<Option<Approval>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "UPDATE approvals SET status = $2, decision_note = $3, decided_by_user_id = $4, decided_at = $5, \
             updated_at = $5 WHERE id = $1 AND status IN ('pending', 'revision_requested') RETURNING ",
            columns!()
        )),
        p![id, &verdict.status, &verdict.note, &verdict.by_user, now],
    )
    .await
}

/// Sends a pending approval back to whoever asked; `None`: it is not pending.
pub async fn request_revision(
    tx: &mut Tx<'_>,
    id: &str,
    note: Option<&str>,
    by_user: Option<&str>,
    now: Moment,
) -> Result<Option<Approval>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "UPDATE approvals SET status = 'revision_requested', decision_note = $2, decided_by_user_id = $3, \
             decided_at = $4, updated_at = $4 WHERE id = $1 AND status = 'pending' RETURNING ",
            columns!()
        )),
        p![id, note, by_user, now],
    )
    .await
}

/// Asks again, with another payload if there is one; the decision is cleared. `None`: nobody had sent it back.
pub async fn resubmit(
    tx: &mut Tx<'_>,
    id: &str,
    payload: Option<&Json>,
    now: Moment,
) -> Result<Option<Approval>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "UPDATE approvals SET status = 'pending', payload = COALESCE($2, payload), decision_note = NULL, \
             decided_by_user_id = NULL, decided_at = NULL, updated_at = $3 \
             WHERE id = $1 AND status = 'revision_requested' RETURNING ",
            columns!()
        )),
        p![id, payload, now],
    )
    .await
}

/// A comment on an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalComment {
    pub id: String,
    pub company_id: CompanyId,
    pub approval_id: String,
    pub author_agent_id: Option<AgentId>,
    pub author_user_id: Option<String>,
    pub body: String,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(ApprovalComment {
    id,
    company_id,
    approval_id,
    author_agent_id,
    author_user_id,
    body,
    created_at,
    updated_at
});

/// Adds a comment.
pub async fn add_comment(tx: &mut Tx<'_>, comment: &ApprovalComment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO approval_comments (id, company_id, approval_id, author_agent_id, author_user_id, body, \
             created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        ),
        p![
            &comment.id,
            &comment.company_id,
            &comment.approval_id,
            &comment.author_agent_id,
            &comment.author_user_id,
            &comment.body,
            comment.created_at,
            comment.updated_at
        ],
    )
    .await
}

/// Returns the comments on an approval, oldest first, after the given place.
pub async fn comments(
    tx: &mut Tx<'_>,
    approval: &str,
    after: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<ApprovalComment>, StoreError> {
    let (at, id) = after.unwrap_or((Moment::from_micros(i64::MIN), String::new()));
    tx.rows_as(
        sql!(
            "SELECT id, company_id, approval_id, author_agent_id, author_user_id, body, created_at, updated_at \
             FROM approval_comments WHERE approval_id = $1 AND (created_at, id) > ($2, $3) \
             ORDER BY created_at, id LIMIT $4"
        ),
        p![approval, at, id, limit],
    )
    .await
}

/// Who linked an issue to an approval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linker {
    pub agent: Option<AgentId>,
    pub user: Option<String>,
}

/// Links an issue to an approval; false: it is linked already.
pub async fn link(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    approval: &str,
    issue: &IssueId,
    by: &Linker,
    now: Moment,
) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(
                "INSERT INTO issue_approvals (approval_id, issue_id, company_id, linked_by_agent_id, linked_by_user_id, \
                 created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (approval_id, issue_id) DO NOTHING"
            ),
            p![approval, issue, company, &by.agent, &by.user, now],
        )
        .await?;
    Ok(added == 1)
}

/// Takes a link away; false: there was none.
pub async fn unlink(tx: &mut Tx<'_>, approval: &str, issue: &IssueId) -> Result<bool, StoreError> {
    let removed = tx
        .exec(
            sql!("DELETE FROM issue_approvals WHERE approval_id = $1 AND issue_id = $2"),
            p![approval, issue],
        )
        .await?;
    Ok(removed == 1)
}

/// Returns the issues of an approval, the newest link first.
pub async fn issues_of(tx: &mut Tx<'_>, approval: &str, limit: i64) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT issue_id FROM issue_approvals WHERE approval_id = $1 \
                 ORDER BY created_at DESC, issue_id LIMIT $2"
            ),
            p![approval, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns those of these issues that an approval keeps waiting, in no order.
pub async fn waiting_on(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT DISTINCT l.issue_id FROM issue_approvals l JOIN approvals a ON a.id = l.approval_id \
                 WHERE a.status IN ('pending', 'revision_requested') AND l.issue_id IN ({list})"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns the approvals of an issue, the newest link first.
pub async fn of_issue(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Approval>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT a.id, a.company_id, a.type, a.requested_by_agent_id, a.requested_by_user_id, a.status, a.payload, \
             a.decision_note, a.decided_by_user_id, a.decided_at, a.created_at, a.updated_at FROM issue_approvals l \
             JOIN approvals a ON a.id = l.approval_id WHERE l.issue_id = $1 \
             ORDER BY l.created_at DESC, l.approval_id LIMIT $2"
        ),
        p![issue, limit],
    )
    .await
}
