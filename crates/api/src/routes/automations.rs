//! Automations and their runs (spec/automations.md 4, in the names of D23).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::automation::definition::{Priority, read_limits};
use domain::automation::operation::Operation;
use domain::automation::{AutomationRunStatus, AutomationStatus};
use domain::ids::{AutomationRunId, looks_like_id};
use engine::{Asked as Asking, LaunchDraft, MOST_AUTOMATIONS, MOST_RUNS};
use serde_json::{Map, Value};
use store::automations::definitions::Automation as AutomationRow;
use store::automations::runs::AutomationRun as RunRow;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody, Issue};
use crate::lookup::Named;
use crate::paging::{Asked, cursor_of, page};
use crate::reach::Reach;
use crate::shape::automation::{
    AppliedDefinition, Automation, AutomationRun, AutomationRunDetail, AutomationVersion, HistoryEntry,
    ResetPreview,
};

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list, apply))
        .routes(routes!(show, remove))
        .routes(routes!(versions))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(run_now, runs))
        .routes(routes!(all_runs))
        .routes(routes!(show_run))
        .routes(routes!(history))
        .routes(routes!(operate))
        .routes(routes!(preview))
}

/// The automations of a company, by name.
#[utoipa::path(get, path = "/companies/{company}/automations", tag = "automations",
    params(("company" = String, Path), ("limit" = Option<i64>, Query), ("after" = Option<String>, Query)),
    responses((status = 200, body = Vec<Automation>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<Automation>>, ApiError> {
    let company = reach.company(&company).await?;
    let limit = asked.limit(MOST_AUTOMATIONS).min(MOST_AUTOMATIONS);
    let found = reach.engine().automations(&company, asked.get("after").unwrap_or_default(), limit).await?;
    Ok(Json(found.into_iter().map(Automation::from).collect()))
}

/// A definition to be applied.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "read by hand, field by field")]
pub(crate) struct ApplyBody {
    /// See docs/automations.md.
    #[schema(value_type = Object)]
    definition: Value,
    /// Says what would change, and changes nothing.
    dry_run: Option<bool>,
    /// A new automation is a draft: only people start it, until it is resumed. One that is there stays what it is.
    draft: Option<bool>,
}

/// Saves a definition under its name: a new automation, a new version, or nothing when it is the same. What is wrong
/// with it is refused, every fault with its place.
#[utoipa::path(post, path = "/companies/{company}/automations", tag = "automations", request_body = ApplyBody,
    params(("company" = String, Path)),
    responses((status = 200, body = AppliedDefinition), (status = 201, body = AppliedDefinition), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn apply(
    reach: Reach,
    Named(company): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    let by = reach.author(&company)?;
    let mut fields = Fields::read(&bytes)?;
    let is_there = fields.has("definition");
    let definition = fields.object("definition");
    if !is_there {
        fields.mistake("invalid_type", "definition", "Required");
    }
    let dry_run = fields.boolean("dryRun").unwrap_or(false);
    let draft = fields.boolean("draft").unwrap_or(false);
    fields.refuse_rest()?;
    let definition = Value::Object(definition.unwrap_or_default());
    let applied = match draft {
        true => reach.engine().draft_automation(&company, &definition, dry_run, &by).await?,
        false => reach.engine().apply_automation(&company, &definition, dry_run, &by).await?,
    };
    let status = if applied.is_new && !dry_run { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(AppliedDefinition::from(applied))).into_response())
}

/// One automation, by its name or id.
#[utoipa::path(get, path = "/companies/{company}/automations/{automation}", tag = "automations",
    params(("company" = String, Path), ("automation" = String, Path)),
    responses((status = 200, body = Automation), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named((company, automation)): Named<(String, String)>,
) -> Result<Json<Automation>, ApiError> {
    let company = reach.company(&company).await?;
    Ok(Json(reach.engine().automation(&company, &automation).await?.into()))
}

/// Removes an automation. Its runs stay on record; while one of them is not over it is refused.
#[utoipa::path(delete, path = "/companies/{company}/automations/{automation}", tag = "automations",
    params(("company" = String, Path), ("automation" = String, Path)),
    responses((status = 200, body = super::Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(
    reach: Reach,
    Named((company, automation)): Named<(String, String)>,
) -> Result<Json<super::Done>, ApiError> {
    let found = named(&reach, &company, &automation).await?;
    let by = reach.author(&found.company_id)?;
    reach.engine().remove_automation(&found.id, &by).await?;
    Ok(Json(super::Done::new()))
}

/// The versions of an automation, newest first.
#[utoipa::path(get, path = "/companies/{company}/automations/{automation}/versions", tag = "automations",
    params(("company" = String, Path), ("automation" = String, Path), ("below" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = Vec<AutomationVersion>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn versions(
    reach: Reach,
    Named((company, automation)): Named<(String, String)>,
    asked: Asked,
) -> Result<Json<Vec<AutomationVersion>>, ApiError> {
    let found = named(&reach, &company, &automation).await?;
    let below = asked.number("below", 1, i64::MAX).unwrap_or(i64::MAX);
    let limit = asked.limit(100).min(MOST_AUTOMATIONS);
    let listed = reach.engine().automation_versions(&found.id, below, limit).await?;
    Ok(Json(listed.into_iter().map(AutomationVersion::from).collect()))
}

/// A reason, if there is one.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "read by hand, field by field")]
pub(crate) struct ReasonBody {
    reason: Option<String>,
}

/// How an automation is paused.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "read by hand, field by field")]
pub(crate) struct PauseBody {
    reason: Option<String>,
    /// Its runs are paused, too.
    runs: Option<bool>,
    /// Their steps under way end by themselves.
    drain: Option<bool>,
}

/// Pauses an automation: nothing of it starts, runs that wait are held, runs at work go on; with `runs` they are paused,
/// too, and with `drain` when the steps under way have ended.
#[utoipa::path(post, path = "/companies/{company}/automations/{automation}/pause", tag = "automations", request_body = PauseBody,
    params(("company" = String, Path), ("automation" = String, Path)),
    responses((status = 200, body = Automation), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn pause(
    reach: Reach,
    Named(path): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<Automation>, ApiError> {
    let found = named(&reach, &path.0, &path.1).await?;
    let by = reach.author(&found.company_id)?;
    let mut fields = Fields::read_or_empty(&bytes)?;
    let reason = fields.text("reason");
    let runs = fields.flag("runs");
    let drain = fields.flag("drain");
    fields.refuse_rest()?;
    let status = AutomationStatus::Paused;
    let view = reach.engine().set_automation_status(&found.id, status, reason.clone(), &by).await?;
    if runs {
        reach.engine().pause_runs(&found.id, (reason, drain), &by).await?;
    }
    Ok(Json(view.into()))
}

/// Lets a paused automation, or a draft, start runs.
#[utoipa::path(post, path = "/companies/{company}/automations/{automation}/resume", tag = "automations", request_body = ReasonBody,
    params(("company" = String, Path), ("automation" = String, Path)),
    responses((status = 200, body = Automation), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn resume(
    reach: Reach,
    Named(path): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<Automation>, ApiError> {
    set_status(&reach, &path, &bytes, AutomationStatus::Active).await
}

async fn set_status(
    reach: &Reach,
    (company, automation): &(String, String),
    bytes: &[u8],
    status: AutomationStatus,
) -> Result<Json<Automation>, ApiError> {
    let found = named(reach, company, automation).await?;
    let by = reach.author(&found.company_id)?;
    let mut fields = Fields::read_or_empty(bytes)?;
    let reason = fields.text("reason");
    fields.refuse_rest()?;
    Ok(Json(reach.engine().set_automation_status(&found.id, status, reason, &by).await?.into()))
}

/// What a run is started with.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "read by hand, field by field")]
pub(crate) struct RunBody {
    #[schema(value_type = Option<Object>)]
    inputs: Option<Map<String, Value>>,
    /// Sent again with the same key, it gives the same run.
    idempotency_key: Option<String>,
    /// `critical`, `high`, `medium` or `low`; the automation's own when left out.
    priority: Option<String>,
    /// Everything is looked at, and nothing starts.
    dry_run: Option<bool>,
    reason: Option<String>,
}

/// Starts a run of an automation.
#[utoipa::path(post, path = "/companies/{company}/automations/{automation}/runs", tag = "automations", request_body = RunBody,
    params(("company" = String, Path), ("automation" = String, Path)),
    responses((status = 202, body = AutomationRun), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn run_now(
    reach: Reach,
    Named((company, automation)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let found = named(&reach, &company, &automation).await?;
    reach.caller.board_of(&found.company_id)?;
    let by = reach.author(&found.company_id)?;
    let mut fields = Fields::read_or_empty(&bytes)?;
    let draft = LaunchDraft {
        inputs: fields.object("inputs").unwrap_or_default(),
        idempotency_key: fields.text("idempotencyKey"),
        priority: fields.word("priority", Priority::ALL, Priority::as_str),
        dry_run: fields.boolean("dryRun").unwrap_or(false),
        reason: fields.text("reason"),
    };
    fields.refuse_rest()?;
    let run = reach.engine().run_automation(&found.company_id, &found.id, draft, &by).await?;
    Ok((StatusCode::ACCEPTED, Json(AutomationRun::from(run))).into_response())
}

/// The runs of an automation, newest first; those in a status, if one is named.
#[utoipa::path(get, path = "/companies/{company}/automations/{automation}/runs", tag = "automations",
    params(("company" = String, Path), ("automation" = String, Path), ("status" = Option<String>, Query), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<AutomationRun>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn runs(
    reach: Reach,
    Named((company, automation)): Named<(String, String)>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let found = named(&reach, &company, &automation).await?;
    listed(&reach, &found.company_id, Some(&found), &asked).await
}

/// The runs of all automations of a company, newest first; those in a status, if one is named.
#[utoipa::path(get, path = "/companies/{company}/automation-runs", tag = "automations",
    params(("company" = String, Path), ("status" = Option<String>, Query), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<AutomationRun>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn all_runs(
    reach: Reach,
    Named(company): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let company = reach.company(&company).await?;
    listed(&reach, &company, None, &asked).await
}

async fn listed(
    reach: &Reach,
    company: &domain::ids::CompanyId,
    automation: Option<&AutomationRow>,
    asked: &Asked,
) -> Result<Response, ApiError> {
    let limit = asked.limit(100).min(MOST_RUNS);
    let id = automation.map(|it| &it.id);
    let rows = match asked.get("status") {
        None => reach.engine().automation_runs(company, id, asked.place()?, limit + 1).await?,
        Some(word) => {
            let status = AutomationRunStatus::parse(word).ok_or_else(|| {
                let known: Vec<&str> = AutomationRunStatus::ALL.iter().map(|it| it.as_str()).collect();
                let message = format!("`{word}` is no status of a run: {}", known.join(", "));
                ApiError::validation(Issue::new("invalid_enum_value", "status", message))
            })?;
            let of = (company, id);
            reach.engine().automation_runs_in(of, status, asked.place()?, limit + 1).await?
        }
    };
    let place = |run: &RunRow| cursor_of(run.created_at, run.id.as_str());
    Ok(page(rows, limit, place, |rows| rows.into_iter().map(AutomationRun::from).collect::<Vec<_>>()))
}

/// A run with its nodes, attempts and gates.
#[utoipa::path(get, path = "/automation-runs/{run}", tag = "automations", params(("run" = String, Path)),
    responses((status = 200, body = AutomationRunDetail), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show_run(
    reach: Reach,
    Named(run): Named<String>,
) -> Result<Json<AutomationRunDetail>, ApiError> {
    let found = run_of(&reach, &run).await?;
    Ok(Json(reach.engine().automation_run(&found.id).await?.into()))
}

/// What happened to a run, behind the number `after`, oldest first.
#[utoipa::path(get, path = "/automation-runs/{run}/history", tag = "automations",
    params(("run" = String, Path), ("after" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = Vec<HistoryEntry>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn history(
    reach: Reach,
    Named(run): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<HistoryEntry>>, ApiError> {
    let found = run_of(&reach, &run).await?;
    let after = asked.number("after", 0, i64::MAX).unwrap_or(0);
    let entries = reach.engine().automation_history(&found.id, after, asked.limit(MOST_RUNS)).await?;
    Ok(Json(entries.into_iter().map(HistoryEntry::from).collect()))
}

/// What is asked of a run.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "read by hand, field by field")]
pub(crate) struct OperationBody {
    reason: Option<String>,
    /// For repair, retry and continue.
    node_id: Option<String>,
    /// For a pause: what is under way may end by itself.
    drain: Option<bool>,
    /// For a resume: limits of this run from here on.
    #[schema(value_type = Option<Object>)]
    limits: Option<Value>,
    /// For a repair: fields of the node that are to be other ones in this run.
    #[schema(value_type = Option<Object>)]
    patch: Option<Value>,
}

/// Pauses, resumes or cancels a run, or makes nodes of it again: `recover`, `repair`, `retry`, `continue`. What may be
/// asked now is `allowedActions` of the run.
#[utoipa::path(post, path = "/automation-runs/{run}/{operation}", tag = "automations", request_body = OperationBody,
    params(("run" = String, Path), ("operation" = String, Path)),
    responses((status = 200, body = AutomationRun), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn operate(
    reach: Reach,
    Named((run, operation)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<AutomationRun>, ApiError> {
    let found = run_of(&reach, &run).await?;
    let operation = Operation::parse(&operation).ok_or_else(|| ApiError::not_found("Operation"))?;
    reach.caller.board_of(&found.company_id)?;
    let by = reach.author(&found.company_id)?;
    let mut fields = Fields::read_or_empty(&bytes)?;
    let mut asking = Asking {
        node: fields.text("nodeId"),
        reason: fields.text("reason"),
        drain: fields.boolean("drain").unwrap_or(false),
        patch: fields.object("patch").map(Value::Object),
        ..Asking::new(operation)
    };
    if let Some(limits) = fields.object("limits") {
        match read_limits(&Value::Object(limits)) {
            Ok(limits) => asking.limits = Some(limits),
            Err(problem) => fields.mistake("custom", &problem.path, problem.message),
        }
    }
    fields.refuse_rest()?;
    if asking.limits.is_some() {
        // As with budgets, who gives a run more proves to be a person (D19).
        reach.caller.person(&found.company_id)?;
    }
    Ok(Json(reach.engine().operate(&found.id, asking, &by).await?.into()))
}

/// What `recover`, `repair`, `retry` or `continue` would make again.
#[utoipa::path(get, path = "/automation-runs/{run}/reset-preview", tag = "automations",
    params(("run" = String, Path), ("operation" = Option<String>, Query), ("nodeId" = Option<String>, Query)),
    responses((status = 200, body = ResetPreview), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn preview(
    reach: Reach,
    Named(run): Named<String>,
    asked: Asked,
) -> Result<Json<ResetPreview>, ApiError> {
    let found = run_of(&reach, &run).await?;
    let node = asked.get("nodeId").map(str::to_owned);
    let usual = if node.is_some() { Operation::Retry } else { Operation::Recover };
    let operation = match asked.get("operation") {
        None => usual,
        Some(word) => Operation::parse(word).ok_or_else(|| ApiError::not_found("Operation"))?,
    };
    Ok(Json(reach.engine().preview_operation(&found.id, operation, node).await?.into()))
}

async fn named(reach: &Reach, company: &str, automation: &str) -> Result<AutomationRow, ApiError> {
    let company = reach.company(company).await?;
    Ok(reach.engine().automation(&company, automation).await?.automation)
}

async fn run_of(reach: &Reach, id: &str) -> Result<RunRow, ApiError> {
    if !looks_like_id(id) {
        return Err(ApiError::not_found("Automation run"));
    }
    let found = reach.engine().find_automation_run(&AutomationRunId::from(id)).await?;
    reach.of(&found.company_id)?;
    Ok(found)
}
