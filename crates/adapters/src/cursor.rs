//! Cursor's command line agent: `agent -p --output-format stream-json`, the prompt on stdin.
//!
//! **Experimental**: written from a description (spec/heartbeat.md 9.5) and never run against the program. Configuration:
//! what all command line agents share (`cli/config.rs`), `model` (`auto`, which is always sent) and `mode` (`plan` or
//! `ask`). No models are asked for: their list would hold a server up that waits for it.

mod reader;

use std::path::Path;

use domain::telling::Usage;
use serde_json::{Value, json};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Prompt, Style, openrouter, session};
use crate::env::{Declared, Host};
use crate::settings::{self, Settings};
use reader::CursorReader;

/// Runs Cursor's agent.
#[derive(Debug)]
pub(crate) struct Cursor;

const PROGRAM: &str = "agent";

const CODES: CheckCodes = CheckCodes {
    cwd_valid: "cursor_cwd_valid",
    cwd_invalid: "cursor_cwd_invalid",
    command_resolvable: "cursor_command_resolvable",
    command_unresolvable: "cursor_command_unresolvable",
};

const STYLE: Style = Style {
    instructions: Instructions::Prefix,
    task_markdown: true,
    env_note: true,
    api_note: true,
    skills: true,
};

#[derive(Debug)]
struct Config<'a> {
    common: ProgramSettings<'a>,
    model: &'a str,
    mode: Option<&'a str>,
}

impl<'a> Config<'a> {
    fn read(config: &'a Value) -> Result<Config<'a>, AdapterError> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, PROGRAM);
        let mode = settings.text("mode").map(str::trim);
        let model = common.model.unwrap_or("auto");
        settings.done(Some(Config { common, model, mode }))
    }

    fn args(&self, cwd: &str, session: Option<&str>, notes: &mut Vec<String>) -> Vec<String> {
        let mut args: Vec<String> = ["-p", "--output-format", "stream-json", "--workspace", cwd]
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect();
        let mode = self.mode.filter(|mode| matches!(*mode, "plan" | "ask"));
        if let Some(unknown) = self.mode.filter(|_| mode.is_none()) {
            notes.push(format!("the mode `{unknown}` is left out: Cursor's agent knows plan and ask"));
        }
        for (flag, value) in [("--resume", session), ("--model", Some(self.model)), ("--mode", mode)] {
            args.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        if !trusts(&self.common.extra_args) {
            args.push("--yolo".to_owned());
        }
        args.extend(self.common.extra_args.iter().cloned());
        args
    }
}

/// The agent's own arguments say already what it may do unasked.
fn trusts(extra: &[String]) -> bool {
    extra.iter().any(|arg| matches!(arg.as_str(), "--trust" | "--yolo" | "-f") || arg.starts_with("--trust="))
}

impl Adapter for Cursor {
    fn kind(&self) -> &'static str {
        "cursor"
    }

    fn has_terminal_event(&self) -> bool {
        true
    }

    fn is_repeatable(&self, _config: &Value) -> bool {
        true
    }

    fn is_experimental(&self) -> bool {
        true
    }

    fn check(&self, config: &Value) -> Vec<Problem> {
        settings::problems(config, Config::read(config))
    }

    fn command(&self, setup: &Setup<'_>) -> Result<Command, AdapterError> {
        let config = Config::read(setup.config)?;
        let cwd = config.common.folder(setup)?;
        let resume = session::resume(setup, &cwd);
        let Prompt { text, mut notes } =
            cli::assemble(setup, &config.common, STYLE, resume.session.is_some());
        notes.extend(resume.note);
        let args = config.args(&cwd.to_string_lossy(), resume.session, &mut notes);
        let mut command = cli::command(setup, &config.common, args, &[], text.into_bytes())?;
        command.notes.extend(notes);
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::read(setup.config).ok();
        let folder = cli::folder_of(setup);
        let asked = session::resume(setup, &folder).session;
        let note = json!({ "cwd": folder.to_string_lossy() });
        let payer = config.map_or_else(Usage::default, |config| payer(config.model, &config.common.env));
        Box::new(CursorReader::new(asked, note, payer, setup.started_at))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let common = ProgramSettings::read(&mut Settings::open(config), PROGRAM);
        let mut checks = cli::environment_checks(&common, host, CODES);
        checks.push(login(&common.env, host));
        checks
    }
}

/// How the program will prove who it is.
fn login(env: &Declared, host: &Host) -> Check {
    if api_key(env) {
        return Check::new("cursor_api_key_present", Level::Info, "an API key is configured");
    }
    let home = env.get("HOME").or_else(|| host.env.get("HOME")).filter(|home| !home.is_empty());
    let settings = home.map(|home| Path::new(home).join(".cursor").join("cli-config.json"));
    match settings.filter(|file| has_login(file)) {
        Some(file) => Check::new("cursor_native_auth_present", Level::Info, "Cursor has a login of its own")
            .detail(file.display().to_string()),
        None => Check::new("cursor_api_key_missing", Level::Warn, "neither an API key nor a login was found")
            .hint("log the program in as the user of the server, or set CURSOR_API_KEY in adapterConfig.env"),
    }
}

