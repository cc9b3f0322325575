//! Gemini CLI: `gemini --output-format stream-json`, one process per run.
//!
//! Configuration: what all command line agents share (`cli/config.rs`), `model` (`auto` leaves the choice to
//! the program) and `sandbox` (false). The prompt goes through stdin: it may be long, and nobody reads it in
//! a list of processes. Sessions belong to a folder, so a run in another folder starts afresh. The exit code
//! of this program is the status of HTTP modulo 256, and 0 after SIGTERM; only its result line counts.
//!
//! Where a prompt names a file of the working folder with `@` in front, Gemini CLI puts its contents behind the
//! prompt; files elsewhere it leaves alone. Nothing is done about it: the agent may read them anyway, and what
//! stands behind the `@` is more often a person or a package.

mod reader;

use serde_json::{Value, json};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Prompt, Style, session};
use crate::env::{self, Host};
use crate::settings::{self, Settings};
use reader::GeminiReader;

/// Runs Gemini CLI.
#[derive(Debug)]
pub(crate) struct Gemini;

/// Variables that a run without a person needs; the agent's own `env` wins.
const ENV: &[(&str, &str)] = &[
    // Else it takes back the permission to use tools in a folder that nobody called trusted, and then waits
    // for nobody.
    ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
    // Else it starts itself a second time, only to have more memory.
    ("GEMINI_CLI_NO_RELAUNCH", "true"),
];

const CODES: CheckCodes = CheckCodes {
    cwd_valid: "gemini_cwd_valid",
    cwd_invalid: "gemini_cwd_invalid",
    command_resolvable: "gemini_command_resolvable",
    command_unresolvable: "gemini_command_unresolvable",
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
    sandbox: bool,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let mut common = ProgramSettings::read(&mut settings, "gemini");
        common.model = common.model.filter(|model| *model != "auto");
        let sandbox = settings.boolean("sandbox").unwrap_or(false);
        settings.done(Some(Config { common, sandbox }))
    }
}

impl Adapter for Gemini {
    fn kind(&self) -> &'static str {
        "gemini_local"
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
        let Config { common, sandbox } = Config::read(setup.config)?;
        let resume = session::resume(setup, &common.folder(setup)?);
        let Prompt { text, notes } = cli::assemble(setup, &common, STYLE, resume.session.is_some());
        let mut args = vec!["--output-format".to_owned(), "stream-json".to_owned()];
        for (flag, value) in [("--resume", resume.session), ("--model", common.model)] {
            args.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        args.push("--yolo".to_owned());
        if sandbox {
            args.push("--sandbox".to_owned());
        }
        args.extend(common.extra_args.iter().cloned());
        let mut command =
            cli::command(setup, &common, args, &cli::unattended(&common, ENV), text.into_bytes())?;
        command.notes.extend(resume.note.into_iter().chain(notes).chain(cli::mcp::not_told(&common)));
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::read(setup.config).ok();
        let folder = cli::folder_of(setup);
        let has_key = config.is_some_and(|config| has_key(&config.common.env));
        let asked = session::resume(setup, &folder).session;
        let note = json!({ "cwd": folder.to_string_lossy() });
        Box::new(GeminiReader::new(asked, note, has_key, setup.started_at))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, "gemini");
        let mut checks = cli::environment_checks(&common, host, CODES);
        let uses_google_login = common.env.get("GOOGLE_GENAI_USE_GCA").is_some_and(|value| value == "true");
        checks.push(if has_key(&common.env) || uses_google_login {
            Check::new("gemini_api_key_present", Level::Info, "the agent's environment says how to log in")
        } else {
            Check::new("gemini_api_key_missing", Level::Info, "no key is configured").hint(
                "the login below HOME is used: run `gemini` there once as the server's user; or set \
                 GEMINI_API_KEY in adapterConfig.env, and security.auth.selectedType to gemini-api-key in \
                 ~/.gemini/settings.json",
            )
        });
        checks
    }
}

/// The account is paid by the request, not by a subscription.
fn has_key(env: &env::Declared) -> bool {
    ["GEMINI_API_KEY", "GOOGLE_API_KEY"]
        .iter()
        .any(|name| env.get(*name).is_some_and(|value| !value.trim().is_empty()))
}
