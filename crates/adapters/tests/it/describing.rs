//! What adapters accept, what they refuse, and the command and environment that they describe.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use adapters::{AdapterError, Host, Level, SECRET_MIN, registry};
use serde_json::{Value, json};

use crate::stage::{Stage, adapter};

#[test]
fn the_registry_knows_each_kind_once() {
    let kinds: Vec<_> = registry().iter().map(|adapter| adapter.kind()).collect();
    let distinct: BTreeSet<_> = kinds.iter().collect();
    assert_eq!(distinct.len(), kinds.len(), "{kinds:?}");
    for kind in [
        "process",
        "http",
        "scripted",
        "claude_local",
        "codex_local",
        "gemini_local",
        "opencode_local",
        "pi_local",
        "qwen",
        "acp",
        "cursor",
        "hermes_local",
        "openclaw_gateway",
    ] {
        assert!(kinds.contains(&kind), "{kind}");
    }
    assert!(adapters::find("claude").is_none());
    let without_terminal_event: Vec<_> =
        registry().iter().filter(|adapter| !adapter.has_terminal_event()).map(|it| it.kind()).collect();
    assert_eq!(without_terminal_event, ["process", "hermes_local"]);
}

#[test]
fn only_what_works_elsewhere_is_not_called_again_unless_it_is_said_to_bear_it() {
    let not_repeatable = |config: Value| {
        let all = registry().iter().filter(|adapter| !adapter.is_repeatable(&config));
        all.map(|adapter| adapter.kind()).collect::<Vec<_>>()
    };
    assert_eq!(not_repeatable(json!({})), ["http", "openclaw_gateway"]);
    assert_eq!(not_repeatable(json!({ "idempotent": "true" })), ["http", "openclaw_gateway"]);
    assert_eq!(not_repeatable(json!({ "idempotent": true })), ["openclaw_gateway"]);
}

