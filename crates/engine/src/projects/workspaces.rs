//! Workspaces of projects: the folders and repositories that runs work in, as they are stored.

use domain::ids::CompanyId;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::Tx;
use store::projects::{self, Project, Workspace};

use super::{BODY, NAME};
use crate::activity::{Author, Scribe};
use crate::issues::{Locks, Sheet, agent_in, is_absolute_url};
use crate::{Engine, EngineError};

const SOURCES: [&str; 4] = ["local_path", "git_repo", "remote_managed", "non_git_path"];
const VISIBILITIES: [&str; 2] = ["default", "advanced"];

/// A folder or repository of a project: new, or what of one changes (`None` stays).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkspaceDraft {
    pub name: Option<String>,
    pub source_type: Option<String>,
    pub cwd: Option<Option<String>>,
    pub repo_url: Option<Option<String>>,
    pub repo_ref: Option<Option<String>>,
    pub default_ref: Option<Option<String>>,
    pub visibility: Option<String>,
    pub setup_command: Option<Option<String>>,
    pub cleanup_command: Option<Option<String>>,
    pub remote_provider: Option<Option<String>>,
    pub remote_workspace_ref: Option<Option<String>>,
    pub shared_workspace_key: Option<Option<String>>,
    pub metadata: Option<Option<Json>>,
    pub runtime_config: Option<Option<Json>>,
    pub is_primary: Option<bool>,
}

impl Engine {
    /// Adds a workspace to a project; the first one is made the primary one.
    pub async fn create_workspace(
        &self,
        project: &str,
        draft: WorkspaceDraft,
        by: &Author,
    ) -> Result<Workspace, EngineError> {
        let workspace = ready(&draft)?;
        let context = (project.to_owned(), workspace);
        let made =
            self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (project, workspace)| {
                Box::pin(async move {
                    let project =
                        projects::lock(tx, &project).await?.ok_or(EngineError::NotFound("Project"))?;
                    agent_in(tx, &scribe, &project.company_id).await?;
                    insert(tx, &mut scribe, &project, workspace).await
                })
            });
        made.await
    }

    /// Changes a workspace of a project.
    pub async fn patch_workspace(
        &self,
        project: &str,
        workspace: &str,
        draft: WorkspaceDraft,
        by: &Author,
    ) -> Result<Workspace, EngineError> {
        let context = (project.to_owned(), workspace.to_owned(), draft);
        let patched =
            self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (project, id, draft)| {
                Box::pin(async move {
                    let project =
                        projects::lock(tx, &project).await?.ok_or(EngineError::NotFound("Project"))?;
                    let company = &project.company_id;
                    agent_in(tx, &scribe, company).await?;
                    let before = own_workspace(tx, &project, &id).await?;
                    let mut workspace = fill(before, &draft);
                    workspace.updated_at = scribe.now;
                    check_workspace(&workspace)?;
                    projects::update_workspace(tx, &workspace).await?;
                    let details = json!({ "workspaceId": id, "name": workspace.name });
                    let action = "project.workspace_updated";
                    scribe.tell(tx, company, action, ("project", &project.id), details).await?;
                    Ok(workspace)
                })
            });
        patched.await
    }

    /// Removes a workspace of a project.
    pub async fn delete_workspace(
        &self,
        project: &str,
        workspace: &str,
        by: &Author,
    ) -> Result<Workspace, EngineError> {
        let context = (project.to_owned(), workspace.to_owned());
        let removed = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (project, id)| {
            Box::pin(async move {
                let project = projects::lock(tx, &project).await?.ok_or(EngineError::NotFound("Project"))?;
                let company = &project.company_id;
                agent_in(tx, &scribe, company).await?;
                let workspace = own_workspace(tx, &project, &id).await?;
                projects::remove_workspace(tx, &id, scribe.now).await?;
                let details = json!({ "workspaceId": id, "name": workspace.name });
                let action = "project.workspace_deleted";
                scribe.tell(tx, company, action, ("project", &project.id), details).await?;
                Ok(workspace)
            })
        });
        removed.await
    }
}

async fn own_workspace(tx: &mut Tx<'_>, project: &Project, id: &str) -> Result<Workspace, EngineError> {
    let found = projects::workspace(tx, id).await?.filter(|workspace| workspace.project_id == project.id);
    found.ok_or(EngineError::NotFound("Project workspace"))
}

/// A new workspace without its place: ids and times are not set.
pub(super) fn ready(draft: &WorkspaceDraft) -> Result<Workspace, EngineError> {
    let never = Moment::from_micros(0);
    let empty = Workspace {
        id: String::new(),
        company_id: CompanyId(String::new()),
        project_id: String::new(),
        name: String::new(),
        source_type: "local_path".to_owned(),
        cwd: None,
        repo_url: None,
        repo_ref: None,
        default_ref: None,
        visibility: "default".to_owned(),
        setup_command: None,
        cleanup_command: None,
        remote_provider: None,
        remote_workspace_ref: None,
        shared_workspace_key: None,
        metadata: None,
        runtime_config: None,
        is_primary: false,
        created_at: never,
        updated_at: never,
    };
    let mut workspace = fill(empty, draft);
    if workspace.name.trim().is_empty() {
        let place = workspace.cwd.as_deref().or(workspace.repo_url.as_deref());
        let last = place.and_then(|place| place.trim_end_matches('/').rsplit('/').next());
        workspace.name = last.filter(|last| !last.is_empty()).unwrap_or("workspace").to_owned();
    }
    check_workspace(&workspace)?;
    Ok(workspace)
}

