//! People: the first administrator, users and their keys, and who is what in which company.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::access::credential::Mode;
use domain::access::{Grant, LOCAL_USER, MemberRole, MembershipStatus};
use domain::ids::CompanyId;
use engine::{Author, EngineError};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use store::users as rows;
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::Done;
use super::agent_keys::KeyBody;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::person::{BoardKey, FirstAdministrator, KeyCreated, Member, Membership, User, UserRef};

/// The first administrator.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct FirstBody {
    /// What the server printed at its first start.
    token: String,
    name: String,
    email: Option<String>,
}

/// Makes the first administrator, with a key, for whoever has the token that the server printed at its start. It can be
/// used once; who comes later is refused. The administrator owns the companies that nobody owns yet.
#[utoipa::path(post, path = "/bootstrap", tag = "people", request_body = FirstBody,
    responses((status = 201, body = FirstAdministrator), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn bootstrap(
    State(state): State<ApiState>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<FirstAdministrator>), ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = FirstBody {
        token: fields.required_text("token"),
        name: fields.required_text("name"),
        email: fields.text("email"),
    };
    fields.refuse_rest()?;
    let is_right = state.options.bootstrap_token.as_deref().is_some_and(|token| {
        let (given, token) = (Sha256::digest(read.token.as_bytes()), Sha256::digest(token.as_bytes()));
        given.as_slice().ct_eq(token.as_slice()).into()
    });
    if state.options.mode != Mode::Authenticated || !is_right {
        return Err(ApiError::unauthorized(
            "the server prints the token at a start without an administrator",
        ));
    }
    let (user, made) = state.engine.create_first_admin(&read.name, read.email.as_deref()).await?;
    let by = Author::Board { user: Some(user.id.clone()), may_assign: true };
    for company in lookup::all_companies(&state.engine).await? {
        if !has_owner(&state, &company).await? {
            let (role, status) = (MemberRole::Owner, MembershipStatus::Active);
            state.engine.set_member(&company, &user.id, role, status, &by).await?;
        }
    }
    let key = KeyCreated {
        id: made.key.id,
        name: made.key.name,
        token: made.token,
        created_at: made.key.created_at,
        expires_at: made.key.expires_at,
    };
    Ok((StatusCode::CREATED, Json(FirstAdministrator { user: user.into(), key })))
}

async fn has_owner(state: &ApiState, company: &CompanyId) -> Result<bool, ApiError> {
    let members = state.engine.members(company).await?;
    let is_owner = |row: &rows::Membership| row.role.as_deref() == Some(MemberRole::Owner.as_str());
    Ok(members.iter().any(is_owner))
}

