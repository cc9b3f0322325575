//! What the command line agents have in common: their settings, the command they are started with, the prompt.
//!
//! Each of them is a program of somebody else's that is started once per run, works in a folder, and prints JSON lines.
//! What it is called, how it is told what, and what its lines mean is the business of its own file.

pub(crate) mod clock;
mod config;
pub(crate) mod wording;
mod prompt;
mod template;

pub(crate) use config::{CheckCodes, Common, command, environment_checks};
pub(crate) use prompt::{Instructions, Prompt, Style, assemble, contract, instructions};
