//! The plainest agent: any command. Its exit decides, its output is only output.
//!
//! Configuration: `command`, `args`, `cwd`, `env`, `timeoutSec` (0 = none), `graceSec`. No shell is put in between, and
//! stdin is closed at once. What it is told about the run arrives in its environment, or in files where that is too large,
//! and it works in the run's workspace.

use std::path::Path;
use std::time::Duration;

use domain::telling::AgentEvent;
use serde_json::Value;

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup, Source};
use crate::cli;
use crate::env::{self, Declared, Host};
use crate::executable::{self, Unresolved};
use crate::settings::{self, Settings};

/// Runs a command.
#[derive(Debug)]
pub(crate) struct Process;

#[derive(Debug)]
struct Config<'a> {
    command: &'a str,
    args: Vec<String>,
    cwd: Option<&'a Path>,
    env: Declared,
    wall: Option<Duration>,
    grace: Duration,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let command = settings.text("command").map(str::trim);
        if command.is_none() && settings.get("command").is_none_or(Value::is_string) {
            settings.mistake(
                "command",
                "is missing",
                Some("name the program to run, for example \"/usr/bin/true\""),
            );
        }
        let (args, cwd, env) = (settings.texts("args"), settings.cwd(), env::declared(&mut settings));
        let (wall, grace) = (settings.wall(), settings.grace());
        settings.done(command.map(|command| Config { command, args, cwd, env, wall, grace }))
    }
}

impl Adapter for Process {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn has_terminal_event(&self) -> bool {
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
        // A command hears of its step in no other way.
        let of_step = |it: &&(String, usize)| it.0.starts_with("BUGLE_NODE_");
        if let Some((variable, bytes)) = environment.left_out.iter().find(of_step) {
            return Err(AdapterError::DoesNotFit { variable: variable.clone(), bytes: *bytes });
        }
        let path = environment.vars.get("PATH").map_or("", String::as_str);
        let program = executable::find_on(setup.host, config.command, path, &cwd)?;
        let mut argv = Vec::with_capacity(1 + config.args.len());
        argv.push(program);
        argv.extend(config.args);
        Ok(Command {
            argv,
            cwd,
            env: environment.vars.into_iter().collect(),
            stdin: Vec::new(),
            keep_stdin_open: false,
            secrets: environment.secrets,
            grace: config.grace,
            wall: config.wall,
            notes: environment.notes,
            in_files: environment.in_files,
        })
    }

    fn reader(&self, _setup: &Setup<'_>) -> Box<dyn Reader> {
        Box::new(Deaf)
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut settings = Settings::open(config);
        let (command, cwd) = (settings.text("command").map(str::trim), settings.cwd());
        let declared = env::declared(&mut settings);
        checks.push(match command {
            Some(command) => {
                Check::new("process_command_present", Level::Info, "a command is configured").detail(command)
            }
            None => Check::new("process_command_missing", Level::Error, "no command is configured")
                .hint("set adapterConfig.command to the program to run"),
        });
        let named = settings.text("cwd");
        checks.extend(match (named, cwd) {
            (None, _) => None,
            (Some(named), Some(cwd)) if cwd.is_dir() => {
                Some(Check::new("process_cwd_valid", Level::Info, "the working folder exists").detail(named))
            }
            (Some(named), _) => Some(
                Check::new(
                    "process_cwd_invalid",
                    Level::Error,
                    "the working folder is not an absolute, existing folder",
                )
                .detail(named)
                .hint("create it, or change adapterConfig.cwd"),
            ),
        });
        if let Some(command) = command {
            let path = declared.get("PATH").map_or(host.path(), String::as_str);
            checks.push(match cwd {
                None if command.contains('/') && !command.starts_with('/') => Check::new(
                    "process_command_unresolvable",
                    Level::Warn,
                    "the command lies in the agent's own folder",
                )
                .detail(command)
                .hint("give an absolute path, or set adapterConfig.cwd"),
                // Without a folder only an empty entry of PATH would need one, and that is nobody's intention.
                _ => match executable::find(command, path, cwd.unwrap_or(Path::new("/"))) {
                    Ok(found) => {
                        Check::new("process_command_resolvable", Level::Info, "the command can be run")
                            .detail(found)
                    }
                    Err(unresolved) => unresolvable(unresolved),
                },
            });
        }
        checks
    }
}

fn unresolvable(unresolved: Unresolved) -> Check {
    let error = AdapterError::from(unresolved);
    let check = Check::new("process_command_unresolvable", Level::Error, "the command cannot be run");
    let check = check.detail(format!("failed to {error}"));
    match error.hint() {
        Some(hint) => check.hint(hint),
        None => check,
    }
}

/// Reads nothing out of the output.
#[derive(Debug)]
struct Deaf;

impl Reader for Deaf {
    fn line(&mut self, _stream: Source, _line: &[u8]) -> Vec<AgentEvent> {
        Vec::new()
    }

    fn is_listening(&self) -> bool {
        false
    }
}
