//! Closing a workspace: its work is saved, its folder goes, its row stays.
//!
//! First the row says that it is being closed, so no run takes it any more; then its services end; then everything that no kept ref leads to is
//! saved to one, and looked at again; only then does the worktree go. Each step may be done again after a crash: the next
//! one who looks goes on where it was left. A workspace that cannot be closed is given back and says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::ids::RunId;
use domain::workspace::closing::{self, GitFacts, LinkedIssue, MOST_IGNORED_BYTES, Readiness, State, View};
use domain::workspace::{Phase, Status};
use serde_json::{Value as Json, json};
use store::execution_workspaces::{self as rows, ExecutionWorkspace};
use store::runtime_services::{self as services, RuntimeService};
use store::{projects, workspace_operations};

use super::commands::{self, Owner, Place};
use super::git::{Git, GitError, Said};
use super::repository::{self, commit};
use super::saving::{self, Scratch};
use super::{scratch_of, worktree};
use crate::activity::Author;
use crate::runtime_services::{self, MOST_SERVICES, job};
use crate::{Engine, EngineError, Inner};

/// As many issues are looked at.
const MOST_ISSUES: i64 = 200;
/// As many ignored entries are named.
const MOST_NAMED: usize = 10;
/// When the sweep looks again at one that could not be closed, and at one where something failed.
const BLOCKED_FOR: Duration = Duration::from_secs(86_400);
const FAILED_FOR: Duration = Duration::from_secs(3_600);

/// Whether a workspace may be closed, with what that was judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosingReport {
    pub workspace: ExecutionWorkspace,
    /// What runs beside it.
    pub services: Vec<RuntimeService>,
    pub view: View,
    pub readiness: Readiness,
}

/// What became of closing.
#[derive(Debug)]
pub(crate) enum Closed {
    Archived(Box<ExecutionWorkspace>),
    Blocked(Box<ClosingReport>),
}

/// Why it was not closed.
#[derive(Debug)]
pub(crate) enum Unclosed {
    Engine(EngineError),
    /// Something failed; the workspace says so, and is as it was or further.
    Failed(String),
}

impl From<store::StoreError> for Unclosed {
    fn from(error: store::StoreError) -> Unclosed {
        Unclosed::Engine(error.into())
    }
}

impl Engine {
    /// Says whether a workspace may be closed, and what that would do. Changes nothing.
    pub async fn close_readiness(&self, id: &str) -> Result<ClosingReport, EngineError> {
        let row = self.execution_workspace(id).await?;
        report(&self.inner, row, false)
            .await
            .map_err(|words| EngineError::Conflict { message: words, details: None })
    }

    /// Closes a workspace. What stands in the way is given back as the report.
    pub async fn close_workspace(
        &self,
        id: &str,
        discard_ignored: bool,
        by: &Author,
    ) -> Result<Result<ExecutionWorkspace, ClosingReport>, EngineError> {
        self.inner.refuse_when_closing()?;
        // Whoever asked may stop waiting; what was begun is gone on with.
        let (inner, workspace, author) = (Arc::clone(&self.inner), id.to_owned(), by.clone());
        let closing = self.inner.tasks.spawn(async move {
            close(&inner, &workspace, discard_ignored, &author, "closed by hand").await
        });
        let closed = closing.await.unwrap_or_else(|error| Err(Unclosed::Failed(error.to_string())));
        match closed {
            Ok(Closed::Archived(row)) => Ok(Ok(*row)),
            Ok(Closed::Blocked(report)) => Ok(Err(*report)),
            Err(Unclosed::Engine(error)) => Err(error),
            Err(Unclosed::Failed(words)) => Err(EngineError::Conflict {
                message: format!("Failed to archive execution workspace: {words}"),
                details: None,
            }),
        }
    }
}

