//! Server-sent events, as the command line reads them: bytes in, whole events out.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// The name; `message` when none was sent.
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// Puts events together from pieces that end anywhere.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    rest: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl EventReader {
    /// Takes what arrived and gives the events that it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.rest[start..start + length];
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            start += length + 1;
            events.extend(self.line(&line));
        }
        self.rest.drain(..start);
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            if !std::mem::take(&mut self.has_data) {
                return None;
            }
            if event.name.is_empty() {
                event.name.push_str("message");
            }
            return Some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, or a field of a later time.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: log\nid: 64\ndata: {\"chunk\":\"a\u{e4}\"}\n\ndata: one\r\ndata: two\r\n\r\nevent: end\n\n";

    fn expected() -> Vec<Event> {
        vec![
            Event { name: "log".into(), id: Some("64".into()), data: "{\"chunk\":\"aä\"}".into() },
            Event { name: "message".into(), id: None, data: "one\ntwo".into() },
        ]
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            let mut reader = EventReader::default();
            let mut events = reader.push(&bytes[..cut]);
            events.extend(reader.push(&bytes[cut..]));
            assert_eq!(events, expected(), "cut at {cut}");
        }
    }
}
