//! Comments: what people and agents say on an issue.
//!
//! A comment is a patch that brings nothing else; what it does to the issue is `change`'s.

use domain::ids::{CommentId, IssueId};
use domain::issue::refusal::Kind;
use domain::run::RunStatus;
use serde_json::json;
use store::comments::{self, Comment, Order};
use store::{issues, runs_of_issues};

use super::change::{IssuePatch, Route};
use super::{Locks, agent_in};
use crate::activity::Author;
use crate::{Engine, EngineError, held_texts};

/// The longest list of comments.
pub const MOST_COMMENTS: i64 = 500;

/// Something to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommentDraft {
    pub body: String,
    /// Moves a closed issue to `todo`.
    pub reopen: bool,
    /// Asks to go on with the work.
    pub resume: bool,
    /// Stops the run under way before the comment is written. Only people may.
    pub interrupt: bool,
    /// Its author is not trusted: it is held until somebody releases it.
    pub is_from_outside: bool,
}

impl Engine {
    /// Writes a comment. When this returns, it and the orders of the wakes that follow are durable.
    pub async fn comment_on_issue(
        &self,
        issue: &IssueId,
        draft: CommentDraft,
        by: &Author,
    ) -> Result<Comment, EngineError> {
        let CommentDraft { body, reopen, resume, interrupt, is_from_outside } = draft;
        if is_from_outside && (reopen || resume || interrupt) {
            let words = "A comment from outside cannot reopen, resume or interrupt";
            return Err(EngineError::refused(Kind::Forbidden, words));
        }
        let comment = Some(body);
        let patch =
            IssuePatch { comment, reopen, resume, interrupt, is_from_outside, ..IssuePatch::default() };
        let patched = self.inner.change_issue(issue, patch, by, Route::Comment).await?;
        patched.comment.ok_or(EngineError::NotFound("Comment"))
    }

    /// Lists the comments of an issue behind a comment, at most [`MOST_COMMENTS`]. A comment that is not there is
    /// followed by nothing.
    pub async fn comments(
        &self,
        issue: &IssueId,
        order: Order,
        after: Option<CommentId>,
        limit: i64,
    ) -> Result<Vec<Comment>, EngineError> {
        let limit = limit.clamp(1, MOST_COMMENTS);
        let listed = self.inner.read((issue.clone(), after), move |tx, (issue, after)| {
            Box::pin(async move {
                if issues::get(tx, &issue).await?.is_none() {
                    return Ok(None);
                }
                let after = match after {
                    None => None,
                    Some(id) => match comments::get(tx, &id).await? {
                        Some(anchor) if anchor.issue_id == issue => Some((anchor.created_at, anchor.id)),
                        Some(_) | None => return Ok(Some(Vec::new())),
                    },
                };
                comments::list(tx, &issue, order, after, limit).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Returns one comment of an issue.
    pub async fn comment(&self, issue: &IssueId, comment: &CommentId) -> Result<Comment, EngineError> {
        let found = self
            .inner
            .read(comment.clone(), |tx, comment| Box::pin(async move { comments::get(tx, &comment).await }));
        let found = found.await?.filter(|comment| comment.issue_id == *issue);
        found.ok_or(EngineError::NotFound("Comment"))
    }

    /// Takes back a comment that no run has seen yet: its author wrote it while a run was under way, which does not take
    /// it in any more.
    pub async fn cancel_comment(
        &self,
        issue: &IssueId,
        comment: &CommentId,
        by: &Author,
    ) -> Result<Comment, EngineError> {
        let context = (issue.clone(), comment.clone());
        let cancelled =
            self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, comment)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(EngineError::NotFound("Issue"))?;
                    agent_in(tx, &scribe, &issue.company_id).await?;
                    let comment = comments::get(tx, &comment)
                        .await?
                        .filter(|comment| comment.issue_id == id)
                        .ok_or(EngineError::NotFound("Comment"))?;
                    let is_own = match &scribe.by {
                        Author::Agent { id, .. } => comment.author_agent_id.as_ref() == Some(id),
                        Author::Board { user, .. } => user.is_some() && comment.author_user_id == *user,
                        Author::System { .. } => false,
                    };
                    if !is_own {
                        let words = "Only the comment author can cancel queued comments";
                        return Err(EngineError::refused(Kind::Forbidden, words));
                    }
                    let live = runs_of_issues::live_of(tx, std::slice::from_ref(&id)).await?;
                    let running = live.into_iter().find(|run| run.status == RunStatus::Running);
                    let running = running.ok_or_else(|| {
                        EngineError::refused(Kind::Conflict, "Queued comment can no longer be canceled")
                    })?;
                    let is_seen = running.started_at.is_some_and(|at| comment.created_at < at);
                    if is_seen || comment.author_agent_id.as_ref() == Some(&running.agent_id) {
                        let words = "Only queued comments can be canceled";
                        return Err(EngineError::refused(Kind::Conflict, words));
                    }
                    comments::remove(tx, &comment.id).await?;
                    held_texts::forget_comment(tx, &scribe, &id, &comment.id).await?;
                    let details = json!({ "commentId": comment.id, "identifier": issue.identifier });
                    let company = &issue.company_id;
                    scribe.tell_issue(tx, company, "issue.comment_cancelled", &id, details).await?;
                    Ok(comment)
                })
            });
        cancelled.await
    }
}
