//! The driver of agents of the Agent Client Protocol, and the dialects of the scripted agent that it and other readers
//! are tested with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use adapters::{AdapterError, SECRET_MIN};
use domain::telling::{AgentEvent, ErrorClass};
use serde_json::{Value, json};

use crate::stage::Stage;

/// An agent that plays a script and speaks the protocol.
fn speaker(stage: &Stage, script: &str, more: Value) -> Value {
    std::fs::write(stage.file("script"), script).unwrap();
    let mut config = json!({
        "command": env!("CARGO_BIN_EXE_adapter-programs"), "args": ["scripted", "script", "--speak", "acp"],
        "promptTemplate": "Work.",
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// What a process said that people see, in short.
fn short(events: &[AgentEvent]) -> Vec<String> {
    let words = events.iter().filter_map(|event| {
        Some(match event {
            AgentEvent::Session { id } => format!("session {id}"),
            AgentEvent::Message { text } => text.clone(),
            AgentEvent::ToolCall { name, input, .. } => format!("{name} {input}"),
            AgentEvent::ToolResult { is_error, output, .. } => format!("{is_error} {output}"),
            AgentEvent::UsageTotal { usage } => format!("used {}", usage.input_tokens + usage.output_tokens),
            AgentEvent::UsageAdded { .. } | AgentEvent::SessionNote { .. } => return None,
            AgentEvent::PermissionAsked { permission } => format!("may I {}", permission.title),
            AgentEvent::PermissionClosed { outcome, .. } => format!("closed {outcome}"),
            AgentEvent::Trouble { error } => format!("trouble {}", error.message),
            AgentEvent::Result { error: Some(error), .. } => {
                format!("failed {}: {}", error.class, error.message)
            }
            AgentEvent::Result { error: None, summary, .. } => {
                format!("done {}", summary.as_deref().unwrap_or_default())
            }
        })
    });
    words.collect()
}

const WORK: &str = "message on it\ntool Bash {\"command\": \"ls\"}\ntool-result ok a b\nusage 10 2 3\nmessage there\nresult success there";

#[test]
fn a_conversation_is_held_to_its_end() {
    let stage = Stage::new();
    let played = stage.run("acp", &speaker(&stage, WORK, json!({})));
    assert_eq!(played.code(), Some(0), "{}", played.stdout);
    let expected = [
        "session session-run-1",
        "on it",
        "Bash {\"command\":\"ls\"}",
        "false a b",
        "there",
        "used 12",
        "done there",
    ];
    assert_eq!(short(&played.events), expected);
    assert!(!played.stdout.contains("Work."), "the prompt is the process's input, and not in its output");
}

#[test]
fn a_session_is_gone_on_with_or_found_to_be_gone() {
    let mut stage = Stage::new();
    stage.session = Some("old".to_owned());
    let played =
        stage.run("acp", &speaker(&stage, "if-resuming {\n message going on\n}\nresult success", json!({})));
    assert_eq!(short(&played.events), ["session old", "going on", "done going on"]);
    let played = stage.run("acp", &speaker(&stage, "session-gone\nresult success", json!({})));
    assert_eq!(short(&played.events), ["failed session_gone: Resource not found"]);
}

#[test]
fn whatever_words_the_agent_has_for_a_limit_or_a_login_say_what_it_met() {
    for (step, class) in [
        ("result error other You've hit your usage limit.", ErrorClass::Quota),
        (
            "result error other 429 You exceeded your current quota, please check your plan.",
            ErrorClass::Quota,
        ),
        ("result error transient You have exhausted your daily quota on this model.", ErrorClass::Quota),
        (
            "result error other Your authentication token has been invalidated. Please log in again.",
            ErrorClass::Auth,
        ),
        ("result error other OAuth token has expired. Please run /login", ErrorClass::Auth),
        ("result error other the model said something odd", ErrorClass::Other),
    ] {
        let stage = Stage::new();
        let played = stage.run("acp", &speaker(&stage, step, json!({})));
        let error = played.events.iter().find_map(|event| match event {
            AgentEvent::Result { error, .. } => error.clone(),
            _ => None,
        });
        assert_eq!(error.map(|error| error.class), Some(class), "{step}");
    }
}

#[test]
fn policies_answer_for_nobody_and_a_person_who_never_comes_is_waited_for_as_long_as_configured() {
    let script = "permission Bash {\"command\": \"rm x\"}\nmessage ${LINE}\nresult success";
    for (config, expected) in [
        (json!({ "permissions": "allow" }), vec!["session session-run-1", "allow", "done allow"]),
        (json!({ "permissions": "deny" }), vec!["session session-run-1", "reject", "done reject"]),
        (
            json!({ "permissionTimeoutSec": 0.05 }),
            vec!["session session-run-1", "may I rm x", "closed expired", "none", "done none"],
        ),
    ] {
        let stage = Stage::new();
        let played = stage.run("acp", &speaker(&stage, script, config));
        assert_eq!(short(&played.events), expected, "{}", played.stdout);
    }
}

#[test]
fn failures_keep_their_class_and_an_agent_that_cannot_begin_says_why() {
    for (step, class) in [
        ("result error transient busy", ErrorClass::Transient),
        ("result error quota no more", ErrorClass::Quota),
        ("result error auth log in", ErrorClass::Auth),
        ("result error bad_request what", ErrorClass::BadRequest),
    ] {
        let stage = Stage::new();
        let told = stage.run("acp", &speaker(&stage, step, json!({}))).told();
        assert_eq!(told.terminals[0].error.as_ref().map(|error| error.class), Some(class), "{step}");
    }
    let stage = Stage::new();
    let played = stage.run("acp", &speaker(&stage, "dance", json!({})));
    let told = played.told();
    assert!(
        told.trouble.is_some_and(|error| error.message.contains("ended with code 2")),
        "{}",
        played.stdout
    );
    assert_eq!((told.terminals.len(), played.code()), (0, Some(2)));
    let model = speaker(&stage, "result success", json!({ "model": "m" }));
    let told = stage.run("acp", &model).told();
    let error = told.terminals[0].error.clone().unwrap();
    assert_eq!(error.class, ErrorClass::BadRequest, "{}", error.message);
    assert!(error.message.contains("model `m`"), "{}", error.message);
}

#[test]
fn the_command_is_the_driver_and_tells_it_everything_on_stdin() {
    let stage = Stage::new();
    let token = "a-token-of-some-length";
    let servers = json!([{ "type": "http", "name": "s", "url": "http://x", "headers": [
        { "name": "Authorization", "value": format!("Bearer {token}") }, { "name": "X-Color", "value": "blue-or-green" },
    ] }]);
    let config =
        speaker(&stage, "", json!({ "mcpServers": servers, "mode": "plan", "permissionTimeoutSec": 60 }));
    let command = stage.describe("acp", &config).unwrap();
    assert_eq!(command.argv[1..], ["acp-run"]);
    assert!(command.keep_stdin_open && command.stdin.ends_with(b"\n"));
    let job: Value = serde_json::from_slice(&command.stdin).unwrap();
    assert_eq!((&job["argv"][1], &job["argv"][4]), (&json!("scripted"), &json!("acp")));
    assert_eq!(
        (&job["policy"], &job["patienceMs"], &job["mode"]),
        (&json!("ask"), &json!(60_000), &json!("plan"))
    );
    assert_eq!(job["mcpServers"], servers);
    assert!(token.len() >= SECRET_MIN && command.secrets.iter().any(|secret| secret == token));
    assert!(!command.secrets.iter().any(|secret| secret == "blue-or-green"));

    for (config, path) in [
        (json!({}), "adapterConfig.command"),
        (json!({ "command": "x", "permissions": "maybe" }), "adapterConfig.permissions"),
        (json!({ "command": "x", "mcpServers": {} }), "adapterConfig.mcpServers"),
        (json!({ "command": "x", "mcpServers": [{}] }), "adapterConfig.mcpServers[0].name"),
        (json!({ "command": "x", "permissionTimeoutSec": -1 }), "adapterConfig.permissionTimeoutSec"),
    ] {
        let Err(AdapterError::Config(problems)) = stage.describe("acp", &config) else { panic!("{config}") };
        assert_eq!(problems.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), [path], "{config}");
    }
}

#[test]
fn every_dialect_says_what_plain_speech_says() {
    let script = format!("session s-1\n{WORK}");
    let stage = Stage::new();
    let words = |speak: &str| {
        let events = stage.run("scripted", &json!({ "script": script, "speak": speak })).events;
        let mut words = short(&events);
        // Programs tell their usage in ways of their own.
        words.retain(|word| !word.starts_with("used"));
        words
    };
    let plain = words("plain");
    assert_eq!(plain.len(), 6, "{plain:?}");
    assert_eq!(words("claude"), plain);
    let codex: Vec<String> =
        words("codex").into_iter().map(|word| word.replace("command_execution", "Bash")).collect();
    assert_eq!(codex.len(), plain.len(), "{codex:?}");
    assert_eq!((&codex[0], &codex[1], &codex[5]), (&plain[0], &plain[1], &plain[5]));
}

/// The names of the fields that lines of a kind have in recordings.
fn recorded(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(folder);
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "stdout") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let (kind, fields) = described(&line);
            kinds.entry(kind).or_default().extend(fields);
        }
    }
    kinds
}

