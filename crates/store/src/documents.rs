//! Documents of an issue, one for each key, with every revision that they ever had.
//!
//! A document holds its newest text; its revisions are never changed. Writing one names the revision that it was made
//! from, so that nobody writes over what they have not seen.

use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// A document as stored. In lists without bodies the body is empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub id: String,
    pub company_id: CompanyId,
    pub issue_id: IssueId,
    pub key: String,
    pub title: Option<String>,
    pub format: String,
    pub body: String,
    pub latest_revision_id: String,
    pub latest_revision_number: i64,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub updated_by_agent_id: Option<AgentId>,
    pub updated_by_user_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Document {
    id,
    company_id,
    issue_id,
    key,
    title,
    format,
    body,
    latest_revision_id,
    latest_revision_number,
    created_by_agent_id,
    created_by_user_id,
    updated_by_agent_id,
    updated_by_user_id,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, issue_id, key, title, format, body, latest_revision_id, latest_revision_number, \
         created_by_agent_id, created_by_user_id, updated_by_agent_id, updated_by_user_id, created_at, updated_at"
    };
}

/// The same, without the text.
macro_rules! summary {
    () => {
        "id, company_id, issue_id, key, title, format, '' AS body, latest_revision_id, latest_revision_number, \
         created_by_agent_id, created_by_user_id, updated_by_agent_id, updated_by_user_id, created_at, updated_at"
    };
}

/// A revision as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    pub id: String,
    pub company_id: CompanyId,
    pub document_id: String,
    pub issue_id: IssueId,
    pub key: String,
    pub revision_number: i64,
    pub title: Option<String>,
    pub format: String,
    pub body: String,
    pub change_summary: Option<String>,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub created_by_run_id: Option<RunId>,
    pub created_at: Moment,
}
from_row!(Revision {
    id,
    company_id,
    document_id,
    issue_id,
    key,
    revision_number,
    title,
    format,
    body,
    change_summary,
    created_by_agent_id,
    created_by_user_id,
    created_by_run_id,
    created_at
});

macro_rules! revision_columns {
    () => {
        "id, company_id, document_id, issue_id, key, revision_number, title, format, body, change_summary, \
         created_by_agent_id, created_by_user_id, created_by_run_id, created_at"
    };
}

/// Adds a document with its first revision; returns false, and adds nothing, when the issue has one of that key.
pub async fn create(tx: &mut Tx<'_>, document: &Document, revision: &Revision) -> Result<bool, StoreError> {
    let added = tx
        .exec(
        sql!(concat!(
            "INSERT INTO documents (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (issue_id, key) DO NOTHING"
        )),
        p![&document.id, &document.company_id, &document.issue_id, &document.key, &document.title, &document.format, &document.body, &document.latest_revision_id, document.latest_revision_number, &document.created_by_agent_id, &document.created_by_user_id, &document.updated_by_agent_id, &document.updated_by_user_id, document.created_at, document.updated_at],
        )
        .await?;
    if added == 0 {
        return Ok(false);
    }
    add_revision(tx, revision).await?;
    Ok(true)
}

/// Makes a revision the newest of its document, if `base` still is; returns false, and writes nothing, when it is not.
pub async fn revise(tx: &mut Tx<'_>, base: &str, revision: &Revision) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE documents SET title = $3, format = $4, body = $5, latest_revision_id = $6, \
                 latest_revision_number = $7, updated_by_agent_id = $8, updated_by_user_id = $9, updated_at = $10 \
                 WHERE id = $1 AND latest_revision_id = $2 AND latest_revision_number < $7"
            ),
            p![
                &revision.document_id, base, &revision.title, &revision.format, &revision.body, &revision.id,
                revision.revision_number, &revision.created_by_agent_id, &revision.created_by_user_id,
                revision.created_at
            ],
        )
        .await?;
    if changed == 0 {
        return Ok(false);
    }
    add_revision(tx, revision).await?;
    Ok(true)
}

async fn add_revision(tx: &mut Tx<'_>, revision: &Revision) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO document_revisions (",
            revision_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        )),
        p![
            &revision.id,
            &revision.company_id,
            &revision.document_id,
            &revision.issue_id,
            &revision.key,
            revision.revision_number,
            &revision.title,
            &revision.format,
            &revision.body,
            &revision.change_summary,
            &revision.created_by_agent_id,
            &revision.created_by_user_id,
            &revision.created_by_run_id,
            revision.created_at
        ],
    )
    .await
}

/// Returns the document of a key.
pub async fn get(tx: &mut Tx<'_>, issue: &IssueId, key: &str) -> Result<Option<Document>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM documents WHERE issue_id = $1 AND key = $2")),
        p![issue, key],
    )
    .await
}

/// Returns the document of a key and locks its row; behind its issue, if that is locked too.
pub async fn lock(tx: &mut Tx<'_>, issue: &IssueId, key: &str) -> Result<Option<Document>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM documents WHERE issue_id = $1 AND key = $2 /*+for_update*/"
        )),
        p![issue, key],
    )
    .await
}

/// Returns the documents of an issue with their texts, by key.
pub async fn list(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Document>, StoreError> {
    tx.rows_as(
        sql!(concat!("SELECT ", columns!(), " FROM documents WHERE issue_id = $1 ORDER BY key LIMIT $2")),
        p![issue, limit],
    )
    .await
}

/// Returns the documents of an issue without their texts, by key.
pub async fn summaries(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Document>, StoreError> {
    tx.rows_as(
        sql!(concat!("SELECT ", summary!(), " FROM documents WHERE issue_id = $1 ORDER BY key LIMIT $2")),
        p![issue, limit],
    )
    .await
}

/// Returns the revisions of a document, newest first.
pub async fn revisions(tx: &mut Tx<'_>, document: &str, limit: i64) -> Result<Vec<Revision>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            revision_columns!(),
            " FROM document_revisions WHERE document_id = $1 ORDER BY revision_number DESC LIMIT $2"
        )),
        p![document, limit],
    )
    .await
}

/// Returns one revision.
pub async fn revision(tx: &mut Tx<'_>, id: &str) -> Result<Option<Revision>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", revision_columns!(), " FROM document_revisions WHERE id = $1")), p![id])
        .await
}

/// Returns when and under which keys a run wrote revisions on an issue, oldest first.
pub async fn written_by_run(
    tx: &mut Tx<'_>,
    run: &RunId,
    issue: &IssueId,
    limit: i64,
) -> Result<Vec<(String, Moment)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT key, created_at FROM document_revisions WHERE created_by_run_id = $1 AND issue_id = $2 \
             ORDER BY created_at, id LIMIT $3"
        ),
        p![run, issue, limit],
    )
    .await
}

/// Removes a document with its revisions; returns false when it was gone.
pub async fn remove(tx: &mut Tx<'_>, issue: &IssueId, key: &str) -> Result<bool, StoreError> {
    Ok(tx.exec(sql!("DELETE FROM documents WHERE issue_id = $1 AND key = $2"), p![issue, key]).await? == 1)
}
