//! The login of a command line (spec/api.md S-02 to S-07): it shows an id and a secret, a person approves, and the key it
//! was handed becomes valid. And who a caller is.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::access::challenge::{ChallengeStatus, RequestedAccess};
use domain::access::{Actor, Refusal};
use domain::ids::{CompanyId, looks_like_id};
use engine::{Author, ChallengeDraft, ChallengeView, EngineError};
use serde::Deserialize;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::Asked;
use crate::shape::person::{
    ChallengeApproved, ChallengeCancelled, ChallengeCreated, ChallengeState, KeyRevoked, Me,
};

const SHORTEST_SECRET: usize = 16;
const LONGEST_SECRET: usize = 256;

/// What a command line wants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChallengeBody {
    #[schema(min_length = 1, max_length = 240)]
    command: String,
    #[schema(max_length = 120)]
    client_name: Option<String>,
    /// `board` (default) or `instance_admin_required`.
    #[schema(value_type = Option<String>)]
    requested_access: Option<RequestedAccess>,
    requested_company_id: Option<String>,
}

/// Begins a login. Anybody may; the key in the answer is valid only when a person has approved.
#[utoipa::path(post, path = "/cli-auth/challenges", tag = "people", request_body = ChallengeBody,
    responses((status = 201, body = ChallengeCreated), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = ChallengeBody {
        command: fields.required_text("command"),
        client_name: fields.text("clientName"),
        requested_access: fields.word("requestedAccess", RequestedAccess::ALL, RequestedAccess::as_str),
        requested_company_id: fields.nullable_id("requestedCompanyId").flatten(),
    };
    for (key, text, most) in
        [("command", Some(&read.command), 240), ("clientName", read.client_name.as_ref(), 120)]
    {
        if text.is_some_and(|text| text.chars().count() > most) {
            fields.mistake("too_big", key, format!("String must contain at most {most} character(s)"));
        }
    }
    let ignored = fields.drop_rest()?;
    let draft = ChallengeDraft {
        command: read.command,
        client_name: read.client_name,
        requested: read.requested_access.unwrap_or(RequestedAccess::Board),
        company_id: read.requested_company_id.map(CompanyId),
    };
    let made = state.engine.create_challenge(draft).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(ChallengeCreated::from(made)))))
}

fn no_challenge() -> ApiError {
    Refusal::NoChallenge.into()
}

fn user_of(caller: &Caller) -> Option<String> {
    caller.board().ok().map(|board| board.user.clone())
}

/// Where a login stands, for whoever has its secret.
#[utoipa::path(get, path = "/cli-auth/challenges/{challenge}", tag = "people",
    params(("challenge" = String, Path), ("token" = String, Query)),
    responses((status = 200, body = ChallengeState), (status = 404, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<ChallengeState>, ApiError> {
    let (Some(secret), true) = (asked.get("token"), looks_like_id(&id)) else { return Err(no_challenge()) };
    let view = state.engine.challenge(&id.to_ascii_lowercase(), secret, caller.who()).await?;
    Ok(Json(ChallengeState::new(view, user_of(&caller))))
}

/// What `approvalPath` leads to: there is no page here to approve on, so it says which command approves.
#[utoipa::path(get, path = "/cli-auth/{challenge}", tag = "people",
    params(("challenge" = String, Path), ("token" = String, Query)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, body = ErrorBody)))]
pub(crate) async fn page(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let (Some(secret), true) = (asked.get("token"), looks_like_id(&id)) else { return Err(no_challenge()) };
    // Only a secret that opens the login is printed.
    let view = state.engine.challenge(&id.to_ascii_lowercase(), secret, caller.who()).await?;
    let text = words_of(&view, secret);
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

/// Who asks for what, and how a person approves it.
fn words_of(view: &ChallengeView, secret: &str) -> String {
    let challenge = &view.challenge;
    // Anybody may have written these: nothing in them moves a cursor or turns the line around.
    let command = challenge.command.escape_debug();
    let client = challenge.client_name.as_deref().unwrap_or("somewhere").escape_debug();
    let access = view.requested.as_str();
    let (id, status) = (&challenge.id, view.status.as_str());
    let asks = format!(
        "A command line asks to act for you.\n\ncommand: {command}\nfrom: {client}\naccess: {access}\n"
    );
    if view.status != ChallengeStatus::Pending {
        return format!("{asks}\nNothing is left to do: this login is {status}.\n");
    }
    format!(
        "{asks}\nApprove it only if you began it yourself. Somebody who is logged in, or the person at the server, runs:\n\n  \
         bugle login approve {id}:{secret}\n\nWithout that command: POST /api/cli-auth/challenges/{id}/approve with \
         {{\"token\": \"...\"}}, the token of this address, and your own key.\n"
    )
}

/// The secret of a login.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SecretBody {
    #[schema(min_length = 16, max_length = 256)]
    token: String,
}

