//! Whether an agent's program answers at all: it is asked to say hello, once, as a run would ask it (spec/heartbeat.md
//! 9.6).
//!
//! Done only when nothing simpler is wrong, and only for programs that are known to end by themselves. No run comes of it:
//! nothing is stored, and the program is given no key.

use std::path::Path;
use std::time::Duration;

use adapters::{Adapter, Check, Host, Level, LineSplitter, Setup, Source};
use domain::moment::Moment;
use domain::telling::{AgentError, ErrorClass, Told};
use keeper::{Once, Ran, run_once};
use serde_json::{Value as Json, json};

use crate::Engine;

const PROMPT: &str = "Respond with hello.";
/// Settings that would ask for something else, or for more.
const LEFT_OUT: [&str; 4] = ["instructionsFilePath", "bootstrapPromptTemplate", "fastMode", "mcp"];

/// What is known of asking one kind of program.
#[derive(Debug)]
struct Greeting {
    kind: &'static str,
    /// The base name of the program that is meant; another one is not asked. `None`: any.
    program: Option<&'static str>,
    limit: Duration,
    /// The codes, in the order of [`Verdict`].
    codes: [&'static str; 5],
    skipped: &'static str,
    quota: &'static str,
    /// The model that is configured is not there; where the kind has a code for it.
    no_model: Option<&'static str>,
}

// The reference gives OpenCode and pi a minute; here all of it stays within the time of one request.
const GREETINGS: [Greeting; 6] = [
    Greeting {
        kind: "claude_local",
        program: Some("claude"),
        limit: Duration::from_secs(45),
        codes: [
            "claude_hello_probe_passed",
            "claude_hello_probe_unexpected_output",
            "claude_hello_probe_timed_out",
            "claude_hello_probe_auth_required",
            "claude_hello_probe_failed",
        ],
        skipped: "claude_hello_probe_skipped_custom_command",
        quota: "claude_hello_probe_failed",
        no_model: None,
    },
    Greeting {
        kind: "codex_local",
        program: Some("codex"),
        limit: Duration::from_secs(45),
        codes: [
            "codex_hello_probe_passed",
            "codex_hello_probe_unexpected_output",
            "codex_hello_probe_timed_out",
            "codex_hello_probe_auth_required",
            "codex_hello_probe_failed",
        ],
        skipped: "codex_hello_probe_skipped_custom_command",
        quota: "codex_hello_probe_failed",
        no_model: None,
    },
    Greeting {
        kind: "cursor",
        program: Some("agent"),
        limit: Duration::from_secs(45),
        codes: [
            "cursor_hello_probe_passed",
            "cursor_hello_probe_unexpected_output",
            "cursor_hello_probe_timed_out",
            "cursor_hello_probe_auth_required",
            "cursor_hello_probe_failed",
        ],
        skipped: "cursor_hello_probe_skipped_custom_command",
        quota: "cursor_hello_probe_failed",
        no_model: None,
    },
    Greeting {
        kind: "gemini_local",
        program: Some("gemini"),
        limit: Duration::from_secs(10),
        codes: [
            "gemini_hello_probe_passed",
            "gemini_hello_probe_unexpected_output",
            "gemini_hello_probe_timed_out",
            "gemini_hello_probe_auth_required",
            "gemini_hello_probe_failed",
        ],
        skipped: "gemini_hello_probe_skipped_custom_command",
        quota: "gemini_hello_probe_quota_exhausted",
        no_model: None,
    },
    Greeting {
        kind: "opencode_local",
        program: None,
        limit: Duration::from_secs(50),
        codes: [
            "opencode_hello_probe_passed",
            "opencode_hello_probe_unexpected_output",
            "opencode_hello_probe_timed_out",
            "opencode_hello_probe_auth_required",
            "opencode_hello_probe_failed",
        ],
        skipped: "opencode_hello_probe_skipped_custom_command",
        quota: "opencode_hello_probe_failed",
        no_model: Some("opencode_hello_probe_model_unavailable"),
    },
    Greeting {
        kind: "pi_local",
        program: None,
        limit: Duration::from_secs(50),
        codes: [
            "pi_hello_probe_passed",
            "pi_hello_probe_unexpected_output",
            "pi_hello_probe_timed_out",
            "pi_hello_probe_auth_required",
            "pi_hello_probe_failed",
        ],
        skipped: "pi_hello_probe_skipped_custom_command",
        quota: "pi_hello_probe_failed",
        no_model: None,
    },
];

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Passed,
    Unexpected(String),
    TimedOut,
    Auth(String),
    Failed(String),
    Quota(String),
    NoModel(String),
}

