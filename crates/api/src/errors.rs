//! What a caller hears when something is refused or fails: the one place where HTTP statuses are assigned.
//!
//! Every failure leaves as `{error, code, details?, hint?}`. `error` is the text existing clients print and match,
//! `code` is a stable word for programs, `hint` says what to do. What may go wrong is decided elsewhere.

use std::time::Duration;

use adapters::Problem;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::access::{Refusal, RefusalKind};
use domain::issue::refusal::Kind;
use engine::{EngineError, ProcessError};
use serde::Serialize;
use serde_json::{Value, json};
use store::StoreError;
use store::audit::BrokenLink;
use utoipa::ToSchema;

use crate::shape::execution_workspace::ExecutionWorkspace;

/// A failure on its way to the caller. Boxed: every handler returns one, hardly ever.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError(Box<Failure>);

#[derive(Debug, Clone, PartialEq)]
struct Failure {
    status: StatusCode,
    code: &'static str,
    error: String,
    details: Option<Value>,
    hint: Option<String>,
    retry_after: Option<Duration>,
    /// The closed workspace that is in the way.
    execution_workspace: Option<Value>,
    /// A rule of access is against it.
    is_denied: bool,
}

/// Travels beside the answer to a request that a rule of access is against: its text.
#[derive(Debug, Clone)]
pub(crate) struct Denied(pub(crate) String);

/// The body of every failure.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// A sentence for people; existing clients match some of them.
    error: String,
    /// A stable word for programs.
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The closed workspace that is in the way.
    #[serde(rename = "executionWorkspace", skip_serializing_if = "Option::is_none")]
    execution_workspace: Option<Value>,
}

/// One mistake in a request, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Issue {
    pub(crate) code: &'static str,
    /// Keys from the outermost object inwards.
    pub(crate) path: Vec<String>,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl Issue {
    /// A mistake at a key of the outermost object, or at a path with dots below it. What the caller wrote is shown as far
    /// as a person reads.
    pub(crate) fn new(code: &'static str, path: &str, message: impl Into<String>) -> Issue {
        let path = path[..path.floor_char_boundary(LONGEST_PATH)].split('.').map(str::to_owned).collect();
        let mut message: String = message.into();
        if message.len() > LONGEST_MESSAGE {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            message.shrink_to_fit();
            message.push_str("...");
        }
        Issue { code, path, message, hint: None }
    }

    fn of(problem: &Problem) -> Issue {
        Issue { hint: problem.hint.clone(), ..Issue::new("custom", &problem.path, problem.message.clone()) }
    }
}

/// Mistakes are told up to this number; the last one then says how many more there are.
const MOST_MISTAKES: usize = 100;
/// A path or a message is shown up to so many bytes.
const LONGEST_PATH: usize = 300;
const LONGEST_MESSAGE: usize = 2_000;

/// The mistakes of a request while it is read. Those that will not be shown are counted and never built.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    told: Vec<Issue>,
    untold: usize,
}

impl Mistakes {
    /// Notes one mistake.
    pub(crate) fn note(&mut self, issue: impl FnOnce() -> Issue) {
        if self.told.len() < MOST_MISTAKES {
            self.told.push(issue());
        } else {
            self.untold += 1;
        }
    }