/// The settings are there before anybody logged in, so the part that a login writes is looked for; nothing of it is kept.
fn has_login(settings: &Path) -> bool {
    /// Settings are written by hand; nothing longer is one.
    const LONGEST: u64 = 1024 * 1024;
    let is_one = settings.metadata().is_ok_and(|file| file.is_file() && file.len() <= LONGEST);
    let read = || serde_json::from_slice::<Value>(&std::fs::read(settings).ok()?).ok();
    let found = if is_one { read() } else { None };
    found.is_some_and(|it| it["authInfo"].as_object().is_some_and(|login| !login.is_empty()))
}

fn set(env: &Declared, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.trim().is_empty())
}

fn api_key(env: &Declared) -> bool {
    set(env, "CURSOR_API_KEY") || set(env, "OPENAI_API_KEY")
}

/// Whom a run's tokens are bought from, as far as the model's name and the environment show.
fn payer(model: &str, env: &Declared) -> Usage {
    let provider = match model.split_once('/') {
        Some((provider, _)) => Some(provider),
        None if model.contains("sonnet") || model.contains("claude") || model.contains("opus") => {
            Some("anthropic")
        }
        None if model.starts_with("gpt") => Some("openai"),
        // `o3` and its like, and not every word with an o in front.
        None if model
            .strip_prefix('o')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) =>
        {
            Some("openai")
        }
        None => None,
    };
    let has_key = api_key(env);
    let biller = if openrouter::is_asked(env) {
        openrouter::BILLER
    } else if has_key {
        provider.unwrap_or("cursor")
    } else {
        "cursor"
    };
    Usage {
        provider: provider.map(str::to_owned),
        biller: Some(biller.to_owned()),
        model: Some(model.to_owned()),
        billing_type: Some(if has_key { "api" } else { "subscription" }.to_owned()),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_arguments() {
        let rows = [
            (json!({}), None, "--model auto --yolo", 0),
            (
                json!({ "model": "gpt-5", "mode": "plan" }),
                Some("c-1"),
                "--resume c-1 --model gpt-5 --mode plan --yolo",
                0,
            ),
            (json!({ "mode": "agent" }), None, "--model auto --yolo", 1),
            (json!({ "extraArgs": ["--trust=all"] }), None, "--model auto --trust=all", 0),
            (json!({ "args": ["-f", "x"] }), None, "--model auto -f x", 0),
        ];
        for (config, session, expected, remarks) in rows {
            let mut notes = Vec::new();
            let args = Config::read(&config).unwrap().args("/w", session, &mut notes).join(" ");
            let expected = format!("-p --output-format stream-json --workspace /w {expected}");
            assert_eq!((args, notes.len()), (expected, remarks), "{config}");
        }
    }

    #[test]
    fn a_login_of_its_own_is_found_in_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::from_env([("HOME", folder.path())]);
        let code = |env: Value| login(&Config::read(&json!({ "env": env })).unwrap().common.env, &host).code;
        assert_eq!(code(json!({})), "cursor_api_key_missing");
        let settings = folder.path().join(".cursor").join("cli-config.json");
        std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
        for (text, expected) in [
            ("{}", "cursor_api_key_missing"),
            ("[]", "cursor_api_key_missing"),
            ("no JSON", "cursor_api_key_missing"),
            (r#"{"authInfo":null}"#, "cursor_api_key_missing"),
            (r#"{"authInfo":{}}"#, "cursor_api_key_missing"),
            (r#"{"authInfo":{"email":"ada@example.org"}}"#, "cursor_native_auth_present"),
        ] {
            std::fs::write(&settings, text).unwrap();
            assert_eq!(code(json!({})), expected, "{text}");
        }
        assert_eq!(code(json!({ "CURSOR_API_KEY": "key-of-cursor" })), "cursor_api_key_present");
        assert_eq!(code(json!({ "HOME": "/nowhere" })), "cursor_api_key_missing");
    }

    #[test]
    fn the_models_name_tells_the_provider_where_it_can() {
        let of = |model: &str, env: Value| {
            let config = json!({ "model": model, "env": env });
            let config = Config::read(&config).unwrap();
            let usage = payer(config.model, &config.common.env);
            (
                usage.provider.unwrap_or_default(),
                usage.biller.unwrap_or_default(),
                usage.billing_type.unwrap_or_default(),
            )
        };
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(of("auto", json!({})), row("", "cursor", "subscription"));
        assert_eq!(
            of("sonnet-4.5", json!({ "CURSOR_API_KEY": "k-12345678" })),
            row("anthropic", "anthropic", "api")
        );
        assert_eq!(of("o3", json!({})), row("openai", "cursor", "subscription"));
        assert_eq!(of("opus-4", json!({})), row("anthropic", "cursor", "subscription"));
        assert_eq!(
            of("x/y", json!({ "OPENROUTER_API_KEY": "k-12345678" })),
            row("x", "openrouter", "subscription")
        );
    }
}
