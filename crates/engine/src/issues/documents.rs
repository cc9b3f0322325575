//! Documents of issues: texts under a key, with every revision kept.
//!
//! Who writes over a revision says which one it has read; somebody else's text is never overwritten unseen.

use domain::ids::IssueId;
use domain::issue::refusal::Kind;
use serde_json::json;
use store::documents::{self, Document, Revision};
use store::issues::{self, Issue};

use super::texts::{BODY, Sheet};
use super::{Custodian, Locks, guard};
use crate::activity::{Author, Scribe};
use crate::{Engine, EngineError, interactions};

/// The longest key.
const KEY: usize = 64;
/// The longest title of a document.
const DOCUMENT_TITLE: usize = 200;
/// The longest summary of a change.
const SUMMARY: usize = 500;
/// As many documents as an issue is shown with.
pub(crate) const MOST_DOCUMENTS: i64 = 200;
/// As many revisions as a document is shown with.
const MOST_REVISIONS: i64 = 1_000;
/// The document that the program itself writes; it is left out of lists.
pub(crate) const SYSTEM_KEY: &str = "continuation-summary";

/// A new text of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentDraft {
    pub title: Option<String>,
    /// `markdown`.
    pub format: String,
    pub body: String,
    pub change_summary: Option<String>,
    /// The revision that the writer has read; `None`: there is none yet.
    pub base_revision_id: Option<String>,
}

/// A document that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentSaved {
    pub document: Document,
    /// It is new.
    pub created: bool,
    /// The text before.
    pub previous_body: Option<String>,
}

impl Engine {
    /// Lists the documents of an issue with their texts, by key.
    pub async fn documents(&self, issue: &IssueId, with_system: bool) -> Result<Vec<Document>, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, issue| {
            Box::pin(async move {
                if issues::get(tx, &issue).await?.is_none() {
                    return Ok(None);
                }
                documents::list(tx, &issue, MOST_DOCUMENTS).await.map(Some)
            })
        });
        let mut listed = found.await?.ok_or(EngineError::NotFound("Issue"))?;
        listed.retain(|document| with_system || document.key != SYSTEM_KEY);
        Ok(listed)
    }

    /// Returns the document of a key.
    pub async fn document(&self, issue: &IssueId, key: &str) -> Result<Document, EngineError> {
        let key = checked_key(key)?;
        let found = self.inner.read((issue.clone(), key), |tx, (issue, key)| {
            Box::pin(async move { documents::get(tx, &issue, &key).await })
        });
        found.await?.ok_or(EngineError::NotFound("Document"))
    }

    /// Lists the revisions of a document, newest first.
    pub async fn document_revisions(&self, issue: &IssueId, key: &str) -> Result<Vec<Revision>, EngineError> {
        let key = checked_key(key)?;
        let found = self.inner.read((issue.clone(), key), |tx, (issue, key)| {
            Box::pin(async move {
                let Some(document) = documents::get(tx, &issue, &key).await? else { return Ok(None) };
                documents::revisions(tx, &document.id, MOST_REVISIONS).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Document"))
    }

    /// Writes a document: a new one, or a revision over the one that the writer has read.
    pub async fn put_document(
        &self,
        issue: &IssueId,
        key: &str,
        draft: DocumentDraft,
        by: &Author,
    ) -> Result<DocumentSaved, EngineError> {
        let key = checked_key(key)?;
        check(&draft)?;
        let context = (issue.clone(), key, draft);
        let put =
            self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, key, draft)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(EngineError::NotFound("Issue"))?;
                    let custodian = guard(tx, &scribe, issue).await?;
                    let now = documents::lock(tx, &id, &key).await?;
                    match (now, &draft.base_revision_id) {
                        (None, None) => create(tx, &mut scribe, (issue, &custodian), &key, &draft).await,
                        (None, Some(_)) => Err(EngineError::refused_with(
                            Kind::Conflict,
                            "Document does not exist yet",
                            json!({ "key": key }),
                        )),
                        (Some(document), base) => {
                            stale(&document, base.as_deref())?;
                            let text = Text {
                                title: draft.title.clone(),
                                format: draft.format.clone(),
                                body: draft.body.clone(),
                                summary: draft.change_summary.clone(),
                            };
                            let told = ("issue.document_updated", json!({}));
                            revise(tx, &mut scribe, (issue, &custodian), document, text, told).await
                        }
                    }
                })
            });
        put.await
    }

    /// Makes the text of an earlier revision the newest one.
    pub async fn restore_document(
        &self,
        issue: &IssueId,
        key: &str,
        revision: &str,
        by: &Author,
    ) -> Result<DocumentSaved, EngineError> {
        let context = (issue.clone(), checked_key(key)?, revision.to_owned());
        let restored =
            self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, key, revision)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(EngineError::NotFound("Issue"))?;
                    let custodian = guard(tx, &scribe, issue).await?;
                    let document =
                        documents::lock(tx, &id, &key).await?.ok_or(EngineError::NotFound("Document"))?;
                    let old = documents::revision(tx, &revision)
                        .await?
                        .filter(|old| old.document_id == document.id)
                        .ok_or(EngineError::NotFound("Revision"))?;
                    if old.id == document.latest_revision_id {
                        let words = "Selected revision is already the latest revision";
                        return Err(EngineError::refused(Kind::Conflict, words));
                    }
                    let details = json!({
                        "restoredFromRevisionId": old.id, "restoredFromRevisionNumber": old.revision_number,
                    });
                    let summary = Some(format!("Restored from revision {}", old.revision_number));
                    let text = Text { title: old.title, format: old.format, body: old.body, summary };
                    let told = ("issue.document_restored", details);
                    revise(tx, &mut scribe, (issue, &custodian), document, text, told).await
                })
            });
        restored.await
    }

    /// Removes a document with its revisions. Only people may.
    pub async fn delete_document(&self, issue: &IssueId, key: &str, by: &Author) -> Result<(), EngineError> {
        if !by.is_board() {
            return Err(EngineError::refused(Kind::Forbidden, "Board authentication required"));
        }
        let context = (issue.clone(), checked_key(key)?);
        let deleted = self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, key)| {
            Box::pin(async move {
                let locked = locks.take(tx).await?;
                let issue = locked.issues.get(&id).ok_or(EngineError::NotFound("Issue"))?;
                let document =
                    documents::lock(tx, &id, &key).await?.ok_or(EngineError::NotFound("Document"))?;
                documents::remove(tx, &id, &key).await?;
                let details = json!({ "key": key, "documentId": document.id, "title": document.title });
                let company = &issue.company_id;
                scribe.tell_issue(tx, company, "issue.document_deleted", &id, details).await?;
                issues::touch(tx, &id, scribe.now).await?;
                Ok(())
            })
        });
        deleted.await
    }
}

