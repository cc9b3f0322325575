//! The command of a run, as its configuration, session and folder make it.

use std::fs;
use std::path::Path;

use domain::moment::Moment;
use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A folder with a program called `claude` in it, and everything a setup borrows.
struct Place {
    folder: TempDir,
    host: Host,
    config: Value,
    session: Option<&'static str>,
    note: Option<Value>,
}

impl Place {
    fn new(config: Value) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("claude");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let host = Host::from_env([("PATH", folder.path())]);
        Place { folder, host, config, session: None, note: None }
    }

    fn with<T>(&self, ask: impl FnOnce(&Setup<'_>) -> T) -> T {
        let context = json!({});
        ask(&Setup {
            run_id: "r-1",
            company_id: "c-1",
            agent_id: "a-1",
            agent_name: "A",
            task_key: None,
            config: &self.config,
            context: &context,
            wake_reason: None,
            session: self.session,
            session_note: self.note.as_ref(),
            started_at: Moment::from_micros(0),
            api_url: "http://127.0.0.1:1",
            api_key: None,
            program: Path::new("/bugle"),
            default_cwd: self.folder.path(),
            host: &self.host,
        })
    }

    fn command(&self, is_root: bool) -> Command {
        self.with(|setup| describe(setup, is_root)).unwrap()
    }

    /// The arguments behind those that are always there.
    fn args(&self) -> Vec<String> {
        let argv = self.command(false).argv;
        assert_eq!(argv[1..5], ["-p", "--output-format", "stream-json", "--verbose"]);
        argv[5..].to_vec()
    }
}

fn value<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    command.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_tools_are_named_without_the_key_that_opens_them() {
    let place = Place::new(json!({ "mcp": true }));
    let told = r#"--mcp-config={"mcpServers":{"bugle":{"command":"/bugle","args":["mcp"]}}}"#;
    assert_eq!(place.args(), ["--dangerously-skip-permissions", told]);
    assert_eq!(value(&place.command(false), "MCP_CONNECTION_NONBLOCKING"), Some("0"));
    let place = Place::new(json!({ "mcp": "yes" }));
    assert_eq!(Claude.check(&place.config)[0].path, "adapterConfig.mcp");
}

#[test]
fn on_another_machine_no_tools_are_named_and_people_are_told() {
    let place = Place { host: Host::elsewhere(), ..Place::new(json!({ "mcp": true })) };
    assert_eq!(place.args(), ["--dangerously-skip-permissions"]);
    let command = place.command(false);
    assert_eq!(value(&command, "MCP_CONNECTION_NONBLOCKING"), None);
    assert!(command.notes.iter().any(|note| note.contains("`mcp` has no effect")), "{:?}", command.notes);
}

#[test]
fn the_program_of_the_tools_is_named_so_that_others_find_it() {
    let place = Place::new(json!({ "mcp": true }));
    let named = place
        .with(|setup| crate::cli::mcp::program(&Setup { program: Path::new("/proc/self/exe"), ..*setup }));
    // To whoever starts it, `/proc/self/exe` is itself.
    assert_eq!(named, json!(std::env::current_exe().unwrap()));
}

#[test]
fn a_fresh_run_is_told_everything_on_stdin() {
    let place = Place::new(json!({ "promptTemplate": "Do {{ run.id }}." }));
    let command = place.command(false);
    assert_eq!(command.argv[0], place.folder.path().join("claude").to_str().unwrap());
    assert_eq!(place.args(), ["--dangerously-skip-permissions"]);
    assert_eq!((command.stdin.as_slice(), command.keep_stdin_open), (&b"Do r-1."[..], false));
    assert_eq!(value(&command, "DISABLE_AUTOUPDATER"), Some("1"));
    assert_eq!(value(&command, "IS_SANDBOX"), None);
}

#[test]
fn settings_become_flags() {
    let place = Place::new(json!({
        "model": "claude-x", "effort": "high", "chrome": true, "maxTurnsPerRun": 7,
        "dangerouslySkipPermissions": false, "extraArgs": ["--allowedTools", "Bash"],
    }));
    assert_eq!(
        place.args(),
        ["--chrome", "--model", "claude-x", "--effort", "high", "--max-turns", "7", "--allowedTools", "Bash"]
    );
    let mistakes = |config| Claude.check(&config).into_iter().map(|it| it.path).collect::<Vec<_>>();
    assert_eq!(mistakes(json!({ "maxTurnsPerRun": -1 })), ["adapterConfig.maxTurnsPerRun"]);
    assert_eq!(mistakes(json!({ "chrome": "yes" })), ["adapterConfig.chrome"]);
    assert!(mistakes(json!({ "maxTurnsPerRun": 0 })).is_empty());
}

#[test]
fn a_model_of_another_shape_is_left_out_on_bedrock() {
    let args = |model: &str| {
        let place = Place::new(json!({ "model": model, "env": { "CLAUDE_CODE_USE_BEDROCK": "1" } }));
        (place.args().contains(&"--model".to_owned()), place.command(false).notes.len())
    };
    assert_eq!(args("claude-x"), (false, 1));
    assert_eq!(args("us.anthropic.claude-x"), (true, 0));
    assert_eq!(args("arn:aws:bedrock:eu-1:1:profile/p"), (true, 0));
    assert_eq!(args(".anthropic.claude-x"), (false, 1));
}

