//! What every program is told of its run, fresh and resumed: in its environment and in its prompt.

use std::os::unix::fs::PermissionsExt;

use adapters::Command;
use serde_json::{Value, json};

use crate::stage::Stage;

/// The programs that take a prompt, and whether they are told in it which variables tell of the run: those that do not look
/// around by themselves.
const PROGRAMS: [(&str, bool); 8] = [
    ("claude_local", false),
    ("codex_local", false),
    ("cursor", true),
    ("gemini_local", true),
    ("hermes_local", true),
    ("opencode_local", false),
    ("pi_local", false),
    ("qwen", true),
];

fn stage(kind: &str) -> (Stage, Value) {
    let mut stage = Stage::new();
    let program = stage.file(kind);
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    stage.api_key = Some("key-of-the-run".to_owned());
    stage.context = json!({
        "paperclipTaskMarkdown": "THE TASK",
        "paperclipWake": {
            "reason": "issue_commented",
            "issue": { "id": "i-7", "identifier": "ACM-7", "title": "Fix the lexer" },
            "commentIds": ["c-1"],
            "comments": [{ "id": "c-1", "body": "Look again.", "author": { "type": "user", "id": "u-1" } }],
        },
    });
    let config = json!({ "command": program, "model": "fake/model-1", "promptTemplate": "TEMPLATE" });
    (stage, config)
}

/// What the program reads, however it gets it.
fn heard(command: &Command) -> String {
    format!("{}\n{}", command.argv[1..].join("\n"), String::from_utf8(command.stdin.clone()).unwrap())
}

fn env<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    command.env.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// E4.16, E4.21, E5.2, E5.5.
#[test]
fn every_program_is_told_of_its_wake_in_its_environment_and_in_its_prompt() {
    for (kind, is_told_of_variables) in PROGRAMS {
        let (stage, config) = stage(kind);
        let command = stage.describe(kind, &config).unwrap();
        let payload = env(&command, "PAPERCLIP_WAKE_PAYLOAD_JSON").unwrap();
        let payload: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(
            (&payload["comments"][0]["body"], &payload["comments"][0]["authorType"]),
            (&json!("Look again."), &json!("user")),
            "{kind}"
        );
        assert_eq!(env(&command, "PAPERCLIP_RUN_ID"), Some("run-1"), "{kind}");
        assert_eq!(env(&command, "PAPERCLIP_API_KEY"), Some("key-of-the-run"), "{kind}");
        let heard = heard(&command);
        for words in ["## Paperclip Wake Payload", "Look again.", "THE TASK", "TEMPLATE"] {
            assert_eq!(heard.matches(words).count(), 1, "{kind}: {words} in {heard}");
        }
        assert_eq!(heard.contains("Runtime note:"), is_told_of_variables, "{kind}");
        assert!(!heard.contains("key-of-the-run"), "{kind}");
    }
}

#[test]
fn a_stage_is_told_in_words_that_agents_know() {
    let told = |execution: Value| {
        let (mut run, config) = stage("claude_local");
        run.context["paperclipWake"]["executionStage"] = execution;
        let command = run.describe("claude_local", &config).unwrap();
        let payload: Value =
            serde_json::from_str(env(&command, "PAPERCLIP_WAKE_PAYLOAD_JSON").unwrap()).unwrap();
        payload["executionStage"].clone()
    };
    let agent = json!({ "type": "agent", "agentId": "a" });
    assert_eq!(
        told(
            json!({ "wakeRole": "Reviewer", "currentParticipant": agent, "returnAssignee": { "type": "group" } })
        ),
        json!({ "wakeRole": "reviewer", "currentParticipant": agent, "returnAssignee": null })
    );
    assert_eq!(
        told(json!({ "wakeRole": "owner", "stageId": "s" })),
        json!({ "wakeRole": null, "stageId": "s" })
    );
    for nothing in [json!({}), json!("review"), json!([]), Value::Null] {
        assert_eq!(told(nothing.clone()), Value::Null, "{nothing}");
    }
}

/// E4.22 and the same of the others.
#[test]
fn a_resumed_session_hears_what_is_new_and_not_the_rest_again() {
    for (kind, _) in PROGRAMS {
        let (mut stage, mut config) = stage(kind);
        config["bootstrapPromptTemplate"] = json!("BOOTSTRAP");
        let fresh = heard(&stage.describe(kind, &config).unwrap());
        assert!(fresh.contains("BOOTSTRAP"), "{kind}");
        stage.session = Some("01a1faf0-10ff-7372-8508-ed199ead7e6b".to_owned());
        let resumed = heard(&stage.describe(kind, &config).unwrap());
        assert!(
            resumed.contains("## Paperclip Resume Delta") && resumed.contains("Look again."),
            "{kind}: {resumed}"
        );
        for words in ["## Paperclip Wake Payload", "BOOTSTRAP", "TEMPLATE"] {
            assert!(!resumed.contains(words), "{kind}: {words} in {resumed}");
        }
        // Nothing new to tell: the program is asked again.
        stage.context["paperclipWake"] = Value::Null;
        let asked = heard(&stage.describe(kind, &config).unwrap());
        assert!(asked.contains("TEMPLATE") && !asked.contains("BOOTSTRAP"), "{kind}: {asked}");
    }
}

/// E1.1.
#[test]
fn a_time_limit_of_nothing_is_none() {
    for (kind, _) in PROGRAMS {
        let (stage, mut config) = stage(kind);
        let mut limit = |seconds: Value| {
            config["timeoutSec"] = seconds;
            stage.describe(kind, &config).unwrap().wall.map(|wall| wall.as_secs())
        };
        let default = if kind == "hermes_local" { Some(300) } else { None };
        assert_eq!(
            (limit(Value::Null), limit(json!(0)), limit(json!(90))),
            (default, default, Some(90)),
            "{kind}"
        );
    }
}