    /// Notes mistakes of which nothing but the number is known.
    pub(crate) fn count(&mut self, more: usize) {
        self.untold += more;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Those that are told, and the number of the others.
    pub(crate) fn into_parts(self) -> (Vec<Issue>, usize) {
        (self.told, self.untold)
    }

    /// The mistakes as the caller hears them.
    fn into_list(mut self) -> Vec<Issue> {
        if self.untold > 0 {
            self.told.truncate(MOST_MISTAKES - 1);
            let more = format!("and {} more mistakes", self.untold + 1);
            self.told.push(Issue { code: "custom", path: Vec::new(), message: more, hint: None });
        }
        self.told
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Issue> {
        self.told.iter()
    }
}

impl From<Issue> for Mistakes {
    fn from(issue: Issue) -> Mistakes {
        Mistakes { told: vec![issue], untold: 0 }
    }
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> ApiError {
        let error = error.into();
        let (details, hint, retry_after, execution_workspace) = (None, None, None, None);
        ApiError(Box::new(Failure {
            status,
            code,
            error,
            details,
            hint,
            retry_after,
            execution_workspace,
            is_denied: false,
        }))
    }

    pub(crate) fn bad_request(code: &'static str, error: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, error)
    }

    /// The body does not fit its schema.
    pub(crate) fn validation(mistakes: impl Into<Mistakes>) -> ApiError {
        let issues = mistakes.into().into_list();
        let mut error = ApiError::bad_request("validation_error", "Validation error");
        error.0.hint = issues.iter().find_map(|issue| issue.hint.clone());
        error.details(json!(issues))
    }

    /// What is wrong with a file that was sent as a whole: every mistake with its place, whatever it is about.
    pub(crate) fn in_file(error: EngineError) -> ApiError {
        let EngineError::Invalid(problems) = error else { return error.into() };
        let mut mistakes = Mistakes::default();
        for problem in &problems {
            mistakes.note(|| Issue::of(problem));
        }
        ApiError::validation(mistakes)
    }

    pub(crate) fn unauthorized(hint: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized").hint(hint)
    }

    pub(crate) fn forbidden(code: &'static str, error: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, code, error)
    }

    pub(crate) fn not_found(thing: &str) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("{thing} not found"))
    }

    pub(crate) fn no_such_route() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "route_not_found", "API route not found")
            .hint("GET /api/openapi.json lists all routes")
    }

    pub(crate) fn method_not_allowed() -> ApiError {
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
            .hint("the Allow header names the methods of this route")
    }

    pub(crate) fn conflict(code: &'static str, error: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code, error)
    }

    pub(crate) fn unprocessable(code: &'static str, error: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, error)
    }

    pub(crate) fn too_large(limit: usize) -> ApiError {
        let hint = format!("a request body may hold {limit} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Request body is too large").hint(hint)
    }

    /// The sender began a body and did not go on with it.
    pub(crate) fn body_too_slow(after: Duration) -> ApiError {
        let error = format!("Request body did not come within {} seconds", after.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", error)
            .hint("nothing of it was taken; send it again, with the content-length that it has")
    }

    /// What a trigger started is gone.
    pub(crate) fn automation_removed() -> ApiError {
        let words = "The automation was removed, and no other one has its name";
        ApiError::new(StatusCode::NOT_FOUND, "automation_removed", words)
            .hint("the webhook goes on when an automation is saved under that name again")
    }

    /// Nothing proves who sent this.
    pub(crate) fn unproven() -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "signature_invalid", "Signature is missing, wrong or too old")
            .hint(
                "sign the bytes of the body as they are sent, with the latest secret, at the time of sending",
            )
    }

    /// Too many came before.
    pub(crate) fn too_many(wait: Duration) -> ApiError {
        let mut error =
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests");
        error.0.retry_after = Some(wait);
        error
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.0.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    pub(crate) fn timeout(after: Duration) -> ApiError {
        let error = format!("Request took longer than {} seconds", after.as_secs());
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", error)
            .hint("it may have been done; a wake may be sent again with the same idempotencyKey")
    }

    pub(crate) fn internal() -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal server error")
            .hint("the log of the server says more")
    }

    pub(crate) fn unavailable(code: &'static str, error: &str, retry_after: Duration) -> ApiError {
        let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, error);
        error.0.retry_after = Some(retry_after);
        error
    }

    pub(crate) fn details(mut self, details: Value) -> ApiError {
        self.0.details = Some(details);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> ApiError {
        self.0.hint = Some(hint.into());
        self
    }

    /// What the answer says.
    pub(crate) fn text(&self) -> &str {
        &self.0.error
    }

    /// The caller is to blame, and not the moment.
    pub(crate) fn is_refusal(&self) -> bool {
        self.0.status.is_client_error()
    }

    #[cfg(test)]
    pub(crate) fn into_details(self) -> Option<Value> {
        self.0.details
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Failure { status, code, error, details, hint, retry_after, execution_workspace, is_denied } =
            *self.0;
        let denied = is_denied.then(|| Denied(error.clone()));
        let body = ErrorBody { error, code: code.to_owned(), details, hint, execution_workspace };
        let mut answer = (status, Json(body)).into_response();
        if let Some(after) = retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(denied) = denied {
            answer.extensions_mut().insert(denied);
        }
        answer
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> ApiError {
        let text = error.to_string();
        match error {
            EngineError::NotFound(thing) => ApiError::not_found(thing),
            EngineError::NotInvokable(status) => {
                ApiError::conflict("agent.not_invokable", text).details(json!({ "status": status }))
            }
            EngineError::Budget(block) => ApiError::conflict("budget.blocked", text)
                .details(json!({ "scopeType": block.scope_type, "scopeId": block.scope_id })),
            EngineError::CursorAhead { .. } => ApiError::bad_request("cursor_ahead", text).hint(
                "leave the cursor out to follow from now on, or send 0 to read everything that is kept",
            ),
            EngineError::KeyReused { wake } => {
                ApiError::conflict("idempotency_key_reused", "Idempotency key was used for another request")
                    .details(json!({ "wakeupRequestId": wake }))
                    .hint("send the request of the first time again, or use a new key")
            }
            EngineError::Conflict { message, details } => {
                let mut error = ApiError::conflict("conflict", message);
                error.0.details = details;
                error
            }
            EngineError::Refused { kind, message, details } => {
                let mut error = of_kind(kind, message);
                error.0.details = details;
                error
            }
            EngineError::ClosedWorkspace(row) => {
                let mut error = ApiError::conflict("workspace.closed", text);
                error.0.execution_workspace = serde_json::to_value(ExecutionWorkspace::from(*row)).ok();
                error.hint(
                    "send {\"executionWorkspaceId\": null} to PATCH /api/issues/ID, or the id of an open one",
                )
            }
            EngineError::Denied(refusal) => refusal.into(),
            EngineError::Invalid(problems) => of_problems(&problems),
            EngineError::Closing => {
                ApiError::unavailable("closing", "Server is shutting down", Duration::from_secs(2))
            }
            EngineError::Process(error) => error.into(),
            EngineError::Store(error) => error.into(),
        }
    }
}

/// A refusal by a rule, in the words of the rule.
fn of_kind(kind: Kind, message: String) -> ApiError {
    match kind {
        Kind::Invalid => ApiError::bad_request("invalid_request", message),
        Kind::Unauthenticated => ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message),
        Kind::Forbidden => ApiError::forbidden("forbidden", message),
        Kind::NotFound => ApiError::new(StatusCode::NOT_FOUND, "not_found", message),
        Kind::Conflict => ApiError::conflict("conflict", message),
        Kind::Unprocessable => ApiError::unprocessable("unprocessable", message),
    }
}

