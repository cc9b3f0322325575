//! The command line's way to a server: where it is, how it is asked, and what its refusals mean.
//!
//! The server of a data folder is found by the note it leaves there, anew for each request, because a restart may give
//! it another port. Nothing here knows what the answers are about.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value as Json;

use crate::config::DEFAULT_LISTEN;
use crate::data_dir;
use crate::failure::{Failure, Kind, chain};
use crate::instance;
use crate::logins;

/// How long an ordinary answer may take. Streams have no such limit.
const PATIENCE: Duration = Duration::from_secs(70);
/// The header of a list's next page.
const CURSOR: &str = "bugle-cursor";

/// A server, as the command line sees it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// As given by `--url` or `BUGLE_URL`.
    url: Option<String>,
    data_dir: Option<PathBuf>,
}

/// Where a server is supposed to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) base: String,
    token: Option<String>,
}

/// The HTTP client for servers on this machine: no proxy is asked for them, whatever the environment says.
pub(crate) fn local() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| build(reqwest::Client::builder().no_proxy()))
}

/// The HTTP client for servers elsewhere.
fn remote() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| build(reqwest::Client::builder()))
}

fn build(builder: reqwest::ClientBuilder) -> reqwest::Client {
    // One provider serves the whole program; that it is installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // No redirects: the token must not be carried away.
    let builder = builder.redirect(reqwest::redirect::Policy::none()).connect_timeout(Duration::from_secs(5));
    let client = builder.user_agent(concat!("bugle/", env!("CARGO_PKG_VERSION"))).build();
    client.expect("only the TLS provider could be missing, and it was installed before")
}