/// The users of the instance, oldest first. For its administrators.
#[utoipa::path(get, path = "/users", tag = "people",
    params(("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<User>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(crate) async fn users(
    State(state): State<ApiState>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    caller.instance_admin()?;
    let limit = asked.limit(paging::MOST).min(paging::MOST - 1);
    let found = state.engine.users(asked.place()?, limit + 1).await?;
    let place = |row: &rows::User| cursor_of(row.created_at, &row.id);
    Ok(paging::page(found, limit, place, |rows| rows.into_iter().map(User::from).collect()))
}

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserBody {
    name: String,
    email: Option<String>,
    is_instance_admin: Option<bool>,
}

/// As what an administrator acts where no company is concerned.
fn administrator(caller: &Caller) -> Result<Author, ApiError> {
    caller.instance_admin()?;
    Ok(Author::Board { user: Some(caller.board()?.user.clone()), may_assign: false })
}

/// Without a company, what only a person may do: keys act as people, so that being on this machine is not enough.
fn proven(caller: &Caller) -> Result<(), ApiError> {
    match caller.board()?.proof {
        domain::access::Proof::LocalImplicit => Err(domain::access::Refusal::BoardTokenRequired.into()),
        _ => Ok(()),
    }
}

/// Makes a user. For administrators of the instance.
#[utoipa::path(post, path = "/users", tag = "people", request_body = UserBody,
    responses((status = 201, body = User), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn create_user(
    State(state): State<ApiState>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<User>), ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = UserBody {
        name: fields.required_text("name"),
        email: fields.text("email"),
        is_instance_admin: fields.boolean("isInstanceAdmin"),
    };
    fields.refuse_rest()?;
    let by = administrator(&caller)?;
    proven(&caller)?;
    let is_admin = read.is_instance_admin.unwrap_or(false);
    let user = state.engine.create_user(&read.name, read.email.as_deref(), is_admin, &by).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// The user of a path: an id or an address.
async fn found(state: &ApiState, reference: &str) -> Result<rows::User, ApiError> {
    let none = || ApiError::not_found("User");
    if reference.contains('\0') {
        return Err(none());
    }
    if let Some(user) = state.engine.user(reference).await? {
        return Ok(user);
    }
    match state.engine.user_with_email(reference).await {
        Ok(user) => user.ok_or_else(none),
        Err(EngineError::Invalid(_)) => Err(none()),
        Err(error) => Err(error.into()),
    }
}

/// Oneself, or an administrator.
async fn owner_of_keys(state: &ApiState, caller: &Caller, reference: &str) -> Result<String, ApiError> {
    let me = caller.board()?.user.clone();
    if reference == "me" {
        return Ok(me);
    }
    if reference == me {
        return Ok(me);
    }
    caller.instance_admin()?;
    Ok(found(state, reference).await?.id)
}

/// The keys of a user (`me`: of the caller), newest first, revoked and expired ones too.
#[utoipa::path(get, path = "/users/{user}/keys", tag = "people",
    params(("user" = String, Path, description = "an id, an address, or `me`")),
    responses((status = 200, body = Vec<BoardKey>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn keys(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    caller: Caller,
) -> Result<Json<Vec<BoardKey>>, ApiError> {
    let user = owner_of_keys(&state, &caller, &reference).await?;
    let keys = state.engine.board_keys(&user).await?;
    Ok(Json(keys.into_iter().map(BoardKey::from).collect()))
}

/// Makes a key for a user (`me`: for the caller); it lives 30 days.
#[utoipa::path(post, path = "/users/{user}/keys", tag = "people", request_body = KeyBody,
    params(("user" = String, Path, description = "an id, an address, or `me`")),
    responses((status = 201, body = KeyCreated), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn create_key(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<KeyCreated>), ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = KeyBody::read(&mut fields);
    fields.refuse_rest()?;
    let user = owner_of_keys(&state, &caller, &reference).await?;
    proven(&caller)?;
    let by = Author::Board { user: Some(caller.board()?.user.clone()), may_assign: false };
    let made = state.engine.create_board_key(&user, read.name(), &by).await?;
    let shown = KeyCreated {
        id: made.key.id,
        name: made.key.name,
        token: made.token,
        created_at: made.key.created_at,
        expires_at: made.key.expires_at,
    };
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Revokes a key of a user (`me`: of the caller).
#[utoipa::path(delete, path = "/users/{user}/keys/{key}", tag = "people",
    params(("user" = String, Path, description = "an id, an address, or `me`"), ("key" = String, Path)),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn revoke_key(
    State(state): State<ApiState>,
    Named((reference, key)): Named<(String, String)>,
    caller: Caller,
) -> Result<Json<Done>, ApiError> {
    let user = owner_of_keys(&state, &caller, &reference).await?;
    let by = Author::Board { user: Some(caller.board()?.user.clone()), may_assign: false };
    let key = key.to_ascii_lowercase();
    let known = state.engine.board_keys(&user).await?;
    if !known.iter().any(|it| it.id == key) {
        return Err(ApiError::not_found("Key"));
    }
    // One that was revoked before stays so.
    state.engine.revoke_board_key(&user, &key, &by).await?;
    Ok(Json(Done { ok: true }))
}

/// The people of a company, oldest first.
#[utoipa::path(get, path = "/companies/{company}/members", tag = "people", params(("company" = String, Path)),
    responses((status = 200, body = Vec<Member>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
) -> Result<Json<Vec<Member>>, ApiError> {
    let company = lookup::any_company(&state.engine, &company).await?.id;
    if caller.instance_admin().is_err() {
        caller.board_of(&company)?;
    }
    let mut members = Vec::new();
    for membership in state.engine.members(&company).await? {
        let user = state.engine.user(&membership.principal_id).await?;
        members.push(Member { membership: membership.into(), user: user.map(UserRef::from) });
    }
    Ok(Json(members))
}

/// Who becomes what.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MemberBody {
    /// `owner`, `admin`, `member` (default) or `viewer`.
    #[schema(value_type = Option<String>)]
    role: Option<MemberRole>,
    /// `active` (default), `pending` or `suspended`.
    #[schema(value_type = Option<String>)]
    status: Option<MembershipStatus>,
    /// False: what they write is held until a trusted member releases it, and they change nothing else. True at first;
    /// owners and admins always are.
    trusted: Option<bool>,
}

/// Makes a user a member of a company, or changes what they are there. Whoever gives the role of an owner, or changes an
/// owner, must be one or administer the instance.
#[utoipa::path(put, path = "/companies/{company}/members/{user}", tag = "people", request_body = MemberBody,
    params(("company" = String, Path), ("user" = String, Path, description = "an id or an address")),
    responses((status = 200, body = Membership), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn put(
    State(state): State<ApiState>,
    Named((company, reference)): Named<(String, String)>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Json<Membership>, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = MemberBody {
        role: fields.word("role", MemberRole::ALL, MemberRole::as_str),
        status: fields.word("status", MembershipStatus::ALL, MembershipStatus::as_str),
        trusted: fields.boolean("trusted"),
    };
    fields.refuse_rest()?;
    let company = lookup::any_company(&state.engine, &company).await?.id;
    caller.people_manager(&company, Grant::InviteUsers)?;
    proven(&caller)?;
    let user = found(&state, &reference).await?;
    let before = role_of(&state, &company, &user.id).await?;
    let role = read.role.or(before).unwrap_or(MemberRole::Member);
    // Roles grant rights: who may only invite must not give, or take, more than they have.
    let is_high = |role: MemberRole| matches!(role, MemberRole::Owner | MemberRole::Admin);
    let changes_trust = before.is_some() && read.trusted.is_some();
    if changes_trust || is_high(role) || before.is_some_and(|before| is_high(before) || before != role) {
        caller.people_manager(&company, Grant::ManagePermissions)?;
    }
    let by = author(&caller)?;
    let status = read.status.unwrap_or(MembershipStatus::Active);
    let what = (role, status, read.trusted);
    Ok(Json(state.engine.set_member_trusted(&company, &user.id, what, &by).await?.into()))
}

/// Ends a membership. A company keeps an owner.
#[utoipa::path(delete, path = "/companies/{company}/members/{user}", tag = "people",
    params(("company" = String, Path), ("user" = String, Path, description = "an id or an address")),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn remove(
    State(state): State<ApiState>,
    Named((company, reference)): Named<(String, String)>,
    caller: Caller,
) -> Result<Json<Done>, ApiError> {
    let company = lookup::any_company(&state.engine, &company).await?.id;
    caller.people_manager(&company, Grant::ManagePermissions)?;
    proven(&caller)?;
    let user = found(&state, &reference).await?;
    state.engine.remove_member(&company, &user.id, &author(&caller)?).await?;
    Ok(Json(Done { ok: true }))
}

async fn role_of(state: &ApiState, company: &CompanyId, user: &str) -> Result<Option<MemberRole>, ApiError> {
    let members = state.engine.members(company).await?;
    let found = members.iter().find(|row| row.principal_id == user);
    Ok(found.and_then(|row| MemberRole::parse(row.role.as_deref()?)))
}

fn author(caller: &Caller) -> Result<Author, ApiError> {
    let user = caller.board()?.user.clone();
    Ok(Author::Board { may_assign: user == LOCAL_USER, user: Some(user) })
}