/// What to do when the record of decisions is damaged.
const MEND_THE_RECORD: &str = "see what is wrong: bugle audit verify; then stop the server, and put the last good backup in the place of its store";

/// The audit chain is broken where it would have to hold.
pub(crate) fn broken_record(link: &BrokenLink) -> ApiError {
    let words = format!("The record of decisions is broken at number {}: {}", link.seq, link.why.meaning());
    ApiError::conflict("audit_broken", words)
        .hint(MEND_THE_RECORD)
        .details(json!({ "seq": link.seq, "why": link.why.as_str() }))
}

/// What a person can do about a refusal.
fn hint_of(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::Unauthorized | Refusal::BoardSignInRequired | Refusal::ApproverSignInRequired => {
            Some("send Authorization: Bearer TOKEN; on the command line: bugle login")
        }
        Refusal::BoardTokenRequired => Some(
            "only a person may do this: send the token in board.token of the data folder; the command line does so by itself",
        ),
        Refusal::OtherTask => Some(
            "say it on your own task, make an issue below it, or leave it to whoever this one is given to",
        ),
        Refusal::SecretBindings(_) => Some("ask a person to bind the secret"),
        Refusal::RunRequired => Some("send the id of your run as X-Paperclip-Run-Id"),
        _ => None,
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let text = refusal.text();
        let error = match refusal.kind() {
            RefusalKind::Invalid => ApiError::bad_request("invalid_request", text),
            RefusalKind::Unauthenticated => ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", text),
            RefusalKind::Forbidden => ApiError::forbidden("forbidden", text),
            RefusalKind::NotFound => ApiError::new(StatusCode::NOT_FOUND, "not_found", text),
            RefusalKind::Conflict => ApiError::conflict("conflict", text),
        };
        let mut error = match hint_of(&refusal) {
            Some(hint) => error.hint(hint),
            None => error,
        };
        error.0.is_denied = refusal.kind() == RefusalKind::Forbidden;
        match refusal {
            Refusal::CheckedOut { issue, assignee, actor } => error.details(json!({
                "issueId": issue, "assigneeAgentId": assignee, "actorAgentId": actor,
            })),
            _ => error,
        }
    }
}

