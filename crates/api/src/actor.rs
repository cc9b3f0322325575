//! Who is asking (spec/api.md 2.1, 2.5; D19).
//!
//! Each request that is listened to becomes a [`Caller`] before any route sees it. A credential that matches nothing, was
//! revoked or is over is 401 in every mode: it never leaves the caller what it would be without one. What a caller may do
//! is each route's question, asked through `guards`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::access::guard::Access;
use domain::access::{Actor, AgentProof, RefusalKind};
use domain::ids::{RunId, looks_like_id};
use domain::wake::{self, ActorKind};
use engine::EngineError;
use sha2::{Digest, Sha256};
use store::runs;
use subtle::ConstantTimeEq;

use crate::ApiState;
use crate::errors::{ApiError, Denied};
use crate::{trust, veil};

/// Who asks, and whether to read or to change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    who: Actor,
    access: Access,
}

impl Caller {
    /// As the rules of access know it.
    pub(crate) fn who(&self) -> &Actor {
        &self.who
    }

    pub(crate) fn with_access(self, access: Access) -> Caller {
        Caller { access, ..self }
    }

    /// What the request does.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// As wakes and the audit chain record it.
    pub(crate) fn actor(&self) -> wake::Actor {
        match &self.who {
            // Nobody gets past a guard to where this is recorded.
            Actor::Nobody => wake::Actor { kind: ActorKind::User, id: None },
            Actor::Board(board) => wake::Actor { kind: ActorKind::User, id: Some(board.user.clone()) },
            Actor::Agent(agent) => wake::Actor { kind: ActorKind::Agent, id: Some(agent.agent.0.clone()) },
        }
    }
}

/// Lets a request pass with its [`Caller`], or refuses it.
pub(crate) async fn admit(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let authority = request.uri().authority().map(|it| it.as_str());
    let admitted =
        match trust::listen_to(state.options.mode, request.headers(), authority, state.options.listen) {
            Ok(()) => identify(&state, request.headers(), access_of(request.method())).await,
            Err(error) => Err(error),
        };
    match admitted {
        Ok(caller) => {
            tracing::trace!(who = ?caller.who, "admitted");
            request.extensions_mut().insert(caller.clone());
            serve(&state, &caller, request, next).await
        }
        Err(error) => error.into_response(),
    }
}

/// Lets an admitted request through, without what its sender must not tell; a run's token that is refused is written
/// down.
async fn serve(state: &ApiState, caller: &Caller, request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let token = token_of(request.headers()).ok().flatten().map(str::to_owned);
    let answer = match veil::over(state, caller, token.as_deref(), request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if let (Actor::Agent(agent), Some(Denied(why))) = (&caller.who, answer.extensions().get())
        && let AgentProof::Run(run) = &agent.proof
    {
        state.engine.note_refused_token(run, &agent.agent, &what, why).await;
    }
    answer
}

fn access_of(method: &Method) -> Access {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) { Access::Read } else { Access::Write }
}

/// Finds out who sends these headers.
async fn identify(state: &ApiState, headers: &HeaderMap, access: Access) -> Result<Caller, ApiError> {
    caller_with(state, token_of(headers)?, run_of(headers), access).await
}

/// Finds out whose a token is, with the run that is named beside it.
pub(crate) async fn caller_with(
    state: &ApiState,
    token: Option<&str>,
    run: Option<RunId>,
    access: Access,
) -> Result<Caller, ApiError> {
    let options = &state.options;
    let is_local = token.is_some_and(|token| is_board_token(token, options.board_token.as_deref()));
    let found = state.engine.authenticate(options.mode, token, is_local, run).await;
    let mut who = found.map_err(|error| match error {
        EngineError::Denied(refusal) if refusal.kind() == RefusalKind::Unauthenticated => {
            ApiError::unauthorized(
                "the token is unknown, revoked or expired; on the command line: bugle login",
            )
        }
        other => other.into(),
    })?;
    if let Actor::Agent(agent) = &mut who
        && let AgentProof::Key { run, .. } = &mut agent.proof
        && let Some(named) = run.take()
    {
        let id = named.clone();
        let row = state.engine.store().read(move |tx| {
            let id = id.clone();
            Box::pin(async move { runs::get(tx, &id).await })
        });
        match row.await? {
            // Of no run at all: as good as absent.
            None => {}
            Some(row) if row.agent_id == agent.agent => *run = Some(named),
            Some(_) => {
                return Err(ApiError::forbidden("foreign_run", "Run id belongs to another agent")
                    .hint("send the id of your own run, or leave the header out"));
            }
        }
    }
    Ok(Caller { who, access })
}

