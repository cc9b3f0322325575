//! What an agent reads first in a run: its issue with everything around it, small enough to be read in one go.

use domain::ids::{CommentId, IssueId};
use domain::issue::attention::Attention;
use domain::moment::Moment;
use store::attachments::{self, Attachment};
use store::comments::{self, Comment, Order};
use store::documents::{self, Document};
use store::execution_workspaces::ExecutionWorkspace;
use store::goals::Goal;
use store::issues::{self, Issue};
use store::relations::{self, Related};
use store::{StoreError, Tx};

use super::attachments::MOST_ATTACHMENTS;
use super::documents::SYSTEM_KEY;
use super::lists;
use crate::projects::ProjectCard;
use crate::{Engine, EngineError};

/// As many edges as an agent is told of.
const MOST_RELATED: i64 = 200;

/// `HeartbeatContext` of the wire (spec/api.md 3.16).
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatContext {
    pub issue: Issue,
    pub attention: Attention,
    pub blocked_by: Vec<Related>,
    pub blocks: Vec<Related>,
    /// The parent first.
    pub ancestors: Vec<Issue>,
    pub project: Option<ProjectCard>,
    /// Its own goal, else its project's, else the company's.
    pub goal: Option<Goal>,
    pub cursor: CommentCursor,
    /// The comment that woke the agent, if it belongs to this issue.
    pub wake_comment: Option<Comment>,
    pub attachments: Vec<Attachment>,
    /// What an earlier run left for those after it.
    pub continuation_summary: Option<Document>,
    /// Where it is worked on.
    pub place: Option<ExecutionWorkspace>,
}

/// How far the comments of an issue go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentCursor {
    pub total: i64,
    pub latest: Option<(CommentId, Moment)>,
}

impl Engine {
    /// Returns what an agent reads first of an issue.
    pub async fn heartbeat_context(
        &self,
        issue: &IssueId,
        wake_comment: Option<CommentId>,
    ) -> Result<HeartbeatContext, EngineError> {
        let found = self.inner.read((issue.clone(), wake_comment), |tx, (id, wake_comment)| {
            Box::pin(async move {
                let Some(issue) = issues::get(tx, &id).await? else { return Ok(None) };
                load(tx, issue, wake_comment).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Issue"))
    }
}

async fn load(
    tx: &mut Tx<'_>,
    issue: Issue,
    wake_comment: Option<CommentId>,
) -> Result<HeartbeatContext, StoreError> {
    let id = issue.id.clone();
    let wake_comment = match wake_comment {
        None => None,
        Some(comment) => comments::get(tx, &comment).await?.filter(|comment| comment.issue_id == id),
    };
    let latest = comments::list(tx, &id, Order::NewestFirst, None, 1).await?.into_iter().next();
    let blocked_by = relations::blockers(tx, &id, MOST_RELATED).await?;
    let (project, goal) = lists::place_of(tx, &issue).await?;
    Ok(HeartbeatContext {
        attention: lists::attention_of(tx, &issue, &blocked_by).await?,
        blocked_by,
        blocks: relations::dependents(tx, &id, MOST_RELATED).await?,
        ancestors: issues::ancestors(tx, &id, issues::MOST_ANCESTORS).await?,
        project,
        goal,
        cursor: CommentCursor {
            total: comments::count(tx, &id).await?,
            latest: latest.map(|comment| (comment.id, comment.created_at)),
        },
        wake_comment,
        attachments: attachments::list(tx, &id, MOST_ATTACHMENTS).await?,
        continuation_summary: documents::get(tx, &id, SYSTEM_KEY).await?,
        place: lists::current_place(tx, &issue).await?,
        issue,
    })
}