fn is_local(base: &str) -> bool {
    let url = reqwest::Url::parse(base).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Client {
    /// `url`: a server that was named; else that of the data folder.
    pub(crate) fn new(url: Option<&str>, data_dir: Option<PathBuf>) -> Result<Client, Failure> {
        let url = url.map(str::trim).filter(|url| !url.is_empty());
        if let Some(url) = url {
            let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !is_http {
                let failure =
                    Failure::usage("url.invalid", format!("`{url}` is not the address of a server"));
                return Err(
                    failure.hint(format!("write it like http://{DEFAULT_LISTEN} (--url or BUGLE_URL)"))
                );
            }
        }
        let url = url.map(|url| url.trim_end_matches('/').trim_end_matches("/api").to_owned());
        Ok(Client { url, data_dir })
    }

    /// Under which name a login at this server is kept: its address, or that it is the one of the data folder.
    pub(crate) fn login_name(&self) -> &str {
        self.url.as_deref().unwrap_or(logins::OF_THE_FOLDER)
    }

    /// The folder that logins are kept in.
    pub(crate) fn login_folder(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// Where the server is now, with the key to show there: the one of the environment (what agents are given), that of a
    /// login, or the board token of the data folder.
    pub(crate) fn place(&self) -> Place {
        let found = self.found();
        let given = ["BUGLE_API_KEY", "PAPERCLIP_API_KEY"].iter().find_map(|name| {
            std::env::var(name).ok().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty())
        });
        let kept = || logins::read(self.data_dir.as_deref()?, self.login_name());
        Place { token: given.or_else(kept).or(found.token), ..found }
    }

    fn found(&self) -> Place {
        if let Some(url) = &self.url {
            return Place { base: url.clone(), token: None };
        }
        let note = self.data_dir.as_deref().and_then(instance::read_note);
        match (note, &self.data_dir) {
            (Some(note), Some(folder)) => Place {
                base: format!("http://{}", note.listen),
                token: if note.asks_for_keys { None } else { data_dir::existing_board_token(folder) },
            },
            _ => Place { base: format!("http://{DEFAULT_LISTEN}"), token: None },
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Json, Failure> {
        self.ask(Method::GET, path, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Json) -> Result<Json, Failure> {
        self.ask(Method::POST, path, Some(body), &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Json) -> Result<Json, Failure> {
        self.ask(Method::PATCH, path, Some(body), &[]).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Json, Failure> {
        self.ask(Method::DELETE, path, None, &[]).await
    }

    /// Asks without the key that is kept here: what it is about is not whose it is, and one that is over would be refused.
    pub(crate) async fn ask_without_key(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<Json, Failure> {
        let place = Place { token: None, ..self.found() };
        let mut request = self.request(&place, method, path).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(body);
        }
        read(&place, request).await
    }

    /// A whole list, page by page.
    pub(crate) async fn all(&self, path: &str) -> Result<Json, Failure> {
        let (mut rows, mut cursor): (Vec<Json>, Option<String>) = (Vec::new(), None);
        loop {
            let headers: Vec<(&str, &str)> = cursor.iter().map(|it| (CURSOR, it.as_str())).collect();
            let (page, next) = self.exchange(Method::GET, path, None, &headers).await?;
            match page {
                Json::Array(page) => rows.extend(page),
                other => return Ok(other),
            }
            match next {
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => return Ok(Json::Array(rows)),
            }
        }
    }

    /// Asks, and reads the JSON answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
        headers: &[(&str, &str)],
    ) -> Result<Json, Failure> {
        self.exchange(method, path, body, headers).await.map(|(answer, _)| answer)
    }

    /// Asks, and reads the JSON answer and where the next page begins.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
        headers: &[(&str, &str)],
    ) -> Result<(Json, Option<String>), Failure> {
        let place = self.place();
        let mut request = self.request(&place, method, path).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match read_page(&place, request).await {
            Err(failure) if place.token.is_none() && is_about_keys(&failure) => {
                Err(self.who_lets_in(failure).await)
            }
            answer => answer,
        }
    }

    /// Sends a message; returns its answer, if there is one to be had. A refusal in the protocol of the message is an answer.
    pub(crate) async fn post_for_answer(
        &self,
        path: &str,
        body: &Json,
        headers: &[(&str, &str)],
    ) -> Result<Option<Json>, Failure> {
        let place = self.place();
        let mut request = self.request(&place, Method::POST, path).timeout(PATIENCE).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.map_err(|error| unreachable(&place, &error))?;
        match answer.status().as_u16() {
            202 => return Ok(None),
            // Its body says what is wrong, in the words of the protocol.
            400 => {}
            _ => return read_answer(&place, answer).await.map(Some),
        }
        let bytes = answer.bytes().await.map_err(|error| unreachable(&place, &error))?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Says how to get a key, to somebody who has none.
    async fn who_lets_in(&self, failure: Failure) -> Failure {
        let health = self.ask_without_key(Method::GET, "/health", None).await.unwrap_or(Json::Null);
        match health.get("bootstrapStatus").and_then(Json::as_str) {
            Some("bootstrap_pending") => failure.hint(
                "nobody administers this server yet: bugle login first TOKEN --name YOU, with the token that it printed when it started",
            ),
            _ => failure.hint("log in: bugle login"),
        }
    }

    /// Opens a stream of events.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response, Failure> {
        let place = self.place();
        let request = self.request(&place, Method::GET, path).header("Accept", "text/event-stream");
        // The answer's head must come soon, its body may go on for days.
        let answer = match tokio::time::timeout(PATIENCE, request.send()).await {
            Ok(answer) => answer.map_err(|error| unreachable(&place, &error))?,
            Err(_) => return Err(silent(&place)),
        };
        accepted(&place, answer).await
    }

    fn request(&self, place: &Place, method: Method, path: &str) -> reqwest::RequestBuilder {
        let client = if is_local(&place.base) { local() } else { remote() };
        let request = client.request(method, format!("{}/api{path}", place.base));
        match &place.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

/// Whoever shows a key may be let in.
fn is_about_keys(failure: &Failure) -> bool {
    let asks = ["Board access required", "Board authentication required", "Instance admin required"];
    failure.code == "unauthorized" || asks.contains(&failure.message.as_str())
}

/// Sends a request and reads the JSON answer.
async fn read(place: &Place, request: reqwest::RequestBuilder) -> Result<Json, Failure> {
    read_page(place, request).await.map(|(answer, _)| answer)
}

/// The same with the cursor of the next page.
async fn read_page(
    place: &Place,
    request: reqwest::RequestBuilder,
) -> Result<(Json, Option<String>), Failure> {
    let answer = request.send().await.map_err(|error| unreachable(place, &error))?;
    let cursor = answer.headers().get(CURSOR).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok((read_answer(place, answer).await?, cursor))
}

async fn read_answer(place: &Place, answer: Response) -> Result<Json, Failure> {
    let answer = accepted(place, answer).await?;
    let bytes = answer.bytes().await.map_err(|error| unreachable(place, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::failed(
            "answer.unreadable",
            format!("{} gave an answer that is not JSON: {error}", place.base),
        )
        .hint("is another program listening there? see: bugle doctor")
    })
}

/// Encodes a text as one step of a path or one value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    // A step that is dots only would climb out of the path.
    if encoded.bytes().all(|byte| byte == b'.') { encoded.replace('.', "%2E") } else { encoded }
}

fn silent(place: &Place) -> Failure {
    let message = format!("{} does not answer", place.base);
    Failure::new(Kind::Unreachable, "server.silent", message).hint("see what is wrong with: bugle doctor")
}

fn unreachable(place: &Place, error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        return silent(place);
    }
    let message = format!("no server answers at {}: {}", place.base, last_cause(error));
    Failure::new(Kind::Unreachable, "server.unreachable", message)
        .hint("start it with `bugle up`, or name another with --url or BUGLE_URL")
}

/// The innermost cause says it best: `Connection refused`.
fn last_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) { chain(error) } else { cause.to_string() }
}

/// Turns a refusal into a failure, in the server's own words.
async fn accepted(place: &Place, answer: Response) -> Result<Response, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let kind = Kind::of_status(status.as_u16());
    let bytes = answer.bytes().await.unwrap_or_default();
    let Ok(body) = serde_json::from_slice::<Json>(&bytes) else {
        let message = format!("{} answered {status}", place.base);
        return Err(Failure::new(kind, "answer.unreadable", message)
            .hint("is that a bugle server? see: bugle doctor"));
    };
    let text = |key: &str| body.get(key).and_then(Json::as_str).map(str::to_owned);
    let message = text("error").unwrap_or_else(|| format!("{} answered {status}", place.base));
    let code = text("code").unwrap_or_else(|| format!("http.{}", status.as_u16()));
    let mut failure = Failure::new(kind, code, message).details(body.get("details").cloned());
    failure.hint = text("hint").or_else(|| match status.as_u16() {
        401 => Some("log in: bugle login".to_owned()),
        503 => Some("try again in a moment".to_owned()),
        403 => Some("see who you are to the server: bugle whoami".to_owned()),
        _ if code_is(&body, "budget.blocked") => Some(
            "see what was spent: bugle budget list; raise it: bugle budget resolve, or bugle budget set"
                .to_owned(),
        ),
        _ => Some(advice(kind).to_owned()),
    });
    Err(failure)
}

fn code_is(body: &Json, code: &str) -> bool {
    body.get("code").and_then(Json::as_str) == Some(code)
}

/// Where to look when the server itself gave no hint.
fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Usage => "see what can be typed: add --help to the command",
        Kind::Refused | Kind::Interrupted => {
            "see how things are: bugle status; what needs a person: bugle inbox"
        }
        Kind::Failed | Kind::Unreachable => "see what is wrong with: bugle doctor",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_step_of_a_path() {
        for (text, path) in
            [("a b/c", "a%20b%2Fc"), ("café", "caf%C3%A9"), ("..", "%2E%2E"), ("x.y-z_~", "x.y-z_~")]
        {
            assert_eq!(encoded(text), path);
        }
    }

    #[test]
    fn a_named_server_wins_over_the_note_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let note = instance::Note {
            pid: 1,
            listen: "127.0.0.1:4000".parse().unwrap(),
            version: "0".into(),
            started_at: String::new(),
            asks_for_keys: false,
        };
        let client = |url| Client::new(url, Some(folder.path().to_owned())).unwrap();
        assert_eq!(client(None).place().base, "http://127.0.0.1:3100");
        instance::write_note(folder.path(), &note).unwrap();
        assert_eq!(client(None).place().base, "http://127.0.0.1:4000");
        let token = data_dir::board_token(folder.path()).unwrap();
        assert_eq!(client(None).found().token, Some(token));
        let note = instance::Note { asks_for_keys: true, ..note };
        instance::write_note(folder.path(), &note).unwrap();
        assert_eq!(client(None).found().token, None, "it would be taken for a bad key");
        assert_eq!(client(Some("http://h:1/api/")).place().base, "http://h:1");
        assert_eq!(Client::new(Some("h:1"), None).unwrap_err().kind, Kind::Usage);
    }
}
