//! OpenCode: `opencode run --format json`, one process per run.
//!
//! Configuration: what all command line agents share (`cli/config.rs`), `model` (required, `provider/model`),
//! `variant` and `dangerouslySkipPermissions` (true: the agent may work outside its folder; what needs a
//! permission is refused otherwise, for nobody is there to give it). The prompt goes through stdin. A
//! project's own `opencode.json` is not read: what lies in a repository must not change what an agent may do.
//! Started in another folder than a session's own, OpenCode was seen to stay silent for good, so such a run
//! starts afresh. While it waits to ask a provider again it says nothing either.

mod reader;

use serde_json::{Value, json};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Prompt, Style, session};
use crate::env::Host;
use crate::settings::{self, Settings};
use reader::OpencodeReader;

/// Runs OpenCode.
#[derive(Debug)]
pub(crate) struct Opencode;

/// Variables that a run without a person needs; the agent's own `env` wins.
const ENV: &[(&str, &str)] = &[
    // A run is no time to become another version, or to download servers of languages.
    ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
    ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
];

/// Wins over the agent's own `env`.
const NO_PROJECT_CONFIG: (&str, &str) = ("OPENCODE_DISABLE_PROJECT_CONFIG", "true");

/// The permission that is asked for by default, given beforehand; it is merged into the user's own settings.
const PERMISSION: (&str, &str) = ("OPENCODE_PERMISSION", r#"{"external_directory":"allow"}"#);

const CODES: CheckCodes = CheckCodes {
    cwd_valid: "opencode_cwd_valid",
    cwd_invalid: "opencode_cwd_invalid",
    command_resolvable: "opencode_command_resolvable",
    command_unresolvable: "opencode_command_unresolvable",
};

const STYLE: Style =
    Style { instructions: Instructions::Prefix, task_markdown: true, env_note: false, api_note: false };

const MODEL_HINT: &str =
    "give provider/model, for example \"anthropic/claude-sonnet-4-5\"; `opencode models` shows them";

#[derive(Debug)]
struct Config<'a> {
    common: ProgramSettings<'a>,
    model: &'a str,
    variant: Option<&'a str>,
    skip_permissions: bool,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, "opencode");
        let model = common.model;
        match model {
            Some(model) if !is_model(model) => {
                settings.mistake("model", "must name a provider and a model", Some(MODEL_HINT));
            }
            None if settings.get("model").is_none_or(Value::is_string) => {
                settings.mistake("model", "is missing", Some(MODEL_HINT));
            }
            _ => {}
        }
        let variant = settings.text("variant").map(str::trim);
        let skip_permissions = settings.boolean("dangerouslySkipPermissions").unwrap_or(true);
        settings.done(model.map(|model| Config { common, model, variant, skip_permissions }))
    }
}

impl Adapter for Opencode {
    fn kind(&self) -> &'static str {
        "opencode_local"
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
        let Config { common, model, variant, skip_permissions } = Config::read(setup.config)?;
        let resume = session::resume(setup, &common.folder(setup)?);
        let Prompt { text, notes } = cli::assemble(setup, &common, STYLE, resume.session.is_some());
        let mut args = vec!["run".to_owned(), "--format".to_owned(), "json".to_owned()];
        for (flag, value) in [("--session", resume.session), ("--model", Some(model)), ("--variant", variant)]
        {
            args.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        args.extend(common.extra_args.iter().cloned());
        let mut env = cli::unattended(&common, ENV);
        if skip_permissions {
            env.extend(cli::unattended(&common, &[PERMISSION]));
        }
        env.push((NO_PROJECT_CONFIG.0, NO_PROJECT_CONFIG.1.to_owned()));
        let mut command = cli::command(setup, &common, args, &env, text.into_bytes())?;
        command.notes.extend(resume.note.into_iter().chain(notes));
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::read(setup.config).ok();
        let folder = config.as_ref().and_then(|config| config.common.folder(setup).ok());
        let folder = folder.unwrap_or_else(|| setup.default_cwd.to_owned());
        let asked = session::resume(setup, &folder).session;
        let note = json!({ "cwd": folder.to_string_lossy() });
        Box::new(OpencodeReader::new(asked, note, config.map(|config| config.model), setup.started_at))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, "opencode");
        let mut checks = cli::environment_checks(&common, host, CODES);
        if common.env.get("OPENAI_API_KEY").is_some_and(|value| value.trim().is_empty()) {
            let check = Check::new(
                "opencode_openai_api_key_missing",
                Level::Warn,
                "OPENAI_API_KEY is set to nothing",
            );
            checks.push(check.hint("remove it from adapterConfig.env, or give the key"));
        }
        if settings.boolean("dangerouslySkipPermissions").unwrap_or(true) {
            let code = "opencode_headless_permissions_enabled";
            checks.push(Check::new(
                code,
                Level::Info,
                "the agent may work outside its folder without asking",
            ));
        }
        checks.push(match common.model {
            Some(model) if is_model(model) => {
                Check::new("opencode_model_configured", Level::Info, "a model is configured").detail(model)
            }
            Some(model) => Check::new("opencode_model_invalid", Level::Error, "the model has no provider")
                .detail(model)
                .hint(MODEL_HINT),
            None => {
                Check::new("opencode_model_invalid", Level::Error, "no model is configured").hint(MODEL_HINT)
            }
        });
        checks
    }
}

fn is_model(model: &str) -> bool {
    model.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty())
}
