//! Hermes: `hermes chat -q PROMPT`, plain text out.
//!
//! **Experimental**: written from a description (spec/heartbeat.md 9.5) and never run against the program. Configuration:
//! what all command line agents share (`cli/config.rs`; `hermesCommand` is another name of `command`), `provider`,
//! `toolsets` (also `enabledToolsets`), `quiet` (true), `persistSession` (true), `worktreeMode`, `checkpoints`, `verbose`.
//!
//! The program takes its prompt as an argument: it can be read in lists of processes, and one that does not fit is
//! refused before the start. It has no terminal event, so its exit decides; what it prints on stderr never does.

mod reader;

use std::time::Duration;

use domain::telling::Usage;
use serde_json::{Value, json};

use crate::adapter::{Adapter, AdapterError, Check, Command, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, LONGEST_ARGUMENT, ProgramSettings, Prompt, Style, session};
use crate::env::Host;
use crate::settings::{self, Settings};
use reader::HermesReader;

/// Runs Hermes.
#[derive(Debug)]
pub(crate) struct Hermes;

const PROGRAM: &str = "hermes";
/// Its own defaults; 0 counts as not said.
const WALL: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(10);

const CODES: CheckCodes = CheckCodes {
    cwd_valid: "hermes_cwd_valid",
    cwd_invalid: "hermes_cwd_invalid",
    command_resolvable: "hermes_command_resolvable",
    command_unresolvable: "hermes_command_unresolvable",
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
    provider: Option<&'a str>,
    toolsets: Option<String>,
    quiet: bool,
    persists: bool,
    worktree: bool,
    checkpoints: bool,
    verbose: bool,
}

impl<'a> Config<'a> {
    /// Reads what can be read; mistakes stay in `settings`.
    fn gather(settings: &mut Settings<'a>) -> Config<'a> {
        let own = settings.text("hermesCommand").map(str::trim);
        let mut common = ProgramSettings::read(settings, PROGRAM);
        if common.command == PROGRAM {
            common.command = own.unwrap_or(PROGRAM);
        }
        common.wall = Some(common.wall.unwrap_or(WALL));
        if settings.get("graceSec").and_then(Value::as_f64).is_none_or(|grace| grace == 0.0) {
            common.grace = GRACE;
        }
        let toolsets = match settings.get("toolsets").or_else(|| settings.get("enabledToolsets")) {
            Some(Value::Array(_)) => {
                let key = if settings.get("toolsets").is_some() { "toolsets" } else { "enabledToolsets" };
                Some(settings.texts(key).join(","))
            }
            _ => settings.text("toolsets").or_else(|| settings.text("enabledToolsets")).map(str::to_owned),
        };
        Config {
            provider: settings.text("provider").map(str::trim),
            toolsets: toolsets.filter(|names| !names.trim().is_empty()),
            quiet: settings.boolean("quiet").unwrap_or(true),
            persists: settings.boolean("persistSession").unwrap_or(true),
            worktree: settings.boolean("worktreeMode").unwrap_or(false),
            checkpoints: settings.boolean("checkpoints").unwrap_or(false),
            verbose: settings.boolean("verbose").unwrap_or(false),
            common,
        }
    }

    fn read(config: &'a Value) -> Result<Config<'a>, AdapterError> {
        let mut settings = Settings::open(config);
        let read = Config::gather(&mut settings);
        settings.done(Some(read))
    }

    fn args(&self, prompt: &str, session: Option<&str>) -> Vec<String> {
        let mut args = vec!["chat".to_owned(), "-q".to_owned(), prompt.to_owned()];
        let flag = |args: &mut Vec<String>, is_set: bool, flag: &str| {
            if is_set {
                args.push(flag.to_owned());
            }
        };
        flag(&mut args, self.quiet, "-Q");
        let options =
            [("-m", self.common.model), ("--provider", self.provider), ("-t", self.toolsets.as_deref())];
        for (name, value) in options {
            args.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_owned()]));
        }
        flag(&mut args, self.worktree, "-w");
        flag(&mut args, self.checkpoints, "--checkpoints");
        flag(&mut args, self.verbose, "-v");
        args.extend(["--source".to_owned(), "tool".to_owned()]);
        if let Some(session) = session {
            args.extend(["--resume".to_owned(), session.to_owned()]);
        }
        args.extend(self.common.extra_args.iter().cloned());
        args
    }
}

