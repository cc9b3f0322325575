//! Agents behind an HTTP endpoint: one request is one run, its answer says how it went.
//!
//! Configuration: `url`, `method` (POST), `headers`, `payloadTemplate`, `timeoutMs` or `timeoutSec` (0 = none),
//! `idempotent`. The request is sent by a small process of its own (`http_call.rs`), so that such a run outlives the
//! server like any other; it travels to that process on stdin, because headers hold secrets. Sending is not done here.

use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::http::{HeaderName, HeaderValue, Method, Uri};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::env::{self, Declared, Host};
use crate::http_call::{HTTP_CALL, Request, shown};
use crate::plain::PlainReader;
use crate::settings::{self, Settings};
use crate::web;

/// Calls an endpoint.
#[derive(Debug)]
pub(crate) struct Http;

/// How much longer than the request's own limit the calling process may live: its own words about a timeout are better
/// than the keeper's.
const AFTER_LIMIT: Duration = Duration::from_secs(10);

/// How long the endpoint has to show that it is there.
const PROBE: Duration = Duration::from_secs(3);

/// Headers that describe the connection or the length; a wrong one breaks the request.
const OWNED: &[&str] =
    &["connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"];

#[derive(Debug)]
struct Config<'a> {
    url: &'a str,
    method: Method,
    headers: Vec<(String, String)>,
    payload: Map<String, Value>,
    limit: Option<Duration>,
    grace: Duration,
    is_idempotent: bool,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let url = settings.text("url").map(str::trim);
        match url.map(target) {
            Some(Ok(_)) => {}
            Some(Err(wrong)) => settings.mistake("url", wrong.message(), Some(wrong.hint())),
            None if settings.get("url").is_none_or(Value::is_string) => {
                settings.mistake(
                    "url",
                    "is missing",
                    Some("give the address to call, for example \"https://example.org/run\""),
                );
            }
            None => {}
        }
        let method = method(&mut settings);
        let headers = headers(&mut settings);
        let payload = settings.object("payloadTemplate").cloned().unwrap_or_default();
        let millis = settings.span("timeoutMs", Duration::from_millis(1));
        let limit = settings.wall();
        let limit = millis.map_or(limit, |millis| Some(millis).filter(|millis| !millis.is_zero()));
        let grace = settings.grace();
        let is_idempotent = settings.boolean("idempotent").unwrap_or(false);
        settings.done(url.map(|url| Config { url, method, headers, payload, limit, grace, is_idempotent }))
    }
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WrongUrl {
    Invalid,
    Scheme,
    HasLogin,
}

impl WrongUrl {
    fn message(self) -> &'static str {
        match self {
            WrongUrl::Invalid => "is not an absolute address",
            WrongUrl::Scheme => "must begin with http:// or https://",
            WrongUrl::HasLogin => "must not hold a user or a password",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            WrongUrl::Invalid => "write it like https://example.org/run, with spaces as %20",
            WrongUrl::Scheme => "other protocols are not supported",
            WrongUrl::HasLogin => "put the login into headers, as Authorization",
        }
    }
}

fn target(url: &str) -> Result<Uri, WrongUrl> {
    let uri: Uri = url.parse().map_err(|_| WrongUrl::Invalid)?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err(WrongUrl::HasLogin)
        }
        (Some("http" | "https"), Some(authority)) if !authority.host().is_empty() => Ok(uri),
        (Some("http" | "https") | None, _) => Err(WrongUrl::Invalid),
        (Some(_), _) => Err(WrongUrl::Scheme),
    }
}

fn method(settings: &mut Settings<'_>) -> Method {
    let Some(text) = settings.text("method") else { return Method::POST };
    match text.trim().to_ascii_uppercase().as_str() {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        "GET" => Method::GET,
        _ => {
            settings.mistake("method", "must be one of: POST, PUT, PATCH, DELETE, GET", None);
            Method::POST
        }
    }
}

/// The configured headers.
pub(crate) fn headers(settings: &mut Settings<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in settings.object("headers").into_iter().flatten() {
        let path = format!("headers.{name}");
        let Value::String(value) = value else {
            settings.wrong_type(&path, "a text", value);
            continue;
        };
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            settings.mistake(&path, "is not a name for a header", None);
        } else if HeaderValue::from_str(value).is_err() {
            settings.mistake(
                &path,
                "has a character that a header cannot hold",
                Some("remove line ends and control characters"),
            );
        } else if OWNED.contains(&name.to_ascii_lowercase().as_str()) {
            settings.mistake(&path, "is set by the connection itself", Some("remove it"));
        } else {
            headers.push((name.clone(), value.clone()));
        }
    }
    headers
}

impl Adapter for Http {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn has_terminal_event(&self) -> bool {
        true
    }

    /// An endpoint that was called may have done its work although nobody heard the answer.
    /// It is this program itself, which is here.
    fn travels(&self) -> bool {
        false
    }

    fn is_repeatable(&self, config: &Value) -> bool {
        config.get("idempotent") == Some(&Value::Bool(true))
    }

    fn check(&self, config: &Value) -> Vec<Problem> {
        settings::problems(config, Config::read(config))
    }

