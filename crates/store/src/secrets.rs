//! Secrets of companies, as stored: their names, and their values as sealed bytes.
//!
//! Nothing here can open a value. Which variables refer to a secret is kept beside the configurations that say so, with
//! a foreign key: a secret in use cannot be removed, whoever tries.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;

use crate::{Row, StoreError, Tx, from_row, p, sql};

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub id: String,
    pub company_id: CompanyId,
    pub name: String,
    pub provider: String,
    pub external_ref: Option<String>,
    pub latest_version: i64,
    pub description: Option<String>,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Secret {
    id,
    company_id,
    name,
    provider,
    external_ref,
    latest_version,
    description,
    created_by_agent_id,
    created_by_user_id,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, name, provider, external_ref, latest_version, description, created_by_agent_id, \
         created_by_user_id, created_at, updated_at"
    };
}

/// One value of a secret, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub secret_id: String,
    pub version: i64,
    pub key_id: String,
    /// JSON text.
    pub material: String,
    pub created_at: Moment,
}
from_row!(Version { secret_id, version, key_id, material, created_at });

/// Whose configuration refers to secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner<'a> {
    Agent(&'a AgentId),
    Project(&'a str),
}

impl<'a> Owner<'a> {
    fn parts(self) -> (&'static str, &'a str) {
        match self {
            Owner::Agent(id) => ("agent", id.as_str()),
            Owner::Project(id) => ("project", id),
        }
    }
}

/// A variable that takes its value from a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `agent`, `project` or `environment`.
    pub owner_kind: String,
    pub owner_id: String,
    pub owner_name: String,
    pub variable: String,
}
from_row!(Reference { owner_kind, owner_id, owner_name, variable });

/// Adds a secret; returns false, and adds nothing, when the company has one of this name.
pub async fn insert(tx: &mut Tx<'_>, secret: &Secret) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO company_secrets (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (company_id, name) DO NOTHING"
            )),
            p![
                &secret.id,
                &secret.company_id,
                &secret.name,
                &secret.provider,
                &secret.external_ref,
                secret.latest_version,
                &secret.description,
                &secret.created_by_agent_id,
                &secret.created_by_user_id,
                secret.created_at,
                secret.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Writes everything that a change of a secret may touch; returns false, and changes nothing, when its name is taken.
/// The caller holds the secret's lock.
pub async fn update(tx: &mut Tx<'_>, secret: &Secret) -> Result<bool, StoreError> {
    let taken = tx
        .one(
            sql!("SELECT 1 FROM company_secrets WHERE company_id = $1 AND name = $2 AND id <> $3 LIMIT 1"),
            p![&secret.company_id, &secret.name, &secret.id],
        )
        .await?
        .is_some();
    if taken {
        return Ok(false);
    }
    tx.run(
        sql!(
            "UPDATE company_secrets SET name = $2, external_ref = $3, latest_version = $4, description = $5, \
             updated_at = $6 WHERE id = $1"
        ),
        p![
            &secret.id,
            &secret.name,
            &secret.external_ref,
            secret.latest_version,
            &secret.description,
            secret.updated_at
        ],
    )
    .await?;
    Ok(true)
}

/// Adds a version of a secret.
pub async fn insert_version(tx: &mut Tx<'_>, version: &Version) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO company_secret_versions (secret_id, version, key_id, material, created_at) \
             VALUES ($1, $2, $3, $4, $5)"
        ),
        p![&version.secret_id, version.version, &version.key_id, &version.material, version.created_at],
    )
    .await
}

/// Returns one secret.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Secret>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM company_secrets WHERE id = $1")), p![id]).await
}

/// Returns one secret and locks its row.
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<Secret>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM company_secrets WHERE id = $1 /*+for_update*/")),
        p![id],
    )
    .await
}

/// Returns the secrets of a company, newest first, before a place.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Secret>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM company_secrets WHERE company_id = $1 AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![company, at, id, limit],
    )
    .await
}

/// Returns one version of a secret.
pub async fn version(tx: &mut Tx<'_>, secret: &str, version: i64) -> Result<Option<Version>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT secret_id, version, key_id, material, created_at FROM company_secret_versions \
             WHERE secret_id = $1 AND version = $2"
        ),
        p![secret, version],
    )
    .await
}

/// Returns the versions of a secret, newest first.
pub async fn versions(tx: &mut Tx<'_>, secret: &str, limit: i64) -> Result<Vec<Version>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT secret_id, version, key_id, material, created_at FROM company_secret_versions \
             WHERE secret_id = $1 ORDER BY version DESC LIMIT $2"
        ),
        p![secret, limit],
    )
    .await
}

/// Returns the versions of all secrets of a company, at most `limit`.
pub async fn versions_of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<Version>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT v.secret_id, v.version, v.key_id, v.material, v.created_at FROM company_secrets s \
             JOIN company_secret_versions v ON v.secret_id = s.id WHERE s.company_id = $1 LIMIT $2"
        ),
        p![company, limit],
    )
    .await
}

