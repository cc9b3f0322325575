//! What came out of a run, as git sees it: not what the agent says of it.
//!
//! Looked at when the process is over and before the run's end is written, so the folder is still the run's alone. What is
//! noted is the difference between how the run found its worktree and how it left it, committed or not. Looking leaves
//! nothing behind: objects that are made for it lie in a folder of their own, which goes. A look that fails, or takes too
//! long, is noted with its reason and holds no end up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::ids::IssueId;
use serde_json::{Value as Json, json};
use store::execution_workspaces::{self as rows, ExecutionWorkspace};
use store::leases::Lease;
use store::run_outputs::{self, RunOutputs};
use store::runs::Run;

use super::git::{Git, GitError};
use super::saving::{self, Scratch};
use super::{repository, scratch_of};
use crate::{Inner, settlement};

/// The end of a run waits no longer for this.
const PATIENCE: Duration = Duration::from_secs(120);
/// As many commits, files and paths are listed; all are counted.
const MOST_LISTED: usize = 500;
/// The patch is kept up to this; the branch holds the rest.
const MOST_PATCH: usize = 1 << 20;

/// What git found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Difference {
    pub(crate) branch: Option<String>,
    pub(crate) head: Option<String>,
    pub(crate) commits: Vec<Json>,
    pub(crate) commit_count: i64,
    pub(crate) files: Vec<Json>,
    pub(crate) file_count: i64,
    pub(crate) insertions: i64,
    pub(crate) deletions: i64,
    pub(crate) uncommitted: Vec<String>,
    pub(crate) uncommitted_count: i64,
    pub(crate) patch: String,
    pub(crate) patch_truncated: bool,
}

/// Where a difference begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since<'a> {
    pub(crate) commit: &'a str,
    /// What lay there besides.
    pub(crate) tree: Option<&'a str>,
}

/// Notes what a run left in its workspace; nothing for a run without one.
pub(crate) async fn capture(engine: &Inner, run: &Run, owner: &Lease) {
    if !run.context["executionWorkspaceId"].is_string() {
        return;
    }
    let id = run.id.clone();
    let found = engine.read(id, |tx, id| {
        Box::pin(async move {
            let Some(lease) = rows::lease_of(tx, &id).await? else { return Ok(None) };
            let row = rows::get(tx, &lease.workspace_id).await?;
            Ok(row.map(|row| (lease, row)))
        })
    });
    let (lease, row) = match found.await {
        Ok(Some(found)) => found,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(run = %run.id, %error, "cannot look what came out of the run");
            return;
        }
    };
    let Some(commit) = lease.start_commit.as_deref().filter(|_| row.node_id == engine.settings.node_id)
    else {
        return;
    };
    let since = Since { commit, tree: lease.start_tree.as_deref() };
    let looked = tokio::time::timeout(PATIENCE, difference(engine, &row, since, run.id.as_str())).await;
    let (difference, error) = match looked {
        Ok(Ok(difference)) => (difference, None),
        Ok(Err(error)) => (Difference::default(), Some(error.to_string())),
        Err(_) => (Difference::default(), Some("looking at the workspace took too long".to_owned())),
    };
    let outputs = RunOutputs {
        run_id: run.id.clone(),
        company_id: run.company_id.clone(),
        workspace_id: row.id.clone(),
        issue_id: run.issue_id.clone().map(IssueId),
        branch: difference.branch,
        base_commit: Some(commit.to_owned()),
        head_commit: difference.head,
        commits: Json::Array(difference.commits),
        commit_count: difference.commit_count,
        files: Json::Array(difference.files),
        file_count: difference.file_count,
        insertions: difference.insertions,
        deletions: difference.deletions,
        uncommitted: json!(difference.uncommitted),
        uncommitted_count: difference.uncommitted_count,
        is_exclusive: row.is_worktree(),
        patch_truncated: difference.patch_truncated,
        error,
        captured_at: engine.clock.now(),
    };
    let saved = engine.write((owner.clone(), outputs, difference.patch), |tx, (owner, outputs, patch)| {
        Box::pin(async move {
            // A server that lost the run to another one has no say any more.
            if settlement::owned(tx, &owner).await?.is_some() {
                run_outputs::save(tx, &outputs, Some(&patch)).await?;
            }
            Ok(())
        })
    });
    if let Err(error) = saved.await {
        tracing::warn!(run = %run.id, %error, "cannot note what came out of the run");
    }
}

