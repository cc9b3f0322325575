//! The skills of a company.

use domain::ids::CompanyId;
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A skill as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    pub id: String,
    pub company_id: CompanyId,
    /// Unique in the company; how agents are configured with it.
    pub key: String,
    /// The name of its folder; unique in the company too.
    pub slug: String,
    pub name: String,
    pub description: Option<String>,
    /// The whole `SKILL.md`.
    pub markdown: String,
    pub source_type: String,
    pub source_locator: Option<String>,
    pub trust_level: String,
    pub metadata: Option<Json>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Skill {
    id,
    company_id,
    key,
    slug,
    name,
    description,
    markdown,
    source_type,
    source_locator,
    trust_level,
    metadata,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, key, slug, name, description, markdown, source_type, source_locator, trust_level, metadata, \
         created_at, updated_at"
    };
}

/// Adds a skill; returns false, and adds nothing, when the company has one of that key or folder.
pub async fn insert(tx: &mut Tx<'_>, skill: &Skill) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO company_skills (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING"
            )),
            p![
                &skill.id,
                &skill.company_id,
                &skill.key,
                &skill.slug,
                &skill.name,
                &skill.description,
                &skill.markdown,
                &skill.source_type,
                &skill.source_locator,
                &skill.trust_level,
                &skill.metadata,
                skill.created_at,
                skill.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one skill.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Skill>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM company_skills WHERE id = $1")), p![id]).await
}

/// Returns the skills of a company, by key.
pub async fn list(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<Vec<Skill>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM company_skills WHERE company_id = $1 ORDER BY key LIMIT $2"
        )),
        p![company, limit],
    )
    .await
}

/// Replaces what a skill says; its key and its folder stay. Returns false when it is gone.
pub async fn rewrite(tx: &mut Tx<'_>, skill: &Skill) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE company_skills SET name = $2, description = $3, markdown = $4, metadata = $5, \
                 updated_at = $6 WHERE id = $1"
            ),
            p![
                &skill.id,
                &skill.name,
                &skill.description,
                &skill.markdown,
                &skill.metadata,
                skill.updated_at
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Removes a skill; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, StoreError> {
    Ok(tx.exec(sql!("DELETE FROM company_skills WHERE id = $1"), p![id]).await? == 1)
}
