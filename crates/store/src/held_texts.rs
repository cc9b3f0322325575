//! Texts of people whom a company does not trust, as stored: until one is released it lies here and nowhere else.
//!
//! The issue of a text is locked whenever one is added or decided, so that a claim, which locks the issue too, sees it
//! or comes before it.

use domain::access::outside::Decision;
use domain::ids::{AgentId, CommentId, CompanyId, IssueId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{StoreError, Tx, from_row, p, sql, sql_list};

/// A text that waits, or waited, to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldText {
    pub id: String,
    pub company_id: CompanyId,
    pub issue_id: IssueId,
    /// `None`: it is the title and the description of the issue.
    pub comment_id: Option<CommentId>,
    pub author_user_id: Option<String>,
    pub author_agent_id: Option<AgentId>,
    pub title: Option<String>,
    pub body: Option<String>,
    pub created_at: Moment,
    /// `None`: it waits.
    pub decision: Option<Decision>,
    pub decided_by: Option<String>,
    pub decided_at: Option<Moment>,
}
from_row!(HeldText {
    id,
    company_id,
    issue_id,
    comment_id,
    author_user_id,
    author_agent_id,
    title,
    body,
    created_at,
    decision,
    decided_by,
    decided_at
});

macro_rules! columns {
    () => {
        "id, company_id, issue_id, comment_id, author_user_id, author_agent_id, title, body, created_at, decision, \
         decided_by, decided_at"
    };
}

/// Adds a text that waits.
pub async fn insert(tx: &mut Tx<'_>, text: &HeldText) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO held_texts (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        )),
        p![
            &text.id,
            &text.company_id,
            &text.issue_id,
            &text.comment_id,
            &text.author_user_id,
            &text.author_agent_id,
            &text.title,
            &text.body,
            text.created_at,
            text.decision,
            &text.decided_by,
            text.decided_at
        ],
    )
    .await
}

/// Returns texts of an issue, oldest first: those that wait, and as many of the newest decided ones as the limit leaves.
pub async fn of_issue(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<HeldText>, StoreError> {
    let mut texts = waiting_of(tx, issue, limit).await?;
    let left = limit.saturating_sub(i64::try_from(texts.len()).unwrap_or(limit));
    let decided: Vec<HeldText> = tx
        .rows_as(
            sql!(concat!(
                "SELECT ",
                columns!(),
                " FROM held_texts WHERE issue_id = $1 AND decision IS NOT NULL ORDER BY created_at DESC, id DESC LIMIT $2"
            )),
            p![issue, left],
        )
        .await?;
    texts.extend(decided);
    texts.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    Ok(texts)
}

/// Returns the texts of an issue that wait, oldest first.
pub async fn waiting_of(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<HeldText>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM held_texts WHERE issue_id = $1 AND decision IS NULL ORDER BY created_at, id LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// Returns which of these issues have a text that waits.
pub async fn waiting(tx: &mut Tx<'_>, issues: &[IssueId]) -> Result<Vec<IssueId>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT DISTINCT issue_id FROM held_texts WHERE decision IS NULL AND issue_id IN ({list})"
            ),
            p![],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Counts the texts of a company that wait.
pub async fn count_waiting(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    let row = tx
        .one(sql!("SELECT COUNT(*) FROM held_texts WHERE company_id = $1 AND decision IS NULL"), p![company])
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Writes down what was decided about a text that waits.
pub async fn decide(
    tx: &mut Tx<'_>,
    id: &str,
    decision: Decision,
    by: &str,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE held_texts SET decision = $2, decided_by = $3, decided_at = $4 \
             WHERE id = $1 AND decision IS NULL"
        ),
        p![id, decision, by, now],
    )
    .await
}
