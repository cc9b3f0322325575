//! Kinds of agents: each adapter describes the command that a run needs and reads the lines that come back.
//!
//! An adapter starts nothing, kills nothing and knows no database; the keeper performs what it describes. A new kind is
//! one file and one line in [`registry`]. Beside the adapters live four small programs that they name in their
//! commands: the scripted agent, the caller of HTTP agents, and the drivers of agents that speak the Agent Client
//! Protocol and of those behind an OpenClaw gateway; the `bugle` executable runs them under a first argument.

mod account;
mod acp;
mod adapter;
mod bindings;
mod claude;
mod cli;
mod codex;
mod courier;
mod cursor;
mod env;
mod executable;
mod gemini;
mod hermes;
mod http;
mod http_call;
mod lines;
mod models;
mod openclaw;
mod opencode;
mod pi;
mod plain;
mod process;
mod qwen;
mod reading;
mod redaction;
mod scripted;
mod settings;
mod web;

pub use account::Account;
pub use acp::{ACP_RUN, acp_run, permission_answer};
pub use adapter::{
    Adapter, AdapterError, Check, Command, InFile, Level, Problem, Reader, SECRET_MIN, Setup, Source,
};
pub use bindings::{Binding, SecretRef, binding, check_env, check_strictly};
pub use cli::folder_of;
pub use courier::{Answered, Parcel, Unanswered, deliver, is_deliverable};
pub use env::{Host, is_secret_name};
pub use http_call::{HTTP_CALL, http_call};
pub use lines::{LINE_LIMIT, LineSplitter};
pub use models::{Detected, detect_model, models};
pub use openclaw::{OPENCLAW_RUN, device_private_key_pem, openclaw_run};
pub use reading::kept_for_readers;
pub use redaction::{redacted, redacted_env};
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
        &acp::Acp,
        &cursor::Cursor,
        &hermes::Hermes,
        &openclaw::OpenClaw,
    ]
}

/// Returns the adapter of a kind (`adapterType` of an agent).
pub fn find(kind: &str) -> Option<&'static dyn Adapter> {
    registry().iter().copied().find(|adapter| adapter.kind() == kind)
}