impl SecretBody {
    fn read(fields: &mut Fields) -> SecretBody {
        let token = fields.required_text("token");
        if !token.is_empty() && token.len() < SHORTEST_SECRET {
            let text = format!("String must contain at least {SHORTEST_SECRET} character(s)");
            fields.mistake("too_small", "token", text);
        }
        if token.len() > LONGEST_SECRET {
            let text = format!("String must contain at most {LONGEST_SECRET} character(s)");
            fields.mistake("too_big", "token", text);
        }
        SecretBody { token }
    }
}

/// Approves a login: its key acts as the person who approves, for 30 days.
#[utoipa::path(post, path = "/cli-auth/challenges/{challenge}/approve", tag = "people", request_body = SecretBody,
    params(("challenge" = String, Path)),
    responses((status = 200, body = ChallengeApproved), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn approve(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = SecretBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let Actor::Board(board) = caller.who() else { return Err(Refusal::ApproverSignInRequired.into()) };
    if !looks_like_id(&id) {
        return Err(no_challenge());
    }
    let view = state.engine.approve_challenge(&id.to_ascii_lowercase(), &read.token, caller.who()).await?;
    let user = view.challenge.approved_by_user_id.clone().unwrap_or_else(|| board.user.clone());
    let shown = ChallengeApproved {
        approved: view.status == ChallengeStatus::Approved,
        status: view.status.as_str(),
        user_id: user,
        key_id: view.challenge.board_key_id,
        expires_at: view.challenge.expires_at,
    };
    Ok(naming(&ignored, Json(shown)))
}

/// Ends a login that nobody has approved.
#[utoipa::path(post, path = "/cli-auth/challenges/{challenge}/cancel", tag = "people", request_body = SecretBody,
    params(("challenge" = String, Path)),
    responses((status = 200, body = ChallengeCancelled), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn cancel(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = SecretBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    if !looks_like_id(&id) {
        return Err(no_challenge());
    }
    let view = state.engine.cancel_challenge(&id.to_ascii_lowercase(), &read.token, caller.who()).await?;
    let cancelled = view.status == ChallengeStatus::Cancelled;
    Ok(naming(&ignored, Json(ChallengeCancelled { status: view.status.as_str(), cancelled })))
}

/// Who the caller is.
#[utoipa::path(get, path = "/cli-auth/me", tag = "people",
    responses((status = 200, body = Me), (status = 401, body = ErrorBody)))]
pub(crate) async fn me(State(state): State<ApiState>, caller: Caller) -> Result<Json<Me>, ApiError> {
    let Actor::Board(board) = caller.who() else { return Err(Refusal::BoardSignInRequired.into()) };
    let user = state.engine.user(&board.user).await?;
    let memberships = state.engine.memberships(&board.user).await?;
    let companies = match caller.companies() {
        Some(theirs) => theirs,
        None => lookup::all_companies(&state.engine).await?,
    };
    Ok(Json(Me::new(board, user, companies.into_iter().map(|id| id.0).collect(), memberships)))
}

/// Revokes the key that the request carries.
#[utoipa::path(post, path = "/cli-auth/revoke-current", tag = "people",
    responses((status = 200, body = KeyRevoked), (status = 400, body = ErrorBody)))]
pub(crate) async fn revoke_current(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<KeyRevoked>, ApiError> {
    let key = caller.current_key()?.to_owned();
    let user = caller.board()?.user.clone();
    let by = Author::Board { user: Some(user.clone()), may_assign: false };
    if !state.engine.revoke_board_key(&user, &key, &by).await? {
        return Err(EngineError::NotFound("Key").into());
    }
    Ok(Json(KeyRevoked { revoked: true, key_id: key }))
}
