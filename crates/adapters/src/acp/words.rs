//! What the server, the driver of an agent and the reader of its log say to each other.
//!
//! The driver gets one [`Job`] on its stdin and later [`Answer`]s, a line each. It prints one [`Line`] after the other;
//! whatever the agent itself says is wrapped in one, so that no agent can speak for its driver. A line that only a later
//! version understands is skipped.

use domain::telling::Permission;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is to be done when the agent asks for a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    /// A person decides.
    #[default]
    Ask,
    Allow,
    Deny,
}

impl Policy {
    pub(crate) const NAMES: [&str; 3] = ["ask", "allow", "deny"];

    pub(crate) fn parse(name: &str) -> Option<Policy> {
        match name {
            "ask" => Some(Policy::Ask),
            "allow" => Some(Policy::Allow),
            "deny" => Some(Policy::Deny),
            _ => None,
        }
    }
}

/// Everything a driver needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    /// The agent's program and its arguments.
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) prompt: String,
    /// The session to go on with.
    pub(crate) session: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) mcp_servers: Value,
    pub(crate) policy: Policy,
    /// After so long without an answer a permission is given up.
    pub(crate) patience_ms: Option<u64>,
}

impl Job {
    /// One line, with its end.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        line_of(self)
    }
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) ask: String,
    /// Of the request that the person saw.
    pub(crate) hash: String,
    pub(crate) allow: bool,
}

/// Writes an answer for a driver's stdin. The empty line in front ends whatever came before it, should that have been
/// broken off.
pub fn permission_answer(ask: &str, hash: &str, allow: bool) -> Vec<u8> {
    let mut bytes = vec![b'\n'];
    bytes.extend(line_of(&Answer { ask: ask.to_owned(), hash: hash.to_owned(), allow }));
    bytes
}

/// A line that a driver prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// A message of the agent, as it is.
    FromAgent(Value),
    /// Something that the agent printed and that is no message.
    Noise(String),
    /// A message to the agent; of the prompt only that it was sent.
    ToAgent(Value),
    /// A permission that a person is to give.
    Asks(Permission),
    /// What became of a permission that was asked for.
    Answered { ask: String, outcome: Outcome },
    /// The driver cannot go on, and says why.
    Stuck { words: String, is_gone: bool },
    /// The agent's program ended.
    Ended { code: Option<i32>, signal: Option<i32> },
}

/// Why nobody waits for a permission any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Allowed,
    Denied,
    Expired,
    Cancelled,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
            Outcome::Expired => "expired",
            Outcome::Cancelled => "cancelled",
        }
    }
}

impl Line {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        line_of(self)
    }
}

fn line_of(what: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(what).expect("all keys are texts, and a Vec takes every byte");
    line.push(b'\n');
    line
}
