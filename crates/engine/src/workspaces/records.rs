//! Execution workspaces as people and agents see and change them.
//!
//! What only names a workspace may be changed; where a worktree lies and on which branch is the server's own, because it
//! is what closing goes by.

use domain::ids::{CompanyId, RunId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use domain::workspace::Status;
use serde_json::{Value as Json, json};
use store::execution_workspaces::{self as rows, ExecutionWorkspace, Filter};
use store::run_outputs::{self, RunOutputs};
use store::workspace_operations::{self as operations, WorkspaceOperation};

use super::outputs::{self, Since};
use crate::activity::Author;
use crate::environments::check_choice;
use crate::issues::{Locks, agent_in};
use crate::{Engine, EngineError};

/// The longest list of workspaces.
pub const MOST_WORKSPACES: i64 = 1_000;
const MOST_OPERATIONS: i64 = 1_000;

/// A change of a workspace: what is `None` stays. The inner `None` of a double option clears the field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecutionWorkspacePatch {
    pub name: Option<String>,
    /// Any but `archived`: closing is asked for by itself.
    pub status: Option<String>,
    pub base_ref: Option<Option<String>>,
    pub cleanup_eligible_at: Option<Option<Moment>>,
    pub cleanup_reason: Option<Option<String>>,
    /// Keys of `config` that change; null clears one.
    pub config: Option<Option<Json>>,
    pub metadata: Option<Option<Json>>,
}

impl Engine {
    /// Lists the execution workspaces of a company, last used first.
    pub async fn execution_workspaces(
        &self,
        company: &CompanyId,
        filter: Filter,
        limit: i64,
    ) -> Result<Vec<ExecutionWorkspace>, EngineError> {
        let limit = limit.clamp(1, MOST_WORKSPACES);
        let listed = self.inner.read((company.clone(), filter), move |tx, (company, filter)| {
            Box::pin(async move { rows::list(tx, &company, &filter, limit).await })
        });
        Ok(listed.await?)
    }

    /// Finds an execution workspace, whatever company it belongs to.
    pub async fn execution_workspace(&self, id: &str) -> Result<ExecutionWorkspace, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { rows::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Execution workspace"))
    }

    /// What was done to a workspace, oldest first.
    pub async fn workspace_operations(&self, id: &str) -> Result<Vec<WorkspaceOperation>, EngineError> {
        let found = self.inner.read(id.to_owned(), |tx, id| {
            Box::pin(async move { operations::of_workspace(tx, &id, MOST_OPERATIONS).await })
        });
        Ok(found.await?)
    }

    /// What was done to workspaces for a run, oldest first.
    pub async fn run_operations(&self, run: &RunId) -> Result<Vec<WorkspaceOperation>, EngineError> {
        let found = self.inner.read(run.clone(), |tx, run| {
            Box::pin(async move { operations::of_run(tx, &run, MOST_OPERATIONS).await })
        });
        Ok(found.await?)
    }