#[test]
fn every_mistake_in_a_configuration_is_found_with_its_path() {
    for (kind, config, expected) in [
        ("process", json!({ "command": "true" }), &[][..]),
        (
            "process",
            json!({ "command": "true", "args": [], "cwd": null, "env": {}, "timeoutSec": 0, "graceSec": 0.5, "model": 5 }),
            &[],
        ),
        ("process", json!({}), &["adapterConfig.command: is missing"]),
        ("process", json!({ "command": "  " }), &["adapterConfig.command: is missing"]),
        ("process", json!(null), &["adapterConfig.command: is missing"]),
        ("process", json!({ "command": ["ls"] }), &["adapterConfig.command: must be a text, is a list"]),
        ("process", json!([]), &["adapterConfig: must be an object", "adapterConfig.command: is missing"]),
        (
            "process",
            json!({ "command": "x", "args": "-l" }),
            &["adapterConfig.args: must be a list of texts, is a text"],
        ),
        (
            "process",
            json!({ "command": "x", "args": ["a", 1] }),
            &["adapterConfig.args[1]: must be a text, is a number"],
        ),
        (
            "process",
            json!({ "command": "x", "args": ["a\0b"] }),
            &["adapterConfig.args[0]: must not contain a NUL byte"],
        ),
        ("process", json!({ "command": "x\0" }), &["adapterConfig.command: must not contain a NUL byte"]),
        (
            "process",
            json!({ "command": "x", "env": { "A": "\0" } }),
            &["adapterConfig.env.A: must not contain a NUL byte"],
        ),
        (
            "process",
            json!({ "command": "x", "cwd": "work" }),
            &["adapterConfig.cwd: must be an absolute path"],
        ),
        (
            "process",
            json!({ "command": "x", "cwd": "~/work" }),
            &["adapterConfig.cwd: must be an absolute path"],
        ),
        (
            "process",
            json!({ "command": "x", "timeoutSec": "60" }),
            &["adapterConfig.timeoutSec: must be a number, is a text"],
        ),
        (
            "process",
            json!({ "command": "x", "graceSec": -1 }),
            &["adapterConfig.graceSec: must not be negative"],
        ),
        (
            "process",
            json!({ "command": "x", "env": [] }),
            &["adapterConfig.env: must be an object, is a list"],
        ),
        (
            "process",
            json!({ "command": "x", "env": { "1A": "", "A B": "", "A=B": "", "": "" } }),
            &[
                "adapterConfig.env.: Invalid environment variable name: ",
                "adapterConfig.env.1A: Invalid environment variable name: 1A",
                "adapterConfig.env.A B: Invalid environment variable name: A B",
                "adapterConfig.env.A=B: Invalid environment variable name: A=B",
            ],
        ),
        (
            "process",
            json!({ "command": "x", "env": { "A": 1 } }),
            &["adapterConfig.env.A: Invalid environment binding for key: A"],
        ),
        (
            "process",
            json!({ "command": "x", "env": { "BUGLE_RUN": "r/1" } }),
            &[
                "adapterConfig.env.BUGLE_RUN: Invalid environment variable name: BUGLE_RUN is reserved: it marks the processes of a run",
            ],
        ),
        (
            "process",
            json!({ "command": "x", "env": { "A": { "type": "secret_ref", "secretId": "s" } } }),
            &["adapterConfig.env.A: Invalid environment binding for key: A"],
        ),
        (
            "process",
            json!({ "command": "x", "env": { "A": { "type": "secret_ref",
                "secretId": "0192f7a0-0000-4000-8000-000000000000" } } }),
            &[],
        ),
        (
            "process",
            json!({ "command": "x", "env": { "A": { "type": "plain" }, "B": { "value": "" } } }),
            &[
                "adapterConfig.env.A: Invalid environment binding for key: A",
                "adapterConfig.env.B: Invalid environment binding for key: B",
            ],
        ),
        (
            "process",
            json!({ "command": "x", "env": { "A": "x".repeat(131_072) } }),
            &[
                "adapterConfig.env.A: Invalid environment binding for key: A (it is longer than the system takes: 128 KiB)",
            ],
        ),
        ("http", json!({ "url": "https://example.org/run?x=1", "timeoutMs": 5, "idempotent": true }), &[]),
        ("http", json!({}), &["adapterConfig.url: is missing"]),
        ("http", json!({ "url": 5 }), &["adapterConfig.url: must be a text, is a number"]),
        ("http", json!({ "url": "example.org/run" }), &["adapterConfig.url: is not an absolute address"]),
        ("http", json!({ "url": "https:///run" }), &["adapterConfig.url: is not an absolute address"]),
        ("http", json!({ "url": "https://a b/" }), &["adapterConfig.url: is not an absolute address"]),
        ("http", json!({ "url": "ws://a/" }), &["adapterConfig.url: must begin with http:// or https://"]),
        (
            "http",
            json!({ "url": "https://me:secret@a/" }),
            &["adapterConfig.url: must not hold a user or a password"],
        ),
        (
            "http",
            json!({ "url": "http://a/", "method": "BREW" }),
            &["adapterConfig.method: must be one of: POST, PUT, PATCH, DELETE, GET"],
        ),
        (
            "http",
            json!({ "url": "http://a/", "headers": { "a b": "", "x": 1, "y": "a\nb", "Content-Length": "1" } }),
            &[
                "adapterConfig.headers.Content-Length: is set by the connection itself",
                "adapterConfig.headers.a b: is not a name for a header",
                "adapterConfig.headers.x: must be a text, is a number",
                "adapterConfig.headers.y: has a character that a header cannot hold",
            ],
        ),
        (
            "http",
            json!({ "url": "http://a/", "payloadTemplate": "x", "idempotent": 1 }),
            &[
                "adapterConfig.payloadTemplate: must be an object, is a text",
                "adapterConfig.idempotent: must be true or false, is a number",
            ],
        ),
        ("scripted", json!({ "script": "print hi" }), &[]),
        ("scripted", json!({ "script": ["print hi", { "repeat 2": ["print x"] }], "speak": "plain" }), &[]),
        ("scripted", json!({ "file": "demo.script" }), &[]),
        ("scripted", json!({}), &["adapterConfig.script: is missing"]),
        (
            "scripted",
            json!({ "script": "a", "file": "b" }),
            &["adapterConfig.file: must not be given together with script"],
        ),
        (
            "scripted",
            json!({ "script": 5 }),
            &["adapterConfig.script: must be a text or a list of steps, is a number"],
        ),
        (
            "scripted",
            json!({ "script": "print\nsleep x" }),
            &[
                "adapterConfig.script: line 2: `sleep x`: `x` is not a span like 250us, 100ms, 1.5s, 2m or 1h; expected `sleep SPAN`",
            ],
        ),
        (
            "scripted",
            json!({ "script": ["print", 5] }),
            &[
                "adapterConfig.script: line 2: `5`: expected a step: a text, or an object with a step and its body",
            ],
        ),
        (
            "scripted",
            json!({ "script": "", "speak": "latin" }),
            &["adapterConfig.speak: must be one of: plain, claude, codex"],
        ),
    ] {
        let problems: Vec<String> = adapter(kind).check(&config).iter().map(ToString::to_string).collect();
        let mut sorted = problems.clone();
        sorted.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(sorted, expected, "{kind} {config}");
        // What is refused when it is saved is refused when it runs, and the other way round.
        let refused = matches!(Stage::new().describe(kind, &config), Err(AdapterError::Config(_)));
        assert_eq!(refused, !problems.is_empty(), "{kind} {config}");
    }
}

