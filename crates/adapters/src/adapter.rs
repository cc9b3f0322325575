//! What every kind of agent answers: which command a run needs, what its lines mean, whether a configuration is sound.
//!
//! Only descriptions pass through here. Nothing in this file or in an implementation starts a process that does a run's
//! work; `test_environment` may look at files and ask an endpoint whether it is there, and that is all.

use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::moment::Moment;
use domain::telling::AgentEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::account::{self, Account};
use crate::env::Host;

/// One kind of agent.
pub trait Adapter: Send + Sync + Debug {
    /// The machine string, `adapterType` on the wire.
    fn kind(&self) -> &'static str;

    /// The program says when it is done; without such a saying the exit decides.
    fn has_terminal_event(&self) -> bool;

    /// The same run may be started again after its process was lost without a trace.
    fn is_repeatable(&self, config: &Value) -> bool;

    /// It was never run against the program that it is for; people are told.
    fn is_experimental(&self) -> bool {
        false
    }

    /// Its command can be run on a machine that is not the server's.
    fn travels(&self) -> bool {
        true
    }

    /// Looks for mistakes in an `adapterConfig`; called when an agent is saved. Touches nothing outside its argument.
    fn check(&self, config: &Value) -> Vec<Problem>;

    /// Describes the command of one run.
    fn command(&self, setup: &Setup<'_>) -> Result<Command, AdapterError>;

    /// Returns a fresh reader for the lines of one process.
    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader>;

    /// Looks whether a run could start on this machine. May take seconds (an endpoint that does not answer), so async
    /// callers move it to a blocking thread.
    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check>;

    /// The account that an agent with this configuration uses; `None`: it has none that is known.
    fn account(&self, config: &Value, host: &Host) -> Option<Account> {
        account::of(self.kind(), config, host)
    }
}

/// Everything an adapter may look at to describe one run.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    pub run_id: &'a str,
    pub company_id: &'a str,
    pub agent_id: &'a str,
    pub agent_name: &'a str,
    pub task_key: Option<&'a str>,
    /// The agent's `adapterConfig`.
    pub config: &'a Value,
    /// The run's context snapshot.
    pub context: &'a Value,
    pub wake_reason: Option<&'a str>,
    /// The session to resume.
    pub session: Option<&'a str>,
    /// What the reader of the run before noted about that session ([`AgentEvent::SessionNote`]); the same for as long as
    /// the run lasts.
    pub session_note: Option<&'a Value>,
    /// When the run started; the same whenever its lines are read again.
    pub started_at: Moment,
    pub api_url: &'a str,
    /// What the process proves itself with at the API: it speaks for the run, while that runs.
    pub api_key: Option<&'a str>,
    /// The `bugle` executable, `/proc/self/exe` resolved.
    pub program: &'a Path,
    /// Where the agent works when its configuration names no folder; absolute, made by the caller.
    pub default_cwd: &'a Path,
    pub host: &'a Host,
}

/// A described command: all that a process is started with, nothing is inherited.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The program (a resolved path where it was found) and its arguments.
    pub argv: Vec<String>,
    /// Absolute.
    pub cwd: PathBuf,
    /// The whole environment of the child, sorted by name.
    pub env: Vec<(String, String)>,
    /// Written to the child's stdin.
    pub stdin: Vec<u8>,
    /// Stdin stays open after `stdin` was written; else the child reads the end of the file.
    pub keep_stdin_open: bool,
    /// Values that must not reach a log, each at least [`SECRET_MIN`] bytes long.
    pub secrets: Vec<String>,
    /// From asking the process to end to killing it.
    pub grace: Duration,
    /// Wall-clock limit of the process.
    pub wall: Option<Duration>,
    /// What people should know about this command; never holds a secret value.
    pub notes: Vec<String>,
    /// Values that are too large for the environment.
    pub in_files: Vec<InFile>,
}

/// A value that fits in no variable: whoever starts the process writes it to a file that is private to the run, and names
/// the file in these variables, unless they are set.
#[derive(Clone, PartialEq, Eq)]
pub struct InFile {
    pub variables: [String; 2],
    pub text: String,
}

impl Debug for InFile {
    /// Leaves out the value, as that of a variable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFile")
            .field("variables", &self.variables)
            .field("text", &format_args!("{} bytes", self.text.len()))
            .finish()
    }
}

/// Shorter values are not redacted: they would blacken ordinary text.
pub const SECRET_MIN: usize = 8;

impl Debug for Command {
    /// Leaves out what may be secret: values of the environment, stdin and the secrets themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Command")
            .field("argv", &self.argv)
            .field("cwd", &self.cwd)
            .field("env", &names)
            .field("stdin", &format_args!("{} bytes", self.stdin.len()))
            .field("keep_stdin_open", &self.keep_stdin_open)
            .field("secrets", &self.secrets.len())
            .field("grace", &self.grace)
            .field("wall", &self.wall)
            .field("notes", &self.notes)
            .field("in_files", &self.in_files)
            .finish()
    }
}

/// The stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Stdout,
    Stderr,
}

/// Turns lines into events; read again from the first line it gives the same events.
pub trait Reader: Send + Sync {
    /// Takes one line, without its line end.
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent>;

    /// The process ended: events that only its end reveals.
    fn finish(&mut self) -> Vec<AgentEvent> {
        Vec::new()
    }

    /// False when no line can ever mean anything, so that the caller need not cut the output into lines.
    fn is_listening(&self) -> bool {
        true
    }
}

/// A mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where it is, for example `adapterConfig.command`.
    pub path: String,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// How serious a [`Check`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// One finding about the environment an agent would run in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub code: &'static str,
    pub level: Level,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    pub fn new(code: &'static str, level: Level, message: impl Into<String>) -> Check {
        Check { code, level, message: message.into(), detail: None, hint: None }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Check {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Check {
        self.hint = Some(hint.into());
        self
    }
}

/// Why a run's command could not be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// The configuration has mistakes; what `check` would have said.
    #[error("use the agent's configuration: {}", list(.0))]
    Config(Vec<Problem>),
    #[error("find the command `{command}` in PATH `{path}`")]
    CommandNotFound { command: String, path: String },
    #[error("run `{}`: it is not an executable file", .path.display())]
    NotExecutable { path: PathBuf },
    #[error("run `{}`: there is no such file", .path.display())]
    NoFile { path: PathBuf },
    #[error("enter the folder `{}`: it does not exist or is not a folder", .path.display())]
    NoFolder { path: PathBuf },
    #[error(
        "hand {variable} to a command on another machine: it has {bytes} bytes and does not fit the environment of a \
         command (128 KiB)"
    )]
    DoesNotFit { variable: String, bytes: usize },
}

impl AdapterError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            AdapterError::Config(problems) => problems.iter().find_map(|problem| problem.hint.clone()),
            AdapterError::CommandNotFound { command, .. } => {
                Some(format!("install `{command}`, or give its absolute path as adapterConfig.command"))
            }
            AdapterError::NotExecutable { path } => Some(format!("chmod +x '{}'", path.display())),
            AdapterError::NoFile { .. } => Some("check the path of the command".to_owned()),
            AdapterError::NoFolder { path } => Some(format!("mkdir -p '{}'", path.display())),
            AdapterError::DoesNotFit { .. } => {
                Some("make it shorter, or let a step before write it to a file of the workspace".to_owned())
            }
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}