/// What a configuration or another row forbids is 422 with the text of the rule; a field of the wrong form is 400.
fn of_problems(problems: &[Problem]) -> ApiError {
    let is_semantic = |problem: &Problem| {
        ["adapterType", "adapterConfig", "reportsTo", "env."].iter().any(|of| problem.path.starts_with(of))
            || problem.path.contains(".adapterConfig.")
    };
    let mut mistakes = Mistakes::default();
    for problem in problems {
        mistakes.note(|| Issue::of(problem));
    }
    match problems.first() {
        Some(first) if problems.iter().all(is_semantic) => {
            let is_sentence = first.message.starts_with(char::is_uppercase);
            let error = if is_sentence { first.message.clone() } else { first.to_string() };
            let code = if first.path.starts_with("env.") { "invalid_environment" } else { "invalid_agent" };
            let mut error = ApiError::unprocessable(code, error);
            error.0.hint.clone_from(&first.hint);
            error.details(json!(mistakes.into_list()))
        }
        _ => ApiError::validation(mistakes),
    }
}

impl From<ProcessError> for ApiError {
    fn from(error: ProcessError) -> ApiError {
        match error {
            ProcessError::NotThere => ApiError::not_found("Run log"),
            ProcessError::BadOffset(offset) => bad_offset(offset),
            ProcessError::Damaged(what) => {
                tracing::warn!(%what, "the files of a run are damaged");
                let mut error = ApiError::internal();
                error.0.code = "log_damaged";
                error.0.error = format!("Run log is damaged: {what}");
                error.hint("something other than bugle changed the run's files, or the disk is failing; its record is not affected")
            }
            ProcessError::Refused | ProcessError::NotAnswering | ProcessError::Other(_) => {
                tracing::error!(%error, "cannot look at the files of a run");
                ApiError::internal()
            }
        }
    }
}