#[test]
fn only_root_is_told_that_it_is_walled_in() {
    let sandbox =
        |config, is_root| value(&Place::new(config).command(is_root), "IS_SANDBOX").map(str::to_owned);
    assert_eq!(sandbox(json!({}), true).as_deref(), Some("1"));
    assert_eq!(sandbox(json!({}), false), None);
    assert_eq!(sandbox(json!({ "dangerouslySkipPermissions": false }), true), None);
    assert_eq!(sandbox(json!({ "env": { "IS_SANDBOX": "0" } }), true).as_deref(), Some("0"));
}

#[test]
fn instructions_reach_a_fresh_session_once() {
    let mut place = Place::new(json!({ "instructionsFilePath": "AGENTS.md", "promptTemplate": "Go." }));
    fs::write(place.folder.path().join("AGENTS.md"), "Be kind.\0").unwrap();
    let args = place.args();
    assert_eq!(args[1], "--append-system-prompt");
    assert!(args[2].starts_with("Be kind.\u{FFFD}"), "{}", args[2]);
    assert_eq!(place.command(false).stdin, b"Go.");

    fs::write(place.folder.path().join("AGENTS.md"), "x".repeat(cli::LONGEST_ARGUMENT)).unwrap();
    let command = place.command(false);
    assert!(command.argv.iter().all(|arg| arg.len() < 1000));
    assert!(command.stdin.starts_with(b"xxx") && command.stdin.ends_with(b"\n\nGo."));
    assert!(command.notes[0].contains("too long"), "{:?}", command.notes);

    place.session = Some("s-1");
    assert!(!place.args().contains(&"--append-system-prompt".to_owned()));
    fs::remove_file(place.folder.path().join("AGENTS.md")).unwrap();
    place.session = None;
    assert!(place.command(false).notes[0].contains("cannot be read"), "and the run goes on");
}

#[test]
fn a_session_is_resumed_where_it_worked_unless_it_is_over() {
    let mut place = Place::new(json!({}));
    place.session = Some("s-1");
    let here = place.folder.path().to_string_lossy().into_owned();
    let rows = [
        (None, true),
        (Some(json!({ "cwd": here })), true),
        (Some(json!({ "cwd": "/elsewhere" })), false),
        (Some(json!({ "cwd": here, "over": "it reached its limit of turns" })), false),
    ];
    for (note, is_resumed) in rows {
        place.note = note;
        let command = place.command(false);
        let resumes = command.argv.windows(2).any(|pair| pair == ["--resume", "s-1"]);
        assert_eq!(
            (resumes, command.notes.len()),
            (is_resumed, usize::from(!is_resumed)),
            "{:?}",
            place.note
        );
    }
}

#[test]
fn the_reader_counts_from_where_the_command_begins() {
    let lines = [
        json!({ "type": "system", "subtype": "init", "session_id": "s-1", "claude_code_version": "2.1.329" }),
        json!({ "type": "result", "is_error": false, "result": "done",
            "modelUsage": { "claude-x": { "inputTokens": 50 } } }),
    ];
    let input = |place: &Place| {
        place.with(|setup| {
            let mut reader = Claude.reader(setup);
            let events =
                lines.iter().flat_map(|it| reader.line(crate::Source::Stdout, it.to_string().as_bytes()));
            let mut told = domain::telling::Told::default();
            events.collect::<Vec<_>>().iter().for_each(|event| told.hear(event));
            told.usage.map(|usage| usage.input_tokens)
        })
    };
    let mut place = Place::new(json!({}));
    assert_eq!(input(&place), Some(50));
    place.session = Some("s-1");
    assert_eq!(input(&place), None, "what the session used before is not known");
    let note = |cwd: &str| {
        json!({ "cwd": cwd, "version": "2.1.329", "cumulativeInputTokens": 20,
            "cumulativeCachedInputTokens": 0, "cumulativeOutputTokens": 0 })
    };
    place.note = Some(note(&place.folder.path().to_string_lossy()));
    assert_eq!(input(&place), Some(30));
    place.note = Some(note("/elsewhere"));
    assert_eq!(input(&place), Some(50), "a fresh one is started there");
    place.session = None;
    place.config = json!({ "args": ["--continue"] });
    assert_eq!(input(&place), None, "somebody else's choice of a session");
}

#[test]
fn the_environment_test_says_who_will_be_charged() {
    use Level::{Error, Info, Warn};
    let place = Place::new(json!({}));
    let found = ("claude_command_resolvable", Info);
    let rows = [
        (json!({}), vec![found, ("claude_subscription_mode_possible", Info)]),
        (
            json!({ "cwd": place.folder.path(), "env": { "ANTHROPIC_API_KEY": "k" } }),
            vec![
                ("claude_cwd_valid", Info),
                found,
                ("claude_anthropic_api_key_overrides_subscription", Warn),
            ],
        ),
        (
            json!({ "cwd": "/no/folder", "env":
                { "ANTHROPIC_API_KEY": "k", "CLAUDE_CODE_USE_BEDROCK": "true" } }),
            vec![("claude_cwd_invalid", Error), found, ("claude_bedrock_auth", Info)],
        ),
        (
            json!({ "command": "no-such-program" }),
            vec![("claude_command_unresolvable", Error), ("claude_subscription_mode_possible", Info)],
        ),
        (json!({ "model": 7 }), vec![("claude_config_invalid", Error)]),
    ];
    for (config, expected) in rows {
        let checks = Claude.test_environment(&config, &place.host);
        let codes: Vec<_> = checks.iter().map(|check| (check.code, check.level)).collect();
        assert_eq!(codes, expected, "{config}");
        assert!(
            checks.iter().all(|check| check.level == Info || check.hint.is_some() || check.detail.is_some())
        );
    }
}
