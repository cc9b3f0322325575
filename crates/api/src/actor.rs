//! Who is asking, and whether this instance listens to them at all (D19).
//!
//! In `local_trusted` mode nobody needs to log in, so three things keep strangers out: the listener is on loopback, a
//! request must name a loopback host (a web page that points its own name at 127.0.0.1 does not), and a request sent by a
//! web page must come from a loopback origin. Credentials that match nothing are 401, never the board. What an actor may
//! do is each route's question.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::ids::{RunId, looks_like_id};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ApiState;
use crate::errors::ApiError;

/// How an instance decides whom it trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Whoever reaches the loopback listener is the board.
    #[default]
    LocalTrusted,
}

impl Mode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::LocalTrusted => "local_trusted",
        }
    }
}

/// Why somebody is the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Trusted because the request came over loopback.
    Loopback,
    /// The local board token was shown.
    BoardToken,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) proof: Proof,
    /// The run on whose behalf the request is made, as the caller says.
    pub(crate) run: Option<RunId>,
}

impl Caller {
    /// As the engine records it.
    pub(crate) fn actor(&self) -> domain::wake::Actor {
        domain::wake::Actor::local_board()
    }
}

/// Lets a request pass with its [`Caller`], or refuses it.
pub(crate) async fn admit(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let options = &state.options;
    match examine(
        request.headers(),
        request.uri().authority().map(|it| it.as_str()),
        options.listen,
        options.board_token.as_deref(),
    ) {
        Ok(caller) => {
            tracing::trace!(proof = ?caller.proof, run = ?caller.run, "admitted");
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Whether a token is the board's. The time this takes says nothing about how much of it was right.
pub(crate) fn is_board_token(given: &str, token: Option<&str>) -> bool {
    // Of hashes, so that the length says nothing either.
    token.is_some_and(|token| {
        Sha256::digest(given.as_bytes()).as_slice().ct_eq(Sha256::digest(token.as_bytes()).as_slice()).into()
    })
}

fn examine(
    headers: &HeaderMap,
    authority: Option<&str>,
    listen: SocketAddr,
    board_token: Option<&str>,
) -> Result<Caller, ApiError> {
    let named = |name: &str| headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("?"));
    // All must be ours, the forwarded one too: a proxy in between would make every stranger look local.
    let mut hosts: Vec<&str> = named("host").chain(authority).collect();
    if hosts.is_empty() {
        return Err(ApiError::forbidden("host_not_allowed", "Request names no host")
            .hint("send a Host header, for example 127.0.0.1"));
    }
    hosts.extend(named("x-forwarded-host"));
    for host in &hosts {
        if !is_ours(host, listen.ip()) {
            let error = format!("Host '{}' is not allowed in local_trusted mode", shown(host));
            return Err(ApiError::forbidden("host_not_allowed", error)
                .hint(format!("use http://127.0.0.1:{}", listen.port())));
        }
    }
    for origin in named("origin") {
        let authority = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        let is_trusted = authority.is_some_and(|(_, of)| is_ours(of, listen.ip()));
        if !is_trusted {
            let error = format!("Origin '{}' is not allowed in local_trusted mode", shown(origin));
            return Err(ApiError::forbidden("origin_not_allowed", error)
                .hint("only pages of this machine may use a local_trusted instance"));
        }
    }
    let mut proof = Proof::Loopback;
    for credential in headers.get_all(header::AUTHORIZATION) {
        let token = credential.to_str().ok().and_then(bearer);
        if !token.is_some_and(|token| is_board_token(token, board_token)) {
            return Err(ApiError::unauthorized(
                "the token matches nothing; without an Authorization header this instance trusts its own machine",
            ));
        }
        proof = Proof::BoardToken;
    }
    Ok(Caller { proof, run: run_of(headers) })
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

/// The host names this machine, over loopback or as it is bound. Ports are free: people forward them.
fn is_ours(authority: &str, bound: IpAddr) -> bool {
    let Some(host) = host_of(authority) else { return false };
    if host.eq_ignore_ascii_case("localhost") || host.eq_ignore_ascii_case("localhost.") {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || (address == bound && !bound.is_unspecified()),
        Err(_) => false,
    }
}

/// The host of `host`, `host:port` or `[v6]:port`.
fn host_of(authority: &str) -> Option<&str> {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return (after.is_empty() || after.strip_prefix(':').is_some_and(is_port)).then_some(host);
    }
    match authority.split_once(':') {
        None => Some(authority),
        Some((host, port)) => is_port(port).then_some(host),
    }
}

/// Outside text in an answer: short, and without what a terminal might obey.
fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const TOKEN: &str = "bugle_board_0123456789abcdef";

    fn asked(headers: &[(&'static str, &str)]) -> Result<Caller, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let listen = "10.1.2.3:3100".parse().unwrap();
        examine(&map, None, listen, Some(TOKEN)).map_err(|error| error.status().as_u16())
    }

    fn board(proof: Proof) -> Result<Caller, u16> {
        Ok(Caller { proof, run: None })
    }

    #[test]
    fn hosts_of_this_machine_pass_and_others_do_not() {
        for host in [
            "localhost",
            "LOCALHOST:3100",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:3100",
            "[::1]",
            "10.1.2.3:3100",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(asked(&[("host", host)]), board(Proof::Loopback), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.1.2.4",
            "0.0.0.0",
            "[::]",
            "127.0.0.1:80:80",
            "localhost:x",
            "user@localhost",
            "2130706433",
        ] {
            assert_eq!(asked(&[("host", host)]), Err(403), "{host}");
        }
        assert_eq!(asked(&[]), Err(403));
    }

    #[test]
    fn a_forwarded_host_must_be_ours_too() {
        assert_eq!(asked(&[("host", "localhost"), ("x-forwarded-host", "bugle.example")]), Err(403));
        assert_eq!(asked(&[("host", "evil.example"), ("x-forwarded-host", "localhost")]), Err(403));
        assert_eq!(
            asked(&[("host", "localhost"), ("x-forwarded-host", "127.0.0.1:80")]),
            board(Proof::Loopback)
        );
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for origin in
            ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:3100", "http://10.1.2.3:3100"]
        {
            assert_eq!(
                asked(&[("host", "localhost:3100"), ("origin", origin)]),
                board(Proof::Loopback),
                "{origin}"
            );
        }
        for origin in [
            "https://evil.example",
            "null",
            "file://",
            "http://localhost.evil.example",
            "ftp://localhost",
            "localhost",
        ] {
            assert_eq!(asked(&[("host", "localhost:3100"), ("origin", origin)]), Err(403), "{origin}");
        }
    }

    #[test]
    fn a_credential_that_matches_nothing_is_never_the_board() {
        let host = ("host", "localhost");
        let right = format!("Bearer {TOKEN}");
        assert_eq!(asked(&[host, ("authorization", &right)]), board(Proof::BoardToken));
        assert_eq!(
            asked(&[host, ("authorization", &format!("bearer   {TOKEN} "))]),
            board(Proof::BoardToken)
        );
        for wrong in
            ["Bearer x", "Bearer ", "Bearer", "", TOKEN, &format!("Basic {TOKEN}"), &format!("{right}x")]
        {
            assert_eq!(asked(&[host, ("authorization", wrong)]), Err(401), "{wrong}");
        }
        // Neither order of a right and a wrong one helps.
        assert_eq!(asked(&[host, ("authorization", &right), ("authorization", "Bearer x")]), Err(401));
        assert_eq!(asked(&[host, ("authorization", "Bearer x"), ("authorization", &right)]), Err(401));
        assert!(!is_board_token("", None) && !is_board_token(TOKEN, None));
    }

    #[test]
    fn a_run_header_that_is_no_id_is_absent() {
        let id = "0192f7a0-0000-4000-8000-00000000000A";
        let run = |headers: &[(&'static str, &str)]| {
            let all: Vec<_> = std::iter::once(("host", "localhost")).chain(headers.iter().copied()).collect();
            asked(&all).unwrap().run
        };
        assert_eq!(run(&[("x-paperclip-run-id", "$PAPERCLIP_RUN_ID")]), None);
        assert_eq!(run(&[("x-paperclip-run-id", id)]), Some(RunId(id.to_lowercase())));
        assert_eq!(
            run(&[("x-bugle-run-id", "x"), ("x-paperclip-run-id", id)]),
            Some(RunId(id.to_lowercase()))
        );
    }
}
