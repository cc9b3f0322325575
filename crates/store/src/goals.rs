//! Goals of a company: what its projects and issues are for.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A goal as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    pub id: String,
    pub company_id: CompanyId,
    pub title: String,
    pub description: Option<String>,
    /// `company`, `team`, `agent` or `task`.
    pub level: String,
    /// `planned`, `active`, `achieved` or `cancelled`.
    pub status: String,
    pub parent_id: Option<String>,
    pub owner_agent_id: Option<AgentId>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Goal {
    id,
    company_id,
    title,
    description,
    level,
    status,
    parent_id,
    owner_agent_id,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, title, description, level, status, parent_id, owner_agent_id, created_at, updated_at"
    };
}

/// Adds a goal.
pub async fn insert(tx: &mut Tx<'_>, goal: &Goal) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO goals (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        )),
        p![
            &goal.id,
            &goal.company_id,
            &goal.title,
            &goal.description,
            &goal.level,
            &goal.status,
            &goal.parent_id,
            &goal.owner_agent_id,
            goal.created_at,
            goal.updated_at
        ],
    )
    .await
}

/// Writes everything that a patch may change.
pub async fn update(tx: &mut Tx<'_>, goal: &Goal) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE goals SET title = $2, description = $3, level = $4, status = $5, parent_id = $6, owner_agent_id = $7, \
             updated_at = $8 WHERE id = $1"
        ),
        p![&goal.id, &goal.title, &goal.description, &goal.level, &goal.status, &goal.parent_id, &goal.owner_agent_id, goal.updated_at],
    )
    .await
}

/// Returns one goal.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Goal>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM goals WHERE id = $1")), p![id]).await
}

/// The same, locked until the transaction ends.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<Goal>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM goals WHERE id = $1 /*+for_update*/")), p![id]).await
}

/// Returns the goals of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[String]) -> Result<Vec<Goal>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM goals WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the goals of a company, oldest first, after a place.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Goal>, StoreError> {
    let (at, id) = after.unwrap_or((Moment::from_micros(i64::MIN), String::new()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM goals WHERE company_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
        )),
        p![company, at, id, limit],
    )
    .await
}

/// Whether a company has a goal of this title.
pub async fn is_titled(tx: &mut Tx<'_>, company: &CompanyId, title: &str) -> Result<bool, StoreError> {
    let found = tx
        .one(sql!("SELECT 1 FROM goals WHERE company_id = $1 AND title = $2 LIMIT 1"), p![company, title])
        .await?;
    Ok(found.is_some())
}

/// Returns the goal that everything of a company serves by default: the oldest active root at company level, else the
/// oldest root there, else the oldest there.
pub async fn default_of(tx: &mut Tx<'_>, company: &CompanyId) -> Result<Option<Goal>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM goals WHERE company_id = $1 AND level = 'company' \
             ORDER BY CASE WHEN parent_id IS NULL AND status = 'active' THEN 0 WHEN parent_id IS NULL THEN 1 ELSE 2 END, \
             created_at, id LIMIT 1"
        )),
        p![company],
    )
    .await
}

/// Removes a goal; what was below it or served it stays, without it. Returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    tx.run(sql!("UPDATE goals SET parent_id = NULL WHERE parent_id = $1"), p![id]).await?;
    Ok(tx.exec(sql!("DELETE FROM goals WHERE id = $1"), p![id]).await? == 1)
}
