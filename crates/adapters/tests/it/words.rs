//! What the words of a program mean and what they do not: a session that is gone, a login that a tool talks about, and who
//! is paid. One table for all programs, so that a new one shows what it knows.

use adapters::Source;
use domain::telling::{ErrorClass, Told};
use serde_json::{Value, json};

use crate::stage::{Stage, adapter};

const SESSION: &str = "01a1faf0-10ff-7372-8508-ed199ead7e6b";

/// Everything that the lines of one process say; `asked`: it was to resume [`SESSION`].
fn told(kind: &str, config: &Value, asked: bool, lines: &[(Source, String)]) -> Told {
    let mut stage = Stage::new();
    stage.session = asked.then(|| SESSION.to_owned());
    let mut reader = adapter(kind).reader(&stage.setup(config));
    let mut told = Told::default();
    for (source, line) in lines {
        reader.line(*source, line.as_bytes()).iter().for_each(|event| told.hear(event));
    }
    reader.finish().iter().for_each(|event| told.hear(event));
    told
}

fn on_stderr(kind: &str, words: &str) -> Option<ErrorClass> {
    let config = json!({ "model": "fake/model-1" });
    told(kind, &config, true, &[(Source::Stderr, words.to_owned())]).trouble.map(|error| error.class)
}

/// E2.6 to E2.9, E3.5, E4.3 to E4.5 and the same of pi: the wordings of spec/heartbeat.md 9.5.
#[test]
fn a_session_that_is_gone_is_known_by_the_words_of_every_program() {
    let of = |kind: &'static str, words: &[&str]| -> Vec<(&'static str, String)> {
        words.iter().map(|words| (kind, format!("Error: {words}"))).collect()
    };
    let known = [
        of(
            "claude_local",
            &["No conversation found with session ID: 7", "unknown session", "Session 7 not found"],
        ),
        of(
            "codex_local",
            &[
                "unknown session 7",
                "unknown thread 7",
                "session 7 not found",
                "thread 7 not found",
                "conversation 7 not found",
                "missing rollout path for thread 7",
                "state db missing rollout path for thread 7",
                "thread/resume: no rollout found for thread id 7",
            ],
        ),
        of(
            "cursor",
            &[
                "unknown session",
                "unknown chat",
                "session 7 not found",
                "chat 7 not found",
                "resume id 7 not found",
                "could not resume 7",
            ],
        ),
        of(
            "gemini_local",
            &[
                "unknown session",
                "session 7 not found",
                "resume id 7 not found",
                "checkpoint 7 not found",
                "cannot resume 7",
                "failed to resume 7",
            ],
        ),
        of(
            "opencode_local",
            &[
                "unknown session",
                "session 7 not found",
                "Resource not found: /data/session/p/7.json",
                "NotFoundError: 7",
                "no session",
            ],
        ),
        of("pi_local", &["unknown session", "session 7 not found", "no session"]),
    ];
    for (kind, words) in known.concat() {
        assert_eq!(on_stderr(kind, &words), Some(ErrorClass::SessionGone), "{kind}: {words}");
    }
    let others = ["file not found", "model x not found", "the tool was not found", "it stumbled"];
    for kind in ["claude_local", "codex_local", "cursor", "gemini_local", "opencode_local", "pi_local"] {
        for words in others {
            assert_ne!(
                on_stderr(kind, &format!("Error: {words}")),
                Some(ErrorClass::SessionGone),
                "{kind}: {words}"
            );
        }
    }
}

/// A tool that meets a closed door, in the words of a lost login, and a provider that is busy afterwards.
fn after_a_tool(kind: &str) -> (Vec<Value>, Value) {
    const WORDS: &str = "HTTP 401 Unauthorized: please log in, authentication required";
    match kind {
        "claude_local" | "qwen" => (
            vec![
                json!({ "type": "system", "subtype": "init", "session_id": "s", "model": "m" }),
                json!({ "type": "assistant", "session_id": "s", "message": { "id": "m-1", "content": [
                    { "type": "tool_use", "id": "t-1", "name": "Bash", "input": {} }] } }),
                json!({ "type": "user", "session_id": "s", "message": { "content": [
                    { "type": "tool_result", "tool_use_id": "t-1", "is_error": true, "content": WORDS }] } }),
            ],
            json!({ "type": "result", "subtype": "error_during_execution", "is_error": true, "session_id": "s",
                "result": "API Error: 529 Overloaded", "error": { "message": "API Error: 529 Overloaded" } }),
        ),
        "codex_local" => (
            vec![
                json!({ "type": "thread.started", "thread_id": "t" }),
                json!({ "type": "item.completed", "item": { "id": "i", "type": "command_execution", "command": "curl",
                    "aggregated_output": WORDS, "exit_code": 1, "status": "failed" } }),
            ],
            json!({ "type": "turn.failed", "error": { "message": "unexpected status 529: Overloaded" } }),
        ),
        "cursor" => (
            vec![
                json!({ "type": "system", "subtype": "init", "session_id": "s" }),
                json!({ "type": "tool_call", "subtype": "completed", "session_id": "s", "result": WORDS }),
            ],
            json!({ "type": "result", "is_error": true, "session_id": "s", "result": "529 Overloaded" }),
        ),
        "gemini_local" => (
            vec![
                json!({ "type": "init", "session_id": "s", "model": "m" }),
                json!({ "type": "tool_result", "tool_id": "t", "status": "error", "output": WORDS }),
            ],
            json!({ "type": "result", "status": "error", "error": { "message": "529 Overloaded" } }),
        ),
        "opencode_local" => (
            vec![json!({ "type": "tool_use", "sessionID": "s", "part": { "callID": "c", "tool": "bash",
                "state": { "status": "error", "error": WORDS } } })],
            json!({ "type": "error", "sessionID": "s", "error": { "name": "APIError",
                "data": { "message": "Overloaded", "statusCode": 529 } } }),
        ),
        "pi_local" => (
            vec![
                json!({ "type": "session", "id": "s" }),
                json!({ "type": "tool_execution_end", "toolCallId": "c", "isError": true,
                    "result": { "content": [{ "type": "text", "text": WORDS }] } }),
            ],
            json!({ "type": "message_end", "message": { "role": "assistant", "content": [], "stopReason": "error",
                "errorMessage": "529 Overloaded" } }),
        ),
        other => panic!("nothing is known of {other}"),
    }
}

