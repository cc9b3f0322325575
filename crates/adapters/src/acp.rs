//! Any agent that speaks the Agent Client Protocol over its stdin and stdout.
//!
//! This file is its adapter. Configuration, beside what all command line agents have (`cli/config.rs`; here `command` has
//! no default, and `args` are its arguments): `model` and `mode` are chosen where the agent offers a choice,
//! `mcpServers` are handed to it in the protocol's own shape, `permissions` says who answers when it asks before it uses
//! a tool (`ask`, `allow` or `deny`), and `permissionTimeoutSec` gives a person so long to answer.
//!
//! The process of a run is a driver ([`acp_run`]) that has the agent as its child: the conversation goes on while no
//! server is there, and every word of it is in the log. See `docs/decisions/0019`.

mod driver;
mod failure;
mod reader;
mod talk;
mod words;

use std::time::Duration;

use serde_json::{Value, json};

pub use driver::{ACP_RUN, acp_run};
pub use words::permission_answer;

use crate::adapter::{Adapter, AdapterError, Check, Command, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Style, clock, session};
use crate::env::{self, Host};
use crate::settings::{self, Settings};
use failure::Clock;
use reader::AcpReader;
use words::{Job, Policy};

/// Runs an agent of the protocol.
#[derive(Debug)]
pub(crate) struct Acp;

const CHECKS: CheckCodes = CheckCodes {
    cwd_valid: "acp_cwd_valid",
    cwd_invalid: "acp_cwd_invalid",
    command_resolvable: "acp_command_resolvable",
    command_unresolvable: "acp_command_unresolvable",
};

const STYLE: Style = Style {
    instructions: Instructions::PrefixUnlessDelta,
    task_markdown: true,
    env_note: true,
    api_note: true,
    skills: true,
};

#[derive(Debug)]
struct Config<'a> {
    common: ProgramSettings<'a>,
    mode: Option<&'a str>,
    mcp_servers: Value,
    policy: Policy,
    patience: Option<Duration>,
}

impl<'a> Config<'a> {
    /// Reads what can be read; mistakes stay in `settings`.
    fn gather(settings: &mut Settings<'a>) -> Config<'a> {
        let common = ProgramSettings::read(settings, "");
        if common.command.is_empty() {
            let hint = "name the program that speaks the protocol, for example claude-agent-acp";
            settings.mistake("command", "is missing", Some(hint));
        }
        let policy = settings.text("permissions").map(str::trim);
        if policy.is_some_and(|name| Policy::parse(name).is_none()) {
            let words = format!("must be one of: {}", Policy::NAMES.join(", "));
            settings.mistake("permissions", words, None);
        }
        Config {
            common,
            mode: settings.text("mode").map(str::trim),
            mcp_servers: mcp_servers(settings),
            policy: policy.and_then(Policy::parse).unwrap_or_default(),
            patience: settings
                .span("permissionTimeoutSec", Duration::from_secs(1))
                .filter(|patience| !patience.is_zero()),
        }
    }

    fn read(config: &'a Value) -> Result<Config<'a>, AdapterError> {
        let mut settings = Settings::open(config);
        let read = Config::gather(&mut settings);
        settings.done(Some(read))
    }
}

/// The servers, each an object with a name; what else is in it is between the agent and its server.
fn mcp_servers(settings: &mut Settings<'_>) -> Value {
    let servers = match settings.get("mcpServers") {
        None => return json!([]),
        Some(Value::Array(servers)) => servers,
        Some(other) => {
            settings.wrong_type("mcpServers", "a list", other);
            return json!([]);
        }
    };
    for (at, server) in servers.iter().enumerate() {
        let path = format!("mcpServers[{at}]");
        if !server.is_object() {
            settings.wrong_type(&path, "an object", server);
        } else if server["name"].as_str().is_none_or(|name| name.trim().is_empty()) {
            settings.mistake(&format!("{path}.name"), "is missing", None);
        }
    }
    Value::Array(servers.clone())
}

/// Keeps out of the log what servers are told in headers and variables with the names of secrets.
fn keep_secrets(servers: &Value, command: &mut Command) {
    for server in servers.as_array().into_iter().flatten() {
        for pair in ["env", "headers"].iter().flat_map(|key| server[*key].as_array().into_iter().flatten()) {
            let (Some(name), Some(value)) = (pair["name"].as_str(), pair["value"].as_str()) else { continue };
            if !env::is_secret_name(name) {
                continue;
            }
            env::keep_secret(name, value.to_owned(), &mut command.secrets, &mut command.notes);
            // `Bearer abc`: without the word before it, it is as good.
            let token = value.split_once(' ').map(|(_, token)| token.trim());
            if let Some(token) = token.filter(|token| token.len() >= crate::SECRET_MIN) {
                env::keep_secret(name, token.to_owned(), &mut command.secrets, &mut command.notes);
            }
        }
    }
}

impl Adapter for Acp {
    fn kind(&self) -> &'static str {
        "acp"
    }

    /// Its driver is this program itself, which is here.
    fn travels(&self) -> bool {
        false
    }

    fn has_terminal_event(&self) -> bool {
        true
    }

    fn is_repeatable(&self, _config: &Value) -> bool {
        true
    }

    fn check(&self, config: &Value) -> Vec<Problem> {
        settings::problems(config, Config::read(config))
    }

    fn command(&self, setup: &Setup<'_>) -> Result<Command, AdapterError> {
        let config = Config::read(setup.config)?;
        let cwd = config.common.folder(setup)?;
        let resume = session::resume(setup, &cwd);
        let prompt = cli::assemble(setup, &config.common, STYLE, resume.session.is_some());
        let args = config.common.extra_args.clone();
        let mut command = cli::command(setup, &config.common, args, &[], Vec::new())?;
        command.notes.extend(resume.note.into_iter().chain(prompt.notes));
        keep_secrets(&config.mcp_servers, &mut command);
        // Notes are shown as they are, and arguments may hold what nobody is to see.
        let shown = command
            .secrets
            .iter()
            .fold(command.argv.join(" "), |shown, secret| shown.replace(secret.as_str(), crate::REDACTED));
        command.notes.push(format!("drives {shown}"));
        let job = Job {
            argv: std::mem::take(&mut command.argv),
            cwd: cwd.to_string_lossy().into_owned(),
            prompt: prompt.text,
            session: resume.session.map(str::to_owned),
            model: config.common.model.map(str::to_owned),
            mode: config.mode.map(str::to_owned),
            mcp_servers: config.mcp_servers,
            policy: config.policy,
            patience_ms: config
                .patience
                .map(|patience| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)),
        };
        command.argv = vec![setup.program.to_string_lossy().into_owned(), ACP_RUN.to_owned()];
        command.stdin = job.to_line();
        command.keep_stdin_open = true;
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::gather(&mut Settings::open(setup.config));
        let folder = cli::folder_of(setup);
        let asked = session::resume(setup, &folder).session;
        let tz = config.common.env.get("TZ").or_else(|| setup.host.env.get("TZ"));
        let clock = Clock { started_at: setup.started_at, zone: clock::zone_of(tz.map(String::as_str)) };
        let folder = folder.to_string_lossy().into_owned();
        Box::new(AcpReader::new(asked, folder, setup.session_note, clock))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let common = ProgramSettings::read(&mut Settings::open(config), "");
        cli::environment_checks(&common, host, CHECKS)
    }
}
