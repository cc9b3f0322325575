//! The commands of Gemini CLI, OpenCode, pi and Qwen Code: what they are started with, and what is found
//! wrong before.

use std::os::unix::fs::PermissionsExt;

use adapters::{AdapterError, Command, Level};
use serde_json::{Value, json};

use crate::stage::{Stage, adapter};

/// A stage with a program of that name, and a configuration that names it.
fn stage(kind: &str, more: Value) -> (Stage, Value) {
    let stage = Stage::new();
    let program = stage.file(kind);
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut config = json!({ "command": program, "promptTemplate": "Work, {{ agent.name }}." });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (stage, config)
}

/// The arguments, without the program.
fn args(command: &Command) -> Vec<&str> {
    command.argv[1..].iter().map(String::as_str).collect()
}

fn prompt(command: &Command) -> String {
    String::from_utf8(command.stdin.clone()).unwrap()
}

fn env<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    command.env.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

const KINDS: [&str; 4] = ["gemini_local", "opencode_local", "pi_local", "qwen"];

/// What the two that insist on a model need.
fn model() -> Value {
    json!({ "model": "fake/model-1" })
}

#[test]
fn the_shortest_command_of_each() {
    let expected: [&[&str]; 4] = [
        &["--output-format", "stream-json", "--model", "fake/model-1", "--yolo"],
        &["run", "--format", "json", "--model", "fake/model-1"],
        &[
            "-p",
            "--mode",
            "json",
            "--provider",
            "fake",
            "--model",
            "model-1",
            "--tools",
            "read,bash,edit,write,grep,find,ls",
        ],
        &["--output-format", "stream-json", "--model", "fake/model-1", "--yolo"],
    ];
    for (kind, expected) in KINDS.into_iter().zip(expected) {
        let (stage, config) = stage(kind, model());
        let command = stage.describe(kind, &config).unwrap();
        assert_eq!(args(&command), expected, "{kind}");
        assert!(prompt(&command).ends_with("Work, Tester."), "{kind}: {}", prompt(&command));
        assert!(!command.keep_stdin_open, "{kind} reads its prompt to the end of stdin");
        assert_eq!(command.grace.as_secs(), 20, "{kind}");
        assert_eq!(command.notes, Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn every_setting_has_its_flag() {
    let of = |kind, more| {
        let (stage, config) = stage(kind, more);
        let command = stage.describe(kind, &config).unwrap();
        args(&command).join(" ")
    };
    let extra = json!(["--debug", "two words"]);
    assert_eq!(
        of("gemini_local", json!({ "model": "auto", "sandbox": true, "extraArgs": extra })),
        "--output-format stream-json --yolo --sandbox --debug two words"
    );
    assert_eq!(
        of("qwen", json!({ "model": "auto", "env": { "OPENAI_API_KEY": "secret-key" } })),
        "--output-format stream-json --auth-type openai --yolo"
    );
    assert_eq!(
        of("qwen", json!({ "authType": "qwen-oauth", "sandbox": true })),
        "--output-format stream-json --auth-type qwen-oauth --yolo --sandbox"
    );
    assert_eq!(
        of("opencode_local", json!({ "model": "a/b/c", "variant": "high", "args": extra })),
        "run --format json --model a/b/c --variant high --debug two words"
    );
    assert_eq!(
        of("pi_local", json!({ "model": "a/b/c", "thinking": "low", "extraArgs": ["--tools", "read"] })),
        "-p --mode json --provider a --model b/c --thinking low --tools read"
    );
    assert_eq!(
        of("pi_local", json!({ "model": "bare", "extraArgs": ["--no-tools"] })),
        "-p --mode json --model bare --no-tools"
    );
}

#[test]
fn a_session_is_resumed_where_it_worked() {
    let flags = ["--resume s-1", "--session s-1", "--session s-1", "--resume s-1"];
    for (kind, flag) in KINDS.into_iter().zip(flags) {
        let (mut stage, config) = stage(kind, model());
        stage.session = Some("s-1".to_owned());
        stage.session_note = Some(json!({ "cwd": stage.path() }));
        let command = stage.describe(kind, &config).unwrap();
        assert!(args(&command).join(" ").contains(flag), "{kind}: {command:?}");
        assert_eq!(command.notes, Vec::<String>::new(), "{kind}");

        stage.session_note = Some(json!({ "cwd": "/somewhere/else" }));
        let command = stage.describe(kind, &config).unwrap();
        assert!(!args(&command).contains(&"s-1"), "{kind}: {command:?}");
        assert!(command.notes.join(" ").contains("/somewhere/else"), "{kind}: {:?}", command.notes);
    }
}

#[test]
fn the_agent_s_own_environment_wins_over_what_a_run_without_a_person_needs() {
    let defaults: [(&str, &[&str]); 4] = [
        ("gemini_local", &["GEMINI_CLI_TRUST_WORKSPACE", "GEMINI_CLI_NO_RELAUNCH"]),
        (
            "opencode_local",
            &["OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_LSP_DOWNLOAD", "OPENCODE_PERMISSION"],
        ),
        ("pi_local", &["PI_OFFLINE", "PI_SKIP_VERSION_CHECK"]),
        ("qwen", &["QWEN_CODE_SUPPRESS_YOLO_WARNING"]),
    ];
    for (kind, names) in defaults {
        for name in names {
            let (stage, config) = stage(kind, model());
            assert!(env(&stage.describe(kind, &config).unwrap(), name).is_some(), "{name}");
            let mut config = config;
            config["env"] = json!({ *name: "mine" });
            assert_eq!(env(&stage.describe(kind, &config).unwrap(), name), Some("mine"));
        }
    }
}

#[test]
fn what_lies_in_a_repository_does_not_configure_opencode() {
    let name = "OPENCODE_DISABLE_PROJECT_CONFIG";
    let (stage, config) = stage(
        "opencode_local",
        json!({ "model": "a/b", "dangerouslySkipPermissions": false, "env": { name: "false" } }),
    );
    let command = stage.describe("opencode_local", &config).unwrap();
    assert_eq!(env(&command, name), Some("true"));
    assert_eq!(env(&command, "OPENCODE_PERMISSION"), None);
}

#[test]
fn the_instructions_of_pi_are_a_part_of_its_system_prompt_while_they_fit() {
    let (stage, mut config) = stage("pi_local", model());
    config["instructionsFilePath"] = json!("AGENTS.md");
    let instructed = |text: String| {
        std::fs::write(stage.file("AGENTS.md"), text).unwrap();
        stage.describe("pi_local", &config).unwrap()
    };
    let command = instructed("Be kind.".to_owned());
    let at = command.argv.iter().position(|arg| arg == "--append-system-prompt").unwrap();
    let system = &command.argv[at + 1];
    assert!(system.starts_with("Be kind.") && system.contains("/api/issues/"), "{system}");
    assert!(!prompt(&command).contains("Be kind."));

    let command = instructed("Be very kind. ".repeat(12_000));
    assert!(!command.argv.iter().any(|arg| arg == "--append-system-prompt"));
    assert!(prompt(&command).starts_with("Be very kind."));
    assert!(command.notes.join(" ").contains("too long"), "{:?}", command.notes);

    config["instructionsFilePath"] = json!("nothing.md");
    let command = stage.describe("pi_local", &config).unwrap();
    assert!(command.notes.join(" ").contains("nothing.md"), "{:?}", command.notes);
}

#[test]
fn a_long_prompt_is_no_argument() {
    for kind in KINDS {
        let (stage, mut config) = stage(kind, model());
        config["promptTemplate"] = json!("-@/ ".repeat(50_000));
        let command = stage.describe(kind, &config).unwrap();
        assert!(command.stdin.len() >= 199_999, "{kind}");
        assert!(command.argv.iter().all(|arg| arg.len() < 1_000), "{kind}");
    }
}

#[test]
fn mistakes_are_found_when_the_agent_is_saved() {
    let paths = |kind, config: Value| -> Vec<String> {
        adapter(kind).check(&config).into_iter().map(|problem| problem.path).collect()
    };
    for kind in ["gemini_local", "qwen"] {
        assert_eq!(paths(kind, json!({})), Vec::<String>::new(), "{kind}");
        assert_eq!(paths(kind, json!({ "sandbox": "yes" })), ["adapterConfig.sandbox"], "{kind}");
    }
    for kind in ["opencode_local", "pi_local"] {
        assert_eq!(paths(kind, model()), Vec::<String>::new(), "{kind}");
        assert_eq!(paths(kind, json!({})), ["adapterConfig.model"], "{kind}");
        assert_eq!(paths(kind, json!({ "model": 7 })), ["adapterConfig.model"], "{kind}");
    }
    assert_eq!(paths("opencode_local", json!({ "model": "bare" })), ["adapterConfig.model"]);
    assert_eq!(paths("opencode_local", json!({ "model": "a/" })), ["adapterConfig.model"]);
    assert_eq!(paths("pi_local", json!({ "model": "a/b", "cwd": "not/absolute" })), ["adapterConfig.cwd"]);
    for kind in KINDS {
        let (stage, mut config) = stage(kind, model());
        config["command"] = json!("/nowhere/at/all");
        assert!(matches!(stage.describe(kind, &config), Err(AdapterError::NoFile { .. })), "{kind}");
    }
}

#[test]
fn the_environment_is_looked_at() {
    let codes = |kind, more: Value| -> Vec<(&'static str, Level)> {
        let (stage, mut config) = stage(kind, more);
        config["cwd"] = json!(stage.path());
        let checks = adapter(kind).test_environment(&config, &stage.host);
        checks.into_iter().map(|check| (check.code, check.level)).collect()
    };
    let info = |code| (code, Level::Info);
    assert_eq!(
        codes("gemini_local", json!({})),
        [info("gemini_cwd_valid"), info("gemini_command_resolvable"), info("gemini_api_key_missing")]
    );
    for env in [json!({ "GOOGLE_API_KEY": "k" }), json!({ "GOOGLE_GENAI_USE_GCA": "true" })] {
        assert_eq!(codes("gemini_local", json!({ "env": env }))[2], info("gemini_api_key_present"));
    }
    assert_eq!(
        codes("qwen", json!({ "env": { "OPENAI_API_KEY": "k" } })),
        [info("qwen_cwd_valid"), info("qwen_command_resolvable"), info("qwen_api_key_present")]
    );
    assert_eq!(codes("qwen", json!({}))[2], info("qwen_api_key_missing"));
    assert_eq!(
        codes("opencode_local", json!({ "model": "a/b", "env": { "OPENAI_API_KEY": "" } })),
        [
            info("opencode_cwd_valid"),
            info("opencode_command_resolvable"),
            ("opencode_openai_api_key_missing", Level::Warn),
            info("opencode_headless_permissions_enabled"),
            info("opencode_model_configured"),
        ]
    );
    let refused = json!({ "model": "bare", "dangerouslySkipPermissions": false });
    assert_eq!(codes("opencode_local", refused)[2..], [("opencode_model_invalid", Level::Error)]);
    assert_eq!(codes("pi_local", model())[2..], [info("pi_model_configured")]);
    assert_eq!(codes("pi_local", json!({}))[2..], [("pi_model_required", Level::Error)]);
}
