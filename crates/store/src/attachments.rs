//! What is known of the files of an issue. Their bytes lie in the data folder, which is not looked at here.

use domain::ids::{AgentId, CommentId, CompanyId, IssueId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// An attachment as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    pub id: String,
    pub company_id: CompanyId,
    pub issue_id: IssueId,
    pub issue_comment_id: Option<CommentId>,
    pub asset_id: String,
    pub provider: String,
    /// Where the bytes lie below the data folder.
    pub object_key: String,
    pub content_type: String,
    pub byte_size: i64,
    pub sha256: String,
    pub original_filename: Option<String>,
    pub created_by_agent_id: Option<AgentId>,
    pub created_by_user_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Attachment {
    id,
    company_id,
    issue_id,
    issue_comment_id,
    asset_id,
    provider,
    object_key,
    content_type,
    byte_size,
    sha256,
    original_filename,
    created_by_agent_id,
    created_by_user_id,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, issue_id, issue_comment_id, asset_id, provider, object_key, content_type, byte_size, \
         sha256, original_filename, created_by_agent_id, created_by_user_id, created_at, updated_at"
    };
}

/// Adds an attachment, whose bytes are safely in place.
pub async fn insert(tx: &mut Tx<'_>, attachment: &Attachment) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO attachments (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
        )),
        p![
            &attachment.id,
            &attachment.company_id,
            &attachment.issue_id,
            &attachment.issue_comment_id,
            &attachment.asset_id,
            &attachment.provider,
            &attachment.object_key,
            &attachment.content_type,
            attachment.byte_size,
            &attachment.sha256,
            &attachment.original_filename,
            &attachment.created_by_agent_id,
            &attachment.created_by_user_id,
            attachment.created_at,
            attachment.updated_at
        ],
    )
    .await
}

/// Returns one attachment.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Attachment>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM attachments WHERE id = $1")), p![id]).await
}

/// Returns the attachments of an issue, newest first.
pub async fn list(tx: &mut Tx<'_>, issue: &IssueId, limit: i64) -> Result<Vec<Attachment>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM attachments WHERE issue_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
        )),
        p![issue, limit],
    )
    .await
}

/// Removes an attachment; returns where its bytes lie, `None` when it was gone.
pub async fn remove(tx: &mut Tx<'_>, id: &str) -> Result<Option<String>, StoreError> {
    let row = tx.one(sql!("DELETE FROM attachments WHERE id = $1 RETURNING object_key"), p![id]).await?;
    row.map(|row| row.get(0)).transpose()
}
