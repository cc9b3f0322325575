//! Whether the server may listen where it is told to, and whether that place is free.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::Value as Json;

use super::Finding;
use crate::client;
use crate::config::Trust;

/// Loopback only, unless everybody has to show a key.
pub(super) fn address(listen: SocketAddr, mode: Trust) -> Finding {
    if listen.ip().is_loopback() || mode == Trust::Authenticated {
        return Finding::ok("listen address", listen.to_string());
    }
    Finding::fail(
        "listen address",
        "listen.not_loopback",
        format!(
            "{listen} can be reached by other machines, and without a login everybody there would rule the agents"
        ),
        format!(
            "listen on 127.0.0.1:{} and reach it through an ssh tunnel, or ask everybody for a key: --mode authenticated",
            listen.port()
        ),
    )
}

/// Tries the port; it is free again when this returns.
pub(super) async fn port(listen: SocketAddr) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) if listen.port() == 0 => Finding::ok("port", "any free one"),
        Ok(_) => Finding::ok("port", format!("{} is free", listen.port())),
        Err(error) => busy(listen, &error).await,
    }
}

/// Why the address cannot be had, and by whom it is used.
pub(crate) async fn busy(listen: SocketAddr, error: &io::Error) -> Finding {
    let port = listen.port();
    let fail = |code, message: String, fix: String| Finding::fail("port", code, message, fix);
    match error.kind() {
        ErrorKind::AddrInUse => match health(listen).await {
            Some(health) => {
                let version = health.get("version").and_then(Json::as_str).unwrap_or("unknown");
                fail(
                    "port.busy",
                    format!(
                        "port {port} is in use: another bugle (version {version}) listens on http://{listen}"
                    ),
                    format!("use that one, stop it, or take another port: --listen {}:0", listen.ip()),
                )
            }
            None => fail(
                "port.busy",
                format!("port {port} is in use by another program"),
                format!(
                    "take another port: --listen {}:0, or find the program: ss -ltnp 'sport = {port}'",
                    listen.ip()
                ),
            ),
        },
        ErrorKind::PermissionDenied => fail(
            "port.denied",
            format!("may not listen on port {port}: {error}"),
            format!("take a port above 1023: --listen {}:3100", listen.ip()),
        ),
        _ => fail(
            "port.unusable",
            format!("cannot listen on {listen}: {error}"),
            format!("take another address: --listen {}", crate::config::DEFAULT_LISTEN),
        ),
    }
}

/// What a bugle that listens there says about itself; `None` when it is none.
pub(super) async fn health(listen: SocketAddr) -> Option<Json> {
    let ask = async {
        let answer = client::local().get(format!("http://{listen}/api/health")).send().await.ok()?;
        answer.json::<Json>().await.ok()
    };
    let health = tokio::time::timeout(Duration::from_secs(2), ask).await.ok()??;
    health.get("deploymentMode").is_some().then_some(health)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn only_loopback_addresses_are_accepted() {
        for (text, level) in [
            ("127.0.0.1:3100", Level::Ok),
            ("127.9.9.9:3100", Level::Ok),
            ("[::1]:3100", Level::Ok),
            ("0.0.0.0:3100", Level::Fail),
            ("[::]:3100", Level::Fail),
            ("192.168.1.5:3100", Level::Fail),
        ] {
            let listen = text.parse().unwrap();
            assert_eq!(address(listen, Trust::LocalTrusted).level, level, "{text}");
            assert_eq!(address(listen, Trust::Authenticated).level, Level::Ok, "{text}");
        }
    }

    #[tokio::test]
    async fn a_port_that_somebody_has_is_named() {
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = theirs.local_addr().unwrap();
        // It accepts nobody; dropping it lets the question fail instead of waiting.
        let finding = {
            let asked = tokio::spawn(port(listen));
            let (stranger, _) = tokio::task::spawn_blocking(move || theirs.accept().unwrap()).await.unwrap();
            drop(stranger);
            asked.await.unwrap()
        };
        assert_eq!(finding.code, "port.busy");
        assert!(finding.message.contains(&listen.port().to_string()), "{finding:?}");
    }
}
