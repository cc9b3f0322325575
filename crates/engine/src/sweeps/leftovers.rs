//! Removes what nobody needs any more below the data folder of this node: worktrees, checkouts and skills of companies
//! that were deleted, folders of skills that no run has used for long, and those of automation runs that are gone.
//!
//! Only what is on record as left over goes: a folder that nothing is known of stays, for a store that was put back may
//! know less than the disk holds. Work in a repository that is not ours is saved to a ref first, as a workspace that is
//! closed saves it; the server's own clones go with their company. Whatever was begun before a crash is found again.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::moment::Moment;
use domain::workspace::closing::MOST_IGNORED_BYTES;
use domain::workspace::name;
use store::StoreError;
use store::leftovers::{self as rows, Leftover};

use crate::processes::beside;
use crate::skills::shelf;
use crate::workspaces::saving::{self, Scratch};
use crate::workspaces::{scratch_of, worktree, worktrees_of};
use crate::{Inner, Settings, automations};

/// Worktrees in one pass, and entries of a folder.
const BATCH: i64 = 20;
const ENTRIES: usize = 1_000;
/// What lies there disturbs nobody.
const PERIOD: Duration = Duration::from_secs(3_600);
/// What could not be removed is tried again after this.
const AGAIN: Duration = Duration::from_secs(86_400);
/// Skills that no run has used for so long are laid out anew when one does.
const SKILLS_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// The clock of the disk and ours may differ.
const SLACK: Duration = Duration::from_secs(3_600);

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "what was left on the disk", &engine.leftovers, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let is_full = worktrees(engine).await?;
    for folder in ["projects", "skills"] {
        companies(engine, &engine.settings.data_dir.join(folder)).await?;
    }
    skills(engine).await?;
    automations::retention::sweep_folders(engine).await?;
    Ok(if is_full { Duration::ZERO } else { PERIOD })
}

/// Removes a batch of worktrees; true when there may be more.
async fn worktrees(engine: &Arc<Inner>) -> Result<bool, StoreError> {
    let (node, now) = (engine.settings.node_id.clone(), engine.clock.now());
    let due = engine
        .read(node, move |tx, node| Box::pin(async move { rows::due(tx, &node, now, BATCH).await }))
        .await?;
    for leftover in &due {
        if engine.closing.is_cancelled() {
            return Ok(false);
        }
        let id = leftover.workspace_id.clone();
        match clear(engine, leftover).await {
            Ok(()) => {
                tracing::info!(workspace = %id, folder = %leftover.folder, "a worktree of a deleted company is gone");
                engine.write(id, |tx, id| Box::pin(async move { rows::remove(tx, &id).await })).await?;
            }
            Err(words) => {
                tracing::warn!(workspace = %id, folder = %leftover.folder, %words, "a worktree of a deleted company stays");
                let later = now.plus(AGAIN);
                let put_off = engine
                    .write(id, move |tx, id| Box::pin(async move { rows::put_off(tx, &id, later).await }));
                put_off.await?;
            }
        }
    }
    Ok(due.len() as i64 == BATCH)
}

/// Saves what is in a worktree and removes it; the error is in words.
async fn clear(engine: &Inner, leftover: &Leftover) -> Result<(), String> {
    let settings = &engine.settings;
    let folder = PathBuf::from(&leftover.folder);
    if !is_below(&folder, &worktrees_of(settings)) {
        tracing::info!(folder = %folder.display(), "it does not lie in the data folder, and is left alone");
        return Ok(());
    }
    let common = PathBuf::from(leftover.repo_dir.clone().unwrap_or_default());
    if is_below(&common, &clones_of(settings, leftover)) {
        // Its repository goes too.
        return remove_all(&folder).map_err(|error| error.to_string());
    }
    if !common.is_dir() {
        return if folder.exists() {
            Err(format!("the repository {} is not there", common.display()))
        } else {
            Ok(())
        };
    }
    let _lock = engine.repositories.lock(&common).await;
    let git = engine.git(&common);
    if !folder.is_dir() {
        return worktree::forget_missing(&git, &folder, &leftover.workspace_id)
            .await
            .map_err(|error| error.to_string());
    }
    let in_words = |error: crate::workspaces::git::GitError| error.to_string();
    let own = engine.git(&folder);
    let unsaved = saving::look(&own, &folder).await.map_err(in_words)?;
    if let Some(nested) = unsaved.nested.first() {
        return Err(format!("{nested} is a repository of its own, which cannot be saved with this one"));
    }
    if unsaved.ignored_bytes > MOST_IGNORED_BYTES {
        return Err(format!(
            "files that git ignores are too large to be saved: {}",
            unsaved.ignored.join(", ")
        ));
    }
    let save = async || {
        let scratch = Scratch::new(&scratch_of(settings), &leftover.workspace_id)?;
        saving::save(&own, &scratch, &leftover.workspace_id, leftover.branch_name.as_deref(), true).await
    };
    let saved = save().await.map_err(in_words)?;
    // Somebody who works there by hand may have gone on meanwhile.
    if save().await.map_err(in_words)?.is_some_and(|again| saved.as_ref() != Some(&again)) {
        return Err("it changed while it was saved".to_owned());
    }
    let path = folder.to_string_lossy().into_owned();
    git.run(&["worktree", "remove", "--force", &path]).await.map_err(in_words)?;
    Ok(())
}

