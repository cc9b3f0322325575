//! `status.json` of each run: how it stands, for scripts that read files.
//!
//! It is told from the store and never read back. A file that was not written, because the server died, is written by the
//! next pass: which entry of the history a file tells of is noted behind it. One that cannot be written is left to the next
//! pass, and the others are written all the same.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::ids::AutomationRunId;
use store::StoreError;
use store::automations::runs;

use super::loaded::Loaded;
use super::views;
use crate::processes::beside;
use crate::{Inner, Settings, sweeps};

const BATCH: i64 = 200;

/// Where the folders of runs are.
pub(super) fn folders(settings: &Settings) -> PathBuf {
    settings.data_dir.join("automations")
}

/// Where the file of a run is.
pub(super) fn path(settings: &Settings, run: &AutomationRunId) -> PathBuf {
    folders(settings).join(run.as_str()).join("status.json")
}

pub(super) async fn run(engine: Arc<Inner>) {
    let mut failed = BTreeSet::new();
    loop {
        let pass = pass(&engine, &mut failed).await;
        if !sweeps::rest(&engine, "status files of automations", &engine.automations.status, pass).await {
            return;
        }
    }
}

/// `failed`: the runs whose files the pass before could not write, and afterwards those of this one. Each is said once.
async fn pass(engine: &Arc<Inner>, failed: &mut BTreeSet<AutomationRunId>) -> Result<Duration, StoreError> {
    let before = std::mem::take(failed);
    loop {
        let node = engine.settings.node_id.clone();
        // Those that failed are among them still.
        let limit = BATCH.saturating_add(i64::try_from(failed.len()).unwrap_or(i64::MAX));
        let untold = engine
            .read(node, move |tx, node| Box::pin(async move { runs::untold(tx, &node, limit).await }))
            .await?;
        let is_last = (untold.len() as i64) < limit;
        for id in untold {
            if failed.contains(&id) {
                continue;
            }
            let loaded =
                engine.read(id.clone(), |tx, id| Box::pin(async move { Loaded::load(tx, &id, false).await }));
            let seq = match loaded.await? {
                Err(_) => i64::MAX,
                Ok(it) => {
                    let (file, status) = (path(&engine.settings, &id), views::status(&it));
                    let written = beside(&engine.processes, move || write(&file, &status.to_string())).await;
                    if let Err(error) = written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                        if !before.contains(&id) {
                            tracing::warn!(run = %id, %error, "cannot write the status file yet");
                        }
                        failed.insert(id);
                        continue;
                    }
                    it.run.history_seq
                }
            };
            engine.write(id, move |tx, id| Box::pin(async move { runs::told(tx, &id, seq).await })).await?;
        }
        if is_last || engine.closing.is_cancelled() {
            return Ok(sweeps::seldom(engine));
        }
    }
}

/// Whoever reads sees the old file or the new one, and never half of one.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder)?;
    let other = folder.join("status.json.new");
    let mut out = std::fs::File::create(&other)?;
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    std::fs::rename(&other, file)
}
