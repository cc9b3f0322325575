//! Agents behind an OpenClaw gateway: one request over a WebSocket is one run, what the agent says comes back as it works.
//!
//! This file is the adapter. Configuration: `url`; `authToken` (or `token`, or a header), `password`, `deviceToken`;
//! `headers`; `devicePrivateKeyPem`, `disableDeviceAuth`, `deviceFamily`, `autoPairOnFirstConnect`; `agentId`,
//! `sessionKeyStrategy`, `sessionKey`; `payloadTemplate`, `workspaceRuntime`, `paperclipApiUrl`, `claimedApiKeyPath`;
//! `timeoutSec` (120), `waitTimeoutMs`. Token and password may come from `env`, and so from stored secrets.
//!
//! The process of a run is a driver ([`openclaw_run`]) that holds the conversation: it goes on while no server is there,
//! and what was said is in the log. See `docs/decisions/0019`.

mod device;
mod driver;
mod message;
mod probe;
mod reader;
mod talk;
mod wire;
mod words;

use std::time::Duration;

use serde_json::{Map, Value};

pub use device::device_private_key_pem;
pub use driver::{OPENCLAW_RUN, openclaw_run};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::env::{self, Declared, Environment, Host};
use crate::http;
use crate::settings::{self, REDACTED, Settings};
use device::Device;
use message::Strategy;
use reader::GatewayReader;
use wire::{Place, WrongUrl};
use words::{Auth, DeviceKey, Job};

/// Runs an agent of a gateway.
#[derive(Debug)]
pub(crate) struct OpenClaw;

const LIMIT: Duration = Duration::from_secs(120);
/// A gateway answers within this time whether it lets somebody in, and whether an agent begins.
const ANSWERS: Duration = Duration::from_secs(15);
/// The same where a run has no limit.
const ANSWERS_UNLIMITED: Duration = Duration::from_secs(10);
const WAITS_UNLIMITED: Duration = Duration::from_secs(30);
/// How much longer than its own limits the driver may live: its own words about a timeout are better than the keeper's.
const AFTER_LIMIT: Duration = Duration::from_secs(10);
/// The connection itself sets these.
const OWNED: [&str; 4] =
    ["sec-websocket-key", "sec-websocket-version", "sec-websocket-accept", "sec-websocket-extensions"];
/// Where a token and a password are looked for in `env`; the program itself knows them by these names.
const TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";
const PASSWORD: &str = "OPENCLAW_GATEWAY_PASSWORD";

/// Without `Debug`: it holds secrets.
struct Config<'a> {
    /// Blank when it is missing.
    url: &'a str,
    headers: Vec<(String, String)>,
    token: Option<String>,
    password: Option<String>,
    device_token: Option<&'a str>,
    device: DeviceKey,
    device_family: Option<&'a str>,
    pairs_itself: bool,
    agent: Option<&'a str>,
    strategy: Strategy,
    session_key: Option<&'a str>,
    template: Map<String, Value>,
    workspace_runtime: Map<String, Value>,
    api_url: Option<&'a str>,
    key_file: Option<&'a str>,
    limit: Duration,
    wait: Option<Duration>,
    grace: Duration,
}

