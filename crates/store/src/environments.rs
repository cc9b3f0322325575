//! Environments: the machines that runs work on, as a company has named them.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// An environment as stored.
#[derive(Clone, PartialEq)]
pub struct Environment {
    pub id: String,
    pub company_id: CompanyId,
    pub name: String,
    pub description: Option<String>,
    /// `local`, `ssh`, or the word of another driver.
    pub driver: String,
    /// `active` or `archived`.
    pub status: String,
    /// What its driver needs to know; may hold a key.
    pub config: Json,
    pub metadata: Option<Json>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Environment {
    id,
    company_id,
    name,
    description,
    driver,
    status,
    config,
    metadata,
    created_at,
    updated_at
});

impl std::fmt::Debug for Environment {
    /// Leaves out the configuration, which may hold a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("driver", &self.driver)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

macro_rules! columns {
    () => {
        "id, company_id, name, description, driver, status, config, metadata, created_at, updated_at"
    };
}

/// Adds an environment; returns false, and adds nothing, when it is the second local one of its company.
pub async fn insert(tx: &mut Tx<'_>, environment: &Environment) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO environments (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
            )),
            p![
                &environment.id,
                &environment.company_id,
                &environment.name,
                &environment.description,
                &environment.driver,
                &environment.status,
                &environment.config,
                &environment.metadata,
                environment.created_at,
                environment.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Writes everything that a patch may change; returns false when it is gone.
pub async fn update(tx: &mut Tx<'_>, environment: &Environment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE environments SET name = $2, description = $3, driver = $4, status = $5, config = $6, \
                 metadata = $7, updated_at = $8 WHERE id = $1"
            ),
            p![
                &environment.id,
                &environment.name,
                &environment.description,
                &environment.driver,
                &environment.status,
                &environment.config,
                &environment.metadata,
                environment.updated_at
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns one environment.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Environment>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM environments WHERE id = $1")), p![id]).await
}

/// Returns one environment that stays as it is until the transaction ends.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<Environment>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM environments WHERE id = $1 /*+for_update*/")),
        p![id],
    )
    .await
}

/// Returns the environments of these ids that exist, in no order.
pub async fn some(tx: &mut Tx<'_>, ids: &[String]) -> Result<Vec<Environment>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(concat!("SELECT ", columns!(), " FROM environments WHERE id IN ({list})")),
            p![],
            ids.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the local environment of a company.
pub async fn local_of(tx: &mut Tx<'_>, company: &CompanyId) -> Result<Option<Environment>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM environments WHERE company_id = $1 AND driver = 'local'")),
        p![company],
    )
    .await
}

/// Returns the environments of a company, oldest first, of this status and driver where they are given.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    status: Option<&str>,
    driver: Option<&str>,
    limit: i64,
) -> Result<Vec<Environment>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM environments WHERE company_id = $1 AND (CAST($2 AS text) IS NULL OR status = $2) \
             AND (CAST($3 AS text) IS NULL OR driver = $3) ORDER BY created_at, id LIMIT $4"
        )),
        p![company, status.map(str::to_owned), driver.map(str::to_owned), limit],
    )
    .await
}

/// Removes an environment with its leases; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    Ok(tx.exec(sql!("DELETE FROM environments WHERE id = $1"), p![id]).await? == 1)
}

/// Returns what the runs of an agent work in when nothing nearer says.
pub async fn default_of_agent(tx: &mut Tx<'_>, agent: &AgentId) -> Result<Option<String>, StoreError> {
    let row = tx.one(sql!("SELECT default_environment_id FROM agents WHERE id = $1"), p![agent]).await?;
    row.map_or(Ok(None), |row| row.get(0))
}

/// Takes an environment that goes from every agent that works in it by default.
pub async fn forget_default(tx: &mut Tx<'_>, company: &CompanyId, id: &str) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE agents SET default_environment_id = NULL WHERE company_id = $1 AND default_environment_id = $2"
        ),
        p![company, id],
    )
    .await
}

/// Makes an environment refer to these secrets, each a field and the id of a secret that exists, and to no others.
pub async fn refer(
    tx: &mut Tx<'_>,
    environment: &str,
    references: &[(String, String)],
) -> Result<(), StoreError> {
    tx.run(sql!("DELETE FROM environment_secrets WHERE environment_id = $1"), p![environment]).await?;
    for (field, secret) in references {
        tx.run(
            sql!("INSERT INTO environment_secrets (environment_id, field, secret_id) VALUES ($1, $2, $3)"),
            p![environment, field, secret],
        )
        .await?;
    }
    Ok(())
}
