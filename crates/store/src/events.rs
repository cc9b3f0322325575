//! The event log: what happened, in an order that a reader can follow with one number.
//!
//! Whoever read up to a cursor has seen everything at or below it, for ever: nothing appears below a cursor that was
//! already given out. With SQLite there is one writer, so ids rise in the order of commits. PostgreSQL commits in any
//! order, so there an id starts with the number of its transaction, `id = base + xid * 4096 + n`, and a reader stops
//! below the oldest transaction that is still open. The base makes ids go on rising when a store is restored into a
//! server whose transaction numbers are lower. Publishing and pruning are not done here.

use crate::{StoreError, Tx, from_row, p, sql};

/// How many events one transaction may append: the room between two transaction numbers.
pub const MOST_PER_TRANSACTION: i64 = 4096;

/// An event as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub id: i64,
    pub company_id: String,
    pub kind: String,
    pub payload: String,
    pub created_at: i64,
}

from_row!(StoredEvent { id, company_id, kind, payload, created_at });

/// Appends an event; readers see it after the commit.
pub async fn append(
    tx: &mut Tx<'_>,
    company_id: &str,
    kind: &str,
    payload_json: &str,
    now: i64,
) -> Result<(), StoreError> {
    let number = tx.next_event()?;
    if tx.is_postgres() {
        let insert = sql!(
            "INSERT INTO events (id, company_id, type, payload, created_at) \
             SELECT CAST(value AS bigint) + CAST(CAST(pg_current_xact_id() AS text) AS bigint) * 4096 + $1, \
             $2, $3, $4, $5 FROM meta WHERE key = 'event_base' /*+only_postgres*/"
        );
        tx.run(insert, p![number, company_id, kind, payload_json, now]).await
    } else {
        let insert =
            sql!("INSERT INTO events (company_id, type, payload, created_at) VALUES ($1, $2, $3, $4)");
        tx.run(insert, p![company_id, kind, payload_json, now]).await
    }
}

/// Returns up to `limit` events behind the cursor `after`, of one company or of all.
pub async fn after(
    tx: &mut Tx<'_>,
    company_id: Option<&str>,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, StoreError> {
    match (tx.is_postgres(), company_id) {
        (false, None) => {
            let select = sql!(
                "SELECT id, company_id, type, payload, created_at FROM events \
                 WHERE id > $1 ORDER BY id LIMIT $2"
            );
            tx.rows_as(select, p![after, limit]).await
        }
        (false, Some(company_id)) => {
            let select = sql!(
                "SELECT id, company_id, type, payload, created_at FROM events \
                 WHERE company_id = $1 AND id > $2 ORDER BY id LIMIT $3"
            );
            tx.rows_as(select, p![company_id, after, limit]).await
        }
        (true, None) => {
            let select = sql!(
                "SELECT id, company_id, type, payload, created_at FROM events \
                 WHERE id > $1 AND id < (SELECT CAST(value AS bigint) + \
                 CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) * 4096 \
                 FROM meta WHERE key = 'event_base') \
                 ORDER BY id LIMIT $2 /*+only_postgres*/"
            );
            tx.rows_as(select, p![after, limit]).await
        }
        (true, Some(company_id)) => {
            let select = sql!(
                "SELECT id, company_id, type, payload, created_at FROM events \
                 WHERE company_id = $1 AND id > $2 AND id < (SELECT CAST(value AS bigint) + \
                 CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) * 4096 \
                 FROM meta WHERE key = 'event_base') \
                 ORDER BY id LIMIT $3 /*+only_postgres*/"
            );
            tx.rows_as(select, p![company_id, after, limit]).await
        }
    }
}

/// Returns the cursor of the newest event that readers may see; 0 when there is none.
pub async fn head(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    let row = if tx.is_postgres() {
        let select = sql!(
            "SELECT COALESCE(MAX(id), 0) FROM events WHERE id < (SELECT CAST(value AS bigint) + \
             CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) * 4096 \
             FROM meta WHERE key = 'event_base') \
             /*+only_postgres*/"
        );
        tx.one_as::<(i64,)>(select, p![]).await?
    } else {
        tx.one_as::<(i64,)>(sql!("SELECT COALESCE(MAX(id), 0) FROM events"), p![]).await?
    };
    Ok(row.map_or(0, |(head,)| head))
}

/// Raises the base if the stored ids are not below those that this server would give. Run at open, under the lock of
/// the migrations.
pub(crate) async fn raise_base(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    if !tx.is_postgres() {
        return Ok(());
    }
    // Every id of this server is below `base + xmax * 4096`, so with live neighbours nothing is raised.
    let raise = sql!(
        "UPDATE meta SET value = CAST(CAST(meta.value AS bigint) + gap.ids AS text) FROM (\
           SELECT (SELECT COALESCE(MAX(id), 0) + 1 FROM events) - (CAST(b.value AS bigint) + \
             CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) * 4096) AS ids \
           FROM meta AS b WHERE b.key = 'event_base') AS gap \
         WHERE meta.key = 'event_base' AND gap.ids > 0 /*+only_postgres*/"
    );
    tx.exec(raise, p![]).await.map(|_| ())
}