/// Removes a secret with its versions; returns false when it was gone. Fails while something refers to it.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    // Agents that were ended never start again: what they refer to need not be kept for them.
    tx.run(
        sql!(
            "DELETE FROM secret_references WHERE secret_id = $1 AND owner_kind = 'agent' \
             AND owner_id IN (SELECT id FROM agents WHERE id = owner_id AND status = 'terminated')"
        ),
        p![id],
    )
    .await?;
    Ok(tx.exec(sql!("DELETE FROM company_secrets WHERE id = $1"), p![id]).await? == 1)
}

/// Makes an owner refer to these secrets, each a variable and the id of a secret that exists, and to no others.
pub async fn refer(
    tx: &mut Tx<'_>,
    owner: Owner<'_>,
    references: &[(String, String)],
) -> Result<(), StoreError> {
    let (kind, id) = owner.parts();
    tx.run(sql!("DELETE FROM secret_references WHERE owner_kind = $1 AND owner_id = $2"), p![kind, id])
        .await?;
    for (variable, secret) in references {
        tx.run(
            sql!(
                "INSERT INTO secret_references (owner_kind, owner_id, variable, secret_id) VALUES ($1, $2, $3, $4)"
            ),
            p![kind, id, variable, secret],
        )
        .await?;
    }
    Ok(())
}

/// Returns the agents whose processes get a secret: those that refer to it, and those with work in a project that does.
pub async fn users(tx: &mut Tx<'_>, secret: &Secret, limit: i64) -> Result<Vec<AgentId>, StoreError> {
    let rows: Vec<(AgentId,)> = tx
        .rows_as(
            sql!(
                "SELECT owner_id FROM secret_references WHERE secret_id = $1 AND owner_kind = 'agent' \
                 UNION SELECT r.agent_id FROM runs r JOIN secret_references s ON s.owner_id = r.project_id \
                 AND s.owner_kind = 'project' AND s.secret_id = $1 \
                 WHERE r.company_id = $2 AND r.status IN ('queued', 'scheduled_retry', 'running') \
                 ORDER BY 1 LIMIT $3"
            ),
            p![&secret.id, &secret.company_id, limit],
        )
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Returns what refers to a secret, with the names that people know, at most `limit`; agents that were ended are left
/// out.
pub async fn references(tx: &mut Tx<'_>, secret: &str, limit: i64) -> Result<Vec<Reference>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT r.owner_kind, r.owner_id, COALESCE(a.name, p.name, ''), r.variable FROM secret_references r \
                 LEFT JOIN agents a ON r.owner_kind = 'agent' AND a.id = r.owner_id \
                 LEFT JOIN projects p ON r.owner_kind = 'project' AND p.id = r.owner_id \
                 WHERE r.secret_id = $1 AND (a.status IS NULL OR a.status <> 'terminated') \
                 ORDER BY r.owner_kind, r.owner_id, r.variable LIMIT $2"
            ),
            p![secret, limit],
        )
        .await?;
    let of_environments = tx
        .rows(
            sql!(
                "SELECT 'environment' AS owner_kind, environments.id AS owner_id, environments.name AS owner_name, \
                 part.field AS variable FROM environment_secrets part \
                 JOIN environments ON environments.id = part.environment_id \
                 WHERE part.secret_id = $1 ORDER BY environments.id, part.field LIMIT $2"
            ),
            p![secret, limit],
        )
        .await?;
    rows.iter()
        .chain(&of_environments)
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .map(Row::read)
        .collect()
}

/// Returns the secret of a name, and locks its row.
pub async fn named(tx: &mut Tx<'_>, company: &CompanyId, name: &str) -> Result<Option<Secret>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM company_secrets WHERE company_id = $1 AND name = $2 /*+for_update*/"
        )),
        p![company, name],
    )
    .await
}

/// Notes which key this store's secrets are sealed with, unless that is known already; returns the one that holds.
pub async fn note_key(tx: &mut Tx<'_>, key_id: &str, now: Moment) -> Result<String, StoreError> {
    tx.run(
        sql!(
            "INSERT INTO secrets_key (one, key_id, noted_at) VALUES (1, $1, $2) ON CONFLICT (one) DO NOTHING"
        ),
        p![key_id, now],
    )
    .await?;
    Ok(key(tx).await?.unwrap_or_else(|| key_id.to_owned()))
}

/// Returns the key that this store's secrets are sealed with; none as long as there never was a secret.
pub async fn key(tx: &mut Tx<'_>) -> Result<Option<String>, StoreError> {
    let row = tx.one(sql!("SELECT key_id FROM secrets_key WHERE one = 1"), p![]).await?;
    row.map(|row| row.get(0)).transpose()
}
