//! Adapters from the outside: what they describe is started as real processes, and what comes back is read.

#![allow(clippy::unwrap_used)]

mod acp;
mod any_bytes;
mod calling;
mod captures;
mod codex;
mod command_lines;
mod describing;
mod endings;
mod gateway;
mod openclaw;
mod outcome_table;
mod playing;
mod prompting;
mod stage;
mod words;
