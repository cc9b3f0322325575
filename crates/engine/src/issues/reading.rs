//! How far people have read an issue, and what they put out of their way.

use domain::ids::{IssueId, looks_like_id};
use domain::issue::refusal::Kind;
use serde_json::json;
use store::issues;
use store::reads::{self, ReadState};

use super::Locks;
use crate::activity::Author;
use crate::{Engine, EngineError};

/// What a person does with an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMark {
    Read,
    Unread,
    Archived,
    Unarchived,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    /// As it is now; `None`: nothing was known of the person and the issue.
    pub state: Option<ReadState>,
    /// Something was there to be taken back.
    pub removed: bool,
}

impl Engine {
    /// Notes that a person has read an issue, or put it out of the way, or takes that back.
    pub async fn mark_issue(
        &self,
        issue: &IssueId,
        mark: ReadMark,
        by: &Author,
    ) -> Result<Marked, EngineError> {
        let user =
            by.user_id().ok_or_else(|| EngineError::refused(Kind::Forbidden, "Board access required"))?;
        if !looks_like_id(issue.as_str()) {
            return Err(EngineError::NotFound("Issue"));
        }
        let context = (issue.clone(), user);
        let marked =
            self.inner.change(by, Locks::default(), context, move |tx, mut scribe, _, (id, user)| {
                Box::pin(async move {
                    let issue = issues::get(tx, &id).await?.ok_or(EngineError::NotFound("Issue"))?;
                    let (company, now) = (&issue.company_id, scribe.now);
                    let (action, removed) = match mark {
                        ReadMark::Read => {
                            reads::mark_read(tx, company, &id, &user, now).await?;
                            ("issue.read_marked", false)
                        }
                        ReadMark::Unread => {
                            ("issue.read_unmarked", reads::unmark(tx, &id, &user, now).await?)
                        }
                        ReadMark::Archived => {
                            reads::archive(tx, company, &id, &user, now).await?;
                            ("issue.inbox_archived", false)
                        }
                        ReadMark::Unarchived => {
                            ("issue.inbox_unarchived", reads::unarchive(tx, &id, &user, now).await?)
                        }
                    };
                    scribe.tell_issue(tx, company, action, &id, json!({ "userId": user })).await?;
                    Ok(Marked { state: reads::get(tx, &id, &user).await?, removed })
                })
            });
        marked.await
    }
}
