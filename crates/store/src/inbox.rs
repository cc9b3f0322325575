//! The inbox: what needs a person. One item per thing, kind and cause while it is open.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// An item as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxItem {
    pub id: String,
    pub company_id: CompanyId,
    pub kind: String,
    pub entity_type: String,
    pub entity_id: String,
    pub cause: String,
    pub title: String,
    pub details: Json,
    pub owner_agent_id: Option<AgentId>,
    pub opened_at: Moment,
    pub resolved_at: Option<Moment>,
    /// How it was resolved, in a word.
    pub resolution: Option<String>,
}
from_row!(InboxItem {
    id,
    company_id,
    kind,
    entity_type,
    entity_id,
    cause,
    title,
    details,
    owner_agent_id,
    opened_at,
    resolved_at,
    resolution
});

macro_rules! columns {
    () => {
        "id, company_id, kind, entity_type, entity_id, cause, title, details, owner_agent_id, opened_at, resolved_at, \
         resolution"
    };
}

/// Opens an item; returns false, and adds nothing, when one of its thing, kind and cause is open.
pub async fn open(tx: &mut Tx<'_>, item: &InboxItem) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO inbox_items (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                 ON CONFLICT (entity_id, kind, cause) WHERE resolved_at IS NULL DO NOTHING"
            )),
            p![
                &item.id,
                &item.company_id,
                &item.kind,
                &item.entity_type,
                &item.entity_id,
                &item.cause,
                &item.title,
                &item.details,
                &item.owner_agent_id,
                item.opened_at,
                item.resolved_at,
                &item.resolution
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one item.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<InboxItem>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM inbox_items WHERE id = $1")), p![id]).await
}

/// Returns the open items of a company, newest first, before the given place.
pub async fn list_open(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<InboxItem>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM inbox_items WHERE company_id = $1 AND resolved_at IS NULL AND (opened_at, id) < ($2, $3) \
             ORDER BY opened_at DESC, id DESC LIMIT $4"
        )),
        p![company, at, id, limit],
    )
    .await
}

/// Returns the items of a company, open and resolved, newest first, before the given place.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<InboxItem>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM inbox_items WHERE company_id = $1 AND (opened_at, id) < ($2, $3) \
             ORDER BY opened_at DESC, id DESC LIMIT $4"
        )),
        p![company, at, id, limit],
    )
    .await
}

/// Returns the open items of a thing, by kind and cause.
pub async fn open_of(tx: &mut Tx<'_>, entity: &str, limit: i64) -> Result<Vec<InboxItem>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM inbox_items WHERE entity_id = $1 AND resolved_at IS NULL ORDER BY kind, cause LIMIT $2"
        )),
        p![entity, limit],
    )
    .await
}

/// Returns the open items of one kind, by id, after `after`.
pub async fn open_of_kind(
    tx: &mut Tx<'_>,
    kind: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<InboxItem>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM inbox_items WHERE kind = $1 AND resolved_at IS NULL AND id > $2 ORDER BY id LIMIT $3"
        )),
        p![kind, after, limit],
    )
    .await
}

/// Returns the open items of one kind about these things.
pub async fn open_about(
    tx: &mut Tx<'_>,
    kind: &str,
    entities: &[String],
) -> Result<Vec<InboxItem>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!(
                "SELECT ",
                columns!(),
                " FROM inbox_items WHERE kind = $1 AND resolved_at IS NULL AND entity_id IN ({list})"
            )),
            p![kind],
            entities.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns which of these things have an open item of one kind.
pub async fn with_open(tx: &mut Tx<'_>, kind: &str, entities: &[String]) -> Result<Vec<String>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT DISTINCT entity_id FROM inbox_items WHERE kind = $1 AND resolved_at IS NULL \
                 AND entity_id IN ({list})"
            ),
            p![kind],
            entities.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Tells an open item anew: what it is about became worse. Returns false when it is not open any more.
pub async fn retell(tx: &mut Tx<'_>, item: &InboxItem) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE inbox_items SET title = $4, details = $5, owner_agent_id = $6 \
                 WHERE entity_id = $1 AND kind = $2 AND cause = $3 AND resolved_at IS NULL"
            ),
            p![&item.entity_id, &item.kind, &item.cause, &item.title, &item.details, &item.owner_agent_id],
        )
        .await?;
    Ok(changed == 1)
}

/// Counts the open items of a company.
pub async fn count_open(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!("SELECT COUNT(*) FROM inbox_items WHERE company_id = $1 AND resolved_at IS NULL"),
            p![company],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Resolves one item; false: it was resolved before.
pub async fn resolve(tx: &mut Tx<'_>, id: &str, resolution: &str, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE inbox_items SET resolved_at = $2, resolution = $3 WHERE id = $1 AND resolved_at IS NULL"
            ),
            p![id, now, resolution],
        )
        .await?;
    Ok(changed == 1)
}

/// Resolves the open items of a thing, of one cause or (with `None`) of all; returns how many there were.
pub async fn resolve_of(
    tx: &mut Tx<'_>,
    entity: &str,
    cause: Option<&str>,
    resolution: &str,
    now: Moment,
) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "UPDATE inbox_items SET resolved_at = $3, resolution = $4 WHERE entity_id = $1 AND resolved_at IS NULL \
             AND (CAST($2 AS text) IS NULL OR cause = $2)"
        ),
        p![entity, cause, now, resolution],
    )
    .await
}

/// Removes items resolved before `before`, oldest first; returns how many.
pub async fn remove_resolved(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    tx.exec(
        sql!(
            "DELETE FROM inbox_items WHERE id IN (SELECT id FROM inbox_items WHERE resolved_at IS NOT NULL \
             AND resolved_at < $1 ORDER BY resolved_at, id LIMIT $2)"
        ),
        p![before, limit],
    )
    .await
}
