//! Comments on issues: what people and agents say to each other.
//!
//! Who is woken by a comment is not decided here. A comment whose author is nobody was written by the program.

use domain::ids::{AgentId, CommentId, CompanyId, IssueId, RunId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A comment as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Comment {
    pub id: CommentId,
    pub company_id: CompanyId,
    pub issue_id: IssueId,
    pub author_agent_id: Option<AgentId>,
    pub author_user_id: Option<String>,
    pub created_by_run_id: Option<RunId>,
    pub body: String,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Comment {
    id,
    company_id,
    issue_id,
    author_agent_id,
    author_user_id,
    created_by_run_id,
    body,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, issue_id, author_agent_id, author_user_id, created_by_run_id, body, created_at, \
         updated_at"
    };
}

/// Which way a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Adds a comment. Its issue is locked before, if anybody is to hear of it.
pub async fn insert(tx: &mut Tx<'_>, comment: &Comment) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO issue_comments (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        )),
        p![
            &comment.id,
            &comment.company_id,
            &comment.issue_id,
            &comment.author_agent_id,
            &comment.author_user_id,
            &comment.created_by_run_id,
            &comment.body,
            comment.created_at,
            comment.updated_at
        ],
    )
    .await
}

/// Returns one comment.
pub async fn get(tx: &mut Tx<'_>, id: &CommentId) -> Result<Option<Comment>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM issue_comments WHERE id = $1")), p![id]).await
}

/// Returns the comments of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[CommentId]) -> Result<Vec<Comment>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM issue_comments WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns comments of an issue behind a place, in the direction of the list.
pub async fn list(
    tx: &mut Tx<'_>,
    issue: &IssueId,
    order: Order,
    after: Option<(Moment, CommentId)>,
    limit: i64,
) -> Result<Vec<Comment>, StoreError> {
    match order {
        Order::OldestFirst => {
            let (at, id) =
                after.map_or((Moment::from_micros(i64::MIN), String::new()), |(at, id)| (at, id.0));
            tx.rows_as(
                sql!(concat!(
                    "SELECT ",
                    columns!(),
                    " FROM issue_comments WHERE issue_id = $1 AND (created_at, id) > ($2, $3) \
                     ORDER BY created_at, id LIMIT $4"
                )),
                p![issue, at, id, limit],
            )
            .await
        }
        Order::NewestFirst => {
            let (at, id) =
                after.map_or((Moment::from_micros(i64::MAX), "~".to_owned()), |(at, id)| (at, id.0));
            tx.rows_as(
                sql!(concat!(
                    "SELECT ",
                    columns!(),
                    " FROM issue_comments WHERE issue_id = $1 AND (created_at, id) < ($2, $3) \
                     ORDER BY created_at DESC, id DESC LIMIT $4"
                )),
                p![issue, at, id, limit],
            )
            .await
        }
    }
}

/// Counts the comments of an issue.
pub async fn count(tx: &mut Tx<'_>, issue: &IssueId) -> Result<i64, StoreError> {
    let row = tx.one(sql!("SELECT COUNT(*) FROM issue_comments WHERE issue_id = $1"), p![issue]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Returns the newest comments that a run left on an issue, newest first.
pub async fn of_run(
    tx: &mut Tx<'_>,
    run: &RunId,
    issue: &IssueId,
    limit: i64,
) -> Result<Vec<Comment>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM issue_comments WHERE created_by_run_id = $1 AND issue_id || '' = $2 \
             ORDER BY created_at DESC, id DESC LIMIT $3"
        )),
        p![run, issue, limit],
    )
    .await
}

/// Puts another text in the place of a comment's; its issue is locked.
pub async fn set_body(tx: &mut Tx<'_>, id: &CommentId, body: &str, now: Moment) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE issue_comments SET body = $2, updated_at = $3 WHERE id = $1"), p![id, body, now])
        .await
}

/// Removes a comment; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &CommentId) -> Result<bool, StoreError> {
    Ok(tx.exec(sql!("DELETE FROM issue_comments WHERE id = $1"), p![id]).await? == 1)
}
