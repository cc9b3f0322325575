//! Projects, and the folders and repositories that they are about.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::AgentId;
use domain::moment::Moment;
use engine::{ProjectCard, ProjectDraft, ProjectPatch, WorkspaceDraft};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::naming;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked, cursor_of};
use crate::reach::{Reach, id_of_path};
use crate::shape::project::{Project, ProjectWorkspace};

const STATUSES: [&str; 5] = ["backlog", "planned", "in_progress", "completed", "cancelled"];
const SOURCES: [&str; 4] = ["local_path", "git_repo", "remote_managed", "non_git_path"];
const VISIBILITIES: [&str; 2] = ["default", "advanced"];
/// Keys of a workspace policy (strict in the reference).
const POLICY: [&str; 10] = [
    "enabled",
    "defaultMode",
    "allowIssueOverride",
    "defaultProjectWorkspaceId",
    "environmentId",
    "workspaceStrategy",
    "workspaceRuntime",
    "branchPolicy",
    "pullRequestPolicy",
    "cleanupPolicy",
];
/// Commands of a workspace strategy that the machine of the server executes.
const HOST_COMMANDS: [&str; 2] = ["provisionCommand", "teardownCommand"];

/// The projects of a company, oldest first.
#[utoipa::path(get, path = "/companies/{company}/projects", tag = "projects",
    params(("company" = String, Path), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Project>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    let found = reach.engine().projects(&company, asked.place()?, paging::MOST).await?;
    let place = |card: &ProjectCard| cursor_of(card.project.created_at, &card.project.id);
    // One more than is given tells whether there are more.
    Ok(paging::page(found, paging::MOST - 1, place, |rows| rows.into_iter().map(Project::from).collect()))
}

/// One project.
#[utoipa::path(get, path = "/projects/{project}", tag = "projects",
    params(("project" = String, Path, description = "id or short name"), ("companyId" = Option<String>, Query, description = "for a short name")),
    responses((status = 200, body = Project), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<Project>, ApiError> {
    Ok(Json(reach.project(&reference, &asked).await?.into()))
}

/// A project, new or changed: what is absent stays or has its default, null clears.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProjectBody {
    /// Required for a new one. One that is taken gets a number.
    #[schema(min_length = 1)]
    name: Option<String>,
    description: Option<Option<String>>,
    /// `backlog` (default), `planned`, `in_progress`, `completed` or `cancelled`.
    status: Option<String>,
    /// Also one as `goalId`.
    goal_ids: Option<Vec<String>>,
    lead_agent_id: Option<Option<String>>,
    /// `YYYY-MM-DD`.
    target_date: Option<Option<String>>,
    /// Absent for a new one: the next of a palette.
    color: Option<Option<String>>,
    #[schema(value_type = Option<Object>)]
    env: Option<Option<Map<String, Value>>>,
    #[schema(value_type = Option<Object>)]
    execution_workspace_policy: Option<Option<Map<String, Value>>>,
    #[schema(value_type = Option<String>)]
    archived_at: Option<Option<Moment>>,
    /// Of a new project.
    workspace: Option<WorkspaceBody>,
}

impl ProjectBody {
    fn read(fields: &mut Fields, is_new: bool) -> ProjectBody {
        let name = if is_new {
            Some(fields.required_text("name"))
        } else {
            let name = fields.text("name");
            fields.not_blank("name", name)
        };
        let goal = fields.nullable_id("goalId");
        let goal_ids = fields.ids("goalIds").or_else(|| goal.map(|goal| goal.into_iter().collect()));
        let workspace = if is_new { fields.object("workspace") } else { None };
        let workspace = workspace.map(|object| {
            let mut part = Fields::of(object);
            let read = WorkspaceBody::read(&mut part);
            fields.take_mistakes("workspace", part);
            read
        });
        ProjectBody {
            name,
            description: fields.nullable_text("description"),
            status: fields.word("status", &STATUSES, |word| word).map(str::to_owned),
            goal_ids,
            lead_agent_id: fields.nullable_id("leadAgentId"),
            target_date: fields.nullable_text("targetDate"),
            color: fields.nullable_text("color"),
            env: fields.nullable_object("env"),
            execution_workspace_policy: fields.strict_object("executionWorkspacePolicy", &POLICY),
            archived_at: fields.nullable_moment("archivedAt"),
            workspace,
        }
    }

    fn host_commands(&self) -> Vec<String> {
        let policy = self.execution_workspace_policy.as_ref().and_then(Option::as_ref);
        let strategy = policy.and_then(|policy| policy.get("workspaceStrategy"));
        let is_set = |name: &&str| strategy.is_some_and(|strategy| !strategy[*name].is_null());
        let path = |name: &str| format!("executionWorkspacePolicy.workspaceStrategy.{name}");
        let mut paths: Vec<String> = HOST_COMMANDS.into_iter().filter(is_set).map(path).collect();
        // Services are commands as well.
        if policy.and_then(|policy| policy.get("workspaceRuntime")).is_some_and(|it| !it.is_null()) {
            paths.push("executionWorkspacePolicy.workspaceRuntime".to_owned());
        }
        let of_workspace = self.workspace.as_ref().map(WorkspaceBody::host_commands).unwrap_or_default();
        paths.extend(of_workspace.into_iter().map(|path| format!("workspace.{path}")));
        paths
    }

