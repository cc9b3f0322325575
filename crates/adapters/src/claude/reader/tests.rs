//! Lines of a session, and what is made of them.

use domain::telling::Told;
use proptest::prelude::*;

use super::*;

fn start() -> Start {
    Start {
        is_fresh: true,
        note: None,
        cwd: "/w".to_owned(),
        started_at: Moment::from_micros(1_795_262_400_000_000),
        billing: Billing::Anthropic { has_key: false },
    }
}

fn read(start: Start, lines: &[Value]) -> Told {
    let mut reader = ClaudeReader::new(start);
    let mut told = Told::default();
    for line in lines {
        let events = reader.line(Source::Stdout, line.to_string().as_bytes());
        events.iter().for_each(|event| told.hear(event));
    }
    reader.finish().iter().for_each(|event| told.hear(event));
    told
}

fn init(version: &str) -> Value {
    json!({ "type": "system", "subtype": "init", "session_id": "s-1", "claude_code_version": version,
        "model": "claude-x", "apiKeySource": "none" })
}

fn result(cost: f64, tokens: u64) -> Value {
    json!({ "type": "result", "is_error": false, "result": "done", "session_id": "s-1",
        "modelUsage": { "claude-x": { "inputTokens": tokens, "costUSD": cost } } })
}

#[test]
fn a_resumed_session_is_charged_what_came_on_top() {
    let first = read(start(), &[init("2.1.320"), result(0.5, 100)]);
    let note = first.session_note.clone().unwrap();
    assert_eq!(
        note,
        json!({ "cwd": "/w", "version": "2.1.320", "cumulativeInputTokens": 100,
            "cumulativeCachedInputTokens": 0, "cumulativeOutputTokens": 0, "cumulativeCostUsd": 0.5 })
    );
    let resumed = |note| Start { is_fresh: false, note, ..start() };
    let second = read(resumed(Some(note.clone())), &[init("2.1.320"), result(0.75, 140)]);
    let usage = second.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cost_micros), (40, Some(250_000)));
    assert_eq!(second.session_note.unwrap()["cumulativeCostUsd"], json!(0.75));
    for (note, version) in [(None, "2.1.320"), (Some(note), "2.1.321")] {
        let told = read(resumed(note), &[init(version), result(0.75, 140)]);
        assert_eq!(told.usage, None, "{version}");
        assert_eq!(told.session_note.unwrap()["cumulativeInputTokens"], json!(140), "the next one knows");
    }
}

#[test]
fn a_session_that_ended_in_mid_turn_forgets_its_totals() {
    let message = json!({ "type": "assistant", "session_id": "s-1",
        "message": { "id": "m", "model": "claude-x", "usage": { "input_tokens": 9 } } });
    let told = read(start(), &[init("2.1.320"), result(0.5, 100), init("2.1.320"), message]);
    assert_eq!(told.session_note, Some(json!({ "cwd": "/w", "version": "2.1.320" })));
    assert_eq!(told.usage.map(|usage| usage.input_tokens), Some(109));
}

#[test]
fn a_session_past_its_limit_of_turns_is_noted_as_over() {
    let end =
        json!({ "type": "result", "subtype": "error_max_turns", "is_error": true, "errors": ["enough"] });
    let told = read(start(), &[init("2.1.320"), end]);
    assert!(told.session_note.unwrap()["over"].is_string());
    assert_eq!(told.terminals[0].error.as_ref().unwrap().code.as_deref(), Some("claude_max_turns"));
}

