//! Codex, the command line agent of OpenAI: `codex exec --json`, the prompt on stdin.
//!
//! This file is its adapter. Configuration, beside what all command line agents have: `modelReasoningEffort`
//! (also `reasoningEffort`), `search`, `fastMode`, `dangerouslyBypassApprovalsAndSandbox` (also
//! `dangerouslyBypassSandbox`).
//!
//! Codex keeps its login, settings and threads below `CODEX_HOME`, else `~/.codex`. Both come from the
//! agent's own environment and are left as they are: nothing is copied, linked or shared between companies
//! here. Give agents that must not share a login their own `CODEX_HOME` under `adapterConfig.env`.

mod failure;
mod item;
mod reader;
mod session;

use std::path::{Path, PathBuf};

use domain::telling::Usage;
use serde_json::{Value, json};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Style, clock, openrouter};
use crate::env::{Declared, Host};
use crate::settings::{self, Settings};
use failure::Clock;
use reader::CodexReader;

/// Runs Codex.
#[derive(Debug)]
pub(crate) struct Codex;

const PROGRAM: &str = "codex";
const BYPASS: &str = "--dangerously-bypass-approvals-and-sandbox";
const NO_REPOSITORY: &str = "--skip-git-repo-check";

/// The models that are known by name. All but the first refuse the flags of the fast mode.
pub(crate) const MODELS: &[&str] = &[
    FAST_MODEL,
    "gpt-5.3-codex",
    "gpt-5.3-codex-spark",
    "gpt-5",
    "o3",
    "o4-mini",
    "gpt-5-mini",
    "gpt-5-nano",
    "o3-mini",
    "codex-mini-latest",
];
const FAST_MODEL: &str = "gpt-5.4";

const CHECKS: CheckCodes = CheckCodes {
    cwd_valid: "codex_cwd_valid",
    cwd_invalid: "codex_cwd_invalid",
    command_resolvable: "codex_command_resolvable",
    command_unresolvable: "codex_command_unresolvable",
};

#[derive(Debug)]
struct Config<'a> {
    common: ProgramSettings<'a>,
    effort: Option<&'a str>,
    search: bool,
    fast: bool,
    bypass: bool,
}

