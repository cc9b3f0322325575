//! Readers take whatever bytes come, and take them the same way when they are read again.

use adapters::{Source, registry};
use domain::telling::{AgentEvent, Told};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::stage::Stage;

/// Beginnings that get a line past the first look of one reader or another.
const BEGINNINGS: [&str; 8] = [
    "",
    "{\"type\":\"result\",",
    "{\"type\":\"agent_end\"",
    "{\"type\":\"message_end\",\"message\":",
    "{\"type\":\"step_finish\",\"part\":",
    "{\"type\":\"system\",\"subtype\":\"init\",",
    "Attempt 1 failed: ",
    "\u{1b}[91mError: ",
];

fn line() -> impl Strategy<Value = (Source, Vec<u8>)> {
    let beginning = prop::sample::select(&BEGINNINGS[..]);
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    (any::<bool>(), beginning, bytes).prop_map(|(is_stdout, beginning, bytes)| {
        let source = if is_stdout { Source::Stdout } else { Source::Stderr };
        (source, [beginning.as_bytes(), &bytes].concat())
    })
}

#[test]
fn any_bytes_are_read_the_same_way_twice() {
    let mut stage = Stage::new();
    stage.session = Some("s-1".to_owned());
    let config: Value = json!({ "command": "agent", "model": "fake/model-1" });
    for adapter in registry() {
        let read = |lines: &[(Source, Vec<u8>)]| -> Vec<AgentEvent> {
            let mut reader = adapter.reader(&stage.setup(&config));
            let mut events: Vec<AgentEvent> =
                lines.iter().flat_map(|(source, line)| reader.line(*source, line)).collect();
            events.extend(reader.finish());
            events
        };
        proptest!(ProptestConfig::with_cases(128), |(lines in prop::collection::vec(line(), 0..12))| {
            let events = read(&lines);
            prop_assert_eq!(&read(&lines), &events, "{}", adapter.kind());
            let mut told = Told::default();
            events.iter().for_each(|event| told.hear(event));
            prop_assert!(told.usage.is_none(), "{}: no noise is a bill", adapter.kind());
        });
    }
}
