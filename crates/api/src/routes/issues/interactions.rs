//! Interactions: an agent suggests tasks, asks questions or wants a confirmation; a person answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use domain::ids::{CommentId, RunId};
use engine::{INTERACTION_KINDS, InteractionDraft, Reply};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::body::kinds::with_line_ends;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::paging::{self, Asked, cursor_of};
use crate::reach::{Reach, id_of_path};
use crate::routes::naming;
use crate::shape::interaction::Interaction;

const POLICIES: [&str; 3] = ["none", "wake_assignee", "wake_assignee_on_accept"];
/// More than one page of questions.
const LIMIT: i64 = 500;

/// The interactions of an issue, oldest first.
#[utoipa::path(get, path = "/issues/{issue}/interactions", tag = "issues",
    params(("issue" = String, Path), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Interaction>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    reach: Reach,
    Named(reference): Named<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let issue = reach.issue(&reference).await?;
    let found = reach.engine().interactions(&issue.id, asked.place()?, LIMIT).await?;
    let place = |row: &store::interactions::Interaction| cursor_of(row.created_at, &row.id);
    // One more than is given tells whether there are more.
    Ok(paging::page(found, LIMIT - 1, place, |rows| rows.into_iter().map(Interaction::from).collect()))
}

/// A question to people.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the body; it is read straight into a draft")]
pub(crate) struct InteractionBody {
    /// `suggest_tasks`, `ask_user_questions` or `request_confirmation`.
    kind: String,
    /// The same key and question give the same interaction.
    #[schema(max_length = 255)]
    idempotency_key: Option<String>,
    source_comment_id: Option<String>,
    /// Agents: always their run.
    source_run_id: Option<String>,
    #[schema(max_length = 240)]
    title: Option<String>,
    #[schema(max_length = 1000)]
    summary: Option<String>,
    /// `none`, `wake_assignee` (default, except for confirmations) or `wake_assignee_on_accept`.
    continuation_policy: Option<String>,
    #[schema(value_type = Object)]
    payload: Map<String, Value>,
}

/// Asks people something on an issue.
#[utoipa::path(post, path = "/issues/{issue}/interactions", tag = "issues", request_body = InteractionBody,
    params(("issue" = String, Path)),
    responses((status = 201, body = Interaction), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    reach: Reach,
    Named(reference): Named<String>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&bytes)?;
    let kind = fields.required_word("kind", &INTERACTION_KINDS, |word| word);
    if !fields.has("payload") {
        fields.mistake("invalid_type", "payload", "Required");
    }
    let draft = InteractionDraft {
        kind: kind.unwrap_or_default().to_owned(),
        idempotency_key: fields.text("idempotencyKey"),
        source_comment_id: fields.id("sourceCommentId").map(CommentId),
        source_run_id: fields.id("sourceRunId").map(RunId),
        title: fields.text("title"),
        summary: fields.text("summary"),
        continuation_policy: fields.word("continuationPolicy", &POLICIES, |word| word).map(str::to_owned),
        payload: Value::Object(task_lines(fields.object("payload").unwrap_or_default())),
    };
    let ignored = fields.drop_rest()?;
    let (issue, author) = reach.issue_for_change(&reference).await?;
    let asked = reach.engine().create_interaction(&issue.id, draft, &author).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Interaction::from(asked)))))
}

/// Descriptions of suggested tasks become descriptions of issues, and are read like these.
fn task_lines(mut payload: Map<String, Value>) -> Map<String, Value> {
    for task in payload.get_mut("tasks").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::String(text)) = task.get_mut("description") {
            *text = with_line_ends(text);
        }
    }
    payload
}

async fn resolve(
    reach: &Reach,
    (reference, interaction): (String, String),
    reply: Reply,
) -> Result<Interaction, ApiError> {
    let (issue, author) = reach.issue_for_change(&reference).await?;
    reach.caller.board_of(&issue.company_id)?;
    let id = id_of_path(&interaction, "Interaction")?;
    Ok(reach.engine().resolve_interaction(&issue.id, &id, reply, &author).await?.into())
}

