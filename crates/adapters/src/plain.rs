//! The plain speech: ordinary output, and events as lines that begin with an unmistakable prefix.
//!
//! ```text
//! ::bugle:: {"type":"result","error":null,"summary":"done","plan_only":false,"json":null}
//! ```
//!
//! The scripted agent and the caller of HTTP agents speak it; this file writes and reads it, and nothing else.

use domain::telling::{AgentError, AgentEvent, ErrorClass};

use crate::adapter::{Reader, Source};

/// What every event line begins with.
pub(crate) const PREFIX: &str = "::bugle:: ";

/// Writes an event as one line, line end included.
pub(crate) fn line(event: &AgentEvent) -> Vec<u8> {
    let mut line = PREFIX.as_bytes().to_vec();
    serde_json::to_writer(&mut line, event).expect("events have only text keys, and a Vec takes every byte");
    line.push(b'\n');
    line
}

/// Reads plain speech from stdout; stderr is never speech.
#[derive(Debug)]
pub(crate) struct PlainReader {
    /// Ordinary lines are what the agent says: a script that only prints has said something. The answer of an endpoint
    /// is not speech.
    pub(crate) prose: bool,
}

impl Reader for PlainReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        if stream == Source::Stderr {
            return Vec::new();
        }
        let Some(said) = line.strip_prefix(PREFIX.as_bytes()) else {
            let text = String::from_utf8_lossy(line);
            let text = text.trim();
            let is_said = self.prose && !text.is_empty();
            return if is_said { vec![AgentEvent::Message { text: text.to_owned() }] } else { Vec::new() };
        };
        // A broken event line is not dropped in silence: it may have been the one that said how the run ended.
        let event = serde_json::from_slice(said).unwrap_or_else(|error| AgentEvent::Trouble {
            error: AgentError {
                class: ErrorClass::Other,
                message: format!("a line of events could not be read: {error}"),
                code: None,
                not_before: None,
            },
        });
        vec![event]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        PlainReader { prose: true }.line(stream, line)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let event = AgentEvent::ToolCall { id: "1".into(), name: "bash".into(), input: json!({"a": "x\ny"}) };
        let line = line(&event);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(read(Source::Stdout, line.trim_ascii_end()), [event]);
    }

    #[test]
    fn ordinary_lines_are_messages_and_stderr_and_prefixes_within_a_line_are_no_events() {
        let event = line(&AgentEvent::Session { id: "s".into() });
        let event = event.trim_ascii_end();
        let message = |text: &str| [AgentEvent::Message { text: text.to_owned() }];
        assert_eq!(read(Source::Stdout, b"hello "), message("hello"));
        assert_eq!(PlainReader { prose: false }.line(Source::Stdout, b"hello"), []);
        assert_eq!(read(Source::Stdout, b" "), []);
        assert_eq!(read(Source::Stderr, event), []);
        let quoted = read(Source::Stdout, &[b" ", event].concat());
        assert_eq!(quoted, message(std::str::from_utf8(event).unwrap()));
    }

    #[test]
    fn a_broken_event_line_is_reported_as_trouble() {
        let events = read(Source::Stdout, b"::bugle:: {\"type\":\"resu");
        assert!(
            matches!(&events[..], [AgentEvent::Trouble { error }] if error.class == ErrorClass::Other),
            "{events:?}"
        );
    }
}