#[test]
fn a_configuration_with_marks_of_what_is_not_shown_is_not_saved() {
    let mark = adapters::REDACTED;
    let plain = json!({ "type": "plain", "value": mark });
    for (kind, config, path, key) in [
        ("process", json!({ "command": "sh", "env": { "KEY": mark } }), "env.KEY", "KEY"),
        ("process", json!({ "command": "sh", "env": { "KEY": plain } }), "env.KEY", "KEY"),
        ("scripted", json!({ "script": "env", "env": { "KEY": plain } }), "env.KEY", "KEY"),
        (
            "http",
            json!({ "url": "http://a/", "headers": { "Authorization": mark } }),
            "headers.Authorization",
            "Authorization",
        ),
    ] {
        let problems = adapter(kind).check(&config);
        let told: Vec<(&str, &str)> =
            problems.iter().map(|problem| (problem.path.as_str(), problem.message.as_str())).collect();
        let message = format!("Refusing to persist redacted placeholder for key: {key}");
        assert_eq!(told, [(format!("adapterConfig.{path}").as_str(), message.as_str())], "{kind} {config}");
    }
    let spoken = json!({ "command": "sh", "env": { "KEY": format!("not {mark}") } });
    assert_eq!(adapter("process").check(&spoken), []);
}

#[test]
fn a_configuration_is_saved_up_to_a_quarter_of_a_mebibyte() {
    let config = |length: usize| json!({ "command": "sh", "notes": "x".repeat(length) });
    let rest = config(0).to_string().len();
    assert_eq!(adapter("process").check(&config(262_144 - rest)), []);
    let told = adapter("process").check(&config(262_145 - rest));
    assert_eq!(told.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["adapterConfig"]);
}

#[test]
fn the_servers_environment_passes_only_by_the_list() {
    let server = [
        ("PATH", "/bin"),
        ("HOME", "/home/me"),
        ("LC_ALL", "C.UTF-8"),
        ("https_proxy", "http://u:canary-pass@proxy:3128"),
        ("SSL_CERT_FILE", "/certs"),
        ("AWS_SECRET_ACCESS_KEY", "canary-1"),
        ("DATABASE_URL", "canary-2"),
        ("BUGLE_DATABASE_URL", "canary-3"),
        ("PAPERCLIP_AGENT_JWT_SECRET", "canary-4"),
        ("BUGLE_RUN", "canary-5"),
        ("LD_PRELOAD", "canary-6"),
        ("path", "canary-7"),
        ("CLAUDECODE", "1"),
    ];
    let mut stage = Stage::new();
    stage.host = Host::from_env(server);
    let names: Vec<&str> = stage.host.env.keys().map(String::as_str).collect();
    assert_eq!(names, ["HOME", "LC_ALL", "PATH", "SSL_CERT_FILE", "https_proxy"]);
    for (kind, config) in [
        ("process", json!({ "command": "sh" })),
        ("http", json!({ "url": "http://a/" })),
        ("scripted", json!({ "script": "env" })),
    ] {
        let command = stage.describe(kind, &config).unwrap();
        for (name, value) in &command.env {
            assert!(!value.contains("canary") || name == "https_proxy", "{kind}: {name}={value}");
        }
        assert_eq!(command.secrets, ["canary-pass"], "{kind}");
    }
}

