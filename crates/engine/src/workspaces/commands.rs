//! Commands of the host in a workspace, and the record of what was done to it.
//!
//! Only people write such commands (spec/heartbeat.md 11.13). They run with the environment that agents may see and what
//! is said of the workspace, and nothing else of the server's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::ids::{CompanyId, RunId};
use domain::workspace::{OperationStatus, Phase};
use serde_json::Value as Json;
use store::workspace_operations::{self as operations, End, WorkspaceOperation};

use super::git::{self, Said};
use crate::Inner;

/// Installing what a project needs may take long; nothing takes for ever.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// The end of each stream that is kept (spec/heartbeat.md 4.7).
const KEPT: usize = 256 << 10;
/// The end of each stream that is shown.
const EXCERPT: usize = 4_096;

/// Whose operation it is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) company: CompanyId,
    pub(crate) workspace: String,
    pub(crate) run: Option<RunId>,
}

/// Writes down that something begins; returns its id.
pub(crate) async fn begin(
    engine: &Inner,
    owner: &Owner,
    phase: Phase,
    command: Option<&str>,
    cwd: &Path,
    metadata: Option<Json>,
) -> Result<String, String> {
    let now = engine.clock.now();
    let id = domain::ids::mint(now, engine.dice.bytes());
    let row = WorkspaceOperation {
        id: id.clone(),
        company_id: owner.company.clone(),
        execution_workspace_id: Some(owner.workspace.clone()),
        run_id: owner.run.clone(),
        phase: phase.as_str().to_owned(),
        command: command.map(str::to_owned),
        cwd: Some(cwd.display().to_string()),
        status: OperationStatus::Running.as_str().to_owned(),
        exit_code: None,
        log_bytes: None,
        stdout_excerpt: None,
        stderr_excerpt: None,
        metadata,
        started_at: now,
        finished_at: None,
    };
    let begun = engine.write(row, |tx, row| Box::pin(async move { operations::begin(tx, &row).await }));
    begun.await.map(|()| id).map_err(|error| format!("cannot record what is done to the workspace: {error}"))
}

/// Writes down how it ended.
pub(crate) async fn end(engine: &Inner, id: &str, said: Result<&Said, &str>) {
    let now = engine.clock.now();
    let end = match said {
        Ok(said) => {
            let status =
                if said.code == Some(0) { OperationStatus::Succeeded } else { OperationStatus::Failed };
            let (out, err) = (plain(&said.out), plain(&said.err));
            End {
                status,
                exit_code: said.code.map(i64::from),
                stdout_excerpt: excerpt(&out),
                stderr_excerpt: excerpt(&err),
                log: format!("{out}{err}"),
            }
        }
        Err(words) => End {
            status: OperationStatus::Failed,
            exit_code: None,
            stdout_excerpt: None,
            stderr_excerpt: excerpt(words),
            log: format!("{words}\n"),
        },
    };
    let ended = engine.write((id.to_owned(), end), move |tx, (id, end)| {
        Box::pin(async move { operations::finish(tx, &id, &end, now).await })
    });
    if let Err(error) = ended.await {
        tracing::warn!(%id, %error, "cannot record how an operation on a workspace ended");
    }
}

/// Text that both stores take.
pub(crate) fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

pub(crate) fn excerpt(text: &str) -> Option<String> {
    let from = text.len().saturating_sub(EXCERPT);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    Some(text[from..].to_owned()).filter(|text| !text.is_empty())
}