impl<'a> Config<'a> {
    /// Reads what can be read; mistakes stay in `settings`.
    fn gather(settings: &mut Settings<'a>) -> Config<'a> {
        let url = settings.text("url").map_or("", str::trim);
        if url.is_empty() && settings.get("url").is_none_or(Value::is_string) {
            settings.mistake("url", "is missing", Some(WrongUrl::Invalid.hint()));
        } else if let Err(wrong) = Place::of(url)
            && !url.is_empty()
        {
            settings.mistake("url", wrong.message(), Some(wrong.hint()));
        }
        let headers = headers(settings);
        let declared = env::declared(settings);
        let in_env = |name: &str| {
            declared.get(name).map(|text| text.trim()).filter(|text| !text.is_empty() && *text != REDACTED)
        };
        let mut text = |key: &str| settings.text(key).map(str::trim);
        let own_token = ["authToken", "token"].map(&mut text).into_iter().flatten().next();
        let password = text("password").or(in_env(PASSWORD)).map(str::to_owned);
        let (device_token, pem) = (text("deviceToken"), text("devicePrivateKeyPem"));
        let (device_family, agent, session_key) = (text("deviceFamily"), text("agentId"), text("sessionKey"));
        let (key_file, strategy, api_url) =
            (text("claimedApiKeyPath"), text("sessionKeyStrategy"), text("paperclipApiUrl"));
        let token = own_token.map(str::to_owned).or_else(|| token_in(&headers));
        let token = token.or_else(|| in_env(TOKEN).map(str::to_owned));
        if strategy.is_some_and(|name| Strategy::parse(name).is_none()) {
            let words = format!("must be one of: {}", Strategy::NAMES.join(", "));
            settings.mistake("sessionKeyStrategy", words, None);
        }
        let is_web = |url: &&str| url.starts_with("http://") || url.starts_with("https://");
        if api_url.is_some_and(|url| !is_web(&url)) {
            settings.mistake("paperclipApiUrl", "must begin with http:// or https://", None);
        }
        let is_disabled = settings.boolean("disableDeviceAuth").unwrap_or(false);
        if pem.is_some_and(|pem| pem != REDACTED && !is_disabled && Device::of_pem(pem).is_none()) {
            let hint = "leave it out: a key is made when the agent is saved";
            settings.mistake("devicePrivateKeyPem", "is no Ed25519 key in PKCS #8", Some(hint));
        }
        let device = match pem {
            _ if is_disabled => DeviceKey::Off,
            Some(pem) => DeviceKey::Pem(pem.to_owned()),
            None => DeviceKey::New,
        };
        let whole_seconds = |span: Duration| Duration::from_secs(span.as_secs());
        Config {
            url,
            token,
            password,
            device_token,
            device,
            device_family,
            pairs_itself: settings.boolean("autoPairOnFirstConnect").unwrap_or(true),
            agent,
            strategy: strategy.and_then(Strategy::parse).unwrap_or_default(),
            session_key,
            template: settings.object("payloadTemplate").cloned().unwrap_or_default(),
            workspace_runtime: settings.object("workspaceRuntime").cloned().unwrap_or_default(),
            api_url: api_url.filter(is_web),
            key_file,
            limit: settings.span("timeoutSec", Duration::from_secs(1)).map_or(LIMIT, whole_seconds),
            wait: settings.span("waitTimeoutMs", Duration::from_millis(1)).filter(|wait| !wait.is_zero()),
            grace: settings.grace(),
            headers,
        }
    }

    fn read(config: &'a Value) -> Result<Config<'a>, AdapterError> {
        let mut settings = Settings::open(config);
        let read = Config::gather(&mut settings);
        settings.done(Some(read))
    }

    /// For a run. An address that is none is said by the driver, in the codes of the wire.
    fn read_for_run(config: &'a Value) -> Result<Config<'a>, AdapterError> {
        match Config::read(config) {
            Err(AdapterError::Config(problems))
                if problems.iter().all(|problem| problem.path == "adapterConfig.url") =>
            {
                Ok(Config::gather(&mut Settings::open(config)))
            }
            read => read,
        }
    }

    fn auth(&self) -> Auth {
        Auth {
            token: self.token.clone(),
            device_token: self.device_token.map(str::to_owned),
            password: self.password.clone(),
        }
    }

    /// The configured headers, and the token as one where nothing else stands there.
    fn all_headers(&self) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        let has_own = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if let Some(token) = self.token.as_ref().filter(|_| !has_own) {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        headers
    }

    fn answers(&self) -> Duration {
        if self.limit.is_zero() { ANSWERS_UNLIMITED } else { self.limit.min(ANSWERS) }
    }

    fn waits(&self) -> Duration {
        let limit = Some(self.limit).filter(|limit| !limit.is_zero());
        self.wait.or(limit).unwrap_or(WAITS_UNLIMITED)
    }

    fn wait_ms(&self) -> u64 {
        millis(self.waits())
    }

    /// Keeps out of the log whatever the gateway is shown as a proof.
    fn keep_secrets(&self, into: &mut Environment) {
        let (secrets, notes) = (&mut into.secrets, &mut into.notes);
        let mut keep = |name: &str, value: &str| env::keep_secret(name, value.to_owned(), secrets, notes);
        for (name, value) in &self.headers {
            if env::is_secret_name(name) || words::is_secret(name) {
                keep(name, value);
                // `Bearer abc`: without the word before it, it is as good.
                if let Some((_, token)) = value.split_once(' ') {
                    keep(name, token.trim());
                }
            }
        }
        let told = [("authToken", self.token.as_deref()), ("deviceToken", self.device_token)];
        for (name, value) in told.into_iter().chain([("password", self.password.as_deref())]) {
            value.into_iter().for_each(|value| keep(name, value));
        }
        if let DeviceKey::Pem(pem) = &self.device {
            keep("devicePrivateKeyPem", pem);
            for line in pem.lines().filter(|line| !line.starts_with("-----")) {
                keep("devicePrivateKeyPem", line.trim());
            }
        }
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if env::is_secret_name(name) {
                keep(name, value);
            }
        }
        http::secrets_within(&self.template, secrets, notes);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn headers(settings: &mut Settings<'_>) -> Vec<(String, String)> {
    let mut headers = http::headers(settings);
    headers.retain(|(name, _)| {
        let is_owned =
            OWNED.contains(&name.to_ascii_lowercase().as_str()) || name.eq_ignore_ascii_case("host");
        if is_owned {
            settings.mistake(
                &format!("headers.{name}"),
                "is set by the connection itself",
                Some("remove it"),
            );
        }
        !is_owned
    });
    headers
}

/// The token that headers hold.
fn token_in(headers: &[(String, String)]) -> Option<String> {
    let value = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let bare = |value: &str| {
        let (word, token) = value.split_once(' ').unwrap_or((value, ""));
        let token = if word.eq_ignore_ascii_case("bearer") { token.trim() } else { value };
        (!token.is_empty()).then(|| token.to_owned())
    };
    let direct = value("x-openclaw-token").or_else(|| value("x-openclaw-auth")).map(str::to_owned);
    direct.or_else(|| value("authorization").and_then(bare))
}

impl Adapter for OpenClaw {
    fn kind(&self) -> &'static str {
        "openclaw_gateway"
    }

    fn has_terminal_event(&self) -> bool {
        true
    }

    fn is_experimental(&self) -> bool {
        true
    }

    /// Its driver is this program itself, which is here.
    fn travels(&self) -> bool {
        false
    }

    /// The agent may have gone on with its work although nobody heard of it.
    fn is_repeatable(&self, _config: &Value) -> bool {
        false
    }

    fn check(&self, config: &Value) -> Vec<Problem> {
        settings::problems(config, Config::read(config))
    }

    fn command(&self, setup: &Setup<'_>) -> Result<Command, AdapterError> {
        let config = Config::read_for_run(setup.config)?;
        // The driver has nothing to prove to this server, and the agent has a key of its own.
        let keyless = Setup { api_key: None, ..*setup };
        let mut environment = env::for_run(&keyless, &Declared::new());
        config.keep_secrets(&mut environment);
        let notes = &mut environment.notes;
        if let Ok(place) = Place::of(config.url) {
            notes.push(format!("talks to {}", place.shown()));
            if place.is_open_to_all() {
                notes.push("what is said to the gateway, its token too, can be read on the way: its address is ws://".to_owned());
            }
        }
        let (answers, waits) = (config.answers(), config.waits());
        let job = Job {
            url: config.url.to_owned(),
            headers: config.all_headers(),
            auth: config.auth(),
            device: config.device.clone(),
            device_family: config.device_family.map(str::to_owned),
            pairs_itself: config.pairs_itself,
            run_id: setup.run_id.to_owned(),
            params: message::params(setup, &config),
            answer_ms: millis(answers),
            wait_ms: millis(waits),
        };
        Ok(Command {
            argv: vec![setup.program.to_string_lossy().into_owned(), OPENCLAW_RUN.to_owned()],
            cwd: setup.default_cwd.to_owned(),
            env: environment.vars.into_iter().collect(),
            stdin: job.to_line(),
            keep_stdin_open: false,
            secrets: environment.secrets,
            grace: config.grace,
            // A connection, the same again after pairing, the pairing itself, and the agent's first answer.
            wall: Some(waits + 6 * answers + AFTER_LIMIT),
            notes: environment.notes,
            in_files: environment.in_files,
        })
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        Box::new(GatewayReader::new(setup.started_at))
    }

    fn test_environment(&self, config: &Value, _host: &Host) -> Vec<Check> {
        let config = Config::gather(&mut Settings::open(config));
        if config.url.is_empty() {
            let check = Check::new("openclaw_gateway_url_missing", Level::Error, "no address is configured");
            return vec![check.hint("set adapterConfig.url to the address of the gateway")];
        }
        let mut checks = Vec::new();
        let place = Place::of(config.url);
        checks.push(match &place {
            Ok(place) => {
                Check::new("openclaw_gateway_url_valid", Level::Info, "the address is one of a gateway")
                    .detail(place.shown())
            }
            Err(wrong) => {
                let code = match wrong {
                    WrongUrl::Protocol => "openclaw_gateway_url_protocol_invalid",
                    WrongUrl::Invalid | WrongUrl::HasLogin => "openclaw_gateway_url_invalid",
                };
                let message = format!("the address {}", wrong.message());
                Check::new(code, Level::Error, message).hint(wrong.hint())
            }
        });
        if place.as_ref().is_ok_and(Place::is_open_to_all) {
            checks.push(
                Check::new(
                    "openclaw_gateway_plaintext_remote_ws",
                    Level::Warn,
                    "the gateway is on another machine, and what is said to it can be read on the way",
                )
                .hint("use wss://, or a tunnel to this machine"),
            );
        }
        let auth = config.auth();
        checks.push(if auth.is_nothing() {
            Check::new(
                "openclaw_gateway_auth_missing",
                Level::Warn,
                "neither a token nor a password is configured",
            )
            .hint("set authToken, or bind OPENCLAW_GATEWAY_TOKEN in env to a secret")
        } else {
            Check::new("openclaw_gateway_auth_present", Level::Info, "a token or a password is configured")
        });
        checks.extend(place.ok().map(|place| probe::probe(&place, &config.all_headers(), &auth)));
        checks
    }
}
