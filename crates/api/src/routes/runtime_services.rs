//! Services beside workspaces: what runs, and starting and stopping it.

use axum::Json;
use axum::extract::Path;
use axum::response::Response;
use domain::access::{Actor, Refusal};
use domain::agent::Role;
use domain::ids::RunId;
use engine::{FrameStream, ServiceAction, ServiceChoice, ServiceHome};
use serde::{Deserialize, Serialize};
use store::projects::Workspace;
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::Asked;
use crate::reach::{Reach, id_of_path};
use crate::routes::execution_workspaces::find;
use crate::shape::project::ProjectWorkspace;
use crate::shape::runtime_service::{RuntimeService, ServicesOfExecutionWorkspace, ServicesOfWorkspace};

/// As much of a log is given at once.
const MOST_LOG: usize = 1 << 20;

/// Which services are meant; all of the workspace when nothing is named.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceBody {
    /// The name of a service in the configuration.
    workspace_command_id: Option<String>,
    /// The id of a service that was started.
    runtime_service_id: Option<String>,
    /// The place of a service in the configuration, from 0.
    service_index: Option<i64>,
}

impl ServiceBody {
    fn read(bytes: &[u8]) -> Result<ServiceBody, ApiError> {
        let mut fields = Fields::read_or_empty(bytes)?;
        let body = ServiceBody {
            workspace_command_id: fields.text("workspaceCommandId"),
            runtime_service_id: fields.id("runtimeServiceId"),
            service_index: fields.count("serviceIndex"),
        };
        fields.refuse_rest()?;
        Ok(body)
    }

    fn choice(self) -> ServiceChoice {
        ServiceChoice {
            command: self.workspace_command_id,
            service: self.runtime_service_id,
            index: self.service_index.and_then(|index| usize::try_from(index).ok()),
        }
    }
}

fn home_of(workspace: &Workspace) -> ServiceHome {
    let config = workspace.runtime_config.as_ref();
    ServiceHome {
        company: workspace.company_id.clone(),
        project: Some(workspace.project_id.clone()),
        project_workspace: Some(workspace.id.clone()),
        execution_workspace: None,
        cwd: workspace.cwd.clone(),
        runtime: config.and_then(|config| config.get("workspaceRuntime")).cloned(),
    }
}

/// Lets those through who may start and stop services of a workspace.
async fn may_manage(reach: &Reach, home: &ServiceHome) -> Result<(), ApiError> {
    match reach.caller.who() {
        Actor::Board(_) => Ok(()),
        Actor::Nobody => Err(Refusal::Unauthorized.into()),
        Actor::Agent(agent) if agent.role == Role::Ceo => Ok(()),
        Actor::Agent(agent) if reach.engine().works_in(&agent.agent, home).await? => Ok(()),
        Actor::Agent(_) => {
            Err(ApiError::forbidden("forbidden", "Missing permission to manage workspace runtime services"))
        }
    }
}

/// The action of a path.
fn action_of(word: &str) -> Result<ServiceAction, ApiError> {
    ServiceAction::parse(word).ok_or_else(|| ApiError::not_found("Workspace command action"))
}