/// Runs a command of the host and records it; the error is in words.
pub(crate) async fn run(
    engine: &Inner,
    owner: &Owner,
    phase: Phase,
    script: &str,
    place: &Place,
) -> Result<(), String> {
    let id = begin(engine, owner, phase, Some(script), &place.cwd, None).await?;
    let shell = shell_of(place.env.get("SHELL").map(String::as_str));
    let script = from_root(script, &place.repo_root);
    let said = git::shell(&shell, &script, &place.cwd, &place.env, PATIENCE, KEPT).await;
    match said {
        Ok(Some(said)) => {
            end(engine, &id, Ok(&said)).await;
            match said.code {
                Some(0) => Ok(()),
                Some(code) => {
                    Err(format!("the {phase} command ended with exit code {code}: {}", last_line(&said)))
                }
                None => Err(format!("the {phase} command was ended by a signal")),
            }
        }
        Ok(None) => {
            let words = format!("the {phase} command did not end within {} minutes", PATIENCE.as_secs() / 60);
            end(engine, &id, Err(&words)).await;
            Err(words)
        }
        Err(error) => {
            let words = format!("the {phase} command cannot be started: {error}");
            end(engine, &id, Err(&words)).await;
            Err(words)
        }
    }
}

/// The shell of the user that the server works as, where it is there; else the one that every machine has.
pub(crate) fn shell_of(named: Option<&str>) -> String {
    let named = named.map(str::trim).filter(|shell| shell.starts_with('/') && Path::new(shell).is_file());
    named.unwrap_or("/bin/sh").to_owned()
}

fn last_line(said: &Said) -> String {
    let words = said.words();
    words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

/// Where a command runs, and what it is told.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) cwd: PathBuf,
    /// The root of the checkout that worktrees are made of.
    pub(crate) repo_root: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
}

/// A script of the repository is taken from its checkout, so that an old worktree is served by the newest one.
fn from_root(script: &str, root: &Path) -> String {
    let (shell, rest) = match script.split_once(' ') {
        Some((shell, rest)) if matches!(shell, "bash" | "sh" | "zsh") => (Some(shell), rest.trim_start()),
        _ => (None, script),
    };
    let (path, args) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let Some(relative) = path.strip_prefix("./") else { return script.to_owned() };
    let is_plain = relative.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    let file = root.join(relative);
    if !is_plain || relative.split('/').any(|part| part == "..") || !file.is_file() {
        return script.to_owned();
    }
    let quoted = format!("'{}'", file.display().to_string().replace('\'', "'\\''"));
    [shell.unwrap_or(""), &quoted, args]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_of_the_repository_is_taken_from_its_checkout() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("set-up.sh"), "").unwrap();
        let file = format!("'{}'", root.path().join("set-up.sh").display());
        for (script, expected) in [
            ("./set-up.sh", file.clone()),
            ("bash ./set-up.sh --all now", format!("bash {file} --all now")),
            ("./other.sh", "./other.sh".to_owned()),
            ("./../set-up.sh", "./../set-up.sh".to_owned()),
            ("make ./set-up.sh", "make ./set-up.sh".to_owned()),
            ("./set-up.sh;ls", "./set-up.sh;ls".to_owned()),
        ] {
            assert_eq!(from_root(script, root.path()), expected);
        }
    }

    #[test]
    fn a_shell_is_one_that_is_there_or_sh() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("shell").display().to_string();
        std::fs::write(&own, "").unwrap();
        let padded = format!(" {own} ");
        for (named, expected) in [
            (Some(own.as_str()), own.as_str()),
            (Some(padded.as_str()), own.as_str()),
            (Some("bash"), "/bin/sh"),
            (Some("/no/such/shell"), "/bin/sh"),
            (Some(folder.path().to_str().unwrap()), "/bin/sh"),
            (Some(""), "/bin/sh"),
            (Some("  "), "/bin/sh"),
            (None, "/bin/sh"),
        ] {
            assert_eq!(shell_of(named), expected, "{named:?}");
        }
    }

    #[test]
    fn an_excerpt_is_the_end_and_whole_characters() {
        assert_eq!(excerpt(""), None);
        let long = format!("{}é", "x".repeat(EXCERPT - 1));
        assert_eq!(excerpt(&long).unwrap().len(), EXCERPT);
        assert!(excerpt(&format!("é{}", "x".repeat(EXCERPT - 1))).unwrap().starts_with('x'));
    }
}
