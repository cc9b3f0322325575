//! What people do to a whole tree of issues: pause it, resume it, cancel it, bring it back.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::ids::HoldId;
use domain::tree::{HoldStatus, Mode, ReleasePolicy, ReleaseStrategy};
use engine::{HoldFilter, TreeOperation};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::Asked;
use crate::reach::{Reach, id_of_path};
use crate::shape::tree::{TreeHold, TreeOperated, TreePreview, TreeState};

/// An operation on a tree. Unknown fields are refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TreeBody {
    /// `pause`, `resume`, `cancel` or `restore`.
    #[schema(value_type = String)]
    mode: Mode,
    /// Not of a preview.
    #[schema(min_length = 1, max_length = 1000)]
    reason: Option<String>,
    /// `strategy` (`manual`, the default, or `after_active_runs_finish`) and `note`.
    #[schema(value_type = Option<Object>)]
    release_policy: Option<ReleasePolicy>,
    /// Not of a preview. `wakeAgents: true` has a restore wake the assignees.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

impl TreeBody {
    fn read(bytes: &[u8], is_preview: bool) -> Result<TreeBody, ApiError> {
        let mut fields = Fields::read(bytes)?;
        let mode = fields.required_word("mode", Mode::ALL, Mode::as_str);
        let release_policy = policy(&mut fields);
        let (reason, metadata) = match is_preview {
            true => (None, None),
            false => (reason(&mut fields), fields.object("metadata")),
        };
        fields.refuse_rest()?;
        let mode = mode.ok_or_else(ApiError::internal)?;
        Ok(TreeBody { mode, reason, release_policy, metadata })
    }
}

fn reason(fields: &mut Fields) -> Option<String> {
    let text = fields.text("reason");
    fields.not_blank("reason", text)
}

fn policy(fields: &mut Fields) -> Option<ReleasePolicy> {
    let mut part = Fields::of(fields.strict_object("releasePolicy", &["strategy", "note"])??);
    let strategy = part.word("strategy", ReleaseStrategy::ALL, ReleaseStrategy::as_str);
    let note = part.text("note");
    let note = part.not_blank("note", note);
    fields.take_mistakes("releasePolicy", part);
    Some(ReleasePolicy { strategy: strategy.unwrap_or(ReleaseStrategy::Manual), note })
}

/// Says what an operation on a tree would do. For people.
#[utoipa::path(post, path = "/issues/{issue}/tree-control/preview", tag = "trees", request_body = TreeBody,
    params(("issue" = String, Path, description = "id or identifier of the root")),
    responses((status = 200, body = TreePreview), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn preview(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Json<TreePreview>, ApiError> {
    let body = TreeBody::read(&bytes, true)?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let found = reach.engine().preview_tree(&issue.id, body.mode, body.release_policy, &author).await?;
    Ok(Json(found.into()))
}

/// Does something to a tree: the hold that stands for it, and what was done. For people.
#[utoipa::path(post, path = "/issues/{issue}/tree-holds", tag = "trees", request_body = TreeBody,
    params(("issue" = String, Path)),
    responses((status = 200, body = TreeOperated), (status = 201, body = TreeOperated), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn operate(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let body = TreeBody::read(&bytes, false)?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let mode = body.mode;
    let operation = TreeOperation {
        mode,
        reason: body.reason,
        release_policy: body.release_policy,
        metadata: body.metadata.map(Value::Object),
    };
    let (held, preview) = reach.engine().operate_tree(&issue.id, operation, &author).await?;
    let answer = TreeOperated { hold: TreeHold::new(held, true), preview: preview.into() };
    let status = if mode == Mode::Restore { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(answer)).into_response())
}

/// The pause that covers an issue. For people.
#[utoipa::path(get, path = "/issues/{issue}/tree-control/state", tag = "trees", params(("issue" = String, Path)),
    responses((status = 200, body = TreeState), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn state(
    reach: Reach,
    Named(reference): Named<String>,
) -> Result<Json<TreeState>, ApiError> {
    let issue = reach.issue(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    Ok(Json(reach.engine().pause_gate(&issue.id).await?.into()))
}

/// The holds on a root, newest first. For people.
#[utoipa::path(get, path = "/issues/{issue}/tree-holds", tag = "trees",
    params(("issue" = String, Path), ("status" = Option<String>, Query, description = "`active` or `released`"),
        ("mode" = Option<String>, Query), ("includeMembers" = Option<bool>, Query)),
    responses((status = 200, body = Vec<TreeHold>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Json<Vec<TreeHold>>, ApiError> {
    let issue = reach.issue(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let with_members = asked.is_set("includeMembers");
    let filter = HoldFilter {
        status: word(&asked, "status", HoldStatus::parse)?,
        mode: word(&asked, "mode", Mode::parse)?,
        with_members,
    };
    let found = reach.engine().tree_holds(&issue.id, filter).await?;
    Ok(Json(found.into_iter().map(|held| TreeHold::new(held, with_members)).collect()))
}

fn word<T>(asked: &Asked, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ApiError> {
    match asked.get(name) {
        None => Ok(None),
        Some(text) => parse(text)
            .map(Some)
            .ok_or_else(|| ApiError::bad_request("bad_query", format!("Unknown {name} of a tree hold"))),
    }
}

/// One hold with what it remembers. For people.
#[utoipa::path(get, path = "/issues/{issue}/tree-holds/{hold}", tag = "trees",
    params(("issue" = String, Path), ("hold" = String, Path)),
    responses((status = 200, body = TreeHold), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    reach: Reach,
    Named((reference, hold)): Named<(String, String)>,
) -> Result<Json<TreeHold>, ApiError> {
    let issue = reach.issue(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let hold = HoldId(id_of_path(&hold, "Issue tree hold")?);
    Ok(Json(TreeHold::new(reach.engine().tree_hold(&issue.id, &hold).await?, true)))
}

/// Why a hold is released. Unknown fields are refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body; a policy is checked and has no meaning here")]
pub(crate) struct ReleaseBody {
    #[schema(min_length = 1, max_length = 1000)]
    reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    release_policy: Option<ReleasePolicy>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Releases a hold: what it kept may start. For people.
#[utoipa::path(post, path = "/issues/{issue}/tree-holds/{hold}/release", tag = "trees", request_body = ReleaseBody,
    params(("issue" = String, Path), ("hold" = String, Path)),
    responses((status = 200, body = TreeHold), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn release(
    reach: Reach,
    Named((reference, hold)): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Json<TreeHold>, ApiError> {
    let mut fields = Fields::read_or_empty(&bytes)?;
    let why = reason(&mut fields);
    policy(&mut fields);
    let metadata = fields.object("metadata").map(Value::Object);
    fields.refuse_rest()?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let hold = HoldId(id_of_path(&hold, "Issue tree hold")?);
    let released = reach.engine().release_tree_hold(&issue.id, &hold, why, metadata, &author).await?;
    Ok(Json(TreeHold::new(released, true)))
}
