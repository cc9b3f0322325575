//! Agent programs as people install them, started by a real server, against a model on this machine that does what the
//! prompt says.
//!
//! `cargo xtask agents` installs the programs and runs this target; the ordinary test run leaves it out. Nothing here
//! speaks to anything but loopback. What each program is expected to do in each case is the table in `table`; what the
//! programs do without us, the ground under their adapters, is in `alone`.

// Helpers of tests are tests to people, not to the lint.
#![allow(clippy::unwrap_used)]

mod alone;
mod fake_model;
mod limits;
mod permission;
mod play;
mod programs;
mod sessions;
mod table;
mod tools;

// The other test target's: a data folder with a server, and the way to it.
#[path = "../it/scene.rs"]
#[allow(dead_code, reason = "the other test target uses the rest of it")]
mod scene;
#[path = "../it/stage.rs"]
#[allow(dead_code, reason = "the other test target uses the rest of it")]
mod stage;

use programs::Program;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_2_1_197_does_as_the_table_says() {
    play::all_cases(Program::ClaudeOld).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_2_1_329_does_as_the_table_says() {
    play::all_cases(Program::ClaudeNew).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_does_as_the_table_says() {
    play::all_cases(Program::Codex).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_meets_a_limit_and_goes_on_by_itself_after_the_reset() {
    limits::play(Program::Codex, limits::a_limit_of_codex).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_loses_its_login_and_goes_on_when_it_is_put_right() {
    limits::play(Program::ClaudeNew, limits::a_lost_login_of_claude).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gemini_does_as_the_table_says() {
    play::all_cases(Program::Gemini).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_does_as_the_table_says() {
    play::all_cases(Program::Pi).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opencode_does_as_the_table_says() {
    play::all_cases(Program::OpenCode).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_agent_acp_does_as_the_table_says() {
    play::all_cases(Program::ClaudeAcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_acp_does_as_the_table_says() {
    play::all_cases(Program::CodexAcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qwen_does_as_the_table_says() {
    play::all_cases(Program::Qwen).await;
}