    /// It says on which machine the work is to be done.
    fn names_environment(&self) -> bool {
        let policy = self.execution_workspace_policy.as_ref().and_then(Option::as_ref);
        policy.is_some_and(|policy| policy.contains_key("environmentId"))
    }

    fn draft(self) -> ProjectDraft {
        let otherwise = ProjectDraft::default();
        ProjectDraft {
            name: self.name.unwrap_or_default(),
            description: self.description.flatten(),
            status: self.status.unwrap_or(otherwise.status),
            goal_ids: self.goal_ids.unwrap_or_default(),
            lead_agent_id: self.lead_agent_id.flatten().map(AgentId),
            target_date: self.target_date.flatten(),
            color: self.color.flatten(),
            env: self.env.flatten().map(Value::Object),
            execution_workspace_policy: self.execution_workspace_policy.flatten().map(Value::Object),
            archived_at: self.archived_at.flatten(),
            workspace: self.workspace.map(WorkspaceBody::draft),
        }
    }

    fn patch(self) -> ProjectPatch {
        ProjectPatch {
            name: self.name,
            description: self.description,
            status: self.status,
            goal_ids: self.goal_ids,
            lead_agent_id: self.lead_agent_id.map(|id| id.map(AgentId)),
            target_date: self.target_date,
            color: self.color,
            env: self.env.map(|object| object.map(Value::Object)),
            execution_workspace_policy: self
                .execution_workspace_policy
                .map(|object| object.map(Value::Object)),
            archived_at: self.archived_at,
        }
    }
}

/// Creates a project.
#[utoipa::path(post, path = "/companies/{company}/projects", tag = "projects", request_body = ProjectBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Project), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = ProjectBody::read(&mut fields, true);
    let ignored = fields.drop_rest()?;
    let company = reach.company(&company).await?;
    reach.no_host_commands(body.host_commands())?;
    if body.names_environment() {
        reach.caller.chooser_of_environments(&company)?;
    }
    if body.workspace.as_ref().is_some_and(|workspace| !workspace.has_place()) {
        return Err(ApiError::unprocessable("unprocessable", "Invalid project workspace payload")
            .hint("a workspace needs cwd or repoUrl; a remote one remoteWorkspaceRef or repoUrl"));
    }
    let made = reach.engine().create_project(&company, body.draft(), &reach.planner(&company)?).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Project::from(made)))))
}

/// Changes a project.
#[utoipa::path(patch, path = "/projects/{project}", tag = "projects", request_body = ProjectBody,
    params(("project" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Project), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = ProjectBody::read(&mut fields, false);
    let ignored = fields.drop_rest()?;
    let project = reach.project(&reference, &asked).await?.project;
    reach.no_host_commands(body.host_commands())?;
    if body.names_environment() {
        reach.caller.chooser_of_environments(&project.company_id)?;
    }
    let author = reach.planner(&project.company_id)?;
    let changed = reach.engine().patch_project(&project.id, body.patch(), &author).await?;
    Ok(naming(&ignored, Json(Project::from(changed))))
}