    /// One operation with what it printed.
    pub async fn workspace_operation(
        &self,
        id: &str,
    ) -> Result<(WorkspaceOperation, Option<String>), EngineError> {
        let found = self.inner.read(id.to_owned(), |tx, id| {
            Box::pin(async move {
                let Some(row) = operations::get(tx, &id).await? else { return Ok(None) };
                Ok(Some((row, operations::log(tx, &id).await?)))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Workspace operation"))
    }

    /// What came out of a run; `None` when it worked in no repository, or is not over.
    pub async fn run_outputs(&self, run: &RunId) -> Result<Option<RunOutputs>, EngineError> {
        let found =
            self.inner.read(run.clone(), |tx, run| Box::pin(async move { run_outputs::get(tx, &run).await }));
        Ok(found.await?)
    }

    /// What a run changed, as a patch, and whether something of it is left out.
    pub async fn run_patch(&self, run: &RunId) -> Result<Option<(String, bool)>, EngineError> {
        let found = self
            .inner
            .read(run.clone(), |tx, run| Box::pin(async move { run_outputs::patch(tx, &run).await }));
        Ok(found.await?)
    }

    /// What a workspace has come to since it was made, as a patch, and whether something of it is left out. Looked at
    /// now, while somebody may be working there.
    pub async fn workspace_patch(&self, id: &str) -> Result<(String, bool), EngineError> {
        let row = self.execution_workspace(id).await?;
        let refused = |message: String| EngineError::Conflict { message, details: None };
        let Some(base) = row.base_commit.clone().filter(|_| row.is_worktree() && !row.is_closed()) else {
            return Err(refused("The workspace has no worktree; see the diffs of its runs".to_owned()));
        };
        if row.node_id != self.inner.settings.node_id {
            return Err(refused("The workspace lies on another server".to_owned()));
        }
        let scratch = format!("look-{}", self.new_id());
        let since = Since { commit: &base, tree: None };
        let found = outputs::difference(&self.inner, &row, since, &scratch).await;
        found.map(|found| (found.patch, found.patch_truncated)).map_err(|error| refused(error.to_string()))
    }

    /// Changes what is said of a workspace.
    pub async fn patch_execution_workspace(
        &self,
        id: &str,
        patch: ExecutionWorkspacePatch,
        by: &Author,
    ) -> Result<ExecutionWorkspace, EngineError> {
        let context = (id.to_owned(), patch);
        let patched = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, patch)| {
            Box::pin(async move {
                let row = rows::lock(tx, &id).await?.ok_or(EngineError::NotFound("Execution workspace"))?;
                agent_in(tx, &scribe, &row.company_id).await?;
                check_choice(tx, &row.company_id, patch.config.as_ref().and_then(Option::as_ref)).await?;
                let row = ExecutionWorkspace { updated_at: scribe.now, ..patched(row, patch)? };
                rows::update_record(tx, &row).await?;
                let details = json!({ "name": row.name, "status": row.status });
                let about = ("execution_workspace", row.id.as_str());
                scribe.tell(tx, &row.company_id, "execution_workspace.updated", about, details).await?;
                Ok(row)
            })
        });
        let patched = patched.await?;
        self.inner.places.notify_one();
        Ok(patched)
    }
}

fn patched(
    mut row: ExecutionWorkspace,
    patch: ExecutionWorkspacePatch,
) -> Result<ExecutionWorkspace, EngineError> {
    if let Some(name) = patch.name {
        row.name = name;
    }
    if let Some(status) = patch.status {
        if row.is_closed() && status != row.status {
            return Err(EngineError::refused(Kind::Conflict, "The workspace is closed"));
        }
        if Status::parse(&status).is_none_or(|status| status == Status::Archived) && status != row.status {
            return Err(EngineError::refused(Kind::Unprocessable, "A workspace is archived by closing it"));
        }
        row.status = status;
    }
    if let Some(base) = patch.base_ref {
        row.base_ref = base;
    }
    if let Some(at) = patch.cleanup_eligible_at {
        // The sweep is to look at once.
        (row.cleanup_eligible_at, row.look_at) = (at, None);
    }
    if let Some(reason) = patch.cleanup_reason {
        row.cleanup_reason = reason;
    }
    if let Some(metadata) = patch.metadata {
        // What the server goes by is not overwritten with it.
        let kept = row.metadata.take().unwrap_or_else(|| json!({}));
        let mut merged = metadata.unwrap_or_else(|| json!({}));
        if let Some(fields) = merged.as_object_mut() {
            for key in ["config", "createdByRuntime", "savedRef", "source"] {
                match kept.get(key) {
                    Some(value) => fields.insert(key.to_owned(), value.clone()),
                    None => fields.remove(key),
                };
            }
        }
        row.metadata = Some(merged);
    }
    if let Some(config) = patch.config {
        let mut metadata = row.metadata.take().unwrap_or_else(|| json!({}));
        if let Some(fields) = metadata.as_object_mut() {
            match config {
                None => drop(fields.remove("config")),
                Some(change) => {
                    let mut merged =
                        fields.get("config").cloned().filter(Json::is_object).unwrap_or(json!({}));
                    if let (Some(merged), Some(change)) = (merged.as_object_mut(), change.as_object()) {
                        merged.extend(change.clone());
                    }
                    fields.insert("config".to_owned(), merged);
                }
            }
        }
        row.metadata = Some(metadata);
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(config: Json) -> ExecutionWorkspace {
        let now = Moment::from_micros(0);
        ExecutionWorkspace {
            id: "w".to_owned(),
            company_id: CompanyId::from("c"),
            project_id: "p".to_owned(),
            project_workspace_id: None,
            source_issue_id: None,
            mode: "isolated_workspace".to_owned(),
            strategy_type: "git_worktree".to_owned(),
            name: "ACM-1".to_owned(),
            status: "active".to_owned(),
            cwd: None,
            repo_url: None,
            base_ref: None,
            branch_name: None,
            provider_type: "git_worktree".to_owned(),
            provider_ref: None,
            derived_from: None,
            last_used_at: now,
            opened_at: now,
            closed_at: None,
            cleanup_eligible_at: None,
            cleanup_reason: None,
            metadata: Some(json!({ "createdByRuntime": true, "config": config, "note": "old" })),
            node_id: "n".to_owned(),
            scope_key: "s".to_owned(),
            repo_dir: None,
            base_commit: None,
            closing_at: None,
            look_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn what_is_said_of_a_workspace_is_laid_over_and_the_servers_own_stays() {
        let stored = json!({ "environmentId": "e", "provisionCommand": "make" });
        let changed = |patch| patched(row(stored.clone()), patch).unwrap().metadata.unwrap();
        let with = |config: Option<Json>| ExecutionWorkspacePatch {
            config: Some(config),
            ..ExecutionWorkspacePatch::default()
        };
        let after = changed(with(Some(json!({ "environmentId": null, "desiredState": "manual" }))));
        assert_eq!(
            after["config"],
            json!({ "environmentId": null, "provisionCommand": "make", "desiredState": "manual" })
        );
        assert_eq!(changed(with(None)).get("config"), None);
        let after = changed(ExecutionWorkspacePatch {
            metadata: Some(Some(json!({ "createdByRuntime": false, "config": {}, "note": "new" }))),
            ..ExecutionWorkspacePatch::default()
        });
        assert_eq!(after, json!({ "createdByRuntime": true, "config": stored, "note": "new" }));
        let closed = ExecutionWorkspace { closed_at: Some(Moment::from_micros(1)), ..row(Json::Null) };
        let opened =
            ExecutionWorkspacePatch { status: Some("idle".to_owned()), ..ExecutionWorkspacePatch::default() };
        assert!(patched(closed, opened).is_err());
    }
}
