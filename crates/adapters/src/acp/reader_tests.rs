use domain::moment::Moment;
use domain::telling::{AgentEvent, Told};
use jiff::tz::TimeZone;

use super::*;

fn reader(asked: Option<&str>, note: Option<&Value>) -> AcpReader {
    let started_at = Moment::parse("2026-11-20T12:00:00Z").unwrap();
    AcpReader::new(asked, "/w".to_owned(), note, Clock { started_at, zone: TimeZone::UTC })
}

fn to(message: Value) -> Line {
    Line::ToAgent(message)
}

fn from(message: Value) -> Line {
    Line::FromAgent(message)
}

fn update(update: Value) -> Line {
    from(json!({ "method": "session/update", "params": { "sessionId": "s", "update": update } }))
}

fn chunk(id: &str, text: &str) -> Line {
    update(
        json!({ "sessionUpdate": "agent_message_chunk", "messageId": id, "content": { "type": "text", "text": text } }),
    )
}

fn read(reader: &mut AcpReader, lines: impl IntoIterator<Item = Line>) -> Vec<AgentEvent> {
    let lines = lines.into_iter().map(|line| line.to_bytes());
    lines.flat_map(|line| reader.line(Source::Stdout, line.trim_ascii())).collect()
}

fn open(agent: &str) -> Vec<Line> {
    vec![
        to(json!({ "id": 1, "method": "initialize" })),
        from(json!({ "id": 1, "result": { "agentInfo": { "name": agent } } })),
        to(json!({ "id": 2, "method": "session/new" })),
        from(json!({ "id": 2, "result": { "sessionId": "s" } })),
        to(json!({ "id": 3, "method": "session/prompt" })),
    ]
}