#[test]
fn names_and_values_that_are_no_text_do_not_pass() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let host = Host::from_env([
        (OsString::from("LANG"), OsString::from_vec(vec![0xff])),
        ("TZ".into(), "UTC".into()),
    ]);
    assert_eq!(host.env, BTreeMap::from([("TZ".to_owned(), "UTC".to_owned())]));
}

#[test]
fn every_kind_works_in_the_workspace_and_a_configured_folder_replaces_the_home_alone() {
    let mut stage = Stage::new();
    for (kind, config) in [("process", json!({ "command": "sh" })), ("scripted", json!({ "script": "hang" }))]
    {
        for (source, configured, expected) in [
            ("project_primary", None, "/"),
            ("project_primary", Some("/usr"), "/"),
            ("agent_home", None, "/"),
            ("agent_home", Some("/usr"), "/usr"),
        ] {
            stage.context = json!({ "paperclipWorkspace": { "cwd": "/", "source": source } });
            let mut config = config.clone();
            config["cwd"] = json!(configured);
            let command = stage.describe(kind, &config).unwrap();
            assert_eq!(command.cwd, std::path::Path::new(expected), "{kind} {source} {configured:?}");
        }
    }
}

/// E1.12, E4.16.
#[test]
fn the_folder_of_the_workspace_is_told_only_where_the_agent_works_in_it() {
    let mut stage = Stage::new();
    for (source, configured, expected) in [
        ("project_primary", None, Some("/")),
        ("project_primary", Some("/usr"), Some("/")),
        ("agent_home", None, Some("/")),
        // The configured folder took its place.
        ("agent_home", Some("/usr"), None),
    ] {
        stage.context = json!({ "paperclipWorkspace": { "cwd": "/", "source": source } });
        let command = stage.describe("process", &json!({ "command": "sh", "cwd": configured })).unwrap();
        for name in ["PAPERCLIP_WORKSPACE_CWD", "BUGLE_WORKSPACE_CWD"] {
            let told = command.env.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str());
            assert_eq!(told, expected, "{name} {source} {configured:?}");
        }
    }
}

#[test]
fn the_run_is_told_under_both_names_and_only_what_is_known() {
    let mut stage = Stage::new();
    stage.host = Host::default();
    stage.api_key = Some("key-of-the-run".to_owned());
    stage.context = json!({
        "issueId": "issue-1", "commentId": "c-1", "wakeCommentId": "c-2", "approvalId": " ", "issueIds": ["a", "b"],
        "paperclipWorkspace": { "cwd": "/", "source": "project", "branchName": null, "agentHome": "/home/agent" },
        "paperclipWorkspaces": [{ "id": 1 }], "paperclipRuntimeServices": [],
        "paperclipWake": {
            "reason": " issue_commented ", "issue": { "id": "issue-1", "title": "" }, "commentIds": ["c-1", "c-2"],
            "comments": [
                { "id": "c-1", "body": " hi ", "author": { "type": "user", "id": "u-1" } },
                { "id": "c-2", "body": "  ", "author": { "type": "user", "id": "u-1" } },
            ],
            "commentWindow": { "requestedCount": 2, "includedCount": 2 },
        },
    });
    let command = stage.describe("process", &json!({ "command": "sh" })).unwrap();
    let env: BTreeMap<&str, &str> =
        command.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ours: BTreeMap<&str, &str> =
        env.iter().filter_map(|(name, value)| Some((name.strip_prefix("BUGLE_")?, *value))).collect();
    let aliases: BTreeMap<&str, &str> =
        env.iter().filter_map(|(name, value)| Some((name.strip_prefix("PAPERCLIP_")?, *value))).collect();
    assert_eq!(ours, aliases);
    let wake = json!({
        "reason": "issue_commented", "issue": { "id": "issue-1", "title": null }, "commentIds": ["c-1", "c-2"],
        "comments": [{ "id": "c-1", "body": "hi", "authorType": "user", "authorId": "u-1" }],
        "requestedCount": 2, "includedCount": 2, "missingCount": 1,
    });
    let told: Value = serde_json::from_str(ours["WAKE_PAYLOAD_JSON"]).unwrap();
    assert_eq!(told, wake);
    let rest: Vec<(&str, &str)> = ours
        .iter()
        .filter(|(name, _)| **name != "WAKE_PAYLOAD_JSON")
        .map(|(name, value)| (*name, *value))
        .collect();
    let expected = [
        ("AGENT_ID", "agent-1"),
        ("AGENT_NAME", "Tester"),
        ("API_KEY", "key-of-the-run"),
        ("API_URL", "http://127.0.0.1:1"),
        ("COMPANY_ID", "company-1"),
        ("ISSUE_ID", "issue-1"),
        ("LINKED_ISSUE_IDS", "a,b"),
        ("RUN_ID", "run-1"),
        ("TASK_ID", "issue-1"),
        ("TASK_KEY", "task-7"),
        ("WAKE_COMMENT_ID", "c-2"),
        ("WAKE_REASON", "on_demand"),
        ("WORKSPACES_JSON", "[{\"id\":1}]"),
        ("WORKSPACE_CWD", "/"),
        ("WORKSPACE_SOURCE", "project"),
    ];
    assert_eq!(rest, expected);
    assert_eq!(command.secrets, ["key-of-the-run"], "it must not reach a log");
    assert_eq!(env["AGENT_HOME"], "/home/agent");
    assert!(env["PATH"].contains("/usr/bin"), "a server without PATH still finds programs");
    assert!(!env.contains_key("BUGLE_RUN"), "the mark is the keeper's");

    stage.context = json!({ "paperclipWake": { "reason": "", "comments": [{ "body": "" }] } });
    let command = stage.describe("process", &json!({ "command": "sh" })).unwrap();
    assert!(
        command.env.iter().all(|(name, _)| !name.ends_with("WAKE_PAYLOAD_JSON")),
        "an empty payload is none"
    );
}