/// Whether a token is the local board token. The time this takes says nothing about how much of it was right.
fn is_board_token(given: &str, token: Option<&str>) -> bool {
    // Of hashes, so that the length says nothing either.
    token.is_some_and(|token| {
        Sha256::digest(given.as_bytes()).as_slice().ct_eq(Sha256::digest(token.as_bytes()).as_slice()).into()
    })
}

/// The token of a request. What is no bearer's token, or two at once, is none that anybody could know.
pub(crate) fn token_of(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut credentials = headers.get_all(header::AUTHORIZATION).into_iter();
    let Some(credential) = credentials.next() else { return Ok(None) };
    let token = credential.to_str().ok().and_then(bearer).filter(|_| credentials.next().is_none());
    token.map(Some).ok_or_else(|| ApiError::unauthorized("send one header: Authorization: Bearer TOKEN"))
}

fn bearer(credential: &str) -> Option<&str> {
    let (scheme, token) = credential.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The run header. Agents' skills print it inside single quotes, so that a literal variable name must be expected:
/// what is not an id is absent (spec/api.md 2.5).
fn run_of(headers: &HeaderMap) -> Option<RunId> {
    ["x-bugle-run-id", "x-paperclip-run-id"]
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .find(|text| looks_like_id(text))
        .map(|text| RunId(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in given {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn only_one_bearer_token_is_a_credential() {
        let token = |given: &[(&'static str, &str)]| {
            token_of(&headers(given))
                .map(|token| token.map(str::to_owned))
                .map_err(|error| error.status().as_u16())
        };
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&[("authorization", "Bearer x")]), Ok(Some("x".to_owned())));
        assert_eq!(token(&[("authorization", "bearer   x ")]), Ok(Some("x".to_owned())));
        for wrong in ["Bearer", "", "x", "Basic x"] {
            assert_eq!(token(&[("authorization", wrong)]), Err(401), "{wrong}");
        }
        assert_eq!(token(&[("authorization", "Bearer x"), ("authorization", "Bearer y")]), Err(401));
        assert_eq!(token(&[("authorization", "Bearer x"), ("authorization", "Basic y")]), Err(401));
    }

    #[test]
    fn the_board_token_is_compared_as_a_whole() {
        assert!(is_board_token("abc", Some("abc")));
        for (given, token) in
            [("", None), ("abc", None), ("", Some("abc")), ("abcd", Some("abc")), ("ab", Some("abc"))]
        {
            assert!(!is_board_token(given, token), "{given} {token:?}");
        }
    }

    #[test]
    fn a_run_header_that_is_no_id_is_absent() {
        let id = "0192f7a0-0000-4000-8000-00000000000A";
        let run = |given: &[(&'static str, &str)]| run_of(&headers(given));
        assert_eq!(run(&[("x-paperclip-run-id", "$PAPERCLIP_RUN_ID")]), None);
        assert_eq!(run(&[("x-paperclip-run-id", id)]), Some(RunId(id.to_lowercase())));
        assert_eq!(
            run(&[("x-bugle-run-id", "x"), ("x-paperclip-run-id", id)]),
            Some(RunId(id.to_lowercase()))
        );
    }

    #[test]
    fn only_looking_reads() {
        for (method, access) in [
            (Method::GET, Access::Read),
            (Method::HEAD, Access::Read),
            (Method::POST, Access::Write),
            (Method::DELETE, Access::Write),
        ] {
            assert_eq!(access_of(&method), access);
        }
    }
}
