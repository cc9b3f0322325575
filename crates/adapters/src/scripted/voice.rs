//! How the scripted agent says an event: as itself, or the way one of the real programs would.
//!
//! The dialects say what their programs say about the same thing, in as few lines as the readers need; they are held
//! against recordings of the programs by reading both with the program's own reader.

mod acp;
mod claude;
mod codex;

use domain::telling::AgentEvent;
use serde_json::Value;

use super::speech::Speech;
use crate::plain;

pub(super) use acp::{AcpVoice, Heard};
use claude::ClaudeVoice;
use codex::CodexVoice;

/// A way to say events, with what has to be remembered from one to the next.
#[derive(Debug)]
pub(super) enum Voice {
    Plain,
    Claude(ClaudeVoice),
    Codex(CodexVoice),
    Acp(AcpVoice),
}

impl Voice {
    pub(super) fn of(speech: Speech) -> Voice {
        match speech {
            Speech::Plain => Voice::Plain,
            Speech::Claude => Voice::Claude(ClaudeVoice::default()),
            Speech::Codex => Voice::Codex(CodexVoice::default()),
            Speech::Acp => Voice::Acp(AcpVoice::default()),
        }
    }

    /// The bytes on stdout that say an event; none where a program has no word for it.
    pub(super) fn say(&mut self, event: &AgentEvent) -> Vec<u8> {
        match self {
            Voice::Plain => plain::line(event),
            Voice::Claude(voice) => lines(voice.say(event)),
            Voice::Codex(voice) => lines(voice.say(event)),
            Voice::Acp(voice) => lines(voice.say(event)),
        }
    }
}

fn lines(messages: Vec<Value>) -> Vec<u8> {
    messages.iter().flat_map(|message| format!("{message}\n").into_bytes()).collect()
}
