//! Approvals: asking a person for something, talking about it, and the person's decision.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::{AgentId, IssueId, looks_like_id};
use engine::{APPROVAL_KINDS, ApprovalDraft, ApprovalVerdict};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::approvals as rows;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::approval::{Approval, ApprovalComment, ApprovalIssue};

/// The approval of a path, for those who belong to its company.
async fn found(state: &ApiState, caller: &Caller, id: &str) -> Result<rows::Approval, ApiError> {
    if !looks_like_id(id) {
        return Err(ApiError::not_found("Approval"));
    }
    let approval = state.engine.approval(&id.to_ascii_lowercase()).await?;
    caller.company(&approval.company_id)?;
    Ok(approval)
}

/// The approvals of a company, newest first.
#[utoipa::path(get, path = "/companies/{company}/approvals", tag = "approvals",
    params(("company" = String, Path), ("status" = Option<String>, Query), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Approval>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    // The engine lists a thousand at most; one of them tells that there are more.
    let limit = asked.limit(paging::MOST).min(paging::MOST - 1);
    let status = asked.get("status").filter(|status| !status.contains('\0')).map(str::to_owned);
    let found = state.engine.approvals(&company, status, asked.place()?, limit + 1).await?;
    let place = |row: &rows::Approval| cursor_of(row.created_at, &row.id);
    Ok(paging::page(found, limit, place, |rows| rows.into_iter().map(Approval::from).collect()))
}

/// Something to be decided.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApprovalBody {
    /// `hire_agent`, `approve_ceo_strategy`, `budget_override_required` or `request_board_approval`.
    #[serde(rename = "type")]
    kind: String,
    #[schema(value_type = Object)]
    payload: Map<String, Value>,
    /// For people: the agent in whose name it is asked. Agents ask for themselves.
    requested_by_agent_id: Option<String>,
    issue_ids: Option<Vec<String>>,
}

/// Asks a person to decide something.
#[utoipa::path(post, path = "/companies/{company}/approvals", tag = "approvals", request_body = ApprovalBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Approval), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let kind = fields.required_word("type", &APPROVAL_KINDS, |kind| kind);
    let read = ApprovalBody {
        kind: kind.map(str::to_owned).unwrap_or_default(),
        payload: fields.required_object("payload"),
        requested_by_agent_id: fields.id("requestedByAgentId"),
        issue_ids: fields.ids("issueIds"),
    };
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let draft = ApprovalDraft {
        kind: read.kind,
        payload: Value::Object(read.payload),
        requested_by_agent_id: read.requested_by_agent_id.map(AgentId),
        issue_ids: read.issue_ids.into_iter().flatten().map(IssueId).collect(),
    };
    let approval = state.engine.create_approval(&company, draft, &caller.author(&company)?).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Approval::from(approval)))))
}

/// One approval.
#[utoipa::path(get, path = "/approvals/{approval}", tag = "approvals", params(("approval" = String, Path)),
    responses((status = 200, body = Approval), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
) -> Result<Json<Approval>, ApiError> {
    Ok(Json(found(&state, &caller, &id).await?.into()))
}

/// The issues that an approval is about, the newest link first.
#[utoipa::path(get, path = "/approvals/{approval}/issues", tag = "approvals", params(("approval" = String, Path)),
    responses((status = 200, body = Vec<ApprovalIssue>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn issues(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
) -> Result<Json<Vec<ApprovalIssue>>, ApiError> {
    let approval = found(&state, &caller, &id).await?;
    let issues = state.engine.issues_of_approval(&approval.id).await?;
    Ok(Json(issues.into_iter().map(ApprovalIssue::from).collect()))
}

/// A decision. The object is required, the note is not.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApprovalDecisionBody {
    decision_note: Option<String>,
}

async fn decide(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    body: &[u8],
    verdict: ApprovalVerdict,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(body)?;
    let read = ApprovalDecisionBody { decision_note: fields.lines("decisionNote") };
    let ignored = fields.drop_rest()?;
    let approval = found(state, caller, id).await?;
    caller.person(&approval.company_id)?;
    let by = caller.author(&approval.company_id)?;
    let decided = state.engine.decide_approval(&approval.id, verdict, read.decision_note, &by).await?;
    Ok(naming(&ignored, Json(Approval::from(decided))))
}

/// Approves; who asked is woken. Only a person may, and doing it again changes nothing.
#[utoipa::path(post, path = "/approvals/{approval}/approve", tag = "approvals", request_body = ApprovalDecisionBody,
    params(("approval" = String, Path)),
    responses((status = 200, body = Approval), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn approve(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    decide(&state, &caller, &id, &body, ApprovalVerdict::Approve).await
}

/// Rejects. Only a person may.
#[utoipa::path(post, path = "/approvals/{approval}/reject", tag = "approvals", request_body = ApprovalDecisionBody,
    params(("approval" = String, Path)),
    responses((status = 200, body = Approval), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn reject(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    decide(&state, &caller, &id, &body, ApprovalVerdict::Reject).await
}

/// Sends it back to be asked better. Only a person may.
#[utoipa::path(post, path = "/approvals/{approval}/request-revision", tag = "approvals", request_body = ApprovalDecisionBody,
    params(("approval" = String, Path)),
    responses((status = 200, body = Approval), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn request_revision(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    decide(&state, &caller, &id, &body, ApprovalVerdict::RequestRevision).await
}

/// What is asked now; absent, the same as before.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ResubmitBody {
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
}

/// Asks again what was sent back.
#[utoipa::path(post, path = "/approvals/{approval}/resubmit", tag = "approvals", request_body = ResubmitBody,
    params(("approval" = String, Path)),
    responses((status = 200, body = Approval), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn resubmit(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = ResubmitBody { payload: fields.object("payload") };
    let ignored = fields.drop_rest()?;
    let approval = found(&state, &caller, &id).await?;
    let by = caller.author(&approval.company_id)?;
    let payload = read.payload.map(Value::Object);
    let asked = state.engine.resubmit_approval(&approval.id, payload, &by).await?;
    Ok(naming(&ignored, Json(Approval::from(asked))))
}

/// What was said about an approval, oldest first.
#[utoipa::path(get, path = "/approvals/{approval}/comments", tag = "approvals",
    params(("approval" = String, Path), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<ApprovalComment>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn comments(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let approval = found(&state, &caller, &id).await?;
    let limit = asked.limit(paging::MOST).min(paging::MOST - 1);
    let found = state.engine.approval_comments(&approval.id, asked.place()?, limit + 1).await?;
    let place = |row: &rows::ApprovalComment| cursor_of(row.created_at, &row.id);
    Ok(paging::page(found, limit, place, |rows| rows.into_iter().map(ApprovalComment::from).collect()))
}

/// Something to say.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ApprovalCommentBody {
    #[schema(min_length = 1)]
    body: String,
}

/// Says something about an approval.
#[utoipa::path(post, path = "/approvals/{approval}/comments", tag = "approvals", request_body = ApprovalCommentBody,
    params(("approval" = String, Path)),
    responses((status = 201, body = ApprovalComment), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn comment(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = ApprovalCommentBody { body: fields.required_lines("body") };
    let ignored = fields.drop_rest()?;
    let approval = found(&state, &caller, &id).await?;
    let by = caller.author(&approval.company_id)?;
    let said = state.engine.comment_on_approval(&approval.id, read.body, &by).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(ApprovalComment::from(said)))))
}
