//! Companies: the tenants that everything belongs to.

use domain::ids::CompanyId;
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// A company as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Company {
    pub id: CompanyId,
    pub name: String,
    pub description: Option<String>,
    pub status: String,
    pub issue_prefix: String,
    pub issue_counter: i64,
    pub budget_monthly_cents: i64,
    pub require_approval: bool,
    pub brand_color: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Company {
    id,
    name,
    description,
    status,
    issue_prefix,
    issue_counter,
    budget_monthly_cents,
    require_approval,
    brand_color,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, name, description, status, issue_prefix, issue_counter, budget_monthly_cents, require_approval, \
         brand_color, created_at, updated_at"
    };
}

/// Adds a company; returns false, and adds nothing, when its issue prefix is taken.
pub async fn insert(tx: &mut Tx<'_>, company: &Company) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO companies (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                 ON CONFLICT (issue_prefix) DO NOTHING"
            )),
            p![
                &company.id,
                &company.name,
                &company.description,
                &company.status,
                &company.issue_prefix,
                company.issue_counter,
                company.budget_monthly_cents,
                company.require_approval,
                &company.brand_color,
                company.created_at,
                company.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one company.
pub async fn get(tx: &mut Tx<'_>, id: &CompanyId) -> Result<Option<Company>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM companies WHERE id = $1")), p![id]).await
}

/// Returns one company and locks its row until the transaction ends.
pub async fn lock(tx: &mut Tx<'_>, id: &CompanyId) -> Result<Option<Company>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM companies WHERE id = $1 /*+for_update*/")), p![id])
        .await
}

/// Writes what people may change of a company; its status is not among it (see [`set_status`] and `pauses`).
pub async fn update(tx: &mut Tx<'_>, company: &Company) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE companies SET name = $2, description = $3, budget_monthly_cents = $4, require_approval = $5, \
             brand_color = $6, updated_at = $7 WHERE id = $1"
        ),
        p![
            &company.id,
            &company.name,
            &company.description,
            company.budget_monthly_cents,
            company.require_approval,
            &company.brand_color,
            company.updated_at
        ],
    )
    .await
}

/// Moves a company from one status to another without a reason; false: it was not in the first.
pub async fn set_status(
    tx: &mut Tx<'_>,
    id: &CompanyId,
    from: &str,
    to: &str,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE companies SET status = $3, pause_reason = NULL, paused_at = NULL, updated_at = $4 \
                 WHERE id = $1 AND status = $2"
            ),
            p![id, from, to, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns all companies, oldest first, at most `limit`.
pub async fn list(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<Company>, StoreError> {
    tx.rows_as(
        sql!(concat!("SELECT ", columns!(), " FROM companies ORDER BY created_at, id LIMIT $1")),
        p![limit],
    )
    .await
}

/// Returns companies, oldest first, after the given place.
pub async fn page(
    tx: &mut Tx<'_>,
    after: Option<(Moment, CompanyId)>,
    limit: i64,
) -> Result<Vec<Company>, StoreError> {
    let (at, id) = after.map_or((Moment::from_micros(i64::MIN), String::new()), |(at, id)| (at, id.0));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM companies WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3"
        )),
        p![at, id, limit],
    )
    .await
}
