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
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Prompt, Style, openrouter, session};
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

const STYLE: Style = Style {
    instructions: Instructions::Prefix,
    task_markdown: true,
    env_note: false,
    api_note: false,
    skills: true,
};

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
        let mut told = Vec::new();
        if cli::mcp::is_told(setup, &common) {
            match with_tools(common.env.get(CONTENT).map(String::as_str), cli::mcp::program(setup)) {
                Ok(content) => env.push((CONTENT, content)),
                Err(why) => told.push(why),
            }
        }
        env.push((NO_PROJECT_CONFIG.0, NO_PROJECT_CONFIG.1.to_owned()));
        let mut command = cli::command(setup, &common, args, &env, text.into_bytes())?;
        command.notes.extend(resume.note.into_iter().chain(notes).chain(told));
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::read(setup.config).ok();
        let folder = cli::folder_of(setup);
        let asked = session::resume(setup, &folder).session;
        let note = json!({ "cwd": folder.to_string_lossy() });
        let is_routed = config.as_ref().is_some_and(|config| openrouter::is_asked(&config.common.env));
        let model = config.map(|config| config.model);
        Box::new(OpencodeReader::new(asked, note, model, setup.started_at).routed(is_routed))
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

/// Configuration that wins over files.
const CONTENT: &str = "OPENCODE_CONFIG_CONTENT";

/// That configuration with Bugle's tools in it, beside what the agent's own variable says.
fn with_tools(own: Option<&str>, program: Value) -> Result<String, String> {
    let own = own.filter(|text| !text.trim().is_empty()).unwrap_or("{}");
    let Ok(Value::Object(mut config)) = serde_json::from_str(own) else {
        return Err(format!("{CONTENT} holds no JSON object, so the agent is not told of Bugle's tools"));
    };
    let servers = config.entry("mcp").or_insert_with(|| json!({}));
    if let Some(servers) = servers.as_object_mut() {
        let server = json!({ "type": "local", "command": [program, cli::mcp::COMMAND], "enabled": true });
        servers.insert(cli::mcp::NAME.to_owned(), server);
    }
    Ok(Value::Object(config).to_string())
}

fn is_model(model: &str) -> bool {
    model.split_once('/').is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_stand_beside_what_the_agent_configures_itself() {
        let own = r#"{"theme":"dark","mcp":{"mine":{"type":"local"}}}"#;
        let told = with_tools(Some(own), json!("/bugle")).unwrap();
        let server = r#"{"type":"local","command":["/bugle","mcp"],"enabled":true}"#;
        assert_eq!(
            told,
            format!(r#"{{"theme":"dark","mcp":{{"mine":{{"type":"local"}},"bugle":{server}}}}}"#)
        );
        assert_eq!(with_tools(None, json!("/bugle")).unwrap(), format!(r#"{{"mcp":{{"bugle":{server}}}}}"#));
        assert!(with_tools(Some("[]"), json!("/bugle")).unwrap_err().contains("holds no JSON object"));
    }
}