/// A text on its way into a revision.
struct Text {
    title: Option<String>,
    format: String,
    body: String,
    summary: Option<String>,
}

async fn create(
    tx: &mut store::Tx<'_>,
    scribe: &mut Scribe,
    (issue, custodian): (&Issue, &Custodian),
    key: &str,
    draft: &DocumentDraft,
) -> Result<DocumentSaved, EngineError> {
    let (agent, user) = (scribe.by.agent_id(), scribe.by.user_id());
    let revision = Revision {
        id: scribe.id(),
        company_id: issue.company_id.clone(),
        document_id: scribe.id(),
        issue_id: issue.id.clone(),
        key: key.to_owned(),
        revision_number: 1,
        title: draft.title.clone(),
        format: draft.format.clone(),
        body: draft.body.clone(),
        change_summary: draft.change_summary.clone(),
        created_by_agent_id: agent.clone(),
        created_by_user_id: user.clone(),
        created_by_run_id: scribe.by.run_id(),
        created_at: scribe.now,
    };
    let document = Document {
        id: revision.document_id.clone(),
        company_id: issue.company_id.clone(),
        issue_id: issue.id.clone(),
        key: key.to_owned(),
        title: revision.title.clone(),
        format: revision.format.clone(),
        body: revision.body.clone(),
        latest_revision_id: revision.id.clone(),
        latest_revision_number: 1,
        created_by_agent_id: agent.clone(),
        created_by_user_id: user.clone(),
        updated_by_agent_id: agent,
        updated_by_user_id: user,
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    if !documents::create(tx, &document, &revision).await? {
        let words = "Document key already exists on this issue";
        return Err(EngineError::refused_with(Kind::Conflict, words, json!({ "key": key })));
    }
    custodian.keep(tx, scribe, issue).await?;
    tell(tx, scribe, issue, "issue.document_created", &document, json!({})).await?;
    Ok(DocumentSaved { document, created: true, previous_body: None })
}

async fn revise(
    tx: &mut store::Tx<'_>,
    scribe: &mut Scribe,
    (issue, custodian): (&Issue, &Custodian),
    before: Document,
    text: Text,
    (action, details): (&str, serde_json::Value),
) -> Result<DocumentSaved, EngineError> {
    let revision = Revision {
        id: scribe.id(),
        company_id: issue.company_id.clone(),
        document_id: before.id.clone(),
        issue_id: issue.id.clone(),
        key: before.key.clone(),
        revision_number: before.latest_revision_number + 1,
        title: text.title,
        format: text.format,
        body: text.body,
        change_summary: text.summary,
        created_by_agent_id: scribe.by.agent_id(),
        created_by_user_id: scribe.by.user_id(),
        created_by_run_id: scribe.by.run_id(),
        created_at: scribe.now,
    };
    if !documents::revise(tx, &before.latest_revision_id, &revision).await? {
        return Err(EngineError::refused_with(
            Kind::Conflict,
            "Document was updated by someone else",
            json!({ "currentRevisionId": before.latest_revision_id }),
        ));
    }
    let document = Document {
        title: revision.title.clone(),
        format: revision.format.clone(),
        body: revision.body.clone(),
        latest_revision_id: revision.id.clone(),
        latest_revision_number: revision.revision_number,
        updated_by_agent_id: revision.created_by_agent_id.clone(),
        updated_by_user_id: revision.created_by_user_id.clone(),
        updated_at: scribe.now,
        ..before.clone()
    };
    custodian.keep(tx, scribe, issue).await?;
    tell(tx, scribe, issue, action, &document, details).await?;
    interactions::expire_stale_targets(tx, scribe, issue, &document).await?;
    Ok(DocumentSaved { document, created: false, previous_body: Some(before.body) })
}

async fn tell(
    tx: &mut store::Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    action: &str,
    document: &Document,
    more: serde_json::Value,
) -> Result<(), EngineError> {
    let mut details = json!({
        "key": document.key, "documentId": document.id, "title": document.title, "format": document.format,
        "revisionNumber": document.latest_revision_number,
    });
    if let (Some(details), Some(more)) = (details.as_object_mut(), more.as_object()) {
        details.extend(more.clone());
    }
    scribe.tell_issue(tx, &issue.company_id, action, &issue.id, details).await?;
    issues::touch(tx, &issue.id, scribe.now).await?;
    Ok(())
}

/// Whether the writer has read another revision than the newest, or does not say which.
fn stale(document: &Document, base: Option<&str>) -> Result<(), EngineError> {
    let words = match base {
        None => "Document update requires baseRevisionId",
        Some(base) if base != document.latest_revision_id => "Document was updated by someone else",
        Some(_) => return Ok(()),
    };
    let details = json!({ "currentRevisionId": document.latest_revision_id });
    Err(EngineError::refused_with(Kind::Conflict, words, details))
}

/// A key in small letters: `^[a-z0-9][a-z0-9_-]*$`, at most 64 characters.
fn checked_key(key: &str) -> Result<String, EngineError> {
    let key = key.trim().to_lowercase();
    let first = key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let rest = key
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'));
    if first && rest && key.len() <= KEY {
        return Ok(key);
    }
    Err(EngineError::refused(Kind::Invalid, "Invalid document key"))
}

fn check(draft: &DocumentDraft) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.maybe("title", draft.title.as_deref(), DOCUMENT_TITLE);
    sheet.word("format", &draft.format, &["markdown"]);
    sheet.text("body", &draft.body, BODY);
    sheet.maybe("changeSummary", draft.change_summary.as_deref(), SUMMARY);
    sheet.id("baseRevisionId", draft.base_revision_id.as_deref());
    sheet.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_small_letters_digits_and_dashes() {
        assert_eq!(checked_key("Plan").unwrap(), "plan");
        assert_eq!(checked_key("0-a_b").unwrap(), "0-a_b");
        let long = "a".repeat(65);
        for bad in ["", "-a", "a b", "ä", "a/b", long.as_str()] {
            assert!(checked_key(bad).is_err(), "{bad}");
        }
    }
}
