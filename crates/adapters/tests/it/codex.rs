//! The command of a Codex agent, started as described: a small program stands in for Codex and speaks as it
//! does.

use std::fmt::Write;

use adapters::Level;
use domain::telling::ErrorClass;
use serde_json::{Value, json};

use crate::stage::{Stage, adapter};

const KIND: &str = "codex_local";
const THREAD: &str = "01a1faf0-10ff-7372-8508-ed199ead7e6b";

/// Keeps its arguments and what it read, then says that its thread used so many tokens. A shell is told to
/// `exec`, which it takes for the name of a script: so nothing is executed that was just written.
fn codex(stage: &Stage, input_tokens: u64) -> Value {
    let item = json!({ "id": "1", "type": "agent_message", "text": "done" });
    let usage = json!({ "input_tokens": input_tokens, "cached_input_tokens": 0, "output_tokens": 9 });
    let lines = [
        json!({ "type": "thread.started", "thread_id": THREAD }),
        json!({ "type": "item.completed", "item": item }),
        json!({ "type": "turn.completed", "usage": usage }),
    ];
    let mut script = "printf '%s\\n' \"$@\" > args\ncat > prompt\n".to_owned();
    for line in lines {
        writeln!(script, "echo '{line}'").unwrap();
    }
    std::fs::write(stage.file("exec"), script).unwrap();
    json!({ "command": "/bin/sh", "promptTemplate": "Do the work of {{ agent.name }}." })
}

fn arguments(stage: &Stage) -> Vec<String> {
    stage.read("args").lines().map(str::to_owned).collect()
}

#[test]
fn the_prompt_arrives_on_stdin_and_the_next_run_goes_on_where_the_first_ended() {
    let mut stage = Stage::new();
    let config = codex(&stage, 100);
    let first = stage.run(KIND, &config);
    assert_eq!(arguments(&stage), ["--json", "--skip-git-repo-check", "-"]);
    assert_eq!(stage.read("prompt"), "Do the work of Tester.");
    let told = first.told();
    assert_eq!(told.usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((100, 9)));
    assert_eq!(told.last_message.as_deref(), Some("done"));

    (stage.session, stage.session_note) = (told.session, told.session_note);
    let config = codex(&stage, 250);
    let told = stage.run(KIND, &config).told();
    assert_eq!(arguments(&stage), ["--json", "--skip-git-repo-check", "resume", THREAD, "-"]);
    assert_eq!(told.usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((150, 0)));

    // Nobody noted what the thread had used.
    stage.session_note = None;
    let told = stage.run(KIND, &config).told();
    assert_eq!((told.usage, told.terminals.len()), (None, 1));
}

#[test]
fn a_thread_of_another_folder_is_left_alone_and_the_command_says_so() {
    let mut stage = Stage::new();
    let config = codex(&stage, 100);
    stage.session = Some(THREAD.to_owned());
    stage.session_note = Some(json!({ "cwd": "/elsewhere", "inputTokens": 5 }));
    let command = stage.describe(KIND, &config).unwrap();
    assert_eq!(command.argv[1..], ["exec", "--json", "--skip-git-repo-check", "-"]);
    assert!(matches!(&command.notes[..], [note] if note.contains("/elsewhere")), "{:?}", command.notes);
    let told = stage.run(KIND, &config).told();
    assert_eq!(told.usage.map(|usage| usage.input_tokens), Some(100));
}

/// E4.24; and why there is no managed home to go out of date (W-57).
#[test]
fn the_home_of_codex_is_the_agents_own_and_nothing_is_put_into_it() {
    let stage = Stage::new();
    let mut config = codex(&stage, 100);
    let home = |config: &Value| {
        let command = stage.describe(KIND, config).unwrap();
        command.env.into_iter().find(|(name, _)| name == "CODEX_HOME").map(|(_, value)| value)
    };
    assert_eq!(home(&config), None);
    let own = stage.file("home");
    std::fs::create_dir(&own).unwrap();
    config["env"] = json!({ "CODEX_HOME": own });
    assert_eq!(home(&config), Some(own.display().to_string()));
    stage.run(KIND, &config);
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
}