#[test]
fn who_is_paid_follows_the_key_and_the_platform() {
    let paid = |billing, source: &str| {
        let mut init = init("2.1.320");
        init["apiKeySource"] = json!(source);
        let usage = read(Start { billing, ..start() }, &[init, result(0.5, 100)]).usage.unwrap();
        (usage.biller.unwrap_or_default(), usage.billing_type.unwrap())
    };
    let with = |has_key| Billing::Anthropic { has_key };
    let rows = [
        (with(false), "none", "anthropic", "subscription"),
        (with(false), "oauth", "anthropic", "subscription"),
        (with(false), "ANTHROPIC_API_KEY", "anthropic", "api"),
        (with(true), "none", "anthropic", "api"),
        (Billing::Bedrock, "none", "aws_bedrock", "metered_api"),
        (Billing::Vertex, "none", "", "metered_api"),
    ];
    for (billing, source, biller, kind) in rows {
        assert_eq!(paid(billing, source), (biller.to_owned(), kind.to_owned()), "{billing:?} {source}");
    }
}

#[test]
fn sub_agents_use_tools_and_tokens_and_do_not_speak_for_the_run() {
    let told = read(
        start(),
        &[
            init("2.1.320"),
            json!({ "type": "assistant", "parent_tool_use_id": "t-0", "message": {
                "id": "m", "model": "claude-small", "usage": { "input_tokens": 9 },
                "content": [
                    { "type": "text", "text": "inner" },
                    { "type": "tool_use", "id": "t-1", "name": "Read" },
                ],
            } }),
        ],
    );
    assert_eq!((told.messages, told.tool_calls), (0, 1));
    let usage = told.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.model.as_deref()), (9, Some("claude-x")));
}

#[test]
fn a_refusal_by_a_limit_knows_when_it_ends() {
    let limit = |status: &str| {
        json!({ "type": "rate_limit_event", "rate_limit_info":
            { "status": status, "resetsAt": 1_795_280_400 } })
    };
    let end = json!({ "type": "result", "is_error": true, "api_error_status": 429,
        "result": "API Error (429)" });
    let error = |lines: &[Value]| read(start(), lines).terminals[0].error.clone().unwrap();
    let refused = error(&[init("2.1.320"), limit("rejected"), end.clone()]);
    assert_eq!((refused.class, refused.not_before), (ErrorClass::Quota, failure::seconds(1_795_280_400)));
    let busy = error(&[init("2.1.320"), limit("rejected"), limit("allowed"), end]);
    assert_eq!((busy.class, busy.not_before), (ErrorClass::Transient, None));
}

#[test]
fn plain_words_count_when_nothing_else_was_said() {
    let error = |has_init: bool, stream, words: &str| {
        let mut reader = ClaudeReader::new(start());
        if has_init {
            reader.line(Source::Stdout, init("2.1.320").to_string().as_bytes());
        }
        assert_eq!(reader.line(stream, words.as_bytes()), []);
        assert_eq!(reader.line(Source::Stderr, b"Warning: few colours"), []);
        match reader.finish().as_slice() {
            [AgentEvent::Trouble { error }] => error.class,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error(false, Source::Stdout, "Invalid API key \u{b7} Please run /login"), ErrorClass::Auth);
    assert_eq!(
        error(false, Source::Stderr, "No conversation found with session ID: 7"),
        ErrorClass::SessionGone
    );
    assert_eq!(error(true, Source::Stderr, "Invalid API key"), ErrorClass::Other);
}

#[test]
fn a_plan_is_said_to_be_one_and_a_broken_line_is_trouble() {
    let mut planning = init("2.1.320");
    planning["permissionMode"] = json!("plan");
    assert!(read(start(), &[planning, result(0.5, 100)]).terminals[0].plan_only);
    let events = ClaudeReader::new(start()).line(Source::Stdout, b"{\"type\":\"resu");
    assert!(matches!(&events[..], [AgentEvent::Trouble { .. }]), "{events:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_read(
        lines in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 0..12),
    ) {
        let mut reader = ClaudeReader::new(start());
        for (is_stdout, line) in &lines {
            reader.line(if *is_stdout { Source::Stdout } else { Source::Stderr }, line);
        }
        prop_assert!(reader.finish().len() <= 1);
    }
}
