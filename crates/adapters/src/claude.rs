//! Claude Code: `claude -p --output-format stream-json`, one process per run.
//!
//! Configuration: what all command line agents share (`cli/config.rs`), `effort`, `chrome`, `maxTurnsPerRun`
//! (0 = no limit) and `dangerouslySkipPermissions` (true unless it is set to false: nobody is there to be
//! asked). The prompt goes through stdin. The instructions file is added to the system prompt of a fresh
//! session; a resumed one has read it. Sessions belong to a folder, so a run in another folder starts afresh;
//! so does one whose session reached its limit of turns or is too long for its model, which the reader notes
//! as `over`.

mod failure;
mod reader;
mod usage;

use serde_json::Value;

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli::session;
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Style};
use crate::env::{Declared, Host};
use crate::settings::{self, Settings};
use reader::{Billing, ClaudeReader, Start};

/// Runs Claude Code.
#[derive(Debug)]
pub(crate) struct Claude;

/// Variables that a run without a person needs; the agent's own `env` wins. A program that replaces itself in
/// between changes what its totals mean.
const ENV: &[(&str, &str)] = &[("DISABLE_AUTOUPDATER", "1")];

/// Else it begins to work while its tools are still on their way, and is told that there are none.
const TOOLS_FIRST: &[(&str, &str)] = &[("MCP_CONNECTION_NONBLOCKING", "0")];

const CODES: CheckCodes = CheckCodes {
    cwd_valid: "claude_cwd_valid",
    cwd_invalid: "claude_cwd_invalid",
    command_resolvable: "claude_command_resolvable",
    command_unresolvable: "claude_command_unresolvable",
};

const STYLE: Style = Style {
    instructions: Instructions::Elsewhere,
    task_markdown: true,
    env_note: false,
    api_note: false,
    skills: false,
};

#[derive(Debug)]
struct Config<'a> {
    common: ProgramSettings<'a>,
    effort: Option<&'a str>,
    chrome: bool,
    max_turns: u64,
    skip_permissions: bool,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, "claude");
        let effort = settings.text("effort").map(str::trim);
        let chrome = settings.boolean("chrome").unwrap_or(false);
        let skip_permissions = settings.boolean("dangerouslySkipPermissions").unwrap_or(true);
        let max_turns = match settings.get("maxTurnsPerRun") {
            None => 0,
            Some(value) => value.as_u64().unwrap_or_else(|| {
                settings.mistake(
                    "maxTurnsPerRun",
                    "must be a whole number, 0 or more",
                    Some("0 means no limit"),
                );
                0
            }),
        };
        settings.done(Some(Config { common, effort, chrome, max_turns, skip_permissions }))
    }

    /// The arguments behind the session, and notes on what was left out.
    fn flags(&self, notes: &mut Vec<String>) -> Vec<String> {
        let mut args = Vec::new();
        if self.skip_permissions {
            args.push("--dangerously-skip-permissions".to_owned());
        }
        if self.chrome {
            args.push("--chrome".to_owned());
        }
        match self.common.model {
            Some(model) if is_bedrock(&self.common.env) && !is_bedrock_model(model) => notes.push(format!(
                "the model `{model}` is not one of Bedrock's, so the one that is set up there is used"
            )),
            Some(model) => args.extend(["--model".to_owned(), model.to_owned()]),
            None => {}
        }
        if let Some(effort) = self.effort {
            args.extend(["--effort".to_owned(), effort.to_owned()]);
        }
        if self.max_turns > 0 {
            args.extend(["--max-turns".to_owned(), self.max_turns.to_string()]);
        }
        args
    }

    /// Extra arguments that choose a session behind our back.
    fn chooses_session(&self) -> bool {
        const FLAGS: [&str; 5] = ["--continue", "-c", "--resume", "-r", "--from-pr"];
        self.common.extra_args.iter().any(|arg| FLAGS.contains(&arg.split('=').next().unwrap_or(arg)))
    }
}

impl Adapter for Claude {
    fn kind(&self) -> &'static str {
        "claude_local"
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
        describe(setup, rustix::process::getuid().is_root())
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::read(setup.config).ok();
        let cwd = cli::folder_of(setup);
        let is_resumed = session::resume(setup, &cwd).session.is_some();
        let chooses = config.as_ref().is_some_and(Config::chooses_session);
        Box::new(ClaudeReader::new(Start {
            is_fresh: !is_resumed && !chooses,
            // What was noted is about the session that was asked for, and not about one that the arguments
            // choose.
            note: setup.session_note.filter(|_| is_resumed && !chooses).cloned(),
            cwd: cwd.to_string_lossy().into_owned(),
            started_at: setup.started_at,
            billing: config.map_or(Billing::Anthropic { has_key: false }, |it| billing(&it.common.env)),
        }))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let config = match Config::read(config) {
            Ok(config) => config,
            Err(error) => {
                let hint = error.hint();
                let check =
                    Check::new("claude_config_invalid", Level::Error, "the configuration cannot be used");
                let check = check.detail(format!("failed to {error}"));
                return vec![match hint {
                    Some(hint) => check.hint(hint),
                    None => check,
                }];
            }
        };
        let mut checks = cli::environment_checks(&config.common, host, CODES);
        checks.push(login(&config.common.env));
        checks
    }
}

