//! What Hermes prints: its reply as plain text, then perhaps a line that names the session, and figures.

use domain::telling::{AgentEvent, Usage};
use serde_json::Value;

use crate::adapter::{Reader, Source};
use crate::cli::figures::micros;

/// As much of a reply is kept as the message, in characters.
const LONGEST_REPLY: usize = 2_000;

/// Reads one process.
#[derive(Debug)]
pub(super) struct HermesReader {
    note: Option<Value>,
    payer: Usage,
    reply: String,
    is_over: bool,
    usage: Option<Usage>,
}

impl HermesReader {
    pub(super) fn new(note: Option<Value>, payer: Usage) -> HermesReader {
        HermesReader { note, payer, reply: String::new(), is_over: false, usage: None }
    }

    /// `Tokens: 12 in, 3 out` or the like, in any case.
    fn figures(&mut self, line: &str) -> bool {
        let line = line.to_lowercase();
        let mut found = false;
        if let Some((_, behind)) = line.split_once("tokens:")
            && let (Some(input), Some(output)) = (number_before(behind, "in"), number_before(behind, "out"))
        {
            let usage = self.usage.get_or_insert_with(|| self.payer.clone());
            (usage.input_tokens, usage.output_tokens) = (input, output);
            found = true;
        }
        if let Some((_, behind)) = line.split_once("cost:") {
            let amount = behind.trim_start().strip_prefix('$').unwrap_or_default();
            let digits: String = amount.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            if let Some(cost) = digits.parse::<f64>().ok().and_then(|cost| micros(&Value::from(cost))) {
                let usage = self.usage.get_or_insert_with(|| self.payer.clone());
                usage.cost_micros = Some(cost);
                found = true;
            }
        }
        found
    }
}

/// The last number in front of a word: `12 in`, `1,024 input tokens in`.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c == '/' || c == ';').collect();
    let place = words.iter().position(|it| it.trim_matches([',', '.', ')', '(']) == word)?;
    let number = words.get(place.checked_sub(1)?)?;
    number.replace(',', "").parse().ok()
}

impl Reader for HermesReader {
    fn line(&mut self, stream: Source, line: &[u8]) -> Vec<AgentEvent> {
        // Words like `error` on stderr are noise: the exit says how it went.
        if stream == Source::Stderr {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(line);
        let words = text.trim();
        if let Some(id) = words.strip_prefix("session_id:").map(str::trim).filter(|id| !id.is_empty()) {
            self.is_over = true;
            let session = AgentEvent::Session { id: id.to_owned() };
            let note = self.note.clone().map(|note| AgentEvent::SessionNote { note });
            // Without a note the session is not to be gone on with.
            return note.map_or_else(Vec::new, |note| vec![session, note]);
        }
        if !self.figures(words) && !self.is_over && self.reply.chars().count() < LONGEST_REPLY {
            self.reply.push_str(&text);
            self.reply.push('\n');
        }
        Vec::new()
    }

    fn finish(&mut self) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let reply: String = self.reply.trim().chars().take(LONGEST_REPLY).collect();
        if !reply.is_empty() {
            events.push(AgentEvent::Message { text: reply });
        }
        let usage = self.usage.take().filter(|usage| !usage.is_nothing());
        events.extend(usage.map(|usage| AgentEvent::UsageTotal { usage }));
        events
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(note: Option<Value>, lines: &[(Source, &str)]) -> Vec<AgentEvent> {
        let mut reader = HermesReader::new(note, Usage::default());
        let mut events: Vec<AgentEvent> =
            lines.iter().flat_map(|(source, line)| reader.line(*source, line.as_bytes())).collect();
        events.extend(reader.finish());
        events
    }

    #[test]
    fn reply_session_and_figures_are_told_apart() {
        let note = json!({ "cwd": "/w" });
        let out = |line| (Source::Stdout, line);
        let events = read(
            Some(note.clone()),
            &[
                out("All done."),
                out("Nothing failed."),
                (Source::Stderr, "ERROR: a traceback of something"),
                out("session_id: h-1"),
                out("Tokens: 1,200 in, 34 out"),
                out("Cost: $0.25"),
            ],
        );
        let usage =
            Usage { input_tokens: 1_200, output_tokens: 34, cost_micros: Some(250_000), ..Usage::default() };
        let expected = [
            AgentEvent::Session { id: "h-1".to_owned() },
            AgentEvent::SessionNote { note },
            AgentEvent::Message { text: "All done.\nNothing failed.".to_owned() },
            AgentEvent::UsageTotal { usage },
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_session_that_is_not_kept_is_not_told() {
        assert_eq!(read(None, &[(Source::Stdout, "session_id: h-1")]), []);
        let text = [(Source::Stdout, "the cost: none of your business, tokens: some in and some out")];
        let [AgentEvent::Message { .. }] = read(None, &text).as_slice() else { panic!("only words") };
    }
}