/// Everything that closing is judged by.
async fn report(
    engine: &Inner,
    row: ExecutionWorkspace,
    discard_ignored: bool,
) -> Result<ClosingReport, String> {
    let found = engine.read(row.clone(), |tx, row| {
        Box::pin(async move {
            let tenants = rows::tenants(tx, &row.id).await?;
            let issues = rows::linked_issues(tx, &row, MOST_ISSUES).await?;
            let project = match &row.project_workspace_id {
                Some(id) => projects::workspace(tx, id).await?,
                None => None,
            };
            let live = services::live_in(tx, &row.company_id, &row.id, MOST_SERVICES).await?;
            Ok((tenants, issues, project, live))
        })
    });
    let (tenants, issues, project, live) = found.await.map_err(|error| error.to_string())?;
    let issues = issues.into_iter().map(|issue| LinkedIssue {
        is_terminal: matches!(issue.status.as_str(), "done" | "cancelled"),
        id: issue.id,
        identifier: Some(issue.identifier),
        title: issue.title,
        status: issue.status,
    });
    let is_shared = !row.is_worktree();
    let mut view = View {
        is_shared,
        is_project_primary: is_shared
            && project.is_some_and(|project| project.is_primary && project.cwd == row.cwd),
        leased_by: tenants.into_iter().map(|RunId(id)| id).collect(),
        issues: issues.collect(),
        discard_ignored,
        teardown: teardown_of(&row),
        services: live.iter().filter(|it| !job::is_one(it)).map(|it| it.service_name.clone()).collect(),
        jobs: live.iter().filter(|it| job::is_one(it)).map(|it| it.service_name.clone()).collect(),
        ..View::default()
    };
    let is_here = row.node_id == engine.settings.node_id && !row.is_closed();
    if let Some(folder) =
        row.provider_ref.as_deref().map(Path::new).filter(|it| row.is_worktree() && is_here && it.is_dir())
    {
        look(engine, &row, folder, &mut view)
            .await
            .map_err(|error| format!("cannot look at {}: {error}", folder.display()))?;
    }
    let readiness = closing::decide(&view);
    Ok(ClosingReport { workspace: row, services: live, view, readiness })
}

fn teardown_of(row: &ExecutionWorkspace) -> Option<String> {
    let command = row.metadata.as_ref()?["config"]["teardownCommand"].as_str()?;
    Some(command.to_owned()).filter(|command| !command.trim().is_empty())
}

fn is_ours(row: &ExecutionWorkspace) -> bool {
    row.metadata.as_ref().is_some_and(|metadata| metadata["createdByRuntime"] == Json::Bool(true))
}

async fn look(
    engine: &Inner,
    row: &ExecutionWorkspace,
    folder: &Path,
    view: &mut View,
) -> Result<(), GitError> {
    let git = engine.git(folder);
    let unsaved = saving::look(&git, folder).await?;
    let mut facts = GitFacts {
        repo_root: row.repo_dir.clone(),
        workspace_path: Some(folder.display().to_string()),
        branch_name: row.branch_name.clone(),
        base_ref: row.base_ref.clone(),
        has_dirty_tracked_files: !unsaved.changed.is_empty(),
        has_untracked_files: !unsaved.untracked.is_empty(),
        dirty_entry_count: unsaved.changed.len() as u64,
        untracked_entry_count: unsaved.untracked.len() as u64,
        created_by_runtime: is_ours(row),
        ..GitFacts::default()
    };
    let base = match row.base_ref.clone() {
        Some(name) if commit(&git, &name).await?.is_some() => name,
        Some(_) | None => {
            repository::default_base(&engine.git(row.repo_dir.clone().unwrap_or_default())).await?
        }
    };
    // `HEAD` would be the worktree's own here.
    let base = if base == "HEAD" { row.base_commit.clone().unwrap_or_default() } else { base };
    if commit(&git, &base).await?.is_some() {
        let told = git.text(&["rev-list", "--left-right", "--count", &format!("{base}...HEAD")]).await?;
        let mut counts = told.split_whitespace().map(|count| count.parse().ok());
        (facts.behind_count, facts.ahead_count) = (counts.next().flatten(), counts.next().flatten());
        facts.is_merged_into_base = facts.ahead_count.map(|ahead| ahead == 0);
    }
    view.git = Some(facts);
    view.nested = unsaved.nested;
    view.ignored_bytes = unsaved.ignored_bytes;
    view.ignored = unsaved.ignored.into_iter().take(MOST_NAMED).collect();
    Ok(())
}