/// Which of the suggested tasks are wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AcceptBody {
    /// 1 to 50; absent: all.
    selected_client_keys: Option<Vec<String>>,
}

/// Accepts a confirmation, or suggested tasks, which become issues. For people.
#[utoipa::path(post, path = "/issues/{issue}/interactions/{interaction}/accept", tag = "issues", request_body = AcceptBody,
    params(("issue" = String, Path), ("interaction" = String, Path)),
    responses((status = 200, body = Interaction), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn accept(
    reach: Reach,
    Named(path): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    /// As many as can be suggested.
    const MOST: usize = 50;
    let mut fields = Fields::read_or_empty(&bytes)?;
    let body = AcceptBody { selected_client_keys: fields.texts("selectedClientKeys") };
    if let Some(keys) = &body.selected_client_keys {
        let mut unique: Vec<&String> = keys.iter().collect();
        unique.sort();
        unique.dedup();
        if keys.is_empty() || keys.len() > MOST || unique.len() != keys.len() {
            let message = format!("must have 1 to {MOST} different entries");
            fields.mistake("custom", "selectedClientKeys", message);
        }
    }
    let ignored = fields.drop_rest()?;
    let answer = resolve(&reach, path, Reply::Accept { selected: body.selected_client_keys }).await?;
    Ok(naming(&ignored, Json(answer)))
}

/// Why not.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RejectBody {
    #[schema(max_length = 4000)]
    reason: Option<String>,
}

/// Declines an interaction. For people.
#[utoipa::path(post, path = "/issues/{issue}/interactions/{interaction}/reject", tag = "issues", request_body = RejectBody,
    params(("issue" = String, Path), ("interaction" = String, Path)),
    responses((status = 200, body = Interaction), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn reject(
    reach: Reach,
    Named(path): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read_or_empty(&bytes)?;
    let body = RejectBody { reason: fields.text("reason") };
    let ignored = fields.drop_rest()?;
    let answer = resolve(&reach, path, Reply::Reject { reason: body.reason }).await?;
    Ok(naming(&ignored, Json(answer)))
}

/// Answers to questions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RespondBody {
    /// At most 20 of `{questionId, optionIds}`.
    #[schema(value_type = Vec<Object>)]
    answers: Vec<Value>,
    summary_markdown: Option<String>,
}

/// Answers questions. For people.
#[utoipa::path(post, path = "/issues/{issue}/interactions/{interaction}/respond", tag = "issues", request_body = RespondBody,
    params(("issue" = String, Path), ("interaction" = String, Path)),
    responses((status = 200, body = Interaction), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn respond(
    reach: Reach,
    Named(path): Named<(String, String)>,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    /// More answers than there are questions.
    const MOST: usize = 20;
    let mut fields = Fields::read(&bytes)?;
    if !fields.has("answers") {
        fields.mistake("invalid_type", "answers", "Required");
    }
    let body = RespondBody {
        answers: fields.array("answers").unwrap_or_default(),
        summary_markdown: fields.lines("summaryMarkdown"),
    };
    if body.answers.len() > MOST {
        fields.mistake("too_big", "answers", format!("Array must contain at most {MOST} element(s)"));
    }
    for (index, answer) in body.answers.iter().enumerate() {
        let options = answer["optionIds"].as_array();
        if !answer["questionId"].is_string() || !options.is_some_and(|ids| ids.iter().all(Value::is_string)) {
            let message = "Expected {questionId, optionIds}";
            fields.mistake("invalid_type", &format!("answers.{index}"), message);
        } else if options.is_some_and(|ids| ids.len() > MOST) {
            let message = format!("Array must contain at most {MOST} element(s)");
            fields.mistake("too_big", &format!("answers.{index}.optionIds"), message);
        }
    }
    let ignored = fields.drop_rest()?;
    let reply =
        Reply::Respond { answers: Value::Array(body.answers), summary_markdown: body.summary_markdown };
    Ok(naming(&ignored, Json(resolve(&reach, path, reply).await?)))
}