fn messages(events: &[AgentEvent]) -> Vec<&str> {
    let texts = events.iter().filter_map(|event| match event {
        AgentEvent::Message { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn error(events: &[AgentEvent]) -> Option<&AgentError> {
    events.iter().find_map(|event| match event {
        AgentEvent::Result { error, .. } => error.as_ref(),
        _ => None,
    })
}

#[test]
fn pieces_become_messages_and_the_last_one_the_summary() {
    let mut reader = reader(None, None);
    let mut lines = open("x");
    lines.extend([
        chunk("1", "Hel"),
        chunk("1", "lo"),
        update(json!({ "sessionUpdate": "usage_update" })),
        chunk("1", "!"),
    ]);
    lines.extend([
        chunk("2", "Bye"),
        update(json!({ "sessionUpdate": "agent_thought_chunk", "content": { "text": "hm" } })),
    ]);
    lines.push(from(json!({ "id": 3, "result": { "stopReason": "end_turn" } })));
    let events = read(&mut reader, lines);
    assert_eq!(messages(&events), ["Hello!", "Bye"]);
    let mut told = Told::default();
    events.iter().for_each(|event| told.hear(event));
    assert_eq!(told.terminals[0].summary.as_deref(), Some("Bye"));
    assert_eq!((told.session.as_deref(), told.usage), (Some("s"), None));
}

#[test]
fn a_call_is_told_once_and_with_its_arguments() {
    let call = |more: Value| {
        let mut call = json!({ "toolCallId": "t", "sessionUpdate": "tool_call_update" });
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        update(call)
    };
    let mut reader = reader(None, None);
    read(&mut reader, open("x"));
    let events = read(
        &mut reader,
        [
            call(json!({ "sessionUpdate": "tool_call", "name": "Bash", "rawInput": {}, "kind": "execute" })),
            call(json!({ "rawInput": { "command": "ls" } })),
            call(
                json!({ "rawInput": { "command": "ls" }, "_meta": { "terminal_output_delta": { "data": "a\n" } } }),
            ),
            call(json!({ "status": "completed", "_meta": { "terminal_exit": { "exit_code": 1 } } })),
        ],
    );
    let expected = [
        AgentEvent::ToolCall { id: "t".into(), name: "Bash".into(), input: json!({ "command": "ls" }) },
        AgentEvent::ToolResult { id: "t".into(), is_error: true, output: "a".into() },
    ];
    assert_eq!(events, expected);
    let events = read(&mut reader, [call(json!({ "title": "Look", "status": "failed", "rawOutput": "no" }))]);
    let expected = [
        AgentEvent::ToolCall { id: "t".into(), name: "tool".into(), input: json!({ "title": "Look" }) },
        AgentEvent::ToolResult { id: "t".into(), is_error: true, output: "no".into() },
    ];
    assert_eq!(events, expected, "an agent that tells only the end");
}

#[test]
fn what_a_loaded_session_repeats_is_not_said_again() {
    let mut reader = reader(Some("s"), None);
    let events = read(
        &mut reader,
        [
            to(json!({ "id": 2, "method": "session/load" })),
            chunk("old", "long ago"),
            from(json!({ "id": 2, "result": {} })),
            to(json!({ "id": 3, "method": "session/prompt" })),
            chunk("new", "now"),
            from(json!({ "id": 3, "result": { "stopReason": "end_turn" } })),
        ],
    );
    assert_eq!(messages(&events), ["now"]);
    assert_eq!(events[0], AgentEvent::Session { id: "s".into() });
}

#[test]
fn whatever_keeps_a_session_from_being_resumed_makes_a_fresh_one_but_a_login_that_is_missing() {
    let rows =
        [(-32002, ErrorClass::SessionGone), (-32603, ErrorClass::SessionGone), (-32000, ErrorClass::Auth)];
    for (code, class) in rows {
        let mut reader = reader(Some("s"), None);
        let failure = json!({ "id": 2, "error": { "code": code, "message": "no" } });
        let events = read(&mut reader, [to(json!({ "id": 2, "method": "session/resume" })), from(failure)]);
        assert_eq!(error(&events).map(|error| error.class), Some(class));
    }
    // The same words about something else are no reason to begin anew.
    let mut fresh = reader(None, None);
    read(&mut fresh, open("x"));
    let failure = json!({ "id": 3, "error": { "code": -32002, "message": "Resource not found" } });
    assert_eq!(error(&read(&mut fresh, [from(failure)])).map(|error| error.class), Some(ErrorClass::Other));
}

#[test]
fn the_turn_of_codex_that_broke_is_a_failure_though_it_ended_well() {
    let notice =
        |text: &str| update(json!({ "sessionUpdate": "agent_message_chunk", "content": { "text": text } }));
    let broken = update(
        json!({ "sessionUpdate": "session_info_update", "_meta": { "codex": { "threadStatus": { "type": "systemError" } } } }),
    );
    let ends = || from(json!({ "id": 3, "result": { "stopReason": "end_turn", "usage": null } }));
    let mut turn = reader(None, None);
    let mut lines = open("@agentclientprotocol/codex-acp");
    lines.extend([
        notice("Warning: no metadata"),
        broken,
        notice("unexpected status 401 Unauthorized"),
        ends(),
    ]);
    let events = read(&mut turn, lines);
    assert_eq!(error(&events).map(|error| error.class), Some(ErrorClass::Auth));
    assert_eq!(messages(&events), [""; 0], "its own notices are nobody's words");
    let mut turn = reader(None, None);
    let mut lines = open("@agentclientprotocol/codex-acp");
    lines.extend([chunk("m", "fine"), ends()]);
    assert_eq!(error(&read(&mut turn, lines)), None, "no usage alone is no failure");
}

#[test]
fn cost_is_what_was_added_to_the_sessions_sum() {
    let spent = |amount: f64| {
        update(json!({ "sessionUpdate": "usage_update", "cost": { "amount": amount, "currency": "USD" } }))
    };
    let end =
        || from(json!({ "id": 3, "result": { "stopReason": "end_turn", "usage": { "inputTokens": 5 } } }));
    let cost = |asked: Option<&str>, note: Option<Value>, amount: f64| {
        let mut reader = reader(asked, note.as_ref());
        let mut lines = open("x");
        lines.extend([spent(amount), end()]);
        let mut told = Told::default();
        read(&mut reader, lines).iter().for_each(|event| told.hear(event));
        (told.usage.and_then(|usage| usage.cost_micros), told.session_note)
    };
    let noted = |micros: i64| json!({ "cwd": "/w", "cumulativeCostMicros": micros });
    assert_eq!(cost(None, None, 0.5), (Some(500_000), Some(noted(500_000))));
    assert_eq!(cost(Some("s"), Some(noted(400_000)), 0.5).0, Some(100_000));
    assert_eq!(cost(Some("s"), Some(noted(400_000)), 0.1).0, Some(100_000), "it began anew");
    assert_eq!(cost(Some("s"), None, 0.5), (None, Some(noted(500_000))), "nobody knows what came before");
}

#[test]
fn a_permission_is_asked_for_and_closed() {
    let mut reader = reader(None, None);
    read(&mut reader, open("x"));
    let permission = domain::telling::Permission {
        ask: "1".into(),
        hash: "h".into(),
        tool: "execute".into(),
        title: "ls".into(),
        input: json!({}),
        options: Vec::new(),
    };
    let closed = Line::Answered { ask: "1".into(), outcome: crate::acp::words::Outcome::Denied };
    let events = read(&mut reader, [Line::Asks(permission.clone()), closed]);
    let expected = [
        AgentEvent::PermissionAsked { permission },
        AgentEvent::PermissionClosed { ask: "1".into(), outcome: "denied".into() },
    ];
    assert_eq!(events, expected);
}

#[test]
fn an_agent_that_ends_too_early_is_trouble_in_its_own_words() {
    let mut reader = reader(None, None);
    reader.line(Source::Stderr, b"Error: cannot find module x");
    let events = read(&mut reader, [Line::Ended { code: Some(1), signal: None }]);
    let [AgentEvent::Trouble { error }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(error.message, "the agent ended with code 1 before it answered: Error: cannot find module x");
    assert_eq!(reader.line(Source::Stdout, b"{\"of_a_later_version\":1}"), []);
    assert_eq!(reader.line(Source::Stdout, b"no json"), []);
}