#[test]
fn what_is_too_long_for_a_variable_is_put_aside_for_a_file_and_noted() {
    let mut stage = Stage::new();
    stage.context = json!({ "paperclipWake": { "reason": "x".repeat(140_000) } });
    let config = json!({ "command": "true" });
    let command = stage.describe("process", &config).unwrap();
    let note = "BUGLE_WAKE_PAYLOAD_JSON is left out: 140094 bytes do not fit; \
                BUGLE_WAKE_PAYLOAD_JSON_FILE names a file with them";
    assert_eq!(command.notes, [note]);
    assert_eq!(stage.run("process", &config).code(), Some(0));

    let words = "x".repeat(150_000);
    stage.context =
        json!({ "bugleAutomation": { "nodeId": "a", "objective": words, "inputs": { "big": words } } });
    let command = stage.describe("process", &config).unwrap();
    let asides: Vec<_> = command
        .in_files
        .iter()
        .map(|it| (it.variables.each_ref().map(String::as_str), it.text.len()))
        .collect();
    assert_eq!(
        asides,
        [
            (["BUGLE_NODE_OBJECTIVE_FILE", "PAPERCLIP_NODE_OBJECTIVE_FILE"], 150_000),
            (["BUGLE_NODE_INPUTS_JSON_FILE", "PAPERCLIP_NODE_INPUTS_JSON_FILE"], 150_010),
        ]
    );
    assert!(command.env.iter().all(|(name, _)| !name.contains("NODE_OBJECTIVE")));
    assert!(!format!("{command:?}").contains("xxxx"));

    // Another machine has no such file, and a command would begin without knowing what it is to do.
    stage.host = adapters::Host::elsewhere();
    let error = stage.describe("process", &config).unwrap_err();
    assert!(
        error.to_string().contains("BUGLE_NODE_OBJECTIVE") && error.to_string().contains("(128 KiB)"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("shorter"));
}

#[test]
fn a_configured_key_wins_over_that_of_the_run_unless_it_was_left_blank() {
    let stage = Stage { api_key: Some("key-of-the-run".to_owned()), ..Stage::new() };
    for (configured, expected) in [("key-of-somebody", "key-of-somebody"), (" ", "key-of-the-run")] {
        let config = json!({ "command": "sh", "env": { "PAPERCLIP_API_KEY": configured } });
        let command = stage.describe("process", &config).unwrap();
        let env: BTreeMap<String, String> = command.env.into_iter().collect();
        assert_eq!((env["PAPERCLIP_API_KEY"].as_str(), env["BUGLE_API_KEY"].as_str()), (expected, expected));
    }
    let command = stage.describe("http", &json!({ "url": "http://127.0.0.1:1" })).unwrap();
    assert!(
        command.env.iter().all(|(name, _)| !name.ends_with("API_KEY")),
        "an endpoint is told nothing of it"
    );
}

#[test]
fn declared_variables_win_and_carry_their_alias_with_them() {
    let stage = Stage::new();
    let config = json!({ "command": "sh", "env": {
        "PAPERCLIP_API_URL": "http://other", "BUGLE_TASK_ID": "own", "PAPERCLIP_TASK_ID": "alias", "PATH": "/bin:/usr/bin",
        "MY_TOKEN": { "type": "plain", "value": "canary-token" }, "OTHER_TOKEN": "short", "PAPERCLIP_RUN": "x", "EMPTY_KEY": "",
    } });
    let command = stage.describe("process", &config).unwrap();
    let env: BTreeMap<String, String> = command.env.iter().cloned().collect();
    for (name, value) in [
        ("BUGLE_API_URL", "http://other"),
        ("PAPERCLIP_API_URL", "http://other"),
        ("BUGLE_TASK_ID", "own"),
        ("PAPERCLIP_TASK_ID", "alias"),
        ("MY_TOKEN", "canary-token"),
        ("PATH", "/bin:/usr/bin"),
        ("EMPTY_KEY", ""),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert!(!env.contains_key("BUGLE_RUN"), "an alias must not forge the mark");
    assert_eq!(command.secrets, ["canary-token"]);
    assert!(command.secrets.iter().all(|secret| secret.len() >= SECRET_MIN));
    assert_eq!(command.notes, ["OTHER_TOKEN is too short to be hidden in logs (under 8 bytes)"]);
    assert!(!format!("{command:?}").contains("canary"), "{command:?}");
}

#[test]
fn a_process_is_started_as_configured_and_says_nothing_by_itself() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "command": "sh", "args": ["-c", "pwd; echo \"$0 $BUGLE_RUN_ID $A\"; cat; exit 3", "zero"],
        "cwd": folder.path(), "env": { "A": "b c" }, "timeoutSec": 1.5, "graceSec": 3,
    });
    let command = stage.describe("process", &config).unwrap();
    assert!(command.argv[0].starts_with('/') && command.argv[0].ends_with("/sh"), "{:?}", command.argv);
    assert_eq!((command.wall, command.grace), (Some(Duration::from_millis(1500)), Duration::from_secs(3)));
    assert_eq!((command.stdin.len(), command.keep_stdin_open), (0, false));
    let played = stage.run("process", &config);
    let expected = format!("{}\nzero run-1 b c\n", folder.path().canonicalize().unwrap().display());
    assert_eq!((played.stdout.as_str(), played.code(), played.events.len()), (expected.as_str(), Some(3), 0));
    let reader = adapter("process").reader(&stage.setup(&config));
    assert!(!reader.is_listening());

    let plain = stage.describe("process", &json!({ "command": "sh", "graceSec": 0 })).unwrap();
    assert_eq!((plain.cwd.as_path(), plain.wall, plain.grace), (stage.path(), None, Duration::from_secs(1)));
    let plain = stage.describe("process", &json!({ "command": "sh", "timeoutSec": 1e300 })).unwrap();
    assert_eq!((plain.wall, plain.grace), (Some(Duration::from_secs(315_360_000)), Duration::from_secs(15)));
}

