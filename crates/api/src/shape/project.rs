//! Projects with their workspaces, and goals, on the wire.

use domain::moment::Moment;
use engine::ProjectCard;
use serde::Serialize;
use serde_json::Value;
use store::goals::Goal as GoalRow;
use store::projects::Workspace;
use utoipa::ToSchema;

use adapters::redacted_env;

/// A project.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Project {
    id: String,
    company_id: String,
    /// The short name, usable in paths instead of the id.
    url_key: String,
    /// The first of its goals.
    goal_id: Option<String>,
    goal_ids: Vec<String>,
    goals: Vec<GoalRef>,
    name: String,
    description: Option<String>,
    /// `backlog`, `planned`, `in_progress`, `completed` or `cancelled`.
    status: String,
    lead_agent_id: Option<String>,
    /// `YYYY-MM-DD`.
    target_date: Option<String>,
    color: Option<String>,
    #[schema(value_type = Option<Object>)]
    env: Option<Value>,
    /// `manual`, `budget` or `system`.
    pause_reason: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    paused_at: Option<Moment>,
    #[schema(value_type = Option<Object>)]
    execution_workspace_policy: Option<Value>,
    codebase: Codebase,
    /// The primary one first.
    workspaces: Vec<ProjectWorkspace>,
    primary_workspace: Option<ProjectWorkspace>,
    #[schema(value_type = Option<String>)]
    archived_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

#[derive(Debug, Serialize, ToSchema)]
struct GoalRef {
    id: String,
    title: String,
}

/// Where the code of a project is, as its primary workspace says.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Codebase {
    workspace_id: Option<String>,
    repo_url: Option<String>,
    repo_ref: Option<String>,
    default_ref: Option<String>,
    repo_name: Option<String>,
    local_folder: Option<String>,
    /// Below the data folder; made when it is needed.
    managed_folder: String,
    effective_local_folder: String,
    /// `local_folder` or `managed_checkout`.
    origin: &'static str,
}

impl Codebase {
    fn of(project: &store::projects::Project, primary: Option<&Workspace>) -> Codebase {
        let repo_url = primary.and_then(|row| row.repo_url.clone());
        let repo_name = repo_url.as_deref().and_then(repo_name);
        let folder = repo_name.clone().unwrap_or_else(|| "_default".to_owned());
        let managed_folder = format!("projects/{}/{}/{folder}", project.company_id, project.id);
        let local_folder = primary.and_then(|row| row.cwd.clone());
        Codebase {
            workspace_id: primary.map(|row| row.id.clone()),
            repo_ref: primary.and_then(|row| row.repo_ref.clone()),
            default_ref: primary.and_then(|row| row.default_ref.clone()),
            repo_name,
            repo_url,
            effective_local_folder: local_folder.clone().unwrap_or_else(|| managed_folder.clone()),
            origin: if local_folder.is_some() { "local_folder" } else { "managed_checkout" },
            local_folder,
            managed_folder,
        }
    }
}

/// The last part of the address of a repository, without `.git`.
fn repo_name(url: &str) -> Option<String> {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next()?;
    let name = last.strip_suffix(".git").unwrap_or(last);
    (!name.is_empty()).then(|| name.to_owned())
}

impl From<ProjectCard> for Project {
    fn from(card: ProjectCard) -> Project {
        let ProjectCard { project, goals, workspaces } = card;
        let primary = workspaces.iter().find(|row| row.is_primary);
        Project {
            codebase: Codebase::of(&project, primary),
            primary_workspace: primary.cloned().map(ProjectWorkspace::from),
            id: project.id,
            company_id: project.company_id.0,
            url_key: project.url_key,
            goal_id: goals.first().map(|(id, _)| id.clone()),
            goal_ids: goals.iter().map(|(id, _)| id.clone()).collect(),
            goals: goals.into_iter().map(|(id, title)| GoalRef { id, title }).collect(),
            name: project.name,
            description: project.description,
            status: project.status,
            lead_agent_id: project.lead_agent_id.map(|id| id.0),
            target_date: project.target_date,
            color: project.color,
            env: project.env.map(redacted_env),
            pause_reason: project.pause_reason.map(|reason| reason.as_str()),
            paused_at: project.paused_at,
            execution_workspace_policy: project.execution_workspace_policy,
            workspaces: workspaces.into_iter().map(ProjectWorkspace::from).collect(),
            archived_at: project.archived_at,
            created_at: project.created_at,
            updated_at: project.updated_at,
        }
    }
}

/// A folder or repository of a project.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProjectWorkspace {
    id: String,
    company_id: String,
    project_id: String,
    name: String,
    /// `local_path`, `git_repo`, `remote_managed` or `non_git_path`.
    source_type: String,
    cwd: Option<String>,
    repo_url: Option<String>,
    repo_ref: Option<String>,
    default_ref: Option<String>,
    /// `default` or `advanced`.
    visibility: String,
    setup_command: Option<String>,
    cleanup_command: Option<String>,
    remote_provider: Option<String>,
    remote_workspace_ref: Option<String>,
    shared_workspace_key: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[schema(value_type = Option<Object>)]
    runtime_config: Option<Value>,
    is_primary: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Workspace> for ProjectWorkspace {
    fn from(row: Workspace) -> ProjectWorkspace {
        ProjectWorkspace {
            id: row.id,
            company_id: row.company_id.0,
            project_id: row.project_id,
            name: row.name,
            source_type: row.source_type,
            cwd: row.cwd,
            repo_url: row.repo_url,
            repo_ref: row.repo_ref,
            default_ref: row.default_ref,
            visibility: row.visibility,
            setup_command: row.setup_command,
            cleanup_command: row.cleanup_command,
            remote_provider: row.remote_provider,
            remote_workspace_ref: row.remote_workspace_ref,
            shared_workspace_key: row.shared_workspace_key,
            metadata: row.metadata,
            runtime_config: row.runtime_config,
            is_primary: row.is_primary,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What work is for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Goal {
    id: String,
    company_id: String,
    title: String,
    description: Option<String>,
    /// `company`, `team`, `agent` or `task`.
    level: String,
    /// `planned`, `active`, `achieved` or `cancelled`.
    status: String,
    parent_id: Option<String>,
    owner_agent_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<GoalRow> for Goal {
    fn from(row: GoalRow) -> Goal {
        Goal {
            id: row.id,
            company_id: row.company_id.0,
            title: row.title,
            description: row.description,
            level: row.level,
            status: row.status,
            parent_id: row.parent_id,
            owner_agent_id: row.owner_agent_id.map(|id| id.0),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_called_by_the_last_part_of_its_address() {
        for (url, name) in [
            ("https://x.test/a/b.git", Some("b")),
            ("git@x.test:a/b", Some("b")),
            ("git@x.test:b.git", Some("b")),
            ("https://x.test/a/b/", Some("b")),
            ("", None),
        ] {
            assert_eq!(repo_name(url).as_deref(), name, "{url}");
        }
    }
}
