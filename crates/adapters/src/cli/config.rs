//! The settings that all command line agents share (spec/heartbeat.md 9.3), and the command that comes of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::mcp;
use crate::adapter::{AdapterError, Check, Command, Level, Setup};
use crate::env::{self, Declared, Host};
use crate::executable;
use crate::settings::{self, Settings};

/// Default of `graceSec`: these programs write their session down when they are asked to end.
const GRACE: Duration = Duration::from_secs(20);

/// The longest argument that the system takes, without its end mark.
pub(crate) const LONGEST_ARGUMENT: usize = 128 * 1024 - 1;

/// What every command line agent reads from its `adapterConfig`.
#[derive(Debug)]
pub(crate) struct ProgramSettings<'a> {
    pub(crate) command: &'a str,
    pub(crate) cwd: Option<&'a Path>,
    pub(crate) env: Declared,
    /// `promptTemplate`, `bootstrapPromptTemplate`.
    pub(crate) template: Option<&'a str>,
    pub(crate) bootstrap: Option<&'a str>,
    /// `instructionsFilePath`.
    pub(crate) instructions: Option<&'a Path>,
    pub(crate) model: Option<&'a str>,
    /// `extraArgs` when there are any, else `args`.
    pub(crate) extra_args: Vec<String>,
    pub(crate) wall: Option<Duration>,
    pub(crate) grace: Duration,
    /// The program is told of Bugle's tools.
    pub(crate) mcp: bool,
}

impl<'a> ProgramSettings<'a> {
    pub(crate) fn read(settings: &mut Settings<'a>, default_command: &'a str) -> ProgramSettings<'a> {
        let (extra, plain) = (settings.texts("extraArgs"), settings.texts("args"));
        ProgramSettings {
            command: settings.text("command").map_or(default_command, str::trim),
            cwd: settings.cwd(),
            env: env::declared(settings),
            template: settings.text("promptTemplate"),
            bootstrap: settings.text("bootstrapPromptTemplate"),
            instructions: settings.text("instructionsFilePath").map(Path::new),
            model: settings.text("model").map(str::trim),
            extra_args: if extra.is_empty() { plain } else { extra },
            wall: settings.wall(),
            grace: settings
                .span("graceSec", Duration::from_secs(1))
                .unwrap_or(GRACE)
                .max(Duration::from_secs(1)),
            mcp: settings.boolean("mcp").unwrap_or(false),
        }
    }

    /// Where the agent works; it must be there.
    pub(crate) fn folder(&self, setup: &Setup<'_>) -> Result<PathBuf, AdapterError> {
        let place = place(setup, self.cwd);
        settings::folder(place.as_deref(), setup.default_cwd)
    }
}

/// Where the process of a run works, or worked: a reader is also made for a run whose folder is gone by now, or whose
/// agent was configured anew, and must read the same as before.
pub fn folder_of(setup: &Setup<'_>) -> PathBuf {
    place(setup, Settings::open(setup.config).cwd()).unwrap_or_else(|| setup.default_cwd.to_owned())
}

/// The workspace of the run; a configured folder wins over the agent's own home only. `None`: the folder that the
/// caller made, as it is on another machine, whose folders cannot be looked at.
pub(crate) fn place(setup: &Setup<'_>, configured: Option<&Path>) -> Option<PathBuf> {
    if setup.host.is_elsewhere {
        return None;
    }
    let workspace = setup.context.get("paperclipWorkspace").unwrap_or(&Value::Null);
    let is_home = workspace.get("source").and_then(Value::as_str) == Some("agent_home");
    let folder = env::non_blank(workspace.get("cwd")).filter(|_| !(is_home && configured.is_some()));
    folder.map(PathBuf::from).or_else(|| configured.map(Path::to_owned))
}

/// Puts the command together: the program is looked for in the PATH that it will run with. `forced` variables win over
/// the configured ones; `stdin` is written and closed.
pub(crate) fn command(
    setup: &Setup<'_>,
    common: &ProgramSettings<'_>,
    args: Vec<String>,
    forced: &[(&str, String)],
    stdin: Vec<u8>,
) -> Result<Command, AdapterError> {
    let cwd = common.folder(setup)?;
    let mut environment = env::for_run(setup, &common.env);
    for (name, value) in forced {
        environment.vars.insert((*name).to_owned(), value.clone());
    }
    let path = environment.vars.get("PATH").map_or("", String::as_str);
    let mut argv = Vec::with_capacity(1 + args.len());
    argv.push(executable::find_on(setup.host, common.command, path, &cwd)?);
    argv.extend(args);
    Ok(Command {
        argv,
        cwd,
        env: environment.vars.into_iter().collect(),
        stdin,
        keep_stdin_open: false,
        secrets: environment.secrets,
        grace: common.grace,
        wall: common.wall,
        notes: environment.notes.into_iter().chain(mcp::not_there(setup, common)).collect(),
        in_files: environment.in_files,
    })
}

/// The codes of one adapter's checks of folder and command (spec/heartbeat.md 9.6).
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckCodes {
    pub(crate) cwd_valid: &'static str,
    pub(crate) cwd_invalid: &'static str,
    pub(crate) command_resolvable: &'static str,
    pub(crate) command_unresolvable: &'static str,
}

/// Whether folder and program are there.
pub(crate) fn environment_checks(common: &ProgramSettings<'_>, host: &Host, codes: CheckCodes) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(cwd) = common.cwd {
        checks.push(if cwd.is_dir() {
            Check::new(codes.cwd_valid, Level::Info, "the working folder exists")
                .detail(cwd.display().to_string())
        } else {
            Check::new(codes.cwd_invalid, Level::Error, "the working folder does not exist")
                .detail(cwd.display().to_string())
                .hint("create it, or change adapterConfig.cwd")
        });
    }
    let path = common.env.get("PATH").map_or(host.path(), String::as_str);
    checks.push(match executable::find(common.command, path, common.cwd.unwrap_or(Path::new("/"))) {
        Ok(found) => {
            Check::new(codes.command_resolvable, Level::Info, "the command can be run").detail(found)
        }
        Err(unresolved) => {
            let error = AdapterError::from(unresolved);
            let check = Check::new(codes.command_unresolvable, Level::Error, "the command cannot be run")
                .detail(format!("failed to {error}"));
            match error.hint() {
                Some(hint) => check.hint(hint),
                None => check,
            }
        }
    });
    checks
}