#[test]
fn a_command_that_cannot_start_is_an_answer_and_not_a_strange_ending() {
    let stage = Stage::new();
    std::fs::write(stage.file("script"), "#!/bin/sh\n").unwrap();
    let describe = |config: Value| stage.describe("process", &config).unwrap_err();
    let error = describe(json!({ "command": "no-such-program", "env": { "PATH": "/bin" } }));
    assert_eq!(error.to_string(), "find the command `no-such-program` in PATH `/bin`");
    assert_eq!(
        describe(json!({ "command": "./script" })),
        AdapterError::NotExecutable { path: stage.path().join("./script") }
    );
    let gone = describe(json!({ "command": "./gone" }));
    assert_eq!(gone, AdapterError::NoFile { path: stage.path().join("./gone") });
    assert!(!gone.hint().unwrap().contains("chmod"), "what is not there cannot be made executable");
    assert_eq!(describe(json!({ "command": "/" })), AdapterError::NotExecutable { path: "/".into() });
    assert_eq!(
        describe(json!({ "command": "sh", "cwd": "/no/folder" })),
        AdapterError::NoFolder { path: "/no/folder".into() }
    );
    assert!(error.hint().unwrap().contains("install"));
}

#[test]
fn the_environment_test_of_a_process_looks_and_starts_nothing() {
    use Level::{Error, Info, Warn};
    let stage = Stage::new();
    let folder = stage.path();
    std::fs::write(stage.file("script"), "#!/bin/sh\ntouch ran\n").unwrap();
    let present = ("process_command_present", Info);
    for (config, expected) in [
        (json!({ "command": "sh" }), vec![present, ("process_command_resolvable", Info)]),
        (json!({ "command": "no-such-program" }), vec![present, ("process_command_unresolvable", Error)]),
        (
            json!({ "command": "./script", "cwd": folder }),
            vec![present, ("process_cwd_valid", Info), ("process_command_unresolvable", Error)],
        ),
        (json!({ "command": "./script" }), vec![present, ("process_command_unresolvable", Warn)]),
        (
            json!({ "command": "sh", "cwd": "/no/folder" }),
            vec![present, ("process_cwd_invalid", Error), ("process_command_resolvable", Info)],
        ),
        (
            json!({ "command": "sh", "cwd": "folder" }),
            vec![present, ("process_cwd_invalid", Error), ("process_command_resolvable", Info)],
        ),
        (json!({}), vec![("process_command_missing", Error)]),
    ] {
        let checks = adapter("process").test_environment(&config, &stage.host);
        let codes: Vec<_> = checks.iter().map(|check| (check.code, check.level)).collect();
        assert_eq!(codes, expected, "{config}");
        assert!(checks.iter().all(|check| check.level == Info || check.hint.is_some()), "{checks:?}");
    }
    assert!(!stage.file("ran").exists());
}