/// E4.14.
#[test]
fn people_are_told_that_codex_follows_the_instructions_of_its_repository_too() {
    let stage = Stage::new();
    let mut config = codex(&stage, 100);
    let notes = |config: &Value| stage.describe(KIND, config).unwrap().notes;
    std::fs::write(stage.file("own.md"), "Be brief.").unwrap();
    config["instructionsFilePath"] = json!("own.md");
    assert_eq!(notes(&config), Vec::<String>::new());
    std::fs::write(stage.file("AGENTS.md"), "Be long.").unwrap();
    assert!(matches!(&notes(&config)[..], [note] if note.contains("AGENTS.md")), "{:?}", notes(&config));
    // One and the same file, or none of its own: nothing that a person would not expect.
    config["instructionsFilePath"] = json!("AGENTS.md");
    assert_eq!(notes(&config), Vec::<String>::new());
    config["instructionsFilePath"] = Value::Null;
    assert_eq!(notes(&config), Vec::<String>::new());
}

#[test]
fn after_repeated_failures_the_thread_is_fresh_and_the_fast_mode_off() {
    let mut stage = Stage::new();
    let mut config = codex(&stage, 100);
    (config["model"], config["fastMode"]) = (json!("gpt-5.4"), json!(true));
    stage.session = Some(THREAD.to_owned());
    let line = |stage: &Stage, config: &Value| stage.describe(KIND, config).unwrap().argv.join(" ");
    for (mode, resumes, is_fast) in [
        ("same_session", true, true),
        ("safer_invocation", true, false),
        ("fresh_session", false, true),
        ("fresh_session_safer_invocation", false, false),
    ] {
        stage.context = json!({ "codexTransientFallbackMode": mode });
        let line = line(&stage, &config);
        assert_eq!(
            (line.contains("resume"), line.contains("fast_mode=true")),
            (resumes, is_fast),
            "{mode}: {line}"
        );
    }
}

#[test]
fn a_thread_that_was_not_asked_for_does_not_count() {
    let mut stage = Stage::new();
    let config = codex(&stage, 100);
    stage.session = Some("11111111-2222-4333-8444-555555555555".to_owned());
    let told = stage.run(KIND, &config).told();
    let class = told.terminals[0].error.as_ref().map(|error| error.class);
    assert_eq!((class, told.terminals.len()), (Some(ErrorClass::SessionGone), 1));
    assert_eq!((told.session, told.usage, told.messages), (None, None, 0));
}

#[test]
fn the_environment_is_looked_at_without_starting_anything() {
    let stage = Stage::new();
    let checks = |mut config: Value| {
        config["cwd"] = json!(stage.path());
        config["env"]["HOME"] = json!(stage.path());
        let checks = adapter(KIND).test_environment(&config, &stage.host);
        checks.iter().map(|check| (check.code, check.level)).collect::<Vec<_>>()
    };
    let sound = codex(&stage, 1);
    assert_eq!(
        checks(sound),
        [
            ("codex_cwd_valid", Level::Info),
            ("codex_command_resolvable", Level::Info),
            ("codex_openai_api_key_missing", Level::Warn),
        ]
    );
    let bad = json!({
        "command": stage.file("nothing"), "fastMode": true, "model": "o3",
        "env": { "OPENAI_API_KEY": "sk-123456789" },
    });
    assert_eq!(
        checks(bad),
        [
            ("codex_cwd_valid", Level::Info),
            ("codex_command_unresolvable", Level::Error),
            ("codex_openai_api_key_present", Level::Info),
            ("codex_fast_mode_unsupported_model", Level::Warn),
        ]
    );
    assert!(!stage.file("args").exists());
}

#[test]
fn mistakes_are_found_when_the_agent_is_saved() {
    let config =
        json!({ "search": "yes", "fastMode": 1, "modelReasoningEffort": 3, "extraArgs": "-x", "model": "" });
    let found: Vec<String> = adapter(KIND).check(&config).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "adapterConfig.modelReasoningEffort: must be a text, is a number",
            "adapterConfig.extraArgs: must be a list of texts, is a text",
            "adapterConfig.search: must be true or false, is a text",
            "adapterConfig.fastMode: must be true or false, is a number",
        ]
    );
    assert_eq!(adapter(KIND).check(&json!({})), []);
}
