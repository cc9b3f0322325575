//! The speeches of the scripted agent: how it says an event so that the adapter under test understands it.
//!
//! Speaking and reading belong together: a speech names both the writer used here and the reader of the adapter whose
//! dialect it imitates. Steps never know which speech is spoken.

use domain::telling::AgentEvent;

use crate::adapter::Reader;
use crate::plain::{self, PlainReader};

/// A way to say events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
}

impl Speech {
    /// The names, as in `--speak` and `adapterConfig.speak`.
    pub(crate) const NAMES: &'static [&'static str] = &["plain"];

    pub(crate) fn parse(name: &str) -> Option<Speech> {
        match name {
            "plain" => Some(Speech::Plain),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Speech::Plain => "plain",
        }
    }

    /// The bytes on stdout that say an event.
    pub(crate) fn say(self, event: &AgentEvent) -> Vec<u8> {
        match self {
            Speech::Plain => plain::line(event),
        }
    }

    /// The reader that understands this speech.
    pub(crate) fn reader(self) -> Box<dyn Reader> {
        match self {
            Speech::Plain => Box::new(PlainReader { prose: true }),
        }
    }
}
