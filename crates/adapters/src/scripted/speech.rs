//! The speeches of the scripted agent: which programs it can pass for, and who understands it then.
//!
//! Steps never know which speech is spoken. How an event is said in it is in `voice`; a speech whose program is driven in
//! a conversation has no reader of its own, because the driver's words are read.

use crate::adapter::{Adapter, Reader, Setup};
use crate::plain::PlainReader;
use crate::{claude, codex};

/// A way to say events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
    Claude,
    Codex,
    Acp,
}

impl Speech {
    /// The names, as in `--speak`.
    pub(crate) const NAMES: &'static [&'static str] = &["plain", "claude", "codex", "acp"];
    /// Those of `adapterConfig.speak`: what is read line by line.
    pub(crate) const READ: &'static [&'static str] = &["plain", "claude", "codex"];

    pub(crate) fn parse(name: &str) -> Option<Speech> {
        match name {
            "plain" => Some(Speech::Plain),
            "claude" => Some(Speech::Claude),
            "codex" => Some(Speech::Codex),
            "acp" => Some(Speech::Acp),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Speech::Plain => "plain",
            Speech::Claude => "claude",
            Speech::Codex => "codex",
            Speech::Acp => "acp",
        }
    }

    /// The reader that understands this speech.
    pub(crate) fn reader(self, setup: &Setup<'_>) -> Box<dyn Reader> {
        match self {
            Speech::Plain | Speech::Acp => Box::new(PlainReader { prose: true }),
            Speech::Claude => claude::Claude.reader(setup),
            Speech::Codex => codex::Codex.reader(setup),
        }
    }
}
