//! `bugle mcp`: the MCP server of Bugle over stdin and stdout, for programs that start their tool servers themselves.
//!
//! A pipe and no more: each line is sent to the server's own MCP endpoint, and its answer is printed. Who asks comes from
//! the environment that a run is given, so that no key stands in an argument or in a file. Messages are answered one
//! after another, in their order.

use std::io::{BufRead, Read, Write};

use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;

/// What the server takes at most, with room for what is around it.
const LONGEST_MESSAGE: u64 = 16 << 20;
/// Which run speaks: for agents whose key is not that of a run.
const RUN: [&str; 2] = ["BUGLE_RUN_ID", "PAPERCLIP_RUN_ID"];
const RUN_HEADER: &str = "X-Bugle-Run-Id";
/// JSON-RPC's code for a failure of whoever answers.
const INTERNAL: i64 = -32603;
const PARSE: i64 = -32700;

#[derive(Debug, Args)]
pub(crate) struct Mcp {}

impl Mcp {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let run = RUN.iter().find_map(|name| std::env::var(name).ok()).filter(|run| !run.trim().is_empty());
        loop {
            // On another thread, so that connections are looked after while a message is waited for.
            let read = tokio::task::spawn_blocking(next_line).await;
            let line = read.map_err(std::io::Error::other).flatten();
            let Some(line) = line.map_err(|error| broken("read stdin", &error))? else { return Ok(()) };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let Some(mut answer) = exchange(&client, run.as_deref(), line).await else { continue };
            answer.push('\n');
            let mut output = std::io::stdout().lock();
            let written = output.write_all(answer.as_bytes()).and_then(|()| output.flush());
            written.map_err(|error| broken("write to stdout", &error))?;
        }
    }
}

/// The next line of stdin; `None` at its end.
fn next_line() -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = std::io::stdin().lock().take(LONGEST_MESSAGE).read_until(b'\n', &mut line)?;
    Ok((read > 0).then_some(line))
}

fn broken(what: &str, error: &std::io::Error) -> Failure {
    Failure::failed("mcp.pipe", format!("cannot {what}: {error}"))
        .hint("is the program that started it gone?")
}

/// The answer to one message, on one line; `None` when it wants none.
async fn exchange(client: &Client, run: Option<&str>, line: Vec<u8>) -> Option<String> {
    let message: Json = match serde_json::from_slice(&line) {
        Ok(message) => message,
        Err(error) => {
            return Some(fault(&Json::Null, PARSE, &format!("the message is not JSON: {error}"), None));
        }
    };
    let headers: Vec<(&str, &str)> = run.map(|run| (RUN_HEADER, run)).into_iter().collect();
    match client.post_for_answer("/mcp", &message, &headers).await {
        Ok(answer) => answer.map(|answer| answer.to_string()),
        // What wants no answer gets none; the next request says the same again.
        Err(_) if message.get("id").is_none() => None,
        Err(failure) => {
            let id = message.get("id").cloned().unwrap_or(Json::Null);
            Some(fault(&id, INTERNAL, &failure.message, failure.hint.as_deref()))
        }
    }
}

fn fault(id: &Json, code: i64, message: &str, hint: Option<&str>) -> String {
    let message = match hint {
        Some(hint) => format!("{message}; {hint}"),
        None => message.to_owned(),
    };
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }).to_string()
}