fn fill(mut workspace: Workspace, draft: &WorkspaceDraft) -> Workspace {
    for (ours, theirs) in [
        (&mut workspace.name, &draft.name),
        (&mut workspace.source_type, &draft.source_type),
        (&mut workspace.visibility, &draft.visibility),
    ] {
        if let Some(value) = theirs {
            ours.clone_from(value);
        }
    }
    for (ours, theirs) in [
        (&mut workspace.cwd, &draft.cwd),
        (&mut workspace.repo_url, &draft.repo_url),
        (&mut workspace.repo_ref, &draft.repo_ref),
        (&mut workspace.default_ref, &draft.default_ref),
        (&mut workspace.setup_command, &draft.setup_command),
        (&mut workspace.cleanup_command, &draft.cleanup_command),
        (&mut workspace.remote_provider, &draft.remote_provider),
        (&mut workspace.remote_workspace_ref, &draft.remote_workspace_ref),
        (&mut workspace.shared_workspace_key, &draft.shared_workspace_key),
    ] {
        if let Some(value) = theirs {
            ours.clone_from(value);
        }
    }
    if let Some(metadata) = &draft.metadata {
        workspace.metadata.clone_from(metadata);
    }
    if let Some(config) = &draft.runtime_config {
        workspace.runtime_config.clone_from(config);
    }
    if let Some(is_primary) = draft.is_primary {
        workspace.is_primary = is_primary;
    }
    workspace
}

pub(super) async fn insert(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    project: &Project,
    ready: Workspace,
) -> Result<Workspace, EngineError> {
    let workspace = Workspace {
        id: scribe.id(),
        company_id: project.company_id.clone(),
        project_id: project.id.clone(),
        created_at: scribe.now,
        updated_at: scribe.now,
        ..ready
    };
    let workspace = projects::insert_workspace(tx, &workspace).await?;
    let details = json!({ "workspaceId": workspace.id, "name": workspace.name });
    let about = ("project", project.id.as_str());
    scribe.tell(tx, &project.company_id, "project.workspace_created", about, details).await?;
    Ok(workspace)
}

fn check_workspace(workspace: &Workspace) -> Result<(), EngineError> {
    let mut sheet = Sheet::default();
    sheet.required("name", &workspace.name, NAME);
    sheet.word("sourceType", &workspace.source_type, &SOURCES);
    sheet.word("visibility", &workspace.visibility, &VISIBILITIES);
    for (path, text) in [
        ("cwd", &workspace.cwd),
        ("repoUrl", &workspace.repo_url),
        ("repoRef", &workspace.repo_ref),
        ("defaultRef", &workspace.default_ref),
        ("setupCommand", &workspace.setup_command),
        ("cleanupCommand", &workspace.cleanup_command),
        ("remoteProvider", &workspace.remote_provider),
        ("remoteWorkspaceRef", &workspace.remote_workspace_ref),
        ("sharedWorkspaceKey", &workspace.shared_workspace_key),
    ] {
        sheet.maybe(path, text.as_deref(), BODY);
    }
    sheet.object("metadata", workspace.metadata.as_ref());
    sheet.object("runtimeConfig", workspace.runtime_config.as_ref());
    if workspace.repo_url.as_deref().is_some_and(|url| !is_absolute_url(url)) {
        sheet.wrong(
            "repoUrl",
            "Invalid url",
            "give an absolute address, for example https://example.org/repo",
        );
    }
    let is_remote = workspace.source_type == "remote_managed";
    let place = if is_remote { &workspace.remote_workspace_ref } else { &workspace.cwd };
    if place.is_none() && workspace.repo_url.is_none() {
        let (path, hint) = if is_remote {
            ("remoteWorkspaceRef", "give remoteWorkspaceRef or repoUrl")
        } else {
            ("cwd", "give cwd or repoUrl")
        };
        sheet.wrong(path, "Workspace requires a place to work in", hint);
    }
    sheet.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_needs_a_place_and_gets_a_name() {
        let at = |cwd: &str| WorkspaceDraft { cwd: Some(Some(cwd.to_owned())), ..WorkspaceDraft::default() };
        assert_eq!(ready(&at("/srv/web/")).unwrap().name, "web");
        assert!(ready(&WorkspaceDraft::default()).is_err());
        let remote = WorkspaceDraft { source_type: Some("remote_managed".to_owned()), ..at("/x") };
        assert!(ready(&remote).is_err());
    }
}