impl Adapter for Hermes {
    fn kind(&self) -> &'static str {
        "hermes_local"
    }

    fn has_terminal_event(&self) -> bool {
        false
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
        let asked = resume.session.filter(|_| config.persists);
        let Prompt { text, notes } = cli::assemble(setup, &config.common, STYLE, asked.is_some());
        if text.len() > LONGEST_ARGUMENT {
            return Err(AdapterError::Config(vec![Problem {
                path: "adapterConfig.promptTemplate".to_owned(),
                message: format!(
                    "makes a prompt of {} bytes, and Hermes takes one of at most {LONGEST_ARGUMENT}",
                    text.len()
                ),
                hint: Some("shorten the instructions, or have the agent read them from a file".to_owned()),
            }]));
        }
        let args = config.args(&text, asked);
        let mut command = cli::command(setup, &config.common, args, &[], Vec::new())?;
        command.notes.extend(resume.note.into_iter().chain(notes));
        command.notes.push("the prompt is an argument: whoever may list processes can read it".to_owned());
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let mut settings = Settings::open(setup.config);
        let config = Config::gather(&mut settings);
        let folder = cli::folder_of(setup);
        let payer = Usage {
            provider: config.provider.map(str::to_owned),
            model: config.common.model.map(str::to_owned),
            ..Usage::default()
        };
        let note = config.persists.then(|| json!({ "cwd": folder.to_string_lossy() }));
        Box::new(HermesReader::new(note, payer))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let common = Config::gather(&mut Settings::open(config)).common;
        cli::environment_checks(&common, host, CODES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_arguments() {
        let rows = [
            (json!({}), None, "chat -q do it -Q --source tool"),
            (
                json!({ "model": "m", "provider": "nous", "toolsets": ["web", "file"], "quiet": false, "verbose": true }),
                Some("h-1"),
                "chat -q do it -m m --provider nous -t web,file -v --source tool --resume h-1",
            ),
            (
                json!({ "enabledToolsets": "web", "worktreeMode": true, "checkpoints": true, "extraArgs": ["-x"] }),
                None,
                "chat -q do it -Q -t web -w --checkpoints --source tool -x",
            ),
        ];
        for (config, session, expected) in rows {
            assert_eq!(Config::read(&config).unwrap().args("do it", session).join(" "), expected, "{config}");
        }
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_refused_before_the_start() {
        let config = json!({ "command": "/bin/true", "promptTemplate": "x".repeat(LONGEST_ARGUMENT + 1) });
        let (context, host, folder) = (json!({}), Host::default(), std::env::temp_dir());
        let setup = Setup {
            run_id: "r",
            company_id: "c",
            agent_id: "a",
            agent_name: "Ada",
            task_key: None,
            config: &config,
            context: &context,
            wake_reason: None,
            session: None,
            session_note: None,
            started_at: domain::moment::Moment::from_micros(0),
            api_url: "",
            api_key: None,
            program: std::path::Path::new("/bugle"),
            default_cwd: &folder,
            host: &host,
        };
        let Err(AdapterError::Config(problems)) = Hermes.command(&setup) else { panic!("it fits") };
        assert_eq!(problems[0].path, "adapterConfig.promptTemplate");
    }

    #[test]
    fn its_limits_are_its_own_and_zero_means_the_default() {
        let limits = |config: Value| {
            let config = Config::read(&config).unwrap();
            (config.common.wall, config.common.grace, config.common.command.to_owned())
        };
        let hermes = || PROGRAM.to_owned();
        assert_eq!(limits(json!({})), (Some(WALL), GRACE, hermes()));
        assert_eq!(limits(json!({ "timeoutSec": 0, "graceSec": 0 })), (Some(WALL), GRACE, hermes()));
        let set = json!({ "timeoutSec": 9, "graceSec": 3, "hermesCommand": "/opt/h" });
        assert_eq!(limits(set), (Some(Duration::from_secs(9)), Duration::from_secs(3), "/opt/h".to_owned()));
        assert_eq!(limits(json!({ "command": "/a", "hermesCommand": "/b" })).2, "/a");
    }
}
