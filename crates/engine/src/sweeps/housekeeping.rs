//! Puts away what is over: folders of finished runs become archives, old runs, logs, events and idle wakes go.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::RunId;
use domain::moment::Moment;
use store::{StoreError, challenges, inbox, leases, retention, wakes};

use crate::processes::{ProcessError, ProcessId, beside};
use crate::{EngineError, Inner, automations};

/// Archives per page; a pass goes through all pages, so that one that resists keeps no other from being put away.
const ARCHIVES: i64 = 32;
const BATCH: i64 = 200;
/// What grows slowly is looked at this often.
const SLOW: Duration = Duration::from_secs(60);
/// Finished runs are archived after this: whoever follows a log reads it from the folder, undisturbed.
const SETTLES_FOR: Duration = Duration::from_secs(1);
/// Idempotency keys live at least this long (D22).
const KEYS: Duration = Duration::from_secs(86_400);

pub(crate) async fn run(engine: Arc<Inner>) {
    let mut slow_at = engine.clock.now();
    loop {
        if let Err(error) = archive(&engine).await {
            tracing::warn!(%error, "cannot put away finished runs");
        }
        let now = engine.clock.now();
        // By the clock that retention goes by; one that was set back counts as well.
        if now.since(slow_at) >= SLOW || now < slow_at {
            slow_at = now;
            if let Err(error) = forget(&engine).await {
                tracing::warn!(%error, "cannot remove what is old");
            }
        }
        tokio::select! {
            biased;
            () = engine.closing.cancelled() => return,
            () = async {
                engine.housekeeping.notified().await;
                tokio::time::sleep(SETTLES_FOR).await;
            } => {}
            () = tokio::time::sleep(SLOW) => {}
        }
    }
}

/// Archives everything that is finished.
async fn archive(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let mut after = (Moment::from_micros(i64::MIN), RunId(String::new()));
    loop {
        let ready = engine
            .read((node(engine), after), |tx, (node, after)| {
                Box::pin(async move { retention::to_archive(tx, &node, (after.0, &after.1), ARCHIVES).await })
            })
            .await?;
        let is_full = ready.len() as i64 == ARCHIVES;
        for (_, run) in &ready {
            if engine.closing.is_cancelled() {
                return Ok(());
            }
            if let Err(error) = put_away(engine, run).await {
                tracing::warn!(%run, %error, "cannot archive the run");
            }
        }
        match ready.into_iter().last() {
            Some(last) if is_full => after = last,
            Some(_) | None => return Ok(()),
        }
    }
}

/// Whose folders lie here.
fn node(engine: &Inner) -> String {
    engine.settings.node_id.clone()
}