#[test]
fn what_a_tool_printed_is_no_lost_login() {
    let programs =
        ["claude_local", "codex_local", "cursor", "gemini_local", "opencode_local", "pi_local", "qwen"];
    for kind in programs {
        let config = json!({ "model": "fake/model-1" });
        let (before, end) = after_a_tool(kind);
        let line = |said: &Value| (Source::Stdout, said.to_string());
        let mut lines: Vec<(Source, String)> = before.iter().map(line).collect();
        // Where tools write to the same stderr.
        lines.push((Source::Stderr, "git: 401 unauthorized, please log in".to_owned()));
        let cut = told(kind, &config, false, &lines);
        assert!(cut.trouble.is_none_or(|error| error.class == ErrorClass::Other), "{kind}: it has not ended");
        lines.push(line(&end));
        if kind == "pi_local" {
            lines.push(line(&json!({ "type": "agent_end", "messages": [] })));
        }
        let told = told(kind, &config, false, &lines);
        let class = told.terminals.first().and_then(|end| end.error.as_ref()).map(|error| error.class);
        assert_eq!(class, Some(ErrorClass::Transient), "{kind}");
    }
}

/// E1.15 to E1.17: whom a program buys from is whoever its keys and addresses name, else whoever its model names.
#[test]
fn who_is_paid_follows_from_the_agents_environment() {
    let paid = |kind: &str, env: &Value| {
        let config = json!({ "model": "maker/model-1", "env": env });
        let usage = json!({ "input": 5, "output": 1 });
        let lines = match kind {
            "opencode_local" => vec![
                json!({ "type": "step_finish", "sessionID": "s", "part": { "reason": "stop", "tokens": usage } }),
            ],
            "pi_local" => {
                vec![json!({ "type": "message_end", "message": { "role": "assistant", "content": [],
                "stopReason": "stop", "provider": "maker", "model": "model-1", "usage": usage } })]
            }
            "cursor" => vec![json!({ "type": "result", "session_id": "s", "usage": { "input_tokens": 5 } })],
            "codex_local" => vec![
                json!({ "type": "thread.started", "thread_id": "t" }),
                json!({ "type": "turn.completed", "usage": { "input_tokens": 5, "output_tokens": 1 } }),
            ],
            other => panic!("nothing is known of {other}"),
        };
        let lines: Vec<_> = lines.iter().map(|line| (Source::Stdout, line.to_string())).collect();
        let usage = told(kind, &config, false, &lines).usage.unwrap();
        (usage.provider.unwrap(), usage.biller.unwrap())
    };
    let environments = [
        (json!({ "OPENROUTER_API_KEY": "key-of-a-router" }), true),
        (json!({ "OPENAI_BASE_URL": "https://openrouter.ai/api/v1" }), true),
        (json!({ "OPENAI_API_BASE": "https://openrouter.ai/api/v1" }), true),
        (json!({ "OPENAI_API_BASE_URL": "https://openrouter.ai/api/v1" }), true),
        (json!({ "OPENROUTER_API_KEY": " ", "OPENAI_BASE_URL": "https://models.example.org" }), false),
        // The first address that is set is the one that is asked.
        (
            json!({ "OPENAI_BASE_URL": "https://models.example.org", "OPENAI_API_BASE": "https://openrouter.ai/api" }),
            false,
        ),
        (json!({}), false),
    ];
    for (kind, provider, own) in [
        ("opencode_local", "maker", "maker"),
        ("pi_local", "maker", "maker"),
        ("cursor", "maker", "cursor"),
        ("codex_local", "openai", "chatgpt"),
    ] {
        for (env, is_routed) in &environments {
            let biller = if *is_routed { "openrouter" } else { own };
            assert_eq!(paid(kind, env), (provider.to_owned(), biller.to_owned()), "{kind} {env}");
        }
    }
}