    fn command(&self, setup: &Setup<'_>) -> Result<Command, AdapterError> {
        let config = Config::read(setup.config)?;
        // The process only sends a request: it has nothing to prove to this server.
        let keyless = Setup { api_key: None, ..*setup };
        let mut environment = env::for_run(&keyless, &Declared::new());
        let (secrets, notes) = (&mut environment.secrets, &mut environment.notes);
        for (name, value) in &config.headers {
            if env::is_secret_name(name) {
                env::keep_secret(name, value.clone(), secrets, notes);
                // `Bearer abc`: an endpoint that repeats the token repeats it without the word before it.
                if let Some((_, token)) =
                    value.split_once(' ').filter(|(_, token)| token.len() >= crate::SECRET_MIN)
                {
                    env::keep_secret(name, token.trim().to_owned(), secrets, notes);
                }
            }
        }
        let query = config.url.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if env::is_secret_name(name) {
                env::keep_secret(name, value.to_owned(), secrets, notes);
            }
        }
        secrets_within(&config.payload, secrets, notes);
        notes.push(format!("{} {}", config.method, shown(config.url)));

        let mut body = config.payload;
        body.insert("agentId".to_owned(), json!(setup.agent_id));
        body.insert("runId".to_owned(), json!(setup.run_id));
        body.insert("context".to_owned(), setup.context.clone());
        if let Some(session) = setup.session {
            body.insert("sessionId".to_owned(), json!(session));
        }
        let request = Request {
            url: config.url.to_owned(),
            method: config.method.to_string(),
            headers: config.headers,
            body: Value::Object(body),
            run_id: setup.run_id.to_owned(),
            limit_ms: config.limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            is_idempotent: config.is_idempotent,
        };
        Ok(Command {
            argv: vec![setup.program.to_string_lossy().into_owned(), HTTP_CALL.to_owned()],
            cwd: setup.default_cwd.to_owned(),
            env: environment.vars.into_iter().collect(),
            stdin: request.to_bytes(),
            keep_stdin_open: false,
            secrets: environment.secrets,
            grace: config.grace,
            wall: config.limit.map(|limit| limit + AFTER_LIMIT),
            notes: environment.notes,
            in_files: environment.in_files,
        })
    }

    fn reader(&self, _setup: &Setup<'_>) -> Box<dyn Reader> {
        Box::new(PlainReader { prose: false })
    }

    fn test_environment(&self, config: &Value, _host: &Host) -> Vec<Check> {
        let mut settings = Settings::open(config);
        let Some(url) = settings.text("url").map(str::trim) else {
            let check = Check::new("http_url_missing", Level::Error, "no address is configured");
            return vec![check.hint("set adapterConfig.url to the address to call")];
        };
        let method = method(&mut settings);
        let mut checks = Vec::new();
        let valid = match target(url) {
            Ok(_) => {
                checks.push(
                    Check::new("http_url_valid", Level::Info, "the address can be called").detail(shown(url)),
                );
                true
            }
            Err(wrong) => {
                let code =
                    if wrong == WrongUrl::Scheme { "http_url_protocol_invalid" } else { "http_url_invalid" };
                let message = format!("the address {}", wrong.message());
                checks.push(Check::new(code, Level::Error, message).hint(wrong.hint()));
                false
            }
        };
        checks.push(
            Check::new("http_method_configured", Level::Info, "the method is known").detail(method.as_str()),
        );
        if valid {
            checks.push(probe(url));
        }
        checks
    }
}

/// Asks whether somebody is there, without the configured headers: the answer may be a refusal, but not silence.
fn probe(url: &str) -> Check {
    // The client finds proxies in the server's own environment, where the host's come from.
    let client = web::client(web::settings().timeout_global(Some(PROBE)).timeout_connect(Some(PROBE)));
    match client.head(url).call() {
        Ok(answer) => {
            let status = answer.status();
            let detail = format!("HEAD {}: {status}", shown(url));
            if status.is_success() || matches!(status.as_u16(), 405 | 501) {
                Check::new("http_endpoint_probe_ok", Level::Info, "the endpoint answers").detail(detail)
            } else {
                Check::new(
                    "http_endpoint_probe_unexpected_status",
                    Level::Warn,
                    "the endpoint answers with an unexpected status",
                )
                .detail(detail)
                .hint("check the address; an endpoint that wants a login may answer like this and still work")
            }
        }
        Err(error) => Check::new("http_endpoint_probe_failed", Level::Warn, "the endpoint does not answer")
            .detail(format!("HEAD {}: {error}", shown(url)))
            .hint("check the address, and that the endpoint can be reached from this machine"),
    }
}

/// Keeps out of the log what stands under the name of a secret, however deep.
pub(crate) fn secrets_within(
    fields: &Map<String, Value>,
    secrets: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    for (name, value) in fields {
        match value {
            Value::String(value) if env::is_secret_name(name) => {
                env::keep_secret(name, value.clone(), secrets, notes)
            }
            Value::Object(fields) => secrets_within(fields, secrets, notes),
            Value::Array(items) => {
                for fields in items.iter().filter_map(Value::as_object) {
                    secrets_within(fields, secrets, notes);
                }
            }
            _ => {}
        }
    }
}