#[test]
fn a_script_is_described_by_file_or_on_stdin() {
    let mut stage = Stage::new();
    let args = |config: &Value, stage: &Stage| stage.describe("scripted", config).unwrap().argv[1..].to_vec();
    let inline = json!({ "script": ["print a", { "repeat 2": ["print b"] }] });
    assert_eq!(args(&inline, &stage), ["scripted", "-", "--speak", "plain"]);
    assert_eq!(stage.describe("scripted", &inline).unwrap().stdin, b"print a\nrepeat 2 {\nprint b\n}\n");
    assert_eq!(stage.run("scripted", &inline).stdout, "a\nb\nb\n");
    stage.session = Some("s-1".to_owned());
    let file = json!({ "file": "demo", "args": ["--x", "y"] });
    assert_eq!(
        args(&file, &stage),
        ["scripted", "demo", "--speak", "plain", "--resume", "s-1", "--", "--x", "y"]
    );
    std::fs::write(stage.file("demo"), "if-resuming {\n print ${SESSION} ${ARG:1}\n}").unwrap();
    assert_eq!(stage.run("scripted", &file).stdout, "s-1 --x\n");
}

#[test]
fn the_environment_test_of_a_script_reads_it() {
    use Level::{Error, Info};
    let stage = Stage::new();
    std::fs::write(stage.file("good"), "print a").unwrap();
    std::fs::write(stage.file("bad"), "dance").unwrap();
    let (cwd, valid, invalid) =
        (("scripted_cwd_valid", Info), ("scripted_script_valid", Info), ("scripted_script_invalid", Error));
    for (config, expected) in [
        (json!({ "script": "print a" }), vec![valid]),
        (json!({ "script": "dance" }), vec![invalid]),
        (json!({ "file": stage.file("good") }), vec![valid]),
        (json!({ "file": "good", "cwd": stage.path() }), vec![cwd, valid]),
        (json!({ "file": "bad", "cwd": stage.path() }), vec![cwd, invalid]),
        (json!({ "file": stage.file("none") }), vec![invalid]),
    ] {
        let checks = adapter("scripted").test_environment(&config, &stage.host);
        let codes: Vec<_> = checks.iter().map(|check| (check.code, check.level)).collect();
        assert_eq!(codes, expected, "{config}");
    }
}