/// An offset that was never given out, or whose place is gone.
pub(crate) fn bad_offset(offset: u64) -> ApiError {
    ApiError::bad_request("bad_offset", format!("Offset {offset} is not a place in this log"))
        .hint("use 0, or the nextOffset of an earlier answer for the same run")
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        const SOON: Duration = Duration::from_secs(1);
        match error {
            StoreError::Busy { retry_after } => {
                ApiError::unavailable("store_busy", "Store is busy", retry_after)
            }
            StoreError::Contention { .. } => ApiError::unavailable("store_busy", "Store is busy", SOON),
            StoreError::Closed => ApiError::unavailable("closing", "Server is shutting down", SOON * 2),
            StoreError::Unavailable { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store is unavailable");
                ApiError::unavailable("store_unavailable", "Store is unavailable", SOON)
            }
            StoreError::Full { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store is full");
                ApiError::unavailable("store_full", "Store has no space left", SOON * 30)
                    .hint("free space on the disk of the data folder")
            }
            StoreError::Unknown { .. } => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the outcome of a commit is unknown"
                );
                let text = "Outcome is unknown: the store was lost while it answered";
                ApiError::unavailable("outcome_unknown", text, SOON)
                    .hint("look whether it was done; a wake may be sent again with the same idempotencyKey")
            }
            StoreError::Backup { reason, hint, source } => {
                tracing::warn!(%reason, ?source, "backup");
                ApiError::unprocessable("backup_failed", format!("Backup failed: {reason}")).hint(hint)
            }
            StoreError::NoAuditHead => {
                tracing::error!("the record of decisions has no head, so nothing can be decided");
                let text = "The record of decisions has no head, so nothing can be decided";
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "audit_head_missing", text)
                    .hint(MEND_THE_RECORD)
            }
            StoreError::Constraint { .. }
            | StoreError::Statement { .. }
            | StoreError::Row { .. }
            | StoreError::Parameters { .. }
            | StoreError::ForeignAwait
            | StoreError::Withdrawn
            | StoreError::Panicked { .. }
            | StoreError::TooManyEvents
            | StoreError::NewerStore { .. }
            | StoreError::ChangedMigration { .. }
            | StoreError::BadMigration { .. }
            | StoreError::Migration { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                ApiError::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::agent::AgentStatus;
    use domain::wake::BudgetBlock;

    use super::*;

    fn problem(path: &str, message: &str) -> Problem {
        Problem { path: path.into(), message: message.into(), hint: Some("do this".into()) }
    }

    #[test]
    fn what_the_engine_refuses_has_the_status_and_text_that_clients_match() {
        let block = BudgetBlock { reason: "over".into(), scope_type: "agent".into(), scope_id: "a".into() };
        let taken = EngineError::Conflict { message: "Cannot pause terminated agent".into(), details: None };
        for (error, status, code, text) in [
            (EngineError::NotFound("Agent"), 404, "not_found", "Agent not found"),
            (EngineError::Budget(block), 409, "budget.blocked", "over"),
            (taken, 409, "conflict", "Cannot pause terminated agent"),
            (EngineError::Closing, 503, "closing", "Server is shutting down"),
            (EngineError::Process(ProcessError::NotThere), 404, "not_found", "Run log not found"),
            (
                EngineError::Process(ProcessError::Other("x".into())),
                500,
                "internal_error",
                "Internal server error",
            ),
            (
                EngineError::Process(ProcessError::Damaged("read a log: corrupt at 0".into())),
                500,
                "log_damaged",
                "Run log is damaged: read a log: corrupt at 0",
            ),
            (EngineError::Store(StoreError::Closed), 503, "closing", "Server is shutting down"),
            (EngineError::Store(StoreError::ForeignAwait), 500, "internal_error", "Internal server error"),
        ] {
            let error = ApiError::from(error);
            assert_eq!((error.status().as_u16(), error.0.code, error.0.error.as_str()), (status, code, text));
        }
        let refused = ApiError::from(EngineError::NotInvokable(AgentStatus::Paused));
        assert_eq!(refused.0.details, Some(json!({"status": "paused"})));
    }

    #[test]
    fn what_needs_a_person_is_refused_with_one_hint_whoever_refuses_it() {
        let guarded = ApiError::from(Refusal::BoardTokenRequired);
        let found = ApiError::from(EngineError::Denied(Refusal::BoardTokenRequired));
        assert!(guarded.0.hint.as_ref().is_some_and(|hint| hint.contains("board.token")));
        assert_eq!(found, guarded);
        let other = EngineError::Refused { kind: Kind::Forbidden, message: "No".to_owned(), details: None };
        assert_eq!(ApiError::from(other).0.hint, None);
    }

    #[test]
    fn a_busy_store_says_when_to_come_back() {
        let busy = StoreError::Busy { retry_after: Duration::from_millis(2500) };
        let answer = ApiError::from(busy).into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "3");
    }

    #[test]
    fn rules_of_a_configuration_are_422_and_forms_of_fields_400() {
        let unknown =
            ApiError::from(EngineError::Invalid(vec![problem("adapterType", "Unknown adapter type: x")]));
        assert_eq!((unknown.status().as_u16(), unknown.0.error.as_str()), (422, "Unknown adapter type: x"));
        let missing =
            ApiError::from(EngineError::Invalid(vec![problem("adapterConfig.command", "must be a text")]));
        assert_eq!(missing.0.error, "adapterConfig.command: must be a text");
        assert_eq!(
            missing.0.details,
            Some(
                json!([{"code": "custom", "path": ["adapterConfig", "command"], "message": "must be a text", "hint": "do this"}])
            )
        );
        let words = "Refusing to persist redacted placeholder for key: KEY";
        for path in ["adapterConfig.env.KEY", "payload.adapterConfig.env.KEY"] {
            let shown = ApiError::from(EngineError::Invalid(vec![problem(path, words)]));
            assert_eq!((shown.status().as_u16(), shown.text()), (422, words), "{path}");
        }
        let many = (0..200).map(|number| problem(&format!("payload.{number}"), "must be a text")).collect();
        let many = ApiError::from(EngineError::Invalid(many)).into_details().unwrap();
        assert_eq!(
            (many.as_array().map(Vec::len), &many[99]["message"]),
            (Some(100), &json!("and 101 more mistakes"))
        );
        let both =
            vec![problem("name", "must not be empty"), problem("adapterType", "Unknown adapter type: x")];
        let both = ApiError::from(EngineError::Invalid(both));
        assert_eq!((both.status().as_u16(), both.0.error.as_str()), (400, "Validation error"));
    }
}