impl<'a> Config<'a> {
    /// Reads what can be read; mistakes stay in `settings`.
    fn gather(settings: &mut Settings<'a>) -> Config<'a> {
        let (effort, other_effort) =
            (settings.text("modelReasoningEffort"), settings.text("reasoningEffort"));
        let bypass = settings.boolean("dangerouslyBypassApprovalsAndSandbox");
        let other_bypass = settings.boolean("dangerouslyBypassSandbox");
        Config {
            common: ProgramSettings::read(settings, PROGRAM),
            effort: effort.or(other_effort).map(str::trim),
            search: settings.boolean("search").unwrap_or(false),
            fast: settings.boolean("fastMode").unwrap_or(false),
            bypass: bypass.or(other_bypass).unwrap_or(false),
        }
    }

    fn read(config: &'a Value) -> Result<Config<'a>, AdapterError> {
        let mut settings = Settings::open(config);
        let read = Config::gather(&mut settings);
        settings.done(Some(read))
    }

    /// The fast mode is known to work with one model; a model that nobody knows here is its owner's business.
    fn may_be_fast(&self) -> bool {
        self.common.model.is_some_and(|model| model == FAST_MODEL || !MODELS.contains(&model))
    }

    /// What stands between `codex` and the prompt. A flag that the extra arguments repeat is left to them:
    /// Codex refuses to be told twice.
    fn args(&self, session: Option<&str>, is_safer: bool, notes: &mut Vec<String>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let extra = &self.common.extra_args;
        let flag = |args: &mut Vec<String>, flag: &str| {
            if !extra.iter().any(|arg| arg == flag) {
                args.push(flag.to_owned());
            }
        };
        if self.search {
            args.push("--search".to_owned());
        }
        args.push("exec".to_owned());
        flag(&mut args, "--json");
        if self.bypass {
            flag(&mut args, BYPASS);
        }
        if let Some(model) = self.common.model {
            args.extend(["--model".to_owned(), model.to_owned()]);
        }
        if let Some(effort) = self.effort {
            args.extend(["-c".to_owned(), format!("model_reasoning_effort={}", json!(effort))]);
        }
        if self.fast && is_safer {
            notes.push("the fast mode is off: the run before failed with it".to_owned());
        } else if self.fast && self.may_be_fast() {
            for setting in ["service_tier=\"fast\"", "features.fast_mode=true"] {
                args.extend(["-c".to_owned(), setting.to_owned()]);
            }
        } else if self.fast {
            let model = self.common.model.unwrap_or("the default model");
            notes.push(format!("the fast mode is off: {model} does not have it, {FAST_MODEL} has"));
        }
        flag(&mut args, NO_REPOSITORY);
        args.extend(extra.iter().cloned());
        if let Some(session) = session {
            args.extend(["resume".to_owned(), session.to_owned()]);
        }
        args.push("-".to_owned());
        args
    }
}

impl Adapter for Codex {
    fn kind(&self) -> &'static str {
        "codex_local"
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
        let choice = session::choose(setup, &cwd);
        let style = Style {
            instructions: Instructions::PrefixUnlessDelta,
            task_markdown: true,
            env_note: false,
            api_note: false,
            skills: true,
        };
        let prompt = cli::assemble(setup, &config.common, style, choice.session.is_some());
        let mut notes = prompt.notes;
        notes.extend(choice.remark);
        notes.extend(reads_too(setup, &config.common, &cwd));
        let mut args = tools(setup, &config.common);
        args.extend(config.args(choice.session, choice.is_safer, &mut notes));
        let mut command = cli::command(setup, &config.common, args, &[], prompt.text.into_bytes())?;
        command.notes.extend(notes);
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::gather(&mut Settings::open(setup.config));
        let cwd = cli::folder_of(setup);
        let choice = session::choose(setup, &cwd);
        let tz = config.common.env.get("TZ").or_else(|| setup.host.env.get("TZ"));
        let clock = Clock { started_at: setup.started_at, zone: clock::zone_of(tz.map(String::as_str)) };
        Box::new(CodexReader::new(&choice, &cwd, payer(&config.common), clock))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let config = Config::gather(&mut Settings::open(config));
        let mut checks = cli::environment_checks(&config.common, host, CHECKS);
        checks.push(login(&config.common.env, host));
        if config.fast && !config.may_be_fast() {
            checks.push(
                Check::new("codex_fast_mode_unsupported_model", Level::Warn, "the model has no fast mode")
                    .detail(config.common.model.unwrap_or("no model is configured"))
                    .hint(format!("set adapterConfig.model to {FAST_MODEL}, or switch fastMode off")),
            );
        }
        checks
    }
}

/// Codex reads the instructions of the repository that it works in by itself, beside those that the agent has.
fn reads_too(setup: &Setup<'_>, common: &ProgramSettings<'_>, cwd: &Path) -> Option<String> {
    let file = cwd.join("AGENTS.md");
    let own = common.instructions.map(|configured| cwd.join(configured));
    let is_read = !setup.host.is_elsewhere && own.is_some_and(|own| own != file) && file.is_file();
    is_read.then(|| format!("Codex also follows {}, beside the agent's own instructions", file.display()))
}

/// What tells Codex of Bugle's tools; it stands in front of the command. Codex hands its tool servers only the variables
/// that it is told to.
fn tools(setup: &Setup<'_>, common: &ProgramSettings<'_>) -> Vec<String> {
    use cli::mcp;
    if !mcp::is_told(setup, common) {
        return Vec::new();
    }
    let settings = [
        ("command", mcp::program(setup)),
        ("args", json!([mcp::COMMAND])),
        ("env_vars", json!(mcp::VARIABLES)),
    ];
    let flag =
        |(name, value): (&str, Value)| ["-c".to_owned(), format!("mcp_servers.{}.{name}={value}", mcp::NAME)];
    settings.into_iter().flat_map(flag).collect()
}

/// Whom a run's tokens are bought from, and how they are paid, as far as the agent's environment shows.
fn payer(common: &ProgramSettings<'_>) -> Usage {
    let has_key = api_key(&common.env).is_some();
    let biller = if openrouter::is_asked(&common.env) {
        openrouter::BILLER
    } else if has_key {
        "openai"
    } else {
        "chatgpt"
    };
    Usage {
        provider: Some("openai".to_owned()),
        biller: Some(biller.to_owned()),
        model: common.model.map(str::to_owned),
        billing_type: Some(if has_key { "api" } else { "subscription" }.to_owned()),
        ..Usage::default()
    }
}

fn set(env: &Declared, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.trim().is_empty())
}

/// The name of the variable that holds a key.
fn api_key(env: &Declared) -> Option<&'static str> {
    ["OPENAI_API_KEY", "CODEX_API_KEY"].into_iter().find(|name| set(env, name))
}

