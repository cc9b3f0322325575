//! Rules as tables: what the documents print is what the functions decide.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod automation_rules;
mod table;
