//! Attachments: what is known of the files of an issue. Their bytes lie in the data folder, below `attachments/`.
//!
//! Bytes are written and flushed before the row that names them: a row without its file cannot be, and a file without
//! a row is only room that was wasted.

use std::path::{Path, PathBuf};

use domain::ids::{CommentId, IssueId};
use domain::issue::refusal::Kind;
use serde_json::json;
use store::attachments::{self, Attachment};
use store::{comments, issues};

use super::texts::{NAME, Sheet};
use super::{Locks, guard};
use crate::activity::Author;
use crate::digest;
use crate::{Engine, EngineError};

/// As many attachments as an issue is shown with.
pub(crate) const MOST_ATTACHMENTS: i64 = 500;

/// A new file.
#[derive(Debug, Clone, PartialEq)]
pub struct AttachmentDraft {
    pub comment: Option<CommentId>,
    pub content_type: String,
    pub original_filename: Option<String>,
    pub bytes: Vec<u8>,
}

impl Engine {
    /// Lists the attachments of an issue, newest first.
    pub async fn attachments(&self, issue: &IssueId) -> Result<Vec<Attachment>, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, issue| {
            Box::pin(async move {
                if issues::get(tx, &issue).await?.is_none() {
                    return Ok(None);
                }
                attachments::list(tx, &issue, MOST_ATTACHMENTS).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Returns one attachment.
    pub async fn attachment(&self, id: &str) -> Result<Attachment, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { attachments::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Attachment"))
    }

    /// Where the bytes of an attachment lie.
    pub fn attachment_path(&self, attachment: &Attachment) -> PathBuf {
        self.inner.settings.data_dir.join(&attachment.object_key)
    }

    /// Adds a file to an issue.
    pub async fn create_attachment(
        &self,
        issue: &IssueId,
        draft: AttachmentDraft,
        by: &Author,
    ) -> Result<Attachment, EngineError> {
        if draft.bytes.is_empty() {
            return Err(EngineError::refused(Kind::Unprocessable, "Attachment is empty"));
        }
        let mut sheet = Sheet::default();
        sheet.text("contentType", &draft.content_type, NAME);
        sheet.maybe("filename", draft.original_filename.as_deref(), NAME);
        sheet.id("issueCommentId", draft.comment.as_ref().map(CommentId::as_str));
        sheet.finish()?;
        let asset = self.new_id();
        let object_key = format!("attachments/{asset}");
        let sha256 = digest::sha256(&draft.bytes);
        let size = i64::try_from(draft.bytes.len()).unwrap_or(i64::MAX);
        let path = self.inner.settings.data_dir.join(&object_key);
        keep(path.clone(), draft.bytes).await?;
        let said = (draft.comment, draft.content_type, draft.original_filename);
        let context = (issue.clone(), said, (asset, object_key, sha256, size));
        let added =
            self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, said, kept)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(EngineError::NotFound("Issue"))?;
                    let custodian = guard(tx, &scribe, issue).await?;
                    let (comment, content_type, original_filename) = said;
                    if let Some(comment) = &comment {
                        let found = comments::get(tx, comment).await?;
                        if found.is_none_or(|comment| comment.issue_id != id) {
                            return Err(EngineError::NotFound("Comment"));
                        }
                    }
                    let (asset_id, object_key, sha256, byte_size) = kept;
                    let attachment = Attachment {
                        id: scribe.id(),
                        company_id: issue.company_id.clone(),
                        issue_id: id.clone(),
                        issue_comment_id: comment,
                        asset_id,
                        provider: "local_disk".to_owned(),
                        object_key,
                        content_type,
                        byte_size,
                        sha256,
                        original_filename,
                        created_by_agent_id: scribe.by.agent_id(),
                        created_by_user_id: scribe.by.user_id(),
                        created_at: scribe.now,
                        updated_at: scribe.now,
                    };
                    attachments::insert(tx, &attachment).await?;
                    custodian.keep(tx, &mut scribe, issue).await?;
                    let company = &issue.company_id;
                    scribe
                        .tell_issue(tx, company, "issue.attachment_added", &id, details(&attachment))
                        .await?;
                    issues::touch(tx, &id, scribe.now).await?;
                    Ok(attachment)
                })
            });
        let added = added.await;
        if matches!(added, Err(ref error) if !matches!(error, EngineError::Store(_))) {
            // Refused: nobody will ever name the file. After a fault of the store that is not known.
            forget(&path).await;
        }
        added
    }

    /// Removes an attachment and its bytes.
    pub async fn delete_attachment(&self, id: &str, by: &Author) -> Result<(), EngineError> {
        let attachment = self.attachment(id).await?;
        let context = (id.to_owned(), attachment.issue_id.clone());
        let removed = self.inner.change(
            by,
            Locks::of(&attachment.issue_id),
            context,
            |tx, mut scribe, locks, (id, issue)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&issue).ok_or(EngineError::NotFound("Issue"))?;
                    let custodian = guard(tx, &scribe, issue).await?;
                    let attachment =
                        attachments::get(tx, &id).await?.ok_or(EngineError::NotFound("Attachment"))?;
                    attachments::remove(tx, &id).await?;
                    custodian.keep(tx, &mut scribe, issue).await?;
                    let (company, told) = (&issue.company_id, details(&attachment));
                    scribe.tell_issue(tx, company, "issue.attachment_removed", &issue.id, told).await?;
                    issues::touch(tx, &issue.id, scribe.now).await?;
                    Ok(())
                })
            },
        );
        removed.await?;
        forget(&self.attachment_path(&attachment)).await;
        Ok(())
    }
}

fn details(attachment: &Attachment) -> serde_json::Value {
    json!({
        "attachmentId": attachment.id, "originalFilename": attachment.original_filename,
        "contentType": attachment.content_type, "byteSize": attachment.byte_size,
    })
}

/// Puts bytes in their place, durably.
async fn keep(path: PathBuf, bytes: Vec<u8>) -> Result<(), EngineError> {
    let kept = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        std::fs::create_dir_all(&folder)?;
        let mut file = std::fs::File::create_new(&path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::File::open(&folder)?.sync_all()
    });
    let failed = match kept.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(crate::processes::ProcessError::Other(format!("keep the attachment: {failed}")).into())
}

/// Removes a file that nobody names; one that stays is only room that is wasted.
pub(super) async fn forget(path: &Path) {
    if let Err(error) = tokio::fs::remove_file(path).await {
        tracing::warn!(path = %path.display(), %error, "cannot remove the attachment");
    }
}
