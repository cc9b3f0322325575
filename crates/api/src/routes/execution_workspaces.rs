//! Execution workspaces: what there are, what was done to them, closing one; and what came out of runs.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::moment::Moment;
use engine::{ExecutionWorkspacePatch, MOST_WORKSPACES};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::execution_workspaces::{ExecutionWorkspace as Row, Filter};
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::Asked;
use crate::reach::{Reach, id_of_path};
use crate::shape::execution_workspace::{
    CloseReadiness, ExecutionWorkspace, OperationLog, RunOutputs, WorkspaceOperation, WorkspaceSummary,
};

const STATUSES: [&str; 5] = ["active", "idle", "in_review", "archived", "cleanup_failed"];
/// Keys of a workspace's configuration (strict in the reference).
const CONFIG: [&str; 7] = [
    "environmentId",
    "provisionCommand",
    "teardownCommand",
    "cleanupCommand",
    "workspaceRuntime",
    "desiredState",
    "serviceStates",
];
/// Commands that the machine of the server executes.
const HOST_COMMANDS: [&str; 4] =
    ["provisionCommand", "teardownCommand", "cleanupCommand", "workspaceRuntime"];
/// A piece of a log.
const PIECE: usize = 256_000;

/// The execution workspaces of a company, last used first.
#[utoipa::path(get, path = "/companies/{company}/execution-workspaces", tag = "projects",
    params(("company" = String, Path), ("projectId" = Option<String>, Query),
        ("projectWorkspaceId" = Option<String>, Query), ("issueId" = Option<String>, Query),
        ("status" = Option<String>, Query), ("reuseEligible" = Option<bool>, Query),
        ("summary" = Option<bool>, Query, description = "only id, name, mode and projectWorkspaceId")),
    responses((status = 200, body = Vec<ExecutionWorkspace>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    let text = |name: &str| asked.get(name).map(str::to_owned);
    let filter = Filter {
        project_id: text("projectId"),
        project_workspace_id: text("projectWorkspaceId"),
        issue_id: text("issueId"),
        status: text("status"),
        reusable: asked.is_set("reuseEligible"),
    };
    let found = reach.engine().execution_workspaces(&company, filter, MOST_WORKSPACES).await?;
    Ok(match asked.is_set("summary") {
        true => Json(found.into_iter().map(WorkspaceSummary::from).collect::<Vec<_>>()).into_response(),
        false => Json(found.into_iter().map(ExecutionWorkspace::from).collect::<Vec<_>>()).into_response(),
    })
}

/// One execution workspace.
#[utoipa::path(get, path = "/execution-workspaces/{place}", tag = "projects", params(("place" = String, Path)),
    responses((status = 200, body = ExecutionWorkspace), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named(id): Named<String>,
) -> Result<Json<ExecutionWorkspace>, ApiError> {
    let row = find(&reach, &id).await?;
    let home = reach.engine().service_home(&row).await?;
    let services = reach.engine().services_of(&home).await?;
    Ok(Json(ExecutionWorkspace::with_services(row, services)))
}

/// Whether a workspace may be closed, and what that would do.
#[utoipa::path(get, path = "/execution-workspaces/{place}/close-readiness", tag = "projects",
    params(("place" = String, Path)),
    responses((status = 200, body = CloseReadiness), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn readiness(
    reach: Reach,
    Named(id): Named<String>,
) -> Result<Json<CloseReadiness>, ApiError> {
    let row = find(&reach, &id).await?;
    Ok(Json(reach.engine().close_readiness(&row.id).await?.into()))
}

/// What was done to a workspace, oldest first.
#[utoipa::path(get, path = "/execution-workspaces/{place}/workspace-operations", tag = "projects",
    params(("place" = String, Path)),
    responses((status = 200, body = Vec<WorkspaceOperation>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn operations(
    reach: Reach,
    Named(id): Named<String>,
) -> Result<Json<Vec<WorkspaceOperation>>, ApiError> {
    let row = find(&reach, &id).await?;
    let found = reach.engine().workspace_operations(&row.id).await?;
    Ok(Json(found.into_iter().map(WorkspaceOperation::from).collect()))
}

/// Everything that changed in a workspace since it was made, as a patch.
#[utoipa::path(get, path = "/execution-workspaces/{place}/diff", tag = "projects", params(("place" = String, Path)),
    responses((status = 200, body = String, content_type = "text/x-diff"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn diff(reach: Reach, Named(id): Named<String>) -> Result<Response, ApiError> {
    let row = find(&reach, &id).await?;
    Ok(patch_answer(reach.engine().workspace_patch(&row.id).await?))
}

/// A change of an execution workspace: what is absent stays, null clears. The status `archived` closes it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExecutionWorkspaceBody {
    #[schema(min_length = 1)]
    name: Option<String>,
    /// `active`, `idle`, `in_review`, `archived` or `cleanup_failed`.
    status: Option<String>,
    base_ref: Option<Option<String>>,
    /// From then on it may be closed by itself.
    #[schema(value_type = Option<String>)]
    cleanup_eligible_at: Option<Option<Moment>>,
    cleanup_reason: Option<Option<String>>,
    /// Commands in it are for people only.
    #[schema(value_type = Option<Object>)]
    config: Option<Option<Map<String, Value>>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
    /// With `archived`: files that git ignores may go even where they are too large to be saved. For people only.
    discard_ignored: Option<bool>,
}

impl ExecutionWorkspaceBody {
    fn read(fields: &mut Fields) -> ExecutionWorkspaceBody {
        // Where a worktree lies is what closing goes by: it is the server's own.
        for key in ["cwd", "repoUrl", "branchName", "providerRef"] {
            if fields.has(key) {
                fields.mistake("custom", key, "is decided by the server and cannot be changed");
                fields.set_aside(key);
            }
        }
        let name = fields.text("name");
        ExecutionWorkspaceBody {
            name: fields.not_blank("name", name),
            status: fields.word("status", &STATUSES, |word| word).map(str::to_owned),
            base_ref: fields.nullable_text("baseRef"),
            cleanup_eligible_at: fields.nullable_moment("cleanupEligibleAt"),
            cleanup_reason: fields.nullable_text("cleanupReason"),
            config: fields.strict_object("config", &CONFIG),
            metadata: fields.nullable_object("metadata"),
            discard_ignored: fields.boolean("discardIgnored"),
        }
    }

    fn host_commands(&self) -> Vec<String> {
        let of = |object: Option<&Map<String, Value>>, prefix: &str| -> Vec<String> {
            let is_set =
                |name: &&str| object.is_some_and(|object| object.get(*name).is_some_and(|it| !it.is_null()));
            HOST_COMMANDS.into_iter().filter(is_set).map(|name| format!("{prefix}.{name}")).collect()
        };
        let inner = self.metadata.as_ref().and_then(Option::as_ref).and_then(|it| it.get("config"));
        let mut paths = of(self.config.as_ref().and_then(Option::as_ref), "config");
        paths.extend(of(inner.and_then(Value::as_object), "metadata.config"));
        if self.discard_ignored == Some(true) {
            paths.push("discardIgnored".to_owned());
        }
        paths
    }
}

/// Changes an execution workspace, or closes it: its work is saved to a ref first.
#[utoipa::path(patch, path = "/execution-workspaces/{place}", tag = "projects", request_body = ExecutionWorkspaceBody,
    params(("place" = String, Path)),
    responses((status = 200, body = ExecutionWorkspace), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn change(
    reach: Reach,
    Named(id): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let body = ExecutionWorkspaceBody::read(&mut fields);
    fields.refuse_rest()?;
    let row = find(&reach, &id).await?;
    reach.no_host_commands(body.host_commands())?;
    let author = reach.author(&row.company_id)?;
    let closes = body.status.as_deref() == Some("archived") && !row.is_closed();
    let discard = body.discard_ignored == Some(true);
    let patch = ExecutionWorkspacePatch {
        name: body.name,
        status: body.status.filter(|_| !closes),
        base_ref: body.base_ref,
        cleanup_eligible_at: body.cleanup_eligible_at,
        cleanup_reason: body.cleanup_reason,
        config: body.config.map(|object| object.map(Value::Object)),
        metadata: body.metadata.map(|object| object.map(Value::Object)),
    };
    let mut changed = row.clone();
    if !closes || patch != ExecutionWorkspacePatch::default() {
        changed = reach.engine().patch_execution_workspace(&row.id, patch, &author).await?;
    }
    if closes {
        match reach.engine().close_workspace(&row.id, discard, &author).await? {
            Ok(closed) => changed = closed,
            Err(report) => {
                let answer = json!({
                    "error": "Execution workspace cannot be closed yet", "code": "workspace.blocked",
                    "closeReadiness": CloseReadiness::from(report),
                });
                return Ok((StatusCode::CONFLICT, Json(answer)).into_response());
            }
        }
    }
    Ok(Json(ExecutionWorkspace::from(changed)).into_response())
}

/// What was done to workspaces for a run, oldest first.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/workspace-operations", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = Vec<WorkspaceOperation>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn operations_of_run(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Vec<WorkspaceOperation>>, ApiError> {
    let run = lookup::run(reach.engine(), &reach.caller, &reference).await?;
    let found = reach.engine().run_operations(&run.id).await?;
    Ok(Json(found.into_iter().map(WorkspaceOperation::from).collect()))
}

/// What an operation printed, from an offset on.
#[utoipa::path(get, path = "/workspace-operations/{operation}/log", tag = "projects",
    params(("operation" = String, Path), ("offset" = Option<i64>, Query), ("limitBytes" = Option<i64>, Query)),
    responses((status = 200, body = OperationLog), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn operation_log(
    reach: Reach,
    Named(id): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let id = id_of_path(&id, "Workspace operation")?;
    let (row, log) = reach.engine().workspace_operation(&id).await?;
    reach.of(&row.company_id)?;
    let log = log.ok_or_else(|| ApiError::not_found("Run log"))?;
    let number = |name: &str, otherwise: usize| {
        asked.number(name, 0, 1_048_576).and_then(|number| usize::try_from(number).ok()).unwrap_or(otherwise)
    };
    let from = log.floor_char_boundary(number("offset", 0));
    let until = log.floor_char_boundary(from.saturating_add(number("limitBytes", PIECE).max(4)));
    let piece =
        OperationLog { operation_id: row.id, content: log[from..until].to_owned(), next_offset: until };
    Ok(([(header::CACHE_CONTROL, "no-cache, no-store")], Json(piece)).into_response())
}

/// What came out of a run: branch, commits, files. Null for a run that worked in no repository, or is not over.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/outputs", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = Option<RunOutputs>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn outputs(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<Option<RunOutputs>>, ApiError> {
    let run = lookup::run(reach.engine(), &reach.caller, &reference).await?;
    Ok(Json(reach.engine().run_outputs(&run.id).await?.map(RunOutputs::from)))
}

/// What a run changed, as a patch.
#[utoipa::path(get, path = "/heartbeat-runs/{run}/diff", tag = "runs", params(("run" = String, Path)),
    responses((status = 200, body = String, content_type = "text/x-diff"), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn run_diff(reach: Reach, Named(reference): Named<String>) -> Result<Response, ApiError> {
    let run = lookup::run(reach.engine(), &reach.caller, &reference).await?;
    let patch = reach.engine().run_patch(&run.id).await?;
    Ok(patch_answer(patch.ok_or_else(|| ApiError::not_found("Run diff"))?))
}

fn patch_answer((patch, truncated): (String, bool)) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/x-diff; charset=utf-8"),
        (header::HeaderName::from_static("bugle-truncated"), if truncated { "true" } else { "false" }),
    ];
    (headers, patch).into_response()
}

pub(crate) async fn find(reach: &Reach, id: &str) -> Result<Row, ApiError> {
    let id = id_of_path(id, "Execution workspace")?;
    let row = reach.engine().execution_workspace(&id).await?;
    reach.of(&row.company_id)?;
    Ok(row)
}