/// Closes a workspace, or says what stands in the way.
pub(crate) async fn close(
    engine: &Inner,
    id: &str,
    discard_ignored: bool,
    by: &Author,
    reason: &'static str,
) -> Result<Closed, Unclosed> {
    let now = engine.clock.now();
    let begun = engine.write(id.to_owned(), move |tx, id| {
        Box::pin(async move {
            let Some(row) = rows::lock(tx, &id).await? else { return Ok(None) };
            let is_free = rows::tenants(tx, &id).await?.is_empty();
            let begun = is_free && rows::begin_closing(tx, &id, now).await?;
            if begun {
                workspace_operations::give_up(tx, &id, now).await?;
            }
            Ok(Some((row, begun)))
        })
    });
    let (row, begun) = begun.await?.ok_or(Unclosed::Engine(EngineError::NotFound("Execution workspace")))?;
    if row.is_closed() {
        return Ok(Closed::Archived(Box::new(row)));
    }
    if row.is_worktree() && row.node_id != engine.settings.node_id {
        let words = "the workspace lies on another server".to_owned();
        return give_back(engine, &row, Status::CleanupFailed, words, FAILED_FOR).await;
    }
    let report = match report(engine, row.clone(), discard_ignored).await {
        Ok(report) => report,
        Err(words) => return give_back(engine, &row, Status::CleanupFailed, words, FAILED_FOR).await,
    };
    if !begun || report.readiness.state == State::Blocked {
        if begun {
            let words = report.readiness.blocking_reasons.join("; ");
            let status = Status::parse(&row.status).unwrap_or(Status::Idle);
            let given = give_back(engine, &row, status, words, BLOCKED_FOR).await;
            if let Err(error @ Unclosed::Engine(_)) = given {
                return Err(error);
            }
        }
        return Ok(Closed::Blocked(Box::new(report)));
    }
    // They hold files of the folder, and write to it: whatever they do last is saved too.
    if let Err(words) = runtime_services::ending::end_all_in(engine, &row).await {
        return give_back(engine, &row, Status::CleanupFailed, words, FAILED_FOR).await;
    }
    let saved = match row.is_worktree() {
        true => match remove(engine, &report).await {
            Ok(saved) => saved,
            Err(words) => return give_back(engine, &row, Status::CleanupFailed, words, FAILED_FOR).await,
        },
        false => None,
    };
    archive(engine, row, saved, by, reason).await
}

/// Gives a workspace back to runs, with the reason why it was not closed.
async fn give_back(
    engine: &Inner,
    row: &ExecutionWorkspace,
    status: Status,
    words: String,
    pause: Duration,
) -> Result<Closed, Unclosed> {
    let now = engine.clock.now();
    let look_at = now.plus(pause);
    let given = engine.write((row.id.clone(), words.clone()), move |tx, (id, words)| {
        Box::pin(async move { rows::stop_closing(tx, &id, status, &words, look_at, now).await })
    });
    given.await?;
    Err(Unclosed::Failed(words))
}

async fn archive(
    engine: &Inner,
    row: ExecutionWorkspace,
    saved: Option<String>,
    by: &Author,
    reason: &'static str,
) -> Result<Closed, Unclosed> {
    let mut metadata = row.metadata.clone().unwrap_or_else(|| json!({}));
    if let (Some(saved), Some(fields)) = (&saved, metadata.as_object_mut()) {
        fields.insert("savedRef".to_owned(), json!(saved));
    }
    let by_itself = matches!(by, Author::System { .. });
    let context = (row.clone(), metadata, saved, engine.scribe(by));
    let archived = engine.write(context, move |tx, (row, metadata, saved, mut scribe)| {
        Box::pin(async move {
            // What a person closed stays closed for its issues until somebody moves them (spec/api.md 5.1); what goes
            // because nobody needs it any more stands in nobody's way.
            if by_itself {
                rows::untie(tx, &row.id).await?;
            }
            if rows::archive(tx, &row.id, Some(reason), Some(&metadata), scribe.now).await? {
                let details = json!({
                    "status": "archived", "name": row.name, "branchName": row.branch_name, "savedRef": saved,
                });
                let about = ("execution_workspace", row.id.as_str());
                scribe.tell(tx, &row.company_id, "execution_workspace.updated", about, details).await?;
            }
            rows::get(tx, &row.id).await
        })
    });
    let row = archived.await?.ok_or(Unclosed::Engine(EngineError::NotFound("Execution workspace")))?;
    engine.feed.ring();
    Ok(Closed::Archived(Box::new(row)))
}