impl Engine {
    /// Looks whether an agent of this kind could run on this machine; with `asks`, its program is asked to say hello when
    /// nothing else is wrong.
    pub async fn test_environment(
        &self,
        adapter: &'static dyn Adapter,
        config: Json,
        asks: bool,
    ) -> Vec<Check> {
        let settings = self.settings();
        let (host, api_url, data) =
            (settings.host.clone(), settings.api_url.clone(), settings.data_dir.clone());
        let (id, now) = (self.new_id(), self.now());
        // On a thread of its own, to its end: what was started is ended even when nobody waits for the answer any more.
        let looked = tokio::task::spawn_blocking(move || {
            let mut checks = adapter.test_environment(&config, &host);
            let is_well = checks.iter().all(|check| check.level != Level::Error);
            if asks
                && is_well
                && let Some(greeting) = GREETINGS.iter().find(|it| it.kind == adapter.kind())
            {
                let place = data.join("hello").join(&id);
                checks.push(hello(
                    adapter,
                    greeting,
                    &config,
                    &Place { host: &host, api_url: &api_url, folder: &place, id: &id, now },
                ));
                // An empty folder more is no harm.
                let _ = std::fs::remove_dir_all(&place);
            }
            checks
        });
        match looked.await {
            Ok(checks) => checks,
            // A panic is the caller's to answer for; nothing else ends such a thread early.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Where a program is asked.
struct Place<'a> {
    host: &'a Host,
    api_url: &'a str,
    folder: &'a Path,
    id: &'a str,
    now: Moment,
}

fn hello(adapter: &dyn Adapter, greeting: &Greeting, config: &Json, place: &Place<'_>) -> Check {
    let command = config.get("command").and_then(Json::as_str).map(str::trim).filter(|text| !text.is_empty());
    let name = command.map(|command| Path::new(command).file_name().unwrap_or_default().to_string_lossy());
    if let (Some(program), Some(name)) = (greeting.program, name)
        && name != program
    {
        let words = format!("the command is not `{program}`, so it is not asked to say hello");
        return Check::new(greeting.skipped, Level::Info, words);
    }
    let config = greeting_config(greeting.kind, config);
    let limit = config.get("helloProbeTimeoutSec").and_then(Json::as_f64).filter(|seconds| *seconds >= 1.0);
    let limit = limit
        .filter(|_| greeting.kind == "gemini_local")
        .map_or(greeting.limit, |seconds| Duration::from_secs_f64(seconds.min(50.0)));
    shown(greeting, ask(adapter, &config, limit, place))
}

/// The words of a program or a provider that has no model of this name.
fn names_no_model(words: &str) -> bool {
    let words = words.to_lowercase();
    ["modelnotfounderror", "model not found", "unknown model", "no such model"]
        .iter()
        .any(|it| words.contains(it))
}

/// The configuration of an agent that is to say hello.
fn greeting_config(kind: &str, config: &Json) -> Json {
    let mut config = config.clone();
    if let Some(map) = config.as_object_mut() {
        if kind == "cursor" {
            // It changes nothing then.
            map.insert("mode".to_owned(), json!("ask"));
        }
        map.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
        map.insert("promptTemplate".to_owned(), json!(PROMPT));
    }
    config
}

fn ask(adapter: &dyn Adapter, config: &Json, limit: Duration, place: &Place<'_>) -> Verdict {
    if let Err(error) = std::fs::create_dir_all(place.folder) {
        return Verdict::Failed(format!("no folder to ask it in: {error}"));
    }
    let nothing = json!({});
    let setup = Setup {
        run_id: place.id,
        company_id: "",
        agent_id: "",
        agent_name: "",
        task_key: None,
        config,
        context: &nothing,
        wake_reason: None,
        session: None,
        session_note: None,
        started_at: place.now,
        api_url: place.api_url,
        api_key: None,
        program: Path::new("bugle"),
        default_cwd: place.folder,
        host: place.host,
    };
    let command = match adapter.command(&setup) {
        Ok(command) => command,
        Err(error) => return Verdict::Failed(format!("failed to {error}")),
    };
    let once = Once {
        argv: &command.argv,
        cwd: &command.cwd,
        env: &command.env,
        stdin: &command.stdin,
        mark: place.id,
        limit,
    };
    match run_once(once) {
        Ok(ran) => judge(&heard(adapter, &setup, &ran), &ran),
        Err(error) => Verdict::Failed(format!("failed to {error}")),
    }
}

/// What its lines mean.
fn heard(adapter: &dyn Adapter, setup: &Setup<'_>, ran: &Ran) -> Told {
    let (mut reader, mut told) = (adapter.reader(setup), Told::default());
    for (source, bytes) in [(Source::Stderr, &ran.stderr), (Source::Stdout, &ran.stdout)] {
        let mut splitter = LineSplitter::new();
        let mut hear = |line: &[u8]| reader.line(source, line).iter().for_each(|event| told.hear(event));
        splitter.push(bytes, &mut hear);
        splitter.finish(&mut hear);
    }
    reader.finish().iter().for_each(|event| told.hear(event));
    told
}

fn judge(told: &Told, ran: &Ran) -> Verdict {
    if ran.timed_out {
        return Verdict::TimedOut;
    }
    let terminal = told.terminals.first();
    let error: Option<&AgentError> = match terminal {
        Some(terminal) => terminal.error.as_ref(),
        None => told.trouble.as_ref(),
    };
    if let Some(error) = error {
        return match error.class {
            ErrorClass::Auth => Verdict::Auth(error.message.clone()),
            ErrorClass::Quota => Verdict::Quota(error.message.clone()),
            ErrorClass::BadRequest | ErrorClass::Other if names_no_model(&error.message) => {
                Verdict::NoModel(error.message.clone())
            }
            ErrorClass::Transient
            | ErrorClass::SessionGone
            | ErrorClass::Permission
            | ErrorClass::TimedOut
            | ErrorClass::BadRequest
            | ErrorClass::Other => Verdict::Failed(error.message.clone()),
        };
    }
    if terminal.is_none() && ran.code != Some(0) {
        let last = String::from_utf8_lossy(&ran.stderr).trim().lines().last().unwrap_or_default().to_owned();
        let code = ran.code.map_or("by a signal".to_owned(), |code| format!("with code {code}"));
        return Verdict::Failed(format!("it ended {code} {last}").trim().to_owned());
    }
    let said = [terminal.and_then(|terminal| terminal.summary.as_deref()), told.last_message.as_deref()];
    let is_hello = |text: &&str| {
        text.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case("hello"))
    };
    if said.iter().flatten().any(is_hello) {
        return Verdict::Passed;
    }
    Verdict::Unexpected(said.into_iter().flatten().next().unwrap_or("nothing").to_owned())
}

fn shown(greeting: &Greeting, verdict: Verdict) -> Check {
    /// Of what a program said, as much is shown.
    const SHOWN: usize = 500;
    let [passed, unexpected, timed_out, auth, failed] = greeting.codes;
    let detailed =
        |check: Check, detail: String| check.detail(detail.chars().take(SHOWN).collect::<String>());
    match verdict {
        Verdict::Passed => Check::new(passed, Level::Info, "it was asked to say hello, and did"),
        Verdict::Unexpected(said) => detailed(
            Check::new(unexpected, Level::Warn, "it was asked to say hello, and said something else"),
            said,
        ),
        Verdict::TimedOut => {
            Check::new(timed_out, Level::Warn, "it was asked to say hello, and did not in time")
        }
        Verdict::Auth(words) => {
            detailed(Check::new(auth, Level::Warn, "it wants a login or a key before it answers"), words)
        }
        Verdict::Quota(words) => {
            let level = if greeting.quota == failed { Level::Error } else { Level::Warn };
            detailed(Check::new(greeting.quota, level, "the limit of its account is reached"), words)
        }
        Verdict::NoModel(words) => match greeting.no_model {
            Some(code) => {
                detailed(Check::new(code, Level::Warn, "the model that is configured is not there"), words)
            }
            None => shown(greeting, Verdict::Failed(words)),
        },
        Verdict::Failed(words) => {
            detailed(Check::new(failed, Level::Error, "it was asked to say hello, and failed"), words)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What Claude Code's adapter makes of a program that behaves like this.
    fn asked(script: &str, name: &str) -> (&'static str, Level) {
        asked_as("claude_local", script, name)
    }

    fn asked_as(kind: &str, script: &str, name: &str) -> (&'static str, Level) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let host = Host::from_env([("PATH", "/usr/bin:/bin")]);
        let config = json!({ "command": program, "promptTemplate": "Delete everything." });
        let place = Place {
            host: &host,
            api_url: "http://127.0.0.1:1",
            folder: &folder.path().join("hello"),
            id: &format!("hello-{name}-{}", script.len()),
            now: Moment::from_micros(0),
        };
        let known = GREETINGS.iter().find(|it| it.kind == kind).unwrap();
        let greeting = Greeting { limit: Duration::from_secs(20), ..*known };
        let check = hello(adapters::find(kind).unwrap(), &greeting, &config, &place);
        (check.code, check.level)
    }

    #[test]
    fn what_a_program_does_with_the_question_is_told_in_known_codes() {
        let result = |text: &str, is_error: bool| {
            format!(
                "echo '{{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":{is_error},\"result\":\"{text}\",\"session_id\":\"s\"}}'"
            )
        };
        // It is asked this and nothing else: what the agent is otherwise told to do stays away.
        let on_question = format!("grep -q 'Respond with hello.' && {}", result("Hello!", false));
        for (script, name, expected) in [
            (on_question, "claude", ("claude_hello_probe_passed", Level::Info)),
            (result("Othello", false), "claude", ("claude_hello_probe_unexpected_output", Level::Warn)),
            (result("Please run /login", true), "claude", ("claude_hello_probe_auth_required", Level::Warn)),
            ("echo broken >&2; exit 3".to_owned(), "claude", ("claude_hello_probe_failed", Level::Error)),
            ("exit 3".to_owned(), "my-claude", ("claude_hello_probe_skipped_custom_command", Level::Info)),
        ] {
            assert_eq!(asked(&script, name), expected, "{script}");
        }
    }

    /// E5.3.
    #[test]
    fn cursor_is_asked_in_the_mode_that_changes_nothing() {
        let result =
            |text: &str| format!("echo '{{\"type\":\"result\",\"session_id\":\"s\",\"result\":\"{text}\"}}'");
        let in_mode = format!("case \"$*\" in *'--mode ask'*) {};; esac", result("Hello!"));
        let not_logged_in = "echo 'Error: not logged in' >&2; exit 1";
        for (script, name, expected) in [
            (in_mode.as_str(), "agent", ("cursor_hello_probe_passed", Level::Info)),
            (&result("Othello"), "agent", ("cursor_hello_probe_unexpected_output", Level::Warn)),
            (not_logged_in, "agent", ("cursor_hello_probe_auth_required", Level::Warn)),
            ("exit 3", "agent", ("cursor_hello_probe_failed", Level::Error)),
            ("exit 3", "cursor-agent", ("cursor_hello_probe_skipped_custom_command", Level::Info)),
        ] {
            assert_eq!(asked_as("cursor", script, name), expected, "{script}");
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_told_by_the_code_that_its_kind_has_for_it() {
        let said = |message: &str| {
            let error = AgentError {
                class: ErrorClass::Other,
                message: message.to_owned(),
                code: None,
                not_before: None,
            };
            judge(&Told { trouble: Some(error), ..Told::default() }, &Ran::default())
        };
        let missing = said("ProviderModelNotFoundError: maker/none");
        let code = |kind: &str, verdict: &Verdict| {
            let greeting = GREETINGS.iter().find(|it| it.kind == kind).unwrap();
            let check = shown(greeting, verdict.clone());
            (check.code, check.level)
        };
        let known = ("opencode_hello_probe_model_unavailable", Level::Warn);
        assert_eq!(code("opencode_local", &missing), known);
        assert_eq!(code("opencode_local", &said("Model not found: maker/none")), known);
        assert_eq!(code("opencode_local", &said("It broke.")), ("opencode_hello_probe_failed", Level::Error));
        assert_eq!(code("claude_local", &missing), ("claude_hello_probe_failed", Level::Error));
    }

    #[test]
    fn a_program_that_does_not_answer_is_a_warning() {
        let ran = Ran { timed_out: true, ..Ran::default() };
        assert_eq!(judge(&Told::default(), &ran), Verdict::TimedOut);
        let gemini = GREETINGS.iter().find(|it| it.kind == "gemini_local").unwrap();
        let check = shown(gemini, Verdict::Quota("429".to_owned()));
        assert_eq!((check.code, check.level), ("gemini_hello_probe_quota_exhausted", Level::Warn));
    }
}
