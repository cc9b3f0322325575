//! Real effects of the scripted agent outside of its output: files, commits, the ledger, calls to the control plane.
//!
//! Each gives an error in words that read after "failed to".

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::web;

/// How long the control plane may think.
const ANSWER: Duration = Duration::from_secs(60);

/// Makes a file, or leaves it as it is.
pub(crate) fn touch(file: &Path) -> Result<(), String> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.map(drop).map_err(|error| format!("touch `{}`: {error}", file.display()))
}

/// Appends a line to a file, making its folders as needed.
pub(crate) fn edit(file: &Path, text: &str) -> Result<(), String> {
    let problem = |error: io::Error| format!("edit `{}`: {error}", file.display());
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(problem)?;
    }
    let mut opened = OpenOptions::new().create(true).append(true).open(file).map_err(problem)?;
    opened.write_all(format!("{text}\n").as_bytes()).map_err(problem)
}

/// Commits everything in the working folder's repository.
pub(crate) fn commit(message: &str) -> Result<(), String> {
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--no-verify", "--message", message])
}

/// Appends one durable line: one `write` on a file opened for appending, so that lines of several processes never mix.
pub(crate) fn ledger(file: &Path, entry: &str) -> Result<(), String> {
    let problem = |error: io::Error| format!("write the ledger `{}`: {error}", file.display());
    let line = format!("{}\n", entry.replace('\n', " ").trim_end());
    let mut opened = OpenOptions::new().create(true).append(true).open(file).map_err(problem)?;
    let written = opened.write(line.as_bytes()).map_err(problem)?;
    if written != line.len() {
        return Err(format!("write the ledger `{}` in one piece", file.display()));
    }
    opened.sync_all().map_err(problem)
}

/// A call to the control plane.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) base: &'a str,
    pub(crate) key: &'a str,
    pub(crate) run_id: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) body: Option<String>,
}

/// Makes a call and returns the status and the body of the answer.
pub(crate) fn call(call: Call<'_>) -> Result<(u16, String), String> {
    let Call { base, key, run_id, method, path, body } = call;
    if base.is_empty() {
        return Err("call the API: BUGLE_API_URL is not set".to_owned());
    }
    let problem = |error: &dyn std::fmt::Display| format!("call {method} {path}: {error}");
    let url = format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'));
    let mut request =
        ureq::http::Request::builder().method(method).uri(&url).header("x-paperclip-run-id", run_id);
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(body.unwrap_or_default().into_bytes()).map_err(|error| problem(&error))?;
    // No limit on the whole call: that would resolve names in a second thread, and forking needs a single one.
    let settings = web::settings().timeout_recv_response(Some(ANSWER));
    let answer = web::client(settings).run(request).map_err(|error| problem(&error))?;
    let status = answer.status().as_u16();
    let body = answer.into_body().read_to_string().map_err(|error| problem(&error))?;
    Ok((status, body))
}

/// Runs git as an author of its own, whatever the user has or has not configured.
fn git(args: &[&str]) -> Result<(), String> {
    let problem = |why: &dyn std::fmt::Display| format!("git {}: {why}", args.first().unwrap_or(&""));
    let mut command = std::process::Command::new("git");
    command.args(["-c", "commit.gpgSign=false", "-c", "core.hooksPath=/dev/null"]).args(args);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Scripted Agent");
        command.env(format!("GIT_{who}_EMAIL"), "scripted@bugle.invalid");
    }
    command.env("GIT_TERMINAL_PROMPT", "0").stdin(std::process::Stdio::null());
    let output = command.output().map_err(|error| problem(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(problem(&String::from_utf8_lossy(&said).trim()))
}
