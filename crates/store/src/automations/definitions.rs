//! Definitions and their versions.

use domain::automation::AutomationStatus;
use domain::ids::{AutomationId, CompanyId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// An automation as stored, without its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automation {
    pub id: AutomationId,
    pub company_id: CompanyId,
    pub name: String,
    pub status: AutomationStatus,
    pub paused_reason: Option<String>,
    /// The newest version.
    pub version: i64,
    pub created_by: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub removed_at: Option<Moment>,
}
from_row!(Automation {
    id,
    company_id,
    name,
    status,
    paused_reason,
    version,
    created_by,
    created_at,
    updated_at,
    removed_at
});

macro_rules! columns {
    () => {
        "id, company_id, name, status, paused_reason, version, created_by, created_at, updated_at, removed_at"
    };
}

/// A version as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub automation_id: AutomationId,
    pub version: i64,
    /// SHA-256 of the definition in its one form, as hex.
    pub hash: String,
    pub definition: Json,
    pub created_by: Option<String>,
    pub created_at: Moment,
}
from_row!(Version { automation_id, version, hash, definition, created_by, created_at });

/// Adds an automation; false when another one of the company has its name.
pub async fn insert(tx: &mut Tx<'_>, automation: &Automation) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO automations (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
            )),
            p![
                &automation.id,
                &automation.company_id,
                &automation.name,
                automation.status,
                &automation.paused_reason,
                automation.version,
                &automation.created_by,
                automation.created_at,
                automation.updated_at,
                automation.removed_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Writes what may change of an automation.
pub async fn update(tx: &mut Tx<'_>, automation: &Automation) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE automations SET status = $2, paused_reason = $3, version = $4, updated_at = $5, removed_at = $6 \
             WHERE id = $1"
        ),
        p![
            &automation.id,
            automation.status,
            &automation.paused_reason,
            automation.version,
            automation.updated_at,
            automation.removed_at
        ],
    )
    .await
}

/// Adds a version.
pub async fn add_version(tx: &mut Tx<'_>, version: &Version) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO automation_versions (automation_id, version, hash, definition, created_by, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)"
        ),
        p![
            &version.automation_id,
            version.version,
            &version.hash,
            &version.definition,
            &version.created_by,
            version.created_at
        ],
    )
    .await
}

/// Returns an automation, removed or not.
pub async fn get(tx: &mut Tx<'_>, id: &AutomationId) -> Result<Option<Automation>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM automations WHERE id = $1")), p![id]).await
}

/// The same, locked.
pub async fn lock(tx: &mut Tx<'_>, id: &AutomationId) -> Result<Option<Automation>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM automations WHERE id = $1 /*+for_update*/")), p![id])
        .await
}

/// Returns the automation of that name, locked, unless it was removed.
pub async fn lock_named(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    name: &str,
) -> Result<Option<Automation>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automations WHERE company_id = $1 AND name = $2 AND removed_at IS NULL /*+for_update*/"
        )),
        p![company, name],
    )
    .await
}

/// Returns the automation of that name, unless it was removed.
pub async fn named(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    name: &str,
) -> Result<Option<Automation>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automations WHERE company_id = $1 AND name = $2 AND removed_at IS NULL"
        )),
        p![company, name],
    )
    .await
}

/// Returns automations of a company that are not removed, by name, behind the given one.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    after: &str,
    limit: i64,
) -> Result<Vec<Automation>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automations WHERE company_id = $1 AND name > $2 AND removed_at IS NULL ORDER BY name LIMIT $3"
        )),
        p![company, after, limit],
    )
    .await
}

/// Returns a version.
pub async fn version(
    tx: &mut Tx<'_>,
    id: &AutomationId,
    version: i64,
) -> Result<Option<Version>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT automation_id, version, hash, definition, created_by, created_at FROM automation_versions \
             WHERE automation_id = $1 AND version = $2"
        ),
        p![id, version],
    )
    .await
}

/// Returns versions of an automation, newest first, below the given number.
pub async fn versions(
    tx: &mut Tx<'_>,
    id: &AutomationId,
    below: i64,
    limit: i64,
) -> Result<Vec<Version>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT automation_id, version, hash, definition, created_by, created_at FROM automation_versions \
             WHERE automation_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3"
        ),
        p![id, below, limit],
    )
    .await
}

/// Draws the number of the next run of an automation.
pub async fn draw_number(tx: &mut Tx<'_>, id: &AutomationId) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!("UPDATE automations SET run_counter = run_counter + 1 WHERE id = $1 RETURNING run_counter"),
            p![id],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Writes whose ends an automation begins after, in the order of its definition.
pub async fn set_after(
    tx: &mut Tx<'_>,
    id: &AutomationId,
    sources: &[AutomationId],
) -> Result<(), StoreError> {
    tx.run(sql!("DELETE FROM automation_after WHERE automation_id = $1"), p![id]).await?;
    for (place, source) in (0_i64..).zip(sources) {
        tx.run(
            sql!("INSERT INTO automation_after (automation_id, place, source_id) VALUES ($1, $2, $3)"),
            p![id, place, source],
        )
        .await?;
    }
    Ok(())
}

/// Returns which automations begin after runs of this one.
pub async fn started_by(tx: &mut Tx<'_>, source: &AutomationId) -> Result<Vec<AutomationId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT DISTINCT automation_id FROM automation_after WHERE source_id = $1 ORDER BY automation_id"
            ),
            p![source],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}
