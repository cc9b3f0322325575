//! Asking a service whether it is well: over HTTP where it says how, else whether its port takes connections.
//!
//! Only this machine is asked: an address comes from a configuration, and must not make the server call others.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether a service answers well; `None` when there is nothing to ask.
pub(crate) async fn is_well(url: Option<&str>, port: Option<u16>) -> Option<bool> {
    let asked = async {
        match (url, port) {
            (Some(url), _) => ask(url).await.unwrap_or(false),
            (None, Some(port)) => TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
            (None, None) => false,
        }
    };
    if url.is_none() && port.is_none() {
        return None;
    }
    Some(tokio::time::timeout(PATIENCE, asked).await.unwrap_or(false))
}

async fn ask(url: &str) -> Option<bool> {
    let (host, port, path) = parts(url)?;
    let mut stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nUser-Agent: bugle\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 32];
    let mut read = 0;
    while read < head.len() {
        match stream.read(&mut head[read..]).await.ok()? {
            0 => break,
            more => read += more,
        }
        if head[..read].contains(&b'\n') {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head[..read]).into_owned();
    let status: u16 = line.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    Some((200..400).contains(&status))
}

/// Host, port and path of an address on this machine.
fn parts(url: &str) -> Option<(String, u16, String)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        Some(_) | None => (authority, 80),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_ours = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    let is_plain = path.chars().all(|c| c.is_ascii_graphic());
    (is_ours && is_plain).then(|| (host.to_owned(), port, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked() {
        let at = |url: &str| parts(url).map(|(host, port, path)| format!("{host} {port} {path}"));
        assert_eq!(at("http://127.0.0.1:8080/health?x=1").as_deref(), Some("127.0.0.1 8080 /health?x=1"));
        assert_eq!(at("http://localhost").as_deref(), Some("localhost 80 /"));
        assert_eq!(at("http://[::1]:81/").as_deref(), Some("::1 81 /"));
        for url in
            ["http://10.0.0.1/", "https://localhost/", "http://localhost:x/", "http://localhost/a\r\nb", "x"]
        {
            assert_eq!(at(url), None, "{url}");
        }
    }

    #[tokio::test]
    async fn a_service_is_well_when_it_says_so() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            for status in ["200 OK", "503 Busy"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 512];
                let _ = stream.read(&mut buffer).await.unwrap();
                stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(is_well(Some(&url), None).await, Some(true));
        assert_eq!(is_well(Some(&url), None).await, Some(false));
        server.await.unwrap();
        assert_eq!(is_well(Some(&url), None).await, Some(false), "nobody listens");
        assert_eq!(is_well(None, None).await, None);
    }
}
