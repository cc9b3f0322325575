//! pi: `pi -p --mode json`, one process per run.
//!
//! Configuration: what all command line agents share (`cli/config.rs`), `model` (required, `provider/model`)
//! and `thinking`. The prompt goes through stdin, which pi reads to its end before it begins: as an argument
//! it could be taken for a flag or the name of a file, and would be limited in length. A session is named by
//! its id; the path of a session's file works as well. pi looks for sessions of other folders too, and then
//! asks a person whether to copy them, so a run in another folder starts afresh. It ends with 0 even when it
//! failed; only its last message counts.

mod reader;

use serde_json::{Value, json};

use crate::adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, Setup};
use crate::cli::{self, CheckCodes, Instructions, ProgramSettings, Prompt, Style, openrouter, session};
use crate::env::Host;
use crate::settings::{self, Settings};
use reader::PiReader;

/// Runs pi.
#[derive(Debug)]
pub(crate) struct Pi;

/// Variables that a run without a person needs; the agent's own `env` wins.
const ENV: &[(&str, &str)] = &[
    // Nothing is looked up or downloaded at the start; the model is asked all the same.
    ("PI_OFFLINE", "1"),
    ("PI_SKIP_VERSION_CHECK", "1"),
];

/// Also those that pi leaves off: an agent that works alone should not have to search through a shell.
const TOOLS: &str = "read,bash,edit,write,grep,find,ls";

const CODES: CheckCodes = CheckCodes {
    cwd_valid: "pi_cwd_valid",
    cwd_invalid: "pi_cwd_invalid",
    command_resolvable: "pi_command_resolvable",
    command_unresolvable: "pi_command_unresolvable",
};

const STYLE: Style = Style {
    instructions: Instructions::Elsewhere,
    task_markdown: true,
    env_note: false,
    api_note: false,
    skills: true,
};

const MODEL_HINT: &str =
    "give provider/model, for example \"anthropic/claude-sonnet-4-5\"; `pi --list-models` shows them";

#[derive(Debug)]
struct Config<'a> {
    common: ProgramSettings<'a>,
    model: &'a str,
    thinking: Option<&'a str>,
}

impl Config<'_> {
    fn read(config: &Value) -> Result<Config<'_>, AdapterError> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, "pi");
        let model = common.model;
        if model.is_none() && settings.get("model").is_none_or(Value::is_string) {
            settings.mistake("model", "is missing", Some(MODEL_HINT));
        }
        let thinking = settings.text("thinking").map(str::trim);
        settings.done(model.map(|model| Config { common, model, thinking }))
    }
}

impl Adapter for Pi {
    fn kind(&self) -> &'static str {
        "pi_local"
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
        let Config { common, model, thinking } = Config::read(setup.config)?;
        let folder = common.folder(setup)?;
        let resume = session::resume(setup, &folder);
        let (provider, model) = match model.split_once('/') {
            Some((provider, model)) => (Some(provider), model),
            None => (None, model),
        };
        let mut notes: Vec<String> = resume.note.into_iter().collect();
        // pi does not keep its system prompt with the session, so it is given every time.
        let mut instructions = cli::instructions(setup, &common, &folder).unwrap_or_else(|why| {
            notes.push(why);
            None
        });
        // A template of the agent's own takes the place of the usual prompt, so that stands beside the
        // instructions.
        if let Some(text) = instructions.as_mut().filter(|_| common.template.is_some()) {
            text.push_str("\n\n");
            text.push_str(&cli::contract(setup));
        }
        let fits = instructions
            .as_ref()
            .is_none_or(|text| text.len() <= cli::LONGEST_ARGUMENT && !text.contains('\0'));
        let style = if fits { STYLE } else { Style { instructions: Instructions::Prefix, ..STYLE } };
        if !fits {
            notes.push(
                "the instructions are too long for an argument, so they stand in the prompt".to_owned(),
            );
        }
        let prompt: Prompt = cli::assemble(setup, &common, style, resume.session.is_some());
        notes.extend(prompt.notes);
        notes.extend(cli::mcp::not_told(&common));

        let mut args = vec!["-p".to_owned(), "--mode".to_owned(), "json".to_owned()];
        let instructions = instructions.as_deref().filter(|_| fits);
        for (flag, value) in [
            ("--append-system-prompt", instructions),
            ("--provider", provider),
            ("--model", Some(model)),
            ("--thinking", thinking),
            ("--tools", Some(TOOLS).filter(|_| !chooses_tools(&common.extra_args))),
            ("--session", resume.session),
        ] {
            args.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_owned()]));
        }
        args.extend(common.extra_args.iter().cloned());
        let forced = cli::unattended(&common, ENV);
        let mut command = cli::command(setup, &common, args, &forced, prompt.text.into_bytes())?;
        command.notes.extend(notes);
        Ok(command)
    }

    fn reader(&self, setup: &Setup<'_>) -> Box<dyn Reader> {
        let folder = cli::folder_of(setup);
        let asked = session::resume(setup, &folder).session;
        let note = json!({ "cwd": folder.to_string_lossy() });
        let common = ProgramSettings::read(&mut Settings::open(setup.config), "pi");
        let is_routed = openrouter::is_asked(&common.env);
        Box::new(PiReader::new(asked, note, setup.started_at).routed(is_routed))
    }

    fn test_environment(&self, config: &Value, host: &Host) -> Vec<Check> {
        let mut settings = Settings::open(config);
        let common = ProgramSettings::read(&mut settings, "pi");
        let mut checks = cli::environment_checks(&common, host, CODES);
        checks.push(match common.model {
            Some(model) => {
                Check::new("pi_model_configured", Level::Info, "a model is configured").detail(model)
            }
            None => Check::new("pi_model_required", Level::Error, "no model is configured").hint(MODEL_HINT),
        });
        checks
    }
}

fn chooses_tools(args: &[String]) -> bool {
    let flags = ["--tools", "-t", "--no-tools", "-nt", "--no-builtin-tools", "-nbt"];
    args.iter().any(|arg| flags.contains(&arg.as_str()))
}