/// What has changed in a workspace since then. In a folder that others work in, too, only commits can be told apart.
pub(crate) async fn difference(
    engine: &Inner,
    row: &ExecutionWorkspace,
    since: Since<'_>,
    scratch: &str,
) -> Result<Difference, GitError> {
    let folder = if row.is_worktree() { row.provider_ref.as_deref() } else { row.cwd.as_deref() };
    let folder = PathBuf::from(folder.unwrap_or_default());
    if !folder.is_dir() {
        return Err(GitError::Other(format!("the folder {} is not there", folder.display())));
    }
    let git = engine.git(&folder);
    let head = repository::commit(&git, "HEAD").await?;
    let branch = git.try_run(&["symbolic-ref", "--quiet", "--short", "HEAD"]).await?;
    let mut found = Difference {
        branch: Some(branch.text()).filter(|name| branch.code == Some(0) && !name.is_empty()),
        head: head.clone(),
        ..Difference::default()
    };
    if let Some(head) = &head {
        commits(&git, since.commit, head, &mut found).await?;
    }
    if !row.is_worktree() {
        let Some(head) = head else { return Ok(found) };
        compare(&git, since.commit, &head, &mut found).await?;
        return Ok(found);
    }
    let unsaved = saving::look(&git, &folder).await?;
    let uncommitted: Vec<String> = unsaved.changed.into_iter().chain(unsaved.untracked).collect();
    found.uncommitted_count = count(uncommitted.len());
    found.uncommitted = uncommitted.into_iter().take(MOST_LISTED).collect();
    let scratch = Scratch::new(&scratch_of(&engine.settings), scratch)?;
    let own = aside(&git, &scratch).await?;
    let tree = saving::tree_of(&own).await?;
    compare(&own, since.tree.unwrap_or(since.commit), &tree, &mut found).await?;
    Ok(found)
}

/// git with an index and a place for new objects of its own.
async fn aside(git: &Git, scratch: &Scratch) -> Result<Git, GitError> {
    let objects = git.text(&["rev-parse", "--path-format=absolute", "--git-path", "objects"]).await?;
    let own = scratch.git(git).await?;
    Ok(own
        .env("GIT_OBJECT_DIRECTORY", scratch.objects())
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", Path::new(&objects)))
}

async fn commits(git: &Git, since: &str, head: &str, found: &mut Difference) -> Result<(), GitError> {
    let range = format!("{since}..{head}");
    found.commit_count = git.text(&["rev-list", "--count", &range]).await?.parse().unwrap_or(0);
    let most = format!("-n{MOST_LISTED}");
    let said = git.run(&["log", "-z", &most, "--format=%H%x1f%an%x1f%aI%x1f%s", &range]).await?;
    for line in String::from_utf8_lossy(&said.out).split('\0').filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(4, '\u{1f}');
        let mut next = || parts.next().unwrap_or_default();
        found.commits.push(json!({ "sha": next(), "author": next(), "at": next(), "subject": next() }));
    }
    Ok(())
}

async fn compare(git: &Git, from: &str, to: &str, found: &mut Difference) -> Result<(), GitError> {
    let plain = ["--no-color", "--no-ext-diff", "--no-textconv"];
    let ask = |more: &[&str]| -> Vec<String> {
        let all = ["diff"].into_iter().chain(plain).chain(more.iter().copied()).chain([from, to]);
        all.map(str::to_owned).collect()
    };
    let numbers = git.run(&ask(&["--numstat", "-z", "--no-renames"])).await?;
    let kinds = git.run(&ask(&["--name-status", "-z", "--no-renames"])).await?;
    let kinds = String::from_utf8_lossy(&kinds.out).into_owned();
    let mut words = kinds.split('\0');
    let mut status = BTreeMap::new();
    while let (Some(kind), Some(path)) = (words.next(), words.next()) {
        status.insert(path, kind);
    }
    for line in String::from_utf8_lossy(&numbers.out).split('\0').filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, '\t');
        // A binary file has no lines.
        let (more, less) =
            (parts.next().and_then(|it| it.parse::<i64>().ok()), parts.next().and_then(|it| it.parse().ok()));
        let path = parts.next().unwrap_or_default();
        found.file_count += 1;
        found.insertions += more.unwrap_or(0);
        found.deletions += less.unwrap_or(0);
        if found.files.len() < MOST_LISTED {
            let kind = match status.get(path) {
                Some(&"A") => "added",
                Some(&"D") => "deleted",
                _ => "modified",
            };
            found.files.push(json!({ "path": path, "status": kind, "insertions": more, "deletions": less }));
        }
    }
    let patch = git.clone().most_bytes(MOST_PATCH).run(&ask(&["-M"])).await?;
    found.patch_truncated = patch.cut;
    // Text that both stores take.
    found.patch = String::from_utf8_lossy(&patch.out).replace('\0', "\u{fffd}");
    Ok(())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
