//! What people have put aside in their inbox: one row per person and thing, with when they did it last.

use domain::ids::CompanyId;
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// A thing that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dismissal {
    pub id: String,
    pub company_id: CompanyId,
    pub user_id: String,
    /// `approval:<id>`, `join:<id>` or `run:<id>`.
    pub item_key: String,
    pub dismissed_at: Moment,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Dismissal { id, company_id, user_id, item_key, dismissed_at, created_at, updated_at });

macro_rules! columns {
    () => {
        "id, company_id, user_id, item_key, dismissed_at, created_at, updated_at"
    };
}

/// Puts a thing aside, again if it was before; returns the row.
pub async fn save(tx: &mut Tx<'_>, dismissal: &Dismissal) -> Result<Option<Dismissal>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "INSERT INTO inbox_dismissals (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (company_id, user_id, item_key) DO UPDATE SET \
             dismissed_at = excluded.dismissed_at, updated_at = excluded.updated_at RETURNING ",
            columns!()
        )),
        p![
            &dismissal.id,
            &dismissal.company_id,
            &dismissal.user_id,
            &dismissal.item_key,
            dismissal.dismissed_at,
            dismissal.created_at,
            dismissal.updated_at
        ],
    )
    .await
}

/// Returns what a person has put aside in a company, by key, at most `limit`.
pub async fn of_user(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    user: &str,
    limit: i64,
) -> Result<Vec<Dismissal>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM inbox_dismissals WHERE company_id = $1 AND user_id = $2 ORDER BY item_key LIMIT $3"
        )),
        p![company, user, limit],
    )
    .await
}
