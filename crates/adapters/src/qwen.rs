//! Qwen Code: `qwen --output-format stream-json`, one process per run.
//!
//! Configuration: what all command line agents share (`cli/config.rs`), `model` (`auto` leaves the choice to
//! the program), `sandbox` (false) and `authType` (`openai` when the agent's `env` holds `OPENAI_API_KEY`,
//! else what the program remembers). The prompt goes through stdin. Sessions belong to a folder, so a run in
//! another folder starts afresh. What it reports as used is that of the whole session, so each run notes the
//! sum for the next.
//! While it waits to ask a provider again it says nothing.

mod reader;

use serde_json::{Value, json};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Prompt, Style, session};
use crate::env::{Declared, Host};
use crate::settings::{self, Settings};
use reader::{Before, QwenReader};

/// Runs Qwen Code.
#[derive(Debug)]
pub(crate) struct Qwen;

/// Variables that a run without a person needs; the agent's own `env` wins.
const ENV: &[(&str, &str)] = &[
    // Bugle says what an agent may do; a warning at every start says it to nobody.
    ("QWEN_CODE_SUPPRESS_YOLO_WARNING", "1"),
];

const CODES: CheckCodes = CheckCodes {
    cwd_valid: "qwen_cwd_valid",
    cwd_invalid: "qwen_cwd_invalid",
    command_resolvable: "qwen_command_resolvable",
    command_unresolvable: "qwen_command_unresolvable",
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
    auth_type: Option<&'a str>,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let mut common = ProgramSettings::read(&mut settings, "qwen");
        common.model = common.model.filter(|model| *model != "auto");
        let sandbox = settings.boolean("sandbox").unwrap_or(false);
        let auth_type = settings.text("authType").map(str::trim);
        let auth_type = auth_type.or(if has_key(&common.env) { Some("openai") } else { None });
        settings.done(Some(Config { common, sandbox, auth_type }))
    }
}

impl Adapter for Qwen {
    fn kind(&self) -> &'static str {
        "qwen"
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
        let Config { common, sandbox, auth_type } = Config::read(setup.config)?;
        let resume = session::resume(setup, &common.folder(setup)?);
        let Prompt { text, notes } = cli::assemble(setup, &common, STYLE, resume.session.is_some());
        let mut args = vec!["--output-format".to_owned(), "stream-json".to_owned()];
        for (flag, value) in
            [("--resume", resume.session), ("--model", common.model), ("--auth-type", auth_type)]
        {
            args.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        args.push("--yolo".to_owned());
        args.extend(cli::mcp::flag(setup, &common));
        if sandbox {
            args.push("--sandbox".to_owned());
        }
        args.extend(common.extra_args.iter().cloned());
        let forced = cli::unattended(&common, ENV);
        let mut command = cli::command(setup, &common, args, &forced, text.into_bytes())?;
        command.notes.extend(resume.note.into_iter().chain(notes));
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let config = Config::read(setup.config).ok();
        let folder = cli::folder_of(setup);
        let asked = session::resume(setup, &folder).session;
        let before = match asked {
            Some(_) => Before::read(setup.session_note),
            None => Before::Nothing,
        };
        let note = json!({ "cwd": folder.to_string_lossy() });
        let has_key = config.is_some_and(|config| has_key(&config.common.env));
        Box::new(QwenReader::new(asked, before, note, has_key, setup.started_at))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, "qwen");
        let mut checks = cli::environment_checks(&common, host, CODES);
        checks.push(if has_key(&common.env) {
            Check::new("qwen_api_key_present", Level::Info, "the agent's environment holds a key")
        } else {
            Check::new("qwen_api_key_missing", Level::Info, "no key is configured").hint(
                "the login below HOME is used: run `qwen` there once as the server's user, or set \
                 OPENAI_API_KEY and OPENAI_BASE_URL in adapterConfig.env",
            )
        });
        checks
    }
}

/// The account is paid by the request, at a provider that speaks as OpenAI does.
fn has_key(env: &Declared) -> bool {
    env.get("OPENAI_API_KEY").is_some_and(|value| !value.trim().is_empty())
}
