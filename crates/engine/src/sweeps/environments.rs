//! Ends the leases of runs that are over, however they came to their end: the only place where leases end.
//!
//! Each lease is ended by itself, so that a machine that does not answer keeps no other from being given back; it is
//! asked again later, a few times. Folders that leases left on this machine go too.

use std::sync::Arc;
use std::time::Duration;

use domain::environment::lease::{self, Cleanup, Given, LeaseStatus, Step};
use domain::moment::Moment;
use domain::run::RunStatus;
use futures_util::{StreamExt, stream};
use serde_json::json;
use store::environment_leases::{self as leases, EnvironmentLease, LeaseEnd};
use store::environments::{self, Environment};
use store::runs::{self, Run};
use store::{StoreError, Tx};

use crate::activity::{Author, Scribe};
use crate::environments::on_run;
use crate::{EngineError, Inner};

/// At most so many in one pass.
const BATCH: i64 = 64;
/// So many machines are asked at once.
const WIDTH: usize = 8;
/// A machine that does not answer is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn run(engine: Arc<Inner>) {
    if let Err(error) = tidy(&engine).await {
        tracing::warn!(%error, "cannot look through the folders of leases");
    }
    loop {
        let pass = pass(&engine).await;
        if !super::rest(&engine, "leases on environments", &engine.environments, pass).await {
            return;
        }
    }
}

/// Ends what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    let now = engine.clock.now();
    let (due, next) = engine
        .read((), move |tx, ()| {
            Box::pin(async move { Ok((leases::due(tx, now, BATCH).await?, leases::next_due(tx).await?)) })
        })
        .await?;
    let is_full = due.len() as i64 == BATCH;
    let failed = stream::iter(due)
        .map(|(id, status)| async move {
            let ended = end(engine, &id, status).await;
            if let Err(error) = &ended {
                tracing::warn!(lease = %id, %error, "cannot end the lease");
            }
            ended.is_err()
        })
        .buffer_unordered(WIDTH)
        .fold(false, |any, failed| async move { any || failed })
        .await;
    if failed {
        return Ok(engine.settings.period);
    }
    if is_full {
        return Ok(Duration::ZERO);
    }
    let seldom = super::seldom(engine);
    Ok(next.map_or(seldom, |at| at.since(engine.clock.now()).max(Duration::from_millis(100)).min(seldom)))
}

type Loaded = (EnvironmentLease, Option<Environment>, Option<Run>);

async fn load(tx: &mut Tx<'_>, id: &str) -> Result<Option<Loaded>, StoreError> {
    let Some(lease) = leases::get(tx, id).await? else { return Ok(None) };
    let environment = environments::get(tx, &lease.environment_id).await?;
    let run = match &lease.heartbeat_run_id {
        Some(run) => runs::get(tx, run).await?,
        None => None,
    };
    Ok(Some((lease, environment, run)))
}

async fn end(engine: &Arc<Inner>, id: &str, status: Option<RunStatus>) -> Result<(), EngineError> {
    let loaded = engine.read(id.to_owned(), |tx, id| Box::pin(async move { load(tx, &id).await }));
    let Some((lease, environment, run)) = loaded.await? else { return Ok(()) };
    if lease.status != LeaseStatus::Active || !lease::is_over(status) {
        return Ok(());
    }
    let given = match environment {
        Some(environment) => {
            let release = on_run::release(engine, environment, lease.clone(), run.as_ref());
            let released = tokio::select! {
                biased;
                // The next server asks again.
                () = engine.closing.cancelled() => return Ok(()),
                released = tokio::time::timeout(PATIENCE, release) => released,
            };
            match released {
                Ok(given) => given.map_err(|error| error.to_string()),
                Err(_) => Err("lease_release_failed: the machine does not answer".to_owned()),
            }
        }
        None => Ok(None),
    };
    let now = engine.clock.now();
    let (given, kept, reason) = match given {
        Ok(kept) => (Given::Back, kept.is_some(), kept),
        Err(words) => (Given::Not { tries: lease.release_tries + 1 }, false, Some(words)),
    };
    match lease::end(status, kept, given, now) {
        Step::Again { at } => {
            let reason = reason.unwrap_or_default();
            tracing::warn!(lease = %lease.id, %reason, "an environment was not given back; trying again");
            let context = (lease.id, reason);
            let put_off = engine.write(context, move |tx, (id, reason)| {
                Box::pin(async move { leases::put_off(tx, &id, &reason, at, now).await })
            });
            put_off.await?;
        }
        Step::Ended { status, cleanup } => {
            if cleanup == Cleanup::Failed {
                tracing::error!(lease = %lease.id, ?reason, "an environment could not be given back; giving up");
                on_run::forget_folder(&on_run::folder_of(&engine.settings, &lease.id));
            }
            let end = LeaseEnd { status, cleanup, failure_reason: reason };
            let scribe = engine.scribe(&Author::System { part: "environments" });
            let context = (scribe, lease, end);
            let written = engine.write(context, move |tx, (scribe, lease, end)| {
                Box::pin(async move { write(tx, scribe, &lease, &end, now).await })
            });
            written.await?;
            engine.feed.ring();
        }
    }
    Ok(())
}

async fn write(
    tx: &mut Tx<'_>,
    mut scribe: Scribe,
    lease: &EnvironmentLease,
    end: &LeaseEnd,
    now: Moment,
) -> Result<(), StoreError> {
    if !leases::end(tx, &lease.id, end, now).await? {
        return Ok(());
    }
    let details = json!({
        "environmentId": lease.environment_id, "leaseId": lease.id, "runId": lease.heartbeat_run_id,
        "driver": lease.provider, "provider": lease.provider, "status": end.status, "cleanupStatus": end.cleanup,
        "failureReason": end.failure_reason,
    });
    let about = ("environment_lease", lease.id.as_str());
    scribe.tell(tx, &lease.company_id, "environment.lease_released", about, details).await
}

/// Removes folders on this machine of leases that are over: what a server left that died before it could.
async fn tidy(engine: &Arc<Inner>) -> Result<(), EngineError> {
    let Ok(entries) = std::fs::read_dir(engine.settings.data_dir.join("leases")) else { return Ok(()) };
    for entry in entries.flatten() {
        let Ok(id) = entry.file_name().into_string() else { continue };
        let found = engine.read(id, |tx, id| Box::pin(async move { leases::get(tx, &id).await })).await?;
        if found.is_none_or(|lease| lease.status != LeaseStatus::Active) {
            on_run::forget_folder(&entry.path());
        }
    }
    Ok(())
}
