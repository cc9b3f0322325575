//! A change of an issue: a patch, and a comment, which is a patch that brings nothing else.
//!
//! What becomes of the issue is `domain::issue::change`. `change::plan` gathers the facts it asks for and judges;
//! `change::write` writes what follows: the row, its edges and labels, the comment, the run that is stopped, what is
//! told, who is woken. All of it is one transaction.

mod plan;
mod write;

use std::sync::Arc;

use domain::ids::{AgentId, IssueId, RunId};
use domain::issue::refusal::Refusal;
use domain::issue::{IssueStatus, Priority};
use domain::moment::Moment;
use serde_json::Value as Json;
use store::Tx;
use store::comments::Comment;
use store::issues::Issue;

use self::plan::{foresee, needs, plan};
use self::write::write;
use super::facts::{Again, Locks};
use super::texts::{BODY, NAME, Sheet, TITLE};
use crate::activity::{Author, Scribe};
use crate::stops::StopReport;
use crate::{Engine, EngineError, Inner};

/// A change of an issue: what is `None` stays. The inner `None` of a double option clears the field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IssuePatch {
    pub title: Option<String>,
    pub description: Option<Option<String>>,
    pub status: Option<IssueStatus>,
    pub priority: Option<Priority>,
    pub project_id: Option<Option<String>>,
    pub project_workspace_id: Option<Option<String>>,
    pub goal_id: Option<Option<String>>,
    pub parent_id: Option<Option<IssueId>>,
    /// It goes on where this issue is worked on.
    pub inherit_execution_workspace_from: Option<IssueId>,
    /// An id or a short name.
    pub assignee_agent: Option<Option<String>>,
    pub assignee_user_id: Option<Option<String>>,
    pub blocked_by: Option<Vec<IssueId>>,
    pub label_ids: Option<Vec<String>>,
    pub request_depth: Option<i64>,
    pub billing_code: Option<Option<String>>,
    pub assignee_adapter_overrides: Option<Option<Json>>,
    pub execution_policy: Option<Option<Json>>,
    pub execution_workspace_id: Option<Option<String>>,
    pub execution_workspace_preference: Option<Option<String>>,
    pub execution_workspace_settings: Option<Option<Json>>,
    pub hidden_at: Option<Option<Moment>>,
    pub comment: Option<String>,
    /// Instructions for who reviews.
    pub review_request: Option<Option<String>>,
    pub reopen: bool,
    pub resume: bool,
    pub interrupt: bool,
    /// Its author is not trusted: the comment is held until somebody releases it.
    pub is_from_outside: bool,
}

/// A changed issue.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    pub issue: Issue,
    pub comment: Option<Comment>,
    /// The run that was stopped by it.
    pub stopped_run: Option<RunId>,
}

/// On which way a change comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::issues) enum Route {
    Patch,
    Comment,
}

impl Engine {
    /// Changes an issue. When this returns, the change, what is told of it and the orders of its wakes are durable.
    pub async fn patch_issue(
        &self,
        issue: &IssueId,
        patch: IssuePatch,
        by: &Author,
    ) -> Result<Patched, EngineError> {
        self.inner.change_issue(issue, patch, by, Route::Patch).await
    }
}

impl Inner {
    /// Changes an issue, and has the run that the change stops hear of it.
    pub(in crate::issues) async fn change_issue(
        self: &Arc<Self>,
        issue: &IssueId,
        patch: IssuePatch,
        by: &Author,
        route: Route,
    ) -> Result<Patched, EngineError> {
        check(&patch, route)?;
        let context = (issue.clone(), Arc::new(patch), route);
        let changed =
            self.change_widely(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, patch, route)| {
                Box::pin(async move { attempt(tx, &mut scribe, &locks, &id, &patch, route).await })
            });
        let Written { patched, stop } = changed.await?;
        if let Some((agent, report, words)) = stop {
            self.after_stop(&Some(agent), &report, &words);
        }
        Ok(patched)
    }
}

/// What was written.
struct Written {
    patched: Patched,
    /// The agent whose run was stopped, what the stop did, and its words.
    stop: Option<(AgentId, StopReport, String)>,
}

async fn attempt(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locks: &Locks,
    id: &IssueId,
    patch: &IssuePatch,
    route: Route,
) -> Result<Written, Again> {
    // What the change will most likely need is locked at once.
    let locks = locks.with(&foresee(tx, id, patch).await?);
    let locked = locks.take(tx).await?;
    let issue = locked.issues.get(id).ok_or(Refusal::IssueNotFound)?;
    let plan = plan(tx, scribe, issue, patch).await?;
    let needed = needs(tx, &plan).await?;
    if !locks.holds(&needed) {
        return Err(Again::Wider(locks.with(&needed)));
    }
    Ok(write(tx, scribe, &locked, plan, patch, route).await?)
}

fn check(patch: &IssuePatch, route: Route) -> Result<(), EngineError> {
    let flat = |value: &Option<Option<String>>| value.clone().flatten();
    let mut sheet = Sheet::default();
    if let Some(title) = &patch.title {
        sheet.required("title", title, TITLE);
    }
    sheet.maybe("description", flat(&patch.description).as_deref(), BODY);
    sheet.id("projectId", flat(&patch.project_id).as_deref());
    sheet.id("projectWorkspaceId", flat(&patch.project_workspace_id).as_deref());
    sheet.id("goalId", flat(&patch.goal_id).as_deref());
    sheet.id("parentId", patch.parent_id.as_ref().and_then(Option::as_ref).map(IssueId::as_str));
    let inherits = patch.inherit_execution_workspace_from.as_ref();
    sheet.id("inheritExecutionWorkspaceFromIssueId", inherits.map(IssueId::as_str));
    if let Some(Some(agent)) = &patch.assignee_agent {
        sheet.required("assigneeAgentId", agent, NAME);
    }
    sheet.maybe("assigneeUserId", flat(&patch.assignee_user_id).as_deref(), NAME);
    sheet.ids("blockedByIssueIds", patch.blocked_by.iter().flatten().map(IssueId::as_str));
    sheet.ids("labelIds", patch.label_ids.iter().flatten().map(String::as_str));
    sheet.depth(patch.request_depth);
    sheet.maybe("billingCode", flat(&patch.billing_code).as_deref(), NAME);
    let overrides = patch.assignee_adapter_overrides.as_ref().and_then(Option::as_ref);
    sheet.object("assigneeAdapterOverrides", overrides);
    sheet.object("executionPolicy", patch.execution_policy.as_ref().and_then(Option::as_ref));
    sheet.id("executionWorkspaceId", flat(&patch.execution_workspace_id).as_deref());
    sheet.maybe("executionWorkspacePreference", flat(&patch.execution_workspace_preference).as_deref(), NAME);
    let settings = patch.execution_workspace_settings.as_ref().and_then(Option::as_ref);
    sheet.object("executionWorkspaceSettings", settings);
    if let Some(comment) = &patch.comment {
        let path = match route {
            Route::Patch => "comment",
            Route::Comment => "body",
        };
        sheet.required(path, comment, BODY);
    }
    if let Some(Some(instructions)) = &patch.review_request {
        sheet.required("reviewRequest.instructions", instructions, 20_000);
    }
    sheet.finish()
}