/// Whether the program could prove who it is; only looks for the file, never into it.
fn login(env: &Declared, host: &Host) -> Check {
    if let Some(name) = api_key(env) {
        return Check::new("codex_openai_api_key_present", Level::Info, "an API key is configured")
            .detail(name);
    }
    let variable =
        |name: &str| env.get(name).or_else(|| host.env.get(name)).filter(|value| !value.is_empty());
    let home: Option<PathBuf> = variable("CODEX_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(home).join(".codex")));
    match home.map(|home| home.join("auth.json")).filter(|file| file.is_file()) {
        Some(file) => Check::new("codex_native_auth_present", Level::Info, "Codex has a login of its own")
            .detail(file.display().to_string()),
        None => Check::new(
            "codex_openai_api_key_missing",
            Level::Warn,
            "neither an API key nor a login was found",
        )
        .hint("run `codex login` as the user of the server, or set OPENAI_API_KEY in adapterConfig.env"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments and notes.
    fn args(config: &Value, session: Option<&str>, is_safer: bool) -> (String, Vec<String>) {
        let mut notes = Vec::new();
        let args = Config::read(config).unwrap().args(session, is_safer, &mut notes);
        (args.join(" "), notes)
    }

    #[test]
    fn settings_become_arguments() {
        let rows = [
            (json!({}), "exec --json --skip-git-repo-check -"),
            (
                json!({ "model": " o3 ", "search": true }),
                "--search exec --json --model o3 --skip-git-repo-check -",
            ),
            (
                json!({ "dangerouslyBypassSandbox": true }),
                "exec --json --dangerously-bypass-approvals-and-sandbox --skip-git-repo-check -",
            ),
            (
                json!({ "modelReasoningEffort": "high", "reasoningEffort": "low" }),
                "exec --json -c model_reasoning_effort=\"high\" --skip-git-repo-check -",
            ),
            (
                json!({ "dangerouslyBypassApprovalsAndSandbox": false, "dangerouslyBypassSandbox": true }),
                "exec --json --skip-git-repo-check -",
            ),
            (
                json!({ "reasoningEffort": "a\"b" }),
                "exec --json -c model_reasoning_effort=\"a\\\"b\" --skip-git-repo-check -",
            ),
            (
                json!({ "fastMode": true, "model": "gpt-5.4" }),
                "exec --json --model gpt-5.4 -c service_tier=\"fast\" -c features.fast_mode=true \
                 --skip-git-repo-check -",
            ),
            (
                json!({ "extraArgs": ["--json", "--skip-git-repo-check", "-p", "x"], "args": ["ignored"] }),
                "exec --json --skip-git-repo-check -p x -",
            ),
        ];
        for (config, expected) in rows {
            assert_eq!(args(&config, None, false), (expected.to_owned(), vec![]), "{config}");
        }
        assert_eq!(args(&json!({}), Some("t-1"), false).0, "exec --json --skip-git-repo-check resume t-1 -");
    }

    #[test]
    fn the_fast_mode_is_left_out_with_a_note_where_it_does_not_work() {
        let slow = "exec --json --model o3 --skip-git-repo-check -";
        let (line, notes) = args(&json!({ "fastMode": true, "model": "o3" }), None, false);
        assert_eq!(
            (line.as_str(), notes),
            (slow, vec!["the fast mode is off: o3 does not have it, gpt-5.4 has".into()])
        );
        let (line, notes) = args(&json!({ "fastMode": true }), None, false);
        assert!(!line.contains("fast") && notes.len() == 1, "{line} {notes:?}");
        let (line, notes) = args(&json!({ "fastMode": true, "model": "gpt-5.4" }), None, true);
        assert!(!line.contains("fast") && notes.len() == 1, "{line} {notes:?}");
        let (line, notes) = args(&json!({ "fastMode": true, "model": "our-own" }), None, false);
        assert!(line.contains("features.fast_mode=true") && notes.is_empty(), "{line} {notes:?}");
    }

    #[test]
    fn the_environment_says_who_is_paid() {
        let rows = [
            (json!({}), "chatgpt", "subscription"),
            (json!({ "OPENAI_API_KEY": " " }), "chatgpt", "subscription"),
            (json!({ "OPENAI_API_KEY": "sk-1" }), "openai", "api"),
            (json!({ "CODEX_API_KEY": "sk-1" }), "openai", "api"),
            (
                json!({ "OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "https://openrouter.ai/api" }),
                "openrouter",
                "api",
            ),
            (json!({ "OPENROUTER_API_KEY": "or-1" }), "openrouter", "subscription"),
        ];
        for (env, biller, billing_type) in rows {
            let config = json!({ "env": env, "model": "o3" });
            let usage = payer(&Config::read(&config).unwrap().common);
            let expected = Usage {
                provider: Some("openai".into()),
                biller: Some(biller.into()),
                model: Some("o3".into()),
                billing_type: Some(billing_type.into()),
                ..Usage::default()
            };
            assert_eq!(usage, expected, "{env}");
        }
    }

    #[test]
    fn a_login_is_looked_for_where_the_program_would_look() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        let host = Host::from_env([("HOME", home.as_str())]);
        let code = |env: Value| login(&Config::read(&json!({ "env": env })).unwrap().common.env, &host).code;
        assert_eq!(code(json!({})), "codex_openai_api_key_missing");
        assert_eq!(code(json!({ "OPENAI_API_KEY": "sk-1" })), "codex_openai_api_key_present");
        std::fs::create_dir(folder.path().join(".codex")).unwrap();
        std::fs::write(folder.path().join(".codex/auth.json"), "{}").unwrap();
        assert_eq!(code(json!({})), "codex_native_auth_present");
        assert_eq!(code(json!({ "CODEX_HOME": "/nowhere" })), "codex_openai_api_key_missing");
        assert_eq!(code(json!({ "CODEX_HOME": format!("{home}/.codex") })), "codex_native_auth_present");
    }
}