/// Starts (`start`), stops (`stop`) or starts again (`restart`) services of a project's workspace, or runs a job in it
/// (`run`). Answers when that is on record; the rows of the services say how it goes. A job is waited for a while.
#[utoipa::path(post, path = "/projects/{project}/workspaces/{workspace}/runtime-services/{action}", tag = "projects", request_body = ServiceBody,
    params(("project" = String, Path), ("workspace" = String, Path), ("action" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = ServicesOfWorkspace), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn of_project(
    reach: Reach,
    Path((project, workspace, action)): Path<(String, String, String)>,
    asked: Asked,
    Payload(bytes): Payload,
) -> Result<Json<ServicesOfWorkspace>, ApiError> {
    let choice = ServiceBody::read(&bytes)?.choice();
    let card = reach.project(&project, &asked).await?;
    let id = id_of_path(&workspace, "Project workspace")?;
    let found = card.workspaces.into_iter().find(|workspace| workspace.id == id);
    let workspace = found.ok_or_else(|| ApiError::not_found("Project workspace"))?;
    let home = home_of(&workspace);
    may_manage(&reach, &home).await?;
    let action = action_of(&action)?;
    let author = reach.author(&home.company)?;
    let acted = reach.engine().act_on_services(&home, action, &choice, &author).await?;
    Ok(Json(ServicesOfWorkspace::new(ProjectWorkspace::from(workspace), acted)))
}

/// The same under its older name.
#[utoipa::path(post, path = "/projects/{project}/workspaces/{workspace}/runtime-commands/{action}", tag = "projects", request_body = ServiceBody,
    params(("project" = String, Path), ("workspace" = String, Path), ("action" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = ServicesOfWorkspace), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn of_project_commands(
    reach: Reach,
    path: Path<(String, String, String)>,
    asked: Asked,
    payload: Payload,
) -> Result<Json<ServicesOfWorkspace>, ApiError> {
    of_project(reach, path, asked, payload).await
}

/// The same in an execution workspace: what its configuration names, else what that of its project's workspace does.
#[utoipa::path(post, path = "/execution-workspaces/{place}/runtime-services/{action}", tag = "projects", request_body = ServiceBody,
    params(("place" = String, Path), ("action" = String, Path)),
    responses((status = 200, body = ServicesOfExecutionWorkspace), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn of_execution(
    reach: Reach,
    Path((place, action)): Path<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<ServicesOfExecutionWorkspace>, ApiError> {
    let choice = ServiceBody::read(&bytes)?.choice();
    let row = find(&reach, &place).await?;
    let home = reach.engine().service_home(&row).await?;
    may_manage(&reach, &home).await?;
    let action = action_of(&action)?;
    let author = reach.author(&home.company)?;
    let acted = reach.engine().act_on_services(&home, action, &choice, &author).await?;
    Ok(Json(ServicesOfExecutionWorkspace::new(row, acted)))
}

/// The same under its older name.
#[utoipa::path(post, path = "/execution-workspaces/{place}/runtime-commands/{action}", tag = "projects", request_body = ServiceBody,
    params(("place" = String, Path), ("action" = String, Path)),
    responses((status = 200, body = ServicesOfExecutionWorkspace), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn of_execution_commands(
    reach: Reach,
    path: Path<(String, String)>,
    payload: Payload,
) -> Result<Json<ServicesOfExecutionWorkspace>, ApiError> {
    of_execution(reach, path, payload).await
}

/// The services of a company, newest first.
#[utoipa::path(get, path = "/companies/{company}/runtime-services", tag = "environments",
    params(("company" = String, Path), ("live" = Option<bool>, Query, description = "only those that run")),
    responses((status = 200, body = Vec<RuntimeService>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<RuntimeService>>, ApiError> {
    let company = reach.company(&company).await?;
    let found = reach.engine().services(&company, asked.is_set("live")).await?;
    Ok(Json(found.into_iter().map(RuntimeService::from).collect()))
}

/// One service.
#[utoipa::path(get, path = "/runtime-services/{service}", tag = "environments", params(("service" = String, Path)),
    responses((status = 200, body = RuntimeService), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(reach: Reach, Named(id): Named<String>) -> Result<Json<RuntimeService>, ApiError> {
    Ok(Json(found(&reach, &id).await?.into()))
}

async fn found(reach: &Reach, id: &str) -> Result<store::runtime_services::RuntimeService, ApiError> {
    let id = id_of_path(id, "Runtime service")?;
    let service = reach.engine().service(&id).await?;
    reach.of(&service.company_id)?;
    Ok(service)
}

/// Stops one service.
#[utoipa::path(post, path = "/runtime-services/{service}/stop", tag = "environments", params(("service" = String, Path)),
    responses((status = 200, body = RuntimeService), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn stop(reach: Reach, Named(id): Named<String>) -> Result<Json<RuntimeService>, ApiError> {
    let service = found(&reach, &id).await?;
    let home = ServiceHome {
        company: service.company_id.clone(),
        project: service.project_id.clone(),
        project_workspace: service.project_workspace_id.clone(),
        execution_workspace: service.execution_workspace_id.clone(),
        cwd: None,
        runtime: None,
    };
    may_manage(&reach, &home).await?;
    let author = reach.author(&service.company_id)?;
    Ok(Json(reach.engine().stop_service(&service, &author).await?.into()))
}

/// A part of what a service printed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceLog {
    /// Both streams, as they came.
    content: String,
    /// Where to go on.
    next_offset: u64,
}

/// What a service printed, from an offset on.
#[utoipa::path(get, path = "/runtime-services/{service}/log", tag = "environments",
    params(("service" = String, Path), ("offset" = Option<u64>, Query, description = "0, or a `nextOffset`")),
    responses((status = 200, body = ServiceLog), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn log(reach: Reach, Named(id): Named<String>, asked: Asked) -> Result<Response, ApiError> {
    use axum::http::header;
    use axum::response::IntoResponse;
    let service = found(&reach, &id).await?;
    let offset = match asked.get("offset") {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            ApiError::bad_request("bad_offset", "Offset must be 0 or a nextOffset of an answer")
        })?,
    };
    let engine = reach.engine().clone();
    let (run, epoch) = (RunId(service.id), service.epoch);
    let read = tokio::task::spawn_blocking(move || {
        let mut log = engine.log(&run, epoch, offset)?;
        let (mut bytes, mut next) = (Vec::new(), offset);
        while bytes.len() < MOST_LOG {
            let Some(frame) = log.next()? else { break };
            next = frame.next_offset;
            if matches!(frame.stream, FrameStream::Stdout | FrameStream::Stderr) {
                bytes.extend_from_slice(&frame.bytes);
            }
        }
        Ok::<_, engine::ProcessError>((bytes, next))
    });
    let read = read.await.map_err(|error| {
        tracing::error!(%error, "reading the log of a service");
        ApiError::internal()
    })?;
    let (bytes, next_offset) = match read {
        Ok(read) => read,
        // Nothing was started yet.
        Err(engine::ProcessError::NotThere) => (Vec::new(), offset),
        Err(engine::ProcessError::BadOffset(offset)) => return Err(crate::errors::bad_offset(offset)),
        Err(error) => return Err(engine::EngineError::from(error).into()),
    };
    let log = ServiceLog { content: String::from_utf8_lossy(&bytes).into_owned(), next_offset };
    Ok(([(header::CACHE_CONTROL, "no-cache, no-store")], Json(log)).into_response())
}
