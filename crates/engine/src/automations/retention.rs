//! Removing automation runs that are over and old, as runs of agents are removed.
//!
//! The files of a run go before its rows. A folder that is left all the same, because its status was told once more, the run
//! belonged to another server, or its company was deleted, goes when it is as old as runs become and no row names it. What
//! a run that is there still needs is not touched: the runs of its agents stay as long as it does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::ids::{AutomationRunId, looks_like_id};
use domain::moment::Moment;
use store::automations::retention;
use store::{StoreError, inbox};

use super::status_file;
use crate::Inner;
use crate::processes::beside;
use crate::skills::shelf;

/// Runs in one transaction: each takes its whole history with it.
const BATCH: i64 = 50;
/// And as many of these in one pass; the next one goes on.
const BATCHES: usize = 40;
/// Folders that are looked at together.
const FOLDERS: usize = 1_000;
/// The clock of the disk and ours may differ.
const SLACK: Duration = Duration::from_secs(3_600);

/// Removes runs that were over before `before`; `keys` = idempotency keys that are younger are kept. Returns how many.
pub(crate) async fn forget(engine: &Arc<Inner>, before: Moment, keys: Moment) -> Result<u64, StoreError> {
    let (mut removed, now) = (0, engine.clock.now());
    for _ in 0..BATCHES {
        let old = engine
            .read((), move |tx, ()| {
                Box::pin(async move { retention::over_before(tx, before, keys, BATCH).await })
            })
            .await?;
        let is_last = (old.len() as i64) < BATCH;
        let gone = without_files(engine, old).await;
        if gone.is_empty() {
            break;
        }
        removed += engine
            .write(gone, move |tx, gone| {
                Box::pin(async move {
                    // Nobody can have it go on any more.
                    for run in &gone {
                        inbox::resolve_of(tx, run.as_str(), None, "run_removed", now).await?;
                    }
                    retention::remove(tx, &gone, before).await
                })
            })
            .await?;
        if is_last || engine.closing.is_cancelled() {
            break;
        }
    }
    if removed > 0 {
        tracing::info!(count = removed, "removed old automation runs");
    }
    Ok(removed)
}

/// Removes the folders of runs; returns those that have none any more. One that resists keeps no other from going.
async fn without_files(engine: &Arc<Inner>, runs: Vec<AutomationRunId>) -> Vec<AutomationRunId> {
    let below = status_file::folders(&engine.settings);
    let removed = beside(&engine.processes, move || {
        let mut gone = Vec::with_capacity(runs.len());
        for run in runs {
            match remove_all(&below.join(run.as_str())) {
                Ok(()) => gone.push(run),
                Err(error) => tracing::warn!(%run, %error, "cannot remove the files of the automation run"),
            }
        }
        gone
    });
    removed.await.unwrap_or_default()
}

/// Removes folders of runs that are there no more.
pub(crate) async fn sweep_folders(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let before = shelf::time_of(engine.clock.now().minus(engine.settings.keep_runs_for).minus(SLACK));
    let Ok(mut entries) = std::fs::read_dir(status_file::folders(&engine.settings)) else { return Ok(()) };
    loop {
        let looked = beside(&engine.processes, move || {
            let old: Vec<AutomationRunId> = entries
                .by_ref()
                .flatten()
                .filter(|entry| is_older(&entry.path(), before))
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| looks_like_id(name))
                .map(AutomationRunId)
                .take(FOLDERS)
                .collect();
            (entries, old)
        });
        let Ok((rest, old)) = looked.await else { return Ok(()) };
        if old.is_empty() || engine.closing.is_cancelled() {
            return Ok(());
        }
        entries = rest;
        let known = engine
            .read(old.clone(), |tx, old| Box::pin(async move { retention::known(tx, &old).await }))
            .await?;
        let gone: Vec<AutomationRunId> = old.into_iter().filter(|run| !known.contains(run)).collect();
        let count = without_files(engine, gone).await.len();
        if count > 0 {
            tracing::info!(count, "removed folders of automation runs that are gone");
        }
    }
}

/// A folder in which nothing was made since a time.
fn is_older(path: &Path, before: SystemTime) -> bool {
    let changed = std::fs::symlink_metadata(path).ok().filter(|data| data.is_dir());
    changed.and_then(|data| data.modified().ok()).is_some_and(|at| at < before)
}

fn remove_all(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