async fn put_away(engine: &Arc<Inner>, run: &RunId) -> Result<(), EngineError> {
    let Some(row) = engine.load_run(run).await? else { return Ok(()) };
    let (inner, id) = (Arc::clone(engine), run.clone());
    let state = beside(&engine.processes, move || {
        let mut state = "removed";
        for epoch in 1..=row.lease_epoch {
            match inner.processes.archive(&ProcessId { run: id.clone(), epoch }) {
                Ok(()) => state = "archived",
                // A start that was taken back before its folder was made, or one put away before.
                Err(ProcessError::NotThere) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(state)
    })
    .await
    .unwrap_or_else(|error| Err(ProcessError::Other(error.to_string())))?;
    let id = run.clone();
    engine
        .store
        .write_bulk(move |tx| {
            let id = id.clone();
            Box::pin(async move { leases::set_log_state(tx, &id, state).await })
        })
        .await?;
    Ok(())
}

/// Removes one batch of everything that is older than it is kept.
async fn forget(engine: &Arc<Inner>) -> Result<(), EngineError> {
    let (settings, now) = (&engine.settings, engine.clock.now());
    let (before, keys) = (now.minus(settings.keep_runs_for), now.minus(KEYS));
    // First: the runs of their agents stay as long as they do.
    automations::retention::forget(engine, before, keys).await?;
    let old = engine
        .read(node(engine), move |tx, node| {
            Box::pin(async move { retention::finished_before(tx, &node, before, BATCH).await })
        })
        .await?;
    if !old.is_empty() {
        let mut gone = Vec::with_capacity(old.len());
        for run in old {
            if removed_files(engine, &run).await.is_some() {
                gone.push(run);
            }
        }
        let count = engine
            .write(gone, |tx, gone| {
                Box::pin(async move {
                    store::costs::forget_messages(tx, &gone).await?;
                    retention::remove_runs(tx, &gone).await
                })
            })
            .await?;
        tracing::info!(count, "removed old runs");
    }
    // What old runs were charged stays in their counters.
    let before = now.minus(settings.keep_runs_for);
    engine.store.write_bulk(move |tx| Box::pin(store::budgets::reservations::fold(tx, before, 1000))).await?;
    let before = now.minus(settings.keep_events_for);
    let removed =
        engine.store.write_bulk(move |tx| Box::pin(retention::remove_events(tx, before, 5000))).await?;
    let (idle, keys) =
        (now.minus(settings.keep_idle_wakes_for), now.minus(KEYS.max(settings.keep_idle_wakes_for)));
    // An item is as old as the run it told of; who asked to log in sees for a day what became of it.
    let (before_items, expired) = (now.minus(settings.keep_runs_for), now.minus(KEYS));
    let wakes = engine.store.write_bulk(move |tx| Box::pin(wakes::remove_idle(tx, idle, keys, 5000))).await?;
    let items =
        engine.store.write_bulk(move |tx| Box::pin(inbox::remove_resolved(tx, before_items, 5000))).await?;
    let logins =
        engine.store.write_bulk(move |tx| Box::pin(challenges::remove_expired(tx, expired, 5000))).await?;
    let before_slots = now.minus(settings.keep_slots_for);
    let slots =
        engine.store.write_bulk(move |tx| Box::pin(crate::schedules::forget(tx, before_slots, 5000))).await?;
    if removed + wakes + items + logins + slots > 0 {
        tracing::debug!(events = removed, wakes, items, logins, slots, "removed what is old and over");
    }
    engine.forget_webhooks(now).await?;
    shrink(engine).await
}

/// Removes the oldest logs until all of them fit.
async fn shrink(engine: &Arc<Inner>) -> Result<(), EngineError> {
    let folder = engine.settings.data_dir.join("runs");
    let mut size = beside(&engine.processes, move || size_of(&folder)).await.unwrap_or(0);
    if size <= engine.settings.keep_log_bytes {
        return Ok(());
    }
    let oldest = engine
        .read(node(engine), |tx, node| {
            Box::pin(async move { retention::oldest_logs(tx, &node, BATCH).await })
        })
        .await?;
    for run in oldest {
        if size <= engine.settings.keep_log_bytes {
            break;
        }
        let Some(freed) = removed_files(engine, &run).await else { continue };
        size = size.saturating_sub(freed);
        engine
            .write(run, |tx, run| Box::pin(async move { leases::set_log_state(tx, &run, "removed").await }))
            .await?;
    }
    Ok(())
}

/// Removes the files of a run; returns how many bytes that freed. A run whose files resist is left for the next pass, and
/// keeps no other from going.
async fn removed_files(engine: &Arc<Inner>, run: &RunId) -> Option<u64> {
    let (inner, id) = (Arc::clone(engine), run.clone());
    let removed = beside(&engine.processes, move || inner.processes.remove(&id)).await;
    match removed.unwrap_or_else(|error| Err(ProcessError::Other(error.to_string()))) {
        Ok(freed) => Some(freed),
        Err(error) => {
            tracing::warn!(%run, %error, "cannot remove the files of the run");
            None
        }
    }
}

fn size_of(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
