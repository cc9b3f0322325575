//! The scripted agent: a real program without a model, that does what a script says, for tests, demos and drills.
//!
//! This file is its adapter. Configuration: `script` (text, or a JSON list of steps) or `file`, `args`, `cwd`, `env`,
//! `speak` (`plain`), `timeoutSec`, `graceSec`. The language is described in `scripted/script.rs`; the program that
//! plays it is `scripted/program.rs`.

mod effects;
mod output;
mod parse;
mod play;
pub(crate) mod program;
mod script;
mod speech;
pub(crate) mod system;
mod voice;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli;
use crate::env::{self, Declared, Host};
use crate::settings::{self, Settings};
use speech::Speech;

/// Plays a script.
#[derive(Debug)]
pub(crate) struct Scripted;

/// Where the script comes from.
#[derive(Debug)]
enum Origin<'a> {
    Inline(String),
    File(&'a Path),
}

#[derive(Debug)]
struct Config<'a> {
    origin: Origin<'a>,
    args: Vec<String>,
    cwd: Option<&'a Path>,
    env: Declared,
    speech: Speech,
    wall: Option<Duration>,
    grace: Duration,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let file = settings.text("file").map(Path::new);
        let origin = match (settings.get("script"), file) {
            (Some(_), Some(_)) => {
                settings.mistake(
                    "file",
                    "must not be given together with script",
                    Some("remove one of the two"),
                );
                None
            }
            (None, Some(file)) => Some(Origin::File(file)),
            (Some(script), None) => inline(&mut settings, script).map(Origin::Inline),
            (None, None) => {
                if settings.get("file").is_none_or(Value::is_string) {
                    settings.mistake("script", "is missing", Some("give a script, or a file that holds one"));
                }
                None
            }
        };
        let speech = settings.text("speak").map_or(Some(Speech::Plain), Speech::parse);
        let speech = match speech.filter(|speech| Speech::READ.contains(&speech.name())) {
            Some(speech) => speech,
            None => {
                let hint = "one that speaks acp is driven by an agent of the type acp, with `bugle scripted` as command";
                let words = format!("must be one of: {}", Speech::READ.join(", "));
                settings.mistake("speak", words, Some(hint));
                Speech::Plain
            }
        };
        let (args, cwd, env) = (settings.texts("args"), settings.cwd(), env::declared(&mut settings));
        let (wall, grace) = (settings.wall(), settings.grace());
        settings.done(origin.map(|origin| Config { origin, args, cwd, env, speech, wall, grace }))
    }
}

/// Reads an inline script and makes sure that it can be played.
fn inline(settings: &mut Settings<'_>, script: &Value) -> Option<String> {
    let text = match script {
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) => parse::from_json(script),
        other => {
            settings.wrong_type("script", "a text or a list of steps", other);
            return None;
        }
    };
    match text.and_then(|text| parse::parse(&text).map(|_| text)) {
        Ok(text) => Some(text),
        Err(error) => {
            settings.mistake("script", error.to_string(), Some("`bugle scripted --steps` lists the steps"));
            None
        }
    }
}

impl Adapter for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn has_terminal_event(&self) -> bool {
        true
    }

    /// It is this program itself, which is here.
    fn travels(&self) -> bool {
        false
    }

    fn is_repeatable(&self, _config: &Value) -> bool {
        true
    }

    fn check(&self, config: &Value) -> Vec<Problem> {
        settings::problems(config, Config::read(config))
    }

    fn command(&self, setup: &Setup<'_>) -> Result<Command, AdapterError> {
        let config = Config::read(setup.config)?;
        let cwd = settings::folder(cli::place(setup, config.cwd).as_deref(), setup.default_cwd)?;
        let environment = env::for_run(setup, &config.env);
        let (file, stdin) = match config.origin {
            Origin::File(file) => (file.to_string_lossy().into_owned(), Vec::new()),
            Origin::Inline(text) => ("-".to_owned(), text.into_bytes()),
        };
        let program = setup.program.to_string_lossy().into_owned();
        let mut argv = vec![program, program::SCRIPTED.to_owned(), file];
        argv.extend(["--speak".to_owned(), config.speech.name().to_owned()]);
        if let Some(session) = setup.session {
            argv.extend(["--resume".to_owned(), session.to_owned()]);
        }
        if !config.args.is_empty() {
            argv.push("--".to_owned());
            argv.extend(config.args);
        }
        Ok(Command {
            argv,
            cwd,
            env: environment.vars.into_iter().collect(),
            stdin,
            keep_stdin_open: false,
            secrets: environment.secrets,
            grace: config.grace,
            wall: config.wall,
            notes: environment.notes,
            in_files: environment.in_files,
        })
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let speech = setup.config.get("speak").and_then(Value::as_str).and_then(Speech::parse);
        speech.unwrap_or(Speech::Plain).reader(setup)
    }

    fn test_environment(&self, config: &Value, _host: &Host) -> Vec<Check> {
        let config = match Config::read(config) {
            Ok(config) => config,
            Err(error) => {
                let check =
                    Check::new("scripted_script_invalid", Level::Error, "the script cannot be played");
                return vec![check.detail(format!("failed to {error}"))];
            }
        };
        let mut checks = Vec::new();
        if let Some(cwd) = config.cwd {
            checks.push(
                if cwd.is_dir() {
                    Check::new("scripted_cwd_valid", Level::Info, "the working folder exists")
                } else {
                    Check::new("scripted_cwd_invalid", Level::Error, "the working folder does not exist")
                        .hint("create it, or change adapterConfig.cwd")
                }
                .detail(cwd.to_string_lossy()),
            );
        }
        let read = match (&config.origin, config.cwd) {
            (Origin::Inline(_), _) => Ok(()),
            (Origin::File(file), None) if file.is_relative() => {
                Err(format!("`{}` lies in the agent's own folder, which is not known here", file.display()))
            }
            (Origin::File(file), cwd) => {
                let file: PathBuf = cwd.unwrap_or(Path::new("/")).join(file);
                program::load(&file).map(|_| ()).map_err(|error| format!("failed to {error}"))
            }
        };
        checks.push(match read {
            Ok(()) => Check::new("scripted_script_valid", Level::Info, "the script can be played"),
            Err(detail) => Check::new("scripted_script_invalid", Level::Error, "the script cannot be played")
                .detail(detail),
        });
        checks
    }
}
