//! Whether an instance listens to a request at all, before anybody asks who sends it (D19).
//!
//! In `local_trusted` mode nobody needs to log in, so two things keep strangers out besides the loopback listener: a
//! request must name a loopback host (a web page that points its own name at 127.0.0.1 does not), and a request sent by a
//! web page must come from a loopback origin. In `authenticated` mode neither proves anything: there only credentials
//! count, no browser carries one by itself, and any host name may be given to the machine.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use domain::access::credential::Mode;

use crate::errors::ApiError;

/// Lets a request pass, or refuses it for where it comes from.
pub(crate) fn listen_to(
    mode: Mode,
    headers: &HeaderMap,
    authority: Option<&str>,
    listen: SocketAddr,
) -> Result<(), ApiError> {
    match mode {
        Mode::LocalTrusted => local(headers, authority, listen),
        Mode::Authenticated => Ok(()),
    }
}

fn local(headers: &HeaderMap, authority: Option<&str>, listen: SocketAddr) -> Result<(), ApiError> {
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
    Ok(())
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

    fn asked_in(mode: Mode, headers: &[(&'static str, &str)]) -> Result<(), u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let listen = "10.1.2.3:3100".parse().unwrap();
        listen_to(mode, &map, None, listen).map_err(|error| error.status().as_u16())
    }

    fn asked(headers: &[(&'static str, &str)]) -> Result<(), u16> {
        asked_in(Mode::LocalTrusted, headers)
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
            assert_eq!(asked(&[("host", host)]), Ok(()), "{host}");
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
            assert_eq!(asked_in(Mode::Authenticated, &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(asked(&[]), Err(403));
    }

    #[test]
    fn a_forwarded_host_must_be_ours_too() {
        assert_eq!(asked(&[("host", "localhost"), ("x-forwarded-host", "bugle.example")]), Err(403));
        assert_eq!(asked(&[("host", "evil.example"), ("x-forwarded-host", "localhost")]), Err(403));
        assert_eq!(asked(&[("host", "localhost"), ("x-forwarded-host", "127.0.0.1:80")]), Ok(()));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for origin in
            ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:3100", "http://10.1.2.3:3100"]
        {
            assert_eq!(asked(&[("host", "localhost:3100"), ("origin", origin)]), Ok(()), "{origin}");
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
}
