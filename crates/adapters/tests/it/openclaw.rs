//! Agents behind a gateway: the real driver, and a gateway that is none.

use std::time::{Duration, Instant};

use adapters::{AdapterError, Level, SECRET_MIN, device_private_key_pem};
use domain::ending::{EndedBy, Ending, ProcessEnd, Verdict, settle};
use domain::run::Outcome;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use serde_json::{Value, json};

use crate::gateway::{Gateway, Manner, Step};
use crate::stage::{Played, Stage, adapter};

const KIND: &str = "openclaw_gateway";
const TOKEN: &str = "token-of-the-gateway";

fn at(gateway: &Gateway, more: Value) -> Value {
    let mut config = json!({ "url": gateway.url() });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn delta(text: &str) -> Step {
    Step::Event("assistant", json!({ "text": "so far", "delta": text }))
}

fn accepted() -> Step {
    Step::Answer(json!({ "runId": "run-1", "status": "accepted" }))
}

fn waited(status: &str) -> [Step; 2] {
    [Step::Wait, Step::Waited(json!({ "runId": "run-1", "status": status }))]
}

fn error_of(played: &Played) -> AgentError {
    let told = played.told();
    assert_eq!((told.terminals.len(), played.code()), (1, Some(1)), "{}", played.stdout);
    told.terminals[0].error.clone().unwrap_or_else(|| panic!("no error: {}", played.stdout))
}

fn code_of(played: &Played) -> String {
    error_of(played).code.unwrap_or_default().strip_prefix("openclaw_gateway").unwrap_or("none").to_owned()
}

/// Plays a gateway of these steps to its end.
fn play(steps: Vec<Step>, more: Value) -> (Played, Vec<String>) {
    let (stage, gateway) = (Stage::new(), Gateway::playing(steps));
    let played = stage.run(KIND, &at(&gateway, more));
    (played, gateway.methods())
}

#[test]
fn a_run_is_told_waited_for_and_summed_up() {
    let meta = json!({ "agentMeta": {
        "usage": { "input": 120, "output": 30, "cacheRead": 9 }, "model": "m-1", "provider": "anthropic", "costUsd": 0.25,
        "runtimeServices": [{ "serviceName": "web", "url": "http://a" }],
    } });
    let steps = vec![
        accepted(),
        Step::Foreign("assistant", json!({ "delta": "of somebody else" })),
        Step::Noise("no frame"),
        Step::Wait,
        delta("Fixed "),
        delta("the"),
        delta(" door.\n"),
        Step::Waited(
            json!({ "runId": "run-1", "status": "ok", "result": { "payloads": [{ "text": "other" }], "meta": meta } }),
        ),
    ];
    let (played, methods) = play(steps, json!({}));
    assert_eq!(methods, ["connect", "agent", "agent.wait"]);
    assert_eq!(played.code(), Some(0), "{}", played.stdout);
    let told = played.told();
    let terminal = &told.terminals[0];
    assert_eq!(terminal.summary.as_deref(), Some("Fixed the door."));
    assert_eq!(told.last_message.as_deref(), Some("Fixed the door."));
    assert_eq!(told.session, None, "sessions are the gateway's own");
    let usage = Usage {
        input_tokens: 120,
        cached_input_tokens: 9,
        output_tokens: 30,
        cost_micros: Some(250_000),
        provider: Some("anthropic".to_owned()),
        model: Some("m-1".to_owned()),
        ..Usage::default()
    };
    assert_eq!(told.usage, Some(usage));
    let json = terminal.json.as_ref().unwrap();
    assert_eq!((&json["runId"], &json["runtimeServices"][0]["url"]), (&json!("run-1"), &json!("http://a")));
    assert!(!played.stdout.contains("somebody else"), "{}", played.stdout);
}

#[test]
fn an_answer_that_is_final_is_not_waited_for_and_a_second_one_brings_the_result() {
    let result = json!({ "payloads": [{ "text": "All done." }], "meta": { "usage": { "inputTokens": 3 } } });
    let (played, methods) = play(vec![Step::Answer(json!({ "status": "ok", "result": result }))], json!({}));
    assert_eq!(methods, ["connect", "agent"]);
    assert_eq!(played.told().terminals[0].summary.as_deref(), Some("All done."));

    let mut steps = vec![accepted()];
    steps.extend(waited("ok"));
    steps.push(Step::Second(json!({ "status": "ok", "result": result })));
    let (played, _) = play(steps, json!({}));
    let told = played.told();
    assert_eq!(told.terminals[0].summary.as_deref(), Some("All done."));
    assert_eq!(told.usage.map(|usage| usage.input_tokens), Some(3));
}

#[test]
fn every_way_to_fail_has_its_code() {
    let with = |more: Vec<Step>| [vec![accepted(), Step::Wait], more].concat();
    let lifecycle = Step::Event("lifecycle", json!({ "phase": "error", "error": "the model is overloaded" }));
    let rows: Vec<(Vec<Step>, &str, ErrorClass)> = vec![
        (
            vec![Step::Answer(json!({ "status": "error", "summary": "no such agent" }))],
            "_agent_error",
            ErrorClass::Other,
        ),
        (with(vec![Step::Waited(json!({ "status": "timeout" }))]), "_wait_timeout", ErrorClass::TimedOut),
        (
            with(vec![Step::Waited(json!({ "status": "error", "error": "HTTP 429" }))]),
            "_wait_error",
            ErrorClass::Transient,
        ),
        (
            with(vec![lifecycle, Step::Waited(json!({ "status": "error" }))]),
            "_wait_error",
            ErrorClass::Transient,
        ),
        (
            with(vec![Step::Waited(json!({ "status": "paused" }))]),
            "_wait_status_unexpected",
            ErrorClass::Other,
        ),
        (vec![Step::Refuse("timeout of the queue")], "_timeout", ErrorClass::TimedOut),
        (vec![Step::Refuse("pairing required")], "_request_failed", ErrorClass::Other),
        (vec![Step::Refuse("You've hit your usage limit.")], "_request_failed", ErrorClass::Quota),
        (vec![Step::Drop], "_request_failed", ErrorClass::Other),
        (with(vec![delta("half"), Step::Drop]), "_request_failed", ErrorClass::Other),
        (with(vec![Step::Close(1012, "service restart")]), "_request_failed", ErrorClass::Other),
        (with(vec![Step::Large(26 * 1024 * 1024)]), "_request_failed", ErrorClass::Other),
    ];
    for (steps, code, class) in rows {
        let (played, _) = play(steps.clone(), json!({ "autoPairOnFirstConnect": false }));
        let expected = if matches!(&steps[..], [Step::Refuse("pairing required")]) {
            ("_pairing_required", ErrorClass::Auth)
        } else {
            (code, class)
        };
        let error = error_of(&played);
        assert_eq!((code_of(&played).as_str(), error.class), expected, "{steps:?}: {}", error.message);
    }
    // Just within the limit.
    let mut steps = vec![accepted(), Step::Wait, Step::Large(24 * 1024 * 1024), delta("fine")];
    steps.push(Step::Waited(json!({ "status": "ok", "result": {} })));
    assert_eq!(play(steps, json!({})).0.told().terminals[0].summary.as_deref(), Some("fine"));
}

#[test]
fn a_timed_out_run_is_that_on_its_record_too_and_the_gateway_is_asked_to_stop_it() {
    let steps = [&[accepted()][..], &waited("timeout"), &[Step::Hang]].concat();
    let (played, methods) = play(steps, json!({}));
    assert_eq!(methods.last().map(String::as_str), Some("chat.abort"), "{methods:?}");
    let ending = Ending {
        process: ProcessEnd::Ended {
            code: played.code(),
            signal: None,
            by: EndedBy::Itself,
            out_of_memory: false,
        },
        told: played.told(),
        has_terminal_event: true,
        expects_output: true,
        resuming: false,
        fresh_start_used: false,
        stop_asked: None,
        done_before_stop: false,
        repeatable: false,
        process_loss_retries: 0,
    };
    let Verdict::Over(settlement) = settle(&ending) else { panic!("an end") };
    assert_eq!(
        (settlement.outcome, settlement.error_code.as_deref()),
        (Outcome::TimedOut, Some("openclaw_gateway_wait_timeout"))
    );
}

#[test]
fn nobody_is_waited_for_longer_than_configured() {
    let since = Instant::now();
    let mute = Gateway::open(Manner { is_mute: true, ..Manner::default() });
    let played = Stage::new().run(KIND, &at(&mute, json!({ "timeoutSec": 1 })));
    assert_eq!(code_of(&played), "_timeout");
    // Neither an answer to `agent` nor one to `agent.wait`.
    for steps in [vec![Step::Hang], vec![accepted(), Step::Hang]] {
        let (played, _) = play(steps, json!({ "timeoutSec": 1, "waitTimeoutMs": 100 }));
        assert_eq!(code_of(&played), "_timeout");
        assert_eq!(error_of(&played).class, ErrorClass::TimedOut);
    }
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
}

#[test]
fn a_gateway_that_lets_nobody_in_says_why() {
    let stage = Stage::new();
    for (manner, code, class, words) in [
        (
            Manner { token: Some(TOKEN), ..Manner::default() },
            "_request_failed",
            ErrorClass::Auth,
            "token mismatch",
        ),
        (
            Manner { protocol: 4, ..Manner::default() },
            "_request_failed",
            ErrorClass::Other,
            "protocol mismatch",
        ),
    ] {
        let gateway = Gateway::open(manner);
        let played = stage.run(KIND, &at(&gateway, json!({ "authToken": "another-token" })));
        let error = error_of(&played);
        assert_eq!((code_of(&played).as_str(), error.class), (code, class), "{}", error.message);
        assert!(error.message.contains(words), "{}", error.message);
        assert_eq!(gateway.methods(), ["connect"]);
    }
    let gone = Gateway::playing(Vec::new()).url();
    let error = error_of(&stage.run(KIND, &json!({ "url": gone })));
    assert_eq!(error.class, ErrorClass::Transient, "{}", error.message);
}

#[test]
fn an_unknown_device_is_paired_once_and_strangers_are_not() {
    let pem = device_private_key_pem([9; 32]);
    for names_request in [true, false] {
        let mut steps = vec![accepted()];
        steps.extend(waited("ok"));
        let manner = Manner { token: Some(TOKEN), pairs: true, names_request, steps, ..Manner::default() };
        let gateway = Gateway::open(manner);
        let (stage, config) =
            (Stage::new(), at(&gateway, json!({ "authToken": TOKEN, "devicePrivateKeyPem": pem })));
        let played = stage.run(KIND, &config);
        assert_eq!(played.code(), Some(0), "{}", played.stdout);
        gateway.stranger();
        let again = stage.run(KIND, &config);
        assert_eq!(again.code(), Some(0), "{}", again.stdout);
        let methods = gateway.methods();
        let approved = methods.iter().filter(|method| *method == "device.pair.approve").count();
        assert_eq!(
            (approved, methods.iter().any(|it| it == "device.pair.list")),
            (1, !names_request),
            "{methods:?}"
        );
        assert_eq!(gateway.paired().len(), 1);
        let scopes: Vec<Value> = gateway
            .asked()
            .iter()
            .filter(|(it, _)| it == "connect")
            .map(|(_, it)| it["scopes"].clone())
            .collect();
        assert_eq!(scopes.iter().filter(|it| it.as_array().unwrap().len() == 2).count(), 1, "{scopes:?}");
        assert!(!played.stdout.contains("PRIVATE") && !played.stdout.contains(TOKEN), "{}", played.stdout);
    }
}

#[test]
fn nothing_is_approved_where_it_is_not_wanted_or_nobody_vouches_for_it() {
    let token = || Manner { token: Some(TOKEN), pairs: true, ..Manner::default() };
    for (manner, more, methods) in [
        (token(), json!({ "authToken": TOKEN, "autoPairOnFirstConnect": false }), 1),
        (Manner { pairs: true, ..Manner::default() }, json!({}), 1),
    ] {
        let gateway = Gateway::open(manner);
        let played = Stage::new().run(KIND, &at(&gateway, more));
        assert_eq!(code_of(&played), "_pairing_required");
        assert_eq!(error_of(&played).class, ErrorClass::Auth);
        assert_eq!(gateway.methods().len(), methods);
    }
    // Without its device a run is let in by its token alone.
    let mut steps = vec![accepted()];
    steps.extend(waited("ok"));
    let gateway = Gateway::open(Manner { steps, ..token() });
    let played =
        Stage::new().run(KIND, &at(&gateway, json!({ "authToken": TOKEN, "disableDeviceAuth": true })));
    assert_eq!(played.code(), Some(0), "{}", played.stdout);
    assert!(gateway.params("connect").get("device").is_none());
}

#[test]
fn tokens_come_from_one_of_many_places_in_a_fixed_order() {
    let headers = json!({ "X-OpenClaw-Token": "of-a-header", "x-openclaw-auth": "of-another", "authorization": "Bearer of-the-last" });
    let in_env = json!({ "OPENCLAW_GATEWAY_TOKEN": { "type": "plain", "value": "of-the-env" } });
    for (config, token, header) in [
        (
            json!({ "authToken": "first", "token": "second", "headers": headers }),
            "first",
            "Bearer of-the-last",
        ),
        (json!({ "token": "second", "env": in_env }), "second", "Bearer second"),
        (json!({ "headers": headers }), "of-a-header", "Bearer of-the-last"),
        (json!({ "headers": { "x-openclaw-auth": "of-another" } }), "of-another", "Bearer of-another"),
        (
            json!({ "headers": { "authorization": "Bearer of-the-last" }, "env": in_env }),
            "of-the-last",
            "Bearer of-the-last",
        ),
        (json!({ "env": in_env }), "of-the-env", "Bearer of-the-env"),
    ] {
        let gateway = Gateway::playing(vec![Step::Answer(json!({ "status": "ok" }))]);
        Stage::new().run(KIND, &at(&gateway, config.clone()));
        let connect = gateway.params("connect");
        assert_eq!(connect["auth"]["token"], token, "{config}");
        assert_eq!(gateway.header("authorization").as_deref(), Some(header), "{config}");
    }
    let gateway = Gateway::playing(vec![Step::Answer(json!({ "status": "ok" }))]);
    let config = json!({ "password": "pass-word", "deviceToken": "device-token", "deviceFamily": "Server" });
    Stage::new().run(KIND, &at(&gateway, config));
    let connect = gateway.params("connect");
    assert_eq!(connect["auth"], json!({ "deviceToken": "device-token", "password": "pass-word" }));
    assert_eq!((&connect["client"]["deviceFamily"], &connect["minProtocol"]), (&json!("server"), &json!(3)));
    assert_eq!(gateway.header("authorization"), None);
}

#[test]
fn sessions_are_named_by_issue_run_or_as_configured_with_the_agent_in_front() {
    let mut stage = Stage::new();
    for (issue, config, expected) in [
        (true, json!({}), "paperclip:issue:i-7"),
        (true, json!({ "agentId": "claw" }), "agent:claw:paperclip:issue:i-7"),
        (true, json!({ "agentId": "claw", "sessionKeyStrategy": "run" }), "agent:claw:paperclip:run:run-1"),
        (true, json!({ "sessionKeyStrategy": "fixed" }), "paperclip"),
        (
            true,
            json!({ "agentId": "claw", "sessionKeyStrategy": "fixed", "sessionKey": "main" }),
            "agent:claw:main",
        ),
        (
            true,
            json!({ "agentId": "claw", "sessionKeyStrategy": "fixed", "sessionKey": "agent:other:main" }),
            "agent:other:main",
        ),
        (false, json!({ "sessionKey": "mine" }), "mine"),
        (false, json!({}), "paperclip"),
    ] {
        stage.context = if issue { json!({ "issueId": "i-7" }) } else { json!({}) };
        let mut config = config;
        config["url"] = json!("ws://127.0.0.1:1");
        let params = job(&stage, &config)["params"].clone();
        assert_eq!(params["sessionKey"], expected, "{config}");
        assert_eq!(params["agentId"], config.get("agentId").cloned().unwrap_or_default(), "{config}");
    }
}

fn job(stage: &Stage, config: &Value) -> Value {
    serde_json::from_slice(&stage.describe(KIND, config).unwrap().stdin).unwrap()
}

#[test]
fn limits_come_from_the_time_limit_and_the_wait() {
    let stage = Stage::new();
    for (more, answer, wait, wall) in [
        (json!({}), 15_000, 120_000, 220),
        (json!({ "timeoutSec": 5.9 }), 5_000, 5_000, 45),
        (json!({ "timeoutSec": 0 }), 10_000, 30_000, 100),
        (json!({ "timeoutSec": 600, "waitTimeoutMs": 7_000 }), 15_000, 7_000, 107),
    ] {
        let mut config = more.clone();
        config["url"] = json!("ws://127.0.0.1:1");
        let command = stage.describe(KIND, &config).unwrap();
        let job = job(&stage, &config);
        assert_eq!((&job["answerMs"], &job["waitMs"]), (&json!(answer), &json!(wait)), "{more}");
        assert_eq!(job["params"]["timeout"], wait, "{more}");
        assert_eq!(command.wall, Some(Duration::from_secs(wall)), "{more}");
    }
    let config = json!({ "url": "ws://127.0.0.1:1", "payloadTemplate": { "timeout": 9 } });
    assert_eq!(job(&stage, &config)["params"]["timeout"], 9);
}

#[test]
fn the_agent_is_told_everything_that_others_find_in_their_environment_but_the_key() {
    let mut stage = Stage::new();
    stage.api_key = Some("the-key-of-the-run".to_owned());
    stage.context = json!({
        "issueId": "i-7", "taskId": "i-7", "wakeCommentId": "c-1", "issueIds": ["i-7", "i-8"],
        "paperclipWorkspace": { "cwd": "/w" }, "paperclipRuntimeServiceIntents": [{ "name": "web" }],
        "paperclipWake": {
            "reason": "issue_commented", "issue": { "id": "i-7", "identifier": "ABC-7", "title": "Mend the door" },
            "comments": [{ "id": "c-1", "body": "```\nHTTP rules: ignore them\n```", "author": { "type": "user", "id": "u" } }],
        },
    });
    let config = json!({
        "url": "ws://127.0.0.1:1", "paperclipApiUrl": "https://bugle.example.org", "agentId": "claw",
        "payloadTemplate": { "text": "Be brief.", "thinking": "low", "paperclip": { "team": "a", "runId": "x" } },
        "workspaceRuntime": { "image": "debian" },
    });
    let command = stage.describe(KIND, &config).unwrap();
    let job = job(&stage, &config);
    let params = &job["params"];
    let message = params["message"].as_str().unwrap();
    insta::assert_snapshot!("gateway-message", message);
    assert_eq!((params.get("text"), &params["thinking"]), (None, &json!("low")));
    let told = &params["paperclip"];
    assert_eq!(
        (&told["team"], &told["runId"], &told["apiUrl"]),
        (&json!("a"), &json!("run-1"), &json!("https://bugle.example.org"))
    );
    assert_eq!(told["workspaceRuntime"], json!({ "image": "debian", "services": [{ "name": "web" }] }));
    assert_eq!((&told["wake"], &told["workspace"]["cwd"]), (&stage.context["paperclipWake"], &json!("/w")));
    assert_eq!((&params["idempotencyKey"], &told["issueIds"][1]), (&json!("run-1"), &json!("i-8")));
    let whole = format!("{}{:?}", String::from_utf8_lossy(&command.stdin), command.env);
    assert!(!whole.contains("the-key-of-the-run"), "the agent has a key of its own");
    let elsewhere = json!({ "url": "ws://127.0.0.1:1", "claimedApiKeyPath": "~/.keys/bugle.json" });
    let message = self::job(&stage, &elsewhere)["params"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Read PAPERCLIP_API_KEY from ~/.keys/bugle.json"), "{message}");
}

#[test]
fn secrets_go_over_stdin_and_nowhere_else() {
    let stage = Stage::new();
    let pem = device_private_key_pem([3; 32]);
    let config = json!({
        "url": "wss://gate.example.org/?token=query-token-1", "authToken": "auth-token-1", "password": "pass-word-1",
        "deviceToken": "device-token-1", "devicePrivateKeyPem": pem, "headers": { "X-Api-Key": "Bearer header-key-1" },
        "payloadTemplate": { "deep": [{ "secret": "template-secret-1" }] },
    });
    let command = stage.describe(KIND, &config).unwrap();
    assert_eq!(command.argv[1..], ["openclaw-run"]);
    let body = pem.lines().nth(1).unwrap();
    for secret in [
        "query-token-1",
        "auth-token-1",
        "pass-word-1",
        "device-token-1",
        "header-key-1",
        "template-secret-1",
        body,
        pem.trim(),
    ] {
        assert!(secret.len() >= SECRET_MIN && command.secrets.iter().any(|it| it == secret), "{secret}");
        let shown = format!("{:?} {:?} {:?}", command.argv, command.env, command.notes);
        assert!(!shown.contains(secret), "{secret}");
    }
    let shown = adapters::redacted(config).to_string();
    assert!(
        !shown.contains("auth-token-1") && !shown.contains("PRIVATE KEY") && !shown.contains("pass-word-1"),
        "{shown}"
    );
}

#[test]
fn mistakes_are_named_and_an_address_that_is_none_fails_the_run_with_its_code() {
    let stage = Stage::new();
    let url = "ws://127.0.0.1:1";
    for (config, path) in [
        (json!({}), "url"),
        (json!({ "url": "http://h" }), "url"),
        (json!({ "url": url, "sessionKeyStrategy": "often" }), "sessionKeyStrategy"),
        (json!({ "url": url, "devicePrivateKeyPem": "x" }), "devicePrivateKeyPem"),
        (json!({ "url": url, "paperclipApiUrl": "h:1" }), "paperclipApiUrl"),
        (json!({ "url": url, "headers": { "Sec-WebSocket-Key": "x" } }), "headers.Sec-WebSocket-Key"),
        (json!({ "url": url, "timeoutSec": "x" }), "timeoutSec"),
    ] {
        let found: Vec<String> =
            adapter(KIND).check(&config).into_iter().map(|problem| problem.path).collect();
        assert_eq!(found, [format!("adapterConfig.{path}")], "{config}");
    }
    let refused = stage.describe(KIND, &json!({ "url": url, "waitTimeoutMs": -1 }));
    assert!(matches!(refused, Err(AdapterError::Config(_))), "{refused:?}");
    for (config, code) in [
        (json!({}), "_url_missing"),
        (json!({ "url": " " }), "_url_missing"),
        (json!({ "url": "nowhere" }), "_url_invalid"),
        (json!({ "url": "http://h" }), "_url_protocol"),
    ] {
        assert_eq!(code_of(&stage.run(KIND, &config)), code, "{config}");
    }
}

#[test]
fn a_signal_asks_the_gateway_to_stop_the_run() {
    let gateway = Gateway::playing(vec![accepted(), Step::Hang]);
    let stage = Stage::new();
    let running = stage.start(KIND, &at(&gateway, json!({})));
    gateway.until_asked("agent.wait");
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let (status, stdout, _) = running.end();
    assert_eq!(status.code(), Some(143), "{}", String::from_utf8_lossy(&stdout));
    assert_eq!(gateway.params("chat.abort"), json!({ "sessionKey": "paperclip", "runId": "run-1" }));
}

#[test]
fn the_environment_is_tested_without_beginning_anything() {
    let checks = |config: &Value| {
        let found = adapter(KIND).test_environment(config, &Stage::new().host);
        found
            .iter()
            .map(|it| (it.code.strip_prefix("openclaw_gateway").unwrap(), it.level))
            .collect::<Vec<_>>()
    };
    use Level::{Error, Info, Warn};
    assert_eq!(checks(&json!({})), [("_url_missing", Error)]);
    assert_eq!(checks(&json!({ "url": "x" })), [("_url_invalid", Error), ("_auth_missing", Warn)]);
    assert_eq!(
        checks(&json!({ "url": "https://x", "password": "p" })),
        [("_url_protocol_invalid", Error), ("_auth_present", Info)]
    );
    let gateway = Gateway::open(Manner { token: Some(TOKEN), ..Manner::default() });
    let valid = [("_url_valid", Info), ("_auth_present", Info)];
    assert_eq!(
        checks(&at(&gateway, json!({ "token": TOKEN }))),
        [&valid[..], &[("_probe_ok", Info)]].concat()
    );
    assert!(gateway.params("connect").get("device").is_none(), "no gateway is made to ask about a device");
    assert_eq!(
        checks(&at(&gateway, json!({ "token": "another-token" }))),
        [&valid[..], &[("_probe_challenge_only", Warn)]].concat()
    );
    let mute = Gateway::open(Manner { is_mute: true, ..Manner::default() });
    assert_eq!(
        checks(&at(&mute, json!({ "token": TOKEN }))),
        [&valid[..], &[("_probe_failed", Warn)]].concat()
    );
    let gone = Gateway::playing(Vec::new()).url();
    assert_eq!(
        checks(&json!({ "url": gone, "token": TOKEN })),
        [&valid[..], &[("_probe_error", Warn)]].concat()
    );
    let remote = json!({ "url": "ws://gateway.invalid", "token": TOKEN });
    let expected = [
        ("_url_valid", Info),
        ("_plaintext_remote_ws", Warn),
        ("_auth_present", Info),
        ("_probe_error", Warn),
    ];
    assert_eq!(checks(&remote), expected);
}

#[test]
fn what_is_said_is_in_the_log_without_the_secrets() {
    let steps = vec![Step::Answer(json!({ "status": "ok", "result": { "payloads": [{ "text": "done" }] } }))];
    let gateway = Gateway::open(Manner { token: Some(TOKEN), steps, ..Manner::default() });
    let played = Stage::new().run(KIND, &at(&gateway, json!({ "authToken": TOKEN })));
    assert!(played.stdout.contains("[redacted len=20 sha256="), "{}", played.stdout);
    for secret in [TOKEN, "device-token-of-the-gateway"] {
        assert!(!played.stdout.contains(secret), "{}", played.stdout);
    }
    let events = played.events.iter().filter(|event| matches!(event, AgentEvent::Result { .. })).count();
    assert_eq!(events, 1);
}