/// Removes a project with its workspaces; its issues stay.
#[utoipa::path(delete, path = "/projects/{project}", tag = "projects",
    params(("project" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Project), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<Project>, ApiError> {
    let project = reach.project(&reference, &asked).await?.project;
    let author = reach.planner(&project.company_id)?;
    Ok(Json(reach.engine().delete_project(&project.id, &author).await?.into()))
}

/// The workspaces of a project, the primary one first.
#[utoipa::path(get, path = "/projects/{project}/workspaces", tag = "projects",
    params(("project" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Vec<ProjectWorkspace>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn workspaces(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<ProjectWorkspace>>, ApiError> {
    let card = reach.project(&reference, &asked).await?;
    Ok(Json(card.workspaces.into_iter().map(ProjectWorkspace::from).collect()))
}

/// A folder or repository of a project, new or changed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkspaceBody {
    name: Option<String>,
    /// `local_path` (default), `git_repo`, `remote_managed` or `non_git_path`.
    source_type: Option<String>,
    cwd: Option<Option<String>>,
    /// An absolute address.
    repo_url: Option<Option<String>>,
    repo_ref: Option<Option<String>>,
    default_ref: Option<Option<String>>,
    /// `default` or `advanced`.
    visibility: Option<String>,
    setup_command: Option<Option<String>>,
    /// For people only.
    cleanup_command: Option<Option<String>>,
    remote_provider: Option<Option<String>>,
    remote_workspace_ref: Option<Option<String>>,
    shared_workspace_key: Option<Option<String>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
    /// `workspaceRuntime`, `desiredState` and `serviceStates`.
    #[schema(value_type = Option<Object>)]
    runtime_config: Option<Option<Map<String, Value>>>,
    is_primary: Option<bool>,
}

impl WorkspaceBody {
    fn read(fields: &mut Fields) -> WorkspaceBody {
        let name = fields.text("name");
        WorkspaceBody {
            name: fields.not_blank("name", name),
            source_type: fields.word("sourceType", &SOURCES, |word| word).map(str::to_owned),
            cwd: fields.nullable_text("cwd"),
            repo_url: fields.nullable_url("repoUrl"),
            repo_ref: fields.nullable_text("repoRef"),
            default_ref: fields.nullable_text("defaultRef"),
            visibility: fields.word("visibility", &VISIBILITIES, |word| word).map(str::to_owned),
            setup_command: fields.nullable_text("setupCommand"),
            cleanup_command: fields.nullable_text("cleanupCommand"),
            remote_provider: fields.nullable_text("remoteProvider"),
            remote_workspace_ref: fields.nullable_text("remoteWorkspaceRef"),
            shared_workspace_key: fields.nullable_text("sharedWorkspaceKey"),
            metadata: fields.nullable_object("metadata"),
            runtime_config: fields
                .strict_object("runtimeConfig", &["workspaceRuntime", "desiredState", "serviceStates"]),
            is_primary: fields.boolean("isPrimary"),
        }
    }

    /// It says where it is.
    fn has_place(&self) -> bool {
        let is_set = |field: &Option<Option<String>>| {
            field.as_ref().is_some_and(|text| text.as_ref().is_some_and(|text| !text.trim().is_empty()))
        };
        match self.source_type.as_deref() {
            Some("remote_managed") => is_set(&self.remote_workspace_ref) || is_set(&self.repo_url),
            _ => is_set(&self.cwd) || is_set(&self.repo_url),
        }
    }

    fn draft(self) -> WorkspaceDraft {
        WorkspaceDraft {
            name: self.name,
            source_type: self.source_type,
            cwd: self.cwd,
            repo_url: self.repo_url,
            repo_ref: self.repo_ref,
            default_ref: self.default_ref,
            visibility: self.visibility,
            setup_command: self.setup_command,
            cleanup_command: self.cleanup_command,
            remote_provider: self.remote_provider,
            remote_workspace_ref: self.remote_workspace_ref,
            shared_workspace_key: self.shared_workspace_key,
            metadata: self.metadata.map(|object| object.map(Value::Object)),
            runtime_config: self.runtime_config.map(|object| object.map(Value::Object)),
            is_primary: self.is_primary,
        }
    }

    fn host_commands(&self) -> Vec<String> {
        let mut paths = Vec::new();
        if self.cleanup_command.as_ref().is_some_and(Option::is_some) {
            paths.push("cleanupCommand".to_owned());
        }
        let config = self.runtime_config.as_ref().and_then(Option::as_ref);
        if config.and_then(|config| config.get("workspaceRuntime")).is_some_and(|it| !it.is_null()) {
            paths.push("runtimeConfig.workspaceRuntime".to_owned());
        }
        paths
    }
}

/// Adds a workspace to a project; the first one is the primary one.
#[utoipa::path(post, path = "/projects/{project}/workspaces", tag = "projects", request_body = WorkspaceBody,
    params(("project" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 201, body = ProjectWorkspace), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn create_workspace(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = WorkspaceBody::read(&mut fields);
    if !body.has_place() {
        let message =
            "Workspace requires at least one of cwd or repoUrl, a remote one remoteWorkspaceRef or repoUrl";
        fields.mistake("custom", "cwd", message);
    }
    let ignored = fields.drop_rest()?;
    let project = reach.project(&reference, &asked).await?.project;
    reach.no_host_commands(body.host_commands())?;
    let author = reach.planner(&project.company_id)?;
    let made = reach.engine().create_workspace(&project.id, body.draft(), &author).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(ProjectWorkspace::from(made)))))
}

/// Changes a workspace.
#[utoipa::path(patch, path = "/projects/{project}/workspaces/{workspace}", tag = "projects", request_body = WorkspaceBody,
    params(("project" = String, Path), ("workspace" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = ProjectWorkspace), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn change_workspace(
    reach: Reach,
    Named((reference, workspace)): Named<(String, String)>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = WorkspaceBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let project = reach.project(&reference, &asked).await?.project;
    reach.no_host_commands(body.host_commands())?;
    let workspace = id_of_path(&workspace, "Project workspace")?;
    let author = reach.planner(&project.company_id)?;
    let changed = reach.engine().patch_workspace(&project.id, &workspace, body.draft(), &author).await?;
    Ok(naming(&ignored, Json(ProjectWorkspace::from(changed))))
}

/// Removes a workspace; the oldest other one becomes primary if it was.
#[utoipa::path(delete, path = "/projects/{project}/workspaces/{workspace}", tag = "projects",
    params(("project" = String, Path), ("workspace" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = ProjectWorkspace), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn remove_workspace(
    reach: Reach,
    Named((reference, workspace)): Named<(String, String)>,
    asked: Asked,
) -> Result<Json<ProjectWorkspace>, ApiError> {
    let project = reach.project(&reference, &asked).await?.project;
    let workspace = id_of_path(&workspace, "Project workspace")?;
    let author = reach.planner(&project.company_id)?;
    Ok(Json(reach.engine().delete_workspace(&project.id, &workspace, &author).await?.into()))
}
