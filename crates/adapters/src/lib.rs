//! Kinds of agents: each adapter describes the command that a run needs and reads the lines that come back.
//!
//! An adapter starts nothing, kills nothing and knows no database; the keeper performs what it describes. A new kind is
//! one file and one line in [`registry`]. Beside the adapters live two small programs that they name in their commands:
//! the scripted agent and the caller of HTTP agents; the `bugle` executable runs them under a first argument.

mod adapter;
mod claude;
mod cli;
mod codex;
mod env;
mod executable;
mod gemini;
mod http;
mod http_call;
mod lines;
mod opencode;
mod pi;
mod plain;
mod process;
mod qwen;
mod scripted;
mod settings;
mod web;

pub use adapter::{Adapter, AdapterError, Check, Command, Level, Problem, Reader, SECRET_MIN, Setup, Source};
pub use env::Host;
pub use http_call::{HTTP_CALL, http_call};
pub use lines::{LINE_LIMIT, LineSplitter};
pub use scripted::program::{SCRIPTED, scripted_main};
pub use settings::{REDACTED, placeholders};

/// Every kind of agent, in the order in which they are shown.
pub fn registry() -> &'static [&'static dyn Adapter] {
    &[
        &process::Process,
        &http::Http,
        &scripted::Scripted,
        &claude::Claude,
        &gemini::Gemini,
        &opencode::Opencode,
        &pi::Pi,
        &qwen::Qwen,
        &codex::Codex,
    ]
}

/// Returns the adapter of a kind (`adapterType` of an agent).
pub fn find(kind: &str) -> Option<&'static dyn Adapter> {
    registry().iter().copied().find(|adapter| adapter.kind() == kind)
}
