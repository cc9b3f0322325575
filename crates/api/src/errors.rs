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
use utoipa::ToSchema;

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
}

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
    /// A mistake at a key of the outermost object, or at a path with dots below it.
    pub(crate) fn new(code: &'static str, path: &str, message: impl Into<String>) -> Issue {
        let path = path.split('.').map(str::to_owned).collect();
        Issue { code, path, message: message.into(), hint: None }
    }

    fn of(problem: &Problem) -> Issue {
        Issue { hint: problem.hint.clone(), ..Issue::new("custom", &problem.path, problem.message.clone()) }
    }
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> ApiError {
        let error = error.into();
        ApiError(Box::new(Failure { status, code, error, details: None, hint: None, retry_after: None }))
    }

    pub(crate) fn bad_request(code: &'static str, error: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, error)
    }

    /// The body does not fit its schema.
    pub(crate) fn validation(issues: Vec<Issue>) -> ApiError {
        let mut error = ApiError::bad_request("validation_error", "Validation error");
        error.0.hint = issues.iter().find_map(|issue| issue.hint.clone());
        error.details(json!(issues))
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
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Failure { status, code, error, details, hint, retry_after } = *self.0;
        let mut answer =
            (status, Json(ErrorBody { error, code: code.to_owned(), details, hint })).into_response();
        if let Some(after) = retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
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
        ["adapterType", "adapterConfig", "reportsTo"].iter().any(|of| problem.path.starts_with(of))
    };
    let issues: Vec<Issue> = problems.iter().map(Issue::of).collect();
    match problems.first() {
        Some(first) if problems.iter().all(is_semantic) => {
            let is_sentence = first.message.starts_with(char::is_uppercase);
            let error = if is_sentence { first.message.clone() } else { first.to_string() };
            let mut error = ApiError::unprocessable("invalid_agent", error);
            error.0.hint.clone_from(&first.hint);
            error.details(json!(issues))
        }
        _ => ApiError::validation(issues),
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
            StoreError::Constraint { .. }
            | StoreError::Statement { .. }
            | StoreError::Row { .. }
            | StoreError::Parameters { .. }
            | StoreError::ForeignAwait
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
        let both =
            vec![problem("name", "must not be empty"), problem("adapterType", "Unknown adapter type: x")];
        let both = ApiError::from(EngineError::Invalid(both));
        assert_eq!((both.status().as_u16(), both.0.error.as_str()), (400, "Validation error"));
    }
}