/// Saves everything and removes the worktree; returns the ref that it was saved to. The error is in words.
async fn remove(engine: &Inner, report: &ClosingReport) -> Result<Option<String>, String> {
    let row = &report.workspace;
    let folder = PathBuf::from(row.provider_ref.clone().unwrap_or_default());
    let common = PathBuf::from(row.repo_dir.clone().unwrap_or_default());
    let owner = Owner { company: row.company_id.clone(), workspace: row.id.clone(), run: None };
    let in_words = |error: GitError| error.to_string();
    if !common.is_dir() {
        // Without its repository a worktree is a folder of files, and nobody could save it.
        return if folder.exists() {
            Err(format!(
                "the repository {} is not there; its worktree {} stays",
                common.display(),
                folder.display()
            ))
        } else {
            Ok(None)
        };
    }
    let _lock = engine.repositories.lock(&common).await;
    let git = engine.git(&common);
    if !folder.is_dir() {
        worktree::forget_missing(&git, &folder, &row.id).await.map_err(in_words)?;
        return Ok(None);
    }
    let with_ignored = report.view.ignored_bytes <= MOST_IGNORED_BYTES;
    let mut saved = save(engine, row, &folder, with_ignored).await.map_err(in_words)?;
    if let Some(command) = teardown_of(row) {
        // It may take things away: they are saved already.
        let place = command_place(engine, row, &folder);
        commands::run(engine, &owner, Phase::Teardown, &command, &place).await?;
        saved = save(engine, row, &folder, with_ignored).await.map_err(in_words)?.or(saved);
    }
    // Somebody who works there by hand may have gone on meanwhile.
    let again = save(engine, row, &folder, with_ignored).await.map_err(in_words)?;
    if again.is_some() && again != saved {
        return Err("the workspace changed while it was saved; what was there is saved, try again".to_owned());
    }
    let words = format!("git worktree remove --force {}", folder.display());
    let details = json!({ "savedRef": saved });
    let id = commands::begin(engine, &owner, Phase::Cleanup, Some(&words), &common, Some(details)).await?;
    let head = commit(&engine.git(&folder), "HEAD").await.map_err(in_words)?;
    let path = folder.to_string_lossy().into_owned();
    match git.run(&["worktree", "remove", "--force", &path]).await {
        Ok(said) => commands::end(engine, &id, Ok(&Said { code: Some(0), ..said })).await,
        Err(error) => {
            let words = error.to_string();
            commands::end(engine, &id, Err(&words)).await;
            return Err(words);
        }
    }
    if let (true, Some(branch), Some(head)) = (is_ours(row), row.branch_name.as_deref(), head) {
        delete_merged(&git, branch, &head).await.map_err(in_words)?;
    }
    Ok(saved)
}

async fn save(
    engine: &Inner,
    row: &ExecutionWorkspace,
    folder: &Path,
    with_ignored: bool,
) -> Result<Option<String>, GitError> {
    let scratch = Scratch::new(&scratch_of(&engine.settings), &row.id)?;
    saving::save(&engine.git(folder), &scratch, &row.id, row.branch_name.as_deref(), with_ignored).await
}

/// Deletes a branch whose commits another branch or a tag leads to as well; one that moved meanwhile stays.
async fn delete_merged(git: &Git, branch: &str, head: &str) -> Result<(), GitError> {
    let own = format!("refs/heads/{branch}");
    if commit(git, &own).await?.as_deref() != Some(head) {
        return Ok(());
    }
    let asked = ["for-each-ref", "--format=%(refname)", "--contains", head, "refs/heads", "refs/tags"];
    let holders = git.text(&asked).await?;
    if holders.lines().any(|name| name != own) {
        git.run(&["update-ref", "-d", &own, head]).await?;
    }
    Ok(())
}

fn command_place(engine: &Inner, row: &ExecutionWorkspace, folder: &Path) -> Place {
    let mut env = engine.settings.host.env.clone();
    let path = folder.display().to_string();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    for (name, value) in [
        ("WORKSPACE_CWD", path.clone()),
        ("WORKSPACE_PATH", path.clone()),
        ("WORKSPACE_WORKTREE_PATH", path),
        ("WORKSPACE_BRANCH", text(&row.branch_name)),
        ("WORKSPACE_REPO_REF", text(&row.base_ref)),
        ("WORKSPACE_REPO_URL", text(&row.repo_url)),
        ("PROJECT_ID", row.project_id.clone()),
        ("PROJECT_WORKSPACE_ID", text(&row.project_workspace_id)),
        ("COMPANY_ID", row.company_id.0.clone()),
        ("ISSUE_ID", row.source_issue_id.as_ref().map(|id| id.0.clone()).unwrap_or_default()),
    ] {
        env.insert(format!("BUGLE_{name}"), value.clone());
        env.insert(format!("PAPERCLIP_{name}"), value);
    }
    let common = PathBuf::from(text(&row.repo_dir));
    let root = if common.ends_with(".git") { common.parent().map(Path::to_owned) } else { None };
    Place { cwd: folder.to_owned(), repo_root: root.unwrap_or(common), env }
}