/// The server's own clones of a company.
fn clones_of(settings: &Settings, leftover: &Leftover) -> PathBuf {
    settings.data_dir.join("projects").join(name::segment(leftover.company_id.as_str(), "company"))
}

/// Whether a path lies below a folder, by its spelling; one with `..` in it does not.
fn is_below(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) && path != folder && !path.components().any(|part| part == Component::ParentDir)
}

fn remove_all(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the folders of deleted companies below a folder that has one for each company.
async fn companies(engine: &Arc<Inner>, below: &Path) -> Result<(), StoreError> {
    let there = entries(below);
    if there.is_empty() {
        return Ok(());
    }
    let gone =
        engine.read(there, |tx, there| Box::pin(async move { rows::removed_of(tx, &there).await })).await?;
    for company in gone {
        let folder = below.join(&company);
        let removed = beside(&engine.processes, {
            let folder = folder.clone();
            move || remove_all(&folder)
        });
        match removed.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => tracing::info!(folder = %folder.display(), "removed what a deleted company left"),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot remove what a deleted company left");
            }
        }
    }
    Ok(())
}

/// The names of the folders in a folder.
fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).take(ENTRIES).collect()
}

/// Removes folders of skills that no run uses: each start marks the folder that it uses, so what a run under way was given
/// is younger than the run.
async fn skills(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let node = engine.settings.node_id.clone();
    let oldest =
        engine.read(node, |tx, node| Box::pin(async move { rows::oldest_running(tx, &node).await })).await?;
    let before = unused_since(engine.clock.now(), oldest);
    let below = engine.settings.data_dir.join("skills");
    let removed = beside(&engine.processes, move || {
        let all = entries(&below).into_iter().map(|company| below.join(company));
        let sets = all.flat_map(|company| entries(&company).into_iter().map(move |set| company.join(set)));
        sets.filter(|set| shelf::remove_unused(set, before)).count()
    });
    let removed = removed.await.unwrap_or_default();
    if removed > 0 {
        tracing::info!(removed, "removed folders of skills that no run has used for long");
    }
    Ok(())
}

/// Skills that were used last before this moment are nobody's.
fn unused_since(now: Moment, oldest_run: Option<Moment>) -> SystemTime {
    let before = now.minus(SKILLS_KEPT);
    let before = oldest_run.map_or(before, |began| before.min(began)).minus(SLACK);
    shelf::time_of(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_is_removed() {
        let data = Path::new("/data/workspaces");
        for (path, is) in [
            ("/data/workspaces/p/ACM-1", true),
            ("/data/workspaces", false),
            ("/data/workspaces/../agents", false),
            ("/data/workspaces-old/p", false),
            ("/home/me/site", false),
            ("", false),
        ] {
            assert_eq!(is_below(Path::new(path), data), is, "{path}");
        }
    }

    #[test]
    fn skills_of_a_run_under_way_are_used_however_long_it_runs() {
        let day = Duration::from_secs(86_400);
        let now = Moment::from_micros(0).plus(day * 100);
        let week_ago = shelf::time_of(now.minus(day * 7).minus(SLACK));
        assert_eq!(unused_since(now, None), week_ago);
        assert_eq!(unused_since(now, Some(now.minus(day))), week_ago);
        let began = now.minus(day * 30);
        assert_eq!(unused_since(now, Some(began)), shelf::time_of(began.minus(SLACK)));
    }
}