/// Describes the command; `is_root` is whether the program will run as root.
fn describe(setup: &Setup<'_>, is_root: bool) -> Result<Command, AdapterError> {
    let config = Config::read(setup.config)?;
    let common = &config.common;
    let cwd = common.folder(setup)?;
    let resume = session::resume(setup, &cwd);
    let mut prompt = cli::assemble(setup, common, STYLE, resume.session.is_some());
    let mut notes = Vec::new();
    let mut args: Vec<String> =
        ["-p", "--output-format", "stream-json", "--verbose"].map(str::to_owned).into();
    if let Some(session) = resume.session {
        args.extend(["--resume".to_owned(), session.to_owned()]);
    }
    notes.extend(resume.note);
    // It finds them below the folder by itself, as long as it is given the folder at every start.
    if let Some(folder) = cli::skills::folder(setup) {
        args.extend(["--add-dir".to_owned(), folder.display().to_string()]);
    }
    args.extend(config.flags(&mut notes));
    args.extend(cli::mcp::flag(setup, common));
    if resume.session.is_none() {
        match cli::instructions(setup, common, &cwd) {
            Ok(Some(text)) if text.len() > cli::LONGEST_ARGUMENT => {
                notes.push(format!(
                    "the instructions are too long for an argument ({} bytes) and go in front of the prompt",
                    text.len()
                ));
                prompt.text = format!("{text}\n\n{}", prompt.text);
            }
            Ok(Some(text)) => {
                let text = text.replace('\0', "\u{FFFD}");
                args.extend(["--append-system-prompt".to_owned(), text]);
            }
            Ok(None) => {}
            Err(why) => notes.push(why),
        }
    }
    args.extend(common.extra_args.iter().cloned());
    let mut forced = cli::unattended(common, ENV);
    if cli::mcp::is_told(setup, common) {
        forced.extend(cli::unattended(common, TOOLS_FIRST));
    }
    // As root the program refuses to work without asking, unless it is told that it is walled in.
    if is_root && config.skip_permissions {
        forced.extend(cli::unattended(common, &[("IS_SANDBOX", "1")]));
    }
    let mut command = cli::command(setup, common, args, &forced, prompt.text.into_bytes())?;
    command.notes.extend(prompt.notes);
    command.notes.extend(notes);
    Ok(command)
}

fn is_on(env: &Declared, name: &str) -> bool {
    env.get(name).is_some_and(|value| matches!(value.trim(), "1" | "true"))
}

fn is_set(env: &Declared, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.trim().is_empty())
}

fn is_bedrock(env: &Declared) -> bool {
    is_on(env, "CLAUDE_CODE_USE_BEDROCK") || is_set(env, "ANTHROPIC_BEDROCK_BASE_URL")
}

/// `us.anthropic.claude-...`, or the ARN of a model or a profile.
fn is_bedrock_model(model: &str) -> bool {
    let region = model.split_once(".anthropic.").map(|(region, _)| region);
    let is_word =
        |word: &str| !word.is_empty() && word.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    model.starts_with("arn:aws:bedrock:") || region.is_some_and(is_word)
}

fn billing(env: &Declared) -> Billing {
    if is_bedrock(env) {
        return Billing::Bedrock;
    }
    if is_on(env, "CLAUDE_CODE_USE_VERTEX") {
        return Billing::Vertex;
    }
    Billing::Anthropic { has_key: is_set(env, "ANTHROPIC_API_KEY") || is_set(env, "ANTHROPIC_AUTH_TOKEN") }
}

/// How the program will prove who it is. Only the agent's own variables count: a key of the server's stays
/// there.
fn login(env: &Declared) -> Check {
    if is_bedrock(env) {
        return Check::new(
            "claude_bedrock_auth",
            Level::Info,
            "Amazon Bedrock is asked, with the login of AWS",
        );
    }
    if is_set(env, "ANTHROPIC_API_KEY") {
        return Check::new(
            "claude_anthropic_api_key_overrides_subscription",
            Level::Warn,
            "ANTHROPIC_API_KEY is set, so its account is charged and no subscription is used",
        )
        .hint("remove it from adapterConfig.env to use the subscription that `claude` is logged in to");
    }
    Check::new(
        "claude_subscription_mode_possible",
        Level::Info,
        "the login of `claude` on this machine is used",
    )
    .hint("if there is none, run `claude` once as the user of the server, and log in")
}

#[cfg(test)]
mod tests;
