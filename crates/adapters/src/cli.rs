//! What the command line agents have in common: their settings, the command they are started with, the prompt.
//!
//! Each of them is a program of somebody else's that is started once per run, works in a folder, and prints JSON lines.
//! What it is called, how it is told what, and what its lines mean is the business of its own file.

pub(crate) mod clock;
mod config;
pub(crate) mod figures;
pub(crate) mod mcp;
pub(crate) mod openrouter;
mod prompt;
pub(crate) mod refusal;
pub(crate) mod session;
pub(crate) mod skills;
pub(crate) mod stderr;
mod template;
mod unattended;
pub(crate) mod wording;

pub use config::folder_of;
pub(crate) use config::{CheckCodes, LONGEST_ARGUMENT, ProgramSettings, command, environment_checks, place};
pub(crate) use prompt::{Instructions, Prompt, Style, assemble, contract, instructions, waking};
pub(crate) use unattended::unattended;
