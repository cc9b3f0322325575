//! Closes worktrees that nobody needs any more: their issue is over, or gone, and nobody has used them for a while, or
//! somebody said that they may go. One that was being closed when a server died is gone on with.
//!
//! What it may do is `domain::workspace::closing`: work is saved first, and what cannot be saved stays, with the reason.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use store::execution_workspaces as rows;

use crate::activity::Author;
use crate::workspaces::closing::{self, Closed, Unclosed};
use crate::{Inner, sweeps};

/// Workspaces in one pass.
const BATCH: i64 = 20;
/// Nothing is lost by a worktree that stays a little longer.
const PERIOD: Duration = Duration::from_secs(60);
const REASON: &str = "its work is over";

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        if !sweeps::rest(&engine, "workspaces that may go", &engine.places, pass).await {
            return;
        }
    }
}

async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let mut after = String::new();
    loop {
        let now = engine.clock.now();
        let before = now.minus(engine.settings.keep_workspaces_for);
        let node = engine.settings.node_id.clone();
        let found = engine
            .read((node, after), move |tx, (node, after)| {
                Box::pin(async move { rows::to_close(tx, &node, before, now, &after, BATCH).await })
            })
            .await?;
        for id in &found {
            if engine.closing.is_cancelled() {
                return Ok(PERIOD);
            }
            let by = Author::System { part: "workspaces" };
            match closing::close(engine, id, false, &by, REASON).await {
                Ok(Closed::Archived(row)) => {
                    tracing::info!(workspace = %id, name = %row.name, "closed a workspace")
                }
                Ok(Closed::Blocked(report)) => {
                    tracing::debug!(workspace = %id, reasons = ?report.readiness.blocking_reasons, "a workspace stays");
                }
                Err(Unclosed::Failed(words)) => {
                    tracing::warn!(workspace = %id, %words, "cannot close a workspace")
                }
                Err(Unclosed::Engine(error)) => {
                    tracing::warn!(workspace = %id, %error, "cannot close a workspace")
                }
            }
        }
        match found.last() {
            Some(last) if found.len() as i64 == BATCH => after = last.clone(),
            Some(_) | None => return Ok(PERIOD),
        }
    }
}