/// What kind of line it is, and the names of its fields, those of what is in it included.
fn described(line: &Value) -> (String, Vec<String>) {
    let line = if line["from_agent"].is_object() { &line["from_agent"] } else { line };
    let update = &line["params"]["update"];
    let inner = ["item", "message", "usage", "result"].iter().map(|key| (*key, &line[*key]));
    let inner = inner.chain([("update", update)]).filter(|(_, value)| value.is_object());
    let kind = [
        line["type"].as_str(),
        line["subtype"].as_str(),
        line["item"]["type"].as_str(),
        line["method"].as_str(),
        update["sessionUpdate"].as_str(),
        line["result"]["stopReason"].as_str().map(|_| "end"),
    ];
    let names = |at: &str, value: &Value| -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(name, _)| format!("{at}.{name}")).collect()
    };
    let mut fields = names("", line);
    fields.extend(inner.flat_map(|(key, value)| names(key, value)));
    (kind.into_iter().flatten().collect::<Vec<_>>().join("/"), fields)
}

#[test]
fn a_dialect_has_no_field_that_its_program_does_not_have() {
    let script = format!("session s-1\n{WORK}");
    let stage = Stage::new();
    for (speak, folder) in [("claude", "claude-2.1.197"), ("codex", "codex"), ("acp", "acp")] {
        let recorded = recorded(folder);
        let played = match speak {
            "acp" => stage.run("acp", &speaker(&stage, &script, json!({}))),
            _ => stage.run("scripted", &json!({ "script": script, "speak": speak })),
        };
        let mut seen = 0;
        for line in played.stdout.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if speak == "acp"
                && (line["from_agent"].is_null()
                    || line["from_agent"]["result"]["stopReason"].is_null()
                        && line["from_agent"]["method"].is_null())
            {
                continue;
            }
            let (kind, fields) = described(&line);
            let known = recorded
                .get(&kind)
                .unwrap_or_else(|| panic!("{speak}: no recording has a line `{kind}`: {line}"));
            let strange: Vec<&String> = fields.iter().filter(|field| !known.contains(*field)).collect();
            assert!(strange.is_empty(), "{speak}, `{kind}`: {strange:?}");
            seen += 1;
        }
        assert!(seen >= 4, "{speak}: {}", played.stdout);
    }
}
