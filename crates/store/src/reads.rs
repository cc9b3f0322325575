//! How far people have read their issues, and which of them they put out of the way.

use domain::ids::{CompanyId, IssueId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// What is known of one person and one issue.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadState {
    pub issue_id: IssueId,
    pub user_id: String,
    pub company_id: CompanyId,
    pub last_read_at: Option<Moment>,
    pub archived_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(ReadState { issue_id, user_id, company_id, last_read_at, archived_at, created_at, updated_at });

macro_rules! columns {
    () => {
        "issue_id, user_id, company_id, last_read_at, archived_at, created_at, updated_at"
    };
}

/// Notes that a person has read an issue up to now.
pub async fn mark_read(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    issue: &IssueId,
    user: &str,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO issue_read_states (issue_id, user_id, company_id, last_read_at, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $4, $4) \
             ON CONFLICT (issue_id, user_id) DO UPDATE SET last_read_at = excluded.last_read_at, \
             updated_at = excluded.updated_at"
        ),
        p![issue, user, company, now],
    )
    .await
}

/// Forgets that a person has read an issue; returns false when they had not.
pub async fn unmark(tx: &mut Tx<'_>, issue: &IssueId, user: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE issue_read_states SET last_read_at = NULL, updated_at = $3 \
                 WHERE issue_id = $1 AND user_id = $2 AND last_read_at IS NOT NULL"
            ),
            p![issue, user, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Puts an issue out of a person's way until something happens on it.
pub async fn archive(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    issue: &IssueId,
    user: &str,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO issue_read_states (issue_id, user_id, company_id, archived_at, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $4, $4) \
             ON CONFLICT (issue_id, user_id) DO UPDATE SET archived_at = excluded.archived_at, \
             updated_at = excluded.updated_at"
        ),
        p![issue, user, company, now],
    )
    .await
}

/// Brings an issue back; returns false when it was not put away.
pub async fn unarchive(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    user: &str,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE issue_read_states SET archived_at = NULL, updated_at = $3 \
                 WHERE issue_id = $1 AND user_id = $2 AND archived_at IS NOT NULL"
            ),
            p![issue, user, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns what is known of a person and an issue.
pub async fn get(tx: &mut Tx<'_>, issue: &IssueId, user: &str) -> Result<Option<ReadState>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM issue_read_states WHERE issue_id = $1 AND user_id = $2")),
        p![issue, user],
    )
    .await
}

/// Returns what is known of a person and these issues, in no order.
pub async fn of_user(tx: &mut Tx<'_>, user: &str, issues: &[IssueId]) -> Result<Vec<ReadState>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!(
                "SELECT ",
                columns!(),
                " FROM issue_read_states WHERE user_id = $1 AND issue_id IN ({list})"
            )),
            p![user],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// When a person last commented on an issue, and when anybody else did.
#[derive(Debug, Clone, PartialEq)]
pub struct Comments {
    pub issue_id: IssueId,
    pub own_at: Option<Moment>,
    pub others_at: Option<Moment>,
}
from_row!(Comments { issue_id, own_at, others_at });

/// Returns the last comments on these issues as a person sees them; issues without any are left out.
pub async fn last_comments(
    tx: &mut Tx<'_>,
    user: &str,
    issues: &[IssueId],
) -> Result<Vec<Comments>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT issue_id, MAX(CASE WHEN author_user_id = $1 THEN created_at END), \
                 MAX(CASE WHEN author_user_id IS NULL OR author_user_id <> $1 THEN created_at END) \
                 FROM issue_comments WHERE issue_id IN ({list}) GROUP BY issue_id"
            ),
            p![user],
            issues.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}
